//! What people are shown of conflicts and of a row's past: pages, filters, counts, history; and who is
//! shown nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{Device, RETENTION, create, delete, update};

const DAY: Duration = Duration::from_secs(86_400);

const INBOX: &str = "
    query($type: EntityType, $status: ConflictStatus, $trip: ID, $device: ID, $since: DateTime,
          $until: DateTime, $limit: Int, $cursor: String) {
        conflictInbox(entityType: $type, status: $status, tripId: $trip, deviceId: $device,
                      since: $since, until: $until, limit: $limit, cursor: $cursor) {
            conflicts { id entityType timestamp status } nextCursor totalCount
            counts { entityType status count }
        } }";

const LIST: &str = "
    query($type: EntityType, $status: ConflictStatus, $trip: ID, $device: ID, $since: DateTime,
          $until: DateTime, $limit: Int, $after: ID) {
        getConflicts(entityType: $type, status: $status, tripId: $trip, deviceId: $device,
                     since: $since, until: $until, limit: $limit, after: $after) { id } }";

fn json_of(value: &Json) -> Json {
    serde_json::from_str(value.as_str().unwrap_or_else(|| panic!("{value} is no text")))
        .expect("JSON")
}

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn ids(list: &Json) -> Vec<String> {
    list.as_array()
        .unwrap_or_else(|| panic!("{list}"))
        .iter()
        .map(|item| text(&item["id"]))
        .collect()
}

async fn inbox(device: &Device<'_>, variables: Json) -> Json {
    let answer = device.ask(INBOX, variables).await;
    assert!(answer["errors"].is_null(), "{answer}");
    answer["data"]["conflictInbox"].clone()
}

/// The same as a list.
async fn list(device: &Device<'_>, variables: Json) -> Vec<String> {
    let answer = device.ask(LIST, variables).await;
    assert!(answer["errors"].is_null(), "{answer}");
    ids(&answer["data"]["getConflicts"])
}

/// Tags that both devices renamed, all in one batch: their conflicts arose in one moment.
async fn renamed_tags(phone: &Device<'_>, tablet: &Device<'_>, count: usize) -> Vec<String> {
    let mut edits = [Vec::new(), Vec::new()];
    for _ in 0..count {
        let tag = phone.tag("Hut").await;
        for (edits, name) in edits.iter_mut().zip(["phone", "tablet"]) {
            edits.push(update("Tag", tag, 1, json!({ "name": name })).1);
        }
    }
    let [mine, theirs] = edits;
    assert_eq!(phone.push(json!({ "tags": mine })).await.successful.len(), count);
    let pushed = tablet.push(json!({ "tags": theirs })).await;
    pushed.conflicts.iter().map(|conflict| text(&conflict["id"])).collect()
}

/// All pages, with pages of this size.
async fn pages(device: &Device<'_>, size: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), json!(null));
    loop {
        let page = inbox(device, json!({ "limit": size, "cursor": cursor })).await;
        let found = ids(&page["conflicts"]);
        assert!(found.len() <= size);
        all.extend(found);
        cursor = page["nextCursor"].clone();
        if cursor.is_null() {
            return all;
        }
    }
}

both! {
    async fn inbox_pages_hold_each_conflict_once_however_many_arose_at_once(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let expected: BTreeSet<String> = renamed_tags(&phone, &tablet, 7).await.into_iter().collect();
        let whole = list(&phone, json!({})).await;
        for size in [1, 2, 3, 7, 8, 500] {
            let found = pages(&phone, size).await;
            assert_eq!(found, whole, "the same order, {size} a page");
            assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), expected);
            // And by the id of the last one.
            let (mut all, mut after) = (Vec::new(), json!(null));
            loop {
                let found = list(&phone, json!({ "limit": size, "after": after })).await;
                let Some(last) = found.last() else { break };
                after = json!(last);
                all.extend(found);
            }
            assert_eq!(all, whole);
        }
    }

    async fn inbox_pages_stay_whole_while_conflicts_come_and_go(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        renamed_tags(&phone, &tablet, 5).await;
        let before = list(&phone, json!({ "status": "OPEN" })).await;
        let (mut seen, mut cursor) = (Vec::new(), json!(null));
        for _ in 0..5 {
            let page = inbox(&phone, json!({ "limit": 1, "cursor": cursor })).await;
            seen.extend(ids(&page["conflicts"]));
            cursor = page["nextCursor"].clone();
            // Newer ones do not push any onto the next page, and decided ones leave no gap.
            renamed_tags(&phone, &tablet, 1).await;
            phone.resolve(seen.last().expect("one"), "FIRST_WRITE_WINS").await;
        }
        assert_eq!(seen, before);
        assert!(cursor.is_null());
        let page = inbox(&phone, json!({})).await;
        assert_eq!(page["totalCount"], 10);
        assert_eq!(page["counts"], json!([
            { "entityType": "Tag", "status": "OPEN", "count": 5 },
            { "entityType": "Tag", "status": "RESOLVED", "count": 5 },
        ]));
    }

    async fn inbox_filters_by_kind_status_trip_device_and_time(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let laptop = Device::new(app, "ada", phone.token.clone());
        let [old] = renamed_tags(&phone, &tablet, 1).await.try_into().expect("one");
        app.age(DAY * 10).await;
        let [alps, coast] = [phone.trip("Alps").await, phone.trip("Coast").await];
        let mut of_trips = Vec::new();
        for trip in [alps, coast] {
            let memory = phone.memory(trip, "Hut").await;
            phone.push_one(update("Memory", memory, 1, json!({ "title": "phone" }))).await;
            of_trips.push(laptop.collide(update("Memory", memory, 1, json!({ "title": "laptop" }))).await);
        }
        let [in_alps, in_coast] = of_trips.try_into().expect("two");
        phone.resolve(&in_coast, "LAST_WRITE_WINS").await;
        // The tablet joins the story of the one in the Alps.
        let told = phone.conflict(&in_alps).await;
        let memory = Uuid::try_parse(&text(&told["entityId"])).expect("an id");
        tablet.collide(update("Memory", memory, 1, json!({ "title": "tablet" }))).await;
        let time = text(&phone.conflict(&old).await["timestamp"]);
        let stranger = Uuid::new_v4();
        for (filter, expected) in [
            (json!({}), vec![&in_coast, &in_alps, &old]),
            (json!({ "type": "Tag" }), vec![&old]),
            (json!({ "type": "Trip" }), vec![]),
            (json!({ "status": "OPEN" }), vec![&in_alps, &old]),
            (json!({ "status": "RESOLVED" }), vec![&in_coast]),
            (json!({ "status": "RESOLVED", "type": "Tag" }), vec![]),
            (json!({ "trip": alps }), vec![&in_alps]),
            (json!({ "trip": coast, "status": "OPEN" }), vec![]),
            (json!({ "trip": stranger }), vec![]),
            (json!({ "device": laptop.id }), vec![&in_coast, &in_alps]),
            (json!({ "device": tablet.id }), vec![&in_alps, &old]),
            (json!({ "device": phone.id }), vec![]),
            (json!({ "since": time }), vec![&in_coast, &in_alps, &old]),
            (json!({ "until": time }), vec![]),
            (json!({ "since": "2100-01-01T00:00:00.000Z" }), vec![]),
            (json!({ "until": "2100-01-01T00:00:00.000Z", "device": tablet.id }), vec![&in_alps, &old]),
        ] {
            let page = inbox(&phone, filter.clone()).await;
            assert_eq!(ids(&page["conflicts"]).iter().collect::<Vec<_>>(), expected, "{filter}");
            assert_eq!(page["totalCount"], expected.len(), "{filter}");
            assert_eq!(list(&phone, filter.clone()).await.iter().collect::<Vec<_>>(), expected, "{filter}");
        }
        // The counts are of everything else that was asked for.
        let page = inbox(&phone, json!({ "type": "Tag", "status": "RESOLVED", "limit": 1 })).await;
        assert_eq!(page["totalCount"], 0);
        let all = json!([
            { "entityType": "Tag", "status": "OPEN", "count": 1 },
            { "entityType": "Memory", "status": "OPEN", "count": 1 },
            { "entityType": "Memory", "status": "RESOLVED", "count": 1 },
        ]);
        assert_eq!(page["counts"], all);
        let page = inbox(&phone, json!({ "trip": alps, "status": "RESOLVED" })).await;
        assert_eq!(page["counts"], json!([{ "entityType": "Memory", "status": "OPEN", "count": 1 }]));
    }

    async fn inbox_refuses_what_is_no_cursor_and_no_limit(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        renamed_tags(&phone, &tablet, 2).await;
        let good = text(&inbox(&phone, json!({ "limit": 1 })).await["nextCursor"]);
        for cursor in ["", "x", "ä", "AAAA", "null", &good[1..], &format!("{good}A"), &format!("{good}=")] {
            let answer = phone.ask(INBOX, json!({ "cursor": cursor })).await;
            assert_eq!(code(&answer), "INVALID_CURSOR", "{cursor}: {answer}");
        }
        for limit in [0, -1, 501, i32::MAX] {
            for query in [INBOX, LIST] {
                let answer = phone.ask(query, json!({ "limit": limit })).await;
                assert_eq!(code(&answer), "BAD_USER_INPUT", "{limit}: {answer}");
            }
        }
        for (name, value) in [("trip", "x"), ("device", ""), ("since", "yesterday"), ("type", "Hut"), ("status", "MAYBE")] {
            let answer = phone.ask(INBOX, json!({ name: value })).await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{name}: {answer}");
        }
        // A cursor says where to go on, and nothing of what may be seen.
        let eve = app.device_of("eve").await;
        let page = inbox(&eve, json!({ "cursor": good })).await;
        assert_eq!((&page["conflicts"], &page["totalCount"]), (&json!([]), &json!(0)));
        let first = list(&phone, json!({})).await;
        assert_eq!(list(&eve, json!({ "after": first[0] })).await, Vec::<String>::new());
    }

    async fn inbox_tells_who_did_what_and_how_things_are_called(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        ada.share(trip, &bob, "EDITOR").await;
        let [hers, his] = [ada.tag("hers").await, bob.tag("his").await];
        let memory = ada.memory(trip, "Hut").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "ada", "tagIds": [hers] }))).await;
        let edit = json!({ "title": "bob", "address": "Zermatt", "tagIds": [his] });
        let conflict = bob.collide(update("Memory", memory, 1, edit.clone())).await;
        for reader in [&ada, &bob] {
            let told = reader.conflict(&conflict).await;
            assert_eq!(told["title"], "ada");
            assert_eq!((&told["tripId"], &told["tripName"]), (&json!(trip), &json!("Alps")));
            assert_eq!(told["editedBy"]["displayName"], "bob");
            assert_eq!(told["serverBy"]["displayName"], "ada");
            assert_eq!((&told["deviceId"], &told["serverDeviceId"]), (&json!(bob.id), &json!(ada.id)));
            assert_eq!(json_of(&told["baseData"])["title"], "Hut");
            assert_eq!(json_of(&told["localData"])["title"], "ada");
            assert_eq!(json_of(&told["remoteData"]), edit);
            assert_eq!(told["edits"][0]["person"]["displayName"], "bob");
            assert_eq!(json_of(&told["edits"][0]["data"]), edit);
            let names = told["names"].as_array().expect("names").iter();
            let names: BTreeSet<String> = names.map(|name| text(&name["name"])).collect();
            assert_eq!(names, BTreeSet::from(["Alps".into(), "hers".into(), "his".into()]));
            let strategies = told["strategies"].as_array().map(Vec::len);
            assert_eq!(strategies, Some(5));
        }
        // The row as it is now, not as it was then.
        ada.push_one(update("Memory", memory, 2, json!({ "content": "Sun" }))).await;
        let told = bob.conflict(&conflict).await;
        let now = json_of(&told["currentData"]);
        assert_eq!((&now["content"], &now["syncVersion"]), (&json!("Sun"), &json!(3)));
        assert_eq!(json_of(&told["localData"])["content"], json!(null));
        bob.resolve(&conflict, "FIELD_MERGE").await;
        let told = ada.conflict(&conflict).await;
        assert_eq!(told["resolution"]["person"]["displayName"], "bob");
    }

    async fn inbox_history_tells_everything_that_happened_to_a_row(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        ada.share(trip, &bob, "EDITOR").await;
        let memory = ada.memory(trip, "Hut").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "ada" }))).await;
        bob.push_one(delete("Memory", memory, 2)).await;
        let conflict = ada.collide(update("Memory", memory, 2, json!({ "content": "Sun" }))).await;
        bob.resolve(&conflict, "FIELD_MERGE").await;
        ada.undo(&conflict).await;
        ada.decide(&conflict, json!({ "title": "third" })).await;
        let expected = json!([
            // version, operation, who, what was before, and after
            [7, "UPDATE", "ada", { "title": "ada" }, { "title": "third" }],
            [6, "DELETE", "ada", {}, {}],
            [5, "UPDATE", "ada", { "content": "Sun" }, { "content": null }],
            [4, "UPDATE", "bob", { "content": null }, { "content": "Sun" }],
            [3, "DELETE", "bob", {}, {}],
            [2, "UPDATE", "ada", { "title": "Hut" }, { "title": "ada" }],
        ]);
        for reader in [&ada, &bob] {
            let mut steps = reader.history("Memory", memory).await;
            let first = steps.pop().expect("the creation");
            assert_eq!((&first["version"], &first["operation"]), (&json!(1), &json!("CREATE")));
            assert_eq!(json_of(&first["oldData"]), json!({}));
            let made = json_of(&first["newData"]);
            assert_eq!((&made["title"], &made["tripId"]), (&json!("Hut"), &json!(trip)));
            let told = steps.iter().map(|step| {
                let (old, new) = (json_of(&step["oldData"]), json_of(&step["newData"]));
                json!([step["version"], step["operation"], step["person"]["displayName"], old, new])
            });
            assert_eq!(told.collect::<Json>(), expected);
        }
    }

    async fn inbox_history_comes_in_pages_and_by_the_portion(app: &App) {
        let phone = app.device_of("ada").await;
        let tag = phone.tag("0").await;
        for version in 1..=60 {
            let edit = update("Tag", tag, version, json!({ "name": format!("{version}") }));
            assert!(phone.push_one(edit).await.starts_with("ok"));
        }
        let query = "query($id: ID!, $limit: Int, $before: Int) {
            history(entityType: Tag, id: $id, limit: $limit, before: $before) { version oldData newData } }";
        let page = async |limit: Json, before: Json| {
            phone.ask(query, json!({ "id": tag, "limit": limit, "before": before })).await
        };
        let versions = |answer: &Json| -> Vec<i64> {
            let steps = answer["data"]["history"].as_array().unwrap_or_else(|| panic!("{answer}"));
            for step in steps {
                let (old, new) = (json_of(&step["oldData"]), json_of(&step["newData"]));
                let version = step["version"].as_i64().expect("a version");
                assert_eq!(new["name"], format!("{}", version - 1));
                if version > 1 {
                    assert_eq!(old["name"], format!("{}", version - 2));
                }
            }
            steps.iter().map(|step| step["version"].as_i64().expect("a version")).collect()
        };
        assert_eq!(versions(&page(json!(null), json!(null)).await), (12..=61).rev().collect::<Vec<_>>());
        assert_eq!(versions(&page(json!(500), json!(null)).await).len(), 61);
        assert_eq!(versions(&page(json!(2), json!(30)).await), [29, 28]);
        assert_eq!(versions(&page(json!(5), json!(2)).await), [1]);
        assert!(versions(&page(json!(5), json!(1)).await).is_empty());
        assert!(versions(&page(json!(5), json!(-7)).await).is_empty());
        for limit in [0, -1, 501] {
            assert_eq!(code(&page(json!(limit), json!(null)).await), "BAD_USER_INPUT");
        }
        let mut walked = Vec::new();
        let mut before = json!(null);
        loop {
            let found = versions(&page(json!(7), before).await);
            let Some(last) = found.last() else { break };
            before = json!(last);
            walked.extend(found);
        }
        assert_eq!(walked, (1..=61).rev().collect::<Vec<_>>());
        for id in ["x", ""] {
            let answer = phone.ask(query, json!({ "id": id })).await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{answer}");
        }
    }

    async fn inbox_is_empty_for_viewers_former_members_and_strangers(app: &App) {
        let ada = app.device_of("ada").await;
        let [viewer, former, stranger] = [app.device_of("vic").await, app.device_of("fred").await, app.device_of("eve").await];
        let trip = ada.trip("Alps").await;
        ada.share(trip, &viewer, "VIEWER").await;
        ada.share(trip, &former, "EDITOR").await;
        let memory = ada.memory(trip, "Hut").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "ada" }))).await;
        let conflict = former.collide(update("Memory", memory, 1, json!({ "title": "fred" }))).await;
        let gone = ada.memory(trip, "gone").await;
        ada.push_one(delete("Memory", gone, 1)).await;
        assert_eq!(former.history("Memory", memory).await.len(), 2);
        ada.unshare(trip, &former).await;
        for reader in [&viewer, &former, &stranger] {
            let page = inbox(reader, json!({})).await;
            assert_eq!(page, json!({ "conflicts": [], "nextCursor": null, "totalCount": 0, "counts": [] }));
            assert_eq!(inbox(reader, json!({ "trip": trip })).await, page);
            assert!(list(reader, json!({})).await.is_empty());
            assert!(list(reader, json!({ "after": conflict })).await.is_empty());
            assert!(reader.conflict(&conflict).await.is_null());
            for id in [memory, gone, trip, Uuid::new_v4()] {
                for kind in ["Memory", "Trip", "Tag"] {
                    assert!(reader.history(kind, id).await.is_empty(), "{kind} {id}");
                }
            }
        }
        assert_eq!(list(&ada, json!({})).await, [conflict]);
        assert_eq!(ada.history("Memory", gone).await.len(), 2, "of a deleted row, too");
    }

    async fn inbox_history_of_a_row_begins_where_its_reader_may_look(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let [diary, shared] = [ada.trip("diary").await, ada.trip("shared").await];
        ada.share(shared, &bob, "EDITOR").await;
        let memory = Uuid::new_v4();
        let fields = json!({ "tripId": diary, "title": "secret 1", "content": "secret 2", "latitude": 46.518273, "longitude": 7.251938 });
        ada.push_one(create("Memory", memory, fields)).await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "secret 3", "latitude": 47.5, "longitude": 8.25 }))).await;
        let moved = json!({ "tripId": shared, "title": "open", "content": null, "latitude": null, "longitude": null });
        assert_eq!(ada.push_one(update("Memory", memory, 2, moved)).await, "ok 3");
        ada.push_one(update("Memory", memory, 3, json!({ "address": "Zermatt" }))).await;
        let told = |steps: &[Json]| -> Vec<i64> {
            steps.iter().map(|step| step["version"].as_i64().expect("a version")).collect()
        };
        assert_eq!(told(&ada.history("Memory", memory).await), [4, 3, 2, 1]);
        let steps = bob.history("Memory", memory).await;
        assert_eq!(told(&steps), [4]);
        assert!(!format!("{steps:?}").contains("secret"));
    }

    async fn g16_a_forged_version_brings_back_nothing_from_where_one_cannot_look(app: &App) {
        for (number, strategy) in ["KEEP_BOTH", "FIELD_MERGE", "LAST_WRITE_WINS"].into_iter().enumerate() {
            let ada = app.device_of(&format!("ada{number}")).await;
            let bob = app.device_of(&format!("bob{number}")).await;
            let [diary, shared] = [ada.trip("diary").await, ada.trip("shared").await];
            ada.share(shared, &bob, "EDITOR").await;
            let memory = Uuid::new_v4();
            let fields = json!({ "tripId": diary, "title": "secret 1", "content": "secret 2", "latitude": 46.518273, "longitude": 7.251938 });
            ada.push_one(create("Memory", memory, fields)).await;
            let moved = json!({ "tripId": shared, "title": "open", "content": null, "latitude": null, "longitude": null });
            assert_eq!(ada.push_one(update("Memory", memory, 1, moved)).await, "ok 2");
            let late = json!({ "title": "bob", "latitude": 1.0, "longitude": 2.0, "clientTimestamp": "2026-01-16T00:00:00.000Z" });
            let conflict = bob.collide(update("Memory", memory, 1, late)).await;
            let half = json!({ "latitude": 3.0, "clientTimestamp": "2026-01-17T00:00:00.000Z" });
            bob.push_one(update("Memory", memory, 1, half)).await;
            // Whoever decides: bob, or ada, in whose diary it was.
            let reader = if number % 2 == 0 { &bob } else { &ada };
            let mut shown = bob.conflict(&conflict).await.to_string();
            let resolution = reader.resolve(&conflict, strategy).await;
            shown += &resolution.to_string();
            shown += &bob.conflict(&conflict).await.to_string();
            shown += &format!("{:?}", bob.fresh_rows().await);
            for secret in ["secret", "46.518273", "7.251938"] {
                assert!(!shown.contains(secret), "{strategy} shows {secret}: {shown}");
            }
        }
    }

    async fn g16_what_a_row_was_elsewhere_is_no_base_of_a_conflict_here(app: &App) {
        let [ada, tablet] = app.two_devices_of("ada").await;
        let bob = app.device_of("bob").await;
        let [diary, shared] = [ada.trip("diary").await, ada.trip("shared").await];
        ada.share(shared, &bob, "EDITOR").await;
        let memory = Uuid::new_v4();
        let fields = json!({ "tripId": diary, "title": "secret 1", "content": "secret 2" });
        ada.push_one(create("Memory", memory, fields)).await;
        let moved = json!({ "tripId": shared, "title": "open", "content": null });
        ada.push_one(update("Memory", memory, 1, moved)).await;
        let edit = update("Memory", memory, 1, json!({ "title": "tablet" }));
        let conflict = tablet.collide(edit).await;
        let mut shown = bob.conflict(&conflict).await.to_string();
        bob.resolve(&conflict, "KEEP_BOTH").await;
        shown += &format!("{:?}", bob.fresh_rows().await);
        assert!(!shown.contains("secret"), "{shown}");
    }

    async fn g16_an_edit_that_takes_a_row_away_takes_its_record_along(app: &App) {
        let [ada, tablet] = app.two_devices_of("ada").await;
        let mut bob = app.device_of("bob").await;
        let [diary, shared] = [ada.trip("diary").await, ada.trip("shared").await];
        ada.share(shared, &bob, "EDITOR").await;
        let memory = ada.memory(shared, "Hut").await;
        bob.pull().await;
        assert_eq!(bob.push_one(update("Memory", memory, 1, json!({ "title": "bob" }))).await, "ok 2");
        let edit = update("Memory", memory, 1, json!({ "tripId": diary, "content": "secret" }));
        let merged = tablet.push_one(edit).await;
        assert_eq!(merged, "conflict RESOLVED VERSION_MISMATCH FIELD_MERGE");
        assert!(list(&bob, json!({})).await.is_empty());
        assert_eq!(list(&ada, json!({})).await.len(), 1);
        bob.pull().await;
        assert!(bob.row("Memory", memory).is_none());
    }

    async fn inbox_keeps_open_conflicts_and_forgets_decided_ones_after_the_retention(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let [open, decided, undone] = renamed_tags(&phone, &tablet, 3).await.try_into().expect("three");
        phone.resolve(&decided, "KEEP_BOTH").await;
        phone.undo(&decided).await;
        phone.resolve(&decided, "LAST_WRITE_WINS").await;
        phone.resolve(&undone, "LAST_WRITE_WINS").await;
        phone.undo(&undone).await;
        app.age(RETENTION + DAY).await;
        cairn::sync::gc::clean_up(app.db(), RETENTION).await.expect("cleaned up");
        let left = list(&phone, json!({})).await;
        assert_eq!(left.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&open, &undone]));
        assert!(phone.conflict(&decided).await.is_null());
        let told = phone.conflict(&undone).await;
        assert_eq!(told["edits"].as_array().map(Vec::len), Some(1), "{told}");
        assert_eq!(told["undone"].as_array().map(Vec::len), Some(1));
        use sea_orm::{EntityTrait, PaginatorTrait};
        let db = app.db().pool();
        assert_eq!(entity::conflict_edit::Entity::find().count(db).await.expect("a count"), 2);
        assert_eq!(entity::undone::Entity::find().count(db).await.expect("a count"), 1);
        // What is open can be decided, however old it is.
        for conflict in [&open, &undone] {
            phone.resolve(conflict, "LAST_WRITE_WINS").await;
        }
        for ((kind, id), row) in phone.fresh_rows().await {
            let id = Uuid::try_parse(&id).expect("an id");
            let version = row["syncVersion"].as_i64().expect("a version");
            let edit = update(&kind, id, version, json!({ "name": "goes on" }));
            assert_eq!(phone.push_one(edit).await, format!("ok {}", version + 1));
        }
    }
}
