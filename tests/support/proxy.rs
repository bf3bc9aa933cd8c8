//! A network between two programs, which can be as bad as networks are.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What it does with what goes through. It concerns connections that are there already, too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Pass,
    /// Every connection is cut, and none comes about.
    Cut,
    /// Each is cut after so many more bytes in one direction, be it in the middle of a message.
    CutAfter(usize),
    /// Every piece is held up for so long.
    Delay(Duration),
    /// Nothing comes through, and nobody is told; later it does.
    Hold,
    /// What this side sends gets lost, and when that is over, the connection is cut.
    Lose(Side),
    /// This side says that it will send no more, and its connections end so.
    HalfClose(Side),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Client,
    Server,
}

/// Where connections lead.
#[derive(Clone)]
pub enum Target {
    Socket(PathBuf),
    Address(SocketAddr),
    /// Whoever connects is turned away.
    Nobody,
}

/// Listens on a port of its own, and passes what comes on to its target.
pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    target: Arc<Mutex<Target>>,
    listener: JoinHandle<()>,
}

impl Proxy {
    pub async fn to(target: Target) -> Proxy {
        Proxy::at(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// Listens at this address.
    pub async fn at(address: SocketAddr, target: Target) -> Proxy {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (mode, seen) = watch::channel(Mode::Pass);
        let target = Arc::new(Mutex::new(target));
        let to = target.clone();
        let listener = tokio::spawn(async move {
            loop {
                // A failed accept is the client's: it has gone.
                let Ok((client, _)) = listener.accept().await else { continue };
                let target = to.lock().expect("nobody panicked").clone();
                tokio::spawn(connect(client, target, seen.clone()));
            }
        });
        Proxy { address, mode, target, listener }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Leads new connections elsewhere.
    pub fn lead(&self, target: Target) {
        *self.target.lock().expect("nobody panicked") = target;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Whoever drops the proxy cuts its connections, as the mode has no sender any more.
async fn connect(client: TcpStream, target: Target, mode: watch::Receiver<Mode>) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    // Without delay: what waits here waits because it was told to.
    let _ = client.set_nodelay(true);
    match target {
        Target::Socket(path) => {
            if let Ok(server) = UnixStream::connect(path).await {
                pass(client, server, mode).await;
            }
        }
        Target::Address(address) => {
            if let Ok(server) = TcpStream::connect(address).await {
                let _ = server.set_nodelay(true);
                pass(client, server, mode).await;
            }
        }
        Target::Nobody => {}
    }
}

async fn pass(
    client: impl AsyncRead + AsyncWrite,
    server: impl AsyncRead + AsyncWrite,
    mode: watch::Receiver<Mode>,
) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    let mut cut = mode.clone();
    let both = async {
        tokio::try_join!(
            pump(Side::Client, from_client, to_server, mode.clone()),
            pump(Side::Server, from_server, to_client, mode.clone()),
        )
    };
    // However they end, both sockets are dropped with it.
    tokio::select! {
        _ = both => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// Passes on what one side sends, to its end. An error cuts the connection.
async fn pump(
    side: Side,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let cut = || io::Error::from(io::ErrorKind::ConnectionAborted);
    let mut bytes = vec![0; 16 * 1024];
    let mut now = *mode.borrow_and_update();
    loop {
        if now == Mode::HalfClose(side) {
            return to.shutdown().await;
        }
        let count = tokio::select! {
            changed = mode.changed() => {
                changed.map_err(|_| cut())?;
                if matches!(now, Mode::Lose(lost) if lost == side) {
                    return Err(cut());
                }
                now = *mode.borrow_and_update();
                continue;
            }
            count = from.read(&mut bytes), if now != Mode::Hold => count?,
        };
        if count == 0 {
            return to.shutdown().await;
        }
        match &mut now {
            Mode::Lose(lost) if *lost == side => continue,
            Mode::Delay(time) => tokio::time::sleep(*time).await,
            Mode::CutAfter(left) => {
                let some = count.min(*left);
                to.write_all(&bytes[..some]).await?;
                *left -= some;
                if *left == 0 {
                    return Err(cut());
                }
                continue;
            }
            _ => {}
        }
        to.write_all(&bytes[..count]).await?;
    }
}
