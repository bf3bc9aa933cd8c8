//! Hears what other instances tell.

use std::sync::Arc;
use std::time::Duration;

use entity::Millis;
use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

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
}

impl Relay {
    pub fn new(db: Db, hub: Arc<Hub>, redis: Redis, id: Uuid) -> Relay {
        Relay { db, hub, redis, id }
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
                }
                Err(error) => tracing::debug!(%error, "other instances cannot be heard"),
            }
            sleep(limits::REDIS_RETRY).await;
        }
    }

    /// Listens for as long as Redis answers.
    async fn listen(
        &self,
        mut sink: ::redis::aio::PubSubSink,
        mut messages: ::redis::aio::PubSubStream,
    ) -> Trouble {
        let mut pings = interval(limits::REDIS_PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return Trouble::Away };
                    let mut notice = Notice::from_json(message.get_payload_bytes());
                    if notice.from == self.id {
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
            }
        }
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
