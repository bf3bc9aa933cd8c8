//! What a decision about a conflict makes of its row: a pure function of the conflict, its story, the
//! row as it is now, and what happened to it. tests/g13_resolutions.rs shows it case by case.

use std::collections::BTreeMap;

use entity::Millis;
use serde_json::{Map, Value as Json};

use super::change::{Refusal, new_content};
use super::conflict::{Conflict, Edit};
use super::decide::view_at;
use super::merge::{Edited, is_later, merge, with};
use super::row::{Revision, Row};
use super::{ConflictType, ErrorCode, Operation, Strategy};
use crate::kinds::{Content, EntityType, Value, Writer};

/// Everything that a decision depends on.
pub struct Case<'a> {
    pub conflict: &'a Conflict,
    /// Its edits, in the order in which they came.
    pub story: &'a [Edit],
    /// The row as it is now, a tombstone too. None: it was never made, or only its id is left.
    pub row: Option<&'a Row>,
    /// Of the row, ascending, as far as they are kept.
    pub revisions: &'a [Revision],
    /// When the row, or what it is to hang on, was deleted, by the clock of who did it.
    pub gone_at: Option<Millis>,
    /// When something below the row was changed last.
    pub below_at: Option<Millis>,
}

/// What is to become of the row.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// It stays as it is: a deleted one deleted, one that was never made unmade.
    Keep,
    /// It lives, with these values. A deleted row comes back, with what it hangs on; one that was
    /// never made is made.
    Live(BTreeMap<usize, Value>),
    /// It stays as it is, and a copy with this content stands beside it.
    Copy(Content),
    /// It is deleted.
    Delete,
}

impl Case<'_> {
    fn entity_type(&self) -> EntityType {
        self.conflict.key.0
    }

    /// What was edited, field by field, as the story tells it.
    fn edits(&self) -> BTreeMap<usize, Edited> {
        let kind = self.entity_type().kind();
        let base = self.conflict.base.as_ref().map(|base| recall(self.entity_type(), base));
        let mut edits: BTreeMap<usize, Edited> = BTreeMap::new();
        for edit in self.story.iter().filter(|edit| edit.operation != Operation::Delete) {
            let by = edit.sender();
            let made = self.revisions.iter().any(|r| r.version == 1 && r.made_by(by));
            let base_version = match edit.operation {
                Operation::Create => i32::from(made),
                _ => edit.remote_version,
            };
            let seen = match (base_version, self.row) {
                (0, _) | (_, None) => None,
                (version, Some(row)) => view_at(row, version, by, self.revisions),
            };
            for (name, json) in &edit.data {
                let Some(field) = kind.find(name) else { continue };
                let value = kind.fields[field].recall(json);
                // The conflict holds the last value of each field, in whatever order edits came.
                let last =
                    self.conflict.remote.get(name).map(|json| kind.fields[field].recall(json));
                if last.is_some_and(|last| last != value) {
                    continue;
                }
                let known = seen.as_ref().map(|content| content.values[field].clone());
                let stored = || base.as_ref().and_then(|base| base.get(&field).cloned());
                let seen = if base_version == 0 { None } else { known.or_else(stored) };
                let edited = Edited { value, seen, by, base_version, at: edit.client_time };
                match edits.get(&field) {
                    Some(other) if other.at > edited.at => {}
                    _ => {
                        edits.insert(field, edited);
                    }
                }
            }
        }
        edits
    }

    /// When the last edit was made, and when a device deleted the row.
    fn times(&self) -> (Option<Millis>, Option<Millis>) {
        let last = |deletions: bool| {
            let of = self.story.iter().filter(|e| (e.operation == Operation::Delete) == deletions);
            of.map(|edit| edit.client_time).max()
        };
        (last(false), last(true))
    }

    /// When others than the devices of the story wrote the row last, after what those had seen.
    fn others_at(&self, row: &Row) -> Millis {
        let seen = self.story.iter().map(|edit| edit.remote_version).max().unwrap_or(0);
        let senders: Vec<_> = self.story.iter().map(Edit::sender).collect();
        let written = self
            .revisions
            .iter()
            .filter(|r| r.version > seen && !r.old.is_empty())
            .filter(|r| !senders.iter().any(|sender| r.made_by(*sender)))
            .map(|revision| revision.client_time)
            .max();
        let forgotten = row.version > seen && written.is_none();
        written.or(forgotten.then_some(row.updated_at)).max(self.below_at).unwrap_or(Millis::MIN)
    }

    /// What the device had in front of it, with its edits on top.
    fn theirs(&self, edits: &BTreeMap<usize, Edited>, row: &Row) -> Content {
        let values = edits.iter().map(|(field, edited)| (*field, edited.value.clone())).collect();
        with(self.view(row).as_ref().unwrap_or(&row.content), &values)
    }

    fn view(&self, row: &Row) -> Option<Content> {
        let last = self.story.iter().rev().find(|edit| edit.operation != Operation::Delete)?;
        let version = last.remote_version;
        let known = view_at(row, version, last.sender(), self.revisions).filter(|_| version > 0);
        let stored = || {
            let base = recall(self.entity_type(), self.conflict.base.as_ref()?);
            Some(with(&row.content, &base))
        };
        known.or_else(stored)
    }

    /// The row merged with the edits; of what both sides wrote, the later one.
    fn merged(&self, edits: &BTreeMap<usize, Edited>, row: &Row) -> BTreeMap<usize, Value> {
        let merge = merge(row, self.revisions, edits);
        let content = merge.settled(&row.content, edits, self.view(row).as_ref(), |field| {
            edits.get(&field).is_some_and(|e| is_later(field, row, self.revisions, e))
        });
        changed(&row.content, content)
    }
}

/// What a strategy makes of a case. Not for `MANUAL_RESOLUTION`, which [`Manual`] says.
pub fn wish(case: &Case, strategy: Strategy) -> Wish {
    let edits = case.edits();
    let (edited_at, device_deleted_at) = case.times();
    let is_later_than_deletion = edited_at > case.gone_at;
    let Some(row) = case.row else {
        let is_wanted = match strategy {
            Strategy::FirstWriteWins => false,
            Strategy::LastWriteWins => is_later_than_deletion && edited_at >= device_deleted_at,
            _ => true,
        };
        return match is_wanted && !edits.is_empty() {
            true => Wish::Live(edits.into_iter().map(|(at, edited)| (at, edited.value)).collect()),
            false => Wish::Keep,
        };
    };
    if !row.is_live() {
        let is_wanted = is_later_than_deletion && edited_at >= device_deleted_at;
        return match strategy {
            _ if edits.is_empty() => Wish::Keep,
            Strategy::FirstWriteWins => Wish::Keep,
            Strategy::LastWriteWins if !is_wanted => Wish::Keep,
            Strategy::KeepBoth => Wish::Copy(case.theirs(&edits, row)),
            _ => Wish::Live(case.merged(&edits, row)),
        };
    }
    let waits_for_parent = case.conflict.conflict_type == ConflictType::Dependency;
    match strategy {
        Strategy::FirstWriteWins => Wish::Keep,
        Strategy::KeepBoth if edits.is_empty() => Wish::Keep,
        Strategy::KeepBoth => Wish::Copy(case.theirs(&edits, row)),
        Strategy::LastWriteWins
            if device_deleted_at.is_some_and(|at| at > case.others_at(row))
                && device_deleted_at >= edited_at =>
        {
            Wish::Delete
        }
        Strategy::LastWriteWins if waits_for_parent && !is_later_than_deletion => Wish::Keep,
        _ => Wish::Live(case.merged(&edits, row)),
    }
}

/// The content of a row that was never made.
pub fn made(case: &Case, values: BTreeMap<usize, Value>) -> Result<Content, Refusal> {
    let first = case.story.first();
    new_content(&super::change::Change {
        entity_type: case.conflict.key.0,
        id: case.conflict.key.1,
        operation: Operation::Create,
        base_version: 0,
        client_time: first.map_or(case.conflict.at, |edit| edit.client_time),
        is_blind: false,
        past: None,
        edit: values,
    })
}

/// The values in which content differs from what was there.
pub fn changed(before: &Content, after: Content) -> BTreeMap<usize, Value> {
    after
        .values
        .into_iter()
        .enumerate()
        .filter(|(field, value)| before.values[*field] != *value)
        .collect()
}

/// Stored JSON as values.
pub fn recall(entity_type: EntityType, json: &Map<String, Json>) -> BTreeMap<usize, Value> {
    let kind = entity_type.kind();
    json.iter()
        .filter_map(|(name, json)| {
            kind.find(name).map(|field| (field, kind.fields[field].recall(json)))
        })
        .collect()
}

/// What a person decided, field by field.
#[derive(Clone, Debug, PartialEq)]
pub struct Manual {
    values: BTreeMap<usize, Value>,
    /// The row is to be deleted, or to stay deleted.
    deleted: bool,
    /// The version that the person looked at.
    seen: Option<i32>,
}

/// What else the JSON of a row says, which nobody can set.
const FACTS: [&str; 3] = ["id", "createdAt", "updatedAt"];

impl Manual {
    /// Reads `resolvedData`: a JSON object of fields under the names that batches use. What only the
    /// server writes may come along as it is.
    pub fn read(text: &str, key: super::row::Key, row: Option<&Row>) -> Result<Manual, Refusal> {
        let invalid = |message: String| Refusal::new(ErrorCode::Validation, message);
        let json: Map<String, Json> = serde_json::from_str(text)
            .map_err(|error| invalid(format!("resolvedData: must be a JSON object: {error}")))?;
        let kind = key.0.kind();
        let current = row.map(Row::to_json).unwrap_or_default();
        let mut manual = Manual { values: BTreeMap::new(), deleted: false, seen: None };
        for (name, value) in &json {
            match name.as_str() {
                "deletedAt" => match value {
                    Json::Null => {}
                    Json::String(_) => manual.deleted = true,
                    _ => return Err(invalid("deletedAt: must be a time, or null".into())),
                },
                "syncVersion" => {
                    let version = value.as_i64().and_then(|version| i32::try_from(version).ok());
                    let version = version.filter(|version| *version >= 0);
                    manual.seen = Some(version.ok_or_else(|| {
                        invalid("syncVersion: must be a whole number, 0 or more".into())
                    })?);
                }
                _ => match kind.find(name).filter(|at| kind.fields[*at].writer == Writer::Device) {
                    Some(field) => {
                        manual.values.insert(field, kind.fields[field].take(value)?);
                    }
                    None if name == "id" && value.as_str() == Some(&key.1.to_string()) => {}
                    None if current.get(name) == Some(value) => {}
                    None if FACTS.contains(&name.as_str()) || kind.find(name).is_some() => {
                        return Err(invalid(format!("{name}: only the server writes it")));
                    }
                    None => {
                        let message = format!("{name}: {} has no such field", kind.name());
                        return Err(invalid(message));
                    }
                },
            }
        }
        Ok(manual)
    }

    /// The references and parents that it names.
    pub fn values(&self) -> &BTreeMap<usize, Value> {
        &self.values
    }

    pub fn deletes(&self) -> bool {
        self.deleted
    }

    /// What it makes of a case.
    pub fn wish(&self, case: &Case) -> Result<Wish, Refusal> {
        if let (Some(seen), Some(row)) = (self.seen, case.row) {
            let newer: Vec<&str> = self
                .values
                .iter()
                .filter(|(field, value)| {
                    row.version_of(**field) > seen && row.content.values[**field] != **value
                })
                .map(|(field, _)| row.kind().fields[*field].name.as_str())
                .collect();
            if let Some(first) = newer.first() {
                let message =
                    format!("{first}: was changed after version {seen}; look at the row again");
                return Err(Refusal::new(ErrorCode::Validation, message));
            }
        }
        let is_there = case.row.is_some_and(Row::is_live);
        Ok(match (self.deleted, is_there) {
            (true, true) => Wish::Delete,
            (true, false) => Wish::Keep,
            (false, true) => Wish::Live(self.values.clone()),
            (false, false) => {
                // What the person did not speak of is as the device wanted it.
                let mut values = match case.row {
                    Some(_) => BTreeMap::new(),
                    None => recall(case.conflict.key.0, &case.conflict.remote),
                };
                values.extend(self.values.clone());
                Wish::Live(values)
            }
        })
    }
}
