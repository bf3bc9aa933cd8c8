//! The verdict on one change of one row: a pure function of the change, the row, what happened to
//! the row since, and the policy. tests/decision_table.rs shows it case by case.
//!
//! What concerns other rows (roles, parents, tags) is checked around it, in [`super::plan`].

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::change::{Change, new_content};
use super::merge::{Edited, is_contested, is_later, merge, with};
use super::policy::Policy;
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
    /// The row is a tombstone now, with all below it.
    Deleted,
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
    pub policy: &'a Policy,
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
        Operation::Delete if change.is_blind => {
            let mine =
                facts.revisions.iter().any(|r| r.version == row.version && r.made_by(facts.sender));
            match mine {
                true => Decision::Delete,
                // What others wrote goes with it, and is on record.
                false => Decision::Settle {
                    conflict: ConflictType::Deletion,
                    strategy: Strategy::LastWriteWins,
                    fields: Vec::new(),
                    outcome: Outcome::Deleted,
                },
            }
        }
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
        false => view_at(row, version, facts.sender, facts.revisions),
    };
    Base { version, content, view }
}

/// What a device sees that was given a version: the row at that version, with what the device itself
/// wrote since. None if a revision in between is past its retention.
pub fn view_at(row: &Row, version: i32, by: Sender, revisions: &[Revision]) -> Option<Content> {
    let mut content = content_at(row, version, revisions)?;
    let mut after = row.content.clone();
    let mut written = HashSet::new();
    // Backwards, so that `after` is the row just after each revision.
    for revision in revisions.iter().rev().take_while(|r| r.version > version) {
        for (field, old) in &revision.old {
            if revision.made_by(by) && written.insert(*field) {
                content.values[*field] = after.values[*field].clone();
            }
            after.values[*field] = old.clone();
        }
    }
    Some(content)
}

/// Versions after `base` that others made, or whose maker is forgotten.
fn foreign<'a>(row: &Row, base: i32, facts: &'a Facts) -> impl Iterator<Item = i32> + 'a {
    let kept = facts.revisions;
    (base + 1..=row.version).filter(move |version| {
        !kept.iter().any(|r| r.version == *version && r.made_by(facts.sender))
    })
}

fn edit(
    change: &Change,
    row: &Row,
    base: &Base,
    conflict: ConflictType,
    facts: &Facts,
) -> Decision {
    if change.is_blind {
        return overwrite(change, row, conflict, facts);
    }
    let edits: BTreeMap<usize, Edited> = change
        .edit
        .iter()
        .map(|(&field, value)| {
            // A set is merged against its base, whoever wrote since; within a batch, that is what
            // the change before made.
            let is_set = row.kind().fields[field].is_set();
            let start = if is_set && facts.chained.is_none() { &base.content } else { &base.view };
            let edited = Edited {
                value: value.clone(),
                seen: start.as_ref().map(|content| content.values[field].clone()),
                by: facts.sender,
                base_version: base.version,
                at: change.client_time,
            };
            (field, edited)
        })
        .collect();
    let merge = merge(row, facts.revisions, &edits);
    if merge.wanted.is_empty() {
        return Decision::Same;
    }
    let is_contested =
        |field: usize| is_contested(field, row, facts.revisions, facts.sender, base.version);
    if merge.collided.is_empty() {
        let content = with(&row.content, &merge.wanted);
        if foreign(row, base.version, facts).next().is_none() {
            return Decision::Apply(content);
        }
        return Decision::Settle {
            conflict,
            strategy: Strategy::FieldMerge,
            fields: merge.wanted.keys().copied().filter(|field| is_contested(*field)).collect(),
            outcome: Outcome::Row(content),
        };
    }
    let strategy_of = |field: usize| facts.policy.of_field(row.entity_type(), field);
    let strategies: BTreeSet<Strategy> = merge.collided.iter().map(|at| strategy_of(*at)).collect();
    if strategies.contains(&Strategy::Manual) {
        return Decision::Open { conflict, fields: merge.collided };
    }
    let settle = |strategy, outcome| Decision::Settle {
        conflict,
        strategy,
        fields: merge.collided.clone(),
        outcome,
    };
    if strategies.contains(&Strategy::KeepBoth) {
        let start = base.view.as_ref().unwrap_or(&row.content);
        return settle(Strategy::KeepBoth, Outcome::Copy(with(start, &change.edit)));
    }
    let content = merge.settled(&row.content, &edits, base.view.as_ref(), |field| {
        strategy_of(field) != Strategy::FirstWriteWins
            && edits.get(&field).is_some_and(|e| is_later(field, row, facts.revisions, e))
    });
    let strategy = match strategies.iter().collect::<Vec<_>>()[..] {
        [one] => *one,
        // Decided field by field.
        _ => Strategy::FieldMerge,
    };
    settle(
        strategy,
        match content == row.content {
            true => Outcome::Unchanged,
            false => Outcome::Row(content),
        },
    )
}

/// The edit of someone who knows no versions wins, over whatever is there. What it takes from others
/// is on record.
fn overwrite(change: &Change, row: &Row, conflict: ConflictType, facts: &Facts) -> Decision {
    let wanted: BTreeMap<usize, Value> = change
        .edit
        .iter()
        .filter(|(field, sent)| row.content.values[**field] != **sent)
        .map(|(field, sent)| (*field, sent.clone()))
        .collect();
    if wanted.is_empty() {
        return Decision::Same;
    }
    let is_mine = |field: &usize| {
        let last = row.version_of(*field);
        facts.revisions.iter().any(|r| r.version == last && r.made_by(facts.sender))
    };
    let taken: Vec<usize> = wanted.keys().copied().filter(|field| !is_mine(field)).collect();
    let content = with(&row.content, &wanted);
    match taken.is_empty() {
        true => Decision::Apply(content),
        false => Decision::Settle {
            conflict,
            strategy: Strategy::LastWriteWins,
            fields: taken,
            outcome: Outcome::Row(content),
        },
    }
}

#[cfg(test)]
mod tests {
    use entity::Millis;
    use uuid::Uuid;

    use super::*;
    use crate::kinds::EntityType;
    use crate::sync::Status;

    const NOW: Millis = 1_000_000;

    fn sender(device: u128) -> Sender {
        Sender { account: Uuid::from_u128(1), device: Some(Uuid::from_u128(device)) }
    }

    /// A tag that was made as "a" by device 1, and renamed to "b" by a device.
    fn renamed_by(device: u128) -> (Row, Vec<Revision>) {
        let kind = EntityType::Tag.kind();
        let name = kind.field("name");
        let create = change(Operation::Create, 0, &[("name", "a")]);
        let mut content = new_content(&create).expect("valid");
        content.values[name] = Value::Text("b".into());
        let row = Row {
            id: create.id,
            scope: Uuid::from_u128(1),
            seq: 2,
            entered_seq: 1,
            version: 2,
            field_versions: vec![(name, 2)],
            status: Status::InSync,
            last_sync_attempt: None,
            sync_error: None,
            conflict: None,
            created_by: Uuid::from_u128(1),
            created_at: NOW,
            updated_at: NOW,
            deleted_at: None,
            deleted_root: None,
            content,
        };
        let revision = |version, device, old| Revision {
            version,
            account: Uuid::from_u128(1),
            device: Some(Uuid::from_u128(device)),
            client_time: NOW,
            at: NOW,
            seq: version.into(),
            scope: None,
            old,
            life: None,
        };
        let old = vec![(name, Value::Text("a".into()))];
        (row, vec![revision(1, 1, Vec::new()), revision(2, device, old)])
    }

    fn change(operation: Operation, base_version: i32, edit: &[(&str, &str)]) -> Change {
        let kind = EntityType::Tag.kind();
        Change {
            entity_type: EntityType::Tag,
            id: Uuid::from_u128(7),
            operation,
            base_version,
            client_time: NOW + 1,
            is_blind: false,
            past: None,
            edit: edit
                .iter()
                .map(|(name, value)| (kind.field(name), Value::Text((*value).into())))
                .collect(),
        }
    }

    fn decided(change: &Change, by: Sender, row: &Row, revisions: &[Revision]) -> Decision {
        let policy = &Policy::of(Strategy::Manual);
        decide(change, &Facts { sender: by, row: Some(row), revisions, chained: None, policy })
    }

    #[test]
    fn an_overlap_with_another_device_is_open_and_with_itself_applied() {
        let edit = change(Operation::Update, 1, &[("name", "c")]);
        let (row, revisions) = renamed_by(2);
        let theirs = decided(&edit, sender(1), &row, &revisions);
        assert!(matches!(theirs, Decision::Open { conflict: ConflictType::VersionMismatch, .. }));
        let own = decided(&edit, sender(2), &row, &revisions);
        assert!(matches!(own, Decision::Apply(_)));
    }

    #[test]
    fn a_write_whose_maker_is_forgotten_counts_as_anothers() {
        let (row, _) = renamed_by(2);
        let edit = change(Operation::Update, 1, &[("name", "c")]);
        assert!(matches!(decided(&edit, sender(2), &row, &[]), Decision::Open { .. }));
        let deletion = change(Operation::Delete, 1, &[]);
        assert!(matches!(decided(&deletion, sender(2), &row, &[]), Decision::Open { .. }));
    }

    #[test]
    fn the_base_is_what_the_row_was_and_the_view_what_the_device_made_of_it() {
        let (row, revisions) = renamed_by(2);
        let edit = change(Operation::Update, 1, &[("name", "c")]);
        let name = EntityType::Tag.kind().field("name");
        for (device, seen) in [(2, "b"), (1, "a")] {
            let facts = Facts {
                sender: sender(device),
                row: Some(&row),
                revisions: &revisions,
                chained: None,
                policy: &Policy::of(Strategy::Manual),
            };
            let base = base(&edit, &row, &facts);
            let text = |content: Option<Content>| content.expect("known").values[name].clone();
            assert_eq!(text(base.content), Value::Text("a".into()));
            assert_eq!(text(base.view), Value::Text(seen.into()), "device {device}");
        }
    }
}
