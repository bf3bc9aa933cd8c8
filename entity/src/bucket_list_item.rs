//! Something that its owner wants to see or do.

synced_entity! { "bucket_list_item" {
    name: String,
    country: Option<String>,
    region: Option<String>,
    #[sea_orm(column_name = "type")]
    r#type: Option<String>,
    latitude1: Option<f64>,
    longitude1: Option<f64>,
    latitude2: Option<f64>,
    longitude2: Option<f64>,
    is_done: bool,
    completed_at: Option<i64>,
    /// JSON: the ids of the memories in which it was done, sorted.
    #[sea_orm(column_type = "Text")]
    memory_ids: String,
}}
