//! Erasing an account with what was its alone. What it shared goes to others: a trip to the editor
//! who has been in it longest.
//!
//! Each step can be done again, and only the last one removes the account: an erasure that was cut
//! off is simply asked for once more.

use std::collections::BTreeSet;

use entity::membership::{Column, Entity, Model};
use futures_util::TryStreamExt;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use serde_json::{Map, json};
use uuid::Uuid;

use super::change::{Origin, RawItem};
use super::plan::Amendment;
use super::policy::Policy;
use super::push::{self, Batch, amend};
use super::scope::ToLock;
use super::transaction::{self, Failure, Held, Step, Work};
use super::{Operation, Role, Sender, Strategy, file, gc, share, store};
use crate::config::limits;
use crate::db::Db;
use crate::error::Error;
use crate::files::Files;
use crate::kinds::{self, Home};

/// Erases an account.
pub async fn erase(db: &Db, files: &Files, account: Uuid) -> Result<(), Error> {
    for _ in 0..limits::PUSH_ATTEMPTS {
        let own = hand_over(db, account).await?;
        delete_rows(db, account).await?;
        for scope in own.into_iter().chain([account]) {
            let scopes = || ToLock { found: [scope].into(), ..ToLock::default() };
            // A portion at a time: none of them lasts as long as a transaction may.
            while transaction::run(db, Uuid::nil(), scopes(), &Scrub { scope }).await? {}
        }
        delete_files(db, files, account).await?;
        // Another device of theirs may have made something meanwhile.
        let scopes = ToLock { found: [account].into(), ..ToLock::default() };
        if transaction::run(db, Uuid::nil(), scopes, &Remove { account }).await? {
            db.announcer().sessions_ended_best_effort(account);
            // What was uploaded by a URL that is still good.
            return delete_files(db, files, account).await;
        }
    }
    Err(Error::unavailable())
}

/// Leaves all trips of others, and gives shared ones to an editor. Returns the trips that nobody
/// could take.
async fn hand_over(db: &Db, account: Uuid) -> Result<Vec<Uuid>, Error> {
    let memberships = Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::RemovedAt.is_null())
        .filter(Column::ScopeId.ne(account))
        .all(db.pool())
        .await?;
    let mut own = Vec::new();
    for membership in memberships {
        let scope = membership.scope_id;
        let scopes = ToLock { found: [scope].into(), ..ToLock::default() };
        if !transaction::run(db, Uuid::nil(), scopes, &HandOver { account, scope }).await? {
            own.push(scope);
        }
    }
    Ok(own)
}

struct HandOver {
    account: Uuid,
    scope: Uuid,
}

impl Work for HandOver {
    /// Whether the account is out of the scope.
    type Done = bool;

    async fn attempt(&self, tx: &DatabaseTransaction, held: Held) -> Result<Step<bool>, Failure> {
        let HandOver { account, scope } = *self;
        let Some(head) = held.scopes.get(&scope).map(|scope| scope.head) else {
            return Ok(Step::Done(true));
        };
        let members = share::members(tx, scope).await?;
        let Some(leaving) = members.iter().find(|member| member.account_id == account) else {
            return Ok(Step::Done(true));
        };
        let ended = Model { until_seq: Some(head), removed_at: Some(held.now), ..leaving.clone() };
        if leaving.role != Role::Owner.name() {
            store::upsert::<Entity, _>(tx, vec![ended]).await?;
            return Ok(Step::Done(true));
        }
        // They come in the order in which they were let in.
        let heir = members.iter().find(|member| member.role == Role::Editor.name());
        let root = share::root(tx, scope).await?;
        let (Some(heir), Some(root)) = (heir, root) else {
            return Ok(Step::Done(false));
        };
        let heir = Model { role: Role::Owner.name().into(), ..heir.clone() };
        let owner = heir.account_id;
        store::upsert::<Entity, _>(tx, vec![ended, heir]).await?;
        // The trip's row tells its reader their role.
        let touch = Amendment::touch(root.key());
        match amend(tx, owner, held, root, touch).await? {
            true => Ok(Step::Done(true)),
            false => Ok(Step::Again),
        }
    }
}

/// Deletes what lies in the account's own scope, and the trips that it owns: like any deletion, so
/// whoever saw any of it is told.
async fn delete_rows(db: &Db, account: Uuid) -> Result<(), Error> {
    loop {
        let mut items = Vec::new();
        for kind in kinds::all().rev().filter(|kind| !matches!(kind.home, Home::Parent(_))) {
            // One trip with everything in it at a time.
            let portion = if kind.home == Home::Itself { 1 } else { limits::GC_ROWS };
            let owned = Query::select()
                .column("scope_id")
                .from("membership")
                .and_where(Expr::col("account_id").eq(account))
                .and_where(Expr::col("role").eq(Role::Owner.name()))
                .and_where(Expr::col("removed_at").is_null())
                .to_owned();
            let rows = Query::select()
                .column("id")
                .from(kind.table)
                .and_where(Expr::col("scope_id").in_subquery(owned))
                .and_where(Expr::col("deleted_at").is_null())
                .limit(portion)
                .to_owned();
            for row in db.pool().query_all(&rows).await? {
                let id: Uuid = row.try_get_by_index(0).map_err(Error::from)?;
                let mut json = Map::new();
                json.insert("id".into(), json!(id));
                json.insert("operation".into(), json!(Operation::Delete.name()));
                json.insert("operationId".into(), json!(Uuid::new_v4()));
                items.push(RawItem { entity_type: kind.entity_type, index: items.len(), json });
            }
            if !items.is_empty() {
                break;
            }
        }
        if items.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            sender: Sender { account, device: None },
            origin: Origin::OneRow,
            items,
            cursor: None,
            policy: Policy::of(Strategy::Manual),
            max_skew: 0,
        };
        push::push(db, &batch).await?;
    }
}

/// Forgets what the rows of a scope held. Their ids stay taken, and the deletion log goes on telling
/// who was given them.
struct Scrub {
    scope: Uuid,
}

impl Work for Scrub {
    /// Whether there may be more.
    type Done = bool;

    async fn attempt(&self, tx: &DatabaseTransaction, _: Held) -> Result<Step<bool>, Failure> {
        for kind in kinds::all() {
            let dead = store::select(kind)
                .and_where(Expr::col((kind.table, "scope_id")).eq(self.scope))
                .and_where(Expr::col((kind.table, "deleted_at")).is_not_null())
                .limit(limits::GC_ROWS)
                .to_owned();
            let rows = store::rows_of(tx, kind, &dead).await?;
            if rows.is_empty() {
                continue;
            }
            let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            for table in ["revision", "attachment"] {
                for among in store::in_lists(tx, "entity_id", &ids) {
                    let delete = Query::delete()
                        .from_table(table)
                        .and_where(among)
                        .and_where(Expr::col("kind").eq(kind.name()))
                        .to_owned();
                    tx.execute(&delete).await?;
                }
            }
            gc::bury_rows(tx, kind, rows).await?;
            return Ok(Step::Done(true));
        }
        let of_scope = |columns: &[&'static str]| {
            Query::select()
                .columns(columns.iter().copied())
                .from("conflict")
                .and_where(Expr::col("scope_id").eq(self.scope))
                .to_owned()
        };
        // An edit that waits in a conflict may have no row.
        let named = Expr::tuple([Expr::col("kind"), Expr::col("entity_id")]);
        let unnamed = Query::delete()
            .from_table("attachment")
            .and_where(named.in_subquery(of_scope(&["kind", "entity_id"])))
            .to_owned();
        tx.execute(&unnamed).await?;
        // What lives on in the scope, because someone pushed meanwhile, goes the next time round.
        for (table, column) in [
            ("conflict_edit", "conflict_id"),
            ("undone", "conflict_id"),
            ("receipt", "conflict_id"),
            ("conflict", "id"),
        ] {
            let delete = Query::delete()
                .from_table(table)
                .and_where(Expr::col(column).in_subquery(of_scope(&["id"])))
                .to_owned();
            tx.execute(&delete).await?;
        }
        Ok(Step::Done(false))
    }
}

/// Removes the account's files, but for those that rows of others still name.
async fn delete_files(db: &Db, files: &Files, account: Uuid) -> Result<(), Error> {
    use entity::attachment::{Column, Entity};
    file::note_older(db).await?;
    // Its picture is its own.
    let portrait = Entity::delete_many().filter(Column::EntityId.eq(account));
    portrait.filter(Column::Kind.eq(file::PORTRAIT_KIND)).exec(db.pool()).await?;
    let named: BTreeSet<String> = Entity::find()
        .filter(Column::AccountId.eq(account))
        .all(db.pool())
        .await?
        .into_iter()
        .map(|attachment| attachment.name)
        .collect();
    let mut stored = std::pin::pin!(files.list(account));
    while let Some((key, _)) = stored.try_next().await? {
        if !named.contains(key.name()) {
            files.delete(&key).await?;
        }
    }
    // What is known of them stays for the grace: a URL to upload may still be good, and the
    // clean-up goes by this.
    let forget = Query::update()
        .table("file")
        .values([
            ("size", None::<i64>.into()),
            ("uploaded_at", None::<i64>.into()),
            ("requested_at", crate::db::now(db.pool()).await?.into()),
        ])
        .and_where(Expr::col(("file", "account_id")).eq(account))
        .and_where(file::is_named().not())
        .to_owned();
    db.pool().execute(&forget).await?;
    Ok(())
}

/// Removes the account itself, if nothing is left of it.
struct Remove {
    account: Uuid,
}

impl Work for Remove {
    /// False: there is something left.
    type Done = bool;

    async fn attempt(&self, tx: &DatabaseTransaction, _: Held) -> Result<Step<bool>, Failure> {
        let account = self.account;
        let active = Entity::find()
            .filter(Column::AccountId.eq(account))
            .filter(Column::RemovedAt.is_null())
            .all(tx)
            .await?;
        for membership in &active {
            for kind in kinds::all() {
                let left = Query::select()
                    .column("id")
                    .from(kind.table)
                    .and_where(Expr::col("scope_id").eq(membership.scope_id))
                    .limit(1)
                    .to_owned();
                if tx.query_one(&left).await?.is_some() {
                    return Ok(Step::Done(false));
                }
            }
        }
        for (table, column, id) in [
            ("session", "account_id", account),
            ("device", "account_id", account),
            ("receipt", "account_id", account),
            // Nobody else ever saw into its own scope.
            ("deletion", "scope_id", account),
            ("tick", "scope_id", account),
            ("scope", "id", account),
            ("account", "id", account),
        ] {
            let delete =
                Query::delete().from_table(table).and_where(Expr::col(column).eq(id)).to_owned();
            tx.execute(&delete).await?;
        }
        // Those that have ended stay: they say with whom others' rows were shared.
        let own = Query::delete()
            .from_table("membership")
            .and_where(Expr::col("account_id").eq(account))
            .and_where(Expr::col("scope_id").eq(account).or(Expr::col("removed_at").is_null()))
            .to_owned();
        tx.execute(&own).await?;
        Ok(Step::Done(true))
    }
}
