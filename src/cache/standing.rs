//! Where a caller stands: their session goes on, and their scopes have these heads. Every answer that
//! is kept depends on it. One read tells both, for all who ask at once.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::key::hash;
use crate::auth::Caller;
use crate::db::Db;
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

/// Reads where callers stand, from the database that is written to.
pub struct Standings {
    db: Db,
    /// By session: its account, and where it stands.
    gather: Gather<Uuid, (Uuid, Arc<Standing>)>,
}

impl Standings {
    pub fn new(db: &Db) -> Standings {
        let reader = db.clone();
        let gather = Gather::new(move |sessions: Vec<Uuid>| {
            let db = reader.clone();
            async move { read(&db, &sessions).await }
        });
        Standings { db: db.clone(), gather }
    }

    /// Where a caller stands, as of now or later. None: their session is over.
    pub async fn of(&self, caller: Caller) -> Result<Option<Arc<Standing>>, Error> {
        let found = match self.gather.ask(caller.session).await {
            Ok(found) => found,
            Err(Failed) => read(&self.db, &[caller.session]).await?.remove(&caller.session),
        };
        Ok(found.filter(|(account, _)| *account == caller.account).map(|(_, standing)| standing))
    }
}

async fn read(db: &Db, sessions: &[Uuid]) -> Result<HashMap<Uuid, (Uuid, Arc<Standing>)>, Error> {
    let found = scope::seen_in_sessions(db.pool(), sessions).await?;
    let standings = found
        .into_iter()
        .map(|(session, (account, seen))| (session, (account, Arc::new(Standing::new(seen)))));
    Ok(standings.collect())
}
