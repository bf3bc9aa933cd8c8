//! The commands that are more than a few lines.

pub mod account;
pub mod arrive;
pub mod cache;
pub mod import;

use cairn::app;
use cairn::config::{DatabaseConfig, RedisConfig, limits};
use cairn::db::Db;
use cairn::poke::{self, Announcer};

use crate::{Outcome, connect, sentence};

/// Does a command's work on a database. What it commits is told to the instances that run, if they
/// share a Redis.
pub async fn telling(
    database: &DatabaseConfig,
    redis: &RedisConfig,
    work: impl AsyncFnOnce(Db) -> Outcome,
) -> Outcome {
    let db = connect(database).await?;
    if redis.redis_url.is_none() {
        return work(db).await;
    }
    let epoch = app::epoch(&db).await.map_err(sentence)?;
    let Some(redis) = redis.open(epoch)? else { return work(db).await };
    let (announcer, news) = Announcer::new();
    let db = db.announcing(announcer);
    let telling = poke::tell_others(&db, news, redis);
    let outcome = work(db).await;
    telling.finish(limits::LAST_NEWS).await;
    outcome
}

/// Connects for a command that may be the first thing that a database sees.
async fn connect_migrated(database: &DatabaseConfig) -> Result<Db, String> {
    let db = connect(database).await?;
    app::migrate(&db).await.map_err(sentence)?;
    Ok(db)
}
