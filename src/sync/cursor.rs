//! The cursor: what a device has seen. Opaque to clients, sealed with a MAC.
//!
//! A cursor names, for each scope, the seq up to which the device has everything. In the middle of
//! a window it also holds the window's bounds and the place reached. It holds no time at all: seqs
//! are given out under the scope's lock, so their order is the order of commits.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use crate::config::limits;
use crate::error::{Code, Error, ResyncReason};
use crate::kinds::EntityType;

/// What a device has seen, and where in a window it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The database's timeline.
    pub epoch: Uuid,
    pub account: Uuid,
    pub filter: Filter,
    /// For each scope, by its number: the seq that the device has seen. Of a scope that the caller
    /// lost, and of which the device has been told to drop everything as of the head h: [`taken`]
    /// of h. Ascending by number.
    pub seen: Vec<(i64, i64)>,
    /// How many kinds there were, by which the parts of a window are numbered, and the form of a
    /// window: [`KINDS`].
    pub kinds: u8,
    /// Set between the pages of a window.
    pub window: Option<Window>,
}

/// What a stream delivers. Each filter is a stream of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// This priority and above.
    pub priority: u8,
    /// Names of kinds, in dependency order. Empty: all.
    pub kinds: Vec<String>,
}

/// The pages from one cursor up to the heads read at its first page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// For each scope with something to deliver: its head at the first page. Ascending.
    pub bounds: Vec<(i64, i64)>,
    /// Scopes that the device has seen and the caller has lost: delivered as deletions. With their
    /// heads at the first page.
    pub lost: Vec<(i64, i64)>,
    pub place: Place,
    /// Rows and deletions still to come.
    pub left: u64,
}

impl Window {
    /// Where the window ends in a scope.
    pub fn bound(&self, scope: i64) -> Option<i64> {
        let at = self.bounds.binary_search_by_key(&scope, |(no, _)| *no).ok()?;
        Some(self.bounds[at].1)
    }
}

/// The last thing that was delivered. Things are ordered by part, scope and seq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// 0: the deletion logs. Then the rows of lost scopes, a part a kind; then live rows, a part a
    /// kind.
    pub part: u8,
    pub scope: i64,
    pub seq: i64,
}

/// What a cursor says of a lost scope that was taken back as of a head: below every seq.
pub fn taken(head: i64) -> i64 {
    -1 - head
}

/// The head of [`taken`]; None: a seq that the device has seen.
pub fn taken_at(seen: i64) -> Option<i64> {
    (seen < 0).then(|| -1 - seen)
}

/// Seals cursors and opens them.
#[derive(Clone)]
pub struct Sealer {
    mac: Hmac<Sha256>,
    epoch: Uuid,
}

/// How many kinds there are, and above that the form of a window: a window of another kind of server
/// begins anew.
pub const KINDS: u8 = EntityType::ALL.len() as u8 | FORM << 5;
const FORM: u8 = 1;

/// Bytes of the MAC that a cursor carries.
const MAC_BYTES: usize = 16;

impl Sealer {
    pub fn new(key: &[u8], epoch: Uuid) -> Sealer {
        // HMAC takes keys of any length, so this cannot fail.
        let mac = Hmac::<Sha256>::new_from_slice(key)
            .unwrap_or_else(|_| unreachable!("any length will do"));
        Sealer { mac, epoch }
    }

    pub fn epoch(&self) -> Uuid {
        self.epoch
    }

    pub fn seal(&self, cursor: &Cursor) -> String {
        // Plain data of vectors and integers always serializes.
        let body = postcard::to_stdvec(cursor).unwrap_or_default();
        let mut mac = self.mac.clone();
        mac.update(&body);
        let mut sealed = mac.finalize().into_bytes()[..MAC_BYTES].to_vec();
        sealed.extend(body);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// Opens a cursor of this account. A cursor that this server never made is INVALID_CURSOR; one
    /// that it made for other circumstances is RESYNC_REQUIRED.
    pub fn open(&self, text: &str, account: Uuid) -> Result<Cursor, Error> {
        let invalid = || Error::new(Code::InvalidCursor, "this is not a cursor of this server");
        if text.len() > limits::CURSOR {
            return Err(invalid());
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let (tag, body) = sealed.split_at_checked(MAC_BYTES).ok_or_else(invalid)?;
        let mut mac = self.mac.clone();
        mac.update(body);
        mac.verify_truncated_left(tag).map_err(|_| invalid())?;
        let mut cursor: Cursor = postcard::from_bytes(body).map_err(|_| invalid())?;
        if cursor.epoch != self.epoch {
            return Err(Error::resync(ResyncReason::Epoch));
        }
        if cursor.account != account {
            return Err(Error::resync(ResyncReason::OtherUser));
        }
        if cursor.kinds != KINDS {
            // Made by another version of the server: the window begins anew.
            cursor.window = None;
            cursor.kinds = KINDS;
        }
        Ok(cursor)
    }
}

impl Cursor {
    /// The seq that the device has seen in a scope; None: the scope is new to it.
    pub fn seen_in(&self, scope: i64) -> Option<i64> {
        self.seen.binary_search_by_key(&scope, |(no, _)| *no).ok().map(|at| self.seen[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            epoch: Uuid::from_u128(1),
            account: Uuid::from_u128(2),
            filter: Filter { priority: 2, kinds: vec!["Trip".into()] },
            seen: vec![(1, 10), (7, 1 << 40)],
            kinds: KINDS,
            window: Some(Window {
                bounds: vec![(7, 1 << 41)],
                lost: vec![(1, 3)],
                place: Place { part: 3, scope: 7, seq: 12 },
                left: 99,
            }),
        }
    }

    #[test]
    fn what_was_sealed_can_be_opened_by_its_account_alone() {
        let sealer = Sealer::new(b"key", Uuid::from_u128(1));
        let sealed = sealer.seal(&cursor());
        assert_eq!(sealer.open(&sealed, Uuid::from_u128(2)), Ok(cursor()));
        let other = sealer.open(&sealed, Uuid::from_u128(3)).expect_err("another account");
        assert_eq!(other.reason, Some(ResyncReason::OtherUser));
    }

    #[test]
    fn a_window_of_another_version_begins_anew() {
        let sealer = Sealer::new(b"key", Uuid::from_u128(1));
        let older = Cursor { kinds: KINDS - 1, ..cursor() };
        let opened = sealer.open(&sealer.seal(&older), Uuid::from_u128(2));
        assert_eq!(opened, Ok(Cursor { window: None, ..cursor() }));
    }

    #[test]
    fn a_cursor_of_another_timeline_says_so() {
        let sealed = Sealer::new(b"key", Uuid::from_u128(1)).seal(&cursor());
        let error = Sealer::new(b"key", Uuid::from_u128(9))
            .open(&sealed, Uuid::from_u128(2))
            .expect_err("another epoch");
        assert_eq!(error.reason, Some(ResyncReason::Epoch));
    }

    #[test]
    fn every_flipped_bit_and_every_other_key_is_refused() {
        let sealer = Sealer::new(b"key", Uuid::from_u128(1));
        let account = Uuid::from_u128(2);
        let sealed = URL_SAFE_NO_PAD.decode(sealer.seal(&cursor())).expect("base64");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = sealer.open(&URL_SAFE_NO_PAD.encode(flipped), account).expect_err("forged");
            assert_eq!(error.code, Code::InvalidCursor);
        }
        let other = Sealer::new(b"other", Uuid::from_u128(1));
        assert!(other.open(&sealer.seal(&cursor()), account).is_err());
        for garbage in ["", "!", "AAAA", "ünïcödé"] {
            assert!(sealer.open(garbage, account).is_err());
        }
    }
}
