//! A journey: the row that a trip's scope is named after.

synced_entity! { "trip" {
    name: String,
    #[sea_orm(column_type = "Text", nullable)]
    trip_description: Option<String>,
    cover_image_object_name: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    travel_companions: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    visited_countries: Option<String>,
    start_date: i64,
    end_date: Option<i64>,
    is_active: bool,
    /// Metres.
    total_distance: f64,
    gps_tracking_enabled: bool,
}}
