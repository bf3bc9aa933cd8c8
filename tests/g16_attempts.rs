//! G16: what someone might try who wants others' rows, files or addresses, or wants to know what is
//! there.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Device, create, delete, update};

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
}

fn photo(memory: Uuid, object: &str) -> Json {
    json!({ "memoryId": memory, "objectName": object, "mimeType": "image/jpeg", "fileSize": 5 })
}

async fn head(app: &App, scope: Uuid) -> i64 {
    use sea_orm::EntityTrait;
    let scopes = entity::scope::Entity::find().all(app.db().pool()).await.expect("scopes");
    scopes.into_iter().find(|found| found.id == scope).expect("there is such a scope").head
}

/// GETs a URL: status and body.
async fn get(app: &App, url: &str) -> (u16, String) {
    let response = app.client.get(url).send().await.expect("the server answers");
    (response.status().as_u16(), response.text().await.expect("text"))
}

/// PUTs a picture: status and body.
async fn put(app: &App, url: &str) -> (u16, String) {
    let request = app.client.put(url).header("content-type", "image/jpeg").body("other");
    let response = request.send().await.expect("the server answers");
    (response.status().as_u16(), response.text().await.expect("text"))
}

async fn downloads(device: &Device<'_>, media: Uuid) -> Vec<Json> {
    let query = "query($id: ID!) { generateBatchDownloadUrls(mediaItemIds: [$id]) {
        downloadUrls { objectName downloadUrl } } }";
    let answer = device.ask(query, json!({ "id": media })).await;
    let urls = &answer["data"]["generateBatchDownloadUrls"]["downloadUrls"];
    urls.as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

both! {
    // ── Ids ──────────────────────────────────────────────────────────────────────────────────

    async fn g16_a_deleted_tag_of_a_stranger_is_like_one_that_never_was(app: &App) {
        let ada = app.device_of("ada").await;
        let eve = app.device_of("eve").await;
        let tag = ada.tag("Hut").await;
        ada.push_one(delete("Tag", tag, 1)).await;
        let trip = eve.trip("Coast").await;
        let memory = eve.memory(trip, "Beach").await;
        for id in [tag, Uuid::new_v4()] {
            let tags = json!({ "tagIds": [id] });
            assert_eq!(eve.push_one(update("Memory", memory, 1, tags.clone())).await, "failed NOT_FOUND");
            let fields = json!({ "tripId": trip, "title": "x", "tagIds": [id] });
            assert_eq!(eve.push_one(create("Memory", Uuid::new_v4(), fields)).await, "failed NOT_FOUND");
        }
    }

    async fn g16_a_member_may_still_send_a_tag_that_its_owner_has_deleted(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let tag = ada.tag("Hut").await;
        let trip = ada.trip("Alps").await;
        let memory = Uuid::new_v4();
        let fields = json!({ "tripId": trip, "title": "x", "tagIds": [tag] });
        ada.push_one(create("Memory", memory, fields)).await;
        ada.share(trip, &bob, "EDITOR").await;
        let own = bob.tag("Own").await;
        ada.push_one(delete("Tag", tag, 1)).await;
        let tags = json!({ "tagIds": [tag, own] });
        assert_eq!(bob.push_one(update("Memory", memory, 1, tags)).await, "ok 2");
    }

    async fn g16_an_id_that_waits_in_anothers_conflict_cannot_be_taken(app: &App) {
        let [ada, tablet] = app.two_devices_of("ada").await;
        let eve = app.device_of("eve").await;
        let vic = app.device_of("vic").await;
        let trip = ada.trip("Alps").await;
        ada.share(trip, &vic, "VIEWER").await;
        ada.push_one(delete("Trip", trip, 1)).await;
        let memory = Uuid::new_v4();
        let offline = create("Memory", memory, json!({ "tripId": trip, "title": "secret" }));
        assert_eq!(tablet.push_one(offline).await, "conflict OPEN DEPENDENCY_CONFLICT");
        let conflicts = "{ getConflicts { id entityId localData remoteData currentVersion status } }";
        let before = ada.ask(conflicts, json!({})).await;
        for thief in [&eve, &vic] {
            let [own, gone] = [thief.trip("Coast").await, thief.trip("Gone").await];
            thief.push_one(delete("Trip", gone, 1)).await;
            for trip in [own, gone] {
                let grab = create("Memory", memory, json!({ "tripId": trip, "title": "mine now" }));
                assert_eq!(thief.push_one(grab).await, "failed VALIDATION");
            }
            let edit = update("Memory", memory, 1, json!({ "title": "mine now" }));
            assert_eq!(thief.push_one(edit).await, "failed NOT_FOUND");
            assert_eq!(thief.push_one(delete("Memory", memory, 1)).await, "ok 1");
            let seen = thief.ask(conflicts, json!({})).await;
            assert_eq!(seen["data"]["getConflicts"], json!([]));
        }
        assert_eq!(ada.ask(conflicts, json!({})).await, before);
    }

    async fn g16_a_row_of_another_kind_with_anothers_id_moves_nothing_of_theirs(app: &App) {
        let mut ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let eve = app.device_of("eve").await;
        let tag = ada.tag("Hut").await;
        let trip = ada.trip("Alps").await;
        ada.share(trip, &bob, "EDITOR").await;
        let memory = Uuid::new_v4();
        let fields = json!({ "tripId": trip, "title": "x", "tagIds": [tag] });
        ada.push_one(create("Memory", memory, fields)).await;
        let item = Uuid::new_v4();
        ada.push_one(create("BucketListItem", item, json!({ "name": "Eiger" }))).await;
        let complete = "mutation($id: ID!, $memory: ID!) {
            completeBucketListItem(id: $id, memoryId: $memory) { memories { id } } }";
        ada.ask(complete, json!({ "id": item, "memory": memory })).await;
        let account = ada.account().await;
        let heads = [head(app, trip).await, head(app, account).await];
        let usage = "{ tags { usageCount } bucketListItems { memories { id } } memories { tags { id } } }";
        let before = ada.ask(usage, json!({})).await;
        ada.pull().await;

        // Kinds do not share ids, so these are rows of Eve's, who has seen Ada's ids somewhere.
        let own = eve.trip("Coast").await;
        let beach = eve.memory(own, "Beach").await;
        for (kind, id) in [("Tag", memory), ("Memory", tag), ("BucketListItem", memory), ("Memory", item)] {
            let (made, edit) = match kind {
                "Memory" => (json!({ "tripId": own, "title": "y" }), json!({ "title": "z" })),
                _ => (json!({ "name": "y" }), json!({ "name": "z" })),
            };
            assert_eq!(eve.push_one(create(kind, id, made)).await, "ok 1");
            assert_eq!(eve.push_one(update(kind, id, 1, edit)).await, "ok 2");
        }
        let sea = eve.tag("Sea").await;
        for id in [tag, item] {
            let tags = update("Memory", id, 2, json!({ "tagIds": [sea] }));
            assert_eq!(eve.push_one(tags).await, "ok 3");
        }
        let answer = eve.ask(complete, json!({ "id": memory, "memory": beach })).await;
        assert_eq!(code(&answer), "none", "{answer}");
        for (kind, id) in [("Tag", memory), ("Memory", tag), ("BucketListItem", memory), ("Memory", item)] {
            let version = if kind == "Tag" { 2 } else { 3 };
            let gone = eve.push_one(delete(kind, id, version)).await;
            assert!(gone.starts_with("ok"), "{gone}");
        }
        assert_eq!([head(app, trip).await, head(app, account).await], heads);
        assert_eq!(ada.ask(usage, json!({})).await, before);
        assert_eq!(ada.pull().await, 0);
    }

    async fn g16_anothers_device_is_no_way_round_a_conflict(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        ada.share(trip, &bob, "EDITOR").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "Ada's" }))).await;
        let (list, item) = update("Memory", memory, 1, json!({ "title": "Bob's" }));
        let pushed = bob.push_with(json!({ list: [item] }), json!({ "deviceId": ada.id })).await;
        assert_eq!(pushed.verdict(), "conflict OPEN VERSION_MISMATCH");
        let devices = "{ devices { id } }";
        let [hers, his] = [ada.ask(devices, json!({})).await, bob.ask(devices, json!({})).await];
        assert_eq!(hers["data"]["devices"], json!([{ "id": ada.id }]));
        assert_eq!(his["data"]["devices"], json!([{ "id": ada.id }]), "what he said his is");
        // Nor is an operation of hers one of his.
        let memory = ada.memory(trip, "Peak").await;
        let (list, mut item) = update("Memory", memory, 1, json!({ "content": "a" }));
        ada.push(json!({ list: [item] })).await;
        item["content"] = json!("b");
        item["syncVersion"] = json!(2);
        let pushed = bob.push_with(json!({ list: [item] }), json!({ "deviceId": ada.id })).await;
        assert_eq!(pushed.verdict(), "ok 3");
    }

    // ── Cursors and conflicts ────────────────────────────────────────────────────────────────

    async fn g16_anothers_cursor_opens_nothing(app: &App) {
        let mut ada = app.device_of("ada").await;
        let eve = app.device_of("eve").await;
        let trip = ada.trip("secret").await;
        ada.pull().await;
        let cursor = ada.cursor.clone().expect("a cursor");
        let answer = eve.page(json!({ "cursor": cursor })).await;
        let own = eve.page(json!({ "cursor": "no cursor at all" })).await;
        assert!(["INVALID_CURSOR", "RESYNC_REQUIRED"].contains(&code(&answer)), "{answer}");
        assert_eq!(code(&own), "INVALID_CURSOR");
        assert!(answer["data"].is_null() || answer["data"]["enhancedSync"].is_null());
        assert!(!answer.to_string().contains("secret"));
        let (list, item) = delete("Trip", trip, 1);
        let answer = eve.try_push(json!({ list: [item] }), json!({ "cursor": cursor })).await;
        assert_eq!(code(&answer), code(&eve.page(json!({ "cursor": cursor })).await));
        assert_eq!(ada.fresh_rows().await.len(), 1);
        // A cursor is of an account, not of a login.
        let again = app.device_of("eve2").await;
        assert_ne!(code(&again.page(json!({ "cursor": cursor })).await), "none");
    }

    async fn g16_anothers_conflict_is_no_place_in_the_list(app: &App) {
        let conflict = async |device: &Device<'_>, other: &Device<'_>| {
            let trip = device.trip("Trip").await;
            let memory = device.memory(trip, "m").await;
            device.push_one(update("Memory", memory, 1, json!({ "title": "a" }))).await;
            let (list, item) = update("Memory", memory, 1, json!({ "title": "b" }));
            let pushed = other.push(json!({ list: [item] })).await;
            pushed.conflicts[0]["id"].as_str().expect("an id").to_owned()
        };
        let [eve, laptop] = app.two_devices_of("eve").await;
        let [ada, tablet] = app.two_devices_of("ada").await;
        conflict(&eve, &laptop).await;
        let foreign = conflict(&ada, &tablet).await;
        conflict(&eve, &laptop).await;
        let list = "query($after: ID!) { getConflicts(after: $after) { id } }";
        let answer = eve.ask(list, json!({ "after": foreign })).await;
        assert_eq!(answer, eve.ask(list, json!({ "after": Uuid::new_v4() })).await);
        let of_trip = "query($trip: ID!) { getConflicts(tripId: $trip) { id } }";
        let answer = eve.ask(of_trip, json!({ "trip": ada.account().await })).await;
        assert_eq!(answer["data"]["getConflicts"], json!([]));
    }

    // ── What hangs together ──────────────────────────────────────────────────────────────────

    async fn g16_a_members_tag_does_not_say_in_which_drawer_it_lies(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let [drawer, tag, memory] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        ada.push_one(create("TagCategory", drawer, json!({ "name": "drawer" }))).await;
        ada.push_one(create("Tag", tag, json!({ "name": "shown", "categoryId": drawer }))).await;
        let trip = ada.trip("Alps").await;
        let fields = json!({ "tripId": trip, "title": "m", "tagIds": [tag] });
        ada.push_one(create("Memory", memory, fields)).await;
        ada.share(trip, &bob, "EDITOR").await;
        let query = "query($id: String!) { memory(id: $id) { tags { name categoryId category { id } } } }";
        let answer = bob.ask(query, json!({ "id": memory })).await;
        let seen = json!([{ "name": "shown", "categoryId": null, "category": null }]);
        assert_eq!(answer["data"]["memory"]["tags"], seen, "a link to what he cannot see");
        let answer = ada.ask(query, json!({ "id": memory })).await;
        let hers = json!([{ "name": "shown", "categoryId": drawer, "category": { "id": drawer } }]);
        assert_eq!(answer["data"]["memory"]["tags"], hers);
    }

    async fn g16_a_bucket_list_item_reads_without_a_memory_that_was_lost(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let [shared, private] = [ada.trip("Alps").await, ada.trip("Private").await];
        ada.share(shared, &bob, "VIEWER").await;
        let item = Uuid::new_v4();
        bob.push_one(create("BucketListItem", item, json!({ "name": "Eiger" }))).await;
        let complete = "mutation($id: ID!, $memory: ID!) {
            completeBucketListItem(id: $id, memoryId: $memory) { memories { title } } }";
        let list = async || {
            let query = "{ bucketListItems { isDone memories { title } } }";
            let answer = bob.ask(query, json!({})).await;
            answer["data"]["bucketListItems"][0].clone()
        };
        let [moved, stays] = [ada.memory(shared, "Moved").await, ada.memory(shared, "Stays").await];
        for memory in [moved, stays] {
            bob.ask(complete, json!({ "id": item, "memory": memory })).await;
        }
        assert_eq!(list().await["memories"].as_array().expect("a list").len(), 2);
        ada.push_one(update("Memory", moved, 1, json!({ "tripId": private }))).await;
        assert_eq!(list().await["memories"], json!([{ "title": "Stays" }]));
        ada.unshare(shared, &bob).await;
        ada.push_one(update("Memory", stays, 1, json!({ "title": "secret" }))).await;
        assert_eq!(list().await, json!({ "isDone": true, "memories": [] }));
        ada.share(shared, &bob, "VIEWER").await;
        assert_eq!(list().await["memories"], json!([{ "title": "secret" }]));
    }

    async fn g16_members_know_each_other_by_name_and_address_and_no_more(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let eve = app.device_of("eve").await;
        let trip = ada.trip("Alps").await;
        ada.share(trip, &bob, "VIEWER").await;
        let query = "query($trip: ID!) { getTripMembers(tripId: $trip) { user {
            email username firstName lastName profileImageUrl displayName roles lastLoginAt } } }";
        let answer = bob.ask(query, json!({ "trip": trip })).await;
        let users: Vec<&Json> = answer["data"]["getTripMembers"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"))
            .iter()
            .map(|member| &member["user"])
            .collect();
        assert_eq!((&users[0]["email"], &users[1]["email"]), (&json!("ada@example.org"), &json!("bob@example.org")));
        assert_eq!(users[0]["lastLoginAt"], json!(null), "when she logs in is hers to know");
        assert_ne!(users[1]["lastLoginAt"], json!(null));
        // Whoever may not share learns from a refusal nothing of who has an account.
        let share = "mutation($trip: ID!, $email: String!) {
            shareTrip(tripId: $trip, email: $email, permission: READ) { id } }";
        for asker in [&bob, &eve] {
            let mut told = Vec::new();
            for email in ["eve@example.org", "ada@example.org", "nobody@example.org", "no address"] {
                told.push(asker.ask(share, json!({ "trip": trip, "email": email })).await);
            }
            assert!(told.iter().all(|answer| *answer == told[0]), "{told:?}");
        }
    }

    // ── Files ────────────────────────────────────────────────────────────────────────────────

    async fn g16_to_name_anothers_file_gives_none_of_its_bytes(app: &App) {
        let ada = app.device_of("ada").await;
        let eve = app.device_of("eve").await;
        let gpx = "<gpx version='1.1' creator='x'><trk><trkseg><trkpt lat='1' lon='2'/><trkpt lat='1.1' lon='2'/></trkseg></trk></gpx>";
        ada.upload("photos/private.jpg", "image/jpeg", "bytes").await;
        ada.upload("tracks/private.gpx", "application/gpx+xml", gpx).await;
        let hers = ada.trip("Alps").await;
        let memory = ada.memory(hers, "Hut").await;
        assert_eq!(ada.push_one(create("MediaItem", Uuid::new_v4(), photo(memory, "photos/private.jpg"))).await, "ok 1");
        let account = ada.account().await;

        // Everything that can be said of a file, with a name as it is in her space and one that
        // nobody has.
        let trip = eve.trip("Coast").await;
        let beach = eve.memory(trip, "Beach").await;
        let other = Uuid::new_v4().to_string();
        let attempts = async |picture: &str, track: &str| {
            let mut told = Vec::new();
            let mut ask = async |query: &str, name: &str| {
                let variables = json!({ "name": name, "trip": trip, "memory": beach });
                told.push(eve.ask(query, variables).await.to_string());
            };
            ask("query($name: String!) { getPresignedDownloadUrl(objectKey: $name) { downloadUrl } }", picture).await;
            ask("mutation($name: String!, $memory: String!) { createMediaItem(input: { memoryId: $memory, objectName: $name,
                thumbnailObjectName: $name, mediaType: \"image/jpeg\", timestamp: \"2026-01-01T00:00:00Z\", order: 0, filesize: 5 })
                { downloadUrl thumbnailUrl syncStatus syncErrorMessage } }", picture).await;
            ask("mutation($name: String!, $trip: ID!) { assignCoverImageToTrip(objectName: $name, tripId: $trip) { coverImageUrl syncStatus } }", picture).await;
            ask("mutation($name: String!, $trip: ID!) { createGpxTrack(input: { name: \"x\", tripId: $trip, gpxFileObjectName: $name })
                { downloadUrl totalPoints syncStatus syncErrorMessage segments { id } } }", track).await;
            ask("mutation($name: String!, $trip: ID!) { processGpxFile(objectName: $name, tripId: $trip, trackName: \"x\")
                { downloadUrl totalPoints syncStatus syncErrorMessage segments { id } } }", track).await;
            let [media, way] = [Uuid::new_v4(), Uuid::new_v4()];
            eve.push_one(create("MediaItem", media, photo(beach, picture))).await;
            eve.push_one(create("GPXTrack", way, json!({ "tripId": trip, "name": "x", "gpxFileObjectName": track }))).await;
            eve.push_one(update("Trip", trip, 1, json!({ "coverImageObjectName": picture }))).await;
            for (id, kind, name) in [(media, "MediaItem", picture), (way, "GPXTrack", track), (trip, "Trip", picture)] {
                let mark = "mutation($id: ID!, $kind: String!, $name: String!) {
                    markFileUploadComplete(entityId: $id, entityType: $kind, objectName: $name) }";
                told.push(eve.ask(mark, json!({ "id": id, "kind": kind, "name": name })).await.to_string());
            }
            let urls = "query($media: ID!, $track: ID!) { generateBatchDownloadUrls(mediaItemIds: [$media], gpxTrackIds: [$track]) { downloadUrls { downloadUrl } } }";
            told.push(eve.ask(urls, json!({ "media": media, "track": way })).await.to_string());
            let all = "query($name: String!) { getPresignedDownloadUrl(objectKey: $name) { downloadUrl } }";
            told.push(eve.ask(all, json!({ "name": picture })).await.to_string());
            told.iter().map(|text| text.replace(picture, "PICTURE").replace(track, "TRACK")).collect::<Vec<_>>()
        };
        let missing = attempts(&format!("photos/{other}.jpg"), &format!("tracks/{other}.gpx")).await;
        assert!(missing.iter().all(|text| !text.contains("http")), "{missing:?}");
        for prefix in [String::new(), format!("{account}/"), format!("files/{account}/"), format!("%2e%2e/{account}/")] {
            let [picture, track] = ["photos/private.jpg", "tracks/private.gpx"].map(|name| format!("{prefix}{name}"));
            assert_eq!(attempts(&picture, &track).await, missing, "{picture}");
        }
        // In a shared trip a name means a file of whoever says it, too: no editor can point another's
        // row at another file of theirs.
        let bob = app.device_of("bob").await;
        let shown = Uuid::new_v4();
        ada.upload("photos/shown.jpg", "image/jpeg", "bytes").await;
        ada.push_one(create("MediaItem", shown, photo(memory, "photos/shown.jpg"))).await;
        ada.share(hers, &bob, "EDITOR").await;
        ada.upload("photos/secret.jpg", "image/jpeg", "bytes").await;
        assert_eq!(downloads(&bob, shown).await.len(), 1);
        let edit = update("MediaItem", shown, 1, json!({ "objectName": "photos/secret.jpg" }));
        assert_eq!(bob.push_one(edit).await, "ok 2");
        assert_eq!(downloads(&bob, shown).await, [] as [Json; 0]);
        // And not by way of a conflict that is settled for both sides either.
        let kept = Uuid::new_v4();
        ada.push_one(create("MediaItem", kept, photo(memory, "photos/shown.jpg"))).await;
        ada.push_one(update("MediaItem", kept, 1, json!({ "objectName": "photos/private.jpg", "order": 3 }))).await;
        ada.push_one(update("MediaItem", kept, 2, json!({ "objectName": "photos/shown.jpg" }))).await;
        for strategy in ["KEEP_BOTH", "LAST_WRITE_WINS", "FIELD_MERGE", "MANUAL_RESOLUTION"] {
            let (list, item) = update("MediaItem", kept, 1, json!({ "objectName": "photos/secret.jpg", "order": 9 }));
            bob.push_with(json!({ list: [item] }), json!({ "strategy": strategy })).await;
        }
        let query = "{ enhancedSync { mediaItems { s3Key downloadUrl } } }";
        let answer = bob.ask(query, json!({})).await;
        for media in answer["data"]["enhancedSync"]["mediaItems"].as_array().expect("a list") {
            let secret = media["s3Key"] == "photos/secret.jpg";
            assert!(!secret || media["downloadUrl"].is_null(), "{media}");
        }
    }

    async fn g16_names_that_leave_a_folder_are_refused(app: &App) {
        let ada = app.device_of("ada").await;
        let eve = app.device_of("eve").await;
        let account = ada.account().await;
        ada.upload("a.jpg", "image/jpeg", "bytes").await;
        let trip = eve.trip("Coast").await;
        let beach = eve.memory(trip, "Beach").await;
        for name in [
            "../a.jpg", "/a.jpg", "x//a.jpg", "a.jpg/", "./a.jpg", "x/../a.jpg", "..\\a.jpg", "",
            &format!("../{account}/a.jpg"), &format!("x/../../{account}/a.jpg"), &format!("/{account}/a.jpg"),
        ] {
            for (query, id) in [
                ("query($name: String!) { getPresignedDownloadUrl(objectKey: $name) { downloadUrl } }", false),
                ("mutation($name: String!, $id: ID!) { generateBatchUploadUrls(uploadRequests: [{ entityId: $id,
                    entityType: \"MediaItem\", objectName: $name, mimeType: \"image/jpeg\" }]) { uploadUrls { uploadUrl } } }", true),
                ("mutation($name: String!, $id: ID!) { markFileUploadComplete(entityId: $id, entityType: \"MediaItem\", objectName: $name) }", true),
            ] {
                let variables = if id { json!({ "name": name, "id": Uuid::new_v4() }) } else { json!({ "name": name }) };
                let answer = eve.ask(query, variables).await;
                assert_eq!(code(&answer), "BAD_USER_INPUT", "{name:?}: {answer}");
            }
            // A row may say what it likes: it names nothing.
            let media = Uuid::new_v4();
            eve.push_one(create("MediaItem", media, photo(beach, name))).await;
            assert_eq!(downloads(&eve, media).await, [] as [Json; 0], "{name:?}");
        }
        // Escapes are letters of a name like any other, in the caller's own space.
        for name in ["%2e%2e/a.jpg", "%2e%2e%2fa.jpg", &format!("%2e%2e/{account}/a.jpg")] {
            let url = eve.upload_url(name, "image/jpeg").await;
            assert!(url.contains(&eve.account().await.to_string()), "{url}");
            assert_eq!(put(app, &url).await.0, 200);
        }
        let own = "{ getPresignedDownloadUrl(objectKey: \"a.jpg\") { downloadUrl } }";
        let url = ada.ask(own, json!({})).await["data"]["getPresignedDownloadUrl"]["downloadUrl"].clone();
        assert_eq!(get(app, url.as_str().expect("a URL")).await, (200, "bytes".into()));
        // What an app calls a file before it is uploaded is no path either.
        for filename in ["../../a.jpg", "/etc/passwd", &format!("../{account}/a.jpg"), "%2e%2e%2fa.jpg"] {
            let make = "mutation($name: String!) { createUploadUrl(filename: $name) { objectKey uploadUrl } }";
            let made = eve.ask(make, json!({ "name": filename })).await["data"]["createUploadUrl"].clone();
            let key = made["objectKey"].as_str().expect("a name");
            assert!(!key.contains("..") && key.matches('/').count() == 1, "{key}");
            assert!(made["uploadUrl"].as_str().expect("a URL").contains(&eve.account().await.to_string()));
        }
    }

    async fn g16_a_signature_is_for_one_account_one_name_and_one_deed(app: &App) {
        let ada = app.device_of("ada").await;
        let eve = app.device_of("eve").await;
        let [hers, own] = [ada.account().await.to_string(), eve.account().await.to_string()];
        ada.upload("a.jpg", "image/jpeg", "bytes").await;
        eve.upload("a.jpg", "image/jpeg", "eve's").await;
        let to_put = eve.upload_url("a.jpg", "image/jpeg").await;
        let ask = "{ getPresignedDownloadUrl(objectKey: \"a.jpg\") { downloadUrl } }";
        let answer = eve.ask(ask, json!({})).await;
        let to_get = answer["data"]["getPresignedDownloadUrl"]["downloadUrl"].as_str().expect("a URL").to_owned();
        assert_eq!(get(app, &to_get).await, (200, "eve's".into()));

        let missing = Uuid::new_v4().to_string();
        for url in [&to_get, &to_put] {
            let (path, query) = url.split_once('?').expect("a signature");
            let bare = url.replace(&own, &hers);
            // There or not, hers or nobody's: the same words.
            let refusals = [
                bare.clone(),
                url.replace(&own, &missing),
                url.replace("a.jpg", "b.jpg"),
                bare.replace("a.jpg", "b.jpg"),
                format!("{}/files/{hers}/a.jpg", app.url),
                format!("{}/files/{own}/../{hers}/a.jpg?{query}", app.url),
                format!("{}/files/{own}/%2e%2e/{hers}/a.jpg?{query}", app.url),
                format!("{}/files/{own}/..%2f{hers}%2fa.jpg?{query}", app.url),
                format!("{}/files//{own}/a.jpg?{query}", app.url),
                format!("{path}?{}", query.replace("expires=", "expires=9")),
                format!("{path}?expires=99999999999&{query}&expires=99999999999"),
            ];
            for refused in &refusals {
                for (status, text) in [get(app, refused).await, put(app, refused).await] {
                    assert!([400, 403, 404].contains(&status), "{refused}: {status} {text}");
                    assert!(!text.contains("bytes") && !text.contains("eve's"), "{text}");
                }
            }
            assert_eq!(get(app, &refusals[0]).await, get(app, &refusals[1]).await);
            assert_eq!(get(app, &refusals[0]).await, get(app, &refusals[3]).await);
            assert_eq!(put(app, &refusals[0]).await, put(app, &refusals[1]).await);
        }
        // To read is not to write, nor the other way round.
        assert_eq!(put(app, &to_get).await.0, 403);
        assert_eq!(get(app, &to_put).await.0, 403);
        let answer = ada.ask(ask, json!({})).await;
        let url = answer["data"]["getPresignedDownloadUrl"]["downloadUrl"].as_str().expect("a URL").to_owned();
        assert_eq!(get(app, &url).await, (200, "bytes".into()), "untouched");
    }

    async fn g16_a_url_that_was_handed_out_works_until_it_expires_and_no_new_one_follows(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let media = Uuid::new_v4();
        ada.upload("photos/a.jpg", "image/jpeg", "bytes").await;
        ada.push_one(create("MediaItem", media, photo(memory, "photos/a.jpg"))).await;
        ada.share(trip, &bob, "VIEWER").await;
        let urls = downloads(&bob, media).await;
        let url = urls[0]["downloadUrl"].as_str().expect("a URL");
        ada.unshare(trip, &bob).await;
        // It is a key that was handed over: whoever holds it may open, for as long as it says.
        assert_eq!(get(app, url).await, (200, "bytes".into()));
        assert_eq!(downloads(&bob, media).await, [] as [Json; 0]);
        let by_name = "{ getPresignedDownloadUrl(objectKey: \"photos/a.jpg\") { downloadUrl } }";
        assert_eq!(code(&bob.ask(by_name, json!({})).await), "NOT_FOUND");
        // Not even by saying that the name is theirs.
        let own = bob.trip("Coast").await;
        let beach = bob.memory(own, "Beach").await;
        let copy = Uuid::new_v4();
        bob.push_one(create("MediaItem", copy, photo(beach, "photos/a.jpg"))).await;
        assert_eq!(downloads(&bob, copy).await, [] as [Json; 0]);
    }

    async fn g16_strangers_who_use_the_same_name_hide_no_file(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let eve = app.device_of("eve").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        ada.upload("IMG_0001.jpg", "image/jpeg", "bytes").await;
        let media = Uuid::from_u128(u128::MAX - 1);
        ada.push_one(create("MediaItem", media, photo(memory, "IMG_0001.jpg"))).await;
        ada.share(trip, &bob, "VIEWER").await;
        let coast = eve.trip("Coast").await;
        let beach = eve.memory(coast, "Beach").await;
        for part in 0..3u128 {
            let item = |at: u128| create("MediaItem", Uuid::from_u128(1 + part * 500 + at), photo(beach, "IMG_0001.jpg")).1;
            let items: Vec<Json> = (0..500).map(item).collect();
            let pushed = eve.push(json!({ "mediaItems": items })).await;
            assert_eq!(pushed.successful.len(), 500);
        }
        let by_name = "{ getPresignedDownloadUrl(objectKey: \"IMG_0001.jpg\") { downloadUrl } }";
        let answer = bob.ask(by_name, json!({})).await;
        let url = answer["data"]["getPresignedDownloadUrl"]["downloadUrl"].as_str();
        assert_eq!(get(app, url.unwrap_or_else(|| panic!("{answer}"))).await.1, "bytes");
    }
}
