//! When a scope's head moved: maps the times of the older `sync` to seqs. Never decreasing.

ledger_entity! { "tick" {
    #[sea_orm(primary_key, auto_increment = false)]
    scope_id: Uuid,
    /// The head after the push.
    #[sea_orm(primary_key, auto_increment = false)]
    seq: i64,
    /// By the database's clock.
    at: i64,
}}
