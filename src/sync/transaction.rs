//! The one owner of begin, lock, commit and trying again.
//!
//! Work that writes is given a transaction that holds the locks of its scopes, and says what came of
//! it. It never commits by itself, so it cannot forget to lock, nor commit half.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entity::Millis;
use sea_orm::{DatabaseTransaction, DbErr};
use tokio::time::timeout;
use uuid::Uuid;

use super::plan::Scope;
use super::scope::{self, ToLock};
use crate::config::limits;
use crate::db::{self, Db};
use crate::error::Error;
use crate::poke::{Announcer, Commit};

/// Something to do in one transaction.
pub(crate) trait Work {
    type Done;

    /// One attempt. It may be made several times; only one is committed.
    async fn attempt(
        &self,
        tx: &DatabaseTransaction,
        held: Held,
    ) -> Result<Step<Self::Done>, Failure>;
}

/// What an attempt came to.
pub(crate) enum Step<T> {
    /// To be committed.
    Done(T),
    /// These scopes must be locked, too. Locks are taken in order, so all of them from the start.
    Lock(Vec<Uuid>),
    /// Another transaction came in between; from the beginning.
    Again,
}

/// Why an attempt failed.
pub(crate) enum Failure {
    Database(DbErr),
    /// Nothing that another attempt would change.
    Refused(Error),
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Failure {
        Failure::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Refused(error)
    }
}

/// What an attempt holds when it begins.
pub(crate) struct Held {
    /// The locked scopes.
    pub scopes: HashMap<Uuid, Scope>,
    /// The database's clock, read under the locks: "now" for the whole transaction.
    pub now: Millis,
    pub locked: Locked,
}

/// Every scope that a transaction has locked, with the head that it had then. Work takes `scopes`
/// apart; this stays, to tell afterwards what moved.
#[derive(Clone, Default)]
pub(crate) struct Locked(Arc<Mutex<HashMap<Uuid, i64>>>);

impl Locked {
    fn add(&self, scopes: &HashMap<Uuid, Scope>) {
        // Nothing that holds it can panic half-way.
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, scope) in scopes {
            heads.entry(*id).or_insert(scope.head);
        }
    }

    fn take(self) -> HashMap<Uuid, i64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    /// Makes sure that these scopes are locked. What comes back must be locked from the start.
    pub async fn cover(
        &mut self,
        tx: &DatabaseTransaction,
        needed: impl IntoIterator<Item = Uuid>,
    ) -> Result<Vec<Uuid>, DbErr> {
        let missing: Vec<Uuid> =
            needed.into_iter().filter(|id| !self.scopes.contains_key(id)).collect();
        if missing.is_empty() || !db::one_writer(tx) {
            return Ok(missing);
        }
        let more = scope::lock_found(tx, missing).await?;
        self.locked.add(&more);
        self.scopes.extend(more);
        Ok(Vec::new())
    }
}

/// Does the work under the locks of its scopes, and has those told whom it concerns. An error means
/// that nothing was written.
pub(crate) async fn run<W: Work>(
    db: &Db,
    account: Uuid,
    mut scopes: ToLock,
    work: &W,
) -> Result<W::Done, Error> {
    let mut told = Told { db, commits: Vec::new(), is_done: false };
    for attempt in 0..limits::PUSH_ATTEMPTS {
        if attempt > 1 {
            tokio::time::sleep(Duration::from_millis(5 << attempt)).await;
        }
        let once = once(db, account, &scopes, work, &mut told.commits);
        match timeout(limits::TRANSACTION, once).await {
            Ok(Ok(Step::Done(done))) => {
                told.is_done = true;
                return Ok(done);
            }
            Ok(Ok(Step::Lock(more))) => scopes.found.extend(more),
            Ok(Ok(Step::Again)) => {}
            Ok(Err(Failure::Database(error))) if db::is_busy(&error) => {
                tracing::debug!(%error, attempt, "a transaction will be tried again");
            }
            Ok(Err(Failure::Database(error))) => return Err(error.into()),
            Ok(Err(Failure::Refused(error))) => return Err(error),
            // The transaction is rolled back as it is dropped.
            Err(_) => tracing::warn!(attempt, "a transaction took too long"),
        }
    }
    Err(Error::unavailable())
}

/// What may have been committed. Whom it concerns is told in the end, however that comes about: a commit
/// whose answer was lost may have happened, and an attempt after it finds nothing that it moved.
struct Told<'a> {
    db: &'a Db,
    commits: Vec<Commit>,
    /// Whether the last attempt was heard to the end: then it is known what became of those before.
    is_done: bool,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let commits = std::mem::take(&mut self.commits);
        let tell = |announcer: &Announcer, commits: Vec<Commit>| {
            commits.into_iter().for_each(|commit| announcer.committed_best_effort(commit));
        };
        if self.is_done || commits.is_empty() {
            return tell(self.db.announcer(), commits);
        }
        tell(self.db.announcer(), commits.clone());
        // The database may still be at it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let announcer = self.db.announcer().clone();
            runtime.spawn(async move {
                tokio::time::sleep(limits::TRANSACTION).await;
                tell(&announcer, commits);
            });
        }
    }
}

async fn once<W: Work>(
    db: &Db,
    account: Uuid,
    scopes: &ToLock,
    work: &W,
    commits: &mut Vec<Commit>,
) -> Result<Step<W::Done>, Failure> {
    let tx = db.begin_write().await?;
    let scopes = scope::lock(&tx, account, scopes).await?;
    let now = db::now(&tx).await?;
    let locked = Locked::default();
    locked.add(&scopes);
    let step = work.attempt(&tx, Held { scopes, now, locked: locked.clone() }).await?;
    match step {
        Step::Done(_) => {
            commits.push(Commit { account, heads: locked.take(), now });
            tx.commit().await?;
        }
        _ => tx.rollback().await?,
    }
    Ok(step)
}
