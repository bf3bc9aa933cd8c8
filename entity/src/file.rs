//! An object that an account was given a URL to upload, or has uploaded.

ledger_entity! { "file" {
    /// In whose space it lies.
    #[sea_orm(primary_key, auto_increment = false)]
    account_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    name: String,
    /// As the upload's URL demanded it.
    content_type: Option<String>,
    /// Bytes; set with `uploaded_at`.
    size: Option<i64>,
    requested_at: i64,
    /// When its bytes were found to be there.
    uploaded_at: Option<i64>,
}}
