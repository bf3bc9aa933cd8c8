//! Tells what was committed: finds out whom it concerns, pokes those who are connected here, and tells
//! the other instances.
//!
//! One task asks the database, for all that was committed while it asked before: however much is
//! written, this takes one connection. Another one talks to Redis, so that a Redis that hangs does not
//! keep those waiting who are connected here.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use entity::Millis;
use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbErr};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::announcer::{Commit, Item, News};
use super::hub::Hub;
use super::notice::{CHANNEL, Notice};
use crate::config::limits;
use crate::db::Db;
use crate::redis::Redis;
use crate::sync::store;

pub(super) struct Crier {
    id: Uuid,
    db: Db,
    news: News,
    hub: Arc<Hub>,
    redis: Option<Redis>,
    pending: Arc<Pending>,
}

/// What the other instances are still to be told. It does not grow without bound: notices become
/// one.
pub(super) struct Pending {
    notice: Mutex<Notice>,
    more: Notify,
    /// Whether nothing is left.
    all_told: watch::Sender<bool>,
}

impl Crier {
    pub fn new(db: Db, news: News, hub: Arc<Hub>, redis: Option<Redis>) -> Crier {
        let pending = Pending {
            notice: Mutex::default(),
            more: Notify::new(),
            all_told: watch::Sender::new(true),
        };
        Crier { id: Uuid::new_v4(), db, news, hub, redis, pending: Arc::new(pending) }
    }

    /// What this instance is called in its notices.
    pub fn id(&self) -> Uuid {
        self.id
    }

    pub fn pending(&self) -> Arc<Pending> {
        self.pending.clone()
    }

    pub fn run(self, tasks: &mut JoinSet<()>) {
        if let Some(redis) = self.redis.clone() {
            tasks.spawn(self.pending.clone().tell_others(redis));
        }
        tasks.spawn(self.tell());
    }

    async fn tell(mut self) {
        let mut items = Vec::new();
        while self.news.items.recv_many(&mut items, limits::NEWS).await > 0 {
            let mut commits = Vec::new();
            let mut notice = Notice { from: self.id, ..Notice::default() };
            let mut flushes = Vec::new();
            for item in items.drain(..) {
                match item {
                    Item::Commit(commit) => commits.push(commit),
                    Item::SessionsEnded(account) => drop(notice.sessions.insert(account)),
                    Item::Flush(done) => flushes.push(done),
                }
            }
            notice.everyone = self.news.overflowed.swap(false, Ordering::AcqRel);
            if let Some(now) = commits.iter().map(|commit| commit.now).max() {
                notice.at = now - limits::TIMESTAMP_LAG.as_millis() as Millis;
            }
            // Without others, and with nobody here, there is nobody to find.
            if self.redis.is_some() || !self.hub.is_empty() {
                match timeout(limits::GATHER_PATIENCE, concerned(&self.db, &commits)).await {
                    Ok(Ok(accounts)) => notice.accounts = accounts,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "whom a commit concerns is not known: poking all");
                        notice.everyone = true;
                    }
                    Err(_) => {
                        tracing::warn!(
                            "the database does not say whom a commit concerns: poking all"
                        );
                        notice.everyone = true;
                    }
                }
            }
            if !notice.is_empty() {
                self.hub.deliver(&notice);
                if self.redis.is_some() {
                    self.pending.add(notice);
                }
            }
            for done in flushes {
                let mut all_told = self.pending.all_told.subscribe();
                tokio::spawn(async move {
                    // Errors: whoever would tell has ended, or nobody waits any more.
                    let _ = all_told.wait_for(|told| *told).await;
                    let _ = done.send(());
                });
            }
        }
    }
}

impl Pending {
    pub fn add(&self, notice: Notice) {
        self.change(|pending| pending.add(notice));
        self.all_told.send_replace(false);
        self.more.notify_one();
    }

    fn change<T>(&self, change: impl FnOnce(&mut Notice) -> T) -> T {
        // Nothing that holds it can panic half-way.
        change(&mut self.notice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What cannot be told now is told later, together with what comes until then.
    async fn tell_others(self: Arc<Pending>, redis: Redis) {
        loop {
            self.more.notified().await;
            loop {
                let notice = self.change(std::mem::take);
                if notice.is_empty() {
                    break;
                }
                // Its failures are in the log already.
                if redis.publish(CHANNEL, &notice.to_json()).await.is_err() {
                    self.change(|pending| pending.add(notice));
                    sleep(limits::REDIS_RETRY).await;
                }
            }
            self.all_told.send_if_modified(|told| {
                let done = self.change(|pending| pending.is_empty());
                std::mem::replace(told, done) != done
            });
        }
    }
}

/// The accounts that these commits concern: members of a scope that moved, and those who became or
/// ceased to be one.
async fn concerned(db: &Db, commits: &[Commit]) -> Result<BTreeSet<Uuid>, DbErr> {
    // The lowest head: everything above it is new to someone.
    let mut before: HashMap<Uuid, (i64, Millis)> = HashMap::new();
    for Commit { heads, now, .. } in commits {
        for (scope, head) in heads {
            let known = before.entry(*scope).or_insert((*head, *now));
            *known = (Ord::min(known.0, *head), Ord::min(known.1, *now));
        }
    }
    let mut found = BTreeSet::new();
    let scopes: Vec<Uuid> = before.keys().copied().collect();
    for among in store::in_lists(db.pool(), ("membership", "scope_id"), &scopes) {
        for row in db.pool().query_all(&memberships().and_where(among).to_owned()).await? {
            let account: Uuid = row.try_get_by_index(0)?;
            let scope: Uuid = row.try_get_by_index(1)?;
            let granted_at: Millis = row.try_get_by_index(2)?;
            let removed_at: Option<Millis> = row.try_get_by_index(3)?;
            let head: i64 = row.try_get_by_index(4)?;
            let Some((old_head, since)) = before.get(&scope).copied() else { continue };
            let is_concerned = match removed_at {
                Some(removed_at) => removed_at >= since,
                None => head > old_head || granted_at >= since,
            };
            if is_concerned {
                found.insert(account);
            }
        }
    }
    // Scopes that are new: they moved, and only their makers are in them.
    let mut makers: HashMap<Uuid, Millis> = HashMap::new();
    for Commit { account, now, .. } in commits.iter().filter(|c| !found.contains(&c.account)) {
        let since = makers.entry(*account).or_insert(*now);
        *since = Ord::min(*since, *now);
    }
    let accounts: Vec<Uuid> = makers.keys().copied().collect();
    let since = makers.values().min().copied().unwrap_or_default();
    for among in store::in_lists(db.pool(), ("membership", "account_id"), &accounts) {
        let moved = memberships()
            .and_where(among)
            .and_where(Expr::col(("membership", "removed_at")).is_null())
            .and_where(Expr::col(("scope", "head_at")).gte(since))
            .to_owned();
        for row in db.pool().query_all(&moved).await? {
            found.insert(row.try_get_by_index(0)?);
        }
    }
    Ok(found)
}

fn memberships() -> SelectStatement {
    Query::select()
        .columns([
            ("membership", "account_id"),
            ("membership", "scope_id"),
            ("membership", "granted_at"),
            ("membership", "removed_at"),
        ])
        .column(("scope", "head"))
        .from("membership")
        .inner_join("scope", Expr::col(("scope", "id")).equals(("membership", "scope_id")))
        .to_owned()
}
