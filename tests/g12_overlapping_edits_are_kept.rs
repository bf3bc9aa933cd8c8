//! G12: what overlaps is stored with both sides and the base, and nothing of it is lost.

use serde_json::{Value as Json, json};

use crate::both;
use crate::support::{Device, update};

fn side(conflict: &Json, name: &str) -> Json {
    serde_json::from_str(conflict[name].as_str().expect("JSON text")).expect("JSON")
}

async fn conflicts(device: &Device<'_>, arguments: &str) -> Vec<Json> {
    let query = format!(
        "{{ getConflicts{arguments} {{ id entityType entityId conflictType status deviceId localVersion
            remoteVersion currentVersion localData remoteData baseData conflictedFields
            resolution {{ strategy resolvedBy resolvedData }} }} }}"
    );
    let answer = device.ask(&query, json!({})).await;
    assert!(answer["errors"].is_null(), "{answer}");
    answer["data"]["getConflicts"].as_array().expect("a list").clone()
}

both! {
    async fn g12_both_sides_and_the_base_are_stored_and_the_row_says_conflict(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        phone.push_one(update("Memory", memory, 1, json!({ "title": "Refuge", "content": "Sun" }))).await;
        phone.pull().await;
        let (list, item) =
            update("Memory", memory, 1, json!({ "title": "Lodge", "address": "Zermatt" }));
        let answer = tablet.push(json!({ list: [item] })).await;
        assert_eq!(answer.verdict(), "conflict OPEN VERSION_MISMATCH");
        assert_eq!(phone.pull().await, 1, "the row is delivered again");
        assert_eq!(phone.field("Memory", memory, "title"), "Refuge", "with the server's value");
        assert_eq!(phone.field("Memory", memory, "address"), json!(null), "and nothing of the edit");
        assert_eq!(phone.field("Memory", memory, "syncStatus"), "CONFLICT");
        assert_eq!(phone.field("Memory", memory, "isDirty"), true);
        assert_eq!(phone.field("Memory", memory, "syncVersion"), 2);

        let stored = conflicts(&phone, "").await;
        assert_eq!(stored.len(), 1);
        let stored = &stored[0];
        assert_eq!(stored["id"], answer.conflicts[0]["id"]);
        assert_eq!(stored["deviceId"], json!(tablet.id));
        assert_eq!(stored["conflictedFields"], json!(["title"]));
        assert_eq!((side(stored, "baseData")["title"].clone(), side(stored, "localData")["title"].clone()),
                   (json!("Hut"), json!("Refuge")));
        assert_eq!(side(stored, "remoteData"), json!({ "title": "Lodge", "address": "Zermatt" }));
        let one = phone.ask("query($id: ID!) { conflict(id: $id) { status } }", json!({ "id": stored["id"] })).await;
        assert_eq!(one["data"]["conflict"]["status"], "OPEN");
    }

    async fn g12_more_edits_join_the_open_conflict_however_the_batches_are_cut(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        for cut in [true, false] {
            let tag = phone.tag("a").await;
            phone.push_one(update("Tag", tag, 1, json!({ "name": "b" }))).await;
            let edits = [
                update("Tag", tag, 1, json!({ "name": "c" })).1,
                update("Tag", tag, 1, json!({ "emoji": "⛺" })).1,
            ];
            let mut ids = Vec::new();
            let batches: Vec<Json> = match cut {
                true => edits.iter().map(|edit| json!({ "tags": [edit] })).collect(),
                false => vec![json!({ "tags": edits })],
            };
            for batch in batches {
                ids.extend(tablet.push(batch).await.conflicts.iter().map(|c| c["id"].clone()));
            }
            assert_eq!(ids.len(), 2);
            assert_eq!(ids[0], ids[1]);
            let stored = conflicts(&phone, "(limit: 1)").await;
            assert_eq!(side(&stored[0], "remoteData"), json!({ "name": "c", "emoji": "⛺" }));
        }
    }

    async fn g12_policies_resolve_and_both_sides_stay_on_record(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let cases = [
            // policy, when the tablet edited, the name that stands
            ("LAST_WRITE_WINS", "2026-01-16T00:00:00Z", "tablet"),
            ("LAST_WRITE_WINS", "2026-01-14T00:00:00Z", "phone"),
            ("FIRST_WRITE_WINS", "2026-01-16T00:00:00Z", "phone"),
            ("FIELD_MERGE", "2026-01-16T00:00:00Z", "tablet"),
            ("KEEP_BOTH", "2026-01-16T00:00:00Z", "phone"),
        ];
        for (policy, when, stands) in cases {
            let tag = phone.tag("base").await;
            phone.push_one(update("Tag", tag, 1, json!({ "name": "phone" }))).await;
            let edit = json!({ "name": "tablet", "emoji": "⛺", "clientTimestamp": when });
            let (list, item) = update("Tag", tag, 1, edit);
            let answer =
                tablet.push_with(json!({ list: [item] }), json!({ "strategy": policy })).await;
            assert_eq!(answer.verdict(), format!("conflict RESOLVED VERSION_MISMATCH {policy}"));
            phone.pull().await;
            assert_eq!(phone.field("Tag", tag, "name"), stands, "{policy} {when}");
            assert_eq!(phone.field("Tag", tag, "syncStatus"), "IN_SYNC");
            let emoji = if policy == "KEEP_BOTH" { json!(null) } else { json!("⛺") };
            assert_eq!(phone.field("Tag", tag, "emoji"), emoji, "what does not overlap is merged");
            let stored = &conflicts(&phone, "(status: RESOLVED, limit: 1)").await[0];
            assert_eq!(side(stored, "remoteData")["name"], "tablet");
            assert_eq!(side(stored, "localData")["name"], "phone");
            assert_eq!(side(stored, "baseData")["name"], "base");
            assert_eq!(stored["resolution"]["resolvedBy"], json!(phone.account().await));
        }
        let copies: Vec<&Json> = phone
            .rows
            .values()
            .filter(|row| row["name"] == "tablet (conflicting copy of phone)")
            .collect();
        assert_eq!(copies.len(), 1, "KEEP_BOTH keeps both");
        assert_eq!(copies[0]["emoji"], "⛺");
    }

    async fn g12_keep_both_puts_the_copy_beside_the_row(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let tag = phone.tag("worn").await;
        let trip = phone.trip("Alps").await;
        let memory = uuid::Uuid::new_v4();
        let fields = json!({ "tripId": trip, "title": "base", "tagIds": [tag] });
        phone.push_one(crate::support::create("Memory", memory, fields)).await;
        for (kind, id, label) in [("Memory", memory, "title"), ("Trip", trip, "name")] {
            phone.push_one(update(kind, id, 1, json!({ label: "phone" }))).await;
            let (list, item) = update(kind, id, 1, json!({ label: "tablet" }));
            // A later change of the same batch is made to the copy.
            let (_, later) = update(kind, id, 1, json!({ "syncPriority": "HIGH" }));
            let both = json!({ "strategy": "KEEP_BOTH" });
            let answer = tablet.push_with(json!({ list: [item, later] }), both.clone()).await;
            assert_eq!(answer.conflicts.len(), 2, "{answer:?}");
            let again = tablet.push_with(json!({ list: [item, later] }), both).await;
            assert_eq!(again, answer, "a retry makes no third");
        }
        phone.pull().await;
        assert_eq!(phone.field("Memory", memory, "title"), "phone");
        assert_eq!(phone.field("Trip", trip, "name"), "phone");
        let copy = |kind: &str, label: &str| {
            let copies: Vec<_> = phone
                .rows
                .iter()
                .filter(|((k, _), row)| k == kind && row[label] == "tablet (conflicting copy of phone)")
                .map(|(_, row)| row.clone())
                .collect();
            assert_eq!(copies.len(), 1, "{kind}");
            assert_eq!(copies[0]["syncPriority"], "HIGH");
            copies[0].clone()
        };
        assert_eq!(copy("Memory", "title")["tripId"], json!(trip));
        assert_eq!(copy("Memory", "title")["tagIds"], json!([tag]));
        assert_ne!(copy("Trip", "name")["id"], json!(trip));
        assert_eq!(phone.rows.len(), 5, "what hangs on the trip stays with the original");
    }

    async fn g12_devices_that_number_their_operations_alike_keep_their_edits(app: &App) {
        use sea_orm::EntityTrait;
        let [phone, tablet] = app.two_devices_of("ada").await;
        let tag = phone.tag("a").await;
        phone.push_one(update("Tag", tag, 1, json!({ "name": "b" }))).await;
        for name in ["c", "d"] {
            let (list, item) = update("Tag", tag, 1, json!({ "name": name, "operationId": "1" }));
            let device = json!({ "deviceId": uuid::Uuid::new_v4() });
            tablet.push_with(json!({ list: [item] }), device).await;
        }
        let story = entity::conflict_edit::Entity::find().all(app.db().pool()).await.expect("edits");
        let mut told: Vec<&str> = story.iter().map(|edit| edit.remote_data.as_str()).collect();
        told.sort();
        assert_eq!(told, [r#"{"name":"c"}"#, r#"{"name":"d"}"#]);
        assert_eq!(conflicts(&phone, "").await.len(), 1);
    }

    async fn g12_ties_go_to_the_greater_device(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let tag = phone.tag("base").await;
        phone.push_one(update("Tag", tag, 1, json!({ "name": "phone" }))).await;
        let (list, item) = update("Tag", tag, 1, json!({ "name": "tablet" }));
        tablet.push_with(json!({ list: [item] }), json!({ "strategy": "LAST_WRITE_WINS" })).await;
        let rows = phone.fresh_rows().await;
        let winner = if tablet.id > phone.id { "tablet" } else { "phone" };
        assert_eq!(rows.values().next().expect("a tag")["name"], winner);
    }

    async fn g12_conflicts_can_be_paged_and_filtered(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "m").await;
        let tags = [phone.tag("a").await, phone.tag("b").await];
        for (kind, id) in [("Tag", tags[0]), ("Tag", tags[1]), ("Memory", memory)] {
            let field = if kind == "Tag" { "name" } else { "title" };
            phone.push_one(update(kind, id, 1, json!({ field: "phone" }))).await;
            tablet.push_one(update(kind, id, 1, json!({ field: "tablet" }))).await;
        }
        let all = conflicts(&phone, "").await;
        assert_eq!(all.len(), 3);
        assert_eq!(all[0]["entityId"], json!(memory), "newest first");
        let first = conflicts(&phone, "(limit: 2)").await;
        let after = first[1]["id"].as_str().expect("an id");
        let rest = conflicts(&phone, &format!("(limit: 2, after: \"{after}\")")).await;
        assert_eq!([first, rest].concat(), all);
        assert_eq!(conflicts(&phone, "(entityType: Tag)").await.len(), 2);
        assert_eq!(conflicts(&phone, &format!("(tripId: \"{trip}\")")).await.len(), 1);
        assert_eq!(conflicts(&phone, "(status: RESOLVED)").await.len(), 0);
        // The pull brings the open ones.
        let page = phone.page(json!({})).await;
        assert_eq!(page["data"]["enhancedSync"]["conflicts"].as_array().expect("a list").len(), 3);
        // Another user sees none, by any way.
        let bob = app.device_of("bob").await;
        assert!(conflicts(&bob, "").await.is_empty());
        let one = bob.ask("query($id: ID!) { conflict(id: $id) { id } }", json!({ "id": all[0]["id"] })).await;
        assert_eq!(one, json!({ "data": { "conflict": null } }));
    }

    async fn g12_the_servers_own_policy_counts_where_the_batch_says_nothing(app: &App) {
        let _ = app;
        let strict = ["--conflict-resolution-strategy", "FIRST_WRITE_WINS"];
        let app = crate::support::App::start_with(app.database.backend, &strict).await;
        let [phone, tablet] = app.two_devices_of("ada").await;
        let tag = phone.tag("base").await;
        phone.push_one(update("Tag", tag, 1, json!({ "name": "phone" }))).await;
        assert_eq!(
            tablet.push_one(update("Tag", tag, 1, json!({ "name": "tablet" }))).await,
            "conflict RESOLVED VERSION_MISMATCH FIRST_WRITE_WINS"
        );
        app.finish().await;
    }
}
