//! What is decided without a person: a strategy for the whole server, for kinds, for fields, and for
//! deletions. Pure.
//!
//! Rules are written as `Memory.content = MANUAL_RESOLUTION, Trip = LAST_WRITE_WINS`, where the left
//! side is a kind, a field of one, a type of conflict (`DELETION_CONFLICT`), or that of one kind
//! (`Task.DELETION_CONFLICT`). The more special rule counts.

use std::collections::BTreeMap;

use super::{ConflictType, Strategy};
use crate::kinds::EntityType;

/// The rules that are recommended: what a device can tell by itself is decided, and texts that took
/// someone an evening are for a person. `docs/settings.md` says how it was measured.
pub const RECOMMENDED: &str = "TagCategory = LAST_WRITE_WINS, Tag = LAST_WRITE_WINS, \
    BucketListItem = LAST_WRITE_WINS, Trip = LAST_WRITE_WINS, Memory = LAST_WRITE_WINS, \
    MediaItem = LAST_WRITE_WINS, GPXTrack = LAST_WRITE_WINS, \
    Memory.content = MANUAL_RESOLUTION, Trip.tripDescription = MANUAL_RESOLUTION, \
    GPXTrack.description = MANUAL_RESOLUTION";

/// Which strategy decides what.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Where no rule says anything.
    default: Strategy,
    kinds: BTreeMap<EntityType, Strategy>,
    /// By kind and field; fields that belong together have the same.
    fields: BTreeMap<(EntityType, usize), Strategy>,
    /// Deletions and missing parents: decided only where they are named.
    types: BTreeMap<(ConflictType, Option<EntityType>), Strategy>,
}

impl Policy {
    /// One strategy for all edits that overlap.
    pub fn of(default: Strategy) -> Policy {
        Policy { default, kinds: BTreeMap::new(), fields: BTreeMap::new(), types: BTreeMap::new() }
    }

    /// Reads rules. The error's sentence is for the operator.
    pub fn parse(default: Strategy, rules: &str) -> Result<Policy, String> {
        let mut policy = Policy::of(default);
        let rules = if rules.trim() == "recommended" { RECOMMENDED } else { rules };
        for rule in rules.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
            policy.add(rule).map_err(|problem| format!("{rule:?}: {problem}"))?;
        }
        Ok(policy)
    }

    fn add(&mut self, rule: &str) -> Result<(), String> {
        let (target, strategy) =
            rule.split_once('=').ok_or("must be written as Kind.field = STRATEGY")?;
        let strategy = Strategy::from_name(strategy.trim()).ok_or_else(|| {
            let names: Vec<_> = Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
            format!("the strategy must be one of {}", names.join(", "))
        })?;
        let (kind, part) = match target.trim().split_once('.') {
            Some((kind, part)) => (kind.trim(), Some(part.trim())),
            None => (target.trim(), None),
        };
        if let (Some(conflict), None) = (unnamed_type(kind), part) {
            return put(&mut self.types, (conflict, None), strategy);
        }
        let entity_type =
            EntityType::from_name(kind).ok_or_else(|| format!("there is no kind {kind}"))?;
        let Some(part) = part else { return put(&mut self.kinds, entity_type, strategy) };
        if let Some(conflict) = unnamed_type(part) {
            return put(&mut self.types, (conflict, Some(entity_type)), strategy);
        }
        let field =
            entity_type.kind().find(part).ok_or_else(|| format!("{kind} has no field {part}"))?;
        for member in entity_type.kind().group_of(field) {
            put(&mut self.fields, (entity_type, member), strategy)?;
        }
        Ok(())
    }

    /// What a batch asks for counts instead of the server's rules about overlapping edits.
    pub fn for_batch(&self, strategy: Option<Strategy>) -> Policy {
        match strategy {
            None => self.clone(),
            Some(default) => Policy { types: self.types.clone(), ..Policy::of(default) },
        }
    }

    /// What decides an overlap in one field.
    pub fn of_field(&self, kind: EntityType, field: usize) -> Strategy {
        let named = self.fields.get(&(kind, field)).or_else(|| self.kinds.get(&kind));
        named.copied().unwrap_or(self.default)
    }

    /// What decides a deletion, or a missing parent. None: a person.
    pub fn of_type(&self, conflict: ConflictType, kind: EntityType) -> Option<Strategy> {
        let named = self.types.get(&(conflict, Some(kind)));
        let named = named.or_else(|| self.types.get(&(conflict, None)));
        named.copied().filter(|strategy| *strategy != Strategy::Manual)
    }

    /// Whether a strategy may come up at all.
    pub fn has(&self, strategy: Strategy) -> bool {
        self.default == strategy
            || self.kinds.values().chain(self.fields.values()).any(|one| *one == strategy)
    }

    /// Whether any deletion or missing parent is decided.
    pub fn decides_types(&self) -> bool {
        self.types.values().any(|strategy| *strategy != Strategy::Manual)
    }
}

/// The types that are decided only where they are named.
fn unnamed_type(name: &str) -> Option<ConflictType> {
    ConflictType::from_name(name)
        .filter(|conflict| matches!(conflict, ConflictType::Deletion | ConflictType::Dependency))
}

fn put<K: Ord>(
    rules: &mut BTreeMap<K, Strategy>,
    key: K,
    strategy: Strategy,
) -> Result<(), String> {
    match rules.insert(key, strategy) {
        Some(other) if other != strategy => {
            Err(format!("is said to be {} elsewhere", other.name()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(rules: &str) -> Result<Policy, String> {
        Policy::parse(Strategy::Manual, rules)
    }

    #[test]
    fn the_more_special_rule_counts() {
        let memory = EntityType::Memory;
        let [title, content] = ["title", "content"].map(|name| memory.kind().field(name));
        let rules = "Memory.content = KEEP_BOTH, Memory=LAST_WRITE_WINS";
        let policy = parsed(rules).expect("good rules");
        assert_eq!(policy.of_field(memory, content), Strategy::KeepBoth);
        assert_eq!(policy.of_field(memory, title), Strategy::LastWriteWins);
        assert_eq!(policy.of_field(EntityType::Trip, 1), Strategy::Manual);
        let batch = policy.for_batch(Some(Strategy::FirstWriteWins));
        assert_eq!(batch.of_field(memory, content), Strategy::FirstWriteWins);
    }

    #[test]
    fn fields_that_belong_together_have_one_strategy() {
        let kind = EntityType::Memory.kind();
        let policy = parsed("Memory.latitude = LAST_WRITE_WINS").expect("good rules");
        for name in ["latitude", "longitude"] {
            let strategy = policy.of_field(EntityType::Memory, kind.field(name));
            assert_eq!(strategy, Strategy::LastWriteWins);
        }
        let two = "Memory.latitude = LAST_WRITE_WINS, Memory.longitude = FIRST_WRITE_WINS";
        assert!(parsed(two).expect_err("two strategies").contains("elsewhere"));
    }

    #[test]
    fn deletions_are_decided_only_where_they_are_named() {
        let policy = parsed(
            "Memory = LAST_WRITE_WINS, Tag.DELETION_CONFLICT = FIELD_MERGE, \
            DELETION_CONFLICT = FIRST_WRITE_WINS",
        )
        .expect("good rules");
        let deletion = ConflictType::Deletion;
        assert_eq!(policy.of_type(deletion, EntityType::Tag), Some(Strategy::FieldMerge));
        assert_eq!(policy.of_type(deletion, EntityType::Memory), Some(Strategy::FirstWriteWins));
        assert_eq!(policy.of_type(ConflictType::Dependency, EntityType::Memory), None);
        let batch = policy.for_batch(Some(Strategy::LastWriteWins));
        assert_eq!(batch.of_type(deletion, EntityType::Tag), Some(Strategy::FieldMerge));
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (rule, problem) in [
            ("Memory.content", "must be written as"),
            ("Memory.content = MAYBE", "must be one of"),
            ("Hut = LAST_WRITE_WINS", "there is no kind Hut"),
            ("Memory.hut = LAST_WRITE_WINS", "Memory has no field hut"),
            ("VERSION_MISMATCH = LAST_WRITE_WINS", "there is no kind VERSION_MISMATCH"),
        ] {
            let error = parsed(rule).expect_err(rule);
            assert!(error.contains(problem), "{error}");
        }
        let recommended = parsed("recommended").expect("good rules");
        assert!(!recommended.decides_types());
        assert!(!EntityType::ALL.iter().any(|kind| !recommended.kinds.contains_key(kind)));
    }
}
