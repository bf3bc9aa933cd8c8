//! How a server begins and ends, alone and as one of several.

use std::time::Duration;

use cairn::app;
use cairn::config::limits;
use cairn::db::{Db, Errand};
use cairn::files::Files;
use futures_util::StreamExt;
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::support::{
    App, Backend, Process, Redis, Socket, TestDatabase, ask, client, eventually, open_files,
};

async fn status(url: &str, path: &str) -> Option<u16> {
    let answer = client().get(format!("{url}{path}")).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

async fn token(url: &str) -> String {
    let account = "(input: { email: \"ada@example.org\", password: \"correct horse\" })";
    let client = client();
    let register = format!("mutation {{ register{account} {{ id }} }}");
    ask(&client, url, None, &register, json!({})).await;
    let login = format!("mutation {{ login{account} {{ token }} }}");
    let answer = ask(&client, url, None, &login, json!({})).await;
    answer["data"]["login"]["token"].as_str().expect("a token").to_owned()
}

/// A request whose body comes in two parts: the second when it is told to. Gives its status.
fn in_two_parts(url: &str) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Option<u16>>) {
    let (go_on, told) = mpsc::channel::<()>(1);
    let body = futures_util::stream::unfold((told, 0), async |(mut told, part)| {
        let bytes = match part {
            0 => "{ \"query\":",
            1 => {
                told.recv().await;
                "\"{ hello }\" }"
            }
            _ => return None,
        };
        Some((Ok::<_, std::io::Error>(bytes), (told, part + 1)))
    });
    let request = client()
        .post(format!("{url}/graphql"))
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(body.boxed()));
    let sent =
        tokio::spawn(
            async move { request.send().await.ok().map(|answer| answer.status().as_u16()) },
        );
    (go_on, sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_says_so_then_sends_its_sockets_away_then_finishes_its_work()
{
    let (mut process, url) = Process::serve(&[("SHUTDOWN_DELAY", "3")]).await;
    let token = token(&url).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(Socket::connect(&url, &token).await);
    }
    // One that nobody reads from, and one that has not yet said who it is of.
    let _deaf = Socket::connect(&url, &token).await;
    let mut mute = Socket::open(&url).await;
    let (go_on, sent) = in_two_parts(&url);
    assert_eq!(status(&url, "/readyz").await, Some(200));
    process.terminate();
    process.logged("not ready any more").await;
    assert_eq!(status(&url, "/readyz").await, Some(503));
    assert_eq!(status(&url, "/healthz").await, Some(200));
    let answer = ask(&client(), &url, None, "{ hello }", json!({})).await;
    assert_eq!(answer["data"]["hello"], "Hello from Cairn");
    assert_eq!(Socket::try_open(&url, Some("graphql-transport-ws")).await.err(), Some(503));
    // Those that are there still have time.
    sockets[0].subscribe("pokes", None).await;
    sockets[0].poke().await;
    for mut socket in sockets {
        assert_eq!(socket.closed().await, 1001);
    }
    assert_eq!(mute.closed().await, 1001);
    process.logged("finishing what is in flight").await;
    go_on.send(()).await.expect("the request waits");
    assert_eq!(sent.await.expect("it is sent"), Some(200));
    let (ended, log) = process.ended().await;
    assert!(ended.success(), "{ended}\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_finish_is_cut_off() {
    let (mut process, url) = Process::serve(&[]).await;
    let (_never, sent) = in_two_parts(&url);
    // The request has arrived: the server would otherwise not wait for it.
    eventually("it is ready", async || status(&url, "/readyz").await == Some(200)).await;
    process.terminate();
    process.logged("were cut off").await;
    let (ended, log) = process.ended().await;
    assert!(ended.success(), "{ended}\n{log}");
    assert_eq!(sent.await.expect("it is sent"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_the_database_and_not_redis() {
    let mut redis = Redis::start();
    let database = TestDatabase::create(Backend::Postgres).await;
    let app = App::on(database.again(), &["--redis-url", &redis.url]).await;
    redis.pause();
    assert_eq!(status(&app.url, "/readyz").await, Some(200));
    redis.kill();
    assert_eq!(status(&app.url, "/readyz").await, Some(200));
    // Nobody comes in any more, and those who are in are thrown out.
    let name = database.url.split(['/', '?']).nth(3).expect("a name").to_owned();
    let outside = Db::connect(&database.url.replacen(&name, "postgres", 1)).await;
    let outside = outside.expect("PostgreSQL answers");
    let execute = async |sql: String| {
        outside.pool().execute_unprepared(&sql).await.expect("it is done");
    };
    execute(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    execute(format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ))
    .await;
    eventually("it is unready", async || status(&app.url, "/readyz").await == Some(503)).await;
    assert_eq!(status(&app.url, "/healthz").await, Some(200));
    execute(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    eventually("it is ready", async || status(&app.url, "/readyz").await == Some(200)).await;
    // A connection that was used just before it was thrown out fails once.
    let pool = app.db().pool();
    eventually("all connections are new", async || {
        let all = (0..20).map(|_| pool.execute_unprepared("SELECT 1"));
        futures_util::future::join_all(all).await.iter().all(Result::is_ok)
    })
    .await;
    app.finish().await;
}

/// A server without a Redis that it is told to use starts and works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_without_redis_and_finds_it_later() {
    let mut redis = Redis::start();
    redis.kill();
    let app = App::start_with(Backend::Postgres, &["--redis-url", &redis.url]).await;
    let ada = app.device_of("ada").await;
    let mut socket = Socket::of(&app.url, &ada).await;
    ada.trip("Alps").await;
    socket.poke().await;
    redis.start_again();
    // Others may have told something meanwhile.
    socket.poke().await;
    app.finish().await;
    let bad = Process::spawn(&[("REDIS_URL", "http://:secret@localhost")]);
    let (status, log) = bad.ended().await;
    assert!(!status.success() && log.contains("REDIS_URL") && !log.contains("secret"), "{log}");
}

/// Where an answer came from.
async fn source(url: &str, token: &str) -> String {
    let query = json!({ "query": "{ trips { id } }" });
    let asked = client().post(format!("{url}/graphql")).bearer_auth(token).json(&query);
    let answer = asked.send().await.expect("the server answers");
    assert_eq!(answer.status(), 200);
    answer.headers()["x-cairn-cache"].to_str().expect("text").to_owned()
}

/// Two instances share a Redis that speaks TLS, and the third does not know its certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_reach_a_redis_by_tls_whose_certificate_they_know() {
    for is_cluster in [false, true] {
        let redis = Redis::with_tls(is_cluster);
        let database = TestDatabase::create(Backend::Postgres).await;
        let certificate = redis.certificate();
        let certificate = certificate.to_str().expect("text");
        let settings = [
            ("DATABASE_URL", database.url.as_str()),
            ("JWT_SECRET", "a secret that all instances share"),
            ("CACHE_TTL_LOCAL", "0"),
            ("PUBLIC_URL", "https://cairn.example.org"),
            ("REDIS_URL", &redis.url),
            ("RUST_LOG", "info"),
        ];
        let (stranger, strange) = Process::serve(&settings).await;
        let settings = [&settings[..], &[("SSL_CERT_FILE", certificate)]].concat();
        let (_one, first) = Process::serve(&settings).await;
        let (_two, second) = Process::serve(&settings).await;
        let token = token(&first).await;
        let mut socket = Socket::connect(&second, &token).await;
        socket.subscribe("pokes", None).await;
        socket.poke().await;
        eventually("it is kept", async || source(&first, &token).await == "hit-redis").await;
        assert_eq!(source(&second, &token).await, "hit-redis");
        assert_eq!(source(&strange, &token).await, "miss");
        // News go the same way.
        let trip = "mutation { createTrip(input: { name: \"Alps\", startDate: \"2026-07-01T00:00:00Z\" }) { id } }";
        let made = ask(&client(), &first, Some(&token), trip, json!({})).await;
        assert!(made["errors"].is_null(), "{made}");
        socket.poke().await;
        let log = stranger.kill().await;
        assert!(log.contains("Redis") && log.contains("ertificate"), "{log}");
    }
}

async fn empty_database() -> (TestDatabase, Db) {
    let database = TestDatabase::create(Backend::Postgres).await;
    let db = Db::connect(&database.url).await.expect("PostgreSQL answers");
    let empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    db.pool().execute_unprepared(empty).await.expect("an empty database");
    (database, db)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_servers_that_start_at_once_one_migrates() {
    let (database, _db) = empty_database().await;
    let settings = [("DATABASE_URL", database.url.as_str())];
    let all = futures_util::future::join_all((0..4).map(|_| Process::serve(&settings))).await;
    for (process, url) in all {
        assert_eq!(status(&url, "/readyz").await, Some(200));
        process.terminate();
        let (ended, log) = process.ended().await;
        assert!(ended.success(), "{ended}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_while_another_migrates_and_goes_on_when_that_dies() {
    let (database, db) = empty_database().await;
    // The other one has got no further than to begin.
    let _turn = db.turn(Errand::Migrate).await.expect("PostgreSQL answers");
    let settings = [("DATABASE_URL", database.url.as_str()), ("LISTEN", "127.0.0.1:0")];
    let mut process = Process::spawn(&settings);
    let log = process.logged("another instance is at it: waiting").await;
    assert!(!log.contains("listening"));
    // It did not let go of anything.
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    db.pool().execute_unprepared(kill).await.expect("it is killed");
    process.logged("listening on").await;
    process.terminate();
    assert!(process.ended().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_cleans_up_a_day_and_another_takes_over_if_it_dies() {
    use entity::session::{Entity as Sessions, Model};
    let database = TestDatabase::create(Backend::Postgres).await;
    let [one, other] = [(); 2].map(|()| Db::connect(&database.url));
    let (one, other) = (one.await.expect("PostgreSQL"), other.await.expect("PostgreSQL"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("a folder's name is text");
    let files: Files = open_files(&["--files-dir", path], b"key").expect("good settings");
    let [retention, grace] = [90, 3].map(|days| Duration::from_secs(days * 86_400));
    let clean = async |db: &Db| {
        app::clean_if_due(db, &files, retention, grace).await.expect("PostgreSQL answers");
    };
    // Something to clean up: a session that has expired.
    let expire = async || {
        let session =
            Model { id: Uuid::new_v4(), account_id: Uuid::nil(), created_at: 0, expires_at: 0 };
        let insert = Sessions::insert(session.into_active_model());
        insert.exec_without_returning(one.pool()).await.expect("it is written");
    };
    let left = async || Sessions::find().count(one.pool()).await.expect("they are counted");
    expire().await;
    // One begins, and dies before it has done anything.
    let turn = one.try_turn(Errand::CleanUp).await.expect("PostgreSQL answers").expect("its turn");
    clean(&other).await;
    assert_eq!(left().await, 1, "another one is at it");
    drop(turn);
    eventually("another takes over", async || {
        clean(&other).await;
        left().await == 0
    })
    .await;
    // For today it is done.
    expire().await;
    clean(&one).await;
    clean(&other).await;
    assert_eq!(left().await, 1);
    let yesterday =
        "UPDATE setting SET value = (value::bigint - 86400000)::text WHERE name = 'cleaned_at'";
    one.pool().execute_unprepared(yesterday).await.expect("it is written");
    eventually("the next day", async || {
        clean(&one).await;
        left().await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_cleans_up_without_being_told_to() {
    use entity::session::{Entity as Sessions, Model};
    let database = TestDatabase::create(Backend::Postgres).await;
    let db = Db::connect(&database.url).await.expect("PostgreSQL answers");
    let session =
        Model { id: Uuid::new_v4(), account_id: Uuid::nil(), created_at: 0, expires_at: 0 };
    let insert = Sessions::insert(session.into_active_model());
    insert.exec_without_returning(db.pool()).await.expect("it is written");
    let settings = [("DATABASE_URL", database.url.as_str()), ("LISTEN", "127.0.0.1:0")];
    let process = Process::spawn(&settings);
    eventually("what has expired is gone", async || {
        Sessions::find().count(db.pool()).await.expect("they are counted") == 0
    })
    .await;
    process.terminate();
    assert!(process.ended().await.0.success());
}

/// Readiness asks for a stamp: however busy requests are, the database is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_instance_does_alone_waits_for_no_request() {
    for backend in Backend::ALL {
        let database = TestDatabase::create(backend).await;
        let db = Db::connect(&database.url).await.expect("a database");
        let mut busy = Vec::new();
        for _ in 0..limits::DB_CONNECTIONS {
            busy.push(db.begin_snapshot().await.expect("a connection"));
        }
        db.stamp().await.expect("it answers");
        let turn = db.try_turn(Errand::CleanUp).await.expect("it answers");
        assert!(turn.is_some());
    }
}

/// Shells allow programs few files; a server with thousands of sockets needs what it may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_takes_as_many_files_as_it_may() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut shell = tokio::process::Command::new("sh");
    shell
        .args(["-c", "ulimit -Sn 256 && exec \"$0\"", env!("CARGO_BIN_EXE_cairn")])
        .current_dir(folder.path())
        .env("LISTEN", "127.0.0.1:0")
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true);
    let server = shell.spawn().expect("it starts");
    let [program, limits] =
        ["exe", "limits"].map(|what| format!("/proc/{}/{what}", server.id().expect("it runs")));
    eventually("its limits are equal", async || {
        // Before that it is still the shell.
        if !std::fs::read_link(&program).is_ok_and(|program| program.ends_with("cairn")) {
            return false;
        }
        let limits = std::fs::read_to_string(&limits).expect("it runs");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("files");
        let [soft, hard] = [3, 4].map(|at| line.split_whitespace().nth(at).expect("a number"));
        soft == hard && soft != "256"
    })
    .await;
}
