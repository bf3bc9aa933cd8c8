//! Who gets to work with the database, and when. So many requests are worked on at once; the others
//! wait in a queue of a bounded length, one queue for each caller, and the callers take turns: a
//! thousand requests of one do not hold up the one request of another. Whoever finds the queue full, or
//! waits too long, gets an appointment: those follow each other as requests are worked off, so that who
//! was turned away can be served when they come back.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::config::limits;
use crate::error::{self, Error};

/// Who asks, as far as it is known before the database is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Requester {
    /// The account of a token of ours, whose session may have ended since.
    Account(Uuid),
    /// Whoever has no token: they want to log in or to register.
    Address(IpAddr),
}

/// The doors to the database: one for accounts and one for strangers, so that a storm of logins, each of
/// which costs a hash, holds up nobody who has a token.
#[derive(Clone)]
pub struct Admission {
    accounts: Door,
    strangers: Door,
}

impl Admission {
    /// For so many requests of accounts at once, with so many more that wait. Of strangers there may be
    /// a quarter as many in addition.
    pub fn new(at_once: usize, waiting: usize) -> Admission {
        let part = |of: usize, parts: usize| of.div_ceil(parts);
        let accounts = Bounds {
            at_once,
            of_one: part(at_once, 4),
            waiting,
            waiting_of_one: part(waiting, 20),
            patience: limits::PATIENCE,
        };
        // One address may be that of many people.
        let strangers = Bounds {
            at_once: part(at_once, 4),
            of_one: part(at_once, 4),
            waiting: part(waiting, 4),
            waiting_of_one: part(waiting, 8),
            patience: limits::PATIENCE,
        };
        Admission { accounts: Door::new(accounts), strangers: Door::new(strangers) }
    }

    /// Waits for a place. An error says when to come back.
    pub async fn enter(&self, requester: Requester) -> Result<Place, Error> {
        let door = match requester {
            Requester::Account(_) => &self.accounts,
            Requester::Address(_) => &self.strangers,
        };
        door.enter(requester).await
    }

    /// How many requests are worked on, and how many wait.
    pub fn load(&self) -> (usize, usize) {
        let [accounts, strangers] = [self.accounts.load(), self.strangers.load()];
        (accounts.0 + strangers.0, accounts.1 + strangers.1)
    }
}

/// How much a door lets in.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Requests that are worked on at once.
    at_once: usize,
    /// Of those, of one caller.
    of_one: usize,
    /// Requests that wait.
    waiting: usize,
    /// Of those, of one caller.
    waiting_of_one: usize,
    /// How long one waits.
    patience: Duration,
}

#[derive(Clone)]
struct Door {
    patience: Duration,
    hall: Arc<Mutex<Hall>>,
}

/// Until more is known: two hundred requests a second.
const FIRST_PACE: Duration = Duration::from_millis(5);

/// Who is in, and who waits at the door.
struct Hall {
    bounds: Bounds,
    working: usize,
    waiting: usize,
    queues: HashMap<Requester, Queue>,
    /// Those who wait, in the order of their turns.
    turns: VecDeque<Requester>,
    /// What lies between two requests that are done, on average, while others wait.
    pace: Duration,
    /// When the last one was done, if others waited then.
    last_done: Option<Instant>,
    /// The last one that was given out.
    appointment: Instant,
}

#[derive(Default)]
struct Queue {
    working: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A request that is being worked on. Its place is free again when this is dropped.
pub struct Place {
    hall: Arc<Mutex<Hall>>,
    requester: Requester,
}

impl Door {
    fn new(bounds: Bounds) -> Door {
        let hall = Hall {
            bounds,
            working: 0,
            waiting: 0,
            queues: HashMap::new(),
            turns: VecDeque::new(),
            pace: FIRST_PACE,
            last_done: None,
            appointment: Instant::now(),
        };
        Door { patience: bounds.patience, hall: Arc::new(Mutex::new(hall)) }
    }

    async fn enter(&self, requester: Requester) -> Result<Place, Error> {
        let place = {
            let mut hall = lock(&self.hall);
            if hall.has_room_for(requester) {
                hall.admit(requester);
                return Ok(Place { hall: self.hall.clone(), requester });
            }
            hall.wait(requester)?
        };
        // A place that comes in the moment in which one leaves is dropped, and goes to the next.
        match tokio::time::timeout(self.patience, place).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(lock(&self.hall).turn_away(Instant::now())),
        }
    }

    fn load(&self) -> (usize, usize) {
        let mut hall = lock(&self.hall);
        hall.forget_the_impatient();
        (hall.working, hall.waiting)
    }
}

/// The hall is never left half-changed: what is done under its lock cannot panic in between.
fn lock(hall: &Mutex<Hall>) -> MutexGuard<'_, Hall> {
    hall.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hall {
    fn has_room_for(&self, requester: Requester) -> bool {
        let of_one = self.queues.get(&requester).map_or(0, |queue| queue.working);
        // With room left, only those wait who have their share already.
        self.working < self.bounds.at_once && of_one < self.bounds.of_one
    }

    fn admit(&mut self, requester: Requester) {
        self.working += 1;
        self.queues.entry(requester).or_default().working += 1;
    }

    fn wait(&mut self, requester: Requester) -> Result<oneshot::Receiver<Place>, Error> {
        let of_one = self.queues.get(&requester).map_or(0, |queue| queue.waiting.len());
        if self.waiting >= self.bounds.waiting || of_one >= self.bounds.waiting_of_one {
            // Those who left in the meantime take no room.
            self.forget_the_impatient();
        }
        if self.waiting >= self.bounds.waiting {
            return Err(self.turn_away(Instant::now()));
        }
        let queue = self.queues.entry(requester).or_default();
        if queue.waiting.len() >= self.bounds.waiting_of_one {
            return Err(Error::rate_limited(error::spread()));
        }
        if queue.waiting.is_empty() {
            self.turns.push_back(requester);
        }
        let (place, waiting) = oneshot::channel();
        queue.waiting.push_back(place);
        self.waiting += 1;
        Ok(waiting)
    }

    fn forget_the_impatient(&mut self) {
        for queue in self.queues.values_mut() {
            queue.waiting.retain(|place| !place.is_closed());
        }
        self.queues.retain(|_, queue| queue.working > 0 || !queue.waiting.is_empty());
        self.waiting = self.queues.values().map(|queue| queue.waiting.len()).sum();
        let queues = &self.queues;
        self.turns.retain(|requester| queues.get(requester).is_some_and(|q| !q.waiting.is_empty()));
    }

    /// Gives out the next appointment. The queue as it is now goes first.
    fn turn_away(&mut self, now: Instant) -> Error {
        // A quarter more than are done: who comes too early finds the queue, and with too few the server
        // would have nothing to do, and never learn that it can do more.
        let step = self.pace * 4 / 5;
        let queue = step * u32::try_from(self.waiting).unwrap_or(u32::MAX);
        let last = now + limits::COME_BACK;
        let next = Ord::max(self.appointment, now + queue) + step;
        self.appointment = next.min(last);
        Error::overloaded((self.appointment - now).as_secs_f64().ceil() as u64)
    }

    /// Notes that a request is done.
    fn keep_pace(&mut self, now: Instant) {
        let others_wait = self.waiting > 0;
        if let (Some(last), true) = (self.last_done, others_wait) {
            self.pace = (self.pace * 15 + (now - last)) / 16;
        }
        self.last_done = others_wait.then_some(now);
    }

    fn leave(&mut self, requester: Requester) {
        self.keep_pace(Instant::now());
        self.working -= 1;
        if let Some(queue) = self.queues.get_mut(&requester) {
            queue.working -= 1;
        }
        self.forget_if_idle(requester);
    }

    fn forget_if_idle(&mut self, requester: Requester) {
        let queue = self.queues.get(&requester);
        if queue.is_some_and(|queue| queue.working == 0 && queue.waiting.is_empty()) {
            self.queues.remove(&requester);
        }
    }

    /// Admits the next whose turn it is and who may have a place.
    fn next(&mut self) -> Option<(Requester, oneshot::Sender<Place>)> {
        for _ in 0..self.turns.len() {
            let requester = self.turns.pop_front()?;
            if !self.has_room_for(requester) {
                self.turns.push_back(requester);
                continue;
            }
            let Some(queue) = self.queues.get_mut(&requester) else { continue };
            let mut found = None;
            while let Some(waiting) = queue.waiting.pop_front() {
                self.waiting -= 1;
                if !waiting.is_closed() {
                    found = Some(waiting);
                    break;
                }
            }
            if !queue.waiting.is_empty() {
                self.turns.push_back(requester);
            }
            match found {
                Some(waiting) => {
                    self.admit(requester);
                    return Some((requester, waiting));
                }
                None => self.forget_if_idle(requester),
            }
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut hall = lock(&self.hall);
            hall.leave(self.requester);
            hall.next()
        };
        if let Some((requester, waiting)) = next {
            // Whoever left just now drops the place, which then goes to the next in the same way.
            let _ = waiting.send(Place { hall: self.hall.clone(), requester });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    const BOUNDS: Bounds = Bounds {
        at_once: 2,
        of_one: 2,
        waiting: 6,
        waiting_of_one: 4,
        patience: Duration::from_secs(60),
    };

    fn requester(number: u128) -> Requester {
        Requester::Account(Uuid::from_u128(number))
    }

    /// Someone who waits, and tells who they are when they are let in.
    fn waits(
        door: &Door,
        number: u128,
        told: &tokio::sync::mpsc::UnboundedSender<u128>,
    ) -> tokio::task::JoinHandle<()> {
        let (door, told) = (door.clone(), told.clone());
        tokio::spawn(async move {
            let place = door.enter(requester(number)).await.expect("a place");
            told.send(number).expect("somebody listens");
            drop(place);
        })
    }

    #[tokio::test]
    async fn callers_take_turns_whoever_came_first() {
        let door = Door::new(Bounds { at_once: 1, ..BOUNDS });
        let place = door.enter(requester(9)).await.expect("an empty hall");
        let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for number in [1, 1, 1, 1, 2, 3] {
            tasks.push(waits(&door, number, &told));
            // Each stands in its queue before the next one comes.
            while door.load().1 < tasks.len() {
                tokio::task::yield_now().await;
            }
        }
        drop(place);
        for task in tasks {
            task.await.expect("no panic");
        }
        let mut order = Vec::new();
        for _ in 0..6 {
            order.push(tells.recv().await.expect("six"));
        }
        assert_eq!(order, [1, 2, 3, 1, 1, 1]);
        assert_eq!(door.load(), (0, 0));
        assert!(lock(&door.hall).queues.is_empty(), "nobody is remembered");
    }

    #[tokio::test]
    async fn one_caller_has_a_share_and_no_more() {
        let door = Door::new(Bounds { at_once: 3, of_one: 2, ..BOUNDS });
        let first = door.enter(requester(1)).await.expect("a place");
        let _second = door.enter(requester(1)).await.expect("a place");
        let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
        let third = waits(&door, 1, &told);
        while door.load().1 == 0 {
            tokio::task::yield_now().await;
        }
        let _other = door.enter(requester(2)).await.expect("room for another");
        assert!(tells.try_recv().is_err(), "the third waits");
        drop(first);
        third.await.expect("no panic");
        assert_eq!(tells.recv().await, Some(1));
    }

    #[tokio::test]
    async fn a_full_queue_says_when_to_come_back() {
        let door = Door::new(BOUNDS);
        let places = [door.enter(requester(8)).await, door.enter(requester(9)).await];
        let (told, _tells) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks: Vec<_> = (0..4).map(|_| waits(&door, 1, &told)).collect();
        while door.load().1 < 4 {
            tokio::task::yield_now().await;
        }
        let too_many = door.enter(requester(1)).await.err().expect("its queue is full");
        assert_eq!(too_many.code, Code::RateLimited);
        tasks.extend([waits(&door, 2, &told), waits(&door, 3, &told)]);
        while door.load().1 < 6 {
            tokio::task::yield_now().await;
        }
        let full = door.enter(requester(4)).await.err().expect("the queue is full");
        assert_eq!(full.code, Code::Unavailable);
        assert!(full.retry_after.is_some_and(|seconds| seconds >= 1));
        // Who leaves makes room, and takes no place along.
        for task in &tasks[..4] {
            task.abort();
        }
        while !tasks[..4].iter().all(|task| task.is_finished()) {
            tokio::task::yield_now().await;
        }
        tasks.push(waits(&door, 4, &told));
        drop(places);
        for task in tasks.drain(4..) {
            task.await.expect("no panic");
        }
        assert_eq!(door.load(), (0, 0));
    }

    #[tokio::test]
    async fn who_hangs_up_and_comes_again_has_one_turn_like_everybody() {
        let door = Door::new(Bounds { at_once: 1, ..BOUNDS });
        let _place = door.enter(requester(9)).await.expect("an empty hall");
        let (told, _tells) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..3 {
            let tasks: Vec<_> = (0..4).map(|_| waits(&door, 1, &told)).collect();
            while lock(&door.hall).waiting < 4 {
                tokio::task::yield_now().await;
            }
            for task in tasks {
                task.abort();
                assert!(task.await.is_err_and(|error| error.is_cancelled()));
            }
            let again = waits(&door, 1, &told);
            while door.load().1 < 1 {
                tokio::task::yield_now().await;
            }
            assert_eq!(lock(&door.hall).turns.len(), 1);
            again.abort();
        }
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_when_to_come_back() {
        let patience = Duration::from_millis(1);
        let door = Door::new(Bounds { at_once: 1, patience, ..BOUNDS });
        let place = door.enter(requester(1)).await.expect("a place");
        let late = door.enter(requester(2)).await.err().expect("too late");
        assert_eq!(late.code, Code::Unavailable);
        drop(place);
        door.enter(requester(2)).await.expect("a place again");
    }

    #[tokio::test]
    async fn strangers_hold_up_nobody_who_has_a_token() {
        let doors = Admission::new(4, 8);
        let stranger = Requester::Address(IpAddr::from([192, 0, 2, 1]));
        let _login = doors.enter(stranger).await.expect("a place for strangers");
        let waits = tokio::spawn({
            let doors = doors.clone();
            async move { doors.enter(stranger).await.map(drop) }
        });
        while doors.load() != (1, 1) {
            tokio::task::yield_now().await;
        }
        assert!(doors.enter(stranger).await.is_err(), "no more of them may wait");
        for number in 0..4 {
            doors.enter(requester(number)).await.expect("a place for an account");
        }
        waits.abort();
    }

    #[test]
    fn appointments_are_given_out_at_the_pace_at_which_requests_are_done() {
        let door = Door::new(BOUNDS);
        let mut hall = lock(&door.hall);
        let start = Instant::now();
        let told = |hall: &mut Hall| hall.turn_away(start).retry_after.expect("seconds");
        // 250 a second, as long as nothing else is known.
        let seconds: Vec<u64> = (0..1_000).map(|_| told(&mut hall)).collect();
        assert!(seconds.is_sorted());
        assert_eq!((seconds[0], seconds[999]), (1, 4));
        // Two requests a second are done. What is done while nobody waits tells nothing.
        for half in 0..200 {
            hall.waiting = usize::from(half % 100 != 50);
            hall.keep_pace(start + Duration::from_millis(500) * half);
        }
        assert!((490..=500).contains(&hall.pace.as_millis()), "{:?}", hall.pace);
        (hall.appointment, hall.waiting) = (start, 0);
        let seconds: Vec<u64> = (0..10).map(|_| told(&mut hall)).collect();
        assert_eq!((seconds[1], seconds[9]), (1, 4));
        // The queue goes first, and nobody is sent away for ever.
        hall.waiting = 25;
        assert_eq!(told(&mut hall), 11);
        hall.waiting = 1_000_000;
        assert_eq!(told(&mut hall), limits::COME_BACK.as_secs());
        hall.waiting = 0;
    }
}
