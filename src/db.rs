//! The database: connecting, beginning transactions, and what differs between SQLite and PostgreSQL.
//! Nothing outside this file asks which of the two it is.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use entity::Millis;
use sea_orm::{
    AccessMode, ConnAcquireErr, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    DatabaseTransaction, DbBackend, DbErr, IsolationLevel, RuntimeErr, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait, sqlx,
};
use sqlx::Connection as _;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::config::limits;
use crate::poke::Announcer;

/// A pool of connections.
#[derive(Clone, Debug)]
pub struct Db {
    connection: DatabaseConnection,
    announcer: Announcer,
    line: Arc<Mutex<Option<Line>>>,
}

impl Db {
    /// Connects, and creates the file of an SQLite database where `mode=rwc` asks for it.
    pub async fn connect(url: &str) -> Result<Db, DbErr> {
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(limits::DB_CONNECTIONS)
            .acquire_timeout(limits::DB_ACQUIRE)
            .connect_timeout(limits::DB_ACQUIRE)
            // Asking each time would double what a small read takes: see `is_to_be_tested`.
            .test_before_acquire(false)
            .sqlx_logging(false);
        if url.starts_with("sqlite:") {
            let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
            let path = path.split('?').next().unwrap_or_default();
            if let Some(folder) = std::path::Path::new(path).parent() {
                std::fs::create_dir_all(folder).map_err(|e| {
                    DbErr::Custom(format!("cannot create {}: {e}", folder.display()))
                })?;
            }
            options.map_sqlx_sqlite_opts(|options| {
                options
                    .pragma("journal_mode", "WAL")
                    // A commit survives a power cut, not only a crash of the process.
                    .pragma("synchronous", "FULL")
                    .pragma("foreign_keys", "ON")
                    // In KiB, for each connection: the system keeps the file's pages, too, for all of them
                    // together. What a transaction writes is kept to its end whatever this says.
                    .pragma("cache_size", (-limits::SQLITE_CACHE).to_string())
                    .pragma("cache_spill", "OFF")
                    .busy_timeout(limits::DB_LOCK)
                    .statement_cache_capacity(512)
            });
        } else {
            options.map_sqlx_postgres_opts(|options| {
                let millis = |time: Duration| format!("{}ms", time.as_millis());
                options.application_name("cairn").statement_cache_capacity(512).options([
                    ("statement_timeout", millis(limits::TRANSACTION)),
                    ("lock_timeout", millis(limits::DB_LOCK)),
                    ("idle_in_transaction_session_timeout", millis(limits::TRANSACTION)),
                ])
            });
            options.map_sqlx_postgres_before_acquire(|connection, used| {
                Box::pin(async move {
                    if is_to_be_tested(used.idle_for) {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        }
        let connection = Database::connect(options).await?;
        Ok(Db { connection, announcer: Announcer::default(), line: Arc::default() })
    }

    /// The same database; what is committed by this and its clones is told to someone.
    pub fn announcing(self, announcer: Announcer) -> Db {
        Db { announcer, ..self }
    }

    /// Who is to be told of what was committed.
    pub fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// For single statements outside a transaction.
    pub fn pool(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Begins a transaction that writes. On SQLite it takes the one write lock at once: a deferred
    /// transaction that reads first cannot wait for it.
    pub async fn begin_write(&self) -> Result<DatabaseTransaction, DbErr> {
        self.connection
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            })
            .await
    }

    /// Begins a transaction in which every read sees the same state.
    pub async fn begin_snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        match self.connection.get_database_backend() {
            DbBackend::Postgres => {
                self.connection
                    .begin_with_config(
                        Some(IsolationLevel::RepeatableRead),
                        Some(AccessMode::ReadOnly),
                    )
                    .await
            }
            // A deferred transaction on SQLite is a snapshot from its first read.
            _ => self.connection.begin().await,
        }
    }

    /// Waits until no other instance is at this errand, and keeps it from the others while what comes
    /// back is held. An instance that dies lets go of it: the lock is its connection's.
    pub async fn turn(&self, errand: Errand) -> Result<Turn, DbErr> {
        let mut said = false;
        loop {
            if let Some(turn) = self.try_turn(errand).await? {
                return Ok(turn);
            }
            if !said {
                tracing::info!(?errand, "another instance is at it: waiting");
                said = true;
            }
            tokio::time::sleep(limits::TURN_RETRY).await;
        }
    }

    /// The same, without waiting. None: another instance is at it.
    pub async fn try_turn(&self, errand: Errand) -> Result<Option<Turn>, DbErr> {
        if self.connection.get_database_backend() != DbBackend::Postgres {
            // A file is one machine's, and has one server.
            return Ok(Some(Turn { _connection: None }));
        }
        // It is closed with the turn, and with it ends the lock.
        let Connection::Postgres(mut connection) = self.own_connection().await? else {
            unreachable!("it was asked above");
        };
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(errand as i64);
        let got: bool = lock.fetch_one(&mut connection).await.map_err(failed)?;
        Ok(got.then_some(Turn { _connection: Some(connection) }))
    }

    /// A connection beside the pool: there is one though all of those are busy.
    async fn own_connection(&self) -> Result<Connection, DbErr> {
        let pool = &self.connection;
        let connecting = async {
            Ok(match pool.get_database_backend() {
                DbBackend::Postgres => {
                    let options = pool.get_postgres_connection_pool().connect_options();
                    Connection::Postgres(sqlx::PgConnection::connect_with(&options).await?)
                }
                _ => {
                    let options = pool.get_sqlite_connection_pool().connect_options();
                    Connection::Sqlite(sqlx::SqliteConnection::connect_with(&options).await?)
                }
            })
        };
        match tokio::time::timeout(limits::DB_ACQUIRE, connecting).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(late()),
        }
    }

    /// The state as of now, for less than reading a table takes. It fails if the database does not answer
    /// soon.
    pub async fn stamp(&self) -> Result<Stamp, DbErr> {
        let stamp = tokio::time::timeout(limits::STAMP, self.stamp_patiently());
        stamp.await.unwrap_or_else(|_| Err(late()))
    }

    /// One line that was lost is replaced: it says nothing about the database.
    async fn stamp_patiently(&self) -> Result<Stamp, DbErr> {
        // One that was not heard to the end is not put back: it is closed.
        let mut slot = self.line.lock().await;
        // Not for ever: the address may lead to another server by now, or let nobody in.
        if let Some(mut line) = slot.take().filter(|line| line.since.elapsed() < limits::STAMP_LINE)
            && let Ok(stamp) = line.stamp().await
        {
            *slot = Some(line);
            return Ok(stamp);
        }
        let connection = self.own_connection().await?;
        let mut line = Line { number: Uuid::new_v4(), since: Instant::now(), connection };
        let stamp = line.stamp().await?;
        *slot = Some(line);
        Ok(stamp)
    }

    pub async fn close(self) -> Result<(), DbErr> {
        // The last connection that is closed leaves an SQLite database in one file.
        // Held to the end: nobody makes another.
        let mut slot = self.line.lock().await;
        let line = match slot.take().map(|line| line.connection) {
            Some(Connection::Sqlite(connection)) => connection.close().await,
            Some(Connection::Postgres(connection)) => connection.close().await,
            None => Ok(()),
        };
        self.connection.close().await?;
        line.map_err(failed)
    }
}

/// A connection that only stamps come from.
#[derive(Debug)]
struct Line {
    number: Uuid,
    since: Instant,
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

/// The state of a database at a moment. If two are equal, nothing was committed between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The connection's number: what SQLite says is worth something on the same one only.
    line: Uuid,
    state: String,
}

#[cfg(test)]
impl Stamp {
    pub fn of(state: &str) -> Stamp {
        Stamp { line: Uuid::nil(), state: state.to_owned() }
    }
}

impl Line {
    async fn stamp(&mut self) -> Result<Stamp, DbErr> {
        let state = match &mut self.connection {
            // By <https://www.sqlite.org/pragma.html#pragma_data_version> it changes with each commit of
            // another connection, and this one never writes.
            Connection::Sqlite(connection) => {
                let version = sqlx::query_scalar("PRAGMA data_version");
                version.fetch_one(connection).await.map(|version: i64| version.to_string())
            }
            // Which transactions are visible: those that write get a number, and none is visible that was
            // not, nor the other way round, while this stays the same.
            Connection::Postgres(connection) => {
                let snapshot = sqlx::query_scalar("SELECT pg_current_snapshot()::text");
                snapshot.fetch_one(connection).await
            }
        };
        Ok(Stamp { line: self.number, state: state.map_err(failed)? })
    }
}

/// What only one instance does at a time. The numbers are keys of PostgreSQL's advisory locks, which
/// are a database's own; they stay, as instances of other versions know them, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Errand {
    Migrate = 0x0043_4149_524e_0001,
    CleanUp = 0x0043_4149_524e_0002,
}

/// An errand that is this instance's, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _connection: Option<sqlx::PgConnection>,
}

fn late() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)
}

fn failed(error: sqlx::Error) -> DbErr {
    doubt_connections();
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// When a connection was lost last, by [`started`]: all others of this process may be lost, too.
static LOST: AtomicU64 = AtomicU64::new(u64::MAX);

/// Milliseconds since this was asked first.
fn started() -> u64 {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    STARTED.elapsed().as_millis() as u64
}

fn doubt_connections() {
    LOST.store(started(), Ordering::Relaxed);
}

/// Whether a connection is asked whether it is still there before it is used: after it was idle, and
/// after any was lost.
fn is_to_be_tested(idle_for: Duration) -> bool {
    let lost = LOST.load(Ordering::Relaxed);
    let since = started().saturating_sub(lost);
    let in_doubt = lost != u64::MAX && since < limits::DB_DOUBT.as_millis() as u64;
    in_doubt || idle_for >= limits::DB_TEST_IDLE
}

/// Whether beginning to write locks everything, so that locking rows adds nothing.
pub fn one_writer<C: ConnectionTrait>(db: &C) -> bool {
    db.get_database_backend() == DbBackend::Sqlite
}

/// Whether a list of values can be given as one. PostgreSQL keeps plans of its statements; with the
/// values one by one, and statistics too young to choose the index, such a plan reads the table and
/// compares each row with the whole list.
pub fn has_arrays<C: ConnectionTrait>(db: &C) -> bool {
    db.get_database_backend() == DbBackend::Postgres
}

/// The database's clock. Several instances share it.
pub async fn now<C: ConnectionTrait>(db: &C) -> Result<Millis, DbErr> {
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => "SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint",
        _ => "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    };
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("the database's clock".into()))?.try_get_by_index(0)
}

/// Whether trying again may help: a lock that was not to be had, a deadlock, a lost connection. After one of
/// these all connections are tested before they are used, for a while.
pub fn is_busy(error: &DbErr) -> bool {
    let cause = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(_) => {
            doubt_connections();
            return true;
        }
        DbErr::Exec(cause) | DbErr::Query(cause) => cause,
        _ => return false,
    };
    let RuntimeErr::SqlxError(cause) = cause else { return false };
    match cause.as_ref() {
        sea_orm::SqlxError::Database(error) => {
            let code = error.code().unwrap_or_default();
            let is_lost = code.starts_with("57P") || code.starts_with("08");
            if is_lost {
                doubt_connections();
            }
            // PostgreSQL: serialization failure, deadlock, lock not available, statement timeout,
            // shutting down, connection failures. SQLite: 5 is BUSY, 6 LOCKED; the rest of the
            // number is detail.
            matches!(code.as_ref(), "40001" | "40P01" | "55P03" | "57014")
                // A connection that was left in the middle of another transaction.
                || (code.len() == 5 && code.starts_with("25"))
                || is_lost
                || u32::from_str(&code)
                    .is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 5 | 6))
        }
        sea_orm::SqlxError::Io(_) => {
            doubt_connections();
            true
        }
        sea_orm::SqlxError::PoolTimedOut
        | sea_orm::SqlxError::PoolClosed
        | sea_orm::SqlxError::WorkerCrashed => true,
        _ => false,
    }
}
