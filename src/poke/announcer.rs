//! Where news come from: whoever commits has one of these, with its database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use entity::Millis;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::config::limits;

/// What was committed, as far as it is known without asking the database.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Who did it. Nil: the server itself.
    pub account: Uuid,
    /// The scopes that were locked, with the heads that they had before. Scopes that did not exist
    /// before are not among them: their only member is `account`.
    pub heads: HashMap<Uuid, i64>,
    /// The database's clock, under the locks.
    pub now: Millis,
}

pub(super) enum Item {
    Commit(Commit),
    /// Sessions of this account have ended.
    SessionsEnded(Uuid),
    /// Everything before this is to be told before it is answered.
    Flush(oneshot::Sender<()>),
}

/// Takes news, and never keeps anyone waiting. Without anyone to hear it ([`Announcer::default`]),
/// as in commands, it does nothing.
#[derive(Clone, Debug, Default)]
pub struct Announcer(Option<Arc<Outbox>>);

#[derive(Debug)]
struct Outbox {
    items: mpsc::Sender<Item>,
    /// Set when there were more than could be noted: then all are poked.
    overflowed: Arc<AtomicBool>,
}

/// The other end of an [`Announcer`].
pub struct News {
    pub(super) items: mpsc::Receiver<Item>,
    pub(super) overflowed: Arc<AtomicBool>,
}

impl Announcer {
    pub fn new() -> (Announcer, News) {
        let (sender, items) = mpsc::channel(limits::NEWS);
        let overflowed = Arc::new(AtomicBool::new(false));
        let outbox = Outbox { items: sender, overflowed: overflowed.clone() };
        (Announcer(Some(Arc::new(outbox))), News { items, overflowed })
    }

    /// Something was committed.
    pub fn committed_best_effort(&self, commit: Commit) {
        self.tell(Item::Commit(commit));
    }

    /// Sessions of an account have ended. Should this get lost, they are found out all the same, a
    /// little later.
    pub fn sessions_ended_best_effort(&self, account: Uuid) {
        self.tell(Item::SessionsEnded(account));
    }

    fn tell(&self, item: Item) {
        let Some(outbox) = &self.0 else { return };
        if let Err(TrySendError::Full(item)) = outbox.items.try_send(item) {
            outbox.overflowed.store(true, Ordering::Release);
            // It may have been emptied in between, and nobody would look at that. If it is still full, it
            // will be emptied after this, and then they look.
            let _ = outbox.items.try_send(item);
        }
    }

    /// Waits until everything that was said before has been told.
    pub(super) async fn flush(&self) {
        let Some(outbox) = &self.0 else { return };
        let (done, told) = oneshot::channel();
        if outbox.items.send(Item::Flush(done)).await.is_ok() {
            // An error: the teller has ended, and there is nothing to wait for.
            let _ = told.await;
        }
    }
}
