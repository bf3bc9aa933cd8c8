//! A moment of a trip.

synced_entity! { "memory" {
    trip_id: Uuid,
    title: String,
    #[sea_orm(column_type = "Text", nullable)]
    content: Option<String>,
    date: i64,
    /// Degrees; null together with the longitude where the place is not known.
    latitude: Option<f64>,
    longitude: Option<f64>,
    #[sea_orm(column_type = "Text", nullable)]
    address: Option<String>,
    #[sea_orm(column_name = "weather_json", column_type = "Text", nullable)]
    weather_json: Option<String>,
    /// JSON: the ids of the tags, sorted.
    #[sea_orm(column_type = "Text")]
    tag_ids: String,
}}
