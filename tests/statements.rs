//! The number of SQL statements grows with kinds and chunks, not with rows.
//!
//! SeaORM opens a tracing span for every statement that it sends, in a transaction or not; a
//! subscriber that hears only this thread counts them. The server and the test therefore run on one
//! thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use uuid::Uuid;

use crate::g17_whole_answers::segment;
use crate::support::{App, Backend, Variant, create, delete, update};

/// Counts the spans of statements.
#[derive(Clone, Default)]
struct Statements(Arc<AtomicUsize>);

/// What SeaORM calls the functions that send one statement each.
const SENT_BY: [&str; 4] = ["execute_raw", "execute_unprepared", "query_one_raw", "query_all_raw"];

impl<S: Subscriber> Layer<S> for Statements {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("sea_orm::") && SENT_BY.contains(&metadata.name())
    }

    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Statements {
    /// How many statements some work takes.
    async fn of<T>(&self, work: impl Future<Output = T>) -> (usize, T) {
        let before = self.0.load(Ordering::Relaxed);
        let done = work.await;
        (self.0.load(Ordering::Relaxed) - before, done)
    }
}

/// The sizes that are compared, and how many chunks of 128 rows each makes: whole ones, then the
/// powers of two of the rest (10 = 8 + 2, 100 = 64 + 32 + 4, 1000 = 7 · 128 + 64 + 32 + 8).
const SIZES: [(usize, usize); 3] = [(10, 2), (100, 3), (1000, 10)];

/// Statements of a batch or page besides those that write chunks of rows: authentication, locks,
/// the reads of what the batch names, the head.
const BESIDES: usize = 30;

/// Runs a story on one thread, with everything counted.
fn counted(backend: Backend, story: impl AsyncFnOnce(&App, &Statements)) {
    counted_with(backend, &[], story);
}

/// The same, with these settings.
fn counted_with(backend: Backend, arguments: &[&str], story: impl AsyncFnOnce(&App, &Statements)) {
    let statements = Statements::default();
    let subscriber = tracing_subscriber::registry().with(statements.clone());
    let _heard = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let app = App::start_with(backend, arguments).await;
        // What a server does at its start, in the background, is no story's: the clean-up, the relay.
        while statements.of(tokio::time::sleep(Duration::from_millis(500))).await.0 > 0 {}
        story(&app, &statements).await;
        app.finish().await;
    });
}

/// A statement for each chunk of the rows, revisions and receipts, and no more.
async fn batches_take_chunks(app: &App, statements: &Statements) {
    let phone = app.device_of("ada").await;
    let trip = phone.trip("Around the world").await;
    for (size, chunks) in SIZES {
        let bound = 3 * chunks + BESIDES;
        let ids: Vec<Uuid> = (0..size).map(|_| Uuid::new_v4()).collect();
        let batch = |item: &dyn Fn(Uuid) -> (&'static str, Json)| json!({ "memories": ids.iter().map(|id| item(*id).1).collect::<Vec<_>>() });
        let fields = json!({ "tripId": trip, "title": "Rome" });
        for (what, input) in [
            ("creates", batch(&|id| create("Memory", id, fields.clone()))),
            ("updates", batch(&|id| update("Memory", id, 1, json!({ "title": "Roma" })))),
            // Made on version 1, which is not the newest: they need the revisions.
            ("stale updates", batch(&|id| update("Memory", id, 1, json!({ "content": "Sun" })))),
            ("deletes", batch(&|id| delete("Memory", id, 3))),
        ] {
            let (count, pushed) = statements.of(phone.push(input)).await;
            assert_eq!(pushed.successful.len(), size, "{what}: {pushed:?}");
            assert!(count > 10, "statements are not heard: {size} {what} took {count}");
            assert!(count <= bound, "{size} {what} took {count} statements, more than {bound}");
        }
    }
}

/// A page takes the same few statements whatever its size.
async fn pages_take_a_few(app: &App, statements: &Statements) {
    let phone = app.device_of("ada").await;
    let trip = phone.trip("Around the world").await;
    let fields = json!({ "tripId": trip, "title": "Rome" });
    let memories: Vec<Json> =
        (0..1000).map(|_| create("Memory", Uuid::new_v4(), fields.clone()).1).collect();
    phone.push(json!({ "memories": memories })).await;
    for (size, _) in SIZES {
        let (count, page) = statements.of(phone.page(json!({ "size": size }))).await;
        let rows = page["data"]["enhancedSync"]["memories"].as_array().map_or(0, Vec::len);
        // The trip comes first.
        assert_eq!(rows, size - 1);
        assert!(count > 5, "statements are not heard: a page of {size} took {count}");
        assert!(count <= BESIDES, "a page of {size} took {count} statements");
    }
}

/// What the app shows of all trips at once.
const NESTED: &str = "{ trips { id role
    memories { id mediaItems { downloadUrl thumbnailUrl memory { id } } location { name }
        tags { id usageCount relatedTags { id } category { id } }
        gpxTrack { downloadUrl segments { points { latitude } } } }
    gpxTracks { id segments { id } } trackSegments { points { timestamp } } routePoints { id } } }";

/// Nested lists are read for all rows of a list at once: the statements follow the query, and the
/// chunks of ids, but not the rows.
async fn nested_lists_take_a_few(app: &App, statements: &Statements) {
    let phone = app.device_of("ada").await;
    let mut counts = Vec::new();
    // Together 1, 64 and 128 trips: each is one chunk.
    for (more, all) in [(1, 1), (63, 64), (64, 128)] {
        let mut batch = json!({});
        let mut points = Vec::new();
        for _ in 0..more {
            let [trip, memory, tag] = std::array::from_fn(|_| Uuid::new_v4());
            let start = "2026-01-01T00:00:00Z";
            let file = json!({ "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 1 });
            for (list, item) in [
                create("Trip", trip, json!({ "name": "t", "startDate": start })),
                create("Tag", tag, json!({ "name": trip })),
                create("Memory", memory, json!({ "tripId": trip, "title": "m", "tagIds": [tag] })),
                create("MediaItem", Uuid::new_v4(), file),
                create(
                    "GPXTrack",
                    Uuid::new_v4(),
                    json!({ "tripId": trip, "memoryId": memory, "name": "g" }),
                ),
            ] {
                match batch[list].as_array_mut() {
                    Some(items) => items.push(item),
                    None => batch[list] = json!([item]),
                }
            }
            points.push(trip);
        }
        let pushed = phone.push(batch).await;
        assert_eq!(pushed.successful.len(), 5 * more);
        for trip in points {
            let add = "mutation($trip: ID!) { createRoutePoints(tripId: $trip, points: [
                { latitude: 1, longitude: 2, timestamp: \"2026-01-01T00:00:00Z\" }]) { id } }";
            let answer = phone.ask(add, json!({ "trip": trip })).await;
            assert!(answer["errors"].is_null(), "{answer}");
        }
        let (count, answer) = statements.of(phone.ask(NESTED, json!({}))).await;
        assert!(answer["errors"].is_null(), "{answer}");
        let trips = answer["data"]["trips"].as_array().expect("trips");
        assert_eq!(trips.len(), all);
        for trip in trips {
            let memory = &trip["memories"][0];
            assert!(memory["mediaItems"][0]["memory"]["id"] == memory["id"]);
            assert!(
                memory["tags"][0]["usageCount"] == 1 && trip["routePoints"][0]["id"].is_string()
            );
            assert!(trip["gpxTracks"][0]["id"].is_string() && memory["gpxTrack"].is_object());
        }
        counts.push(count);
    }
    assert!(counts[0] > 10, "statements are not heard: {counts:?}");
    // One more for each portion of scopes.
    assert!(
        counts.iter().all(|count| *count <= counts[0] + 2),
        "for 1, 64 and 128 trips: {counts:?}"
    );
    assert!(counts[0] <= BESIDES, "{counts:?}");
}

#[test]
fn nested_lists_take_a_few_sqlite() {
    counted(Backend::Sqlite, nested_lists_take_a_few);
}

#[test]
fn nested_lists_take_a_few_postgres() {
    counted(Backend::Postgres, nested_lists_take_a_few);
}

/// Lists of rows with points and segments: a few for each portion of a thousand, whatever hangs on
/// the rows.
async fn lists_take_a_few(app: &App, statements: &Statements) {
    let phone = app.device_of("ada").await;
    let trip = phone.trip("Around the world").await;
    let lists = "query($trip: ID!) { trips { routePoints { id } trackSegments { points { id } } }
        gpxTracksByTrip(tripId: $trip) { segments { distance points { id } } }
        memories { title } searchMemories(query: \"rome\") { title }
        sync(lastSyncedAt: \"0001-01-01T00:00:00.000Z\") { gpxTracks { name } } }";
    let mut stored = 0;
    for (size, _) in SIZES {
        let mut batch = json!({ "memories": [], "gpxTracks": [] });
        for at in stored..size {
            let [memory, track] = [Uuid::new_v4(), Uuid::new_v4()];
            let fields = json!({ "tripId": trip, "title": "Rome" });
            let (list, item) = create("Memory", memory, fields);
            batch[list].as_array_mut().expect("a list").push(item);
            let fields = json!({ "tripId": trip, "name": "Way", "gpxFileObjectName": "way.gpx" });
            let (list, item) = create("GPXTrack", track, fields);
            batch[list].as_array_mut().expect("a list").push(item);
            if at < 50 {
                segment(app, track, "way.gpx", 2).await;
            }
        }
        phone.push(batch).await;
        stored = size;
        let (count, answer) = statements.of(phone.ask(lists, json!({ "trip": trip }))).await;
        let tracks = answer["data"]["gpxTracksByTrip"].as_array().map(Vec::len);
        assert_eq!(tracks, Some(size), "{}", answer["errors"]);
        assert!(count > 15, "statements are not heard: lists of {size} took {count}");
        // Five lists or answers.
        let bound = 2 * BESIDES;
        assert!(count <= bound, "lists of {size} took {count} statements, more than {bound}");
    }
}

/// URLs to upload: a statement for each kind that is named, and chunks of the files' rows.
async fn urls_take_chunks(app: &App, statements: &Statements) {
    let phone = app.device_of("ada").await;
    let trip = phone.trip("Around the world").await;
    let batch = "mutation($requests: [UploadRequest!]!) {
        generateBatchUploadUrls(uploadRequests: $requests) { uploadUrls { entityId } } }";
    for (size, chunks) in [(10, 2), (100, 3), (500, 7)] {
        let ids: Vec<Uuid> = (0..size).map(|_| Uuid::new_v4()).collect();
        let fields = json!({ "tripId": trip, "title": "Rome" });
        let half = ids.iter().step_by(2);
        let memories: Vec<Json> = half.map(|id| create("Memory", *id, fields.clone()).1).collect();
        phone.push(json!({ "memories": memories })).await;
        let request = |(at, id): (usize, &Uuid)| {
            let kind = ["Memory", "MediaItem"][at % 2];
            json!({ "entityId": id, "entityType": kind, "objectName": id, "mimeType": "image/png" })
        };
        let requests: Vec<Json> = ids.iter().enumerate().map(request).collect();
        let (count, answer) =
            statements.of(phone.ask(batch, json!({ "requests": requests }))).await;
        let urls = answer["data"]["generateBatchUploadUrls"]["uploadUrls"].as_array();
        assert_eq!(urls.map(Vec::len), Some(size), "{}", answer["errors"]);
        assert!(count > 5, "statements are not heard: {size} URLs took {count}");
        let bound = chunks + BESIDES;
        assert!(count <= bound, "{size} URLs took {count} statements, more than {bound}");
    }
}

#[test]
fn lists_take_a_few_sqlite() {
    counted(Backend::Sqlite, lists_take_a_few);
}

#[test]
fn lists_take_a_few_postgres() {
    counted(Backend::Postgres, lists_take_a_few);
}

#[test]
fn urls_take_chunks_sqlite() {
    counted(Backend::Sqlite, urls_take_chunks);
}

#[test]
fn urls_take_chunks_postgres() {
    counted(Backend::Postgres, urls_take_chunks);
}

#[test]
fn batches_take_chunks_sqlite() {
    counted(Backend::Sqlite, batches_take_chunks);
}

#[test]
fn batches_take_chunks_postgres() {
    counted(Backend::Postgres, batches_take_chunks);
}

#[test]
fn pages_take_a_few_sqlite() {
    counted(Backend::Sqlite, pages_take_a_few);
}

#[test]
fn pages_take_a_few_postgres() {
    counted(Backend::Postgres, pages_take_a_few);
}

/// A kept answer takes one, which tells where the caller stands; and none while nothing is committed.
async fn hits_take_one_at_most(app: &App, statements: &Statements) -> usize {
    let phone = app.device_of("ada").await;
    let trip = phone.trip("Alps").await;
    let query = "{ trips { id } }";
    phone.ask(query, json!({})).await;
    let mut without = 0;
    for _ in 0..100 {
        let (count, answer) = statements.of(phone.ask(query, json!({}))).await;
        assert_eq!(answer["data"]["trips"][0]["id"], json!(trip));
        assert!(count <= 1, "a hit took {count} statements");
        without += usize::from(count == 0);
    }
    without
}

#[test]
fn hits_take_one_statement_at_most_on_sqlite() {
    counted_with(Backend::Sqlite, &Variant::Memory.arguments(), async |app, statements| {
        let without = hits_take_one_at_most(app, statements).await;
        assert!(without > 50, "{without} of 100");
    });
}

#[test]
fn hits_take_one_statement_at_most_on_postgres() {
    counted_with(Backend::Postgres, &Variant::Memory.arguments(), async |app, statements| {
        // Other tests commit in the same cluster.
        hits_take_one_at_most(app, statements).await;
    });
}
