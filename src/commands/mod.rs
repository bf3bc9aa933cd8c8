//! The commands that are more than a few lines.

pub mod account;
pub mod arrive;
pub mod import;

use cairn::app;
use cairn::config::DatabaseConfig;
use cairn::db::Db;

use crate::{connect, sentence};

/// Connects for a command that may be the first thing that a database sees.
async fn connect_migrated(database: &DatabaseConfig) -> Result<Db, String> {
    let db = connect(database).await?;
    app::migrate(&db).await.map_err(sentence)?;
    Ok(db)
}
