//! G15: device clocks are not trusted.

use serde_json::json;
use uuid::Uuid;

use crate::both;
use crate::support::{Device, create};

fn at(time: &str) -> (&'static str, serde_json::Value) {
    create("Tag", Uuid::new_v4(), json!({ "name": time, "clientTimestamp": time }))
}

both! {
    async fn g15_any_clock_is_served_and_only_one_too_far_ahead_refused(app: &App) {
        let phone = app.device_of("ada").await;
        for past in ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2001-09-09T01:46:40Z"] {
            assert_eq!(phone.push_one(at(past)).await, "ok 1", "{past}");
        }
        for future in ["2100-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
            let batch = json!({ "tags": [at(future).1, at("2026-01-01T00:00:00Z").1] });
            let verdicts: Vec<String> = phone.push(batch).await.verdicts().into_values().collect();
            assert_eq!(verdicts, ["failed CLOCK_SKEW", "ok 1"], "the item alone");
        }
        let soon = chrono::Utc::now() + chrono::Duration::minutes(4);
        assert_eq!(phone.push_one(at(&soon.to_rfc3339())).await, "ok 1", "within five minutes");
        let later = chrono::Utc::now() + chrono::Duration::minutes(6);
        assert_eq!(phone.push_one(at(&later.to_rfc3339())).await, "failed CLOCK_SKEW");
    }

    async fn g15_cursors_do_not_depend_on_any_device_clock(app: &App) {
        let phone = app.device_of("ada").await;
        let mut reader = Device::new(app, "ada", phone.token.clone());
        for time in ["2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2020-01-01T00:00:00Z"] {
            phone.push_one(at(time)).await;
            assert_eq!(reader.pull().await, 1, "{time}");
        }
        assert_eq!(reader.rows.len(), 3);
    }

    async fn g15_a_clock_that_runs_ahead_does_not_win_for_ever(app: &App) {
        // The time of an edit is clamped to the server's: an edit made after it wins.
        let [mut phone, mut tablet] = app.two_devices_of("ada").await;
        if phone.id < tablet.id {
            // A tie would go to the phone.
            std::mem::swap(&mut phone.id, &mut tablet.id);
        }
        let tag = phone.tag("base").await;
        let ahead = (chrono::Utc::now() + chrono::Duration::minutes(4)).to_rfc3339();
        let edit = json!({ "name": "ahead", "clientTimestamp": ahead });
        phone.push_one(crate::support::update("Tag", tag, 1, edit)).await;
        // The server's clock counts in milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let edit = json!({ "name": "after", "clientTimestamp": ahead });
        let (list, item) = crate::support::update("Tag", tag, 1, edit);
        tablet.push_with(json!({ list: [item] }), json!({ "strategy": "LAST_WRITE_WINS" })).await;
        let rows = phone.fresh_rows().await;
        assert_eq!(rows.values().next().expect("a tag")["name"], "after");
    }
}
