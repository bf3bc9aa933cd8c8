//! A person who can log in.

ledger_entity! { "account" {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    /// Lower case.
    #[sea_orm(unique)]
    email: String,
    username: String,
    /// PHC string.
    password_hash: String,
    first_name: Option<String>,
    last_name: Option<String>,
    profile_image_url: Option<String>,
    is_active: bool,
    is_email_verified: bool,
    last_login_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
}}
