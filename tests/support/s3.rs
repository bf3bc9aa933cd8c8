//! An S3-compatible store on a port of its own. It verifies signatures.

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::StatusCode;
use cairn::files::Files;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::open_files;

/// It ends with the test, and so does what it holds.
pub struct S3 {
    pub endpoint: String,
    pub bucket: &'static str,
    pub access_key_id: &'static str,
    pub secret_access_key: &'static str,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl S3 {
    pub async fn start() -> S3 {
        let (bucket, access_key_id) = ("journal", "AKIDCAIRNTESTS");
        let secret_access_key = "secret/of+the=tests";
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(bucket)).expect("a bucket");
        let store = s3s_fs::FileSystem::new(folder.path()).expect("a store");
        let mut service = S3ServiceBuilder::new(store);
        service.set_auth(SimpleAuth::from_single(access_key_id, secret_access_key));
        let failed = |error: s3s::HttpError| async move {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}"))
        };
        let router = Router::new().fallback_service(HandleError::new(service.build(), failed));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        S3 { endpoint, bucket, access_key_id, secret_access_key, server, _folder: folder }
    }

    /// The settings of a server that keeps its files here, as command-line arguments. The prefix is
    /// empty or begins with `/`.
    pub fn arguments(&self, prefix: &str) -> Vec<String> {
        [
            "--files-url",
            &format!("s3://{}{prefix}", self.bucket),
            "--aws-endpoint-url",
            &self.endpoint,
            "--aws-region",
            "eu-central-1",
            "--aws-access-key-id",
            self.access_key_id,
            "--aws-secret-access-key",
            self.secret_access_key,
            "--aws-allow-http",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// The file store of such a server.
    pub fn file_store(&self, prefix: &str) -> Files {
        let arguments = self.arguments(prefix);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        open_files(&arguments, b"not for S3").expect("good settings")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}
