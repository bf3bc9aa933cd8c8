//! G14: deletion against edit converges in every order, and the discarded edit can be fetched.

use cairn::kinds::EntityType;
use serde_json::{Value as Json, json};

use crate::both;
use crate::support::{create, delete, update};

const DELETION: &str = "conflict OPEN DELETION_CONFLICT";

both! {
    async fn g14_every_order_converges_and_keeps_the_edit(app: &App) {
        for edit_first in [true, false] {
            let [mut phone, mut tablet] = app.two_devices_of(&format!("ada{edit_first}")).await;
            let tag = phone.tag("a").await;
            tablet.pull().await;
            let edit = update("Tag", tag, 1, json!({ "name": "b" }));
            let deletion = delete("Tag", tag, 1);
            let answer = match edit_first {
                true => {
                    assert_eq!(phone.push_one(edit).await, "ok 2");
                    tablet.push(json!({ deletion.0: [deletion.1] })).await
                }
                false => {
                    assert_eq!(phone.push_one(deletion).await, "ok 2");
                    tablet.push(json!({ edit.0: [edit.1] })).await
                }
            };
            assert_eq!(answer.verdict(), DELETION);
            let side = |name: &str| -> Json {
                serde_json::from_str(answer.conflicts[0][name].as_str().expect("text")).expect("JSON")
            };
            let (kept, other) = if edit_first { ("localData", "remoteData") } else { ("remoteData", "localData") };
            assert_eq!(side(kept)["name"], "b", "the edit can be fetched");
            assert!(side(other)["deletedAt"].is_string());
            assert_eq!(side("baseData")["name"], "a");
            phone.pull().await;
            tablet.pull().await;
            assert_eq!(phone.rows, tablet.rows);
            assert_eq!(phone.rows.len(), usize::from(edit_first));
        }
    }

    async fn g14_an_edit_in_a_deleted_trip_is_a_deletion_conflict_of_its_row(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        phone.push_one(delete("Trip", trip, 1)).await;
        assert_eq!(tablet.push_one(update("Memory", memory, 1, json!({ "title": "x" }))).await, DELETION);
    }

    async fn g14_a_blind_deletion_of_a_trip_is_a_conflict_if_the_device_shows_its_cursor(app: &App) {
        let [mut phone, mut tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        tablet.pull().await;
        phone.memory(trip, "new").await;
        let (list, item) = delete("Trip", trip, 1);
        let cursor = json!({ "cursor": tablet.cursor });
        let answer = tablet.push_with(json!({ list: [item.clone()] }), cursor).await;
        assert_eq!(answer.verdict(), DELETION);
        phone.pull().await;
        assert_eq!(phone.rows.len(), 2, "the trip stays");
        // Having seen it, the same device may.
        tablet.pull().await;
        let (list, item) = delete("Trip", trip, 1);
        let cursor = json!({ "cursor": tablet.cursor });
        assert_eq!(tablet.push_with(json!({ list: [item] }), cursor).await.verdict(), "ok 2");
        phone.pull().await;
        assert_eq!(phone.rows.len(), 0);
    }

    async fn g14_an_unseen_edit_below_its_own_newer_one_still_counts(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "m").await;
        phone.pull().await;
        let before = phone.cursor.clone();
        tablet.push_one(update("Memory", memory, 1, json!({ "content": "unseen" }))).await;
        phone.push_one(update("Memory", memory, 1, json!({ "title": "own" }))).await;
        let (list, item) = delete("Trip", trip, 1);
        let answer = phone.push_with(json!({ list: [item] }), json!({ "cursor": before })).await;
        assert_eq!(answer.verdict(), DELETION);
    }

    async fn g14_its_own_unseen_changes_do_not_keep_a_device_from_deleting(app: &App) {
        let mut phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        phone.pull().await;
        phone.memory(trip, "new").await;
        let (list, item) = delete("Trip", trip, 1);
        let cursor = json!({ "cursor": phone.cursor });
        assert_eq!(phone.push_with(json!({ list: [item] }), cursor).await.verdict(), "ok 2");
    }

    async fn g14_a_deleted_trip_can_be_restored_with_all_that_went_with_it(app: &App) {
        let [phone, mut tablet] = app.two_devices_of("ada").await;
        let tags = [phone.tag("kept").await, phone.tag("gone").await];
        let trip = phone.trip("Alps").await;
        let memory = uuid::Uuid::new_v4();
        phone.push_one(create("Memory", memory, json!({ "tripId": trip, "title": "m", "tagIds": tags }))).await;
        let earlier = phone.memory(trip, "deleted before").await;
        phone.push_one(delete("Memory", earlier, 1)).await;
        phone.push_one(delete("Trip", trip, 1)).await;
        phone.push_one(delete("Tag", tags[1], 1)).await;
        tablet.pull().await;
        assert!(tablet.row("Trip", trip).is_none());
        let version = cairn::sync::restore::restore(app.db(), EntityType::Trip, trip).await.expect("restored");
        assert_eq!(version, 3);
        tablet.pull().await;
        assert!(tablet.row("Trip", trip).is_some());
        assert_eq!(tablet.field("Memory", memory, "tagIds"), json!([tags[0]]));
        assert!(tablet.row("Memory", earlier).is_none(), "what was deleted by itself stays so");
        let again = cairn::sync::restore::restore(app.db(), EntityType::Trip, trip).await;
        assert!(again.expect_err("it is live").message.contains("is not deleted"));
    }

    async fn g14_when_a_row_with_an_open_conflict_is_deleted_the_conflict_says_so(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        phone.push_one(update("Memory", memory, 1, json!({ "title": "a" }))).await;
        tablet.push_one(update("Memory", memory, 1, json!({ "title": "b" }))).await;
        phone.push_one(delete("Trip", trip, 1)).await;
        let answer = phone.ask("{ getConflicts { conflictType status } }", json!({})).await;
        assert_eq!(
            answer["data"]["getConflicts"],
            json!([{ "conflictType": "DELETION_CONFLICT", "status": "OPEN" }])
        );
    }
}
