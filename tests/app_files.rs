//! Files as the shipped app handles them: when an upload counts as complete, what becomes of a file
//! that cannot be read, and how much of it the server bears.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Backend, Device, Process, ask as post, client, create, update};

const GPX: &str = "application/gpx+xml";

async fn ask(device: &Device<'_>, query: &str, variables: Json) -> Json {
    let answer = device.ask(query, variables).await;
    assert!(answer["errors"].is_null(), "{answer}");
    answer["data"].clone()
}

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// A URL to upload an object under the app's own name for it.
async fn upload_url(device: &Device<'_>, object: &str, media: &str, seconds: u32) -> String {
    let query = "mutation($requests: [UploadRequest!]!, $seconds: Int) {
        generateBatchUploadUrls(uploadRequests: $requests, expiresIn: $seconds) {
            uploadUrls { entityId uploadUrl } } }";
    let entity = Uuid::new_v4().to_string().to_uppercase();
    let request = json!({ "entityId": entity, "entityType": "MediaItem", "objectName": object, "mimeType": media });
    let urls = ask(device, query, json!({ "requests": [request], "seconds": seconds })).await;
    let url = &urls["generateBatchUploadUrls"]["uploadUrls"][0];
    assert_eq!(url["entityId"], entity);
    url["uploadUrl"].as_str().expect("a URL").to_owned()
}

async fn put(device: &Device<'_>, url: &str, media: &str, bytes: impl Into<Vec<u8>>) -> u16 {
    let request = device.app.client.put(url).header(header::CONTENT_TYPE, media);
    request.body(bytes.into()).send().await.expect("an answer").status().as_u16()
}

async fn upload(device: &Device<'_>, object: &str, media: &str, bytes: impl Into<Vec<u8>>) {
    let url = upload_url(device, object, media, 60).await;
    assert_eq!(put(device, &url, media, bytes).await, 200);
}

async fn download(device: &Device<'_>, url: &Json) -> (u16, Vec<u8>) {
    let url = url.as_str().expect("a URL");
    let response = device.app.client.get(url).send().await.expect("an answer");
    (response.status().as_u16(), response.bytes().await.expect("bytes").to_vec())
}

async fn try_mark(device: &Device<'_>, kind: &str, id: &str, object: &str) -> Json {
    let query = "mutation($id: ID!, $kind: String!, $object: String!) {
        marked: markFileUploadComplete(entityId: $id, entityType: $kind, objectName: $object) }";
    device.ask(query, json!({ "id": id, "kind": kind, "object": object })).await
}

async fn mark(device: &Device<'_>, kind: &str, id: Uuid, object: &str) -> bool {
    let answer = try_mark(device, kind, &id.to_string(), object).await;
    answer["data"]["marked"].as_bool().unwrap_or_else(|| panic!("{answer}"))
}

async fn photo(device: &Device<'_>, memory: Uuid, object: &str, size: usize) -> Uuid {
    let query = "mutation($input: MediaItemInput!) { createMediaItem(input: $input) { id } }";
    let input = json!({ "memoryId": memory, "objectName": object, "mediaType": "image/jpeg",
        "timestamp": "2026-07-01T00:00:00Z", "order": 1, "filesize": size });
    let made = ask(device, query, json!({ "input": input })).await;
    Uuid::try_parse(made["createMediaItem"]["id"].as_str().expect("an id")).expect("a UUID")
}

const MEDIA: &str =
    "{ id s3Key fileSize downloadUrl syncStatus syncErrorMessage isDirty needsSync }";

async fn media(device: &Device<'_>, memory: Uuid, id: Uuid) -> Json {
    let query = format!("query($id: String!) {{ memory(id: $id) {{ mediaItems {MEDIA} }} }}");
    let shown = ask(device, &query, json!({ "id": memory })).await;
    let mut items = shown["memory"]["mediaItems"].as_array().expect("a list").iter();
    items.find(|item| item["id"] == json!(id)).expect("it is there").clone()
}

const TRACK: &str = "{ id gpxFileObjectName downloadUrl syncStatus syncErrorMessage isDirty
    totalDistance totalDuration elevationGain totalPoints startTime
    segments { segmentType originalPointCount isCompressed points { latitude timestamp } } createdAt }";

async fn process(device: &Device<'_>, trip: Uuid, object: &str) -> Json {
    let query = format!(
        "mutation($trip: ID!, $object: String!) {{
            processGpxFile(trackName: \"Way\", tripId: $trip, objectName: $object) {TRACK} }}"
    );
    ask(device, &query, json!({ "trip": trip, "object": object })).await["processGpxFile"].clone()
}

async fn track(device: &Device<'_>, id: &Json) -> Json {
    let query = format!("query($id: ID!) {{ gpxTrack(id: $id) {TRACK} }}");
    ask(device, &query, json!({ "id": id })).await["gpxTrack"].clone()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/gpx/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a file")
}

both! {
    async fn files_are_complete_when_they_are_there_and_are_what_the_row_says(app: &App) {
        let mut phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        let bytes = vec![7u8; 5000];
        let item = photo(&phone, memory, "IMG_1.jpg", bytes.len()).await;
        // Before its bytes.
        assert!(!mark(&phone, "MediaItem", item, "IMG_1.jpg").await);
        let shown = media(&phone, memory, item).await;
        assert_eq!((&shown["syncStatus"], &shown["downloadUrl"]), (&json!("FILES_PENDING"), &Json::Null));
        assert_eq!((&shown["isDirty"], &shown["needsSync"]), (&json!(true), &json!(true)));
        phone.pull().await;

        // Half of it: the row says what is wrong, and gives no file away.
        upload(&phone, "IMG_1.jpg", "image/jpeg", &bytes[..2000]).await;
        assert!(!mark(&phone, "MediaItem", item, "IMG_1.jpg").await);
        let shown = media(&phone, memory, item).await;
        assert_eq!(shown["syncStatus"], "FILES_PENDING");
        let message = shown["syncErrorMessage"].as_str().expect("what is wrong");
        assert!(message.contains("2000") && message.contains("5000"), "{message}");

        // All of it; once more; in other words for the same; by another case of the id.
        upload(&phone, "IMG_1.jpg", "image/jpeg", bytes.clone()).await;
        for (kind, id) in [
            ("MediaItem", item.to_string()),
            ("MediaItem", item.to_string()),
            ("mediaItem", item.to_string()),
            ("media_item", item.to_string().to_uppercase()),
        ] {
            let answer = try_mark(&phone, kind, &id, "IMG_1.jpg").await;
            assert_eq!(answer, json!({ "data": { "marked": true } }), "{kind} {id}");
        }
        let shown = media(&phone, memory, item).await;
        assert_eq!((&shown["syncStatus"], &shown["syncErrorMessage"]), (&json!("IN_SYNC"), &Json::Null));
        assert_eq!(download(&phone, &shown["downloadUrl"]).await, (200, bytes.clone()));
        // Devices are told, though nobody edited the row.
        phone.pull().await;
        assert_eq!(phone.field("MediaItem", item, "syncStatus"), "IN_SYNC");
        assert_eq!(phone.field("MediaItem", item, "syncVersion"), 1);
        assert_eq!(phone.pull().await, 0, "once");

        // Under another name: the file of the former one is no completion of the row.
        let edit = update("MediaItem", item, 1, json!({ "objectName": "IMG_2.jpg", "fileSize": 9 }));
        assert_eq!(phone.push_one(edit).await, "ok 2");
        assert_eq!(media(&phone, memory, item).await["syncStatus"], "FILES_PENDING");
        mark(&phone, "MediaItem", item, "IMG_1.jpg").await;
        let shown = media(&phone, memory, item).await;
        assert_eq!((&shown["syncStatus"], &shown["downloadUrl"]), (&json!("FILES_PENDING"), &Json::Null));
        upload(&phone, "IMG_2.jpg", "image/jpeg", "nine byte").await;
        assert!(mark(&phone, "MediaItem", item, "IMG_2.jpg").await);
        assert_eq!(media(&phone, memory, item).await["syncStatus"], "IN_SYNC");

        // What is no kind, no id, no name is said so.
        for (kind, id, object) in [("Photo", item.to_string(), "a"), ("MediaItem", "7".into(), "a"), ("MediaItem", item.to_string(), "../a")] {
            assert_eq!(code(&try_mark(&phone, kind, &id, object).await), "BAD_USER_INPUT");
        }
    }

    async fn files_may_come_before_the_row(app: &App) {
        let mut phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        // With the older API: looked for when the row is made, marked before or not.
        for (object, marked) in [("a.jpg", true), ("b.jpg", false)] {
            upload(&phone, object, "image/jpeg", "12345").await;
            if marked {
                let answer = try_mark(&phone, "MediaItem", &Uuid::new_v4().to_string().to_uppercase(), object).await;
                assert!(answer["errors"].is_null(), "{answer}");
            }
            let item = photo(&phone, memory, object, 5).await;
            let shown = media(&phone, memory, item).await;
            assert_eq!(shown["syncStatus"], "IN_SYNC", "{object}");
            assert_eq!(download(&phone, &shown["downloadUrl"]).await, (200, b"12345".to_vec()));
        }
        // In bulk: under the device's own id, marked before the batch; then the row knows at once.
        upload(&phone, "c.jpg", "image/jpeg", "12345").await;
        let id = Uuid::new_v4();
        try_mark(&phone, "MediaItem", &id.to_string().to_uppercase(), "c.jpg").await;
        let fields = json!({ "memoryId": memory, "objectName": "c.jpg", "mimeType": "image/jpeg", "fileSize": 5 });
        assert_eq!(phone.push_one(create("MediaItem", id, fields)).await, "ok 1");
        phone.pull().await;
        assert_eq!(phone.field("MediaItem", id, "syncStatus"), "IN_SYNC");
        // A track that is pushed is read by and by.
        upload(&phone, "way.gpx", GPX, fixture("phpgpx-gps-track.gpx")).await;
        let way = Uuid::new_v4();
        try_mark(&phone, "GPXTrack", &way.to_string(), "way.gpx").await;
        let fields = json!({ "tripId": trip, "name": "Way", "gpxFileObjectName": "way.gpx" });
        assert_eq!(phone.push_one(create("GPXTrack", way, fields)).await, "ok 1");
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            phone.pull().await;
            if phone.field("GPXTrack", way, "totalPoints") == 5 {
                break;
            }
            assert!(Instant::now() < patience, "{:?}", phone.row("GPXTrack", way));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(phone.field("GPXTrack", way, "syncStatus"), "IN_SYNC");
        assert_eq!(phone.field("GPXTrack", way, "syncVersion"), 1);
    }

    async fn files_of_others_are_theirs(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        upload(&ada, "a.jpg", "image/jpeg", "12345").await;
        let item = photo(&ada, memory, "a.jpg", 5).await;
        let own = bob.trip("Own").await;
        let own = bob.memory(own, "Own").await;
        let stolen = photo(&bob, own, "a.jpg", 5).await;
        assert_eq!(media(&bob, own, stolen).await["downloadUrl"], Json::Null, "a name gives nothing");
        assert!(!mark(&bob, "MediaItem", item, "a.jpg").await, "as if it were not there");
        let query = "query($key: String!) { getPresignedDownloadUrl(objectKey: $key) { downloadUrl } }";
        assert_eq!(code(&bob.ask(query, json!({ "key": "b.jpg" })).await), "NOT_FOUND");
        let batch = "query($ids: [ID!]) { generateBatchDownloadUrls(mediaItemIds: $ids) { downloadUrls { entityId downloadUrl } } }";
        let urls = ask(&bob, batch, json!({ "ids": [item, Uuid::new_v4(), "no id"] })).await;
        assert_eq!(urls["generateBatchDownloadUrls"]["downloadUrls"], json!([]));
        // A member downloads, and says nothing of files as a viewer.
        ada.share(trip, &bob, "VIEWER").await;
        let urls = ask(&bob, batch, json!({ "ids": [item] })).await;
        let url = &urls["generateBatchDownloadUrls"]["downloadUrls"][0]["downloadUrl"];
        assert_eq!(download(&bob, url).await, (200, b"12345".to_vec()));
        assert_eq!(code(&try_mark(&bob, "MediaItem", &item.to_string(), "a.jpg").await), "FORBIDDEN");
        let cover = "mutation($trip: ID!) { generateTripCoverImageUploadUrl(contentType: \"image/png\", tripId: $trip) { uploadUrl } }";
        assert_eq!(code(&bob.ask(cover, json!({ "trip": trip })).await), "FORBIDDEN");
        ada.unshare(trip, &bob).await;
        assert_eq!(code(&bob.ask(cover, json!({ "trip": trip })).await), "FORBIDDEN");
    }

    async fn files_have_urls_that_expire(app: &App) {
        let phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        let short = upload_url(&phone, "a.jpg", "image/jpeg", 1).await;
        upload(&phone, "a.jpg", "image/jpeg", "12345").await;
        let item = photo(&phone, memory, "a.jpg", 5).await;
        let query = "query($ids: [ID!], $seconds: Int) { generateBatchDownloadUrls(mediaItemIds: $ids, expiresIn: $seconds) { downloadUrls { downloadUrl } } }";
        let urls = ask(&phone, query, json!({ "ids": [item], "seconds": 1 })).await;
        tokio::time::sleep(Duration::from_millis(2100)).await;
        assert_eq!(put(&phone, &short, "image/jpeg", "54321").await, 403);
        let url = &urls["generateBatchDownloadUrls"]["downloadUrls"][0]["downloadUrl"];
        assert_eq!(download(&phone, url).await.0, 403);
        assert_eq!(download(&phone, &media(&phone, memory, item).await["downloadUrl"]).await, (200, b"12345".to_vec()));
        for seconds in [0, -1, 604_801] {
            let answer = phone.ask(query, json!({ "ids": [item], "seconds": seconds })).await;
            assert_eq!(code(&answer), "BAD_USER_INPUT", "{seconds}");
        }
    }

    async fn files_gpx_routes_and_waypoints_are_valid_and_what_is_broken_says_why(app: &App) {
        let mut phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        upload(&phone, "route.gpx", GPX, fixture("phpgpx-route.gpx")).await;
        let route = process(&phone, trip, "route.gpx").await;
        assert_eq!((&route["syncStatus"], &route["totalPoints"]), (&json!("IN_SYNC"), &json!(8)));
        let distance = route["totalDistance"].as_f64().expect("metres");
        assert!((distance / 264.4524943815408 - 1.0).abs() < 0.002, "{distance}");
        assert_eq!((&route["totalDuration"], &route["startTime"]), (&Json::Null, &Json::Null));
        assert_eq!(route["segments"].as_array().map(Vec::len), Some(2));
        assert_eq!(route["segments"][0]["segmentType"], "route");
        assert_eq!(route["segments"][0]["points"][0]["timestamp"], route["createdAt"], "without a time of its own");
        upload(&phone, "points.gpx", GPX, fixture("phpgpx-waypoint_test.gpx")).await;
        let points = process(&phone, trip, "points.gpx").await;
        assert_eq!((&points["syncStatus"], &points["syncErrorMessage"]), (&json!("IN_SYNC"), &Json::Null));
        assert_eq!((&points["totalDistance"], &points["totalPoints"], &points["segments"]), (&json!(0.0), &json!(0), &json!([])));

        for (at, broken) in [
            "".as_bytes(),
            b"not XML at all",
            b"\xff\xd8\xff\xe0 a picture",
            b"<html><body>Bad gateway</body></html>",
            b"<?xml version=\"1.0\"?><gpx version=\"1.1\"><trk><trkseg><trkpt lat=\"47\" lon=\"9\">",
            b"<?xml version=\"1.0\"?><gpx version=\"1.1\"><trk><trkseg><trkpt lat=\"91\" lon=\"9\"/></trkseg></trk></gpx>",
            b"<!DOCTYPE gpx [<!ENTITY a \"aaaaaaaaaa\">]><gpx version=\"1.1\"><name>&a;</name></gpx>",
        ].into_iter().enumerate() {
            let object = format!("broken{at}.gpx");
            upload(&phone, &object, GPX, broken).await;
            let row = process(&phone, trip, &object).await;
            assert_eq!(row["syncStatus"], "SYNC_ERROR", "{object}: {row}");
            let sentence = row["syncErrorMessage"].as_str().expect("a sentence");
            assert!(sentence.ends_with('.') && sentence.contains(' ') && sentence.len() < 300, "{sentence}");
            assert!(sentence.chars().next().is_some_and(char::is_uppercase), "{sentence}");
            assert_eq!((&row["totalDistance"], &row["segments"]), (&Json::Null, &json!([])));
            assert_eq!(download(&phone, &row["downloadUrl"]).await, (200, broken.to_vec()), "and keeps its file");
            assert_eq!(process(&phone, trip, &object).await["id"], row["id"], "and its row");
        }
        // All devices are told; nothing is lost; corrected, it is read.
        phone.pull().await;
        assert_eq!(phone.rows.len(), 1 + 2 + 7);
        let row = process(&phone, trip, "broken3.gpx").await;
        let id = Uuid::try_parse(row["id"].as_str().expect("an id")).expect("a UUID");
        assert_eq!(phone.field("GPXTrack", id, "syncStatus"), "SYNC_ERROR");
        assert_eq!(phone.field("GPXTrack", id, "needsSync"), true);
        upload(&phone, "broken3.gpx", GPX, fixture("phpgpx-gps-track.gpx")).await;
        assert!(mark(&phone, "gpxTrack", id, "broken3.gpx").await);
        let row = track(&phone, &row["id"]).await;
        assert_eq!((&row["syncStatus"], &row["syncErrorMessage"]), (&json!("IN_SYNC"), &Json::Null));
        assert_eq!((&row["totalPoints"], row["segments"].as_array().map(Vec::len)), (&json!(5), Some(1)));
        phone.pull().await;
        assert_eq!(phone.field("GPXTrack", id, "totalPoints"), 5);
        // Another file, and one that is broken again: the figures are the new file's, or none.
        let edit = json!({ "id": id, "input": { "gpxFileObjectName": "route.gpx" } });
        let query = format!("mutation($id: ID!, $input: UpdateGPXTrackInput!) {{ updateGpxTrack(id: $id, input: $input) {TRACK} }}");
        let row = ask(&phone, &query, edit).await["updateGpxTrack"].clone();
        assert_eq!((&row["syncStatus"], &row["totalPoints"], &row["totalDuration"]), (&json!("IN_SYNC"), &json!(8), &Json::Null));
        let edit = json!({ "id": id, "input": { "gpxFileObjectName": "broken1.gpx" } });
        let row = ask(&phone, &query, edit).await["updateGpxTrack"].clone();
        assert_eq!((&row["syncStatus"], &row["segments"]), (&json!("SYNC_ERROR"), &json!([])));
    }
}

async fn quota(backend: Backend) {
    let app = App::start_with(backend, &["--files-quota", "1"]).await;
    let phone = app.device_of("ada").await;
    let trip = phone.trip("Alps").await;
    let memory = phone.memory(trip, "Hut").await;
    let part = 600 * 1024;
    let first = photo(&phone, memory, "a.jpg", part).await;
    upload(&phone, "a.jpg", "image/jpeg", vec![1; part]).await;
    assert!(mark(&phone, "MediaItem", first, "a.jpg").await);
    // The next is too much, however it is sent, and nothing is left of it.
    let second = photo(&phone, memory, "b.jpg", part).await;
    let url = upload_url(&phone, "b.jpg", "image/jpeg", 60).await;
    assert_eq!(put(&phone, &url, "image/jpeg", vec![2; part]).await, 413);
    assert!(!mark(&phone, "MediaItem", second, "b.jpg").await);
    let shown = media(&phone, memory, second).await;
    assert_eq!(
        (&shown["syncStatus"], &shown["downloadUrl"]),
        (&json!("FILES_PENDING"), &Json::Null)
    );
    assert!(!mark(&phone, "MediaItem", second, "b.jpg").await, "nor a second time");
    // To the last byte it fits; then there are no more URLs.
    let rest = 1024 * 1024 - part;
    let third = photo(&phone, memory, "c.jpg", rest).await;
    upload(&phone, "c.jpg", "image/jpeg", vec![3; rest]).await;
    assert!(mark(&phone, "MediaItem", third, "c.jpg").await);
    let query =
        "mutation { createUploadUrl(mimeType: \"image/jpeg\", filename: \"d.jpg\") { uploadUrl } }";
    assert_eq!(code(&phone.ask(query, json!({})).await), "LIMIT");
    // Everyone has a quota of their own.
    let bob = app.device_of("bob").await;
    ask(&bob, query, json!({})).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_beyond_the_quota_are_refused_sqlite() {
    quota(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_beyond_the_quota_are_refused_postgres() {
    quota(Backend::Postgres).await;
}

// ── A large file ─────────────────────────────────────────────────────────────────────────────

const MEGABYTE: usize = 1024 * 1024;

/// 20 MB of points, each with elevation and time, or with nothing but its place.
fn large_file(bare: bool) -> (Vec<u8>, usize) {
    use std::io::Write;
    let mut file = Vec::with_capacity(20 * MEGABYTE + 200);
    file.extend_from_slice(br#"<?xml version="1.0"?><gpx version="1.1" creator="x"><trk><trkseg>"#);
    let mut points = 0;
    while file.len() < 20 * MEGABYTE {
        let (latitude, longitude) = (47.0 + points as f64 * 1e-6, 9.0 + points as f64 * 1e-6);
        write!(file, r#"<trkpt lat="{latitude:.6}" lon="{longitude:.6}""#).expect("memory");
        match bare {
            true => write!(file, "/>"),
            false => write!(
                file,
                "><ele>{}.5</ele><time>2026-07-01T{:02}:{:02}:{:02}Z</time></trkpt>",
                400 + points % 1000,
                points / 3600 % 24,
                points / 60 % 60,
                points % 60
            ),
        }
        .expect("memory");
        points += 1;
    }
    file.extend_from_slice(b"</trkseg></trk></gpx>");
    (file, points)
}

/// The most memory that a process has had, in bytes.
fn peak_memory(process: &Process) -> usize {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    let kib: usize = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024
}

/// Asks for nothing much all the while, and gives the number of answers and the longest wait.
async fn knock(url: &str, done: &AtomicBool) -> (usize, Duration) {
    let client = client();
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        let answer = post(&client, url, None, "{ hello }", json!({})).await;
        assert_eq!(answer["data"]["hello"], "Hello from Cairn");
        longest = longest.max(start.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (count, longest)
}

/// A server that is given a file of 20 MB, and nothing else to do but to say hello.
async fn large(bare: bool) {
    let (process, url) = Process::serve(&[("REQUEST_TIMEOUT", "600")]).await;
    let client = client();
    let person = json!({ "input": { "email": "ada@example.org", "password": "correct horse" } });
    let register = "mutation($input: UserInput!) { register(input: $input) { id } }";
    post(&client, &url, None, register, person.clone()).await;
    let login = "mutation($input: UserInput!) { login(input: $input) { token } }";
    let token = post(&client, &url, None, login, person).await["data"]["login"]["token"].clone();
    let token = token.as_str().expect("a token");
    let ask = async |query: &str, variables: Json| {
        let answer = post(&client, &url, Some(token), query, variables).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"].clone()
    };
    let trip = "mutation { createTrip(input: { name: \"Alps\", startDate: \"2026-07-01T00:00:00Z\" }) { id } }";
    let trip = ask(trip, json!({})).await["createTrip"]["id"].clone();
    let (file, points) = large_file(bare);
    let upload =
        "mutation { generateGpxUploadUrl(filename: \"long.gpx\") { uploadUrl objectKey } }";
    let upload = ask(upload, json!({})).await["generateGpxUploadUrl"].clone();
    let put = client.put(upload["uploadUrl"].as_str().expect("a URL"));
    let put = put.header(header::CONTENT_TYPE, GPX).body(file);
    assert_eq!(put.send().await.expect("an answer").status(), 200);
    let before = peak_memory(&process);
    let done = AtomicBool::new(false);
    let read = async {
        let query = "mutation($trip: ID!, $object: String!) {
            processGpxFile(trackName: \"Long\", tripId: $trip, objectName: $object) {
                id syncStatus syncErrorMessage totalPoints } }";
        let variables = json!({ "trip": trip, "object": upload["objectKey"] });
        let start = Instant::now();
        let track = ask(query, variables).await["processGpxFile"].clone();
        done.store(true, Ordering::Relaxed);
        (track, start.elapsed())
    };
    let ((track, took), (count, longest)) = tokio::join!(read, knock(&url, &done));
    assert_eq!(
        (&track["syncStatus"], &track["syncErrorMessage"]),
        (&json!("IN_SYNC"), &Json::Null)
    );
    assert_eq!(track["totalPoints"], points);
    let read = peak_memory(&process);
    // And shown, with as many points as an answer has.
    let query = "query($id: ID!) { gpxTrack(id: $id) {
        segments { originalPointCount isCompressed points { latitude longitude } } } }";
    let track = ask(query, json!({ "id": track["id"] })).await["gpxTrack"].clone();
    assert_eq!(track["segments"][0]["originalPointCount"], points);
    assert_eq!(track["segments"][0]["isCompressed"], true);
    let shown = track["segments"][0]["points"].as_array().map(Vec::len).expect("points");
    assert!((5_000..=10_001).contains(&shown), "{shown}");
    let peak = peak_memory(&process);
    let [before, read, peak] = [before, read, peak].map(|bytes| bytes / MEGABYTE);
    println!(
        "{points} points in {took:?}: {before} MB, {read} MB, {peak} MB; {count} answers in at most {longest:?}"
    );
    assert!(longest < Duration::from_secs(3), "the server stood still for {longest:?}");
    assert!(count > 5, "{count} answers in {took:?}");
    let said = format!("{before} MB, to read it {read} MB, to show it {peak} MB");
    // What a server has without any file depends on how it was built, and on the machine.
    assert!(peak - before <= 150, "the file takes too much: {said}");
    assert!(bare || peak <= 200, "the server takes too much: {said}");
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_gpx_of_20_mb_neither_blocks_the_server_nor_takes_its_memory() {
    large(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_gpx_of_20_mb_and_as_many_points_as_can_be_neither() {
    large(true).await;
}
