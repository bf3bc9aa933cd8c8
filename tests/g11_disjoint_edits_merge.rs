//! G11: two devices that changed different fields of one row both win; sets merge three-way; fields
//! that belong together count as one.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{create, update};

const MERGED: &str = "conflict RESOLVED VERSION_MISMATCH FIELD_MERGE";
const OPEN: &str = "conflict OPEN VERSION_MISMATCH";

both! {
    async fn g11_different_fields_of_one_row_both_win(app: &App) {
        let [mut phone, mut tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        assert_eq!(phone.push_one(update("Memory", memory, 1, json!({ "title": "Refuge" }))).await, "ok 2");
        let (list, item) = update("Memory", memory, 1, json!({ "content": "Snow" }));
        let answer = tablet.push(json!({ list: [item] })).await;
        assert_eq!(answer.verdict(), MERGED);
        let record = &answer.conflicts[0];
        assert_eq!((&record["currentVersion"], &record["localVersion"]), (&json!(3), &json!(2)));
        let side = |name: &str| -> Json {
            serde_json::from_str(record[name].as_str().expect("JSON text")).expect("JSON")
        };
        assert_eq!(side("baseData")["title"], "Hut");
        assert_eq!(side("localData")["title"], "Refuge");
        assert_eq!(side("remoteData"), json!({ "content": "Snow" }));
        for device in [&mut phone, &mut tablet] {
            device.pull().await;
            assert_eq!(device.field("Memory", memory, "title"), "Refuge");
            assert_eq!(device.field("Memory", memory, "content"), "Snow");
            assert_eq!(device.field("Memory", memory, "syncVersion"), 3);
            assert_eq!(device.field("Memory", memory, "syncStatus"), "IN_SYNC");
        }
    }

    async fn g11_sets_merge_three_way_against_their_base(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let mut tags = Vec::new();
        for name in ["a", "b", "c", "d"] {
            tags.push(phone.tag(name).await);
        }
        let set = |places: &[usize]| {
            let mut ids: Vec<Uuid> = places.iter().map(|n| tags[*n]).collect();
            ids.sort();
            json!({ "tagIds": ids })
        };
        let trip = phone.trip("Alps").await;
        let memory = Uuid::new_v4();
        let mut fields = set(&[0, 1]);
        fields["tripId"] = json!(trip);
        fields["title"] = json!("m");
        phone.push_one(create("Memory", memory, fields)).await;
        // One adds c and takes a away; the other, from the same base, adds d.
        assert_eq!(phone.push_one(update("Memory", memory, 1, set(&[1, 2]))).await, "ok 2");
        assert_eq!(tablet.push_one(update("Memory", memory, 1, set(&[0, 1, 3]))).await, MERGED);
        phone.pull().await;
        assert_eq!(phone.field("Memory", memory, "tagIds"), set(&[1, 2, 3])["tagIds"], "a stays away");
        // Whoever wrote since: its own older edit is merged with, not overwritten.
        let verdict = tablet.push_one(update("Memory", memory, 3, set(&[1, 2]))).await;
        assert_eq!(verdict, "ok 4");
        assert_eq!(tablet.push_one(update("Memory", memory, 3, set(&[1, 3]))).await, "ok 5");
        phone.pull().await;
        assert_eq!(phone.field("Memory", memory, "tagIds"), set(&[1])["tagIds"]);
    }

    async fn g11_fields_that_belong_together_count_as_one(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        let place = json!({ "latitude": 46.0, "longitude": 7.5 });
        phone.push_one(update("Memory", memory, 1, place)).await;
        phone.push_one(update("Memory", memory, 2, json!({ "latitude": 46.1 }))).await;
        assert_eq!(tablet.push_one(update("Memory", memory, 2, json!({ "longitude": 7.6 }))).await, OPEN);
        phone.push_one(update("Trip", trip, 1, json!({ "startDate": "2026-02-01T00:00:00Z" }))).await;
        let end = json!({ "endDate": "2026-03-01T00:00:00Z" });
        assert_eq!(tablet.push_one(update("Trip", trip, 1, end)).await, OPEN);
    }

    async fn g11_a_place_that_wins_wins_whole(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        phone.push_one(update("Memory", memory, 1, json!({ "latitude": 46.0, "longitude": 7.5 }))).await;
        let away = json!({ "latitude": 47.0, "longitude": 8.5, "clientTimestamp": "2026-01-10T00:00:00Z" });
        phone.push_one(update("Memory", memory, 2, away)).await;
        let (list, item) = update("Memory", memory, 2,
            json!({ "latitude": 46.2, "clientTimestamp": "2026-01-11T00:00:00Z" }));
        let answer = tablet.push_with(json!({ list: [item] }), json!({ "strategy": "LAST_WRITE_WINS" })).await;
        assert_eq!(answer.verdict(), "conflict RESOLVED VERSION_MISMATCH LAST_WRITE_WINS");
        phone.pull().await;
        assert_eq!(phone.field("Memory", memory, "latitude"), 46.2);
        assert_eq!(phone.field("Memory", memory, "longitude"), 7.5, "not half of each");
    }

    async fn g11_a_merged_row_that_would_be_invalid_stays_open(app: &App) {
        let [mut phone, tablet] = app.two_devices_of("ada").await;
        let trip = phone.trip("Alps").await;
        let memory = phone.memory(trip, "Hut").await;
        let coast = phone.trip("Coast").await;
        let track = Uuid::new_v4();
        phone.push_one(create("GPXTrack", track, json!({ "tripId": trip, "name": "g" }))).await;
        // One hangs the track on a memory; the other moves the track away from it.
        phone.push_one(update("GPXTrack", track, 1, json!({ "memoryId": memory }))).await;
        let (list, item) = update("GPXTrack", track, 1, json!({ "tripId": coast }));
        let answer = tablet.push(json!({ list: [item] })).await;
        assert_eq!(answer.verdict(), OPEN);
        phone.pull().await;
        assert_eq!(phone.field("GPXTrack", track, "tripId"), json!(trip));
    }
}
