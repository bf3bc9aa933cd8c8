//! A stored row of any kind, and the revisions that made it what it is.

use entity::Millis;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::{Sender, Status};
use crate::kinds::{Content, EntityType, Kind, Value, rfc3339};

/// A row: the sync columns and the content.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: Uuid,
    pub scope: Uuid,
    pub seq: i64,
    pub entered_seq: i64,
    pub version: i32,
    /// Field → the version that last changed it; what is absent was last changed by version 1.
    pub field_versions: Vec<(usize, i32)>,
    pub status: Status,
    pub last_sync_attempt: Option<Millis>,
    pub sync_error: Option<String>,
    pub conflict: Option<Uuid>,
    pub created_by: Uuid,
    pub created_at: Millis,
    pub updated_at: Millis,
    pub deleted_at: Option<Millis>,
    pub deleted_root: Option<Uuid>,
    pub content: Content,
}

impl Row {
    pub fn entity_type(&self) -> EntityType {
        self.content.kind
    }

    pub fn kind(&self) -> &'static Kind {
        self.content.kind.kind()
    }

    pub fn key(&self) -> Key {
        (self.content.kind, self.id)
    }

    pub fn is_live(&self) -> bool {
        self.deleted_at.is_none()
    }

    /// The version that last changed a field.
    pub fn version_of(&self, field: usize) -> i32 {
        self.field_versions.iter().find(|(at, _)| *at == field).map_or(1, |(_, version)| *version)
    }

    pub fn set_version_of(&mut self, field: usize, version: i32) {
        match self.field_versions.iter_mut().find(|(at, _)| *at == field) {
            Some(entry) => entry.1 = version,
            None => self.field_versions.push((field, version)),
        }
    }

    /// The status that devices see.
    pub fn shown_status(&self) -> Status {
        if self.conflict.is_some() { Status::Conflict } else { self.status }
    }

    /// The row as JSON for conflicts: the content under the names of batches, and what a person
    /// needs to know about the row.
    pub fn to_json(&self) -> Map<String, Json> {
        let mut json = self.content.to_json();
        json.insert("id".into(), json!(self.id));
        json.insert("syncVersion".into(), json!(self.version));
        json.insert("createdAt".into(), json!(rfc3339(self.created_at)));
        json.insert("updatedAt".into(), json!(rfc3339(self.updated_at)));
        if let Some(at) = self.deleted_at {
            json.insert("deletedAt".into(), json!(rfc3339(at)));
        }
        json
    }

    /// Bytes that the row takes in memory, more or less: its texts and sets, and one number for the
    /// rest.
    pub fn weight(&self) -> usize {
        let values: usize = self.content.values.iter().map(Value::weight).sum();
        ROW_BYTES + values + self.sync_error.as_ref().map_or(0, String::len)
    }

    /// The id that a parent field names.
    pub fn parent(&self, field: usize) -> Option<Uuid> {
        self.content.values[field].as_id()
    }
}

/// What a row without texts takes: its sync columns, and fields of some 32 bytes.
const ROW_BYTES: usize = 512;

/// Puts rows of one kind in the order in which lists have them.
pub fn sort(rows: &mut [Row]) {
    let by = |row: &Row| row.kind().field(row.kind().order);
    rows.sort_by(|a, b| {
        a.content.values[by(a)].compare(&b.content.values[by(b)]).then(a.id.cmp(&b.id))
    });
}

/// Names a row among all kinds.
pub type Key = (EntityType, Uuid);

/// What an accepted change did to a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub version: i32,
    pub account: Uuid,
    pub device: Option<Uuid>,
    /// When the edit was made by the device's clock, no later than when the server took it.
    pub client_time: Millis,
    /// The server's time.
    pub at: Millis,
    /// The seq that the row got with it.
    pub seq: i64,
    /// Where the row lay before; for a creation, where it came to lie. None: not known.
    pub scope: Option<Uuid>,
    /// The fields that changed, with the values that they had before.
    pub old: Vec<(usize, Value)>,
    /// Set where the row was deleted with it, or came back.
    pub life: Option<Life>,
}

/// What a revision did to a row's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Ended,
    Began,
}

impl Revision {
    pub fn made_by(&self, sender: Sender) -> bool {
        self.account == sender.account && self.device.is_some() && self.device == sender.device
    }

    /// Whether it wrote the field. The creation wrote all of them.
    pub fn wrote(&self, field: usize) -> bool {
        self.version == 1 || self.old.iter().any(|(at, _)| *at == field)
    }
}

/// The content that a row had at an earlier version, taken back revision by revision. None if a
/// revision in between is past its retention.
pub fn content_at(row: &Row, version: i32, revisions: &[Revision]) -> Option<Content> {
    let mut content = row.content.clone();
    let mut at = row.version;
    for revision in revisions.iter().rev() {
        if revision.version > at {
            continue;
        }
        if at <= version || revision.version != at {
            break;
        }
        for (field, old) in &revision.old {
            content.values[*field] = old.clone();
        }
        at -= 1;
    }
    (at <= version).then_some(content)
}
