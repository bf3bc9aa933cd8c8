//! What a page loads from a public host, given from npm packages of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A host of files at `/<package>@<version>/<file>`, with TLS and a certificate that nobody knows.
/// It ends when this is dropped.
pub struct Cdn {
    host: String,
    port: u16,
    task: JoinHandle<()>,
}

impl Cdn {
    /// Stands in for this host.
    pub async fn start(host: &str) -> Cdn {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.into()], key)
            .expect("a server");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream));
            }
        });
        Cdn { host: host.to_owned(), port, task }
    }

    /// Arguments by which chromium takes this for the host, and finds no other.
    pub fn arguments(&self) -> Vec<String> {
        let Cdn { host, port, .. } = self;
        vec![
            format!(
                "--host-resolver-rules=MAP {host} 127.0.0.1:{port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
            ),
            "--ignore-certificate-errors".into(),
        ]
    }
}

impl Drop for Cdn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request. A browser that goes away is no failure.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream) {
    if let Ok(stream) = acceptor.accept(stream).await {
        let _ = answer(BufReader::new(stream)).await;
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufReader<S>,
) -> std::io::Result<()> {
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    let mut header = String::new();
    while stream.read_line(&mut header).await? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, body) = match file(&path).and_then(|file| std::fs::read(file).ok()) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", Vec::new()),
    };
    let media_type = if path.ends_with(".css") { "text/css" } else { "text/javascript" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}; charset=utf-8\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

/// The file of `/<package>@<version>/<file>`.
fn file(path: &str) -> Option<PathBuf> {
    let (package, file) = path.strip_prefix('/')?.split_once('/')?;
    Some(npm(package.split('@').next()?).join(file))
}

/// Where scripts/test puts a package.
pub fn npm(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm").join(package)
}
