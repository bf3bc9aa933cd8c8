//! One private PostgreSQL for the whole run, and a database of its own for each test. And one of a
//! test's own, for those that kill it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cairn::db::Db;
use sea_orm::ConnectionTrait;

use super::keeper;

/// Where the cluster listens: a folder with its socket.
static CLUSTER: OnceLock<PathBuf> = OnceLock::new();

/// What tests can do without, their data being gone with them anyway.
pub const FOR_TESTS: &[&str] = &[
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=800",
    "shared_buffers=128MB",
    "autovacuum=off",
];

/// Creates a migrated, otherwise empty database, and gives its URL. The first to ask starts the
/// cluster, with these settings.
pub async fn database(settings: &[&str]) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    static TEMPLATE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    // Blocking for the 200 ms of the first start is fine: there is nothing else to do.
    CLUSTER.get_or_init(|| start(settings));
    TEMPLATE
        .get_or_init(async || {
            run("CREATE DATABASE template_cairn").await;
            let db = Db::connect(&url("template_cairn")).await.expect("PostgreSQL answers");
            cairn::app::migrate(&db).await.expect("PostgreSQL migrates");
            db.close().await.expect("the connection closes");
        })
        .await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    run(&format!("CREATE DATABASE {name} TEMPLATE template_cairn STRATEGY FILE_COPY")).await;
    url(&name)
}

async fn run(sql: &str) {
    // PostgreSQL copies a template only while nobody is connected to it, and one at a time.
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = ONE.lock().await;
    let db = Db::connect(&url("postgres")).await.expect("PostgreSQL answers");
    db.pool().execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    db.close().await.expect("the connection closes");
}

/// Where the cluster of the tests listens.
pub fn shared_socket() -> PathBuf {
    CLUSTER.get().expect("the cluster runs").join(SOCKET)
}

fn url(database: &str) -> String {
    url_in(CLUSTER.get().expect("the cluster runs"), database)
}

fn url_in(folder: &Path, database: &str) -> String {
    let folder = folder.display().to_string();
    format!("postgres://postgres@localhost/{database}?host={}", folder.replace('/', "%2F"))
}

fn start(settings: &[&str]) -> PathBuf {
    remove_leftovers();
    let folder = std::env::temp_dir().join(format!("{FOLDER}{}", std::process::id()));
    let user = make_cluster(&folder);
    let mut server = serve(&folder, user, settings);
    std::thread::spawn(move || server.wait());
    folder
}

/// A PostgreSQL of a test's own, which can be killed. It promises what it does by default: what is
/// committed is on disk.
pub struct Postgres {
    folder: PathBuf,
    user: User,
    server: Child,
}

impl Postgres {
    pub fn start() -> Postgres {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        remove_leftovers();
        let name = format!("{OWN_FOLDER}{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let user = make_cluster(&folder);
        let server = serve(&folder, user, &[]);
        Postgres { folder, user, server }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// The address of its one database, without a detour.
    pub fn url(&self) -> String {
        url_in(&self.folder, "postgres")
    }

    /// Kills all of it at once, as a power cut would: first nobody starts anything any more, then the
    /// processes that serve connections, then the one that they belong to.
    pub fn kill(&mut self) {
        let server = self.server.id();
        signal(server, libc::SIGSTOP);
        // Until then it goes on starting processes, and one that nobody kills holds its memory.
        while !["T", "Z"].contains(&field(server, 0).as_deref().unwrap_or("Z")) {
            std::thread::sleep(Duration::from_millis(1));
        }
        for child in children(server) {
            signal(child, libc::SIGKILL);
        }
        signal(server, libc::SIGKILL);
        self.server.wait().expect("it ends");
    }

    /// Starts it again on what the dead one left.
    pub fn start_again(&mut self) {
        self.server = serve(&self.folder, self.user, &[]);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What a process can be told has no answer: it may be gone already.
fn signal(process: u32, signal: libc::c_int) {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(process as libc::pid_t, signal) };
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("the processes").flatten();
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    numbers.filter(|process| field(*process, 1) == Some(parent.to_string())).collect()
}

/// What the system says of a process after its name: its state, its parent, and so on. None: there
/// is no such process.
fn field(process: u32, at: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name stands in parentheses.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().nth(at).map(str::to_owned)
}

/// Who PostgreSQL runs as, where that is someone else: it refuses to run as root.
type User = Option<(u32, u32)>;

/// The folders' names begin so, and go on with the number of the run's process.
const FOLDER: &str = "cairn-postgres-";
const OWN_FOLDER: &str = "cairn-own-postgres-";
const SOCKET: &str = ".s.PGSQL.5432";
/// What the last start of a server told.
const LOG: &str = "log";

/// Makes a folder with an empty cluster in it.
fn make_cluster(folder: &Path) -> User {
    std::fs::create_dir_all(folder).expect("a folder for PostgreSQL");
    let user = (unsafe { libc::getuid() } == 0).then(postgres_user);
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(folder, Some(uid), Some(gid)).expect("the folder changes hands");
    }
    let mut initdb = Command::new(binary("initdb"));
    initdb
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .arg("--pgdata")
        .arg(folder.join("data"));
    let made = as_user(&mut initdb, user).current_dir(folder).output().expect("initdb runs");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    user
}

/// Starts a server on a folder's cluster, and waits until it answers. One that gives up is started
/// again, as whoever looks after a server does.
fn serve(folder: &Path, user: User, settings: &[&str]) -> Child {
    let until = Instant::now() + Duration::from_secs(60);
    let mut server = launch(folder, user, settings);
    while !(folder.join(SOCKET).exists() && is_ready(folder)) {
        if Instant::now() > until {
            let log = std::fs::read_to_string(folder.join(LOG)).unwrap_or_default();
            panic!("PostgreSQL did not start:\n{log}");
        }
        if server.try_wait().expect("its state").is_some() {
            server = launch(folder, user, settings);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn launch(folder: &Path, user: User, settings: &[&str]) -> Child {
    let mut server = Command::new(binary("postgres"));
    server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder).args(["-h", ""]);
    for setting in settings {
        server.args(["-c", setting]);
    }
    let log = File::create(folder.join(LOG)).expect("a log for PostgreSQL");
    as_user(&mut server, user).current_dir(folder).stdout(Stdio::null()).stderr(log);
    keeper::spawn(server, libc::SIGQUIT)
}

fn is_ready(folder: &Path) -> bool {
    Command::new(binary("pg_isready"))
        .arg("-h")
        .arg(folder)
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn as_user(command: &mut Command, user: User) -> &mut Command {
    match user {
        Some((uid, gid)) => command.uid(uid).gid(gid),
        None => command,
    }
}

fn postgres_user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("the users");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("user postgres");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("a number"));
    (fields.next().expect("a uid"), fields.next().expect("a gid"))
}

/// A program of PostgreSQL's: the newest under Debian's folder, else what the PATH has.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .max()
        .unwrap_or_else(|| name.into())
}

/// Removes the folders of runs that are over.
fn remove_leftovers() {
    let folders = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for folder in folders {
        let name = folder.file_name().to_string_lossy().into_owned();
        let run = [FOLDER, OWN_FOLDER].iter().find_map(|prefix| name.strip_prefix(prefix));
        let Some(pid) = run.and_then(|run| run.split('-').next()) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(folder.path());
        }
    }
}
