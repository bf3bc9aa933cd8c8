//! The decision table, row by row, as a device sees it.

use serde_json::json;
use uuid::Uuid;

use crate::both;
use crate::support::{create, delete, update};

const MERGED: &str = "conflict RESOLVED VERSION_MISMATCH FIELD_MERGE";
const OPEN: &str = "conflict OPEN VERSION_MISMATCH";

both! {
    async fn create_of_what_is_not_there_is_version_1(app: &App) {
        let phone = app.device_of("ada").await;
        let tag = create("Tag", Uuid::new_v4(), json!({ "name": "Hut" }));
        assert_eq!(phone.push_one(tag).await, "ok 1");
    }

    async fn create_with_the_same_content_is_success_and_with_other_content_a_conflict(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let id = Uuid::new_v4();
        assert_eq!(phone.push_one(create("Tag", id, json!({ "name": "Hut" }))).await, "ok 1");
        assert_eq!(tablet.push_one(create("Tag", id, json!({ "name": "Hut" }))).await, "ok 1");
        assert_eq!(
            tablet.push_one(create("Tag", id, json!({ "name": "Refuge" }))).await,
            "conflict OPEN CONCURRENT_MODIFICATION"
        );
    }

    async fn create_or_update_of_a_deleted_row_is_a_deletion_conflict(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        for edit in [create as fn(_, _, _) -> _, |kind, id, fields| update(kind, id, 1, fields)] {
            let tag = phone.tag("Hut").await;
            assert_eq!(phone.push_one(delete("Tag", tag, 1)).await, "ok 2");
            let verdict = tablet.push_one(edit("Tag", tag, json!({ "name": "Refuge" }))).await;
            assert_eq!(verdict, "conflict OPEN DELETION_CONFLICT");
        }
    }

    async fn update_of_what_is_not_there_or_not_visible_is_not_found(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let hers = ada.tag("Hut").await;
        let edit = || json!({ "name": "Refuge" });
        assert_eq!(bob.push_one(update("Tag", Uuid::new_v4(), 1, edit())).await, "failed NOT_FOUND");
        assert_eq!(bob.push_one(update("Tag", hers, 1, edit())).await, "failed NOT_FOUND");
    }

    async fn update_on_the_current_version_is_applied_and_nothing_new_makes_no_version(app: &App) {
        let mut phone = app.device_of("ada").await;
        let tag = phone.tag("Hut").await;
        let edit = || json!({ "name": "Refuge", "emoji": "⛺" });
        assert_eq!(phone.push_one(update("Tag", tag, 1, edit())).await, "ok 2");
        assert_eq!(phone.push_one(update("Tag", tag, 2, edit())).await, "ok 2");
        phone.pull().await;
        assert_eq!(phone.pull().await, 0);
        assert_eq!(phone.push_one(update("Tag", tag, 2, edit())).await, "ok 2");
        assert_eq!(phone.pull().await, 0, "what changed nothing is not delivered");
    }

    async fn update_on_an_older_version_merges_or_conflicts(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let tag = phone.tag("Hut").await;
        assert_eq!(phone.push_one(update("Tag", tag, 1, json!({ "name": "Refuge" }))).await, "ok 2");
        assert_eq!(tablet.push_one(update("Tag", tag, 1, json!({ "emoji": "⛺" }))).await, MERGED);
        let same = json!({ "name": "Refuge" });
        assert_eq!(tablet.push_one(update("Tag", tag, 1, same)).await, "ok 3", "equal values");
        assert_eq!(tablet.push_one(update("Tag", tag, 1, json!({ "name": "Lodge" }))).await, OPEN);
    }

    async fn a_version_that_was_never_issued_is_version_ahead(app: &App) {
        let phone = app.device_of("ada").await;
        let tag = phone.tag("Hut").await;
        let edit = update("Tag", tag, 2, json!({ "name": "Refuge" }));
        assert_eq!(phone.push_one(edit).await, "failed VERSION_AHEAD");
        assert_eq!(phone.push_one(delete("Tag", tag, 2)).await, "failed VERSION_AHEAD");
    }

    async fn a_version_below_1_cannot_be_edited(app: &App) {
        let phone = app.device_of("ada").await;
        let tag = phone.tag("Hut").await;
        let edit = update("Tag", tag, 0, json!({ "name": "Refuge" }));
        assert_eq!(phone.push_one(edit).await, "failed VALIDATION");
        assert_eq!(phone.push_one(delete("Tag", tag, 0)).await, "failed VALIDATION");
    }

    async fn delete_is_a_tombstone_with_all_below_it_and_can_be_repeated(app: &App) {
        let mut phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        phone.pull().await;
        assert_eq!(phone.push_one(delete("Trip", Uuid::new_v4(), 1)).await, "ok 1", "never there");
        assert_eq!(phone.push_one(delete("Trip", trip, 1)).await, "ok 2");
        assert_eq!(phone.push_one(delete("Trip", trip, 1)).await, "ok 2", "deleted already");
        phone.pull().await;
        assert!(phone.row("Trip", trip).is_none() && phone.row("Memory", memory).is_none());
    }

    async fn delete_on_an_older_version_is_a_deletion_conflict(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let tag = phone.tag("Hut").await;
        assert_eq!(phone.push_one(update("Tag", tag, 1, json!({ "name": "Refuge" }))).await, "ok 2");
        let verdict = tablet.push_one(delete("Tag", tag, 1)).await;
        assert_eq!(verdict, "conflict OPEN DELETION_CONFLICT");
        phone.pull().await;
        assert_eq!(phone.field("Tag", tag, "syncStatus"), "CONFLICT", "the row stays, and says so");
    }

    async fn a_deleted_parent_is_a_dependency_conflict(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        assert_eq!(phone.push_one(delete("Trip", trip, 1)).await, "ok 2");
        let memory = Uuid::new_v4();
        let fields = json!({ "tripId": trip, "title": "Hut" });
        assert_eq!(
            tablet.push_one(create("Memory", memory, fields)).await,
            "conflict OPEN DEPENDENCY_CONFLICT"
        );
        // Its child waits with it, and nothing of either is lost.
        let photo = json!({
            "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 1
        });
        assert_eq!(
            tablet.push_one(create("MediaItem", Uuid::new_v4(), photo)).await,
            "conflict OPEN DEPENDENCY_CONFLICT"
        );
        let more = update("Memory", memory, 1, json!({ "content": "Snow" }));
        assert_eq!(tablet.push_one(more).await, "conflict OPEN DEPENDENCY_CONFLICT");
    }

    async fn a_parent_that_was_never_there_or_is_out_of_sight_is_not_found(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let hers = ada.trip("Alps").await;
        for trip in [hers, Uuid::new_v4()] {
            let memory = create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "Hut" }));
            assert_eq!(bob.push_one(memory).await, "failed NOT_FOUND");
        }
        let category = create("Tag", Uuid::new_v4(), json!({ "name": "x", "categoryId": Uuid::new_v4() }));
        assert_eq!(bob.push_one(category).await, "failed NOT_FOUND", "optional parents, too");
    }

    async fn null_for_a_field_that_cannot_be_null_is_validation(app: &App) {
        let phone = app.device_of("ada").await;
        let tag = phone.tag("Hut").await;
        let edit = update("Tag", tag, 1, json!({ "name": null }));
        assert_eq!(phone.push_one(edit).await, "failed VALIDATION");
        let edit = update("Tag", tag, 1, json!({ "emoji": null }));
        assert_eq!(phone.push_one(edit).await, "ok 1", "null already");
    }

    async fn an_id_that_another_scope_holds_cannot_be_used(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let hers = ada.trip("Alps").await;
        let start = json!({ "name": "Mine", "startDate": "2026-01-01T00:00:00Z" });
        for id in [hers, ada.account().await] {
            let taken = bob.push(json!({ "trips": [create("Trip", id, start.clone()).1] })).await;
            assert_eq!(taken.verdict(), "failed VALIDATION");
            assert_eq!(taken.failed[0]["error"], "id: this id cannot be used");
        }
    }

    async fn several_changes_to_one_row_fold_in_order(app: &App) {
        let mut phone = app.device_of("ada").await;
        let id = Uuid::new_v4();
        let tags = [
            create("Tag", id, json!({ "name": "a" })),
            update("Tag", id, 1, json!({ "name": "b" })),
            update("Tag", id, 1, json!({ "emoji": "⛺" })),
            update("Tag", id, 1, json!({ "name": "c" })),
        ];
        let answer = phone.push(json!({ "tags": tags.map(|(_, item)| item) })).await;
        let verdicts: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(verdicts, ["ok 1", "ok 2", "ok 3", "ok 4"]);
        phone.pull().await;
        assert_eq!(phone.field("Tag", id, "name"), "c");
        assert_eq!(phone.field("Tag", id, "emoji"), "⛺");
    }

    async fn after_a_failure_a_deletion_or_a_conflict_later_changes_of_the_row_follow_it(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let id = Uuid::new_v4();
        let tags = [
            create("Tag", id, json!({ "name": "" })),
            update("Tag", id, 1, json!({ "name": "b" })),
        ];
        let answer = phone.push(json!({ "tags": tags.map(|(_, item)| item) })).await;
        let verdicts: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(verdicts, ["failed VALIDATION", "failed DEPENDENCY"]);

        let tag = phone.tag("Hut").await;
        let tags = [
            delete("Tag", tag, 1),
            update("Tag", tag, 1, json!({ "name": "b" })),
            delete("Tag", tag, 1),
        ];
        let answer = phone.push(json!({ "tags": tags.map(|(_, item)| item) })).await;
        let verdicts: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(verdicts, ["ok 2", "failed VALIDATION", "failed VALIDATION"]);

        let tag = phone.tag("Hut").await;
        phone.push_one(update("Tag", tag, 1, json!({ "name": "Refuge" }))).await;
        let tags = [
            update("Tag", tag, 1, json!({ "name": "Lodge" })),
            update("Tag", tag, 1, json!({ "emoji": "⛺" })),
        ];
        let answer = tablet.push(json!({ "tags": tags.map(|(_, item)| item) })).await;
        assert_eq!(answer.conflicts.len(), 2);
        assert_eq!(answer.conflicts[0]["id"], answer.conflicts[1]["id"], "one entry a row");
        let remote: serde_json::Value =
            serde_json::from_str(answer.conflicts[1]["remoteData"].as_str().expect("text"))
                .expect("JSON");
        assert_eq!(remote, json!({ "name": "Lodge", "emoji": "⛺" }));
    }

    async fn a_malformed_change_fails_the_later_ones_of_its_row(app: &App) {
        let phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        let memories = [
            update("Memory", memory, 1, json!({ "latitude": 91 })),
            update("Memory", memory, 1, json!({ "title": "x" })),
        ];
        let answer = phone.push(json!({ "memories": memories.map(|(_, item)| item) })).await;
        let verdicts: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(verdicts, ["failed VALIDATION", "failed DEPENDENCY"]);
    }

    async fn only_a_failed_creation_fails_what_depends_on_it(app: &App) {
        let phone = app.device_of("ada").await;
        let trip = Uuid::new_v4();
        let nameless = create("Trip", trip, json!({ "startDate": "2026-01-01T00:00:00Z" }));
        let memory = create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "Hut" }));
        let answer = phone.push(json!({ "trips": [nameless.1], "memories": [memory.1] })).await;
        let verdicts: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(verdicts, ["failed DEPENDENCY", "failed VALIDATION"]);

        let trip = phone.trip("Alps").await;
        let broken = update("Trip", trip, 1, json!({ "name": "" }));
        let memory = create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "Hut" }));
        let answer = phone.push(json!({ "trips": [broken.1], "memories": [memory.1] })).await;
        let verdicts: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(verdicts, ["ok 1", "failed VALIDATION"]);
    }

    async fn parents_are_made_before_and_deleted_after_their_children(app: &App) {
        let phone = app.device_of("ada").await;
        let [trip, memory, photo] = [(); 3].map(|()| Uuid::new_v4());
        // The lists are in no particular order, and neither are the items.
        let media = json!({
            "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg", "fileSize": 1
        });
        let batch = json!({
            "mediaItems": [create("MediaItem", photo, media).1],
            "memories": [create("Memory", memory, json!({ "tripId": trip, "title": "Hut" })).1],
            "trips": [create("Trip", trip, json!({ "name": "Alps", "startDate": "2026-01-01T00:00:00Z" })).1],
        });
        let answer = phone.push(batch).await;
        assert_eq!(answer.successful.len(), 3);
        let batch = json!({
            "trips": [delete("Trip", trip, 1).1],
            "memories": [delete("Memory", memory, 1).1],
            "mediaItems": [delete("MediaItem", photo, 1).1],
        });
        let answer = phone.push(batch).await;
        let versions: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(versions, ["ok 2", "ok 2", "ok 2"], "each by its own change");
    }

    async fn a_track_and_its_memory_lie_in_one_trip(app: &App) {
        let mut phone = app.device_of("ada").await;
        let [alps, coast] = [phone.trip("Alps").await, phone.trip("Coast").await];
        let hut = phone.memory(alps, "Hut").await;
        let track = |trip: Uuid| json!({ "tripId": trip, "memoryId": hut, "name": "Ridge" });
        let id = Uuid::new_v4();
        assert_eq!(phone.push_one(create("GPXTrack", id, track(coast))).await, "failed VALIDATION");
        assert_eq!(phone.push_one(create("GPXTrack", id, track(alps))).await, "ok 1");
        let away = update("GPXTrack", id, 1, json!({ "tripId": coast }));
        assert_eq!(phone.push_one(away).await, "failed VALIDATION");
        // With its memory it moves along; without it, it stays, unlinked.
        assert_eq!(phone.push_one(update("Memory", hut, 1, json!({ "tripId": coast }))).await, "ok 2");
        phone.pull().await;
        assert_eq!(phone.field("GPXTrack", id, "tripId"), json!(coast));
        assert_eq!(phone.field("GPXTrack", id, "syncVersion"), 1, "a cascade makes no version");
        assert_eq!(phone.push_one(delete("Memory", hut, 2)).await, "ok 3");
        phone.pull().await;
        assert_eq!(phone.field("GPXTrack", id, "memoryId"), json!(null));
    }

    async fn half_a_place_is_validation_unless_the_row_has_the_other_half(app: &App) {
        let phone = app.device_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        let half = json!({ "latitude": 46.5 });
        assert_eq!(phone.push_one(update("Memory", memory, 1, half.clone())).await, "failed VALIDATION");
        let whole = json!({ "latitude": 46.0, "longitude": 7.5 });
        assert_eq!(phone.push_one(update("Memory", memory, 1, whole)).await, "ok 2");
        assert_eq!(phone.push_one(update("Memory", memory, 2, half)).await, "ok 3");
    }

    async fn deleting_a_category_or_a_tag_takes_it_off_what_carries_it(app: &App) {
        let mut phone = app.device_of("ada").await;
        let drawer = Uuid::new_v4();
        phone.push_one(create("TagCategory", drawer, json!({ "name": "Places" }))).await;
        let tag = Uuid::new_v4();
        phone.push_one(create("Tag", tag, json!({ "name": "Hut", "categoryId": drawer }))).await;
        let trip = phone.trip("Alps").await;
        let memory = Uuid::new_v4();
        let fields = json!({ "tripId": trip, "title": "Hut", "tagIds": [tag] });
        phone.push_one(create("Memory", memory, fields)).await;
        phone.push_one(delete("TagCategory", drawer, 1)).await;
        phone.pull().await;
        assert_eq!(phone.field("Tag", tag, "categoryId"), json!(null));
        assert_eq!(phone.field("Tag", tag, "syncVersion"), 1);
        phone.push_one(delete("Tag", tag, 1)).await;
        phone.pull().await;
        assert_eq!(phone.field("Memory", memory, "tagIds"), json!([]));
        assert_eq!(phone.field("Memory", memory, "syncVersion"), 1);
        let unknown = json!({ "tagIds": [Uuid::new_v4()] });
        assert_eq!(phone.push_one(update("Memory", memory, 1, unknown)).await, "failed NOT_FOUND");
    }
}
