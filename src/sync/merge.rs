//! The three-way merge of one row: what a device saw, what the row became, what the device made of
//! it. Pure; tests/g11_merge_tables.rs shows it as tables.

use std::collections::BTreeMap;

use entity::Millis;
use uuid::Uuid;

use super::Sender;
use super::row::{Revision, Row};
use crate::kinds::{Content, Value};

/// A field as a device left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Edited {
    pub value: Value,
    /// What the device saw there before; for a set, what the set started from. None: not known.
    pub seen: Option<Value>,
    pub by: Sender,
    /// What others wrote after this version was not known to the device.
    pub base_version: i32,
    /// By the device's clock, as the server took it.
    pub at: Millis,
}

/// What is really left of an edit: neither what the row has already, nor what the device sent along
/// without changing it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merge {
    /// The values that the row would get, if the device won wherever both sides wrote.
    pub wanted: BTreeMap<usize, Value>,
    /// Of those, the fields that others wrote too.
    pub collided: Vec<usize>,
}

/// Merges an edit into a row. `revisions` are the row's, ascending, as far as they are known.
pub fn merge(row: &Row, revisions: &[Revision], edits: &BTreeMap<usize, Edited>) -> Merge {
    let kind = row.kind();
    let mut merge = Merge::default();
    for (&field, edited) in edits {
        let ours = &row.content.values[field];
        let Edited { value, seen, .. } = edited;
        if value == ours || Some(value) == seen.as_ref() {
            continue;
        }
        match seen {
            Some(seen) if kind.fields[field].is_set() => {
                let merged = merge_sets(seen, ours, value);
                if merged != *ours {
                    merge.wanted.insert(field, merged);
                }
            }
            _ => {
                if is_contested(field, row, revisions, edited.by, edited.base_version) {
                    merge.collided.push(field);
                }
                merge.wanted.insert(field, value.clone());
            }
        }
    }
    merge
}

impl Merge {
    /// The row with what did not collide, and of what did collide that for which `wins` says so.
    /// Fields that belong together win as one, with what the device saw in them where it sent
    /// nothing.
    pub fn settled(
        &self,
        ours: &Content,
        edits: &BTreeMap<usize, Edited>,
        view: Option<&Content>,
        wins: impl Fn(usize) -> bool,
    ) -> Content {
        let kind = ours.kind.kind();
        let mut wanted = self.wanted.clone();
        for field in &self.collided {
            let wins = wins(*field);
            for member in kind.group_of(*field) {
                let sent = edits.get(&member).map(|edited| &edited.value);
                let seen = view.map(|content| &content.values[member]);
                match sent.or(seen).filter(|_| wins) {
                    Some(value) => wanted.insert(member, value.clone()),
                    None => wanted.remove(&member),
                };
            }
        }
        with(ours, &wanted)
    }
}

/// Whether others wrote a field, or one that belongs with it, after a version.
pub fn is_contested(
    field: usize,
    row: &Row,
    revisions: &[Revision],
    by: Sender,
    base_version: i32,
) -> bool {
    row.kind().group_of(field).any(|field| {
        let last = row.version_of(field);
        if last <= base_version {
            return false;
        }
        // The last write is past its retention: whoever made it, it may have been another.
        if !revisions.iter().any(|revision| revision.version == last) {
            return true;
        }
        revisions.iter().any(|r| r.version > base_version && r.wrote(field) && !r.made_by(by))
    })
}

/// Whether an edit was made after the last write of others to the field's group, by the devices'
/// clocks as the server took them; ties go to the greater device id.
pub fn is_later(field: usize, row: &Row, revisions: &[Revision], edited: &Edited) -> bool {
    let by_others =
        revisions.iter().filter(|r| r.version > edited.base_version && !r.made_by(edited.by));
    let last = by_others
        .rev()
        .find(|r| row.kind().group_of(field).any(|member| r.wrote(member)))
        .map(|revision| (revision.client_time, revision.device.unwrap_or_default()));
    let mine = (edited.at, edited.by.device.unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        /// What either side added is in, what either side removed is out; the sides are equal.
        #[test]
        fn merged_sets_follow_both_sides(base: Vec<u8>, ours: Vec<u8>, theirs: Vec<u8>) {
            let set = |ids: &[u8]| {
                let mut ids: Vec<Uuid> = ids.iter().map(|n| Uuid::from_u128((n % 16).into())).collect();
                ids.sort_unstable();
                ids.dedup();
                Value::Ids(ids)
            };
            let (base, ours, theirs) = (set(&base), set(&ours), set(&theirs));
            let merged = merge_sets(&base, &ours, &theirs);
            prop_assert_eq!(&merged, &merge_sets(&base, &theirs, &ours));
            for id in (0..16).map(Uuid::from_u128) {
                let [was, we, they, now] =
                    [&base, &ours, &theirs, &merged].map(|set| set.as_ids().contains(&id));
                prop_assert_eq!(now, if was { we && they } else { we || they });
            }
        }
    }
}
