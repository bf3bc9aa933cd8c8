//! What instances tell each other.

use std::collections::BTreeSet;

use entity::Millis;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::limits;

/// The channel that it goes by.
pub const CHANNEL: &str = "notices";

/// News for the subscribers of all instances. As JSON it is read by other versions of the server,
/// too: fields that they do not know are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notice {
    /// The instance that tells it: it has told its own subscribers itself.
    pub from: Uuid,
    /// Accounts for which something newer exists.
    pub accounts: BTreeSet<Uuid>,
    /// It may be news for anyone.
    pub everyone: bool,
    /// Accounts of which sessions have ended.
    pub sessions: BTreeSet<Uuid>,
    /// A `serverTimestamp`: what was committed before this is there to be pulled.
    pub at: Millis,
}

impl Notice {
    /// For all whom anything may concern.
    pub fn to_everyone(at: Millis) -> Notice {
        Notice { everyone: true, at, ..Notice::default() }
    }

    /// Tells nothing to anyone but whoever told it: that they are heard.
    pub fn beat(from: Uuid) -> Notice {
        Notice { from, ..Notice::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && !self.everyone && self.sessions.is_empty()
    }

    /// Makes one of two.
    pub fn add(&mut self, other: Notice) {
        let Notice { from, accounts, everyone, sessions, at } = other;
        self.from = from;
        self.accounts.extend(accounts);
        self.sessions.extend(sessions);
        self.everyone |= everyone;
        self.at = self.at.max(at);
        if self.accounts.len() > limits::NOTICE_ACCOUNTS {
            self.everyone = true;
        }
        if self.everyone {
            self.accounts.clear();
        }
        if self.sessions.len() > limits::NOTICE_ACCOUNTS {
            // Each instance looks after its sessions now and then anyway.
            self.sessions.clear();
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        // Plain data of ids and numbers always serializes.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What cannot be read may concern anyone.
    pub fn from_json(bytes: &[u8]) -> Notice {
        serde_json::from_slice(bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "another instance told something that cannot be understood");
            Notice::to_everyone(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(accounts: impl IntoIterator<Item = u128>) -> Notice {
        let accounts = accounts.into_iter().map(Uuid::from_u128).collect();
        Notice { from: Uuid::from_u128(7), accounts, at: 3, ..Notice::default() }
    }

    #[test]
    fn two_notices_become_one_that_leaves_nobody_out() {
        let mut notice = about([1, 2]);
        notice.add(Notice { at: 9, sessions: [Uuid::from_u128(5)].into(), ..about([2, 3]) });
        let sessions = [Uuid::from_u128(5)].into();
        assert_eq!(notice, Notice { at: 9, sessions, ..about([1, 2, 3]) });
        notice.add(Notice::to_everyone(1));
        assert!(notice.everyone && notice.accounts.is_empty() && notice.at == 9);
    }

    #[test]
    fn too_many_are_everyone() {
        let mut notice = about([]);
        notice.add(about(0..limits::NOTICE_ACCOUNTS as u128));
        assert!(!notice.everyone);
        notice.add(about([1 << 100]));
        assert!(notice.everyone && notice.accounts.is_empty());
    }

    #[test]
    fn it_is_read_whatever_another_version_adds_and_garbage_is_for_everyone() {
        let notice = about([1, 2]);
        assert_eq!(Notice::from_json(&notice.to_json()), notice);
        let more = r#"{"everyone":true,"more":[1]}"#;
        assert_eq!(Notice::from_json(more.as_bytes()), Notice::to_everyone(0));
        assert_eq!(Notice::from_json(b"\xff"), Notice::to_everyone(0));
    }
}
