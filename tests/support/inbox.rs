//! The conflict inbox as people use it, and conflicts for them to decide.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::browser::{Browser, Look};
use super::{App, Backend, Device, create, delete, update};

/// A browser in which someone has logged in, with the open conflicts in front of them.
pub async fn inbox_of(app: &App, name: &str) -> Browser {
    inbox_as(app, name, Look::default()).await
}

pub async fn inbox_as(app: &App, name: &str, look: Look<'_>) -> Browser {
    let browser = Browser::open_as(look).await;
    browser.go(&format!("{}/conflicts", app.url)).await;
    log_in(&browser, name, "correct horse").await;
    browser.element("#status-OPEN").await;
    browser
}

/// Fills in the form and sends it.
pub async fn log_in(browser: &Browser, name: &str, password: &str) {
    browser.write("#email", &format!("{name}@example.org")).await;
    browser.write("#password", password).await;
    browser.click("#login-submit").await;
}

/// A row with an open conflict.
pub struct Collision {
    pub row: Uuid,
    pub conflict: String,
}

impl Collision {
    /// Opens it from the list.
    pub async fn open(&self, browser: &Browser) {
        browser.click(&format!("#open-{}", self.conflict)).await;
        browser.until("return location.hash.startsWith('#/conflict/')").await;
        browser.element("#history").await;
    }

    /// Whether the list shows it, as a condition to wait for.
    pub fn is_listed(&self) -> String {
        format!("return document.getElementById('open-{}') !== null", self.conflict)
    }

    pub fn is_gone(&self) -> String {
        format!(
            "return document.querySelector('.filters') && document.getElementById('open-{}') === null",
            self.conflict
        )
    }
}

/// What a device's only item conflicted with.
async fn conflict_of(device: &Device<'_>, (list, item): (&str, Json)) -> String {
    let answer = device.push(json!({ list: [item] })).await;
    assert!(answer.verdict().starts_with("conflict OPEN"), "{answer:?}");
    answer.conflicts[0]["id"].as_str().expect("an id").to_owned()
}

/// A memory of a trip that one device edits, and another, which has not seen that.
pub async fn collide(
    [one, other]: [&Device<'_>; 2],
    trip: Uuid,
    ours: Json,
    theirs: Json,
) -> Collision {
    let row = Uuid::new_v4();
    let fields = json!({
        "tripId": trip,
        "title": "Lunch",
        "content": "We sat down by the river and had lunch. It was warm, and nobody wanted to go on.",
        "latitude": 43.5,
        "longitude": 5.25,
    });
    assert_eq!(one.push_one(create("Memory", row, fields)).await, "ok 1");
    assert_eq!(one.push_one(update("Memory", row, 1, ours)).await, "ok 2");
    Collision { row, conflict: conflict_of(other, update("Memory", row, 1, theirs)).await }
}

/// A memory that one device deletes, while another, which has not seen that, edits it.
pub async fn edit_what_is_deleted([one, other]: [&Device<'_>; 2], trip: Uuid) -> Collision {
    let row = one.memory(trip, "Lunch").await;
    one.push_one(delete("Memory", row, 1)).await;
    let edit = update("Memory", row, 1, json!({ "title": "Dinner" }));
    Collision { row, conflict: conflict_of(other, edit).await }
}

/// A memory that one device edits, while another, which has not seen that, deletes it.
pub async fn delete_what_is_edited([one, other]: [&Device<'_>; 2], trip: Uuid) -> Collision {
    let row = one.memory(trip, "Lunch").await;
    one.push_one(update("Memory", row, 1, json!({ "title": "Dinner" }))).await;
    Collision { row, conflict: conflict_of(other, delete("Memory", row, 1)).await }
}

/// A memory that a device adds to a trip that is deleted.
pub async fn add_to_what_is_deleted([one, other]: [&Device<'_>; 2]) -> (Uuid, Collision) {
    let trip = one.trip("Alps").await;
    one.push_one(delete("Trip", trip, 1)).await;
    let row = Uuid::new_v4();
    let add = create("Memory", row, json!({ "tripId": trip, "title": "Lunch" }));
    (trip, Collision { row, conflict: conflict_of(other, add).await })
}

pub async fn started() -> App {
    App::start(Backend::Sqlite).await
}

/// A row as a new device of the account gets it.
pub async fn row(device: &Device<'_>, kind: &str, id: Uuid) -> Option<Json> {
    device.fresh_rows().await.remove(&(kind.to_owned(), id.to_string()))
}

pub async fn title(device: &Device<'_>, id: Uuid) -> Json {
    row(device, "Memory", id).await.map_or(json!(null), |row| row["title"].clone())
}

/// Both devices of an account changed a memory, its title not alone.
pub async fn lunch(phone: &Device<'_>, tablet: &Device<'_>) -> Collision {
    let trip = phone.trip("Along the coast").await;
    lunch_in(trip, phone, tablet).await
}

pub async fn lunch_in(trip: Uuid, phone: &Device<'_>, tablet: &Device<'_>) -> Collision {
    let ours = json!({
        "title": "Late lunch by the river",
        "content": "We sat down by the wide river and had a late lunch. It was warm, and nobody wanted to go on.",
        "address": "Quai 12",
    });
    let theirs = json!({
        "title": "Lunch at the old bridge",
        "content": "We sat down by the river and ate what we had bought. It was hot, and nobody wanted to go on.",
        "latitude": 43.75,
        "longitude": 5.5,
    });
    collide([phone, tablet], trip, ours, theirs).await
}

/// The page complains about nothing in the browser's console.
pub async fn finish(app: App, browsers: impl IntoIterator<Item = Browser>) {
    for browser in browsers {
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }
    app.finish().await;
}

/// Nothing is wider than the screen, and what is touched is large enough.
pub async fn fits(browser: &Browser) {
    let widths = browser.run("return [document.documentElement.scrollWidth, innerWidth]").await;
    assert_eq!(widths[0], widths[1], "it scrolls sideways");
    let small = "return [...document.querySelectorAll('button, select, a.button, a.back, .product, summary, input, textarea')]
        .filter((e) => e.checkVisibility())
        .map((e) => e.closest('label') ?? (e.matches('[type=radio]') ? e.parentElement : e))
        .filter((e) => e.getBoundingClientRect().height < 44)
        .map((e) => e.outerHTML)";
    assert_eq!(browser.run(small).await, json!([]), "too small to be touched");
}
