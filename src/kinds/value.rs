//! A field's value, the same for every kind, with its JSON form.

use std::cmp::Ordering;

use chrono::{DateTime, SecondsFormat, Utc};
use entity::Millis;
use serde_json::{Value as Json, json};
use uuid::Uuid;

/// What a field holds. Sets are sorted and without duplicates, so that equality is equality of sets.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// Also the place of a [`super::FieldType::Choice`] in its list of names.
    Int(i64),
    Float(f64),
    Text(String),
    Time(Millis),
    Id(Uuid),
    Ids(Vec<Uuid>),
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn as_id(&self) -> Option<Uuid> {
        match self {
            Value::Id(id) => Some(*id),
            _ => None,
        }
    }

    pub fn as_ids(&self) -> &[Uuid] {
        match self {
            Value::Ids(ids) => ids,
            _ => &[],
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(float) => Some(*float),
            _ => None,
        }
    }

    pub fn as_time(&self) -> Option<Millis> {
        match self {
            Value::Time(time) => Some(*time),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes that it holds besides itself.
    pub fn weight(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Ids(ids) => size_of_val(ids.as_slice()),
            _ => 0,
        }
    }

    /// The order of lists: of values of different types none comes first.
    pub fn compare(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }

    /// The JSON form, which conflicts and revisions store. `names` are those of a choice.
    pub fn to_json(&self, names: &[&str]) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Bool(value) => json!(value),
            Value::Int(value) => match usize::try_from(*value).ok().and_then(|at| names.get(at)) {
                Some(name) => json!(name),
                None => json!(value),
            },
            Value::Float(value) => json!(value),
            Value::Text(value) => json!(value),
            Value::Time(value) => json!(rfc3339(*value)),
            Value::Id(value) => json!(value),
            Value::Ids(value) => json!(value),
        }
    }
}

/// Milliseconds as RFC 3339 in UTC, always with three digits of fraction and `Z`: the shipped app
/// parses nothing else.
pub fn rfc3339(time: Millis) -> String {
    DateTime::<Utc>::from_timestamp_millis(time)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The first and last moment that a date may name: the years 0001 and 9999.
pub const FIRST_TIME: Millis = -62_135_596_800_000;
pub const LAST_TIME: Millis = 253_402_300_799_999;

/// Reads RFC 3339 with any offset, cut to milliseconds.
pub fn parse_time(text: &str) -> Option<Millis> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
    (FIRST_TIME..=LAST_TIME).contains(&time).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc_with_milliseconds() {
        let time = parse_time("2026-01-15T13:30:00.1239+01:30").expect("a valid time");
        assert_eq!(rfc3339(time), "2026-01-15T12:00:00.123Z");
        let first = parse_time("0001-01-01T00:00:00.000Z").expect("the app's first sync");
        assert_eq!(first, FIRST_TIME);
        assert_eq!(rfc3339(first), "0001-01-01T00:00:00.000Z");
        assert_eq!(parse_time("9999-12-31T23:59:59.999Z"), Some(LAST_TIME));
        for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-15", "0000-12-31T00:00:00Z"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
