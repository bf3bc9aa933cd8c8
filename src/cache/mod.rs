//! Finished answers, kept for whoever asks the same again: in this process's memory, in Redis, in
//! both, or not at all.
//!
//! A key holds everything that an answer depends on, the heads of the caller's scopes included
//! ([`key`]), and the heads are read from the database on every request. So an entry never becomes
//! wrong, it becomes unreachable: writing needs no invalidation that could get lost, and what Redis
//! loses, delays or brings back costs time, never truth.

mod counts;
pub mod entry;
mod flight;
mod held;
pub mod key;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use entity::Millis;
use moka::Expiry;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::auth::Caller;
use crate::config::{CacheConfig, limits};
use crate::db::Db;
use crate::gather::Failed;
use crate::redis::Redis;

pub use counts::{Counts, Source};
pub use entry::{About, Coding, Entry, Seal};
pub use flight::{Landed, Lead, Seat};
pub use held::{Held, held};
pub use key::Key;
pub use standing::Standing;

use flight::Flights;
use standing::Standings;

/// The cache of one server.
pub struct Cache {
    tiers: Tiers,
    standings: Standings,
    flights: Flights,
    pub counts: Counts,
}

/// Where answers are kept.
enum Tiers {
    None,
    Memory(Memory),
    Redis(Remote),
    Both(Memory, Remote),
}

/// This process's memory.
struct Memory {
    entries: moka::sync::Cache<Key, Arc<Entry>>,
}

/// Redis, with how long an answer is kept there.
struct Remote {
    redis: Redis,
    seal: Seal,
    keep: Duration,
}

impl Cache {
    /// Keeps answers where the settings want it: `seal` is the key that entries in Redis carry the
    /// MAC of.
    pub fn new(db: &Db, redis: Option<Redis>, seal: Seal, config: &CacheConfig) -> Cache {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let memory = (config.cache_ttl_local > 0).then(|| {
            let bytes = u64::from(config.cache_memory) * 1024 * 1024;
            Memory::new(seconds(config.cache_ttl_local), bytes)
        });
        let remote = redis.filter(|_| config.sync_cache_ttl > 0).map(|redis| Remote {
            redis,
            seal,
            keep: seconds(config.sync_cache_ttl),
        });
        let tiers = match (memory, remote) {
            (None, None) => Tiers::None,
            (Some(memory), None) => Tiers::Memory(memory),
            (None, Some(remote)) => Tiers::Redis(remote),
            (Some(memory), Some(remote)) => Tiers::Both(memory, remote),
        };
        Cache {
            tiers,
            standings: Standings::new(db),
            flights: Flights::default(),
            counts: Counts::default(),
        }
    }

    pub fn is_on(&self) -> bool {
        !matches!(self.tiers, Tiers::None)
    }

    /// Where a caller stands, as of now or later: read from the database. None: their session is over.
    pub async fn standing(&self, caller: Caller) -> Result<Option<Arc<Standing>>, Failed> {
        self.standings.of(caller).await
    }

    /// The entry in this process's memory.
    pub fn near(&self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.memory()?.entries.get(key)?;
        // The clock may have been set since; moka goes by another.
        entry.is_fresh(now()).then_some(entry)
    }

    /// A seat among those who want the answer under this key at the same time.
    pub fn join(&self, key: Key) -> Seat {
        self.flights.join(key)
    }

    /// The entry in Redis, for someone who wants it in this coding. It is in memory, too, from now on.
    pub async fn far(&self, key: &Key, coding: Coding) -> Option<Arc<Entry>> {
        let remote = self.remote()?;
        let bytes = remote.redis.get_best_effort(&key.name(coding.stored())).await?;
        let entry = match remote.seal.open(key, &bytes) {
            Some(entry) => Arc::new(entry),
            None => {
                self.counts.garbage();
                tracing::warn!("what Redis holds under an answer's key is not that answer");
                return None;
            }
        };
        if !entry.is_fresh(now()) {
            return None;
        }
        self.keep_near(key, &entry);
        Some(entry)
    }

    /// Keeps an answer for those who want it in this coding. Redis is told in the background: nobody
    /// waits for it.
    pub fn keep(&self, key: &Key, entry: &Arc<Entry>, coding: Coding) {
        self.keep_near(key, entry);
        let Some(remote) = self.remote() else { return };
        let Some(left) = entry.left(now(), remote.keep) else { return };
        let (redis, seal, key) = (remote.redis.clone(), remote.seal.clone(), *key);
        let (name, entry) = (key.name(coding.stored()), entry.clone());
        let account = entry.about.account;
        tokio::spawn(async move {
            // What has to be packed for it takes a while.
            let sealed = spawn_blocking(move || seal.seal(&key, &entry, coding.stored()));
            let Ok(bytes) = sealed.await else { return };
            redis.set_best_effort(&name, &bytes, left).await;
            let index = held::index(account);
            redis.index_best_effort(&index, &name, left, limits::HELD).await;
        });
    }

    /// Forgets what this process's memory holds, for whoever has changed the database without moving
    /// heads.
    pub fn forget(&self) {
        if let Some(memory) = self.memory() {
            memory.entries.invalidate_all();
        }
    }

    /// What this process's memory holds for an account, the newest first, for people to look at. It goes
    /// through all that is there.
    pub fn held_near(&self, account: Uuid) -> Vec<Held> {
        let Some(memory) = self.memory() else { return Vec::new() };
        let now = now();
        let hers = memory
            .entries
            .iter()
            .filter(|(_, entry)| entry.about.account == account && entry.is_fresh(now));
        let mut held: Vec<Held> =
            hers.map(|(key, entry)| Held::new(key.to_string(), entry.weight(), &entry)).collect();
        held.sort_by_key(|held| std::cmp::Reverse(held.made_at));
        held.truncate(limits::HELD);
        held
    }

    fn keep_near(&self, key: &Key, entry: &Arc<Entry>) {
        if let Some(memory) = self.memory() {
            memory.entries.insert(*key, entry.clone());
        }
    }

    fn memory(&self) -> Option<&Memory> {
        match &self.tiers {
            Tiers::Memory(memory) | Tiers::Both(memory, _) => Some(memory),
            Tiers::None | Tiers::Redis(_) => None,
        }
    }

    fn remote(&self) -> Option<&Remote> {
        match &self.tiers {
            Tiers::Redis(remote) | Tiers::Both(_, remote) => Some(remote),
            Tiers::None | Tiers::Memory(_) => None,
        }
    }
}

impl Memory {
    fn new(keep: Duration, bytes: u64) -> Memory {
        let entries = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, entry: &Arc<Entry>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .expire_after(Freshness { keep })
            .build();
        Memory { entries }
    }
}

/// Entries leave this process's memory when they have been there for a while, or are not fresh any
/// more.
struct Freshness {
    keep: Duration,
}

impl Expiry<Key, Arc<Entry>> for Freshness {
    fn expire_after_create(
        &self,
        _key: &Key,
        entry: &Arc<Entry>,
        _created_at: std::time::Instant,
    ) -> Option<Duration> {
        Some(entry.left(now(), self.keep).unwrap_or_default())
    }
}

/// By this machine's clock: an entry's age is no matter of truth.
pub fn now() -> Millis {
    chrono::Utc::now().timestamp_millis()
}
