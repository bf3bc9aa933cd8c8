//! A Redis of a test's own. It starts within a few milliseconds.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;

use super::keeper;

pub struct Redis {
    pub url: String,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    server: Child,
}

impl Redis {
    /// A server that listens on a socket in a folder of its own.
    pub fn start() -> Redis {
        Redis::start_with(&["--port", "0"], |socket| format!("unix://{}", socket.display()))
    }

    /// A cluster of one node, which has all slots.
    pub fn cluster() -> Redis {
        let redis = Redis::empty_node();
        redis.take_all_slots();
        redis
    }

    /// A node that is in no cluster yet.
    fn empty_node() -> Redis {
        let port = free_port();
        let port_text = port.to_string();
        let arguments = ["--port", &port_text, "--bind", "127.0.0.1", "--cluster-enabled", "yes"];
        // A replica need not wait for others that might want to begin with it.
        let arguments = [&arguments[..], &["--repl-diskless-sync-delay", "0"]].concat();
        Redis::start_with(&arguments, |_| format!("redis+cluster://127.0.0.1:{port}"))
    }

    /// Such a cluster whose node has a replica, which can take its place. The address names both.
    pub fn cluster_with_replica() -> [Redis; 2] {
        let [mut primary, replica] = [Redis::cluster(), Redis::empty_node()];
        let port = replica.url.rsplit(':').next().expect("a port");
        assert!(primary.ask(&format!("CLUSTER MEET 127.0.0.1 {port}")).contains("OK"));
        let id = primary.ask("CLUSTER MYID");
        let id = id.lines().nth(1).expect("an id");
        let until = Instant::now() + PATIENCE;
        let wait_for = |what: &dyn Fn() -> bool| {
            while !what() {
                assert!(Instant::now() < until, "it never became a replica");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        // Not before it has heard of it.
        wait_for(&|| replica.ask(&format!("CLUSTER REPLICATE {id}")).contains("OK"));
        wait_for(&|| replica.ask("INFO replication").contains("master_link_status:up"));
        primary.url = format!("{},127.0.0.1:{port}", primary.url);
        [primary, replica]
    }

    /// A server, or a cluster of one node, that speaks TLS alone, by [`Redis::certificate`].
    pub fn with_tls(is_cluster: bool) -> Redis {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let certificate = pem("CERTIFICATE", made.cert.der());
        let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
        for (name, text) in [(CERTIFICATE, certificate), (KEY, key)] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let port = free_port();
        let port_text = port.to_string();
        let in_folder = |name| folder.path().join(name).display().to_string();
        let [certificate, key] = [CERTIFICATE, KEY].map(in_folder);
        let mut arguments = vec!["--port", "0", "--tls-port", &port_text, "--bind", "127.0.0.1"];
        arguments.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
        arguments.extend(["--tls-ca-cert-file", &certificate, "--tls-auth-clients", "no"]);
        let scheme = match is_cluster {
            true => {
                arguments.extend(["--cluster-enabled", "yes", "--tls-cluster", "yes"]);
                "rediss+cluster"
            }
            false => "rediss",
        };
        let url = format!("{scheme}://127.0.0.1:{port}");
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let redis = Redis::start_in(folder, arguments, url);
        if is_cluster {
            redis.take_all_slots();
        }
        redis
    }

    /// Of a server with TLS.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    /// Makes a cluster of this one node.
    fn take_all_slots(&self) {
        assert!(self.ask("CLUSTER ADDSLOTSRANGE 0 16383").contains("OK"));
        let until = Instant::now() + PATIENCE;
        while !self.ask("CLUSTER INFO").contains("cluster_state:ok") {
            assert!(Instant::now() < until, "the cluster never was one");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A cluster of three nodes, a third of the slots each, and their ports on 127.0.0.1. It tells its
    /// clients no other host than the one by which they came: that may be a proxy with the same port.
    pub fn cluster_of_three() -> ([Redis; 3], [u16; 3]) {
        let slots = ["0 5460", "5461 10922", "10923 16383"];
        let ports = [(); 3].map(|()| free_port());
        let mut slots = slots.into_iter();
        let nodes = ports.map(|port| {
            let text = port.to_string();
            // A node that is gone is noticed while the test still runs.
            let timeout = ["--cluster-node-timeout", "1000"];
            let host = ["--cluster-preferred-endpoint-type", "unknown-endpoint"];
            let own = ["--port", &text, "--bind", "127.0.0.1", "--cluster-enabled", "yes"];
            let node = Redis::start_with(&[&own[..], &timeout, &host].concat(), |_| String::new());
            let slots = slots.next().expect("a third");
            assert!(node.ask(&format!("CLUSTER ADDSLOTSRANGE {slots}")).contains("OK"));
            node
        });
        for port in &ports[1..] {
            assert!(nodes[0].ask(&format!("CLUSTER MEET 127.0.0.1 {port}")).contains("OK"));
        }
        let until = Instant::now() + PATIENCE;
        let is_whole = |node: &Redis| {
            let info = node.ask("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        while !nodes.iter().all(is_whole) {
            assert!(Instant::now() < until, "the cluster never was one");
            std::thread::sleep(Duration::from_millis(20));
        }
        (nodes, ports)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    fn start_with(arguments: &[&str], url: impl FnOnce(PathBuf) -> String) -> Redis {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = url(folder.path().join("redis.sock"));
        let arguments = arguments.iter().map(|&argument| argument.into()).collect();
        Redis::start_in(folder, arguments, url)
    }

    fn start_in(folder: tempfile::TempDir, arguments: Vec<String>, url: String) -> Redis {
        let server = serve(&folder, &arguments);
        Redis { url, folder, arguments, server }
    }

    /// Kills it, and what it holds is gone.
    pub fn kill(&mut self) {
        self.server.kill().expect("killed");
        self.server.wait().expect("it ends");
    }

    /// Starts it again at the same address, empty.
    pub fn start_again(&mut self) {
        self.server = serve(&self.folder, &self.arguments);
    }

    /// It hangs: it accepts connections, and answers nothing.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// What it answers to a command of one line.
    pub fn ask(&self, command: &str) -> String {
        ask(&self.folder, command).expect("Redis answers")
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill touches no memory.
        assert_eq!(unsafe { libc::kill(self.server.id() as libc::pid_t, signal) }, 0);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Far more than a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

fn serve(folder: &tempfile::TempDir, arguments: &[String]) -> Child {
    let socket = folder.path().join("redis.sock");
    let mut server = Command::new("redis-server");
    server
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--unixsocket")
        .arg(&socket)
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let server = keeper::spawn(server, libc::SIGKILL);
    let until = Instant::now() + PATIENCE;
    while !ask(folder, "PING").is_ok_and(|answer| answer.starts_with("+PONG")) {
        assert!(Instant::now() < until, "Redis did not start");
        std::thread::sleep(Duration::from_millis(2));
    }
    server
}

fn ask(folder: &tempfile::TempDir, command: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(folder.path().join("redis.sock"))?;
    socket.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    // Without that to QUIT.
    Ok(answer.strip_suffix("+OK\r\n").unwrap_or_default().to_owned())
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned());
    let lines: Vec<String> = lines.collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A cluster wants a second port, 10,000 above.
fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        if port < 55_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}
