//! Which live row carries which other: the reverse index of every set of references.

ledger_entity! { "link" {
    #[sea_orm(primary_key, auto_increment = false)]
    source_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    target_id: Uuid,
    /// Ids are unique within a kind. The kind of the target follows from this one.
    #[sea_orm(primary_key, auto_increment = false)]
    kind: String,
}}
