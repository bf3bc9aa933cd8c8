//! G8: cut the connection, resend, re-cut the batch, send twice at once: the same state, versions,
//! conflicts and verdicts as sent once. More cases: `PROPTEST_CASES=500 ./scripts/test g08`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Backend, Device, Pushed, create, property, update};

both! {
    async fn g08_the_same_operation_gets_the_same_answer(app: &App) {
        let mut phone = app.device_of("ada").await;
        let batch = json!({ "tags": [create("Tag", Uuid::new_v4(), json!({ "name": "a" })).1] });
        let first = phone.push(batch.clone()).await;
        assert_eq!(phone.push(batch.clone()).await, first);
        let id = Uuid::try_parse(first.successful[0]["entityId"].as_str().expect("an id")).expect("a UUID");
        phone.push_one(update("Tag", id, 1, json!({ "name": "b" }))).await;
        assert_eq!(phone.push(batch).await, first, "whatever happened since");
        phone.pull().await;
        assert_eq!(phone.field("Tag", id, "name"), "b");
    }

    async fn g08_the_same_operation_with_other_content_is_refused(app: &App) {
        let phone = app.device_of("ada").await;
        let (list, mut item) = create("Tag", Uuid::new_v4(), json!({ "name": "a" }));
        phone.push(json!({ list: [item] })).await;
        item["name"] = json!("b");
        assert_eq!(phone.push(json!({ list: [item] })).await.verdict(), "failed OPERATION_REUSED");
        item["name"] = json!("");
        let verdict = phone.push(json!({ list: [item] })).await.verdict();
        assert_eq!(verdict, "failed OPERATION_REUSED", "before everything else");
        // Another device has operations of its own.
        item["name"] = json!("a");
        let other = phone.push_with(json!({ list: [item] }), json!({ "deviceId": Uuid::new_v4() })).await;
        assert_eq!(other.verdict(), "ok 1");
    }

    async fn g08_without_ids_a_resend_is_recognized_by_its_content(app: &App) {
        let phone = app.device_of("ada").await;
        let item = json!({ "operation": "CREATE", "name": "a", "clientTimestamp": "2026-01-01T00:00:00Z" });
        let first = phone.push(json!({ "tags": [item] })).await;
        let again = phone.push(json!({ "tags": [item, item] })).await;
        assert_eq!(again.successful[0]["entityId"], first.successful[0]["entityId"]);
        assert_eq!(again.successful[1]["entityId"], first.successful[0]["entityId"]);
        let mut later = item.clone();
        later["clientTimestamp"] = json!("2026-01-01T00:00:01Z");
        let other = phone.push(json!({ "tags": [later] })).await;
        assert_ne!(other.successful[0]["entityId"], first.successful[0]["entityId"]);
        assert_eq!(phone.fresh_rows().await.len(), 2);
    }

    async fn g08_one_operation_twice_in_a_batch_is_one(app: &App) {
        let phone = app.device_of("ada").await;
        let tag = phone.tag("a").await;
        let edit = update("Tag", tag, 1, json!({ "name": "b" })).1;
        let answer = phone.push(json!({ "tags": [edit, edit] })).await;
        let verdicts: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(verdicts, ["ok 2", "ok 2"]);
    }

    async fn g08_a_connection_cut_at_any_byte_loses_and_doubles_nothing(app: &App) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let phone = app.device_of("ada").await;
        let address = app.url.strip_prefix("http://").expect("an address");
        let query = "mutation($input: BulkSyncInput!, $deviceId: ID) {
            bulkSync(input: $input, deviceId: $deviceId) { processedCount } }";
        for cut in [0, 1, 100, 300, 700, 900, usize::MAX] {
            let id = Uuid::new_v4();
            let batch = json!({ "tags": [create("Tag", id, json!({ "name": "x" })).1] });
            let body = json!({ "query": query, "variables": { "input": batch, "deviceId": phone.id } }).to_string();
            let request = format!(
                "POST /graphql HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                phone.token, body.len()
            );
            let mut connection = tokio::net::TcpStream::connect(address).await.expect("a connection");
            let sent = &request.as_bytes()[..cut.min(request.len())];
            connection.write_all(sent).await.expect("sent");
            if cut == usize::MAX {
                // All was sent; the answer is cut off.
                let _ = connection.read(&mut [0; 20]).await;
            }
            drop(connection);
            let answer = phone.push(batch).await;
            assert_eq!(answer.verdict(), "ok 1", "cut at {cut}");
        }
        assert_eq!(phone.fresh_rows().await.len(), 7);
    }
}

/// A change of one of a few rows.
#[derive(Clone, Debug)]
enum Change {
    Create(u8),
    Rename(u8),
    Decorate(u8),
    Delete(u8),
}

impl Change {
    fn row(&self) -> u8 {
        match self {
            Change::Create(n) | Change::Rename(n) | Change::Decorate(n) | Change::Delete(n) => {
                n % 6
            }
        }
    }
}

/// How a batch reaches the server.
#[derive(Clone, Debug)]
enum Way {
    Once,
    Twice,
    AtOnce,
    /// The first items alone, then all.
    Cut(u8),
    /// Item by item, then all.
    Crumbs,
}

#[derive(Clone, Debug)]
struct Batch {
    tablet: bool,
    changes: Vec<Change>,
    way: Way,
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let n = any::<u8>;
    let change = prop_oneof![
        3 => n().prop_map(Change::Create),
        3 => n().prop_map(Change::Rename),
        3 => n().prop_map(Change::Decorate),
        1 => n().prop_map(Change::Delete),
    ];
    let way = prop_oneof![
        1 => Just(Way::Once),
        2 => Just(Way::Twice),
        3 => Just(Way::AtOnce),
        2 => n().prop_map(Way::Cut),
        1 => Just(Way::Crumbs),
    ];
    let batch = (any::<bool>(), prop::collection::vec(change, 1..8), way)
        .prop_map(|(tablet, changes, way)| Batch { tablet, changes, way });
    prop::collection::vec(batch, 1..8)
}

/// Leaves out what no device sends, and what fails: a failed item takes the row's later ones in its
/// batch along, but not in the next. So nothing follows a deletion in a batch, and nothing is edited
/// that was never created.
fn sensible(batches: &mut [Batch]) {
    let mut born: Vec<u8> = Vec::new();
    for batch in batches {
        let mut deleted: Vec<u8> = Vec::new();
        let mut edited: Vec<u8> = Vec::new();
        // Memories hang on the first trip, and are worked off after it.
        let changes = std::mem::take(&mut batch.changes);
        let makes_trip = changes.iter().any(|c| matches!(c, Change::Create(_)) && c.row() == 0);
        for change in changes {
            let row = change.row();
            let creates = matches!(change, Change::Create(_));
            let parentless = [2, 3].contains(&row) && !born.contains(&0) && !makes_trip;
            let unborn = !born.contains(&row) && (!creates || parentless);
            if deleted.contains(&row) || unborn || (creates && edited.contains(&row)) {
                continue;
            }
            if matches!(change, Change::Delete(_)) {
                deleted.push(row);
            }
            edited.push(row);
            born.push(row);
            batch.changes.push(change);
        }
    }
}

/// Rows 0 and 1 are trips, 2 and 3 memories of the first, 4 and 5 tags.
fn kind(row: u8) -> &'static str {
    ["Trip", "Trip", "Memory", "Memory", "Tag", "Tag"][row as usize]
}

struct Run<'a> {
    devices: [Device<'a>; 2],
    rows: [Uuid; 6],
    /// Replaces the ids of this run by what they stand for.
    names: BTreeMap<String, String>,
}

impl<'a> Run<'a> {
    async fn new(app: &'a App, name: &str) -> Run<'a> {
        let mut devices = app.two_devices_of(name).await;
        // Ties between edits of one moment go to the greater device: the same one in each run.
        if devices[0].id > devices[1].id {
            let (first, second) = (devices[0].id, devices[1].id);
            devices[0].id = second;
            devices[1].id = first;
        }
        let rows: [Uuid; 6] = std::array::from_fn(|_| Uuid::new_v4());
        let names = rows.iter().enumerate().map(|(n, id)| (id.to_string(), format!("row {n}")));
        Run { devices, names: names.collect(), rows }
    }

    /// The items of a batch in the order in which it is worked off, each with its list.
    fn items(&self, number: usize, batch: &Batch) -> Vec<(&'static str, Json)> {
        let mut items: Vec<(i32, &'static str, Json)> = Vec::new();
        for (n, change) in batch.changes.iter().enumerate() {
            let row = change.row();
            let (kind, id) = (kind(row), self.rows[row as usize]);
            let label = if kind == "Memory" { "title" } else { "name" };
            let extra = match kind {
                "Trip" => "tripDescription",
                "Memory" => "content",
                _ => "tagDescription",
            };
            // Few values, so that edits meet what is there already, and take back what was.
            let value = ["a", "b", "c"][(number * 5 + n * 2) % 3];
            let (list, mut item) = match change {
                Change::Create(_) => {
                    let mut fields = json!({ label: value });
                    match kind {
                        "Trip" => fields["startDate"] = json!("2026-01-01T00:00:00Z"),
                        "Memory" => fields["tripId"] = json!(self.rows[0]),
                        _ => {}
                    }
                    create(kind, id, fields)
                }
                Change::Rename(_) => update(kind, id, 1, json!({ label: value })),
                Change::Decorate(_) => update(kind, id, 1, json!({ extra: value })),
                Change::Delete(_) => crate::support::delete(kind, id, 1),
            };
            item["operationId"] = json!(format!("operation {number}.{n}"));
            let place = i32::from(row / 2);
            let order = match (change, kind) {
                (Change::Delete(_), "Tag") => 20,
                (Change::Delete(_), _) => 12 - place,
                (_, "Tag") => -1,
                _ => place,
            };
            items.push((order, list, item));
        }
        items.sort_by_key(|(order, _, _)| *order);
        items.into_iter().map(|(_, list, item)| (list, item)).collect()
    }

    async fn send(&self, tablet: bool, items: &[(&'static str, Json)]) -> Pushed {
        let mut lists: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
        for (list, item) in items {
            lists.entry(list).or_default().push(item);
        }
        self.devices[usize::from(tablet)].push(json!(lists)).await
    }

    async fn run(&self, number: usize, batch: &Batch, way: &Way) -> String {
        let items = self.items(number, batch);
        let all = || self.send(batch.tablet, &items);
        match way {
            Way::Once => {}
            Way::Twice => {
                all().await;
            }
            Way::AtOnce => {
                let (first, second) = tokio::join!(all(), all());
                assert_eq!(self.normal(&first), self.normal(&second));
            }
            Way::Cut(n) => {
                self.send(batch.tablet, &items[..*n as usize % (items.len() + 1)]).await;
            }
            Way::Crumbs => {
                for item in &items {
                    self.send(batch.tablet, std::slice::from_ref(item)).await;
                }
            }
        }
        self.normal(&all().await)
    }

    /// A comparable text of an answer: what became of each item.
    fn normal(&self, pushed: &Pushed) -> String {
        self.replace(format!("{:?}", pushed.verdicts()))
    }

    fn replace(&self, mut text: String) -> String {
        for (id, name) in &self.names {
            text = text.replace(id, name);
        }
        text
    }

    /// A comparable text of everything that is there.
    async fn state(&self) -> String {
        let mut rows = self.devices[0].fresh_rows().await;
        for row in rows.values_mut() {
            row["updatedAt"] = json!(null);
        }
        let query = "{ getConflicts(limit: 500) { entityType entityId conflictType status remoteData conflictedFields } }";
        let answer = self.devices[0].ask(query, json!({})).await;
        let mut conflicts: Vec<String> = answer["data"]["getConflicts"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|conflict| self.replace(conflict.to_string()))
            .collect();
        conflicts.sort();
        let mut rows: Vec<String> =
            rows.values().map(|row| self.replace(row.to_string())).collect();
        rows.sort();
        format!("{rows:#?}\n{conflicts:#?}")
    }
}

async fn case(app: &App, name: &str, mut batches: Vec<Batch>) -> Result<(), TestCaseError> {
    sensible(&mut batches);
    let once = Run::new(app, &format!("{name}-once")).await;
    let mangled = Run::new(app, &format!("{name}-mangled")).await;
    for (number, batch) in batches.iter().enumerate() {
        let plain = once.run(number, batch, &Way::Once).await;
        let resent = mangled.run(number, batch, &batch.way).await;
        prop_assert_eq!(plain, resent, "batch {}", number);
    }
    prop_assert_eq!(once.state().await, mangled.state().await);
    Ok(())
}

fn resends(backend: Backend) {
    property(
        backend,
        batches(),
        async |_| {},
        async |app, name, batches| case(app, &name, batches).await,
    );
}

#[test]
fn g08_resends_sqlite() {
    resends(Backend::Sqlite);
}

#[test]
fn g08_resends_postgres() {
    resends(Backend::Postgres);
}
