//! Two edits of one row that collided: the base that both started from, and both sides.

ledger_entity! { "conflict" {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    kind: String,
    entity_id: Uuid,
    /// Members of this scope with a writing role see it.
    scope_id: Uuid,
    conflict_type: String,
    operation: String,
    operation_id: String,
    device_id: Option<Uuid>,
    /// Who pushed the colliding edit.
    account_id: Uuid,
    local_version: i32,
    remote_version: i32,
    #[sea_orm(column_type = "Text")]
    local_data: String,
    #[sea_orm(column_type = "Text")]
    remote_data: String,
    #[sea_orm(column_type = "Text", nullable)]
    base_data: Option<String>,
    /// JSON: names of the fields that both sides changed.
    #[sea_orm(column_type = "Text")]
    fields: String,
    at: i64,
    /// OPEN or RESOLVED.
    status: String,
    strategy: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    resolved_data: Option<String>,
    resolved_at: Option<i64>,
    resolved_by: Option<Uuid>,
    /// JSON: what the resolution did, so that it can be undone. Null: open, or resolved by a version
    /// that did not note it.
    #[sea_orm(column_type = "Text", nullable)]
    effect: Option<String>,
}}
