//! Walks through the rows of many scopes, in the order of (scope, seq), by the index of that name.

use sea_orm::sea_query::{Cond, Expr, ExprTrait, JoinType, Order, Query, SelectStatement};
use uuid::Uuid;

use super::scope::Seen;

/// A scope's share of what is walked through.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub no: i64,
    pub id: Uuid,
    /// What the device has seen; 0 for a scope that is new to it.
    pub lo: i64,
    /// For a lost scope: the seq from which its rows are gone through.
    pub from: i64,
    /// Where the window ends. For a lost scope: where the membership ended.
    pub hi: i64,
    /// Whether the scope has moved on since the window began.
    pub moved_on: bool,
}

impl Range {
    /// All that a scope holds.
    pub fn all(scope: &Seen) -> Range {
        Range { no: scope.no, id: scope.id, lo: 0, from: 0, hi: scope.head, moved_on: false }
    }
}

/// The most scopes in one statement: each takes five values.
pub const SCOPES_AT_ONCE: usize = 1024;

/// How many scopes one statement goes through.
pub struct Stride(usize);

impl Stride {
    /// As many as are likely to fill a page.
    pub fn of(page: u64) -> Stride {
        Stride((page as usize / 8).clamp(4, SCOPES_AT_ONCE))
    }

    /// The next ones of the rest.
    pub fn first<'r>(&self, rest: &'r [Range]) -> &'r [Range] {
        &rest[..Ord::min(self.0, rest.len())]
    }

    /// They held less than a page: more of them next.
    pub fn lengthen(&mut self) {
        self.0 = Ord::min(self.0 * 4, SCOPES_AT_ONCE);
    }
}

/// Joins a table with its scopes' ranges, called `b`: number, scope, lo, hi, start. `after` is the
/// last that was reached: a scope's number and a seq. The scopes come first, so that each is one walk
/// through the index (scope, seq).
pub fn join_ranges(
    select: &mut SelectStatement,
    table: &'static str,
    ranges: &[Range],
    after: (i64, i64),
    start: fn(&Range) -> i64,
) {
    let values = ranges.iter().map(|range| {
        let reached = if range.no == after.0 { after.1 } else { 0 };
        (range.no, range.id, range.lo, range.hi, Ord::max(start(range), reached))
    });
    let mut source = Query::select();
    source.column(sea_orm::sea_query::Asterisk).from_values(values, "v");
    select
        .join_subquery(
            JoinType::InnerJoin,
            source,
            "b",
            Cond::all()
                .add(Expr::col((table, "scope_id")).equals(("b", "column2")))
                .add(Expr::col((table, "seq")).gt(Expr::col(("b", "column5")))),
        )
        .order_by(("b", "column1"), Order::Asc)
        .order_by((table, "seq"), Order::Asc);
}
