//! What a batch and a page cost, beside the same rows in bare SQL.
//!
//! Each case goes over HTTP to a server in this process; its floors write or read the same rows
//! through one connection. Case and floors take turns, so that a noisy machine slows all of them:
//! the ratios tell more than the times.

mod page;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cairn::db::Db;
use entity::{device, memory, receipt, revision, scope, tick};
use page::PULL;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IdenStatic, Iterable,
    ModelTrait, PrimaryKeyToColumn, QueryResult, Statement, Value,
};
use serde::Serialize;
use serde_json::{Value as Json, json};
use support::{App, Backend, Device, PUSH, TestDatabase, create, update};
use uuid::Uuid;

const ROWS: usize = 1_000;
/// An odd number, so that the median is a round that was measured.
const ROUNDS: usize = 15;
/// Rounds before that: connections, prepared statements and caches are those of a running server.
const WARM_UP: usize = 2;
/// What is measured is making an answer.
const UNCACHED: [&str; 4] = ["--cache-ttl-local", "0", "--sync-cache-ttl", "0"];
/// Rows in one INSERT of the floors.
const CHUNK: usize = 128;

const FLOORS: &str = "
Floors, each in a database of its own, in one transaction on one connection, with INSERT statements
of 128 rows, as texts that stay prepared:
  entity rows    only the 1,000 rows of the table memory (for updates: INSERT … ON CONFLICT DO UPDATE)
  every row      everything that the push writes: the entity rows, 1,000 revisions, 1,000 receipts,
                 the tick, the scope's head, the device
  select         SELECT of 1,000 rows, all columns decoded, written as JSON by serde_json
Cases go over HTTP to a server in this process, on a connection that is kept alive.
";

#[tokio::main]
async fn main() {
    println!("Medians of {ROUNDS} rounds, {ROWS} rows each, in milliseconds.\n{FLOORS}");
    for backend in Backend::ALL {
        measure(backend).await;
    }
}

async fn measure(backend: Backend) {
    let app = App::on(database(backend).await, &UNCACHED).await;
    let writer = app.device_of("writer").await;
    let trip = writer.trip("Around the world").await;
    let reader = app.device_of("reader").await;
    let read_trip = reader.trip("Around the block").await;
    // With their trip they fill the page.
    let rows: Vec<Json> = (1..ROWS).map(|at| creation(read_trip, Uuid::new_v4(), at)).collect();
    batch(&reader, rows).send("successful").await;
    let mut entity_rows = Floor::new(backend, false, trip).await;
    let mut all_rows = Floor::new(backend, true, trip).await;

    let mut times = Times::default();
    for round in 0..WARM_UP + ROUNDS {
        let ids: Vec<Uuid> = (0..ROWS).map(|_| Uuid::new_v4()).collect();
        for (case, version) in [("bulkSync, creates", 1), ("bulkSync, updates", 2)] {
            let items = ids.iter().enumerate().map(|(at, id)| match version {
                1 => creation(trip, *id, at),
                _ => edit(*id, at),
            });
            let push = batch(&writer, items.collect());
            times.add(round, case, "", push.send("successful").await);
            let rows: Vec<memory::Model> =
                ids.iter().enumerate().map(|(at, id)| row(trip, *id, at, version)).collect();
            times.add(round, case, "entity rows", entity_rows.write(&rows, version).await);
            times.add(round, case, "every row", all_rows.write(&rows, version).await);
        }
        let pull = request(&reader, PULL, json!({}));
        times.add(round, "enhancedSync", "", pull.send("memories").await);
        times.add(round, "enhancedSync", "select", select(&app, read_trip).await);
    }
    times.print(backend);
    app.finish().await;
}

/// With PostgreSQL's own settings: unlike in tests, a commit is on the disk.
async fn database(backend: Backend) -> TestDatabase {
    TestDatabase::create_with(backend, &[]).await
}

// ── Cases ────────────────────────────────────────────────────────────────────────────────────

/// A request whose body is ready: what a client spends on JSON is not the server's time.
struct Prepared(reqwest::RequestBuilder);

fn request(device: &Device<'_>, query: &str, variables: Json) -> Prepared {
    let body = json!({ "query": query, "variables": variables }).to_string();
    let request = device.app.client.post(format!("{}/graphql", device.app.url));
    let request = request.header("content-type", "application/json").bearer_auth(&device.token);
    Prepared(request.body(body))
}

impl Prepared {
    /// Sends it, and gives the time until the last byte of the answer is here. The answer must have
    /// at least 999 entries in this list.
    async fn send(self, list: &str) -> Duration {
        let started = Instant::now();
        let response = self.0.send().await.expect("the server answers");
        let body = response.bytes().await.expect("the answer is whole");
        let time = started.elapsed();
        let answer: Json = serde_json::from_slice(&body).expect("the answer is JSON");
        let data = answer["data"].as_object().and_then(|data| data.values().next());
        let entries = data.and_then(|data| data[list].as_array()).map_or(0, Vec::len);
        assert!(entries >= ROWS - 1, "{answer}");
        time
    }
}

fn batch(device: &Device<'_>, memories: Vec<Json>) -> Prepared {
    request(device, PUSH, json!({ "input": { "memories": memories }, "deviceId": device.id }))
}

fn creation(trip: Uuid, id: Uuid, at: usize) -> Json {
    let row = row(trip, id, at, 1);
    let fields = json!({
        "tripId": trip,
        "title": row.title,
        "content": row.content,
        "date": "2026-01-15T10:30:00.000Z",
        "latitude": row.latitude,
        "longitude": row.longitude,
        "address": row.address,
        "weatherJSON": row.weather_json,
    });
    create("Memory", id, fields).1
}

fn edit(id: Uuid, at: usize) -> Json {
    let row = row(Uuid::nil(), id, at, 2);
    update("Memory", id, 1, json!({ "title": row.title, "content": row.content })).1
}

/// The row as the server stores it.
fn row(trip: Uuid, id: Uuid, at: usize, version: i32) -> memory::Model {
    let place = at as f64 / ROWS as f64;
    memory::Model {
        id,
        scope_id: trip,
        seq: at as i64,
        entered_seq: at as i64,
        sync_version: version,
        field_versions: if version == 1 { "{}" } else { r#"{"content":2,"title":2}"# }.into(),
        sync_status: 0,
        last_sync_attempt: Some(NOW),
        sync_error_message: None,
        conflict_id: None,
        created_by: trip,
        created_at: NOW,
        updated_at: NOW,
        deleted_at: None,
        deleted_root: None,
        sync_priority: 1,
        trip_id: trip,
        title: format!("Day {at}, version {version}: over the pass and down to the lake"),
        content: Some(format!("{version}. {}", "We left early and saw the sun rise. ".repeat(5))),
        date: NOW,
        latitude: Some(46.0 + place),
        longitude: Some(8.0 + place),
        address: Some("Via della Stazione 4, Airolo".into()),
        weather_json: Some(r#"{"temperature":14.5,"condition":"cloudy"}"#.into()),
        tag_ids: "[]".into(),
    }
}

const NOW: i64 = 1_768_473_000_000;

// ── Floors ───────────────────────────────────────────────────────────────────────────────────

/// A database that is written with nothing in between.
struct Floor {
    db: Db,
    /// Whether to write all that a push has to, not only the entity rows.
    all: bool,
    head: i64,
    _database: TestDatabase,
}

impl Floor {
    async fn new(backend: Backend, all: bool, scope: Uuid) -> Floor {
        let database = database(backend).await;
        let db = Db::connect(&database.url).await.expect("the database opens");
        let tx = db.begin_write().await.expect("a transaction begins");
        let scope = scope::Model { no: 1, id: scope, head: 0, head_at: 0, floor: 0 };
        write::<scope::Entity>(&tx, &[scope], false).await.expect("the scope is written");
        tx.commit().await.expect("the scope is committed");
        Floor { db, all, head: 0, _database: database }
    }

    async fn write(&mut self, rows: &[memory::Model], version: i32) -> Duration {
        let started = Instant::now();
        self.try_write(rows, version > 1).await.expect("the floor is written");
        started.elapsed()
    }

    async fn try_write(&mut self, rows: &[memory::Model], update: bool) -> Result<(), DbErr> {
        let tx = self.db.begin_write().await?;
        write::<memory::Entity>(&tx, rows, update).await?;
        if self.all {
            let scope = rows[0].scope_id;
            self.head += rows.len() as i64;
            let (revisions, receipts): (Vec<_>, Vec<_>) = rows.iter().map(ledger).unzip();
            write::<revision::Entity>(&tx, &revisions, false).await?;
            write::<receipt::Entity>(&tx, &receipts, false).await?;
            let tick = tick::Model { scope_id: scope, seq: self.head, at: NOW };
            write::<tick::Entity>(&tx, &[tick], false).await?;
            let device = device::Model { account_id: scope, id: scope, last_seen_at: NOW };
            write::<device::Entity>(&tx, &[device], true).await?;
            let sql = "UPDATE scope SET head = ?, head_at = ? WHERE id = ?";
            let values = vec![self.head.into(), NOW.into(), scope.into()];
            tx.execute_raw(statement(&tx, sql, values)).await?;
        }
        tx.commit().await
    }
}

/// The revision and the receipt that come with a row.
fn ledger(row: &memory::Model) -> (revision::Model, receipt::Model) {
    let old = match row.sync_version {
        1 => "{}".into(),
        _ => json!({ "title": row.title, "content": row.content }).to_string(),
    };
    let revision = revision::Model {
        kind: "Memory".into(),
        entity_id: row.id,
        version: row.sync_version,
        account_id: row.scope_id,
        device_id: Some(row.scope_id),
        at: NOW,
        client_time: NOW,
        seq: row.seq,
        old,
        scope_id: None,
    };
    let receipt = receipt::Model {
        id: Uuid::new_v4(),
        account_id: row.scope_id,
        device_id: row.scope_id,
        operation_id: Uuid::new_v4().to_string(),
        content_hash: row.id,
        kind: "Memory".into(),
        entity_id: row.id,
        version: row.sync_version,
        conflict_id: None,
        at: NOW,
    };
    (revision, receipt)
}

/// Inserts rows, or with `update` replaces those with the same key.
async fn write<E: EntityTrait>(
    tx: &DatabaseTransaction,
    rows: &[E::Model],
    update: bool,
) -> Result<(), DbErr> {
    let columns: Vec<&str> = E::Column::iter().map(|column| column.as_str()).collect();
    let keys: Vec<&str> = E::PrimaryKey::iter().map(|key| key.into_column().as_str()).collect();
    let on_conflict = match update {
        false => String::new(),
        true => {
            let set: Vec<String> = columns.iter().map(|c| format!("{c} = excluded.{c}")).collect();
            format!(" ON CONFLICT ({}) DO UPDATE SET {}", keys.join(", "), set.join(", "))
        }
    };
    for chunk in rows.chunks(CHUNK) {
        let tuple = format!("({})", vec!["?"; columns.len()].join(", "));
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {}{on_conflict}",
            E::default().table_name(),
            columns.join(", "),
            vec![tuple; chunk.len()].join(", ")
        );
        let row = |row: &E::Model| E::Column::iter().map(|column| row.get(column)).collect();
        let values: Vec<Vec<Value>> = chunk.iter().map(row).collect();
        tx.execute_raw(statement(tx, &sql, values.concat())).await?;
    }
    Ok(())
}

/// A statement whose places are given as `?`.
fn statement<C: ConnectionTrait>(db: &C, sql: &str, values: Vec<Value>) -> Statement {
    let backend = db.get_database_backend();
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        match backend {
            // Numbered places would be names to SQLite, which looks each up in a list.
            DbBackend::Sqlite => text.push('?'),
            _ => text.push_str(&format!("${}", at + 1)),
        }
        text.push_str(part);
    }
    Statement::from_sql_and_values(backend, text, values)
}

/// Reads 1,000 rows and writes them as JSON.
async fn select(app: &App, trip: Uuid) -> Duration {
    let columns: Vec<&str> = memory::Column::iter().map(|column| column.as_str()).collect();
    let sql = format!(
        "SELECT {} FROM memory WHERE scope_id = ? AND seq > ? ORDER BY seq LIMIT {ROWS}",
        columns.join(", ")
    );
    let started = Instant::now();
    let pool = app.db().pool();
    let statement = statement(pool, &sql, vec![trip.into(), 0i64.into()]);
    let found = pool.query_all_raw(statement).await.expect("the rows can be read");
    let rows: Vec<MemoryJson> = found.iter().map(|row| decode(row).expect("a memory")).collect();
    let text = serde_json::to_string(&rows).expect("rows can be written");
    let time = started.elapsed();
    assert!(rows.len() >= ROWS - 1 && !text.is_empty());
    time
}

#[derive(Serialize)]
struct MemoryJson {
    id: Uuid,
    scope_id: Uuid,
    seq: i64,
    entered_seq: i64,
    sync_version: i32,
    field_versions: String,
    sync_status: i16,
    last_sync_attempt: Option<i64>,
    sync_error_message: Option<String>,
    conflict_id: Option<Uuid>,
    created_by: Uuid,
    created_at: i64,
    updated_at: i64,
    deleted_at: Option<i64>,
    deleted_root: Option<Uuid>,
    sync_priority: i16,
    trip_id: Uuid,
    title: String,
    content: Option<String>,
    date: i64,
    latitude: Option<f64>,
    longitude: Option<f64>,
    address: Option<String>,
    weather_json: Option<String>,
    tag_ids: String,
}

fn decode(row: &QueryResult) -> Result<MemoryJson, DbErr> {
    Ok(MemoryJson {
        id: row.try_get_by_index(0)?,
        scope_id: row.try_get_by_index(1)?,
        seq: row.try_get_by_index(2)?,
        entered_seq: row.try_get_by_index(3)?,
        sync_version: row.try_get_by_index(4)?,
        field_versions: row.try_get_by_index(5)?,
        sync_status: row.try_get_by_index(6)?,
        last_sync_attempt: row.try_get_by_index(7)?,
        sync_error_message: row.try_get_by_index(8)?,
        conflict_id: row.try_get_by_index(9)?,
        created_by: row.try_get_by_index(10)?,
        created_at: row.try_get_by_index(11)?,
        updated_at: row.try_get_by_index(12)?,
        deleted_at: row.try_get_by_index(13)?,
        deleted_root: row.try_get_by_index(14)?,
        sync_priority: row.try_get_by_index(15)?,
        trip_id: row.try_get_by_index(16)?,
        title: row.try_get_by_index(17)?,
        content: row.try_get_by_index(18)?,
        date: row.try_get_by_index(19)?,
        latitude: row.try_get_by_index(20)?,
        longitude: row.try_get_by_index(21)?,
        address: row.try_get_by_index(22)?,
        weather_json: row.try_get_by_index(23)?,
        tag_ids: row.try_get_by_index(24)?,
    })
}

// ── Figures ──────────────────────────────────────────────────────────────────────────────────

/// What was measured: by case, then by floor, the case itself under "".
#[derive(Default)]
struct Times(BTreeMap<&'static str, BTreeMap<&'static str, Vec<Duration>>>);

impl Times {
    fn add(&mut self, round: usize, case: &'static str, floor: &'static str, time: Duration) {
        if round >= WARM_UP {
            self.0.entry(case).or_default().entry(floor).or_default().push(time);
        }
    }

    fn print(mut self, backend: Backend) {
        println!("{backend:?}");
        for (case, times) in &mut self.0 {
            let mut medians = times.iter_mut().map(|(name, times)| {
                times.sort_unstable();
                (*name, times[times.len() / 2].as_secs_f64() * 1000.0)
            });
            // "" sorts first.
            let Some((_, whole)) = medians.next() else { continue };
            println!("  {case:20} {whole:7.1}");
            for (floor, median) in medians {
                println!("    {floor:18} {median:7.1}   case / floor: {:.1}", whole / median);
            }
        }
    }
}
