//! Takes over what an older backend held, from a dump in JSON Lines: `docs/import.md` describes it.
//!
//! The file is read once to see what is in it, and then once more for each kind of line, but only
//! where such lines stand. So lines may come in any order, and no more of them is held than a window.
//! Rows go through the same push as a device's, by the accounts that they belong to. What is there
//! already is left alone, so that an import can be stopped at any moment and run again.

pub mod line;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use entity::{Millis, membership};
use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use self::line::{DeletedLine, Line, RowLine, Subject};
use crate::auth::{Account, accounts};
use crate::db::{self, Db};
use crate::error::{Code, Error};
use crate::kinds::{EntityType, Home, parse_id, rfc3339};
use crate::sync::bury::{Burial, Grave, bury};
use crate::sync::change::{Origin, RawItem};
use crate::sync::plan::Verdict;
use crate::sync::policy::Policy;
use crate::sync::push::{Batch, push};
use crate::sync::share::{By, grant};
use crate::sync::{Operation, Role, Sender, Strategy, store};

/// Lines of a window: as many are looked up at once.
const WINDOW_LINES: usize = 5_000;
/// Bytes of a window's lines.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Rows, accounts or deletions in one transaction.
const BATCH: usize = 500;
/// Bytes of a line: more than the longest texts take, with every character escaped.
const LINE_BYTES: usize = 4 * 1024 * 1024;
/// How far the database's clock may have been set back since the import began, in milliseconds.
const SKEW: Millis = 3_600_000;

/// Is told how an import goes.
pub trait Watcher {
    /// Bytes that were read, of all that there are to read as far as is known.
    fn progress(&mut self, done: u64, total: u64);
    fn bad_line(&mut self, number: u64, why: &str);
}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub imported: u64,
    pub already_there: u64,
    pub failed: u64,
}

/// Why an import stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    #[error("{}; run the import again, it goes on where it stopped", .0.message)]
    Database(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Database(error)
    }
}

impl From<DbErr> for Stopped {
    fn from(error: DbErr) -> Stopped {
        Stopped::Database(error.into())
    }
}

/// Imports a dump. Bad lines are told to the watcher; the rest is imported.
pub async fn import<R: Read + Seek>(
    db: &Db,
    file: R,
    watcher: &mut impl Watcher,
) -> Result<Summary, Stopped> {
    let now = db::now(db.pool()).await?;
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let size = reader.seek(SeekFrom::End(0))?;
    let mut import = Import { db, now, watcher, summary: Summary::default() };
    let contents = import.look_through(&mut reader, size)?;
    let total = size + contents.iter().map(|(_, span)| span.end - span.begin).sum::<u64>();
    let mut done = size;
    for (subject, span) in contents {
        import.take_over(&mut reader, subject, span, done, total).await?;
        done += span.end - span.begin;
    }
    import.watcher.progress(total, total);
    Ok(import.summary)
}

/// Where the lines of one subject stand.
#[derive(Clone, Copy, Debug)]
struct Span {
    begin: u64,
    end: u64,
    /// Lines before it.
    lines_before: u64,
}

struct Import<'a, W> {
    db: &'a Db,
    /// When it began, by the database's clock.
    now: Millis,
    watcher: &'a mut W,
    summary: Summary,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Imported,
    AlreadyThere,
    Failed(String),
}

fn failed<T>(why: impl Into<String>) -> Result<T, Outcome> {
    Err(Outcome::Failed(why.into()))
}

/// Lines of one subject that are worked off together, with their numbers.
type Window<T> = Vec<(u64, T)>;

impl<W: Watcher> Import<'_, W> {
    fn count(&mut self, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::Imported => self.summary.imported += 1,
            Outcome::AlreadyThere => self.summary.already_there += 1,
            Outcome::Failed(why) => {
                self.summary.failed += 1;
                self.watcher.bad_line(number, &why);
            }
        }
    }

    /// Finds out where the lines of each subject stand, in the order in which they are imported.
    fn look_through<R: Read + Seek>(
        &mut self,
        reader: &mut BufReader<R>,
        size: u64,
    ) -> Result<Vec<(Subject, Span)>, Stopped> {
        let mut spans: Vec<(Subject, Option<Span>)> =
            line::order().into_iter().map(|subject| (subject, None)).collect();
        reader.seek(SeekFrom::Start(0))?;
        let mut lines = Lines::new(reader, 0, 0);
        while let Some(found) = lines.next()? {
            if found.number % 10_000 == 0 {
                self.watcher.progress(found.begin, size * 2);
            }
            let subject = match found.text {
                Ok(text) if text.trim_ascii().is_empty() => continue,
                Ok(text) => line::subject(text),
                Err(TooLong) => Err(format!("is longer than {} MiB", LINE_BYTES >> 20)),
            };
            let (number, begin) = (found.number, found.begin);
            let end = lines.at;
            match subject {
                Err(why) => self.count(number, Outcome::Failed(why)),
                Ok(subject) => {
                    for (_, span) in spans.iter_mut().filter(|(known, _)| *known == subject) {
                        let new = Span { begin, end, lines_before: number - 1 };
                        span.get_or_insert(new).end = end;
                    }
                }
            }
        }
        Ok(spans.into_iter().filter_map(|(subject, span)| Some((subject, span?))).collect())
    }

    /// Imports the lines of one subject.
    async fn take_over<R: Read + Seek>(
        &mut self,
        reader: &mut BufReader<R>,
        subject: Subject,
        span: Span,
        done: u64,
        total: u64,
    ) -> Result<(), Stopped> {
        reader.seek(SeekFrom::Start(span.begin))?;
        let mut lines = Lines::new(reader, span.begin, span.lines_before);
        let mut window: Window<Line> = Vec::new();
        let mut bytes = 0;
        while lines.at < span.end {
            let Some(found) = lines.next()? else { break };
            let (number, Ok(text)) = (found.number, found.text) else { continue };
            if line::subject(text) != Ok(subject) {
                continue;
            }
            bytes += text.len();
            match line::read(text, self.now) {
                Ok(line) => window.push((number, line)),
                Err(why) => self.count(number, Outcome::Failed(why)),
            }
            if window.len() == WINDOW_LINES || bytes > WINDOW_BYTES {
                self.flush(std::mem::take(&mut window)).await?;
                bytes = 0;
                self.watcher.progress(done + lines.at - span.begin, total);
            }
        }
        self.flush(window).await?;
        self.watcher.progress(done + span.end - span.begin, total);
        Ok(())
    }

    /// Works off a window. All of its lines have the same subject.
    async fn flush(&mut self, window: Window<Line>) -> Result<(), Stopped> {
        let (mut accounts, mut rows, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for (number, line) in window {
            match line {
                Line::Account(account) => accounts.push((number, account)),
                Line::Row(row) => rows.push((number, row)),
                Line::Deleted(line) => deleted.push((number, line)),
            }
        }
        let mut outcomes = self.accounts(accounts).await?;
        outcomes.extend(self.rows(rows).await?);
        outcomes.extend(self.deleted(deleted).await?);
        outcomes.sort_by_key(|(number, _)| *number);
        for (number, outcome) in outcomes {
            self.count(number, outcome);
        }
        Ok(())
    }

    async fn accounts(&self, window: Window<Account>) -> Result<Window<Outcome>, Stopped> {
        let mut outcomes = Vec::with_capacity(window.len());
        for batch in window.chunks(BATCH) {
            let tx = self.db.begin_write().await?;
            let now = db::now(&tx).await?;
            let ids: Vec<Uuid> = batch.iter().map(|(_, account)| account.id).collect();
            let mut known = known_accounts(&tx, ids.iter().copied()).await?;
            let scopes: HashSet<Uuid> = memberships(&tx, &ids).await?.into_keys().collect();
            for (number, account) in batch {
                let outcome = if known.contains(&account.id) {
                    Outcome::AlreadyThere
                } else if scopes.contains(&account.id) {
                    Outcome::Failed("id: this id cannot be used".into())
                } else if accounts::insert(&tx, account.clone(), now).await? {
                    known.insert(account.id);
                    Outcome::Imported
                } else {
                    let why = "email: there is another account with this address already";
                    Outcome::Failed(why.into())
                };
                outcomes.push((*number, outcome));
            }
            tx.commit().await?;
        }
        Ok(outcomes)
    }

    async fn rows(&self, window: Window<RowLine>) -> Result<Window<Outcome>, Stopped> {
        let Some(kind) = window.first().map(|(_, row)| row.key.0) else { return Ok(Vec::new()) };
        let surroundings = Surroundings::read(self.db, kind, &window).await?;
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(window.len());
        let mut batches: BTreeMap<Uuid, Vec<(Uuid, usize)>> = BTreeMap::new();
        let mut taken: HashSet<Uuid> = HashSet::new();
        for (at, (_, row)) in window.iter().enumerate() {
            outcomes.push(match surroundings.sender(row) {
                Ok(_) if !taken.insert(row.key.1) => Outcome::AlreadyThere,
                Ok((sender, scope)) => {
                    batches.entry(sender).or_default().push((scope, at));
                    Outcome::Imported
                }
                Err(outcome) => outcome,
            });
        }
        for (sender, mut all) in batches {
            // Each transaction locks few scopes, and moves few heads.
            all.sort_unstable();
            for batch in all.chunks(BATCH) {
                let items = batch.iter().enumerate();
                let items = items.map(|(index, (_, at))| item(index, &window[*at].1)).collect();
                let batch_of_sender = Batch {
                    // No device: the import is none of the account's.
                    sender: Sender { account: sender, device: None },
                    origin: Origin::Import,
                    items,
                    cursor: None,
                    policy: Policy::of(Strategy::FirstWriteWins),
                    max_skew: SKEW,
                };
                let pushed = push(self.db, &batch_of_sender).await?;
                for ((_, at), verdict) in batch.iter().zip(pushed.verdicts) {
                    outcomes[*at] = match verdict {
                        Verdict::Successful { .. } => Outcome::Imported,
                        Verdict::Failed(refusal) => Outcome::Failed(refusal.message),
                        Verdict::Conflict { id } => Outcome::Failed(format!(
                            "someone was quicker with another row of this id: see conflict {id}"
                        )),
                    };
                }
            }
        }
        for ((_, row), outcome) in window.iter().zip(&mut outcomes) {
            if !row.members.is_empty()
                && !matches!(outcome, Outcome::Failed(_))
                && let Err(refused) = self.share(row, &surroundings).await?
            {
                *outcome = refused;
            }
        }
        let numbers = window.iter().map(|(number, _)| *number);
        Ok(numbers.zip(outcomes).collect())
    }

    /// Makes the members of a trip, those that were never members of it.
    async fn share(
        &self,
        row: &RowLine,
        surroundings: &Surroundings,
    ) -> Result<Result<(), Outcome>, Stopped> {
        let trip = row.key.1;
        if surroundings.rows.get(&row.key).is_some_and(|found| !found.is_live) {
            return Ok(Ok(()));
        }
        for (account, role) in &row.members {
            let known = surroundings.members.get(&trip).is_some_and(|all| all.contains(account));
            if known || Some(*account) == row.owner {
                continue;
            }
            if !surroundings.accounts.contains(account) {
                return Ok(failed(format!("members: there is no account {account}")));
            }
            if *role == Role::Owner {
                return Ok(failed("members: the owner of a trip is its one OWNER"));
            }
            match grant(self.db, By::Operator, trip, *account, *role).await {
                Ok(()) => {}
                // Deleted or shared since it was looked up: as its people want it.
                Err(error) if matches!(error.code, Code::BadUserInput | Code::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Ok(()))
    }

    async fn deleted(&self, window: Window<DeletedLine>) -> Result<Window<Outcome>, Stopped> {
        let scopes: Vec<Uuid> = window.iter().map(|(_, line)| line.scope).collect();
        let owners = owners(self.db.pool(), &scopes).await?;
        let named = window.iter().filter_map(|(_, line)| line.owner);
        let accounts = known_accounts(self.db.pool(), named).await?;
        let mut outcomes = Vec::with_capacity(window.len());
        let mut batches: BTreeMap<(Uuid, Uuid), Window<DeletedLine>> = BTreeMap::new();
        for (number, line) in window {
            match line.owner.or_else(|| owners.get(&line.scope).copied()) {
                None => {
                    outcomes.push((number, Outcome::Failed("trip: there is no such Trip".into())))
                }
                Some(owner) if line.owner.is_some() && !accounts.contains(&owner) => {
                    outcomes.push((number, Outcome::Failed(NO_OWNER.into())));
                }
                Some(owner) => {
                    batches.entry((line.scope, owner)).or_default().push((number, line));
                }
            }
        }
        for ((scope, owner), lines) in batches {
            for batch in lines.chunks(BATCH) {
                let graves: Vec<Grave> = batch
                    .iter()
                    .map(|(_, line)| Grave { key: line.key, deleted_at: line.deleted_at })
                    .collect();
                let burials = bury(self.db, owner, scope, &graves).await?;
                for ((number, _), burial) in batch.iter().zip(burials) {
                    let outcome = match burial {
                        Burial::Done => Outcome::Imported,
                        Burial::Already => Outcome::AlreadyThere,
                        Burial::Lives => {
                            Outcome::Failed("the row is there, and not deleted".into())
                        }
                        Burial::NotThere => Outcome::Failed("id: this id cannot be used".into()),
                    };
                    outcomes.push((*number, outcome));
                }
            }
        }
        Ok(outcomes)
    }
}

const NO_OWNER: &str = "owner: there is no such account";

/// A row's line as an item of a batch.
fn item(index: usize, row: &RowLine) -> RawItem {
    let (kind, id) = row.key;
    let mut json: Map<String, Json> = row.fields.clone();
    json.insert("id".into(), json!(id));
    json.insert("operation".into(), json!(Operation::Create.name()));
    json.insert("operationId".into(), json!(format!("import:{}:{id}", kind.name())));
    json.insert("clientTimestamp".into(), json!(rfc3339(row.updated_at)));
    json.insert("createdAt".into(), json!(rfc3339(row.created_at)));
    json.insert("updatedAt".into(), json!(rfc3339(row.updated_at)));
    json.insert("createdBy".into(), json!(row.created_by));
    RawItem { entity_type: kind, index, json }
}

/// A row that is there, or was.
#[derive(Clone, Copy, Debug)]
struct Found {
    scope: Uuid,
    is_live: bool,
}

/// What there is around the rows of a window: as much as says who sends them, and whether they may
/// refer to what they refer to.
struct Surroundings {
    /// The rows themselves, and all that they refer to.
    rows: HashMap<(EntityType, Uuid), Found>,
    accounts: HashSet<Uuid>,
    owners: HashMap<Uuid, Uuid>,
    /// All who are or were members of a scope.
    members: HashMap<Uuid, HashSet<Uuid>>,
}

impl Surroundings {
    async fn read(db: &Db, kind: EntityType, window: &[(u64, RowLine)]) -> Result<Self, DbErr> {
        let db = db.pool();
        let mut ids: BTreeMap<EntityType, Vec<Uuid>> = BTreeMap::new();
        for (_, row) in window {
            ids.entry(kind).or_default().push(row.key.1);
            for (_, target, id) in references(row) {
                ids.entry(target).or_default().push(id);
            }
        }
        let mut rows = HashMap::new();
        for (kind, ids) in ids {
            find(db, kind, ids, &mut rows).await?;
        }
        let people = window.iter().flat_map(|(_, row)| {
            let members = row.members.iter().map(|(account, _)| *account);
            members.chain(row.owner).chain(row.created_by)
        });
        let accounts = known_accounts(db, people).await?;
        let named = window.iter().map(|(_, row)| row.owner.unwrap_or(row.key.1));
        let mut scopes: Vec<Uuid> = rows.values().map(|found| found.scope).chain(named).collect();
        scopes.sort_unstable();
        scopes.dedup();
        Ok(Surroundings {
            rows,
            accounts,
            owners: owners(db, &scopes).await?,
            members: memberships(db, &scopes).await?,
        })
    }

    /// Who is to send a row, and the scope that it will lie in; or what has become of it already.
    fn sender(&self, row: &RowLine) -> Result<(Uuid, Uuid), Outcome> {
        let kind = row.key.0.kind();
        let scope = match (kind.home, row.owner) {
            (Home::Account, Some(owner)) => Some(owner),
            (Home::Itself, _) => Some(row.key.1),
            (Home::Parent(name), _) => row
                .fields
                .get(name)
                .and_then(|id| parse_id(id.as_str()?))
                .zip(kind.fields[kind.field(name)].parent())
                .and_then(|(id, (parent, _))| self.rows.get(&(parent, id)))
                .map(|found| found.scope),
            (Home::Account, None) => None,
        };
        if let Some(found) = self.rows.get(&row.key) {
            // Moved or deleted since it was imported: still this row, as long as it lies with the
            // people that it belongs to.
            let mine = Some(found.scope) == scope
                || scope.is_some_and(|scope| self.share_someone(scope, found.scope))
                || (scope.is_none() && !found.is_live);
            return Err(match mine {
                true => Outcome::AlreadyThere,
                false => Outcome::Failed("id: this id cannot be used".into()),
            });
        }
        if row.owner.is_some_and(|owner| !self.accounts.contains(&owner)) {
            return failed(NO_OWNER);
        }
        if row.created_by.is_some_and(|id| !self.accounts.contains(&id)) {
            return failed("createdBy: there is no such account");
        }
        for (name, target, id) in references(row) {
            let found = self.rows.get(&(target, id));
            let Some(found) = found else {
                return failed(format!("{name}: there is no {} {id}", target.name()));
            };
            let is_set = kind.fields[kind.field(name)].is_set();
            if is_set && scope.is_some_and(|scope| !self.share_someone(scope, found.scope)) {
                return failed(format!("{name}: there is no {} {id}", target.name()));
            }
            if !is_set && !found.is_live {
                return failed(format!("{name}: this {} is deleted", target.name()));
            }
        }
        let Some(scope) = scope else {
            let field = match kind.home {
                Home::Parent(name) => name,
                _ => "owner",
            };
            return failed(format!("{field}: is needed to create a {}", kind.name()));
        };
        match row.owner.or_else(|| self.owners.get(&scope).copied()) {
            Some(owner) => Ok((owner, scope)),
            None => failed(NO_OWNER),
        }
    }

    /// Whether someone is or was a member of both scopes.
    fn share_someone(&self, one: Uuid, other: Uuid) -> bool {
        match (self.members.get(&one), self.members.get(&other)) {
            (Some(one), Some(other)) => !one.is_disjoint(other),
            _ => false,
        }
    }
}

/// The rows that a line refers to: field, kind and id.
fn references(row: &RowLine) -> impl Iterator<Item = (&str, EntityType, Uuid)> {
    let kind = row.key.0.kind();
    kind.parents().chain(kind.refs()).flat_map(|(field, target)| {
        let name = kind.fields[field].name.as_str();
        let ids: Vec<Uuid> = match row.fields.get(name) {
            Some(Json::Array(list)) => {
                list.iter().filter_map(|id| parse_id(id.as_str()?)).collect()
            }
            Some(Json::String(id)) => parse_id(id).into_iter().collect(),
            _ => Vec::new(),
        };
        ids.into_iter().map(move |id| (name, target, id))
    })
}

/// Looks up rows, tombstones and what is left of them.
async fn find<C: ConnectionTrait>(
    db: &C,
    kind: EntityType,
    mut ids: Vec<Uuid>,
    rows: &mut HashMap<(EntityType, Uuid), Found>,
) -> Result<(), DbErr> {
    ids.sort_unstable();
    ids.dedup();
    for among in store::in_lists(db, entity::buried::Column::EntityId, &ids) {
        use entity::buried::{Column, Entity};
        let all = Entity::find().filter(among).filter(Column::Kind.eq(kind.name())).all(db).await?;
        for model in all {
            let found = Found { scope: model.scope_id, is_live: false };
            rows.insert((kind, model.entity_id), found);
        }
    }
    for among in store::in_lists(db, "id", &ids) {
        let select = Query::select()
            .columns(["id", "scope_id", "deleted_at"])
            .from(kind.kind().table)
            .and_where(among)
            .to_owned();
        for row in db.query_all(&select).await? {
            let deleted_at: Option<Millis> = row.try_get_by_index(2)?;
            let found = Found { scope: row.try_get_by_index(1)?, is_live: deleted_at.is_none() };
            rows.insert((kind, row.try_get_by_index(0)?), found);
        }
    }
    Ok(())
}

/// Of these accounts, those that there are.
async fn known_accounts<C: ConnectionTrait>(
    db: &C,
    ids: impl Iterator<Item = Uuid>,
) -> Result<HashSet<Uuid>, DbErr> {
    let ids: Vec<Uuid> = ids.collect::<HashSet<Uuid>>().into_iter().collect();
    let mut known = HashSet::new();
    for among in store::in_lists(db, "id", &ids) {
        let select = Query::select().column("id").from("account").and_where(among).to_owned();
        for row in db.query_all(&select).await? {
            known.insert(row.try_get_by_index(0)?);
        }
    }
    Ok(known)
}

/// All who are or were members of these scopes.
async fn memberships<C: ConnectionTrait>(
    db: &C,
    scopes: &[Uuid],
) -> Result<HashMap<Uuid, HashSet<Uuid>>, DbErr> {
    let mut members: HashMap<Uuid, HashSet<Uuid>> = HashMap::new();
    for among in store::in_lists(db, membership::Column::ScopeId, scopes) {
        for model in membership::Entity::find().filter(among).all(db).await? {
            members.entry(model.scope_id).or_default().insert(model.account_id);
        }
    }
    Ok(members)
}

/// The accounts that own these scopes.
async fn owners<C: ConnectionTrait>(db: &C, scopes: &[Uuid]) -> Result<HashMap<Uuid, Uuid>, DbErr> {
    use membership::{Column, Entity};
    let mut owners = HashMap::new();
    for among in store::in_lists(db, Column::ScopeId, scopes) {
        let all = Entity::find()
            .filter(among)
            .filter(Column::Role.eq(Role::Owner.name()))
            .filter(Column::RemovedAt.is_null())
            .all(db)
            .await?;
        owners.extend(all.into_iter().map(|model| (model.scope_id, model.account_id)));
    }
    Ok(owners)
}

// ── Reading lines ────────────────────────────────────────────────────────────────────────────

/// Reads line by line, from anywhere in a file, and never holds more than one that is short enough.
struct Lines<'a, R> {
    reader: &'a mut R,
    /// Where the next line begins.
    at: u64,
    number: u64,
    text: Vec<u8>,
}

/// A line, without its end.
struct LineRead<'a> {
    /// Counted from 1.
    number: u64,
    begin: u64,
    text: Result<&'a [u8], TooLong>,
}

struct TooLong;

impl<'a, R: BufRead> Lines<'a, R> {
    fn new(reader: &'a mut R, at: u64, lines_before: u64) -> Lines<'a, R> {
        Lines { reader, at, number: lines_before, text: Vec::new() }
    }

    fn next(&mut self) -> io::Result<Option<LineRead<'_>>> {
        self.text.clear();
        let begin = self.at;
        let limit = LINE_BYTES as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.text)?;
        if read == 0 {
            return Ok(None);
        }
        self.at += read as u64;
        self.number += 1;
        let is_whole = self.text.last() == Some(&b'\n');
        let is_long = self.text.len() > LINE_BYTES;
        if is_long && !is_whole {
            self.skip()?;
        }
        let text = match is_long {
            true => Err(TooLong),
            false => Ok(self.text.strip_suffix(b"\n").unwrap_or(&self.text)),
        };
        Ok(Some(LineRead { number: self.number, begin, text }))
    }

    /// Reads on to the end of the line, and keeps nothing of it.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            let rest = self.reader.fill_buf()?;
            let (length, is_end) = match rest.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (rest.len(), rest.is_empty()),
            };
            self.reader.consume(length);
            self.at += length as u64;
            if is_end {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_long_ones_skipped() {
        let long = "x".repeat(LINE_BYTES + 1);
        let text = format!("one\n\n{long}\n{}\nlast", "y".repeat(LINE_BYTES - 1));
        let mut reader = BufReader::with_capacity(1000, text.as_bytes());
        let mut lines = Lines::new(&mut reader, 0, 0);
        let mut found = Vec::new();
        while let Some(line) = lines.next().expect("it can be read") {
            found.push((line.number, line.begin, line.text.map_or(None, |text| Some(text.len()))));
        }
        let second = 5 + long.len() as u64 + 1;
        let expected = [
            (1, 0, Some(3)),
            (2, 4, Some(0)),
            (3, 5, None),
            (4, second, Some(LINE_BYTES - 1)),
            (5, second + LINE_BYTES as u64, Some(4)),
        ];
        assert_eq!(found, expected);
        assert_eq!(lines.at, text.len() as u64);
    }
}
