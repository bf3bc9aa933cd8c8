//! A drawer for tags.

synced_entity! { "tag_category" {
    name: String,
    display_name: Option<String>,
    emoji: Option<String>,
    color: Option<String>,
    sort_order: i32,
    is_expanded: bool,
    is_system_category: bool,
}}
