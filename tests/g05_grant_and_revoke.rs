//! G5: a new member is given the whole trip; a former member is told to drop it. tests/sharing.rs tells
//! how people share.

use serde_json::json;
use uuid::Uuid;

use crate::both;
use crate::support::{create, delete, update};

both! {
    async fn g05_a_new_member_is_given_the_whole_trip_however_old_it_is(app: &App) {
        let mut ada = app.device_of("ada").await;
        let mut bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let gone = ada.memory(trip, "Gone").await;
        ada.push_one(delete("Memory", gone, 1)).await;
        bob.pull().await;
        ada.share(trip, &bob, "VIEWER").await;
        for size in [1, 100] {
            bob.cursor = None;
            bob.rows.clear();
            bob.pull_by(size).await;
            assert!(bob.row("Trip", trip).is_some() && bob.row("Memory", memory).is_some());
            assert_eq!(bob.rows.len(), 2, "and nothing that was gone before");
        }
        ada.pull().await;
        assert_eq!(ada.rows, bob.rows);
    }

    async fn g05_roles_decide_who_may_push_what(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let eve = app.device_of("eve").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let edit = |n: u32| update("Memory", memory, 1, json!({ "content": n.to_string() }));
        let new = || create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "x" }));

        ada.share(trip, &bob, "VIEWER").await;
        assert_eq!(bob.push_one(edit(1)).await, "failed FORBIDDEN");
        assert_eq!(bob.push_one(new()).await, "failed FORBIDDEN");
        assert_eq!(bob.push_one(delete("Memory", memory, 1)).await, "failed FORBIDDEN");

        ada.share(trip, &bob, "EDITOR").await;
        assert_eq!(bob.push_one(edit(2)).await, "ok 2");
        assert_eq!(bob.push_one(new()).await, "ok 1");
        assert_eq!(bob.push_one(delete("Trip", trip, 1)).await, "failed FORBIDDEN");

        assert_eq!(eve.push_one(edit(3)).await, "failed NOT_FOUND");
        assert_eq!(eve.push_one(new()).await, "failed NOT_FOUND");
        assert_eq!(eve.push_one(delete("Memory", memory, 2)).await, "ok 2", "as if never there");
        assert_eq!(ada.push_one(delete("Trip", trip, 1)).await, "ok 2");
    }

    async fn g05_a_former_member_drops_what_they_could_have_seen_and_no_more(app: &App) {
        let ada = app.device_of("ada").await;
        let mut bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let gone = ada.memory(trip, "Gone").await;
        ada.share(trip, &bob, "EDITOR").await;
        bob.pull().await;
        let unseen = ada.memory(trip, "Unseen, but it could have been").await;
        ada.unshare(trip, &bob).await;
        let after = ada.memory(trip, "After").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "Changed after" }))).await;
        ada.push_one(delete("Memory", gone, 1)).await;

        let edit = |id| update("Memory", id, 1, json!({ "content": "offline" }));
        assert_eq!(bob.push_one(edit(memory)).await, "failed FORBIDDEN");
        assert_eq!(bob.push_one(edit(unseen)).await, "failed FORBIDDEN");
        assert_eq!(bob.push_one(edit(after)).await, "failed NOT_FOUND");
        let new = create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "x" }));
        assert_eq!(bob.push_one(new).await, "failed FORBIDDEN");

        let mut told: Vec<String> = Vec::new();
        loop {
            let page = bob.page(json!({ "cursor": bob.cursor, "size": 1 })).await;
            let page = page["data"]["enhancedSync"].clone();
            bob.apply(&page);
            for list in ["trips", "memories"] {
                let ids = page["deleted"][list].as_array().expect("a list");
                told.extend(ids.iter().map(|id| id.as_str().expect("an id").to_owned()));
            }
            bob.cursor = page["nextCursor"].as_str().map(str::to_owned);
            if page["hasMore"] == false {
                break;
            }
        }
        told.sort();
        let mut expected = [trip, memory, gone, unseen].map(|id| id.to_string());
        expected.sort();
        assert_eq!(told, expected, "nothing made after the removal");
        assert!(bob.rows.is_empty());
        assert_eq!(bob.pull().await, 0, "told once");

        ada.share(trip, &bob, "VIEWER").await;
        bob.pull().await;
        assert_eq!(bob.rows.len(), 4, "shared again, everything is delivered again");
    }

    async fn g05_what_left_the_trip_and_came_back_is_taken_from_a_former_member_too(app: &App) {
        let ada = app.device_of("ada").await;
        let mut bob = app.device_of("bob").await;
        let [trip, other] = [ada.trip("Alps").await, ada.trip("Coast").await];
        let memory = ada.memory(trip, "Hut").await;
        ada.share(trip, &bob, "EDITOR").await;
        bob.pull().await;
        ada.unshare(trip, &bob).await;
        ada.push_one(update("Memory", memory, 1, json!({ "tripId": other }))).await;
        ada.push_one(update("Memory", memory, 2, json!({ "tripId": trip }))).await;
        assert_eq!(
            bob.push_one(update("Memory", memory, 1, json!({ "title": "x" }))).await,
            "failed FORBIDDEN"
        );
        bob.pull().await;
        assert!(bob.rows.is_empty(), "{:?}", bob.rows);
    }

    async fn g05_a_receipt_answers_even_after_the_role_was_lost(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        ada.share(trip, &bob, "EDITOR").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "Refuge" }))).await;
        let lost = update("Memory", memory, 1, json!({ "title": "Lodge" })).1;
        let kept = update("Memory", memory, 2, json!({ "content": "Snow" })).1;
        let other = ada.memory(trip, "Other").await;
        let fine = update("Memory", other, 1, json!({ "content": "Sun" })).1;
        let first = bob.push(json!({ "memories": [lost, fine] })).await;
        assert_eq!(first.conflicts.len(), 1);
        ada.unshare(trip, &bob).await;
        let again = bob.push(json!({ "memories": [lost, fine] })).await;
        assert_eq!(again.successful, first.successful);
        assert_eq!(again.conflicts[0]["id"], first.conflicts[0]["id"]);
        assert_eq!(again.conflicts[0]["localData"], "{}", "without the row's data");
        assert_eq!(again.conflicts[0]["baseData"], json!(null));
        assert_eq!(bob.push(json!({ "memories": [kept] })).await.verdict(), "failed FORBIDDEN");
    }

    async fn g05_viewers_see_the_status_and_editors_the_conflict(app: &App) {
        let [ada, tablet] = app.two_devices_of("ada").await;
        let mut bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "Refuge" }))).await;
        tablet.push_one(update("Memory", memory, 1, json!({ "title": "Lodge" }))).await;
        let count = async |device: &crate::support::Device<'_>| {
            let answer = device.ask("{ getConflicts { id } }", json!({})).await;
            answer["data"]["getConflicts"].as_array().expect("a list").len()
        };
        ada.share(trip, &bob, "VIEWER").await;
        bob.pull().await;
        assert_eq!(bob.field("Memory", memory, "syncStatus"), "CONFLICT");
        assert_eq!((count(&bob).await, count(&ada).await), (0, 1));
        ada.share(trip, &bob, "EDITOR").await;
        assert_eq!(count(&bob).await, 1);
        ada.unshare(trip, &bob).await;
        assert_eq!(count(&bob).await, 0);
    }

    async fn g05_a_changed_tag_is_delivered_to_members_inside_the_memories_that_carry_it(app: &App) {
        let ada = app.device_of("ada").await;
        let mut bob = app.device_of("bob").await;
        let tag = ada.tag("Hut").await;
        let trip = ada.trip("Alps").await;
        let memory = Uuid::new_v4();
        ada.push_one(create("Memory", memory, json!({ "tripId": trip, "title": "m", "tagIds": [tag] }))).await;
        ada.share(trip, &bob, "EDITOR").await;
        bob.pull().await;
        assert_eq!(bob.rows.len(), 2, "the tag is no row of theirs");
        ada.push_one(update("Tag", tag, 1, json!({ "name": "Refuge" }))).await;
        let query = "query($cursor: String) { enhancedSync(cursor: $cursor) {
            memories { id syncVersion tags { name } } } }";
        let answer = bob.ask(query, json!({ "cursor": bob.cursor })).await;
        let memories = &answer["data"]["enhancedSync"]["memories"];
        assert_eq!(memories[0]["tags"], json!([{ "name": "Refuge" }]));
        assert_eq!(memories[0]["syncVersion"], 1);
        // Theirs to keep on the memory, not to put on another.
        let kept = update("Memory", memory, 1, json!({ "title": "n", "tagIds": [tag] }));
        assert_eq!(bob.push_one(kept).await, "ok 2");
        let other = create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "x", "tagIds": [tag] }));
        assert_eq!(bob.push_one(other).await, "failed NOT_FOUND");
        // Deleted meanwhile, it is dropped from what a device sends that has not heard of it.
        ada.push_one(delete("Tag", tag, 2)).await;
        let stale = update("Memory", memory, 2, json!({ "title": "o", "tagIds": [tag] }));
        assert_eq!(bob.push_one(stale).await, "ok 3");
        // Deleted meanwhile, it is dropped from what a device sends that has not heard of it.
        ada.push_one(delete("Tag", tag, 2)).await;
        let stale = update("Memory", memory, 2, json!({ "title": "o", "tagIds": [tag] }));
        assert_eq!(bob.push_one(stale).await, "ok 3");
    }
}
