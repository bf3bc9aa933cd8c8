//! What is held of an account's answers, for people to look at.
//!
//! In Redis each account has a list of its entries, a sorted set by their ends: the server never
//! searches Redis for keys.

use entity::Millis;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::entry::{About, Entry, Seal};
use super::key::Key;
use crate::redis::{Redis, Trouble};

/// An entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    pub name: String,
    /// Bytes that it takes where it lies, and of the plain answer.
    pub stored: usize,
    pub plain: usize,
    pub made_at: Millis,
    pub until: Millis,
    pub about: About,
}

impl Held {
    pub fn new(name: String, stored: usize, entry: &Entry) -> Held {
        Held {
            name,
            stored,
            plain: entry.length(),
            made_at: entry.made_at,
            until: entry.until,
            about: entry.about.clone(),
        }
    }
}

/// Where an account's entries are listed.
pub fn index(account: Uuid) -> String {
    format!("held:{account}")
}

/// The entries of an account in Redis, the newest first. What is listed and gone, or is none, is left
/// out.
pub async fn held(redis: &Redis, seal: &Seal, account: Uuid) -> Result<Vec<Held>, Trouble> {
    let mut found = Vec::new();
    for name in redis.indexed(&index(account)).await? {
        let (Some(key), Some(bytes)) = (Key::named(&name), redis.get(&name).await?) else {
            continue;
        };
        let Some(entry) = seal.open(&key, &bytes) else { continue };
        if entry.about.account == account {
            found.push(Held::new(name, bytes.len(), &entry));
        }
    }
    found.sort_by_key(|held| std::cmp::Reverse(held.made_at));
    Ok(found)
}
