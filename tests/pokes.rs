//! Pokes: who is told, by which instance, and how sockets begin and end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cairn::auth::{Caller, Signer};
use cairn::config::limits;
use cairn::db::Db;
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel};
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::support::{
    App, Backend, Device, Heard, Mode, Process, Proxy, Redis, Side, Socket, Target, TestDatabase,
    ask, client, create, delete, eventually, update,
};

/// Defines a story for one instance on each database, where both are the same, and for two instances
/// that share PostgreSQL and Redis: what is done here is told there.
macro_rules! here_and_there {
    ($($(#[$attr:meta])* async fn $name:ident($here:ident: &App, $there:ident: &App) $body:block)*) => {
        $(
            $(#[$attr])*
            mod $name {
                use super::*;

                async fn story($here: &App, $there: &App) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    let app = App::start(Backend::Sqlite).await;
                    story(&app, &app).await;
                    app.finish().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    let app = App::start(Backend::Postgres).await;
                    story(&app, &app).await;
                    app.finish().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn two_instances() {
                    let redis = Redis::start();
                    let (here, there) = pair(&redis).await;
                    story(&here, &there).await;
                    there.finish().await;
                    here.finish().await;
                }
            }
        )*
    };
}

/// Two instances that share a database and a Redis, and hear each other.
async fn pair(redis: &Redis) -> (App, App) {
    let arguments = ["--redis-url", &redis.url];
    let here = App::start_with(Backend::Postgres, &arguments).await;
    let there = here.beside(&arguments).await;
    listening(redis, 2).await;
    (here, there)
}

/// Waits until so many instances listen.
async fn listening(redis: &Redis, count: usize) {
    let channel = "PUBSUB CHANNELS cairn:*:notices";
    eventually("all listen", async || {
        let answer = redis.ask(channel);
        let Some(name) = answer.lines().find(|line| line.starts_with("cairn:")) else {
            return false;
        };
        redis.ask(&format!("PUBSUB NUMSUB {name}")).contains(&format!(":{count}\r\n"))
    })
    .await;
}

/// Renames a trip, at this version.
async fn rename(device: &Device<'_>, trip: Uuid, version: i64) {
    let edit = update("Trip", trip, version, json!({ "name": format!("Version {version}") }));
    assert_eq!(device.push_one(edit).await, format!("ok {}", version + 1));
}

/// Sends something that succeeds.
async fn send(device: &Device<'_>, request: &str, variables: Json) -> Json {
    let answer = device.ask(request, variables).await;
    assert!(answer["errors"].is_null(), "{answer}");
    answer["data"].clone()
}

here_and_there! {
    async fn a_commit_pokes_the_accounts_devices_and_nobody_else(here: &App, there: &App) {
        let ada = here.device_of("ada").await;
        let bob = here.device_of("bob").await;
        let mut tablet = Socket::of(&there.url, &ada).await;
        let mut stranger = Socket::of(&there.url, &bob).await;
        let trip = ada.trip("Alps").await;
        tablet.poke().await;
        rename(&ada, trip, 1).await;
        tablet.poke().await;
        assert_eq!(stranger.count().await, 0);
        // Nothing has changed, and nobody is told.
        tablet.count().await;
        assert_eq!(ada.push_one(delete("Tag", Uuid::new_v4(), 1)).await, "ok 1");
        assert_eq!(tablet.count().await, 0);
    }

    async fn what_a_poke_tells_can_be_pulled_and_its_time_lags_like_any_other(here: &App, there: &App) {
        let mut ada = here.device_of("ada").await;
        let mut tablet = Socket::of(&there.url, &ada).await;
        let trip = ada.trip("Alps").await;
        let told = tablet.poke().await;
        ada.pull().await;
        assert!(ada.row("Trip", trip).is_some());
        let page = ada.page(json!({})).await;
        let pulled = page["data"]["enhancedSync"]["serverTimestamp"].as_str().expect("a time");
        assert!(told.as_str() <= pulled, "{told} {pulled}");
        let now = chrono::Utc::now() - chrono::TimeDelta::from_std(limits::TIMESTAMP_LAG).expect("short");
        let now = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        assert!(told <= now, "{told} {now}");
    }

    async fn who_is_behind_is_poked_at_once_and_who_is_not_is_not(here: &App, there: &App) {
        let mut ada = here.device_of("ada").await;
        let trip = ada.trip("Alps").await;
        ada.pull().await;
        let old = ada.cursor.clone().expect("a cursor");
        rename(&ada, trip, 1).await;
        ada.pull().await;
        let new = ada.cursor.clone().expect("a cursor");
        let mut socket = Socket::connect(&there.url, &ada.token).await;
        socket.subscribe("new", Some(&new)).await;
        assert_eq!(socket.count().await, 0);
        socket.subscribe("old", Some(&old)).await;
        assert_eq!(socket.message().await["id"], "old");
        socket.subscribe("none", None).await;
        assert_eq!(socket.message().await["id"], "none");
        // A cursor in the middle of a window has more to come.
        let page = ada.page(json!({ "size": 1 })).await;
        let middle = page["data"]["enhancedSync"]["nextCursor"].as_str().expect("a cursor");
        let mut another = here.device_of("bob").await;
        another.trip("Andes").await;
        another.pull().await;
        let others = another.cursor.clone().expect("a cursor");
        // Whoever's it is, that is what a pull would say.
        for (id, cursor) in [("middle", middle), ("others", &*others)] {
            socket.subscribe(id, Some(cursor)).await;
            assert_eq!(socket.message().await["id"], id);
        }
        socket.subscribe("garbage", Some("garbage")).await;
        let refused = socket.message().await;
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("garbage")));
        assert_eq!(refused["payload"][0]["extensions"]["code"], "INVALID_CURSOR");
        assert_eq!(socket.count().await, 0);
        // From here on all of them are told.
        rename(&ada, trip, 2).await;
        let mut told = BTreeMap::new();
        for _ in 0..5 {
            let message = socket.message().await;
            assert_eq!(message["type"], "next", "{message}");
            *told.entry(message["id"].as_str().expect("an id").to_owned()).or_insert(0) += 1;
        }
        let each = ["middle", "new", "none", "old", "others"].map(|id| (id.to_owned(), 1));
        assert_eq!(told, BTreeMap::from(each));
    }

    async fn whoever_sees_a_trip_is_told_of_everything_in_it(here: &App, there: &App) {
        let ada = here.device_of("ada").await;
        let trip = ada.trip("Alps").await;
        let others = [here.device_of("eve").await, here.device_of("vic").await];
        let former = here.device_of("fay").await;
        let [editor, viewer] = &others;
        ada.share(trip, editor, "EDITOR").await;
        ada.share(trip, viewer, "VIEWER").await;
        ada.share(trip, &former, "EDITOR").await;
        ada.unshare(trip, &former).await;
        let memory = ada.memory(trip, "Hut").await;
        let mut members = Vec::new();
        for device in [&ada, editor, viewer] {
            members.push(Socket::of(&there.url, device).await);
        }
        let mut removed = Socket::of(&there.url, &former).await;
        let told = async |members: &mut Vec<Socket>| {
            for member in members {
                member.poke().await;
            }
        };
        rename(editor, trip, 1).await;
        told(&mut members).await;
        // An edit that is merged, and one that becomes a conflict.
        let edit = |value: &str| update("Memory", memory, 1, json!({ "title": value }));
        assert_eq!(ada.push_one(edit("Refuge")).await, "ok 2");
        told(&mut members).await;
        let clash = editor.push_one(edit("Cabin")).await;
        assert_eq!(clash, "conflict OPEN VERSION_MISMATCH");
        told(&mut members).await;
        // And the one who decides it.
        let open = send(&ada, "{ getConflicts(status: OPEN) { id } }", json!({})).await;
        let conflict = open["getConflicts"][0]["id"].as_str().expect("a conflict");
        ada.resolve(conflict, "FIRST_WRITE_WINS").await;
        told(&mut members).await;
        // Points on the way change no row.
        let point = json!({ "latitude": 46.5, "longitude": 8.5, "timestamp": "2026-01-01T10:00:00.000Z" });
        let add = "mutation($trip: ID!, $points: [RoutePointInput!]!) {
            createRoutePoints(tripId: $trip, points: $points) { id } }";
        send(editor, add, json!({ "trip": trip, "points": [point] })).await;
        told(&mut members).await;
        // A file arrives that a row waits for.
        let media = json!({ "memoryId": memory, "objectName": "hut.jpg", "mimeType": "image/jpeg", "fileSize": 5 });
        let item = Uuid::new_v4();
        assert_eq!(ada.push_one(create("MediaItem", item, media)).await, "ok 1");
        told(&mut members).await;
        ada.upload("hut.jpg", "image/jpeg", "bytes").await;
        told(&mut members).await;
        assert_eq!(editor.push_one(delete("Memory", memory, 3)).await, "ok 4");
        told(&mut members).await;
        // Nobody who is not in it was told of any of this.
        assert_eq!(removed.count().await, 0);
        // And of their own things nobody else is.
        former.trip("Andes").await;
        removed.poke().await;
        for member in &mut members {
            assert_eq!(member.count().await, 0);
        }
    }

    async fn who_gets_a_trip_and_who_loses_it_is_told(here: &App, there: &App) {
        let ada = here.device_of("ada").await;
        let bob = here.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let mut socket = Socket::of(&there.url, &bob).await;
        ada.share(trip, &bob, "VIEWER").await;
        socket.poke().await;
        ada.share(trip, &bob, "EDITOR").await;
        socket.poke().await;
        ada.unshare(trip, &bob).await;
        socket.poke().await;
        // What happens there from now on is none of their business.
        rename(&ada, trip, 1).await;
        assert_eq!(socket.count().await, 0);
        ada.share(trip, &bob, "EDITOR").await;
        socket.poke().await;
        let leave = "mutation($trip: ID!, $user: ID!) { unshareTrip(tripId: $trip, userId: $user) }";
        send(&bob, leave, json!({ "trip": trip, "user": bob.account().await })).await;
        socket.poke().await;
        // The owner goes, and someone else has the trip.
        ada.share(trip, &bob, "EDITOR").await;
        socket.poke().await;
        let mut ended = Socket::of(&there.url, &ada).await;
        send(&ada, "mutation { deleteAccount(password: \"correct horse\") }", json!({})).await;
        socket.poke().await;
        assert_eq!(bob.members(trip).await[0].1, "OWNER");
        assert_eq!(ended.closed().await, 4401);
    }

    async fn many_commits_are_few_pokes(here: &App, there: &App) {
        let ada = here.device_of("ada").await;
        let trip = ada.trip("Alps").await;
        let mut socket = Socket::of(&there.url, &ada).await;
        let started = Instant::now();
        for version in 1..=30 {
            rename(&ada, trip, version).await;
        }
        let count = socket.count().await;
        let seconds = started.elapsed().as_secs() as usize;
        assert!((1..=seconds + 1).contains(&count), "{count} pokes in {seconds} seconds");
    }

    async fn a_session_that_ends_takes_its_sockets_along(here: &App, there: &App) {
        let login = async || {
            let login = "mutation { login(input: { email: \"ada@example.org\", password: \"correct horse\" }) { token } }";
            let answer = here.ask(None, login, json!({})).await;
            answer["data"]["login"]["token"].as_str().expect("a token").to_owned()
        };
        let ada = here.device_of("ada").await;
        let bob = here.device_of("bob").await;
        let mut unconcerned = Socket::of(&there.url, &bob).await;
        let mut phone = Socket::of(&there.url, &ada).await;
        let tablet_token = login().await;
        let mut tablet = Socket::connect(&there.url, &tablet_token).await;
        // One session.
        let started = Instant::now();
        send(&ada, "mutation { logout }", json!({})).await;
        assert_eq!(phone.closed().await, 4401);
        let tablet_device = Device::new(here, "ada", tablet_token.clone());
        tablet.subscribe("pokes", None).await;
        tablet.poke().await;
        // With another password.
        let mut other = Socket::connect(&there.url, &login().await).await;
        let change = "mutation { changePassword(currentPassword: \"correct horse\", newPassword: \"correct horse\") { token } }";
        let token = send(&tablet_device, change, json!({})).await["changePassword"]["token"].clone();
        let token = token.as_str().expect("a token");
        assert_eq!(tablet.closed().await, 4401);
        assert_eq!(other.closed().await, 4401);
        // All of them.
        let mut last = Socket::connect(&there.url, token).await;
        let mut other = Socket::connect(&there.url, &login().await).await;
        let device = Device::new(here, "ada", token.into());
        send(&device, "mutation { logout(everywhere: true) }", json!({})).await;
        assert_eq!(last.closed().await, 4401);
        assert_eq!(other.closed().await, 4401);
        assert!(started.elapsed() < limits::SESSION_CHECK, "it was told, and not found out");
        assert_eq!(Socket::try_connect(&there.url, token).await.err(), Some(4403));
        // By the operator, who tells nobody.
        let mut last = Socket::connect(&there.url, &login().await).await;
        here.execute("UPDATE account SET is_active = false WHERE email = 'ada@example.org'").await;
        assert_eq!(last.closed().await, 4401);
        bob.trip("Andes").await;
        unconcerned.poke().await;
    }
}

/// What a socket is told that says these things, one after another.
async fn told(app: &App, messages: &[Json]) -> Vec<Heard> {
    let mut socket = Socket::open(&app.url).await;
    for message in messages {
        match message {
            Json::String(text) => socket.send_raw(Message::text(text.clone())).await,
            message => socket.send(message.clone()).await,
        }
    }
    let mut heard = Vec::new();
    loop {
        heard.push(socket.next().await);
        if let Some(Heard::Closed(_)) = heard.last() {
            return heard;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_protocol_is_closed_with_its_code() {
    let app = App::start(Backend::Sqlite).await;
    let token = app.register("ada").await;
    let init = |payload: Json| json!({ "type": "connection_init", "payload": payload });
    let good = init(json!({ "token": token }));
    let ack = Heard::Message(json!({ "type": "connection_ack" }));
    let pong = Heard::Message(json!({ "type": "pong" }));
    let subscribe = |id: &str, query: &str| json!({ "type": "subscribe", "id": id, "payload": { "query": query } });
    let pokes = "subscription { syncAvailable(cursor: null) { serverTimestamp } }";
    let long = "x".repeat(limits::SOCKET_MESSAGE + 1);
    for (messages, expected) in [
        (vec![json!("nonsense")], vec![Heard::Closed(4400)]),
        (vec![json!({ "type": "start" })], vec![Heard::Closed(4400)]),
        (vec![json!(long)], vec![Heard::Closed(4400)]),
        (vec![subscribe("1", pokes)], vec![Heard::Closed(4401)]),
        (vec![json!({ "type": "complete", "id": "1" })], vec![Heard::Closed(4401)]),
        (vec![json!({ "type": "connection_init" })], vec![Heard::Closed(4403)]),
        (vec![init(json!({ "Authorization": "Bearer x" }))], vec![Heard::Closed(4403)]),
        (
            vec![init(json!({ "Authorization": format!("Bearer {token}x") }))],
            vec![Heard::Closed(4403)],
        ),
        (vec![json!({ "type": "ping" }), json!("{")], vec![pong.clone(), Heard::Closed(4400)]),
        (vec![good.clone(), good.clone()], vec![ack.clone(), Heard::Closed(4429)]),
        (vec![good.clone(), json!("null")], vec![ack.clone(), Heard::Closed(4400)]),
        (
            vec![
                good.clone(),
                json!({ "type": "pong" }),
                json!({ "type": "ping", "payload": {} }),
                json!(""),
            ],
            vec![ack.clone(), pong, Heard::Closed(4400)],
        ),
    ] {
        let what: String = json!(messages).to_string().chars().take(200).collect();
        assert_eq!(told(&app, &messages).await, expected, "{what}");
    }
    // The same id twice. A poke may come in between.
    let twice = told(&app, &[good.clone(), subscribe("1", pokes), subscribe("1", pokes)]).await;
    assert_eq!(twice.last(), Some(&Heard::Closed(4409)));
    let mut binary = Socket::connect(&app.url, &token).await;
    binary.send_raw(Message::binary(b"{\"type\":\"ping\"}".to_vec())).await;
    assert_eq!(binary.closed().await, 4400);
    // Whoever says nothing is not waited for.
    assert_eq!(Socket::open(&app.url).await.closed().await, 4408);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_one_subprotocol_is_spoken_and_only_get_becomes_a_socket() {
    let app = App::start(Backend::Sqlite).await;
    for protocol in [None, Some("graphql-ws"), Some("chat")] {
        assert_eq!(Socket::try_open(&app.url, protocol).await.err(), Some(400), "{protocol:?}");
    }
    let several = Some("graphql-ws, graphql-transport-ws");
    assert!(Socket::try_open(&app.url, several).await.is_ok());
    let refused = app.client.get(format!("{}/graphql", app.url)).header("upgrade", "websocket");
    assert_eq!(refused.send().await.expect("an answer").status(), 400);
    let poke = "subscription { syncAvailable { serverTimestamp } }";
    let token = app.register("ada").await;
    let answer = app.ask(Some(&token), poke, json!({})).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{answer}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_takes_subscriptions_with_the_limits_of_a_request_and_nothing_else() {
    let app = App::start(Backend::Sqlite).await;
    let ada = app.device_of("ada").await;
    let mut socket = Socket::connect(&app.url, &ada.token).await;
    let deep = format!("subscription {{ {} }}", "a { ".repeat(65) + &"}".repeat(65));
    let long = format!(
        "subscription {{ syncAvailable {{ serverTimestamp }} }} #{}",
        "x".repeat(limits::DOCUMENT)
    );
    let many =
        format!("subscription {{ syncAvailable {{ {} }} }}", "serverTimestamp ".repeat(10_001));
    let spread = "subscription { ...a } fragment a on Subscription { ...b ...b } fragment b on Subscription { ...a }";
    for (query, code) in [
        ("{ hello }", "BAD_USER_INPUT"),
        ("mutation { logout }", "BAD_USER_INPUT"),
        ("subscription { syncAvailable { nothing } }", "BAD_USER_INPUT"),
        ("subscription { nothing }", "BAD_USER_INPUT"),
        (
            "subscription { a: syncAvailable { serverTimestamp } b: syncAvailable { serverTimestamp } }",
            "BAD_USER_INPUT",
        ),
        (
            "subscription { ...a } fragment a on Subscription { syncAvailable { serverTimestamp } }",
            "BAD_USER_INPUT",
        ),
        ("subscription {", "BAD_USER_INPUT"),
        ("subscription { syncAvailable(cursor: 7) { serverTimestamp } }", "BAD_USER_INPUT"),
        (
            "subscription a { syncAvailable { serverTimestamp } } subscription b { syncAvailable { serverTimestamp } }",
            "BAD_USER_INPUT",
        ),
        (spread, "BAD_USER_INPUT"),
        (&*deep, "LIMIT"),
        (&*long, "LIMIT"),
        (&*many, "LIMIT"),
        ("subscription { syncAvailable(cursor: \"x\") { serverTimestamp } }", "INVALID_CURSOR"),
    ] {
        let payload = json!({ "query": query });
        socket.send(json!({ "type": "subscribe", "id": "a", "payload": payload })).await;
        let message = socket.message().await;
        let query: String = query.chars().take(100).collect();
        assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("a")), "{query}");
        let error = &message["payload"][0];
        assert_eq!(error["extensions"]["code"], code, "{query}: {message}");
        assert!(error["message"].is_string());
    }
    // Nobody was logged out, and the id is free: fragments, aliases and names are as in any request.
    let query = "query no { hello } subscription yes($c: String) { now: syncAvailable(cursor: $c) { ...at } } fragment at on SyncPoke { serverTimestamp }";
    let payload = json!({ "query": query, "operationName": "yes" });
    socket.send(json!({ "type": "subscribe", "id": "a", "payload": payload })).await;
    let message = socket.message().await;
    assert!(message["payload"]["data"]["now"]["serverTimestamp"].is_string(), "{message}");
    // It ends when the client wants, and not before.
    ada.trip("Alps").await;
    assert_eq!(socket.message().await["id"], "a");
    socket.send(json!({ "type": "complete", "id": "a" })).await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.message().await, json!({ "type": "pong" }));
    ada.trip("Andes").await;
    assert_eq!(socket.count().await, 0);
    // So many at once.
    for number in 0..=limits::SUBSCRIPTIONS {
        socket.subscribe(&number.to_string(), None).await;
    }
    let mut refused = Vec::new();
    for _ in 0..=limits::SUBSCRIPTIONS {
        let message = socket.message().await;
        if message["type"] == "error" {
            refused
                .push((message["id"].clone(), message["payload"][0]["extensions"]["code"].clone()));
        }
    }
    assert_eq!(refused, [(json!(limits::SUBSCRIPTIONS.to_string()), json!("LIMIT"))]);
    app.finish().await;
}

/// With each login too many the oldest session ends, and its sockets hear of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_of_too_many_sessions_takes_its_sockets_along() {
    let app = App::start(Backend::Sqlite).await;
    let login = async || {
        let login = "mutation { login(input: { email: \"ada@example.org\", password: \"correct horse\" }) { token } }";
        let answer = app.ask(None, login, json!({})).await;
        answer["data"]["login"]["token"].as_str().expect("a token").to_owned()
    };
    let account = app.device_of("ada").await.account().await;
    // Hers and two more, each of a session of its own.
    let mut oldest = Vec::new();
    for _ in 0..2 {
        oldest.push(Socket::connect(&app.url, &login().await).await);
    }
    let session = |_| {
        let [created_at, expires_at] = [9_000_000_000_000; 2];
        let id = Uuid::new_v4();
        let session = entity::session::Model { id, account_id: account, created_at, expires_at };
        session.into_active_model()
    };
    let others = entity::session::Entity::insert_many((0..97).map(session));
    others.exec_without_returning(app.db().pool()).await.expect("they are written");
    let started = Instant::now();
    // The first to end has no socket. Found out one after another, these take two looks at all.
    login().await;
    for mut socket in oldest {
        login().await;
        assert_eq!(socket.closed().await, 4401);
    }
    assert!(started.elapsed() < limits::SESSION_CHECK, "they were told, and not found out");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_has_so_many_sockets() {
    let app = App::start(Backend::Sqlite).await;
    let [ada, bob] = [app.register("ada").await, app.register("bob").await];
    let mut sockets = Vec::new();
    for _ in 0..limits::SOCKETS_PER_ACCOUNT {
        sockets.push(Socket::connect(&app.url, &ada).await);
    }
    assert_eq!(Socket::try_connect(&app.url, &ada).await.err(), Some(4429));
    Socket::connect(&app.url, &bob).await;
    sockets.pop();
    eventually("its place is free", async || Socket::try_connect(&app.url, &ada).await.is_ok())
        .await;
    app.finish().await;
}

/// Who has not said who it is may send a message as long as any: there are not many of an address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_sockets_that_have_not_said_who_they_are() {
    let app = App::start(Backend::Sqlite).await;
    let ada = app.register("ada").await;
    eventually("this is quicker than they are sent away for their silence", async || {
        let began = Instant::now();
        let mut silent = Vec::new();
        eventually("all of them are there", async || {
            // Those of the time before may not be gone yet.
            silent.extend(Socket::try_open(&app.url, Some("graphql-transport-ws")).await.ok());
            silent.len() == limits::STRANGERS_PER_ADDRESS
        })
        .await;
        let refused = Socket::try_connect(&app.url, &ada).await.err();
        silent.pop();
        let mut known = None;
        eventually("its place is free", async || {
            known = Socket::try_connect(&app.url, &ada).await.ok();
            known.is_some()
        })
        .await;
        // Who has said it takes no place of theirs.
        let another = Socket::try_connect(&app.url, &ada).await;
        if began.elapsed() >= limits::SOCKET_INIT {
            return false;
        }
        assert_eq!(refused, Some(429));
        assert!(another.is_ok(), "{:?}", another.err());
        true
    })
    .await;
    app.finish().await;
}

/// A token of the account's session that is refused in so many seconds.
async fn token_for(app: &App, token: &str, seconds: i64) -> String {
    let setting = async |name: &str| {
        let found = entity::setting::Entity::find_by_id(name).one(app.db().pool()).await;
        found.expect("settings can be read").expect("it is there").value
    };
    let signer = Signer::new(setting("development_jwt_secret").await.as_bytes());
    let caller: Caller = signer.verify(token).expect("a good token");
    // Tokens are taken for a minute after their time.
    let now = chrono::Utc::now().timestamp_millis();
    signer.sign(caller, now - 60_000, now - 60_000 + seconds * 1000).expect("signed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_ends_with_its_token() {
    let app = App::start(Backend::Sqlite).await;
    let token = app.register("ada").await;
    let short = token_for(&app, &token, 3).await;
    let mut socket = Socket::connect(&app.url, &short).await;
    let mut other = Socket::connect(&app.url, &token).await;
    assert_eq!(socket.closed().await, 4401);
    assert_eq!(Socket::try_connect(&app.url, &short).await.err(), Some(4403));
    other.subscribe("pokes", None).await;
    other.poke().await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_no_life_is_dropped_and_who_does_is_not() {
    let app = App::start_with(Backend::Sqlite, &["--socket-ping", "1"]).await;
    let token = app.register("ada").await;
    let mut silent = Socket::connect(&app.url, &token).await;
    let mut alive = Socket::connect(&app.url, &token).await;
    // The library answers pings while it reads.
    for _ in 0..4 {
        assert_eq!(alive.count().await, 0);
    }
    // It would answer now, too, but it is too late.
    assert_eq!(silent.closed().await, 1006);
    alive.subscribe("pokes", None).await;
    alive.poke().await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_is_dropped_and_nothing_is_kept_for_them() {
    // Pings would notice, too: there are none.
    let app = App::start_with(Backend::Sqlite, &["--socket-ping", "300"]).await;
    let token = app.register("ada").await;
    let mut slow = Socket::connect(&app.url, &token).await;
    // Each is refused in as many words, until nothing fits into the line: what cannot be read is shown.
    let query = format!("subscription {{ {}", "x".repeat(60_000));
    let message = json!({ "type": "subscribe", "id": "1", "payload": { "query": query } });
    let sent = async {
        for _ in 0..1_000 {
            slow.send(message.clone()).await;
        }
    };
    // The server does not read any more, either: it waits for its words to be taken. When it has waited
    // long enough, what is sent goes nowhere.
    let sent = tokio::time::timeout(limits::SOCKET_SEND + Duration::from_secs(60), sent).await;
    assert!(sent.is_ok(), "the server waits for ever");
    let mut heard = 0;
    let code = loop {
        match slow.next().await {
            Heard::Message(_) => heard += 1,
            Heard::Closed(code) => break code,
        }
    };
    // Without a word: nobody would have heard it.
    assert_eq!(code, 1006, "after {heard} answers");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_everything_goes_on_and_whoever_missed_something_is_told() {
    let mut redis = Redis::start();
    let (here, there) = pair(&redis).await;
    let ada = here.device_of("ada").await;
    let trip = ada.trip("Alps").await;
    let mut near = Socket::of(&here.url, &ada).await;
    let mut far = Socket::of(&there.url, &ada).await;
    // It hangs, then it is gone with all that it held.
    for version in [1, 2] {
        match version {
            1 => redis.pause(),
            _ => redis.kill(),
        }
        let started = Instant::now();
        rename(&ada, trip, version).await;
        near.poke().await;
        assert!(started.elapsed() < Duration::from_secs(5), "nobody waits for Redis");
        let ready = here.client.get(format!("{}/readyz", here.url)).send().await;
        assert_eq!(ready.expect("an answer").status(), 200);
        match version {
            1 => redis.resume(),
            _ => redis.start_again(),
        }
        far.poke().await;
        // Everything is as before.
        listening(&redis, 2).await;
        near.count().await;
        far.count().await;
    }
    rename(&ada, trip, 3).await;
    far.poke().await;
    there.finish().await;
    here.finish().await;
}

/// It happened, and the next attempt finds nothing that it moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_told() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let (line, behind) = database.by_a_line().await;
    let app = App::on(behind, &[]).await;
    let ada = app.device_of("ada").await;
    let trip = ada.trip("Alps").await;
    let mut socket = Socket::of(&app.url, &ada).await;
    socket.count().await;
    // The next commit takes a second.
    app.execute(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$",
    )
    .await;
    app.execute(
        "CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON receipt
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()",
    )
    .await;
    let direct = Db::connect(&database.url).await.expect("PostgreSQL answers");
    let is_committing = async || {
        let name = "datname = current_database() AND wait_event = 'PgSleep'";
        let sql = format!("SELECT 1 FROM pg_stat_activity WHERE {name} AND query = 'COMMIT'");
        let found = direct.pool().query_all_raw(sea_orm::Statement::from_string(
            direct.pool().get_database_backend(),
            sql,
        ));
        !found.await.expect("it tells").is_empty()
    };
    let lose = async {
        eventually("it is committed", async || is_committing().await).await;
        line.set(Mode::Lose(Side::Server));
        eventually("it is done", async || !is_committing().await).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        line.set(Mode::Pass);
    };
    let ((), made) = tokio::join!(lose, ada.memory(trip, "Hut"));
    socket.poke().await;
    let answer =
        ada.ask("query($id: ID!) { memory(id: $id) { title } }", json!({ "id": made })).await;
    assert_eq!(answer["data"]["memory"]["title"], "Hut");
    direct.close().await.expect("closed");
    app.finish().await;
}

/// Nothing is committed while Redis is away, as far as anyone knows: all are told to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_heard_nothing_for_a_while_is_told_to_look() {
    let mut redis = Redis::start();
    let (here, there) = pair(&redis).await;
    let ada = here.device_of("ada").await;
    let mut far = Socket::of(&there.url, &ada).await;
    redis.kill();
    redis.start_again();
    far.poke().await;
    there.finish().await;
    here.finish().await;
}

/// The address leads to another server, and the old one goes on: no connection fails. Redis is there for
/// pokes alone, so nothing is written that the old one could refuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_that_nobody_notices_all_find_each_other_again() {
    let [old, new] = [Redis::start(), Redis::start()];
    let line = Proxy::to(Target::Socket(old.socket())).await;
    let url = format!("redis://{}", line.address);
    let settings = ["--redis-url", &url, "--sync-cache-ttl", "0"];
    let here = App::start_with(Backend::Postgres, &settings).await;
    listening(&old, 1).await;
    line.lead(Target::Socket(new.socket()));
    let there = here.beside(&settings).await;
    listening(&new, 1).await;
    let ada = here.device_of("ada").await;
    let mut near = Socket::of(&here.url, &ada).await;
    let mut far = Socket::of(&there.url, &ada).await;
    // Told where nobody else listens.
    let trip = ada.trip("Alps").await;
    near.poke().await;
    far.poke().await;
    listening(&new, 2).await;
    for socket in [&mut near, &mut far] {
        socket.count().await;
    }
    rename(&ada, trip, 1).await;
    for socket in [&mut near, &mut far] {
        socket.poke().await;
        socket.count().await;
    }
    let by_app = "mutation($id: ID!) { updateTrip(id: $id, input: { name: \"Andes\" }) { id } }";
    let token = Some(&*ada.token);
    let answer = ask(&client(), &there.url, token, by_app, json!({ "id": trip })).await;
    assert!(answer["errors"].is_null(), "{answer}");
    near.poke().await;
    there.finish().await;
    here.finish().await;
}

/// Three processes: what one commits the others tell, and one that is killed is not missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_tell_what_any_of_them_commits() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let redis = Redis::cluster();
    let settings = [("DATABASE_URL", &*database.url), ("REDIS_URL", &*redis.url)];
    let [(first, a), (_second, b), (_third, c)] = [
        Process::serve(&settings).await,
        Process::serve(&settings).await,
        Process::serve(&settings).await,
    ];
    listening(&redis, 3).await;
    let client = client();
    let account = "(input: { email: \"ada@example.org\", password: \"correct horse\" })";
    let ask = async |url: &str, token: Option<&str>, request: String| {
        let answer = ask(&client, url, token, &request, json!({})).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"].clone()
    };
    ask(&a, None, format!("mutation {{ register{account} {{ id }} }}")).await;
    let login = ask(&b, None, format!("mutation {{ login{account} {{ token }} }}")).await;
    let token = login["login"]["token"].as_str().expect("a token");
    let mut sockets = Vec::new();
    for url in [&a, &b, &c] {
        let mut socket = Socket::connect(url, token).await;
        socket.subscribe("pokes", None).await;
        socket.poke().await;
        sockets.push(socket);
    }
    let create = |name: &str| {
        format!(
            "mutation {{ createTrip(input: {{ name: \"{name}\", startDate: \"2026-01-01T00:00:00Z\" }}) {{ id }} }}"
        )
    };
    for url in [&a, &b, &c] {
        ask(url, Some(token), create(url)).await;
        for socket in &mut sockets {
            socket.poke().await;
        }
    }
    first.kill().await;
    assert_eq!(sockets.remove(0).closed().await, 1006);
    ask(&b, Some(token), create("Andes")).await;
    for socket in &mut sockets {
        socket.poke().await;
    }
    ask(&c, Some(token), "mutation { logout }".to_owned()).await;
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, 4401);
    }
}

/// The operator's commands are processes of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commands_do_is_told_by_redis_too() {
    let mut redis = Redis::start();
    let app = App::start_with(Backend::Postgres, &["--redis-url", &redis.url]).await;
    listening(&redis, 1).await;
    let url = redis.url.clone();
    let settings = [("DATABASE_URL", &*app.database.url), ("REDIS_URL", &*url)];
    let ada = app.device_of("ada").await;
    let trip = ada.trip("Alps").await;
    assert_eq!(ada.push_one(delete("Trip", trip, 1)).await, "ok 2");
    let mut socket = Socket::of(&app.url, &ada).await;
    let id = trip.to_string();
    let restored = Process::run(&["restore", "Trip", &id], &settings, "").await;
    assert!(restored.status.success(), "{restored:?}");
    socket.poke().await;
    let started = Instant::now();
    let reset = ["account", "reset-password", "ada@example.org"];
    let reset = Process::run(&reset, &settings, "another horse\n").await;
    assert!(reset.status.success(), "{reset:?}");
    assert_eq!(socket.closed().await, 4401);
    assert!(started.elapsed() < limits::SESSION_CHECK, "it was told, and not found out");
    // A Redis that is not there keeps no command from its work.
    redis.kill();
    let reset = ["account", "reset-password", "ada@example.org"];
    let reset = Process::run(&reset, &settings, "correct horse\n").await;
    assert!(reset.status.success(), "{reset:?}");
    app.finish().await;
}
