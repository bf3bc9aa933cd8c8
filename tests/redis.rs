//! Redis: what it keeps, and that nothing waits for it.

use std::time::{Duration, Instant};

use cairn::config::limits;
use cairn::redis::Redis as Client;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::support::{Mode, Proxy, Redis, Target, eventually};

async fn connected(redis: &Redis, epoch: Uuid) -> Client {
    let client = Client::open(&redis.url, epoch).expect("a good address");
    eventually("Redis answers", async || client.is_there()).await;
    client
}

const KEEP: Duration = Duration::from_secs(60);

/// What a request may have to wait for a Redis that is of no use; many times what it is told to, as
/// the machine may be busy.
const AT_MOST: Duration = Duration::from_secs(1);

async fn keeps_entries(redis: &Redis) {
    let client = connected(redis, Uuid::from_u128(1)).await;
    assert_eq!(client.get_best_effort("a").await, None);
    let value: Vec<u8> = (0..=255).collect();
    client.set_best_effort("a", &value, KEEP).await;
    client.set_best_effort("empty", b"", KEEP).await;
    assert_eq!(client.get_best_effort("a").await, Some(value));
    assert_eq!(client.get_best_effort("empty").await, Some(Vec::new()));
    // Another timeline finds nothing of it.
    let restored = connected(redis, Uuid::from_u128(2)).await;
    assert_eq!(restored.get_best_effort("a").await, None);
}

#[tokio::test]
async fn entries_are_kept_by_a_server() {
    keeps_entries(&Redis::start()).await;
}

#[tokio::test]
async fn entries_are_kept_by_a_cluster() {
    keeps_entries(&Redis::cluster()).await;
}

#[tokio::test]
async fn an_entry_ends_with_its_time_and_a_large_one_is_not_kept() {
    let redis = Redis::start();
    let client = connected(&redis, Uuid::nil()).await;
    client.set_best_effort("short", b"x", Duration::from_millis(1)).await;
    eventually("it has ended", async || client.get_best_effort("short").await.is_none()).await;
    client.set_best_effort("large", &vec![0; 8 << 20], KEEP).await;
    client.set_best_effort("a", b"x", KEEP).await;
    let (all, time) = (redis.ask("KEYS *"), redis.ask(&format!("PTTL cairn:{}:a", Uuid::nil())));
    assert!(all.starts_with("*1\r\n") && all.contains(":a\r\n"), "{all}");
    let milliseconds: i64 = time[1..].lines().next().expect("a line").parse().expect("a number");
    assert!((1..=60_000).contains(&milliseconds), "{milliseconds}");
}

#[tokio::test]
async fn what_is_told_is_heard_by_a_server_and_by_a_cluster() {
    for redis in [Redis::start(), Redis::cluster()] {
        let client = connected(&redis, Uuid::nil()).await;
        let mut listener = client.listen("news", 0).await.expect("it listens");
        client.publish("other", b"for others").await.expect("told");
        client.publish("news", b"\0 any bytes \xff").await.expect("told");
        let message = listener.on_message().next().await.expect("a message");
        assert_eq!(message.get_payload_bytes(), b"\0 any bytes \xff");
    }
}

/// Asks until nobody asks any more, and says how long the slowest request took.
async fn slowest(client: &Client) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(client.get_best_effort("a").await, None);
        client.set_best_effort("a", b"x", KEEP).await;
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

#[tokio::test]
async fn a_redis_that_hangs_costs_little_and_then_nothing_and_is_used_again() {
    let redis = Redis::start();
    let client = connected(&redis, Uuid::nil()).await;
    redis.pause();
    assert!(slowest(&client).await < AT_MOST);
    assert!(!client.is_there(), "nobody asks any more");
    // What was sent meanwhile is carried out late.
    redis.resume();
    eventually("it is asked again", async || client.is_there()).await;
    client.set_best_effort("b", b"y", KEEP).await;
    assert_eq!(client.get_best_effort("b").await, Some(b"y".to_vec()));
}

#[tokio::test]
async fn a_redis_that_is_killed_costs_nothing_and_its_successor_is_used() {
    let mut redis = Redis::start();
    let client = connected(&redis, Uuid::nil()).await;
    client.set_best_effort("b", b"y", KEEP).await;
    redis.kill();
    assert!(slowest(&client).await < AT_MOST);
    assert!(!client.is_there());
    redis.start_again();
    eventually("it is asked again", async || client.is_there()).await;
    assert_eq!(client.get_best_effort("b").await, None, "it begins empty");
}

#[tokio::test]
async fn a_cluster_that_is_gone_costs_little() {
    let mut redis = Redis::cluster();
    let client = connected(&redis, Uuid::nil()).await;
    redis.kill();
    assert!(slowest(&client).await < AT_MOST);
    assert!(!client.is_there());
}

/// It never comes near the time that a request waits, and always answers.
#[tokio::test]
async fn a_redis_that_is_slow_all_the_time_is_not_asked_and_still_tells_others() {
    let redis = Redis::start();
    let line = Proxy::to(Target::Socket(redis.socket())).await;
    let client =
        Client::open(&format!("redis://{}", line.address), Uuid::nil()).expect("an address");
    eventually("Redis answers", async || client.is_there()).await;
    let listener = connected(&redis, Uuid::nil()).await;
    let mut listener = listener.listen("news", 0).await.expect("it listens");
    line.set(Mode::Delay(limits::REDIS_REQUEST));
    slowest(&client).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!client.is_there(), "connecting anew does not make it faster");
    }
    // The task in the background may be at connecting.
    eventually("it is told", async || client.publish("news", b"still").await.is_ok()).await;
    let message = listener.on_message().next().await.expect("a message");
    assert_eq!(message.get_payload_bytes(), b"still");
    line.set(Mode::Pass);
    eventually("it is asked again", async || client.is_there()).await;
}

#[tokio::test]
async fn a_redis_that_is_full_still_gives_what_it_has() {
    let redis = Redis::start();
    let client = connected(&redis, Uuid::nil()).await;
    client.set_best_effort("a", b"x", KEEP).await;
    assert!(redis.ask("CONFIG SET maxmemory 1").contains("OK"));
    for _ in 0..20 {
        client.set_best_effort("b", b"y", KEEP).await;
        client.index_best_effort("list", "b", KEEP, 9).await;
        assert!(client.is_there());
    }
    assert_eq!(client.get_best_effort("a").await, Some(b"x".to_vec()));
    assert_eq!(client.get_best_effort("b").await, None);
}

/// The address leads to another server, and the old one goes on as its replica.
#[tokio::test]
async fn after_a_failover_the_new_primary_is_used() {
    let [old, new] = [Redis::start(), Redis::start()];
    let line = Proxy::to(Target::Socket(old.socket())).await;
    let client =
        Client::open(&format!("redis://{}", line.address), Uuid::nil()).expect("an address");
    eventually("Redis answers", async || client.is_there()).await;
    let others = connected(&new, Uuid::nil()).await;
    line.lead(Target::Socket(new.socket()));
    assert!(old.ask("REPLICAOF 127.0.0.1 1").contains("OK"));
    // The first that cannot be kept tells of it, however much is read meanwhile.
    eventually("it is kept by the new one", async || {
        client.get_best_effort("a").await;
        client.set_best_effort("a", b"x", KEEP).await;
        others.get_best_effort("a").await.is_some()
    })
    .await;
}

/// A replica takes its node's place, and then the node is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_in_a_cluster_the_new_primary_is_used() {
    let [mut old, new] = tokio::task::block_in_place(Redis::cluster_with_replica);
    let [client, other] = [connected(&old, Uuid::nil()).await, connected(&old, Uuid::nil()).await];
    client.set_best_effort("before", b"x", KEEP).await;
    eventually("it is the primary", async || {
        // It gives up after a while where a machine is busy. An error: it is the primary.
        new.ask("CLUSTER FAILOVER");
        tokio::time::sleep(AT_MOST).await;
        new.ask("ROLE").contains("master")
    })
    .await;
    let attempt = std::cell::Cell::new(0);
    let works = async |what: &str| {
        eventually(what, async || {
            client.set_best_effort(what, b"y", KEEP).await;
            other.get_best_effort(what).await.is_some()
        })
        .await;
        eventually(what, async || {
            // As the one who listens does it: the next node, when one is down.
            attempt.set(attempt.get() + 1);
            let Ok(mut listener) = other.listen("news", attempt.get()).await else { return false };
            let told = client.publish("news", what.as_bytes()).await;
            let heard = tokio::time::timeout(AT_MOST, listener.on_message().next()).await;
            told.is_ok() && heard.is_ok_and(|message| message.is_some())
        })
        .await;
    };
    works("after a failover").await;
    eventually("it has what the old one had", async || {
        other.get_best_effort("before").await == Some(b"x".to_vec())
    })
    .await;
    old.kill();
    works("after the old one is gone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_reached_though_a_node_that_it_had_hangs() {
    let (_nodes, ports) = tokio::task::block_in_place(Redis::cluster_of_three);
    // It takes connections, and says nothing.
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let gone = (gone.local_addr().expect("an address").port(), gone);
    let hosts = [&[gone.0][..], &ports].concat();
    let hosts: Vec<String> = hosts.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("redis+cluster://{}", hosts.join(","));
    let client = Client::open(&url, Uuid::nil()).expect("an address");
    eventually("the others answer", async || client.is_there()).await;
    client.publish("news", b"told").await.expect("told");
}

/// Something that takes connections and answers every request with this, but for those of the
/// greeting if it knows them.
async fn impostor(knows_greeting: bool, answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = socket.read(&mut bytes).await {
                    let said = String::from_utf8_lossy(&bytes[..count]).into_owned();
                    let mut answers = b"+OK\r\n".repeat(said.matches("SETINFO").count());
                    answers.extend(b"+PONG\r\n".repeat(said.matches("PING").count()));
                    if answers.is_empty() || !knows_greeting {
                        answers = answer.to_vec();
                    }
                    if socket.write_all(&answers).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn what_is_no_redis_is_never_asked() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"+OK\r\n+OK\r\n+OK\r\n", b"\0\0\0\0"]
    {
        let url = impostor(false, answer).await;
        let client = Client::open(&url, Uuid::nil()).expect("a good address");
        assert!(slowest(&client).await < AT_MOST);
        assert!(!client.is_there());
    }
}

#[tokio::test]
async fn garbage_is_no_entry() {
    for answer in [
        &b"+OK\r\n"[..],
        b"$5\r\nstale\r\n",
        b":7\r\n",
        b"*2\r\n+a\r\n+b\r\n",
        b"-OOM command not allowed\r\n",
        b"$9999999999\r\nx",
        b"nonsense\r\n",
        b"",
    ] {
        let url = impostor(true, answer).await;
        let client = Client::open(&url, Uuid::nil()).expect("a good address");
        eventually("it is taken for Redis", async || client.is_there()).await;
        assert!(slowest(&client).await < AT_MOST, "{answer:?}");
    }
}
