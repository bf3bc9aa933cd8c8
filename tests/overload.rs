//! G17: with more to do than there is room for, everyone is served in their turn or told when to come
//! back, and nothing is left half done. Nobody's thousand requests hold up another's one.

use std::ops::Range;
use std::time::Duration;

use futures_util::{StreamExt, future};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{App, Backend, Device, PUSH, Socket, Variant, create, eventually};

const LOGIN: &str = "mutation($input: UserInput!) { login(input: $input) { token } }";
const REGISTER: &str = "mutation($input: UserInput!) { register(input: $input) { id } }";
const CREATE: &str = "mutation($input: TripInput!) { createTrip(input: $input) { id } }";
const TRIPS: &str = "{ trips { id syncVersion } }";

/// Where requests come from that say nothing else.
const HOME: &str = "192.0.2.1";

/// An answer, with what HTTP says about it.
#[derive(Debug)]
struct Told {
    status: u16,
    retry_after: Option<u64>,
    answer: Json,
}

impl Told {
    fn is_served(&self) -> bool {
        self.status == 200 && self.answer["errors"].is_null()
    }

    /// Refused for now: with this status and code, a time to come back, and nothing done.
    fn is_refused(&self, status: u16, code: &str) -> bool {
        let extensions = &self.answer["errors"][0]["extensions"];
        self.status == status
            && extensions["code"] == code
            && self.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds))
            && extensions["retryAfter"] == json!(self.retry_after)
            && self.answer["data"].is_null()
    }

    fn is_overloaded(&self) -> bool {
        self.is_refused(503, "UNAVAILABLE")
    }

    fn is_too_often(&self) -> bool {
        self.is_refused(429, "RATE_LIMITED")
    }
}

/// Sends a request, as if by a proxy that says whom it is from.
fn send(
    app: &App,
    token: Option<&str>,
    from: &str,
    query: &str,
    variables: Json,
) -> JoinHandle<Told> {
    let body = json!({ "query": query, "variables": variables });
    let request = app.client.post(format!("{}/graphql", app.url)).json(&body);
    let mut request = request.header("x-forwarded-for", from);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    tokio::spawn(async move {
        let response = request.send().await.expect("an answer");
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        Told { status, retry_after, answer: response.json().await.expect("JSON") }
    })
}

fn ask(device: &Device<'_>, query: &str) -> JoinHandle<Told> {
    send(device.app, Some(&device.token), HOME, query, Json::Null)
}

/// Pushes a trip.
fn push(device: &Device<'_>, trip: Uuid) -> JoinHandle<Told> {
    let fields = json!({ "name": "Alps", "startDate": "2026-01-01T00:00:00.000Z" });
    let (list, item) = create("Trip", trip, fields);
    let variables = json!({ "deviceId": device.id, "input": { list: [item] } });
    send(device.app, Some(&device.token), HOME, PUSH, variables)
}

/// Makes a trip as the app's older API does.
async fn create_trip(app: &App, token: &str, from: &str) -> Told {
    let input = json!({ "name": "Alps", "startDate": "2026-01-01T00:00:00.000Z" });
    done(send(app, Some(token), from, CREATE, json!({ "input": input }))).await
}

async fn log_in(app: &App, email: &str, password: &str, from: &str) -> Told {
    let input = json!({ "email": email, "password": password });
    done(send(app, None, from, LOGIN, json!({ "input": input }))).await
}

async fn done(request: JoinHandle<Told>) -> Told {
    request.await.expect("an answer")
}

/// Keeps every push from going on until this is dropped. After five seconds each would try again.
async fn hold(app: &App) -> DatabaseTransaction {
    let held = app.db().begin_write().await.expect("a transaction");
    if app.database.backend == Backend::Postgres {
        let lock = "LOCK TABLE scope IN EXCLUSIVE MODE";
        held.execute_unprepared(lock).await.expect("the lock");
    }
    held
}

async fn loaded(app: &App, working: usize, waiting: usize) {
    let what = format!("{working} are worked on and {waiting} wait");
    eventually(&what, async || app.admission.load() == (working, waiting)).await;
}

/// A story on both databases, with other tiers of the cache on each.
async fn on_both(settings: &[&str], story: impl AsyncFn(&App)) {
    for backend in Backend::ALL {
        let tiers = Variant::of_this_test_on(backend).arguments();
        let app = App::start_with(backend, &[settings, &tiers].concat()).await;
        story(&app).await;
        loaded(&app, 0, 0).await;
        app.finish().await;
    }
}

/// One request is worked on at a time, and one waits.
const NARROW: [&str; 4] = ["--requests-at-once", "1", "--requests-waiting", "1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_a_thousand_requests_of_one_do_not_hold_up_the_one_of_another() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("may be raised");
    let settings = ["--requests-at-once", "1", "--requests-waiting", "20000"];
    on_both(&settings, async |app| {
        let [ada, bob] = [app.device_of("ada").await, app.device_of("bob").await];
        let (tell, mut told) = mpsc::unbounded_channel();
        let watch = |name: &'static str, request: JoinHandle<Told>| {
            let tell = tell.clone();
            tokio::spawn(async move { tell.send((name, done(request).await)) });
        };
        let held = hold(app).await;
        watch("ada", push(&ada, Uuid::new_v4()));
        loaded(app, 1, 0).await;
        // Each asks something else: who asks what another is asking already waits for that answer, and
        // takes no place in the queue.
        let question = |number: usize| format!("{{ trips{number}: trips {{ id syncVersion }} }}");
        for number in 0..1_000 {
            watch("ada", ask(&ada, &question(number)));
        }
        loaded(app, 1, 1_000).await;
        let more = done(ask(&ada, &question(1_000))).await;
        assert!(more.is_too_often(), "she has had her thousand: {more:?}");
        watch("bob", push(&bob, Uuid::new_v4()));
        loaded(app, 1, 1_001).await;
        drop(held);

        let mut before_bob = 0;
        for at in 0..1_002 {
            let (name, told) = told.recv().await.expect("all are answered");
            if name == "bob" {
                assert!(told.is_served(), "{told:?}");
                before_bob = at;
            } else {
                // The last of a thousand may have waited for too long.
                assert!(told.is_served() || told.is_overloaded(), "{told:?}");
            }
        }
        // Two go before him. What has been answered may be read in another order.
        assert!((1..=50).contains(&before_bob), "he came after {before_bob} of hers");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_beyond_the_queue_all_are_told_when_to_come_back_and_nothing_is_written() {
    on_both(&NARROW, async |app| {
        let [ada, bob] = [app.device_of("ada").await, app.device_of("bob").await];
        let mut carol = app.device_of("carol").await;
        let held = hold(app).await;
        let adas = push(&ada, Uuid::new_v4());
        loaded(app, 1, 0).await;
        let bobs = push(&bob, Uuid::new_v4());
        loaded(app, 1, 1).await;
        let trip = Uuid::new_v4();
        for _ in 0..3 {
            let told = done(push(&carol, trip)).await;
            assert!(told.is_overloaded(), "{told:?}");
        }
        let told = done(ask(&carol, TRIPS)).await;
        assert!(told.is_overloaded(), "{told:?}");
        // A GET is a request like any other.
        let get = app.client.get(format!("{}/graphql", app.url)).query(&[("query", TRIPS)]);
        let get = get.bearer_auth(&carol.token).send().await.expect("an answer");
        assert_eq!(get.status().as_u16(), 503);
        assert!(get.headers().contains_key("retry-after"));
        // Nor does a socket get past the queue.
        assert_eq!(Socket::try_connect(&app.url, &carol.token).await.err(), Some(1013));
        // What asks no question that waits is answered as ever.
        for path in ["/healthz", "/readyz", "/", "/conflicts"] {
            let response = app.client.get(format!("{}{path}", app.url)).send().await;
            assert_eq!(response.expect("an answer").status().as_u16(), 200, "{path}");
        }

        drop(held);
        for request in [adas, bobs] {
            let told = done(request).await;
            assert!(told.is_served(), "{told:?}");
        }
        loaded(app, 0, 0).await;
        assert_eq!(carol.pull().await, 0, "nothing was written");
        for _ in 0..2 {
            let told = done(push(&carol, trip)).await;
            let version = &told.answer["data"]["bulkSync"]["successful"][0]["syncVersion"];
            assert_eq!(version, 1, "{told:?}");
        }
        Socket::connect(&app.url, &carol.token).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_one_accounts_queue_is_full_before_the_others() {
    let settings = ["--requests-at-once", "1", "--requests-waiting", "40"];
    on_both(&settings, async |app| {
        let [ada, bob] = [app.device_of("ada").await, app.device_of("bob").await];
        let held = hold(app).await;
        let mut requests = vec![push(&ada, Uuid::new_v4())];
        loaded(app, 1, 0).await;
        requests.extend((0..2).map(|_| push(&ada, Uuid::new_v4())));
        loaded(app, 1, 2).await;
        let told = done(push(&ada, Uuid::new_v4())).await;
        assert!(told.is_too_often(), "{told:?}");
        requests.push(push(&bob, Uuid::new_v4()));
        loaded(app, 1, 3).await;
        drop(held);
        for told in future::join_all(requests.into_iter().map(done)).await {
            assert!(told.is_served(), "{told:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_who_hangs_up_gives_back_the_place_in_the_queue_but_finishes_what_was_begun() {
    on_both(&NARROW, async |app| {
        let [mut ada, mut bob] = [app.device_of("ada").await, app.device_of("bob").await];
        let carol = app.device_of("carol").await;
        let held = hold(app).await;
        let adas = push(&ada, Uuid::new_v4());
        loaded(app, 1, 0).await;
        let bobs = push(&bob, Uuid::new_v4());
        loaded(app, 1, 1).await;
        bobs.abort();
        loaded(app, 1, 0).await;
        adas.abort();
        let carols = push(&carol, Uuid::new_v4());
        loaded(app, 1, 1).await;
        drop(held);
        let told = done(carols).await;
        assert!(told.is_served(), "{told:?}");
        loaded(app, 0, 0).await;
        assert_eq!((ada.pull().await, bob.pull().await), (1, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_passwords_are_tried_so_often_for_each_account() {
    on_both(&["--password-limit", "3"], async |app| {
        for name in ["ada", "bob"] {
            let input =
                json!({ "email": format!("{name}@example.org"), "password": "correct horse" });
            let told = done(send(app, None, HOME, REGISTER, json!({ "input": input }))).await;
            assert!(told.is_served(), "{told:?}");
        }
        // Whether somebody has the address does not show, and neither does how it is written.
        for (email, again) in
            [("ada@example.org", " ADA@example.ORG "), ("nobody@example.org", "Nobody@example.org")]
        {
            for _ in 0..3 {
                let told = log_in(app, email, "wrong horse", HOME).await;
                let code = &told.answer["errors"][0]["extensions"]["code"];
                assert_eq!((told.status, code.as_str()), (200, Some("BAD_USER_INPUT")), "{told:?}");
            }
            for (email, from) in [(email, HOME), (again, "198.51.100.7")] {
                let told = log_in(app, email, "correct horse", from).await;
                assert!(told.is_too_often(), "{told:?}");
            }
        }
        // As the app asks, and many times in one document.
        let login = |name| format!("{name}: login(input: $input) {{ token user {{ id email }} }}");
        let many: Vec<String> = (0..4).map(|at| login(format!("l{at}"))).collect();
        let query = format!("mutation Login($input: UserInput!) {{ {} }}", many.join(" "));
        let input = json!({ "email": "bob@example.org", "password": "correct horse" });
        let told = done(send(app, None, HOME, &query, json!({ "input": input }))).await;
        let errors = told.answer["errors"].as_array().expect("errors");
        assert!(errors.len() == 1 && errors[0]["extensions"]["code"] == "RATE_LIMITED", "{told:?}");
        assert!(told.retry_after.is_some(), "{told:?}");
        let told = log_in(app, "bob@example.org", "correct horse", HOME).await;
        assert!(told.is_too_often(), "each of them counted: {told:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_the_password_of_a_session_is_tried_as_rarely() {
    on_both(&["--password-limit", "3"], async |app| {
        let ada = app.device_of("ada").await;
        let delete = "mutation { deleteAccount(password: \"wrong horse\") }";
        let change = "mutation { changePassword(currentPassword: \"wrong horse\", newPassword: \"longer than that\") { token } }";
        for (query, code) in [(delete, "BAD_USER_INPUT"), (change, "BAD_USER_INPUT"), (delete, "BAD_USER_INPUT")] {
            let told = done(ask(&ada, query)).await;
            assert_eq!(told.answer["errors"][0]["extensions"]["code"], code, "{told:?}");
        }
        for query in [delete, change] {
            let told = done(ask(&ada, query)).await;
            assert!(told.is_too_often(), "{told:?}");
        }
    })
    .await;
}

/// Registers and logs in alternately, with names of these numbers, and gives the answers.
async fn come(app: &App, numbers: Range<usize>, from: &str) -> Vec<Told> {
    let mut all = Vec::new();
    for number in numbers {
        let email = format!("{number}@example.org");
        let input = json!({ "input": { "email": email, "password": "correct horse" } });
        all.push(done(send(app, None, from, REGISTER, input.clone())).await);
        all.push(done(send(app, None, from, LOGIN, input)).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_an_address_logs_in_and_registers_so_often_also_behind_a_proxy() {
    on_both(&["--address-limit", "4", "--trust-proxy"], async |app| {
        assert!(come(app, 0..2, "192.0.2.1").await.iter().all(Told::is_served));
        // What a client writes before the proxy's own entry is not believed.
        for from in ["192.0.2.1", "198.51.100.7, 192.0.2.1", "192.0.2.1:4711"] {
            for told in come(app, 2..3, from).await {
                assert!(told.is_too_often(), "{from}: {told:?}");
            }
        }
        assert!(come(app, 2..3, "192.0.2.1, 198.51.100.7").await.iter().all(Told::is_served));
        // Of IPv6 the network counts.
        assert!(come(app, 3..5, "2001:db8:0:1::1").await.iter().all(Told::is_served));
        assert!(come(app, 5..6, "2001:db8:0:1::2").await.iter().all(Told::is_too_often));
        assert!(come(app, 5..6, "2001:db8:0:2::1").await.iter().all(Told::is_served));
    })
    .await;
    on_both(&["--address-limit", "4"], async |app| {
        assert!(come(app, 0..2, "192.0.2.1").await.iter().all(Told::is_served));
        // Without a proxy that is trusted anyone could write anything.
        assert!(come(app, 2..3, "192.0.2.2").await.iter().all(Told::is_too_often));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_an_account_and_an_address_write_so_often() {
    let settings = ["--write-limit", "3", "--address-write-limit", "5", "--trust-proxy"];
    on_both(&settings, async |app| {
        let [ada, bob] = [app.device_of("ada").await, app.device_of("bob").await];
        for _ in 0..3 {
            let told = create_trip(app, &ada.token, "192.0.2.1").await;
            assert!(told.is_served(), "{told:?}");
        }
        for told in [
            create_trip(app, &ada.token, "192.0.2.1").await,
            create_trip(app, &ada.token, "198.51.100.7").await,
            done(push(&ada, Uuid::new_v4())).await,
        ] {
            assert!(told.is_too_often(), "{told:?}");
        }
        let trips = done(ask(&ada, TRIPS)).await;
        assert!(trips.is_served(), "reading goes on: {trips:?}");
        for _ in 0..2 {
            let told = create_trip(app, &bob.token, "192.0.2.1").await;
            assert!(told.is_served(), "{told:?}");
        }
        let told = create_trip(app, &bob.token, "192.0.2.1").await;
        assert!(told.is_too_often(), "the address has written enough: {told:?}");
        let told = create_trip(app, &bob.token, "198.51.100.7").await;
        assert!(told.is_too_often(), "what was refused counts for the account: {told:?}");
    })
    .await;
}

/// What a client did until it was served.
struct Way {
    tries: usize,
    served: bool,
}

/// Tries until it is served, and waits as long as it is told to.
async fn insist(send: impl Fn() -> JoinHandle<Told>) -> Way {
    for tries in 1..=10 {
        let told = done(send()).await;
        if told.is_served() {
            return Way { tries, served: true };
        }
        assert!(told.is_overloaded() || told.is_too_often(), "{told:?}");
        tokio::time::sleep(Duration::from_secs(told.retry_after.unwrap_or(1))).await;
    }
    Way { tries: 10, served: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_of_500_that_sync_at_once_each_is_served_or_told_when_to_come_back() {
    let settings = ["--requests-at-once", "8", "--requests-waiting", "200"];
    on_both(&settings, async |app| {
        let mut people = Vec::new();
        for number in 0..25 {
            people.push(app.device_of(&format!("user{number}")).await);
        }
        let trips: Vec<Uuid> = (0..500).map(|_| Uuid::new_v4()).collect();
        let sync = async |at: usize| {
            let device = &people[at % people.len()];
            let pushed = insist(|| push(device, trips[at])).await;
            // None asks what another is asking: each needs a place.
            let query = format!("{{ pull{at}: enhancedSync {{ trips {{ id }} nextCursor }} }}");
            let pulled = insist(|| ask(device, &query)).await;
            (pushed, pulled)
        };
        let ways = future::join_all((0..trips.len()).map(sync)).await;
        assert!(ways.iter().all(|(pushed, pulled)| pushed.served && pulled.served));
        let again = ways.iter().filter(|(pushed, _)| pushed.tries > 1).count();
        assert!(again >= 100, "there was too much to do: {again}");
        for device in &mut people {
            assert_eq!(device.pull().await, 20, "each trip once");
        }
    })
    .await;
}

/// A body that never comes to its end. Its answer may be lost with the connection, which the server closes when it wants no more.
fn endless(app: &App, token: Option<&str>, bytes: usize) -> JoinHandle<Option<u16>> {
    let head = futures_util::stream::iter(vec![Ok::<_, std::io::Error>(vec![b' '; bytes])]);
    let body = reqwest::Body::wrap_stream(head.chain(futures_util::stream::pending()));
    let mut request = app.client.post(format!("{}/graphql", app.url));
    request = request.header("content-type", "application/json").body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    tokio::spawn(async move { Some(request.send().await.ok()?.status().as_u16()) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_bodies_that_never_end_take_nobody_elses_memory() {
    let app = App::start(Backend::Sqlite).await;
    let [ada, eve] = [app.device_of("ada").await, app.device_of("eve").await];
    let mut held: Vec<JoinHandle<Option<u16>>> = Vec::new();
    for token in [None, Some(&*eve.token)] {
        let mut all: Vec<JoinHandle<Option<u16>>> =
            (0..6).map(|_| endless(&app, token, 15 << 20)).collect();
        // Those for which there is no share are told so. Two fit into it; of those that come at the same
        // time more may be in each other's way.
        eventually("all but two are refused", async || {
            all.iter().filter(|sent| sent.is_finished()).count() >= 4
        })
        .await;
        held.extend(all.extract_if(.., |sent| !sent.is_finished()));
        for refused in all {
            assert!(matches!(refused.await.expect("no panic"), Some(429) | None));
        }
    }
    let trip = ada.trip("Alps").await;
    let text = "x".repeat(60_000);
    let all = (0..20).map(|_| {
        create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "Hut", "content": text }))
            .1
    });
    let pushed = ada.push(json!({ "memories": all.collect::<Vec<_>>() })).await;
    assert_eq!(pushed.successful.len(), 20, "{pushed:?}");
    assert!(held.iter().all(|sent| !sent.is_finished()), "they still hold theirs");
    for held in held {
        held.abort();
    }
    app.finish().await;
}
