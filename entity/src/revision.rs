//! What an accepted change did to a row.

ledger_entity! { "revision" {
    #[sea_orm(primary_key, auto_increment = false)]
    kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    entity_id: Uuid,
    /// The version that the change made.
    #[sea_orm(primary_key, auto_increment = false)]
    version: i32,
    account_id: Uuid,
    /// Null: the sender named no device.
    device_id: Option<Uuid>,
    at: i64,
    /// When the edit was made by the device's clock, no later than `at`.
    client_time: i64,
    /// The seq that the row got with it, in the scope where it lay then.
    seq: i64,
    /// JSON: the changed fields with the values that they had before. `{}` for a creation or a
    /// deletion.
    #[sea_orm(column_type = "Text")]
    old: String,
    /// The scope in which the row lay before; for a creation, where it came to lie. Who cannot see
    /// it is not shown what the row was there. Null: written by a version that did not note it.
    scope_id: Option<Uuid>,
}}
