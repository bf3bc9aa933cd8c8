//! A recorded track or planned route of a trip. What follows `track_type` comes from the file.

synced_entity! { "gpx_track" {
    trip_id: Uuid,
    memory_id: Option<Uuid>,
    name: String,
    #[sea_orm(column_type = "Text", nullable)]
    description: Option<String>,
    gpx_file_object_name: Option<String>,
    original_filename: Option<String>,
    creator: Option<String>,
    track_type: Option<String>,
    /// Metres.
    total_distance: Option<f64>,
    /// Seconds.
    total_duration: Option<f64>,
    /// Metres per second.
    average_speed: Option<f64>,
    max_speed: Option<f64>,
    /// Metres.
    elevation_gain: Option<f64>,
    elevation_loss: Option<f64>,
    min_elevation: Option<f64>,
    max_elevation: Option<f64>,
    total_points: Option<i32>,
    start_time: Option<i64>,
    end_time: Option<i64>,
}}
