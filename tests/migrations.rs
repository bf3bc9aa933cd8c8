//! A database of an older version is brought up to date with what is in it, and back.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use uuid::Uuid;

use crate::support::{App, Backend, TestDatabase, create};

async fn numbers(app: &App, sql: &str) -> i64 {
    let backend = app.db().pool().get_database_backend();
    let row = app.db().pool().query_one_raw(Statement::from_string(backend, sql)).await;
    row.expect("it is read").expect("a row").try_get_by_index(0).expect("a number")
}

/// Rows that name files and carry tags, in a database that knows no files yet.
async fn an_older_database_goes_on(backend: Backend) {
    let app = App::on(TestDatabase::create(backend).await, &[]).await;
    let ada = app.device_of("ada").await;
    let [trip, tag] = [ada.trip("Alps").await, ada.tag("Hut").await];
    let [memory, photo, track] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    let fields = json!({ "tripId": trip, "title": "Hut", "tagIds": [tag] });
    assert_eq!(ada.push_one(create("Memory", memory, fields)).await, "ok 1");
    let fields = json!({ "memoryId": memory, "objectName": "hut.jpg", "mimeType": "image/jpeg",
        "thumbnailObjectName": "small.jpg", "fileSize": 3 });
    assert_eq!(ada.push_one(create("MediaItem", photo, fields)).await, "ok 1");
    let fields = json!({ "tripId": trip, "name": "Up", "gpxFileObjectName": "up.gpx" });
    assert_eq!(ada.push_one(create("GPXTrack", track, fields)).await, "ok 1");

    Migrator::down(app.db().pool(), Some(1)).await.expect("a step back");
    assert_eq!(numbers(&app, "SELECT count(*) FROM link").await, 1);
    Migrator::up(app.db().pool(), None).await.expect("and forward again");
    assert_eq!(numbers(&app, "SELECT count(*) FROM link WHERE kind = 'Memory'").await, 1);
    let named = "SELECT count(*) FROM attachment WHERE (field = 'objectName' AND name = 'hut.jpg') \
        OR (field = 'thumbnailObjectName' AND name = 'small.jpg') \
        OR (field = 'gpxFileObjectName' AND name = 'up.gpx')";
    assert_eq!(numbers(&app, named).await, 3);

    // The bytes of a row from before can come now.
    let query = "mutation($requests: [UploadRequest!]!) {
        generateBatchUploadUrls(uploadRequests: $requests) { uploadUrls { uploadUrl } } }";
    let request = json!({ "entityId": photo, "entityType": "MediaItem", "objectName": "hut.jpg",
        "mimeType": "image/jpeg" });
    let answer = ada.ask(query, json!({ "requests": [request] })).await;
    let url = answer["data"]["generateBatchUploadUrls"]["uploadUrls"][0]["uploadUrl"].clone();
    let put = app.client.put(url.as_str().expect("a URL")).header("Content-Type", "image/jpeg");
    assert!(put.body("abc").send().await.expect("an answer").status().is_success());
    let complete = "mutation($id: ID!) { markFileUploadComplete(
        entityId: $id, entityType: \"MediaItem\", objectName: \"hut.jpg\") }";
    let answer = ada.ask(complete, json!({ "id": photo })).await;
    assert_eq!(answer["data"]["markFileUploadComplete"], true, "{answer}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_goes_on_sqlite() {
    an_older_database_goes_on(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_goes_on_postgres() {
    an_older_database_goes_on(Backend::Postgres).await;
}
