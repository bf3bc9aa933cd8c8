//! The conflict inbox at `/conflicts`, in a real browser.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::browser::{DOWN, ENTER, SPACE};
use crate::support::inbox::{
    add_to_what_is_deleted, collide, delete_what_is_edited, edit_what_is_deleted, finish, fits,
    inbox_of, log_in, lunch, row, started, title,
};
use crate::support::{Browser, create, update};

both! {
    async fn a_conflict_is_decided_field_by_field_and_vanishes_elsewhere(app: &App) {
        let [phone, tablet] = app.two_devices_of("ada").await;
        let browser = inbox_of(app, "ada").await;
        let elsewhere = inbox_of(app, "ada").await;
        browser.shows("Nothing to decide").await;
        // It arrives by itself.
        let lunch = lunch(&phone, &tablet).await;
        browser.until(&lunch.is_listed()).await;
        elsewhere.until(&lunch.is_listed()).await;
        browser.shows("Late lunch by the river").await;
        browser.shows("Both sides changed it").await;
        browser.until("return document.title.startsWith('(1)')").await;
        lunch.open(&browser).await;

        // Both sides, with what differs marked inside the text.
        let marks = |side: &str, mark: &str| {
            format!("return [...document.querySelectorAll('#unit-content .{side} {mark}')].map((m) => m.textContent.trim()).join('|')")
        };
        assert_eq!(browser.run(&marks("server", "ins")).await, "wide|a late");
        assert_eq!(browser.run(&marks("device", "del")).await, "lunch|warm");
        // Nothing is decided for anybody, but what nobody contests.
        let chosen = "return [...document.querySelectorAll('fieldset input:checked')].map((i) => i.id).join()";
        assert_eq!(browser.run(chosen).await, "unit-place-device");
        browser.click("#save").await;
        browser.shows("2 fields are still to be decided").await;
        assert_eq!(browser.run("return document.activeElement.name").await, "unit-title");

        browser.click("#unit-title-device").await;
        browser.click("#unit-content-own").await;
        browser.write("#unit-content-content", "We ate by the river.").await;
        browser.click("#save").await;
        browser.shows("Resolved").await;
        browser.shows("Decided by hand").await;
        elsewhere.until(&lunch.is_gone()).await;
        elsewhere.shows("Nothing to decide").await;

        let row = row(&phone, "Memory", lunch.row).await.expect("the memory");
        assert_eq!(row["title"], "Lunch at the old bridge");
        assert_eq!(row["content"], "We ate by the river.");
        assert_eq!((&row["latitude"], &row["longitude"]), (&json!(43.75), &json!(5.5)));
        assert_eq!(row["address"], "Quai 12", "what only the server changed stays");
        assert_eq!(row["syncStatus"], "IN_SYNC");

        // What came out, and the way back.
        browser.click("#undo").await;
        browser.shows("The conflict is open again").await;
        elsewhere.until(&lunch.is_listed()).await;
        assert_eq!(title(&phone, lunch.row).await, "Late lunch by the river");
        browser.click("#undone summary").await;
        browser.shows("undone by").await;
        browser.click("#history summary").await;
        browser.shows("Version 2").await;
        for browser in [browser, elsewhere] {
            assert_eq!(browser.complaints().await, Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_with_the_keyboard_alone() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let lunch = lunch(&phone, &tablet).await;
    let browser = Browser::open().await;
    browser.go(&format!("{}/conflicts", app.url)).await;
    browser.until("return document.activeElement.id === 'email'").await;
    let address: Vec<String> = "ada@example.org".chars().map(String::from).collect();
    browser.press(&address.iter().map(String::as_str).collect::<Vec<_>>()).await;
    browser.tab_to("#password").await;
    let password: Vec<String> = "correct horse".chars().map(String::from).collect();
    browser.press(&password.iter().map(String::as_str).collect::<Vec<_>>()).await;
    browser.press(&[ENTER]).await;
    // The new view has the focus at its heading.
    browser.until("return document.activeElement.matches('h1')").await;
    // The first stop of the page leads past its frame.
    browser.run("document.activeElement.blur()").await;
    browser.tab_to("#skip").await;
    browser.press(&[ENTER]).await;
    browser.until("return document.activeElement.id === 'main'").await;
    browser.tab_to(&format!("#open-{}", lunch.conflict)).await;
    browser.press(&[ENTER]).await;
    browser.until("return document.activeElement.matches('.row-title')").await;
    browser.tab_to("#unit-title-server").await;
    browser.press(&[SPACE, DOWN]).await;
    browser.until("return document.activeElement.id === 'unit-title-device'").await;
    browser.tab_to("#unit-content-server").await;
    browser.press(&[SPACE]).await;
    browser.tab_to("#save").await;
    browser.press(&[ENTER]).await;
    browser.shows("Decided by hand").await;
    browser.until("return document.activeElement.matches('h1')").await;
    let said = browser.run("return document.getElementById('announcements').textContent").await;
    assert_eq!(said, "Saved.");
    assert_eq!(title(&phone, lunch.row).await, "Lunch at the old bridge");
    browser.tab_to("#undo").await;
    browser.press(&[SPACE]).await;
    browser.shows("The conflict is open again").await;
    browser.tab_to("#log-out").await;
    browser.press(&[ENTER]).await;
    browser.shows("You are logged out").await;
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_texts_are_texts() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let trip = phone.trip("<b>Alps</b>\u{202E}").await;
    let markup = "<script>window.evil = 1</script><img src=x onerror=\"window.evil = 2\">";
    let mirrored = "\u{202E}gnp.exe \u{2067}\u{2066}";
    let long = "long ".repeat(4_000);
    let many = "x".repeat(10_000);
    let mut found = Vec::new();
    for (ours, theirs) in [
        (json!({ "title": markup }), json!({ "title": "y" })),
        (json!({ "title": "y" }), json!({ "title": mirrored, "content": markup })),
        (
            json!({ "title": "W".repeat(255), "content": many }),
            json!({ "title": mirrored, "content": long }),
        ),
    ] {
        found.push(collide([&phone, &tablet], trip, ours, theirs).await);
    }
    let browser = inbox_of(&app, "ada").await;
    browser.phone(true).await;
    for collision in &found {
        browser.until(&collision.is_listed()).await;
        fits(&browser).await;
        collision.open(&browser).await;
        fits(&browser).await;
        // Direction ends where the text ends.
        let isolated = "return [...document.querySelectorAll('.value, bdi')]
            .every((e) => getComputedStyle(e).unicodeBidi.includes('isolate'))";
        assert_eq!(browser.run(isolated).await, true);
        browser.click(".back").await;
    }
    browser.until(&found[0].is_listed()).await;
    browser.shows(markup).await;
    assert_eq!(browser.run("return window.evil ?? null").await, json!(null));
    assert_eq!(
        browser.run("return document.querySelectorAll('main script, main img').length").await,
        0
    );
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_can_be_kept() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let lunch = lunch(&phone, &tablet).await;
    let browser = inbox_of(&app, "ada").await;
    lunch.open(&browser).await;
    browser.click("#keep-both").await;
    browser.shows("A copy was made").await;
    assert_eq!(title(&phone, lunch.row).await, "Late lunch by the river");
    let rows = phone.fresh_rows().await;
    let is_copy = |row: &Json| {
        let title = row["title"].as_str().unwrap_or_default();
        title.starts_with("Lunch at the old bridge (conflicting copy")
    };
    let copy = rows.values().find(|row| is_copy(row)).unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!(copy["latitude"], 43.75);
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_side_deleted_is_deleted_or_restored() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let trip = phone.trip("Alps").await;
    let devices = [&phone, &tablet];
    let browser = inbox_of(&app, "ada").await;
    let cases = [
        (false, "#restore", "Dinner"),
        (false, "#leave-deleted", ""),
        (true, "#keep", "Dinner"),
        (true, "#delete", ""),
    ];
    for (by_device, button, expected) in cases {
        let collision = match by_device {
            true => delete_what_is_edited(devices, trip).await,
            false => edit_what_is_deleted(devices, trip).await,
        };
        browser.until(&collision.is_listed()).await;
        collision.open(&browser).await;
        browser.shows("Deleted").await;
        if button == "#restore" {
            browser.click("#unit-title-device").await;
        }
        browser.click(button).await;
        browser.shows("Came out").await;
        let expected = if expected.is_empty() { json!(null) } else { json!(expected) };
        assert_eq!(title(&phone, collision.row).await, expected, "{button}");
        browser.click(".back").await;
    }
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lost_its_parent_is_restored_with_it_or_dropped() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let browser = inbox_of(&app, "ada").await;
    for (button, expected) in [("#restore-parent", json!("Lunch")), ("#drop", json!(null))] {
        let (trip, collision) = add_to_what_is_deleted([&phone, &tablet]).await;
        browser.until(&collision.is_listed()).await;
        collision.open(&browser).await;
        browser.click(button).await;
        browser.element("#undo").await;
        assert_eq!(title(&phone, collision.row).await, expected);
        assert_eq!(row(&phone, "Trip", trip).await.is_some(), !expected.is_null());
        browser.click(".back").await;
    }
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_decided_at_once_and_undone() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let trip = phone.trip("Alps").await;
    let mut found = Vec::new();
    for name in ["a", "b", "c"] {
        let ours = json!({ "title": format!("{name} server") });
        let theirs = json!({ "title": format!("{name} device") });
        found.push(collide([&phone, &tablet], trip, ours, theirs).await);
    }
    let browser = inbox_of(&app, "ada").await;
    for collision in &found[..2] {
        browser.click(&format!("#select-{}", collision.conflict)).await;
    }
    browser.shows("2 selected").await;
    browser.choose("#bulk-how", "FIRST_WRITE_WINS").await;
    browser.click("#bulk-submit").await;
    browser.shows("2 conflicts resolved").await;
    browser.until(&found[0].is_gone()).await;
    browser.until(&found[1].is_gone()).await;
    assert_eq!(browser.run(&found[2].is_listed()).await, true);
    assert_eq!(title(&phone, found[0].row).await, "a server");
    browser.click("#bulk-undo").await;
    for collision in &found {
        browser.until(&collision.is_listed()).await;
    }
    browser.click("#select-all").await;
    browser.choose("#bulk-how", "LAST_WRITE_WINS").await;
    browser.click("#bulk-submit").await;
    browser.shows("Nothing to decide").await;
    browser.click("#status-RESOLVED").await;
    for collision in &found {
        browser.until(&collision.is_listed()).await;
    }
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_has_pages_and_filters() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let lunch = lunch(&phone, &tablet).await;
    let ids: Vec<Uuid> = (0..70).map(|_| Uuid::new_v4()).collect();
    let batch = |make: &dyn Fn(usize, Uuid) -> Json| json!({ "tags": ids.iter().enumerate().map(|(at, id)| make(at, *id)).collect::<Vec<_>>() });
    let name = |at: usize| json!({ "name": format!("tag {at:02}") });
    phone.push(batch(&|at, id| create("Tag", id, name(at)).1)).await;
    phone
        .push(batch(&|at, id| update("Tag", id, 1, json!({ "name": format!("server {at}") })).1))
        .await;
    tablet
        .push(batch(&|at, id| update("Tag", id, 1, json!({ "name": format!("device {at}") })).1))
        .await;
    let browser = inbox_of(&app, "ada").await;
    browser.shows("71 conflicts").await;
    let count = "return document.querySelectorAll('.conflict').length";
    assert_eq!(browser.run(count).await, 50);
    browser.click("#more").await;
    browser.until("return document.querySelectorAll('.conflict').length === 71").await;
    browser.until("return document.activeElement.matches('.conflict:nth-child(51) a')").await;
    assert_eq!(browser.run("return document.getElementById('more')").await, json!(null));
    browser.choose("#filter-kind", "Memory").await;
    browser.shows("1 conflict").await;
    assert_eq!(browser.run(&lunch.is_listed()).await, true);
    browser.click("#status-RESOLVED").await;
    browser.shows("Nothing matches").await;
    browser.click("#reset").await;
    browser.shows("71 conflicts").await;
    browser.choose("#filter-device", &phone.id.to_string()).await;
    browser.shows("Nothing matches").await;
    // The address says what is shown: it can be kept, and gone back from.
    browser.reload().await;
    browser.shows("Nothing matches").await;
    browser.run("history.back()").await;
    browser.shows("71 conflicts").await;
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_too_late_sees_what_came_out() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let first = lunch(&phone, &tablet).await;
    let resolve = "mutation($id: ID!) {
        resolveConflict(conflictId: $id, strategy: FIRST_WRITE_WINS) { conflictId } }";
    let browser = inbox_of(&app, "ada").await;
    // Before the page has noticed: it cannot ask, until the button is pressed.
    first.open(&browser).await;
    browser
        .run("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
        .await;
    let answer = phone.ask(resolve, json!({ "id": first.conflict })).await;
    assert!(answer["errors"].is_null(), "{answer}");
    browser.click("#all-device").await;
    browser.click("#save").await;
    browser.shows("Somebody else was quicker").await;
    browser.shows("Server’s side kept").await;
    browser.element("#undo").await;
    browser.run("delete document.hidden").await;
    browser.click(".back").await;

    // After: the page says so by itself.
    let second = lunch(&phone, &tablet).await;
    browser.until(&second.is_listed()).await;
    second.open(&browser).await;
    phone.ask(resolve, json!({ "id": second.conflict })).await;
    browser.shows("Somebody else was quicker").await;
    browser.click(".back").await;

    // The row has moved on: what the person chose is kept where it still says the same.
    let third = lunch(&phone, &tablet).await;
    browser.until(&third.is_listed()).await;
    third.open(&browser).await;
    browser.click("#unit-title-device").await;
    browser.click("#unit-content-server").await;
    phone.push_one(update("Memory", third.row, 2, json!({ "title": "Brunch" }))).await;
    browser.shows("This was changed meanwhile").await;
    browser.shows("Brunch").await;
    let chosen =
        "return [...document.querySelectorAll('fieldset input:checked')].map((i) => i.id).join()";
    assert_eq!(browser.run(chosen).await, "unit-content-server,unit-place-device");

    // It moved on again, and the page cannot know when the button is pressed: nothing is written.
    let hidden = "Object.defineProperty(document, 'hidden', { value: true, configurable: true })";
    browser.run(hidden).await;
    browser.click("#unit-title-device").await;
    phone.push_one(update("Memory", third.row, 3, json!({ "title": "Breakfast" }))).await;
    browser.click("#save").await;
    browser.shows("Breakfast").await;
    browser.shows("This was changed meanwhile").await;
    assert_eq!(title(&phone, third.row).await, "Breakfast");
    browser.click("#unit-title-device").await;
    browser.click("#save").await;
    browser.element("#undo").await;
    assert_eq!(title(&phone, third.row).await, "Lunch at the old bridge");
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_the_server_refuses_is_said_at_its_field() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let trip = phone.trip("Alps").await;
    let dates = |end: &str| json!({ "endDate": end });
    phone.push_one(update("Trip", trip, 1, dates("2026-02-01T00:00:00Z"))).await;
    let answer = tablet.push_one(update("Trip", trip, 1, dates("2026-03-01T00:00:00Z"))).await;
    assert_eq!(answer, "conflict OPEN VERSION_MISMATCH");
    let browser = inbox_of(&app, "ada").await;
    browser.click(".conflict a").await;
    browser.click("#unit-dates-own").await;
    let end = "document.getElementById('unit-dates-endDate')";
    browser.run(&format!("{end}.value = '2025-01-01T00:00:00'")).await;
    browser.click("#save").await;
    browser.until("return document.getElementById('unit-dates-error').textContent.includes('must not be before')").await;
    browser.run(&format!("{end}.value = '2026-04-01T00:00:00'")).await;
    browser.click("#save").await;
    browser.element("#undo").await;
    let row = row(&phone, "Trip", trip).await.expect("the trip");
    assert!(row["endDate"].as_str().expect("a time").starts_with("2026-0"), "{row}");
    finish(app, [browser]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_what_to_do_when_something_is_wrong() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let lunch = lunch(&phone, &tablet).await;
    let browser = Browser::open().await;
    browser.go(&format!("{}/conflicts", app.url)).await;
    log_in(&browser, "ada", "wrong horse").await;
    browser.shows("The email address or the password is wrong").await;
    assert_eq!(browser.run("return document.activeElement.id").await, "password");
    log_in(&browser, "ada", "correct horse").await;
    lunch.open(&browser).await;
    assert!(!browser.url().await.contains("ey"), "no token in the address");
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    browser.offline(true).await;
    browser.shows("No connection to the server").await;
    browser.click("#all-device").await;
    browser.click("#save").await;
    browser.shows("The server cannot be reached").await;
    browser.offline(false).await;
    browser.hides("No connection to the server").await;
    // What the browser itself says of requests without a network.
    assert!(
        browser.complaints().await.iter().all(|line| line.contains("ERR_INTERNET_DISCONNECTED"))
    );

    // The choice is still there.
    let chosen = "return document.getElementById('unit-title-device').checked";
    assert_eq!(browser.run(chosen).await, true);
    // A session that has ended leads back to where one was.
    phone.ask("mutation { logout(everywhere: true) }", json!({})).await;
    browser.shows("Your session has ended").await;
    log_in(&browser, "ada", "correct horse").await;
    browser.shows("Choose for each field").await;

    browser.go(&format!("{}/conflicts#/conflict/{}", app.url, Uuid::new_v4())).await;
    browser.shows("There is no such conflict").await;
    browser.go(&format!("{}/conflicts#/conflict/x", app.url)).await;
    browser.shows("That did not work").await;
    finish(app, [browser]).await;
}
