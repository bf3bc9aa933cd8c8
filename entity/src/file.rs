//! An object that an account was given a URL to upload, or has uploaded.

ledger_entity! { "file" {
    /// In whose space it lies.
    #[sea_orm(primary_key, auto_increment = false)]
    account_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    name: String,
    /// As the upload's URL demanded it.
    content_type: Option<String>,
    /// Bytes, as far as they are known.
    size: Option<i64>,
    /// What the store says it is: other content has another one.
    etag: Option<String>,
    requested_at: i64,
    /// When its bytes were found to be there.
    uploaded_at: Option<i64>,
}}
