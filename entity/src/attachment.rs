//! A row has named a file: whose file it meant.

ledger_entity! { "attachment" {
    #[sea_orm(primary_key, auto_increment = false)]
    entity_id: Uuid,
    /// The field that named it.
    #[sea_orm(primary_key, auto_increment = false)]
    field: String,
    /// The object's name.
    #[sea_orm(primary_key, auto_increment = false)]
    name: String,
    kind: String,
    /// Who named it: the file lies in their space.
    account_id: Uuid,
    /// When the row began, or ceased, to name it.
    at: i64,
}}
