//! Reads what an account sees now: rows by id, and lists.

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Order};
use uuid::Uuid;

use super::row::{Row, sort};
use super::scope::Seen;
use super::store;
use crate::config::limits;
use crate::error::{Code, Error};
use crate::kinds::{Home, Kind};

/// The row with this id, if the caller sees it.
pub async fn one<C: ConnectionTrait>(
    db: &C,
    seen: &[Seen],
    kind: &Kind,
    id: Uuid,
) -> Result<Option<Row>, Error> {
    Ok(some(db, seen, kind, &[id]).await?.pop())
}

/// Of the rows with these ids those that the caller sees.
pub async fn some<C: ConnectionTrait>(
    db: &C,
    seen: &[Seen],
    kind: &Kind,
    ids: &[Uuid],
) -> Result<Vec<Row>, Error> {
    let mut rows = store::rows_by_id(db, kind, ids).await?;
    rows.retain(|row| row.is_live() && sees(seen, row.scope));
    sort(&mut rows);
    Ok(rows)
}

/// Whether a scope is open to the caller.
pub fn sees(seen: &[Seen], scope: Uuid) -> bool {
    seen.iter().any(|seen| seen.id == scope && seen.is_visible())
}

/// The live rows of a kind that the caller sees, in all scopes or in one, in the kind's order.
pub async fn list<C: ConnectionTrait>(
    db: &C,
    account: Uuid,
    seen: &[Seen],
    kind: &Kind,
    scope: Option<Uuid>,
) -> Result<Vec<Row>, Error> {
    let scopes: Vec<Uuid> = seen
        .iter()
        .filter(|seen| seen.is_visible() && scope.is_none_or(|scope| scope == seen.id))
        .map(|seen| seen.id)
        .filter(|id| (kind.home == Home::Account) == (*id == account))
        .collect();
    let mut rows = Vec::new();
    for among in store::in_lists(db, (kind.table, "scope_id"), &scopes) {
        let left = limits::LIST + 1 - rows.len() as u64;
        let select = store::select(kind)
            .and_where(among)
            .and_where(Expr::col((kind.table, "deleted_at")).is_null())
            .order_by((kind.table, "scope_id"), Order::Asc)
            .order_by((kind.table, "seq"), Order::Asc)
            .limit(left)
            .to_owned();
        rows.extend(store::rows_of(db, kind, &select).await?);
        if rows.len() as u64 > limits::LIST {
            return Err(Error::new(
                Code::Limit,
                format!("there are more than {} {}; use enhancedSync", limits::LIST, kind.list),
            ));
        }
    }
    sort(&mut rows);
    Ok(rows)
}
