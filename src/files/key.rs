//! What an object is called.

use std::fmt;

use uuid::Uuid;

use crate::config::limits;
use crate::error::Error;

/// An object in one account's space: `<account>/<name>`. The only way to name an object, so nothing
/// can leave its account's space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    account: Uuid,
    name: String,
}

impl Key {
    /// A name has segments separated by `/`; spaces, `%` and any language are fine in them. Else
    /// the error is BAD_USER_INPUT and says why.
    pub fn new(account: Uuid, name: &str) -> Result<Key, Error> {
        match problem(name) {
            None => Ok(Key { account, name: name.to_owned() }),
            Some(problem) => Err(Error::bad_input(format!("a file's name {problem}"))),
        }
    }

    pub fn account(&self) -> Uuid {
        self.account
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.name)
    }
}

fn problem(name: &str) -> Option<String> {
    if name.is_empty() || name.chars().count() > limits::FILE_NAME {
        Some(format!("has 1 to {} characters", limits::FILE_NAME))
    } else if name.len() > limits::FILE_NAME_BYTES {
        Some(format!("has at most {} bytes", limits::FILE_NAME_BYTES))
    } else if name.chars().any(|c| c.is_control() || is_nothing(c)) {
        Some("has no control characters".into())
    } else if name.contains('\\') {
        Some("has no backslash: separate folders by /".into())
    } else if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        Some("has no empty segment, no `.` and no `..`, and neither begins nor ends with /".into())
    } else {
        None
    }
}

/// XML cannot hold them, and S3 lists by XML.
fn is_nothing(c: char) -> bool {
    matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn a_name_stays_within_its_account() {
        let account = Uuid::nil();
        for name in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "a/./b",
            "a\\b",
            "..\\a",
            "a\0b",
            "a\nb",
            "a\u{7f}",
            "a\u{85}",
            "a\u{ffff}",
            &"x".repeat(256),
            &"ü".repeat(256),
            &"😀".repeat(255),
        ] {
            let error = Key::new(account, name).expect_err(name);
            assert_eq!(error.code, Code::BadUserInput, "{name:?}");
        }
    }

    #[test]
    fn ordinary_and_odd_names_are_kept_as_they_are() {
        let account = Uuid::nil();
        for name in [
            "a",
            "photos/2026/IMG 0001.HEIC",
            "...",
            "..a/b..",
            ".hidden",
            "100%",
            "%2e%2e/%2F",
            "a#1",
            "a?b&c=d;e+f:g",
            " leading and trailing ",
            "Grüße/日本語/😀.jpg",
            "e\u{301}",
            &"x".repeat(255),
            &"字".repeat(255),
        ] {
            assert_eq!(Key::new(account, name).expect(name).name(), name);
        }
    }
}
