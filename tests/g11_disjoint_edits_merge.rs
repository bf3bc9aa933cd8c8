//! G11: two devices that changed different fields of one row both win.

use serde_json::json;

use crate::both;
use crate::support::{create, update};

both! {
    async fn g11_different_fields_of_one_row_both_win(app: &App) {
        let [mut phone, mut tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        tablet.pull().await;
        assert_eq!(phone.push_one(update("Memory", memory, 1, json!({ "title": "Refuge" }))).await, "ok 2");
        assert_eq!(
            tablet.push_one(update("Memory", memory, 1, json!({ "content": "Snow" }))).await,
            "conflict RESOLVED VERSION_MISMATCH FIELD_MERGE"
        );
        for device in [&mut phone, &mut tablet] {
            device.pull().await;
            assert_eq!(device.field("Memory", memory, "title"), "Refuge");
            assert_eq!(device.field("Memory", memory, "content"), "Snow");
            assert_eq!(device.field("Memory", memory, "syncVersion"), 3);
        }
        let _ = create;
    }
}
