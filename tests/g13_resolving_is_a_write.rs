//! G13: resolving is a write, by compare and set. Every strategy for every type of conflict, and
//! undoing.

use cairn::kinds::rfc3339;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{Device, create, delete, update};

const EARLY: &str = "2026-01-14T00:00:00.000Z";
const LATE: &str = "2026-01-16T00:00:00.000Z";

fn json_of(value: &Json) -> Json {
    serde_json::from_str(value.as_str().unwrap_or_else(|| panic!("{value} is no text")))
        .expect("JSON")
}

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
}

fn message(answer: &Json) -> &str {
    answer["errors"][0]["message"].as_str().unwrap_or("none")
}

/// With the time of the edit by the device's clock.
fn at((list, mut item): (&'static str, Json), time: &str) -> (&'static str, Json) {
    item["clientTimestamp"] = json!(time);
    (list, item)
}

/// A memory that both devices renamed, and in which the tablet wrote an address, too.
async fn renamed<'a>(devices: &[Device<'a>; 2], time: &str) -> (Uuid, String) {
    let [phone, tablet] = devices;
    let trip = phone.trip("Alps").await;
    let memory = phone.memory(trip, "Hut").await;
    let title = update("Memory", memory, 1, json!({ "title": "phone" }));
    assert_eq!(phone.push_one(title).await, "ok 2");
    let edit = update("Memory", memory, 1, json!({ "title": "tablet", "address": "Zermatt" }));
    (memory, tablet.collide(at(edit, time)).await)
}

/// Both devices, and a new one, end with the same rows.
async fn converge(devices: &mut [Device<'_>; 2]) {
    for device in devices.iter_mut() {
        device.pull().await;
    }
    let [phone, tablet] = devices;
    assert_eq!(phone.rows, tablet.rows);
    assert_eq!(phone.rows, phone.fresh_rows().await);
}

both! {
    async fn g13_each_strategy_decides_two_edits_and_gives_a_new_version(app: &App) {
        let cases = [
            // strategy, when the tablet edited, the title and the address that stand
            ("FIRST_WRITE_WINS", LATE, "phone", json!(null)),
            ("LAST_WRITE_WINS", LATE, "tablet", json!("Zermatt")),
            ("LAST_WRITE_WINS", EARLY, "phone", json!("Zermatt")),
            ("FIELD_MERGE", LATE, "tablet", json!("Zermatt")),
            ("KEEP_BOTH", LATE, "phone", json!(null)),
        ];
        for (at, (strategy, time, title, address)) in cases.into_iter().enumerate() {
            let mut devices = app.two_devices_of(&format!("ada{at}")).await;
            let (memory, conflict) = renamed(&devices, time).await;
            let told = devices[0].conflict(&conflict).await;
            assert_eq!(told["strategies"].as_array().map(Vec::len), Some(5), "{told}");
            let resolution = devices[0].resolve(&conflict, strategy).await;
            assert_eq!(resolution["strategy"], strategy);
            let out = json_of(&resolution["resolvedData"]);
            assert_eq!((&out["title"], &out["syncVersion"]), (&json!(title), &json!(3)));
            converge(&mut devices).await;
            let [phone, _] = &devices;
            assert_eq!(phone.field("Memory", memory, "title"), title, "{strategy} {time}");
            assert_eq!(phone.field("Memory", memory, "address"), address, "{strategy}");
            assert_eq!(phone.field("Memory", memory, "syncVersion"), 3, "{strategy}");
            assert_eq!(phone.field("Memory", memory, "syncStatus"), "IN_SYNC");
            let told = phone.conflict(&conflict).await;
            assert_eq!(told["status"], "RESOLVED");
            assert_eq!(told["strategies"], json!([]));
            assert_eq!(json_of(&told["remoteData"])["title"], "tablet", "what lost can be fetched");
            if strategy == "KEEP_BOTH" {
                let copy = Uuid::try_parse(resolution["copyId"].as_str().expect("an id")).expect("an id");
                assert_eq!(phone.field("Memory", copy, "title"), "tablet (conflicting copy of phone)");
                assert_eq!(phone.field("Memory", copy, "address"), "Zermatt");
                assert_eq!(phone.field("Memory", copy, "tripId"), phone.field("Memory", memory, "tripId"));
            }
        }
    }

    async fn g13_merging_of_fields_is_shown_before_it_is_done(app: &App) {
        let devices = app.two_devices_of("ada").await;
        let (_, conflict) = renamed(&devices, LATE).await;
        let told = devices[0].conflict(&conflict).await;
        let merged = json_of(&told["mergedData"]);
        assert_eq!((&merged["title"], &merged["address"]), (&json!("tablet"), &json!("Zermatt")));
        let out = json_of(&devices[0].resolve(&conflict, "FIELD_MERGE").await["resolvedData"]);
        for (name, value) in merged.as_object().expect("fields") {
            assert_eq!(out[name], *value, "{name}");
        }
    }

    async fn g13_a_person_decides_field_by_field(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let (memory, conflict) = renamed(&devices, LATE).await;
        let decided = json!({ "title": "A third title", "address": null, "syncVersion": 2 });
        let out = json_of(&devices[1].decide(&conflict, decided).await["resolvedData"]);
        assert_eq!(out["title"], "A third title");
        converge(&mut devices).await;
        let [phone, _] = &devices;
        assert_eq!(phone.field("Memory", memory, "title"), "A third title");
        assert_eq!(phone.field("Memory", memory, "syncVersion"), 3);
        assert!(phone.open_conflicts().await.is_empty());
    }

    async fn g13_what_a_person_decides_is_checked_like_any_change(app: &App) {
        let devices = app.two_devices_of("ada").await;
        let (memory, conflict) = renamed(&devices, LATE).await;
        let [phone, _] = &devices;
        let cases = [
            ("{", "resolvedData: must be a JSON object"),
            ("[]", "resolvedData: must be a JSON object"),
            ("\"x\"", "resolvedData: must be a JSON object"),
            (r#"{"hut": 1}"#, "hut: Memory has no such field"),
            (r#"{"sortOrder": 1}"#, "sortOrder: Memory has no such field"),
            (r#"{"title": ""}"#, "title: must not be empty"),
            (r#"{"title": null}"#, "title: cannot be null"),
            (r#"{"title": 7}"#, "title: must be text"),
            (r#"{"latitude": 46.0}"#, "latitude and longitude belong together"),
            (r#"{"latitude": 146.0, "longitude": 7.0}"#, "latitude: must be a number from -90 to 90"),
            (r#"{"tripId": "x"}"#, "tripId: must be a UUID"),
            (r#"{"id": "00000000-0000-4000-8000-000000000000"}"#, "id: only the server writes it"),
            (r#"{"updatedAt": "2026-01-01T00:00:00Z"}"#, "updatedAt: only the server writes it"),
            (r#"{"syncVersion": "x"}"#, "syncVersion: must be a whole number"),
            (r#"{"deletedAt": 1}"#, "deletedAt: must be a time"),
        ];
        for (data, expected) in cases {
            let variables = json!({ "id": conflict, "strategy": "MANUAL_RESOLUTION", "data": data });
            let answer = phone.ask(crate::support::RESOLVE, variables).await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{data}: {answer}");
            assert!(message(&answer).starts_with(expected), "{data}: {answer}");
        }
        let missing = json!({ "tripId": Uuid::new_v4() });
        let answer = phone.try_resolve(&conflict, "MANUAL_RESOLUTION", Some(missing)).await;
        assert_eq!(code(&answer), "NOT_FOUND", "{answer}");
        let without = phone.try_resolve(&conflict, "MANUAL_RESOLUTION", None).await;
        assert_eq!(code(&without), "BAD_USER_INPUT");
        let with = phone.try_resolve(&conflict, "KEEP_BOTH", Some(json!({}))).await;
        assert_eq!(code(&with), "BAD_USER_INPUT");
        let much = json!({ "content": "x".repeat(1_100_000) });
        let answer = phone.try_resolve(&conflict, "MANUAL_RESOLUTION", Some(much)).await;
        assert_eq!(code(&answer), "LIMIT");
        for id in ["x", &Uuid::new_v4().to_string()] {
            let answer = phone.try_resolve(id, "FIELD_MERGE", None).await;
            assert!(["BAD_USER_INPUT", "NOT_FOUND"].contains(&code(&answer)), "{answer}");
        }
        // Nothing of all that has done anything.
        let told = phone.conflict(&conflict).await;
        assert_eq!((&told["status"], &told["currentVersion"]), (&json!("OPEN"), &json!(2)));
        // The row as it was shown, with the choice in it, is good.
        let mut row = json_of(&told["currentData"]);
        row["title"] = json!("chosen");
        let out = json_of(&phone.decide(&conflict, row).await["resolvedData"]);
        assert_eq!((&out["title"], &out["id"]), (&json!("chosen"), &json!(memory)));
    }

    async fn g13_the_second_to_decide_learns_what_came_out(app: &App) {
        let devices = app.two_devices_of("ada").await;
        let (_, conflict) = renamed(&devices, LATE).await;
        let [phone, tablet] = &devices;
        // At once: one of them is first.
        let (one, other) = tokio::join!(
            phone.try_resolve(&conflict, "LAST_WRITE_WINS", None),
            tablet.try_resolve(&conflict, "FIRST_WRITE_WINS", None),
        );
        let (won, lost) = if one["errors"].is_null() { (one, other) } else { (other, one) };
        assert_eq!(code(&lost), "CONFLICT_ALREADY_RESOLVED", "{lost}");
        let outcome = &lost["errors"][0]["extensions"]["resolution"];
        for name in ["conflictId", "strategy", "resolvedData", "resolvedAt", "resolvedBy"] {
            assert_eq!(outcome[name], won["data"]["resolveConflict"][name], "{name}");
            assert!(outcome[name].is_string(), "{name}");
        }
    }

    async fn g13_several_are_decided_at_once_or_none(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            let [phone, tablet] = &devices;
            let tag = phone.tag(name).await;
            phone.push_one(update("Tag", tag, 1, json!({ "name": "phone" }))).await;
            ids.push(tablet.collide(update("Tag", tag, 1, json!({ "name": "tablet" }))).await);
        }
        let [phone, _] = &devices;
        let all = "mutation($ids: [ID!]!, $strategy: ConflictResolutionStrategy!) {
            resolveConflicts(conflictIds: $ids, strategy: $strategy) { conflictId strategy } }";
        let decide = async |ids: Json, strategy: &str| {
            phone.ask(all, json!({ "ids": ids, "strategy": strategy })).await
        };
        let stranger = Uuid::new_v4().to_string();
        let answer = decide(json!([ids[0], stranger]), "FIRST_WRITE_WINS").await;
        assert_eq!(code(&answer), "NOT_FOUND");
        assert_eq!(phone.open_conflicts().await.len(), 3, "none was decided");
        let answer = decide(json!(ids), "MANUAL_RESOLUTION").await;
        assert_eq!(code(&answer), "BAD_USER_INPUT");
        let answer = decide(json!(vec![stranger; 501]), "FIRST_WRITE_WINS").await;
        assert!(["LIMIT", "NOT_FOUND"].contains(&code(&answer)), "{answer}");
        phone.resolve(&ids[1], "FIRST_WRITE_WINS").await;
        let answer = decide(json!([ids[2], ids[1], ids[0], ids[0]]), "KEEP_BOTH").await;
        let expected = json!([
            { "conflictId": ids[2], "strategy": "KEEP_BOTH" },
            { "conflictId": ids[1], "strategy": "FIRST_WRITE_WINS" },
            { "conflictId": ids[0], "strategy": "KEEP_BOTH" },
        ]);
        assert_eq!(answer["data"]["resolveConflicts"], expected, "{answer}");
        let answer = decide(json!([]), "KEEP_BOTH").await;
        assert_eq!(answer["data"]["resolveConflicts"], json!([]));
        converge(&mut devices).await;
        assert_eq!(devices[0].rows.len(), 5);
    }

    async fn g13_a_row_that_moved_on_is_merged_as_it_is_now(app: &App) {
        let devices = app.two_devices_of("ada").await;
        let (memory, conflict) = renamed(&devices, LATE).await;
        let [phone, _] = &devices;
        let edit = update("Memory", memory, 2, json!({ "content": "Sun" }));
        assert_eq!(phone.push_one(edit).await, "ok 3");
        let out = json_of(&phone.resolve(&conflict, "LAST_WRITE_WINS").await["resolvedData"]);
        assert_eq!((&out["title"], &out["content"]), (&json!("tablet"), &json!("Sun")));
        assert_eq!(out["syncVersion"], 4);
    }

    async fn g13_what_others_changed_after_a_person_looked_is_not_overwritten(app: &App) {
        let devices = app.two_devices_of("ada").await;
        let (memory, conflict) = renamed(&devices, LATE).await;
        let [phone, _] = &devices;
        let edit = update("Memory", memory, 2, json!({ "title": "newer", "content": "Sun" }));
        assert_eq!(phone.push_one(edit).await, "ok 3");
        let seen = json!({ "title": "mine", "address": "x", "syncVersion": 2 });
        let answer = phone.try_resolve(&conflict, "MANUAL_RESOLUTION", Some(seen)).await;
        assert_eq!(code(&answer), "BAD_USER_INPUT");
        assert!(message(&answer).starts_with("title: was changed after version 2"), "{answer}");
        let out = phone.decide(&conflict, json!({ "address": "x", "syncVersion": 2 })).await;
        assert_eq!(json_of(&out["resolvedData"])["title"], "newer");
    }

    async fn g13_an_edit_of_a_deleted_row_is_decided_either_way(app: &App) {
        let cases = [
            // strategy, when the tablet edited (the phone deleted in between), what remains
            ("FIRST_WRITE_WINS", LATE, None, 0),
            ("LAST_WRITE_WINS", EARLY, None, 0),
            ("LAST_WRITE_WINS", LATE, Some("tablet"), 0),
            ("FIELD_MERGE", EARLY, Some("tablet"), 0),
            ("KEEP_BOTH", EARLY, None, 1),
        ];
        for (number, (strategy, time, title, copies)) in cases.into_iter().enumerate() {
            let mut devices = app.two_devices_of(&format!("ada{number}")).await;
            let [phone, tablet] = &devices;
            let trip = phone.trip("Alps").await;
            let memory = phone.memory(trip, "Hut").await;
            let media = Uuid::new_v4();
            let fields = json!({ "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 3 });
            phone.push_one(create("MediaItem", media, fields)).await;
            assert_eq!(phone.push_one(delete("Memory", memory, 1)).await, "ok 2");
            let edit = update("Memory", memory, 1, json!({ "title": "tablet" }));
            let conflict = tablet.collide(at(edit, time)).await;
            phone.resolve(&conflict, strategy).await;
            converge(&mut devices).await;
            let [phone, _] = &devices;
            let row = phone.row("Memory", memory);
            assert_eq!(row.map(|row| row["title"].as_str().unwrap_or_default()), title, "{strategy}");
            assert_eq!(phone.row("MediaItem", media).is_some(), title.is_some(), "what hangs on it");
            assert_eq!(phone.rows.keys().filter(|(kind, _)| kind == "Memory").count(),
                usize::from(title.is_some()) + copies, "{strategy}");
            if row.is_some() {
                assert_eq!(phone.field("Memory", memory, "syncVersion"), 3);
            }
        }
    }

    async fn g13_a_deletion_of_an_edited_row_is_decided_either_way(app: &App) {
        let cases = [
            ("FIRST_WRITE_WINS", LATE, true),
            ("LAST_WRITE_WINS", EARLY, true),
            ("LAST_WRITE_WINS", LATE, false),
            ("FIELD_MERGE", LATE, true),
            ("KEEP_BOTH", LATE, true),
        ];
        for (number, (strategy, time, stays)) in cases.into_iter().enumerate() {
            let mut devices = app.two_devices_of(&format!("ada{number}")).await;
            let [phone, tablet] = &devices;
            let tag = phone.tag("Hut").await;
            assert_eq!(phone.push_one(update("Tag", tag, 1, json!({ "name": "phone" }))).await, "ok 2");
            let conflict = tablet.collide(at(delete("Tag", tag, 1), time)).await;
            let out = json_of(&phone.resolve(&conflict, strategy).await["resolvedData"]);
            assert_eq!((&out["syncVersion"], out["deletedAt"].is_null()), (&json!(3), stays));
            converge(&mut devices).await;
            let [phone, _] = &devices;
            assert_eq!(phone.row("Tag", tag).map(|row| row["name"].clone()), stays.then(|| json!("phone")), "{strategy} {time}");
            assert_eq!(phone.rows.len(), usize::from(stays));
        }
    }

    async fn g13_a_person_deletes_or_restores(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let [phone, tablet] = &devices;
        let [kept, gone, back] = [phone.tag("kept").await, phone.tag("gone").await, phone.tag("back").await];
        for tag in [kept, gone] {
            phone.push_one(update("Tag", tag, 1, json!({ "emoji": "⛺" }))).await;
        }
        phone.push_one(delete("Tag", back, 1)).await;
        let keep = tablet.collide(delete("Tag", kept, 1)).await;
        let go = tablet.collide(delete("Tag", gone, 1)).await;
        let restore = tablet.collide(update("Tag", back, 1, json!({ "name": "x" }))).await;
        phone.decide(&keep, json!({ "name": "still here" })).await;
        phone.decide(&go, json!({ "deletedAt": LATE })).await;
        phone.decide(&restore, json!({ "name": "again" })).await;
        converge(&mut devices).await;
        let [phone, _] = &devices;
        assert_eq!(phone.field("Tag", kept, "name"), "still here");
        assert!(phone.row("Tag", gone).is_none());
        assert_eq!(phone.field("Tag", back, "name"), "again");
    }

    async fn g13_what_hangs_on_a_deleted_trip_comes_back_with_it_or_is_dropped(app: &App) {
        for (number, strategy) in ["FIRST_WRITE_WINS", "FIELD_MERGE", "LAST_WRITE_WINS", "KEEP_BOTH"].into_iter().enumerate() {
            let mut devices = app.two_devices_of(&format!("ada{number}")).await;
            let [phone, tablet] = &devices;
            let trip = phone.trip("Alps").await;
            let old = phone.memory(trip, "old").await;
            phone.push_one(delete("Trip", trip, 1)).await;
            let memory = Uuid::new_v4();
            let fields = json!({ "tripId": trip, "title": "Hut", "clientTimestamp": LATE });
            let first = tablet.collide(create("Memory", memory, fields)).await;
            let media = Uuid::new_v4();
            let fields = json!({ "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 3 });
            let second = tablet.collide(create("MediaItem", media, fields)).await;
            // The child has to wait for its parent.
            let early = phone.try_resolve(&second, "FIELD_MERGE", None).await;
            assert_eq!(code(&early), "BAD_USER_INPUT", "{early}");
            let resolution = phone.resolve(&first, strategy).await;
            let lives = strategy != "FIRST_WRITE_WINS";
            assert_eq!(resolution["resolvedData"].is_null(), !lives, "{strategy}");
            phone.resolve(&second, if lives { "FIELD_MERGE" } else { "FIRST_WRITE_WINS" }).await;
            converge(&mut devices).await;
            let [phone, _] = &devices;
            let there = |kind: &str, id: Uuid| phone.row(kind, id).is_some();
            let all = [there("Trip", trip), there("Memory", old), there("Memory", memory), there("MediaItem", media)];
            assert_eq!(all, [lives; 4], "{strategy}");
            if lives {
                assert_eq!(phone.field("Memory", memory, "syncVersion"), 1);
            }
        }
    }

    async fn g13_a_row_that_waits_can_be_hung_elsewhere(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let [phone, tablet] = &devices;
        let [gone, other] = [phone.trip("gone").await, phone.trip("other").await];
        let moved = phone.memory(gone, "went along").await;
        phone.push_one(delete("Trip", gone, 1)).await;
        let memory = Uuid::new_v4();
        let waiting = tablet.collide(create("Memory", memory, json!({ "tripId": gone, "title": "Hut" }))).await;
        let dead = tablet.collide(update("Memory", moved, 1, json!({ "content": "x" }))).await;
        phone.decide(&waiting, json!({ "tripId": other })).await;
        phone.decide(&dead, json!({ "tripId": other, "content": "kept" })).await;
        converge(&mut devices).await;
        let [phone, _] = &devices;
        assert!(phone.row("Trip", gone).is_none());
        assert_eq!(phone.field("Memory", memory, "tripId"), json!(other));
        assert_eq!(phone.field("Memory", moved, "tripId"), json!(other));
        assert_eq!(phone.field("Memory", moved, "content"), "kept");
    }

    async fn g13_a_trip_deleted_before_others_changes_were_seen_is_decided_either_way(app: &App) {
        for (number, (strategy, lives)) in [("LAST_WRITE_WINS", true), ("FIRST_WRITE_WINS", true), ("MANUAL_RESOLUTION", false)].into_iter().enumerate() {
            let mut devices = app.two_devices_of(&format!("ada{number}")).await;
            devices[1].pull().await;
            let [phone, tablet] = &devices;
            let trip = phone.trip("Alps").await;
            let cursor = tablet.cursor.clone();
            phone.memory(trip, "unseen").await;
            let (list, item) = delete("Trip", trip, 1);
            let pushed = tablet.push_with(json!({ list: [item] }), json!({ "cursor": cursor })).await;
            let conflict = pushed.conflicts[0]["id"].as_str().expect("an id").to_owned();
            if strategy == "MANUAL_RESOLUTION" {
                phone.decide(&conflict, json!({ "deletedAt": LATE })).await;
            } else {
                // The memory was made by the server's clock after the tablet's deletion.
                phone.resolve(&conflict, strategy).await;
            }
            converge(&mut devices).await;
            assert_eq!(devices[0].rows.len(), if lives { 2 } else { 0 }, "{strategy}");
        }
    }

    async fn g13_more_edits_join_one_entry_and_are_decided_together(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let (memory, conflict) = renamed(&devices, LATE).await;
        let laptop = Device::new(app, "ada", devices[0].token.clone());
        for (device, fields) in [(&devices[1], json!({ "content": "tablet" })), (&laptop, json!({ "title": "laptop" }))] {
            assert_eq!(device.collide(at(update("Memory", memory, 1, fields), "2026-01-17T00:00:00.000Z")).await, conflict);
        }
        let open = devices[0].open_conflicts().await;
        assert_eq!(open.len(), 1, "one entry a row");
        assert_eq!(open[0]["edits"].as_array().map(Vec::len), Some(3));
        devices[0].resolve(&conflict, "LAST_WRITE_WINS").await;
        converge(&mut devices).await;
        let [phone, _] = &devices;
        assert_eq!(phone.field("Memory", memory, "title"), "laptop");
        assert_eq!(phone.field("Memory", memory, "content"), "tablet");
        assert_eq!(phone.field("Memory", memory, "address"), "Zermatt");
    }

    async fn g13_an_entry_whose_row_is_deleted_meanwhile_is_decided_either_way(app: &App) {
        for (number, (with_trip, strategy)) in [(true, "FIELD_MERGE"), (true, "FIRST_WRITE_WINS"), (false, "FIELD_MERGE"), (false, "FIRST_WRITE_WINS")].into_iter().enumerate() {
            let mut devices = app.two_devices_of(&format!("ada{number}")).await;
            let (memory, conflict) = renamed(&devices, LATE).await;
            devices[0].pull().await;
            let trip = devices[0].field("Memory", memory, "tripId");
            let trip = Uuid::try_parse(trip.as_str().expect("an id")).expect("an id");
            let deletion = if with_trip { delete("Trip", trip, 1) } else { delete("Memory", memory, 2) };
            assert!(devices[0].push_one(deletion).await.starts_with("ok"));
            let told = devices[0].conflict(&conflict).await;
            assert_eq!((&told["conflictType"], &told["status"]), (&json!("DELETION_CONFLICT"), &json!("OPEN")));
            devices[0].resolve(&conflict, strategy).await;
            converge(&mut devices).await;
            let [phone, _] = &devices;
            let lives = strategy == "FIELD_MERGE";
            assert_eq!(phone.row("Memory", memory).is_some(), lives, "{with_trip} {strategy}");
            assert_eq!(phone.row("Trip", trip).is_some(), lives || !with_trip);
            if lives {
                assert_eq!(phone.field("Memory", memory, "address"), "Zermatt");
            }
        }
    }

    async fn g13_undo_brings_back_what_was_and_opens_the_conflict_again(app: &App) {
        for (number, strategy) in ["FIRST_WRITE_WINS", "LAST_WRITE_WINS", "FIELD_MERGE", "KEEP_BOTH"].into_iter().enumerate() {
            let mut devices = app.two_devices_of(&format!("ada{number}")).await;
            let (memory, conflict) = renamed(&devices, LATE).await;
            devices[0].resolve(&conflict, strategy).await;
            let told = devices[0].undo(&conflict).await;
            assert_eq!((&told["status"], &told["resolution"]), (&json!("OPEN"), &json!(null)));
            assert_eq!(told["undone"][0]["strategy"], strategy);
            assert_eq!(told["undone"][0]["undoneBy"]["displayName"], format!("ada{number}"));
            converge(&mut devices).await;
            let [phone, _] = &devices;
            assert_eq!(phone.rows.len(), 2, "{strategy}: no copy is left");
            assert_eq!(phone.field("Memory", memory, "title"), "phone");
            assert_eq!(phone.field("Memory", memory, "address"), json!(null));
            assert_eq!(phone.field("Memory", memory, "syncStatus"), "CONFLICT");
            assert_eq!(phone.field("Memory", memory, "syncVersion"), 4, "a new write");
            let again = phone.try_undo(&conflict).await;
            assert_eq!(code(&again), "BAD_USER_INPUT", "it is open");
            // And it can be decided once more.
            phone.resolve(&conflict, "LAST_WRITE_WINS").await;
            converge(&mut devices).await;
            assert_eq!(devices[0].field("Memory", memory, "title"), "tablet");
        }
    }

    async fn g13_undo_leaves_what_was_changed_since(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let (memory, conflict) = renamed(&devices, LATE).await;
        devices[0].resolve(&conflict, "LAST_WRITE_WINS").await;
        let edit = update("Memory", memory, 3, json!({ "title": "newer" }));
        assert_eq!(devices[0].push_one(edit).await, "ok 4");
        devices[0].undo(&conflict).await;
        converge(&mut devices).await;
        let [phone, _] = &devices;
        assert_eq!(phone.field("Memory", memory, "title"), "newer");
        assert_eq!(phone.field("Memory", memory, "address"), json!(null));
    }

    async fn g13_undo_of_deletions_restorations_and_rows_made(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let [phone, tablet] = &devices;
        // A deletion that was carried out.
        let tag = phone.tag("Hut").await;
        phone.push_one(update("Tag", tag, 1, json!({ "name": "phone" }))).await;
        let deletion = tablet.collide(at(delete("Tag", tag, 1), LATE)).await;
        phone.resolve(&deletion, "LAST_WRITE_WINS").await;
        phone.undo(&deletion).await;
        // A row that came back with its trip, and one that was made in it.
        let trip = phone.trip("Alps").await;
        let old = phone.memory(trip, "old").await;
        phone.push_one(delete("Trip", trip, 1)).await;
        let memory = Uuid::new_v4();
        let made = tablet.collide(create("Memory", memory, json!({ "tripId": trip, "title": "Hut" }))).await;
        let edited = tablet.collide(update("Memory", old, 1, json!({ "title": "tablet" }))).await;
        phone.resolve(&edited, "FIELD_MERGE").await;
        phone.resolve(&made, "FIELD_MERGE").await;
        // With the memory in it, the trip is not what it was when it came back.
        let refused = phone.try_undo(&edited).await;
        assert_eq!(code(&refused), "BAD_USER_INPUT", "{refused}");
        assert!(message(&refused).contains("was changed since"), "{refused}");
        phone.undo(&made).await;
        converge(&mut devices).await;
        let [phone, _] = &devices;
        assert_eq!(phone.field("Tag", tag, "syncStatus"), "CONFLICT");
        assert!(phone.row("Memory", memory).is_none() && phone.row("Memory", old).is_some());
        phone.undo(&edited).await;
        converge(&mut devices).await;
        let [phone, _] = &devices;
        assert!(phone.row("Trip", trip).is_none() && phone.row("Memory", old).is_none());
        let types: Vec<Json> = phone.open_conflicts().await.iter().map(|c| c["conflictType"].clone()).collect();
        assert_eq!(types, vec![json!("DELETION_CONFLICT"); 3]);
    }

    async fn g13_a_merge_by_the_server_can_be_undone(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let [phone, tablet] = &devices;
        let tag = phone.tag("Hut").await;
        phone.push_one(update("Tag", tag, 1, json!({ "name": "phone" }))).await;
        let (list, item) = update("Tag", tag, 1, json!({ "emoji": "⛺" }));
        let pushed = tablet.push(json!({ list: [item] })).await;
        let conflict = pushed.conflicts[0]["id"].as_str().expect("an id").to_owned();
        phone.undo(&conflict).await;
        converge(&mut devices).await;
        assert_eq!(devices[0].field("Tag", tag, "emoji"), json!(null));
        assert_eq!(devices[0].field("Tag", tag, "syncStatus"), "CONFLICT");
    }

    async fn g13_the_files_of_the_side_that_is_chosen_stay_theirs_who_named_them(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let carol = app.device_of("carol").await;
        let trip = ada.trip("Alps").await;
        for other in [&bob, &carol] {
            ada.share(trip, other, "EDITOR").await;
        }
        let memory = ada.memory(trip, "Hut").await;
        for (device, name, bytes) in [(&ada, "a.jpg", "aaa"), (&bob, "b.jpg", "bbb")] {
            device.upload(name, "image/jpeg", bytes).await;
        }
        let media = Uuid::new_v4();
        let fields = json!({ "memoryId": memory, "objectName": "0.jpg", "mimeType": "image/jpeg", "fileSize": 3 });
        ada.push_one(create("MediaItem", media, fields)).await;
        ada.push_one(update("MediaItem", media, 1, json!({ "objectName": "a.jpg" }))).await;
        let conflict = bob.collide(at(update("MediaItem", media, 1, json!({ "objectName": "b.jpg" })), LATE)).await;
        carol.resolve(&conflict, "LAST_WRITE_WINS").await;
        let query = "query($id: ID!) { generateBatchDownloadUrls(mediaItemIds: [$id]) { downloadUrls { downloadUrl } } }";
        for device in [&ada, &bob, &carol] {
            let answer = device.ask(query, json!({ "id": media })).await;
            let url = &answer["data"]["generateBatchDownloadUrls"]["downloadUrls"][0]["downloadUrl"];
            let url = url.as_str().unwrap_or_else(|| panic!("{answer}"));
            let bytes = app.client.get(url).send().await.expect("an answer").text().await;
            assert_eq!(bytes.expect("text"), "bbb");
        }
        let rows = carol.fresh_rows().await;
        assert_eq!(rows[&("MediaItem".to_owned(), media.to_string())]["syncStatus"], "IN_SYNC");
    }

    async fn g13_a_member_s_tags_come_with_their_side_and_nobody_else_s(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let eve = app.device_of("eve").await;
        let trip = ada.trip("Alps").await;
        ada.share(trip, &bob, "EDITOR").await;
        let [his, hers, secret] = [bob.tag("his").await, ada.tag("hers").await, eve.tag("secret").await];
        let memory = ada.memory(trip, "Hut").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "ada", "tagIds": [hers] }))).await;
        let edit = update("Memory", memory, 1, json!({ "title": "bob", "tagIds": [his, secret] }));
        let conflict = bob.collide(at(edit, LATE)).await;
        for device in [&ada, &bob] {
            let told = device.conflict(&conflict).await;
            let names: Vec<&str> = told["names"].as_array().expect("names").iter().map(|n| n["name"].as_str().expect("a name")).collect();
            assert!(names.contains(&"his") && names.contains(&"hers"), "{names:?}");
            assert!(!told.to_string().contains("\"secret\""), "{told}");
        }
        ada.resolve(&conflict, "LAST_WRITE_WINS").await;
        let rows = bob.fresh_rows().await;
        let mut expected = [his, hers];
        expected.sort();
        assert_eq!(rows[&("Memory".to_owned(), memory.to_string())]["tagIds"], json!(expected));
    }

    async fn g13_who_may_decide(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        ada.share(trip, &bob, "EDITOR").await;
        let memory = ada.memory(trip, "Hut").await;
        ada.push_one(delete("Trip", trip, 1)).await;
        let edit = at(update("Memory", memory, 1, json!({ "title": "bob" })), LATE);
        let conflict = bob.collide(edit).await;
        // Only the owner brings a trip back: so it is said, and so it is shown.
        let told = bob.conflict(&conflict).await;
        assert_eq!(told["strategies"], json!(["FIRST_WRITE_WINS"]), "{told}");
        for (strategy, data) in [
            ("FIELD_MERGE", None),
            ("LAST_WRITE_WINS", None),
            ("MANUAL_RESOLUTION", Some(json!({}))),
        ] {
            let answer = bob.try_resolve(&conflict, strategy, data).await;
            assert_eq!(code(&answer), "FORBIDDEN", "{strategy}: {answer}");
        }
        let told = ada.conflict(&conflict).await;
        let strategies = told["strategies"].as_array().map(Vec::len);
        assert_eq!(strategies, Some(4), "no copy without a trip: {told}");
        ada.resolve(&conflict, "FIELD_MERGE").await;
        let rows = bob.fresh_rows().await;
        assert_eq!(rows[&("Memory".to_owned(), memory.to_string())]["title"], "bob");
    }

    async fn g13_an_edit_of_what_was_deleted_long_ago_becomes_another_row(app: &App) {
        let mut devices = app.two_devices_of("ada").await;
        let [phone, tablet] = &devices;
        let tag = phone.tag("Hut").await;
        phone.push_one(delete("Tag", tag, 1)).await;
        app.age(std::time::Duration::from_secs(100 * 86_400)).await;
        cairn::sync::gc::clean_up(app.db(), crate::support::RETENTION).await.expect("cleaned up");
        let conflict = tablet.collide(create("Tag", tag, json!({ "name": "again" }))).await;
        let resolution = phone.resolve(&conflict, "FIELD_MERGE").await;
        let out = json_of(&resolution["resolvedData"]);
        assert_ne!(out["id"], json!(tag));
        assert_eq!(out["name"], "again");
        for device in devices.iter_mut() {
            device.cursor = None;
            device.rows.clear();
        }
        converge(&mut devices).await;
        assert_eq!(devices[0].rows.len(), 1);
    }
}

#[test]
fn g13_times_in_these_tests_are_in_order() {
    let middle = "2026-01-15T12:00:00.000Z";
    let parse = |text: &str| cairn::kinds::parse_time(text).expect("a time");
    assert!(parse(EARLY) < parse(middle) && parse(middle) < parse(LATE));
    assert_eq!(rfc3339(parse(LATE)), LATE);
}
