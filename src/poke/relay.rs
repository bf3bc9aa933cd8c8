//! Hears what other instances tell.
//!
//! A connection that sees no failure may yet lead to a server that nobody else uses: after a failover the
//! old one may go on. Now and then, therefore, the link on which this instance tells is renewed, and it
//! listens whether it hears itself by it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use entity::Millis;
use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::crier::{Crier, Pending};
use super::hub::Hub;
use super::notice::{CHANNEL, Notice};
use crate::config::limits;
use crate::db::{self, Db};
use crate::redis::{Redis, Trouble};

pub(super) struct Relay {
    db: Db,
    hub: Arc<Hub>,
    redis: Redis,
    /// This instance: what it told itself it does not want to hear.
    id: Uuid,
    /// What the others are still to be told.
    pending: Arc<Pending>,
}

impl Relay {
    pub fn new(db: Db, hub: Arc<Hub>, redis: Redis, crier: &Crier) -> Relay {
        Relay { db, hub, redis, id: crier.id(), pending: crier.pending() }
    }

    pub async fn run(self) {
        for attempt in 0.. {
            match self.redis.listen(CHANNEL, attempt).await {
                Ok(listener) => {
                    let (sink, messages) = listener.split();
                    // While nobody listened something may have been missed. What comes from now on
                    // is heard, so this is asked now and not before.
                    self.hub.deliver(&Notice::to_everyone(self.time().await));
                    let ended = self.listen(sink, messages).await;
                    tracing::warn!(error = %ended, "other instances are not heard any more");
                    if matches!(ended, Trouble::Deaf) {
                        // Nor did they hear what was told where nobody else listened.
                        let everyone = Notice::to_everyone(self.time().await);
                        self.pending.add(Notice { from: self.id, ..everyone });
                    }
                }
                Err(error) => tracing::debug!(%error, "other instances cannot be heard"),
            }
            sleep(limits::REDIS_RETRY).await;
        }
    }

    /// Listens for as long as Redis answers, and this instance hears itself.
    async fn listen(
        &self,
        mut sink: ::redis::aio::PubSubSink,
        mut messages: ::redis::aio::PubSubStream,
    ) -> Trouble {
        let mut pings = interval(limits::REDIS_PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = pin!(self.beat());
        // The last beat has been heard, before it was known that it was told.
        let mut heard = false;
        // Until when it must be heard.
        let mut until: Option<Instant> = None;
        loop {
            tokio::select! {
                // What has come is heard before anything is found to be late.
                biased;
                message = messages.next() => {
                    let Some(message) = message else { return Trouble::Away };
                    let mut notice = Notice::from_json(message.get_payload_bytes());
                    if notice.from == self.id {
                        if notice.is_empty() {
                            heard = until.take().is_none();
                        }
                        continue;
                    }
                    if notice.everyone && notice.at == 0 {
                        notice.at = self.time().await;
                    }
                    self.hub.deliver(&notice);
                }
                _ = pings.tick() => {
                    // A line that is cut without a word looks like one on which nobody speaks.
                    match timeout(limits::REDIS_PATIENCE, sink.ping::<::redis::Value>()).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return error.into(),
                        Err(_) => return Trouble::Late(limits::REDIS_PATIENCE),
                    }
                }
                told = &mut beat => {
                    // An error says nothing about this line: it was not told.
                    if told.is_ok() && !heard {
                        until = Some(Instant::now() + limits::REDIS_PATIENCE);
                    }
                    heard = false;
                    beat.set(self.beat());
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    return Trouble::Deaf;
                }
            }
        }
    }

    /// After a while tells, on a new link, what only this instance wants to hear.
    async fn beat(&self) -> Result<(), Trouble> {
        sleep(limits::REDIS_LINE).await;
        self.redis.renew().await?;
        self.redis.publish(CHANNEL, &Notice::beat(self.id).to_json()).await
    }

    /// A `serverTimestamp` of now. Without a database to ask it is the latest that the hub knows.
    async fn time(&self) -> Millis {
        let now = timeout(Duration::from_secs(1), db::now(self.db.pool())).await;
        match now {
            Ok(Ok(now)) => now - limits::TIMESTAMP_LAG.as_millis() as Millis,
            _ => 0,
        }
    }
}
