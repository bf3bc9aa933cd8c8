//! Accounts for benches that run a server in a process of its own.

use std::path::Path;

use serde_json::json;

use crate::support::{Backend, Process, Redis, TestDatabase, ask, client};

/// What a server on PostgreSQL has beside it.
pub struct Beside {
    database: TestDatabase,
    redis: Redis,
}

impl Beside {
    pub async fn start() -> Beside {
        let redis = Redis::start();
        Beside { database: TestDatabase::create(Backend::Postgres).await, redis }
    }

    pub fn settings(&self) -> Vec<(&str, &str)> {
        let secret = ("JWT_SECRET", "a secret that all instances share");
        vec![("DATABASE_URL", &self.database.url), ("REDIS_URL", &self.redis.url), secret]
    }
}

/// Starts the server with these settings, on SQLite; where the bench is called with the word `postgres`, on
/// PostgreSQL with Redis, which last as long as what is given beside the process and its URL.
pub async fn serve(folder: &Path, settings: &[(&str, &str)]) -> (Process, String, Option<Beside>) {
    let beside = match std::env::args().any(|argument| argument == "postgres") {
        true => Some(Beside::start().await),
        false => None,
    };
    let more = beside.iter().flat_map(Beside::settings);
    let settings: Vec<_> = settings.iter().copied().chain(more).collect();
    let (process, url) = Process::serve_in(folder, &settings).await;
    (process, url, beside)
}

/// Makes an account on a server that was started, and gives a token.
pub async fn log_in(url: &str, number: usize) -> String {
    let client = client();
    let input = json!({ "email": format!("{number}@example.org"), "password": "correct horse" });
    for request in ["register(input: $input) { id }", "login(input: $input) { token }"] {
        let document = format!("mutation($input: UserInput!) {{ {request} }}");
        let answer = ask(&client, url, None, &document, json!({ "input": input })).await;
        if let Some(token) = answer["data"]["login"]["token"].as_str() {
            return token.to_owned();
        }
        assert!(answer["errors"].is_null(), "{answer}");
    }
    panic!("no token");
}
