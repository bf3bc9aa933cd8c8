//! The key of an answer: a hash of everything that it depends on. Pure.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Standing;
use super::entry::Coding;

/// How entries are written, and what keys are made of: raised when either changes.
const FORMAT: &[u8] = b"cairn answer 2";

/// Begins the names of answers in Redis.
const PREFIX: &str = "answer:";

/// Names an answer. Two answers that may differ have different keys: guessing or colliding would mean
/// to break SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Under which it is kept in Redis in this coding.
    pub fn name(&self, coding: Coding) -> String {
        format!("{self}:{}", coding.name().unwrap_or("plain"))
    }

    /// The key of this name.
    pub fn named(name: &str) -> Option<Key> {
        let (key, _coding) = name.strip_prefix(PREFIX)?.split_once(':')?;
        URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok().map(Key)
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    #[cfg(test)]
    pub fn of(text: &str) -> Key {
        Key(hash(&[text.as_bytes()]))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Makes the keys of one server: what is the same for all of its answers is hashed once.
pub struct Maker {
    schema: [u8; 32],
    /// Schema, version, database and settings.
    server: [u8; 32],
}

/// What an answer depends on besides the server.
pub struct Question<'a> {
    pub account: Uuid,
    /// The account's scopes, with their heads.
    pub standing: &'a Standing,
    /// [`hash`] of its text.
    pub document: &'a [u8; 32],
    pub operation: Option<&'a str>,
    /// As JSON, with the names in order.
    pub variables: &'a [u8],
    /// What the answer is declared as.
    pub media: &'a str,
    /// What URLs of this server begin with.
    pub base: &'a str,
}

impl Maker {
    /// `settings`: whatever changes answers, in whatever form.
    pub fn new(epoch: Uuid, sdl: &str, settings: &str) -> Maker {
        let schema = schema(sdl);
        let server = hash(&[&schema, epoch.as_bytes(), settings.as_bytes()]);
        Maker { schema, server }
    }

    pub fn schema(&self) -> &[u8; 32] {
        &self.schema
    }

    pub fn key(&self, question: &Question<'_>) -> Key {
        // All of it: a field that is forgotten here does not compile.
        let Question { account, standing, document, operation, variables, media, base } = question;
        Key(hash(&[
            &self.server,
            account.as_bytes(),
            standing.digest(),
            *document,
            &[u8::from(operation.is_some())],
            operation.unwrap_or_default().as_bytes(),
            variables,
            media.as_bytes(),
            base.as_bytes(),
        ]))
    }
}

/// What answers look like: the form of entries, the program, and the schema. Two builds of one version
/// may answer differently: what one has mended must not come back from the other.
pub fn schema(sdl: &str) -> [u8; 32] {
    let program = concat!(env!("CARGO_PKG_VERSION"), " ", env!("CAIRN_SOURCES"));
    hash(&[FORMAT, program.as_bytes(), sdl.as_bytes()])
}

/// Hashes parts with their lengths: nothing can move from one to the next.
pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::sync::Role;
    use crate::sync::scope::Seen;

    fn seen() -> Seen {
        Seen {
            id: Uuid::from_u128(1),
            no: 2,
            head: 3,
            floor: 1,
            role: Role::Editor,
            granted_at: 5,
            until: None,
            removed_at: None,
        }
    }

    #[test]
    fn everything_that_an_answer_depends_on_makes_another_key() {
        let makers = [
            Maker::new(Uuid::from_u128(1), "type A", "100"),
            Maker::new(Uuid::from_u128(2), "type A", "100"),
            Maker::new(Uuid::from_u128(1), "type B", "100"),
            Maker::new(Uuid::from_u128(1), "type A", "200"),
            Maker::new(Uuid::from_u128(1), "type A1", "00"),
        ];
        let standings: Vec<Standing> = [
            vec![seen()],
            vec![],
            vec![seen(), seen()],
            vec![Seen { id: Uuid::from_u128(2), ..seen() }],
            vec![Seen { no: 9, ..seen() }],
            vec![Seen { head: 9, ..seen() }],
            vec![Seen { floor: 9, ..seen() }],
            vec![Seen { role: Role::Viewer, ..seen() }],
            vec![Seen { granted_at: 9, ..seen() }],
            vec![Seen { until: Some(3), ..seen() }],
            vec![Seen { removed_at: Some(3), ..seen() }],
        ]
        .into_iter()
        .map(Standing::new)
        .collect();
        let plain = |standing| Question {
            account: Uuid::from_u128(1),
            standing,
            document: &[1; 32],
            operation: None,
            variables: b"{}",
            media: "application/json",
            base: "http://a",
        };
        let usual = &standings[0];
        let mut keys: Vec<Key> = makers.iter().map(|maker| maker.key(&plain(usual))).collect();
        let others = standings[1..].iter().map(|other| makers[0].key(&plain(other)));
        keys.extend(others);
        for question in [
            Question { account: Uuid::from_u128(2), ..plain(usual) },
            Question { document: &[2; 32], ..plain(usual) },
            Question { operation: Some(""), ..plain(usual) },
            Question { operation: Some("A"), ..plain(usual) },
            Question { variables: b"{\"a\":1}", ..plain(usual) },
            Question { media: "application/graphql-response+json", ..plain(usual) },
            Question { base: "http://b", ..plain(usual) },
            // Nothing moves from one part to the next.
            Question { media: "application/jsonh", base: "ttp://a", ..plain(usual) },
        ] {
            keys.push(makers[0].key(&question));
        }
        let different: HashSet<Key> = keys.iter().copied().collect();
        assert_eq!(different.len(), keys.len());
        let again = Maker::new(Uuid::from_u128(1), "type A", "100");
        assert_eq!(again.key(&plain(&Standing::new(vec![seen()]))), keys[0]);
        assert_eq!(Key::named(&keys[0].name(Coding::Gzip)), Some(keys[0]));
    }
}
