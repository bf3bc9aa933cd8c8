//! Two people share a trip, edit it, part and share again: by the API, as devices see it by bulk
//! sync and by the app's older sync.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Backend, Device, Older, create, delete, property, update};

const HOUR: Duration = Duration::from_secs(3600);

/// Someone with two devices: one syncs in bulk, the other as the app did before.
struct Person<'a> {
    phone: Device<'a>,
    older: Older<'a>,
}

impl<'a> Person<'a> {
    async fn new(app: &'a App, name: &str) -> Person<'a> {
        let phone = app.device_of(name).await;
        let older = Older::of(&phone);
        Person { phone, older }
    }

    /// Both devices sync, and hold what the server shows this person.
    async fn sync(&mut self) -> &BTreeMap<(String, String), Json> {
        let committed = self.phone.fresh_rows().await;
        self.phone.pull_by(2).await;
        assert_eq!(self.phone.rows, committed, "bulk sync");
        self.older.sync().await;
        assert_eq!(self.older.rows, committed, "older sync");
        &self.phone.rows
    }

    async fn ask(&self, query: &str, variables: Json) -> Json {
        let answer = self.phone.ask(query, variables).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"].clone()
    }

    async fn rename(&self, memory: Uuid, title: &str) {
        let query = "mutation($id: String!, $title: String!) {
            updateMemory(id: $id, input: { title: $title }) { id } }";
        self.ask(query, json!({ "id": memory, "title": title })).await;
    }

    async fn remember(&self, trip: Uuid, title: &str) -> Uuid {
        let query = "mutation($trip: ID!, $title: String!) {
            createMemory(input: { title: $title, tripId: $trip }) { id } }";
        let made = self.ask(query, json!({ "trip": trip, "title": title })).await;
        Uuid::try_parse(made["createMemory"]["id"].as_str().expect("an id")).expect("a UUID")
    }
}

/// An hour goes by, so that the older sync does not repeat what was just given.
async fn an_hour_later(app: &App, people: &mut [&mut Person<'_>]) {
    app.age(HOUR).await;
    people.iter_mut().for_each(|person| person.older.age(HOUR));
}

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn photo(memory: Uuid) -> Json {
    json!({ "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 1 })
}

both! {
    async fn sharing_two_people_share_edit_part_and_share_again(app: &App) {
        let mut ada = Person::new(app, "ada").await;
        let mut bob = Person::new(app, "bob").await;
        let tag = ada.phone.tag("Hut").await;
        let trip = ada.phone.trip("Alps").await;
        let hut = ada.phone.memory(trip, "Hut").await;
        let wears = update("Memory", hut, 1, json!({ "tagIds": [tag] }));
        assert_eq!(ada.phone.push_one(wears).await, "ok 2");
        let [picture, track] = [Uuid::new_v4(), Uuid::new_v4()];
        ada.phone.push_one(create("MediaItem", picture, photo(hut))).await;
        let fields = json!({ "tripId": trip, "memoryId": hut, "name": "Way" });
        ada.phone.push_one(create("GPXTrack", track, fields)).await;
        let own = bob.phone.trip("Bob's own").await;
        ada.sync().await;
        bob.sync().await;
        assert_eq!(bob.phone.rows.len(), 1);
        an_hour_later(app, &mut [&mut ada, &mut bob]).await;

        // Shared, and edited by both, each by either API.
        ada.phone.share(trip, &bob.phone, "EDITOR").await;
        assert_eq!(bob.sync().await.len(), 5, "the trip with all that hangs on it; the tag is not Bob's");
        an_hour_later(app, &mut [&mut ada, &mut bob]).await;
        let lake = bob.remember(trip, "Lake").await;
        bob.rename(hut, "Bob's hut").await;
        assert_eq!(bob.phone.push_one(update("GPXTrack", track, 1, json!({ "name": "Bob's way" }))).await, "ok 2");
        let peak = ada.phone.memory(trip, "Peak").await;
        ada.sync().await;
        bob.sync().await;
        assert_eq!(ada.phone.field("Memory", hut, "title"), "Bob's hut");
        assert_eq!(ada.phone.field("Memory", lake, "title"), "Lake");
        assert_eq!(bob.phone.field("Memory", peak, "title"), "Peak");
        an_hour_later(app, &mut [&mut ada, &mut bob]).await;

        // Parted: Bob's devices drop the trip, and what he has not sent is not lost without a word.
        ada.phone.unshare(trip, &bob.phone).await;
        let secret = ada.phone.memory(trip, "Secret").await;
        ada.rename(hut, "Ada's hut").await;
        ada.phone.push_one(delete("Memory", lake, 1)).await;
        let unsent = bob.phone.push(json!({
            "memories": [update("Memory", hut, 3, json!({ "content": "unsent" })).1,
                         create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "unsent" })).1,
                         update("Memory", secret, 1, json!({ "content": "guessed" })).1],
            "trips": [update("Trip", own, 1, json!({ "name": "Bob's" })).1],
        })).await;
        let verdicts: Vec<String> = unsent.verdicts().into_values().collect();
        assert_eq!(verdicts, ["failed FORBIDDEN", "failed FORBIDDEN", "failed NOT_FOUND", "ok 2"]);
        let answer = bob.phone.ask("mutation($id: String!) { updateMemory(id: $id, input: { title: \"x\" }) { id } }", json!({ "id": hut })).await;
        assert_eq!(code(&answer), "FORBIDDEN");
        assert_eq!(bob.sync().await.len(), 1);
        let told = bob.older.sync().await;
        assert!(!told.to_string().contains(&secret.to_string()), "made after Bob left");
        ada.sync().await;
        an_hour_later(app, &mut [&mut ada, &mut bob]).await;
        assert_eq!(bob.sync().await.len(), 1);

        // Shared again: everything is there, as it is now.
        ada.phone.share(trip, &bob.phone, "EDITOR").await;
        assert_eq!(bob.sync().await.len(), 7);
        assert_eq!(bob.phone.field("Memory", hut, "title"), "Ada's hut");
        assert!(bob.phone.row("Memory", lake).is_none());
        bob.rename(secret, "Told").await;
        an_hour_later(app, &mut [&mut ada, &mut bob]).await;
        ada.sync().await;
        bob.sync().await;
        assert_eq!(ada.phone.field("Memory", secret, "title"), "Told");
        let shared = |person: &Person<'_>| -> BTreeSet<(String, String)> {
            person.phone.rows.keys().filter(|(_, id)| *id != tag.to_string() && *id != own.to_string()).cloned().collect()
        };
        assert_eq!(shared(&ada), shared(&bob));
        for key in shared(&ada) {
            assert_eq!(ada.phone.rows[&key], bob.phone.rows[&key], "both see the same {key:?}");
        }
    }

    async fn sharing_a_member_is_given_back_in_another_role_between_two_pulls(app: &App) {
        let mut ada = Person::new(app, "ada").await;
        let mut bob = Person::new(app, "bob").await;
        let trip = ada.phone.trip("Alps").await;
        let [stays, goes] = [ada.phone.memory(trip, "Stays").await, ada.phone.memory(trip, "Goes").await];
        ada.phone.share(trip, &bob.phone, "VIEWER").await;
        bob.sync().await;
        for later in [false, true] {
            if later {
                an_hour_later(app, &mut [&mut ada, &mut bob]).await;
            }
            ada.phone.unshare(trip, &bob.phone).await;
            if !later {
                ada.phone.push_one(delete("Memory", goes, 1)).await;
            }
            ada.phone.share(trip, &bob.phone, if later { "VIEWER" } else { "EDITOR" }).await;
            let rows = bob.sync().await;
            assert_eq!(rows.len(), 2, "and nothing of what was deleted meanwhile");
            let verdict = bob.phone.push_one(update("Memory", stays, 1, json!({ "content": later.to_string() }))).await;
            assert_eq!(verdict, if later { "failed FORBIDDEN" } else { "ok 2" });
        }
        ada.sync().await;
    }

    async fn sharing_a_role_is_told_by_every_read_and_again_when_it_changes(app: &App) {
        let ada = Person::new(app, "ada").await;
        let mut bob = Person::new(app, "bob").await;
        let trip = ada.phone.trip("Alps").await;
        ada.phone.memory(trip, "Hut").await;
        ada.phone.share(trip, &bob.phone, "VIEWER").await;
        let pull = "query($cursor: String) { enhancedSync(cursor: $cursor) {
            trips { id role syncVersion } memories { id } nextCursor } }";
        let mut cursor = Json::Null;
        for (role, rows) in [("VIEWER", 1), ("EDITOR", 0), ("VIEWER", 0)] {
            ada.phone.share(trip, &bob.phone, role).await;
            let page = bob.ask(pull, json!({ "cursor": cursor })).await["enhancedSync"].clone();
            assert_eq!(page["trips"], json!([{ "id": trip, "role": role, "syncVersion": 1 }]));
            assert_eq!(page["memories"].as_array().map(Vec::len), Some(rows), "the trip alone is given again");
            cursor = page["nextCursor"].clone();
            let trips = bob.ask("{ trips { id role } }", json!({})).await;
            assert_eq!(trips["trips"], json!([{ "id": trip, "role": role }]));
            app.age(HOUR).await;
            bob.older.age(HOUR);
            let since = bob.older.sync().await;
            assert_eq!(since["trips"].as_array().map(Vec::len), Some(1), "the older sync tells it, too");
        }
        let unchanged = bob.ask(pull, json!({ "cursor": cursor })).await;
        assert_eq!(unchanged["enhancedSync"]["trips"], json!([]));
        ada.phone.share(trip, &bob.phone, "VIEWER").await;
        let unchanged = bob.ask(pull, json!({ "cursor": cursor })).await;
        assert!(unchanged["enhancedSync"]["trips"].as_array().is_some_and(|trips| trips.len() <= 1));
    }

    async fn sharing_a_viewer_gets_no_urls_to_upload(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let [hut, lake] = [ada.memory(trip, "Hut").await, bob.memory(bob.trip("Sea").await, "Lake").await];
        ada.share(trip, &bob, "VIEWER").await;
        let urls = "mutation($requests: [UploadRequest!]!) {
            generateBatchUploadUrls(uploadRequests: $requests) { uploadUrls { entityId } } }";
        let request = |kind: &str, id: &str| {
            json!({ "entityId": id, "entityType": kind, "objectName": id, "mimeType": "image/png" })
        };
        let [hut, lake, new] = [hut, lake, Uuid::new_v4()].map(|id| id.to_string());
        let [photo, lake, hut] = [request("media_item", &new), request("Memory", &lake), request("MEMORY", &hut)];
        let answer = bob.ask(urls, json!({ "requests": [photo, lake, photo] })).await;
        let given = answer["data"]["generateBatchUploadUrls"]["uploadUrls"].as_array();
        assert_eq!(given.map(Vec::len), Some(3), "{answer}");
        // The first that is wrong counts, whatever it is.
        let (nameless, odd) = (request("Photo", &new), request("Memory", "x"));
        for (requests, expected, place) in [
            ([&photo, &hut, &odd], "FORBIDDEN", "your role"),
            ([&lake, &odd, &hut], "BAD_USER_INPUT", "uploadRequests[1]: entityId: "),
            ([&lake, &photo, &nameless], "BAD_USER_INPUT", "uploadRequests[2]: entityType: "),
        ] {
            let answer = bob.ask(urls, json!({ "requests": requests })).await;
            assert_eq!(code(&answer), expected);
            let message = answer["errors"][0]["message"].as_str().expect("a message");
            assert!(message.starts_with(place), "{message}");
        }
    }

    async fn sharing_the_deletion_of_a_trip_is_told_to_all_members(app: &App) {
        let mut ada = Person::new(app, "ada").await;
        let mut others = Vec::new();
        let trip = ada.phone.trip("Alps").await;
        let memory = ada.phone.memory(trip, "Hut").await;
        ada.phone.push_one(create("MediaItem", Uuid::new_v4(), photo(memory))).await;
        for (name, role) in [("bob", "EDITOR"), ("eve", "VIEWER")] {
            let mut member = Person::new(app, name).await;
            ada.phone.share(trip, &member.phone, role).await;
            assert_eq!(member.sync().await.len(), 3);
            others.push(member);
        }
        let mut gone = Person::new(app, "dan").await;
        ada.phone.share(trip, &gone.phone, "EDITOR").await;
        gone.sync().await;
        ada.sync().await;
        app.age(HOUR).await;
        for person in others.iter_mut().chain([&mut ada, &mut gone]) {
            person.older.age(HOUR);
        }
        ada.phone.unshare(trip, &gone.phone).await;
        let delete = "mutation($id: ID!) { deleteTrip(id: $id) }";
        for member in &others {
            let answer = member.phone.ask(delete, json!({ "id": trip })).await;
            assert_eq!(code(&answer), "FORBIDDEN", "only its owner may");
        }
        for _ in 0..2 {
            assert_eq!(ada.ask(delete, json!({ "id": trip })).await["deleteTrip"], true);
        }
        for person in others.iter_mut().chain([&mut ada, &mut gone]) {
            let told = person.older.sync().await;
            assert_eq!(told["deleted"]["trips"], json!([trip]), "{}", person.phone.name);
            assert!(person.sync().await.is_empty());
        }
        // Nothing is to be shared of it, and who asks for its members learns nothing.
        let answer = ada.phone.try_share(trip, &others[0].phone, "READ").await;
        assert_eq!(code(&answer), "NOT_FOUND");
        assert!(ada.phone.members(trip).await.is_empty());
    }

    async fn sharing_says_what_is_wrong(app: &App) {
        let [ada, bob, eve, dan] = [
            app.device_of("ada").await,
            app.device_of("bob").await,
            app.device_of("eve").await,
            app.device_of("dan").await,
        ];
        let trip = ada.trip("Alps").await;
        // A stranger learns nothing: neither of the trip nor of addresses.
        for with in [&ada, &dan] {
            assert_eq!(code(&eve.try_share(trip, with, "READ").await), "NOT_FOUND");
        }
        assert_eq!(eve.try_unshare(trip, &ada).await["errors"], eve.try_unshare(Uuid::new_v4(), &ada).await["errors"]);
        assert_eq!(code(&eve.try_unshare(trip, &ada).await), "NOT_FOUND");
        assert!(eve.members(trip).await.is_empty());
        // An account's own things are no trip.
        let own = ada.account().await;
        assert_eq!(code(&ada.try_share(own, &bob, "READ").await), "NOT_FOUND");
        assert_eq!(code(&ada.try_unshare(own, &bob).await), "NOT_FOUND");
        assert!(ada.members(own).await.is_empty());

        let share = "mutation($trip: ID!, $email: String!) {
            shareTrip(tripId: $trip, email: $email, permission: READ) { role } }";
        let answer = ada.ask(share, json!({ "trip": trip, "email": "nobody@example.org" })).await;
        assert_eq!(code(&answer), "NOT_FOUND");
        let answer = ada.ask(share, json!({ "trip": trip, "email": " BOB@Example.org" })).await;
        assert_eq!(answer["data"]["shareTrip"]["role"], "VIEWER", "{answer}");
        assert_eq!(code(&ada.try_share(trip, &bob, "WRITE").await), "BAD_USER_INPUT", "a member already");
        assert_eq!(code(&ada.try_share(trip, &ada, "READ").await), "BAD_USER_INPUT", "its owner");
        let answer = ada.ask(share, json!({ "trip": "no id", "email": "bob@example.org" })).await;
        assert_eq!(code(&answer), "BAD_USER_INPUT");

        // A viewer only reads, an editor shares, and only the owner does the rest.
        assert_eq!(code(&bob.try_share(trip, &eve, "READ").await), "FORBIDDEN");
        assert_eq!(code(&bob.try_share(trip, &Device::new(app, "nobody", String::new()), "READ").await), "FORBIDDEN");
        ada.share(trip, &bob, "EDITOR").await;
        bob.share(trip, &eve, "VIEWER").await;
        let role = "mutation($trip: ID!, $user: ID!) {
            changeTripRole(tripId: $trip, userId: $user, permission: WRITE) { role } }";
        let of = async |device: &Device<'_>| json!({ "trip": trip, "user": device.account().await });
        assert_eq!(code(&bob.ask(role, of(&eve).await).await), "FORBIDDEN");
        assert_eq!(code(&bob.try_unshare(trip, &eve).await), "FORBIDDEN");
        assert_eq!(code(&bob.try_unshare(trip, &ada).await), "FORBIDDEN");
        assert_eq!(code(&eve.try_unshare(trip, &bob).await), "FORBIDDEN");
        assert_eq!(code(&ada.ask(role, of(&ada).await).await), "BAD_USER_INPUT", "the owner stays");
        assert_eq!(code(&ada.try_unshare(trip, &ada).await), "BAD_USER_INPUT", "the owner cannot leave");
        assert_eq!(code(&ada.ask(role, of(&dan).await).await), "NOT_FOUND", "no member");

        // Anyone leaves, also twice; and is a stranger to what they can no longer do.
        eve.unshare(trip, &eve).await;
        eve.unshare(trip, &eve).await;
        for _ in 0..2 {
            ada.unshare(trip, &eve).await;
            ada.unshare(trip, &dan).await;
        }
        assert_eq!(code(&eve.try_share(trip, &dan, "READ").await), "FORBIDDEN");
        assert_eq!(ada.members(trip).await.len(), 2);
    }

    async fn sharing_is_no_search_for_who_has_an_account(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let body = json!({ "query": format!(
            "mutation {{ shareTrip(tripId: \"{trip}\", email: \"nobody@example.org\", permission: READ) {{ id }} }}"
        ) });
        let mut limited = 0;
        for _ in 0..30 {
            let request = app.client.post(format!("{}/graphql", app.url)).bearer_auth(&ada.token).json(&body);
            let response = request.send().await.expect("an answer");
            let wait = response.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
            let answer: Json = response.json().await.expect("JSON");
            match code(&answer) {
                "NOT_FOUND" => assert_eq!(limited, 0),
                "RATE_LIMITED" => {
                    limited += 1;
                    let wait: u64 = wait.expect("Retry-After").parse().expect("seconds");
                    assert!((1..=31).contains(&wait), "{wait}");
                    assert_eq!(answer["errors"][0]["extensions"]["retryAfter"], wait);
                }
                other => panic!("{other}"),
            }
        }
        assert!((8..=10).contains(&limited), "{limited} of 30");
        // Nobody else is held up.
        let other = bob.trip("Coast").await;
        bob.share(other, &ada, "VIEWER").await;
    }
}

// ── Any interleaving ─────────────────────────────────────────────────────────────────────────

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Act {
    Share {
        editor: bool,
    },
    Role {
        editor: bool,
    },
    Unshare,
    Leave,
    New,
    Photo(u8),
    Edit(u8),
    Delete(u8),
    Restore(u8),
    /// To the trip that is not shared, or back.
    Move(u8),
    DeleteTrip,
    RestoreTrip,
    /// The member's device fetches a page.
    Page,
    /// And all pages.
    Pull,
    /// The member's other device syncs by time.
    Sync,
    HourLater,
}

fn act() -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    prop_oneof![
        3 => any::<bool>().prop_map(|editor| Act::Share { editor }),
        1 => any::<bool>().prop_map(|editor| Act::Role { editor }),
        2 => Just(Act::Unshare),
        1 => Just(Act::Leave),
        2 => Just(Act::New),
        2 => n().prop_map(Act::Photo),
        2 => n().prop_map(Act::Edit),
        3 => n().prop_map(Act::Delete),
        3 => n().prop_map(Act::Restore),
        2 => n().prop_map(Act::Move),
        1 => Just(Act::DeleteTrip),
        1 => Just(Act::RestoreTrip),
        8 => Just(Act::Page),
        1 => Just(Act::Pull),
        2 => Just(Act::Sync),
        1 => Just(Act::HourLater),
    ]
}

/// What happens to the rows of a trip that a device is being told to drop, page by page.
fn act_between_pages() -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    prop_oneof![
        4 => Just(Act::Page),
        3 => n().prop_map(Act::Delete),
        4 => n().prop_map(Act::Restore),
        2 => n().prop_map(Act::Move),
        1 => n().prop_map(Act::Photo),
        1 => n().prop_map(Act::Edit),
        1 => Just(Act::DeleteTrip),
        2 => Just(Act::RestoreTrip),
        1 => any::<bool>().prop_map(|editor| Act::Share { editor }),
        1 => Just(Act::Unshare),
    ]
}

fn story() -> impl Strategy<Value = (Vec<Act>, u32)> {
    let free = prop::collection::vec(act(), 1..40);
    let taken_back = prop::collection::vec(act_between_pages(), 1..20).prop_map(|acts| {
        let before = [Act::Share { editor: true }, Act::Pull, Act::Sync, Act::Unshare, Act::Page];
        before.into_iter().chain(acts).collect()
    });
    (prop_oneof![free, taken_back], 1u32..4)
}

/// One page, as it comes. True: it was the last.
async fn page(device: &mut Device<'_>, size: u32) -> Result<bool, TestCaseError> {
    let answer = device.page(json!({ "cursor": device.cursor, "size": size })).await;
    prop_assert!(answer["errors"].is_null(), "{}", answer);
    let page = answer["data"]["enhancedSync"].clone();
    device.apply(&page);
    device.cursor = page["nextCursor"].as_str().map(str::to_owned);
    Ok(page["hasMore"] == false)
}

/// The device holds exactly what the server shows.
fn same(
    what: &str,
    held: &BTreeMap<(String, String), Json>,
    shown: &BTreeMap<(String, String), Json>,
) -> Result<(), TestCaseError> {
    let kept: Vec<_> = held.keys().filter(|key| !shown.contains_key(*key)).collect();
    prop_assert!(kept.is_empty(), "{}: never taken back: {:?}", what, kept);
    let missing: Vec<_> = shown.keys().filter(|key| !held.contains_key(*key)).collect();
    prop_assert!(missing.is_empty(), "{}: never delivered: {:?}", what, missing);
    prop_assert_eq!(held, shown, "{}: stale", what);
    Ok(())
}

async fn case(app: &App, name: &str, acts: &[Act], size: u32) -> Result<(), TestCaseError> {
    let ada = app.device_of(&format!("{name}-a")).await;
    let mut bob = app.device_of(&format!("{name}-b")).await;
    let mut older = Older::of(&bob);
    let [trip, other] = [ada.trip("shared").await, ada.trip("other").await];
    let mut memories = Vec::new();
    for _ in 0..4 {
        memories.push(ada.memory(trip, "m").await);
    }
    let (ada_id, bob_id) = (ada.account().await, bob.account().await);
    let share = cairn::sync::share::By::Account(ada_id);
    let mut is_member = false;
    for act in acts {
        let memory = |n: u8| memories[n as usize % memories.len()];
        let db = app.db();
        let role = |editor: bool| match editor {
            true => cairn::sync::Role::Editor,
            false => cairn::sync::Role::Viewer,
        };
        match *act {
            // Not through the API, which counts how often one shares. It may be refused: then
            // nothing happens.
            Act::Share { editor } => {
                let done = cairn::sync::share::grant(db, share, trip, bob_id, role(editor)).await;
                is_member |= done.is_ok();
            }
            Act::Role { editor } => {
                let _ =
                    cairn::sync::share::change_role(db, share, trip, bob_id, role(editor)).await;
            }
            Act::Unshare | Act::Leave => {
                let by = match act {
                    Act::Leave => cairn::sync::share::By::Account(bob_id),
                    _ => share,
                };
                let done = cairn::sync::share::revoke(db, by, trip, bob_id).await;
                is_member &= done.is_err();
            }
            Act::New => {
                let id = Uuid::new_v4();
                ada.push_one(create("Memory", id, json!({ "tripId": trip, "title": "n" }))).await;
                memories.push(id);
            }
            Act::Photo(n) => {
                ada.push_one(create("MediaItem", Uuid::new_v4(), photo(memory(n)))).await;
            }
            Act::Edit(n) => {
                let edit = json!({ "title": Uuid::new_v4() });
                ada.push_one(update("Memory", memory(n), 1, edit)).await;
            }
            Act::Delete(n) => {
                ada.push_one(delete("Memory", memory(n), 1)).await;
            }
            Act::Restore(n) => {
                let kind = cairn::kinds::EntityType::Memory;
                let _ = cairn::sync::restore::restore(db, kind, memory(n)).await;
            }
            Act::Move(n) => {
                let to = if n % 3 == 0 { other } else { trip };
                ada.push_one(update("Memory", memory(n), 1, json!({ "tripId": to }))).await;
            }
            Act::DeleteTrip => {
                ada.push_one(delete("Trip", trip, 1)).await;
            }
            Act::RestoreTrip => {
                let kind = cairn::kinds::EntityType::Trip;
                let _ = cairn::sync::restore::restore(db, kind, trip).await;
            }
            Act::Page => {
                if page(&mut bob, size).await? {
                    same("a last page", &bob.rows, &bob.fresh_rows().await)?;
                }
            }
            Act::Pull => {
                bob.pull_by(size).await;
                same("a pull", &bob.rows, &bob.fresh_rows().await)?;
            }
            Act::Sync => {
                older.sync().await;
                same("a sync by time", &older.rows, &bob.fresh_rows().await)?;
            }
            Act::HourLater => {
                app.age(HOUR).await;
                older.age(HOUR);
            }
        }
    }
    bob.pull_by(size).await;
    older.sync().await;
    let shown = bob.fresh_rows().await;
    same("the last pull", &bob.rows, &shown)?;
    same("the last sync by time", &older.rows, &shown)?;
    // And what the server shows a member is what the owner sees of that trip; a stranger nothing.
    let all = ada.fresh_rows().await;
    let lies_here = |(kind, id): &(String, String)| match kind.as_str() {
        "Trip" => *id == trip.to_string(),
        "Memory" => all[&(kind.clone(), id.clone())]["tripId"] == trip.to_string(),
        _ => {
            let memory = all[&(kind.clone(), id.clone())]["memoryId"].as_str().unwrap_or_default();
            all[&("Memory".to_owned(), memory.to_owned())]["tripId"] == trip.to_string()
        }
    };
    let here: BTreeMap<_, _> = all
        .iter()
        .filter(|(key, _)| is_member && lies_here(key))
        .map(|(key, row)| (key.clone(), row.clone()))
        .collect();
    same("what a member sees", &shown, &here)
}

fn interleavings(backend: Backend) {
    property(
        backend,
        story(),
        async |_: &App| {},
        async |app, name, (acts, size)| case(app, &name, &acts, size).await,
    );
}

#[test]
fn sharing_interleavings_sqlite() {
    interleavings(Backend::Sqlite);
}

#[test]
fn sharing_interleavings_postgres() {
    interleavings(Backend::Postgres);
}
