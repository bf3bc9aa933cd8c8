//! A stored conflict: the base that two edits started from, and both sides.

use std::collections::BTreeMap;

use entity::Millis;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::row::Key;
use super::{ConflictStatus, ConflictType, Operation, Sender, Strategy};
use crate::kinds::{EntityType, Value};

/// A conflict as it is stored and shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    pub id: Uuid,
    pub key: Key,
    pub scope: Uuid,
    pub conflict_type: ConflictType,
    pub operation: Operation,
    pub operation_id: String,
    pub device: Option<Uuid>,
    /// Who pushed the edit.
    pub account: Uuid,
    /// The row's version when the conflict arose.
    pub local_version: i32,
    /// The version that the edit was made on.
    pub remote_version: i32,
    /// The server's row; empty where there is none.
    pub local: Map<String, Json>,
    /// The device's edit. Where several edits joined, the latest value of each field.
    pub remote: Map<String, Json>,
    /// The row that both started from, where known.
    pub base: Option<Map<String, Json>>,
    /// The names of the fields that both sides changed.
    pub fields: Vec<String>,
    pub at: Millis,
    pub resolution: Option<Resolution>,
}

/// How a conflict ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    pub strategy: Strategy,
    /// The row that came out.
    pub data: Option<Map<String, Json>>,
    pub at: Millis,
    pub by: Uuid,
    /// What it did. None: not known any more.
    pub effect: Option<Effect>,
}

/// What a resolution did to the rows, so that it can be undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    pub did: Did,
    /// The row's version with it; 0 where there is no row.
    pub version: i32,
    /// The copy that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Uuid>,
    /// The rows that it restored with all that had gone with them: kind and id, parents first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<(String, Uuid)>,
}

impl Effect {
    /// The rows that it restored, parents first.
    pub fn roots(&self) -> impl DoubleEndedIterator<Item = Key> {
        self.restored.iter().filter_map(|(kind, id)| Some((EntityType::from_name(kind)?, *id)))
    }

    pub fn new(did: Did, version: i32) -> Effect {
        Effect { did, version, copy: None, restored: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Did {
    /// The row stayed as it was.
    Kept,
    /// A live row got other values.
    Edited,
    /// A deleted row came back.
    Restored,
    /// A row that had waited in the conflict was made.
    Made,
    /// The row was deleted.
    Deleted,
    /// The row stayed, and a copy was put beside it.
    Copied,
}

/// A resolution that was undone.
#[derive(Clone, Debug, PartialEq)]
pub struct Undone {
    pub conflict: Uuid,
    pub resolution: Resolution,
    pub at: Millis,
    pub by: Uuid,
}

impl Conflict {
    /// Whether one of its sides was a deletion from the beginning.
    pub fn is_about_deletion(&self) -> bool {
        self.local.contains_key("deletedAt") || self.remote.contains_key("deletedAt")
    }

    fn effect(&self) -> Option<&Effect> {
        self.resolution.as_ref()?.effect.as_ref()
    }

    /// The rows that a decision, or its undoing, changes by itself: its own, and those that its
    /// resolution made or restored.
    pub fn rows(&self) -> Vec<Key> {
        let effect = self.effect();
        let copy = effect.and_then(|effect| effect.copy).map(|id| (self.key.0, id));
        let restored = effect.into_iter().flat_map(Effect::roots);
        std::iter::once(self.key).chain(copy).chain(restored).collect()
    }

    /// Whether a decision with these values, or the undoing of one, may concern what hangs on these
    /// rows: they move, or are deleted.
    pub fn may_reach_further(&self, values: &BTreeMap<usize, Value>) -> bool {
        let kind = self.key.0.kind();
        kind.parents().any(|(field, _)| {
            values.contains_key(&field) || self.remote.contains_key(&kind.fields[field].name)
        }) || self.effect().is_some_and(|effect| effect.did != Did::Kept)
    }

    pub fn status(&self) -> ConflictStatus {
        match self.resolution {
            None => ConflictStatus::Open,
            Some(_) => ConflictStatus::Resolved,
        }
    }
}

/// One edit in a conflict's story.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub conflict: Uuid,
    pub account: Uuid,
    pub device: Option<Uuid>,
    pub operation: Operation,
    pub operation_id: String,
    pub remote_version: i32,
    pub data: Map<String, Json>,
    /// By the device's clock, no later than when the server took it.
    pub client_time: Millis,
    /// The server's time.
    pub at: Millis,
}

impl Edit {
    pub fn sender(&self) -> Sender {
        Sender { account: self.account, device: self.device }
    }
}
