//! Rows as GraphQL objects, for every kind: the types' description, and their JSON.
//!
//! Lists of rows are written as JSON text directly, field by field from the kind's table: a fifth of
//! the time that a resolver for each field takes. Nested rows are read for all rows of a list at
//! once, so the number of statements follows the query, not the data.

use std::collections::{BTreeSet, HashMap};

use async_graphql::registry::{Deprecation, MetaField, MetaType, Registry};
use async_graphql::{Name, SelectionField, Value as Out};
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use serde_json::Value as Json;
use uuid::Uuid;

use super::input::type_of;
use super::{Waits, track};
use crate::config::limits;
use crate::db::Db;
use crate::error::{Code, Error};
use crate::files::Files;
use crate::kinds::{self, EntityType, Field, Home, Kind, Relation, Value, Via, rfc3339};
use crate::sync::file::{self, Named};
use crate::sync::row::{Row, sort};
use crate::sync::{Role, Status, store};

// ── Types ────────────────────────────────────────────────────────────────────────────────────

/// Fields that every kind has: name, type, meaning.
const COMMON: &[(&str, &str, &str)] = &[
    ("createdAt", "DateTime!", ""),
    ("updatedAt", "DateTime!", "When the content changed last."),
    ("lastSyncAttempt", "DateTime", "When a device last changed the row."),
    ("syncErrorMessage", "String", "What is wrong with the row's file."),
    ("syncVersion", "Int!", "1 at creation, +1 for each accepted change. Edits name it."),
    ("isDirty", "Boolean!", "Whether the row has an open conflict or waits for its file."),
    ("needsSync", "Boolean!", "Whether the status is anything but IN_SYNC."),
    ("syncStatus", "SyncStatus!", ""),
];

/// Fields of one kind that are made, not stored.
fn made_fields(kind: EntityType) -> &'static [(&'static str, &'static str, &'static str)] {
    match kind {
        EntityType::Trip => &[
            ("role", "TripRole!", "The caller's."),
            ("routePoints", "[RoutePoint!]!", "Recorded on the way, by their times."),
            ("trackSegments", "[TrackSegment!]!", "Those of all its tracks."),
        ],
        EntityType::GPXTrack => &[(
            "segments",
            "[TrackSegment!]!",
            "What its file holds: the stretches of the track, or the routes.",
        )],
        EntityType::Memory => &[
            ("userId", "ID!", "Who made it."),
            ("location", "Location", "Null where the place is not known."),
        ],
        EntityType::Tag => &[
            ("normalizedName", "String", "The name in lower case, for comparing."),
            ("usageCount", "Int!", "On how many memories it is."),
        ],
        _ => &[],
    }
}

/// Describes the object types of all kinds, and what they need.
pub fn register(registry: &mut Registry) {
    use async_graphql::OutputType;
    super::types::SyncStatus::create_type_info(registry);
    super::types::SyncPriority::create_type_info(registry);
    super::types::TripRole::create_type_info(registry);
    super::types::DateTime::create_type_info(registry);
    async_graphql::ID::create_type_info(registry);
    f64::create_type_info(registry);
    i32::create_type_info(registry);
    bool::create_type_info(registry);
    String::create_type_info(registry);
    let location = [
        meta_field("latitude", "Float!", "Degrees."),
        meta_field("longitude", "Float!", "Degrees."),
        meta_field("name", "String", "The address."),
    ];
    registry
        .types
        .entry("Location".into())
        .or_insert_with(|| meta_object("Location", "A place on earth.", location));
    track::register(registry);
    for kind in kinds::all() {
        let mut fields = vec![meta_field("id", "ID!", "")];
        for field in &kind.fields {
            for name in outputs(field) {
                let ty = if field.reads_text { "String" } else { type_of(field) };
                let mark = if field.nullable && !field.reads_zero { "" } else { "!" };
                fields.push(meta_field(name, format!("{ty}{mark}"), field.doc));
            }
        }
        for (_, file) in kind.files() {
            let doc = "A URL that gives the file for an hour; null while it is not there.";
            fields.push(meta_field(file.url, "String", doc));
        }
        for relation in &kind.relations {
            let ty = relation.shape.replace('_', relation.target.name());
            fields.push(meta_field(relation.name, ty, relation.doc));
        }
        let made = made_fields(kind.entity_type).iter().chain(COMMON);
        fields.extend(made.map(|(name, ty, doc)| meta_field(name, *ty, doc)));
        registry
            .types
            .entry(kind.name().into())
            .or_insert_with(|| meta_object(kind.name(), kind.doc, fields));
    }
}

/// The names under which a field is shown.
pub fn outputs(field: &Field) -> impl Iterator<Item = &str> {
    let own = match field.outputs {
        None => Some(field.name.as_str()),
        Some(_) => None,
    };
    own.into_iter().chain(field.outputs.into_iter().flatten().copied())
}

pub fn meta_field(name: &str, ty: impl Into<String>, doc: &str) -> MetaField {
    MetaField {
        name: name.to_owned(),
        description: (!doc.is_empty()).then(|| doc.to_owned()),
        args: Default::default(),
        ty: ty.into(),
        deprecation: Deprecation::NoDeprecated,
        cache_control: Default::default(),
        external: false,
        requires: None,
        provides: None,
        visible: None,
        shareable: false,
        inaccessible: false,
        tags: Vec::new(),
        override_from: None,
        compute_complexity: None,
        directive_invocations: Vec::new(),
        requires_scopes: Vec::new(),
    }
}

pub fn meta_object(name: &str, doc: &str, fields: impl IntoIterator<Item = MetaField>) -> MetaType {
    MetaType::Object {
        name: name.to_owned(),
        description: (!doc.is_empty()).then(|| doc.to_owned()),
        fields: fields.into_iter().map(|field| (field.name.clone(), field)).collect(),
        cache_control: Default::default(),
        extends: false,
        shareable: false,
        resolvable: true,
        keys: None,
        visible: None,
        inaccessible: false,
        interface_object: false,
        tags: Vec::new(),
        is_subscription: false,
        rust_typename: None,
        directive_invocations: Vec::new(),
        requires_scopes: Vec::new(),
    }
}

// ── Selections ───────────────────────────────────────────────────────────────────────────────

/// A selected field: fragments are flattened, and fields with one response key are merged.
#[derive(Debug)]
pub struct Selected {
    /// `"key":`, as JSON.
    key: String,
    pub name: String,
    pub children: Vec<Selected>,
}

/// What a field selects of its object.
pub fn selection(field: SelectionField<'_>) -> Vec<Selected> {
    let mut selected: Vec<Selected> = Vec::new();
    let mut children_of: Vec<Vec<SelectionField<'_>>> = Vec::new();
    for child in field.selection_set() {
        let key = format!("{}:", Json::from(child.alias().unwrap_or(child.name())));
        match selected.iter().position(|other| other.key == key) {
            Some(at) => children_of[at].push(child),
            None => {
                let name = child.name().to_owned();
                selected.push(Selected { key, name, children: Vec::new() });
                children_of.push(vec![child]);
            }
        }
    }
    for (field, same) in selected.iter_mut().zip(children_of) {
        let mut merged: Vec<Selected> = Vec::new();
        for children in same.into_iter().map(selection) {
            for child in children {
                match merged.iter_mut().find(|other| other.key == child.key) {
                    Some(other) => merge(other, child),
                    None => merged.push(child),
                }
            }
        }
        field.children = merged;
    }
    selected
}

fn merge(into: &mut Selected, from: Selected) {
    for child in from.children {
        match into.children.iter_mut().find(|other| other.key == child.key) {
            Some(other) => merge(other, child),
            None => into.children.push(child),
        }
    }
}

/// JSON text as a value that is written out as it is.
pub fn raw(json: Vec<u8>) -> Out {
    // Only UTF-8 text is ever written into it.
    let text = String::from_utf8(json).unwrap_or_else(|_| "null".into());
    Out::Object(
        [(Name::new(async_graphql_value::RAW_VALUE_TOKEN), Out::String(text))]
            .into_iter()
            .collect(),
    )
}

// ── Values ───────────────────────────────────────────────────────────────────────────────────

/// Writes rows for one caller.
pub struct Writer<'a> {
    pub db: &'a Db,
    pub files: &'a Files,
    /// What URLs of local files begin with.
    pub base: &'a str,
    pub account: Uuid,
    /// The caller's role in each scope that they see.
    pub roles: &'a HashMap<Uuid, Role>,
    /// Told of what can change without a seq.
    pub waits: &'a Waits,
}

/// Where a selected field's value comes from.
enum Source<'a> {
    TypeName,
    Id,
    Field {
        at: usize,
        names: &'static [&'static str],
        zero: bool,
        /// It names another row.
        link: bool,
    },
    CreatedAt,
    UpdatedAt,
    LastSyncAttempt,
    SyncError,
    Version,
    IsDirty,
    NeedsSync,
    Status,
    Role,
    UserId,
    Location(&'a [Selected]),
    NormalizedName,
    /// Made for all rows at once.
    Prepared(Vec<Vec<u8>>),
}

impl Writer<'_> {
    /// Writes a list of rows as a JSON array.
    pub async fn list(
        &self,
        kind: &'static Kind,
        rows: &[Row],
        selected: &[Selected],
    ) -> Result<Vec<u8>, Error> {
        let sources = self.sources(kind, rows, selected).await?;
        let mut out = Vec::with_capacity(rows.len() * selected.len() * 32 + 2);
        out.push(b'[');
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            self.row(row, at, selected, &sources, &mut out);
        }
        out.push(b']');
        Ok(out)
    }

    /// Writes each row as a JSON object.
    async fn each(
        &self,
        kind: &'static Kind,
        rows: &[Row],
        selected: &[Selected],
    ) -> Result<Vec<Vec<u8>>, Error> {
        let sources = Box::pin(self.sources(kind, rows, selected)).await?;
        Ok(rows
            .iter()
            .enumerate()
            .map(|(at, row)| {
                let mut out = Vec::new();
                self.row(row, at, selected, &sources, &mut out);
                out
            })
            .collect())
    }

    async fn sources<'s>(
        &self,
        kind: &'static Kind,
        rows: &[Row],
        selected: &'s [Selected],
    ) -> Result<Vec<Source<'s>>, Error> {
        let mut sources = Vec::with_capacity(selected.len());
        for field in selected {
            sources.push(self.source(kind, rows, field).await?);
        }
        Ok(sources)
    }

    async fn source<'s>(
        &self,
        kind: &'static Kind,
        rows: &[Row],
        selected: &'s Selected,
    ) -> Result<Source<'s>, Error> {
        let name = selected.name.as_str();
        for (at, field) in kind.fields.iter().enumerate() {
            if outputs(field).any(|output| output == name) {
                return Ok(Source::Field {
                    at,
                    names: field.choices(),
                    zero: field.reads_zero,
                    link: field.nullable && field.parent().is_some(),
                });
            }
        }
        if let Some(relation) = kind.relations.iter().find(|relation| relation.name == name) {
            return Ok(Source::Prepared(self.nested(kind, rows, relation, selected).await?));
        }
        if let Some((at, _)) = kind.files().find(|(_, file)| file.url == name) {
            return Ok(Source::Prepared(self.urls(rows, at).await?));
        }
        Ok(match name {
            "__typename" => Source::TypeName,
            "id" => Source::Id,
            "createdAt" => Source::CreatedAt,
            "updatedAt" => Source::UpdatedAt,
            "lastSyncAttempt" => Source::LastSyncAttempt,
            "syncErrorMessage" => Source::SyncError,
            "syncVersion" => Source::Version,
            "isDirty" => Source::IsDirty,
            "needsSync" => Source::NeedsSync,
            "syncStatus" => Source::Status,
            "role" => Source::Role,
            "userId" => Source::UserId,
            "location" => Source::Location(&selected.children),
            "normalizedName" => Source::NormalizedName,
            "usageCount" => Source::Prepared(self.usage(kind, rows).await?),
            "routePoints" => {
                Source::Prepared(track::route_points(self.db, rows, &selected.children).await?)
            }
            "segments" => {
                let of = |row: &Row| row.id;
                Source::Prepared(track::segments(self.db, rows, rows, of, selected).await?)
            }
            "trackSegments" => {
                let kind = EntityType::GPXTrack.kind();
                let trip = kind.field("tripId");
                let trips: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
                let column = kind.fields[trip].column;
                let mut tracks = store::rows_where(self.db.pool(), kind, column, &trips).await?;
                tracks.retain(Row::is_live);
                sort(&mut tracks);
                let of = |track: &Row| track.parent(trip).unwrap_or_default();
                Source::Prepared(track::segments(self.db, rows, &tracks, of, selected).await?)
            }
            // Validation lets no other name through.
            _ => return Err(Error::internal(format!("{} has no field {name}", kind.name()))),
        })
    }

    fn row(
        &self,
        row: &Row,
        at: usize,
        selected: &[Selected],
        sources: &[Source<'_>],
        out: &mut Vec<u8>,
    ) {
        object(out, selected.iter().zip(sources), |out, source| match source {
            Source::TypeName => text(out, row.entity_type().name()),
            Source::Id => uuid(out, row.id),
            Source::Field { at, names, zero, link } => match &row.content.values[*at] {
                Value::Null if *zero => out.extend_from_slice(b"0.0"),
                // Another's tag inside a memory: what it hangs on, the caller cannot see.
                _ if *link && !self.roles.contains_key(&row.scope) => {
                    out.extend_from_slice(b"null");
                }
                value => write_value(out, value, names),
            },
            Source::CreatedAt => time(out, row.created_at),
            Source::UpdatedAt => time(out, row.updated_at),
            Source::LastSyncAttempt => optional(out, row.last_sync_attempt, time),
            Source::SyncError => optional(out, row.sync_error.as_deref(), text),
            Source::Version => number(out, row.version),
            Source::IsDirty => {
                let status = row.shown_status();
                boolean(out, matches!(status, Status::Conflict | Status::FilesPending));
            }
            Source::NeedsSync => boolean(out, row.shown_status() != Status::InSync),
            Source::Status => text(out, row.shown_status().name()),
            Source::Role => {
                let role = self.roles.get(&row.scope).copied().unwrap_or(Role::Viewer);
                text(out, role.name());
            }
            Source::UserId => uuid(out, row.created_by),
            Source::Location(children) => location(out, row, children),
            Source::NormalizedName => {
                let name = row.content.get("name").as_text().unwrap_or_default();
                text(out, &kinds::normalize(name));
            }
            Source::Prepared(prepared) => out.extend_from_slice(&prepared[at]),
        });
    }

    /// Reads a relation for all rows at once, and writes each row's share.
    async fn nested(
        &self,
        kind: &'static Kind,
        rows: &[Row],
        relation: &Relation,
        selected: &Selected,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let target = relation.target.kind();
        // For each row, the ids of the rows that it shows; or the field by which they name it.
        let mut links: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        let ids: BTreeSet<Uuid> = rows.iter().map(|row| row.id).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut found = match relation.via {
            Via::Children(field) => {
                let field = target.field(field);
                let column = target.fields[field].column;
                let children = store::rows_where(self.db.pool(), target, column, &ids).await?;
                for child in &children {
                    links
                        .entry(child.parent(field).unwrap_or_default())
                        .or_default()
                        .push(child.id);
                }
                children
            }
            Via::Parent(field) => {
                let field = kind.field(field);
                for row in rows {
                    links.entry(row.id).or_default().extend(row.parent(field));
                }
                self.by_id(target, &links).await?
            }
            Via::Refs(field) => {
                let field = kind.field(field);
                for row in rows {
                    links.insert(row.id, row.content.values[field].as_ids().to_vec());
                }
                self.by_id(target, &links).await?
            }
            Via::Together => {
                links = self.together(kind, &ids).await?;
                self.by_id(target, &links).await?
            }
        };
        // Another's tag is seen inside a memory that carries it, but not what else is theirs.
        let carried = matches!(relation.via, Via::Refs(_)) && target.home == Home::Account;
        found.retain(|row| row.is_live() && (carried || self.roles.contains_key(&row.scope)));
        sort(&mut found);
        let place: HashMap<Uuid, usize> =
            found.iter().enumerate().map(|(at, row)| (row.id, at)).collect();
        let written = self.each(target, &found, &selected.children).await?;
        let list = relation.shape.starts_with('[');
        // A row may stand under several: what counts is what would be written.
        let size: usize = rows
            .iter()
            .flat_map(|row| links.get(&row.id).into_iter().flatten())
            .filter_map(|id| place.get(id).map(|at| written[*at].len()))
            .sum();
        if size > limits::NESTED_BYTES {
            return Err(Error::new(
                Code::Limit,
                format!(
                    "{}.{}: the nested rows are more than {} bytes; ask for fewer rows or levels",
                    kind.name(),
                    relation.name,
                    limits::NESTED_BYTES
                ),
            ));
        }
        Ok(rows
            .iter()
            .map(|row| {
                let ids = links.get(&row.id).map(Vec::as_slice).unwrap_or_default();
                let mut shown: Vec<usize> =
                    ids.iter().filter_map(|id| place.get(id).copied()).collect();
                shown.sort_unstable();
                match (list, shown.first()) {
                    (true, _) => {
                        let parts: Vec<&[u8]> =
                            shown.iter().map(|at| written[*at].as_slice()).collect();
                        [b"[", parts.join(&b","[..]).as_slice(), b"]"].concat()
                    }
                    (false, Some(at)) => written[*at].clone(),
                    (false, None) => b"null".to_vec(),
                }
            })
            .collect())
    }

    async fn by_id(
        &self,
        kind: &'static Kind,
        links: &HashMap<Uuid, Vec<Uuid>>,
    ) -> Result<Vec<Row>, Error> {
        let ids: BTreeSet<Uuid> = links.values().flatten().copied().collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        Ok(store::rows_by_id(self.db.pool(), kind, &ids).await?)
    }

    /// Where each row's file is.
    async fn urls(&self, rows: &[Row], field: usize) -> Result<Vec<Vec<u8>>, Error> {
        let named = file::named(self.db.pool(), rows).await?;
        let mut urls = Vec::with_capacity(rows.len());
        for row in rows {
            let mut out = Vec::new();
            match named.get(&(row.id, field)).filter(|named| named.is_there) {
                Some(Named { key, content_type, .. }) => {
                    let media = content_type.as_deref();
                    let url = self.files.download_url(self.base, key, media, limits::URL).await?;
                    text(&mut out, &url);
                }
                None => {
                    // Whoever tells of a file tells one row; others that name it, too, stay as they
                    // are, and have a URL from then on.
                    if named.contains_key(&(row.id, field)) {
                        self.waits.note();
                    }
                    out.extend_from_slice(b"null");
                }
            }
            urls.push(out);
        }
        Ok(urls)
    }

    /// On how many rows each row is carried.
    async fn usage(&self, kind: &Kind, rows: &[Row]) -> Result<Vec<Vec<u8>>, Error> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let mut counts: HashMap<Uuid, i64> = HashMap::new();
        for among in store::in_lists(self.db.pool(), "target_id", &ids) {
            let select = Query::select()
                .column("target_id")
                .expr(Expr::col("source_id").count())
                .from("link")
                .and_where(among)
                .and_where(self.sees_source("link", kind.entity_type))
                .add_group_by([Expr::col("target_id")])
                .to_owned();
            for row in self.db.pool().query_all(&select).await? {
                counts.insert(row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            }
        }
        Ok(rows
            .iter()
            .map(|row| counts.get(&row.id).copied().unwrap_or(0).to_string().into_bytes())
            .collect())
    }

    /// Whether the caller sees the row that carries a link, and carries such rows with it.
    fn sees_source(
        &self,
        link: &'static str,
        target: EntityType,
    ) -> sea_orm::sea_query::SimpleExpr {
        let carriers = kinds::all().filter(|kind| kind.refs().any(|(_, kind)| kind == target));
        let visible = carriers.map(|kind| {
            Expr::exists(
                Query::select()
                    .expr(Expr::val(1))
                    .from(kind.table)
                    .inner_join(
                        "membership",
                        Expr::col(("membership", "scope_id")).equals((kind.table, "scope_id")),
                    )
                    .and_where(Expr::col((link, "kind")).eq(kind.name()))
                    .and_where(Expr::col((kind.table, "id")).equals((link, "source_id")))
                    .and_where(Expr::col(("membership", "account_id")).eq(self.account))
                    .and_where(Expr::col(("membership", "removed_at")).is_null())
                    .to_owned(),
            )
        });
        visible.reduce(|any, one| any.or(one)).unwrap_or_else(|| Expr::val(false))
    }

    /// What is carried together with each of these.
    async fn together(&self, kind: &Kind, ids: &[Uuid]) -> Result<HashMap<Uuid, Vec<Uuid>>, Error> {
        let mut found: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for among in store::in_lists(self.db.pool(), ("a", "target_id"), ids) {
            let select = Query::select()
                .distinct()
                .columns([("a", "target_id"), ("b", "target_id")])
                .from_as("link", "a")
                .join_as(
                    sea_orm::sea_query::JoinType::InnerJoin,
                    "link",
                    "b",
                    Expr::col(("b", "source_id"))
                        .equals(("a", "source_id"))
                        .and(Expr::col(("b", "kind")).equals(("a", "kind"))),
                )
                .and_where(among)
                .and_where(Expr::col(("b", "target_id")).not_equals(("a", "target_id")))
                .and_where(self.sees_source("a", kind.entity_type))
                .to_owned();
            for row in self.db.pool().query_all(&select).await? {
                found.entry(row.try_get_by_index(0)?).or_default().push(row.try_get_by_index(1)?);
            }
        }
        Ok(found)
    }
}

fn location(out: &mut Vec<u8>, row: &Row, selected: &[Selected]) {
    let (Some(latitude), Some(longitude)) =
        (row.content.get("latitude").as_float(), row.content.get("longitude").as_float())
    else {
        out.extend_from_slice(b"null");
        return;
    };
    object(out, selected.iter().map(|field| (field, &field.name)), |out, name| {
        match name.as_str() {
            "latitude" => write_value(out, &Value::Float(latitude), &[]),
            "longitude" => write_value(out, &Value::Float(longitude), &[]),
            "name" => write_value(out, row.content.get("address"), &[]),
            _ => text(out, "Location"),
        }
    });
}

/// Writes a JSON object of selected fields.
pub fn object<'s, T>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'s Selected, T)>,
    mut value: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'{');
    for (at, (field, source)) in fields.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(field.key.as_bytes());
        value(out, source);
    }
    out.push(b'}');
}

/// Writes lists of ids, by the names of the kinds' lists.
pub fn id_lists(
    selected: &[Selected],
    type_name: &str,
    ids: &HashMap<&'static str, Vec<Uuid>>,
) -> Vec<u8> {
    let mut out = Vec::new();
    object(&mut out, selected.iter().map(|field| (field, &field.name)), |out, name| {
        if name == "__typename" {
            return text(out, type_name);
        }
        out.push(b'[');
        for (at, id) in ids.get(name.as_str()).into_iter().flatten().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            uuid(out, *id);
        }
        out.push(b']');
    });
    out
}

fn write_value(out: &mut Vec<u8>, value: &Value, names: &[&str]) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => boolean(out, *value),
        Value::Int(value) => match usize::try_from(*value).ok().and_then(|at| names.get(at)) {
            Some(name) => text(out, name),
            None => number(out, *value),
        },
        // Finite by the field's bounds; serde_json would write null otherwise.
        Value::Float(value) => json(out, value),
        Value::Text(value) => text(out, value),
        Value::Time(value) => time(out, *value),
        Value::Id(value) => uuid(out, *value),
        Value::Ids(values) => json(out, values),
    }
}

pub fn json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    // Writing plain values into memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

pub fn text(out: &mut Vec<u8>, value: &str) {
    json(out, value);
}

pub fn number(out: &mut Vec<u8>, value: impl serde::Serialize) {
    json(out, &value);
}

pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

pub fn uuid(out: &mut Vec<u8>, value: Uuid) {
    out.push(b'"');
    out.extend_from_slice(value.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
    out.push(b'"');
}

pub fn time(out: &mut Vec<u8>, value: i64) {
    out.push(b'"');
    out.extend_from_slice(rfc3339(value).as_bytes());
    out.push(b'"');
}

pub fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: fn(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(out, value),
        None => out.extend_from_slice(b"null"),
    }
}
