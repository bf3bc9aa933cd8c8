//! What is decided without a person: rules in the settings, a batch's own, and what happens to what no
//! rule can decide. What the rules mean is in `src/sync/policy.rs`.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::{App, Backend, Device, Process, TestDatabase, create, delete, update};

const EARLY: &str = "2026-01-14T00:00:00.000Z";
const LATE: &str = "2026-01-16T00:00:00.000Z";

/// With the time of the edit by the device's clock.
fn at((list, mut item): (&'static str, Json), time: &str) -> (&'static str, Json) {
    item["clientTimestamp"] = json!(time);
    (list, item)
}

/// Runs a story on both databases, on a server with these rules.
async fn under(rules: &str, story: impl AsyncFn(&App)) {
    for backend in Backend::ALL {
        let app = App::start_with(backend, &["--conflict-policies", rules]).await;
        story(&app).await;
        app.finish().await;
    }
}

/// A memory that the phone edited, and the verdict on the tablet's edit of the same version.
async fn met(devices: &[Device<'_>; 2], mine: Json, theirs: Json, more: Json) -> (Uuid, String) {
    let [phone, tablet] = devices;
    let trip = phone.trip("Alps").await;
    let memory = phone.memory(trip, "Hut").await;
    assert_eq!(phone.push_one(update("Memory", memory, 1, mine)).await, "ok 2");
    let (list, item) = at(update("Memory", memory, 1, theirs), LATE);
    (memory, tablet.push_with(json!({ list: [item] }), more).await.verdict())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_bad_rules_do_not_start_and_say_why() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    for (rules, problem) in [
        ("Memory.content", "must be written as Kind.field = STRATEGY"),
        ("Memory.content = MAYBE", "the strategy must be one of LAST_WRITE_WINS"),
        ("Hut = LAST_WRITE_WINS", "there is no kind Hut"),
        ("Memory.hut = LAST_WRITE_WINS", "Memory has no field hut"),
        ("Memory = KEEP_BOTH, Memory = FIELD_MERGE", "is said to be KEEP_BOTH elsewhere"),
        ("VERSION_MISMATCH = KEEP_BOTH", "there is no kind VERSION_MISMATCH"),
    ] {
        let settings = [("DATABASE_URL", &*database.url), ("CONFLICT_POLICIES", rules)];
        let (status, log) = Process::spawn(&settings).ended().await;
        assert!(!status.success(), "{rules}");
        assert!(log.contains("CONFLICT_POLICIES") && log.contains(problem), "{rules}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_goes_by_field_and_the_strictest_field_of_an_edit_counts() {
    let rules = "Memory = LAST_WRITE_WINS, Memory.content = MANUAL_RESOLUTION, \
        Memory.address = FIRST_WRITE_WINS, Memory.weatherJSON = KEEP_BOTH";
    under(rules, async |app| {
        let all = |text: &str, names: &[&str]| -> Json {
            names.iter().map(|name| ((*name).to_owned(), json!(text))).collect()
        };
        for (number, (names, verdict, stands)) in [
            (
                &["title"][..],
                "RESOLVED VERSION_MISMATCH LAST_WRITE_WINS",
                json!({ "title": "tablet" }),
            ),
            (&["content"], "OPEN VERSION_MISMATCH", json!({ "content": "phone" })),
            (
                &["title", "content"],
                "OPEN VERSION_MISMATCH",
                json!({ "title": "phone", "content": "phone" }),
            ),
            (
                &["address"],
                "RESOLVED VERSION_MISMATCH FIRST_WRITE_WINS",
                json!({ "address": "phone" }),
            ),
            (
                &["title", "address"],
                "RESOLVED VERSION_MISMATCH FIELD_MERGE",
                json!({ "title": "tablet", "address": "phone" }),
            ),
            (
                &["title", "weatherJSON"],
                "RESOLVED VERSION_MISMATCH KEEP_BOTH",
                json!({ "title": "phone", "weatherJSON": "phone" }),
            ),
            (&["content", "weatherJSON"], "OPEN VERSION_MISMATCH", json!({ "title": "Hut" })),
        ]
        .into_iter()
        .enumerate()
        {
            let devices = app.two_devices_of(&format!("ada{number}")).await;
            let met = met(&devices, all("phone", names), all("tablet", names), json!({})).await;
            assert_eq!(met.1, format!("conflict {verdict}"), "{names:?}");
            let rows = devices[0].fresh_rows().await;
            let row = &rows[&("Memory".to_owned(), met.0.to_string())];
            for (name, value) in stands.as_object().expect("fields") {
                assert_eq!(row[name], *value, "{names:?} {name}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_of_a_batch_counts_instead_of_the_rules_about_overlaps() {
    under("Memory = LAST_WRITE_WINS, Memory.content = MANUAL_RESOLUTION", async |app| {
        for (number, (strategy, verdict)) in [
            (json!(null), "conflict OPEN VERSION_MISMATCH"),
            (json!("FIRST_WRITE_WINS"), "conflict RESOLVED VERSION_MISMATCH FIRST_WRITE_WINS"),
            (json!("LAST_WRITE_WINS"), "conflict RESOLVED VERSION_MISMATCH LAST_WRITE_WINS"),
            (json!("KEEP_BOTH"), "conflict RESOLVED VERSION_MISMATCH KEEP_BOTH"),
            (json!("FIELD_MERGE"), "conflict RESOLVED VERSION_MISMATCH FIELD_MERGE"),
            (json!("MANUAL_RESOLUTION"), "conflict OPEN VERSION_MISMATCH"),
        ]
        .into_iter()
        .enumerate()
        {
            let devices = app.two_devices_of(&format!("ada{number}")).await;
            let [mine, theirs] =
                ["phone", "tablet"].map(|text| json!({ "title": text, "content": text }));
            let met = met(&devices, mine, theirs, json!({ "strategy": strategy })).await;
            assert_eq!(met.1, verdict, "{strategy}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_decides_deletions_in_the_push_and_a_resend_is_told_the_same() {
    let rules = "DELETION_CONFLICT = LAST_WRITE_WINS, Tag.DELETION_CONFLICT = FIRST_WRITE_WINS, \
        DEPENDENCY_CONFLICT = FIELD_MERGE";
    under(rules, async |app| {
        let mut devices = app.two_devices_of("ada").await;
        let [phone, tablet] = &devices;
        let trip = phone.trip("Alps").await;
        let [early, late] = [phone.memory(trip, "early").await, phone.memory(trip, "late").await];
        let tag = phone.tag("Hut").await;
        for item in [delete("Memory", early, 1), delete("Memory", late, 1), delete("Tag", tag, 1)] {
            assert_eq!(phone.push_one(item).await, "ok 2");
        }
        let told = async |(list, item): (&'static str, Json)| {
            let pushed = tablet.push(json!({ list: [item] })).await;
            assert_eq!(tablet.push(json!({ list: [item] })).await, pushed, "sent again");
            pushed.verdict()
        };
        let title = |id: Uuid| update("Memory", id, 1, json!({ "title": "tablet" }));
        assert_eq!(
            told(at(title(early), EARLY)).await,
            "conflict RESOLVED DELETION_CONFLICT LAST_WRITE_WINS"
        );
        assert_eq!(
            told(at(title(late), LATE)).await,
            "conflict RESOLVED DELETION_CONFLICT LAST_WRITE_WINS"
        );
        let renamed = at(update("Tag", tag, 1, json!({ "name": "tablet" })), LATE);
        assert_eq!(told(renamed).await, "conflict RESOLVED DELETION_CONFLICT FIRST_WRITE_WINS");
        // What waits for a parent brings it back.
        phone.push_one(delete("Trip", trip, 1)).await;
        let memory = Uuid::new_v4();
        let made = create("Memory", memory, json!({ "tripId": trip, "title": "new" }));
        assert_eq!(told(made).await, "conflict RESOLVED DEPENDENCY_CONFLICT FIELD_MERGE");
        for device in &mut devices {
            device.pull().await;
        }
        let [phone, tablet] = &devices;
        assert_eq!(phone.rows, tablet.rows);
        assert!(phone.row("Memory", early).is_none() && phone.row("Tag", tag).is_none());
        assert_eq!(phone.field("Memory", late, "title"), "tablet");
        assert!(phone.row("Memory", memory).is_some() && phone.row("Trip", trip).is_some());
        assert!(phone.open_conflicts().await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_that_cannot_be_carried_out_leaves_the_conflict_open() {
    under("DELETION_CONFLICT = FIELD_MERGE, DEPENDENCY_CONFLICT = FIELD_MERGE", async |app| {
        let ada = app.device_of("ada").await;
        let bob = app.device_of("bob").await;
        let trip = ada.trip("Alps").await;
        ada.share(trip, &bob, "EDITOR").await;
        let memory = ada.memory(trip, "Hut").await;
        // Half a place is none: the merged row would be invalid.
        ada.push_one(delete("Memory", memory, 1)).await;
        let half = update("Memory", memory, 1, json!({ "latitude": 46.0 }));
        assert_eq!(bob.push_one(half).await, "conflict OPEN DELETION_CONFLICT");
        // Only the owner brings a trip back.
        let other = ada.memory(trip, "other").await;
        ada.push_one(delete("Trip", trip, 1)).await;
        let (list, dead) = update("Memory", other, 1, json!({ "title": "bob" }));
        let new = create("Memory", Uuid::new_v4(), json!({ "tripId": trip, "title": "new" })).1;
        let tag = create("Tag", Uuid::new_v4(), json!({ "name": "his" })).1;
        let pushed = bob.push(json!({ list: [dead, new], "tags": [tag] })).await;
        let verdicts: Vec<String> = pushed.verdicts().into_values().collect();
        let expected =
            ["conflict OPEN DELETION_CONFLICT", "conflict OPEN DEPENDENCY_CONFLICT", "ok 1"];
        assert_eq!(verdicts, expected);
        assert_eq!(ada.open_conflicts().await.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_decides_what_hangs_on_what_the_batch_has_just_made() {
    under("DELETION_CONFLICT = FIELD_MERGE", async |app| {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let memory = phone.memory(phone.trip("Alps").await, "Hut").await;
        phone.push_one(delete("Memory", memory, 1)).await;
        let trip = Uuid::new_v4();
        let new =
            create("Trip", trip, json!({ "name": "new", "startDate": "2026-01-01T00:00:00Z" })).1;
        let moved = update("Memory", memory, 1, json!({ "tripId": trip })).1;
        let pushed = tablet.push(json!({ "trips": [new], "memories": [moved] })).await;
        let verdicts: Vec<String> = pushed.verdicts().into_values().collect();
        assert_eq!(verdicts, ["conflict RESOLVED DELETION_CONFLICT FIELD_MERGE", "ok 1"]);
        let rows = tablet.fresh_rows().await;
        assert_eq!(rows[&("Memory".to_owned(), memory.to_string())]["tripId"], json!(trip));
    })
    .await;
}
