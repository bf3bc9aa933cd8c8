//! Pokes: telling devices that something newer exists. Never data, and never the truth: a poke that
//! gets lost costs a device time, until it pulls for another reason.
//!
//! What is committed anywhere ([`Announcer`]) is told by one task ([`crier`]) to the subscribers of this
//! instance ([`hub`]) and, by Redis, to the other instances, which listen ([`relay`]). The same way goes
//! the news that sessions have ended, so that their sockets are closed ([`sessions`]).

mod announcer;
mod crier;
mod hub;
mod notice;
mod relay;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::auth::Auth;
use crate::db::Db;
use crate::redis::Redis;

pub use announcer::{Announcer, Commit, News};
pub use hub::{Hub, Marks, Seat};

/// What this instance does for pokes, ready to run.
pub struct Pokes {
    pub hub: Arc<Hub>,
    announcer: Announcer,
    crier: crier::Crier,
    relay: Option<relay::Relay>,
    sessions: sessions::Watch,
}

/// For a command: tells the instances what it commits. It has no subscribers of its own.
pub fn tell_others(db: &Db, news: News, redis: Redis) -> Running {
    let mut tasks = JoinSet::new();
    let crier = crier::Crier::new(db.clone(), news, Arc::new(Hub::default()), Some(redis));
    crier.run(&mut tasks);
    Running { announcer: db.announcer().clone(), tasks }
}

/// The running tasks. They end when this is dropped.
pub struct Running {
    announcer: Announcer,
    tasks: JoinSet<()>,
}

impl Pokes {
    /// With the news of a database's [`Announcer`].
    pub fn new(db: &Db, news: News, auth: Auth, redis: Option<Redis>) -> Pokes {
        let hub = Arc::new(Hub::default());
        let crier = crier::Crier::new(db.clone(), news, hub.clone(), redis.clone());
        let relay = redis.map(|redis| relay::Relay::new(db.clone(), hub.clone(), redis, &crier));
        let sessions = sessions::Watch::new(auth, hub.clone());
        Pokes { hub, announcer: db.announcer().clone(), crier, relay, sessions }
    }

    pub fn run(self) -> Running {
        let mut tasks = JoinSet::new();
        self.crier.run(&mut tasks);
        tasks.spawn(self.sessions.run());
        if let Some(relay) = self.relay {
            tasks.spawn(relay.run());
        }
        Running { announcer: self.announcer, tasks }
    }
}

impl Running {
    /// Tells what is still to be told, within this time, and ends.
    pub async fn finish(mut self, within: Duration) {
        if timeout(within, self.announcer.flush()).await.is_err() {
            tracing::warn!("the other instances could not be told of the last commits");
        }
        self.tasks.shutdown().await;
    }
}
