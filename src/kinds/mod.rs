//! The kinds: what a row of each holds, as data.
//!
//! A kind is a table of [`Field`]s, its place in the tree of parents, and one function that checks
//! what no single field can. Everything else (reading, merging, storing, the GraphQL types) is
//! written once and follows these tables. ARCHITECTURE.md tells how to add a kind.

mod bucket_list_item;
mod gpx_track;
mod media_item;
mod memory;
mod tag;
mod tag_category;
mod trip;
mod value;

use std::sync::LazyLock;

use sea_orm::sea_query::{ColumnType, IntoIden};
use sea_orm::{ColumnTrait, EntityTrait};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::gpx;

pub use value::{FIRST_TIME, LAST_TIME, Value, parse_time, rfc3339};

/// Names every kind once, in dependency order: parents first.
macro_rules! kinds {
    ($($name:ident => $module:ident),* $(,)?) => {
        /// One of the synced types, in dependency order: parents first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EntityType { $($name),* }

        impl EntityType {
            pub const ALL: &'static [EntityType] = &[$(EntityType::$name),*];

            /// The name in SQL and GraphQL.
            pub fn name(self) -> &'static str {
                match self { $(EntityType::$name => stringify!($name)),* }
            }
        }

        static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
            let mut kinds = vec![$($module::kind()),*];
            connect(&mut kinds);
            kinds
        });
    };
}

kinds! {
    TagCategory => tag_category,
    Tag => tag,
    BucketListItem => bucket_list_item,
    Trip => trip,
    Memory => memory,
    MediaItem => media_item,
    GPXTrack => gpx_track,
}

impl EntityType {
    pub fn kind(self) -> &'static Kind {
        &KINDS[self as usize]
    }

    pub fn from_name(name: &str) -> Option<EntityType> {
        EntityType::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// All kinds, in dependency order.
pub fn all() -> impl DoubleEndedIterator<Item = &'static Kind> {
    KINDS.iter()
}

/// One kind.
pub struct Kind {
    pub entity_type: EntityType,
    pub table: &'static str,
    /// The name of its list in batches and answers.
    pub list: &'static str,
    pub doc: &'static str,
    pub home: Home,
    /// The field by which people call a row; the copy that KEEP_BOTH makes says there where it
    /// came from.
    pub label: &'static str,
    /// The field that lists are ordered by.
    pub order: &'static str,
    /// What a mutation of one row does that creates what its sender has already under this label.
    /// None: labels say nothing, and rows are told by their whole content.
    pub created_again: Option<CreatedAgain>,
    /// Reads the awaited file, where the server fills in what devices cannot send: all fields that
    /// it writes come from the file then.
    pub read_file: Option<ReadFile>,
    pub fields: Vec<Field>,
    pub relations: Vec<Relation>,
    /// What no single field can check. Called with complete content, whenever content changes.
    pub check: fn(&Content) -> Result<(), Invalid>,
    /// Fields of other kinds that point here. Filled in by `connect`.
    pub children: Vec<Child>,
}

/// Where a kind's rows live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// In the scope of the account that made them.
    Account,
    /// Each row is a scope of its own.
    Itself,
    /// In the scope of the row that this field names.
    Parent(&'static str),
}

/// What was read from a row's file.
pub struct FileContent {
    /// The fields that the server writes.
    pub values: Vec<(usize, Value)>,
    pub segments: Vec<gpx::Packed>,
}

pub type ReadFile = fn(&[u8]) -> Result<FileContent, Invalid>;

/// What becomes of a row that its owner creates again, under the same label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreatedAgain {
    /// It stays as it is: a creation was sent twice.
    Stays,
    /// It is edited: that is how the app sends an edit of it.
    Edited,
}

/// A field of another kind that points to this one.
pub struct Child {
    pub kind: EntityType,
    pub field: usize,
    pub on_delete: OnDelete,
}

/// What becomes of a row when the row that it points to is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// It is deleted too.
    Cascade,
    /// The link is cleared.
    Unlink,
}

/// A nested list or object in the GraphQL type.
pub struct Relation {
    pub name: &'static str,
    pub doc: &'static str,
    pub target: EntityType,
    pub via: Via,
    /// The GraphQL type around the target's name, `[_!]!` for instance.
    pub shape: &'static str,
}

/// How a nested row is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Rows whose field names this row.
    Children(&'static str),
    /// The row that this field names.
    Parent(&'static str),
    /// The rows that this set names.
    Refs(&'static str),
    /// Rows of the same kind that are carried together with this one.
    Together,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldType {
    /// One line, not empty, at most 255 characters.
    Name,
    /// One line, at most 255 characters.
    Line,
    /// Text of several lines, at most 64 KiB.
    Text,
    /// #RRGGBB.
    Color,
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    Time,
    /// The id of the row that this row hangs on.
    Parent {
        kind: EntityType,
        on_delete: OnDelete,
    },
    /// Ids of rows that this row carries.
    Refs {
        kind: EntityType,
    },
    /// One of these names, stored as its place.
    Choice(&'static Choice),
}

/// The names of an enum.
#[derive(Debug, PartialEq)]
pub struct Choice {
    /// Its GraphQL name.
    pub name: &'static str,
    pub values: &'static [&'static str],
}

/// What CREATE puts where the device gave nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// The change fails.
    Refused,
    /// This value.
    Is(Value),
    /// The time of the edit by the device's clock.
    ClientTime,
}

/// Who writes a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    Device,
    Server,
}

/// What a field that names an uploaded file is to the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileUse {
    /// The field of the GraphQL type that gives the URL to download it.
    pub url: &'static str,
    /// Until the file is there, the row is FILES_PENDING.
    pub awaited: bool,
    /// The field that says how many bytes it has.
    pub size: Option<&'static str>,
}

/// One field of a kind.
pub struct Field {
    /// Its name in batches, and in the JSON of conflicts and revisions.
    pub name: String,
    pub column: &'static str,
    pub column_type: ColumnType,
    pub ty: FieldType,
    pub nullable: bool,
    pub missing: Missing,
    pub writer: Writer,
    /// Fields with the same group belong together: they collide and win as one. A field without a
    /// group is a group of its own.
    pub group: Option<&'static str>,
    /// The field names an uploaded file.
    pub file: Option<FileUse>,
    /// Names in the GraphQL type where they are not just `name`.
    pub outputs: Option<&'static [&'static str]>,
    /// The app's type has no null here: an absent value reads 0.
    pub reads_zero: bool,
    /// The app's type has `String` here where an `ID` was to be expected.
    pub reads_text: bool,
    pub doc: &'static str,
}

/// How soon devices should have a row.
pub const PRIORITIES: Choice =
    Choice { name: "SyncPriority", values: &["LOW", "NORMAL", "HIGH", "CRITICAL"] };

/// The index of `syncPriority` in every kind's fields.
pub const PRIORITY: usize = 0;

/// A bound wide enough for every length in metres and every duration in seconds.
const HUGE: f64 = 1e12;

impl Field {
    fn new<C: ColumnTrait>(column: C, ty: FieldType) -> Field {
        let definition = column.def();
        let nullable = definition.is_null();
        let column: &'static str = column.as_str();
        Field {
            name: camel_case(column),
            column,
            column_type: definition.get_column_type().clone(),
            ty,
            nullable,
            missing: if nullable { Missing::Is(Value::Null) } else { Missing::Refused },
            writer: Writer::Device,
            group: None,
            file: None,
            outputs: None,
            reads_zero: false,
            reads_text: false,
            doc: "",
        }
    }

    fn or(mut self, value: Value) -> Field {
        self.missing = Missing::Is(value);
        self
    }

    fn or_client_time(mut self) -> Field {
        self.missing = Missing::ClientTime;
        self
    }

    fn group(mut self, group: &'static str) -> Field {
        self.group = Some(group);
        self
    }

    fn named(mut self, name: &str) -> Field {
        self.name = name.to_owned();
        self
    }

    fn read_as(mut self, outputs: &'static [&'static str]) -> Field {
        self.outputs = Some(outputs);
        self
    }

    fn reads_text(mut self) -> Field {
        self.reads_text = true;
        self
    }

    fn reads_zero(mut self) -> Field {
        self.reads_zero = true;
        self
    }

    /// Names a file that may be missing; `url` gives its URL.
    fn picture(mut self, url: &'static str) -> Field {
        self.file = Some(FileUse { url, awaited: false, size: None });
        self
    }

    /// Names the file that the row is about.
    fn file(mut self, size: Option<&'static str>) -> Field {
        self.file = Some(FileUse { url: "downloadUrl", awaited: true, size });
        self
    }

    fn by_server(mut self) -> Field {
        self.writer = Writer::Server;
        self
    }

    fn doc(mut self, doc: &'static str) -> Field {
        self.doc = doc;
        self
    }

    /// The names of a choice, for [`Value::to_json`].
    pub fn choices(&self) -> &'static [&'static str] {
        match self.ty {
            FieldType::Choice(choice) => choice.values,
            _ => &[],
        }
    }

    pub fn is_set(&self) -> bool {
        matches!(self.ty, FieldType::Refs { .. })
    }

    pub fn parent(&self) -> Option<(EntityType, OnDelete)> {
        match self.ty {
            FieldType::Parent { kind, on_delete } => Some((kind, on_delete)),
            _ => None,
        }
    }

    /// Reads a value as a device or a resolution gives it. The sentence in the error is for the
    /// person who wrote the client.
    pub fn take(&self, json: &Json) -> Result<Value, Invalid> {
        let fail = |what: String| Err(Invalid(format!("{}: {what}", self.name)));
        if json.is_null() {
            return match self.nullable {
                true => Ok(Value::Null),
                false => fail("cannot be null".into()),
            };
        }
        match self.ty {
            FieldType::Name => {
                self.text(json, NAME, false).and_then(|text| match text.trim().is_empty() {
                    true => Err(Invalid(format!("{}: must not be empty", self.name))),
                    false => Ok(Value::Text(text)),
                })
            }
            FieldType::Line => self.text(json, NAME, false).map(Value::Text),
            FieldType::Text => self.text(json, 65_536, true).map(Value::Text),
            FieldType::Color => {
                let text = self.text(json, NAME, false)?;
                let mut chars = text.chars();
                match chars.next() == Some('#')
                    && text.len() == 7
                    && chars.all(|c| c.is_ascii_hexdigit())
                {
                    true => Ok(Value::Text(text)),
                    false => fail("must look like #RRGGBB".into()),
                }
            }
            FieldType::Bool => match json.as_bool() {
                Some(value) => Ok(Value::Bool(value)),
                None => fail("must be a boolean".into()),
            },
            FieldType::Int { min, max } => match json.as_i64() {
                Some(value) if (min..=max).contains(&value) => Ok(Value::Int(value)),
                _ => fail(format!("must be a whole number from {min} to {max}")),
            },
            FieldType::Float { min, max } => match json.as_f64() {
                // Adding zero turns −0 into 0, which every database gives back alike.
                Some(value) if (min..=max).contains(&value) => Ok(Value::Float(value + 0.0)),
                _ => fail(format!("must be a number from {min} to {max}")),
            },
            FieldType::Time => match json.as_str().and_then(parse_time) {
                Some(time) => Ok(Value::Time(time)),
                None => fail("must be an RFC 3339 date and time in the years 0001 to 9999".into()),
            },
            FieldType::Parent { .. } => match json.as_str().and_then(parse_id) {
                Some(id) => Ok(Value::Id(id)),
                None => fail("must be a UUID".into()),
            },
            FieldType::Refs { .. } => {
                // GraphQL takes a single value for a list of one.
                let list = match json {
                    Json::Array(list) => list.as_slice(),
                    one => std::slice::from_ref(one),
                };
                if list.len() > MAX_SET {
                    return fail(format!("must not have more than {MAX_SET} members"));
                }
                let ids: Option<Vec<Uuid>> =
                    list.iter().map(|id| id.as_str().and_then(parse_id)).collect();
                match ids {
                    Some(mut ids) => {
                        ids.sort_unstable();
                        ids.dedup();
                        Ok(Value::Ids(ids))
                    }
                    _ => fail("must be a list of UUIDs".into()),
                }
            }
            FieldType::Choice(Choice { values: names, .. }) => {
                match json.as_str().and_then(|name| names.iter().position(|n| *n == name)) {
                    Some(at) => Ok(Value::Int(at as i64)),
                    None => fail(format!("must be one of {}", names.join(", "))),
                }
            }
        }
    }

    /// Reads a value that was stored once, whatever the limits are today.
    pub fn recall(&self, json: &Json) -> Value {
        match self.take(json) {
            Ok(value) => value,
            Err(_) => match json {
                Json::Bool(value) => Value::Bool(*value),
                Json::String(text) => Value::Text(text.clone()),
                Json::Number(number) => match (number.as_i64(), &self.ty) {
                    (Some(value), FieldType::Int { .. }) => Value::Int(value),
                    _ => Value::Float(number.as_f64().unwrap_or_default()),
                },
                Json::Array(list) => {
                    let ids = list.iter().filter_map(|id| id.as_str().and_then(parse_id));
                    Value::Ids(ids.collect())
                }
                _ => Value::Null,
            },
        }
    }

    fn text(&self, json: &Json, limit: usize, lines: bool) -> Result<String, Invalid> {
        let fail = |what: String| Err(Invalid(format!("{}: {what}", self.name)));
        let Some(text) = json.as_str() else { return fail("must be text".into()) };
        let size = if lines { text.len() } else { text.chars().count() };
        if size > limit {
            let unit = if lines { "bytes" } else { "characters" };
            return fail(format!("must not be longer than {limit} {unit}"));
        }
        match text.chars().find(|c| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t'))) {
            Some(c) => fail(format!("must not contain the control character U+{:04X}", c as u32)),
            None => Ok(text.to_owned()),
        }
    }
}

/// A label as it is compared: without regard to case and to the space around it.
pub fn normalize(label: &str) -> String {
    label.trim().to_lowercase()
}

/// The most characters that a line or a name may have.
pub const NAME: usize = 255;

/// The most members that a set may have.
pub const MAX_SET: usize = 500;

/// Reads a UUID in any case, with its hyphens.
pub fn parse_id(text: &str) -> Option<Uuid> {
    if text.len() != 36 {
        return None;
    }
    Uuid::try_parse(text).ok()
}

/// Why content cannot be stored, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

/// The values of one row's fields, in the order of its kind's fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub kind: EntityType,
    pub values: Vec<Value>,
}

impl Content {
    /// By the field's name in batches. Only for names that the kind has.
    pub fn get(&self, name: &str) -> &Value {
        &self.values[self.kind.kind().field(name)]
    }

    pub fn to_json(&self) -> Map<String, Json> {
        self.kind
            .kind()
            .fields
            .iter()
            .zip(&self.values)
            .map(|(field, value)| (field.name.clone(), value.to_json(field.choices())))
            .collect()
    }
}

impl Kind {
    /// The index of a field. Panics on a name that the kind does not have, so it is only for names
    /// in code; the tests below walk all of those.
    pub fn field(&self, name: &str) -> usize {
        match self.find(name) {
            Some(at) => at,
            None => panic!("{} has no field {name}", self.entity_type.name()),
        }
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    pub fn name(&self) -> &'static str {
        self.entity_type.name()
    }

    /// The fields that name parents.
    pub fn parents(&self) -> impl Iterator<Item = (usize, EntityType)> {
        self.fields
            .iter()
            .enumerate()
            .filter_map(|(at, field)| field.parent().map(|(kind, _)| (at, kind)))
    }

    /// The sets of references.
    pub fn refs(&self) -> impl Iterator<Item = (usize, EntityType)> {
        self.fields.iter().enumerate().filter_map(|(at, field)| match field.ty {
            FieldType::Refs { kind } => Some((at, kind)),
            _ => None,
        })
    }

    /// The fields that name files.
    pub fn files(&self) -> impl Iterator<Item = (usize, FileUse)> {
        self.fields.iter().enumerate().filter_map(|(at, field)| Some((at, field.file?)))
    }

    /// All fields that collide and win together with this one, itself included.
    pub fn group_of(&self, field: usize) -> impl Iterator<Item = usize> {
        let group = self.fields[field].group;
        self.fields
            .iter()
            .enumerate()
            .filter(move |(at, other)| *at == field || (group.is_some() && other.group == group))
            .map(|(at, _)| at)
    }
}

/// Fills in what follows from the other kinds.
fn connect(kinds: &mut [Kind]) {
    for at in 0..kinds.len() {
        debug_assert_eq!(kinds[at].entity_type as usize, at, "the list is in order");
        let parents: Vec<_> = kinds[at]
            .fields
            .iter()
            .enumerate()
            .filter_map(|(field, f)| f.parent().map(|(kind, on_delete)| (field, kind, on_delete)))
            .collect();
        for (field, parent, on_delete) in parents {
            let kind = kinds[at].entity_type;
            kinds[parent as usize].children.push(Child { kind, field, on_delete });
        }
    }
}

/// Puts a kind together; `syncPriority` comes first in each.
fn kind<E: EntityTrait>(
    entity: E,
    priority: E::Column,
    entity_type: EntityType,
    list: &'static str,
    doc: &'static str,
    fields: Vec<Field>,
) -> Kind {
    let priority = Field::new(priority, FieldType::Choice(&PRIORITIES))
        .or(Value::Int(1))
        .doc("How soon devices should have the row. Pulls can be filtered by it.");
    Kind {
        entity_type,
        table: static_name(entity),
        list,
        doc,
        home: Home::Account,
        label: "name",
        order: "name",
        created_again: None,
        read_file: None,
        fields: std::iter::once(priority).chain(fields).collect(),
        relations: Vec::new(),
        check: |_| Ok(()),
        children: Vec::new(),
    }
}

fn static_name<E: EntityTrait>(entity: E) -> &'static str {
    // Entities are named by literals; the iden gives them back as one.
    let name = entity.into_iden().to_string();
    Box::leak(name.into_boxed_str())
}

fn camel_case(column: &str) -> String {
    let mut words = column.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        name.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(chars.as_str());
    }
    name
}

// What the kinds' files say their fields with.

fn name<C: ColumnTrait>(column: C) -> Field {
    Field::new(column, FieldType::Name)
}

fn line<C: ColumnTrait>(column: C) -> Field {
    Field::new(column, FieldType::Line)
}

fn text<C: ColumnTrait>(column: C) -> Field {
    Field::new(column, FieldType::Text)
}

fn color<C: ColumnTrait>(column: C) -> Field {
    Field::new(column, FieldType::Color)
}

fn flag<C: ColumnTrait>(column: C, missing: bool) -> Field {
    Field::new(column, FieldType::Bool).or(Value::Bool(missing))
}

fn int<C: ColumnTrait>(column: C, min: i64, max: i64) -> Field {
    Field::new(column, FieldType::Int { min, max })
}

fn float<C: ColumnTrait>(column: C, min: f64, max: f64) -> Field {
    Field::new(column, FieldType::Float { min, max })
}

fn time<C: ColumnTrait>(column: C) -> Field {
    Field::new(column, FieldType::Time)
}

fn parent<C: ColumnTrait>(column: C, kind: EntityType, on_delete: OnDelete) -> Field {
    Field::new(column, FieldType::Parent { kind, on_delete })
}

fn refs<C: ColumnTrait>(column: C, kind: EntityType) -> Field {
    let mut field = Field::new(column, FieldType::Refs { kind }).or(Value::Ids(Vec::new()));
    // A set cannot be null; an empty one says the same.
    field.nullable = false;
    field
}

fn latitude<C: ColumnTrait>(column: C) -> Field {
    float(column, -90.0, 90.0)
}

fn longitude<C: ColumnTrait>(column: C) -> Field {
    float(column, -180.0, 180.0)
}

/// A pair of coordinates is complete or absent.
fn check_pair(content: &Content, latitude: &str, longitude: &str) -> Result<(), Invalid> {
    match content.get(latitude).is_null() == content.get(longitude).is_null() {
        true => Ok(()),
        false => Err(Invalid(format!("{latitude} and {longitude} belong together: give both"))),
    }
}

#[cfg(test)]
mod tests;
