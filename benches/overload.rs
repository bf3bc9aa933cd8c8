//! 10,000 clients that all sync at once with one instance: who is served, how often they have to try,
//! what memory the server takes, and how soon it is as quick as before.
//!
//! The server is the release binary in a process of its own, on SQLite, or with the argument `postgres` on
//! PostgreSQL with Redis. Each client has a connection of
//! its own, pushes a batch and then pulls. All are connected before the first of them asks. A client
//! that is told to come back waits for as long as it was told; after ten tries it gives up. The
//! process fails if fewer than 99.9 % are served, if the server's memory (VmHWM, so its peak) passes
//! 500 MB, or if it is not as quick as before within a second.

mod accounts;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use accounts::{log_in, serve};
use futures_util::{StreamExt, future, stream};
use reqwest::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value as Json, json};
use support::{PUSH, Process, ask, client, create};
use tokio::sync::Barrier;
use tokio::time::sleep;
use uuid::Uuid;

const CLIENTS: usize = 10_000;
const ACCOUNTS: usize = 2_000;
/// Rows in a client's batch: a trip and its memories.
const MEMORIES: usize = 9;
const TRIES: usize = 10;
/// Between two pushes that are measured alone: so often the limit on writes allows them.
const BETWEEN: Duration = Duration::from_millis(50);
/// What must be reached.
const SERVED: f64 = 0.999;
const MEMORY: u64 = 500_000_000;
const RECOVERY: Duration = Duration::from_secs(1);
/// A line for each request would be kept by the test's support. Accounts are made, and clients come,
/// from one address.
const SETTINGS: [(&str, &str); 3] = [
    ("RUST_LOG", "cairn=info,cairn::http=warn"),
    ("ADDRESS_LIMIT", "0"),
    ("ADDRESS_WRITE_LIMIT", "0"),
];
const PULL: &str =
    "{ enhancedSync { trips { id name } memories { id title content } nextCursor } }";

#[tokio::main]
async fn main() -> ExitCode {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("may be raised");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (process, url, _beside) = serve(folder.path(), &SETTINGS).await;
    let started = Instant::now();
    let tokens: Vec<String> =
        stream::iter(0..ACCOUNTS).map(|number| log_in(&url, number)).buffered(8).collect().await;
    println!("{ACCOUNTS} accounts registered and logged in within {:.1?}", started.elapsed());
    println!(
        "memory after that: {:.1} MB, peak {:.1} MB",
        memory(process.id(), "VmRSS"),
        peak(&process)
    );
    let alone = median_alone(&url, &tokens[0]).await;
    println!("one push alone: {alone:.1?} (median)");

    let start = Arc::new(Barrier::new(CLIENTS + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(sync(url.clone(), tokens[number % ACCOUNTS].clone(), start.clone()))
        })
        .collect();
    start.wait().await;
    println!("{CLIENTS} clients are connected: {:.1} MB", memory(process.id(), "VmRSS"));
    let started = Instant::now();
    let outcomes: Vec<Outcome> =
        future::join_all(clients).await.into_iter().map(|done| done.expect("no panic")).collect();
    let storm = started.elapsed();

    let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
    let served = count(|outcome| outcome.served);
    println!(
        "served at the first try:     {}",
        count(|outcome| outcome.served && outcome.told == 0)
    );
    println!("told to come back:           {}", count(|outcome| outcome.told > 0));
    println!("served within their tries:   {served}");
    let broken = count(|outcome| outcome.broken > 0);
    println!("neither answered nor told:   {broken}");
    println!(
        "most tries of one request:   {}",
        outcomes.iter().map(|o| o.tries).max().unwrap_or(0)
    );
    println!("until the last was served:   {storm:.1?}");
    let peak = peak(&process);
    println!("peak memory:                 {peak:.1} MB");
    let recovery = recovery(&url, &tokens[0], alone).await;
    println!("as quick as before after:    {recovery:.1?}");
    process.terminate();
    let (status, log) = process.ended().await;
    let met = served as f64 >= SERVED * CLIENTS as f64
        && broken == 0
        && peak * 1e6 <= MEMORY as f64
        && recovery <= RECOVERY
        && status.success();
    if met {
        return ExitCode::SUCCESS;
    }
    println!(
        "missed: {SERVED} served, {MEMORY} bytes, {RECOVERY:?}; the server ended with {status}\n{log}"
    );
    ExitCode::FAILURE
}

/// A batch of one device: a trip and its memories.
fn batch() -> Json {
    let trip = Uuid::new_v4();
    let way = json!({ "name": "Way", "startDate": "2026-01-01T00:00:00.000Z" });
    let memories: Vec<Json> = (0..MEMORIES)
        .map(|at| {
            let fields = json!({ "tripId": trip, "title": format!("Hut {at}"), "content": "Rain. ".repeat(50) });
            create("Memory", Uuid::new_v4(), fields).1
        })
        .collect();
    json!({ "deviceId": Uuid::new_v4(), "input": { "trips": [create("Trip", trip, way).1], "memories": memories } })
}

/// What became of a client's push and pull.
#[derive(Default)]
struct Outcome {
    served: bool,
    /// Refusals that said when to come back.
    told: usize,
    /// Tries that ended without any answer, or with another one than these two.
    broken: usize,
    /// Of the request that took more.
    tries: usize,
}

async fn sync(url: String, token: String, start: Arc<Barrier>) -> Outcome {
    let client = client();
    // The connection is kept for what follows.
    while client.get(format!("{url}/healthz")).send().await.is_err() {
        sleep(Duration::from_secs(1)).await;
    }
    let push = json!({ "query": PUSH, "variables": batch() });
    start.wait().await;
    let mut outcome = Outcome::default();
    for body in [push, json!({ "query": PULL })] {
        outcome.served = insist(&client, &url, &token, &body, &mut outcome).await;
        if !outcome.served {
            break;
        }
    }
    outcome
}

async fn insist(
    client: &Client,
    url: &str,
    token: &str,
    body: &Json,
    outcome: &mut Outcome,
) -> bool {
    for tries in 1..=TRIES {
        outcome.tries = outcome.tries.max(tries);
        let wait = match attempt(client, url, token, body).await {
            Some(Ok(())) => return true,
            Some(Err(seconds)) => {
                outcome.told += 1;
                seconds
            }
            None => {
                outcome.broken += 1;
                1
            }
        };
        sleep(Duration::from_secs(wait)).await;
    }
    false
}

/// Served, or told after how many seconds to come back. None: neither.
async fn attempt(client: &Client, url: &str, token: &str, body: &Json) -> Option<Result<(), u64>> {
    let request = client.post(format!("{url}/graphql")).bearer_auth(token).json(body);
    let response = request.send().await.ok()?;
    let retry_after = response.headers().get("retry-after");
    let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    let status = response.status().as_u16();
    let answer: Json = response.json().await.ok()?;
    match (status, answer["errors"].is_null(), retry_after) {
        (200, true, _) => Some(Ok(())),
        (503 | 429, false, Some(seconds)) => Some(Err(seconds)),
        _ => None,
    }
}

async fn push_alone(client: &Client, url: &str, token: &str) -> Duration {
    let started = Instant::now();
    let answer = ask(client, url, Some(token), PUSH, batch()).await;
    assert!(answer["errors"].is_null(), "{answer}");
    started.elapsed()
}

async fn median_alone(url: &str, token: &str) -> Duration {
    let client = client();
    let mut times = Vec::new();
    for _ in 0..51 {
        times.push(push_alone(&client, url, token).await);
        sleep(BETWEEN).await;
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Time until three pushes in a row take no more than twice what one took before.
async fn recovery(url: &str, token: &str, alone: Duration) -> Duration {
    let client = client();
    let started = Instant::now();
    let mut quick = 0;
    while quick < 3 {
        assert!(started.elapsed() < Duration::from_secs(120), "it does not recover");
        quick = if push_alone(&client, url, token).await <= alone * 2 { quick + 1 } else { 0 };
        sleep(BETWEEN).await;
    }
    started.elapsed()
}

/// The most that the server ever held.
fn peak(process: &Process) -> f64 {
    memory(process.id(), "VmHWM")
}

/// Megabytes that a process holds, as the system calls it.
fn memory(process: u32, what: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status.lines().find(|line| line.starts_with(what)).expect("its memory");
    let kib: f64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib * 1024.0 / 1e6
}
