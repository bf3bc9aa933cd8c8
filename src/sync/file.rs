//! What the database knows of files: who was given a URL to upload which, which are there, and which
//! rows name them. The bytes are `files`' affair.
//!
//! A row's file lies in the space of the account that named it. That someone names another's object
//! in a row of theirs gives them nothing: it would have to be in their own space.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use entity::file::{Column, Entity, Model};
use entity::{Millis, attachment, track_segment};
use futures_util::TryStreamExt;
use percent_encoding::percent_decode_str;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::change::derive;
use super::plan::Amendment;
use super::push::amend;
use super::row::Row;
use super::scope::{self, Seen, ToLock};
use super::transaction::{self, Failure, Held, Step, Work};
use super::{Role, Status, store};
use crate::config::limits;
use crate::db::{self, Db};
use crate::error::{Code, Error};
use crate::files::{Files, Key};
use crate::kinds::{self, FileContent, Invalid, ReadFile, Value};

/// Notes that an account is given URLs to upload objects. LIMIT, if it has no room left or too many
/// uploads outstanding; FORBIDDEN for what a row names that the account may not change any more.
pub async fn expect(
    db: &Db,
    account: Uuid,
    seen: &[Seen],
    keys: &[(Key, Option<String>)],
    quota: u64,
) -> Result<(), Error> {
    if used(db.pool(), account, None).await? >= quota {
        return Err(no_room(quota));
    }
    let outstanding = Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::UploadedAt.is_null())
        .count(db.pool())
        .await?;
    if outstanding + keys.len() as u64 > limits::OUTSTANDING {
        let message = format!(
            "{outstanding} files were asked for and not uploaded; {} are the limit",
            limits::OUTSTANDING
        );
        return Err(Error::new(Code::Limit, message));
    }
    let names: Vec<String> = keys.iter().map(|(key, _)| key.name().to_owned()).collect();
    may_replace(db, account, seen, &names).await?;
    let now = db::now(db.pool()).await?;
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    for (key, content_type) in keys {
        let model = Model {
            account_id: account,
            name: key.name().to_owned(),
            content_type: content_type.clone(),
            size: None,
            etag: None,
            requested_at: now,
            uploaded_at: None,
        };
        models.insert(model.name.clone(), model);
    }
    let models: Vec<Model> = models.into_values().collect();
    for mut insert in store::inserts::<Entity>(&models) {
        // What is there stays there until something else is.
        let mut again = OnConflict::columns([Column::AccountId, Column::Name]);
        again.update_columns([Column::ContentType, Column::RequestedAt]);
        db.pool().execute(insert.on_conflict(again)).await?;
    }
    Ok(())
}

/// Refuses names of the account's files that rows show which it may not change any more: other bytes
/// under them would be an edit.
async fn may_replace(db: &Db, account: Uuid, seen: &[Seen], names: &[String]) -> Result<(), Error> {
    let mut naming: Vec<attachment::Model> = Vec::new();
    for among in store::in_lists(db.pool(), attachment::Column::Name, names) {
        let own = attachment::Column::AccountId.eq(account);
        naming.extend(attachment::Entity::find().filter(among).filter(own).all(db.pool()).await?);
    }
    let may_write = |scope: Uuid| {
        let mut visible = seen.iter().filter(|seen| seen.is_visible());
        visible.any(|seen| seen.id == scope && seen.role >= Role::Editor)
    };
    for kind in kinds::all().filter(|kind| kind.files().next().is_some()) {
        let ids: Vec<Uuid> =
            naming.iter().filter(|n| n.kind == kind.name()).map(|n| n.entity_id).collect();
        for row in store::rows_by_id(db.pool(), kind, &ids).await? {
            let shown = kind.files().any(|(at, _)| {
                let name = row.content.values[at].as_text();
                name.is_some_and(|name| names.iter().any(|n| n == name))
            });
            if shown && row.is_live() && !may_write(row.scope) {
                let message = "a row that you may not change shows this file";
                return Err(Error::new(Code::Forbidden, message));
            }
        }
    }
    Ok(())
}

/// Bytes that an account's files take, one object left out.
async fn used<C: ConnectionTrait>(
    db: &C,
    account: Uuid,
    except: Option<&str>,
) -> Result<u64, DbErr> {
    let mut select = Query::select();
    select
        .expr(Expr::col("size").sum().cast_as("bigint"))
        .from("file")
        .and_where(Expr::col("account_id").eq(account));
    if let Some(name) = except {
        select.and_where(Expr::col("name").ne(name));
    }
    let row = db.query_one(&select).await?;
    let sum: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    Ok(u64::try_from(sum.unwrap_or(0)).unwrap_or(0))
}

fn no_room(quota: u64) -> Error {
    Error::new(Code::Limit, format!("your files may take {quota} bytes, and do"))
}

/// How many bytes an upload of this object may have.
pub async fn room(db: &Db, key: &Key, quota: u64) -> Result<u64, Error> {
    Ok(quota.saturating_sub(used(db.pool(), key.account(), Some(key.name())).await?))
}

/// Notes how many bytes were uploaded, so that they count from now on. Whether they are what a row
/// says is seen when someone tells of it.
pub async fn received(db: &Db, key: &Key, bytes: u64) -> Result<(), Error> {
    let now = db::now(db.pool()).await?;
    let note = Query::update()
        .table("file")
        // The grace begins anew.
        .values([("size", (bytes as i64).into()), ("requested_at", now.into())])
        .and_where(Expr::col("account_id").eq(key.account()))
        .and_where(Expr::col("name").eq(key.name()))
        .to_owned();
    db.pool().execute(&note).await?;
    Ok(())
}

/// An object that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub bytes: u64,
    /// It was not known to be there, or is another than it was.
    pub is_new: bool,
}

/// Looks whether an object is there, and notes it. A new one for which there is no room is removed:
/// LIMIT. What was accepted once stays, whatever the quota is today.
pub async fn look(db: &Db, files: &Files, key: &Key, quota: u64) -> Result<Option<Found>, Error> {
    let id = (key.account(), key.name().to_owned());
    let known = Entity::find_by_id(id).one(db.pool()).await?;
    let was_there = known.as_ref().is_some_and(|file| file.uploaded_at.is_some());
    let Some(stored) = files.head(key).await? else {
        if was_there {
            // The store has lost it.
            let lost = Query::update()
                .table("file")
                .values([
                    ("size", None::<i64>.into()),
                    ("etag", None::<String>.into()),
                    ("uploaded_at", None::<i64>.into()),
                ])
                .and_where(Expr::col("account_id").eq(key.account()))
                .and_where(Expr::col("name").eq(key.name()))
                .to_owned();
            db.pool().execute(&lost).await?;
        }
        return Ok(None);
    };
    let bytes = stored.size;
    let same = known.is_some_and(|file| {
        file.uploaded_at.is_some() && file.etag == stored.etag && file.size == Some(bytes as i64)
    });
    if same {
        return Ok(Some(Found { bytes, is_new: false }));
    }
    if !was_there && room(db, key, quota).await? < bytes {
        files.delete(key).await?;
        return Err(no_room(quota));
    }
    let now = db::now(db.pool()).await?;
    let model = Model {
        account_id: key.account(),
        name: key.name().to_owned(),
        content_type: None,
        size: Some(bytes as i64),
        etag: stored.etag,
        requested_at: now,
        uploaded_at: Some(now),
    };
    for mut insert in store::inserts::<Entity>(&[model]) {
        let mut again = OnConflict::columns([Column::AccountId, Column::Name]);
        again.update_columns([Column::Size, Column::Etag, Column::UploadedAt]);
        db.pool().execute(insert.on_conflict(again)).await?;
    }
    Ok(Some(Found { bytes, is_new: true }))
}

/// A file that a row names.
#[derive(Clone, Debug)]
pub struct Named {
    pub key: Key,
    pub content_type: Option<String>,
    /// Whether its bytes are known to be there.
    pub is_there: bool,
}

/// The files that rows name, by row and field.
pub async fn named<C: ConnectionTrait>(
    db: &C,
    rows: &[Row],
) -> Result<HashMap<(Uuid, usize), Named>, Error> {
    let mut wanted: HashMap<(Uuid, &str, &str), usize> = HashMap::new();
    for row in rows {
        for (at, _) in row.kind().files() {
            if let Some(name) = row.content.values[at].as_text() {
                wanted.insert((row.id, &row.kind().fields[at].name, name), at);
            }
        }
    }
    let ids: BTreeSet<Uuid> = wanted.keys().map(|(id, ..)| *id).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let mut found = HashMap::new();
    for among in store::in_lists(db, ("attachment", "entity_id"), &ids) {
        let select = Query::select()
            .columns([
                ("attachment", "entity_id"),
                ("attachment", "field"),
                ("attachment", "name"),
                ("attachment", "account_id"),
            ])
            .columns([("file", "content_type"), ("file", "uploaded_at")])
            .from("attachment")
            .left_join(
                "file",
                Expr::col(("file", "account_id"))
                    .equals(("attachment", "account_id"))
                    .and(Expr::col(("file", "name")).equals(("attachment", "name"))),
            )
            .and_where(among)
            .to_owned();
        for row in db.query_all(&select).await? {
            let id: Uuid = row.try_get_by_index(0)?;
            let (field, name): (String, String) =
                (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            let Some(at) = wanted.get(&(id, field.as_str(), name.as_str())) else { continue };
            // A device may send a name that no object can have: then there is no object.
            let Ok(key) = Key::new(row.try_get_by_index(3)?, &name) else { continue };
            let uploaded: Option<Millis> = row.try_get_by_index(5)?;
            let content_type = row.try_get_by_index(4)?;
            found.insert((id, *at), Named { key, content_type, is_there: uploaded.is_some() });
        }
    }
    // What a server of the version before wrote has no entries: then its maker has named it.
    for row in rows {
        for (at, _) in row.kind().files() {
            let Some(name) = row.content.values[at].as_text() else { continue };
            if found.contains_key(&(row.id, at)) {
                continue;
            }
            let Ok(key) = Key::new(row.created_by, name) else { continue };
            let file = Entity::find_by_id((row.created_by, name.to_owned())).one(db).await?;
            let is_there = file.as_ref().is_some_and(|file| file.uploaded_at.is_some());
            let content_type = file.and_then(|file| file.content_type);
            found.insert((row.id, at), Named { key, content_type, is_there });
        }
    }
    Ok(found)
}

/// The rows of a kind that name this object, as far as the caller sees them.
pub async fn naming<C: ConnectionTrait>(
    db: &C,
    seen: &[Seen],
    kind: &'static kinds::Kind,
    key: &Key,
) -> Result<Vec<Row>, Error> {
    let ids: Vec<Uuid> = attachment::Entity::find()
        .filter(attachment::Column::AccountId.eq(key.account()))
        .filter(attachment::Column::Name.eq(key.name()))
        .filter(attachment::Column::Kind.eq(kind.name()))
        .limit(limits::NAMINGS)
        .all(db)
        .await?
        .into_iter()
        .map(|naming| naming.entity_id)
        .collect();
    let mut rows = super::read::some(db, seen, kind, &ids).await?;
    rows.retain(|row| {
        let mut names = kind.files().filter_map(|(at, _)| row.content.values[at].as_text());
        names.any(|name| name == key.name())
    });
    Ok(rows)
}

/// The object that a caller means by a name: their own, or one that a row names which they see.
/// None: there is no such object, for them.
pub async fn find(
    db: &Db,
    files: &Files,
    account: Uuid,
    seen: &[Seen],
    name: &str,
    quota: u64,
) -> Result<Option<Named>, Error> {
    let key = Key::new(account, name)?;
    let mut own = None;
    if let Some(file) = Entity::find_by_id((account, name.to_owned())).one(db.pool()).await? {
        // Nobody tells of a file that no row names, such as a portrait.
        let is_there = file.uploaded_at.is_some() || look(db, files, &key, quota).await?.is_some();
        own = Some(Named { key, content_type: file.content_type, is_there });
        if is_there {
            return Ok(own);
        }
    }
    let visible: Vec<Uuid> =
        seen.iter().filter(|scope| scope.is_visible()).map(|scope| scope.id).collect();
    for kind in kinds::all().filter(|kind| kind.files().next().is_some()) {
        let naming = Query::select()
            .column("entity_id")
            .from("attachment")
            .and_where(Expr::col("name").eq(name))
            .and_where(Expr::col("kind").eq(kind.name()))
            .to_owned();
        for among in store::in_lists(db.pool(), (kind.table, "scope_id"), &visible) {
            // However many strangers use the name: theirs do not count.
            let select = store::select(kind)
                .and_where(among)
                .and_where(Expr::col((kind.table, "deleted_at")).is_null())
                .and_where(Expr::col((kind.table, "id")).in_subquery(naming.clone()))
                .order_by((kind.table, "id"), sea_orm::Order::Asc)
                .limit(limits::NAMINGS)
                .to_owned();
            let rows = store::rows_of(db.pool(), kind, &select).await?;
            let named = named(db.pool(), &rows).await?;
            let meant = named.into_values().filter(|named| named.key.name() == name);
            let meant = meant.max_by_key(|named| named.is_there);
            if meant.is_some() {
                return Ok(meant);
            }
        }
    }
    Ok(own)
}

/// What became of a row's files when they were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The row names the file, and it is there.
    There,
    /// It is not, or is not what the row says.
    Missing,
}

/// Looks at the files that a row names, and tells the row. A file that the server reads is read. What
/// comes back is about the file that was `asked` for by its name, or about the one that is awaited.
pub async fn arrive(
    db: &Db,
    files: &Files,
    row: &Row,
    quota: u64,
    asked: Option<&str>,
) -> Result<Arrival, Error> {
    let kind = row.kind();
    let named = named(db.pool(), std::slice::from_ref(row)).await?;
    let mut arrival = Arrival::Missing;
    let mut arrived = Arrived { row: row.clone(), status: None, content: None, is_new: false };
    for (at, file) in kind.files() {
        let Some(name) = row.content.values[at].as_text() else { continue };
        let is_asked = asked.map_or(file.awaited, |asked| asked == name);
        let Some(Named { key, .. }) = named.get(&(row.id, at)) else { continue };
        let found = match look(db, files, key, quota).await {
            Err(error) if error.code == Code::Limit => {
                if file.awaited {
                    arrived.status = Some((Status::FilesPending, Some(error.message)));
                }
                continue;
            }
            found => found?,
        };
        let Some(Found { bytes, is_new }) = found else {
            if file.awaited && row.status != Status::FilesPending {
                arrived.status = Some((Status::FilesPending, None));
            }
            continue;
        };
        arrived.is_new |= is_new;
        if !file.awaited {
            if is_asked {
                arrival = Arrival::There;
            }
            continue;
        }
        if let Some(said) = file.size.map(|name| row.content.get(name))
            && *said != Value::Int(bytes as i64)
        {
            let said = said.to_json(&[]);
            let message = format!("the uploaded file has {bytes} bytes, the row says {said}");
            arrived.status = Some((Status::FilesPending, Some(message)));
            continue;
        }
        if is_asked {
            arrival = Arrival::There;
        }
        match kind.read_file {
            // What was read before is read already.
            Some(_) if !is_new && row.status == Status::InSync => {}
            Some(read) => match read_file(files, key, read).await? {
                Ok(content) => {
                    arrived.status = Some((Status::InSync, None));
                    arrived.content = Some(content);
                }
                Err(Invalid(message)) => {
                    arrived.status = Some((Status::SyncError, Some(message)));
                }
            },
            None => arrived.status = Some((Status::InSync, None)),
        }
    }
    arrived.run(db).await?;
    Ok(arrival)
}

/// Reads a file on a thread of its own, a few at a time: it takes memory and a core for a while.
async fn read_file(
    files: &Files,
    key: &Key,
    read: ReadFile,
) -> Result<Result<FileContent, Invalid>, Error> {
    static PLACES: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(limits::FILES_READ);
    let place = PLACES.acquire().await.map_err(Error::internal)?;
    let bytes = match files.read(key, limits::GPX_BYTES as u64).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Err(Invalid("The file is gone.".into()))),
        Err(error) if error.code == Code::Limit => return Ok(Err(Invalid(error.message))),
        Err(error) => return Err(error),
    };
    let done = tokio::task::spawn_blocking(move || read(&bytes)).await;
    drop(place);
    // A panic of the parser is a file that cannot be read; the row says so, and keeps it.
    Ok(done.unwrap_or_else(|panic| {
        tracing::error!(%panic, "a file could not be read");
        Err(Invalid("The file cannot be read.".into()))
    }))
}

/// What the server found out about a row's files.
struct Arrived {
    /// As it was when they were looked at.
    row: Row,
    status: Option<(Status, Option<String>)>,
    content: Option<FileContent>,
    /// Whether a file of the row is there that was not before: it has a URL now.
    is_new: bool,
}

impl Arrived {
    async fn run(&self, db: &Db) -> Result<(), Error> {
        let scopes = ToLock { found: [self.row.scope].into(), ..ToLock::default() };
        transaction::run(db, Uuid::nil(), scopes, self).await
    }
}

impl Work for Arrived {
    type Done = ();

    async fn attempt(&self, tx: &DatabaseTransaction, mut held: Held) -> Result<Step<()>, Failure> {
        let Arrived { row: before, status, content, is_new } = self;
        let kind = before.kind();
        let found = store::rows_by_id(tx, kind, &[before.id]).await?;
        let Some(row) = found.into_iter().find(Row::is_live) else { return Ok(Step::Done(())) };
        let missing = held.cover(tx, [row.scope]).await?;
        if !missing.is_empty() {
            return Ok(Step::Lock(missing));
        }
        // Another file by now: what was found out is about the one before.
        let says = |row: &Row| -> Vec<Value> {
            let sizes = kind.files().filter_map(|(_, file)| Some(kind.field(file.size?)));
            let fields = kind.files().map(|(at, _)| at).chain(sizes);
            fields.map(|at| row.content.values[at].clone()).collect()
        };
        if says(&row) != says(before) {
            return Ok(Step::Done(()));
        }
        let mut amendment = Amendment::touch(row.key());
        if let Some((status, error)) = status
            && (row.status != *status || row.sync_error != *error)
        {
            amendment.status = Some((*status, error.clone()));
        }
        let mut changed = *is_new || amendment.status.is_some();
        if let Some(content) = content {
            let differs = |(at, value): &&(usize, Value)| row.content.values[*at] != *value;
            amendment.values = content.values.iter().filter(differs).cloned().collect();
            changed |= !amendment.values.is_empty();
            write_segments(tx, &row, content).await?;
        }
        if !changed {
            return Ok(Step::Done(()));
        }
        match amend(tx, row.created_by, held, row, amendment).await? {
            true => Ok(Step::Done(())),
            false => Ok(Step::Again),
        }
    }
}

/// Bytes of points in one statement.
const SEGMENT_BYTES: usize = 256 * 1024;

async fn write_segments(
    tx: &DatabaseTransaction,
    row: &Row,
    content: &FileContent,
) -> Result<(), DbErr> {
    use track_segment::{Column, Entity, Model};
    Entity::delete_many().filter(Column::TrackId.eq(row.id)).exec(tx).await?;
    let name = row.kind().files().find_map(|(at, _)| row.content.values[at].as_text());
    let models = content.segments.iter().enumerate().map(|(place, segment)| Model {
        id: derive(&[b"segment", row.id.as_bytes(), &place.to_be_bytes()]),
        track_id: row.id,
        object_name: name.unwrap_or_default().to_owned(),
        place: place as i32,
        segment_type: segment.segment_type.name().to_owned(),
        start_date: segment.start,
        end_date: segment.end,
        distance: segment.distance,
        average_speed: segment.average_speed,
        max_speed: segment.max_speed,
        point_count: segment.point_count as i32,
        points: segment.points.clone(),
    });
    let mut portion: Vec<Model> = Vec::new();
    let mut bytes = 0;
    for model in models {
        bytes += model.points.len();
        portion.push(model);
        // A single one may have megabytes, and there may be thousands of small ones.
        if bytes > SEGMENT_BYTES {
            store::insert::<Entity, _>(tx, std::mem::take(&mut portion)).await?;
            bytes = 0;
        }
    }
    store::insert::<Entity, _>(tx, portion).await
}

/// Looks at the files that rows wait for, and tells the rows whose are there. Gives how many were, and
/// how many were not. With `known`, only at those that are known to be there: what a server did not
/// come to before it was stopped.
pub async fn arrive_all(db: &Db, files: &Files, known: bool) -> Result<(u64, u64), Error> {
    let (mut there, mut missing) = (0, 0);
    for kind in kinds::all().filter(|kind| kind.files().next().is_some()) {
        let mut after = Uuid::nil();
        loop {
            let mut waiting = store::select(kind);
            waiting
                .and_where(Expr::col((kind.table, "deleted_at")).is_null())
                .and_where(Expr::col((kind.table, "id")).gt(after))
                .order_by((kind.table, "id"), sea_orm::Order::Asc)
                .limit(limits::GC_ROWS);
            if known {
                let pending = Status::FilesPending as i16;
                waiting.and_where(Expr::col((kind.table, "sync_status")).eq(pending));
            }
            let rows = store::rows_of(db.pool(), kind, &waiting).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            let named = named(db.pool(), &rows).await?;
            for row in &rows {
                let names: Vec<&Named> =
                    kind.files().filter_map(|(at, _)| named.get(&(row.id, at))).collect();
                let is_due = match known {
                    true => names.iter().any(|file| file.is_there) && row.sync_error.is_none(),
                    false => {
                        row.status == Status::FilesPending
                            || names.iter().any(|file| !file.is_there)
                    }
                };
                if !is_due {
                    continue;
                }
                // What is in the store already is taken as it is.
                match arrive(db, files, row, u64::MAX, None).await? {
                    Arrival::There => there += 1,
                    Arrival::Missing => missing += 1,
                }
            }
        }
    }
    Ok((there, missing))
}

// ── The clean-up ─────────────────────────────────────────────────────────────────────────────

/// What a clean-up of files removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub files: u64,
    pub attachments: u64,
}

/// Removes files that no row has named for a while: `grace` after they were uploaded or could have
/// been. What rows named once, or would name if a conflict were decided otherwise, stays for the
/// retention. Safe to run at any time, and twice at once.
pub async fn clean_up(
    db: &Db,
    files: &Files,
    retention: Duration,
    grace: Duration,
) -> Result<Removed, Error> {
    note_older(db).await?;
    let now = db::now(db.pool()).await?;
    let attachments = forget_attachments(db, now - retention.as_millis() as Millis).await?;
    let before = now - grace.as_millis() as Millis;
    let mut removed = Removed { files: 0, attachments };
    let mut after = (Millis::MIN, Uuid::nil(), String::new());
    loop {
        let old = unnamed(db, before, &after).await?;
        let Some(last) = old.last() else { break };
        after = (last.requested_at, last.account_id, last.name.clone());
        for file in old {
            if let Ok(key) = Key::new(file.account_id, &file.name)
                && forget(db, files, &key, before).await?
            {
                removed.files += 1;
            }
        }
    }
    for account in files.accounts().await? {
        let mut stored = std::pin::pin!(files.list(account).try_chunks(CHUNK));
        while let Some(some) = stored.try_next().await.map_err(|error| error.1)? {
            let names: Vec<String> = some.iter().map(|(key, _)| key.name().to_owned()).collect();
            let mut known: HashSet<String> = HashSet::new();
            for among in store::in_lists(db.pool(), Column::Name, &names) {
                let found = Entity::find().filter(among).filter(Column::AccountId.eq(account));
                known.extend(found.all(db.pool()).await?.into_iter().map(|file| file.name));
            }
            for among in store::in_lists(db.pool(), attachment::Column::Name, &names) {
                let own = attachment::Column::AccountId.eq(account);
                let found = attachment::Entity::find().filter(among).filter(own);
                known.extend(found.all(db.pool()).await?.into_iter().map(|naming| naming.name));
            }
            for (key, stored) in some {
                if !known.contains(key.name()) && stored.modified < before {
                    files.delete(&key).await?;
                    removed.files += 1;
                }
            }
        }
    }
    Ok(removed)
}

/// Objects that are looked at at once.
const CHUNK: usize = 500;

/// Whether something names a file, has named it a while ago, or would if a conflict were decided
/// otherwise.
pub fn is_named() -> SimpleExpr {
    Expr::exists(
        Query::select()
            .expr(Expr::val(1))
            .from("attachment")
            .and_where(Expr::col(("attachment", "account_id")).equals(("file", "account_id")))
            .and_where(Expr::col(("attachment", "name")).equals(("file", "name")))
            .to_owned(),
    )
}

/// Whether a file was last heard of before a time, and no row names it.
fn is_unnamed(before: Millis) -> SimpleExpr {
    let column = |name: &'static str| Expr::col(("file", name));
    column("requested_at")
        .lt(before)
        .and(column("uploaded_at").is_null().or(column("uploaded_at").lt(before)))
        .and(is_named().not())
}

/// Some of them, after the last ones.
async fn unnamed(
    db: &Db,
    before: Millis,
    after: &(Millis, Uuid, String),
) -> Result<Vec<Model>, Error> {
    let key =
        || [Column::RequestedAt, Column::AccountId, Column::Name].map(|c| Expr::col(("file", c)));
    let last = [Expr::val(after.0), Expr::val(after.1), Expr::val(after.2.clone())];
    Ok(Entity::find()
        .filter(is_unnamed(before))
        .filter(Expr::tuple(key()).gt(Expr::tuple(last)))
        .order_by_asc(Column::RequestedAt)
        .order_by_asc(Column::AccountId)
        .order_by_asc(Column::Name)
        .limit(limits::GC_ROWS)
        .all(db.pool())
        .await?)
}

/// Removes a file, if still no row names it and its bytes are old, too: a URL to upload may have been
/// good for days.
async fn forget(db: &Db, files: &Files, key: &Key, before: Millis) -> Result<bool, Error> {
    if files.head(key).await?.is_some_and(|stored| stored.modified >= before) {
        return Ok(false);
    }
    let is_it = || {
        Expr::col("account_id")
            .eq(key.account())
            .and(Expr::col("name").eq(key.name()))
            .and(is_unnamed(before))
    };
    // Every push of its account waits for this: none finds a file that is about to go.
    let tx = db.begin_write().await?;
    scope::lock_found(&tx, [key.account()]).await?;
    let absent = Query::update()
        .table("file")
        .values([
            ("size", None::<i64>.into()),
            ("etag", None::<String>.into()),
            ("uploaded_at", None::<Millis>.into()),
        ])
        .and_where(is_it())
        .to_owned();
    let is_gone = tx.execute(&absent).await?.rows_affected() == 1;
    tx.commit().await?;
    if is_gone {
        // Outside: the store may be slow.
        files.delete(key).await?;
        let forget = Query::delete().from_table("file").and_where(is_it()).to_owned();
        db.pool().execute(&forget).await?;
    }
    Ok(is_gone)
}

/// Notes who named the files of rows that a server of the version before wrote, which kept no notes:
/// who made them.
pub async fn note_older(db: &Db) -> Result<(), Error> {
    for kind in kinds::all() {
        for (at, _) in kind.files() {
            let (field, column, table) =
                (&kind.fields[at].name, kind.fields[at].column, kind.table);
            let known = Query::select()
                .expr(Expr::val(1))
                .from("attachment")
                .and_where(Expr::col(("attachment", "entity_id")).equals((table, "id")))
                .and_where(Expr::col(("attachment", "field")).eq(field.as_str()))
                .and_where(Expr::col(("attachment", "name")).equals((table, column)))
                .to_owned();
            let missing = Query::select()
                .column((table, "id"))
                .expr(Expr::val(field.as_str()))
                .column((table, column))
                .expr(Expr::val(kind.name()))
                .columns([(table, "created_by"), (table, "updated_at")])
                .from(table)
                .and_where(Expr::col((table, column)).is_not_null())
                .and_where(Expr::exists(known).not())
                .to_owned();
            let mut note = Query::insert();
            note.into_table("attachment")
                .columns(["entity_id", "field", "name", "kind", "account_id", "at"])
                .select_from(missing)
                .map_err(Error::internal)?
                .on_conflict(
                    OnConflict::columns(["entity_id", "field", "name"]).do_nothing().to_owned(),
                );
            db.pool().execute(&note).await?;
        }
    }
    Ok(())
}

/// Forgets what rows named before a time and do not name any more. Gives how many.
async fn forget_attachments(db: &Db, before: Millis) -> Result<u64, Error> {
    use attachment::{Column, Entity};
    let mut forgotten = 0;
    let mut after = Uuid::nil();
    loop {
        let ids: Vec<Uuid> = Entity::find()
            .select_only()
            .distinct()
            .column(Column::EntityId)
            .filter(Column::At.lt(before))
            .filter(Column::EntityId.gt(after))
            .order_by_asc(Column::EntityId)
            .limit(limits::GC_ROWS)
            .into_tuple()
            .all(db.pool())
            .await?;
        let Some(last) = ids.last() else { return Ok(forgotten) };
        after = *last;
        let mut named: HashSet<(Uuid, String, String)> = HashSet::new();
        for among in store::in_lists(db.pool(), entity::account::Column::Id, &ids) {
            for account in entity::account::Entity::find().filter(among).all(db.pool()).await? {
                let portrait = account.profile_image_url.as_deref().map(names_in);
                for name in portrait.into_iter().flatten() {
                    named.insert((account.id, PORTRAIT.to_owned(), name));
                }
            }
        }
        for kind in kinds::all().filter(|kind| kind.files().next().is_some()) {
            for row in store::rows_by_id(db.pool(), kind, &ids).await? {
                for (at, _) in kind.files() {
                    if let Some(name) = row.content.values[at].as_text() {
                        named.insert((row.id, kind.fields[at].name.clone(), name.to_owned()));
                    }
                }
            }
        }
        let mut disputed: HashSet<Uuid> = HashSet::new();
        for among in store::in_lists(db.pool(), "entity_id", &ids) {
            let open = Query::select()
                .distinct()
                .column("entity_id")
                .from("conflict")
                .and_where(among)
                .and_where(Expr::col("status").eq(super::ConflictStatus::Open.name()))
                .to_owned();
            for row in db.pool().query_all(&open).await? {
                disputed.insert(row.try_get_by_index(0).map_err(Error::from)?);
            }
        }
        for among in store::in_lists(db.pool(), Column::EntityId, &ids) {
            let old = Entity::find().filter(among).filter(Column::At.lt(before));
            for model in old.all(db.pool()).await? {
                let key = (model.entity_id, model.field, model.name);
                if !named.contains(&key) && !disputed.contains(&key.0) {
                    // Unless it was named anew in this moment.
                    let still = Entity::delete_many()
                        .filter(Column::EntityId.eq(key.0))
                        .filter(Column::Field.eq(key.1))
                        .filter(Column::Name.eq(key.2))
                        .filter(Column::At.lt(before));
                    forgotten += still.exec(db.pool()).await?.rows_affected;
                }
            }
        }
    }
}

// ── Portraits ────────────────────────────────────────────────────────────────────────────────

/// The field by which an account names its picture.
const PORTRAIT: &str = "profileImageUrl";
/// What stands for a kind there.
pub const PORTRAIT_KIND: &str = "Account";

/// Notes that an account names one of its files as its picture: by a URL that ends with the file's
/// name, or by that alone.
pub async fn name_portrait(db: &Db, account: Uuid, url: &str) -> Result<(), Error> {
    let names: Vec<String> = names_in(url).collect();
    let now = db::now(db.pool()).await?;
    for among in store::in_lists(db.pool(), Column::Name, &names) {
        let own = Entity::find().filter(among).filter(Column::AccountId.eq(account));
        let named = own.all(db.pool()).await?.into_iter().map(|file| attachment::Model {
            entity_id: account,
            field: PORTRAIT.into(),
            name: file.name,
            kind: PORTRAIT_KIND.into(),
            account_id: account,
            at: now,
        });
        store::upsert::<attachment::Entity, _>(db.pool(), named.collect()).await?;
    }
    Ok(())
}

/// What a URL may mean as the name of a file: the ends of its path.
fn names_in(url: &str) -> impl Iterator<Item = String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let starts: Vec<usize> =
        std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1)).collect();
    starts.into_iter().rev().take(8).map(move |start| path[start..].to_owned())
}
