//! G11 to G14 as tables: what two edits of one row make of it, and what a decision makes of a
//! conflict. Both are pure functions; everything around them is tested through the API.

use std::collections::BTreeMap;

use cairn::kinds::{Content, EntityType, Value};
use cairn::sync::change::{Change, new_content};
use cairn::sync::conflict::{Conflict, Edit};
use cairn::sync::merge::{Edited, is_later, merge, merge_sets, with};
use cairn::sync::resolution::{Case, Wish, wish};
use cairn::sync::row::{Life, Revision, Row};
use cairn::sync::{ConflictType, Operation, Sender, Status, Strategy};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

const PHONE: u128 = 1;
const TABLET: u128 = 2;

fn device(number: u128) -> Sender {
    Sender { account: Uuid::from_u128(100), device: Some(Uuid::from_u128(number)) }
}

/// Fields as a device sends them, read as the server reads them. Members of sets have names of one
/// letter.
fn values(kind: EntityType, fields: &Json) -> BTreeMap<usize, Value> {
    let read = |(name, json): (&String, &Json)| {
        let field = kind.kind().field(name);
        let json = match json.as_str().filter(|_| kind.kind().fields[field].is_set()) {
            Some(letters) => json!(letters.chars().map(letter).collect::<Vec<_>>()),
            None => json.clone(),
        };
        let value = kind.kind().fields[field].take(&json);
        (field, value.unwrap_or_else(|invalid| panic!("{}", invalid.0)))
    };
    fields.as_object().expect("fields").iter().map(read).collect()
}

fn letter(letter: char) -> Uuid {
    Uuid::from_u128(u128::from(u32::from(letter)))
}

/// The fields of content as tables show them.
fn shown(content: &Content, names: &[String]) -> Json {
    let fields = names.iter().map(|name| {
        let field = &content.kind.kind().fields[content.kind.kind().field(name)];
        let value = content.get(name);
        let json = match field.is_set() {
            true => {
                let letters = value.as_ids().iter().map(|id| id.as_u128() as u8 as char);
                json!(letters.collect::<String>())
            }
            false => value.to_json(field.choices()),
        };
        (name.clone(), json)
    });
    Json::Object(fields.collect())
}

/// A row that the phone made, and the revisions that made it what it is.
struct Story {
    row: Row,
    revisions: Vec<Revision>,
    /// What it was at first.
    base: Content,
}

impl Story {
    fn new(kind: EntityType, fields: &Json) -> Story {
        let mut needed = match kind {
            EntityType::Trip => json!({ "name": "Alps", "startDate": "2026-01-01T00:00:00.000Z" }),
            EntityType::Memory => json!({ "title": "Hut", "tripId": Uuid::from_u128(50) }),
            _ => json!({ "name": "Hut" }),
        };
        let given = fields.as_object().expect("fields").clone();
        needed.as_object_mut().expect("fields").extend(given);
        let content = new_content(&Change {
            entity_type: kind,
            id: Uuid::from_u128(7),
            operation: Operation::Create,
            base_version: 0,
            client_time: 0,
            is_blind: false,
            past: None,
            edit: values(kind, &needed),
        });
        let content = content.unwrap_or_else(|refusal| panic!("{}", refusal.message));
        let row = Row {
            id: Uuid::from_u128(7),
            scope: Uuid::from_u128(50),
            seq: 1,
            entered_seq: 1,
            version: 1,
            field_versions: Vec::new(),
            status: Status::InSync,
            last_sync_attempt: None,
            sync_error: None,
            conflict: None,
            created_by: Uuid::from_u128(100),
            created_at: 0,
            updated_at: 0,
            deleted_at: None,
            deleted_root: None,
            content: content.clone(),
        };
        let mut story = Story { row, revisions: Vec::new(), base: content };
        story.revise(PHONE, 0, Vec::new(), None);
        story
    }

    fn revise(&mut self, by: u128, time: i64, old: Vec<(usize, Value)>, life: Option<Life>) {
        let Sender { account, device } = device(by);
        self.revisions.push(Revision {
            version: self.row.version,
            account,
            device,
            client_time: time,
            at: time,
            seq: self.row.version.into(),
            scope: None,
            old,
            life,
        });
    }

    /// A device writes fields, on what is there.
    fn wrote(mut self, by: u128, time: i64, fields: &Json) -> Story {
        let edit = values(self.row.entity_type(), fields);
        self.row.version += 1;
        let mut old = Vec::new();
        for (field, value) in edit {
            if self.row.content.values[field] != value {
                old.push((field, std::mem::replace(&mut self.row.content.values[field], value)));
                self.row.set_version_of(field, self.row.version);
            }
        }
        self.row.updated_at = time;
        self.revise(by, time, old, None);
        self
    }

    fn deleted(mut self, time: i64) -> Story {
        self.row.version += 1;
        self.row.deleted_at = Some(time);
        self.row.deleted_root = Some(self.row.id);
        self.revise(PHONE, time, Vec::new(), Some(Life::Ended));
        self
    }
}

/// What becomes of a tablet's edit of version 1: the row, or the fields that collide, and the row if
/// the tablet wins.
fn outcome(story: &Story, theirs: &Json, is_base_known: bool) -> (Json, Json) {
    let kind = story.row.entity_type();
    let edits: BTreeMap<usize, Edited> = values(kind, theirs)
        .into_iter()
        .map(|(field, value)| {
            let seen = is_base_known.then(|| story.base.values[field].clone());
            let base_version = i32::from(is_base_known);
            (field, Edited { value, seen, by: device(TABLET), base_version, at: 30 })
        })
        .collect();
    let merged = merge(&story.row, &story.revisions, &edits);
    let names: Vec<String> = kind
        .kind()
        .fields
        .iter()
        .enumerate()
        .filter(|(at, _)| {
            let mut group = kind.kind().group_of(*at);
            group.any(|member| edits.contains_key(&member))
        })
        .map(|(_, field)| field.name.clone())
        .collect();
    if merged.collided.is_empty() {
        return (json!(null), shown(&with(&story.row.content, &merged.wanted), &names));
    }
    let fields = merged.collided.iter().map(|at| kind.kind().fields[*at].name.clone());
    let fields: Vec<String> = fields.collect();
    let view = is_base_known.then_some(&story.base);
    let lost = merged.settled(&story.row.content, &edits, view, |_| false);
    for field in &fields {
        assert_eq!(lost.get(field), story.row.content.get(field), "{field}: who loses leaves it");
    }
    let won = merged.settled(&story.row.content, &edits, view, |_| true);
    (json!(fields), shown(&won, &names))
}

/// Each line: what both saw, what the phone made of it, what the tablet makes of it; the fields that
/// collide, and the row as it is merged, or would be if the tablet won.
fn table(kind: EntityType, lines: &[[Json; 5]]) {
    for [base, ours, theirs, collided, result] in lines {
        let story = Story::new(kind, base).wrote(PHONE, 20, ours);
        let expected = (collided.clone(), result.clone());
        assert_eq!(outcome(&story, theirs, true), expected, "{base} · {ours} · {theirs}");
    }
}

#[test]
fn g11_scalars() {
    let none = || json!(null);
    let country = |value: Json| json!({ "country": value });
    let a = || country(json!("a"));
    let b = || country(json!("b"));
    let c = || country(json!("c"));
    let hit = || json!(["country"]);
    let lines = [
        // base, phone, tablet; collided; merged, or as the tablet wants it
        [a(), a(), b(), none(), b()],
        [a(), b(), a(), none(), b()],
        [a(), b(), b(), none(), b()],
        [a(), b(), c(), hit(), c()],
        // To clear is to write.
        [a(), country(none()), country(none()), none(), country(none())],
        [a(), country(none()), b(), hit(), b()],
        [a(), b(), country(none()), hit(), country(none())],
        [country(none()), a(), b(), hit(), b()],
        [country(none()), a(), a(), none(), a()],
        [country(none()), country(none()), a(), none(), a()],
        // Another field is another matter.
        [a(), json!({ "region": "r" }), b(), none(), b()],
        [a(), json!({ "region": "r", "isDone": true }), country(none()), none(), country(none())],
        // There and back again: the phone did write, and the tablet could not know.
        [
            json!({ "isDone": false }),
            json!({ "isDone": true }),
            json!({ "isDone": true }),
            none(),
            json!({ "isDone": true }),
        ],
    ];
    table(EntityType::BucketListItem, &lines);
}

#[test]
fn g11_what_was_taken_back_was_written_all_the_same() {
    let [a, b, c] = ["a", "b", "c"].map(|value| json!({ "country": value }));
    let story =
        Story::new(EntityType::BucketListItem, &a).wrote(PHONE, 10, &b).wrote(PHONE, 20, &a);
    assert_eq!(outcome(&story, &c, true), (json!(["country"]), c));
    assert_eq!(outcome(&story, &a, true), (json!(null), a));
}

#[test]
fn g10_own_writes_do_not_collide() {
    let [a, b, c] = ["a", "b", "c"].map(|value| json!({ "country": value }));
    let story = Story::new(EntityType::BucketListItem, &a).wrote(TABLET, 20, &b);
    assert_eq!(outcome(&story, &c, true), (json!(null), c.clone()));
    let story = story.wrote(PHONE, 20, &json!({ "country": "d" })).wrote(TABLET, 25, &b);
    assert_eq!(outcome(&story, &c, true), (json!(["country"]), c), "the phone was in between");
}

#[test]
fn g11_priorities_and_numbers() {
    let priority = |name: &str| json!({ "syncPriority": name });
    let none = || json!(null);
    let lines = [
        [priority("LOW"), priority("HIGH"), priority("LOW"), none(), priority("HIGH")],
        [priority("LOW"), priority("HIGH"), priority("HIGH"), none(), priority("HIGH")],
        [
            priority("LOW"),
            priority("HIGH"),
            priority("CRITICAL"),
            json!(["syncPriority"]),
            priority("CRITICAL"),
        ],
        [
            priority("LOW"),
            json!({ "name": "x" }),
            priority("CRITICAL"),
            none(),
            priority("CRITICAL"),
        ],
    ];
    table(EntityType::Tag, &lines);
    let metres = |value: f64| json!({ "totalDistance": value });
    let lines = [
        [metres(0.0), metres(1.5), metres(1.5), none(), metres(1.5)],
        [metres(0.0), metres(1.5), metres(-0.0), none(), metres(1.5)],
        [metres(0.0), metres(1.5), metres(2.5), json!(["totalDistance"]), metres(2.5)],
    ];
    table(EntityType::Trip, &lines);
}

#[test]
fn g11_texts() {
    let text = |value: &str| json!({ "content": value });
    let none = || json!(null);
    let hit = || json!(["content"]);
    let lines = [
        [text("Schnee"), text("Schnee"), text("Schnee ❄️"), none(), text("Schnee ❄️")],
        [text("Schnee"), text("Schnee ❄️"), text("Schnee ❄️"), none(), text("Schnee ❄️")],
        // A text is one value: nobody guesses what two people meant in one sentence.
        [text("a\nb"), text("A\nb"), text("a\nB"), hit(), text("a\nB")],
        // Other bytes are another text: a composed é, a line end of another system.
        [text("cafe"), text("caf\u{e9}"), text("cafe\u{301}"), hit(), text("cafe\u{301}")],
        [text("a"), text("a\nb"), text("a\r\nb"), hit(), text("a\r\nb")],
        [text("a"), text(""), json!({ "content": null }), hit(), json!({ "content": null })],
        [text("שלום"), text("שלום"), text("👨‍👩‍👧"), none(), text("👨‍👩‍👧")],
    ];
    table(EntityType::Memory, &lines);
}

#[test]
fn g11_sets() {
    let set = |letters: &str| json!({ "tagIds": letters });
    for [base, ours, theirs, merged] in [
        // add and add
        ["", "a", "b", "ab"],
        ["", "a", "a", "a"],
        ["x", "xa", "xb", "abx"],
        // add and remove
        ["x", "xa", "", "a"],
        ["x", "", "xb", "b"],
        // remove and remove
        ["xyz", "xy", "yz", "y"],
        ["xy", "", "", ""],
        // what one took away the other did not bring back
        ["xy", "x", "xy", "x"],
        // in any order, with any duplicates
        ["xy", "yyxx", "yaax", "axy"],
        // all at once
        ["abc", "bcd", "ace", "cde"],
    ] {
        let line = [set(base), set(ours), set(theirs), json!(null), set(merged)];
        table(EntityType::Memory, &[line]);
    }
}

#[test]
fn g11_sets_without_a_base_collide() {
    let set = |letters: &str| json!({ "tagIds": letters });
    let story = Story::new(EntityType::Memory, &set("x")).wrote(PHONE, 20, &set("xa"));
    assert_eq!(outcome(&story, &set("xb"), false), (json!(["tagIds"]), set("bx")));
    assert_eq!(outcome(&story, &set("ax"), false), (json!(null), set("ax")), "equal");
    // Merged without a base, nothing would ever be taken away.
    let ids = |letters: &str| Value::Ids(letters.chars().map(letter).collect());
    assert_eq!(merge_sets(&Value::Null, &ids("a"), &ids("b")), ids("ab"));
}

#[test]
fn g11_places_are_one_value_of_two_numbers() {
    let place =
        |latitude: f64, longitude: f64| json!({ "latitude": latitude, "longitude": longitude });
    let here = || place(46.0, 7.0);
    let latitude = |value: f64| json!({ "latitude": value });
    let longitude = |value: f64| json!({ "longitude": value });
    let none = || json!(null);
    let lines = [
        // One side moved to the north, the other to the east: nobody was at the mixture.
        [here(), latitude(47.0), longitude(8.0), json!(["longitude"]), place(46.0, 8.0)],
        [here(), longitude(8.0), latitude(47.0), json!(["latitude"]), place(47.0, 7.0)],
        [
            here(),
            latitude(47.0),
            place(48.0, 9.0),
            json!(["latitude", "longitude"]),
            place(48.0, 9.0),
        ],
        // The longitude goes along unchanged: it wins with the rest.
        [here(), place(47.0, 8.0), place(48.0, 7.0), json!(["latitude"]), place(48.0, 7.0)],
        [here(), place(47.0, 8.0), place(47.0, 8.0), none(), place(47.0, 8.0)],
        [here(), place(47.0, 8.0), here(), none(), place(47.0, 8.0)],
        [here(), here(), latitude(47.0), none(), place(47.0, 7.0)],
        [
            here(),
            json!({ "latitude": null, "longitude": null }),
            place(48.0, 9.0),
            json!(["latitude", "longitude"]),
            place(48.0, 9.0),
        ],
        [
            here(),
            place(48.0, 9.0),
            json!({ "latitude": null, "longitude": null }),
            json!(["latitude", "longitude"]),
            json!({ "latitude": null, "longitude": null }),
        ],
        // Written to the same latitude on both sides, and to two longitudes.
        [here(), place(47.0, 8.0), place(47.0, 9.0), json!(["longitude"]), place(47.0, 9.0)],
    ];
    table(EntityType::Memory, &lines);
}

#[test]
fn g11_a_trip_s_dates_are_one_value() {
    let [jan1, jan5, jan9] = [1, 5, 9].map(|day| json!(format!("2026-01-0{day}T00:00:00.000Z")));
    let dates = |start: &Json, end: &Json| json!({ "startDate": start, "endDate": end });
    let end = |end: &Json| json!({ "endDate": end });
    let start = |start: &Json| json!({ "startDate": start });
    let none = json!(null);
    let lines = [
        [dates(&jan1, &jan5), start(&jan5), end(&jan9), json!(["endDate"]), dates(&jan1, &jan9)],
        [dates(&jan1, &jan9), start(&jan9), end(&jan5), json!(["endDate"]), dates(&jan1, &jan5)],
        [
            dates(&jan1, &jan5),
            json!({ "name": "x" }),
            end(&jan9),
            none.clone(),
            dates(&jan1, &jan9),
        ],
        [dates(&jan1, &none), end(&jan5), end(&jan9), json!(["endDate"]), dates(&jan1, &jan9)],
        [dates(&jan1, &jan5), end(&none), end(&none), none.clone(), dates(&jan1, &none)],
    ];
    table(EntityType::Trip, &lines);
}

#[test]
fn g11_without_a_base_everything_that_differs_collides() {
    let [a, b] = ["a", "b"].map(|value| json!({ "country": value }));
    let story = Story::new(EntityType::BucketListItem, &a);
    assert_eq!(outcome(&story, &b, false), (json!(["country"]), b.clone()));
    assert_eq!(outcome(&story, &a, false), (json!(null), a));
    // Who wrote is forgotten: it may have been another.
    let mut story = story.wrote(TABLET, 20, &b);
    story.revisions.clear();
    let c = json!({ "country": "c" });
    assert_eq!(outcome(&story, &c, true), (json!(["country"]), c));
}

#[test]
fn g15_the_later_one_by_the_devices_clocks_and_ties_to_the_greater_device() {
    let [a, b] = ["a", "b"].map(|value| json!({ "country": value }));
    let field = EntityType::BucketListItem.kind().field("country");
    for (at, by, expected) in
        [(19, TABLET, false), (21, TABLET, true), (20, TABLET, true), (20, 0, false)]
    {
        let story = Story::new(EntityType::BucketListItem, &a).wrote(PHONE, 20, &b);
        let edit = Edited {
            value: Value::Text("c".into()),
            seen: None,
            by: device(by),
            base_version: 1,
            at,
        };
        let is_later = is_later(field, &story.row, &story.revisions, &edit);
        assert_eq!(is_later, expected, "at {at}, by {by}");
    }
}

// ── Decisions ────────────────────────────────────────────────────────────────────────────────────

/// What became of the row while the tablet was away; at 20.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The phone renamed it.
    Live,
    Deleted,
    /// It waits for a parent that was deleted at 20, or only its id is left.
    Absent,
}

/// What the tablet did, with the time: a new title with an address, or a deletion.
#[derive(Clone, Copy, Debug)]
enum Did {
    Edit(i64),
    Delete(i64),
}

fn told(did: Did, state: State) -> Edit {
    let (operation, data, time) = match did {
        Did::Edit(time) => {
            (Operation::Update, json!({ "title": "tablet", "address": "Zermatt" }), time)
        }
        Did::Delete(time) => {
            (Operation::Delete, json!({ "deletedAt": "2026-01-01T00:00:00.000Z" }), time)
        }
    };
    let operation = match (state, operation) {
        (State::Absent, Operation::Update) => Operation::Create,
        (_, operation) => operation,
    };
    Edit {
        conflict: Uuid::from_u128(9),
        account: device(TABLET).account,
        device: device(TABLET).device,
        operation,
        operation_id: format!("{time}"),
        remote_version: 1,
        data: data.as_object().expect("fields").clone(),
        client_time: time,
        at: time,
    }
}

/// A wish in short.
fn decided(state: State, strategy: Strategy, dids: &[Did]) -> String {
    let mut story = Story::new(EntityType::Memory, &json!({}));
    let base = story.base.to_json();
    story = match state {
        State::Live => story.wrote(PHONE, 20, &json!({ "title": "phone" })),
        State::Deleted => story.deleted(20),
        State::Absent => story,
    };
    let edits: Vec<Edit> = dids.iter().map(|did| told(*did, state)).collect();
    let mut remote = Map::new();
    for edit in &edits {
        remote.extend(edit.data.clone());
    }
    let is_there = !matches!(state, State::Absent);
    let conflict = Conflict {
        id: Uuid::from_u128(9),
        key: story.row.key(),
        scope: story.row.scope,
        conflict_type: match state {
            State::Live => ConflictType::VersionMismatch,
            State::Deleted => ConflictType::Deletion,
            State::Absent => ConflictType::Dependency,
        },
        operation: edits[0].operation,
        operation_id: "1".into(),
        device: device(TABLET).device,
        account: device(TABLET).account,
        local_version: story.row.version,
        remote_version: 1,
        local: if is_there { story.row.to_json() } else { Map::new() },
        remote,
        base: is_there.then_some(base),
        fields: Vec::new(),
        at: 50,
        resolution: None,
    };
    let case = Case {
        conflict: &conflict,
        story: &edits,
        row: Some(&story.row).filter(|_| is_there),
        revisions: if is_there { &story.revisions } else { &[] },
        gone_at: (!matches!(state, State::Live)).then_some(20),
        below_at: None,
    };
    let named = |values: BTreeMap<usize, Value>| {
        let values = values.iter().map(|(field, value)| {
            let name = &EntityType::Memory.kind().fields[*field].name;
            format!("{name} {}", value.as_text().unwrap_or("?"))
        });
        values.collect::<Vec<_>>().join(", ")
    };
    match wish(&case, strategy) {
        Wish::Keep => "stays".into(),
        Wish::Delete => "goes".into(),
        Wish::Live(values) => format!("lives: {}", named(values)).trim_end().into(),
        Wish::Copy(content) => {
            let text = |name: &str| content.get(name).as_text().unwrap_or("none").to_owned();
            format!("copy: title {}, address {}", text("title"), text("address"))
        }
    }
}

#[test]
fn g13_what_each_strategy_wishes() {
    use Did::{Delete, Edit};
    use State::{Absent, Deleted, Live};
    use Strategy::{FieldMerge, FirstWriteWins, KeepBoth, LastWriteWins};
    let merged = "lives: title tablet, address Zermatt";
    let copy = "copy: title tablet, address Zermatt";
    let table: &[(State, &[Did], Strategy, &str)] = &[
        (Live, &[Edit(30)], FirstWriteWins, "stays"),
        (Live, &[Edit(30)], LastWriteWins, merged),
        (Live, &[Edit(10)], LastWriteWins, "lives: address Zermatt"),
        (Live, &[Edit(30)], FieldMerge, merged),
        (Live, &[Edit(10)], FieldMerge, "lives: address Zermatt"),
        (Live, &[Edit(10)], KeepBoth, copy),
        (Live, &[Delete(30)], FirstWriteWins, "stays"),
        (Live, &[Delete(30)], LastWriteWins, "goes"),
        (Live, &[Delete(10)], LastWriteWins, "lives:"),
        (Live, &[Delete(30)], FieldMerge, "lives:"),
        (Live, &[Delete(30)], KeepBoth, "stays"),
        (Live, &[Edit(30), Delete(40)], FirstWriteWins, "stays"),
        (Live, &[Edit(30), Delete(40)], LastWriteWins, "goes"),
        (Live, &[Delete(30), Edit(40)], LastWriteWins, merged),
        (Live, &[Edit(5), Delete(10)], LastWriteWins, "lives: address Zermatt"),
        (Live, &[Edit(30), Delete(40)], FieldMerge, merged),
        (Live, &[Edit(30), Delete(40)], KeepBoth, copy),
        (Deleted, &[Edit(30)], FirstWriteWins, "stays"),
        (Deleted, &[Edit(30)], LastWriteWins, merged),
        (Deleted, &[Edit(20)], LastWriteWins, "stays"),
        (Deleted, &[Edit(10)], LastWriteWins, "stays"),
        (Deleted, &[Edit(10)], FieldMerge, merged),
        (Deleted, &[Edit(10)], KeepBoth, copy),
        // Both have deleted it.
        (Deleted, &[Delete(30)], FirstWriteWins, "stays"),
        (Deleted, &[Delete(30)], LastWriteWins, "stays"),
        (Deleted, &[Delete(30)], FieldMerge, "stays"),
        (Deleted, &[Delete(30)], KeepBoth, "stays"),
        (Deleted, &[Edit(30), Delete(40)], LastWriteWins, "stays"),
        (Deleted, &[Delete(30), Edit(40)], LastWriteWins, merged),
        (Deleted, &[Edit(30), Delete(40)], FieldMerge, merged),
        (Absent, &[Edit(30)], FirstWriteWins, "stays"),
        (Absent, &[Edit(30)], LastWriteWins, merged),
        (Absent, &[Edit(10)], LastWriteWins, "stays"),
        (Absent, &[Edit(10)], FieldMerge, merged),
        (Absent, &[Edit(10)], KeepBoth, merged),
        (Absent, &[Edit(30), Delete(40)], LastWriteWins, "stays"),
        (Absent, &[Edit(30), Delete(40)], FieldMerge, merged),
        (Absent, &[Delete(40)], FieldMerge, "stays"),
        (Absent, &[Delete(40)], KeepBoth, "stays"),
    ];
    for (state, dids, strategy, expected) in table {
        let name = strategy.name();
        assert_eq!(decided(*state, *strategy, dids), *expected, "{state:?} {dids:?} {name}");
    }
}
