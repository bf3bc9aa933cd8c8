//! Puts the parts together; owns start and graceful stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use entity::Millis;
use entity::setting::Entity as Setting;
use migration::MigratorTrait;
use sea_orm::{EntityTrait, IntoActiveModel, sea_query::OnConflict};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::admission::Admission;
use crate::auth::{Auth, Operator, Signer};
use crate::cache::{Cache, Seal};
use crate::config::{Config, FilesConfig, limits};
use crate::db::{self, Db, Errand};
use crate::error::{Code, Error};
use crate::files::Files;
use crate::graphql::{self, Services};
use crate::http::{self, Sockets};
use crate::poke::{Announcer, Pokes};
use crate::sync::cursor::Sealer;
use crate::sync::{file, gc, store};
use crate::throttle::{Throttle, Throttles};

/// A server that is ready to run.
pub struct App {
    config: Config,
    db: Db,
    services: Arc<Services>,
    api: graphql::Api,
    pokes: Pokes,
    cache: Arc<Cache>,
    operator: Operator,
}

/// The names of what a database says about itself.
const EPOCH: &str = "epoch";
const CURSOR_KEY: &str = "cursor_key";
const FILES_KEY: &str = "files_key";
const OPERATOR_KEY: &str = "operator_key";
const DEVELOPMENT_SECRET: &str = "development_jwt_secret";
/// When the last clean-up began, by the database's clock.
const CLEANED_AT: &str = "cleaned_at";

impl App {
    /// Connects, migrates where that is wanted, and builds the API.
    pub async fn new(config: Config) -> Result<App, Error> {
        let (announcer, news) = Announcer::new();
        let db = Db::connect(&config.database.database_url).await?.announcing(announcer);
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
        let unusable = |problem| Error::new(Code::Unavailable, problem);
        let redis = config.redis.open(epoch).map_err(unusable)?;
        let session = Duration::from_secs(u64::from(config.token_days) * 86_400);
        let auth = Auth::new(db.clone(), Signer::new(secret.as_bytes()), session);
        let cache = Arc::new(Cache::new(&db, redis.clone(), seal(&db).await?, &config.cache));
        let operator = operator(&db).await?;
        let pokes = Pokes::new(&db, news, auth.clone(), redis);
        let services = Arc::new(Services {
            db: db.clone(),
            auth,
            files,
            sealer: Sealer::new(cursor_key.as_bytes(), epoch),
            page_size: config.sync_batch_size.into(),
            policy: config.policy().map_err(Error::bad_input)?,
            quota: config.files.quota(),
            throttles: Throttles {
                passwords: Throttle::per_minute(config.password_limit),
                logins_from: Throttle::per_minute(config.address_limit),
                writes: Throttle::per_minute(config.write_limit),
                writes_from: Throttle::per_minute(config.address_write_limit),
            },
            admission: Admission::new(
                config.requests_at_once as usize,
                config.requests_waiting as usize,
            ),
            shares: Throttle::new(limits::SHARES, limits::SHARE_EVERY),
            max_skew: i64::from(config.max_clock_skew) * 1000,
        });
        let api = graphql::api(services.clone(), &config);
        Ok(App { config, db, services, api, pokes, cache, operator })
    }

    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Who is worked for, and who waits.
    pub fn admission(&self) -> &Admission {
        &self.services.admission
    }

    /// Serves until `shutdown`, then finishes what is in flight.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let files = self.services.files.clone();
        let ping = Duration::from_secs(self.config.socket_ping.into());
        let sockets = Sockets::new(self.pokes.hub.clone(), ping);
        let router = http::router(
            self.api,
            self.services,
            sockets.clone(),
            self.cache,
            self.operator,
            &self.config,
        );
        let pokes = self.pokes.run();
        let delay = Duration::from_secs(self.config.shutdown_delay.into());
        let cleaner = tokio::spawn(clean_daily(
            self.db.clone(),
            files,
            self.config.retention(),
            self.config.files.grace(),
        ));
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let routes = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = axum::serve(listener, routes).with_graceful_shutdown(async move {
            shutdown.await;
            tracing::info!("stopping: not ready any more");
            // Until all have noticed, and go elsewhere, everything is answered. Then the sockets go:
            // by now they come to another instance.
            sockets.stop();
            tokio::time::sleep(delay).await;
            leave(&sockets).await;
            tracing::info!("stopping: finishing what is in flight");
            // An error: the server has ended by itself.
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
        pokes.finish(limits::LAST_NEWS).await;
        match tokio::time::timeout(limits::DB_CLOSE, self.db.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the database did not close cleanly"),
            Err(_) => tracing::warn!("the database does not close: leaving it"),
        }
        result
    }
}

/// Sends the sockets away. Those that do not go are cut off with the process.
async fn leave(sockets: &Sockets) {
    let most = limits::SOCKETS_LEAVE + limits::SOCKET_SEND + limits::SOCKET_CLOSE;
    if tokio::time::timeout(most, sockets.leave()).await.is_err() {
        tracing::warn!("some sockets took too long to close and were cut off");
    }
}

/// Brings the schema up to date. Of several instances that start at once, one does it; the others wait
/// and find it done.
pub async fn migrate(db: &Db) -> Result<(), Error> {
    let _turn = db.turn(Errand::Migrate).await?;
    migration::Migrator::up(db.pool(), None).await.map_err(Error::from)
}

/// Opens the file store of a database. The error's sentence is for the operator.
pub async fn open_files(db: &Db, config: &FilesConfig) -> Result<Files, Error> {
    let key = setting(db, FILES_KEY, random).await?;
    Files::new(config, key.as_bytes()).map_err(|problem| Error::new(Code::Unavailable, problem))
}

/// What seals answers in Redis. A MAC of another thing than a cursor's, by the same key.
pub async fn seal(db: &Db) -> Result<Seal, Error> {
    Ok(Seal::new(setting(db, CURSOR_KEY, random).await?.as_bytes()))
}

/// What an operator's tokens are made and verified by.
pub async fn operator(db: &Db) -> Result<Operator, Error> {
    Ok(Operator::new(setting(db, OPERATOR_KEY, random).await?.as_bytes()))
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
    set(db, EPOCH, epoch.to_string()).await?;
    Ok(epoch)
}

/// Notes something in the database.
async fn set(db: &Db, name: &str, value: String) -> Result<(), Error> {
    let model = entity::setting::Model { name: name.into(), value };
    store::upsert::<Setting, _>(db.pool(), vec![model]).await?;
    Ok(())
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

/// Looks now and then whether the clean-up is due.
async fn clean_daily(db: Db, files: Files, retention: Duration, grace: Duration) {
    let mut looks = tokio::time::interval(limits::CLEAN_UP_LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Err(error) = clean_if_due(&db, &files, retention, grace).await {
            tracing::warn!(error = error.message, "whether to clean up is not known: trying later");
        }
    }
}

/// Cleans up, unless an instance has done so within a day, or is at it. When it was done is noted at
/// the end: if this instance dies before, another one finds it due.
pub async fn clean_if_due(
    db: &Db,
    files: &Files,
    retention: Duration,
    grace: Duration,
) -> Result<(), Error> {
    let Some(_turn) = db.try_turn(Errand::CleanUp).await? else { return Ok(()) };
    let now = db::now(db.pool()).await?;
    let last = Setting::find_by_id(CLEANED_AT).one(db.pool()).await?;
    let last: Option<Millis> = last.and_then(|setting| setting.value.parse().ok());
    if last.is_some_and(|last| now - last < limits::CLEAN_UP_EVERY.as_millis() as Millis) {
        return Ok(());
    }
    clean(db, files, retention, grace).await;
    set(db, CLEANED_AT, now.to_string()).await
}

async fn clean(db: &Db, files: &Files, retention: Duration, grace: Duration) {
    match gc::clean_up(db, retention).await {
        Ok(removed) => tracing::info!(?removed, "cleaned up"),
        Err(error) => {
            tracing::warn!(error = error.message, "the clean-up failed; it will be tried tomorrow")
        }
    }
    match file::arrive_all(db, files, true).await {
        Ok((0, 0)) => {}
        Ok((there, missing)) => tracing::info!(there, missing, "looked at files again"),
        Err(error) => {
            tracing::warn!(error = error.message, "files could not be looked at again")
        }
    }
    match file::clean_up(db, files, retention, grace).await {
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
