//! What a device has not seen yet, page by page.
//!
//! A window goes from the cursor up to the heads of its first page, in parts: the deletion logs;
//! what belongs to scopes that the caller has lost, as deletions; then the live rows, kind by kind,
//! parents first. Within a part the order is (scope, seq). All of a page is read from one snapshot.

use std::collections::{BTreeMap, HashMap};

use entity::Millis;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbErr};
use uuid::Uuid;

use super::conflict::Conflict;
use super::cursor::{Cursor, Filter, KINDS, Place, Window, taken, taken_at};
use super::range::{Range, SCOPES_AT_ONCE, Stride, join_ranges};
use super::room::Room;
use super::row::{Key, Row};
use super::scope::{self, Seen};
use super::{inbox, store};
use crate::config::limits;
use crate::db::{self, Db};
use crate::error::{Code, Error, ResyncReason};
use crate::kinds::{self, EntityType, Home, Kind, PRIORITY};

/// What a device asks for.
#[derive(Clone)]
pub struct Request {
    pub account: Uuid,
    pub cursor: Option<Cursor>,
    /// None: the cursor's own.
    pub filter: Option<Filter>,
    /// A `serverTimestamp` of ours, for a device that has no cursor yet.
    pub since: Option<Millis>,
    /// Rows and deletions a page.
    pub size: u64,
    /// Whether to read the open conflicts, too.
    pub conflicts: bool,
}

/// One page.
pub struct Page {
    pub rows: BTreeMap<EntityType, Vec<Row>>,
    pub deleted: Vec<Key>,
    /// The caller's newest open ones, with their rows' versions now.
    pub conflicts: Vec<(Conflict, i32)>,
    pub server_time: Millis,
    pub has_more: bool,
    pub cursor: Cursor,
    /// Rows and deletions still to come, this page's included.
    pub total: u64,
    /// The scopes that the caller sees, with their roles.
    pub scopes: Vec<Seen>,
}

/// What changed since a time, in one answer.
pub struct Changes {
    pub rows: BTreeMap<EntityType, Vec<Row>>,
    pub deleted: Vec<Key>,
    pub server_time: Millis,
    /// The scopes that the caller sees, with their roles.
    pub scopes: Vec<Seen>,
}

/// Reads one page.
pub async fn pull(db: &Db, epoch: Uuid, request: Request) -> Result<Page, Error> {
    again(|| try_pull(db, epoch, request.clone())).await
}

/// Everything that changed since a time that this server handed out: what the app's `sync` asks. It
/// knows times and nothing else: whatever time it gives is good, and what the deletion log has
/// forgotten is told from the graves. It may hold what the device has already, and never leaves
/// anything out.
pub async fn since(db: &Db, epoch: Uuid, account: Uuid, time: Millis) -> Result<Changes, Error> {
    again(|| try_since(db, epoch, account, time)).await
}

/// Tries again what a busy database or a lost connection has stopped.
async fn again<T, F>(attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut last = Error::unavailable();
    for _ in 0..limits::PULL_ATTEMPTS {
        match attempt().await {
            Err(error) if error.code == Code::Unavailable => last = error,
            done => return done,
        }
    }
    Err(last)
}

async fn try_pull(db: &Db, epoch: Uuid, request: Request) -> Result<Page, Error> {
    let tx = db.begin_snapshot().await?;
    let page = pull_from(&tx, epoch, request).await;
    // Nothing was written; ending it either way frees the snapshot.
    tx.rollback().await?;
    page
}

async fn try_since(db: &Db, epoch: Uuid, account: Uuid, time: Millis) -> Result<Changes, Error> {
    let tx = db.begin_snapshot().await?;
    let changes = since_from(&tx, epoch, account, time).await;
    tx.rollback().await?;
    changes
}

/// Refuses a cursor that does not fit the database as it is.
pub fn check_cursor(cursor: &Cursor, seen: &[Seen]) -> Result<(), Error> {
    for scope in seen {
        if let Some(at) = cursor.seen_in(scope.no) {
            // Taken back: nothing is left of it that could be out of date.
            if taken_at(at).is_some() && !scope.is_visible() {
                continue;
            }
            let bound = cursor.window.as_ref().and_then(|window| window.bound(scope.no));
            if Ord::max(at, bound.unwrap_or(at)) > scope.head {
                return Err(Error::resync(ResyncReason::Ahead));
            }
            if Ord::max(at, 0) < scope.floor {
                return Err(Error::resync(ResyncReason::BelowFloor));
            }
        }
    }
    Ok(())
}

async fn pull_from<C: ConnectionTrait>(
    tx: &C,
    epoch: Uuid,
    request: Request,
) -> Result<Page, Error> {
    let scopes = scope::seen_by(tx, request.account).await?;
    let now = db::now(tx).await?;
    let mut cursor = match request.cursor {
        Some(cursor) => {
            if request.filter.as_ref().is_some_and(|filter| *filter != cursor.filter) {
                return Err(Error::resync(ResyncReason::FilterChanged));
            }
            cursor
        }
        None => Cursor {
            epoch,
            account: request.account,
            filter: request.filter.clone().unwrap_or_default(),
            seen: match request.since {
                Some(since) => seen_at(tx, since, now, &scopes, false).await?,
                None => Vec::new(),
            },
            kinds: KINDS,
            window: None,
        },
    };
    check_cursor(&cursor, &scopes)?;
    let first = cursor.window.is_none();
    let mut window = cursor.window.take().unwrap_or_else(|| begin(&cursor, &scopes));
    let reader = Reader::new(tx, request.account, &cursor, &window, &scopes);
    let Portion { rows, deleted, place } = reader.fill(window.place, request.size).await?;
    let delivered = entries(&rows, &deleted) as u64;
    let total = match (first, place) {
        (true, None) => delivered,
        (true, Some(_)) => reader.count().await?,
        // What changed meanwhile comes in the next window; what is here was promised.
        (false, None) => delivered,
        (false, Some(_)) => Ord::max(window.left, delivered),
    };
    let has_more = match place {
        Some(place) => {
            window.place = place;
            window.left = total - delivered;
            cursor.window = Some(window);
            true
        }
        None => {
            cursor.seen = end(&cursor, &window, &scopes, first);
            !is_at_heads(&cursor, &scopes)
        }
    };
    let conflicts = match request.conflicts {
        true => open_conflicts(tx, request.account).await?,
        false => Vec::new(),
    };
    let server_time = server_time(now);
    Ok(Page { rows, deleted, conflicts, server_time, has_more, cursor, total, scopes })
}

/// Whether a pull with this cursor would bring something, or say why it cannot be continued. Gives
/// the time that a poke then hands out.
pub async fn is_behind(
    db: &Db,
    account: Uuid,
    cursor: Option<&Cursor>,
) -> Result<Option<Millis>, Error> {
    let scopes = scope::seen_by(db.pool(), account).await?;
    let is_up_to_date = cursor.is_some_and(|cursor| {
        cursor.window.is_none()
            && check_cursor(cursor, &scopes).is_ok()
            && is_at_heads(cursor, &scopes)
    });
    match is_up_to_date {
        true => Ok(None),
        false => Ok(Some(server_time(db::now(db.pool()).await?))),
    }
}

/// The time that an answer hands out: no transaction before it is still to be committed.
fn server_time(now: Millis) -> Millis {
    now - limits::TIMESTAMP_LAG.as_millis() as Millis
}

async fn since_from<C: ConnectionTrait>(
    tx: &C,
    epoch: Uuid,
    account: Uuid,
    time: Millis,
) -> Result<Changes, Error> {
    let scopes = scope::seen_by(tx, account).await?;
    let now = db::now(tx).await?;
    let seen = seen_at(tx, time, now, &scopes, true).await?;
    let filter = Filter::default();
    let cursor = Cursor { epoch, account, filter, seen, kinds: KINDS, window: None };
    let window = begin(&cursor, &scopes);
    let reader = Reader::new(tx, account, &cursor, &window, &scopes);
    let mut room = Room::new(limits::SYNC_ROWS, "changed rows", "use enhancedSync");
    let mut all: BTreeMap<EntityType, Vec<Row>> = BTreeMap::new();
    let mut gone = Vec::new();
    let mut from = Some(window.place);
    while let Some(place) = from {
        let Portion { rows, deleted, place } = reader.fill(place, limits::PAGE.into()).await?;
        let weight = rows.values().flatten().map(Row::weight).sum();
        room.take_as(entries(&rows, &deleted), weight)?;
        for (kind, rows) in rows {
            all.entry(kind).or_default().extend(rows);
        }
        gone.extend(deleted);
        from = place;
    }
    reader.graves(time, &scopes, &room, &mut gone).await?;
    Ok(Changes { rows: all, deleted: gone, server_time: server_time(now), scopes })
}

/// Begins a window: bounds for every scope with something new, and the scopes that were lost.
fn begin(cursor: &Cursor, scopes: &[Seen]) -> Window {
    let mut window =
        Window { bounds: Vec::new(), lost: Vec::new(), place: Place::default(), left: 0 };
    for scope in scopes {
        match (scope.is_visible(), cursor.seen_in(scope.no)) {
            (true, Some(seen)) if seen == scope.head => {}
            (true, _) => window.bounds.push((scope.no, scope.head)),
            (false, Some(_)) => window.lost.push((scope.no, scope.head)),
            (false, None) => {}
        }
    }
    window
}

/// What the device has seen after the window's last page.
fn end(cursor: &Cursor, window: &Window, scopes: &[Seen], one_page: bool) -> Vec<(i64, i64)> {
    let mut seen: BTreeMap<i64, i64> = cursor.seen.iter().copied().collect();
    for (no, head) in &window.lost {
        let scope = scopes.iter().find(|scope| scope.no == *no);
        // Between two pages a row may have come back to where no later page looked. What changed
        // since the first is gone through once more, until one page, a snapshot, holds it all.
        let moved = !one_page && scope.is_some_and(|scope| scope.head != *head);
        match scope.is_some_and(Seen::is_visible) {
            // Granted again meanwhile: all of it is delivered again, its deletions too.
            true => seen.insert(*no, 0),
            false if moved => seen.insert(*no, taken(*head)),
            false => seen.remove(no),
        };
    }
    for (no, bound) in &window.bounds {
        match scopes.iter().any(|scope| scope.no == *no && scope.is_visible()) {
            true => seen.insert(*no, *bound),
            // Lost while the window was being paged: named, so that the next takes it back.
            false => Some(*seen.entry(*no).or_insert(0)),
        };
    }
    let known = |no: &i64| scopes.iter().any(|scope| scope.no == *no);
    seen.into_iter().filter(|(no, _)| known(no)).collect()
}

fn is_at_heads(cursor: &Cursor, scopes: &[Seen]) -> bool {
    scopes.iter().all(|scope| match scope.is_visible() {
        true => cursor.seen_in(scope.no) == Some(scope.head),
        false => cursor.seen_in(scope.no).is_none(),
    })
}

/// What a device had seen that was given this `serverTimestamp`. It may be less than that, never
/// more: the timestamp lies behind the clock by more than any transaction lasts.
async fn seen_at<C: ConnectionTrait>(
    tx: &C,
    since: Millis,
    now: Millis,
    scopes: &[Seen],
    by_time: bool,
) -> Result<Vec<(i64, i64)>, Error> {
    if since > now && !by_time {
        return Err(Error::bad_input(
            "lastSyncedAt: must be a serverTimestamp of this server; this one lies in the future",
        ));
    }
    let since = Ord::min(since, now - limits::TIMESTAMP_LAG.as_millis() as Millis);
    if since < 0 {
        // The app's first sync asks since the year 1.
        return Ok(Vec::new());
    }
    let known: Vec<&Seen> = scopes
        .iter()
        // A scope that was granted later is new to the device. If it was granted again, its
        // deletions matter, too, as far as they are remembered.
        .filter(|scope| scope.granted_at < since || scope.floor == 0 || by_time)
        .filter(|scope| scope.removed_at.is_none_or(|removed| removed >= since))
        .collect();
    let ids: Vec<Uuid> = known.iter().map(|scope| scope.id).collect();
    let mut seqs: HashMap<Uuid, i64> = HashMap::new();
    for among in store::in_lists(tx, "scope_id", &ids) {
        let select = Query::select()
            .column("scope_id")
            .expr(Expr::col("seq").max())
            .from("tick")
            .and_where(among)
            .and_where(Expr::col("at").lt(since))
            .add_group_by([Expr::col("scope_id")])
            .to_owned();
        for row in tx.query_all(&select).await? {
            seqs.insert(row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        }
    }
    let seen = |scope: &&Seen| match scope.granted_at < since {
        true => (scope.no, seqs.get(&scope.id).copied().unwrap_or(0)),
        false => (scope.no, 0),
    };
    Ok(known.iter().map(seen).collect())
}

// ── Reading in order ─────────────────────────────────────────────────────────────────────────

/// What a part of a window delivers.
#[derive(Clone, Copy)]
enum Part {
    /// Entries of the deletion logs.
    Log,
    /// Rows of lost scopes, as deletions.
    LostRows(&'static Kind),
    /// The deletion logs of lost scopes. After the rows: what leaves meanwhile is found here.
    LostLog,
    Rows(&'static Kind),
}

/// What was read of a window, from one place to another.
struct Portion {
    rows: BTreeMap<EntityType, Vec<Row>>,
    deleted: Vec<Key>,
    /// The place of its last entry, or None when the window is finished.
    place: Option<Place>,
}

fn entries(rows: &BTreeMap<EntityType, Vec<Row>>, deleted: &[Key]) -> usize {
    rows.values().map(Vec::len).sum::<usize>() + deleted.len()
}

struct Reader<'a, C> {
    tx: &'a C,
    account: Uuid,
    filter: Filter,
    /// Visible scopes with something new.
    ranges: Vec<Range>,
    /// Of those, the ones whose deletions matter: the device has seen something of them.
    seen: Vec<Range>,
    lost: Vec<Range>,
}

impl<'a, C: ConnectionTrait> Reader<'a, C> {
    fn new(
        tx: &'a C,
        account: Uuid,
        cursor: &Cursor,
        window: &Window,
        scopes: &[Seen],
    ) -> Reader<'a, C> {
        let mut reader = Reader {
            tx,
            account,
            filter: cursor.filter.clone(),
            ranges: Vec::new(),
            seen: Vec::new(),
            lost: Vec::new(),
        };
        for scope in scopes {
            let lo = cursor.seen_in(scope.no);
            if let (Some(hi), true) = (window.bound(scope.no), scope.is_visible()) {
                let range = Range {
                    no: scope.no,
                    id: scope.id,
                    lo: lo.map_or(0, |lo| Ord::max(lo, 0)),
                    from: 0,
                    hi,
                    moved_on: scope.head > hi,
                };
                reader.ranges.push(range);
                reader.seen.extend(lo.map(|_| range));
            }
            if let (Some(lo), Some(until), true) =
                (lo, scope.until, window.lost.iter().any(|(no, _)| *no == scope.no))
            {
                let taken = taken_at(lo);
                reader.lost.push(Range {
                    no: scope.no,
                    id: scope.id,
                    lo: taken.unwrap_or(lo),
                    from: taken.unwrap_or(0),
                    hi: until,
                    moved_on: false,
                });
            }
        }
        reader
    }

    /// The parts in order. A part's place in the list is its number in cursors.
    fn parts() -> Vec<Part> {
        let mut parts = vec![Part::Log];
        parts.extend(kinds::all().map(Part::LostRows));
        parts.push(Part::LostLog);
        parts.extend(kinds::all().map(Part::Rows));
        parts
    }

    /// Fills a page from a place on.
    async fn fill(&self, from: Place, size: u64) -> Result<Portion, DbErr> {
        let mut page = Portion { rows: BTreeMap::new(), deleted: Vec::new(), place: None };
        let mut delivered = 0;
        for (number, part) in Self::parts().into_iter().enumerate().skip(from.part.into()) {
            let number = number as u8;
            let mut after = match number == from.part {
                true => (from.scope, from.seq),
                false => (i64::MIN, 0),
            };
            let mut stride = Stride::of(size);
            let all: Vec<Range> =
                self.ranges_of(part).into_iter().filter(|range| range.no >= after.0).collect();
            let mut rest = all.as_slice();
            while !rest.is_empty() {
                let ranges = stride.first(rest);
                rest = &rest[ranges.len()..];
                stride.lengthen();
                let wanted = size - delivered;
                let (count, last) = match part {
                    Part::Rows(kind) => {
                        let select = self.rows(kind, ranges, after, wanted);
                        let rows = store::rows_of(self.tx, kind, &select).await?;
                        let last = rows.last().map(|row| (row.scope, row.seq));
                        let count = rows.len() as u64;
                        page.rows.entry(kind.entity_type).or_default().extend(rows);
                        (count, last)
                    }
                    _ => {
                        let select = self.departed(part, ranges, after, wanted);
                        let mut last = None;
                        let mut count = 0;
                        for row in self.tx.query_all(&select).await? {
                            let kind: String = row.try_get_by_index(0)?;
                            let entity_type = EntityType::from_name(&kind)
                                .ok_or_else(|| DbErr::Custom(format!("no such kind: {kind}")))?;
                            page.deleted.push((entity_type, row.try_get_by_index(1)?));
                            last = Some((row.try_get_by_index(2)?, row.try_get_by_index(3)?));
                            count += 1;
                        }
                        (count, last)
                    }
                };
                delivered += count;
                if let Some((scope, seq)) = last {
                    let no = ranges.iter().find(|range| range.id == scope).map_or(0, |r| r.no);
                    after = (no, seq);
                }
                if delivered == size {
                    page.place = Some(Place { part: number, scope: after.0, seq: after.1 });
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// What was deleted since a time, and is past the memory of the deletion log: in a grave by now,
    /// or a tombstone that waits for one, as long as a conflict about it is open.
    async fn graves(
        &self,
        since: Millis,
        scopes: &[Seen],
        room: &Room,
        deleted: &mut Vec<Key>,
    ) -> Result<(), Error> {
        // Where the log reaches back far enough, it has said everything.
        let forgetful = |range: &Range| {
            scopes.iter().any(|scope| scope.id == range.id && range.lo < scope.floor)
        };
        let since = since - limits::TIMESTAMP_LAG.as_millis() as Millis;
        let seen = self.seen.iter().map(|range| (range, i64::MAX));
        let lost = self.lost.iter().map(|range| (range, range.hi));
        for (range, bound) in seen.chain(lost).filter(|(range, _)| forgetful(range)) {
            let dead = |id: &'static str| {
                Query::select()
                    .column(id)
                    .and_where(Expr::col("scope_id").eq(range.id))
                    .and_where(Expr::col("entered_seq").lte(bound))
                    .and_where(Expr::col("deleted_at").gte(since))
                    .limit(limits::SYNC_ROWS + 1)
                    .to_owned()
            };
            for grave in self.tx.query_all(dead("entity_id").column("kind").from("buried")).await? {
                let kind: String = grave.try_get_by_index(1).map_err(Error::from)?;
                if let Some(entity_type) = EntityType::from_name(&kind) {
                    let id = grave.try_get_by_index(0).map_err(Error::from)?;
                    deleted.push((entity_type, id));
                }
            }
            for kind in kinds::all().filter(|kind| self.fits(kind, range)) {
                for tombstone in self.tx.query_all(dead("id").from(kind.table)).await? {
                    let id = tombstone.try_get_by_index(0).map_err(Error::from)?;
                    deleted.push((kind.entity_type, id));
                }
            }
            if deleted.len() as u64 > limits::SYNC_ROWS {
                return Err(room.full());
            }
        }
        deleted.sort_unstable();
        deleted.dedup();
        Ok(())
    }

    /// How much the window holds from its beginning.
    async fn count(&self) -> Result<u64, DbErr> {
        let mut total: i64 = 0;
        for part in Self::parts() {
            for ranges in self.ranges_of(part).chunks(SCOPES_AT_ONCE) {
                let mut select = match part {
                    Part::Rows(kind) => self.rows(kind, ranges, (i64::MIN, 0), u64::MAX),
                    _ => self.departed(part, ranges, (i64::MIN, 0), u64::MAX),
                };
                select.clear_selects().clear_order_by().reset_limit();
                select.expr(Expr::cust("count(*)"));
                if let Some(row) = self.tx.query_one(&select).await? {
                    total += row.try_get_by_index::<i64>(0)?;
                }
            }
        }
        Ok(total as u64)
    }

    /// Whether rows of a kind can lie in a scope.
    fn fits(&self, kind: &Kind, range: &Range) -> bool {
        (kind.home == Home::Account) == (range.id == self.account)
    }

    /// The scopes in which a part can have anything.
    fn ranges_of(&self, part: Part) -> Vec<Range> {
        match part {
            Part::Log => self.seen.clone(),
            Part::LostLog => self.lost.clone(),
            Part::LostRows(kind) => {
                self.lost.iter().filter(|range| self.fits(kind, range)).copied().collect()
            }
            Part::Rows(kind) if !self.delivers(kind) => Vec::new(),
            Part::Rows(kind) => {
                self.ranges.iter().filter(|range| self.fits(kind, range)).copied().collect()
            }
        }
    }

    /// Whether the filter asks for the kind itself.
    fn asks_for(&self, kind: &Kind) -> bool {
        self.filter.kinds.is_empty() || self.filter.kinds.iter().any(|name| name == kind.name())
    }

    /// Whether the stream may hold rows of the kind: asked for, or as ancestors of what is.
    fn delivers(&self, kind: &Kind) -> bool {
        self.asks_for(kind) || kind.children.iter().any(|child| self.delivers(child.kind.kind()))
    }

    fn is_filtered(&self) -> bool {
        self.filter != Filter::default()
    }

    /// Live rows of a kind: what changed within the window, and ancestors of what changed, where
    /// they would not come of themselves.
    fn rows(
        &self,
        kind: &'static Kind,
        ranges: &[Range],
        after: (i64, i64),
        limit: u64,
    ) -> SelectStatement {
        let mut select = store::select(kind);
        let ancestors = self.is_filtered() || ranges.iter().any(|range| range.moved_on);
        let start = if self.is_filtered() { |_: &Range| 0 } else { |range: &Range| range.lo };
        join_ranges(&mut select, kind.table, ranges, after, start);
        select.cond_where(self.in_window(kind, ancestors)).limit(limit);
        select
    }

    /// Whether a row belongs to the window: it changed in it, or, where the stream could otherwise
    /// miss it, something that hangs on it did.
    fn in_window(&self, kind: &'static Kind, ancestors: bool) -> Cond {
        let table = kind.table;
        let mut any = Cond::any();
        if self.asks_for(kind) {
            let mut own = Cond::all()
                .add(Expr::col((table, "seq")).gt(Expr::col(("b", "column3"))))
                .add(Expr::col((table, "seq")).lte(Expr::col(("b", "column4"))));
            if self.filter.priority > 0 {
                let column = kind.fields[PRIORITY].column;
                own = own.add(Expr::col((table, column)).gte(i16::from(self.filter.priority)));
            }
            any = any.add(own);
        }
        if ancestors {
            for child in &kind.children {
                let child_kind = child.kind.kind();
                if !self.delivers(child_kind) {
                    continue;
                }
                let column = child_kind.fields[child.field].column;
                let exists = Query::select()
                    .expr(Expr::val(1))
                    .from(child_kind.table)
                    .and_where(Expr::col((child_kind.table, column)).equals((table, "id")))
                    .cond_where(self.in_window(child_kind, true))
                    .to_owned();
                any = any.add(Expr::exists(exists));
            }
        }
        Cond::all().add(Expr::col((table, "deleted_at")).is_null()).add(any)
    }

    /// Deletions: kind, id, scope, seq.
    fn departed(
        &self,
        part: Part,
        ranges: &[Range],
        after: (i64, i64),
        limit: u64,
    ) -> SelectStatement {
        let mut select = Query::select();
        match part {
            Part::LostRows(kind) => {
                select
                    .expr(Expr::val(kind.name()))
                    .columns([(kind.table, "id"), (kind.table, "scope_id"), (kind.table, "seq")])
                    .from(kind.table)
                    .and_where(Expr::col((kind.table, "deleted_at")).is_null())
                    .and_where(
                        Expr::col((kind.table, "entered_seq")).lte(Expr::col(("b", "column4"))),
                    );
                join_ranges(&mut select, kind.table, ranges, after, |range| range.from);
            }
            _ => {
                select
                    .columns([
                        ("deletion", "kind"),
                        ("deletion", "entity_id"),
                        ("deletion", "scope_id"),
                        ("deletion", "seq"),
                    ])
                    .from("deletion");
                join_ranges(&mut select, "deletion", ranges, after, |range| range.lo);
                let bound = match part {
                    Part::LostLog => "entered_seq",
                    _ => "seq",
                };
                select.and_where(Expr::col(("deletion", bound)).lte(Expr::col(("b", "column4"))));
                if self.is_filtered() {
                    let names = kinds::all().filter(|kind| self.delivers(kind)).map(Kind::name);
                    select.and_where(Expr::col(("deletion", "kind")).is_in(names));
                }
                self.unless_still_visible(&mut select);
            }
        }
        select.limit(limit);
        select
    }

    /// Leaves out what the caller still sees: a row that moved to another scope of theirs.
    fn unless_still_visible(&self, select: &mut SelectStatement) {
        for kind in kinds::all().filter(|kind| matches!(kind.home, Home::Parent(_))) {
            let visible = Query::select()
                .expr(Expr::val(1))
                .from(kind.table)
                .inner_join(
                    "membership",
                    Expr::col(("membership", "scope_id")).equals((kind.table, "scope_id")),
                )
                .and_where(Expr::col((kind.table, "id")).equals(("deletion", "entity_id")))
                .and_where(Expr::col((kind.table, "deleted_at")).is_null())
                .and_where(Expr::col(("membership", "account_id")).eq(self.account))
                .and_where(Expr::col(("membership", "removed_at")).is_null())
                .to_owned();
            let of_kind = Expr::col(("deletion", "kind")).eq(kind.name());
            select.and_where(of_kind.and(Expr::exists(visible)).not());
        }
    }
}

/// The caller's newest open conflicts, with their rows' versions. Viewers see none.
async fn open_conflicts<C: ConnectionTrait>(
    tx: &C,
    account: Uuid,
) -> Result<Vec<(Conflict, i32)>, DbErr> {
    let open = inbox::Filter { status: Some(super::ConflictStatus::Open), ..Default::default() };
    let page = inbox::conflicts(tx, account, &open, None, limits::CONFLICTS_IN_PULL).await?;
    Ok(page.conflicts)
}
