//! A conflict's story: every edit that went into it, the first one included.

ledger_entity! { "conflict_edit" {
    #[sea_orm(primary_key, auto_increment = false)]
    conflict_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    account_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    operation_id: String,
    /// Nil: the sender named no device.
    #[sea_orm(primary_key, auto_increment = false)]
    device_id: Uuid,
    operation: String,
    remote_version: i32,
    #[sea_orm(column_type = "Text")]
    remote_data: String,
    client_time: i64,
    at: i64,
}}
