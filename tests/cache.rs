//! Answers that are kept: they are never older than the question, never another's, and whatever
//! becomes of Redis costs time and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn::cache::Source;
use proptest::prelude::*;
use reqwest::header::{
    ACCEPT_ENCODING, AGE, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, IF_NONE_MATCH, VARY,
    WWW_AUTHENTICATE,
};
use sea_orm::ConnectionTrait;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{
    App, Backend, Device, Finished, Process, Redis, TestDatabase, Variant, create, delete,
    eventually, explore, property_with, pull_query, update,
};

const TRIPS: &str = "{ trips { id name role } }";

/// An answer with what HTTP says of it.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    async fn of(request: reqwest::RequestBuilder) -> Got {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.expect("the answer is whole").to_vec();
        Got { status, headers, body }
    }

    fn header(&self, name: impl reqwest::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    fn source(&self) -> &str {
        self.header("x-cairn-cache")
    }

    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

fn post(app: &App, token: &str, query: &str, variables: Json) -> reqwest::RequestBuilder {
    let body = json!({ "query": query, "variables": variables });
    app.client.post(format!("{}/graphql", app.url)).json(&body).bearer_auth(token)
}

async fn ask(device: &Device<'_>, query: &str) -> Got {
    Got::of(post(device.app, &device.token, query, json!({}))).await
}

/// The answer as the database gives it now.
async fn anew(device: &Device<'_>, query: &str, variables: Json) -> Json {
    let request = post(device.app, &device.token, query, variables);
    let got = Got::of(request.header(CACHE_CONTROL, "no-cache")).await;
    assert_eq!(got.source(), "bypass");
    got.json()
}

/// Without what may lie further back: times, and what hangs on them.
fn without_times(mut answer: Json) -> Json {
    let pages = answer["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut());
    for page in pages.filter_map(Json::as_object_mut) {
        page.remove("serverTimestamp");
    }
    answer
}

async fn start(variant: Variant, backend: Backend) -> App {
    App::start_with(backend, &variant.arguments()).await
}

/// A server with memory, which always is what it seems.
async fn with_memory() -> App {
    start(Variant::Memory, Backend::Sqlite).await
}

// ── Hits ─────────────────────────────────────────────────────────────────────────────────────

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_question_gets_the_same_bytes_until_something_moves() {
    for (variant, hit) in [
        (Variant::Memory, "hit-memory"),
        (Variant::Redis, "hit-redis"),
        (Variant::Both, "hit-memory"),
    ] {
        let app = start(variant, Backend::Sqlite).await;
        let ada = app.device_of("ada").await;
        let trip = ada.trip("Alps").await;
        let pull = pull_query();
        let mut first = ask(&ada, &pull).await;
        assert_eq!(first.source(), "miss", "{variant:?}");
        assert!(!first.headers.contains_key(AGE));
        if variant == Variant::Redis {
            // It is told in the background, and may have been just starting.
            eventually("Redis has it", async || {
                first = ask(&ada, &pull).await;
                first.source() == hit
            })
            .await;
        }
        let again = ask(&ada, &pull).await;
        assert_eq!((again.source(), &again.body), (hit, &first.body));
        assert!(again.header(AGE).parse::<u64>().is_ok_and(|age| age < 60), "{again:?}");
        assert_eq!(again.header(CACHE_CONTROL), "private, no-cache");
        assert_eq!(again.header(VARY), "authorization, accept, accept-encoding");
        // Another document, other variables: another answer.
        assert_eq!(ask(&ada, TRIPS).await.source(), "miss");
        let sized = post(&app, &ada.token, &pull, json!({ "size": 1 }));
        assert_eq!(Got::of(sized).await.source(), "miss");
        // A push makes everything new, and nothing had to be told.
        ada.memory(trip, "Hut").await;
        let moved = ask(&ada, &pull).await;
        assert_eq!(moved.source(), "miss");
        assert_eq!(moved.json()["data"]["enhancedSync"]["memories"][0]["title"], "Hut");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_writes_leaves_the_answers_of_those_who_do_not_see_it() {
    for (backend, variant, hit) in [
        (Backend::Sqlite, Variant::Memory, "hit-memory"),
        (Backend::Postgres, Variant::Redis, "hit-redis"),
        (Backend::Postgres, Variant::Both, "hit-memory"),
    ] {
        let app = start(variant, backend).await;
        let [ada, grace] = [app.device_of("ada").await, app.device_of("grace").await];
        ada.trip("Alps").await;
        let pull = pull_query();
        eventually("it is kept", async || ask(&ada, &pull).await.source() == hit).await;
        let kept = ask(&ada, &pull).await;
        // Grace writes, and shares with a third; nothing of it is Ada's.
        let hers = grace.trip("Andes").await;
        grace.memory(hers, "Hut").await;
        let third = app.device_of("third").await;
        grace.share(hers, &third, "EDITOR").await;
        third.memory(hers, "Bivouac").await;
        let again = ask(&ada, &pull).await;
        assert_eq!((again.source(), &again.body), (hit, &kept.body), "{variant:?}");
        // What she sees is another matter.
        grace.share(hers, &ada, "VIEWER").await;
        let shared = ask(&ada, &pull).await;
        assert_eq!(shared.source(), "miss");
        assert_eq!(
            shared.json()["data"]["enhancedSync"]["trips"].as_array().map(Vec::len),
            Some(2)
        );
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tiers_nothing_is_kept() {
    let app = start(Variant::None, Backend::Sqlite).await;
    let ada = app.device_of("ada").await;
    for _ in 0..3 {
        assert_eq!(ask(&ada, TRIPS).await.source(), "bypass");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_ends_with_its_time() {
    let arguments = ["--cache-ttl-local", "1", "--sync-cache-ttl", "0"];
    let app = App::start_with(Backend::Sqlite, &arguments).await;
    let ada = app.device_of("ada").await;
    ask(&ada, TRIPS).await;
    eventually("it is made again", async || ask(&ada, TRIPS).await.source() == "miss").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_has_what_another_has_made() {
    let app = start(Variant::Both, Backend::Postgres).await;
    let arguments = [&Variant::Both.arguments()[..], &["--public-url", &app.url]].concat();
    let other = app.beside(&arguments).await;
    let ada = app.device_of("ada").await;
    // URLs are the same wherever they come from, if the instances are one server.
    let query = "{ trips { id name } }";
    let here = ask(&ada, query).await;
    assert_eq!(here.source(), "miss");
    let there = Device::new(&other, "ada", ada.token.clone());
    let mut got = ask(&there, query).await;
    eventually("the other has it", async || {
        // Each miss of the other is kept by it, too: ask for what only the first has.
        let fresh = format!("query Q{} {query}", Uuid::new_v4().simple());
        let here = ask(&ada, &fresh).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        got = ask(&there, &fresh).await;
        here.body == got.body && got.source() == "hit-redis"
    })
    .await;
    other.finish().await;
    app.finish().await;
}

// ── HTTP ─────────────────────────────────────────────────────────────────────────────────────

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_compressed_once_and_tagged() {
    let app = with_memory().await;
    let ada = app.device_of("ada").await;
    let trip = ada.trip("Alps").await;
    let many = (0..50).map(|n| {
        let fields = json!({ "tripId": trip, "title": format!("Hut {n}"), "date": "2026-01-15T10:30:00.000Z" });
        create("Memory", Uuid::new_v4(), fields).1
    });
    ada.push(json!({ "memories": many.collect::<Vec<_>>() })).await;
    let query = "{ memories { id title tripId } }";
    let coded = async |coding: &str| {
        Got::of(post(&app, &ada.token, query, json!({})).header(ACCEPT_ENCODING, coding)).await
    };
    let (plain, gzip, zstd) =
        (coded("identity").await, coded("gzip").await, coded("zstd, gzip").await);
    assert_eq!((gzip.source(), zstd.source()), ("hit-memory", "hit-memory"));
    assert_eq!(plain.header(CONTENT_ENCODING), "");
    assert_eq!(gzip.header(CONTENT_ENCODING), "gzip");
    assert_eq!(zstd.header(CONTENT_ENCODING), "zstd");
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzip.body[..]), &mut unpacked)
        .expect("gzip");
    assert_eq!(unpacked, plain.body);
    assert!(gzip.body.len() < plain.body.len() / 2 && zstd.body.len() < plain.body.len() / 2);
    // Each form has a tag of its own, and keeps it.
    let tags = [&plain, &gzip, &zstd].map(|got| got.header(ETAG).to_owned());
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags.iter().all(|tag| tag.len() > 10));
    assert_eq!(coded("gzip").await.header(ETAG), tags[1]);
    // A small answer goes as it is, and is not compressed behind the tag's back.
    let small =
        Got::of(post(&app, &ada.token, TRIPS, json!({})).header(ACCEPT_ENCODING, "gzip")).await;
    assert_eq!(small.header(CONTENT_ENCODING), "");
    assert_eq!(small.json()["data"]["trips"][0]["name"], "Alps");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_it_is_told_so_by_get_and_answered_by_post() {
    let app = with_memory().await;
    let ada = app.device_of("ada").await;
    ada.trip("Alps").await;
    let url = format!("{}/graphql", app.url);
    let get = |known: &str| {
        let request = app.client.get(&url).query(&[("query", TRIPS)]).bearer_auth(&ada.token);
        Got::of(request.header(IF_NONE_MATCH, known.to_owned()))
    };
    let first = get("\"nothing\"").await;
    assert_eq!((first.status, first.source()), (200, "miss"));
    let tag = first.header(ETAG).to_owned();
    for known in [tag.clone(), format!("W/{tag}, \"x\""), "*".into()] {
        let known = get(&known).await;
        assert_eq!((known.status, known.body.len()), (304, 0));
        assert_eq!(known.header(ETAG), tag);
        assert_eq!(known.header(CACHE_CONTROL), "private, no-cache");
    }
    assert_eq!(get("\"nothing\"").await.body, first.body);
    let posted = post(&app, &ada.token, TRIPS, json!({})).header(IF_NONE_MATCH, &tag);
    let posted = Got::of(posted).await;
    assert_eq!((posted.status, &posted.body), (200, &first.body));
    ada.trip("Andes").await;
    let moved = get(&tag).await;
    assert_eq!((moved.status, moved.source()), (200, "miss"));
    assert_ne!(moved.header(ETAG), tag);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_kept_is_not() {
    let app = with_memory().await;
    let ada = app.device_of("ada").await;
    ada.trip("Alps").await;
    for query in ["{ getCurrentUser { id } }", "{ devices { id } }", "{ trips { id } hello }"] {
        for _ in 0..2 {
            let got = ask(&ada, query).await;
            assert_eq!((got.source(), got.header(ETAG)), ("bypass", ""), "{query}");
        }
    }
    // Errors are made anew, however often.
    for query in ["{ enhancedSync(cursor: \"x\") { hasMore } }", "{ trips { id role(x: 1) } }"] {
        for _ in 0..2 {
            let got = ask(&ada, query).await;
            assert_eq!(got.source(), "miss", "{query}");
            assert!(got.json()["errors"].is_array(), "{query}");
        }
    }
    app.finish().await;
}

// ── Whose it is ──────────────────────────────────────────────────────────────────────────────

/// Tells a story on both databases, with all that may keep answers.
async fn with_each_cache(story: impl AsyncFn(&App)) {
    for (backend, variant) in [
        (Backend::Sqlite, Variant::Memory),
        (Backend::Sqlite, Variant::Redis),
        (Backend::Postgres, Variant::Redis),
        (Backend::Postgres, Variant::Both),
    ] {
        let app = start(variant, backend).await;
        story(&app).await;
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g16_nothing_is_kept_across_people_roles_or_sessions() {
    with_each_cache(async |app| {
        let [ada, _] = app.two_devices_of("ada").await;
        let grace = app.device_of("grace").await;
        let trip = ada.trip("Alps").await;
        let names =
            async |device: &Device<'_>| ask(device, TRIPS).await.json()["data"]["trips"].clone();
        let row = |role: &str| json!([{ "id": trip, "name": "Alps", "role": role }]);
        for _ in 0..2 {
            assert_eq!(names(&ada).await, row("OWNER"));
            assert_eq!(names(&grace).await, json!([]));
        }
        for role in ["VIEWER", "EDITOR", "VIEWER"] {
            ada.share(trip, &grace, role).await;
            for _ in 0..2 {
                assert_eq!(names(&grace).await, row(role));
            }
        }
        ada.unshare(trip, &grace).await;
        for _ in 0..2 {
            assert_eq!(names(&grace).await, json!([]));
            assert_eq!(names(&ada).await, row("OWNER"));
        }
        ada.share(trip, &grace, "VIEWER").await;
        assert_eq!(names(&grace).await, row("VIEWER"));
        // Without a session there is nothing, whatever is kept.
        grace.ask("mutation { logout }", json!({})).await;
        for token in [grace.token.as_str(), "nonsense"] {
            let refused = Got::of(post(app, token, TRIPS, json!({}))).await.json();
            assert_eq!(refused["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        }
        let nobody = app.ask(None, TRIPS, json!({})).await;
        assert_eq!(nobody["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    })
    .await;
}

/// One row is told of a file, and one head moves. Who sees only the other row has no other key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_is_shown_wherever_it_is_named() {
    with_each_cache(async |app| {
        let [ada, grace] = [app.device_of("ada").await, app.device_of("grace").await];
        let trips = [ada.trip("Alps").await, ada.trip("Andes").await];
        ada.share(trips[1], &grace, "VIEWER").await;
        let url = ada.upload_url("cover.jpg", "image/jpeg").await;
        for trip in trips {
            let cover = json!({ "coverImageObjectName": "cover.jpg" });
            assert_eq!(ada.push_one(update("Trip", trip, 1, cover)).await, "ok 2");
        }
        let covers = async |device: &Device<'_>| {
            let trips = ask(device, "{ trips { id coverImageUrl } }").await.json();
            let trips = trips["data"]["trips"].as_array().expect("trips").clone();
            trips.iter().filter(|trip| trip["coverImageUrl"].is_string()).count()
        };
        for _ in 0..2 {
            assert_eq!((covers(&ada).await, covers(&grace).await), (0, 0));
        }
        let put = app.client.put(url).header("content-type", "image/jpeg").body("a picture");
        assert!(put.send().await.expect("an answer").status().is_success());
        let mark = "mutation($id: ID!) {
            markFileUploadComplete(entityId: $id, entityType: \"Trip\", objectName: \"cover.jpg\") }";
        let marked = ada.ask(mark, json!({ "id": trips[0] })).await;
        assert_eq!(marked["data"]["markFileUploadComplete"], true, "{marked}");
        for _ in 0..2 {
            assert_eq!((covers(&ada).await, covers(&grace).await), (2, 1));
        }
    })
    .await;
}

// ── Truth ────────────────────────────────────────────────────────────────────────────────────

/// Everything that may be kept, asked about what two people work on. `since` are cursors of one of them:
/// of a whole pull, and of one of some kinds.
fn questions(world: &World<'_>, since: &[String; 2]) -> Vec<(String, Json)> {
    let row =
        "id syncVersion syncStatus isDirty needsSync updatedAt lastSyncAttempt syncErrorMessage";
    let tag = "id name displayName categoryId syncVersion updatedAt usageCount normalizedName \
               category { id name } relatedTags { id name syncStatus }";
    let memory = format!(
        "{row} title content tagIds userId location {{ latitude name }} tags {{ {tag} }} \
         gpxTrack {{ {row} name }} mediaItems {{ {row} filename }}"
    );
    let segments = "id segmentType distance points { latitude speed }";
    let track = format!("{row} name memoryId totalDistance segments {{ {segments} }}");
    let conflicts = "conflicts { id entityId conflictType currentVersion localVersion remoteVersion \
                     localData remoteData baseData conflictedFields status operation \
                     resolution { strategy } }";
    let lists = format!(
        "trips {{ {row} name role routePoints {{ id latitude }} memories {{ {memory} }}
                  gpxTracks {{ {track} }} trackSegments {{ {segments} }} }}
         memories {{ {memory} }} tags {{ {row} {tag} }}
         tagCategories {{ {row} name tags {{ {row} name }} }}
         bucketListItems {{ {row} name memories {{ id title }} }}"
    );
    let kinds = "trips memories tags tagCategories bucketListItems mediaItems gpxTracks";
    let deleted = format!("deleted {{ {kinds} }}");
    let page = format!(
        "{lists} mediaItems {{ {row} memoryId filename }} gpxTracks {{ {track} }} {deleted}"
    );
    let enhanced = format!("{page} {conflicts} totalCount hasMore nextCursor serverTimestamp");
    let some = "entityTypes: [Memory, Tag, MediaItem, GPXTrack], syncPriority: NORMAL";
    vec![
        (format!("{{ {lists} }}"), json!({})),
        (
            format!(
                "query($whole: String, $part: String) {{ enhancedSync {{ {enhanced} }}
                    since: enhancedSync(cursor: $whole) {{ {enhanced} }}
                    part: enhancedSync(cursor: $part, {some}) {{ {enhanced} }}
                    small: enhancedSync(batchSize: 2) {{ {enhanced} }} }}"
            ),
            json!({ "whole": since[0], "part": since[1] }),
        ),
        (
            format!(
                "{{ sync(lastSyncedAt: \"0001-01-01T00:00:00Z\") {{ {page} serverTimestamp }} }}"
            ),
            json!({}),
        ),
        (
            format!(
                "query($t: ID!, $m: String!, $g: ID!) {{ trip(id: $t) {{ {row} role }} memory(id: $m) {{ {memory} }}
                    memories(tripId: $t) {{ {memory} }} routePoints(tripId: $t) {{ id latitude }}
                    gpxTracksByTrip(tripId: $t) {{ {track} }} gpxTrack(id: $g) {{ {track} }} }}"
            ),
            json!({ "t": world.trips[0], "m": world.memory, "g": world.track }),
        ),
        ("{ searchMemories(query: \"x\") { id title tags { name } } }".into(), json!({})),
        // As long as files are missing this is not kept.
        ("{ trips { coverImageUrl } memories { mediaItems { downloadUrl } } }".into(), json!({})),
    ]
}

#[derive(Clone, Debug)]
enum Deed {
    Rename {
        whose: bool,
        stale: bool,
    },
    Tag {
        whose: bool,
        name: u8,
    },
    /// Onto the memory, or off it.
    Carry {
        whose: bool,
        on: bool,
    },
    DeleteTag,
    Category {
        gone: bool,
    },
    Touch {
        whose: bool,
    },
    Move,
    DeleteMemory,
    Role {
        role: u8,
    },
    Point,
    Item,
    /// Another picture.
    Media {
        whose: bool,
    },
    /// Another name, or another track.
    Track {
        gone: bool,
    },
    Resolve,
    Undo,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    use any as some;
    let deed = prop_oneof![
        (some::<bool>(), some::<bool>()).prop_map(|(whose, stale)| Deed::Rename { whose, stale }),
        (some::<bool>(), 0u8..3).prop_map(|(whose, name)| Deed::Tag { whose, name }),
        (some::<bool>(), some::<bool>()).prop_map(|(whose, on)| Deed::Carry { whose, on }),
        Just(Deed::DeleteTag),
        some::<bool>().prop_map(|gone| Deed::Category { gone }),
        some::<bool>().prop_map(|whose| Deed::Touch { whose }),
        Just(Deed::Move),
        Just(Deed::DeleteMemory),
        (0u8..4).prop_map(|role| Deed::Role { role }),
        Just(Deed::Point),
        Just(Deed::Item),
        some::<bool>().prop_map(|whose| Deed::Media { whose }),
        some::<bool>().prop_map(|gone| Deed::Track { gone }),
        Just(Deed::Resolve),
        Just(Deed::Undo),
    ];
    prop::collection::vec(deed, 1..10)
}

/// What two people do to a trip that they share.
struct World<'a> {
    people: [Device<'a>; 2],
    trips: [Uuid; 2],
    memory: Uuid,
    tags: [Uuid; 2],
    category: Uuid,
    item: Uuid,
    track: Uuid,
    /// Cursors of both people, from the beginning.
    since: [[String; 2]; 2],
    versions: BTreeMap<Uuid, i64>,
    number: u32,
}

/// A picture in a memory. Whoever may only read has none to give.
async fn media(device: &Device<'_>, memory: Uuid) {
    let id = Uuid::new_v4();
    let fields = json!({ "memoryId": memory, "objectName": format!("{id}.jpg"),
                         "mimeType": "image/jpeg", "fileSize": 1 });
    device.push_one(create("MediaItem", id, fields)).await;
}

async fn track(device: &Device<'_>, trip: Uuid, memory: Uuid) -> Uuid {
    let id = Uuid::new_v4();
    let fields = json!({ "tripId": trip, "memoryId": memory, "name": "way" });
    device.push_one(create("GPXTrack", id, fields)).await;
    id
}

/// Where a whole pull ends, and where one of some kinds does.
async fn cursors(device: &Device<'_>) -> [String; 2] {
    let both = "{ whole: enhancedSync { nextCursor }
        part: enhancedSync(entityTypes: [Memory, Tag, MediaItem, GPXTrack], syncPriority: NORMAL) { nextCursor } }";
    let data = device.ask(both, json!({})).await["data"].clone();
    ["whole", "part"].map(|name| data[name]["nextCursor"].as_str().expect("a cursor").to_owned())
}

impl<'a> World<'a> {
    async fn new(app: &'a App, name: &str) -> World<'a> {
        let people = [app.device_of(name).await, app.device_of(&format!("{name}b")).await];
        let ada = &people[0];
        let trips = [ada.trip("Alps").await, ada.trip("Andes").await];
        let memory = ada.memory(trips[0], "x 0").await;
        let tags = [ada.tag("one").await, people[1].tag("two").await];
        let (category, item) = (Uuid::new_v4(), Uuid::new_v4());
        ada.push_one(create("TagCategory", category, json!({ "name": "drawer" }))).await;
        ada.push_one(create("BucketListItem", item, json!({ "name": "fly" }))).await;
        let track = track(ada, trips[0], memory).await;
        media(ada, memory).await;
        let since = [cursors(&people[0]).await, cursors(&people[1]).await];
        let versions = BTreeMap::new();
        World { people, trips, memory, tags, category, item, track, since, versions, number: 0 }
    }

    /// Pushes an update on the version that it knows, and learns the next; whatever the verdict is.
    async fn edit(&mut self, who: usize, kind: &str, id: Uuid, stale: bool, fields: Json) {
        let version = self.versions.entry(id).or_insert(1);
        let base = if stale { 1 } else { *version };
        let pushed = self.people[who].push_one(update(kind, id, base, fields)).await;
        if let Some(now) = pushed.strip_prefix("ok ").and_then(|now| now.parse().ok()) {
            *version = now;
        }
    }

    async fn act(&mut self, deed: &Deed) {
        self.number += 1;
        let n = self.number;
        match deed.clone() {
            Deed::Rename { whose, stale } => {
                let fields = json!({ "title": format!("x {n}") });
                self.edit(whose.into(), "Memory", self.memory, stale, fields).await;
            }
            Deed::Tag { whose, name } => {
                let who = usize::from(whose);
                let fields = json!({ "displayName": format!("t{name}"), "sortOrder": n });
                let stale = name == 0;
                self.edit(who, "Tag", self.tags[who], stale, fields).await;
            }
            Deed::Carry { whose, on } => {
                let who = usize::from(whose);
                let tags = if on { json!([self.tags[who]]) } else { json!([]) };
                self.edit(who, "Memory", self.memory, false, json!({ "tagIds": tags })).await;
            }
            Deed::DeleteTag => {
                let version = self.versions.get(&self.tags[0]).copied().unwrap_or(1);
                self.people[0].push_one(delete("Tag", self.tags[0], version)).await;
                self.tags[0] = self.people[0].tag(&format!("one{n}")).await;
            }
            Deed::Category { gone: false } => {
                let fields = json!({ "categoryId": self.category });
                self.edit(0, "Tag", self.tags[0], false, fields).await;
            }
            Deed::Category { gone: true } => {
                self.people[0].push_one(delete("TagCategory", self.category, 1)).await;
                self.category = Uuid::new_v4();
                let name = json!({ "name": format!("drawer {n}") });
                self.people[0].push_one(create("TagCategory", self.category, name)).await;
            }
            Deed::Touch { whose } => {
                // Nothing changes but when it was tried.
                let who = usize::from(whose);
                self.edit(who, "Tag", self.tags[who], false, json!({})).await;
            }
            Deed::Move => {
                self.trips.swap(0, 1);
                let fields = json!({ "tripId": self.trips[0] });
                self.edit(0, "Memory", self.memory, false, fields).await;
            }
            Deed::DeleteMemory => {
                let version = self.versions.get(&self.memory).copied().unwrap_or(1);
                self.people[0].push_one(delete("Memory", self.memory, version)).await;
                self.memory = self.people[0].memory(self.trips[0], &format!("x {n}")).await;
            }
            Deed::Role { role } => {
                let [ada, grace] = &self.people;
                match role {
                    0 => ada.unshare(self.trips[0], grace).await,
                    1 => ada.share(self.trips[0], grace, "VIEWER").await,
                    _ => ada.share(self.trips[0], grace, "EDITOR").await,
                }
            }
            Deed::Point => {
                let add = "mutation($t: ID!, $p: [RoutePointInput!]!) {
                    createRoutePoints(tripId: $t, points: $p) { id } }";
                let point =
                    json!({ "latitude": n, "longitude": 1, "timestamp": "2026-01-15T10:30:00Z" });
                let variables = json!({ "t": self.trips[0], "p": [point] });
                self.people[0].ask(add, variables).await;
            }
            Deed::Item => {
                let fields = json!({ "isDone": n.is_multiple_of(2) });
                self.edit(0, "BucketListItem", self.item, false, fields).await;
                let done = "mutation($m: ID!, $i: ID!) {
                    completeBucketListItem(memoryId: $m, id: $i) { id } }";
                self.people[0].ask(done, json!({ "m": self.memory, "i": self.item })).await;
            }
            Deed::Media { whose } => media(&self.people[usize::from(whose)], self.memory).await,
            Deed::Track { gone: false } => {
                let fields = json!({ "name": format!("way {n}") });
                self.edit(0, "GPXTrack", self.track, false, fields).await;
            }
            Deed::Track { gone: true } => {
                let version = self.versions.get(&self.track).copied().unwrap_or(1);
                self.people[0].push_one(delete("GPXTrack", self.track, version)).await;
                self.track = track(&self.people[0], self.trips[0], self.memory).await;
            }
            Deed::Resolve => {
                let resolve = "mutation($id: ID!) {
                    resolveConflict(conflictId: $id, strategy: LAST_WRITE_WINS) { conflictId } }";
                self.decide("OPEN", resolve).await;
            }
            Deed::Undo => {
                let undo = "mutation($id: ID!) { undoResolution(conflictId: $id) { id } }";
                self.decide("RESOLVED", undo).await;
            }
        }
    }

    /// Sends this for each conflict with this status. Not all can be decided, or undone.
    async fn decide(&self, status: &str, mutation: &str) {
        let all = "query($status: ConflictStatus) { getConflicts(status: $status) { id } }";
        let all = self.people[0].ask(all, json!({ "status": status })).await;
        for conflict in all["data"]["getConflicts"].as_array().expect("a list") {
            self.people[0].ask(mutation, json!({ "id": conflict["id"] })).await;
        }
    }

    /// Every answer is what the database says now, whoever asks, and however often. Gives how many of them
    /// had been kept.
    async fn check(&self) -> Result<usize, TestCaseError> {
        let mut kept = 0;
        for (person, since) in self.people.iter().zip(&self.since) {
            for (query, variables) in questions(self, since) {
                let truth = without_times(anew(person, &query, variables.clone()).await);
                prop_assert!(truth["errors"].is_null(), "{}", truth);
                for _ in 0..2 {
                    let got = Got::of(post(person.app, &person.token, &query, variables.clone()));
                    let got = got.await;
                    prop_assert!(got.source() != "bypass", "{}", query);
                    let source = got.source().to_owned();
                    kept += usize::from(source.starts_with("hit"));
                    prop_assert_eq!(without_times(got.json()), truth.clone(), "from {}", source);
                }
            }
        }
        Ok(kept)
    }
}

fn an_answer_is_what_the_database_says(backend: Backend, variant: Variant) {
    property_with(
        backend,
        &variant.arguments(),
        8,
        deeds(),
        async |_| {},
        async |app, name, deeds| {
            let mut world = World::new(app, &name).await;
            let mut kept = vec![world.check().await?];
            for deed in &deeds {
                world.act(deed).await;
                kept.push(world.check().await?);
            }
            // Of both people all are kept but those with URLs; what goes to Redis may be late.
            let all = 2 * (questions(&world, &world.since[0]).len() - 1);
            let enough = match variant {
                Variant::Memory => kept.iter().all(|kept| *kept >= all),
                _ => kept.iter().sum::<usize>() > 0,
            };
            prop_assert!(enough, "kept were {:?} of {}", kept, all);
            Ok(())
        },
    );
}

mod every_answer_is_what_the_database_says_now {
    use super::*;

    #[test]
    fn sqlite_and_memory() {
        an_answer_is_what_the_database_says(Backend::Sqlite, Variant::Memory);
    }

    #[test]
    fn postgres_and_redis() {
        an_answer_is_what_the_database_says(Backend::Postgres, Variant::Redis);
    }
}

/// What happens to Redis while people work.
#[derive(Clone, Debug)]
enum Event {
    Push {
        person: usize,
        instance: usize,
    },
    Pull {
        person: usize,
        instance: usize,
    },
    Pause,
    Resume,
    Kill,
    Restart,
    Flush,
    Garble,
    /// It answers nothing for a moment.
    Slow,
    /// Another one is the primary now: what this one holds stays as it is.
    Demote,
    Promote,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let place = || (0..2usize, 0..2usize);
    let event = prop_oneof![
        4 => place().prop_map(|(person, instance)| Event::Push { person, instance }),
        6 => place().prop_map(|(person, instance)| Event::Pull { person, instance }),
        1 => Just(Event::Pause),
        1 => Just(Event::Resume),
        1 => Just(Event::Kill),
        2 => Just(Event::Restart),
        1 => Just(Event::Flush),
        1 => Just(Event::Garble),
        1 => Just(Event::Slow),
        1 => Just(Event::Demote),
        1 => Just(Event::Promote),
    ];
    prop::collection::vec(event, 5..40)
}

/// Read your own writes, through any instance, whatever Redis does.
#[test]
fn g03_a_pull_after_a_push_holds_it_through_any_instance_whatever_redis_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let database = runtime.block_on(TestDatabase::create(Backend::Postgres));
    explore(8, 30, events(), |number, events| {
        runtime.block_on(work_while_redis_fails(&database, number, &events))
    });
}

async fn work_while_redis_fails(
    database: &TestDatabase,
    number: usize,
    events: &[Event],
) -> Result<(), TestCaseError> {
    let mut redis = Redis::start();
    let arguments = ["--redis-url", &redis.url.clone(), "--public-url", "http://one.example"];
    let apps =
        [App::on(database.again(), &arguments).await, App::on(database.again(), &arguments).await];
    let people = [
        apps[0].device_of(&format!("ada{number}")).await,
        apps[0].device_of(&format!("grace{number}")).await,
    ];
    let trip = people[0].trip("Alps").await;
    people[0].share(trip, &people[1], "EDITOR").await;
    let mut made: Vec<String> = Vec::new();
    let (mut is_up, mut hits) = (true, 0);
    for event in events {
        match event {
            Event::Push { person, instance } => {
                let device = Device::new(&apps[*instance], "", people[*person].token.clone());
                made.push(device.memory(trip, "Hut").await.to_string());
                made.sort();
            }
            Event::Pull { person, instance } => {
                let device = Device::new(&apps[*instance], "", people[*person].token.clone());
                for _ in 0..2 {
                    let got =
                        ask(&device, "{ enhancedSync(batchSize: 1000) { memories { id } } }").await;
                    let answer = got.json();
                    let rows = answer["data"]["enhancedSync"]["memories"].as_array();
                    let rows = rows.unwrap_or_else(|| panic!("{answer}"));
                    let mut ids: Vec<String> =
                        rows.iter().map(|row| row["id"].as_str().expect("an id").into()).collect();
                    ids.sort();
                    prop_assert_eq!(&ids, &made, "from {}", got.source());
                    hits += usize::from(got.source().starts_with("hit"));
                }
            }
            Event::Pause if is_up => redis.pause(),
            Event::Resume if is_up => redis.resume(),
            Event::Kill if is_up => {
                redis.kill();
                is_up = false;
            }
            Event::Restart if !is_up => {
                redis.start_again();
                is_up = true;
            }
            Event::Flush if is_up => tell(&redis, "FLUSHALL"),
            Event::Garble if is_up => {
                redis.resume();
                garble(&apps[0], &redis).await;
            }
            Event::Slow if is_up => tell(&redis, "CLIENT PAUSE 150 ALL"),
            Event::Demote if is_up => tell(&redis, "REPLICAOF 127.0.0.1 1"),
            Event::Promote if is_up => tell(&redis, "REPLICAOF NO ONE"),
            _ => {}
        }
    }
    let pulls = events.iter().filter(|event| matches!(event, Event::Pull { .. })).count();
    prop_assert!(hits >= pulls, "{} hits: each second pull is one", hits);
    if is_up {
        redis.resume();
    }
    for app in apps {
        app.finish().await;
    }
    Ok(())
}

/// Tells it something, hanging or not.
fn tell(redis: &Redis, command: &str) {
    redis.resume();
    redis.ask(command);
}

/// Puts other entries, or nonsense, under every key.
async fn garble(app: &App, redis: &Redis) {
    let keys = app.kept_in(redis).await;
    for (at, key) in keys.iter().enumerate() {
        match at % 3 {
            0 => redis.ask(&format!("SET {key} nonsense")),
            1 => redis.ask(&format!("SETRANGE {key} 40 x")),
            _ => redis.ask(&format!("COPY {} {key} REPLACE", keys[0])),
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g16_whatever_lies_in_redis_under_a_key_is_that_answer_or_none() {
    let redis = Redis::start();
    let arguments = ["--redis-url", &redis.url.clone(), "--cache-ttl-local", "0"];
    let app = App::start_with(Backend::Sqlite, &arguments).await;
    let [ada, grace] = [app.device_of("ada").await, app.device_of("grace").await];
    ada.trip("Alps").await;
    grace.trip("Andes").await;
    let people = [(&ada, "Alps"), (&grace, "Andes")];
    let kept = async || {
        eventually("both are kept", async || {
            let mut sources = Vec::new();
            for (person, _) in people {
                sources.push(ask(person, TRIPS).await.source().to_owned());
            }
            sources == ["hit-redis", "hit-redis"]
        })
        .await;
    };
    kept().await;
    let keys = app.kept_in(&redis).await;
    assert_eq!(keys.len(), 2);
    // Each holds the other's, with the mark of its own key in front: as if Redis had mixed up its
    // answers, or someone wrote there who may not.
    let swap = "local a, b = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]) \
                redis.call('SET', KEYS[1], string.sub(a, 1, 8) .. string.sub(b, 9)) \
                redis.call('SET', KEYS[2], string.sub(b, 1, 8) .. string.sub(a, 9))";
    redis.ask(&format!("EVAL \"{swap}\" 2 {} {}", keys[0], keys[1]));
    let truth = async || {
        for (person, name) in people {
            let got = ask(person, TRIPS).await;
            assert_eq!(got.json()["data"]["trips"][0]["name"], name, "{}", got.source());
        }
    };
    truth().await;
    assert!(app.cache.counts.garbage_met() >= 2, "both were seen through");
    for wreck in ["SET {} nonsense", "SETRANGE {} 30 zzzz", "APPEND {} more", "SET {} ''"] {
        kept().await;
        for key in &keys {
            redis.ask(&wreck.replace("{}", key));
        }
        truth().await;
    }
    // Full: it takes nothing more, and that is all.
    redis.ask("CONFIG SET maxmemory 1");
    redis.ask("FLUSHALL");
    truth().await;
    truth().await;
    app.finish().await;
}

// ── At the same time ─────────────────────────────────────────────────────────────────────────

fn count(app: &App, source: Source) -> u64 {
    app.cache.counts.answers()[source as usize].1
}

/// While this is held nobody can read a trip.
async fn hold_trips(app: &App) -> sea_orm::DatabaseTransaction {
    let hold = app.db().begin_write().await.expect("a transaction");
    hold.execute_unprepared("LOCK TABLE trip IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    hold
}

/// Waits until someone wants to read one.
async fn someone_waits(app: &App) {
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND database = \
                 (SELECT oid FROM pg_database WHERE datname = current_database())";
    let waits = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, waits);
    eventually("someone waits", async || {
        app.db().pool().query_one_raw(waits.clone()).await.expect("an answer").is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_questions_at_the_same_time_are_answered_once() {
    let app = start(Variant::Memory, Backend::Postgres).await;
    let ada = app.device_of("ada").await;
    ada.trip("Alps").await;
    let hold = hold_trips(&app).await;
    let question = || tokio::spawn(Got::of(post(&app, &ada.token, TRIPS, json!({}))));
    let first = question();
    someone_waits(&app).await;
    // Whoever came first goes away; what they began goes on for the others.
    first.abort();
    let others: Vec<_> = (0..20).map(|_| question()).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    hold.rollback().await.expect("given up");
    for other in others {
        let got = other.await.expect("an answer");
        assert_eq!(got.json()["data"]["trips"][0]["name"], "Alps");
        assert!(["joined", "hit-memory"].contains(&got.source()), "{}", got.source());
    }
    assert!(count(&app, Source::Joined) > 0);
    assert_eq!(count(&app, Source::Miss), 0, "the only one that was made had nobody to go to");
    app.finish().await;
}

/// Heads do not come back, but a role may: what an editor was shown is nothing for the viewer that
/// they were before, and are again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moved_while_an_answer_was_made_keeps_it_from_being_kept() {
    let app = start(Variant::Memory, Backend::Postgres).await;
    let ada = app.device_of("ada").await;
    ada.trip("Alps").await;
    let hold = hold_trips(&app).await;
    let asked = tokio::spawn(Got::of(post(&app, &ada.token, TRIPS, json!({}))));
    someone_waits(&app).await;
    let sql = async |sql| app.db().pool().execute_unprepared(sql).await.expect(sql);
    sql("UPDATE scope SET head = head + 1").await;
    hold.rollback().await.expect("given up");
    assert_eq!(asked.await.expect("an answer").source(), "miss");
    sql("UPDATE scope SET head = head - 1").await;
    assert_eq!(ask(&ada, TRIPS).await.source(), "miss");
    assert_eq!(ask(&ada, TRIPS).await.source(), "hit-memory");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_nobody_elses() {
    let app = start(Variant::Memory, Backend::Postgres).await;
    let ada = app.device_of("ada").await;
    ada.trip("Alps").await;
    app.execute("ALTER TABLE trip RENAME TO gone").await;
    let all = (0..8).map(|_| tokio::spawn(Got::of(post(&app, &ada.token, TRIPS, json!({})))));
    for failed in all.collect::<Vec<_>>() {
        let failed = failed.await.expect("an answer");
        assert_eq!(failed.json()["errors"][0]["extensions"]["code"], "INTERNAL");
        assert_eq!(failed.header(ETAG), "");
    }
    app.db().pool().execute_unprepared("ALTER TABLE gone RENAME TO trip").await.expect("back");
    let got = ask(&ada, TRIPS).await;
    assert_eq!(got.json()["data"]["trips"][0]["name"], "Alps", "no failure is kept");
    app.finish().await;
}

// ── What was committed ───────────────────────────────────────────────────────────────────────

both! {
    /// What the cache trusts in place of a read.
    async fn a_stamp_is_another_after_each_commit(app: &App) {
        let stamp = async || app.db().stamp().await.expect("a stamp");
        let settled = async || {
            // In a cluster the commits of other tests count, too.
            eventually("nothing is committed", async || {
                let before = stamp().await;
                app.execute("SELECT count(*) FROM setting").await;
                before == stamp().await
            })
            .await;
            stamp().await
        };
        let outside = cairn::db::Db::connect(&app.database.url).await.expect("it connects");
        let mut last = settled().await;
        for (who, db) in [("this server", app.db()), ("another process", &outside)] {
            for round in 0..20 {
                let write = format!("INSERT INTO setting (name, value) VALUES ('{who} {round}', '')");
                let tx = db.begin_write().await.expect("begun");
                tx.execute_unprepared(&write).await.expect("written");
                tx.commit().await.expect("committed");
                let now = stamp().await;
                assert_ne!(now, last, "{who} has written");
                last = now;
            }
        }
        // Whoever takes the connection away takes nothing that was known with it.
        settled().await;
        outside.close().await.expect("closed");
        settled().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_takes_as_many_bytes_as_it_may() {
    const MOST: usize = 1 << 20;
    let settings = ["--cache-ttl-local", "3600", "--sync-cache-ttl", "0", "--cache-memory", "1"];
    let app = App::start_with(Backend::Sqlite, &settings).await;
    let ada = app.device_of("ada").await;
    let trip = ada.trip("Alps").await;
    let fields = json!({ "tripId": trip, "title": "Hut", "content": "snow ".repeat(2_000) });
    let memories = (0..20).map(|_| create("Memory", Uuid::new_v4(), fields.clone()).1);
    ada.push(json!({ "memories": memories.collect::<Vec<_>>() })).await;
    // Each of these answers has a fifth of what may be kept.
    for number in 0..20 {
        let got = ask(&ada, &format!("query Q{number} {{ memories {{ content }} }}")).await;
        assert_eq!((got.source(), got.status), ("miss", 200));
        assert!(got.json().to_string().len() > MOST / 6);
    }
    let account = ada.account().await;
    eventually("the others have gone", async || {
        // Whatever is asked next makes it tidy up.
        ask(&ada, TRIPS).await;
        let held = app.cache.held_near(account);
        let stored: usize = held.iter().map(|held| held.stored).sum();
        (1..=MOST).contains(&stored)
    })
    .await;
    app.finish().await;
}

// ── For people ───────────────────────────────────────────────────────────────────────────────

/// `cairn cache inspect` beside a server, with these settings besides the database.
async fn inspect(app: &App, settings: &[(&str, &str)], options: &[&str]) -> Finished {
    let settings = [&[("DATABASE_URL", app.database.url.as_str())], settings].concat();
    let arguments = [&["cache", "inspect", "--at", &app.url], options].concat();
    Process::run(&arguments, &settings, "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_can_look_at_what_redis_holds_for_whom() {
    let redis = Redis::start();
    let arguments = ["--redis-url", &redis.url.clone(), "--cache-ttl-local", "0"];
    let app = App::start_with(Backend::Sqlite, &arguments).await;
    let [ada, grace] = [app.device_of("ada").await, app.device_of("grace").await];
    let trip = ada.trip("Alps").await;
    let query = "query Covers { trips { id coverImageUrl } }";
    eventually("it is held", async || ask(&ada, query).await.source() == "hit-redis").await;
    eventually("grace's, too", async || ask(&grace, TRIPS).await.source() == "hit-redis").await;
    let look = async |options: &[&str]| inspect(&app, &[("REDIS_URL", &redis.url)], options).await;
    let shown = || async { look(&["--user", "ada@example.org", "--json"]).await.printed() };
    // It is listed a moment after it is there.
    eventually("it is listed", async || !shown().await.is_empty()).await;
    let held: Vec<Json> =
        shown().await.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(held.len(), 1, "hers, and nobody else's: {held:?}");
    let held = &held[0];
    assert_eq!((&held["place"], &held["server"]), (&json!("redis"), &Json::Null));
    assert_eq!((&held["operation"], &held["fields"]), (&json!("Covers"), &json!(["trips"])));
    assert_eq!((&held["isReachable"], &held["reasons"]), (&json!(true), &json!([])));
    let scopes = held["scopes"].as_array().expect("scopes");
    assert!(scopes.iter().any(|scope| scope["id"] == json!(trip) && scope["role"] == "OWNER"));
    // Signed URLs are good for an hour.
    let time = |name: &str| {
        let text = held[name].as_str().expect("a time");
        chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp()
    };
    assert_eq!(time("goodUntil") - time("madeAt"), 1_800);
    ada.memory(trip, "Hut").await;
    let printed = look(&["--user", "ada@example.org"]).await.printed();
    assert!(printed.contains("in          Redis"), "{printed}");
    assert!(printed.contains("the memory of http"), "it is off: {printed}");
    assert!(printed.contains(&format!("no: scope {trip} moved from 1 to 2")), "{printed}");
    let stranger = look(&["--user", "nobody@example.org"]).await;
    assert!(!stranger.status.success() && stranger.err.contains("there is no account"));
    // The list goes with what it lists.
    let account = ada.account().await;
    let epoch = cairn::app::epoch(app.db()).await.expect("an epoch");
    let left = redis.ask(&format!("PTTL cairn:{epoch}:held:{account}"));
    assert!(left.starts_with(':') && !left.starts_with(":-"), "{left}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_can_look_at_what_the_memory_of_a_server_holds() {
    let app = start(Variant::Memory, Backend::Sqlite).await;
    let [ada, grace] = [app.device_of("ada").await, app.device_of("grace").await];
    let trip = ada.trip("Alps").await;
    assert_eq!(ask(&ada, "query Mine { trips { id } }").await.source(), "miss");
    assert_eq!(ask(&grace, TRIPS).await.source(), "miss");
    let hers = ["--user", "ada@example.org", "--json"];
    let printed = inspect(&app, &[], &hers).await.printed();
    let held: Vec<Json> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(held.len(), 1, "hers, and nobody else's: {held:?}");
    let held = &held[0];
    assert_eq!((&held["place"], &held["server"]), (&json!("memory"), &json!(app.url)));
    assert_eq!((&held["operation"], &held["isReachable"]), (&json!("Mine"), &json!(true)));
    assert!(held["bytesStored"].as_u64() > held["bytesPlain"].as_u64(), "{held}");
    ada.memory(trip, "Hut").await;
    let printed = inspect(&app, &[], &hers[..2]).await.printed();
    assert!(printed.contains(&format!("the memory of {}", app.url)), "{printed}");
    assert!(printed.contains(&format!("no: scope {trip} moved from 1 to 2")), "{printed}");

    // A place that cannot be looked into is told, beside what the others hold.
    let nobody = "http://127.0.0.1:1";
    let finished = inspect(&app, &[], &[&hers[..2], &["--at", nobody]].concat()).await;
    assert!(!finished.status.success());
    assert!(finished.err.contains(&format!("the memory of {nobody} cannot be looked into")));
    assert!(finished.out.contains("Mine: trips"), "{}", finished.out);
    let other = start(Variant::Memory, Backend::Sqlite).await;
    let finished = inspect(&app, &[], &[&hers[..2], &["--at", &other.url]].concat()).await;
    assert!(finished.err.contains("has another database"), "{}", finished.err);
    other.finish().await;

    // Nobody else asks a server.
    let url = format!("{}/operator/cache?account={}", app.url, ada.account().await);
    for token in ["", "garbage", &ada.token] {
        let got = Got::of(app.client.get(&url).bearer_auth(token)).await;
        assert_eq!((got.status, got.header(WWW_AUTHENTICATE)), (401, "Bearer"));
        assert_eq!(got.json()["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    }
    let operator = cairn::app::operator(app.db()).await.expect("a key").sign().expect("a token");
    for query in ["", "?account=ada"] {
        let url = format!("{}/operator/cache{query}", app.url);
        let got = Got::of(app.client.get(url).bearer_auth(&operator)).await;
        assert_eq!(got.status, 400);
        assert_eq!(got.json()["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
    }
    app.finish().await;
}
