//! The verdict on one change of one row: a pure function of the change, the row, what happened to
//! the row since, and the policy. tests/decision_table.rs shows it case by case.
//!
//! What concerns other rows (roles, parents, tags) is checked around it, in [`super::plan`].

use std::collections::{BTreeMap, HashSet};

use entity::Millis;
use uuid::Uuid;

use super::change::{Change, new_content};
use super::row::{Revision, Row, content_at};
use super::{ConflictType, ErrorCode, Operation, Sender, Strategy};
use crate::kinds::{Content, Value};

/// What is to become of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Refuse(ErrorCode, String),
    /// Successful, and nothing to write.
    Same,
    /// A new row.
    Create(Content),
    /// Applied as sent.
    Apply(Content),
    /// A tombstone, with all below it.
    Delete,
    /// Stored as a conflict that is resolved already.
    Settle {
        conflict: ConflictType,
        strategy: Strategy,
        fields: Vec<usize>,
        outcome: Outcome,
    },
    /// Stored as an open conflict; nothing of the change is applied.
    Open {
        conflict: ConflictType,
        fields: Vec<usize>,
    },
}

/// What a settled conflict did.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The row has this content now.
    Row(Content),
    /// The row stays as it was.
    Unchanged,
    /// The row stays, and a copy with this content stands beside it.
    Copy(Content),
}

/// What the edit started from.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// Changes by others after this version were not known to the device.
    pub version: i32,
    /// The row at that version. None: past its retention, or there was none.
    pub content: Option<Content>,
    /// What the device saw when it made the edit: the row at that version, with what the device
    /// itself has written since.
    pub view: Option<Content>,
}

impl Base {
    /// Nothing is known of what the device saw.
    pub const UNKNOWN: Base = Base { version: 0, content: None, view: None };
}

/// Everything that the verdict depends on.
pub struct Facts<'a> {
    pub sender: Sender,
    pub row: Option<&'a Row>,
    /// Of this row, ascending; at least all newer than the change's base, and the first where kept.
    pub revisions: &'a [Revision],
    /// Set for the later changes of a row in one batch: the version that the first was made on.
    pub chained: Option<i32>,
    pub policy: Strategy,
}

/// Decides one change.
pub fn decide(change: &Change, facts: &Facts) -> Decision {
    let Some(row) = facts.row else {
        return match change.operation {
            Operation::Create => match new_content(change) {
                Ok(content) => Decision::Create(content),
                Err(refusal) => Decision::Refuse(refusal.code, refusal.message),
            },
            Operation::Update => Decision::Refuse(
                ErrorCode::NotFound,
                format!("there is no such {}", change.entity_type.name()),
            ),
            Operation::Delete => Decision::Same,
        };
    };
    if change.operation == Operation::Delete && !row.is_live() {
        return Decision::Same;
    }
    if change.operation != Operation::Create
        && facts.chained.is_none()
        && change.base_version > row.version
    {
        return Decision::Refuse(
            ErrorCode::VersionAhead,
            format!(
                "syncVersion: the server never issued version {} of this row",
                change.base_version
            ),
        );
    }
    if !row.is_live() {
        return Decision::Open { conflict: ConflictType::Deletion, fields: Vec::new() };
    }
    let base = base(change, row, facts);
    match change.operation {
        Operation::Delete => match foreign(row, base.version, facts).next().is_none() {
            true => Decision::Delete,
            false => Decision::Open { conflict: ConflictType::Deletion, fields: Vec::new() },
        },
        Operation::Update => edit(change, row, &base, ConflictType::VersionMismatch, facts),
        // A device that made the row sends its creation again: an edit of version 1.
        Operation::Create if base.version > 0 => {
            edit(change, row, &base, ConflictType::VersionMismatch, facts)
        }
        Operation::Create => edit(change, row, &base, ConflictType::ConcurrentModification, facts),
    }
}

/// What the change started from.
pub fn base(change: &Change, row: &Row, facts: &Facts) -> Base {
    let version = match (facts.chained, change.operation) {
        (Some(version), _) => version,
        (None, Operation::Create) => {
            let mine = facts.revisions.iter().any(|r| r.version == 1 && r.made_by(facts.sender));
            i32::from(mine)
        }
        (None, _) => change.base_version,
    };
    if version == 0 {
        return Base::UNKNOWN;
    }
    let content = content_at(row, version, facts.revisions);
    // A creation that is sent again is older than whatever the device wrote after it.
    let view = match change.operation == Operation::Create && facts.chained.is_none() {
        true => content.clone(),
        false => content.clone().map(|content| with_own_edits(content, row, version, facts)),
    };
    Base { version, content, view }
}

/// What the sender itself wrote since a version, on top of the content of that version.
fn with_own_edits(mut content: Content, row: &Row, version: i32, facts: &Facts) -> Content {
    let mut after = row.content.clone();
    let mut written = HashSet::new();
    // Backwards, so that `after` is the row just after each revision.
    for revision in facts.revisions.iter().rev().take_while(|r| r.version > version) {
        for (field, old) in &revision.old {
            if revision.made_by(facts.sender) && written.insert(*field) {
                content.values[*field] = after.values[*field].clone();
            }
            after.values[*field] = old.clone();
        }
    }
    content
}

/// Versions after `base` that others made, or whose maker is forgotten.
fn foreign<'a>(row: &Row, base: i32, facts: &'a Facts) -> impl Iterator<Item = i32> + 'a {
    let kept = facts.revisions;
    (base + 1..=row.version).filter(move |version| {
        !kept.iter().any(|r| r.version == *version && r.made_by(facts.sender))
    })
}

/// Whether others wrote a field, or one that belongs with it, after `base`.
fn contested(field: usize, row: &Row, base: i32, facts: &Facts) -> bool {
    row.kind().group_of(field).any(|field| {
        let last = row.version_of(field);
        if last <= base {
            return false;
        }
        // The last write is past its retention: whoever made it, it may have been another.
        if !facts.revisions.iter().any(|revision| revision.version == last) {
            return true;
        }
        facts
            .revisions
            .iter()
            .any(|r| r.version > base && r.wrote(field) && !r.made_by(facts.sender))
    })
}

fn edit(
    change: &Change,
    row: &Row,
    base: &Base,
    conflict: ConflictType,
    facts: &Facts,
) -> Decision {
    let kind = row.kind();
    // What is really left of the edit: neither what the row has already, nor what the device sent
    // along without changing it.
    let mut wanted: BTreeMap<usize, Value> = BTreeMap::new();
    let mut collided = Vec::new();
    for (&field, sent) in &change.edit {
        let ours = &row.content.values[field];
        // A set is merged against its base, whoever wrote since; within a batch, that is what the
        // change before made.
        let is_set = kind.fields[field].is_set();
        let start = if is_set && facts.chained.is_none() { &base.content } else { &base.view };
        let seen = start.as_ref().map(|content| &content.values[field]);
        if sent == ours || Some(sent) == seen {
            continue;
        }
        match seen {
            Some(seen) if is_set => {
                let merged = merge_sets(seen, ours, sent);
                if merged != *ours {
                    wanted.insert(field, merged);
                }
            }
            _ => {
                if contested(field, row, base.version, facts) {
                    collided.push(field);
                }
                wanted.insert(field, sent.clone());
            }
        }
    }
    if wanted.is_empty() {
        return Decision::Same;
    }
    if collided.is_empty() {
        let content = with(&row.content, &wanted);
        if foreign(row, base.version, facts).next().is_none() {
            return Decision::Apply(content);
        }
        return Decision::Settle {
            conflict,
            strategy: Strategy::FieldMerge,
            fields: wanted
                .keys()
                .copied()
                .filter(|field| contested(*field, row, base.version, facts))
                .collect(),
            outcome: Outcome::Row(content),
        };
    }
    let settle = |outcome| Decision::Settle {
        conflict,
        strategy: facts.policy,
        fields: collided.clone(),
        outcome,
    };
    match facts.policy {
        Strategy::Manual => Decision::Open { conflict, fields: collided },
        Strategy::KeepBoth => {
            let start = base.view.as_ref().unwrap_or(&row.content);
            settle(Outcome::Copy(with(start, &change.edit)))
        }
        Strategy::LastWriteWins | Strategy::FieldMerge | Strategy::FirstWriteWins => {
            let last_write = facts.policy != Strategy::FirstWriteWins;
            for field in &collided {
                let wins = last_write && is_later(change, *field, row, base.version, facts);
                for member in kind.group_of(*field) {
                    // A group wins as one, with what the device saw in it where it sent nothing.
                    let seen = base.view.as_ref().map(|content| &content.values[member]);
                    match change.edit.get(&member).or(seen).filter(|_| wins) {
                        Some(value) => wanted.insert(member, value.clone()),
                        None => wanted.remove(&member),
                    };
                }
            }
            let content = with(&row.content, &wanted);
            settle(match content == row.content {
                true => Outcome::Unchanged,
                false => Outcome::Row(content),
            })
        }
    }
}

/// Whether the edit was made after the last write of others to the field's group, by the devices'
/// clocks as the server took them; ties go to the greater device id.
fn is_later(change: &Change, field: usize, row: &Row, base: i32, facts: &Facts) -> bool {
    let last: Option<(Millis, Uuid)> = row
        .kind()
        .group_of(field)
        .flat_map(|field| {
            facts
                .revisions
                .iter()
                .filter(move |r| r.version > base && r.wrote(field) && !r.made_by(facts.sender))
        })
        .map(|revision| (revision.client_time, revision.device.unwrap_or_default()))
        .max();
    let mine = (change.client_time, facts.sender.device.unwrap_or_default());
    // Nothing known of the other write: it is past its retention, and the row's time is all there is.
    mine > last.unwrap_or((row.updated_at, Uuid::max()))
}

/// Three-way merge of sets: what either side added since the base, less what either removed.
pub fn merge_sets(base: &Value, ours: &Value, theirs: &Value) -> Value {
    let (base, ours, theirs) = (base.as_ids(), ours.as_ids(), theirs.as_ids());
    let mut merged: Vec<Uuid> = ours
        .iter()
        .filter(|id| theirs.contains(id) || !base.contains(id))
        .chain(theirs.iter().filter(|id| !base.contains(id)))
        .copied()
        .collect();
    merged.sort_unstable();
    merged.dedup();
    Value::Ids(merged)
}

/// Content with some values replaced.
pub fn with(content: &Content, edit: &BTreeMap<usize, Value>) -> Content {
    let mut content = content.clone();
    for (field, value) in edit {
        content.values[*field] = value.clone();
    }
    content
}
