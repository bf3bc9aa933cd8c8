//! From an item of a batch to a change, or to the reason why it is none.

use std::collections::BTreeMap;

use entity::Millis;
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{ErrorCode, Operation, Sender};
use crate::error::{Code, Error};
use crate::kinds::{Content, EntityType, Invalid, Missing, Value, Writer, parse_id, parse_time};

/// One item of a batch, as the device sent it.
#[derive(Clone, Debug)]
pub struct RawItem {
    pub entity_type: EntityType,
    /// Its place in its list of the batch.
    pub index: usize,
    pub json: Map<String, Json>,
}

/// An item that has been read.
#[derive(Clone, Debug)]
pub struct Item {
    pub entity_type: EntityType,
    pub index: usize,
    pub operation: Operation,
    /// The row's id for the answer: as UUID where it is one, else as it was sent.
    pub shown_id: String,
    /// As it was sent.
    pub operation_id: Option<String>,
    /// Names the operation among all of its device: the operation id, or a hash of the item.
    pub operation_key: String,
    /// Tells whether two items with one operation id are the same.
    pub hash: Uuid,
    pub change: Result<Change, Refusal>,
}

/// A well-formed change of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub entity_type: EntityType,
    pub id: Uuid,
    pub operation: Operation,
    /// The version that the edit was made on.
    pub base_version: i32,
    /// When the edit was made by the device's clock, clamped to 1970 … now.
    pub client_time: Millis,
    /// It was made without knowing a version: it overwrites what it finds.
    pub is_blind: bool,
    /// Of an import.
    pub past: Option<Past>,
    /// The fields that were given.
    pub edit: BTreeMap<usize, Value>,
}

/// Why an item failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

/// A refusal where nothing else was asked for is an error of the whole request.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        let code = match refusal.code {
            ErrorCode::NotFound => Code::NotFound,
            ErrorCode::Forbidden => Code::Forbidden,
            ErrorCode::Limit => Code::Limit,
            _ => Code::BadUserInput,
        };
        Error::new(code, refusal.message)
    }
}

impl From<Invalid> for Refusal {
    fn from(Invalid(message): Invalid) -> Refusal {
        Refusal::new(ErrorCode::Validation, message)
    }
}

/// Where items come from, and what they may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A device's batch.
    Device,
    /// A mutation of one row: it knows no versions, and a creation has neither an id nor an
    /// operation id of its own. It is told again from its content.
    OneRow,
    /// The server itself, which may write every field.
    Server,
    /// What another backend held. The operator vouches for it: every field may be written, rows come
    /// with their past, and may refer to what their sender cannot see.
    Import,
}

/// What is told of a row that was made elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// None: the sender.
    pub created_by: Option<Uuid>,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// What reading an item depends on besides the item.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub sender: Sender,
    pub origin: Origin,
    pub now: Millis,
    /// How far ahead a device's clock may be, in milliseconds.
    pub max_skew: Millis,
}

/// The longest operation id, in characters.
const MAX_OPERATION_ID: usize = 128;

/// Reads one item.
pub fn read(raw: &RawItem, reading: Reading) -> Item {
    let RawItem { entity_type, index, json } = raw;
    let (entity_type, index) = (*entity_type, *index);
    let hash = hash(entity_type, json, reading.origin);
    let derived = derive_id(reading.sender, hash);
    let operation_id = json.get("operationId").and_then(Json::as_str).map(str::to_owned);
    let operation = json.get("operation").and_then(Json::as_str).and_then(Operation::from_name);
    let id = json.get("id").and_then(Json::as_str);
    let shown_id = match id {
        Some(text) => match parse_id(text) {
            Some(id) => id.to_string(),
            None => text.chars().take(64).collect(),
        },
        None if operation == Some(Operation::Create) => derived.to_string(),
        None => "unknown".into(),
    };
    let change = read_change(entity_type, operation, derived, json, reading);
    Item {
        entity_type,
        index,
        // An operation that is none fails in `read_change`; what stands here is never used then.
        operation: operation.unwrap_or(Operation::Update),
        shown_id,
        // What is no operation id names nothing, and is never looked up.
        operation_key: operation_id.clone().filter(|id| is_operation_id(id)).unwrap_or_else(|| {
            match reading.origin {
                Origin::OneRow => format!("~once-{hash}"),
                _ => format!("~{derived}"),
            }
        }),
        operation_id,
        hash,
        change,
    }
}

fn read_change(
    entity_type: EntityType,
    operation: Option<Operation>,
    derived: Uuid,
    json: &Map<String, Json>,
    reading: Reading,
) -> Result<Change, Refusal> {
    let kind = entity_type.kind();
    let invalid = |message: &str| Refusal::new(ErrorCode::Validation, message);
    let operation =
        operation.ok_or_else(|| invalid("operation: must be CREATE, UPDATE or DELETE"))?;
    let given = json.get("operationId").filter(|id| !id.is_null());
    if given.is_some_and(|id| !id.as_str().is_some_and(is_operation_id)) {
        return Err(invalid("operationId: must be 1 to 128 characters, not beginning with ~"));
    }
    let id = match json.get("id").filter(|id| !id.is_null()) {
        Some(id) => id
            .as_str()
            .and_then(parse_id)
            .filter(|id| !id.is_nil())
            .ok_or_else(|| invalid("id: must be a UUID"))?,
        None if operation == Operation::Create => derived,
        None => return Err(invalid("id: is needed to update or delete")),
    };
    let base_version = match json.get("syncVersion") {
        None => 0,
        Some(version) => version
            .as_i64()
            .and_then(|version| i32::try_from(version).ok())
            .filter(|version| *version >= 0)
            .ok_or_else(|| invalid("syncVersion: must be a whole number from 0 to 2147483647"))?,
    };
    let is_blind = reading.origin == Origin::OneRow && operation != Operation::Create;
    if operation != Operation::Create && base_version < 1 && !is_blind {
        return Err(invalid(
            "syncVersion: must name the version that the edit was made on, 1 or more",
        ));
    }
    let client_time = match json.get("clientTimestamp") {
        None if reading.origin != Origin::Device => reading.now,
        given => given.and_then(Json::as_str).and_then(parse_time).ok_or_else(|| {
            invalid("clientTimestamp: must be an RFC 3339 date and time in the years 0001 to 9999")
        })?,
    };
    if client_time > reading.now + reading.max_skew {
        return Err(Refusal::new(
            ErrorCode::ClockSkew,
            format!(
                "clientTimestamp: lies more than {} s ahead of the server's clock",
                reading.max_skew / 1000
            ),
        ));
    }
    let mut edit = BTreeMap::new();
    if operation != Operation::Delete {
        for (name, value) in json {
            match name.as_str() {
                "id" | "operation" | "syncVersion" | "clientTimestamp" | "operationId" => continue,
                "createdBy" | "createdAt" | "updatedAt" if reading.origin == Origin::Import => {
                    continue;
                }
                _ => {}
            }
            let field = kind
                .find(name)
                .filter(|field| {
                    kind.fields[*field].writer == Writer::Device
                        || matches!(reading.origin, Origin::Server | Origin::Import)
                })
                .ok_or_else(|| invalid(&format!("{name}: {} has no such field", kind.name())))?;
            edit.insert(field, kind.fields[field].take(value)?);
        }
    }
    Ok(Change {
        entity_type,
        id,
        operation,
        base_version,
        client_time: client_time.clamp(0, reading.now.max(0)),
        is_blind,
        past: read_past(json, reading)?,
        edit,
    })
}

fn read_past(json: &Map<String, Json>, reading: Reading) -> Result<Option<Past>, Refusal> {
    if reading.origin != Origin::Import {
        return Ok(None);
    }
    let invalid = |message: &str| Refusal::new(ErrorCode::Validation, message);
    let text = |name: &str| json.get(name).filter(|value| !value.is_null()).map(Json::as_str);
    let created_by = match text("createdBy") {
        None => None,
        Some(id) => {
            Some(id.and_then(parse_id).ok_or_else(|| invalid("createdBy: must be a UUID"))?)
        }
    };
    let time = |name: &str| match text(name) {
        None => Ok(None),
        Some(time) => time.and_then(parse_time).map(Some).ok_or_else(|| {
            invalid(&format!("{name}: must be an RFC 3339 date and time in the years 0001 to 9999"))
        }),
    };
    let created_at = time("createdAt")?;
    let updated_at = time("updatedAt")?.or(created_at).unwrap_or(reading.now);
    Ok(Some(Past { created_by, created_at: created_at.unwrap_or(updated_at), updated_at }))
}

/// A tilde begins the keys that the server derives.
fn is_operation_id(id: &str) -> bool {
    !id.is_empty()
        && !id.starts_with('~')
        && id.chars().count() <= MAX_OPERATION_ID
        && !id.chars().any(char::is_control)
}

/// The content of a row that a CREATE makes.
pub fn new_content(change: &Change) -> Result<Content, Refusal> {
    let kind = change.entity_type.kind();
    let mut values = Vec::with_capacity(kind.fields.len());
    for (at, field) in kind.fields.iter().enumerate() {
        values.push(match (change.edit.get(&at), &field.missing) {
            (Some(value), _) => value.clone(),
            (None, Missing::Is(value)) => value.clone(),
            (None, Missing::ClientTime) => Value::Time(change.client_time),
            (None, Missing::Refused) => {
                return Err(Refusal::new(
                    ErrorCode::Validation,
                    format!("{}: is needed to create a {}", field.name, kind.name()),
                ));
            }
        });
    }
    Ok(Content { kind: change.entity_type, values })
}

/// The device's edit as JSON, for conflicts.
pub fn edit_json(change: &Change) -> Map<String, Json> {
    let kind = change.entity_type.kind();
    if change.operation == Operation::Delete {
        let at = crate::kinds::rfc3339(change.client_time);
        return Map::from_iter([("deletedAt".to_owned(), Json::String(at))]);
    }
    change
        .edit
        .iter()
        .map(|(at, value)| {
            let field = &kind.fields[*at];
            (field.name.clone(), value.to_json(field.choices()))
        })
        .collect()
}

/// Of everything in the item, whatever the order of its keys. The id that the server gave to what a
/// mutation of one row creates is not part of it.
fn hash(entity_type: EntityType, json: &Map<String, Json>, origin: Origin) -> Uuid {
    let added = |key: &str| origin == Origin::OneRow && key == "id";
    let mut keys: Vec<_> = json.keys().filter(|key| !added(key)).collect();
    keys.sort_unstable();
    let mut hasher = Sha256::new();
    hasher.update(entity_type.name());
    for key in keys {
        hasher.update([0]);
        hasher.update(key);
        hasher.update([1]);
        hasher.update(json[key].to_string());
    }
    to_uuid(hasher)
}

/// The id of what an item makes when it brings none: the same whenever the item is sent again.
fn derive_id(sender: Sender, hash: Uuid) -> Uuid {
    derive(&[
        b"item",
        sender.account.as_bytes(),
        sender.device.unwrap_or_default().as_bytes(),
        hash.as_bytes(),
    ])
}

/// A UUID that follows from its parts.
pub fn derive(parts: &[&[u8]]) -> Uuid {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    to_uuid(hasher)
}

fn to_uuid(hasher: Sha256) -> Uuid {
    let digest = hasher.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    // Version 8: the bits are ours.
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
