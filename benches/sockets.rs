//! What an idle subscription takes in the server's memory, and how long a poke takes.
//!
//! The server is the release binary in a process of its own, on SQLite, or with the argument `postgres` on
//! PostgreSQL with Redis; 10,000 subscriptions on one instance,
//! each of an account of its own, which has just logged in there. Its memory is what the system says it holds
//! (VmRSS), so it includes what the allocator keeps. Then pokes of one account with 20 sockets, and the same
//! from one instance to another, on PostgreSQL and through Redis.
//!
//! Fails if the server holds more than 200 MB, or a poke takes more than a second.

mod accounts;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use accounts::{Beside, log_in, serve};
use cairn::config::limits;
use futures_util::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value as Json, json};
use support::{Process, Socket, ask, client};

const SOCKETS: usize = 10_000;
/// Bytes that the server may hold with all of them.
const MEMORY: u64 = 200_000_000;
/// What a poke may take.
const SOON: Duration = Duration::from_secs(1);
/// A line for each socket would be written, and kept by the test's support. All accounts are made from
/// one address.
const SETTINGS: [(&str, &str); 2] =
    [("RUST_LOG", "cairn=info,cairn::http=warn"), ("ADDRESS_LIMIT", "0")];
/// Sockets that are opened at once.
const AT_ONCE: usize = 64;
/// How long the server is left alone before its memory is read: longer than a ping takes to come round.
const REST: Duration = Duration::from_secs(40);
/// Commits whose pokes are waited for.
const POKES: usize = 30;

#[tokio::main]
async fn main() -> ExitCode {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("may be raised");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (process, url, _beside) = serve(folder.path(), &SETTINGS).await;
    let tokens: Vec<String> =
        stream::iter(0..SOCKETS).map(|number| log_in(&url, number)).buffered(8).collect().await;
    // Everything that is made once is there.
    warm_up(&url, &tokens[0]).await;
    let before = memory(process.id());
    let started = Instant::now();
    let mut sockets: Vec<Socket> = stream::iter(0..SOCKETS)
        .map(|number| subscribed(&url, &tokens[number]))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let opening = started.elapsed();
    // Somebody has to read: otherwise no ping is answered.
    let idle = sockets.iter_mut().map(|socket| tokio::time::timeout(REST, socket.next()));
    let heard = futures_util::future::join_all(idle).await;
    assert!(heard.iter().all(Result::is_err), "nothing happens");
    let after = memory(process.id());
    println!("{SOCKETS} idle subscriptions of as many accounts, opened in {opening:.1?}");
    println!("memory before: {:.1} MB", before as f64 / 1e6);
    println!("memory after:  {:.1} MB", after as f64 / 1e6);
    println!("for each:      {:.1} KB", (after - before) as f64 / SOCKETS as f64 / 1e3);
    // All that one account may have. The others stay.
    let others = sockets.split_off(1);
    while sockets.len() < limits::SOCKETS_PER_ACCOUNT {
        sockets.push(subscribed(&url, &tokens[0]).await);
    }
    let (median, most) = poke_times(&url, &tokens[0], sockets.iter_mut().collect()).await;
    println!(
        "from sending a commit to the last poke of its account's {} sockets: {median:.1?} (median of \
         {POKES}; at most {most:.1?})",
        limits::SOCKETS_PER_ACCOUNT,
    );
    process.terminate();
    let started = Instant::now();
    drop((sockets, others));
    let (status, log) = process.ended().await;
    println!("stopped in {:.1?}: {status}", started.elapsed());
    assert!(status.success(), "{log}");
    let most = most.max(through_redis().await);
    match after <= MEMORY && most <= SOON {
        true => ExitCode::SUCCESS,
        false => {
            println!("missed: {MEMORY} bytes and {SOON:?}");
            ExitCode::FAILURE
        }
    }
}

/// One instance commits, and sockets of another are poked. Gives what the slowest poke took.
async fn through_redis() -> Duration {
    let beside = Beside::start().await;
    let settings = [&SETTINGS[..], &beside.settings()].concat();
    let (_one, here) = Process::serve(&settings).await;
    let (_two, there) = Process::serve(&settings).await;
    let token = log_in(&here, 0).await;
    let mut sockets = Vec::new();
    for _ in 0..limits::SOCKETS_PER_ACCOUNT {
        sockets.push(subscribed(&there, &token).await);
    }
    let (median, most) = poke_times(&here, &token, sockets.iter_mut().collect()).await;
    println!(
        "the same from one instance to {} sockets of another: {median:.1?} (at most {most:.1?})",
        sockets.len()
    );
    most
}

async fn subscribed(url: &str, token: &str) -> Socket {
    let mut socket = Socket::connect(url, token).await;
    socket.subscribe("pokes", None).await;
    socket.poke().await;
    socket
}

async fn warm_up(url: &str, token: &str) {
    for _ in 0..AT_ONCE {
        drop(subscribed(url, token).await);
        // Its place must be free again.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long it takes from sending a commit until all of these are poked: the median, and the most.
async fn poke_times(url: &str, token: &str, mut sockets: Vec<&mut Socket>) -> (Duration, Duration) {
    let client = client();
    let mut times = Vec::new();
    for number in 0..POKES {
        // The last poke must be a second ago: otherwise this one waits.
        tokio::time::sleep(limits::POKE_EVERY * 2).await;
        let input =
            json!({ "name": format!("Trip {number}"), "startDate": "2026-01-01T00:00:00Z" });
        let create = "mutation($input: TripInput!) { createTrip(input: $input) { id } }";
        let started = Instant::now();
        let answer: Json = ask(&client, url, Some(token), create, json!({ "input": input })).await;
        assert!(answer["errors"].is_null(), "{answer}");
        futures_util::future::join_all(sockets.iter_mut().map(|socket| socket.poke())).await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

/// Bytes that a process holds.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib * 1024
}
