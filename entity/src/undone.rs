//! A resolution that was undone. The conflict went on as an open one.

ledger_entity! { "undone" {
    #[sea_orm(primary_key, auto_increment = false)]
    conflict_id: Uuid,
    /// When it was undone, which no two of a conflict share.
    #[sea_orm(primary_key, auto_increment = false)]
    at: i64,
    /// Who undid it.
    account_id: Uuid,
    strategy: String,
    #[sea_orm(column_type = "Text", nullable)]
    resolved_data: Option<String>,
    resolved_at: i64,
    resolved_by: Uuid,
}}
