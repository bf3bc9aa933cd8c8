//! Where a caller stands: their session goes on, and their scopes have these heads. Every answer that
//! is kept depends on it. One read tells both, for all who ask at once; and while nothing is committed,
//! by whomever, what was read is still so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::key::hash;
use crate::auth::Caller;
use crate::config::limits;
use crate::db::{Db, Stamp};
use crate::error::Error;
use crate::gather::{Failed, Gather};
use crate::sync::scope::{self, Seen};

/// The scopes that an account is or was a member of, with their heads and roles.
#[derive(Debug)]
pub struct Standing {
    seen: Vec<Seen>,
    digest: [u8; 32],
}

impl Standing {
    /// The scopes come by their numbers.
    pub fn new(seen: Vec<Seen>) -> Standing {
        let mut bytes = Vec::with_capacity(seen.len() * 80);
        for scope in &seen {
            // All of it: a column that is forgotten here does not compile.
            let Seen { id, no, head, floor, role, granted_at, until, removed_at } = *scope;
            bytes.extend(id.as_bytes());
            for number in [no, head, floor, role as i64, granted_at] {
                bytes.extend(number.to_le_bytes());
            }
            for number in [until, removed_at] {
                bytes.push(u8::from(number.is_some()));
                bytes.extend(number.unwrap_or_default().to_le_bytes());
            }
        }
        Standing { seen, digest: hash(&[&bytes]) }
    }

    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// Finds out where callers stand, from the database that is written to.
pub struct Standings {
    /// By session.
    gather: Gather<Uuid, Place>,
}

/// An account, and where it stands.
type Place = (Uuid, Arc<Standing>);

impl Standings {
    pub fn new(db: &Db) -> Standings {
        let reader = Arc::new(Reader::new(db));
        let gather = Gather::new(move |sessions: Vec<Uuid>| {
            let reader = reader.clone();
            async move { reader.recall_or_read(&sessions).await }
        });
        Standings { gather }
    }

    /// Where a caller stands, as of now or later. None: their session is over. It is asked before there is a
    /// place for work on the database: where it cannot be told to many at once it is not told at all.
    pub async fn of(&self, caller: Caller) -> Result<Option<Arc<Standing>>, Failed> {
        let found = self.gather.ask(caller.session).await?;
        Ok(found.filter(|(account, _)| *account == caller.account).map(|(_, standing)| standing))
    }
}

struct Reader {
    db: Db,
    recalled: Mutex<Recalled>,
}

/// What was read in one state of the database.
#[derive(Default)]
struct Recalled {
    at: Option<Stamp>,
    places: HashMap<Uuid, Place>,
    /// Of all places.
    scopes: usize,
    /// Reads that do not ask whether the state is still the same: it has just changed, and where much is
    /// written it does so all the time.
    skip: u32,
}

impl Reader {
    fn new(db: &Db) -> Reader {
        Reader { db: db.clone(), recalled: Mutex::default() }
    }

    fn recalled(&self) -> MutexGuard<'_, Recalled> {
        // Nothing that holds it can panic half-way.
        self.recalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places of those whose sessions go on. If nothing was committed since they were read, they are
    /// not read again.
    async fn recall_or_read(&self, sessions: &[Uuid]) -> Result<HashMap<Uuid, Place>, Error> {
        if !self.recalled().may_ask() {
            return self.read(sessions).await;
        }
        let Ok(before) = self.db.stamp().await else {
            self.recalled().skip = limits::STAMP_SKIP;
            return self.read(sessions).await;
        };
        let (mut places, unknown) = self.recalled().at(&before, sessions);
        if unknown.is_empty() {
            return Ok(places);
        }
        let read = self.read(&unknown).await?;
        // Else they may be of either state.
        if self.db.stamp().await.is_ok_and(|after| after == before) {
            self.recalled().keep(&before, &read);
        }
        places.extend(read);
        Ok(places)
    }

    async fn read(&self, sessions: &[Uuid]) -> Result<HashMap<Uuid, Place>, Error> {
        let found = scope::seen_in_sessions(self.db.pool(), sessions).await?;
        let places = found
            .into_iter()
            .map(|(session, (account, seen))| (session, (account, Arc::new(Standing::new(seen)))));
        Ok(places.collect())
    }
}

impl Recalled {
    fn may_ask(&mut self) -> bool {
        let may = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        may
    }

    /// What is known of these sessions in this state, and which ones are not.
    fn at(&mut self, now: &Stamp, sessions: &[Uuid]) -> (HashMap<Uuid, Place>, Vec<Uuid>) {
        if self.at.as_ref() != Some(now) {
            let skip = if self.at.is_some() { limits::STAMP_SKIP } else { 0 };
            *self = Recalled { at: Some(now.clone()), skip, ..Recalled::default() };
        }
        let mut places = HashMap::with_capacity(sessions.len());
        let mut unknown = Vec::new();
        for session in sessions {
            match self.places.get(session) {
                Some(place) => {
                    places.insert(*session, place.clone());
                }
                None => unknown.push(*session),
            }
        }
        (places, unknown)
    }

    /// Keeps what was read in this state, if it is still the newest that was met.
    fn keep(&mut self, at: &Stamp, read: &HashMap<Uuid, Place>) {
        if self.at.as_ref() != Some(at) {
            return;
        }
        for (session, place) in read {
            if self.scopes >= limits::RECALLED_SCOPES {
                self.places.clear();
                self.scopes = 0;
            }
            // One without any counts, too.
            self.scopes += 1 + place.1.seen().len();
            if let Some((_, known)) = self.places.insert(*session, place.clone()) {
                self.scopes -= 1 + known.seen().len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Role;

    fn place(scopes: usize) -> Place {
        let seen = Seen {
            id: Uuid::nil(),
            no: 1,
            head: 1,
            floor: 0,
            role: Role::Owner,
            granted_at: 0,
            until: None,
            removed_at: None,
        };
        (Uuid::nil(), Arc::new(Standing::new(vec![seen; scopes])))
    }

    fn keep(recalled: &mut Recalled, at: &str, session: u128, scopes: usize) {
        let read = HashMap::from([(Uuid::from_u128(session), place(scopes))]);
        recalled.keep(&Stamp::of(at), &read);
    }

    fn unknown(recalled: &mut Recalled, at: &str) -> Vec<u128> {
        let sessions = [1, 2, 3].map(Uuid::from_u128);
        let (known, unknown) = recalled.at(&Stamp::of(at), &sessions);
        assert_eq!(known.len() + unknown.len(), 3);
        unknown.into_iter().map(|session| session.as_u128()).collect()
    }

    #[test]
    fn what_was_read_is_known_in_the_same_state_and_in_no_other() {
        let mut recalled = Recalled::default();
        assert_eq!(unknown(&mut recalled, "a"), [1, 2, 3]);
        keep(&mut recalled, "a", 2, 1);
        assert_eq!(unknown(&mut recalled, "a"), [1, 3]);
        assert_eq!(unknown(&mut recalled, "b"), [1, 2, 3]);
        // Read before, and kept late.
        keep(&mut recalled, "a", 1, 1);
        assert_eq!(unknown(&mut recalled, "b"), [1, 2, 3]);
        assert_eq!(unknown(&mut recalled, "a"), [1, 2, 3]);
    }

    #[test]
    fn after_a_change_some_reads_do_not_ask() {
        let mut recalled = Recalled::default();
        assert!(recalled.may_ask());
        unknown(&mut recalled, "a");
        assert!(recalled.may_ask(), "nothing is known to have changed");
        unknown(&mut recalled, "b");
        for _ in 0..limits::STAMP_SKIP {
            assert!(!recalled.may_ask());
        }
        assert!(recalled.may_ask());
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut recalled = Recalled::default();
        unknown(&mut recalled, "a");
        for _ in 0..3 {
            keep(&mut recalled, "a", 1, 9);
        }
        assert_eq!((recalled.places.len(), recalled.scopes), (1, 10), "the same one, once");
        keep(&mut recalled, "a", 2, limits::RECALLED_SCOPES);
        assert_eq!(recalled.places.len(), 2);
        keep(&mut recalled, "a", 3, 0);
        assert_eq!((recalled.places.len(), recalled.scopes), (1, 1), "begun anew");
    }
}
