//! G12 to G14: in whatever order devices edit, delete, decide, undo, send again and share, they end
//! with the same rows; nothing that anyone sent is gone; a row has one open conflict at most.
//! More cases: `PROPTEST_CASES=300 ./scripts/test g14_orders`.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::{App, Backend, Device, Pushed, create, delete, property_with, update};

const STRATEGIES: [&str; 5] =
    ["LAST_WRITE_WINS", "FIRST_WRITE_WINS", "FIELD_MERGE", "KEEP_BOTH", "MANUAL_RESOLUTION"];

/// What somebody does.
#[derive(Clone, Debug)]
enum Deed {
    /// Edits the fields that the bits of `fields` name, on the version that the device knows.
    Edit {
        row: u8,
        fields: u8,
    },
    Delete {
        row: u8,
    },
    Create {
        kind: u8,
        under: u8,
    },
    Pull,
    /// Sends an earlier edit of this device again.
    Resend {
        edit: u8,
    },
    /// Decides an open conflict; by hand, with these fields, or by deleting the row.
    Resolve {
        conflict: u8,
        strategy: u8,
        fields: u8,
        deletes: bool,
    },
    ResolveAll {
        strategy: u8,
    },
    Undo {
        conflict: u8,
    },
    /// Makes bob an editor, a viewer, or nobody.
    Share {
        role: u8,
    },
}

#[derive(Clone, Debug)]
struct Step {
    /// 0 and 1: ada's; 2: bob's.
    device: u8,
    deed: Deed,
    /// When it is done by the device's clock.
    day: u8,
    /// The batch's own strategy; beyond the list: the server's.
    strategy: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = any::<u8>;
    let deed = prop_oneof![
        10 => (n(), n()).prop_map(|(row, fields)| Deed::Edit { row, fields }),
        3 => n().prop_map(|row| Deed::Delete { row }),
        3 => (n(), n()).prop_map(|(kind, under)| Deed::Create { kind, under }),
        4 => Just(Deed::Pull),
        2 => n().prop_map(|edit| Deed::Resend { edit }),
        5 => (n(), 0..5u8, n(), prop::bool::weighted(0.2)).prop_map(
            |(conflict, strategy, fields, deletes)| Deed::Resolve { conflict, strategy, fields, deletes }
        ),
        1 => (0..4u8).prop_map(|strategy| Deed::ResolveAll { strategy }),
        3 => n().prop_map(|conflict| Deed::Undo { conflict }),
        1 => n().prop_map(|role| Deed::Share { role }),
    ];
    let step = (0..3u8, deed, 1..28u8, 0..8u8).prop_map(|(device, deed, day, strategy)| Step {
        device,
        deed,
        day,
        strategy,
    });
    prop::collection::vec(step, 1..40)
}

/// An edit that was sent and taken.
struct Sent {
    device: usize,
    list: &'static str,
    item: Json,
    strategy: Option<&'static str>,
    verdict: String,
}

struct Run<'a> {
    devices: [Device<'a>; 3],
    /// The versions that each device knows of.
    known: [BTreeMap<Uuid, i64>; 3],
    rows: Vec<(&'static str, Uuid)>,
    trips: [Uuid; 2],
    tags: Vec<Uuid>,
    sent: Vec<Sent>,
    /// The texts that were sent, with the row that they are of.
    texts: Vec<(String, Uuid)>,
    /// The highest version of each row that was ever seen.
    highest: BTreeMap<Uuid, i64>,
    counter: u32,
    bob: Uuid,
}

const DECIDE: &str = "
    mutation($id: ID!, $strategy: ConflictResolutionStrategy!, $data: String, $device: ID) {
        resolveConflict(conflictId: $id, strategy: $strategy, resolvedData: $data, deviceId: $device) {
            resolvedData } }";
const DECIDE_ALL: &str = "
    mutation($ids: [ID!]!, $strategy: ConflictResolutionStrategy!, $device: ID) {
        resolveConflicts(conflictIds: $ids, strategy: $strategy, deviceId: $device) { conflictId } }";
const UNDO: &str = "
    mutation($id: ID!, $device: ID) { undoResolution(conflictId: $id, deviceId: $device) { status } }";

/// An error may only say that the caller may not, or that it makes no sense.
fn is_refusal(answer: &Json) -> bool {
    let code = answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none");
    ["BAD_USER_INPUT", "FORBIDDEN", "NOT_FOUND"].contains(&code)
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl<'a> Run<'a> {
    async fn new(app: &'a App, name: &str) -> Run<'a> {
        let [phone, tablet] = app.two_devices_of(&format!("{name}-ada")).await;
        let pad = app.device_of(&format!("{name}-bob")).await;
        let trips = [phone.trip("shared").await, phone.trip("own").await];
        phone.share(trips[0], &pad, "EDITOR").await;
        let mut rows = vec![("Trip", trips[0]), ("Trip", trips[1])];
        for title in ["first", "second"] {
            rows.push(("Memory", phone.memory(trips[0], title).await));
        }
        let tags = vec![phone.tag("hers").await, pad.tag("his").await];
        rows.push(("Tag", tags[0]));
        let bob = pad.account().await;
        let mut run = Run {
            devices: [phone, tablet, pad],
            known: Default::default(),
            rows,
            trips,
            tags,
            sent: Vec::new(),
            texts: Vec::new(),
            highest: BTreeMap::new(),
            counter: 0,
            bob,
        };
        for device in 0..3 {
            run.pull(device).await;
        }
        run
    }

    async fn pull(&mut self, device: usize) {
        self.devices[device].pull().await;
        for ((_, id), row) in self.devices[device].rows.clone() {
            let id = Uuid::try_parse(&id).expect("an id");
            let version = row["syncVersion"].as_i64().expect("a version");
            self.known[device].insert(id, version);
            self.saw(id, version);
        }
    }

    fn saw(&mut self, id: Uuid, version: i64) {
        let highest = self.highest.entry(id).or_insert(version);
        *highest = version.max(*highest);
    }

    /// A text that nobody has sent before.
    fn fresh(&mut self, row: Uuid) -> String {
        self.counter += 1;
        let text = format!("text {}", self.counter);
        self.texts.push((text.clone(), row));
        text
    }

    /// Values for the fields that the bits name.
    fn fields(&mut self, kind: &str, row: Uuid, bits: u8) -> Json {
        let texts: &[&str] = match kind {
            "Trip" => &["name", "tripDescription"],
            "Memory" => &["title", "content"],
            "Tag" => &["name", "emoji"],
            "MediaItem" => &["originalFilename", "thumbnailObjectName"],
            _ => &["name", "description"],
        };
        let mut fields = json!({});
        for (bit, name) in texts.iter().enumerate() {
            if bits >> bit & 1 == 1 {
                fields[name] = json!(self.fresh(row));
            }
        }
        if kind == "Memory" {
            if bits & 4 == 4 {
                let whole = bits & 8 == 8;
                fields["latitude"] = json!(f64::from(self.counter % 90));
                if whole {
                    fields["longitude"] = json!(f64::from(self.counter % 180));
                }
            }
            if bits & 16 == 16 {
                let carried =
                    self.tags.iter().enumerate().filter(|(n, _)| bits >> (n % 4) & 1 == 1);
                fields["tagIds"] = json!(carried.map(|(_, id)| id).collect::<Vec<_>>());
            }
            if bits & 0xe0 == 0xe0 {
                fields["tripId"] = json!(self.trips[usize::from(bits & 1)]);
            }
        }
        if fields == json!({}) {
            fields[texts[0]] = json!(self.fresh(row));
        }
        fields
    }

    /// Sends an item, and remembers it if it was taken.
    async fn send(&mut self, step: &Step, list: &'static str, mut item: Json) {
        let device = usize::from(step.device);
        item["clientTimestamp"] = json!(format!("2026-01-{:02}T00:00:00.000Z", step.day));
        let strategy = STRATEGIES.get(usize::from(step.strategy)).copied();
        let (verdict, pushed) = self.push(device, list, &item, strategy).await;
        let id = Uuid::try_parse(item["id"].as_str().expect("an id")).expect("an id");
        if let Some(taken) = pushed.successful.first() {
            let version = taken["syncVersion"].as_i64().expect("a version");
            self.known[device].insert(id, version);
            self.saw(id, version);
        }
        if pushed.failed.is_empty() {
            self.sent.push(Sent { device, list, item, strategy, verdict });
        } else {
            let texts: BTreeSet<String> = item
                .as_object()
                .expect("fields")
                .values()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            self.texts.retain(|(text, _)| !texts.contains(text));
        }
    }

    /// Pushes an item; its verdict in short: what stays the same however often it is sent.
    async fn push(
        &self,
        device: usize,
        list: &'static str,
        item: &Json,
        strategy: Option<&str>,
    ) -> (String, Pushed) {
        let more = json!({ "strategy": strategy });
        let pushed = self.devices[device].push_with(json!({ list: [item] }), more).await;
        let verdict = match (pushed.successful.first(), pushed.conflicts.first()) {
            (Some(taken), _) => format!("ok {}", taken["syncVersion"]),
            (None, Some(conflict)) => format!("conflict {}", conflict["id"]),
            (None, None) => "failed".to_owned(),
        };
        (verdict, pushed)
    }

    async fn resend(&self, sent: &Sent) {
        let (verdict, _) = self.push(sent.device, sent.list, &sent.item, sent.strategy).await;
        assert_eq!(verdict, sent.verdict, "sent again: {}", sent.item);
    }

    async fn step(&mut self, step: &Step) {
        let device = usize::from(step.device);
        let pick = |n: u8, many: usize| usize::from(n) % many.max(1);
        match step.deed {
            Deed::Edit { row, fields } => {
                let (kind, id) = self.rows[pick(row, self.rows.len())];
                let version = self.known[device].get(&id).copied().unwrap_or(1);
                let fields = self.fields(kind, id, fields);
                let (list, item) = update(kind, id, version, fields);
                self.send(step, list, item).await;
            }
            Deed::Delete { row } => {
                let (kind, id) = self.rows[pick(row, self.rows.len())];
                let version = self.known[device].get(&id).copied().unwrap_or(1);
                let (list, item) = delete(kind, id, version);
                self.send(step, list, item).await;
            }
            Deed::Create { kind, under } => {
                let id = Uuid::new_v4();
                let memories: Vec<Uuid> = self
                    .rows
                    .iter()
                    .filter(|(kind, _)| *kind == "Memory")
                    .map(|(_, id)| *id)
                    .collect();
                let label = self.fresh(id);
                let (kind, fields) = match kind % 4 {
                    0 => ("Tag", json!({ "name": label })),
                    1 => {
                        let trip = self.trips[pick(under, 2)];
                        ("Memory", json!({ "title": label, "tripId": trip }))
                    }
                    2 => {
                        let memory = memories[pick(under, memories.len())];
                        let name = format!("{id}.jpg");
                        let fields = json!({ "memoryId": memory, "objectName": name, "fileSize": 3,
                            "mimeType": "image/jpeg", "originalFilename": label });
                        ("MediaItem", fields)
                    }
                    _ => {
                        let trip = self.trips[pick(under, 2)];
                        let memory = memories.get(pick(under / 2, memories.len() + 1));
                        ("GPXTrack", json!({ "name": label, "tripId": trip, "memoryId": memory }))
                    }
                };
                let (list, item) = create(kind, id, fields);
                self.send(step, list, item).await;
                if self.sent.last().is_some_and(|sent| sent.item["id"] == json!(id)) {
                    self.rows.push((kind, id));
                    if kind == "Tag" {
                        self.tags.push(id);
                    }
                }
            }
            Deed::Pull => self.pull(device).await,
            Deed::Resend { edit } => {
                let own: Vec<&Sent> =
                    self.sent.iter().filter(|sent| sent.device == device).collect();
                if let Some(sent) = own.get(pick(edit, own.len())) {
                    self.resend(sent).await;
                }
            }
            Deed::Resolve { conflict, strategy, fields, deletes } => {
                let open = self.devices[device].open_conflicts().await;
                if let Some(conflict) = open.get(pick(conflict, open.len())) {
                    self.resolve(
                        device,
                        conflict,
                        STRATEGIES[usize::from(strategy)],
                        fields,
                        deletes,
                    )
                    .await;
                }
            }
            Deed::ResolveAll { strategy } => {
                let open = self.devices[device].open_conflicts().await;
                let ids: Vec<&Json> = open.iter().map(|conflict| &conflict["id"]).collect();
                let strategy = STRATEGIES[usize::from(strategy)];
                let variables =
                    json!({ "ids": ids, "strategy": strategy, "device": self.devices[device].id });
                let answer = self.devices[device].ask(DECIDE_ALL, variables).await;
                assert!(answer["errors"].is_null() || is_refusal(&answer), "{answer}");
            }
            Deed::Undo { conflict } => {
                let resolved = self.devices[device].conflicts("status: RESOLVED").await;
                if let Some(conflict) = resolved.get(pick(conflict, resolved.len())) {
                    let variables =
                        json!({ "id": conflict["id"], "device": self.devices[device].id });
                    let answer = self.devices[device].ask(UNDO, variables).await;
                    assert!(answer["errors"].is_null() || is_refusal(&answer), "{answer}");
                }
            }
            Deed::Share { role } => {
                // The trip may be deleted: then nobody is let in.
                let ada = &self.devices[0];
                let (trip, bob) = (self.trips[0], &self.devices[2]);
                if role % 3 == 0 {
                    ada.try_unshare(trip, bob).await;
                } else {
                    let permission = if role % 3 == 1 { "READ" } else { "WRITE" };
                    ada.try_share(trip, bob, permission).await;
                    let change = "mutation($trip: ID!, $user: ID!, $permission: Permission!) {
                        changeTripRole(tripId: $trip, userId: $user, permission: $permission) { id } }";
                    let variables =
                        json!({ "trip": trip, "user": self.bob, "permission": permission });
                    ada.ask(change, variables).await;
                }
            }
        }
    }

    async fn resolve(
        &mut self,
        device: usize,
        conflict: &Json,
        strategy: &str,
        fields: u8,
        deletes: bool,
    ) {
        let id = Uuid::try_parse(&text(&conflict["entityId"])).expect("an id");
        let mut mine = Vec::new();
        let data = (strategy == "MANUAL_RESOLUTION").then(|| {
            let before = self.texts.len();
            let mut data = self.fields(&text(&conflict["entityType"]), id, fields);
            mine = self.texts.split_off(before);
            if deletes {
                data["deletedAt"] = json!("2026-01-15T00:00:00.000Z");
            }
            data.to_string()
        });
        let variables = json!({ "id": conflict["id"], "strategy": strategy, "data": data,
            "device": self.devices[device].id });
        let answer = self.devices[device].ask(DECIDE, variables).await;
        let can = conflict["strategies"].as_array().expect("a list").contains(&json!(strategy));
        if answer["errors"].is_null() {
            if !deletes {
                self.texts.extend(mine);
            }
            let out = &answer["data"]["resolveConflict"]["resolvedData"];
            if strategy == "FIELD_MERGE" && conflict["mergedData"].is_string() {
                let shown = |json: &Json| -> Json {
                    serde_json::from_str(json.as_str().expect("text")).expect("JSON")
                };
                let (promised, out) = (shown(&conflict["mergedData"]), shown(out));
                for name in ["title", "content", "name", "tripDescription", "emoji", "latitude"] {
                    assert_eq!(
                        promised[name], out[name],
                        "{name}: as it was shown before\n{conflict}"
                    );
                }
            }
        } else {
            assert!(is_refusal(&answer), "{answer}");
            // What was offered can be done.
            assert!(!can || strategy == "MANUAL_RESOLUTION", "{strategy}: {answer}\n{conflict}");
        }
    }

    /// Everything that must hold in the end.
    async fn end(&mut self) {
        for device in 0..3 {
            self.pull(device).await;
        }
        let [phone, tablet, pad] = &self.devices;
        assert_eq!(phone.rows, tablet.rows, "ada's devices");
        let before = [phone.fresh_rows().await, pad.fresh_rows().await];
        assert_eq!(phone.rows, before[0], "a new device of ada's");
        assert_eq!(pad.rows, before[1], "a new device of bob's");
        for ((_, id), row) in before.iter().flatten() {
            let id = Uuid::try_parse(id).expect("an id");
            let version = row["syncVersion"].as_i64().expect("a version");
            assert!(version >= self.highest.get(&id).copied().unwrap_or(1), "versions only rise");
        }
        for (device, rows) in [(phone, &before[0]), (pad, &before[1])] {
            let open = device.open_conflicts().await;
            let disputed: BTreeSet<(String, String)> = open
                .iter()
                .map(|conflict| (text(&conflict["entityType"]), text(&conflict["entityId"])))
                .collect();
            assert_eq!(disputed.len(), open.len(), "a row has one open conflict at most");
            let says = |row: &Json| row["syncStatus"] == "CONFLICT";
            let editor = |(_, row): &(&(String, String), &Json)| {
                row.get("permission").is_none_or(|permission| permission != "READ")
            };
            let sees_all = device.name.ends_with("ada");
            for (key, row) in rows.iter().filter(|entry| sees_all && editor(entry)) {
                assert_eq!(says(row), disputed.contains(key), "{key:?}");
            }
        }
        self.expect_nothing_lost().await;
        for sent in &self.sent {
            self.resend(sent).await;
        }
        let [phone, _, pad] = &self.devices;
        let after = [phone.fresh_rows().await, pad.fresh_rows().await];
        assert_eq!(before, after, "sending all again changed something");
    }

    /// Every text that was ever taken is in a row, in a conflict or in the history, for someone who
    /// may look there.
    async fn expect_nothing_lost(&self) {
        let rows = self.rows.iter().copied();
        let mut found = self.devices[0].texts(rows.clone()).await;
        found.extend(self.devices[2].texts(rows).await);
        for (text, row) in &self.texts {
            assert!(found.contains(text), "{text:?}, sent for {row}, is gone");
        }
    }
}

async fn case(app: &App, name: &str, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut run = Run::new(app, name).await;
    for step in &steps {
        run.step(step).await;
    }
    run.end().await;
    Ok(())
}

fn orders(backend: Backend, policies: &str) {
    property_with(
        backend,
        &["--conflict-policies", policies],
        24,
        steps(),
        async |_| {},
        async |app, name, steps| case(app, &name, steps).await,
    );
}

/// Conflicts wait for people.
const FLAGGED: &str = "";
/// Whatever a strategy can decide is decided.
const LATER_WINS: &str = "Memory = LAST_WRITE_WINS, Trip = LAST_WRITE_WINS, \
    Tag.name = FIRST_WRITE_WINS, Tag = LAST_WRITE_WINS, MediaItem = FIELD_MERGE, \
    DELETION_CONFLICT = LAST_WRITE_WINS, DEPENDENCY_CONFLICT = FIELD_MERGE";
const KEPT_BOTH: &str = "Memory = KEEP_BOTH, Trip = KEEP_BOTH, Tag = FIELD_MERGE, \
    DELETION_CONFLICT = KEEP_BOTH, Trip.DELETION_CONFLICT = FIRST_WRITE_WINS, DEPENDENCY_CONFLICT = KEEP_BOTH";

#[test]
fn g14_orders_flagged_sqlite() {
    orders(Backend::Sqlite, FLAGGED);
}

#[test]
fn g14_orders_flagged_postgres() {
    orders(Backend::Postgres, FLAGGED);
}

#[test]
fn g14_orders_later_wins_sqlite() {
    orders(Backend::Sqlite, LATER_WINS);
}

#[test]
fn g14_orders_later_wins_postgres() {
    orders(Backend::Postgres, LATER_WINS);
}

#[test]
fn g14_orders_kept_both_sqlite() {
    orders(Backend::Sqlite, KEPT_BOTH);
}

#[test]
fn g14_orders_kept_both_postgres() {
    orders(Backend::Postgres, KEPT_BOTH);
}
