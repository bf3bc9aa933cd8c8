//! Puts the parts together; owns start and graceful stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use migration::MigratorTrait;
use sea_orm::{EntityTrait, IntoActiveModel, sea_query::OnConflict};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::auth::{Auth, Signer};
use crate::config::{Config, FilesConfig, limits};
use crate::db::{self, Db};
use crate::error::{Code, Error};
use crate::files::Files;
use crate::graphql::{self, Services};
use crate::http;
use crate::sync::cursor::Sealer;
use crate::sync::{file, gc};
use crate::throttle::Throttle;

/// A server that is ready to run.
pub struct App {
    config: Config,
    db: Db,
    services: Arc<Services>,
    api: graphql::Api,
}

/// The names of what a database says about itself.
const EPOCH: &str = "epoch";
const CURSOR_KEY: &str = "cursor_key";
const FILES_KEY: &str = "files_key";
const DEVELOPMENT_SECRET: &str = "development_jwt_secret";

impl App {
    /// Connects, migrates where that is wanted, and builds the API.
    pub async fn new(config: Config) -> Result<App, Error> {
        let db = Db::connect(&config.database.database_url).await?;
        if !config.no_migrate || db::one_writer(db.pool()) {
            migrate(&db).await?;
        }
        let secret = match &config.jwt_secret {
            Some(secret) => secret.clone(),
            None => {
                tracing::warn!(
                    "JWT_SECRET is not set: using a secret kept in the database, for development only"
                );
                setting(&db, DEVELOPMENT_SECRET, random).await?
            }
        };
        let epoch = epoch(&db).await?;
        let cursor_key = setting(&db, CURSOR_KEY, random).await?;
        let files = open_files(&db, &config.files).await?;
        let session = Duration::from_secs(u64::from(config.token_days) * 86_400);
        let services = Arc::new(Services {
            db: db.clone(),
            auth: Auth::new(db.clone(), Signer::new(secret.as_bytes()), session),
            files,
            sealer: Sealer::new(cursor_key.as_bytes(), epoch),
            page_size: config.sync_batch_size.into(),
            policy: config.policy().map_err(Error::bad_input)?,
            quota: config.files.quota(),
            shares: Throttle::new(limits::SHARES, limits::SHARE_EVERY),
            max_skew: i64::from(config.max_clock_skew) * 1000,
        });
        let api = graphql::api(services.clone(), &config);
        Ok(App { config, db, services, api })
    }

    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Serves until `shutdown`, then finishes what is in flight.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let files = self.services.files.clone();
        let router = http::router(self.api, self.services, &self.config);
        let cleaner = tokio::spawn(clean_daily(
            self.db.clone(),
            files,
            self.config.retention(),
            self.config.files.grace(),
        ));
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = axum::serve(listener, router).with_graceful_shutdown(async move {
            shutdown.await;
            tracing::info!("stopping: finishing what is in flight");
            let _ = stopping.send(());
        });
        let result = tokio::select! {
            result = async { server.await } => result,
            () = async {
                // A sender that is gone means that the server ended by itself.
                if stopped.await.is_ok() {
                    tokio::time::sleep(limits::SHUTDOWN).await;
                } else {
                    std::future::pending::<()>().await;
                }
            } => {
                tracing::warn!("some requests took too long to finish and were cut off");
                Ok(())
            }
        };
        cleaner.abort();
        if let Err(error) = self.db.close().await {
            tracing::warn!(%error, "the database did not close cleanly");
        }
        result
    }
}

/// Brings the schema up to date.
pub async fn migrate(db: &Db) -> Result<(), Error> {
    migration::Migrator::up(db.pool(), None).await.map_err(Error::from)
}

/// Opens the file store of a database. The error's sentence is for the operator.
pub async fn open_files(db: &Db, config: &FilesConfig) -> Result<Files, Error> {
    let key = setting(db, FILES_KEY, random).await?;
    Files::new(config, key.as_bytes()).map_err(|problem| Error::new(Code::Unavailable, problem))
}

/// The database's timeline.
pub async fn epoch(db: &Db) -> Result<Uuid, Error> {
    let epoch = setting(db, EPOCH, || Uuid::new_v4().to_string()).await?;
    Uuid::try_parse(&epoch).map_err(Error::internal)
}

/// Begins a new timeline: every cursor from before asks its device to start over. For the operator,
/// after a backup was restored.
pub async fn renew_epoch(db: &Db) -> Result<Uuid, Error> {
    let epoch = Uuid::new_v4();
    let model = entity::setting::Model { name: EPOCH.into(), value: epoch.to_string() };
    crate::sync::store::upsert::<entity::setting::Entity, _>(db.pool(), vec![model]).await?;
    Ok(epoch)
}

/// Reads a setting of the database; the first to ask makes it.
async fn setting(db: &Db, name: &str, make: impl FnOnce() -> String) -> Result<String, Error> {
    use entity::setting::{Column, Entity, Model};
    if let Some(found) = Entity::find_by_id(name).one(db.pool()).await? {
        return Ok(found.value);
    }
    Entity::insert(Model { name: name.into(), value: make() }.into_active_model())
        .on_conflict(OnConflict::column(Column::Name).do_nothing().to_owned())
        .exec_without_returning(db.pool())
        .await?;
    let found = Entity::find_by_id(name).one(db.pool()).await?;
    found.map(|found| found.value).ok_or_else(|| Error::internal(format!("no setting {name}")))
}

/// 244 random bits from the system.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

async fn clean_daily(db: Db, files: Files, retention: Duration, grace: Duration) {
    let mut day = tokio::time::interval(Duration::from_secs(86_400));
    day.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        day.tick().await;
        match gc::clean_up(&db, retention).await {
            Ok(removed) => tracing::info!(?removed, "cleaned up"),
            Err(error) => tracing::warn!(
                error = error.message,
                "the clean-up failed; it will be tried tomorrow"
            ),
        }
        match file::arrive_all(&db, &files, true).await {
            Ok((0, 0)) => {}
            Ok((there, missing)) => tracing::info!(there, missing, "looked at files again"),
            Err(error) => {
                tracing::warn!(error = error.message, "files could not be looked at again")
            }
        }
        match file::clean_up(&db, &files, retention, grace).await {
            Ok(removed) => tracing::info!(?removed, "cleaned up files"),
            Err(error) => tracing::warn!(
                error = error.message,
                "files could not be cleaned up; it will be tried tomorrow"
            ),
        }
        match files.tidy().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed what was left of unfinished uploads"),
            Err(error) => tracing::warn!(
                error = error.message,
                "unfinished uploads could not be removed; it will be tried tomorrow"
            ),
        }
    }
}
