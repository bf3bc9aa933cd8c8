//! G10: a device never conflicts with itself, and equal values never conflict.

use serde_json::json;
use uuid::Uuid;

use crate::both;
use crate::support::{create, delete, update};

both! {
    async fn g10_edits_on_an_old_version_of_its_own_are_applied(app: &App) {
        let mut phone = app.device_of("ada").await;
        let tag = phone.tag("a").await;
        for (n, name) in ["b", "c", "d"].into_iter().enumerate() {
            let verdict = phone.push_one(update("Tag", tag, 1, json!({ "name": name }))).await;
            assert_eq!(verdict, format!("ok {}", n + 2));
        }
        phone.pull().await;
        assert_eq!(phone.field("Tag", tag, "name"), "d");
        assert_eq!(phone.push_one(delete("Tag", tag, 1)).await, "ok 5");
    }

    async fn g10_taking_back_its_own_edit_is_an_edit_however_the_batches_are_cut(app: &App) {
        let mut phone = app.device_of("ada").await;
        for cut in [true, false] {
            let tag = phone.tag("a").await;
            let edits = ["b", "a"].map(|name| update("Tag", tag, 1, json!({ "name": name })).1);
            match cut {
                true => {
                    for edit in edits {
                        phone.push(json!({ "tags": [edit] })).await;
                    }
                }
                false => {
                    phone.push(json!({ "tags": edits })).await;
                }
            }
            phone.pull().await;
            assert_eq!(phone.field("Tag", tag, "name"), "a", "cut: {cut}");
            assert_eq!(phone.field("Tag", tag, "syncVersion"), 3);
        }
    }

    async fn g10_a_creation_sent_again_is_an_edit_of_version_1(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let tag = phone.tag("a").await;
        // Others changed another field: both stand.
        tablet.push_one(update("Tag", tag, 1, json!({ "emoji": "⛺" }))).await;
        assert_eq!(phone.push_one(create("Tag", tag, json!({ "name": "a" }))).await, "ok 2");
        assert_eq!(
            phone.push_one(create("Tag", tag, json!({ "name": "b" }))).await,
            "conflict RESOLVED VERSION_MISMATCH FIELD_MERGE"
        );
        phone.pull().await;
        assert_eq!(phone.field("Tag", tag, "emoji"), "⛺");
        assert_eq!(phone.field("Tag", tag, "name"), "b");
        // Others changed the same field.
        tablet.push_one(update("Tag", tag, 3, json!({ "name": "c" }))).await;
        assert_eq!(
            phone.push_one(create("Tag", tag, json!({ "name": "d" }))).await,
            "conflict OPEN VERSION_MISMATCH"
        );
    }

    async fn g10_a_sender_without_a_device_is_never_the_same(app: &App) {
        let phone = app.device_of("ada").await;
        let nobody = json!({ "deviceId": null });
        let id = Uuid::new_v4();
        let (list, item) = create("Tag", id, json!({ "name": "a" }));
        phone.push_with(json!({ list: [item] }), nobody.clone()).await;
        let (_, item) = update("Tag", id, 1, json!({ "name": "b" }));
        let first = phone.push_with(json!({ list: [item] }), nobody.clone()).await;
        assert_eq!(first.verdict(), "ok 2");
        let (_, item) = update("Tag", id, 1, json!({ "name": "c" }));
        let second = phone.push_with(json!({ list: [item] }), nobody).await;
        assert_eq!(second.verdict(), "conflict OPEN VERSION_MISMATCH", "it could be two phones");
    }

    async fn g10_equal_values_never_conflict(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let tag = phone.tag("a").await;
        phone.push_one(update("Tag", tag, 1, json!({ "name": "b", "emoji": "⛺" }))).await;
        assert_eq!(tablet.push_one(update("Tag", tag, 1, json!({ "name": "b" }))).await, "ok 2");
        // A field sent with its base's value is no edit.
        assert_eq!(
            tablet.push_one(update("Tag", tag, 1, json!({ "name": "a", "sortOrder": 7 }))).await,
            "conflict RESOLVED VERSION_MISMATCH FIELD_MERGE"
        );
    }
}
