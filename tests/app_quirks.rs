//! What the shipped app relies on, beyond its cycle: it sends creations again, knows no versions,
//! and lives beside devices that sync in bulk.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{Device, Older, create, update};

const DAY: Duration = Duration::from_secs(86_400);

async fn ask(device: &Device<'_>, query: &str, variables: Json) -> Json {
    let answer = device.ask(query, variables).await;
    assert!(answer["errors"].is_null(), "{answer}");
    answer["data"].clone()
}

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// Calls `createTrip` and its like, and gives the row's id.
async fn made(device: &Device<'_>, kind: &str, input: &Json) -> Uuid {
    let name = if kind == "GPXTrack" { "GpxTrack" } else { kind };
    let query =
        format!("mutation($input: {kind}Input!) {{ row: create{name}(input: $input) {{ id }} }}");
    let row = ask(device, &query, json!({ "input": input })).await;
    Uuid::try_parse(row["row"]["id"].as_str().expect("an id")).expect("a UUID")
}

/// Calls `updateTrip` and its like, and gives the whole answer.
async fn try_change(device: &Device<'_>, kind: &str, id: Uuid, input: Json, shown: &str) -> Json {
    let name = if kind == "GPXTrack" { "GpxTrack" } else { kind };
    let id_type =
        if ["Trip", "GPXTrack", "BucketListItem"].contains(&kind) { "ID" } else { "String" };
    let input_type = if kind == "BucketListItem" {
        "BucketListItemInput".into()
    } else {
        format!("Update{kind}Input")
    };
    let query = format!(
        "mutation($id: {id_type}!, $input: {input_type}!) {{
            row: update{name}(id: $id, input: $input) {{ id {shown} }} }}"
    );
    device.ask(&query, json!({ "id": id, "input": input })).await
}

async fn change(device: &Device<'_>, kind: &str, id: Uuid, input: Json, shown: &str) -> Json {
    let answer = try_change(device, kind, id, input, shown).await;
    assert!(answer["errors"].is_null(), "{answer}");
    answer["data"]["row"].clone()
}

async fn try_remove(device: &Device<'_>, kind: &str, id: Uuid) -> Json {
    let name = if kind == "GPXTrack" { "GpxTrack" } else { kind };
    let id_type =
        if ["Trip", "GPXTrack", "BucketListItem"].contains(&kind) { "ID" } else { "String" };
    let query = format!("mutation($id: {id_type}!) {{ gone: delete{name}(id: $id) }}");
    device.ask(&query, json!({ "id": id })).await
}

async fn remove(device: &Device<'_>, kind: &str, id: Uuid) {
    assert_eq!(try_remove(device, kind, id).await, json!({ "data": { "gone": true } }));
}

async fn conflicts(device: &Device<'_>) -> Vec<Json> {
    let query =
        "{ getConflicts { entityId conflictType status conflictedFields localData remoteData
        localVersion currentVersion resolution { strategy resolvedData resolvedBy } } }";
    ask(device, query, json!({})).await["getConflicts"].as_array().expect("a list").clone()
}

/// One creation of each kind.
fn creations(trip: Uuid, memory: Uuid, category: Uuid) -> [(&'static str, Json); 7] {
    [
        ("TagCategory", json!({ "name": "Places", "color": "#336699" })),
        ("Tag", json!({ "name": "Hut", "categoryId": category })),
        ("BucketListItem", json!({ "name": "Säntis", "country": "CH" })),
        ("Trip", json!({ "name": "Alps", "startDate": "2026-07-01T00:00:00Z" })),
        ("Memory", json!({ "title": "Hut", "tripId": trip, "content": null })),
        (
            "MediaItem",
            json!({ "memoryId": memory, "objectName": "a.jpg", "mediaType": "image/jpeg",
                              "timestamp": "2026-07-01T00:00:00Z", "order": 1, "filesize": 5 }),
        ),
        ("GPXTrack", json!({ "name": "Way", "tripId": trip })),
    ]
}

fn is_told_by_name(kind: &str) -> bool {
    ["TagCategory", "Tag", "BucketListItem"].contains(&kind)
}

both! {
    async fn quirks_a_creation_that_is_sent_again_makes_one_row(app: &App) {
        let phone = app.device_of("ada").await;
        let [trip, category] = [phone.trip("A trip").await, made(&phone, "TagCategory", &json!({ "name": "x" })).await];
        let memory = phone.memory(trip, "A memory").await;
        for (kind, input) in creations(trip, memory, category) {
            let first = made(&phone, kind, &input).await;
            assert_eq!(made(&phone, kind, &input).await, first, "{kind}: sent again");
            // After another login, too: a lost answer may be a lost session.
            let login = "mutation($input: UserInput!) { login(input: $input) { token } }";
            let person = json!({ "email": "ada@example.org", "password": "correct horse" });
            let token = ask(&phone, login, json!({ "input": person })).await["login"]["token"].clone();
            let later = Device::new(app, "ada", token.as_str().expect("a token").to_owned());
            assert_eq!(made(&later, kind, &input).await, first, "{kind}: after another login");
            let rows = phone.fresh_rows().await;
            let count = rows.keys().filter(|(of, _)| of == kind).count();
            let others = usize::from(["TagCategory", "Trip", "Memory"].contains(&kind));
            assert_eq!(count, 1 + others, "{kind}");
            assert_eq!(rows[&(kind.to_owned(), first.to_string())]["syncVersion"], 1);

            // Edited since: it is not made anew, and the edit stays.
            let label = if kind == "Memory" { "title" } else { "name" };
            if kind != "MediaItem" && !is_told_by_name(kind) {
                change(&phone, kind, first, json!({ label: "Edited" }), "").await;
                assert_eq!(made(&phone, kind, &input).await, first, "{kind}: after an edit");
                let rows = phone.fresh_rows().await;
                assert_eq!(rows[&(kind.to_owned(), first.to_string())][label], "Edited");
            }

            // A day later people mean another one, but where names tell.
            app.age(DAY + Duration::from_secs(1)).await;
            let next = made(&phone, kind, &input).await;
            assert_eq!(next == first, is_told_by_name(kind), "{kind}: a day later");
            assert_eq!(made(&phone, kind, &input).await, next, "{kind}: that one sent again");
            // What was deleted does not come back; it is another one.
            remove(&phone, kind, next).await;
            let new = made(&phone, kind, &input).await;
            assert!(new != next && new != first, "{kind}: after deletion");
            let other = {
                let mut other = input.clone();
                other[if kind == "MediaItem" { "objectName" } else { label }] = json!("Another");
                made(&phone, kind, &other).await
            };
            assert!(other != new, "{kind}: another one");
        }
    }

    async fn quirks_a_creation_that_is_sent_several_times_at_once_makes_one_row(app: &App) {
        let phone = app.device_of("ada").await;
        let trip = phone.trip("A trip").await;
        let memory = phone.memory(trip, "A memory").await;
        let category = made(&phone, "TagCategory", &json!({ "name": "x" })).await;
        for (kind, input) in creations(trip, memory, category) {
            let at_once = (0..6).map(|_| made(&phone, kind, &input));
            let ids: BTreeSet<Uuid> = futures_util::future::join_all(at_once).await.into_iter().collect();
            assert_eq!(ids.len(), 1, "{kind}");
        }
        let points = json!({ "trip": trip, "points": [
            { "latitude": 1, "longitude": 2, "timestamp": "2026-07-01T00:00:00Z" },
            { "latitude": 1, "longitude": 2, "timestamp": "2026-07-01T00:00:01Z" },
            { "latitude": 1, "longitude": 2, "timestamp": "2026-07-01T00:00:01Z" },
        ] });
        let query = "mutation($points: [RoutePointInput!]!, $trip: ID!) {
            createRoutePoints(points: $points, tripId: $trip) { id } }";
        futures_util::future::join_all((0..4).map(|_| ask(&phone, query, points.clone()))).await;
        let way = ask(&phone, "query($trip: ID!) { routePoints(tripId: $trip) { id } }", json!({ "trip": trip })).await;
        assert_eq!(way["routePoints"].as_array().map(Vec::len), Some(2));
        assert_eq!(phone.fresh_rows().await.len(), 10);
    }

    async fn quirks_names_tell_tags_categories_and_bucket_items(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let synced = ada.tag("Mountain Hut").await;
        for name in ["Mountain Hut", "mountain hut", "  MOUNTAIN HUT ", "mountain Hut\u{a0}"] {
            assert_eq!(made(&ada, "Tag", &json!({ "name": name, "color": "#ff0000" })).await, synced, "{name:?}");
        }
        let rows = ada.fresh_rows().await;
        let tag = &rows[&("Tag".to_owned(), synced.to_string())];
        assert_eq!((&tag["name"], &tag["color"], &tag["syncVersion"]), (&json!("Mountain Hut"), &Json::Null, &json!(1)));
        assert!(made(&bob, "Tag", &json!({ "name": "mountain hut" })).await != synced, "another's is another");
        assert!(made(&ada, "Tag", &json!({ "name": "mountain  hut" })).await != synced, "a space within is one");
        let bob_rows = bob.fresh_rows().await;
        assert_eq!(bob_rows.len(), 1);
        // A category of a tag's name is no tag.
        let category = made(&ada, "TagCategory", &json!({ "name": "MOUNTAIN HUT", "emoji": "🏔" })).await;
        assert_eq!(made(&ada, "TagCategory", &json!({ "name": "mountain hut" })).await, category);

        // A bucket item's edit arrives as another creation.
        let first = json!({ "name": "Säntis", "country": "CH", "latitude1": 47.2, "longitude1": 9.3 });
        let item = made(&ada, "BucketListItem", &first).await;
        let edit = json!({ "name": "SÄNTIS", "country": null, "region": "Appenzell", "isDone": true });
        assert_eq!(made(&ada, "BucketListItem", &edit).await, item);
        let query = "{ bucketListItems { id name country region latitude1 isDone syncVersion } }";
        let items = ask(&ada, query, json!({})).await["bucketListItems"].clone();
        assert_eq!(items, json!([{ "id": item, "name": "SÄNTIS", "country": "CH", "region": "Appenzell",
            "latitude1": 47.2, "isDone": true, "syncVersion": 2 }]));
        // The same edit again is no new version; the first creation, sent again late, edits it back.
        assert_eq!(made(&ada, "BucketListItem", &edit).await, item);
        let items = ask(&ada, query, json!({})).await["bucketListItems"].clone();
        assert_eq!(items[0]["syncVersion"], 2);
        // A bad edit is an error, and changes nothing.
        let bad = json!({ "input": { "name": "Säntis", "latitude1": 99 } });
        let answer = ada.ask("mutation($input: BucketListItemInput!) { createBucketListItem(input: $input) { id } }", bad).await;
        assert_eq!(code(&answer), "BAD_USER_INPUT");
        assert_eq!(ask(&ada, query, json!({})).await["bucketListItems"], items);
    }

    async fn quirks_deletions_are_true_however_often_and_whatever_is_not_there(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let category = made(&ada, "TagCategory", &json!({ "name": "x" })).await;
        for (kind, input) in creations(trip, memory, category) {
            let id = made(&ada, kind, &input).await;
            assert_eq!(try_remove(&bob, kind, id).await, json!({ "data": { "gone": true } }), "a stranger learns nothing");
            assert!(ada.fresh_rows().await.contains_key(&(kind.to_owned(), id.to_string())), "{kind} is still there");
            let at_once = (0..3).map(|_| remove(&ada, kind, id));
            futures_util::future::join_all(at_once).await;
            remove(&ada, kind, id).await;
            remove(&ada, kind, Uuid::new_v4()).await;
            assert!(!ada.fresh_rows().await.contains_key(&(kind.to_owned(), id.to_string())));
            let answer = ada.ask(&format!("mutation {{ delete{}(id: \"x\") }}", kind.replace("GPX", "Gpx")), json!({})).await;
            assert_eq!(code(&answer), "BAD_USER_INPUT");
        }
        ada.share(trip, &bob, "VIEWER").await;
        assert_eq!(code(&try_remove(&bob, "Memory", memory).await), "FORBIDDEN");
    }

    async fn quirks_the_aliases_hold_both_ways(app: &App) {
        let mut phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        // Written in bulk, read by the older API.
        let memory = Uuid::new_v4();
        phone.push_one(create("Memory", memory, json!({ "tripId": trip, "title": "Hut", "content": "Snow",
            "date": "2026-02-03T04:05:06.007Z", "address": "Pass", "latitude": 47.5, "longitude": 9.5 }))).await;
        let read = "query($id: String!) { memory(id: $id) {
            text content timestamp date locationName address location { name latitude longitude } } }";
        let shown = ask(&phone, read, json!({ "id": memory })).await["memory"].clone();
        assert_eq!(shown, json!({ "text": "Snow", "content": "Snow", "timestamp": "2026-02-03T04:05:06.007Z",
            "date": "2026-02-03T04:05:06.007Z", "locationName": "Pass", "address": "Pass",
            "location": { "name": "Pass", "latitude": 47.5, "longitude": 9.5 } }));
        let media = Uuid::new_v4();
        phone.push_one(create("MediaItem", media, json!({ "memoryId": memory, "objectName": "a/b.jpg",
            "thumbnailObjectName": "a/s.jpg", "mimeType": "image/jpeg", "fileSize": 7, "duration": 1.5 }))).await;
        let read_media = "query($id: String!) { memory(id: $id) { mediaItems {
            s3Key filename thumbnailS3Key fileSize duration } } }";
        let shown = ask(&phone, read_media, json!({ "id": memory })).await;
        assert_eq!(shown["memory"]["mediaItems"][0], json!({ "s3Key": "a/b.jpg", "filename": "a/b.jpg",
            "thumbnailS3Key": "a/s.jpg", "fileSize": 7, "duration": 1.5 }));
        let category = Uuid::new_v4();
        phone.push_one(create("TagCategory", category, json!({ "name": "Places", "emoji": "🏔" }))).await;

        // Written by the older API, read in bulk. A place by `location`, or by its own fields.
        let input = json!({ "content": "Sun", "date": "2026-03-01T00:00:00+01:00",
            "location": { "latitude": 46.0, "longitude": 8.0, "name": "Valley" } });
        change(&phone, "Memory", memory, input, "").await;
        change(&phone, "TagCategory", category, json!({ "icon": "🏠" }), "").await;
        change(&phone, "MediaItem", media, json!({ "objectName": "c.jpg", "filesize": 9, "duration": 3 }), "").await;
        phone.pull().await;
        for (field, value) in [("content", json!("Sun")), ("date", json!("2026-02-28T23:00:00.000Z")),
                               ("address", json!("Valley")), ("latitude", json!(46.0))] {
            assert_eq!(phone.field("Memory", memory, field), value, "{field}");
        }
        assert_eq!(phone.field("TagCategory", category, "emoji"), "🏠");
        assert_eq!(phone.field("MediaItem", media, "objectName"), "c.jpg");
        assert_eq!(phone.field("MediaItem", media, "fileSize"), 9);
        assert_eq!(phone.field("MediaItem", media, "duration"), 3.0);
        // Where both are given, the fields of the place itself win.
        let input = json!({ "address": "Here", "location": { "latitude": 1.0, "longitude": 2.0, "name": "There" } });
        let shown = change(&phone, "Memory", memory, input, "address latitude").await;
        assert_eq!((&shown["address"], &shown["latitude"]), (&json!("Here"), &json!(1.0)));
    }

    async fn quirks_what_an_older_edit_overwrites_is_on_record(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let mut bob = app.device_of("bob").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        phone.share(trip, &bob, "EDITOR").await;
        let edit = update("Memory", memory, 1, json!({ "title": "Refuge", "content": "Snow" }));
        assert_eq!(tablet.push_one(edit).await, "ok 2");
        let shown = change(&phone, "Memory", memory, json!({ "title": "Lodge" }), "title content syncVersion syncStatus").await;
        assert_eq!(shown, json!({ "id": memory, "title": "Lodge", "content": "Snow", "syncVersion": 3, "syncStatus": "IN_SYNC" }));
        let found = conflicts(&phone).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let conflict = &found[0];
        assert_eq!((&conflict["entityId"], &conflict["conflictType"]), (&json!(memory), &json!("VERSION_MISMATCH")));
        assert_eq!((&conflict["status"], &conflict["resolution"]["strategy"]), (&json!("RESOLVED"), &json!("LAST_WRITE_WINS")));
        assert_eq!(conflict["conflictedFields"], json!(["title"]));
        let data = |name: &str| -> Json { serde_json::from_str(conflict[name].as_str().expect("JSON")).expect("JSON") };
        assert_eq!((&data("localData")["title"], &data("remoteData")["title"]), (&json!("Refuge"), &json!("Lodge")));
        assert_eq!(conflict["currentVersion"], 3);
        assert_eq!(conflicts(&bob).await.len(), 1, "every editor may look it up");

        // One's own words, and equal ones, overwrite nothing.
        change(&phone, "Memory", memory, json!({ "title": "Chalet" }), "").await;
        change(&phone, "Memory", memory, json!({ "title": "Chalet", "content": "Snow" }), "").await;
        assert_eq!(conflicts(&phone).await.len(), 1);
        // Another member's words do.
        change(&bob, "Memory", memory, json!({ "title": "Bob's" }), "").await;
        assert_eq!(conflicts(&phone).await.len(), 2);

        // The bulk device gets it, and its own stale edit of that field collides as always.
        phone.pull().await;
        bob.pull().await;
        assert_eq!(phone.field("Memory", memory, "title"), "Bob's");
        assert_eq!(phone.field("Memory", memory, "syncVersion"), 5);
        let stale = update("Memory", memory, 2, json!({ "title": "Late" }));
        assert_eq!(tablet.push_one(stale).await, "conflict OPEN VERSION_MISMATCH");
        let other = update("Memory", memory, 2, json!({ "address": "Pass" }));
        assert_eq!(bob.push_one(other).await, "conflict RESOLVED VERSION_MISMATCH FIELD_MERGE");
        let shown = ask(&phone, "query($id: String!) { memory(id: $id) { title address syncStatus isDirty } }", json!({ "id": memory })).await;
        assert_eq!(shown["memory"], json!({ "title": "Bob's", "address": "Pass", "syncStatus": "CONFLICT", "isDirty": true }));
        // An older edit of a row in conflict goes through, and the conflict stays for someone to decide.
        let shown = change(&phone, "Memory", memory, json!({ "content": "Rain" }), "content").await;
        assert_eq!(shown["content"], "Rain");
        let open = conflicts(&phone).await.iter().filter(|conflict| conflict["status"] == "OPEN").count();
        assert_eq!(open, 1);
    }

    async fn quirks_both_apis_see_each_others_rows(app: &App) {
        let mut phone = app.device_of("ada").await;
        let mut older = Older::of(&phone);
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        let category = made(&phone, "TagCategory", &json!({ "name": "x" })).await;
        phone.pull().await;
        for (kind, input) in creations(trip, memory, category) {
            let id = made(&phone, kind, &input).await;
            phone.pull().await;
            assert_eq!(phone.field(kind, id, "syncVersion"), 1, "{kind}");
            let key = (kind.to_owned(), id.to_string());
            assert_eq!(phone.rows[&key], phone.fresh_rows().await[&key]);
            let priority = update(kind, id, 1, json!({ "syncPriority": "HIGH" }));
            assert_eq!(phone.push_one(priority).await, "ok 2", "{kind}");
            older.sync().await;
            assert_eq!(older.rows[&key]["syncPriority"], "HIGH", "{kind}");
            remove(&phone, kind, id).await;
            phone.pull().await;
            assert!(phone.row(kind, id).is_none(), "{kind}");
            // What one API deleted the other finds deleted.
            let edit = update(kind, id, 2, json!({ "syncPriority": "LOW" }));
            assert_eq!(phone.push_one(edit).await, "conflict OPEN DELETION_CONFLICT");
            let new = Uuid::new_v4();
            let mut fields = input.clone();
            if kind == "MediaItem" {
                fields = json!({ "memoryId": memory, "objectName": "b.jpg", "mimeType": "image/jpeg", "fileSize": 5 });
            }
            assert_eq!(phone.push_one(create(kind, new, fields)).await, "ok 1", "{kind}");
            remove(&phone, kind, new).await;
        }
        older.sync().await;
        phone.pull().await;
        assert_eq!(older.rows, phone.rows);
        assert_eq!(older.rows, phone.fresh_rows().await);
    }

    async fn quirks_null_clears_what_can_be_empty_and_else_says_nothing(app: &App) {
        let phone = app.device_of("ada").await;
        let category = made(&phone, "TagCategory", &json!({ "name": "Places", "emoji": "🏔" })).await;
        let tag = made(&phone, "Tag", &json!({ "name": "Hut", "color": "#ff0000", "categoryId": category })).await;
        let trip = made(&phone, "Trip", &json!({ "name": "Alps", "startDate": "2026-07-01T00:00:00Z",
            "endDate": "2026-07-02T00:00:00Z", "tripDescription": "x", "isActive": null, "totalDistance": null })).await;
        let memory = made(&phone, "Memory", &json!({ "title": "Hut", "content": "Snow", "address": "Pass",
            "latitude": 47.0, "longitude": 9.0, "tripId": trip, "tagIds": [tag], "date": "2026-07-01T00:00:00Z" })).await;

        let nothing = json!({ "name": null, "startDate": null, "isActive": null, "totalDistance": null, "gpsTrackingEnabled": null });
        let shown = change(&phone, "Trip", trip, nothing, "name startDate endDate isActive gpsTrackingEnabled syncVersion").await;
        assert_eq!(shown, json!({ "id": trip, "name": "Alps", "startDate": "2026-07-01T00:00:00.000Z",
            "endDate": "2026-07-02T00:00:00.000Z", "isActive": false, "gpsTrackingEnabled": true, "syncVersion": 1 }));
        let shown = change(&phone, "Trip", trip, json!({ "endDate": null, "tripDescription": null }), "endDate tripDescription").await;
        assert_eq!(shown, json!({ "id": trip, "endDate": null, "tripDescription": null }));

        let nothing = json!({ "title": null, "date": null, "tagIds": null, "location": null });
        let shown = change(&phone, "Memory", memory, nothing, "title date tags { id } location { name } syncVersion").await;
        assert_eq!(shown, json!({ "id": memory, "title": "Hut", "date": "2026-07-01T00:00:00.000Z",
            "tags": [{ "id": tag }], "location": { "name": "Pass" }, "syncVersion": 1 }));
        let half = try_change(&phone, "Memory", memory, json!({ "latitude": null }), "").await;
        assert_eq!(code(&half), "BAD_USER_INPUT", "half a place is none");
        let clear = json!({ "content": null, "address": null, "latitude": null, "longitude": null, "tagIds": [] });
        let shown = change(&phone, "Memory", memory, clear, "text latitude longitude location { name } tags { id }").await;
        assert_eq!(shown, json!({ "id": memory, "text": null, "latitude": 0.0, "longitude": 0.0, "location": null, "tags": [] }));
        let half = try_change(&phone, "Memory", memory, json!({ "longitude": 9 }), "").await;
        assert_eq!(code(&half), "BAD_USER_INPUT");

        // A variable that was not given is no null.
        let query = "mutation($id: String!, $name: String, $color: String, $category: ID) {
            updateTag(id: $id, input: { name: $name, color: $color, categoryId: $category }) { name color categoryId } }";
        let shown = ask(&phone, query, json!({ "id": tag, "color": "#00ff00" })).await;
        assert_eq!(shown["updateTag"], json!({ "name": "Hut", "color": "#00ff00", "categoryId": category }));
        let shown = ask(&phone, query, json!({ "id": tag, "name": null, "category": null })).await;
        assert_eq!(shown["updateTag"], json!({ "name": "Hut", "color": "#00ff00", "categoryId": null }));
        // What is not there is null where the type can say so, and an error elsewhere.
        let missing = json!({ "id": Uuid::new_v4(), "name": "x" });
        assert_eq!(ask(&phone, query, missing).await["updateTag"], Json::Null);
        assert_eq!(code(&try_change(&phone, "Trip", Uuid::new_v4(), json!({ "name": "x" }), "").await), "NOT_FOUND");
        remove(&phone, "Memory", memory).await;
        let gone = try_change(&phone, "Memory", memory, json!({ "title": "x" }), "").await;
        assert_eq!(code(&gone), "NOT_FOUND");
    }

    async fn quirks_an_older_sync_after_a_long_time_tells_every_deletion(app: &App) {
        let mut ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let eve = app.device_of("eve").await;
        let [trip, doomed, away] = [ada.trip("Alps").await, ada.trip("Doomed").await, ada.trip("Away").await];
        let hut = ada.memory(trip, "Hut").await;
        let moved = ada.memory(trip, "Moved").await;
        let moved_then_gone = ada.memory(trip, "Moved, then gone").await;
        let disputed = ada.memory(trip, "Disputed").await;
        let lost = ada.memory(doomed, "Lost").await;
        let tag = ada.tag("Tag").await;
        let old = ada.memory(trip, "Gone long before").await;
        for (shared, with) in [(trip, &bob), (doomed, &bob), (trip, &eve), (doomed, &eve)] {
            ada.share(shared, with, "EDITOR").await;
        }
        remove(&ada, "Memory", old).await;
        let mut installations = [Older::of(&ada), Older::of(&bob), Older::of(&eve)];
        for older in &mut installations {
            older.sync().await;
            assert!(older.rows.len() >= 7);
        }
        let age = async |installations: &mut [Older<'_>], by| {
            app.age(by).await;
            installations.iter_mut().for_each(|older| older.age(by));
        };
        age(&mut installations, 100 * DAY).await;
        // Eve leaves one trip, and is taken back after a while.
        ada.unshare(trip, &eve).await;
        ada.unshare(doomed, &eve).await;
        remove(&ada, "Memory", hut).await;
        remove(&ada, "Tag", tag).await;
        for memory in [moved, moved_then_gone] {
            assert_eq!(ada.push_one(update("Memory", memory, 1, json!({ "tripId": away }))).await, "ok 2");
        }
        remove(&ada, "Memory", moved_then_gone).await;
        // Deleted, and someone edits it without having heard: that stays open, whatever the age.
        remove(&ada, "Memory", disputed).await;
        let late = update("Memory", disputed, 1, json!({ "content": "late" }));
        assert_eq!(bob.push_one(late).await, "conflict OPEN DELETION_CONFLICT");
        remove(&ada, "Trip", doomed).await;
        age(&mut installations, 100 * DAY).await;
        let removed = cairn::sync::gc::clean_up(app.db(), 90 * DAY).await.expect("it cleans up");
        assert!(removed.deletions > 5 && removed.tombstones >= 5, "{removed:?}");
        ada.share(trip, &eve, "VIEWER").await;
        let kept = ada.memory(trip, "Kept").await;
        ada.pull().await;
        for (older, device) in installations.iter_mut().zip([&ada, &bob, &eve]) {
            let told = older.sync().await;
            let shown = device.fresh_rows().await;
            let zombies: Vec<_> = older.rows.keys().filter(|key| !shown.contains_key(*key)).collect();
            assert!(zombies.is_empty(), "{} was never told of {zombies:?}", device.name);
            assert_eq!(older.rows, shown, "{}", device.name);
            assert!(older.rows.contains_key(&("Memory".to_owned(), kept.to_string())));
            assert!(told["deleted"]["memories"].as_array().is_some_and(|ids| !ids.contains(&json!(kept))));
            if device.name != "eve" {
                assert!(told["deleted"]["memories"].as_array().is_some_and(|ids| ids.contains(&json!(lost))));
            }
        }
        // Rows as old as what is remembered of them.
        for kind in cairn::kinds::all() {
            let by = (200 * DAY).as_millis();
            app.execute(&format!("UPDATE {} SET updated_at = updated_at - {by}", kind.table)).await;
        }
    }

    async fn quirks_search_finds_words_without_regard_to_case_and_diacritics(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let [trip, other] = [ada.trip("Alps").await, ada.trip("Coast").await];
        let tag = ada.tag("Sonnenuntergänge").await;
        let new = async |trip: Uuid, fields: Json| {
            let id = Uuid::new_v4();
            let mut all = json!({ "tripId": trip, "title": "x", "date": "2026-01-01T00:00:00Z" });
            all.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
            assert_eq!(ada.push_one(create("Memory", id, all)).await, "ok 1");
            id
        };
        let title = new(trip, json!({ "title": "Zürich am Morgen", "date": "2026-01-02T00:00:00Z" })).await;
        let text = new(trip, json!({ "content": "Première neige à L'ÎLE" })).await;
        let place = new(other, json!({ "address": "Straße nach Ålesund" })).await;
        let tagged = new(other, json!({ "tagIds": [tag], "content": "100% _sure_" })).await;
        let cyrillic = new(other, json!({ "title": "МОСКВА весной", "content": "Ελλάδα 日本語" })).await;
        let gone = new(trip, json!({ "title": "Zürich, deleted" })).await;
        remove(&ada, "Memory", gone).await;
        let search = async |device: &Device<'_>, words: &str, trip: Option<Uuid>| -> Vec<Uuid> {
            let query = "query($query: String!, $trip: ID) { searchMemories(query: $query, tripId: $trip) { id } }";
            let found = ask(device, query, json!({ "query": words, "trip": trip })).await;
            let found = found["searchMemories"].as_array().expect("a list").clone();
            found.iter().map(|row| Uuid::try_parse(row["id"].as_str().expect("an id")).expect("a UUID")).collect()
        };
        for (words, found) in [
            ("zurich", vec![title]),
            ("ZÜRICH", vec![title]),
            ("zu\u{308}rich", vec![title]),
            ("morgen ZUR", vec![title]),
            ("zurich abend", vec![]),
            ("premiere l'ile", vec![text]),
            ("alesund strasse", vec![place]),
            ("sonnenuntergange", vec![tagged]),
            ("sonnen sure", vec![tagged]),
            ("100%", vec![tagged]),
            ("_sure_", vec![tagged]),
            ("%", vec![tagged]),
            ("москва", vec![cyrillic]),
            ("ελλαδα", vec![cyrillic]),
            ("日本", vec![cyrillic]),
            ("", vec![]),
            ("   ", vec![]),
            ("x", vec![text, place, tagged]),
        ] {
            let (mut got, mut found) = (search(&ada, words, None).await, found);
            got.sort_unstable();
            found.sort_unstable();
            assert_eq!(got, found, "{words:?}");
        }
        assert_eq!(search(&ada, "zurich", Some(trip)).await, [title]);
        assert!(search(&ada, "zurich", Some(other)).await.is_empty());
        assert!(search(&ada, "zurich", Some(Uuid::new_v4())).await.is_empty());
        assert!(search(&bob, "zurich", None).await.is_empty() && search(&bob, "zurich", Some(trip)).await.is_empty());
        ada.share(other, &bob, "VIEWER").await;
        assert_eq!(search(&bob, "sonnenuntergange", None).await, [tagged], "by another member's tag");
        assert!(search(&bob, "zurich", None).await.is_empty());
        // As a tag is called now, and no more when it is gone.
        change(&ada, "Tag", tag, json!({ "name": "Abendrot" }), "").await;
        assert_eq!(search(&bob, "ABENDROT", None).await, [tagged]);
        remove(&ada, "Tag", tag).await;
        assert!(search(&ada, "abendrot", None).await.is_empty());
        let long = json!({ "query": "x".repeat(5000) });
        assert_eq!(code(&ada.ask("query($query: String!) { searchMemories(query: $query) { id } }", long).await), "LIMIT");
    }
}
