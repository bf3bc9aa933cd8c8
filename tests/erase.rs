//! Erasing an account: what was its alone goes, files included; what it shared goes to others.

use std::time::Duration;

use cairn::sync::{erase::erase, file};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Device, create, update};

const DELETE_ACCOUNT: &str = "mutation($password: String!) { deleteAccount(password: $password) }";

/// Uploads bytes under a name of the device's account, by a signed URL.
async fn upload(device: &Device<'_>, name: &str, bytes: &'static str) {
    let query = "mutation($requests: [UploadRequest!]!) {
        generateBatchUploadUrls(uploadRequests: $requests) { uploadUrls { uploadUrl } } }";
    let request = json!({ "entityId": Uuid::new_v4(), "entityType": "MediaItem",
        "objectName": name, "mimeType": "image/jpeg" });
    let answer = device.ask(query, json!({ "requests": [request] })).await;
    let url = answer["data"]["generateBatchUploadUrls"]["uploadUrls"][0]["uploadUrl"].as_str();
    let put = device.app.client.put(url.expect("a URL")).header("Content-Type", "image/jpeg");
    let response = put.body(bytes).send().await.expect("an answer");
    assert!(response.status().is_success(), "{}", response.status());
}

/// A memory's media item whose file is there.
async fn photo(device: &Device<'_>, memory: Uuid, name: &str) -> Uuid {
    upload(device, name, "bytes").await;
    let id = Uuid::new_v4();
    let fields = json!({ "memoryId": memory, "objectName": name, "mimeType": "image/jpeg",
        "fileSize": 5, "order": 0 });
    assert_eq!(device.push_one(create("MediaItem", id, fields)).await, "ok 1");
    assert!(complete(device, id, name).await);
    id
}

async fn complete(device: &Device<'_>, id: Uuid, name: &str) -> bool {
    let query = "mutation($id: ID!, $name: String!) {
        markFileUploadComplete(entityId: $id, entityType: \"MediaItem\", objectName: $name) }";
    let answer = device.ask(query, json!({ "id": id, "name": name })).await;
    answer["data"]["markFileUploadComplete"].as_bool().unwrap_or_else(|| panic!("{answer}"))
}

async fn stored(app: &App, account: Uuid) -> Vec<String> {
    use futures_util::TryStreamExt;
    let files = app.file_store().await;
    let found: Vec<_> = files.list(account).try_collect().await.expect("files can be listed");
    let mut names: Vec<String> = found.iter().map(|(key, _)| key.name().to_owned()).collect();
    names.sort();
    names
}

async fn count(app: &App, table: &str) -> i64 {
    let backend = app.db().pool().get_database_backend();
    let count = Statement::from_string(backend, format!("SELECT count(*) FROM {table}"));
    let row = app.db().pool().query_one_raw(count).await.expect("it counts").expect("a row");
    row.try_get_by_index(0).expect("a number")
}

both! {
    async fn an_account_is_erased_with_what_was_its_alone(app: &App) {
        let ada = app.device_of("ada").await;
        let mut bob = app.device_of("bob").await;
        let mut eve = app.device_of("eve").await;
        let mut dan = app.device_of("dan").await;
        let account = ada.account().await;
        let [alone, shared, shown, lent] = [
            ada.trip("Alone").await,
            ada.trip("Shared").await,
            ada.trip("Shown").await,
            dan.trip("Lent").await,
        ];
        let tag = ada.tag("Hut").await;
        let item = Uuid::new_v4();
        ada.push_one(create("BucketListItem", item, json!({ "name": "Fly" }))).await;
        let secret = ada.memory(alone, "Secret").await;
        let known = Uuid::new_v4();
        let fields = json!({ "tripId": shared, "title": "Known", "tagIds": [tag] });
        ada.push_one(create("Memory", known, fields)).await;
        photo(&ada, secret, "secret.jpg").await;
        let kept = photo(&ada, known, "known.jpg").await;
        // An editor who came later, one who came first, a viewer, and a trip of someone else's.
        ada.share(shared, &bob, "EDITOR").await;
        ada.share(shared, &eve, "EDITOR").await;
        ada.share(shown, &eve, "VIEWER").await;
        dan.share(lent, &ada, "EDITOR").await;
        for device in [&mut bob, &mut eve, &mut dan] {
            device.pull().await;
        }
        assert!(eve.row("Trip", shown).is_some());

        let wrong = ada.ask(DELETE_ACCOUNT, json!({ "password": "guess" })).await;
        assert_eq!(wrong["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
        let answer = ada.ask(DELETE_ACCOUNT, json!({ "password": "correct horse" })).await;
        assert_eq!(answer["data"]["deleteAccount"], true, "{answer}");

        // The token is worth nothing, the login fails, the address is free.
        let code = |answer: &Json| answer["errors"][0]["extensions"]["code"].clone();
        assert_eq!(code(&ada.ask("{ devices { id } }", json!({})).await), "UNAUTHENTICATED");
        let again = app.device_of("ada").await;
        assert_ne!(again.account().await, account);
        assert!(again.fresh_rows().await.is_empty());

        // The trip is the first editor's now, with everything in it but the tag.
        bob.pull().await;
        eve.pull().await;
        assert_eq!(bob.fresh_rows().await, bob.rows);
        assert_eq!(eve.fresh_rows().await, eve.rows);
        let role = async |device: &Device<'_>| {
            let query = "query($id: ID!) { trip(id: $id) { role memories { title tags { name }
                mediaItems { id downloadUrl } } } }";
            device.ask(query, json!({ "id": shared })).await["data"]["trip"].clone()
        };
        let trip = role(&bob).await;
        assert_eq!(trip["role"], "OWNER");
        assert_eq!(trip["memories"][0]["tags"], json!([]));
        assert_eq!(trip["memories"][0]["mediaItems"][0]["id"], kept.to_string());
        let url = trip["memories"][0]["mediaItems"][0]["downloadUrl"].as_str().expect("a URL");
        let bytes = app.client.get(url).send().await.expect("an answer").text().await;
        assert_eq!(bytes.expect("bytes"), "bytes", "what others still show is still there");
        assert_eq!(role(&eve).await["role"], "EDITOR");
        assert_eq!(bob.push_one(update("Trip", shared, 1, json!({ "name": "Ours" }))).await, "ok 2");
        // Who could only look is told that it is gone, and the other trip has one member less.
        assert!(eve.row("Trip", shown).is_none());
        dan.pull().await;
        assert!(dan.row("Trip", lent).is_some());

        assert_eq!(stored(app, account).await, ["known.jpg"]);
        // Nothing of what it wrote is left anywhere.
        for (table, column) in
            [("memory", "title"), ("trip", "name"), ("revision", "old"), ("tag", "name")]
        {
            let left = format!("{table} WHERE {column} LIKE '%Secret%' OR {column} LIKE '%Alone%'");
            assert_eq!(count(app, &left).await, 0, "{table}");
        }
        assert_eq!(count(app, "account").await, 4, "bob, eve, dan and the new ada");
        erase(app.db(), &app.file_store().await, account).await.expect("twice is fine");
    }

    async fn files_that_no_row_names_go_after_a_while(app: &App) {
        let ada = app.device_of("ada").await;
        let account = ada.account().await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let shown = photo(&ada, memory, "shown.jpg").await;
        let replaced = photo(&ada, memory, "replaced.jpg").await;
        upload(&ada, "never named.jpg", "bytes").await;
        upload(&ada, "portrait.jpg", "bytes").await;
        let update_user = "mutation($url: String) {
            updateUser(input: { profileImageUrl: $url }) { profileImageUrl } }";
        ada.ask(update_user, json!({ "url": "https://example.org/files/portrait.jpg" })).await;
        let other = update("MediaItem", replaced, 1, json!({ "objectName": "other.jpg" }));
        assert_eq!(ada.push_one(other).await, "ok 2");

        let files = app.file_store().await;
        let clean = async |retention: u64, grace: u64| {
            let day = Duration::from_secs(86_400);
            let (retention, grace) = (day * retention as u32, day * grace as u32);
            // What is as old as nothing must be older than now.
            tokio::time::sleep(Duration::from_millis(5)).await;
            file::clean_up(app.db(), &files, retention, grace).await.expect("it cleans up").files
        };
        assert_eq!(clean(90, 3).await, 0, "everything is young");
        assert_eq!(clean(90, 0).await, 1, "the one that nobody named");
        assert_eq!(stored(app, account).await, ["portrait.jpg", "replaced.jpg", "shown.jpg"]);
        assert_eq!(clean(90, 0).await, 0, "twice is fine");
        assert_eq!(clean(0, 0).await, 1, "what a row named once, after the retention");
        assert_eq!(stored(app, account).await, ["portrait.jpg", "shown.jpg"]);
        let query = "query($ids: [ID!]) { generateBatchDownloadUrls(mediaItemIds: $ids) {
            downloadUrls { entityId } } }";
        let answer = ada.ask(query, json!({ "ids": [shown, replaced] })).await;
        let urls = &answer["data"]["generateBatchDownloadUrls"]["downloadUrls"];
        assert_eq!(*urls, json!([{ "entityId": shown }]));
    }

    async fn what_was_accepted_stays_whatever_the_quota_is(app: &App) {
        let ada = app.device_of("ada").await;
        let account = ada.account().await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        photo(&ada, memory, "accepted.jpg").await;
        upload(&ada, "new.jpg", "bytes").await;
        let files = app.file_store().await;
        let look = async |name: &str| {
            let key = cairn::files::Key::new(account, name).expect("a name");
            file::look(app.db(), &files, &key, 0).await
        };
        assert!(look("accepted.jpg").await.expect("it may stay").is_some());
        assert!(look("new.jpg").await.is_err(), "there is no room for another");
        assert_eq!(stored(app, account).await, ["accepted.jpg"]);
    }

    async fn who_used_the_ids_of_others_takes_nothing_of_theirs_along(app: &App) {
        let ada = app.device_of("ada").await;
        let eve = app.device_of("eve").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let item = photo(&ada, memory, "hut.jpg").await;
        let add = "mutation($trip: ID!) { createRoutePoints(tripId: $trip, points: [
            { latitude: 1, longitude: 2, timestamp: \"2026-01-01T00:00:00Z\" }]) { id } }";
        assert!(ada.ask(add, json!({ "trip": trip })).await["errors"].is_null());
        // Ids are unique within a kind, and no secret to who was a member once.
        for id in [trip, memory, item] {
            assert_eq!(eve.push_one(create("Tag", id, json!({ "name": "Mine" }))).await, "ok 1");
        }
        let answer = eve.ask(DELETE_ACCOUNT, json!({ "password": "correct horse" })).await;
        assert_eq!(answer["data"]["deleteAccount"], true, "{answer}");

        let query = "query($id: ID!) { trip(id: $id) { routePoints { id }
            memories { mediaItems { downloadUrl } } } }";
        let shown = ada.ask(query, json!({ "id": trip })).await["data"]["trip"].clone();
        assert_eq!(shown["routePoints"].as_array().map(Vec::len), Some(1), "{shown}");
        assert!(shown["memories"][0]["mediaItems"][0]["downloadUrl"].is_string(), "{shown}");
        let history = format!("revision WHERE kind = 'Trip' AND entity_id = {}", match app.database.backend {
            crate::support::Backend::Postgres => format!("'{trip}'"),
            crate::support::Backend::Sqlite => format!("X'{}'", trip.simple()),
        });
        assert_eq!(count(app, &history).await, 1, "the trip's own history");
    }
}
