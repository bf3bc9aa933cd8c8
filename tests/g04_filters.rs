//! G4: a filter loses nothing. Each filter is a stream of its own.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Device, create, delete, update};

/// A trip of low priority with an important memory, whose photo is not; and the same reversed.
async fn journal(phone: &Device<'_>) -> [Uuid; 6] {
    let ids: [Uuid; 6] = std::array::from_fn(|_| Uuid::new_v4());
    let [plain, important, hut, pass, photo, sketch] = ids;
    let trip = |id, priority: &str| {
        let fields =
            json!({ "name": "t", "startDate": "2026-01-01T00:00:00Z", "syncPriority": priority });
        create("Trip", id, fields).1
    };
    let memory = |id, trip: Uuid, priority: &str| {
        create("Memory", id, json!({ "tripId": trip, "title": "m", "syncPriority": priority })).1
    };
    let media = |id, memory: Uuid, priority: &str| {
        let fields = json!({ "memoryId": memory, "objectName": "a.jpg", "mimeType": "image/jpeg",
                             "fileSize": 1, "syncPriority": priority });
        create("MediaItem", id, fields).1
    };
    let answer = phone
        .push(json!({
            "trips": [trip(plain, "LOW"), trip(important, "CRITICAL")],
            "memories": [memory(hut, plain, "HIGH"), memory(pass, important, "NORMAL")],
            "mediaItems": [media(photo, hut, "NORMAL"), media(sketch, pass, "CRITICAL")],
        }))
        .await;
    assert_eq!(answer.successful.len(), 6);
    ids
}

fn names(device: &Device<'_>) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> =
        device.rows.keys().map(|(_, id)| Uuid::try_parse(id).expect("an id")).collect();
    ids.sort();
    ids
}

fn sorted<const N: usize>(mut ids: [Uuid; N]) -> Vec<Uuid> {
    ids.sort();
    ids.to_vec()
}

fn another<'a>(app: &'a App, device: &Device<'a>) -> Device<'a> {
    Device::new(app, &device.name, device.token.clone())
}

both! {
    async fn g04_a_filtered_stream_includes_the_ancestors_of_what_it_delivers(app: &App) {
        let phone = app.device_of("ada").await;
        let [plain, important, hut, pass, photo, sketch] = journal(&phone).await;
        for size in [1, 2, 100] {
            let mut urgent = another(app, &phone);
            let count = urgent.pull_with(json!({ "size": size, "priority": "HIGH" })).await;
            assert_eq!(names(&urgent), sorted([plain, important, hut, pass, sketch]));
            assert_eq!(count, 5, "each once");

            let mut photos = another(app, &phone);
            photos.pull_with(json!({ "size": size, "types": ["MediaItem"] })).await;
            assert_eq!(names(&photos), sorted([plain, important, hut, pass, photo, sketch]));

            let mut trips = another(app, &phone);
            trips.pull_with(json!({ "size": size, "types": ["Trip"], "priority": "CRITICAL" })).await;
            assert_eq!(names(&trips), [important]);
        }
    }

    async fn g04_an_ancestor_comes_along_when_its_descendant_changes_later(app: &App) {
        let phone = app.device_of("ada").await;
        let [plain, _, hut, _, photo, _] = journal(&phone).await;
        let mut critical = another(app, &phone);
        critical.pull_with(json!({ "size": 10, "priority": "CRITICAL" })).await;
        assert!(critical.row("MediaItem", photo).is_none());
        phone.push_one(update("MediaItem", photo, 1, json!({ "syncPriority": "CRITICAL" }))).await;
        critical.pull().await;
        assert!(critical.row("Trip", plain).is_some() && critical.row("Memory", hut).is_some());
        assert!(critical.row("MediaItem", photo).is_some());
    }

    async fn g04_high_first_and_everything_later_ends_with_every_row(app: &App) {
        let phone = app.device_of("ada").await;
        journal(&phone).await;
        let mut tablet = another(app, &phone);
        tablet.pull_with(json!({ "size": 2, "priority": "HIGH" })).await;
        tablet.cursor = None;
        tablet.pull_by(2).await;
        assert_eq!(tablet.rows, phone.fresh_rows().await);
    }

    async fn g04_no_stream_takes_back_what_the_caller_still_sees(app: &App) {
        let phone = app.device_of("ada").await;
        let [plain, important, hut, _, photo, _] = journal(&phone).await;
        let mut all = another(app, &phone);
        all.pull().await;
        let mut photos = another(app, &phone);
        photos.pull_with(json!({ "size": 10, "types": ["MediaItem"] })).await;
        // The memory moves to another trip, with its photo.
        let away = update("Memory", hut, 1, json!({ "tripId": important }));
        assert_eq!(phone.push_one(away).await, "ok 2");
        let page = all.page(json!({ "cursor": all.cursor })).await["data"]["enhancedSync"].clone();
        assert_eq!(page["deleted"]["memories"], json!([]));
        assert_eq!(page["deleted"]["mediaItems"], json!([]));
        assert_eq!(page["totalCount"], 2);
        all.pull().await;
        photos.pull().await;
        for device in [&all, &photos] {
            assert_eq!(device.field("Memory", hut, "tripId"), json!(important));
            assert!(device.row("MediaItem", photo).is_some());
        }
        // Deleted for good, it is taken back, once.
        assert_eq!(phone.push_one(delete("Trip", important, 1)).await, "ok 2");
        all.pull().await;
        photos.pull().await;
        for device in [&all, &photos] {
            assert_eq!(names(device), [plain]);
        }
    }

    async fn g04_the_total_is_right_whatever_the_filter_and_the_page_size(app: &App) {
        let phone = app.device_of("ada").await;
        journal(&phone).await;
        let gone = phone.trip("gone").await;
        for filter in [json!({}), json!({ "priority": "HIGH" }), json!({ "types": ["Memory", "Tag"] })] {
            let mut before = another(app, &phone);
            let mut with_size = filter.clone();
            with_size["size"] = json!(3);
            before.pull_with(with_size).await;
            let mut device = another(app, &phone);
            let mut sizes: Vec<u64> = Vec::new();
            let mut counts: Vec<u64> = Vec::new();
            loop {
                let mut variables = filter.clone();
                variables["size"] = json!(2);
                variables["cursor"] = json!(device.cursor);
                let answer: Json = device.page(variables).await;
                let page = answer["data"]["enhancedSync"].clone();
                sizes.push(page["totalCount"].as_u64().expect("a count"));
                counts.push(device.apply(&page) as u64);
                device.cursor = page["nextCursor"].as_str().map(str::to_owned);
                if page["hasMore"] == false {
                    break;
                }
            }
            for at in 0..sizes.len() {
                assert_eq!(sizes[at], counts[at..].iter().sum::<u64>(), "{filter} page {at}");
            }
        }
        // And with a deletion in it.
        let mut device = another(app, &phone);
        device.pull().await;
        phone.push_one(delete("Trip", gone, 1)).await;
        phone.tag("new").await;
        let page = device.page(json!({ "cursor": device.cursor, "size": 1 })).await;
        assert_eq!(page["data"]["enhancedSync"]["totalCount"], 2);
        assert_eq!(page["data"]["enhancedSync"]["deleted"]["trips"], json!([gone]));
    }
}
