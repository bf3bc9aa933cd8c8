//! G17: what is answered whole, without pages, is read in portions, and refused where it is more than
//! the server would hold.

use cairn::gpx::{Point, encode_points};
use entity::track_segment;
use sea_orm::{EntityTrait, IntoActiveModel};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Backend, Device, create};

/// The code of the error, or none.
fn code(answer: &Json) -> Option<&str> {
    answer["errors"][0]["extensions"]["code"].as_str()
}

/// Trips, and memories in turn in each of them.
async fn trips_and_memories(device: &Device<'_>, trips: usize, memories: usize) -> Vec<Uuid> {
    let ids: Vec<Uuid> = (0..trips).map(|_| Uuid::new_v4()).collect();
    let way = json!({ "name": "Way", "startDate": "2026-01-01T00:00:00.000Z" });
    let trip = |id: &Uuid| create("Trip", *id, way.clone()).1;
    let trips: Vec<Json> = ids.iter().map(trip).collect();
    let fields = |at: usize| json!({ "tripId": ids[at % ids.len()], "title": format!("Hut {at}") });
    let memory = |at: usize| create("Memory", Uuid::new_v4(), fields(at)).1;
    let batch =
        json!({ "trips": trips, "memories": (0..memories).map(memory).collect::<Vec<_>>() });
    assert_eq!(device.push(batch).await.successful.len(), ids.len() + memories);
    ids
}

/// The different titles in a list of memories, which has each once.
fn titles(memories: &Json) -> usize {
    let memories = memories.as_array().unwrap_or_else(|| panic!("{memories}"));
    let mut titles: Vec<&str> = memories.iter().filter_map(|row| row["title"].as_str()).collect();
    titles.sort_unstable();
    titles.dedup();
    assert_eq!(titles.len(), memories.len(), "a row comes twice");
    titles.len()
}

const SYNC: &str = "{ sync(lastSyncedAt: \"0001-01-01T00:00:00.000Z\") {
    trips { id } memories { title } tags { id } } }";

both! {
    async fn g17_a_list_is_whole_though_it_is_read_in_portions(app: &App) {
        let ada = app.device_of("ada").await;
        // More memories than a portion has, in more scopes than one statement begins with; one of
        // them has more than a portion to itself.
        let trips = trips_and_memories(&ada, 140, 700).await;
        let fields = |at: usize| json!({ "tripId": trips[7], "title": format!("Inn {at}") });
        let inn = |at: usize| create("Memory", Uuid::new_v4(), fields(at)).1;
        ada.push(json!({ "memories": (0..1_100).map(inn).collect::<Vec<_>>() })).await;
        let bob = app.device_of("bob").await;
        trips_and_memories(&bob, 3, 5).await;

        let query = "query($trip: ID) { trips { id } memories { title } of: memories(tripId: $trip) { title }
            search: searchMemories(query: \"inn\") { title } }";
        let answer = ada.ask(query, json!({ "trip": trips[7] })).await;
        let data = &answer["data"];
        assert_eq!(data["trips"].as_array().map(Vec::len), Some(140), "{}", answer["errors"]);
        assert_eq!(titles(&data["memories"]), 1_800);
        assert_eq!(titles(&data["of"]), 1_105);
        assert_eq!(titles(&data["search"]), 1_100);

        let answer = ada.ask(SYNC, json!({})).await;
        let changes = &answer["data"]["sync"];
        assert_eq!(changes["trips"].as_array().map(Vec::len), Some(140), "{}", answer["errors"]);
        assert_eq!(titles(&changes["memories"]), 1_800);
    }

    async fn g17_more_text_than_is_held_is_refused(app: &App) {
        let ada = app.device_of("ada").await;
        trips_and_memories(&ada, 1, 3).await;
        let mebibytes = |n: usize| match app.database.backend {
            Backend::Sqlite => format!("UPDATE memory SET content = hex(zeroblob({n} * 524288))"),
            Backend::Postgres => format!("UPDATE memory SET content = repeat('x', {n} * 1048576)"),
        };
        let list = "{ memories { title } }";
        for (each, expected) in [(21, None), (22, Some("LIMIT"))] {
            app.execute(&mebibytes(each)).await;
            for query in [list, SYNC] {
                let answer = ada.ask(query, json!({})).await;
                assert_eq!(code(&answer), expected, "{each} MiB each: {}", answer["errors"]);
            }
        }
        let page = "{ enhancedSync(batchSize: 2) { memories { title } hasMore } }";
        assert_eq!(ada.ask(page, json!({})).await["data"]["enhancedSync"]["hasMore"], true);
        app.execute("UPDATE memory SET content = NULL").await;
        assert_eq!(titles(&ada.ask(list, json!({})).await["data"]["memories"]), 3);
    }

    async fn g17_points_are_counted_before_they_are_read(app: &App) {
        let ada = app.device_of("ada").await;
        let trip = ada.trip("Alps").await;
        for name in ["up", "down"] {
            let track = Uuid::new_v4();
            let fields = json!({ "tripId": trip, "name": name, "gpxFileObjectName": "way.gpx" });
            ada.push_one(create("GPXTrack", track, fields)).await;
            segment(app, track, "way.gpx", 3).await;
        }
        let with = "query($trip: ID!) { gpxTracksByTrip(tripId: $trip) {
            segments { distance ...P } } } fragment P on TrackSegment { p: points { latitude } }";
        let of_trip = "query($trip: ID!) { trip(id: $trip) { trackSegments { points { id } } } }";
        let without = "query($trip: ID!) { gpxTracksByTrip(tripId: $trip) {
            segments { distance originalPointCount } } }";
        let variables = json!({ "trip": trip });
        let answer = ada.ask(with, variables.clone()).await;
        let tracks = &answer["data"]["gpxTracksByTrip"];
        for at in [0, 1] {
            let segment = &tracks[at]["segments"][0];
            assert_eq!((&segment["distance"], segment["p"].as_array().map(Vec::len)), (&json!(9.5), Some(3)));
        }

        let most = cairn::config::limits::POINTS;
        for (each, expected) in [(most / 2, None), (most / 2 + 1, Some("LIMIT"))] {
            app.execute(&format!("UPDATE track_segment SET point_count = {each}")).await;
            for query in [with, of_trip] {
                let answer = ada.ask(query, variables.clone()).await;
                assert_eq!(code(&answer), expected, "{each} points each: {answer}");
            }
            let answer = ada.ask(without, variables.clone()).await;
            let segment = &answer["data"]["gpxTracksByTrip"][1]["segments"][0];
            assert_eq!(*segment, json!({ "distance": 9.5, "originalPointCount": each }));
        }
    }
}

/// A segment as if it had been read from a track's file.
pub async fn segment(app: &App, track: Uuid, file: &str, points: usize) {
    let point = |at: usize| Point {
        latitude: 47.0 + at as f64,
        longitude: 8.0,
        altitude: None,
        speed: None,
        time: None,
    };
    let points: Vec<Point> = (0..points).map(point).collect();
    let model = track_segment::Model {
        id: Uuid::new_v4(),
        track_id: track,
        object_name: file.to_owned(),
        place: 0,
        segment_type: "track".into(),
        start_date: None,
        end_date: None,
        distance: 9.5,
        average_speed: None,
        max_speed: None,
        point_count: points.len() as i32,
        points: encode_points(&points),
    };
    let insert = track_segment::Entity::insert(model.into_active_model());
    insert.exec_without_returning(app.db().pool()).await.expect("a segment can be stored");
}
