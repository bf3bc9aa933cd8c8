//! The shipped app's cycle, request by request, from an empty account until all is deleted again:
//! its documents, its headers, its uploads. On both databases, with files on disk and in an
//! S3-compatible store.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use reqwest::header;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::{App, Backend, S3};

/// What the app's client library says that it takes.
const ACCEPT: &str = "multipart/mixed;deferSpec=20220824,application/json";

/// The first sync of a new installation.
const YEAR_1: &str = "0001-01-01T00:00:00.000Z";

const GPX: &str = "application/gpx+xml";

/// Fields of the API that are not the older app's.
const BULK: [&str; 9] = [
    "enhancedSync",
    "getConflicts",
    "conflict",
    "conflictInbox",
    "history",
    "bulkSync",
    "resolveConflict",
    "resolveConflicts",
    "undoResolution",
];

/// What the app selects of each type. Its library asks for every object's type name.
const FRAGMENTS: &[(&str, &str)] = &[
    (
        "UserFields",
        "on User { __typename id email username firstName lastName profileImageUrl isActive
          isEmailVerified lastLoginAt createdAt updatedAt roles displayName initials isOnline }",
    ),
    (
        "TripFields",
        "on Trip { __typename id name tripDescription coverImageObjectName coverImageUrl
          travelCompanions visitedCountries startDate endDate isActive totalDistance
          gpsTrackingEnabled createdAt updatedAt role lastSyncAttempt syncErrorMessage syncVersion
          isDirty needsSync syncStatus syncPriority }",
    ),
    (
        "TripDetails",
        "on Trip { ...TripFields memories { ...MemoryDetails } routePoints { ...PointFields }
          gpxTracks { ...TrackDetails } trackSegments { ...SegmentFields } }",
    ),
    (
        "MemoryFields",
        "on Memory { __typename id title text content timestamp date latitude longitude
          locationName address location { __typename latitude longitude name } weatherJSON tripId
          userId createdAt updatedAt lastSyncAttempt syncErrorMessage syncVersion isDirty needsSync
          syncStatus syncPriority }",
    ),
    (
        "MemoryDetails",
        "on Memory { ...MemoryFields mediaItems { ...MediaFields } tags { ...TagFields }
          gpxTrack { ...TrackFields } }",
    ),
    (
        "MediaFields",
        "on MediaItem { __typename id filename s3Key originalFilename mimeType timestamp order
          fileSize duration thumbnailS3Key downloadUrl thumbnailUrl memory { __typename id }
          createdAt updatedAt lastSyncAttempt syncErrorMessage syncVersion isDirty needsSync
          syncStatus syncPriority }",
    ),
    (
        "TrackFields",
        "on GPXTrack { __typename id name description originalFilename gpxFileObjectName
          totalDistance totalDuration averageSpeed maxSpeed elevationGain elevationLoss minElevation
          maxElevation totalPoints startTime endTime creator trackType tripId memoryId downloadUrl
          createdAt updatedAt lastSyncAttempt syncErrorMessage syncVersion isDirty needsSync
          syncStatus syncPriority }",
    ),
    ("DeviceFields", "on Device { __typename id lastSeenAt }"),
    ("TrackDetails", "on GPXTrack { ...TrackFields segments { ...SegmentFields } }"),
    (
        "TagFields",
        "on Tag { __typename id name normalizedName displayName emoji color isSystemTag usageCount
          isArchived sortOrder tagDescription categoryId category { __typename id name }
          relatedTags { __typename id } createdAt updatedAt lastSyncAttempt syncErrorMessage
          syncVersion isDirty needsSync syncStatus syncPriority }",
    ),
    (
        "CategoryFields",
        "on TagCategory { __typename id name displayName emoji color isSystemCategory sortOrder
          isExpanded tags { __typename id } createdAt updatedAt lastSyncAttempt syncErrorMessage
          syncVersion isDirty needsSync syncStatus syncPriority }",
    ),
    (
        "BucketFields",
        "on BucketListItem { __typename id name country region type latitude1 longitude1 latitude2
          longitude2 isDone completedAt memories { __typename id } createdAt updatedAt
          lastSyncAttempt syncErrorMessage syncVersion isDirty needsSync syncStatus syncPriority }",
    ),
    (
        "PointFields",
        "on RoutePoint { __typename id latitude longitude altitude speed timestamp created_at }",
    ),
    (
        "SegmentFields",
        "on TrackSegment { __typename id points { ...PointFields } segmentType startDate endDate
          distance averageSpeed maxSpeed originalPointCount isCompressed compressionRatio
          qualityLevel }",
    ),
    (
        "UrlFields",
        "on PresignedUrlResponse { __typename uploadUrl downloadUrl expiresIn objectKey }",
    ),
    (
        "SyncFields",
        "on SyncResponse { __typename trips { ...TripFields } memories { ...MemoryDetails }
          tags { ...TagFields } tagCategories { ...CategoryFields } mediaItems { ...MediaFields }
          gpxTracks { ...TrackFields } bucketListItems { ...BucketFields }
          deleted { __typename trips memories tags tagCategories mediaItems gpxTracks
            bucketListItems }
          serverTimestamp }",
    ),
];

/// The lists of a sync.
const LISTS: [&str; 7] =
    ["trips", "memories", "tags", "tagCategories", "mediaItems", "gpxTracks", "bucketListItems"];

/// A document with the fragments that it needs, each once.
fn document(operation: &str) -> String {
    let mut document = operation.to_owned();
    let mut added = BTreeSet::new();
    loop {
        let missing = FRAGMENTS.iter().find(|(name, _)| {
            let spread = format!("...{name}");
            let spreads = document.match_indices(&spread);
            let mut ends = spreads.map(|(at, _)| document[at + spread.len()..].chars().next());
            ends.any(|next| !next.is_some_and(char::is_alphanumeric)) && !added.contains(name)
        });
        let Some((name, fields)) = missing else { return document };
        added.insert(*name);
        document.push_str(&format!("\nfragment {name} {fields}"));
    }
}

/// The fields of the schema's type, from the exported file.
fn fields_of(type_name: &str) -> BTreeSet<String> {
    let schema = include_str!("../schema.graphql");
    let from = schema.find(&format!("\ntype {type_name} {{")).expect("the type is there");
    let body = &schema[from..from + schema[from..].find("\n}").expect("the type ends")];
    let mut in_doc = false;
    let mut fields = BTreeSet::new();
    for line in body.lines() {
        let fences = line.matches("\"\"\"").count();
        if fences > 0 || in_doc {
            in_doc ^= fences == 1;
            continue;
        }
        let Some(line) = line.strip_prefix('\t').filter(|line| !line.starts_with('\t')) else {
            continue;
        };
        let name: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
        if !name.is_empty() {
            fields.insert(name);
        }
    }
    fields
}

/// Names of fields that are dates, in whatever type.
fn date_fields() -> BTreeSet<String> {
    let schema = include_str!("../schema.graphql");
    let dates = schema.lines().filter_map(|line| {
        let (name, ty) = line.trim().split_once(": ")?;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (is_name && ty.trim_end_matches('!') == "DateTime").then(|| name.to_owned())
    });
    dates.collect()
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, which the app's decoder takes, and nothing else.
fn is_date(text: &str) -> bool {
    text.len() == 24
        && text.bytes().zip("dddd-dd-ddTdd:dd:dd.dddZ".bytes()).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}

/// An installation of the app.
struct Phone<'a> {
    app: &'a App,
    token: Option<String>,
    dates: BTreeSet<String>,
    /// Root fields that were asked for.
    called: RefCell<BTreeSet<String>>,
    dates_seen: Cell<usize>,
}

impl<'a> Phone<'a> {
    fn new(app: &'a App) -> Phone<'a> {
        let (called, dates_seen) = (RefCell::default(), Cell::new(0));
        Phone { app, token: None, dates: date_fields(), called, dates_seen }
    }

    /// Sends an operation as the app does, and gives the whole answer.
    async fn send(&self, operation: &str, variables: Json) -> Json {
        let name: String = operation
            .split_whitespace()
            .nth(1)
            .expect("a name")
            .chars()
            .take_while(|c| c.is_alphanumeric())
            .collect();
        let body =
            json!({ "operationName": name, "query": document(operation), "variables": variables });
        let mut request = self
            .app
            .client
            .post(format!("{}/graphql", self.app.url))
            .header(header::ACCEPT, ACCEPT)
            .header("X-APOLLO-OPERATION-NAME", &name)
            .json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{name}");
        let media = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        assert_eq!(media.split(';').next(), Some("application/json"), "{name}: plain JSON");
        response.json().await.expect("the answer is JSON")
    }

    /// What one root field answers. The app drops an answer with any error in it.
    async fn ask(&self, field: &str, operation: &str, variables: Json) -> Json {
        let answer = self.send(operation, variables).await;
        assert!(answer.get("errors").is_none(), "{field}: {answer}");
        self.called.borrow_mut().insert(field.to_owned());
        let data = answer["data"].as_object().expect("data");
        assert_eq!(data.keys().collect::<Vec<_>>(), [field]);
        self.check_dates(&answer["data"]);
        data[field].clone()
    }

    fn check_dates(&self, value: &Json) {
        match value {
            Json::Object(fields) => {
                for (name, value) in fields {
                    if self.dates.contains(name) && !value.is_null() {
                        let text = value.as_str().expect("a date is text");
                        assert!(is_date(text), "{name}: {text}");
                        self.dates_seen.set(self.dates_seen.get() + 1);
                    }
                    self.check_dates(value);
                }
            }
            Json::Array(values) => values.iter().for_each(|value| self.check_dates(value)),
            _ => {}
        }
    }

    /// A mutation that takes an input and perhaps an id: `create("Trip", …)`.
    async fn write(&self, field: &str, input_type: &str, shown: &str, input: Json) -> Json {
        let operation = format!(
            "mutation {}($input: {input_type}!) {{ {field}(input: $input) {{ ...{shown} }} }}",
            capital(field)
        );
        self.ask(field, &operation, json!({ "input": input })).await
    }

    async fn change(
        &self,
        field: &str,
        id: (&Json, &str),
        input: (Json, &str),
        shown: &str,
    ) -> Json {
        let ((id, id_type), (input, input_type)) = (id, input);
        let operation = format!(
            "mutation {}($id: {id_type}!, $input: {input_type}!) {{
                {field}(id: $id, input: $input) {{ ...{shown} }} }}",
            capital(field)
        );
        self.ask(field, &operation, json!({ "id": id, "input": input })).await
    }

    async fn delete(&self, field: &str, id: &Json, id_type: &str) {
        let operation =
            format!("mutation {}($id: {id_type}!) {{ {field}(id: $id) }}", capital(field));
        assert_eq!(self.ask(field, &operation, json!({ "id": id })).await, true, "{field}");
    }

    async fn list(&self, field: &str, shown: &str) -> Vec<Json> {
        let operation = format!("query {} {{ {field} {{ ...{shown} }} }}", capital(field));
        self.ask(field, &operation, json!({})).await.as_array().expect("a list").clone()
    }

    async fn sync(&self, since: &str) -> Json {
        let operation =
            "query Sync($since: DateTime!) { sync(lastSyncedAt: $since) { ...SyncFields } }";
        self.ask("sync", operation, json!({ "since": since })).await
    }

    async fn put(&self, url: &Json, content_type: &str, bytes: &[u8]) {
        let url = url.as_str().expect("a URL");
        let request = self.app.client.put(url).header(header::CONTENT_TYPE, content_type);
        let response = request.body(bytes.to_vec()).send().await.expect("the store answers");
        assert_eq!(response.status(), 200, "{url}: {:?}", response.text().await);
    }

    async fn get(&self, url: &Json) -> Vec<u8> {
        let url = url.as_str().expect("a URL");
        let response = self.app.client.get(url).send().await.expect("the store answers");
        assert_eq!(response.status(), 200, "{url}");
        response.bytes().await.expect("bytes").to_vec()
    }

    async fn mark(&self, id: &Json, kind: &str, object: &Json) -> Json {
        let operation =
            "mutation MarkFileUploadComplete($id: ID!, $type: String!, $object: String!) {
            markFileUploadComplete(entityId: $id, entityType: $type, objectName: $object) }";
        let variables = json!({ "id": id, "type": kind, "object": object });
        self.ask("markFileUploadComplete", operation, variables).await
    }

    async fn track(&self, id: &Json) -> Json {
        let operation = "query GpxTrack($id: ID!) { gpxTrack(id: $id) { ...TrackDetails } }";
        self.ask("gpxTrack", operation, json!({ "id": id })).await
    }
}

fn capital(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..]
}

fn ids(list: &Json) -> BTreeSet<&str> {
    let rows = list.as_array().expect("a list").iter();
    rows.map(|row| row["id"].as_str().or(row.as_str()).expect("an id")).collect()
}

fn one<'a>(list: &'a Json, id: &Json) -> &'a Json {
    let mut rows = list.as_array().expect("a list").iter();
    rows.find(|row| row["id"] == *id).unwrap_or_else(|| panic!("{id} is not in {list}"))
}

/// Bytes that are nobody else's.
fn picture(seed: u8, size: usize) -> Vec<u8> {
    (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8 ^ seed).collect()
}

/// Two segments of three points each, along a meridian: a thousandth of a degree is 111.195 m.
fn gpx_file() -> Vec<u8> {
    let point = |n: u32| {
        format!(
            r#"<trkpt lat="47.{:03}" lon="9.5"><ele>{}</ele><time>2026-07-01T08:{n:02}:00Z</time></trkpt>"#,
            100 + n,
            400 + 10 * n
        )
    };
    let segment = |points: std::ops::Range<u32>| {
        format!("<trkseg>{}</trkseg>", points.map(point).collect::<String>())
    };
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="Trail watch" xmlns="http://www.topografix.com/GPX/1/1">
<trk><name>Up</name><type>hiking</type>{}{}</trk></gpx>"#,
        segment(0..3),
        segment(10..13)
    )
    .into_bytes()
}

fn assert_is_read(track: &Json) {
    assert_eq!(
        (&track["syncStatus"], &track["syncErrorMessage"]),
        (&json!("IN_SYNC"), &Json::Null)
    );
    let distance = track["totalDistance"].as_f64().expect("metres");
    assert!((distance - 4.0 * 111.195).abs() < 0.1, "{distance}");
    assert_eq!(track["totalDuration"], 12.0 * 60.0);
    assert_eq!((&track["elevationGain"], &track["elevationLoss"]), (&json!(40.0), &json!(0.0)));
    assert_eq!((&track["minElevation"], &track["maxElevation"]), (&json!(400.0), &json!(520.0)));
    assert_eq!(track["totalPoints"], 6);
    assert_eq!(track["startTime"], "2026-07-01T08:00:00.000Z");
    assert_eq!(track["endTime"], "2026-07-01T08:12:00.000Z");
    let average = track["averageSpeed"].as_f64().expect("a speed");
    assert!((average - distance / 720.0).abs() < 1e-9);
    let segments = track["segments"].as_array().expect("segments");
    assert_eq!(segments.len(), 2);
    for (segment, first) in segments.iter().zip([47.1, 47.11]) {
        assert_eq!(segment["segmentType"], "track");
        let points = segment["points"].as_array().expect("points");
        assert_eq!((points.len(), &points[0]["latitude"]), (3, &json!(first)));
        assert_eq!(
            (&segment["originalPointCount"], &segment["isCompressed"]),
            (&json!(3), &json!(false))
        );
    }
}

async fn cycle(app: &App) {
    let mut ada = Phone::new(app);

    // ── An empty account ──
    ada.ask("hello", "query Hello { hello }", json!({})).await;
    let person = json!({ "email": "ada@example.org", "password": "correct horse" });
    let user = ada.write("register", "UserInput", "UserFields", person.clone()).await;
    assert_eq!((&user["email"], user.get("token")), (&json!("ada@example.org"), None));
    let login = "mutation Login($input: UserInput!) {
        login(input: $input) { __typename token user { ...UserFields } } }";
    let session = ada.ask("login", login, json!({ "input": person })).await;
    assert_eq!(session["user"]["id"], user["id"]);
    ada.token = Some(session["token"].as_str().expect("a token").to_owned());
    let current = "query GetCurrentUser { getCurrentUser { ...UserFields } }";
    assert_eq!(ada.ask("getCurrentUser", current, json!({})).await["id"], user["id"]);
    let names = json!({ "firstName": "Ada", "lastName": "Lovelace", "username": null });
    let named = ada.write("updateUser", "UpdateUserInput", "UserFields", names).await;
    assert_eq!((&named["displayName"], &named["initials"]), (&json!("Ada Lovelace"), &json!("AL")));

    let empty = ada.sync(YEAR_1).await;
    for list in LISTS {
        assert_eq!((&empty[list], &empty["deleted"][list]), (&json!([]), &json!([])));
    }

    // ── One of each kind ──
    let category = json!({ "name": "Places", "emoji": "🏔", "color": "#336699" });
    let category =
        ada.write("createTagCategory", "TagCategoryInput", "CategoryFields", category).await;
    let tag = json!({ "name": "Hut", "emoji": "🛖", "color": null, "tagDescription": "To sleep in",
                      "categoryId": category["id"] });
    let tag = ada.write("createTag", "TagInput", "TagFields", tag).await;
    assert_eq!(tag["category"]["name"], "Places");
    assert_eq!((&tag["normalizedName"], &tag["usageCount"]), (&json!("hut"), &json!(0)));
    let item = json!({ "name": "Säntis", "country": "CH", "region": null, "type": "mountain",
                       "latitude1": 47.2494, "longitude1": 9.3433 });
    let item = ada.write("createBucketListItem", "BucketListItemInput", "BucketFields", item).await;
    assert_eq!((&item["isDone"], &item["memories"]), (&json!(false), &json!([])));
    let trip = json!({ "name": "Alpstein", "tripDescription": "Three days", "startDate": "2026-07-01T06:00:00Z",
                       "endDate": null, "isActive": true, "totalDistance": 0, "gpsTrackingEnabled": true });
    let trip = ada.write("createTrip", "TripInput", "TripFields", trip).await;
    assert_eq!((&trip["role"], &trip["syncVersion"]), (&json!("OWNER"), &json!(1)));
    assert_eq!(trip["startDate"], "2026-07-01T06:00:00.000Z");
    let memory = json!({ "title": "Grüsse vom Gipfel", "content": "Windy", "date": "2026-07-01T12:30:00.250Z",
        "location": { "latitude": 47.2494, "longitude": 9.3433, "name": "Säntis" },
        "tripId": trip["id"], "tagIds": [tag["id"]] });
    let memory = ada.write("createMemory", "MemoryInput", "MemoryDetails", memory).await;
    for (one, other) in [("text", "content"), ("timestamp", "date"), ("locationName", "address")] {
        assert_eq!(memory[one], memory[other]);
    }
    assert_eq!(memory["date"], "2026-07-01T12:30:00.250Z");
    assert_eq!(memory["location"]["name"], "Säntis");
    assert_eq!(memory["tags"][0]["id"], tag["id"]);
    assert_eq!(memory["userId"], user["id"]);

    // ── The cover picture ──
    let cover_bytes = picture(1, 30_000);
    let cover = "mutation GenerateTripCoverImageUploadUrl($type: String!, $trip: ID!) {
        generateTripCoverImageUploadUrl(contentType: $type, tripId: $trip) { ...UrlFields } }";
    let variables = json!({ "type": "image/jpeg", "trip": trip["id"] });
    let cover = ada.ask("generateTripCoverImageUploadUrl", cover, variables).await;
    ada.put(&cover["uploadUrl"], "image/jpeg", &cover_bytes).await;
    let assign = "mutation AssignCoverImageToTrip($object: String!, $trip: ID!) {
        assignCoverImageToTrip(objectName: $object, tripId: $trip) { ...TripFields } }";
    let variables = json!({ "object": cover["objectKey"], "trip": trip["id"] });
    let covered = ada.ask("assignCoverImageToTrip", assign, variables).await;
    assert_eq!(covered["coverImageObjectName"], cover["objectKey"]);
    assert!(ada.get(&covered["coverImageUrl"]).await == cover_bytes);

    // ── A photo that is uploaded before its row is made ──
    let (photo_bytes, small_bytes) = (picture(2, 123_456), picture(3, 2_000));
    let upload = "mutation CreateUploadUrl($type: String, $name: String!) {
        createUploadUrl(mimeType: $type, filename: $name) { ...UrlFields } }";
    let variables = json!({ "type": "image/heic", "name": "IMG 0001.heic" });
    let upload = ada.ask("createUploadUrl", upload, variables).await;
    ada.put(&upload["uploadUrl"], "image/heic", &photo_bytes).await;
    let small = "query GetPresignedUploadUrl($type: String!, $name: String!) {
        getPresignedUploadUrl(mimeType: $type, filename: $name) { ...UrlFields } }";
    let variables = json!({ "type": "image/jpeg", "name": "IMG 0001 small.jpg" });
    let small = ada.ask("getPresignedUploadUrl", small, variables).await;
    ada.put(&small["uploadUrl"], "image/jpeg", &small_bytes).await;
    let photo = json!({ "objectName": upload["objectKey"], "thumbnailObjectName": small["objectKey"],
        "memoryId": memory["id"], "mediaType": "image/heic", "timestamp": "2026-07-01T12:31:00Z",
        "order": 1, "filesize": photo_bytes.len(), "duration": null });
    let photo = ada.write("createMediaItem", "MediaItemInput", "MediaFields", photo).await;
    assert_eq!((&photo["syncStatus"], &photo["isDirty"]), (&json!("IN_SYNC"), &json!(false)));
    assert_eq!((&photo["s3Key"], &photo["filename"]), (&upload["objectKey"], &upload["objectKey"]));
    assert!(ada.get(&photo["downloadUrl"]).await == photo_bytes);
    assert!(ada.get(&photo["thumbnailUrl"]).await == small_bytes);
    assert_eq!(
        ada.mark(&photo["id"], "mediaItem", &upload["objectKey"]).await,
        true,
        "known already"
    );

    // ── A film whose row is made first; the app calls it by an id of its own until then ──
    let film_bytes = picture(4, 70_000);
    let own_id = Uuid::new_v4().to_string().to_uppercase();
    let object = json!(format!("media/{own_id}.mov"));
    let film = json!({ "objectName": object, "memoryId": memory["id"], "mediaType": "video/quicktime",
        "timestamp": "2026-07-01T12:32:00Z", "order": 2, "filesize": film_bytes.len(), "duration": 7 });
    let film = ada.write("createMediaItem", "MediaItemInput", "MediaFields", film).await;
    assert_eq!((&film["syncStatus"], &film["downloadUrl"]), (&json!("FILES_PENDING"), &Json::Null));
    assert_eq!(ada.mark(&film["id"], "MediaItem", &object).await, false, "before its bytes");
    let batch = "mutation GenerateBatchUploadUrls($requests: [UploadRequest!]!) {
        generateBatchUploadUrls(uploadRequests: $requests) { __typename generatedAt
            uploadUrls { __typename entityId entityType objectName uploadUrl expiresIn } } }";
    let request = json!({ "entityId": own_id, "entityType": "MediaItem", "objectName": object,
                          "mimeType": "video/quicktime" });
    let urls = ada.ask("generateBatchUploadUrls", batch, json!({ "requests": [request] })).await;
    assert_eq!(urls["uploadUrls"][0]["entityId"], own_id, "as it was sent");
    ada.put(&urls["uploadUrls"][0]["uploadUrl"], "video/quicktime", &film_bytes).await;
    let film_id = json!(film["id"].as_str().expect("an id").to_uppercase());
    assert_eq!(ada.mark(&film_id, "MediaItem", &object).await, true);
    assert_eq!(ada.mark(&film_id, "MediaItem", &object).await, true, "again");

    // ── Tracks: one of a file that is there, one processed, one whose file comes later ──
    let file = gpx_file();
    let gpx_url = "mutation GenerateGpxUploadUrl($name: String!) {
        generateGpxUploadUrl(filename: $name) { ...UrlFields } }";
    let mut objects = Vec::new();
    for name in ["up.gpx", "down.gpx", "later.gpx"] {
        let url = ada.ask("generateGpxUploadUrl", gpx_url, json!({ "name": name })).await;
        if name != "later.gpx" {
            ada.put(&url["uploadUrl"], GPX, &file).await;
        }
        objects.push(url);
    }
    let new = |name: &str, object: &Json| {
        json!({ "name": name, "gpxFileObjectName": object, "originalFilename": "up.gpx",
                "tripId": trip["id"], "memoryId": memory["id"], "creator": "Watch", "trackType": null })
    };
    let input = new("Up", &objects[0]["objectKey"]);
    let up = ada.write("createGpxTrack", "GPXTrackInput", "TrackDetails", input).await;
    assert_is_read(&up);
    assert_eq!((&up["creator"], &up["memoryId"]), (&json!("Watch"), &memory["id"]));
    assert!(ada.get(&up["downloadUrl"]).await == file);
    let process = "mutation ProcessGpxFile($name: String!, $trip: ID!, $object: String!) {
        processGpxFile(trackName: $name, tripId: $trip, objectName: $object) { ...TrackDetails } }";
    let variables =
        json!({ "name": "Down", "trip": trip["id"], "object": objects[1]["objectKey"] });
    let down = ada.ask("processGpxFile", process, variables.clone()).await;
    assert_is_read(&down);
    let again = ada.ask("processGpxFile", process, variables).await;
    assert_eq!(again["id"], down["id"], "sent again");
    let input = new("Later", &objects[2]["objectKey"]);
    let later = ada.write("createGpxTrack", "GPXTrackInput", "TrackDetails", input).await;
    assert_eq!((&later["syncStatus"], &later["segments"]), (&json!("FILES_PENDING"), &json!([])));
    ada.put(&objects[2]["uploadUrl"], GPX, &file).await;
    assert_eq!(ada.mark(&later["id"], "GPXTrack", &objects[2]["objectKey"]).await, true);
    assert_is_read(&ada.track(&later["id"]).await);

    // ── Points on the way ──
    let points = json!([
        { "latitude": 47.2, "longitude": 9.3, "altitude": 800.5, "speed": 1.25, "timestamp": "2026-07-01T08:00:00Z" },
        { "latitude": 47.21, "longitude": 9.31, "altitude": null, "speed": null, "timestamp": "2026-07-01T08:00:05.5Z" },
    ]);
    let create = "mutation CreateRoutePoints($points: [RoutePointInput!]!, $trip: ID!) {
        createRoutePoints(points: $points, tripId: $trip) { ...PointFields } }";
    let variables = json!({ "points": points, "trip": trip["id"] });
    let made = ada.ask("createRoutePoints", create, variables.clone()).await;
    assert_eq!(
        ids(&ada.ask("createRoutePoints", create, variables).await),
        ids(&made),
        "sent again"
    );
    let query = "query RoutePoints($trip: ID!) { routePoints(tripId: $trip) { ...PointFields } }";
    let way = ada.ask("routePoints", query, json!({ "trip": trip["id"] })).await;
    assert_eq!(way.as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&way[0]["altitude"], &way[1]["timestamp"]),
        (&json!(800.5), &json!("2026-07-01T08:00:05.500Z"))
    );

    // ── Done ──
    let complete = "mutation CompleteBucketListItem($memory: ID!, $id: ID!) {
        completeBucketListItem(memoryId: $memory, id: $id) { ...BucketFields } }";
    let variables = json!({ "memory": memory["id"], "id": item["id"] });
    let done = ada.ask("completeBucketListItem", complete, variables.clone()).await;
    assert_eq!((&done["isDone"], &done["memories"][0]["id"]), (&json!(true), &memory["id"]));
    assert!(done["completedAt"].is_string());
    let again = ada.ask("completeBucketListItem", complete, variables).await;
    assert_eq!(
        (&again["completedAt"], &again["syncVersion"]),
        (&done["completedAt"], &done["syncVersion"])
    );

    // ── Everything can be read ──
    let trips = ada.list("trips", "TripDetails").await;
    assert_eq!(trips.len(), 1);
    assert_eq!(trips[0]["memories"][0]["mediaItems"].as_array().map(Vec::len), Some(2));
    assert_eq!(trips[0]["trackSegments"].as_array().map(Vec::len), Some(6));
    assert_eq!(trips[0]["routePoints"], way);
    let query = "query Trip($id: ID!) { trip(id: $id) { ...TripDetails } }";
    let read = ada.ask("trip", query, json!({ "id": trip["id"] })).await;
    assert_eq!(ids(&read["gpxTracks"]), ids(&json!([up["id"], down["id"], later["id"]])));
    let query = "query Memories($trip: ID) { memories(tripId: $trip) { ...MemoryDetails } }";
    for variables in [json!({}), json!({ "trip": null }), json!({ "trip": trip["id"] })] {
        assert_eq!(ids(&ada.ask("memories", query, variables).await), ids(&json!([memory["id"]])));
    }
    let query = "query Memory($id: String!) { memory(id: $id) { ...MemoryDetails } }";
    let read = ada.ask("memory", query, json!({ "id": memory["id"] })).await;
    assert_eq!(read["gpxTrack"]["memoryId"], memory["id"]);
    let read = &read["mediaItems"];
    let read = one(read, &film["id"]);
    assert_eq!((&read["syncStatus"], &read["duration"]), (&json!("IN_SYNC"), &json!(7.0)));
    assert!(ada.get(&read["downloadUrl"]).await == film_bytes);
    let query = "query SearchMemories($trip: ID, $query: String!) {
        searchMemories(tripId: $trip, query: $query) { ...MemoryFields } }";
    for words in ["GRUSSE gipfel", "windy", "santis", "hut"] {
        let found = ada.ask("searchMemories", query, json!({ "query": words })).await;
        assert_eq!(ids(&found), ids(&json!([memory["id"]])), "{words}");
    }
    assert_eq!(ada.list("tags", "TagFields").await[0]["usageCount"], 1);
    assert_eq!(ada.list("tagCategories", "CategoryFields").await[0]["tags"][0]["id"], tag["id"]);
    assert_eq!(ada.list("bucketListItems", "BucketFields").await.len(), 1);
    let query =
        "query GpxTracksByTrip($trip: ID!) { gpxTracksByTrip(tripId: $trip) { ...TrackDetails } }";
    let tracks = ada.ask("gpxTracksByTrip", query, json!({ "trip": trip["id"] })).await;
    tracks.as_array().expect("tracks").iter().for_each(assert_is_read);
    let query = "query GetPresignedDownloadUrl($key: String!) {
        getPresignedDownloadUrl(objectKey: $key) { ...UrlFields } }";
    let url =
        ada.ask("getPresignedDownloadUrl", query, json!({ "key": upload["objectKey"] })).await;
    assert!(ada.get(&url["downloadUrl"]).await == photo_bytes);
    let query = "query GenerateBatchDownloadUrls($media: [ID!], $tracks: [ID!], $seconds: Int) {
        generateBatchDownloadUrls(mediaItemIds: $media, gpxTrackIds: $tracks, expiresIn: $seconds) {
            __typename generatedAt
            downloadUrls { __typename entityId entityType objectName downloadUrl expiresIn } } }";
    let variables =
        json!({ "media": [photo["id"], film_id], "tracks": [up["id"]], "seconds": 600 });
    let urls = ada.ask("generateBatchDownloadUrls", query, variables).await;
    let mut found = BTreeMap::new();
    for url in urls["downloadUrls"].as_array().expect("URLs") {
        assert_eq!(url["expiresIn"], 600);
        found.insert(url["entityId"].as_str().expect("an id"), ada.get(&url["downloadUrl"]).await);
    }
    assert_eq!(found.len(), 3);
    for (row, bytes) in [(&photo, &photo_bytes), (&film, &film_bytes), (&up, &file)] {
        assert!(found[row["id"].as_str().expect("an id")] == *bytes);
    }

    // ── Another member comes and goes ──
    let mut bob = Phone::new(app);
    bob.token = Some(app.register("bob").await);
    let bob_id = bob.ask("getCurrentUser", current, json!({})).await["id"].clone();
    let share = "mutation ShareTrip($permission: Permission!, $email: String!, $trip: ID!) {
        shareTrip(permission: $permission, email: $email, tripId: $trip) { __typename id role } }";
    let variables = json!({ "permission": "READ", "email": "bob@example.org", "trip": trip["id"] });
    let shared = ada.ask("shareTrip", share, variables).await;
    assert_eq!(shared["role"], "VIEWER");
    let change = "mutation ChangeTripRole($trip: ID!, $user: ID!, $permission: Permission!) {
        changeTripRole(tripId: $trip, userId: $user, permission: $permission) { __typename id role } }";
    let variables = json!({ "trip": trip["id"], "user": bob_id, "permission": "ADMIN" });
    let changed = ada.ask("changeTripRole", change, variables).await;
    assert_eq!((&changed["role"], &changed["id"]), (&json!("EDITOR"), &shared["id"]));
    let query = "query GetTripMembers($trip: ID!) { getTripMembers(tripId: $trip) {
        __typename id tripId userId role status createdAt user { ...UserFields }
        trip { ...TripFields } } }";
    let members = ada.ask("getTripMembers", query, json!({ "trip": trip["id"] })).await;
    let told: Vec<_> = [0, 1].map(|at| (&members[at]["userId"], &members[at]["role"])).to_vec();
    assert_eq!(told, [(&user["id"], &json!("OWNER")), (&bob_id, &json!("EDITOR"))]);
    assert_eq!(bob.list("trips", "TripFields").await[0]["role"], "EDITOR");
    let unshare = "mutation UnshareTrip($trip: ID!, $user: ID!) {
        unshareTrip(tripId: $trip, userId: $user) }";
    let variables = json!({ "trip": trip["id"], "user": bob_id });
    for _ in 0..2 {
        assert_eq!(ada.ask("unshareTrip", unshare, variables.clone()).await, true);
    }
    assert!(bob.list("trips", "TripFields").await.is_empty());

    // ── A sync of everything ──
    let all = ada.sync(YEAR_1).await;
    assert_eq!(ids(&all["trips"]), ids(&json!([trip["id"]])));
    assert_eq!(ids(&all["memories"]), ids(&json!([memory["id"]])));
    assert_eq!(ids(&all["tags"]), ids(&json!([tag["id"]])));
    assert_eq!(ids(&all["tagCategories"]), ids(&json!([category["id"]])));
    assert_eq!(ids(&all["mediaItems"]), ids(&json!([photo["id"], film["id"]])));
    assert_eq!(ids(&all["gpxTracks"]), ids(&json!([up["id"], down["id"], later["id"]])));
    assert_eq!(ids(&all["bucketListItems"]), ids(&json!([item["id"]])));
    assert!(LISTS.iter().all(|list| all["deleted"][list] == json!([])));
    assert!(ada.get(&one(&all["mediaItems"], &photo["id"])["downloadUrl"]).await == photo_bytes);

    // ── Each is changed ──
    let input = json!({ "name": "Alpstein 2026", "tripDescription": null, "endDate": "2026-07-03T18:00:00Z" });
    let changed = ada
        .change("updateTrip", (&trip["id"], "ID"), (input, "UpdateTripInput"), "TripFields")
        .await;
    assert_eq!((&changed["name"], &changed["isActive"]), (&json!("Alpstein 2026"), &json!(true)));
    assert_eq!(changed["tripDescription"], Json::Null, "cleared");
    let input = json!({ "title": "Auf dem Gipfel", "content": "Calm", "address": "Top",
                        "date": "2026-07-01T13:00:00Z", "tagIds": [tag["id"]] });
    let changed = ada
        .change(
            "updateMemory",
            (&memory["id"], "String"),
            (input, "UpdateMemoryInput"),
            "MemoryDetails",
        )
        .await;
    assert_eq!((&changed["text"], &changed["locationName"]), (&json!("Calm"), &json!("Top")));
    assert_eq!(
        (&changed["timestamp"], &changed["latitude"]),
        (&json!("2026-07-01T13:00:00.000Z"), &json!(47.2494))
    );
    let input = json!({ "order": 9, "mediaType": null });
    let changed = ada
        .change(
            "updateMediaItem",
            (&photo["id"], "String"),
            (input, "UpdateMediaItemInput"),
            "MediaFields",
        )
        .await;
    assert_eq!((&changed["order"], &changed["mimeType"]), (&json!(9), &json!("image/heic")));
    let input = json!({ "name": "Refuge", "color": "#ff0000" });
    let changed = ada
        .change("updateTag", (&tag["id"], "String"), (input, "UpdateTagInput"), "TagFields")
        .await;
    assert_eq!((&changed["name"], &changed["emoji"]), (&json!("Refuge"), &json!("🛖")));
    let input = json!({ "name": "Lodging", "icon": "🏠" });
    let changed = ada
        .change(
            "updateTagCategory",
            (&category["id"], "String"),
            (input, "UpdateTagCategoryInput"),
            "CategoryFields",
        )
        .await;
    assert_eq!((&changed["name"], &changed["emoji"]), (&json!("Lodging"), &json!("🏠")));
    let input = json!({ "name": "Säntis", "region": "Appenzell", "isDone": false });
    let changed = ada
        .change(
            "updateBucketListItem",
            (&item["id"], "ID"),
            (input, "BucketListItemInput"),
            "BucketFields",
        )
        .await;
    assert_eq!((&changed["region"], &changed["isDone"]), (&json!("Appenzell"), &json!(false)));
    let input = json!({ "name": "Way up", "trackType": "hiking" });
    let changed = ada
        .change("updateGpxTrack", (&up["id"], "ID"), (input, "UpdateGPXTrackInput"), "TrackDetails")
        .await;
    assert_eq!((&changed["name"], &changed["trackType"]), (&json!("Way up"), &json!("hiking")));
    assert_is_read(&changed);

    let since = all["serverTimestamp"].as_str().expect("a time");
    let news = ada.sync(since).await;
    for (list, row, field, value) in [
        ("trips", &trip, "name", "Alpstein 2026"),
        ("memories", &memory, "title", "Auf dem Gipfel"),
        ("tags", &tag, "name", "Refuge"),
        ("tagCategories", &category, "name", "Lodging"),
        ("bucketListItems", &item, "region", "Appenzell"),
        ("gpxTracks", &up, "name", "Way up"),
    ] {
        assert_eq!(one(&news[list], &row["id"])[field], value);
    }
    assert_eq!(one(&news["mediaItems"], &photo["id"])["order"], 9);

    // ── Each is deleted, and once more, as after a lost answer ──
    for (field, id, id_type) in [
        ("deleteGpxTrack", &up["id"], "ID"),
        ("deleteMediaItem", &photo["id"], "String"),
        ("deleteMemory", &memory["id"], "String"),
        ("deleteTag", &tag["id"], "String"),
        ("deleteTagCategory", &category["id"], "String"),
        ("deleteBucketListItem", &item["id"], "ID"),
        ("deleteTrip", &trip["id"], "ID"),
    ] {
        for _ in 0..2 {
            ada.delete(field, id, id_type).await;
        }
    }
    let end = ada.sync(news["serverTimestamp"].as_str().expect("a time")).await;
    for (list, gone) in [
        ("trips", json!([trip["id"]])),
        ("memories", json!([memory["id"]])),
        ("tags", json!([tag["id"]])),
        ("tagCategories", json!([category["id"]])),
        ("mediaItems", json!([photo["id"], film["id"]])),
        ("gpxTracks", json!([up["id"], down["id"], later["id"]])),
        ("bucketListItems", json!([item["id"]])),
    ] {
        assert_eq!(ids(&end["deleted"][list]), ids(&gone), "{list}");
        assert_eq!(end[list], json!([]), "{list}");
    }
    let fresh = ada.sync(YEAR_1).await;
    assert!(LISTS.iter().all(|list| fresh[list] == json!([])), "nothing is left: {fresh}");

    // ── Good-bye ──
    ada.list("devices", "DeviceFields").await;
    let refresh =
        "mutation RefreshToken { refreshToken { __typename token user { ...UserFields } } }";
    let session = ada.ask("refreshToken", refresh, json!({})).await;
    ada.token = Some(session["token"].as_str().expect("a token").to_owned());
    let change = "mutation ChangePassword($old: String!, $new: String!) {
        changePassword(currentPassword: $old, newPassword: $new) {
            __typename token user { ...UserFields } } }";
    let variables = json!({ "old": "correct horse", "new": "battery staple" });
    let session = ada.ask("changePassword", change, variables).await;
    ada.token = Some(session["token"].as_str().expect("a token").to_owned());
    let logout = "mutation Logout { logout }";
    assert_eq!(ada.ask("logout", logout, json!({})).await, true);
    let answer = ada.send(current, json!({})).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");

    let login = "mutation Login($input: UserInput!) { login(input: $input) { __typename token } }";
    let input = json!({ "email": "ada@example.org", "password": "battery staple" });
    let session = ada.ask("login", login, json!({ "input": input })).await;
    ada.token = Some(session["token"].as_str().expect("a token").to_owned());
    let erase = "mutation Erase($password: String!) { deleteAccount(password: $password) }";
    assert_eq!(
        ada.ask("deleteAccount", erase, json!({ "password": "battery staple" })).await,
        true
    );
    let answer = ada.send(current, json!({})).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");

    let called = ada.called.into_inner();
    let all = fields_of("Query").into_iter().chain(fields_of("Mutation"));
    let missed: Vec<_> =
        all.filter(|field| !called.contains(field) && !BULK.contains(&field.as_str())).collect();
    assert!(missed.is_empty(), "never called: {missed:?}");
    assert!(ada.dates_seen.get() > 500, "dates were looked at: {}", ada.dates_seen.get());
}

async fn on_disk(backend: Backend) {
    let app = App::start(backend).await;
    cycle(&app).await;
    app.finish().await;
}

async fn on_s3(backend: Backend) {
    let s3 = S3::start().await;
    let arguments = s3.arguments("/cairn");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let app = App::start_with(backend, &arguments).await;
    cycle(&app).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_cycle_sqlite_disk() {
    on_disk(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_cycle_sqlite_s3() {
    on_s3(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_cycle_postgres_disk() {
    on_disk(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_cycle_postgres_s3() {
    on_s3(Backend::Postgres).await;
}

#[test]
fn the_schema_is_read_as_it_is_written() {
    assert!(fields_of("Query").contains("hello") && fields_of("Mutation").len() > 30);
    assert!(
        date_fields().is_superset(
            &["created_at", "serverTimestamp", "lastSeenAt"].map(str::to_owned).into()
        )
    );
    assert!(is_date("2026-07-01T08:00:00.000Z"));
    for bad in ["2026-07-01T08:00:00Z", "2026-07-01T08:00:00.000+00:00", "2026-07-01 08:00:00.000Z"]
    {
        assert!(!is_date(bad), "{bad}");
    }
}
