//! Reads and writes sets of rows: one statement a kind and chunk, whatever the kind.
//!
//! Lists of values are cut, or filled up by repeating the last one, to powers of two, so that a
//! handful of statement texts serves every size and stays prepared.

use std::collections::HashMap;

use sea_orm::sea_query::{
    Alias, CaseStatement, ColumnType, Cond, Expr, ExprTrait, InsertStatement, IntoColumnRef,
    OnConflict, Order, Query, SelectStatement, UpdateStatement, extension::postgres::PgFunc,
};
use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, Iterable, ModelTrait, PrimaryKeyToColumn,
    QueryFilter, QueryOrder, QueryResult, TryGetable, Value as Sql,
};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::conflict::{Conflict, Edit, Resolution, Undone};
use super::row::{Key, Life, Revision, Row};
use super::{ConflictType, Operation, Status, Strategy};
use crate::db;
use crate::kinds::{Content, EntityType, Field, FieldType, Kind, Value};

/// Rows in one INSERT; a power of two.
const INSERT_ROWS: usize = 128;
/// Values in one IN list; a power of two.
const IN_VALUES: usize = 1024;

/// Cuts a list into chunks of at most `largest`, each of a power of two's length.
pub fn chunks<T>(mut list: &[T], largest: usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = match list.len() {
            0 => return None,
            len if len >= largest => largest,
            len => 1 << len.ilog2(),
        };
        let (chunk, rest) = list.split_at(size);
        list = rest;
        Some(chunk)
    })
}

/// Cuts values into chunks, filled up to a power of two.
pub fn padded<T: Clone>(list: &[T]) -> impl Iterator<Item = Vec<T>> {
    list.chunks(IN_VALUES).map(|chunk| {
        let mut chunk = chunk.to_vec();
        if let Some(last) = chunk.last().cloned() {
            chunk.resize(chunk.len().next_power_of_two(), last);
        }
        chunk
    })
}

/// Asks whether a column has one of these values: a condition for each chunk of them.
pub fn in_lists<C, T>(db: &C, column: impl IntoColumnRef, list: &[T]) -> impl Iterator<Item = Expr>
where
    C: ConnectionTrait,
    T: Clone + Into<Sql>,
    Vec<T>: Into<Sql>,
{
    let column = Expr::col(column);
    let arrays = db::has_arrays(db);
    padded(list).map(move |values| match arrays {
        true => column.clone().eq(PgFunc::any(Expr::val(values))),
        false => column.clone().is_in(values),
    })
}

fn bad(what: impl std::fmt::Display) -> DbErr {
    DbErr::Custom(format!("a stored value cannot be read: {what}"))
}

// ── Rows of the kinds ────────────────────────────────────────────────────────────────────────

/// A SELECT of whole rows, for [`read_row`]. The table goes by its own name.
pub fn select(kind: &Kind) -> SelectStatement {
    let mut select = Query::select();
    select.from(kind.table);
    for column in entity::SYNC_COLUMNS {
        select.column((kind.table, column));
    }
    for field in &kind.fields {
        select.column((kind.table, field.column));
    }
    select
}

/// Reads a row of [`select`].
pub fn read_row(kind: &Kind, result: &QueryResult) -> Result<Row, DbErr> {
    let field_versions: String = result.try_get_by_index(5)?;
    let status: i16 = result.try_get_by_index(6)?;
    let mut values = Vec::with_capacity(kind.fields.len());
    for (at, field) in kind.fields.iter().enumerate() {
        values.push(read_value(field, result, entity::SYNC_COLUMNS.len() + at)?);
    }
    Ok(Row {
        id: result.try_get_by_index(0)?,
        scope: result.try_get_by_index(1)?,
        seq: result.try_get_by_index(2)?,
        entered_seq: result.try_get_by_index(3)?,
        version: result.try_get_by_index(4)?,
        field_versions: read_field_versions(kind, &field_versions)?,
        status: *Status::ALL.get(status as usize).ok_or_else(|| bad(status))?,
        last_sync_attempt: result.try_get_by_index(7)?,
        sync_error: result.try_get_by_index(8)?,
        conflict: result.try_get_by_index(9)?,
        created_by: result.try_get_by_index(10)?,
        created_at: result.try_get_by_index(11)?,
        updated_at: result.try_get_by_index(12)?,
        deleted_at: result.try_get_by_index(13)?,
        deleted_root: result.try_get_by_index(14)?,
        content: Content { kind: kind.entity_type, values },
    })
}

fn read_value(field: &Field, result: &QueryResult, at: usize) -> Result<Value, DbErr> {
    fn get<T: TryGetable>(result: &QueryResult, at: usize) -> Result<Option<T>, DbErr> {
        result.try_get_by_index(at)
    }
    let value = match (&field.ty, &field.column_type) {
        (FieldType::Bool, _) => get(result, at)?.map(Value::Bool),
        (FieldType::Float { .. }, _) => get(result, at)?.map(Value::Float),
        (FieldType::Time, _) => get(result, at)?.map(Value::Time),
        (FieldType::Parent { .. }, _) => get(result, at)?.map(Value::Id),
        (FieldType::Refs { .. }, _) => match get::<String>(result, at)?.as_deref() {
            None | Some("[]") => Some(Value::Ids(Vec::new())),
            Some(text) => Some(Value::Ids(serde_json::from_str(text).map_err(bad)?)),
        },
        (_, ColumnType::SmallInteger) => get::<i16>(result, at)?.map(|v| Value::Int(v.into())),
        (_, ColumnType::Integer) => get::<i32>(result, at)?.map(|v| Value::Int(v.into())),
        (_, ColumnType::BigInteger) => get(result, at)?.map(Value::Int),
        _ => get(result, at)?.map(Value::Text),
    };
    Ok(value.unwrap_or(Value::Null))
}

fn write_value(field: &Field, value: &Value) -> Sql {
    match (&field.ty, &field.column_type) {
        (FieldType::Bool, _) => match value {
            Value::Bool(value) => (*value).into(),
            _ => None::<bool>.into(),
        },
        (FieldType::Float { .. }, _) => value.as_float().into(),
        (FieldType::Time, _) => value.as_time().into(),
        (FieldType::Parent { .. }, _) => value.as_id().into(),
        (FieldType::Refs { .. }, _) => match value.as_ids() {
            [] => "[]".into(),
            ids => Json::from_iter(ids.iter().map(Uuid::to_string)).to_string().into(),
        },
        (_, column) => match (value, column) {
            (Value::Int(value), ColumnType::SmallInteger) => (*value as i16).into(),
            (Value::Int(value), ColumnType::Integer) => (*value as i32).into(),
            (Value::Int(value), _) => (*value).into(),
            (Value::Text(text), _) => text.as_str().into(),
            (_, ColumnType::SmallInteger) => None::<i16>.into(),
            (_, ColumnType::Integer) => None::<i32>.into(),
            (_, ColumnType::BigInteger) => None::<i64>.into(),
            _ => None::<String>.into(),
        },
    }
}

fn read_field_versions(kind: &Kind, text: &str) -> Result<Vec<(usize, i32)>, DbErr> {
    if text == "{}" {
        return Ok(Vec::new());
    }
    let map: HashMap<String, i32> = serde_json::from_str(text).map_err(bad)?;
    Ok(map.into_iter().filter_map(|(name, version)| Some((kind.find(&name)?, version))).collect())
}

fn write_field_versions(row: &Row) -> Sql {
    if row.field_versions.is_empty() {
        return "{}".into();
    }
    let map: Map<String, Json> = row
        .field_versions
        .iter()
        .map(|(field, version)| (row.kind().fields[*field].name.clone(), (*version).into()))
        .collect();
    Json::Object(map).to_string().into()
}

fn write_row(row: &Row) -> impl Iterator<Item = Sql> {
    let sync = [
        row.id.into(),
        row.scope.into(),
        row.seq.into(),
        row.entered_seq.into(),
        row.version.into(),
        write_field_versions(row),
        (row.status as i16).into(),
        row.last_sync_attempt.into(),
        row.sync_error.clone().into(),
        row.conflict.into(),
        row.created_by.into(),
        row.created_at.into(),
        row.updated_at.into(),
        row.deleted_at.into(),
        row.deleted_root.into(),
    ];
    let fields = row.kind().fields.iter().zip(&row.content.values);
    sync.into_iter().chain(fields.map(|(field, value)| write_value(field, value)))
}

/// Reads the rows with these ids, tombstones included, in no particular order.
pub async fn rows_by_id<C: ConnectionTrait>(
    db: &C,
    kind: &Kind,
    ids: &[Uuid],
) -> Result<Vec<Row>, DbErr> {
    rows_where(db, kind, "id", ids).await
}

/// Reads the rows that have one of these values in a column of ids.
pub async fn rows_where<C: ConnectionTrait>(
    db: &C,
    kind: &Kind,
    column: &'static str,
    ids: &[Uuid],
) -> Result<Vec<Row>, DbErr> {
    let mut rows = Vec::with_capacity(ids.len());
    for among in in_lists(db, (kind.table, column), ids) {
        let select = select(kind).and_where(among).to_owned();
        for result in db.query_all(&select).await? {
            rows.push(read_row(kind, &result)?);
        }
    }
    Ok(rows)
}

/// Reads the live rows that one statement selects.
pub async fn rows_of<C: ConnectionTrait>(
    db: &C,
    kind: &Kind,
    select: &SelectStatement,
) -> Result<Vec<Row>, DbErr> {
    db.query_all(select).await?.iter().map(|result| read_row(kind, result)).collect()
}

/// Inserts or updates rows of one kind. A row that exists is only touched if it lies in one of the
/// `locked` scopes. Returns how many were written: fewer than given means that another transaction
/// took an id in the meantime.
pub async fn upsert_rows<C: ConnectionTrait>(
    db: &C,
    kind: &Kind,
    rows: &[&Row],
    locked: &[Uuid],
) -> Result<u64, DbErr> {
    let columns = || {
        entity::SYNC_COLUMNS
            .into_iter()
            .chain(kind.fields.iter().map(|field| field.column))
            .map(Alias::new)
    };
    let mut written = 0;
    let guard = padded(locked)
        .fold(Cond::any(), |cond, ids| cond.add(Expr::col((kind.table, "scope_id")).is_in(ids)));
    for chunk in chunks(rows, INSERT_ROWS) {
        let mut insert = Query::insert();
        insert.into_table(kind.table).columns(columns());
        for row in chunk {
            insert.values_panic(write_row(row).map(Expr::val));
        }
        insert.on_conflict(
            OnConflict::column("id")
                .update_columns(columns().skip(1))
                .action_cond_where(guard.clone())
                .to_owned(),
        );
        written += db.execute(&insert).await?.rows_affected();
    }
    Ok(written)
}

// ── The ledger ───────────────────────────────────────────────────────────────────────────────

/// Inserts models of the ledger, in chunks.
pub async fn insert<E, C>(db: &C, models: Vec<E::Model>) -> Result<(), DbErr>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel>,
    C: ConnectionTrait,
{
    for insert in inserts::<E>(&models) {
        db.execute(&insert).await?;
    }
    Ok(())
}

/// Inserts models of the ledger, or replaces those that have the same key.
pub async fn upsert<E, C>(db: &C, models: Vec<E::Model>) -> Result<(), DbErr>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel>,
    C: ConnectionTrait,
{
    let keys: Vec<E::Column> = E::PrimaryKey::iter().map(|key| key.into_column()).collect();
    let is_key =
        |column: &E::Column| keys.iter().any(|key| format!("{key:?}") == format!("{column:?}"));
    let rest: Vec<E::Column> = E::Column::iter().filter(|column| !is_key(column)).collect();
    for mut insert in inserts::<E>(&models) {
        let mut on_conflict = OnConflict::columns(keys.iter().copied());
        on_conflict.update_columns(rest.iter().copied());
        insert.on_conflict(on_conflict);
        db.execute(&insert).await?;
    }
    Ok(())
}

pub fn inserts<E: EntityTrait>(models: &[E::Model]) -> impl Iterator<Item = InsertStatement> {
    chunks(models, INSERT_ROWS).map(|chunk| {
        let mut insert = Query::insert();
        insert.into_table(E::default().table_ref()).columns(E::Column::iter());
        for model in chunk {
            insert.values_panic(E::Column::iter().map(|column| Expr::val(model.get(column))));
        }
        insert
    })
}

/// Reads the revisions of these rows that are newer than `after`, and each row's first.
pub async fn revisions<C: ConnectionTrait>(
    db: &C,
    ids: &[Uuid],
    after: i32,
) -> Result<HashMap<Key, Vec<Revision>>, DbErr> {
    use entity::revision::Column;
    let mut found: HashMap<Key, Vec<Revision>> = HashMap::new();
    for among in in_lists(db, Column::EntityId, ids) {
        let select = select_revisions()
            .and_where(among)
            .cond_where(
                Cond::any()
                    .add(Expr::col(Column::Version).gt(after))
                    .add(Expr::col(Column::Version).eq(1)),
            )
            .order_by(Column::EntityId, Order::Asc)
            .order_by(Column::Version, Order::Asc)
            .to_owned();
        for result in db.query_all(&select).await? {
            let (key, revision) = read_revision(&result)?;
            found.entry(key).or_default().push(revision);
        }
    }
    Ok(found)
}

/// Reads a portion of a row's revisions below a version, the newest first. Empty: there are no more.
pub async fn revisions_below<C: ConnectionTrait>(
    db: &C,
    key: Key,
    below: i32,
) -> Result<Vec<Revision>, DbErr> {
    use entity::revision::Column;
    let select = select_revisions()
        .and_where(Expr::col(Column::EntityId).eq(key.1))
        .and_where(Expr::col(Column::Kind).eq(key.0.name()))
        .and_where(Expr::col(Column::Version).lt(below))
        .order_by(Column::Version, Order::Desc)
        .limit(INSERT_ROWS as u64)
        .to_owned();
    let found = db.query_all(&select).await?;
    found.iter().map(|result| Ok(read_revision(result)?.1)).collect()
}

/// A SELECT of revisions, for [`read_revision`].
fn select_revisions() -> SelectStatement {
    use entity::revision::Column;
    Query::select()
        .columns([
            Column::Kind,
            Column::EntityId,
            Column::Version,
            Column::AccountId,
            Column::DeviceId,
            Column::ClientTime,
            Column::Seq,
            Column::Old,
            Column::At,
            Column::ScopeId,
        ])
        .from("revision")
        .to_owned()
}

fn read_revision(result: &QueryResult) -> Result<(Key, Revision), DbErr> {
    let kind: String = result.try_get_by_index(0)?;
    let entity_type = EntityType::from_name(&kind).ok_or_else(|| bad(&kind))?;
    let old: String = result.try_get_by_index(7)?;
    let revision = Revision {
        version: result.try_get_by_index(2)?,
        account: result.try_get_by_index(3)?,
        device: result.try_get_by_index(4)?,
        client_time: result.try_get_by_index(5)?,
        at: result.try_get_by_index(8)?,
        seq: result.try_get_by_index(6)?,
        scope: result.try_get_by_index(9)?,
        life: read_life(&old),
        old: read_old(entity_type.kind(), &old)?,
    };
    Ok(((entity_type, result.try_get_by_index(1)?), revision))
}

/// The old values of a revision.
pub fn read_old(kind: &Kind, text: &str) -> Result<Vec<(usize, Value)>, DbErr> {
    if text == "{}" {
        return Ok(Vec::new());
    }
    let map: Map<String, Json> = serde_json::from_str(text).map_err(bad)?;
    // A field that is gone since has no value to go back to.
    let known = map.iter().filter_map(|(name, json)| kind.find(name).map(|field| (field, json)));
    Ok(known.map(|(field, json)| (field, kind.fields[field].recall(json))).collect())
}

/// Under this name, which no field has, a revision says whether the row was deleted before.
const WAS_DELETED: &str = "~deleted";

/// What a revision did to its row's life.
pub fn read_life(text: &str) -> Option<Life> {
    if !text.contains(WAS_DELETED) {
        return None;
    }
    let map: Map<String, Json> = serde_json::from_str(text).ok()?;
    match map.get(WAS_DELETED)?.as_bool()? {
        true => Some(Life::Began),
        false => Some(Life::Ended),
    }
}

/// The stored form of a revision.
pub fn revision_model(key: Key, revision: &Revision) -> entity::revision::Model {
    let kind = key.0.kind();
    let mut old: Map<String, Json> = revision
        .old
        .iter()
        .map(|(field, value)| {
            let field = &kind.fields[*field];
            (field.name.clone(), value.to_json(field.choices()))
        })
        .collect();
    if let Some(life) = revision.life {
        old.insert(WAS_DELETED.into(), Json::Bool(life == Life::Began));
    }
    entity::revision::Model {
        kind: kind.name().into(),
        entity_id: key.1,
        version: revision.version,
        account_id: revision.account,
        device_id: revision.device,
        at: revision.at,
        client_time: revision.client_time,
        seq: revision.seq,
        old: Json::Object(old).to_string(),
        scope_id: revision.scope,
    }
}

/// The stored form of a conflict.
pub fn conflict_model(conflict: &Conflict) -> entity::conflict::Model {
    let json = |map: &Map<String, Json>| Json::Object(map.clone()).to_string();
    entity::conflict::Model {
        id: conflict.id,
        kind: conflict.key.0.name().into(),
        entity_id: conflict.key.1,
        scope_id: conflict.scope,
        conflict_type: conflict.conflict_type.name().into(),
        operation: conflict.operation.name().into(),
        operation_id: conflict.operation_id.clone(),
        device_id: conflict.device,
        account_id: conflict.account,
        local_version: conflict.local_version,
        remote_version: conflict.remote_version,
        local_data: json(&conflict.local),
        remote_data: json(&conflict.remote),
        base_data: conflict.base.as_ref().map(json),
        fields: Json::from_iter(conflict.fields.iter().map(String::as_str)).to_string(),
        at: conflict.at,
        status: conflict.status().name().into(),
        strategy: conflict.resolution.as_ref().map(|r| r.strategy.name().into()),
        resolved_data: conflict.resolution.as_ref().and_then(|r| r.data.as_ref()).map(json),
        resolved_at: conflict.resolution.as_ref().map(|r| r.at),
        resolved_by: conflict.resolution.as_ref().map(|r| r.by),
        effect: conflict
            .resolution
            .as_ref()
            .and_then(|r| r.effect.as_ref())
            // Made of names, numbers and ids, it is always JSON.
            .and_then(|effect| serde_json::to_string(effect).ok()),
    }
}

/// Reads a stored conflict.
pub fn read_conflict(model: entity::conflict::Model) -> Result<Conflict, DbErr> {
    let map = |text: &str| serde_json::from_str::<Map<String, Json>>(text).map_err(bad);
    let resolution = match (&model.strategy, model.resolved_at, model.resolved_by) {
        (Some(strategy), Some(at), Some(by)) => Some(Resolution {
            strategy: Strategy::from_name(strategy).ok_or_else(|| bad(strategy))?,
            data: model.resolved_data.as_deref().map(map).transpose()?,
            at,
            by,
            effect: model
                .effect
                .as_deref()
                .map(|text| serde_json::from_str(text).map_err(bad))
                .transpose()?,
        }),
        _ => None,
    };
    let entity_type = EntityType::from_name(&model.kind).ok_or_else(|| bad(&model.kind))?;
    Ok(Conflict {
        id: model.id,
        key: (entity_type, model.entity_id),
        scope: model.scope_id,
        conflict_type: ConflictType::from_name(&model.conflict_type)
            .ok_or_else(|| bad(&model.conflict_type))?,
        operation: Operation::from_name(&model.operation).ok_or_else(|| bad(&model.operation))?,
        operation_id: model.operation_id,
        device: model.device_id,
        account: model.account_id,
        local_version: model.local_version,
        remote_version: model.remote_version,
        local: map(&model.local_data)?,
        remote: map(&model.remote_data)?,
        base: model.base_data.as_deref().map(map).transpose()?,
        fields: serde_json::from_str(&model.fields).map_err(bad)?,
        at: model.at,
        resolution,
    })
}

/// The stored form of an edit in a conflict's story.
pub fn edit_model(edit: &Edit) -> entity::conflict_edit::Model {
    entity::conflict_edit::Model {
        conflict_id: edit.conflict,
        account_id: edit.account,
        operation_id: edit.operation_id.clone(),
        device_id: edit.device.unwrap_or_default(),
        operation: edit.operation.name().into(),
        remote_version: edit.remote_version,
        remote_data: Json::Object(edit.data.clone()).to_string(),
        client_time: edit.client_time,
        at: edit.at,
    }
}

/// The stories of conflicts: their edits, in the order in which they came.
pub async fn stories<C: ConnectionTrait>(
    db: &C,
    conflicts: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Edit>>, DbErr> {
    use entity::conflict_edit::{Column, Entity};
    let mut stories: HashMap<Uuid, Vec<Edit>> = HashMap::new();
    for among in in_lists(db, Column::ConflictId, conflicts) {
        let found = Entity::find()
            .filter(among)
            .order_by_asc(Column::At)
            .order_by_asc(Column::ClientTime)
            .order_by_asc(Column::OperationId)
            .all(db)
            .await?;
        for model in found {
            let data = serde_json::from_str(&model.remote_data).map_err(bad)?;
            let operation =
                Operation::from_name(&model.operation).ok_or_else(|| bad(&model.operation))?;
            stories.entry(model.conflict_id).or_default().push(Edit {
                conflict: model.conflict_id,
                account: model.account_id,
                device: Some(model.device_id).filter(|id| !id.is_nil()),
                operation,
                operation_id: model.operation_id,
                remote_version: model.remote_version,
                data,
                client_time: model.client_time,
                at: model.at,
            });
        }
    }
    Ok(stories)
}

/// The stored form of a resolution that was undone.
pub fn undone_model(undone: &Undone) -> entity::undone::Model {
    let Undone { conflict, resolution, at, by } = undone;
    entity::undone::Model {
        conflict_id: *conflict,
        at: *at,
        account_id: *by,
        strategy: resolution.strategy.name().into(),
        resolved_data: resolution.data.clone().map(|data| Json::Object(data).to_string()),
        resolved_at: resolution.at,
        resolved_by: resolution.by,
    }
}

/// Reads what was undone of conflicts, the oldest first.
pub async fn undone<C: ConnectionTrait>(db: &C, conflicts: &[Uuid]) -> Result<Vec<Undone>, DbErr> {
    use entity::undone::{Column, Entity};
    let mut all = Vec::new();
    for among in in_lists(db, Column::ConflictId, conflicts) {
        for model in Entity::find().filter(among).order_by_asc(Column::At).all(db).await? {
            let data = model.resolved_data.as_deref().map(serde_json::from_str);
            let resolution = Resolution {
                strategy: Strategy::from_name(&model.strategy)
                    .ok_or_else(|| bad(&model.strategy))?,
                data: data.transpose().map_err(bad)?,
                at: model.resolved_at,
                by: model.resolved_by,
                effect: None,
            };
            let (at, by) = (model.at, model.account_id);
            all.push(Undone { conflict: model.conflict_id, resolution, at, by });
        }
    }
    Ok(all)
}

/// Moves the heads of scopes, in one statement a chunk.
pub async fn move_heads<C: ConnectionTrait>(
    db: &C,
    heads: &[(Uuid, super::plan::Scope)],
) -> Result<(), DbErr> {
    for chunk in chunks(heads, INSERT_ROWS) {
        let mut head = CaseStatement::new();
        let mut head_at = CaseStatement::new();
        for (id, scope) in chunk {
            head = head.case(Expr::col("id").eq(*id), Expr::val(scope.head));
            head_at = head_at.case(Expr::col("id").eq(*id), Expr::val(scope.head_at));
        }
        let update: UpdateStatement = Query::update()
            .table("scope")
            .value("head", head.finally(Expr::col("head")))
            .value("head_at", head_at.finally(Expr::col("head_at")))
            .and_where(Expr::col("id").is_in(chunk.iter().map(|(id, _)| *id)))
            .to_owned();
        db.execute(&update).await?;
    }
    Ok(())
}

/// Deletes entries of the deletion log.
pub async fn take_back_departures<C: ConnectionTrait>(
    db: &C,
    entries: &[(Uuid, Key)],
) -> Result<(), DbErr> {
    for chunk in chunks(entries, INSERT_ROWS) {
        let any = chunk.iter().fold(Cond::any(), |any, (scope, key)| {
            any.add(
                Cond::all()
                    .add(Expr::col("scope_id").eq(*scope))
                    .add(Expr::col("kind").eq(key.0.name()))
                    .add(Expr::col("entity_id").eq(key.1)),
            )
        });
        db.execute(&Query::delete().from_table("deletion").cond_where(any).to_owned()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_the_lengths_of_powers_of_two() {
        let list: Vec<u32> = (0..1000).collect();
        let lengths: Vec<usize> = chunks(&list, 128).map(<[u32]>::len).collect();
        assert_eq!(lengths, [128, 128, 128, 128, 128, 128, 128, 64, 32, 8]);
        assert_eq!(chunks(&list, 128).flatten().copied().collect::<Vec<_>>(), list);
        assert_eq!(padded(&list[..5]).collect::<Vec<_>>(), [vec![0, 1, 2, 3, 4, 4, 4, 4]]);
    }
}
