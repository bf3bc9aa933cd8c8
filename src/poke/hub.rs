//! Who is connected to this instance, and waits to be poked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entity::Millis;
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

use super::notice::Notice;
use crate::auth::Caller;
use crate::config::limits;

#[derive(Default)]
pub struct Hub {
    people: Mutex<People>,
    /// Wakes the one who looks after sessions.
    pub(super) doubts: Notify,
}

#[derive(Default)]
struct People {
    accounts: HashMap<Uuid, Person>,
    /// Numbers the sockets.
    next: u64,
    /// The latest time that was told: none that is told later lies before it.
    latest: Millis,
    /// Accounts whose sessions are in doubt.
    doubtful: BTreeSet<Uuid>,
}

struct Person {
    /// The time of the latest poke. Whoever was not quick enough for the one before finds the
    /// latest one: pokes do not queue up.
    marks: watch::Sender<Millis>,
    sockets: HashMap<u64, Socket>,
}

struct Socket {
    session: Uuid,
    end: oneshot::Sender<()>,
}

/// A socket's place in the hub. Dropping it gives the place up.
pub struct Seat {
    hub: Arc<Hub>,
    account: Uuid,
    number: u64,
    /// Changes with each poke.
    pub marks: watch::Receiver<Millis>,
    /// Comes when the session has ended.
    pub ended: oneshot::Receiver<()>,
}

impl Hub {
    /// A place for a socket of this caller. None: they have enough.
    pub fn seat(self: &Arc<Hub>, caller: Caller) -> Option<Seat> {
        let mut people = self.people();
        people.next += 1;
        let (number, latest) = (people.next, people.latest);
        let person = people.accounts.entry(caller.account).or_insert_with(|| Person {
            marks: watch::Sender::new(latest),
            sockets: HashMap::new(),
        });
        if person.sockets.len() >= limits::SOCKETS_PER_ACCOUNT {
            return None;
        }
        let (end, ended) = oneshot::channel();
        person.sockets.insert(number, Socket { session: caller.session, end });
        let marks = person.marks.subscribe();
        Some(Seat { hub: self.clone(), account: caller.account, number, marks, ended })
    }

    pub fn is_empty(&self) -> bool {
        self.people().accounts.is_empty()
    }

    /// Does what a notice asks for.
    pub(super) fn deliver(self: &Arc<Hub>, notice: &Notice) {
        let mut people = self.people();
        let at = people.latest.max(notice.at);
        people.latest = at;
        for account in &notice.accounts {
            if let Some(person) = people.accounts.get(account) {
                person.marks.send_replace(at);
            }
        }
        drop(people);
        if !notice.sessions.is_empty() {
            self.doubt(&notice.sessions);
        }
        if notice.everyone {
            tokio::spawn(self.clone().poke_everyone(at));
        }
    }

    /// A portion at a time: each of them pulls.
    async fn poke_everyone(self: Arc<Hub>, at: Millis) {
        let accounts: Vec<Uuid> = self.people().accounts.keys().copied().collect();
        for (turn, portion) in accounts.chunks(limits::POKED_AT_ONCE).enumerate() {
            if turn > 0 {
                tokio::time::sleep(limits::POKE_PAUSE).await;
            }
            let people = self.people();
            for person in portion.iter().filter_map(|account| people.accounts.get(account)) {
                person.marks.send_replace(at);
            }
        }
    }

    /// Puts the sessions of these accounts in doubt.
    pub(super) fn doubt(&self, accounts: &BTreeSet<Uuid>) {
        self.people().doubtful.extend(accounts);
        self.doubts.notify_one();
    }

    /// Accounts whose sessions are in doubt; from now on they are not.
    pub(super) fn take_doubtful(&self) -> BTreeSet<Uuid> {
        std::mem::take(&mut self.people().doubtful)
    }

    /// The sessions that sockets stand for: all, or those of some accounts.
    pub(super) fn sessions(&self, of: Option<&BTreeSet<Uuid>>) -> Vec<Uuid> {
        let people = self.people();
        let mut sessions: Vec<Uuid> = people
            .accounts
            .iter()
            .filter(|(account, _)| of.is_none_or(|some| some.contains(account)))
            .flat_map(|(_, person)| person.sockets.values().map(|socket| socket.session))
            .collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Ends the sockets of these sessions.
    pub(super) fn end(&self, sessions: &BTreeSet<Uuid>) {
        let mut people = self.people();
        for person in people.accounts.values_mut() {
            let ending = person.sockets.extract_if(|_, s| sessions.contains(&s.session));
            for (_, socket) in ending {
                // An error: it has ended already.
                let _ = socket.end.send(());
            }
        }
    }

    fn people(&self) -> MutexGuard<'_, People> {
        // Nothing that holds it can panic half-way.
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut people = self.hub.people();
        if let Some(person) = people.accounts.get_mut(&self.account) {
            person.sockets.remove(&self.number);
            if person.sockets.is_empty() {
                people.accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(account: u128, session: u128) -> Caller {
        Caller { account: Uuid::from_u128(account), session: Uuid::from_u128(session) }
    }

    fn about(account: u128, at: Millis) -> Notice {
        Notice { accounts: [Uuid::from_u128(account)].into(), at, ..Notice::default() }
    }

    #[test]
    fn those_are_poked_whom_it_concerns_and_times_never_fall() {
        let hub = Arc::new(Hub::default());
        let mut ada = hub.seat(caller(1, 1)).expect("a place");
        let bob = hub.seat(caller(2, 2)).expect("a place");
        hub.deliver(&about(1, 50));
        hub.deliver(&about(1, 40));
        assert!(ada.marks.has_changed().expect("the hub is there"));
        assert_eq!(*ada.marks.borrow_and_update(), 50);
        assert!(!ada.marks.has_changed().expect("the hub is there"));
        assert!(!bob.marks.has_changed().expect("the hub is there"));
    }

    #[test]
    fn an_account_has_so_many_places_and_those_that_were_given_up_are_free() {
        let hub = Arc::new(Hub::default());
        let mut seats: Vec<Seat> =
            (0..limits::SOCKETS_PER_ACCOUNT).filter_map(|_| hub.seat(caller(1, 1))).collect();
        assert_eq!(seats.len(), limits::SOCKETS_PER_ACCOUNT);
        assert!(hub.seat(caller(1, 2)).is_none());
        assert!(hub.seat(caller(2, 3)).is_some(), "another account");
        seats.pop();
        assert!(hub.seat(caller(1, 2)).is_some());
        drop(seats);
        assert!(hub.is_empty());
    }

    #[test]
    fn sockets_end_with_their_session_alone() {
        let hub = Arc::new(Hub::default());
        let mut one = hub.seat(caller(1, 1)).expect("a place");
        let mut other = hub.seat(caller(1, 2)).expect("a place");
        assert_eq!(hub.sessions(None), [Uuid::from_u128(1), Uuid::from_u128(2)]);
        assert!(hub.sessions(Some(&[Uuid::from_u128(9)].into())).is_empty());
        hub.end(&[Uuid::from_u128(1)].into());
        assert_eq!(one.ended.try_recv(), Ok(()));
        assert!(other.ended.try_recv().is_err());
        drop(one);
        assert_eq!(hub.sessions(None), [Uuid::from_u128(2)]);
    }
}
