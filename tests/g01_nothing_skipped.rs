//! G1 and G2: whatever writers do while a reader pages, the union of the pages is the committed
//! state, parents come first, and the last page is one consistent cut.
//!
//! The writers are concurrent requests of a server with a pool of real connections; a trigger holds
//! some of them between taking their seqs and committing. More cases: `PROPTEST_CASES=500
//! ./scripts/test g01`.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn::kinds::EntityType;
use proptest::prelude::*;
use sea_orm::ConnectionTrait;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Backend, Device, Older, create, delete, property, update};

both! {
    async fn g01_ten_thousand_rows_of_one_time_come_once_at_any_page_size(app: &App) {
        let phone = app.device_of("ada").await;
        for part in 0..2 {
            let tags: Vec<Json> = (0..5000)
                .map(|n| create("Tag", Uuid::new_v4(), json!({ "name": format!("{part}-{n}") })).1)
                .collect();
            let answer = phone.push(json!({ "tags": tags })).await;
            assert_eq!(answer.successful.len(), 5000);
        }
        // All rows of a batch were written at one moment; make it one for all.
        let one_time = "UPDATE tag SET updated_at = 1000, created_at = 1000";
        app.db().pool().execute_unprepared(one_time).await.expect("an update");
        for size in [1000, 999, 611] {
            let mut device = Device::new(app, "ada", phone.token.clone());
            assert_eq!(device.pull_by(size).await, 10_000, "each once");
            assert_eq!(device.rows.len(), 10_000, "each");
            assert_eq!(device.pull().await, 0);
        }
    }

    async fn g02_a_parent_that_moves_out_of_the_window_is_brought_along(app: &App) {
        let mut phone = app.device_of("ada").await;
        let trips = [phone.trip("a").await, phone.trip("b").await];
        let memory = phone.memory(trips[0], "Hut").await;
        let mut reader = Device::new(app, "ada", phone.token.clone());
        // The first page holds one trip; then the other, and the first, change.
        let page = reader.page(json!({ "size": 1 })).await["data"]["enhancedSync"].clone();
        assert_eq!(page["totalCount"], 3);
        reader.apply(&page);
        reader.cursor = page["nextCursor"].as_str().map(str::to_owned);
        for trip in trips {
            let edit = update("Trip", trip, 1, json!({ "name": "changed" }));
            assert_eq!(phone.push_one(edit).await, "ok 2");
        }
        reader.pull_by(1).await;
        assert!(reader.row("Memory", memory).is_some());
        for trip in trips {
            assert_eq!(reader.field("Trip", trip, "name"), "changed");
        }
        phone.pull().await;
        assert_eq!(reader.rows, phone.rows);
    }

    async fn g02_the_last_page_is_only_last_where_the_heads_are(app: &App) {
        let phone = app.device_of("ada").await;
        let mut tags = Vec::new();
        for name in ["a", "b", "c"] {
            tags.push(phone.tag(name).await);
        }
        let mut reader = Device::new(app, "ada", phone.token.clone());
        let mut more = Vec::new();
        for _ in 0..3 {
            let page = reader.page(json!({ "size": 2, "cursor": reader.cursor })).await;
            let page = page["data"]["enhancedSync"].clone();
            reader.apply(&page);
            reader.cursor = page["nextCursor"].as_str().map(str::to_owned);
            more.push(page["hasMore"] == true);
            if more.len() == 1 {
                // After the first page something new comes in: the window's end is not the head.
                phone.tag("d").await;
            }
        }
        assert_eq!(more, [true, true, false]);
        assert_eq!(reader.rows.len(), 4);
    }

    async fn g01_a_start_by_time_never_skips(app: &App) {
        let phone = app.device_of("ada").await;
        phone.tag("before").await;
        // The timestamp of an answer lies behind it: what came just before is sent again.
        let page = phone.page(json!({})).await["data"]["enhancedSync"].clone();
        phone.tag("after").await;
        let mut later = Device::new(app, "ada", phone.token.clone());
        later.pull_with(json!({ "size": 10, "since": page["serverTimestamp"] })).await;
        assert_eq!(later.rows.len(), 2);
        // As if both had come long ago.
        for sql in ["UPDATE tick SET at = 1000", "UPDATE scope SET head_at = 1000",
                    "UPDATE membership SET granted_at = 0"] {
            app.db().pool().execute_unprepared(sql).await.expect(sql);
        }
        let mut device = Device::new(app, "ada", phone.token.clone());
        let known = json!({ "size": 10, "since": page["serverTimestamp"] });
        assert_eq!(device.pull_with(known).await, 0, "nothing new since");
        phone.tag("new").await;
        assert_eq!(device.pull().await, 1, "the cursor takes over");
        let first = json!({ "size": 10, "since": "0001-01-01T00:00:00.000Z" });
        let mut device = Device::new(app, "ada", phone.token.clone());
        assert_eq!(device.pull_with(first).await, 3);
        let future = device.page(json!({ "since": "2999-01-01T00:00:00Z" })).await;
        assert_eq!(future["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
    }
}

/// What a writer does next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Act {
    Trip,
    Memory { trip: u8 },
    Photo { memory: u8 },
    Track { memory: u8 },
    Tag,
    Wear { memory: u8, tag: u8 },
    Rename { trip: u8 },
    Edit { memory: u8 },
    Move { memory: u8, trip: u8 },
    DeleteTrip { trip: u8 },
    DeleteMemory { memory: u8 },
    DeleteTag { tag: u8 },
    RestoreTrip { trip: u8 },
    RestoreMemory { memory: u8 },
}

#[derive(Clone, Debug)]
struct Step {
    act: Act,
    /// Whether the transaction is held after it took its seqs.
    held: bool,
}

fn act() -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    prop_oneof![
        2 => Just(Act::Trip),
        4 => n().prop_map(|trip| Act::Memory { trip }),
        3 => n().prop_map(|memory| Act::Photo { memory }),
        2 => n().prop_map(|memory| Act::Track { memory }),
        2 => Just(Act::Tag),
        2 => (n(), n()).prop_map(|(memory, tag)| Act::Wear { memory, tag }),
        2 => n().prop_map(|trip| Act::Rename { trip }),
        3 => n().prop_map(|memory| Act::Edit { memory }),
        4 => (n(), n()).prop_map(|(memory, trip)| Act::Move { memory, trip }),
        1 => n().prop_map(|trip| Act::DeleteTrip { trip }),
        2 => n().prop_map(|memory| Act::DeleteMemory { memory }),
        1 => n().prop_map(|tag| Act::DeleteTag { tag }),
        2 => n().prop_map(|trip| Act::RestoreTrip { trip }),
        2 => n().prop_map(|memory| Act::RestoreMemory { memory }),
    ]
}

fn writers() -> impl Strategy<Value = (Vec<Vec<Step>>, u32)> {
    let step = (act(), prop::bool::weighted(0.3)).prop_map(|(act, held)| Step { act, held });
    (prop::collection::vec(prop::collection::vec(step, 1..10), 1..4), 1u32..6)
}

/// What all writers of a case know of: three trips, memories and tags to begin with, and more.
struct World {
    trips: [Uuid; 4],
    memories: [Uuid; 6],
    tags: [Uuid; 3],
}

impl World {
    fn new() -> World {
        World {
            trips: std::array::from_fn(|_| Uuid::new_v4()),
            memories: std::array::from_fn(|_| Uuid::new_v4()),
            tags: std::array::from_fn(|_| Uuid::new_v4()),
        }
    }

    async fn begin(&self, device: &Device<'_>) {
        let start = "2026-01-01T00:00:00Z";
        let trip = |id: &Uuid| create("Trip", *id, json!({ "name": "t", "startDate": start })).1;
        let memory = |(n, id): (usize, &Uuid)| {
            create("Memory", *id, json!({ "tripId": self.trips[n % 3], "title": "m" })).1
        };
        let tag = |id: &Uuid| create("Tag", *id, json!({ "name": "x" })).1;
        device
            .push(json!({
                "trips": self.trips.iter().map(trip).collect::<Vec<_>>(),
                "memories": self.memories.iter().enumerate().map(memory).collect::<Vec<_>>(),
                "tags": self.tags.iter().map(tag).collect::<Vec<_>>(),
            }))
            .await;
    }
}

/// Lets some transactions sleep between taking their seqs and committing: those that write a
/// receipt for an operation whose name says so.
async fn install_hold(app: &App, backend: Backend) {
    let statements: &[&str] = match backend {
        Backend::Postgres => &[
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.operation_id LIKE 'hold-%' THEN PERFORM pg_sleep(0.02); END IF;
                RETURN NEW; END $$",
            "CREATE TRIGGER hold BEFORE INSERT ON receipt FOR EACH ROW EXECUTE FUNCTION hold()",
        ],
        Backend::Sqlite => &["CREATE TRIGGER hold BEFORE INSERT ON receipt
            WHEN NEW.operation_id LIKE 'hold-%' BEGIN
                SELECT max(n) FROM (WITH RECURSIVE c(n) AS
                    (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100000) SELECT n FROM c);
            END"],
    };
    for sql in statements {
        app.db().pool().execute_unprepared(sql).await.expect(sql);
    }
}

async fn write(device: &Device<'_>, world: &World, steps: &[Step]) {
    for step in steps {
        let trip = |n: u8| world.trips[n as usize % world.trips.len()];
        let memory = |n: u8| world.memories[n as usize % world.memories.len()];
        let tag = |n: u8| world.tags[n as usize % world.tags.len()];
        let other = Uuid::new_v4();
        let start = "2026-01-01T00:00:00Z";
        // Versions are not tracked: version 1 is always stale or right, and what collides becomes a
        // conflict, which is delivered, too.
        let (list, mut item) = match step.act {
            Act::Trip => create("Trip", other, json!({ "name": "t", "startDate": start })),
            Act::Memory { trip: t } => {
                create("Memory", other, json!({ "tripId": trip(t), "title": "m" }))
            }
            Act::Photo { memory: m } => {
                let file = json!({ "memoryId": memory(m), "objectName": "a.jpg",
                                   "mimeType": "image/jpeg", "fileSize": 1 });
                create("MediaItem", other, file)
            }
            // Lands where the memory is only if that is the first trip; else it is refused.
            Act::Track { memory: m } => {
                let track = json!({ "tripId": trip(0), "memoryId": memory(m), "name": "g" });
                create("GPXTrack", other, track)
            }
            Act::Tag => create("Tag", other, json!({ "name": "x" })),
            Act::Wear { memory: m, tag: t } => {
                update("Memory", memory(m), 1, json!({ "tagIds": [tag(t)] }))
            }
            Act::Rename { trip: t } => update("Trip", trip(t), 1, json!({ "name": other })),
            Act::Edit { memory: m } => update("Memory", memory(m), 1, json!({ "title": other })),
            Act::Move { memory: m, trip: t } => {
                update("Memory", memory(m), 1, json!({ "tripId": trip(t) }))
            }
            Act::DeleteTrip { trip: t } => delete("Trip", trip(t), 1),
            Act::DeleteMemory { memory: m } => delete("Memory", memory(m), 1),
            Act::DeleteTag { tag: t } => delete("Tag", tag(t), 1),
            Act::RestoreTrip { trip: t } => {
                // Refused where there is nothing to restore.
                let db = device.app.db();
                let _ = cairn::sync::restore::restore(db, EntityType::Trip, trip(t)).await;
                continue;
            }
            Act::RestoreMemory { memory: m } => {
                let db = device.app.db();
                let _ = cairn::sync::restore::restore(db, EntityType::Memory, memory(m)).await;
                continue;
            }
        };
        if step.held {
            item["operationId"] = json!(format!("hold-{other}"));
        }
        // All writers are one device: its edits overwrite each other, and deletions go through.
        device.push(json!({ list: [item] })).await;
    }
}

async fn case(
    app: &App,
    name: &str,
    writers: &[Vec<Step>],
    size: u32,
) -> Result<(), TestCaseError> {
    let device = app.device_of(name).await;
    let world = World::new();
    world.begin(&device).await;

    let mut reader = Device::new(app, name, device.token.clone());
    let writing = async {
        let all = writers.iter().map(|steps| write(&device, &world, steps));
        futures_util::future::join_all(all).await;
    };
    let mut writing = Box::pin(writing);
    // The reader pages all the while; every page is checked as it is applied.
    loop {
        let pull = reader.pull_by(size);
        tokio::select! {
            biased;
            () = &mut writing => break,
            _ = pull => {}
        }
    }
    // A pull that was cut off may have lost an answer: its cursor still stands where it did.
    reader.pull_by(size).await;
    same(&reader.rows, &device.fresh_rows().await)
}

type Rows = BTreeMap<(String, String), Json>;

/// What a reader holds is what is committed.
fn same(held: &Rows, committed: &Rows) -> Result<(), TestCaseError> {
    let missing: Vec<_> = committed.keys().filter(|key| !held.contains_key(*key)).collect();
    prop_assert!(missing.is_empty(), "never delivered: {missing:?}");
    let zombies: Vec<_> = held.keys().filter(|key| !committed.contains_key(*key)).collect();
    prop_assert!(zombies.is_empty(), "never taken back: {zombies:?}");
    for (key, row) in committed {
        prop_assert_eq!(&held[key], row, "stale: {:?}", key);
    }
    Ok(())
}

/// The same for the older sync, which goes by time: each begins where the one before it says. An
/// hour lies between the rounds, so that what a round wrote is not just repeated in the next.
async fn case_by_time(
    app: &App,
    name: &str,
    rounds: &[Vec<Vec<Step>>],
) -> Result<(), TestCaseError> {
    let device = app.device_of(name).await;
    let world = World::new();
    let mut reader = Older::of(&device);
    reader.sync().await;
    world.begin(&device).await;
    for writers in rounds {
        let all = writers.iter().map(|steps| write(&device, &world, steps));
        let mut writing = Box::pin(futures_util::future::join_all(all));
        loop {
            tokio::select! {
                biased;
                _ = &mut writing => break,
                _ = reader.sync() => {}
            }
        }
        reader.sync().await;
        same(&reader.rows, &device.fresh_rows().await)?;
        let hour = Duration::from_secs(3600);
        app.age(hour).await;
        reader.age(hour);
    }
    Ok(())
}

fn interleavings(backend: Backend) {
    let prepare = async |app: &App| install_hold(app, backend).await;
    property(backend, writers(), prepare, async |app, name, (writers, size)| {
        case(app, &name, &writers, size).await
    });
}

fn interleavings_by_time(backend: Backend) {
    let prepare = async |app: &App| install_hold(app, backend).await;
    let rounds = prop::collection::vec(writers().prop_map(|(writers, _)| writers), 1..4);
    property(backend, rounds, prepare, async |app, name, rounds| {
        case_by_time(app, &name, &rounds).await
    });
}

#[test]
fn g01_interleavings_by_time_sqlite() {
    interleavings_by_time(Backend::Sqlite);
}

#[test]
fn g01_interleavings_by_time_postgres() {
    interleavings_by_time(Backend::Postgres);
}

#[test]
fn g01_interleavings_sqlite() {
    interleavings(Backend::Sqlite);
}

#[test]
fn g01_interleavings_postgres() {
    interleavings(Backend::Postgres);
}
