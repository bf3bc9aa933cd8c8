/// The columns that every kind carries, in the order in which the engine reads and writes them.
/// `sync_priority` is missing on purpose: devices set it, so it is a field of every kind.
pub const SYNC_COLUMNS: [&str; 15] = [
    "id",
    "scope_id",
    "seq",
    "entered_seq",
    "sync_version",
    "field_versions",
    "sync_status",
    "last_sync_attempt",
    "sync_error_message",
    "conflict_id",
    "created_by",
    "created_at",
    "updated_at",
    "deleted_at",
    "deleted_root",
];

/// Declares a kind's entity: the sync columns, then the kind's own.
macro_rules! synced_entity {
    ($table:tt { $( $(#[$attr:meta])* $field:ident : $ty:ty ),* $(,)? }) => {
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
        #[sea_orm(table_name = $table)]
        pub struct Model {
            /// Made by the device, or by the server where the device gave none.
            #[sea_orm(primary_key, auto_increment = false)]
            pub id: Uuid,
            /// The scope that the row lies in: its owner's own, or a trip's.
            pub scope_id: Uuid,
            /// The row's place in its scope. Every write moves it to the scope's new head.
            pub seq: i64,
            /// The seq with which the row came into this scope; a former member was given only
            /// rows that had entered before the membership ended.
            pub entered_seq: i64,
            /// 1 at creation, +1 for each accepted change to the content.
            pub sync_version: i32,
            /// JSON: field → the version that last changed it. Absent means 1.
            #[sea_orm(column_type = "Text")]
            pub field_versions: String,
            /// What the row's files and attempts say; see `SyncStatus`.
            pub sync_status: i16,
            pub last_sync_attempt: Option<i64>,
            #[sea_orm(column_type = "Text", nullable)]
            pub sync_error_message: Option<String>,
            /// The row's open conflict. While it is set, the row reads as CONFLICT.
            pub conflict_id: Option<Uuid>,
            /// The account that created the row.
            pub created_by: Uuid,
            pub created_at: i64,
            pub updated_at: i64,
            /// Set: the row is a tombstone.
            pub deleted_at: Option<i64>,
            /// The row whose deletion took this one along (itself, if it was deleted directly):
            /// restoring that one restores this one.
            pub deleted_root: Option<Uuid>,
            /// 0 LOW, 1 NORMAL, 2 HIGH, 3 CRITICAL.
            pub sync_priority: i16,
            $( $(#[$attr])* pub $field: $ty, )*
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    };
}

/// Declares one table of the ledger.
macro_rules! ledger_entity {
    ($table:tt { $( $(#[$attr:meta])* $field:ident : $ty:ty ),* $(,)? }) => {
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
        #[sea_orm(table_name = $table)]
        pub struct Model {
            $( $(#[$attr])* pub $field: $ty, )*
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    };
}
