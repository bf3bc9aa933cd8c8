//! Cairn's tables, one file each, as SeaORM entities.
//!
//! Two families live here. The *kinds* (`trip`, `memory`, …) are what devices sync: each is written
//! with [`synced_entity!`], which puts the sync columns in front, so they are declared once. The
//! *ledger* (`scope`, `revision`, `deletion`, …) is what the engine keeps about them.
//!
//! Conventions that hold in every table, on SQLite and PostgreSQL alike:
//! - times are milliseconds since 1970 (UTC) in a `bigint`: exact, comparable, the same everywhere;
//! - sets and maps are JSON in a `text` column, with sorted members;
//! - kinds are named by their GraphQL name (`Memory`).

#[macro_use]
mod synced;

pub mod account;
pub mod attachment;
pub mod buried;
pub mod conflict;
pub mod conflict_edit;
pub mod deletion;
pub mod device;
pub mod file;
pub mod link;
pub mod membership;
pub mod receipt;
pub mod revision;
pub mod route_point;
pub mod scope;
pub mod session;
pub mod setting;
pub mod tick;
pub mod track_segment;
pub mod undone;

pub mod bucket_list_item;
pub mod gpx_track;
pub mod media_item;
pub mod memory;
pub mod tag;
pub mod tag_category;
pub mod trip;

pub use synced::SYNC_COLUMNS;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;
