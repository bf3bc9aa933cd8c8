//! G16: no id, guess or cursor shows or changes a row outside the caller's scopes; a foreign id
//! reads exactly as a missing one.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{Device, create, delete, update};

/// The answer without what must differ: the ids that were sent.
async fn answer(device: &Device<'_>, list: &str, item: Json, id: Uuid) -> String {
    let answer = device.try_push(json!({ list: [item] }), json!({})).await;
    let operation = item["operationId"].as_str().expect("an operation").to_owned();
    answer.to_string().replace(&id.to_string(), "ID").replace(&operation, "OPERATION")
}

both! {
    async fn g16_a_foreign_id_reads_exactly_as_a_missing_one(app: &App) {
        let mut ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let tag = ada.tag("Hut").await;
        let gone = ada.tag("Gone").await;
        ada.push_one(delete("Tag", gone, 1)).await;
        ada.pull().await;
        let before = ada.fresh_rows().await;
        let mine = bob.trip("Coast").await;
        let theirs = [("Trip", trip), ("Memory", memory), ("Tag", tag), ("Tag", gone)];
        for (kind, foreign) in theirs {
            for make in [
                (|kind, id| update(kind, id, 1, json!({ "syncPriority": "HIGH" }))) as fn(&str, Uuid) -> _,
                |kind, id| update(kind, id, 99, json!({ "syncPriority": "HIGH" })),
                |kind, id| delete(kind, id, 1),
                |kind, id| delete(kind, id, 99),
            ] {
                let missing = Uuid::new_v4();
                let (list, item) = make(kind, foreign);
                let foreign_answer = answer(&bob, list, item, foreign).await;
                let (list, item) = make(kind, missing);
                assert_eq!(foreign_answer, answer(&bob, list, item, missing).await);
            }
        }
        // As a parent or a reference, too.
        for (kind, field, foreign) in [
            ("Memory", "tripId", trip),
            ("MediaItem", "memoryId", memory),
            ("Memory", "tagIds", tag),
        ] {
            let fields = |id: Uuid| match (kind, field) {
                ("Memory", "tripId") => json!({ "tripId": id, "title": "x" }),
                ("MediaItem", _) => json!({ "memoryId": id, "objectName": "a", "mimeType": "b", "fileSize": 1 }),
                _ => json!({ "tripId": mine, "title": "x", "tagIds": [id] }),
            };
            let missing = Uuid::new_v4();
            let row = Uuid::new_v4();
            let mut texts = Vec::new();
            for id in [foreign, missing] {
                let (list, item) = create(kind, row, fields(id));
                texts.push(answer(&bob, list, item, id).await);
            }
            assert_eq!(texts[0], texts[1], "{kind}.{field}");
        }
        assert_eq!(ada.fresh_rows().await, before, "nothing of hers has changed");
    }

    async fn g16_taking_anothers_id_changes_nothing_of_theirs(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let mine = bob.trip("Coast").await;
        let trip = ada.trip("Alps").await;
        let memory = ada.memory(trip, "Hut").await;
        let before = ada.fresh_rows().await;
        let grab = create("Memory", memory, json!({ "tripId": mine, "title": "mine now" }));
        assert_eq!(bob.push_one(grab).await, "failed VALIDATION");
        assert_eq!(ada.fresh_rows().await, before);
        assert_eq!(bob.fresh_rows().await.len(), 1);
    }

    async fn g16_two_accounts_that_create_one_id_at_once_get_one_row(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        for kind in ["Tag", "Trip"] {
            for _ in 0..10 {
                let id = Uuid::new_v4();
                let fields = match kind {
                    "Tag" => json!({ "name": "x" }),
                    _ => json!({ "name": "x", "startDate": "2026-01-01T00:00:00Z" }),
                };
                let (first, second) = tokio::join!(
                    ada.push_one(create(kind, id, fields.clone())),
                    bob.push_one(create(kind, id, fields.clone())),
                );
                let mut verdicts = [first, second];
                verdicts.sort();
                assert_eq!(verdicts, ["failed VALIDATION", "ok 1"]);
            }
        }
        let rows = ada.fresh_rows().await.len() + bob.fresh_rows().await.len();
        assert_eq!(rows, 20);
    }

    async fn g16_a_members_tag_shows_nothing_else_of_theirs(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let drawer = Uuid::new_v4();
        ada.push_one(create("TagCategory", drawer, json!({ "name": "private drawer" }))).await;
        let [shown, hidden] = [Uuid::new_v4(), Uuid::new_v4()];
        for (id, name) in [(shown, "shown"), (hidden, "hidden")] {
            ada.push_one(create("Tag", id, json!({ "name": name, "categoryId": drawer }))).await;
        }
        let [shared, private] = [ada.trip("Alps").await, ada.trip("Private").await];
        for (trip, tags) in [(shared, json!([shown])), (private, json!([shown, hidden]))] {
            let fields = json!({ "tripId": trip, "title": "m", "tagIds": tags });
            ada.push_one(create("Memory", Uuid::new_v4(), fields)).await;
        }
        ada.share(shared, &bob, "EDITOR").await;
        let query = "{ enhancedSync { memories { tags {
            name usageCount category { name tags { name } } relatedTags { name } } } } }";
        let answer = bob.ask(query, json!({})).await;
        let tag = &answer["data"]["enhancedSync"]["memories"][0]["tags"][0];
        let seen = json!({ "name": "shown", "usageCount": 1, "category": null, "relatedTags": [] });
        assert_eq!(*tag, seen, "{answer}");
        let query = "{ enhancedSync { tags { name usageCount category { name } relatedTags { name } } } }";
        let answer = ada.ask(query, json!({})).await;
        let tag = &answer["data"]["enhancedSync"]["tags"][0];
        assert_eq!((&tag["usageCount"], &tag["relatedTags"]), (&json!(2), &json!([{ "name": "hidden" }])));
    }

    async fn g16_a_conflict_moves_with_its_row(app: &App) {
        let [ada, tablet] = app.two_devices_of("ada").await;
        let bob = app.device_of("bob").await;
        let [shared, private] = [ada.trip("Alps").await, ada.trip("Private").await];
        ada.share(shared, &bob, "EDITOR").await;
        let memory = ada.memory(shared, "Hut").await;
        ada.push_one(update("Memory", memory, 1, json!({ "title": "a" }))).await;
        tablet.push_one(update("Memory", memory, 1, json!({ "title": "b" }))).await;
        let count = async |device: &Device<'_>| {
            let answer = device.ask("{ getConflicts { id } }", json!({})).await;
            answer["data"]["getConflicts"].as_array().expect("a list").len()
        };
        assert_eq!((count(&ada).await, count(&bob).await), (1, 1));
        ada.push_one(update("Memory", memory, 2, json!({ "tripId": private }))).await;
        assert_eq!((count(&ada).await, count(&bob).await), (1, 0));
    }

    async fn g16_nested_rows_show_only_what_the_caller_may_see(app: &App) {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let tag = ada.tag("secret").await;
        let shared = ada.trip("Alps").await;
        let private = ada.trip("Private").await;
        for trip in [shared, private] {
            let fields = json!({ "tripId": trip, "title": "m", "tagIds": [tag] });
            ada.push_one(create("Memory", Uuid::new_v4(), fields)).await;
        }
        ada.share(shared, &bob, "VIEWER").await;
        let query = "{ enhancedSync { trips { id role memories { id tags { name relatedTags { name } } } } tags { id } } }";
        let answer = bob.ask(query, json!({})).await;
        assert!(answer["errors"].is_null(), "{answer}");
        let page = &answer["data"]["enhancedSync"];
        assert_eq!(page["trips"].as_array().expect("a list").len(), 1);
        assert_eq!(page["trips"][0]["role"], "VIEWER");
        assert_eq!(page["trips"][0]["memories"].as_array().expect("a list").len(), 1);
        assert_eq!(page["trips"][0]["memories"][0]["tags"][0]["name"], "secret");
        assert_eq!(page["tags"], json!([]));
    }
}
