//! What is left of a tombstone after its retention: its id, so that no other row ever gets it.

ledger_entity! { "buried" {
    #[sea_orm(primary_key, auto_increment = false)]
    kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    entity_id: Uuid,
    scope_id: Uuid,
    /// The seq with which the row had come into the scope.
    entered_seq: i64,
    sync_version: i32,
    created_by: Uuid,
    deleted_at: i64,
}}
