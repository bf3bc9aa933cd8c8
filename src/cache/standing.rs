//! Where an account stands: its scopes with their heads. Every answer that is kept depends on it.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::key::hash;
use crate::db::Db;
use crate::error::Error;
use crate::gather::Gather;
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

/// Reads where accounts stand, from the database that is written to.
pub struct Standings {
    db: Db,
    gather: Gather<Uuid, Arc<Standing>>,
}

impl Standings {
    pub fn new(db: &Db) -> Standings {
        let reader = db.clone();
        let gather = Gather::new(move |accounts: Vec<Uuid>| {
            let db = reader.clone();
            async move {
                let mut found = scope::seen_by_each(db.pool(), &accounts).await?;
                // An account without any scope stands somewhere, too.
                let standings = accounts.into_iter().map(|account| {
                    let seen = found.remove(&account).unwrap_or_default();
                    (account, Arc::new(Standing::new(seen)))
                });
                Ok(standings.collect::<HashMap<_, _>>())
            }
        });
        Standings { db: db.clone(), gather }
    }

    /// Where an account stands, as of now or later.
    pub async fn of(&self, account: Uuid) -> Result<Arc<Standing>, Error> {
        match self.gather.ask(account).await {
            Ok(Some(standing)) => Ok(standing),
            _ => {
                let seen = scope::seen_by(self.db.pool(), account).await?;
                Ok(Arc::new(Standing::new(seen)))
            }
        }
    }
}
