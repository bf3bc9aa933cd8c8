//! The real binary, for what only a process can show: its log, its start and its end.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// A running `cairn`. It is killed when this is dropped.
pub struct Process {
    child: Child,
    log: watch::Receiver<String>,
    _folder: Option<tempfile::TempDir>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Finished {
    /// What it printed, if it succeeded and complained about nothing.
    pub fn printed(self) -> String {
        assert!(self.status.success() && self.err.is_empty(), "{self:?}");
        self.out
    }
}

/// Far more than a slow machine needs; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

impl Process {
    /// Starts it with these settings and nothing else in its environment, in a folder of its own.
    pub fn spawn(settings: &[(&str, &str)]) -> Process {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Process::spawn_in(folder.path(), settings);
        Process { _folder: Some(folder), ..process }
    }

    /// The same, in this folder.
    pub fn spawn_in(folder: &Path, settings: &[(&str, &str)]) -> Process {
        Process::watch(command(&[], folder, settings).stdin(Stdio::null()).stdout(Stdio::null()))
    }

    /// Starts a command, and does not wait for its end.
    pub fn spawn_command(arguments: &[&str], settings: &[(&str, &str)]) -> Process {
        let mut command = command(arguments, &std::env::temp_dir(), settings);
        Process::watch(command.stdin(Stdio::null()).stdout(Stdio::null()))
    }

    fn watch(command: &mut Command) -> Process {
        let mut child = command.spawn().expect("cairn starts");
        let (told, log) = watch::channel(String::new());
        let stderr = child.stderr.take().expect("its standard error");
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                told.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        Process { child, log, _folder: None }
    }

    /// Runs a command to its end, with this on its standard input.
    pub async fn run(arguments: &[&str], settings: &[(&str, &str)], input: &str) -> Finished {
        let mut child = command(arguments, &std::env::temp_dir(), settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cairn starts");
        let mut stdin = child.stdin.take().expect("its standard input");
        // It may end without having read all of it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output = output.expect("it ends").expect("it can be waited for");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Finished { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Starts the server on a free port, and gives its URL.
    pub async fn serve(settings: &[(&str, &str)]) -> (Process, String) {
        let process = Process::spawn(&[&[("LISTEN", "127.0.0.1:0")], settings].concat());
        process.listening().await
    }

    /// The same, in this folder.
    pub async fn serve_in(folder: &Path, settings: &[(&str, &str)]) -> (Process, String) {
        let settings = [&[("LISTEN", "127.0.0.1:0")], settings].concat();
        Process::spawn_in(folder, &settings).listening().await
    }

    async fn listening(mut self) -> (Process, String) {
        let log = self.logged(LISTENING).await;
        (self, address(&log))
    }

    /// Waits until it serves, and gives its URL; or until it has ended, and gives its log.
    pub async fn try_listening(mut self) -> Result<(Process, String), String> {
        let said = self.log.wait_for(|log| log.contains(LISTENING));
        let said = tokio::time::timeout(PATIENCE, said).await.expect("it serves, or ends");
        match said.map(|log| address(&log)) {
            Ok(url) => Ok((self, url)),
            Err(_) => Err(self.ended().await.1),
        }
    }

    /// Waits until the log holds this, and gives all of it.
    pub async fn logged(&mut self, text: &str) -> String {
        let said = self.log.wait_for(|log| log.contains(text));
        let said = tokio::time::timeout(PATIENCE, said).await.is_ok_and(|said| said.is_ok());
        let log = self.log.borrow().clone();
        assert!(said, "the log never said {text:?}:\n{log}");
        log
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Its number, while it runs.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Kills it at once, waits until it is dead, and gives everything that it logged.
    pub async fn kill(self) -> String {
        self.signal(libc::SIGKILL);
        self.ended().await.1
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill touches no memory.
        assert_eq!(unsafe { libc::kill(self.id() as libc::pid_t, signal) }, 0);
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_some()
    }

    /// Waits for its end, and gives everything that it logged.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("it ends").expect("it can be waited for");
        // The sender is gone when the last line has been read.
        while self.log.changed().await.is_ok() {}
        (status, self.log.borrow().clone())
    }
}

/// What it logs when it serves.
const LISTENING: &str = "listening on ";

fn address(log: &str) -> String {
    let address = log.split(LISTENING).nth(1).expect("an address");
    address.split_whitespace().next().expect("an address").to_owned()
}

/// `cairn`, with these settings and nothing else in its environment.
fn command(arguments: &[&str], folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("NO_COLOR", "1")
        .envs(settings.iter().copied())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Should the run itself be killed: the thread that starts it is the test's.
    // SAFETY: prctl is async-signal-safe, and touches only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command
}
