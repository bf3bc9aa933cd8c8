//! Who is connected to this instance, and waits to be poked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entity::Millis;
use tokio::sync::Notify;
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
    /// The sockets of each account.
    accounts: HashMap<Uuid, Vec<Arc<Bell>>>,
    /// The latest time that was told: none that is told later lies before it.
    latest: Millis,
    /// Accounts whose sessions are in doubt.
    doubtful: BTreeSet<Uuid>,
}

/// What the hub tells a socket by. There are many, and mostly idle: a watch channel takes several times
/// the memory.
struct Bell {
    session: Uuid,
    told: Mutex<Told>,
    changed: Notify,
}

/// Whoever was not quick enough for the poke before finds the latest one: they do not queue up.
struct Told {
    /// How often it was poked.
    pokes: u64,
    /// The time of the latest poke.
    at: Millis,
    /// The session has ended.
    ended: bool,
}

impl Bell {
    fn ring(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told());
        self.changed.notify_waiters();
    }

    fn poke(&self, at: Millis) {
        self.ring(|told| (told.pokes, told.at) = (told.pokes + 1, at));
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Nothing that holds it can panic half-way.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_until(&self, enough: impl Fn(&Told) -> bool) {
        loop {
            // First this, then the question: it hears of all that comes from here on.
            let changed = self.changed.notified();
            if enough(&self.told()) {
                return;
            }
            changed.await;
        }
    }
}

/// A socket's place in the hub. Dropping it gives the place up.
pub struct Seat {
    hub: Arc<Hub>,
    account: Uuid,
    bell: Arc<Bell>,
}

impl Seat {
    /// The pokes that come from now on.
    pub fn marks(&self) -> Marks {
        Marks { seen: self.bell.told().pokes, bell: self.bell.clone() }
    }

    /// Waits until the session has ended.
    pub async fn ended(&self) {
        self.bell.wait_until(|told| told.ended).await;
    }
}

/// What one subscription has seen of the pokes of its socket.
#[derive(Clone)]
pub struct Marks {
    bell: Arc<Bell>,
    seen: u64,
}

impl Marks {
    /// Waits until there is one that was not taken. Nothing is lost if this is dropped.
    pub async fn wait(&self) {
        self.bell.wait_until(|told| told.pokes != self.seen).await;
    }

    /// All that came until now, as one: the time of the latest.
    pub fn take(&mut self) -> Millis {
        let told = self.bell.told();
        self.seen = told.pokes;
        told.at
    }
}

impl Hub {
    /// A place for a socket of this caller. None: they have enough.
    pub fn seat(self: &Arc<Hub>, caller: Caller) -> Option<Seat> {
        let mut people = self.people();
        let told = Told { pokes: 0, at: people.latest, ended: false };
        // Most have one.
        let bells = people.accounts.entry(caller.account).or_insert_with(|| Vec::with_capacity(1));
        if bells.len() >= limits::SOCKETS_PER_ACCOUNT {
            return None;
        }
        let bell = Bell { session: caller.session, told: Mutex::new(told), changed: Notify::new() };
        let bell = Arc::new(bell);
        bells.push(bell.clone());
        Some(Seat { hub: self.clone(), account: caller.account, bell })
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
            people.accounts.get(account).into_iter().flatten().for_each(|bell| bell.poke(at));
        }
        drop(people);
        if !notice.sessions.is_empty() {
            self.doubt(&notice.sessions);
        }
        if notice.everyone {
            tokio::spawn(self.clone().poke_everyone());
        }
    }

    /// A portion at a time: each of them pulls.
    async fn poke_everyone(self: Arc<Hub>) {
        let accounts: Vec<Uuid> = self.people().accounts.keys().copied().collect();
        for (turn, portion) in accounts.chunks(limits::POKED_AT_ONCE).enumerate() {
            if turn > 0 {
                tokio::time::sleep(limits::POKE_PAUSE).await;
            }
            let people = self.people();
            let bells = portion.iter().filter_map(|account| people.accounts.get(account)).flatten();
            bells.for_each(|bell| bell.poke(people.latest));
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
            .flat_map(|(_, bells)| bells.iter().map(|bell| bell.session))
            .collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Ends the sockets of these sessions.
    pub(super) fn end(&self, sessions: &BTreeSet<Uuid>) {
        if sessions.is_empty() {
            return;
        }
        let people = self.people();
        let bells = people.accounts.values().flatten();
        for bell in bells.filter(|bell| sessions.contains(&bell.session)) {
            bell.ring(|told| told.ended = true);
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
        if let Some(bells) = people.accounts.get_mut(&self.account) {
            bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
            if bells.is_empty() {
                people.accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

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
        let ada = hub.seat(caller(1, 1)).expect("a place");
        let bob = hub.seat(caller(2, 2)).expect("a place");
        let [mut adas, bobs] = [ada.marks(), bob.marks()];
        hub.deliver(&about(1, 50));
        hub.deliver(&about(1, 40));
        assert!(adas.wait().now_or_never().is_some());
        assert_eq!(adas.take(), 50);
        assert!(adas.wait().now_or_never().is_none());
        hub.deliver(&about(1, 50));
        assert!(adas.wait().now_or_never().is_some(), "also of the same time");
        assert!(bobs.wait().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_is_poked_with_everyone_keeps_a_later_time() {
        let hub = Arc::new(Hub::default());
        let people = 1..=2 * limits::POKED_AT_ONCE as u128;
        let seats: Vec<Seat> =
            people.clone().map(|who| hub.seat(caller(who, who)).expect("a place")).collect();
        let mut marks: Vec<Marks> = seats.iter().map(Seat::marks).collect();
        hub.deliver(&Notice::to_everyone(10));
        tokio::task::yield_now().await;
        // When half of them have been poked.
        let accounts = people.map(Uuid::from_u128).collect();
        hub.deliver(&Notice { accounts, at: 20, ..Notice::default() });
        tokio::time::sleep(limits::POKE_PAUSE * 2).await;
        assert!(marks.iter_mut().all(|marks| marks.take() == 20));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let hub = Arc::new(Hub::default());
        let seat = hub.seat(caller(1, 1)).expect("a place");
        let [marks, other] = [seat.marks(), seat.marks()];
        let waiting = tokio::spawn(async move { futures_util::join!(marks.wait(), other.wait()) });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        hub.deliver(&about(1, 1));
        let woken = tokio::time::timeout(Duration::from_secs(10), waiting);
        woken.await.expect("both were woken").expect("no panic");
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
        let one = hub.seat(caller(1, 1)).expect("a place");
        let other = hub.seat(caller(1, 2)).expect("a place");
        assert_eq!(hub.sessions(None), [Uuid::from_u128(1), Uuid::from_u128(2)]);
        assert!(hub.sessions(Some(&[Uuid::from_u128(9)].into())).is_empty());
        hub.end(&[Uuid::from_u128(1)].into());
        assert!(one.ended().now_or_never().is_some());
        assert!(other.ended().now_or_never().is_none());
        drop(one);
        assert_eq!(hub.sessions(None), [Uuid::from_u128(2)]);
    }
}
