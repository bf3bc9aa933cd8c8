//! A login. Its token names it; a token whose session is gone is worth nothing.

ledger_entity! { "session" {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    account_id: Uuid,
    created_at: i64,
    expires_at: i64,
}}
