//! What a kept answer costs, beside a handler that returns the same bytes and does nothing else.
//!
//! Both are asked by the same 64 clients, in turns, so that a noisy machine slows both: the ratio
//! tells more than the figures. Clients are bare sockets on threads of their own. Those who ask the same
//! at once share one look into Redis, or the making of an answer. Fails if of those who looked themselves more
//! than one in a hundred made it after all.

mod page;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use page::PULL;
use serde_json::{Value as Json, json};
use support::{App, Backend, Redis, create};
use uuid::Uuid;

const ROWS: usize = 1_000;
const CLIENTS: usize = 64;
/// An odd number, so that the median is a round that was measured.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);
const CODINGS: [&str; 3] = ["identity", "gzip", "zstd"];

/// Of the answers that were not another's, so many in a hundred must have been kept.
const HITS: f64 = 99.0;

#[tokio::main]
async fn main() -> ExitCode {
    println!(
        "Requests a second of {CLIENTS} clients, medians of {ROUNDS} rounds of {} s; one page of \
         {ROWS} rows.\n",
        ROUND.as_secs()
    );
    println!("| | bytes | kept | bare | ratio | hits |\n|---|---|---|---|---|---|");
    let mut all_hit = true;
    let redis = Redis::start();
    for backend in Backend::ALL {
        let near = ["--cache-ttl-local", "3600", "--sync-cache-ttl", "0", "--cache-memory", "512"];
        let name = format!("{backend:?}, memory");
        all_hit &= measure(&name, backend, &near, "hit-memory").await;
    }
    let far = ["--cache-ttl-local", "0", "--redis-url", &redis.url];
    all_hit &= measure("Postgres, Redis", Backend::Postgres, &far, "hit-redis").await;
    match all_hit {
        true => ExitCode::SUCCESS,
        false => {
            println!("missed: {HITS} % hits");
            ExitCode::FAILURE
        }
    }
}

/// Whether enough of the answers were kept ones.
async fn measure(name: &str, backend: Backend, arguments: &[&str], hit: &'static str) -> bool {
    // As cargo's own harness would: only what has this in its name.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let wanted = wanted.unwrap_or_default();
    let mut codings = CODINGS.to_vec();
    codings.retain(|coding| format!("{name}, {coding}").contains(&wanted));
    if codings.is_empty() {
        return true;
    }
    let mut all_hit = true;
    let app = App::start_with(backend, arguments).await;
    let mut tokens = Vec::new();
    for number in 0..CLIENTS {
        tokens.push(fill(&app, number).await);
    }
    let bare = bare().await;
    for coding in codings {
        for (whose, accounts) in [("one account", 1), ("64 accounts", CLIENTS)] {
            let requests: Vec<Vec<u8>> =
                tokens[..accounts].iter().map(|token| request(token, coding)).collect();
            let server = address(&app);
            let samples = warm(server, &requests, hit);
            for (token, sample) in tokens.iter().zip(&samples) {
                keep(token, sample);
            }
            let (mut kept, mut plain) = (Vec::new(), Vec::new());
            // What is behind the figure.
            let (mut hits, mut misses) = (0, 0);
            for _ in 0..ROUNDS {
                let round = load(server, &requests, hit).await;
                hits += round.hits;
                misses += round.misses;
                kept.push(round.rate);
                plain.push(load(bare, &requests, hit).await.rate);
            }
            let (kept, plain) = (median(kept), median(plain));
            let hits = 100.0 * hits as f64 / (hits + misses) as f64;
            println!(
                "| {name}, {whose}, {coding} | {} | {kept:.0} | {plain:.0} | {:.1} % | {hits:.2} % |",
                samples[0].body.len(),
                100.0 * kept / plain
            );
            all_hit &= hits >= HITS;
        }
    }
    app.finish().await;
    all_hit
}

fn address(app: &App) -> SocketAddr {
    app.url.trim_start_matches("http://").parse().expect("an address")
}

/// An account with a page of rows.
async fn fill(app: &App, number: usize) -> String {
    let device = app.device_of(&format!("user{number}")).await;
    let trip = device.trip("Around the world").await;
    let memory = |at: usize| {
        let fields = json!({
            "tripId": trip,
            "title": format!("Day {at}: over the pass"),
            "content": "We left early, while the valley still lay in the shade. ".repeat(3),
            "date": "2026-01-15T10:30:00.000Z",
            "latitude": 46.5 + at as f64 / 1000.0,
            "longitude": 8.0 + at as f64 / 1000.0,
            "address": "Furka Pass, Switzerland",
        });
        create("Memory", Uuid::new_v4(), fields).1
    };
    let memories: Vec<Json> = (1..ROWS).map(memory).collect();
    let pushed = device.push(json!({ "memories": memories })).await;
    assert_eq!(pushed.successful.len(), ROWS - 1);
    device.token
}

// ── The bare handler ─────────────────────────────────────────────────────────────────────────

/// What the bare handler returns to each account, by its Authorization: it moves as many bytes as the
/// server does.
static SAMPLES: LazyLock<RwLock<HashMap<String, Finished>>> = LazyLock::new(RwLock::default);

type Finished = (Vec<(HeaderName, HeaderValue)>, Bytes);

fn keep(token: &str, sample: &Sample) {
    let headers = sample
        .headers
        .iter()
        .filter(|(name, _)| !["content-length", "date", "x-request-id"].contains(&name.as_str()));
    let headers = headers.map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    });
    let kept = (headers.collect(), Bytes::from(sample.body.clone()));
    SAMPLES.write().expect("no panic").insert(format!("Bearer {token}"), kept);
}

async fn bare() -> SocketAddr {
    // It reads the body, as any handler of a POST does.
    async fn handler(headers: HeaderMap, _body: Bytes) -> Response {
        let samples = SAMPLES.read().expect("no panic");
        let whose = headers.get("authorization").expect("a token").to_str().expect("text");
        let (headers, body) = &samples[whose];
        let mut response = body.clone().into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/graphql", post(handler));
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

// ── Clients ──────────────────────────────────────────────────────────────────────────────────

fn request(token: &str, coding: &str) -> Vec<u8> {
    let body = json!({ "query": PULL, "operationName": "Pull", "variables": {} }).to_string();
    format!(
        "POST /graphql HTTP/1.1\r\nhost: cairn\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\naccept-encoding: {coding}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A whole answer.
struct Sample {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Reads one answer into a buffer, and gives where its body begins and how long it all is.
fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> (usize, usize) {
    let mut filled = 0;
    let (mut begin, mut end) = (0, usize::MAX);
    while filled < end {
        let count = socket.read(&mut buffer[filled..]).expect("an answer");
        assert!(count > 0, "the server closed the connection");
        filled += count;
        if begin == 0
            && let Some(at) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n")
        {
            begin = at + 4;
            let head = std::str::from_utf8(&buffer[..begin]).expect("text");
            let length = head.lines().filter_map(|line| line.split_once(':'));
            let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let (_, length) = length.next().unwrap_or_else(|| panic!("no length: {head}"));
            end = begin + length.trim().parse::<usize>().expect("a length");
        }
    }
    (begin, end)
}

/// Room for the largest answer.
const BUFFER: usize = 4 << 20;

/// Asks until every answer is kept, and gives them.
fn warm(server: SocketAddr, requests: &[Vec<u8>], hit: &str) -> Vec<Sample> {
    let mut socket = TcpStream::connect(server).expect("a connection");
    let mut buffer = vec![0; BUFFER];
    let mut samples = Vec::new();
    for request in requests {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            socket.write_all(request).expect("sent");
            let (begin, end) = read(&mut socket, &mut buffer);
            let head = std::str::from_utf8(&buffer[..begin]).expect("text");
            if head.contains(hit) {
                let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
                let headers = headers.map(|(name, value)| (name.into(), value.into())).collect();
                samples.push(Sample { headers, body: buffer[begin..end].to_vec() });
                break;
            }
            assert!(Instant::now() < until, "never kept: {head}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    samples
}

/// What clients got.
struct Round {
    /// Requests a second that all of them together got answered.
    rate: f64,
    /// Answers that say that they were kept, and those that were made. The others are another's.
    hits: u64,
    misses: u64,
}

async fn load(server: SocketAddr, requests: &[Vec<u8>], hit: &'static str) -> Round {
    static STOP: AtomicBool = AtomicBool::new(false);
    static DONE: AtomicU64 = AtomicU64::new(0);
    STOP.store(false, Ordering::SeqCst);
    DONE.store(0, Ordering::SeqCst);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let request = requests[number % requests.len()].clone();
            std::thread::spawn(move || {
                let mut socket = TcpStream::connect(server).expect("a connection");
                socket.set_nodelay(true).expect("no delay");
                let mut buffer = vec![0; BUFFER];
                let (mut hits, mut misses) = (0, 0);
                while !STOP.load(Ordering::Relaxed) {
                    socket.write_all(&request).expect("sent");
                    let (begin, _) = read(&mut socket, &mut buffer);
                    DONE.fetch_add(1, Ordering::Relaxed);
                    let has = |what: &str| {
                        buffer[..begin].windows(what.len()).any(|part| part == what.as_bytes())
                    };
                    hits += u64::from(has(hit));
                    misses += u64::from(has("x-cairn-cache: miss"));
                }
                (hits, misses)
            })
        })
        .collect();
    // They get going.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (before, started) = (DONE.load(Ordering::SeqCst), Instant::now());
    tokio::time::sleep(ROUND).await;
    let (after, time) = (DONE.load(Ordering::SeqCst), started.elapsed());
    STOP.store(true, Ordering::SeqCst);
    let mut round =
        Round { rate: (after - before) as f64 / time.as_secs_f64(), hits: 0, misses: 0 };
    for client in clients {
        let (hits, misses) = client.join().expect("no panic");
        round.hits += hits;
        round.misses += misses;
    }
    round
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
