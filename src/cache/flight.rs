//! Who wants the same answer at the same time waits for one who makes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Entry, Key};

/// An answer that is being made. None: not yet.
type Coming = watch::Receiver<Option<Made>>;

#[derive(Clone)]
enum Made {
    Shared(Arc<Entry>),
    Withheld,
}

/// The answers that are being made.
#[derive(Clone, Default)]
pub struct Flights {
    coming: Arc<Mutex<HashMap<Key, Coming>>>,
}

/// What someone who wants an answer does about it.
pub enum Seat {
    /// Make it.
    Lead(Lead),
    /// Wait for it.
    Follow(Follow),
}

/// Makes an answer for all who want it. Dropped, however that comes about, it sets them free: what one
/// could not do does not stop the others.
pub struct Lead {
    key: Key,
    flights: Flights,
    answer: watch::Sender<Option<Made>>,
}

/// Waits for an answer.
pub struct Follow {
    answer: Coming,
}

/// What became of it.
pub enum Landed {
    Made(Arc<Entry>),
    /// It was made, and is good for nobody else: the next would be no better.
    Withheld,
    /// Whoever was to make it has gone away, or was not let in.
    Lost,
}

impl Flights {
    pub fn join(&self, key: Key) -> Seat {
        let mut coming = self.coming();
        if let Some(answer) = coming.get(&key) {
            return Seat::Follow(Follow { answer: answer.clone() });
        }
        let (sender, receiver) = watch::channel(None);
        coming.insert(key, receiver);
        Seat::Lead(Lead { key, flights: self.clone(), answer: sender })
    }

    fn coming(&self) -> MutexGuard<'_, HashMap<Key, Coming>> {
        // Nothing that holds it can panic half-way.
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// Gives the answer to all who wait.
    pub fn share(self, entry: Arc<Entry>) {
        self.land(Made::Shared(entry));
    }

    /// Sends all who wait away, each to make an answer of their own.
    pub fn withhold(self) {
        self.land(Made::Withheld);
    }

    fn land(self, made: Made) {
        // An error: nobody waits.
        let _ = self.answer.send(Some(made));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flights.coming().remove(&self.key);
    }
}

impl Follow {
    pub async fn wait(mut self) -> Landed {
        match self.answer.wait_for(Option::is_some).await.ok().and_then(|made| made.clone()) {
            Some(Made::Shared(entry)) => Landed::Made(entry),
            Some(Made::Withheld) => Landed::Withheld,
            None => Landed::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::About;

    fn follow(flights: &Flights, document: &str) -> Follow {
        match flights.join(Key::of(document)) {
            Seat::Follow(follow) => follow,
            Seat::Lead(_) => panic!("nobody leads"),
        }
    }

    fn lead(flights: &Flights, document: &str) -> Lead {
        match flights.join(Key::of(document)) {
            Seat::Lead(lead) => lead,
            Seat::Follow(_) => panic!("someone leads already"),
        }
    }

    #[tokio::test]
    async fn one_makes_it_and_all_have_it() {
        let flights = Flights::default();
        let first = lead(&flights, "a");
        let other = lead(&flights, "b");
        let followers: Vec<Follow> = (0..3).map(|_| follow(&flights, "a")).collect();
        let late = follow(&flights, "a");
        let entry = Arc::new(Entry::new(b"answer".to_vec().into(), 0, i64::MAX, About::nothing()));
        first.share(entry.clone());
        for follower in followers.into_iter().chain([late]) {
            let Landed::Made(found) = follower.wait().await else { panic!("it was made") };
            assert!(Arc::ptr_eq(&found, &entry));
        }
        // Done is done: the next one makes another.
        drop((lead(&flights, "a"), other));
    }

    #[tokio::test]
    async fn who_fails_sets_the_others_free() {
        let flights = Flights::default();
        for end in ["dropped", "panicked", "cancelled"] {
            let leading = lead(&flights, "a");
            let follower = follow(&flights, "a");
            match end {
                "dropped" => drop(leading),
                "panicked" => {
                    let task = tokio::spawn(async move {
                        let _leading = leading;
                        panic!("on purpose");
                    });
                    assert!(task.await.is_err());
                }
                _ => {
                    let task = tokio::spawn(async move {
                        let _leading = leading;
                        std::future::pending::<()>().await;
                    });
                    tokio::task::yield_now().await;
                    task.abort();
                }
            }
            assert!(matches!(follower.wait().await, Landed::Lost), "{end}");
            drop(lead(&flights, "a"));
        }
        let leading = lead(&flights, "a");
        let follower = follow(&flights, "a");
        leading.withhold();
        assert!(matches!(follower.wait().await, Landed::Withheld));
    }
}
