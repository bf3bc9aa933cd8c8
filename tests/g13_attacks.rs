//! G13 under attack: many at once, rows that are gone, moved or others', several decisions in one,
//! people who left.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{Device, RETENTION, create, delete, update};

const LATE: &str = "2026-01-16T00:00:00.000Z";

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
}

fn json_of(value: &Json) -> Json {
    serde_json::from_str(value.as_str().unwrap_or_else(|| panic!("{value} is no text")))
        .expect("JSON")
}

fn at((list, mut item): (&'static str, Json), time: &str) -> (&'static str, Json) {
    item["clientTimestamp"] = json!(time);
    (list, item)
}

async fn decide_all(device: &Device<'_>, ids: &[String], strategy: &str) -> Json {
    let all = "mutation($ids: [ID!]!, $strategy: ConflictResolutionStrategy!) {
        resolveConflicts(conflictIds: $ids, strategy: $strategy) { conflictId strategy } }";
    device.ask(all, json!({ "ids": ids, "strategy": strategy })).await
}

/// A trip of ada's that bob edits, and that both have renamed.
async fn renamed_trip(ada: &Device<'_>, bob: &Device<'_>) -> (Uuid, String) {
    let trip = ada.trip("Alps").await;
    ada.share(trip, bob, "EDITOR").await;
    ada.push_one(update("Trip", trip, 1, json!({ "name": "ada" }))).await;
    let edit = at(update("Trip", trip, 1, json!({ "name": "bob" })), LATE);
    (trip, bob.collide(edit).await)
}

both! {
    async fn g13_twenty_at_once_end_with_one_outcome(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        phone.push_one(update("Memory", memory, 1, json!({ "title": "phone" }))).await;
        let conflict = tablet.collide(update("Memory", memory, 1, json!({ "title": "tablet" }))).await;
        let devices: Vec<Device> =
            (0..20).map(|_| Device::new(app, "ada", phone.token.clone())).collect();
        for round in 0..3 {
            let deeds = devices.iter().enumerate().map(async |(number, device)| {
                match number % 5 {
                    0 => code(&device.try_resolve(&conflict, "LAST_WRITE_WINS", None).await).to_owned(),
                    1 => code(&device.try_resolve(&conflict, "KEEP_BOTH", None).await).to_owned(),
                    2 => code(&device.try_undo(&conflict).await).to_owned(),
                    3 => device.push_one(update("Memory", memory, 2, json!({ "title": format!("{round} {number}") }))).await,
                    _ if round == 2 => device.push_one(delete("Memory", memory, 2)).await,
                    _ => device.push_one(create("MediaItem", Uuid::new_v4(), json!({
                        "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 1,
                    }))).await,
                }
            });
            for outcome in join_all(deeds).await {
                let known = ["none", "CONFLICT_ALREADY_RESOLVED", "BAD_USER_INPUT"].contains(&outcome.as_str())
                    || outcome.starts_with("ok") || outcome.starts_with("conflict");
                assert!(known, "{outcome}");
            }
        }
        let open = phone.open_conflicts().await;
        assert!(open.len() <= 1, "{open:?}");
        assert_eq!(phone.fresh_rows().await, tablet.fresh_rows().await);
    }

    async fn g13_both_sides_of_a_trip_are_two_trips_and_one_again(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let (trip, conflict) = renamed_trip(&ada, &bob).await;
        for (number, decider) in [(0, &ada), (1, &ada)] {
            let copy = json_of(&json!(decider.resolve(&conflict, "KEEP_BOTH").await["copyId"].to_string()));
            let copy = Uuid::try_parse(copy.as_str().expect("an id")).expect("an id");
            let rows = ada.fresh_rows().await;
            let name = &rows[&("Trip".to_owned(), copy.to_string())]["name"];
            assert_eq!(name, "bob (conflicting copy of ada)", "{number}");
            assert_eq!(ada.members(copy).await.len(), 1, "the copy is who decided's alone");
            ada.undo(&conflict).await;
            let rows = ada.fresh_rows().await;
            assert_eq!(rows.keys().filter(|(kind, _)| kind == "Trip").count(), 1);
        }
        // What bob made of it is his: ada's undoing leaves it there.
        let copy = bob.resolve(&conflict, "KEEP_BOTH").await["copyId"].clone();
        let told = ada.undo(&conflict).await;
        assert_eq!(told["status"], "OPEN", "{told}");
        let rows = bob.fresh_rows().await;
        assert!(rows.contains_key(&("Trip".to_owned(), copy.as_str().expect("an id").to_owned())));
        ada.resolve(&conflict, "KEEP_BOTH").await;
        assert_eq!(ada.fresh_rows().await.len(), 2);
        let rows = ada.fresh_rows().await;
        assert_eq!(rows[&("Trip".to_owned(), trip.to_string())]["name"], "ada");
    }

    async fn g13_a_copy_that_someone_went_on_with_stays_when_its_making_is_undone(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        phone.push_one(update("Trip", trip, 1, json!({ "name": "phone" }))).await;
        let conflict = tablet.collide(update("Trip", trip, 1, json!({ "name": "tablet" }))).await;
        let copy = phone.resolve(&conflict, "KEEP_BOTH").await["copyId"].clone();
        let copy = Uuid::try_parse(copy.as_str().expect("an id")).expect("an id");
        let memory = tablet.memory(copy, "in the copy").await;
        phone.undo(&conflict).await;
        let rows = phone.fresh_rows().await;
        assert!(rows.contains_key(&("Memory".to_owned(), memory.to_string())));
        phone.resolve(&conflict, "KEEP_BOTH").await;
        let rows = phone.fresh_rows().await;
        assert_eq!(rows.keys().filter(|(kind, _)| kind == "Trip").count(), 3);
    }

    async fn g13_parents_and_children_are_decided_in_one_request(app: &App) {
        for (number, (strategy, lives)) in [("FIELD_MERGE", true), ("LAST_WRITE_WINS", true), ("FIRST_WRITE_WINS", false)].into_iter().enumerate() {
            let [phone, tablet] = app.two_devices_of(&format!("ada{number}")).await;
            let trip = phone.trip("Alps").await;
            let old = phone.memory(trip, "old").await;
            phone.push_one(delete("Trip", trip, 1)).await;
            let [memory, media, track] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
            let photo = json!({ "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 3 });
            let line = json!({ "tripId": trip, "memoryId": memory, "name": "Ridge" });
            let mut ids = Vec::new();
            for item in [
                create("Memory", memory, json!({ "tripId": trip, "title": "new" })),
                create("MediaItem", media, photo),
                create("GPXTrack", track, line),
                update("Memory", old, 1, json!({ "content": "Sun" })),
                update("Trip", trip, 1, json!({ "name": "tablet" })),
            ] {
                ids.push(tablet.collide(at(item, LATE)).await);
            }
            ids.reverse();
            ids.swap(1, 3);
            let answer = decide_all(&phone, &ids, strategy).await;
            assert!(answer["errors"].is_null(), "{strategy}: {answer}");
            let rows = phone.fresh_rows().await;
            let there = [("Trip", trip), ("Memory", old), ("Memory", memory), ("MediaItem", media), ("GPXTrack", track)]
                .map(|(kind, id)| rows.contains_key(&(kind.to_owned(), id.to_string())));
            assert_eq!(there, [lives; 5], "{strategy}");
            assert!(phone.open_conflicts().await.is_empty());
        }
    }

    async fn g13_by_hand_a_row_moves_where_one_may_and_nowhere_else(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let [shared, own] = [ada.trip("shared").await, ada.trip("own").await];
        ada.share(shared, &bob, "EDITOR").await;
        let memory = ada.memory(shared, "Hut").await;
        let media = Uuid::new_v4();
        let photo = json!({ "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 3 });
        ada.push_one(create("MediaItem", media, photo)).await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "ada" }))).await;
        let conflict = bob.collide(update("Memory", memory, 1, json!({ "title": "bob" }))).await;
        let tag = ada.tag("hers").await;
        for nowhere in [own, memory, tag, Uuid::new_v4(), ada.account().await] {
            let data = json!({ "tripId": nowhere });
            let answer = bob.try_resolve(&conflict, "MANUAL_RESOLUTION", Some(data)).await;
            assert_eq!(code(&answer), "NOT_FOUND", "{answer}");
        }
        let answer = bob.try_resolve(&conflict, "MANUAL_RESOLUTION", Some(json!({ "tagIds": [tag] }))).await;
        assert_eq!(code(&answer), "NOT_FOUND", "another's tag: {answer}");
        for none in [memory, shared, tag] {
            let answer = bob.try_resolve(&none.to_string(), "FIELD_MERGE", None).await;
            assert_eq!(code(&answer), "NOT_FOUND");
        }
        ada.decide(&conflict, json!({ "tripId": own, "title": "mine" })).await;
        let rows = bob.fresh_rows().await;
        assert_eq!(rows.len(), 1, "bob has the trip, and nothing that left it");
        let rows = ada.fresh_rows().await;
        assert_eq!(rows[&("Memory".to_owned(), memory.to_string())]["tripId"], json!(own));
        // The conflict went along; bob cannot look there.
        for answer in [bob.try_undo(&conflict).await, bob.try_resolve(&conflict, "KEEP_BOTH", None).await] {
            assert_eq!(code(&answer), "NOT_FOUND", "{answer}");
        }
        ada.undo(&conflict).await;
        let rows = bob.fresh_rows().await;
        assert_eq!(rows[&("Memory".to_owned(), memory.to_string())]["title"], "ada");
        assert_eq!(rows[&("MediaItem".to_owned(), media.to_string())]["memoryId"], json!(memory));
        bob.resolve(&conflict, "FIRST_WRITE_WINS").await;
    }

    async fn g13_a_conflict_goes_with_its_row(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let [shared, own] = [ada.trip("shared").await, ada.trip("own").await];
        ada.share(shared, &bob, "EDITOR").await;
        let memory = ada.memory(shared, "Hut").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "ada" }))).await;
        let conflict = bob.collide(update("Memory", memory, 1, json!({ "title": "bob" }))).await;
        ada.push_one(update("Memory", memory, 2, json!({ "tripId": own }))).await;
        assert!(bob.open_conflicts().await.is_empty());
        let answer = bob.try_resolve(&conflict, "LAST_WRITE_WINS", None).await;
        assert_eq!(code(&answer), "NOT_FOUND", "{answer}");
        assert!(bob.conflict(&conflict).await.is_null());
        let out = ada.resolve(&conflict, "FIELD_MERGE").await;
        assert_eq!(json_of(&out["resolvedData"])["tripId"], json!(own));
    }

    async fn g13_who_left_decides_nothing_and_who_comes_back_does(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let (trip, conflict) = renamed_trip(&ada, &bob).await;
        ada.unshare(trip, &bob).await;
        for answer in [bob.try_resolve(&conflict, "KEEP_BOTH", None).await, bob.try_undo(&conflict).await] {
            assert_eq!(code(&answer), "FORBIDDEN", "{answer}");
        }
        let answer = decide_all(&bob, std::slice::from_ref(&conflict), "KEEP_BOTH").await;
        assert_eq!(code(&answer), "FORBIDDEN");
        assert_eq!(answer["errors"][0]["extensions"]["conflictId"], json!(conflict));
        // What arose later was never his to see.
        let memory = ada.memory(trip, "later").await;
        let laptop = Device::new(app, "ada", ada.token.clone());
        ada.push_one(update("Memory", memory, 1, json!({ "title": "ada" }))).await;
        let later = laptop.collide(update("Memory", memory, 1, json!({ "title": "laptop" }))).await;
        assert_eq!(code(&bob.try_resolve(&later, "KEEP_BOTH", None).await), "NOT_FOUND");
        ada.share(trip, &bob, "VIEWER").await;
        for id in [&conflict, &later] {
            assert_eq!(code(&bob.try_resolve(id, "FIELD_MERGE", None).await), "FORBIDDEN");
        }
        ada.share(trip, &bob, "EDITOR").await;
        bob.resolve(&later, "FIELD_MERGE").await;
        bob.resolve(&conflict, "LAST_WRITE_WINS").await;
        let rows = ada.fresh_rows().await;
        assert_eq!(rows[&("Trip".to_owned(), trip.to_string())]["name"], "bob");
    }

    async fn g13_conflicts_outlive_the_accounts_of_those_in_them(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let (trip, conflict) = renamed_trip(&ada, &bob).await;
        let his = bob.tag("his").await;
        let memory = ada.memory(trip, "Hut").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "ada" }))).await;
        let tagged = bob.collide(update("Memory", memory, 1, json!({ "title": "bob", "tagIds": [his] }))).await;
        let erase = "mutation { deleteAccount(password: \"correct horse\") }";
        assert_eq!(bob.ask(erase, json!({})).await["data"]["deleteAccount"], true);
        for id in [&conflict, &tagged] {
            let told = ada.conflict(id).await;
            assert_eq!(told["editedBy"]["displayName"], "", "{told}");
            assert!(told["strategies"].as_array().is_some_and(|all| all.len() == 5), "{told}");
        }
        ada.resolve(&tagged, "FIELD_MERGE").await;
        ada.undo(&tagged).await;
        ada.resolve(&tagged, "KEEP_BOTH").await;
        ada.resolve(&conflict, "KEEP_BOTH").await;
        ada.undo(&conflict).await;
        // And then the owner goes: what she leaves to carol carol decides.
        let carol = app.device_of("carol").await;
        ada.share(trip, &carol, "EDITOR").await;
        assert_eq!(ada.ask(erase, json!({})).await["data"]["deleteAccount"], true);
        let told = carol.conflict(&conflict).await;
        assert_eq!((&told["status"], &told["serverBy"]["displayName"]), (&json!("OPEN"), &json!("")));
        carol.resolve(&conflict, "FIELD_MERGE").await;
        assert_eq!(carol.open_conflicts().await.len(), 0);
    }

    async fn g13_a_row_that_goes_while_someone_decides_is_decided_all_the_same(app: &App) {
        for number in 0..6 {
            let [phone, tablet] = app.two_devices_of(&format!("ada{number}")).await;
            let trip = phone.trip("Alps").await;
            let memory = phone.memory(trip, "Hut").await;
            phone.push_one(update("Memory", memory, 1, json!({ "title": "phone" }))).await;
            let conflict = tablet.collide(update("Memory", memory, 1, json!({ "title": "tablet" }))).await;
            let strategy = ["LAST_WRITE_WINS", "KEEP_BOTH", "FIRST_WRITE_WINS"][number % 3];
            let deletion = if number < 3 { delete("Trip", trip, 1) } else { delete("Memory", memory, 2) };
            let (answer, verdict) = tokio::join!(phone.try_resolve(&conflict, strategy, None), tablet.push_one(deletion));
            // A copy has no place where the trip is gone.
            assert!(["none", "BAD_USER_INPUT"].contains(&code(&answer)), "{answer}");
            assert!(verdict.starts_with("ok") || verdict.starts_with("conflict"), "{verdict}");
            for left in phone.open_conflicts().await {
                phone.resolve(left["id"].as_str().expect("an id"), "FIRST_WRITE_WINS").await;
            }
        }
    }

    async fn g13_what_waits_for_what_was_buried_can_be_let_go(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        phone.push_one(delete("Trip", trip, 1)).await;
        let waiting = tablet.collide(create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "new" }))).await;
        app.age(RETENTION + Duration::from_secs(86_400)).await;
        cairn::sync::gc::clean_up(app.db(), RETENTION).await.expect("cleaned up");
        let late = tablet.collide(update("Memory", memory, 1, json!({ "title": "late" }))).await;
        let told = phone.conflict(&waiting).await;
        assert_eq!(told["strategies"], json!(["FIRST_WRITE_WINS", "MANUAL_RESOLUTION"]));
        for id in [&waiting, &late] {
            for strategy in ["FIELD_MERGE", "KEEP_BOTH"] {
                let answer = phone.try_resolve(id, strategy, None).await;
                assert_eq!(code(&answer), "BAD_USER_INPUT", "{strategy}: {answer}");
            }
        }
        let elsewhere = phone.trip("elsewhere").await;
        phone.decide(&waiting, json!({ "tripId": elsewhere })).await;
        phone.resolve(&late, "FIRST_WRITE_WINS").await;
        assert!(phone.open_conflicts().await.is_empty());
        assert_eq!(phone.fresh_rows().await.len(), 2);
    }

    async fn g13_only_what_can_be_done_is_offered(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let [alps, coast] = [phone.trip("Alps").await, phone.trip("Coast").await];
        let by_hand = json!(["FIRST_WRITE_WINS", "MANUAL_RESOLUTION"]);
        // Half a place, for a row that has none.
        let memory = phone.memory(coast, "Hut").await;
        phone.push_one(delete("Memory", memory, 1)).await;
        let half = tablet.collide(at(update("Memory", memory, 1, json!({ "latitude": 46.0 })), LATE)).await;
        // A track of a memory in another trip.
        let other = phone.memory(coast, "other").await;
        phone.push_one(delete("Trip", alps, 1)).await;
        let fields = json!({ "tripId": alps, "memoryId": other, "name": "Ridge" });
        let apart = tablet.collide(create("GPXTrack", Uuid::new_v4(), fields)).await;
        for conflict in [&half, &apart] {
            let told = phone.conflict(conflict).await;
            assert_eq!((&told["strategies"], &told["mergedData"]), (&by_hand, &json!(null)), "{told}");
            let answer = phone.try_resolve(conflict, "FIELD_MERGE", None).await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{answer}");
        }
        phone.decide(&half, json!({ "latitude": 46.0, "longitude": 7.0 })).await;
        // A copy of what is to hang on a deleted trip: the trip does not come back for a copy.
        phone.push_one(update("Memory", other, 1, json!({ "title": "phone" }))).await;
        let edit = update("Memory", other, 1, json!({ "title": "tablet", "tripId": alps }));
        let moved = tablet.collide(at(edit, LATE)).await;
        let told = phone.conflict(&moved).await;
        let offered = json!(["LAST_WRITE_WINS", "FIRST_WRITE_WINS", "MANUAL_RESOLUTION", "FIELD_MERGE"]);
        assert_eq!(told["strategies"], offered, "{told}");
        assert_eq!(code(&phone.try_resolve(&moved, "KEEP_BOTH", None).await), "BAD_USER_INPUT");
        phone.resolve(&moved, "FIELD_MERGE").await;
        phone.decide(&apart, json!({ "memoryId": null })).await;
    }

    async fn g13_nobody_is_offered_a_place_that_is_closed_to_them(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let bob = app.device_of("bob").await;
        let [shared, own] = [phone.trip("Alps").await, phone.trip("diary").await];
        phone.share(shared, &bob, "EDITOR").await;
        let memory = phone.memory(shared, "Hut").await;
        phone.push_one(delete("Memory", memory, 1)).await;
        let moves = json!({ "title": "tablet", "tripId": own });
        let conflict = tablet.collide(at(update("Memory", memory, 1, moves), LATE)).await;
        let told = bob.conflict(&conflict).await;
        let by_hand = json!(["FIRST_WRITE_WINS", "MANUAL_RESOLUTION"]);
        assert_eq!((&told["strategies"], &told["mergedData"]), (&by_hand, &json!(null)), "{told}");
        for strategy in ["LAST_WRITE_WINS", "FIELD_MERGE", "KEEP_BOTH"] {
            let answer = bob.try_resolve(&conflict, strategy, None).await;
            assert_eq!(code(&answer), "NOT_FOUND", "{strategy}: {answer}");
        }
        // Whose place it is can do all of it.
        assert_eq!(phone.conflict(&conflict).await["strategies"].as_array().map(Vec::len), Some(5));
        phone.resolve(&conflict, "FIELD_MERGE").await;
        let rows = phone.fresh_rows().await;
        assert_eq!(rows[&("Memory".to_owned(), memory.to_string())]["tripId"], json!(own));
    }

    async fn g13_the_longest_texts_are_kept_whole(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let title = |letter: &str| letter.repeat(255);
        let memory = phone.memory(trip, "Hut").await;
        let long = |letter: &str| letter.repeat(65_536 / letter.len());
        phone.push_one(update("Memory", memory, 1, json!({ "title": title("ä"), "content": long("❄️") }))).await;
        let edit = json!({ "title": title("é"), "content": long("\\\"") });
        let conflict = tablet.collide(update("Memory", memory, 1, edit.clone())).await;
        let told = phone.conflict(&conflict).await;
        assert_eq!(json_of(&told["remoteData"]), edit);
        let copy = phone.resolve(&conflict, "KEEP_BOTH").await["copyId"].clone();
        let rows = phone.fresh_rows().await;
        let row = &rows[&("Memory".to_owned(), copy.as_str().expect("an id").to_owned())];
        let name = row["title"].as_str().expect("text");
        assert!(name.chars().count() <= 255 && name.starts_with('é') && name.contains("conflicting copy of ä"));
        phone.undo(&conflict).await;
        phone.decide(&conflict, json!({ "content": long("\u{1F3D4}") })).await;
        let rows = phone.fresh_rows().await;
        let read = &rows[&("Memory".to_owned(), memory.to_string())]["content"];
        assert_eq!(*read, json!(long("\u{1F3D4}")));
    }
}
