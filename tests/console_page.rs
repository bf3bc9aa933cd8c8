//! The conflict inbox as a page: its languages, its looks, its headers.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use crate::support::browser::Look;
use crate::support::inbox::{
    collide, delete_what_is_edited, edit_what_is_deleted, finish, fits, inbox_as, log_in, lunch,
    lunch_in, started,
};
use crate::support::{App, Backend, Browser};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_speaks_german() {
    let app = started().await;
    let [phone, tablet] = app.two_devices_of("ada").await;
    let lunch = lunch(&phone, &tablet).await;
    let look = Look { languages: "de-DE,de,en", ..Look::default() };
    let browser = inbox_as(&app, "ada", look).await;
    assert_eq!(browser.run("return document.documentElement.lang").await, "de");
    browser.shows("Beide Seiten haben es geändert").await;
    lunch.open(&browser).await;
    browser.shows("Wähle für jedes Feld").await;
    browser.shows("Breite").await;
    browser.shows("43,75").await;
    browser.choose("#language", "en").await;
    browser.shows("Choose for each field").await;
    assert_eq!(browser.run("return document.documentElement.lang").await, "en");
    browser.reload().await;
    browser.shows("Choose for each field").await;
    finish(app, [browser]).await;
}

/// What axe-core finds of serious or critical violations.
async fn violations(browser: &Browser, place: &str) {
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm/axe-core/axe.min.js");
    let axe = std::fs::read_to_string(axe).expect("axe-core; scripts/test installs it");
    browser.run(&axe).await;
    let check = "const done = arguments[0];
        axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => done(violations
            .filter(({ impact }) => ['serious', 'critical'].includes(impact))
            .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`))),
            (error) => done([String(error)]))";
    let found = browser.run_until_called(check, json!([])).await;
    assert_eq!(found, json!([]), "{place}");
}

/// Puts a picture of the page's first part into docs/screenshots, if SCREENSHOTS is set.
async fn picture(browser: &Browser, name: &str) {
    if std::env::var_os("SCREENSHOTS").is_none() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screenshots");
    std::fs::create_dir_all(&folder).expect("a folder");
    let image = browser.screenshot().await;
    assert!(image.len() < 150_000, "{name}: {} bytes", image.len());
    std::fs::write(folder.join(name), image).expect("the picture is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_accessible_in_light_in_dark_and_on_a_phone() {
    let app = started().await;
    let [ada, bob] = [app.device_of("ada").await, app.device_of("bob").await];
    let [coast, mountains] =
        [ada.trip("Along the coast").await, ada.trip("Up the mountains").await];
    ada.share(coast, &bob, "EDITOR").await;
    ada.share(mountains, &bob, "EDITOR").await;
    let devices = [&ada, &bob];
    delete_what_is_edited(devices, mountains).await;
    edit_what_is_deleted(devices, mountains).await;
    let [hut, refuge] = [json!({ "title": "The hut" }), json!({ "title": "The refuge" })];
    let solved = collide(devices, mountains, hut, refuge).await;
    let lunch = lunch_in(coast, &ada, &bob).await;
    let browser = Browser::open().await;
    browser.go(&format!("{}/conflicts", app.url)).await;

    for place in ["login", "list", "detail", "writing", "resolved"] {
        match place {
            "login" => drop(browser.element("#email").await),
            "list" => {
                log_in(&browser, "ada", "correct horse").await;
                browser.until(&lunch.is_listed()).await;
            }
            "detail" => {
                lunch.open(&browser).await;
                browser.click("#unit-title-server").await;
            }
            "writing" => {
                browser.click("#unit-content-own").await;
                browser.click("#history summary").await;
                browser.element("#history li").await;
                browser
                    .run("document.querySelectorAll('details').forEach((part) => part.open = true)")
                    .await;
            }
            _ => {
                browser.go(&format!("{}/conflicts#/conflict/{}", app.url, solved.conflict)).await;
                browser.click("#unit-title-device").await;
                browser.click("#save").await;
                browser.element("#undo").await;
            }
        }
        for (look, is_dark, is_phone) in
            [("light", false, false), ("dark", true, false), ("phone", false, true)]
        {
            browser.dark(is_dark).await;
            browser.phone(is_phone).await;
            violations(&browser, &format!("{place}, {look}")).await;
            if is_phone {
                fits(&browser).await;
            }
            browser.run("scrollTo(0, 0)").await;
            match (place, look) {
                ("list", "light") => picture(&browser, "list.png").await,
                ("detail", "light") => picture(&browser, "detail.png").await,
                ("detail", "dark") => picture(&browser, "dark.png").await,
                ("list", "phone") => picture(&browser, "phone-list.png").await,
                ("detail", "phone") => {
                    browser.run("document.querySelector('.unit').scrollIntoView()").await;
                    picture(&browser, "phone.png").await;
                }
                ("resolved", "light") => picture(&browser, "resolved.png").await,
                _ => {}
            }
        }
        browser.dark(false).await;
        browser.phone(false).await;
    }
    finish(app, [browser]).await;
}

#[tokio::test]
async fn the_page_may_load_nothing_but_its_own_files_and_all_of_them_are_there() {
    let app = started().await;
    let mut files: BTreeSet<String> = ["".into(), "/kinds.json".into()].into();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
    for place in ["", "text/"] {
        for entry in std::fs::read_dir(folder.join(place)).expect("a folder").flatten() {
            if entry.path().is_file() {
                files.insert(format!("/{place}{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        let url = format!("{}/conflicts{file}", app.url);
        let answer = app.client.get(&url).send().await.expect("the server answers");
        assert_eq!(answer.status(), 200, "{file}");
        let header = |name: &str| {
            let value = answer.headers().get(name).unwrap_or_else(|| panic!("{file}: no {name}"));
            value.to_str().expect("text").to_owned()
        };
        let policy = header("content-security-policy");
        let directives: BTreeSet<&str> = policy.split("; ").collect();
        let strict = [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ];
        assert_eq!(directives, strict.into(), "{file}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-cache");
        let etag = header("etag");
        let text = answer.text().await.expect("text");
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(sink), "{file}: {sink}");
        }
        for (known, status) in [(etag.as_str(), 304), ("\"x\", *", 304), ("W/\"x\"", 200)] {
            let again = app.client.get(&url).header("if-none-match", known).send().await;
            assert_eq!(again.expect("the server answers").status(), status, "{file} {known}");
        }
    }
    let missing = app.client.get(format!("{}/conflicts/x.js", app.url)).send().await;
    assert_eq!(missing.expect("the server answers").status(), 404);
    app.finish().await;
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let app = App::start_with(Backend::Sqlite, &["--console", "false"]).await;
    for path in ["/conflicts", "/conflicts/main.js"] {
        let answer = app.client.get(format!("{}{path}", app.url)).send().await;
        assert_eq!(answer.expect("the server answers").status(), 404);
    }
    app.finish().await;
}
