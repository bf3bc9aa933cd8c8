//! An answer that is kept: its bytes, plain and packed, and how it is written into Redis.

use std::io::{self, Read, Write};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use entity::Millis;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Key;
use crate::config::limits;

/// A finished answer. It never changes. The forms that it does not come in are made when they are first
/// asked for, once.
#[derive(Debug)]
pub struct Entry {
    /// By the clock of the machine that made it.
    pub made_at: Millis,
    /// From then on it is not given any more, wherever it lies.
    pub until: Millis,
    /// What the answer is called in HTTP, without the quotes and the mark of its coding.
    pub tag: String,
    /// What people are told of it.
    pub about: About,
    /// Of the plain answer.
    length: usize,
    /// By [`Coding`]. At least one is there.
    forms: [OnceLock<Bytes>; 3],
}

/// How an answer's bytes are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coding {
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    /// Its name in HTTP; none has none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Coding::Plain => None,
            Coding::Gzip => Some("gzip"),
            Coding::Zstd => Some("zstd"),
        }
    }

    /// As what an answer lies in Redis for whoever wants it like this: it should be small there, and
    /// unpacked quickly.
    pub fn stored(self) -> Coding {
        match self {
            Coding::Plain | Coding::Zstd => Coding::Zstd,
            Coding::Gzip => Coding::Gzip,
        }
    }
}

impl Entry {
    pub fn new(plain: Bytes, made_at: Millis, until: Millis, about: About) -> Entry {
        let tag = URL_SAFE_NO_PAD.encode(&Sha256::digest(&plain)[..16]);
        let length = plain.len();
        let coding = Coding::Plain;
        Entry::of(Header { made_at, until, tag, length, coding, about }, plain)
    }

    fn of(header: Header, bytes: Bytes) -> Entry {
        let Header { made_at, until, tag, length, coding, about } = header;
        let forms: [OnceLock<Bytes>; 3] = Default::default();
        // Nobody else has set it.
        let _ = forms[coding as usize].set(bytes);
        Entry { made_at, until, tag, about, length, forms }
    }

    /// Bytes of the plain answer.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes in this coding, or plain where packing is not worth it. The first time takes a few
    /// milliseconds for a full page.
    pub fn body(&self, coding: Coding) -> (Coding, Bytes) {
        let coding = if self.length < limits::COMPRESSED { Coding::Plain } else { coding };
        if coding == Coding::Plain {
            return (coding, self.plain().clone());
        }
        // Of several who want it first, one packs it, and the others wait.
        let packed = self.forms[coding as usize].get_or_init(|| match pack(self.plain(), coding) {
            Ok(packed) => packed,
            Err(error) => {
                tracing::error!(%error, "an answer could not be packed");
                Bytes::new()
            }
        });
        match packed.is_empty() {
            false => (coding, packed.clone()),
            true => (Coding::Plain, self.plain().clone()),
        }
    }

    fn plain(&self) -> &Bytes {
        self.forms[Coding::Plain as usize].get_or_init(|| {
            let packed = |coding: Coding| {
                let bytes = self.forms[coding as usize].get()?;
                (!bytes.is_empty()).then_some((coding, bytes))
            };
            match packed(Coding::Zstd).or_else(|| packed(Coding::Gzip)) {
                Some((coding, bytes)) => unpack(bytes, self.length, coding),
                None => unreachable!("an answer comes in one of its forms"),
            }
        })
    }

    /// Bytes that it takes in memory, roughly, in all its forms.
    pub fn weight(&self) -> usize {
        // All three may come to be: what gzip makes of it is less than twice what zstd does.
        let packed = [Coding::Zstd, Coding::Gzip].map(|coding| self.forms[coding as usize].get());
        let packed = packed.into_iter().flatten().map(Bytes::len).max().unwrap_or(0);
        let forms = self.length + 3 * packed;
        forms + self.tag.len() + self.about.weight() + size_of::<Entry>() + 64
    }

    pub fn is_fresh(&self, now: Millis) -> bool {
        now < self.until
    }

    /// How much longer it may be kept where entries are kept this long. None: no longer.
    pub fn left(&self, now: Millis, keep: Duration) -> Option<Duration> {
        let left = u64::try_from(self.until - now).ok().filter(|left| *left > 0)?;
        Some(Ord::min(keep, Duration::from_millis(left)))
    }

    /// Seconds since it was made.
    pub fn age(&self, now: Millis) -> u64 {
        u64::try_from((now - self.made_at) / 1000).unwrap_or(0)
    }
}

/// At the fastest level: a third of the time of the next, for a tenth more bytes.
fn pack(plain: &Bytes, coding: Coding) -> io::Result<Bytes> {
    Ok(match coding {
        Coding::Plain => plain.clone(),
        // A boxed slice holds no more than these bytes, and that is what is counted.
        Coding::Zstd => zstd::bulk::compress(plain, 1)?.into_boxed_slice().into(),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain)?;
            encoder.finish()?.into_boxed_slice().into()
        }
    })
}

/// What was packed here. Whatever came from elsewhere has shown its MAC, so this does not fail.
fn unpack(packed: &Bytes, length: usize, coding: Coding) -> Bytes {
    let unpacked = match coding {
        Coding::Plain => return packed.clone(),
        Coding::Zstd => zstd::bulk::decompress(packed, length),
        Coding::Gzip => {
            let mut plain = Vec::with_capacity(length);
            let mut decoder = GzDecoder::new(&packed[..]).take(length as u64);
            decoder.read_to_end(&mut plain).map(|_| plain)
        }
    };
    match unpacked {
        Ok(plain) => plain.into(),
        Err(error) => unreachable!("packed by our own: {error}"),
    }
}

/// What an entry tells people about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub account: Uuid,
    pub operation: Option<String>,
    /// The fields of Query that it asks for.
    pub fields: Vec<String>,
    /// Of its first scopes: id, head, role and whether it is over.
    pub scopes: Vec<(Uuid, i64, String, bool)>,
    /// How many it depends on.
    pub scope_count: usize,
    /// [`super::Standing::digest`] of all of them.
    pub standing: [u8; 32],
    /// Of the server that made it: [`super::key::Maker::schema`].
    pub schema: [u8; 32],
}

impl About {
    /// Bytes that it takes in memory besides itself, roughly.
    fn weight(&self) -> usize {
        let texts = self.fields.iter().chain(&self.operation);
        let texts: usize = texts.map(|text| text.capacity() + size_of::<String>()).sum();
        let scopes = self.scopes.iter().map(|scope| scope.2.capacity() + size_of_val(scope));
        texts + scopes.sum::<usize>()
    }

    #[cfg(test)]
    pub fn nothing() -> About {
        About {
            account: Uuid::nil(),
            operation: None,
            fields: Vec::new(),
            scopes: Vec::new(),
            scope_count: 0,
            standing: [0; 32],
            schema: [0; 32],
        }
    }
}

/// Seals entries for Redis, and opens them. Whoever can write there can lose answers, not forge them;
/// and whatever a broken or mistaken Redis answers is no entry.
#[derive(Clone)]
pub struct Seal {
    mac: Hmac<Sha256>,
}

/// What stands before the bytes.
#[derive(Serialize, Deserialize)]
struct Header {
    made_at: Millis,
    until: Millis,
    tag: String,
    /// Of the plain answer.
    length: usize,
    coding: Coding,
    about: About,
}

const MAC_BYTES: usize = 16;

impl Seal {
    /// From a secret of the database, which serves something else, too.
    pub fn new(secret: &[u8]) -> Seal {
        // HMAC takes keys of any length, so this cannot fail.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret)
            .unwrap_or_else(|_| unreachable!("any length will do"));
        mac.update(b"cache");
        Seal { mac }
    }

    /// MAC, length of the header, header, and the answer in this coding.
    pub fn seal(&self, key: &Key, entry: &Entry, coding: Coding) -> Vec<u8> {
        let (coding, bytes) = entry.body(coding);
        let header = Header {
            made_at: entry.made_at,
            until: entry.until,
            tag: entry.tag.clone(),
            length: entry.length,
            coding,
            about: entry.about.clone(),
        };
        // Plain data always serializes.
        let header = postcard::to_stdvec(&header).unwrap_or_default();
        let mut sealed = vec![0; MAC_BYTES];
        sealed.extend((header.len() as u32).to_le_bytes());
        sealed.extend(header);
        sealed.extend_from_slice(&bytes);
        let mac = self.mac(key, &sealed[MAC_BYTES..]);
        sealed[..MAC_BYTES].copy_from_slice(&mac);
        sealed
    }

    /// None: this is not the entry under this key.
    pub fn open(&self, key: &Key, sealed: &[u8]) -> Option<Entry> {
        let (mac, rest) = sealed.split_at_checked(MAC_BYTES)?;
        let mut check = self.mac.clone();
        check.update(key.bytes());
        check.update(rest);
        check.verify_truncated_left(mac).ok()?;
        let (length, rest) = rest.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let (header, bytes) = rest.split_at_checked(length)?;
        Some(Entry::of(postcard::from_bytes(header).ok()?, Bytes::copy_from_slice(bytes)))
    }

    fn mac(&self, key: &Key, rest: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(key.bytes());
        mac.update(rest);
        let whole = mac.finalize().into_bytes();
        std::array::from_fn(|at| whole[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About {
            account: Uuid::from_u128(1),
            operation: Some("Pull".into()),
            fields: vec!["trips".into()],
            scopes: vec![(Uuid::from_u128(2), 3, "OWNER".into(), false)],
            scope_count: 1,
            standing: [4; 32],
            schema: [5; 32],
        }
    }

    #[test]
    fn what_is_packed_holds_no_more_than_it_is_counted_for() {
        let text = Bytes::from(b"{\"data\":[1,2,3]}".repeat(1_000));
        for coding in [Coding::Gzip, Coding::Zstd] {
            let packed = pack(&text, coding).expect("memory");
            let counted = packed.len();
            assert_eq!(Vec::from(packed).capacity(), counted, "{coding:?}");
        }
    }

    #[test]
    fn all_codings_say_the_same() {
        let text = Bytes::from(b"{\"data\":[1,2,3]}".repeat(1_000));
        let entry = Entry::new(text.clone(), 0, 1, About::nothing());
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Plain] {
            let (given, bytes) = entry.body(coding);
            assert_eq!((given, unpack(&bytes, text.len(), coding)), (coding, text.clone()));
            assert!(coding == Coding::Plain || bytes.len() < text.len() / 10);
            let (_, again) = entry.body(coding);
            assert_eq!(again.as_ptr(), bytes.as_ptr(), "made once");
        }
        let small = Entry::new(b"{}".as_slice().into(), 0, 1, About::nothing());
        assert_eq!(small.body(Coding::Zstd), (Coding::Plain, b"{}".as_slice().into()));
    }

    #[test]
    fn what_was_sealed_can_be_opened_under_its_key_and_nothing_else_can() {
        let seal = Seal::new(b"secret");
        for text in [b"{}".repeat(3), b"{\"data\":[1,2,3]}".repeat(1_000)] {
            let entry = Entry::new(text.into(), 17, 99, about());
            let all = [Coding::Zstd, Coding::Gzip, Coding::Plain];
            for stored in all {
                let sealed = seal.seal(&Key::of("a"), &entry, stored);
                let opened = seal.open(&Key::of("a"), &sealed).expect("its own");
                assert_eq!((opened.made_at, opened.until, &opened.tag), (17, 99, &entry.tag));
                assert_eq!(opened.about, about());
                for coding in all {
                    assert_eq!(opened.body(coding), entry.body(coding), "{stored:?}");
                }
            }
            let sealed = seal.seal(&Key::of("a"), &entry, Coding::Gzip);
            assert!(seal.open(&Key::of("b"), &sealed).is_none(), "another's key");
            assert!(Seal::new(b"other").open(&Key::of("a"), &sealed).is_none(), "another's secret");
            for length in 0..sealed.len().min(200) {
                assert!(seal.open(&Key::of("a"), &sealed[..length]).is_none(), "cut short");
            }
            let longer = [sealed.as_slice(), b"x"].concat();
            assert!(seal.open(&Key::of("a"), &longer).is_none(), "something behind");
            for at in (0..sealed.len()).step_by(7) {
                let mut wrong = sealed.clone();
                wrong[at] ^= 1;
                assert!(seal.open(&Key::of("a"), &wrong).is_none(), "a bit at {at}");
            }
        }
    }

    #[test]
    fn an_entry_is_kept_as_long_as_its_place_allows_and_it_is_good() {
        let entry = Entry::new(b"{}".as_slice().into(), 1_000, 11_000, About::nothing());
        let minute = Duration::from_secs(60);
        assert_eq!(entry.left(1_000, minute), Some(Duration::from_secs(10)));
        assert_eq!(entry.left(10_500, minute), Some(Duration::from_millis(500)));
        assert_eq!(entry.left(1_000, Duration::from_secs(3)), Some(Duration::from_secs(3)));
        assert_eq!(entry.left(11_000, minute), None);
        assert!(entry.is_fresh(10_999) && !entry.is_fresh(11_000));
        assert_eq!((entry.age(3_999), entry.age(0)), (2, 0));
    }
}
