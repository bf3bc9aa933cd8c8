//! A label that its owner puts on memories.

synced_entity! { "tag" {
    category_id: Option<Uuid>,
    name: String,
    display_name: Option<String>,
    emoji: Option<String>,
    color: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    tag_description: Option<String>,
    sort_order: i32,
    is_archived: bool,
    is_system_tag: bool,
}}
