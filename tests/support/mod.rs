//! Starts the app and its servers, and lets tests read as stories.

pub mod browser;
mod cdn;
mod device;
mod dice;
mod fleet;
pub mod inbox;
mod keeper;
mod older;
mod postgres;
mod process;
mod proxy;
mod redis;
mod s3;
pub mod sigv4;
mod socket;
mod variant;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cairn::admission::Admission;
use cairn::cache::Cache;
use cairn::config::{Config, FilesConfig};
use cairn::db::Db;
use cairn::files::Files;
use cairn::sync::check;
use clap::Parser;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use browser::Browser;
pub use cdn::Cdn;
pub use device::{Device, PUSH, Pushed, RESOLVE, Rows, apply, create, delete, pull_query, update};
pub use dice::Dice;
pub use fleet::{Fleet, Line, Shared};
pub use older::Older;
pub use postgres::Postgres;
pub use process::{Finished, Process};
pub use proxy::{Mode, Proxy, Side, Target};
pub use redis::Redis;
pub use s3::S3;
pub use socket::{Heard, Socket};
pub use variant::Variant;

/// Defines a test that runs on both databases.
#[macro_export]
macro_rules! both {
    ($($(#[$attr:meta])* async fn $name:ident($app:ident: &App) $body:block)*) => {
        $(
            $(#[$attr])*
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                async fn story($app: &$crate::support::App) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    let app = $crate::support::App::start($crate::support::Backend::Sqlite).await;
                    story(&app).await;
                    app.finish().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    let app = $crate::support::App::start($crate::support::Backend::Postgres).await;
                    story(&app).await;
                    app.finish().await;
                }
            }
        )*
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub const ALL: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];
}

/// A database of its own, empty but for the schema; gone with the test.
pub struct TestDatabase {
    pub url: String,
    pub backend: Backend,
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    pub async fn create(backend: Backend) -> TestDatabase {
        TestDatabase::create_with(backend, postgres::FOR_TESTS).await
    }

    /// With settings of PostgreSQL's; those of the first to ask hold for the whole run.
    pub async fn create_with(backend: Backend, settings: &[&str]) -> TestDatabase {
        match backend {
            Backend::Postgres => {
                TestDatabase { url: postgres::database(settings).await, backend, _folder: None }
            }
            Backend::Sqlite => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let file = folder.path().join("cairn.db");
                std::fs::copy(sqlite_template().await, &file).expect("the template can be copied");
                let url = format!("sqlite://{}?mode=rwc", file.display());
                TestDatabase { url, backend, _folder: Some(folder) }
            }
        }
    }
}

impl TestDatabase {
    /// The same database of PostgreSQL by a line that can fail.
    pub async fn by_a_line(&self) -> (Proxy, TestDatabase) {
        let line = Proxy::to(Target::Socket(postgres::shared_socket())).await;
        let name = self.url.split(['/', '?']).nth(3).expect("a name");
        let url = format!("postgres://postgres@{}/{name}", line.address);
        (line, TestDatabase { url, ..self.again() })
    }

    /// The same database, for another server. It is gone with the first.
    pub fn again(&self) -> TestDatabase {
        TestDatabase { url: self.url.clone(), backend: self.backend, _folder: None }
    }
}

/// A migrated SQLite file, made once a run: copying is quicker than migrating.
async fn sqlite_template() -> PathBuf {
    static TEMPLATE: tokio::sync::OnceCell<(tempfile::TempDir, PathBuf)> =
        tokio::sync::OnceCell::const_new();
    let make = async || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("template.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let db = Db::connect(&url).await.expect("SQLite opens");
        cairn::app::migrate(&db).await.expect("SQLite migrates");
        db.close().await.expect("SQLite closes");
        (folder, file)
    };
    TEMPLATE.get_or_init(make).await.1.clone()
}

/// A running server on a database of its own.
pub struct App {
    pub database: TestDatabase,
    pub url: String,
    pub client: reqwest::Client,
    /// Where it keeps files.
    pub files: tempfile::TempDir,
    /// Who is worked for, and who waits.
    pub admission: Admission,
    pub cache: Arc<Cache>,
    db: Db,
    server: Option<Server>,
}

/// What stops when it is told to, or when this is dropped.
struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// What the checks take for remembered; tests that clean up say less.
pub const RETENTION: Duration = Duration::from_secs(90 * 86_400);

impl App {
    pub async fn start(backend: Backend) -> App {
        App::start_with(backend, &[]).await
    }

    /// With command-line arguments for the settings.
    pub async fn start_with(backend: Backend, arguments: &[&str]) -> App {
        let database = TestDatabase::create(backend).await;
        App::on(database, arguments).await
    }

    /// On a database that is there already.
    pub async fn on(database: TestDatabase, arguments: &[&str]) -> App {
        let files = tempfile::tempdir().expect("a temporary folder");
        let Served { url, server, admission, cache } =
            serve(&database, files.path(), arguments).await;
        let db = Db::connect(&database.url).await.expect("the database opens");
        let client = client();
        App { database, url, client, files, admission, cache, db, server: Some(server) }
    }

    /// Another instance on the same database.
    pub async fn beside(&self, arguments: &[&str]) -> App {
        App::on(self.database.again(), arguments).await
    }

    /// The test's own connections to the database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The server's file store, opened a second time: its URLs are good on the server.
    pub async fn file_store(&self) -> Files {
        use sea_orm::EntityTrait;
        let key = entity::setting::Entity::find_by_id("files_key").one(self.db.pool()).await;
        let key = key.expect("settings can be read").expect("the server has made a key").value;
        let folder = self.files.path().to_str().expect("a folder's name is text");
        open_files(&["--files-dir", folder], key.as_bytes()).expect("good settings")
    }

    /// Sends one GraphQL request, and gives back the whole answer.
    pub async fn ask(&self, token: Option<&str>, query: &str, variables: Json) -> Json {
        ask(&self.client, &self.url, token, query, variables).await
    }

    /// Registers an account, and gives a token.
    pub async fn register(&self, name: &str) -> String {
        let input = json!({ "email": format!("{name}@example.org"), "password": "correct horse" });
        let register = "mutation($input: UserInput!) { register(input: $input) { id } }";
        let answer = self.ask(None, register, json!({ "input": input })).await;
        assert!(answer["errors"].is_null(), "{answer}");
        let login = "mutation($input: UserInput!) { login(input: $input) { token } }";
        let answer = self.ask(None, login, json!({ "input": input })).await;
        answer["data"]["login"]["token"].as_str().expect("a token").to_owned()
    }

    /// A new account with one device.
    pub async fn device_of(&self, name: &str) -> Device<'_> {
        let token = self.register(name).await;
        Device::new(self, name, token)
    }

    /// A new account with two devices.
    pub async fn two_devices_of(&self, name: &str) -> [Device<'_>; 2] {
        let token = self.register(name).await;
        [Device::new(self, name, token.clone()), Device::new(self, name, token)]
    }

    /// As if everything until now had happened so much earlier. What rows say of their own times
    /// stays.
    pub async fn age(&self, by: Duration) {
        let by = by.as_millis();
        let mut columns = vec![
            ("scope", "head_at"),
            ("tick", "at"),
            ("membership", "granted_at"),
            ("membership", "removed_at"),
            ("deletion", "at"),
            ("receipt", "at"),
            ("revision", "at"),
            ("conflict", "at"),
            ("conflict", "resolved_at"),
            ("conflict_edit", "at"),
            ("undone", "at"),
            ("undone", "resolved_at"),
            ("buried", "deleted_at"),
        ];
        columns.extend(cairn::kinds::all().map(|kind| (kind.table, "deleted_at")));
        for (table, column) in columns {
            self.execute(&format!("UPDATE {table} SET {column} = {column} - {by}")).await;
        }
    }

    /// Runs a statement behind the server's back.
    pub async fn execute(&self, sql: &str) {
        use sea_orm::ConnectionTrait;
        self.db.pool().execute_unprepared(sql).await.expect(sql);
        self.forget_answers().await;
    }

    /// Empties the cache. Whoever changes the database behind the server's back moves no head.
    pub async fn forget_answers(&self) {
        self.cache.forget();
        for key in self.kept_in(variant::shared()).await {
            variant::shared().ask(&format!("DEL {key}"));
        }
    }

    /// The keys of this database's answers in a Redis.
    pub async fn kept_in(&self, redis: &Redis) -> Vec<String> {
        let epoch = cairn::app::epoch(&self.db).await.expect("the database has an epoch");
        let all = redis.ask(&format!("KEYS cairn:{epoch}:answer:*"));
        all.lines().filter(|line| line.starts_with("cairn:")).map(str::to_owned).collect()
    }

    /// Everything that is wrong with the database.
    pub async fn problems(&self, retention: Duration) -> Vec<String> {
        check::check(&self.db, retention).await.expect("the check runs")
    }

    /// Stops the server, and starts it again on the same database.
    pub async fn restart(&mut self) {
        self.stop_server().await;
        let Served { url, server, admission, cache } =
            serve(&self.database, self.files.path(), &[]).await;
        self.url = url;
        self.admission = admission;
        self.cache = cache;
        self.server = Some(server);
    }

    async fn stop_server(&mut self) {
        if let Some(Server { stop, task }) = self.server.take() {
            drop(stop);
            task.await.expect("the server does not panic").expect("the server stops");
        }
    }

    /// Stops the server and verifies every invariant of what it leaves behind.
    pub async fn finish(self) {
        self.finish_with(RETENTION).await;
    }

    pub async fn finish_with(mut self, retention: Duration) {
        self.stop_server().await;
        let problems = self.problems(retention).await;
        assert!(problems.is_empty(), "the database is damaged:\n{}", problems.join("\n"));
        self.db.close().await.expect("the database closes");
    }
}

/// Opens a file store by command-line arguments.
pub fn open_files(arguments: &[&str], signing_key: &[u8]) -> Result<Files, String> {
    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: FilesConfig,
    }
    let all = [&["cairn"], arguments].concat();
    let config = Arguments::try_parse_from(all).map_err(|error| error.to_string())?.config;
    Files::new(&config, signing_key)
}

/// Waits until something is so. Only a test that fails waits for long.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(std::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn client() -> reqwest::Client {
    // It has TLS, which needs to be told how; no test uses it.
    cairn::tls::provide();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    builder.build().expect("a client")
}

pub async fn ask(
    client: &reqwest::Client,
    url: &str,
    token: Option<&str>,
    query: &str,
    variables: Json,
) -> Json {
    let mut request = client
        .post(format!("{url}/graphql"))
        .json(&json!({ "query": query, "variables": variables }));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.expect("the server answers");
    response.json().await.expect("the answer is JSON")
}

/// A server that was started in this process.
struct Served {
    url: String,
    server: Server,
    admission: Admission,
    cache: Arc<Cache>,
}

async fn serve(database: &TestDatabase, files: &Path, arguments: &[&str]) -> Served {
    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }
    log();
    let files = files.to_str().expect("a folder's name is text");
    let fixed = ["cairn", "--database-url", &database.url, "--files-dir", files, "--no-migrate"];
    // Tests come from one address, and do in a second what people do in a day.
    let limits = ["--password-limit", "--address-limit", "--write-limit", "--address-write-limit"];
    let unlimited = limits.into_iter().filter(|limit| !arguments.contains(limit));
    let unlimited = unlimited.flat_map(|limit| [limit, "0"]);
    // A test that is about these decides itself.
    let decides = arguments.iter().any(|argument| {
        ["--redis-url", "--cache-ttl-local", "--sync-cache-ttl"].contains(argument)
    });
    let variant =
        if decides { Vec::new() } else { Variant::of_this_test_on(database.backend).arguments() };
    let all = fixed.into_iter().chain(unlimited).chain(variant).chain(arguments.iter().copied());
    let config = Arguments::try_parse_from(all).expect("good settings").config;
    config.check().expect("good settings");
    let app = cairn::app::App::new(config).await.expect("the app starts");
    let cache = app.cache().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let admission = app.admission().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(app.run(listener, async {
        // Dropping the sender stops, too.
        let _ = stopped.await;
    }));
    Served { url, server: Server { stop, task }, admission, cache }
}

/// Shows the server's log when RUST_LOG asks for it.
fn log() {
    static LOG: OnceLock<()> = OnceLock::new();
    LOG.get_or_init(|| {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_test_writer()
            .init();
    });
}

/// Runs a property test on one server: 24 cases that are the same each time, or as many others as
/// PROPTEST_CASES says. A failure tells its seed; PROPTEST_RNG_SEED repeats it. Each case gets a name
/// for its accounts.
pub fn property<S: proptest::strategy::Strategy>(
    backend: Backend,
    inputs: S,
    prepare: impl AsyncFnOnce(&App),
    case: impl AsyncFn(&App, String, S::Value) -> Result<(), proptest::test_runner::TestCaseError>,
) {
    property_with(backend, &[], 24, inputs, prepare, case);
}

/// The same on a server with these settings, with so many cases.
pub fn property_with<S: proptest::strategy::Strategy>(
    backend: Backend,
    arguments: &[&str],
    cases: u32,
    inputs: S,
    prepare: impl AsyncFnOnce(&App),
    case: impl AsyncFn(&App, String, S::Value) -> Result<(), proptest::test_runner::TestCaseError>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let app = runtime.block_on(async {
        let app = App::start_with(backend, arguments).await;
        prepare(&app).await;
        app
    });
    explore(cases, 200, inputs, |number, input| {
        runtime.block_on(case(&app, format!("user{number}"), input))
    });
    runtime.block_on(app.finish());
}

/// Tries a property with so many inputs, the same each time, or as many others as PROPTEST_CASES says;
/// each has a number. One that fails is made smaller in so many steps, and tells its seed.
pub fn explore<S: proptest::strategy::Strategy>(
    cases: u32,
    steps: u32,
    inputs: S,
    case: impl Fn(usize, S::Value) -> Result<(), proptest::test_runner::TestCaseError>,
) {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let given = number("PROPTEST_CASES");
    let hunt = || given.map(|_| uuid::Uuid::new_v4().as_u64_pair().0);
    let seed = number("PROPTEST_RNG_SEED").or_else(hunt).unwrap_or(0);
    let config = proptest::test_runner::Config {
        cases: given.map_or(cases, |given| given as u32),
        max_shrink_iters: steps,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(seed),
        ..Default::default()
    };
    let next = std::sync::atomic::AtomicUsize::new(0);
    let result = proptest::test_runner::TestRunner::new(config)
        .run(&inputs, |input| case(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed), input));
    if let Err(failure) = result {
        panic!("{failure}\nPROPTEST_RNG_SEED={seed} repeats it");
    }
}
