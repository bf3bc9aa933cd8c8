//! G6: a cursor that does not fit is its own error, never an empty "up to date".

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::both;
use crate::support::{App, Backend, Device, delete};

fn reason(answer: &Json) -> (&str, &str) {
    let error = &answer["errors"][0]["extensions"];
    (error["code"].as_str().unwrap_or_default(), error["reason"].as_str().unwrap_or_default())
}

both! {
    async fn g06_a_cursor_above_the_head_is_ahead(app: &App) {
        use sea_orm::ConnectionTrait;
        let mut phone = app.device_of("ada").await;
        phone.tag("Hut").await;
        phone.pull().await;
        // A backup from before: the database knows less than the device.
        for sql in ["UPDATE tag SET seq = 0, entered_seq = 0", "UPDATE scope SET head = 0"] {
            app.db().pool().execute_unprepared(sql).await.expect(sql);
        }
        let answer = phone.page(json!({ "cursor": phone.cursor })).await;
        assert_eq!(reason(&answer), ("RESYNC_REQUIRED", "AHEAD"));
        let push = phone.try_push(json!({}), json!({ "cursor": phone.cursor })).await;
        assert_eq!(reason(&push), ("RESYNC_REQUIRED", "AHEAD"), "before any write, too");
        for sql in ["UPDATE tag SET seq = 1, entered_seq = 1", "UPDATE scope SET head = 1 WHERE head = 0"] {
            app.db().pool().execute_unprepared(sql).await.expect(sql);
        }
    }

    async fn g06_another_users_cursor_is_theirs(app: &App) {
        let mut ada = app.device_of("ada").await;
        ada.pull().await;
        let bob = app.device_of("bob").await;
        let answer = bob.page(json!({ "cursor": ada.cursor })).await;
        assert_eq!(reason(&answer), ("RESYNC_REQUIRED", "OTHER_USER"));
    }

    async fn g06_another_filter_needs_another_cursor(app: &App) {
        let mut phone = app.device_of("ada").await;
        phone.pull_with(json!({ "size": 10, "priority": "HIGH" })).await;
        for filter in [
            json!({ "priority": "LOW" }),
            json!({ "priority": "HIGH", "types": ["Tag"] }),
        ] {
            let mut variables = filter;
            variables["cursor"] = json!(phone.cursor);
            let answer = phone.page(variables).await;
            assert_eq!(reason(&answer), ("RESYNC_REQUIRED", "FILTER_CHANGED"));
        }
        let same = json!({ "cursor": phone.cursor, "priority": "HIGH" });
        assert!(phone.page(same).await["errors"].is_null());
        let silent = json!({ "cursor": phone.cursor });
        assert!(phone.page(silent).await["errors"].is_null(), "the cursor remembers its filter");
    }

    async fn g06_what_is_no_cursor_is_invalid(app: &App) {
        let mut phone = app.device_of("ada").await;
        phone.pull().await;
        let mut flipped = phone.cursor.clone().expect("a cursor").into_bytes();
        flipped[30] = if flipped[30] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).expect("text");
        for cursor in ["", "nonsense", &flipped] {
            let answer = phone.page(json!({ "cursor": cursor })).await;
            assert_eq!(reason(&answer).0, "INVALID_CURSOR", "{cursor}");
        }
    }
}

/// Away for longer than deletions are remembered; and what the clean-up leaves behind.
async fn below_the_floor(backend: Backend) {
    let app = App::start(backend).await;
    let mut phone = app.device_of("ada").await;
    let mut tablet = Device::new(&app, "ada", phone.token.clone());
    let [kept, gone] = [phone.tag("Hut").await, phone.tag("Lodge").await];
    tablet.pull().await;
    assert_eq!(phone.push_one(delete("Tag", gone, 1)).await, "ok 2");
    phone.pull().await;
    // The clean-up removes what is older than the retention, so everything must be older first.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let removed = cairn::sync::gc::clean_up(app.db(), Duration::ZERO).await.expect("it cleans up");
    assert_eq!((removed.tombstones, removed.deletions), (1, 1));
    let answer = tablet.page(json!({ "cursor": tablet.cursor })).await;
    assert_eq!(reason(&answer), ("RESYNC_REQUIRED", "BELOW_FLOOR"));
    let again = cairn::sync::gc::clean_up(app.db(), Duration::ZERO).await.expect("it cleans up");
    assert_eq!((again.tombstones, again.deletions), (0, 0));
    // Who had heard of the deletion goes on; who starts over gets what is there.
    assert_eq!(phone.pull().await, 0);
    tablet.cursor = None;
    tablet.rows.clear();
    assert_eq!(tablet.pull().await, 1);
    assert!(tablet.row("Tag", kept).is_some());
    // G14: the id stays taken, though nothing is left of the row.
    let verdict =
        tablet.push_one(crate::support::create("Tag", gone, json!({ "name": "New" }))).await;
    assert_eq!(verdict, "conflict OPEN DELETION_CONFLICT");
    assert_eq!(tablet.push_one(delete("Tag", gone, 1)).await, "ok 2");
    app.finish_with(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g06_below_the_floor_sqlite() {
    below_the_floor(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g06_below_the_floor_postgres() {
    below_the_floor(Backend::Postgres).await;
}

/// After a backup was restored, the operator begins a new epoch.
async fn another_epoch(backend: Backend) {
    let mut app = App::start(backend).await;
    let cursor = {
        let mut phone = app.device_of("ada").await;
        phone.tag("Hut").await;
        phone.pull().await;
        (phone.token.clone(), phone.cursor.clone())
    };
    cairn::app::renew_epoch(app.db()).await.expect("a new epoch");
    app.restart().await;
    let mut phone = Device::new(&app, "ada", cursor.0);
    let answer = phone.page(json!({ "cursor": cursor.1 })).await;
    assert_eq!(reason(&answer), ("RESYNC_REQUIRED", "EPOCH"));
    assert_eq!(phone.pull().await, 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g06_another_epoch_sqlite() {
    another_epoch(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g06_another_epoch_postgres() {
    another_epoch(Backend::Postgres).await;
}
