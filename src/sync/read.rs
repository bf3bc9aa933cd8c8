//! Reads what an account sees now: rows by id, and lists.

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait};
use uuid::Uuid;

use super::range::{Range, Stride, join_ranges};
use super::room::Room;
use super::row::{Row, sort};
use super::scope::Seen;
use super::store;
use crate::config::limits;
use crate::db::Db;
use crate::error::Error;
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
pub async fn list(
    db: &Db,
    account: Uuid,
    seen: &[Seen],
    kind: &'static Kind,
    scope: Option<Uuid>,
) -> Result<Vec<Row>, Error> {
    let snapshot = db.begin_snapshot().await?;
    let mut portions = Portions::new(&snapshot, account, seen, kind, scope);
    let rows = all(&mut portions, Room::new(limits::LIST, kind.list, "use enhancedSync")).await;
    snapshot.rollback().await?;
    let mut rows = rows?;
    sort(&mut rows);
    Ok(rows)
}

async fn all<C: ConnectionTrait>(
    portions: &mut Portions<'_, C>,
    mut room: Room,
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    while let Some(portion) = portions.next().await? {
        room.take(&portion)?;
        rows.extend(portion);
    }
    Ok(rows)
}

/// The live rows of a kind that an account sees, in all scopes or in one, a portion after another.
/// Reads from a snapshot: between two portions a row could move from what comes to what came.
pub struct Portions<'a, C> {
    snapshot: &'a C,
    kind: &'static Kind,
    /// Scopes that are not walked through yet.
    rest: Vec<Range>,
    stride: Stride,
    after: (i64, i64),
}

impl<'a, C: ConnectionTrait> Portions<'a, C> {
    pub fn new(
        snapshot: &'a C,
        account: Uuid,
        seen: &[Seen],
        kind: &'static Kind,
        scope: Option<Uuid>,
    ) -> Portions<'a, C> {
        let rest = seen
            .iter()
            .filter(|seen| seen.is_visible() && scope.is_none_or(|scope| scope == seen.id))
            .filter(|seen| (kind.home == Home::Account) == (seen.id == account))
            .map(Range::all)
            .collect();
        let stride = Stride::of(limits::PAGE.into());
        Portions { snapshot, kind, rest, stride, after: (i64::MIN, 0) }
    }

    /// At least one row and at most a page of them; None: there are no more.
    pub async fn next(&mut self) -> Result<Option<Vec<Row>>, Error> {
        let table = self.kind.table;
        while !self.rest.is_empty() {
            let ranges = self.stride.first(&self.rest);
            let mut select = store::select(self.kind);
            join_ranges(&mut select, table, ranges, self.after, |range| range.from);
            select
                .and_where(Expr::col((table, "deleted_at")).is_null())
                .limit(u64::from(limits::PAGE));
            let rows = store::rows_of(self.snapshot, self.kind, &select).await?;
            let walked = match rows.last() {
                Some(last) if rows.len() == limits::PAGE as usize => {
                    // The last one's scope may have more.
                    let at = ranges.iter().position(|range| range.id == last.scope);
                    let at = at.unwrap_or(ranges.len());
                    self.after = ranges.get(at).map_or(self.after, |range| (range.no, last.seq));
                    at
                }
                _ => {
                    self.stride.lengthen();
                    ranges.len()
                }
            };
            self.rest.drain(..walked);
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }
}
