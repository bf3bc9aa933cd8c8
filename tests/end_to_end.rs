//! The real binary, from an empty directory to a whole journal, through restarts and a kill (G9).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::{
    Backend, PUSH, Process, TestDatabase, Variant, ask, client, create, pull_query,
};

/// A `cairn serve` of its own.
struct Server {
    process: Process,
    url: String,
}

impl Server {
    /// Starts it in a folder, and waits until it says where it listens.
    async fn start(folder: &Path, database: Option<&str>) -> Server {
        let backend = if database.is_some() { Backend::Postgres } else { Backend::Sqlite };
        let mut settings = Variant::of_this_test_on(backend).settings();
        settings.extend(database.map(|url| ("DATABASE_URL", url)));
        let (process, url) = Process::serve_in(folder, &settings).await;
        Server { process, url }
    }

    async fn stop(self) {
        self.process.terminate();
        let (status, log) = self.process.ended().await;
        assert!(status.success(), "a graceful end: {status}\n{log}");
    }
}

struct Journal {
    token: String,
    phone: Uuid,
    client: reqwest::Client,
}

impl Journal {
    async fn ask(&self, server: &Server, query: &str, variables: Json) -> Json {
        let answer = ask(&self.client, &server.url, Some(&self.token), query, variables).await;
        assert!(answer["errors"].is_null(), "{}", answer["errors"]);
        answer["data"].clone()
    }

    async fn push(&self, server: &Server, device: Uuid, input: &Json) -> Json {
        let variables = json!({ "input": input, "deviceId": device });
        self.ask(server, PUSH, variables).await["bulkSync"].clone()
    }

    /// Pulls everything from the beginning; each row must come once.
    async fn pull(&self, server: &Server, size: u32) -> BTreeMap<String, Json> {
        let mut rows = BTreeMap::new();
        let mut cursor = Json::Null;
        loop {
            let variables = json!({ "size": size, "cursor": cursor });
            let page = self.ask(server, &pull_query(), variables).await["enhancedSync"].clone();
            for kind in cairn::kinds::all() {
                for row in page[kind.list].as_array().expect("a list") {
                    let id = format!("{} {}", kind.name(), row["id"]);
                    assert!(rows.insert(id, row.clone()).is_none(), "each row once");
                }
            }
            cursor = page["nextCursor"].clone();
            if page["hasMore"] == false {
                return rows;
            }
        }
    }
}

async fn log_in(server: &Server) -> Journal {
    let client = client();
    let input = json!({ "input": { "email": "ada@example.org", "password": "correct horse" } });
    let register = "mutation($input: UserInput!) { register(input: $input) { id email } }";
    let answer = ask(&client, &server.url, None, register, input.clone()).await;
    assert_eq!(answer["data"]["register"]["email"], "ada@example.org", "{answer}");
    let login = "mutation($input: UserInput!) { login(input: $input) { token } }";
    let answer = ask(&client, &server.url, None, login, input).await;
    let token = answer["data"]["login"]["token"].as_str().expect("a token").to_owned();
    Journal { token, phone: Uuid::new_v4(), client }
}

async fn whole_journal(database: Option<&str>) {
    let folder = tempfile::tempdir().expect("an empty directory");
    let journal: Json = serde_json::from_str(include_str!("data/journal.json")).expect("JSON");
    let server = Server::start(folder.path(), database).await;
    let user = log_in(&server).await;

    let first = user.push(&server, user.phone, &journal).await;
    assert_eq!(first["processedCount"], 868);
    assert_eq!(first["successful"].as_array().expect("a list").len(), 868, "{first}");
    server.stop().await;

    let server = Server::start(folder.path(), database).await;
    assert_eq!(user.push(&server, user.phone, &journal).await, first, "the same answer");
    let all = user.pull(&server, 1000).await;
    assert_eq!(all.len(), 868);
    for size in [1, 7, 100] {
        assert_eq!(user.pull(&server, size).await, all, "pages of {size}");
    }

    // Two devices edit what both have.
    let memory = journal["memories"][0]["id"].clone();
    let edit = |field: &str, value: &str| {
        json!({ "memories": [{ "id": memory, "operation": "UPDATE", "syncVersion": 1,
            "clientTimestamp": "2026-02-01T00:00:00Z", "operationId": Uuid::new_v4(), field: value }] })
    };
    let tablet = Uuid::new_v4();
    let title = user.push(&server, user.phone, &edit("title", "Aqueduct")).await;
    assert_eq!(title["successful"][0]["syncVersion"], 2);
    let merged = user.push(&server, tablet, &edit("content", "Stone")).await;
    assert_eq!(merged["conflicts"][0]["status"], "RESOLVED");
    let clash = user.push(&server, tablet, &edit("title", "Viaduct")).await;
    assert_eq!(clash["conflicts"][0]["status"], "OPEN");
    // What was acknowledged survives a kill.
    server.process.kill().await;

    let server = Server::start(folder.path(), database).await;
    let rows = user.pull(&server, 100).await;
    let row = &rows[&format!("Memory {memory}")];
    assert_eq!((&row["title"], &row["content"]), (&json!("Aqueduct"), &json!("Stone")));
    assert_eq!((&row["syncVersion"], &row["syncStatus"]), (&json!(3), &json!("CONFLICT")));
    let conflicts =
        user.ask(&server, "{ getConflicts(status: OPEN) { entityId } }", json!({})).await;
    assert_eq!(conflicts["getConflicts"][0]["entityId"], memory);
    server.stop().await;

    let mut check = Command::new(env!("CARGO_BIN_EXE_cairn"));
    check.arg("check").current_dir(folder.path()).env_remove("DATABASE_URL");
    if let Some(url) = database {
        check.env("DATABASE_URL", url);
    }
    let checked = check.output().expect("cairn check runs");
    let says = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && says.contains("all is well"), "{says}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_journal_sqlite() {
    whole_journal(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_journal_postgres() {
    let database = TestDatabase::create(Backend::Postgres).await;
    whole_journal(Some(&database.url)).await;
}

/// Kills the server in the middle of pushes, again and again: what it acknowledged is there, and
/// each batch is there whole or not at all.
async fn killed_while_pushing(database: Option<&str>) {
    let folder = tempfile::tempdir().expect("an empty directory");
    let mut server = Server::start(folder.path(), database).await;
    let user = log_in(&server).await;
    let mut acknowledged = 0;
    let mut sent = Vec::new();
    for round in 0..4 {
        let mut batches = Vec::new();
        for _ in 0..4 {
            let items: Vec<Json> = (0..50)
                .map(|n| create("Tag", Uuid::new_v4(), json!({ "name": format!("{n}") })).1)
                .collect();
            batches.push(json!({ "tags": items }));
        }
        let requests = batches.iter().map(|batch| {
            let body =
                json!({ "query": PUSH, "variables": { "input": batch, "deviceId": user.phone } });
            user.client
                .post(format!("{}/graphql", server.url))
                .bearer_auth(&user.token)
                .json(&body)
                .send()
        });
        let mut requests = requests.map(Box::pin).collect::<Vec<_>>();
        // As many answers as the round's number, then the end.
        for _ in 0..round {
            let (answer, _, rest) = futures_util::future::select_all(requests).await;
            let answer: Json = answer.expect("an answer").json().await.expect("JSON");
            assert_eq!(
                answer["data"]["bulkSync"]["successful"].as_array().expect("a list").len(),
                50
            );
            acknowledged += 1;
            requests = rest;
        }
        // The rest has been sent, too, and is cut off somewhere.
        let _ = futures_util::future::join_all(
            requests
                .iter_mut()
                .map(|request| tokio::time::timeout(std::time::Duration::from_millis(5), request)),
        )
        .await;
        server.process.kill().await;
        sent.extend(batches);
        server = Server::start(folder.path(), database).await;
    }
    let rows = user.pull(&server, 1000).await;
    let mut whole = 0;
    for batch in &sent {
        let items = batch["tags"].as_array().expect("a list");
        let there =
            items.iter().filter(|item| rows.contains_key(&format!("Tag {}", item["id"]))).count();
        assert!(there == 0 || there == 50, "{there} of a batch of 50");
        whole += there / 50;
    }
    assert!(whole >= acknowledged, "{acknowledged} were acknowledged, {whole} are there");
    // Sent again, everything is there once.
    for batch in &sent {
        let answer = user.push(&server, user.phone, batch).await;
        assert_eq!(answer["successful"].as_array().expect("a list").len(), 50);
    }
    assert_eq!(user.pull(&server, 1000).await.len(), sent.len() * 50);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g09_killed_while_pushing_sqlite() {
    killed_while_pushing(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g09_killed_while_pushing_postgres() {
    let database = TestDatabase::create(Backend::Postgres).await;
    killed_while_pushing(Some(&database.url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_migrates_postgresql_by_itself_unless_told_not_to() {
    use sea_orm::ConnectionTrait;
    let database = TestDatabase::create(Backend::Postgres).await;
    let db = cairn::db::Db::connect(&database.url).await.expect("PostgreSQL answers");
    let empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    db.pool().execute_unprepared(empty).await.expect("an empty database");
    let settings = [("DATABASE_URL", database.url.as_str()), ("LISTEN", "127.0.0.1:0")];
    let told = [&settings[..], &[("NO_MIGRATE", "1")]].concat();
    let (status, _) = Process::spawn(&told).ended().await;
    assert!(!status.success(), "there is nothing to serve");
    let (process, url) = Process::serve(&settings).await;
    let answer = ask(&client(), &url, None, "{ hello }", json!({})).await;
    assert_eq!(answer["data"]["hello"], "Hello from Cairn");
    process.terminate();
    let (status, _) = process.ended().await;
    assert!(status.success());
    // Migrated once, it can be served as told.
    let (process, _) = Process::serve(&told).await;
    process.kill().await;
}
