//! What the database knows of files: who was given a URL to upload which, which are there, and which
//! rows name them. The bytes are `files`' affair.
//!
//! A row's file lies in the space of the account that named it. That someone names another's object
//! in a row of theirs gives them nothing: it would have to be in their own space.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use entity::file::{Column, Entity, Model};
use entity::{Millis, attachment, track_segment};
use futures_util::TryStreamExt;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use uuid::Uuid;

use super::change::derive;
use super::plan::{Amendment, World, plan_amendments};
use super::push::write;
use super::row::Row;
use super::scope::ToLock;
use super::transaction::{self, Failure, Held, Step, Work};
use super::{Sender, Status, store};
use crate::config::limits;
use crate::db::{self, Db};
use crate::error::{Code, Error};
use crate::files::{Files, Key};
use crate::kinds::{FileContent, Invalid, ReadFile, Value};

/// Notes that an account was given a URL to upload an object. LIMIT, if it has no room left.
pub async fn expect(
    db: &Db,
    keys: &[(Key, Option<String>)],
    account: Uuid,
    quota: u64,
) -> Result<(), Error> {
    if used(db.pool(), account, None).await? >= quota {
        return Err(no_room(quota));
    }
    let now = db::now(db.pool()).await?;
    let mut models: HashMap<String, Model> = HashMap::new();
    for (key, content_type) in keys {
        let model = Model {
            account_id: account,
            name: key.name().to_owned(),
            content_type: content_type.clone(),
            size: None,
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

/// Looks whether an object is there, and notes it. Gives its bytes. What there is no room for is
/// removed: LIMIT.
pub async fn look(db: &Db, files: &Files, key: &Key, quota: u64) -> Result<Option<u64>, Error> {
    let Some(stored) = files.head(key).await? else { return Ok(None) };
    if used(db.pool(), key.account(), Some(key.name())).await?.saturating_add(stored.size) > quota {
        files.delete(key).await?;
        Entity::delete_by_id((key.account(), key.name().to_owned())).exec(db.pool()).await?;
        return Err(no_room(quota));
    }
    let now = db::now(db.pool()).await?;
    let model = Model {
        account_id: key.account(),
        name: key.name().to_owned(),
        content_type: None,
        size: Some(stored.size as i64),
        requested_at: now,
        uploaded_at: Some(now),
    };
    for mut insert in store::inserts::<Entity>(&[model]) {
        let mut again = OnConflict::columns([Column::AccountId, Column::Name]);
        again.update_columns([Column::Size, Column::UploadedAt]);
        db.pool().execute(insert.on_conflict(again)).await?;
    }
    Ok(Some(stored.size))
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
    Ok(found)
}

/// The object that a caller means by a name: their own, or one that a row names which they see.
/// None: there is no such object, for them.
pub async fn find<C: ConnectionTrait>(
    db: &C,
    account: Uuid,
    seen: &[super::scope::Seen],
    name: &str,
) -> Result<Option<Named>, Error> {
    let own = Key::new(account, name)?;
    if let Some(file) = Entity::find_by_id((account, name.to_owned())).one(db).await? {
        let is_there = file.uploaded_at.is_some();
        return Ok(Some(Named { key: own, content_type: file.content_type, is_there }));
    }
    let naming = attachment::Entity::find()
        .filter(attachment::Column::Name.eq(name))
        .order_by_asc(attachment::Column::EntityId)
        .limit(limits::NAMINGS)
        .all(db)
        .await?;
    for kind in crate::kinds::all().filter(|kind| kind.files().next().is_some()) {
        let ids: Vec<Uuid> =
            naming.iter().filter(|n| n.kind == kind.name()).map(|n| n.entity_id).collect();
        let mut rows = store::rows_by_id(db, kind, &ids).await?;
        rows.retain(|row| row.is_live() && super::read::sees(seen, row.scope));
        let named = named(db, &rows).await?;
        let meant = named.into_values().find(|named| named.key.name() == name);
        if meant.is_some() {
            return Ok(meant);
        }
    }
    Ok(None)
}

/// What became of a row's files when they were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The row names the file, and it is there.
    There,
    /// It is not, or is not what the row says.
    Missing,
}

/// Looks at the files that a row names, and tells the row. A file that the server reads is read.
pub async fn arrive(db: &Db, files: &Files, row: &Row, quota: u64) -> Result<Arrival, Error> {
    let kind = row.kind();
    let named = named(db.pool(), std::slice::from_ref(row)).await?;
    let mut arrival = Arrival::There;
    let mut amendment = Arrived { row: row.clone(), status: None, content: None };
    for (at, file) in kind.files() {
        if row.content.values[at].is_null() {
            continue;
        }
        let found = match named.get(&(row.id, at)) {
            Some(named) => look(db, files, &named.key, quota).await,
            None => Ok(None),
        };
        let found = match found {
            Err(error) if error.code == Code::Limit && file.awaited => {
                amendment.status = Some((Status::FilesPending, Some(error.message)));
                arrival = Arrival::Missing;
                continue;
            }
            Err(error) if error.code == Code::Limit => None,
            found => found?,
        };
        if !file.awaited {
            continue;
        }
        let (Some(bytes), Some(named)) = (found, named.get(&(row.id, at))) else {
            arrival = Arrival::Missing;
            continue;
        };
        if let Some(said) = file.size.map(|name| row.content.get(name))
            && *said != Value::Int(bytes as i64)
        {
            let said = said.to_json(&[]);
            let message = format!("the uploaded file has {bytes} bytes, the row says {said}");
            amendment.status = Some((Status::FilesPending, Some(message)));
            arrival = Arrival::Missing;
            continue;
        }
        amendment.status = Some((Status::InSync, None));
        if let Some(read) = kind.read_file {
            match read_file(files, &named.key, read).await? {
                Ok(content) => amendment.content = Some(content),
                Err(Invalid(message)) => {
                    amendment.status = Some((Status::SyncError, Some(message)));
                }
            }
        }
    }
    amendment.run(db).await?;
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
        let Arrived { row: before, status, content } = self;
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
        let mut changed = amendment.status.is_some();
        if let Some(content) = content {
            let differs = |(at, value): &&(usize, Value)| row.content.values[*at] != *value;
            amendment.values = content.values.iter().filter(differs).cloned().collect();
            changed |= !amendment.values.is_empty();
            write_segments(tx, &row, content).await?;
        }
        if !changed {
            return Ok(Step::Done(()));
        }
        let sender = Sender { account: row.created_by, device: None };
        let scope = row.scope;
        let mut world = World::empty(sender, held.now, &[]);
        world.scopes = held.scopes;
        world.rows.insert(row.key(), row);
        let plan = plan_amendments(world, vec![amendment]);
        match write(tx, sender, held.now, &plan, &[scope]).await? {
            true => Ok(Step::Done(())),
            false => Ok(Step::Again),
        }
    }
}

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
    // One at a time: a single one may have megabytes.
    for model in models {
        store::insert::<Entity, _>(tx, vec![model]).await?;
    }
    Ok(())
}

/// Looks at the files that rows wait for, and tells the rows whose are there: for the operator, after
/// the bytes of an older backend were put into the store. Gives how many were there, and how many
/// were not.
pub async fn arrive_all(db: &Db, files: &Files, quota: u64) -> Result<(u64, u64), Error> {
    let (mut there, mut missing) = (0, 0);
    for kind in crate::kinds::all().filter(|kind| kind.files().next().is_some()) {
        let mut after = Uuid::nil();
        loop {
            let waiting = store::select(kind)
                .and_where(Expr::col((kind.table, "deleted_at")).is_null())
                .and_where(Expr::col((kind.table, "id")).gt(after))
                .order_by((kind.table, "id"), sea_orm::Order::Asc)
                .limit(limits::GC_ROWS)
                .to_owned();
            let rows = store::rows_of(db.pool(), kind, &waiting).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            let named = named(db.pool(), &rows).await?;
            for row in &rows {
                let mut fields = kind.files().filter_map(|(at, _)| named.get(&(row.id, at)));
                if fields.all(|file| file.is_there) && row.status != Status::FilesPending {
                    continue;
                }
                match arrive(db, files, row, quota).await? {
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
    let now = db::now(db.pool()).await?;
    let attachments = forget_attachments(db, now - retention.as_millis() as Millis).await?;
    let before = now - grace.as_millis() as Millis;
    let mut removed = Removed { files: 0, attachments };
    loop {
        let unnamed = unnamed(db, before).await?;
        if unnamed.is_empty() {
            break;
        }
        for file in unnamed {
            // The database first: what is left in the store after a crash is found below.
            Entity::delete_by_id((file.account_id, file.name.clone())).exec(db.pool()).await?;
            if let Ok(key) = Key::new(file.account_id, &file.name) {
                files.delete(&key).await?;
            }
            removed.files += 1;
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

/// Files that no row names, last heard of before a time.
async fn unnamed(db: &Db, before: Millis) -> Result<Vec<Model>, Error> {
    let named = Query::select()
        .expr(Expr::val(1))
        .from("attachment")
        .and_where(Expr::col(("attachment", "account_id")).equals(("file", "account_id")))
        .and_where(Expr::col(("attachment", "name")).equals(("file", "name")))
        .to_owned();
    // An account names its picture by a URL that ends with the file's name, or by that alone.
    let contains = r#""account"."profile_image_url" LIKE '%' || "file"."name" || '%'"#;
    let portrait = Query::select()
        .expr(Expr::val(1))
        .from("account")
        .and_where(Expr::col(("account", "id")).equals(("file", "account_id")))
        .and_where(Expr::cust(contains))
        .to_owned();
    Ok(Entity::find()
        .filter(Column::RequestedAt.lt(before))
        .filter(
            Expr::col(Column::UploadedAt).is_null().or(Expr::col(Column::UploadedAt).lt(before)),
        )
        .filter(Expr::exists(named).not())
        .filter(Expr::exists(portrait).not())
        .order_by_asc(Column::RequestedAt)
        .limit(limits::GC_ROWS)
        .all(db.pool())
        .await?)
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
        for kind in crate::kinds::all().filter(|kind| kind.files().next().is_some()) {
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
                    Entity::delete_by_id(key).exec(db.pool()).await?;
                    forgotten += 1;
                }
            }
        }
    }
}
