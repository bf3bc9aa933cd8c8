//! A device that has pushed, under the id that it gave itself.

ledger_entity! { "device" {
    #[sea_orm(primary_key, auto_increment = false)]
    account_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    last_seen_at: i64,
}}
