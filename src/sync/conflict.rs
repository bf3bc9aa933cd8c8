//! A stored conflict: the base that two edits started from, and both sides.

use entity::Millis;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::row::Key;
use super::{ConflictStatus, ConflictType, Operation, Strategy};

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
}

impl Conflict {
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
    pub client_time: Millis,
}
