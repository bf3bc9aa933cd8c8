//! Who may see a scope. Rows stay when a membership ends: they say what had been seen.

ledger_entity! { "membership" {
    #[sea_orm(primary_key, auto_increment = false)]
    scope_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    account_id: Uuid,
    /// OWNER, EDITOR or VIEWER.
    role: String,
    granted_at: i64,
    /// The scope's head when the membership began.
    since_seq: i64,
    /// The scope's head when it ended.
    until_seq: Option<i64>,
    removed_at: Option<i64>,
}}
