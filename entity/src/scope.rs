//! The unit of sharing, ordering and locking: an account's own things, or one trip.

ledger_entity! { "scope" {
    /// Short name of the scope inside cursors.
    #[sea_orm(primary_key)]
    no: i64,
    /// The account's id, or the trip's.
    #[sea_orm(unique)]
    id: Uuid,
    /// The last seq given out. This row is locked while a push gives out more.
    head: i64,
    /// When the head moved last, by the database's clock; never falls.
    head_at: i64,
    /// The lowest seq from which the deletion log is complete.
    floor: i64,
}}
