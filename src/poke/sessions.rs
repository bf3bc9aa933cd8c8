//! Closes the sockets of sessions that have ended: by logging out, with another password, with the
//! account, or because the operator did something behind the server's back.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::hub::Hub;
use crate::auth::Auth;
use crate::config::limits;
use crate::error::Error;

pub(super) struct Watch {
    auth: Auth,
    hub: Arc<Hub>,
}

impl Watch {
    pub fn new(auth: Auth, hub: Arc<Hub>) -> Watch {
        Watch { auth, hub }
    }

    /// Looks when it is told to, and at all of them now and then: news may get lost.
    pub async fn run(self) {
        let mut now_and_then = tokio::time::interval(limits::SESSION_CHECK);
        now_and_then.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let some = tokio::select! {
                () = self.hub.doubts.notified() => Some(self.hub.take_doubtful()),
                _ = now_and_then.tick() => None,
            };
            if let Err(error) = self.look(some.as_ref()).await {
                tracing::warn!(error = error.message, "sessions could not be looked at");
                if let Some(accounts) = some {
                    sleep(limits::SESSION_RETRY).await;
                    self.hub.doubt(&accounts);
                }
            }
        }
    }

    async fn look(&self, of: Option<&BTreeSet<Uuid>>) -> Result<(), Error> {
        let sessions = self.hub.sessions(of);
        if sessions.is_empty() {
            return Ok(());
        }
        let alive = timeout(limits::GATHER_PATIENCE, self.auth.alive(&sessions));
        let alive = alive.await.unwrap_or_else(|_| Err(Error::unavailable()))?;
        let ended = sessions.into_iter().filter(|session| !alive.contains(session)).collect();
        self.hub.end(&ended);
        Ok(())
    }
}
