//! The deletion log: one entry for each row that left a scope, deleted or moved.

ledger_entity! { "deletion" {
    #[sea_orm(primary_key, auto_increment = false)]
    scope_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    entity_id: Uuid,
    seq: i64,
    /// The seq with which the row had come into the scope.
    entered_seq: i64,
    at: i64,
}}
