//! What Redis holds of an account's answers, for people to look at.
//!
//! Each account has a list of its entries, a sorted set by their ends: the server never searches
//! Redis for keys.

use entity::Millis;
use uuid::Uuid;

use super::entry::{About, Seal};
use super::key::Key;
use crate::redis::{Redis, Trouble};

/// An entry.
#[derive(Clone, Debug)]
pub struct Held {
    pub name: String,
    /// Bytes in Redis, and of the plain answer.
    pub stored: usize,
    pub plain: usize,
    pub made_at: Millis,
    pub until: Millis,
    pub about: About,
}

/// Where an account's entries are listed.
pub fn index(account: Uuid) -> String {
    format!("held:{account}")
}

/// The entries of an account, the newest first. What is listed and gone, or is none, is left out.
pub async fn held(redis: &Redis, seal: &Seal, account: Uuid) -> Result<Vec<Held>, Trouble> {
    let mut found = Vec::new();
    for name in redis.indexed(&index(account)).await? {
        let (Some(key), Some(bytes)) = (Key::named(&name), redis.get(&name).await?) else {
            continue;
        };
        let Some((made_at, until, plain, about)) = seal.about(&key, &bytes) else { continue };
        if about.account == account {
            found.push(Held { name, stored: bytes.len(), plain, made_at, until, about });
        }
    }
    found.sort_by_key(|held| std::cmp::Reverse(held.made_at));
    Ok(found)
}
