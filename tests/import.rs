//! Dumps of older backends, taken over by the real command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn::kinds::{self, parse_time};
use cairn::sync::store;
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Device, Finished, Process, create, update};

const JOURNAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/import/journal.jsonl");
const BAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/import/bad.jsonl");

async fn import(app: &App, file: &str, input: &str) -> Finished {
    Process::run(&["import", file], &[("DATABASE_URL", &app.database.url)], input).await
}

/// The lines of a dump.
fn lines(file: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(file).expect("the dump can be read");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The id of the dump's row that has this value in this field.
fn id_of(kind: &str, field: &str, value: &str) -> Uuid {
    let lines = lines(JOURNAL);
    let line = lines.iter().find(|line| line["type"] == kind && line[field] == value);
    let line = line.unwrap_or_else(|| panic!("no {kind} whose {field} is {value}"));
    Uuid::try_parse(line["id"].as_str().expect("an id")).expect("a UUID")
}

async fn device<'a>(app: &'a App, name: &str, password: &str) -> Device<'a> {
    let login = "mutation($input: UserInput!) { login(input: $input) { token } }";
    let input = json!({ "email": format!("{name}@example.org"), "password": password });
    let answer = app.ask(None, login, json!({ "input": input })).await;
    let token = answer["data"]["login"]["token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    Device::new(app, name, token.to_owned())
}

/// The device of someone whose dump had no password.
async fn device_by_reset<'a>(app: &'a App, name: &str) -> Device<'a> {
    let url = [("DATABASE_URL", app.database.url.as_str())];
    let address = format!("{name}@example.org");
    let reset = ["account", "reset-password", &address];
    Process::run(&reset, &url, "a new password").await.printed();
    device(app, name, "a new password").await
}

/// Everything that an import makes, as far as a second one might change it.
async fn state(app: &App) -> Vec<String> {
    let db = app.db().pool();
    let mut all = Vec::new();
    for kind in kinds::all() {
        let rows = store::rows_of(db, kind, &store::select(kind)).await.expect("rows");
        all.extend(rows.iter().map(|row| format!("{row:?}")));
    }
    for scope in entity::scope::Entity::find().all(db).await.expect("scopes") {
        all.push(format!("{scope:?}"));
    }
    for membership in entity::membership::Entity::find().all(db).await.expect("memberships") {
        all.push(format!("{membership:?}"));
    }
    for account in entity::account::Entity::find().all(db).await.expect("accounts") {
        all.push(format!("{account:?}"));
    }
    for deletion in entity::deletion::Entity::find().all(db).await.expect("deletions") {
        all.push(format!("{deletion:?}"));
    }
    for conflict in entity::conflict::Entity::find().all(db).await.expect("conflicts") {
        all.push(format!("{conflict:?}"));
    }
    all.sort();
    all
}

/// What a device of each person is given, without what says when it was imported.
async fn given(devices: &[&Device<'_>]) -> Vec<BTreeMap<(String, String), Json>> {
    let mut all = Vec::new();
    for device in devices {
        all.push(device.fresh_rows().await);
    }
    all
}

both! {
    async fn a_dump_is_taken_over_with_people_rows_and_members(app: &App) {
        let said = import(app, JOURNAL, "").await.printed();
        assert_eq!(said, "imported 17, already there 0, failed 0\n");

        // Ada's bcrypt password is good, and kept better from now on. Bob's hash stays.
        let mut ada = device(app, "ada", "correct horse").await;
        let mut bob = device(app, "bob", "battery staple").await;
        for account in entity::account::Entity::find().all(app.db().pool()).await.expect("accounts") {
            let expected = if account.email == "eve@example.org" { "" } else { "$argon2id$v=19$m=19456,t=2,p=1$" };
            assert!(account.password_hash.starts_with(expected), "{account:?}");
            assert_eq!(account.password_hash.is_empty(), expected.is_empty());
            if account.email == "ada@example.org" {
                assert_eq!(account.first_name.as_deref(), Some("Ada"));
                assert_eq!(Some(account.created_at), parse_time("2024-03-01T09:00:00Z"));
                assert!(account.is_email_verified);
            }
        }
        let mut eve = device_by_reset(app, "eve").await;

        ada.pull().await;
        let alps = id_of("Trip", "name", "Alps");
        let hut = id_of("Memory", "title", "First hut");
        let of_ada: Vec<&str> = ada.rows.keys().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(of_ada, ["BucketListItem", "GPXTrack", "MediaItem", "Memory", "Memory", "Tag", "TagCategory", "Trip"]);
        for line in lines(JOURNAL).iter().filter(|line| line["type"] != "account" && line["type"] != "deleted") {
            let (kind, id) = (line["type"].as_str().expect("a kind"), line["id"].as_str().expect("an id"));
            let Some(row) = ada.rows.get(&(kind.to_owned(), id.to_owned())) else { continue };
            assert_eq!(row["syncVersion"], 1);
            let updated_at = line["updatedAt"].as_str().or(line["createdAt"].as_str());
            assert_eq!(row["updatedAt"].as_str(), updated_at);
        }
        let field = |name: &str| ada.field("Memory", hut, name);
        assert_eq!(field("content"), "Soup, and rain on the roof.");
        assert_eq!(field("date"), "2025-07-01T19:30:00.000Z");
        assert_eq!(field("address"), "Above the valley");
        assert_eq!(ada.field("TagCategory", id_of("TagCategory", "name", "weather"), "isSystemCategory"), true);
        assert_eq!(ada.field("GPXTrack", id_of("GPXTrack", "name", "Ascent"), "totalPoints"), 2212);
        assert_eq!(ada.field("MediaItem", id_of("MediaItem", "s3Key", "media/soup.jpg"), "objectName"), "media/soup.jpg");

        // Who made a row, and when, is as it was; both people's tags are on the memory.
        let memories = "{ enhancedSync { memories { id userId createdAt tags { name } } trips { id role createdAt } } }";
        let answer = ada.ask(memories, json!({})).await;
        let all = answer["data"]["enhancedSync"]["memories"].as_array().expect("memories");
        let memory = all.iter().find(|memory| memory["id"] == json!(hut)).expect("the memory");
        assert_eq!(memory["userId"], json!(bob.account().await));
        assert_eq!(memory["createdAt"], "2025-07-01T19:45:00.000Z");
        let mut tags: Vec<&str> =
            memory["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str()).collect();
        tags.sort_unstable();
        assert_eq!(tags, ["hut", "rain"]);

        // A file lies in the space of who made its row.
        let files = entity::attachment::Entity::find().all(app.db().pool()).await.expect("files");
        let mut owners: Vec<(&str, bool)> = Vec::new();
        for file in &files {
            owners.push((&file.name, file.account_id == bob.account().await));
        }
        owners.sort_unstable();
        assert_eq!(owners, [("gpx/ascent.gpx", false), ("media/soup-small.jpg", true), ("media/soup.jpg", true)]);

        // Members see the trip in their role.
        bob.pull().await;
        assert!(bob.row("Trip", alps).is_some() && bob.row("Trip", id_of("Trip", "name", "Coast")).is_some());
        assert!(bob.row("Tag", id_of("Tag", "name", "rain")).is_none());
        let title = || json!({ "title": "Refuge" });
        assert_eq!(bob.push_one(update("Memory", hut, 1, title())).await, "ok 2");
        eve.pull().await;
        assert!(eve.row("Memory", hut).is_some() && eve.row("Trip", id_of("Trip", "name", "Coast")).is_none());
        assert_eq!(eve.push_one(update("Memory", hut, 2, title())).await, "failed FORBIDDEN");
        for (device, role) in [(&ada, "OWNER"), (&bob, "EDITOR"), (&eve, "VIEWER")] {
            let answer = device.ask(memories, json!({})).await;
            let all = answer["data"]["enhancedSync"]["trips"].as_array().expect("trips");
            let trip = all.iter().find(|trip| trip["id"] == json!(alps)).expect("the trip");
            assert_eq!(trip["role"], role);
            assert_eq!(trip["createdAt"], "2025-06-20T17:00:00.000Z");
        }
    }

    async fn devices_that_come_with_a_time_from_before_are_told_of_deletions(app: &App) {
        import(app, JOURNAL, "").await.printed();
        let ada = device(app, "ada", "correct horse").await;
        let bob = device(app, "bob", "battery staple").await;
        let deleted = lines(JOURNAL).into_iter().filter(|line| line["type"] == "deleted");
        let ids: BTreeMap<String, Json> = deleted
            .map(|line| (format!("{} {}", line["kind"], line["trip"].is_string()), line["id"].clone()))
            .collect();
        assert_eq!(ids.len(), 3, "two memories, of which one is shadowed here: {ids:?}");
        let since = "2025-02-01T00:00:00.000Z";
        let told = async |device: &Device<'_>| -> Map<String, Json> {
            let page = device.page(json!({ "since": since })).await;
            assert!(page["errors"].is_null(), "{page}");
            let page = &page["data"]["enhancedSync"];
            assert_eq!(page["hasMore"], false);
            let deleted = page["deleted"].as_object().expect("deletions").clone();
            deleted.into_iter().filter(|(_, ids)| ids != &json!([])).collect()
        };
        let of_ada = told(&ada).await;
        assert_eq!(of_ada.keys().collect::<Vec<_>>(), ["memories", "tags", "trips"]);
        assert_eq!(of_ada["memories"].as_array().expect("ids").len(), 2);
        assert_eq!(of_ada["tags"], json!([ids["\"Tag\" false"]]));
        assert_eq!(of_ada["trips"], json!([ids["\"Trip\" false"]]));
        // A member is told of what was in the trip, and of nothing else.
        let of_bob = told(&bob).await;
        assert_eq!(of_bob.keys().collect::<Vec<_>>(), ["memories"]);
        assert_eq!(of_bob["memories"].as_array().expect("ids").len(), 1);
        // Their ids stay taken.
        let tag = of_ada["tags"][0].as_str().and_then(kinds::parse_id).expect("an id");
        let verdict = ada.push_one(create("Tag", tag, json!({ "name": "snow" }))).await;
        assert_eq!(verdict, "conflict OPEN DELETION_CONFLICT");
    }

    async fn a_second_run_changes_nothing(app: &App) {
        import(app, JOURNAL, "").await.printed();
        let first = state(app).await;
        let again = "imported 0, already there 17, failed 0\n";
        assert_eq!(import(app, JOURNAL, "").await.printed(), again);
        assert_eq!(state(app).await, first);

        // What people did since stays as they want it.
        let ada = device(app, "ada", "correct horse").await;
        let [alps, hut, pass] = [
            id_of("Trip", "name", "Alps"),
            id_of("Memory", "title", "First hut"),
            id_of("Memory", "title", "The pass"),
        ];
        assert_eq!(ada.push_one(update("Trip", alps, 1, json!({ "name": "The Alps" }))).await, "ok 2");
        let other = ada.trip("Elsewhere").await;
        assert_eq!(ada.push_one(update("Memory", hut, 1, json!({ "tripId": other }))).await, "ok 2");
        let delete = crate::support::delete;
        assert_eq!(ada.push_one(delete("Memory", pass, 1)).await, "ok 2");
        assert_eq!(ada.push_one(delete("Tag", id_of("Tag", "name", "rain"), 1)).await, "ok 2");
        let bob = device(app, "bob", "battery staple").await;
        ada.unshare(alps, &bob).await;
        let changed = state(app).await;
        // Receipts are forgotten after a while; the rows are known by their ids.
        let forget = Query::delete().from_table("receipt").to_owned();
        app.db().pool().execute(&forget).await.expect("forgotten");
        assert_eq!(import(app, JOURNAL, "").await.printed(), again);
        assert_eq!(state(app).await, changed);
    }

    async fn lines_may_come_in_any_order_and_from_the_standard_input(app: &App) {
        let text = std::fs::read_to_string(JOURNAL).expect("the dump can be read");
        // Windows' ends of lines, empty lines, no end of the last.
        let backwards = text.lines().rev().collect::<Vec<_>>().join("\r\n\n");
        let said = import(app, "-", &backwards).await.printed();
        assert_eq!(said, "imported 17, already there 0, failed 0\n");
        assert_eq!(import(app, JOURNAL, "").await.printed(), "imported 0, already there 17, failed 0\n");
        let ada = device(app, "ada", "correct horse").await;
        assert_eq!(given(&[&ada]).await[0].len(), 8);
    }

    async fn bad_lines_are_told_by_their_numbers_and_the_rest_is_in(app: &App) {
        for (run, summary) in [
            "imported 6, already there 0, failed 18\n",
            "imported 0, already there 6, failed 18\n",
        ].into_iter().enumerate() {
            let finished = import(app, BAD, "").await;
            assert_eq!(finished.status.code(), Some(1), "{finished:?}");
            assert_eq!(finished.out, summary, "run {run}");
            let mut said: Vec<(u32, &str)> = finished
                .err
                .lines()
                .filter_map(|line| line.strip_prefix("line ")?.split_once(": "))
                .map(|(number, why)| (number.parse().expect("a number"), why))
                .collect();
            said.sort_unstable();
            let expected = [
                (2, "is no JSON: EOF while parsing a string, at column 30"),
                (3, "type: there is no kind Hotel"),
                (4, "email: there is another account with this address already"),
                (5, "passwordHash: must be a bcrypt hash ($2a$, $2b$, $2y$) or a PHC string of argon2"),
                (6, "passwordHash: has cost 31; bcrypt hashes of cost 4 to 15 are taken"),
                (8, "id: must be a UUID"),
                (9, "colour: a Tag has no such field"),
                (11, "categoryId: there is no such TagCategory"),
                (13, "members: there is no account 33cfe0bf-5dc3-5732-8569-a3697bd01417"),
                (15, "owner: there is no such account"),
                (16, "tripId: there is no Trip 7f888787-ae5c-5d85-99d8-d91dff1547ab"),
                (17, "title: is needed to create a Memory"),
                (18, "tagIds: there is no Tag 512c584c-91c4-5c93-a8ae-50ee08d0cf15"),
                (20, "latitude and longitude belong together: give both"),
                (21, "updatedAt: lies in the future"),
                (22, "the row is there, and not deleted"),
                (23, "trip: there is no such Trip"),
                (24, "id: this id cannot be used"),
            ];
            assert_eq!(said, expected);
            let last = finished.err.lines().last();
            assert_eq!(last, Some("cairn: 18 lines were not imported"));
        }
        let ada = device(app, "ada", "correct horse").await;
        let rows: Vec<String> = given(&[&ada]).await[0].keys().map(|(kind, _)| kind.clone()).collect();
        // The trip is in, though one of its members is not.
        assert_eq!(rows, ["Memory", "Trip"]);

        let missing = import(app, "/nowhere/dump.jsonl", "").await;
        assert_eq!(missing.status.code(), Some(1));
        assert!(missing.err.starts_with("cairn: cannot open /nowhere/dump.jsonl: "), "{missing:?}");
    }

    async fn an_import_that_was_killed_goes_on_where_it_stopped(app: &App) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, lines) = large_dump(folder.path());
        let url = [("DATABASE_URL", app.database.url.as_str())];
        let arguments = ["import", file.to_str().expect("UTF-8")];
        for rows in [1, 800, 2_000] {
            let process = Process::spawn_command(&arguments, &url);
            // A machine that is quicker than this loop lets it finish; the rest holds all the same.
            while count(app).await < rows {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            process.kill().await;
        }
        let killed = count(app).await;
        let said = Process::run(&arguments, &url, "").await.printed();
        let numbers: Vec<u64> =
            said.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        assert_eq!(numbers[0] + numbers[1], lines, "{said}");
        assert!(numbers[1] >= killed, "{said}: {killed} rows had been there");
        assert_eq!(numbers[2], 0);
        for kind in kinds::all() {
            let rows = store::rows_of(app.db().pool(), kind, &store::select(kind)).await.expect("rows");
            assert!(rows.iter().all(|row| row.version == 1 && row.conflict.is_none()));
        }
        let conflicts = entity::conflict::Entity::find().all(app.db().pool()).await.expect("conflicts");
        assert!(conflicts.is_empty(), "{conflicts:?}");
        let mut ada = device(app, "ada", "correct horse").await;
        ada.pull().await;
        assert_eq!(ada.rows.len(), 2_410);
        let before = state(app).await;
        let again = Process::run(&arguments, &url, "").await.printed();
        assert_eq!(again, format!("imported 0, already there {lines}, failed 0\n"));
        assert_eq!(state(app).await, before);
    }
}

/// Rows of two kinds.
async fn count(app: &App) -> u64 {
    let mut count = 0;
    for table in ["trip", "memory"] {
        let select = Query::select().expr(Expr::cust("count(*)")).from(table).to_owned();
        let row = app.db().pool().query_one(&select).await.expect("it answers").expect("a row");
        count += row.try_get_by_index::<i64>(0).expect("a number") as u64;
    }
    count
}

/// A dump of two people, ten trips, 2,400 memories and a deletion for every tenth of these.
fn large_dump(folder: &Path) -> (PathBuf, u64) {
    let id = |name: String| Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let people = lines(JOURNAL).into_iter().filter(|line| line["type"] == "account").take(2);
    let mut all: Vec<Json> = people.collect();
    let [ada, bob] = [all[0]["id"].clone(), all[1]["id"].clone()];
    for trip in 0..10 {
        all.push(json!({
            "type": "Trip", "id": id(format!("trip {trip}")), "owner": ada, "name": format!("Trip {trip}"),
            "startDate": "2025-01-01T00:00:00Z", "createdAt": "2025-01-01T00:00:00Z",
            "members": [{ "account": bob, "role": "VIEWER" }],
        }));
    }
    for memory in 0..2_400 {
        let trip = id(format!("trip {}", memory % 10));
        all.push(json!({
            "type": "Memory", "id": id(format!("memory {memory}")), "tripId": trip,
            "title": format!("Memory {memory}"), "createdAt": "2025-01-02T00:00:00Z",
        }));
        if memory % 10 == 0 {
            all.push(json!({
                "type": "deleted", "kind": "Memory", "id": id(format!("gone {memory}")), "trip": trip,
            }));
        }
    }
    let text: String = all.iter().map(|line| format!("{line}\n")).collect();
    let file = folder.join("large.jsonl");
    std::fs::write(&file, text).expect("the dump can be written");
    (file, all.len() as u64)
}
