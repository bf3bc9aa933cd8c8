//! Which live row carries which other: the reverse index of every set of references.

ledger_entity! { "link" {
    /// Of the row that carries: kinds do not share ids.
    #[sea_orm(primary_key, auto_increment = false)]
    kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    source_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    target_id: Uuid,
}}
