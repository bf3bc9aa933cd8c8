//! G7: one transaction, a verdict each. A bad item fails alone.

use serde_json::json;
use uuid::Uuid;

use crate::both;
use crate::support::{create, delete, update};

both! {
    async fn g07_a_bad_item_fails_alone_and_its_siblings_commit(app: &App) {
        let mut phone = app.device_of("ada").await;
        let good: [Uuid; 3] = std::array::from_fn(|_| Uuid::new_v4());
        let tags = [
            create("Tag", good[0], json!({ "name": "a" })).1,
            create("Tag", Uuid::new_v4(), json!({ "name": "b", "color": "red" })).1,
            create("Tag", good[1], json!({ "name": "c" })).1,
            json!({ "id": "nonsense", "operation": "CREATE", "clientTimestamp": "2026-01-01T00:00:00Z", "name": "d" }),
            json!({ "id": Uuid::new_v4(), "operation": "CREATE", "clientTimestamp": "yesterday", "name": "e" }),
            json!({ "operation": "UPDATE", "clientTimestamp": "2026-01-01T00:00:00Z", "syncVersion": 1 }),
            create("Tag", good[2], json!({ "name": "f" })).1,
        ];
        let answer = phone.push(json!({ "tags": tags })).await;
        let verdicts: Vec<String> = answer.verdicts().into_values().collect();
        assert_eq!(
            verdicts,
            ["ok 1", "failed VALIDATION", "ok 1", "failed VALIDATION", "failed VALIDATION",
             "failed VALIDATION", "ok 1"]
        );
        assert_eq!(answer.failed[1]["entityId"], "nonsense");
        assert_eq!(answer.failed[3]["entityId"], "unknown");
        phone.pull().await;
        assert_eq!(phone.rows.len(), 3);
        for id in good {
            assert!(phone.row("Tag", id).is_some());
        }
    }

    async fn g07_a_failed_item_can_be_corrected_and_sent_again(app: &App) {
        let phone = app.device_of("ada").await;
        let (list, mut item) = create("Tag", Uuid::new_v4(), json!({ "name": "" }));
        assert_eq!(phone.push(json!({ list: [item] })).await.verdict(), "failed VALIDATION");
        item["name"] = json!("Hut");
        assert_eq!(phone.push(json!({ list: [item] })).await.verdict(), "ok 1", "same operationId");
    }

    async fn g07_everything_of_a_batch_is_seen_at_once(app: &App) {
        // A batch over two scopes and three kinds: a reader sees all of it or nothing.
        let phone = app.device_of("ada").await;
        let [trip, memory, tag] = std::array::from_fn(|_| Uuid::new_v4());
        let batch = json!({
            "tags": [create("Tag", tag, json!({ "name": "x" })).1],
            "trips": [create("Trip", trip, json!({ "name": "t", "startDate": "2026-01-01T00:00:00Z" })).1],
            "memories": [create("Memory", memory, json!({ "tripId": trip, "title": "m", "tagIds": [tag] })).1],
        });
        let reading = async {
            let mut seen = Vec::new();
            for _ in 0..20 {
                seen.push(phone.fresh_rows().await.len());
            }
            seen
        };
        let (pushed, seen) = tokio::join!(phone.push(batch), reading);
        assert_eq!(pushed.successful.len(), 3);
        assert!(seen.iter().all(|count| [0, 3].contains(count)), "{seen:?}");
        assert_eq!(phone.fresh_rows().await.len(), 3);
    }

    async fn g07_an_error_in_the_database_writes_nothing_and_says_nothing_of_it(app: &App) {
        use sea_orm::ConnectionTrait;
        let phone = app.device_of("ada").await;
        let tag = phone.tag("Hut").await;
        let pool = app.db().pool();
        pool.execute_unprepared("ALTER TABLE receipt RENAME TO elsewhere").await.expect("renamed");
        let batch = json!({ "tags": [update("Tag", tag, 1, json!({ "name": "Refuge" })).1, delete("Tag", tag, 2).1] });
        let answer = phone.try_push(batch.clone(), json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INTERNAL");
        assert!(!answer.to_string().contains("receipt"), "{answer}");
        pool.execute_unprepared("ALTER TABLE elsewhere RENAME TO receipt").await.expect("renamed");
        let rows = phone.fresh_rows().await;
        assert_eq!(rows.values().next().expect("a tag")["name"], "Hut");
        let answer = phone.push(batch).await;
        assert_eq!(answer.successful.len(), 2);
    }
}
