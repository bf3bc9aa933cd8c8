//! Scopes and memberships: who may see what, and the lock under which seqs are given out.

use std::collections::{BTreeSet, HashMap};

use entity::Millis;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use uuid::Uuid;

use super::plan::{Membership, Scope};
use super::{Role, store};
use crate::db;

/// A scope as one account sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub id: Uuid,
    /// Its name inside cursors.
    pub no: i64,
    pub head: i64,
    pub floor: i64,
    pub role: Role,
    pub granted_at: Millis,
    /// Set when the membership has ended: the head then.
    pub until: Option<i64>,
    pub removed_at: Option<Millis>,
}

impl Seen {
    pub fn is_visible(&self) -> bool {
        self.until.is_none()
    }
}

/// All scopes that an account is or was a member of, by their number.
pub async fn seen_by<C: ConnectionTrait>(db: &C, account: Uuid) -> Result<Vec<Seen>, DbErr> {
    let select = seen().and_where(Expr::col(("membership", "account_id")).eq(account)).to_owned();
    db.query_all(&select).await?.iter().map(read_seen).collect()
}

/// The same for the accounts of these sessions, by session. Left out are sessions that
/// are over, and those whose accounts may not be used.
pub async fn seen_in_sessions<C: ConnectionTrait>(
    db: &C,
    sessions: &[Uuid],
) -> Result<HashMap<Uuid, (Uuid, Vec<Seen>)>, DbErr> {
    let mut found: HashMap<Uuid, (Uuid, Vec<Seen>)> = HashMap::new();
    for among in store::in_lists(db, ("session", "id"), sessions) {
        let membership = Expr::col(("membership", "account_id"));
        let select = seen()
            .column(("session", "id"))
            .column(("session", "account_id"))
            .inner_join("session", membership.equals(("session", "account_id")))
            .to_owned();
        for row in db.query_all(usable(select).and_where(among)).await? {
            let (session, account) = (row.try_get_by_index(8)?, row.try_get_by_index(9)?);
            let (_, seen) = found.entry(session).or_insert_with(|| (account, Vec::new()));
            seen.push(read_seen(&row)?);
        }
    }
    Ok(found)
}

/// Leaves those sessions in a SELECT whose accounts may be used.
pub fn usable(mut sessions: SelectStatement) -> SelectStatement {
    sessions
        .inner_join("account", Expr::col(("account", "id")).equals(("session", "account_id")))
        .and_where(Expr::col(("account", "is_active")).eq(true))
        .to_owned()
}

/// A SELECT of scopes with memberships, for [`read_seen`].
fn seen() -> SelectStatement {
    Query::select()
        .columns([("scope", "id"), ("scope", "no"), ("scope", "head"), ("scope", "floor")])
        .columns([
            ("membership", "role"),
            ("membership", "granted_at"),
            ("membership", "until_seq"),
            ("membership", "removed_at"),
        ])
        .from("membership")
        .inner_join("scope", Expr::col(("scope", "id")).equals(("membership", "scope_id")))
        .order_by(("scope", "no"), Order::Asc)
        .to_owned()
}

fn read_seen(row: &QueryResult) -> Result<Seen, DbErr> {
    let role: String = row.try_get_by_index(4)?;
    Ok(Seen {
        id: row.try_get_by_index(0)?,
        no: row.try_get_by_index(1)?,
        head: row.try_get_by_index(2)?,
        floor: row.try_get_by_index(3)?,
        role: self::role(&role)?,
        granted_at: row.try_get_by_index(5)?,
        until: row.try_get_by_index(6)?,
        removed_at: row.try_get_by_index(7)?,
    })
}

/// Reads a stored role.
pub fn role(name: &str) -> Result<Role, DbErr> {
    Role::from_name(name).ok_or_else(|| DbErr::Custom(format!("no such role: {name}")))
}

/// The memberships of an account, by scope.
pub fn memberships(seen: &[Seen]) -> HashMap<Uuid, Membership> {
    seen.iter().map(|seen| (seen.id, Membership { role: seen.role, until: seen.until })).collect()
}

/// Scopes to lock.
#[derive(Clone, Debug, Default)]
pub struct ToLock {
    /// What a batch names. Only those are locked that the account is or was a member of: a guessed
    /// id must not hold up strangers.
    pub named: BTreeSet<Uuid>,
    /// What rows were found to lie in.
    pub found: BTreeSet<Uuid>,
}

/// Locks scopes in the order of their ids until the transaction ends, and reads their heads. Ids
/// that are no scopes are left out: there is nothing to lock.
pub async fn lock<C: ConnectionTrait>(
    db: &C,
    account: Uuid,
    scopes: &ToLock,
) -> Result<HashMap<Uuid, Scope>, DbErr> {
    let mut locked = HashMap::new();
    let ids: Vec<Uuid> = scopes.named.union(&scopes.found).copied().collect();
    let member = Query::select()
        .expr(Expr::val(1))
        .from("membership")
        .and_where(Expr::col(("membership", "scope_id")).equals(("scope", "id")))
        .and_where(Expr::col(("membership", "account_id")).eq(account))
        .to_owned();
    for chunk in store::padded(&ids) {
        let mut allowed = Cond::any().add(Expr::exists(member.clone()));
        if !scopes.found.is_empty() {
            allowed = allowed.add(Expr::col(("scope", "id")).is_in(scopes.found.iter().copied()));
        }
        let mut select = Query::select();
        select
            .columns(["id", "head", "head_at"])
            .from("scope")
            .and_where(Expr::col(("scope", "id")).is_in(chunk))
            .cond_where(allowed)
            .order_by("id", Order::Asc);
        if !db::one_writer(db) {
            select.lock_exclusive();
        }
        for row in db.query_all(&select).await? {
            let scope = Scope {
                head: row.try_get_by_index(1)?,
                head_at: row.try_get_by_index(2)?,
                shared: false,
            };
            locked.insert(row.try_get_by_index(0)?, scope);
        }
    }
    Ok(locked)
}

/// Locks scopes that rows were found to lie in.
pub async fn lock_found<C: ConnectionTrait>(
    db: &C,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Scope>, DbErr> {
    let scopes = ToLock { found: ids.into_iter().collect(), ..ToLock::default() };
    lock(db, Uuid::nil(), &scopes).await
}

/// The account that owns a scope.
pub async fn owner<C: ConnectionTrait>(db: &C, scope: Uuid) -> Result<Option<Uuid>, DbErr> {
    let select = Query::select()
        .column("account_id")
        .from("membership")
        .and_where(Expr::col("scope_id").eq(scope))
        .and_where(Expr::col("role").eq(Role::Owner.name()))
        .and_where(Expr::col("removed_at").is_null())
        .to_owned();
    db.query_one(&select).await?.map(|row| row.try_get_by_index(0)).transpose()
}

/// Of these scopes, those that have members besides this account.
pub async fn shared<C: ConnectionTrait>(
    db: &C,
    account: Uuid,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, DbErr> {
    let mut found = Vec::new();
    for among in store::in_lists(db, "scope_id", ids) {
        let select = Query::select()
            .distinct()
            .column("scope_id")
            .from("membership")
            .and_where(among)
            .and_where(Expr::col("removed_at").is_null())
            .and_where(Expr::col("account_id").ne(account))
            .to_owned();
        for row in db.query_all(&select).await? {
            found.push(row.try_get_by_index(0)?);
        }
    }
    Ok(found)
}
