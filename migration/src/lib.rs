//! Cairn's schema, step by step.
//!
//! A step is written once and never changed after a release. It must not break the version of the
//! server before it, so that instances can be upgraded one after another: add columns as nullable
//! or with a default, and drop them one release after the last reader is gone.

pub use sea_orm_migration::prelude::*;

mod m20261120_000001_ledger;
mod m20261120_000002_kinds;
mod m20261120_000003_files;
mod m20261128_000004_resolutions;
mod synced;

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_ledger::Migration),
            Box::new(m20261120_000002_kinds::Migration),
            Box::new(m20261120_000003_files::Migration),
            Box::new(m20261128_000004_resolutions::Migration),
        ]
    }
}
