//! Three instances, PostgreSQL and Redis as processes, while everything that can fail does. Devices
//! edit, push, pull and decide all the while, send again what got no answer, and check at every step
//! that nothing is lost, doubled or stale. `CHAOS_SEED` repeats a run's plan, `CHAOS_SECONDS` lets it last
//! longer.

mod asked_again;
mod client;
mod door;
mod faults;
mod ledger;
mod poked;
mod sources;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cairn::db::Db;
use cairn::sync::check;
use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::client::{Client, Make, Role};
use self::door::Door;
use self::faults::{Lane, Plan};
use self::ledger::{Ledger, Row, Set, Told};
use crate::support::{self, Dice, Fleet, Pushed, RETENTION, Shared, create, eventually};

/// Accounts, with a device of each make. Each shares a trip with the next.
const ACCOUNTS: usize = 3;

/// A run: what it knows, and what it tells if it fails.
struct Run {
    seed: u64,
    began: Instant,
    fleet: Arc<Fleet>,
    ledger: Arc<Mutex<Ledger>>,
    told: Mutex<Vec<String>>,
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}: {value} is no number")))
}

impl Run {
    async fn start(shared: Shared, settings: &[(&'static str, &str)]) -> Run {
        let seed = setting("CHAOS_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0 >> 16);
        let began = Instant::now();
        let settings = [&[("SOCKET_PING", poked::PING)], settings].concat();
        let fleet = Arc::new(Fleet::start(shared, &settings).await);
        let (ledger, told) = Default::default();
        let run = Run { seed, began, fleet, ledger, told };
        run.tell("all instances are there".into());
        run
    }

    /// For how long it goes on.
    fn until(&self, default: u64) -> Instant {
        Instant::now() + Duration::from_secs(setting("CHAOS_SECONDS").unwrap_or(default))
    }

    fn tell(&self, what: String) {
        let line = format!("{:7.3} s: {what}", self.began.elapsed().as_secs_f64());
        self.told.lock().expect("nobody panicked").push(line);
    }

    /// The accounts with their devices, who have pulled nothing yet.
    async fn clients(&self, door: &Arc<Door>) -> Vec<Client> {
        let mut dice = Dice(self.seed);
        let mut tokens = Vec::new();
        let mut trips = Vec::new();
        for account in 0..ACCOUNTS {
            let token = self.register(door, account).await;
            trips.push(self.first_batch(door, account, &token, &mut dice).await);
            tokens.push(token);
        }
        for (owner, token) in tokens.iter().enumerate() {
            let share = "mutation($trip: ID!, $email: String!) {
                shareTrip(tripId: $trip, email: $email, permission: WRITE) { id } }";
            let friend = email((owner + 1) % ACCOUNTS);
            let variables = json!({ "trip": trips[owner], "email": friend });
            door.ask(0, token, share, &variables).await.expect("all is well yet");
        }
        let mut clients = Vec::new();
        for account in 0..ACCOUNTS {
            for make in [Make::Phone, Make::Tablet, Make::Watch] {
                let role = Role {
                    account,
                    token: tokens[account].clone(),
                    trips: vec![trips[account], trips[(account + ACCOUNTS - 1) % ACCOUNTS]],
                    make,
                    seed: dice.roll(),
                };
                clients.push(Client::new(role, door.clone(), self.ledger.clone()));
            }
        }
        clients
    }

    async fn register(&self, door: &Door, account: usize) -> String {
        let input = json!({ "email": email(account), "password": "correct horse" });
        let variables = json!({ "input": input });
        let register = "mutation($input: UserInput!) { register(input: $input) { id } }";
        door.ask(0, "", register, &variables).await.expect("all is well yet");
        let login = "mutation($input: UserInput!) { login(input: $input) { token } }";
        let answer = door.ask(0, "", login, &variables).await.expect("all is well yet");
        answer["data"]["login"]["token"].as_str().expect("a token").to_owned()
    }

    /// A trip, a memory in it and a tag: the account's set. Gives the trip.
    async fn first_batch(&self, door: &Door, account: usize, token: &str, dice: &mut Dice) -> Uuid {
        let [trip, memory, tag] = [(); 3].map(|()| dice.id());
        let text = "at first";
        let start = "2026-01-01T00:00:00.000Z";
        let fields = json!({ "name": "Alps", "startDate": start, "tripDescription": text });
        let input = json!({
            "trips": [create("Trip", trip, fields).1],
            "memories": [create("Memory", memory, json!({ "tripId": trip, "title": text })).1],
            "tags": [create("Tag", tag, json!({ "name": "Hut", "displayName": text })).1],
        });
        let variables = json!({ "input": input, "deviceId": dice.id() });
        let answer = door.ask(0, token, support::PUSH, &variables).await;
        let pushed = Pushed::read(&answer.expect("all is well yet"), &input);
        assert_eq!(pushed.successful.len(), 3, "{pushed:?}");
        let friend = (account + 1) % ACCOUNTS;
        let mut ledger = self.ledger.lock().expect("nobody panicked");
        let mut add = |kind, id, parent, readers| {
            ledger.add(id, Row { parent, readers, version: 1, ..Row::new(kind, account) })
        };
        add("Trip", trip, None, vec![account, friend]);
        add("Memory", memory, Some(trip), vec![account, friend]);
        add("Tag", tag, None, vec![account]);
        let fields = vec![
            ("Tag", tag, "displayName"),
            ("Trip", trip, "tripDescription"),
            ("Memory", memory, "title"),
        ];
        ledger.sets.push(Set { readers: vec![account, friend], fields });
        trip
    }

    /// The devices' lives while something happens. The first that finds something wrong ends the run.
    async fn live(&self, clients: Vec<Client>, happens: impl Future<Output = ()>) -> Vec<Client> {
        let over = Arc::new(AtomicBool::new(false));
        let mut lives = JoinSet::new();
        for client in clients {
            lives.spawn(client.live(over.clone()));
        }
        let happens = async {
            happens.await;
            over.store(true, Ordering::Relaxed);
            std::future::pending().await
        };
        let lives = async {
            let mut clients = Vec::new();
            while let Some(done) = lives.join_next().await {
                match done {
                    Ok(client) => clients.push(client),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
            clients
        };
        tokio::select! {
            clients = lives => clients,
            () = happens => unreachable!("it goes on until the devices have come to an end"),
        }
    }

    /// All faults are over: everyone has everything, and everything is told of once.
    async fn settle(self, mut clients: Vec<Client>) {
        self.tell("all is well again".into());
        for instance in &self.fleet.instances {
            assert!(!instance.has_died(), "an instance has ended by itself");
        }
        clients.sort_by_key(|client| (client.account, client.make));
        self.tell("everyone is poked".into());
        self.poke(&mut clients).await;
        // An instance that hears the others again pokes everyone. When all of them do, nothing is left
        // that could take the place of a poke.
        tokio::time::sleep(4 * cairn::config::limits::REDIS_RETRY).await;
        self.tell("everyone is poked again".into());
        self.poke(&mut clients).await;
        // What nobody waits for any more may still be under way.
        self.stop().await;
        self.launch().await;
        self.tell("everyone pulls".into());
        for devices in clients.chunks_mut(3) {
            let [phone, tablet, watch] = devices else { panic!("three devices each") };
            phone.pull().await;
            tablet.pull().await;
            let fresh = phone.fresh_rows().await;
            assert_eq!(*phone.rows(), fresh, "a device is not where a new one would be");
            assert_eq!(*tablet.rows(), fresh, "a device is not where a new one would be");
            watch.hear_all(&fresh).await;
        }
        self.tell("everything is told".into());
        let told = self.everything(&clients).await;
        self.audit(&told);
        self.stop().await;
        let url = self.fleet.postgres.lock().expect("nobody panicked").url();
        let db = Db::connect(&url).await.expect("PostgreSQL answers");
        self.tell("the database is checked".into());
        let problems = check::check(&db, RETENTION).await.expect("the check runs");
        assert!(problems.is_empty(), "the database is damaged:\n{}", problems.join("\n"));
        let noted = self.conflicts_in(&db).await;
        assert_eq!(
            noted,
            told.conflicts.len() as u64,
            "there are conflicts that nobody was told of"
        );
        db.close().await.expect("the database closes");
        self.tell("the end".into());
        for log in self.fleet.logs() {
            let bad = log
                .lines()
                .find(|line| line.contains("internal error") || line.contains("panicked at"));
            assert_eq!(bad, None, "in a log");
        }
    }

    /// A poke may get lost with the instance that was to tell it, but not when all is well: what is
    /// changed now tells everyone to pull all that was acknowledged before.
    async fn poke(&self, clients: &mut [Client]) {
        for phone in clients.iter_mut().filter(|client| client.make == Make::Phone) {
            phone.stir().await;
        }
        let watches = clients.iter_mut().filter(|client| client.make == Make::Watch);
        let told = watches.map(async |watch| {
            let expected = self.ledger.lock().expect("nobody panicked").expected(watch.account);
            watch.hear_of(&expected).await;
            watch.pokes
        });
        println!("pokes: {:?}", futures_util::future::join_all(told).await);
    }

    fn audit(&self, told: &Told) {
        let ledger = self.ledger.lock().expect("nobody panicked");
        let problems = ledger.audit(told);
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        let (operations, rows) = (ledger.operations.len(), ledger.rows.len());
        assert!(operations > 0, "nothing was done");
        let (conflicts, copies) = (told.conflicts.len(), told.copies().len());
        println!("{operations} operations on {rows} rows, {conflicts} conflicts, {copies} copies");
        let mut decided: BTreeMap<&str, usize> = BTreeMap::new();
        let all = ledger.decisions.keys().map(|id| &told.conflicts[id]["resolution"]["strategy"]);
        all.for_each(|strategy| {
            *decided.entry(strategy.as_str().unwrap_or("open")).or_default() += 1
        });
        let moves: usize = ledger.rows.values().map(|row| row.moves).sum();
        let late: usize = ledger.decisions.values().map(|decision| decision.late).sum();
        println!("{moves} moves; decided: {decided:?}, too late: {late}");
    }

    async fn conflicts_in(&self, db: &Db) -> u64 {
        use sea_orm::{EntityTrait, PaginatorTrait};
        entity::conflict::Entity::find().count(db.pool()).await.expect("they are counted")
    }

    async fn stop(&self) {
        let stops = self.fleet.instances.iter().map(|instance| instance.stop());
        futures_util::future::join_all(stops).await;
    }

    async fn launch(&self) {
        let launches = self.fleet.instances.iter().map(|instance| instance.launch());
        futures_util::future::join_all(launches).await;
    }

    /// The history of every row, and every conflict that someone was told of.
    async fn everything(&self, clients: &[Client]) -> Told {
        let conflicts = self.ledger.lock().expect("nobody panicked").conflicts();
        let of = |account: usize| {
            let client = clients.iter().find(|client| client.account == account);
            client.expect("an account")
        };
        let conflict = "query($id: ID!) { conflict(id: $id) {
            id entityType entityId status edits { operation data }
            resolution { strategy resolvedData resolvedAt resolvedBy copyId } } }";
        let found = futures_util::stream::iter(conflicts.iter().map(async |(id, account)| {
            let answer = of(*account).ask_once(conflict, &json!({ "id": id })).await;
            (id.clone(), answer["data"]["conflict"].clone())
        }));
        let conflicts: Vec<(String, Json)> = found.buffer_unordered(8).collect().await;
        let mut told = Told { conflicts: conflicts.into_iter().collect(), ..Told::default() };
        let rows: BTreeMap<Uuid, (usize, &'static str)> = {
            let ledger = self.ledger.lock().expect("nobody panicked");
            let as_its_row = |(copy, row): (Uuid, Uuid)| (copy, row);
            let copies = told.copies().into_iter().map(as_its_row);
            let rows = ledger.rows.keys().map(|id| (*id, *id)).chain(copies);
            rows.map(|(id, row)| (id, (ledger.witness(row), ledger.rows[&row].kind))).collect()
        };
        let histories = futures_util::stream::iter(
            rows.iter()
                .map(async |(id, (account, kind))| (*id, history(of(*account), kind, *id).await)),
        );
        told.histories = histories.buffer_unordered(8).collect().await;
        for client in clients {
            for ((_, key), row) in client.rows() {
                let id = |text: &str| Uuid::try_parse(text).expect("an id");
                let parent = row["tripId"].as_str().or(row["memoryId"].as_str());
                let held = told.rows.entry(id(key)).or_default();
                held.parent = parent.map(id);
                held.by.insert(client.account);
            }
        }
        told
    }
}

/// All that was done to a row, newest first.
async fn history(client: &Client, kind: &str, id: Uuid) -> Vec<Json> {
    const AT_ONCE: usize = 50;
    let query = "query($kind: EntityType!, $id: ID!, $limit: Int, $before: Int) {
        history(entityType: $kind, id: $id, limit: $limit, before: $before) {
            version operation deviceId newData } }";
    let mut all: Vec<Json> = Vec::new();
    loop {
        let before = all.last().map(|step| step["version"].clone());
        let variables = json!({ "kind": kind, "id": id, "limit": AT_ONCE, "before": before });
        let answer = client.ask_once(query, &variables).await;
        let page = answer["data"]["history"].as_array().expect("a list");
        all.extend(page.iter().cloned());
        if page.len() < AT_ONCE {
            return all;
        }
    }
}

fn email(account: usize) -> String {
    format!("user{account}@example.org")
}

impl Drop for Run {
    fn drop(&mut self) {
        let told = self.told.lock().map(|told| told.join("\n")).unwrap_or_default();
        eprintln!("{told}\nCHAOS_SEED={} has the same plan", self.seed);
        if !std::thread::panicking() {
            return;
        }
        for (at, log) in self.fleet.logs().iter().enumerate() {
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(30)..];
            eprintln!("── the end of log {at} ──\n{}", tail.join("\n"));
        }
    }
}

async fn storm(shared: Shared, seconds: u64) {
    let run = Run::start(shared, &[]).await;
    let door = Door::any(run.fleet.clone());
    let clients = run.clients(&door).await;
    let until = run.until(seconds);
    let plan = |lane| Plan::new(lane, run.seed, run.fleet.redis.len());
    let tell = |what| run.tell(what);
    let all = async {
        tokio::join!(
            faults::run(plan(Lane::Instances), &run.fleet, until, tell),
            faults::run(plan(Lane::Servers), &run.fleet, until, tell),
        );
    };
    let clients = run.live(clients, all).await;
    println!("requests that came to nothing: {:?}", door.counts);
    run.tell(format!("answers: {}", door.sources()));
    door.sources().were_all_met();
    let torn = door.counts.torn.load(Ordering::Relaxed);
    assert!(torn > 0, "nothing died in the midst of a request");
    run.settle(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chaos_loses_nothing_doubles_nothing_and_shows_nothing_stale() {
    storm(Shared::Redis, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chaos_with_a_redis_cluster_loses_nothing_either() {
    storm(Shared::Cluster, 10).await;
}

/// One instance after the other, as a deployment does it. Whoever asks the balancer gets an answer, or
/// 503: what clients send again. What an instance has begun to read when it begins to end is answered,
/// too. A request that is sent and has no answer must not be.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chaos_of_a_rolling_restart_loses_no_request_that_a_client_would_not_send_again() {
    let run = Run::start(Shared::Redis, &[("SHUTDOWN_DELAY", "2")]).await;
    let door = Door::balanced(run.fleet.clone());
    let mut clients = run.clients(&door).await;
    let mut courier = clients[0].courier();
    let until = run.until(5);
    let mut rounds = 0;
    let restarts = async {
        while rounds == 0 || Instant::now() < until {
            for (at, instance) in run.fleet.instances.iter().enumerate() {
                run.tell(format!("instance {at} is restarted"));
                let (go_on, told) = oneshot::channel();
                let finishing = async {
                    eventually("it takes no more", async || instance.is_finishing()).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    // An error: nobody waits any more, who says why.
                    let _ = go_on.send(());
                };
                tokio::join!(instance.stop(), finishing, courier.push_slowly(at, told));
                instance.launch().await;
                eventually("it is ready", async || door.is_ready(at).await).await;
            }
            rounds += 1;
        }
    };
    let clients = run.live(clients, restarts).await;
    println!("{rounds} rounds of restarts; requests that came to nothing: {:?}", door.counts);
    run.settle(clients).await;
}
