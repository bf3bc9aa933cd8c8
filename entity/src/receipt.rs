//! The stored verdict of one operation: a resend gets this answer.

ledger_entity! { "receipt" {
    /// A hash of the three that follow: what a batch brings is looked up by one narrow index.
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    account_id: Uuid,
    /// Nil: the sender named no device.
    device_id: Uuid,
    operation_id: String,
    /// Of the whole item: the same operation with other content is refused.
    content_hash: Uuid,
    kind: String,
    entity_id: Uuid,
    version: i32,
    /// Set: the verdict was this conflict. Null: successful.
    conflict_id: Option<Uuid>,
    at: i64,
}}
