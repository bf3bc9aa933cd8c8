//! The clean-up: what is past its retention goes, a little at a time, and the floors rise.

use std::time::Duration;

use entity::Millis;
use sea_orm::sea_query::{DeleteStatement, Expr, ExprTrait, Query, SelectStatement, SimpleExpr};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::row::Row;
use super::{ConflictStatus, scope, store};
use crate::config::limits;
use crate::db::{self, Db};
use crate::error::Error;
use crate::kinds::{self, EntityType};

/// What a clean-up removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub tombstones: u64,
    pub deletions: u64,
    pub receipts: u64,
    pub conflicts: u64,
    pub revisions: u64,
    pub ticks: u64,
    pub sessions: u64,
}

/// Removes everything that is older than the retention. Safe to run at any time, and twice at once.
pub async fn clean_up(db: &Db, retention: Duration) -> Result<Removed, Error> {
    let now = db::now(db.pool()).await?;
    let before = now - retention.as_millis() as Millis;
    let mut removed = Removed::default();
    for scope in scopes_with_old_deletions(db, before).await? {
        let tx = db.begin_write().await?;
        removed.deletions += forget_deletions(&tx, scope, before).await?;
        tx.commit().await?;
    }
    for kind in kinds::all() {
        loop {
            let tx = db.begin_write().await?;
            let buried = bury(&tx, kind, before).await?;
            tx.commit().await?;
            removed.tombstones += buried;
            if buried < limits::GC_ROWS {
                break;
            }
        }
    }
    let old = |table: &'static str| Expr::col((table, "at")).lt(before);
    // First what points to conflicts, then the conflicts.
    removed.receipts = delete(db, "receipt", &["id"], old("receipt")).await?;
    let resolved = Expr::col(("conflict", "status"))
        .eq(ConflictStatus::Resolved.name())
        .and(Expr::col(("conflict", "resolved_at")).lt(before));
    removed.conflicts = delete(db, "conflict", &["id"], resolved).await?;
    let orphaned = |table: &'static str| {
        let conflict = Query::select()
            .expr(Expr::val(1))
            .from("conflict")
            .and_where(Expr::col(("conflict", "id")).equals((table, "conflict_id")))
            .to_owned();
        Expr::exists(conflict).not()
    };
    let key = ["conflict_id", "account_id", "device_id", "operation_id"];
    delete(db, "conflict_edit", &key, orphaned("conflict_edit").and(old("conflict_edit"))).await?;
    delete(db, "undone", &["conflict_id", "at"], orphaned("undone").and(old("undone"))).await?;
    removed.revisions =
        delete(db, "revision", &["entity_id", "version", "kind"], old("revision")).await?;
    // The last tick of the old ones stays: it says how far a device was that last came then.
    let followed = Expr::exists(
        Query::select()
            .expr(Expr::val(1))
            .from_as("tick", "later")
            .and_where(Expr::col(("later", "scope_id")).equals(("tick", "scope_id")))
            .and_where(Expr::col(("later", "seq")).gt(Expr::col(("tick", "seq"))))
            .and_where(Expr::col(("later", "at")).lt(before))
            .to_owned(),
    );
    removed.ticks = delete(db, "tick", &["scope_id", "seq"], old("tick").and(followed)).await?;
    removed.sessions =
        delete(db, "session", &["id"], Expr::col(("session", "expires_at")).lt(now)).await?;
    Ok(removed)
}

async fn scopes_with_old_deletions(db: &Db, before: Millis) -> Result<Vec<Uuid>, DbErr> {
    let select = Query::select()
        .distinct()
        .column("scope_id")
        .from("deletion")
        .and_where(Expr::col("at").lt(before))
        .and_where(is_dead())
        .to_owned();
    db.pool().query_all(&select).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Whether an entry of the deletion log is of a row that died in this scope: its tombstone or its
/// grave tells of it, however long it is. A row that left for another scope has neither here, so
/// that the entry must stay for those who ask by time.
fn is_dead() -> SimpleExpr {
    let of = |column: &'static str| Expr::col(("deletion", column));
    let tombstones = kinds::all().map(|kind| {
        let tombstone = Query::select()
            .expr(Expr::val(1))
            .from(kind.table)
            .and_where(Expr::col((kind.table, "id")).equals(("deletion", "entity_id")))
            .and_where(Expr::col((kind.table, "scope_id")).equals(("deletion", "scope_id")))
            .and_where(Expr::col((kind.table, "deleted_at")).is_not_null())
            .to_owned();
        of("kind").eq(kind.name()).and(Expr::exists(tombstone))
    });
    let grave = Query::select()
        .expr(Expr::val(1))
        .from("buried")
        .and_where(Expr::col(("buried", "entity_id")).equals(("deletion", "entity_id")))
        .and_where(Expr::col(("buried", "kind")).equals(("deletion", "kind")))
        .and_where(Expr::col(("buried", "scope_id")).equals(("deletion", "scope_id")))
        .to_owned();
    tombstones.fold(Expr::exists(grave), |any, one| any.or(one))
}

/// Removes old entries of one scope's deletion log, and raises its floor above them.
async fn forget_deletions(
    tx: &DatabaseTransaction,
    scope: Uuid,
    before: Millis,
) -> Result<u64, DbErr> {
    scope::lock_found(tx, [scope]).await?;
    let old = || {
        let column = |name: &'static str| Expr::col(("deletion", name));
        column("scope_id").eq(scope).and(column("at").lt(before)).and(is_dead())
    };
    let highest =
        Query::select().expr(Expr::col("seq").max()).from("deletion").and_where(old()).to_owned();
    let Some(row) = tx.query_one(&highest).await? else { return Ok(0) };
    let Some(highest) = row.try_get_by_index::<Option<i64>>(0)? else { return Ok(0) };
    let raise = Query::update()
        .table("scope")
        .value("floor", highest)
        .and_where(Expr::col("id").eq(scope))
        .and_where(Expr::col("floor").lt(highest))
        .to_owned();
    tx.execute(&raise).await?;
    let delete = Query::delete().from_table("deletion").and_where(old()).to_owned();
    Ok(tx.execute(&delete).await?.rows_affected())
}

/// Turns old tombstones of one kind into what must stay of them: their ids. A tombstone with an
/// open conflict stays until that is resolved.
async fn bury(tx: &DatabaseTransaction, kind: &kinds::Kind, before: Millis) -> Result<u64, DbErr> {
    let old = store::select(kind)
        .and_where(Expr::col((kind.table, "deleted_at")).lt(before))
        .and_where(Expr::col((kind.table, "conflict_id")).is_null())
        .limit(limits::GC_ROWS)
        .to_owned();
    let candidates = store::rows_of(tx, kind, &old).await?;
    scope::lock_found(tx, candidates.iter().map(|row| row.scope)).await?;
    // Under the locks, again: one may have been restored since.
    let ids: Vec<Uuid> = candidates.iter().map(|row| row.id).collect();
    let mut rows = store::rows_by_id(tx, kind, &ids).await?;
    rows.retain(|row| row.deleted_at.is_some_and(|at| at < before) && row.conflict.is_none());
    bury_rows(tx, kind, rows).await
}

/// Turns these tombstones of one kind into their ids. What hangs on rows besides rows goes, too.
pub async fn bury_rows(
    tx: &DatabaseTransaction,
    kind: &kinds::Kind,
    rows: Vec<Row>,
) -> Result<u64, DbErr> {
    let graves = rows.iter().map(|row| entity::buried::Model {
        kind: kind.name().into(),
        entity_id: row.id,
        scope_id: row.scope,
        entered_seq: row.entered_seq,
        sync_version: row.version,
        created_by: row.created_by,
        deleted_at: row.deleted_at.unwrap_or(row.updated_at),
    });
    store::upsert::<entity::buried::Entity, _>(tx, graves.collect()).await?;
    let mut removed = 0;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    // Ids are unique within a kind.
    let hanging: &[(&str, &str)] = match kind.entity_type {
        EntityType::GPXTrack => &[("track_segment", "track_id")],
        EntityType::Trip => &[("route_point", "trip_id")],
        _ => &[],
    };
    for (table, column) in hanging.iter().copied() {
        for among in store::in_lists(tx, column, &ids) {
            tx.execute(&Query::delete().from_table(table).and_where(among).to_owned()).await?;
        }
    }
    for among in store::in_lists(tx, "id", &ids) {
        let delete = Query::delete().from_table(kind.table).and_where(among).to_owned();
        removed += tx.execute(&delete).await?.rows_affected();
    }
    Ok(removed)
}

/// Deletes in portions, so that nobody waits long for a lock.
async fn delete(
    db: &Db,
    table: &'static str,
    key: &[&'static str],
    which: SimpleExpr,
) -> Result<u64, DbErr> {
    let portion: SelectStatement = Query::select()
        .columns(key.iter().map(|column| (table, *column)))
        .from(table)
        .and_where(which)
        .limit(limits::GC_ROWS)
        .to_owned();
    let delete: DeleteStatement = Query::delete()
        .from_table(table)
        .and_where(Expr::tuple(key.iter().map(|column| Expr::col(*column))).in_subquery(portion))
        .to_owned();
    let mut removed = 0;
    loop {
        let count = db.pool().execute(&delete).await?.rows_affected();
        removed += count;
        if count < limits::GC_ROWS {
            return Ok(removed);
        }
    }
}
