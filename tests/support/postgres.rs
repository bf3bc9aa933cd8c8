//! One private PostgreSQL for the whole run, and a database of its own for each test.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

fn url(database: &str) -> String {
    let folder = CLUSTER.get().expect("the cluster runs").display().to_string();
    format!("postgres://postgres@localhost/{database}?host={}", folder.replace('/', "%2F"))
}

fn start(settings: &[&str]) -> PathBuf {
    remove_leftovers();
    let folder = std::env::temp_dir().join(format!("cairn-postgres-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for PostgreSQL");
    // PostgreSQL refuses to run as root.
    let user = (unsafe { libc::getuid() } == 0).then(postgres_user);
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).expect("the folder changes hands");
    }
    let data = folder.join("data");
    let mut initdb = Command::new(binary("initdb"));
    initdb
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .arg("--pgdata")
        .arg(&data);
    let made = as_user(&mut initdb, user).current_dir(&folder).output().expect("initdb runs");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

    let mut server = Command::new(binary("postgres"));
    server.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-h", ""]);
    for setting in settings {
        server.args(["-c", setting]);
    }
    as_user(&mut server, user).current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = keeper::spawn(server, libc::SIGQUIT);
    std::thread::spawn(move || server.wait());
    let until = Instant::now() + Duration::from_secs(30);
    let socket = folder.join(".s.PGSQL.5432");
    while !(socket.exists() && is_ready(&folder)) {
        assert!(Instant::now() < until, "PostgreSQL did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    folder
}

fn is_ready(folder: &Path) -> bool {
    Command::new(binary("pg_isready"))
        .arg("-h")
        .arg(folder)
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
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
        let Some(pid) = name.strip_prefix("cairn-postgres-") else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(folder.path());
        }
    }
}
