//! Redis, which the instances of one database share: notices from one to all, and entries that any of
//! them may want again.
//!
//! Nothing depends on it. What is slow is given up within milliseconds, and after a few failures in
//! a row no request asks any more ([`Breaker`]): a task in the background connects anew, and requests
//! meanwhile do without. That is why this is not the crate's own connection manager, with which a
//! request waits until the connection is there again. What is done in the background goes on where
//! Redis is slow and nothing worse.
//!
//! Calls whose failure is swallowed are called `…_best_effort`: grep for that to find them all.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::{MultiplexedConnection, PubSub};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, cmd};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::config::limits;

/// A Redis server or cluster, as one database uses it. Clones share the connection.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    /// Any of them will do to begin with; more than one only of a cluster.
    nodes: Vec<Client>,
    cluster: Option<ClusterClient>,
    /// Begins all keys and channels. It names the database's timeline: after a restored backup
    /// nothing of before is found, and several databases may share one server.
    prefix: String,
    line: Mutex<Line>,
}

/// The connection, and how it fares.
struct Line {
    link: Option<Link>,
    /// When it came about.
    since: Instant,
    /// How many links there were: what fails on an old one says nothing about the new one.
    number: u64,
    /// How many requests were answered on it.
    answers: u64,
    breaker: Breaker,
}

#[derive(Clone)]
enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("not connected")]
    Away,
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("what is told is not heard")]
    Deaf,
    #[error("{0}")]
    Failed(#[from] RedisError),
}

impl Redis {
    /// Takes the address apart. Connecting is done in the background: a server starts without Redis,
    /// too.
    pub fn open(url: &str, epoch: Uuid) -> Result<Redis, String> {
        let address = Address::parse(url)?;
        let nodes =
            address.nodes.iter().map(|node| Client::open(node.as_str()).map_err(no_address));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let cluster = match address.is_cluster {
            false => None,
            true => {
                let builder = ClusterClient::builder(address.nodes)
                    // All nodes are tried before the cluster is there: one that hangs must not take
                    // all of the time that there is for it.
                    .connection_timeout(limits::REDIS_PATIENCE / 2)
                    // Longer than anybody waits: it would be taken for a connection that is broken.
                    .response_timeout(2 * limits::REDIS_PATIENCE)
                    // Who asks does not wait that long; one is for a slot that has moved.
                    .retries(1);
                Some(builder.build().map_err(no_address)?)
            }
        };
        let line = Line {
            link: None,
            since: Instant::now(),
            number: 0,
            answers: 0,
            breaker: Breaker::open(),
        };
        let inner =
            Inner { nodes, cluster, prefix: format!("cairn:{epoch}:"), line: Mutex::new(line) };
        let redis = Redis { inner: Arc::new(inner) };
        redis.mend(Duration::ZERO);
        Ok(redis)
    }

    /// Whether requests ask it: it answered lately, and soon enough.
    pub fn is_there(&self) -> bool {
        let line = self.inner.line();
        line.link.is_some() && !line.breaker.is_open()
    }

    /// The entry under a key. None: there is none, or Redis cannot say so in time.
    pub async fn get_best_effort(&self, key: &str) -> Option<Vec<u8>> {
        let key = self.inner.name(key);
        let get = cmd("GET").arg(&key).to_owned();
        let stored: Option<Vec<u8>> = self.ask_soon(&get).await.ok()?;
        unmarked(&key, stored?)
    }

    /// Keeps an entry for a while, at most. Large ones are not kept: all requests share a connection,
    /// and would wait behind them.
    pub async fn set_best_effort(&self, key: &str, value: &[u8], keep: Duration) {
        if value.len() > limits::REDIS_ENTRY {
            return;
        }
        let key = self.inner.name(key);
        let mut set = cmd("SET");
        set.arg(&key).arg(marked(&key, value)).arg("PX").arg(keep.as_millis().max(1) as u64);
        let _ = self.ask_soon::<()>(&set).await;
    }

    /// Lists a key for a while among the others of an index, which holds the `most` that last longest.
    pub async fn index_best_effort(&self, index: &str, key: &str, keep: Duration, most: usize) {
        let index = self.inner.name(index);
        let now = chrono::Utc::now().timestamp_millis();
        let until = now + keep.as_millis() as i64;
        let mut commands = [(); 4].map(|()| Cmd::new());
        commands[0].arg("ZADD").arg(&index).arg(until).arg(key);
        commands[1].arg("ZREMRANGEBYSCORE").arg(&index).arg("-inf").arg(now);
        commands[2].arg("ZREMRANGEBYRANK").arg(&index).arg(0).arg(-1 - most as i64);
        // None of its keys lasts longer.
        commands[3].arg("PEXPIRE").arg(&index).arg(limits::CACHED_FOR.as_millis() as u64);
        // One after another: each leaves the index in order, so a transaction is not needed.
        for command in &commands {
            if self.ask_soon::<i64>(command).await.is_err() {
                return;
            }
        }
    }

    /// What an index lists. For a command, which may wait.
    pub async fn indexed(&self, index: &str) -> Result<Vec<String>, Trouble> {
        let mut range = cmd("ZRANGE");
        range.arg(self.inner.name(index)).arg(0).arg(-1);
        self.ask_patiently(&range).await
    }

    /// The entry under a key. For a command, which may wait.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Trouble> {
        let key = self.inner.name(key);
        let get = cmd("GET").arg(&key).to_owned();
        let stored: Option<Vec<u8>> = self.ask_patiently(&get).await?;
        Ok(stored.and_then(|stored| unmarked(&key, stored)))
    }

    /// Tells all who listen. For a task that may wait, not for a request.
    pub async fn publish(&self, channel: &str, message: &[u8]) -> Result<(), Trouble> {
        let publish = cmd("PUBLISH").arg(self.inner.name(channel)).arg(message).to_owned();
        self.ask_patiently(&publish).await
    }

    /// A new link in place of one that sees no failure: the address may lead to another server by now, and
    /// the old one go on without anybody else. Where the link has failed the background is at it.
    pub async fn renew(&self) -> Result<(), Trouble> {
        if !self.is_there() {
            return Err(Trouble::Away);
        }
        let connected = patiently(self.inner.connect()).await;
        self.inner.take_up(connected)
    }

    /// A connection of its own, on which everything comes that is told from now on. The crate does
    /// not see when the other side has gone silent: who listens must ping.
    ///
    /// All nodes of a cluster pass messages on, so it does not matter which one this is: `attempt`
    /// chooses, so that the next one is tried when one is down.
    pub async fn listen(&self, channel: &str, attempt: usize) -> Result<PubSub, Trouble> {
        // There is a node: an address without any is refused.
        let client = &self.inner.nodes[attempt % self.inner.nodes.len()];
        let channel = self.inner.name(channel);
        patiently(async {
            let mut listener = client.get_async_pubsub().await?;
            listener.subscribe(channel).await?;
            Ok(listener)
        })
        .await
    }

    /// For a request, which does not wait long, and does without where that has been of no use lately.
    async fn ask_soon<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Trouble> {
        if !self.is_there() {
            return Err(Trouble::Away);
        }
        self.ask(limits::REDIS_REQUEST, command).await
    }

    /// For what happens in the background.
    async fn ask_patiently<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Trouble> {
        self.ask(limits::REDIS_PATIENCE, command).await
    }

    async fn ask<T: FromRedisValue>(&self, within: Duration, command: &Cmd) -> Result<T, Trouble> {
        let (mut link, number, answers) = {
            let line = self.inner.line();
            (line.link.clone().ok_or(Trouble::Away)?, line.number, line.answers)
        };
        let asked = Instant::now();
        let answer = match timeout(within, link.ask(command)).await {
            Ok(answer) => answer.map_err(Trouble::from),
            Err(_) => Err(Trouble::Late(within)),
        };
        self.note(number, answers, Outcome::of(answer.as_ref().err(), asked.elapsed()));
        answer
    }

    /// Counts what became of a request, and opens the breaker after failures in a row. `answers`: how
    /// many there were when it was asked. If there are more now, Redis is well, and the queue long.
    fn note(&self, number: u64, answers: u64, outcome: Outcome) {
        let mut line = self.inner.line();
        if line.number != number || line.link.is_none() || line.breaker.is_open() {
            return;
        }
        match outcome {
            Outcome::Answered => {
                line.answers += 1;
                line.breaker.worked();
                return;
            }
            Outcome::Late if line.answers > answers => return,
            Outcome::Late | Outcome::Failed => line.breaker.failed(),
            Outcome::Broken | Outcome::Replica => {
                line.breaker = Breaker::open();
                line.link = None;
            }
        }
        if line.breaker.is_open() {
            // Connected anew, it was a replica again.
            let again = outcome == Outcome::Replica && line.since.elapsed() < limits::REDIS_REPLICA;
            drop(line);
            tracing::warn!(?outcome, "Redis is of no use: requests go on without it");
            self.mend(if again { limits::REDIS_REPLICA } else { Duration::ZERO });
        }
    }

    /// Connects in the background, until Redis answers as soon as requests want it; not before some time
    /// has passed.
    fn mend(&self, after: Duration) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            sleep(after).await;
            let mut said = false;
            let mut pause = limits::REDIS_RETRY;
            loop {
                let Some(inner) = inner.upgrade() else { return };
                let connected = patiently(inner.connect()).await;
                match inner.take_up(connected) {
                    Ok(()) => {
                        tracing::info!("Redis answers");
                        return;
                    }
                    Err(trouble) => {
                        if !said {
                            said = true;
                            tracing::warn!(%trouble, "Redis cannot be used: trying on");
                        }
                        // A connection each time is much for one that is only slow.
                        pause = match trouble {
                            Trouble::Late(limits::REDIS_REQUEST) => {
                                Ord::min(2 * pause, limits::REDIS_SLOW_RETRY)
                            }
                            _ => limits::REDIS_RETRY,
                        };
                    }
                }
                drop(inner);
                sleep(pause).await;
            }
        });
    }
}

/// What a request says about Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Late,
    Failed,
    /// The connection is of no use any more.
    Broken,
    /// It leads to a server that takes no writes: the address leads to another one by now, or will.
    Replica,
}

impl Outcome {
    fn of(trouble: Option<&Trouble>, took: Duration) -> Outcome {
        match trouble {
            None if took > limits::REDIS_REQUEST => Outcome::Late,
            None => Outcome::Answered,
            Some(Trouble::Failed(error)) if error.is_timeout() => Outcome::Late,
            Some(Trouble::Failed(error)) if error.is_io_error() => Outcome::Broken,
            Some(Trouble::Failed(error)) => match error.code() {
                Some("READONLY") => Outcome::Replica,
                // That it is full, or loading, is an answer.
                Some(_) => Outcome::Answered,
                None => Outcome::Failed,
            },
            Some(Trouble::Late(_) | Trouble::Away | Trouble::Deaf) => Outcome::Late,
        }
    }
}

impl Inner {
    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing that holds it can panic half-way.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Goes on with what came of connecting. An error: it is of no use to requests.
    fn take_up(&self, connected: Result<(Link, Duration), Trouble>) -> Result<(), Trouble> {
        let mut line = self.line();
        let (link, took) = connected?;
        line.number += 1;
        line.link = Some(link);
        line.since = Instant::now();
        if took > limits::REDIS_REQUEST {
            return Err(Trouble::Late(limits::REDIS_REQUEST));
        }
        line.breaker = Breaker::closed();
        Ok(())
    }

    /// A link that has answered once, and how long that took.
    async fn connect(&self) -> Result<(Link, Duration), RedisError> {
        let mut link = match &self.cluster {
            Some(cluster) => Link::Cluster(cluster.get_async_connection().await?),
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(limits::REDIS_PATIENCE))
                    // Longer than anybody waits: it would be taken for a connection that is broken.
                    .set_response_timeout(Some(2 * limits::REDIS_PATIENCE))
                    .set_pipeline_buffer_size(limits::REDIS_QUEUE);
                let client = &self.nodes[0];
                Link::Server(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        let asked = Instant::now();
        let answer: String = link.ask(&cmd("PING")).await?;
        match answer.as_str() {
            "PONG" => Ok((link, asked.elapsed())),
            _ => Err((::redis::ErrorKind::Client, "this does not answer like Redis").into()),
        }
    }
}

impl Link {
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Link::Server(connection) => command.query_async(connection).await,
            Link::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// For what happens in the background.
async fn patiently<T>(work: impl Future<Output = Result<T, RedisError>>) -> Result<T, Trouble> {
    match timeout(limits::REDIS_PATIENCE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Trouble::Late(limits::REDIS_PATIENCE)),
    }
}

// ── Breaker ──────────────────────────────────────────────────────────────────────────────────

/// Whether it is worth asking for a request. Open: it is not. Requests never close it; the background
/// does, when a new link has answered a ping soon enough: no request pays for finding out.
#[derive(Debug, PartialEq, Eq)]
struct Breaker {
    /// In a row.
    failures: u32,
}

impl Breaker {
    fn open() -> Breaker {
        Breaker { failures: limits::REDIS_FAILURES }
    }

    fn closed() -> Breaker {
        Breaker { failures: 0 }
    }

    fn worked(&mut self) {
        self.failures = 0;
    }

    fn failed(&mut self) {
        self.failures += 1;
    }

    fn is_open(&self) -> bool {
        self.failures >= limits::REDIS_FAILURES
    }
}

// ── Entries ──────────────────────────────────────────────────────────────────────────────────

const MARK: usize = 8;

/// What stands in front of an entry: it belongs to this key. A server that mixes its answers up, or
/// is none, must not pass one account's answer off as another's.
fn mark(key: &str) -> [u8; MARK] {
    let digest = Sha256::digest(key.as_bytes());
    std::array::from_fn(|at| digest[at])
}

fn marked(key: &str, value: &[u8]) -> Vec<u8> {
    [&mark(key), value].concat()
}

fn unmarked(key: &str, mut stored: Vec<u8>) -> Option<Vec<u8>> {
    if !stored.starts_with(&mark(key)) {
        tracing::warn!("Redis holds something else than what was put there");
        return None;
    }
    stored.drain(..MARK);
    Some(stored)
}

// ── Addresses ────────────────────────────────────────────────────────────────────────────────

/// What REDIS_URL says.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    /// Addresses as the crate knows them.
    nodes: Vec<String>,
    is_cluster: bool,
}

impl Address {
    /// `redis://`, `rediss://` (TLS) or `unix://` for a server; `redis+cluster://` or
    /// `rediss+cluster://` for a cluster, of which some nodes are named, separated by commas.
    fn parse(url: &str) -> Result<Address, String> {
        let scheme = url.split_once("://");
        let nodes = match scheme {
            Some(("redis" | "rediss" | "unix" | "redis+unix", _)) => vec![url.to_owned()],
            Some((scheme @ ("redis+cluster" | "rediss+cluster"), rest)) => {
                let scheme = scheme.trim_end_matches("+cluster");
                let (user, hosts) = match rest.rsplit_once('@') {
                    Some((user, hosts)) => (format!("{user}@"), hosts),
                    None => (String::new(), rest),
                };
                let hosts = hosts.trim_end_matches('/').split(',').map(str::trim);
                hosts.map(|host| format!("{scheme}://{user}{host}")).collect()
            }
            _ => {
                return Err("REDIS_URL: must begin with redis://, rediss://, unix://, \
                            redis+cluster:// or rediss+cluster://"
                    .into());
            }
        };
        let is_cluster = scheme.is_some_and(|(scheme, _)| scheme.ends_with("+cluster"));
        Ok(Address { nodes, is_cluster })
    }
}

/// A sentence for the operator, without the address: it may hold a password.
fn no_address(error: RedisError) -> String {
    format!("REDIS_URL: is no address of a Redis server ({:?})", error.kind())
}

/// Whether REDIS_URL can be one; a sentence for the operator if not.
pub fn check_url(url: &str) -> Result<(), String> {
    for node in Address::parse(url)?.nodes {
        Client::open(node.as_str()).map_err(no_address)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_after_failures_in_a_row() {
        let mut breaker = Breaker::closed();
        for _ in 0..10 {
            for _ in 1..limits::REDIS_FAILURES {
                breaker.failed();
                assert!(!breaker.is_open());
            }
            breaker.worked();
        }
        for _ in 0..limits::REDIS_FAILURES {
            assert!(!breaker.is_open());
            breaker.failed();
        }
        assert!(breaker.is_open());
        assert!(Breaker::open().is_open());
    }

    #[test]
    fn an_answer_that_comes_soon_is_one_whatever_it_says() {
        let of = |text: &'static [u8]| {
            let error = ::redis::parse_redis_value(text).and_then(|value| value.extract_error());
            let trouble = error.map(|_| ()).err().map(Trouble::Failed);
            Outcome::of(trouble.as_ref(), Duration::ZERO)
        };
        assert_eq!(of(b"+OK\r\n"), Outcome::Answered);
        assert_eq!(of(b"-OOM command not allowed\r\n"), Outcome::Answered);
        assert_eq!(of(b"-LOADING Redis is loading\r\n"), Outcome::Answered);
        assert_eq!(of(b"-READONLY You can't write\r\n"), Outcome::Replica);
        assert_eq!(of(b"HTTP/1.1 400\r\n"), Outcome::Failed);
        assert_eq!(Outcome::of(None, limits::REDIS_PATIENCE), Outcome::Late);
        let late = Trouble::Late(limits::REDIS_REQUEST);
        assert_eq!(Outcome::of(Some(&late), Duration::ZERO), Outcome::Late);
    }

    #[test]
    fn an_entry_is_read_under_its_own_key_alone() {
        let stored = marked("a", b"value");
        assert_eq!(unmarked("a", stored.clone()), Some(b"value".to_vec()));
        assert_eq!(unmarked("b", stored), None);
        assert_eq!(unmarked("a", b"OK".to_vec()), None);
        assert_eq!(unmarked("a", marked("a", b"")), Some(Vec::new()));
    }

    #[test]
    fn an_address_is_a_server_or_some_nodes_of_a_cluster() {
        let server = |url: &str| Address { nodes: vec![url.into()], is_cluster: false };
        for url in ["redis://localhost:6379/0", "rediss://:secret@redis:6379", "unix:///run/r.sock"]
        {
            assert_eq!(Address::parse(url), Ok(server(url)));
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        let cluster = Address::parse("rediss+cluster://me:s3@cret@a:7000,b:7001, c:7002/");
        let nodes = ["a:7000", "b:7001", "c:7002"].map(|n| format!("rediss://me:s3@cret@{n}"));
        assert_eq!(cluster, Ok(Address { nodes: nodes.into(), is_cluster: true }));
        assert_eq!(check_url("redis+cluster://a:7000,b"), Ok(()));
        for bad in ["", "localhost:6379", "http://localhost", "redis://a:port", "redis+cluster://"]
        {
            let problem = check_url(bad).expect_err(bad);
            assert!(problem.starts_with("REDIS_URL: "), "{problem}");
        }
        let problem = check_url("redis://:secret@a:port").expect_err("no port");
        assert!(!problem.contains("secret"), "{problem}");
    }
}
