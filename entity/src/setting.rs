//! What the database says about itself: its epoch and its keys.

ledger_entity! { "setting" {
    #[sea_orm(primary_key, auto_increment = false)]
    name: String,
    value: String,
}}
