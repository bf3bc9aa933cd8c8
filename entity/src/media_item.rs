//! A photo, film or sound of a memory. The bytes are elsewhere, under `object_name`.

synced_entity! { "media_item" {
    memory_id: Uuid,
    object_name: String,
    thumbnail_object_name: Option<String>,
    original_filename: Option<String>,
    mime_type: String,
    timestamp: i64,
    #[sea_orm(column_name = "order")]
    order: i32,
    /// Bytes.
    file_size: i64,
    /// Seconds.
    duration: Option<f64>,
}}
