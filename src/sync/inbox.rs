//! What people are shown of conflicts: pages of them, what is told with each; and a row's history.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entity::Millis;
use entity::conflict::{Column, Entity};
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use sea_orm::{QueryOrder, QuerySelect};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::conflict::{Conflict, Edit, Undone};
use super::plan::{World, case};
use super::resolution::{self, Wish, recall};
use super::row::{Key, Life, Revision, Row};
use super::{ConflictStatus, ConflictType, Operation, Role, Sender, Strategy};
use super::{merge, push, scope, store};
use crate::config::limits;
use crate::db::Db;
use crate::error::{Code, Error};
use crate::kinds::{Content, EntityType, Home, Kind, Value};

/// Which conflicts to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub id: Option<Uuid>,
    pub kind: Option<EntityType>,
    pub status: Option<ConflictStatus>,
    pub scope: Option<Uuid>,
    /// Those with an edit of this device.
    pub device: Option<Uuid>,
    /// Those that arose then or later.
    pub since: Option<Millis>,
    /// Those that arose before.
    pub until: Option<Millis>,
}

/// A place in the list, newest first: those after it are older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    at: Millis,
    id: Uuid,
}

impl Place {
    /// As text for clients. It tells nothing that they have not been shown.
    pub fn seal(self) -> String {
        let mut bytes = self.at.to_be_bytes().to_vec();
        bytes.extend(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn open(text: &str) -> Result<Place, Error> {
        let invalid = || Error::new(Code::InvalidCursor, "cursor: is none of this list");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let (at, id) = bytes.split_at_checked(8).ok_or_else(invalid)?;
        Ok(Place {
            at: Millis::from_be_bytes(at.try_into().map_err(|_| invalid())?),
            id: Uuid::from_slice(id).map_err(|_| invalid())?,
        })
    }

    pub fn of(conflict: &Conflict) -> Place {
        Place { at: conflict.at, id: conflict.id }
    }
}

/// The scopes whose conflicts an account may see: viewers see none.
fn writable(account: Uuid) -> SelectStatement {
    Query::select()
        .column("scope_id")
        .from("membership")
        .and_where(Expr::col("account_id").eq(account))
        .and_where(Expr::col("removed_at").is_null())
        .and_where(Expr::col("role").ne(Role::Viewer.name()))
        .to_owned()
}

fn condition(account: Uuid, filter: &Filter) -> Condition {
    let Filter { id, kind, status, scope, device, since, until } = filter;
    let told = |device: Uuid| {
        let edit = Query::select()
            .expr(Expr::val(1))
            .from("conflict_edit")
            .and_where(Expr::col(("conflict_edit", "conflict_id")).equals(("conflict", "id")))
            .and_where(Expr::col(("conflict_edit", "device_id")).eq(device))
            .to_owned();
        Cond::any().add(Column::DeviceId.eq(device)).add(Expr::exists(edit))
    };
    Condition::all()
        .add(Column::ScopeId.in_subquery(writable(account)))
        .add_option(id.map(|id| Column::Id.eq(id)))
        .add_option(kind.map(|kind| Column::Kind.eq(kind.name())))
        .add_option(status.map(|status| Column::Status.eq(status.name())))
        .add_option(scope.map(|scope| Column::ScopeId.eq(scope)))
        .add_option(device.map(told))
        .add_option(since.map(|since| Column::At.gte(since)))
        .add_option(until.map(|until| Column::At.lt(until)))
}

/// Some of the conflicts that an account may see.
pub struct Page {
    /// With their rows' versions now, newest first.
    pub conflicts: Vec<(Conflict, i32)>,
    /// Whether there are older ones.
    pub more: bool,
}

/// Rows that are read at once: each may hold the longest texts three times.
const PORTION: u64 = 50;

/// Conflicts that an account may see, newest first: at most `limit`, and fewer if they are large.
pub async fn conflicts<C: ConnectionTrait>(
    db: &C,
    account: Uuid,
    filter: &Filter,
    after: Option<Place>,
    limit: u64,
) -> Result<Page, DbErr> {
    let mut found: Vec<Conflict> = Vec::new();
    let mut after = after;
    let mut bytes = 0;
    let mut more = true;
    while more && (found.len() as u64) < limit && bytes < limits::CONFLICT_BYTES {
        let size = Ord::min(PORTION, limit - found.len() as u64);
        // One more than wanted says whether there are more.
        let mut portion = portion(db, account, filter, after, size + 1).await?;
        more = portion.len() as u64 > size;
        portion.truncate(size as usize);
        for model in portion {
            let base = model.base_data.as_ref().map_or(0, String::len);
            bytes += model.local_data.len() + model.remote_data.len() + base;
            found.push(store::read_conflict(model)?);
        }
        after = found.last().map(Place::of);
    }
    let versions = push::current_versions(db, &found).await?;
    Ok(Page { conflicts: found.into_iter().zip(versions).collect(), more })
}

async fn portion<C: ConnectionTrait>(
    db: &C,
    account: Uuid,
    filter: &Filter,
    after: Option<Place>,
    size: u64,
) -> Result<Vec<entity::conflict::Model>, DbErr> {
    let older = after.map(|place| {
        let tied = Column::At.eq(place.at).and(Column::Id.lt(place.id));
        Column::At.lt(place.at).or(tied)
    });
    Entity::find()
        .filter(condition(account, filter).add_option(older))
        .order_by_desc(Column::At)
        .order_by_desc(Column::Id)
        .limit(size)
        .all(db)
        .await
}

/// The place of a conflict in the list, if the caller sees it.
pub async fn place_of(db: &Db, account: Uuid, id: Uuid) -> Result<Option<Place>, DbErr> {
    let filter = Filter { id: Some(id), ..Filter::default() };
    let found = conflicts(db.pool(), account, &filter, None, 1).await?.conflicts;
    Ok(found.first().map(|(conflict, _)| Place::of(conflict)))
}

/// How many conflicts there are of each kind and status, whatever kind and status the filter names.
pub async fn counts(
    db: &Db,
    account: Uuid,
    filter: &Filter,
) -> Result<BTreeMap<(EntityType, ConflictStatus), i64>, DbErr> {
    let filter = Filter { kind: None, status: None, ..filter.clone() };
    let found: Vec<(String, String, i64)> = Entity::find()
        .select_only()
        .column(Column::Kind)
        .column(Column::Status)
        .column_as(Column::Id.count(), "count")
        .filter(condition(account, &filter))
        .group_by(Column::Kind)
        .group_by(Column::Status)
        .into_tuple()
        .all(db.pool())
        .await?;
    Ok(found
        .into_iter()
        .filter_map(|(kind, status, count)| {
            let key = (EntityType::from_name(&kind)?, ConflictStatus::from_name(&status)?);
            Some((key, count))
        })
        .collect())
}

/// What is told about conflicts besides themselves.
#[derive(Default)]
pub struct Details {
    pub stories: HashMap<Uuid, Vec<Edit>>,
    pub undone: HashMap<Uuid, Vec<Undone>>,
    /// The conflicts' rows as they are now, tombstones included.
    pub rows: HashMap<Key, Row>,
    /// Who changed a row last, where known.
    pub writers: HashMap<Key, Sender>,
    /// What people call the rows that are named, of those that the caller sees.
    pub names: HashMap<Key, String>,
    /// What a person may apply to a conflict, and what merging its fields would make.
    pub choices: HashMap<Uuid, Choices>,
    /// The names of trips, by scope.
    pub trips: HashMap<Uuid, String>,
}

/// What a person may do about an open conflict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choices {
    pub strategies: Vec<Strategy>,
    /// The row that FIELD_MERGE would make.
    pub merged: Option<Map<String, Json>>,
}

/// Reads what is told about these conflicts, for all of them at once.
pub async fn details(db: &Db, account: Uuid, conflicts: &[Conflict]) -> Result<Details, DbErr> {
    let db = db.pool();
    let ids: Vec<Uuid> = conflicts.iter().map(|conflict| conflict.id).collect();
    let seen = scope::seen_by(db, account).await?;
    let mut undone: HashMap<Uuid, Vec<Undone>> = HashMap::new();
    for one in store::undone(db, &ids).await? {
        undone.entry(one.conflict).or_default().push(one);
    }
    let mut world = World::empty(Sender { account, device: None }, 0, &seen);
    world.stories = store::stories(db, &ids).await?;
    // The rows themselves, what their sides name, and what they hang on.
    let mut keys: BTreeSet<Key> = conflicts.iter().map(|conflict| conflict.key).collect();
    let scopes = conflicts.iter().map(|conflict| (EntityType::Trip, conflict.scope));
    keys.extend(scopes);
    read_rows(db, &mut world, &keys).await?;
    let named = conflicts.iter().flat_map(|c| referred(c, world.rows.get(&c.key)));
    let named: BTreeSet<Key> = named.filter(|key| !world.rows.contains_key(key)).collect();
    read_rows(db, &mut world, &named).await?;
    // And the trips that those lie in.
    let elsewhere = world.rows.values().filter(|row| matches!(row.kind().home, Home::Parent(_)));
    let trips = elsewhere.map(|row| (EntityType::Trip, row.scope));
    let trips = trips.filter(|key| !world.rows.contains_key(key)).collect();
    read_rows(db, &mut world, &trips).await?;
    let ids: Vec<Uuid> = conflicts.iter().map(|conflict| conflict.key.1).collect();
    let oldest = conflicts.iter().map(|conflict| conflict.remote_version).min().unwrap_or(0);
    world.revisions = store::revisions(db, &ids, oldest).await?;
    world.forget_elsewhere(conflicts);

    let mut details = Details { undone, ..Details::default() };
    for conflict in conflicts {
        details.choices.insert(conflict.id, choices(&world, conflict));
        name_rows(&world, conflict, &mut details.names);
        if let Some(last) = world.revisions.get(&conflict.key).and_then(|all| all.last()) {
            let writer = Sender { account: last.account, device: last.device };
            details.writers.insert(conflict.key, writer);
        }
        let trip = world.rows.get(&(EntityType::Trip, conflict.scope));
        if let Some(name) = trip.and_then(label) {
            details.trips.insert(conflict.scope, name);
        }
    }
    let keys: HashSet<Key> = conflicts.iter().map(|conflict| conflict.key).collect();
    details.rows = world.rows.into_iter().filter(|(key, _)| keys.contains(key)).collect();
    details.stories = world.stories;
    Ok(details)
}

async fn read_rows<C: ConnectionTrait>(
    db: &C,
    world: &mut World,
    keys: &BTreeSet<Key>,
) -> Result<(), DbErr> {
    for kind in crate::kinds::all() {
        let ids = keys.iter().filter(|key| key.0 == kind.entity_type).map(|(_, id)| *id);
        for row in store::rows_by_id(db, kind, &ids.collect::<Vec<_>>()).await? {
            world.rows.insert(row.key(), row);
        }
    }
    Ok(())
}

/// What people call a row.
pub fn label(row: &Row) -> Option<String> {
    let label = &row.content.values[row.kind().field(row.kind().label)];
    label.as_text().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What people call the row of a conflict: as it is, or as the edit would have it.
pub fn title(conflict: &Conflict, row: Option<&Row>) -> Option<String> {
    let text = |side: &Map<String, Json>| {
        let text = side.get(conflict.key.0.kind().label)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    row.and_then(label).or_else(|| text(&conflict.remote)).or_else(|| text(&conflict.local))
}

/// Names what a conflict's sides refer to: what the caller sees, and what the row carries or those
/// whose edits are in it may carry.
fn name_rows(world: &World, conflict: &Conflict, names: &mut HashMap<Key, String>) {
    let story = world.stories.get(&conflict.id).into_iter().flatten();
    let accounts: HashSet<Uuid> = story.map(|edit| edit.account).collect();
    let current = world.rows.get(&conflict.key);
    for key in referred(conflict, current) {
        let Some(row) = world.rows.get(&key) else { continue };
        let is_member =
            world.memberships.get(&row.scope).is_some_and(|membership| membership.until.is_none());
        let carried = current.is_some_and(|row| {
            row.kind()
                .refs()
                .any(|(at, kind)| kind == key.0 && row.content.values[at].as_ids().contains(&key.1))
        });
        let is_theirs = key.0.kind().home == Home::Account && accounts.contains(&row.scope);
        if is_member || carried || is_theirs {
            names.extend(label(row).map(|name| (key, name)));
        }
    }
}

/// The rows that a conflict's sides, or the row as it is now, name.
pub fn referred(conflict: &Conflict, row: Option<&Row>) -> BTreeSet<Key> {
    let sides = [Some(&conflict.local), Some(&conflict.remote), conflict.base.as_ref()];
    let sides = sides.into_iter().flatten().map(|side| recall(conflict.key.0, side));
    let now: BTreeMap<usize, Value> =
        row.map(|row| row.content.values.iter().cloned().enumerate().collect()).unwrap_or_default();
    let mut keys = BTreeSet::new();
    for (field, value) in sides.chain([now]).flatten() {
        push::refers(conflict.key.0.kind(), field, &value, &mut keys);
    }
    keys
}

fn choices(world: &World, conflict: &Conflict) -> Choices {
    if conflict.status() == ConflictStatus::Resolved {
        return Choices::default();
    }
    let kind = conflict.key.0.kind();
    let row = world.rows.get(&conflict.key);
    let case = case(world, conflict);
    let role = world.memberships.get(&conflict.scope).map(|membership| membership.role);
    let is_owner = role == Some(Role::Owner);
    let edits = conflict.remote.keys().any(|name| kind.find(name).is_some());
    let is_live = row.is_some_and(Row::is_live);
    let waits = conflict.conflict_type == ConflictType::Dependency;
    // Only the owner brings a trip back.
    let trip = (EntityType::Trip, conflict.scope);
    let trip_is_dead = world.rows.get(&trip).is_some_and(|row| !row.is_live());
    let may_restore = is_owner || !trip_is_dead;
    let device_deletes = conflict.remote.contains_key("deletedAt");
    // The row that a wish makes, or the one beside it. None: none, or one that cannot be.
    let made = |wish: Wish| {
        let (content, may_lie_dead) = match (wish, case.row) {
            (Wish::Live(values), Some(row)) => (merge::with(&row.content, &values), true),
            (Wish::Live(values), None) => (resolution::made(&case, values).ok()?, true),
            // For a copy alone nothing comes back.
            (Wish::Copy(content), _) => (content, waits && may_restore),
            (Wish::Keep | Wish::Delete, _) => return None,
        };
        let has_place = has_place(world, &content, case.row, may_lie_dead);
        ((kind.check)(&content).is_ok() && has_place).then_some(content)
    };
    let is_possible = |strategy: Strategy| match strategy {
        Strategy::FirstWriteWins => true,
        Strategy::Manual => is_live || may_restore || waits,
        Strategy::LastWriteWins if is_live && device_deletes => {
            is_owner || kind.home != Home::Itself
        }
        Strategy::LastWriteWins | Strategy::FieldMerge => {
            edits && (may_restore || (is_live && !waits))
        }
        Strategy::KeepBoth => row.is_some() && edits,
    };
    let is_valid = |strategy: Strategy| {
        let wished = match strategy {
            // By hand anything can be made.
            Strategy::Manual => return true,
            // Which side is the later one is found out when it is done: merging has to be possible.
            Strategy::LastWriteWins => Strategy::FieldMerge,
            strategy => strategy,
        };
        match resolution::wish(&case, wished) {
            Wish::Keep | Wish::Delete => true,
            wish => made(wish).is_some(),
        }
    };
    let strategies = Strategy::ALL.iter().copied();
    let strategies = strategies.filter(|strategy| is_possible(*strategy) && is_valid(*strategy));
    let merged = made(resolution::wish(&case, Strategy::FieldMerge)).filter(|_| edits);
    Choices { strategies: strategies.collect(), merged: merged.map(|content| content.to_json()) }
}

/// Whether the rows that content hangs on are there, lie together, and are the caller's to hang
/// something on, or to bring back. A link that may be absent and was there before is no hindrance.
fn has_place(world: &World, content: &Content, row: Option<&Row>, may_lie_dead: bool) -> bool {
    let kind = content.kind.kind();
    let is_open = |scope: Uuid| {
        let trip = world.rows.get(&(EntityType::Trip, scope));
        let needed = match trip.is_some_and(|trip| !trip.is_live()) {
            true => Role::Owner,
            false => Role::Editor,
        };
        let membership = world.memberships.get(&scope).filter(|member| member.until.is_none());
        membership.is_some_and(|member| member.role >= needed)
    };
    let mut scopes = HashSet::new();
    for (field, parent) in kind.parents() {
        let value = &content.values[field];
        let Some(id) = value.as_id() else { continue };
        let is_new = row.is_none_or(|row| row.content.values[field] != *value);
        let is_needed = is_new || !kind.fields[field].nullable;
        let parent = world.rows.get(&(parent, id)).filter(|row| row.is_live() || may_lie_dead);
        match parent {
            Some(parent) if is_new && !is_open(parent.scope) => return false,
            Some(parent) => drop(scopes.insert(parent.scope)),
            None if is_needed => return false,
            None => {}
        }
    }
    scopes.len() <= 1
}

// ── History ──────────────────────────────────────────────────────────────────────────────────

/// What an accepted change did to a row.
pub struct Step {
    pub revision: Revision,
    pub operation: Operation,
    pub old: Map<String, Json>,
    pub new: Map<String, Json>,
}

/// What changed a row, newest first: versions below `before`. Of a row that came from where the caller
/// cannot look, only what happened since. Nothing for those who may not change the row.
pub async fn history(
    db: &Db,
    account: Uuid,
    kind: &'static Kind,
    id: Uuid,
    before: Option<i32>,
    limit: usize,
) -> Result<Vec<Step>, Error> {
    let snapshot = db.begin_snapshot().await?;
    let steps = walk(&snapshot, account, kind, id, before, limit).await;
    snapshot.rollback().await?;
    steps
}

async fn walk<C: ConnectionTrait>(
    db: &C,
    account: Uuid,
    kind: &'static Kind,
    id: Uuid,
    before: Option<i32>,
    limit: usize,
) -> Result<Vec<Step>, Error> {
    let seen = scope::seen_by(db, account).await?;
    let may_see = |scope: Uuid| {
        let member = seen.iter().find(|seen| seen.id == scope && seen.is_visible());
        member.is_some_and(|member| member.role != Role::Viewer)
    };
    let row = store::rows_by_id(db, kind, &[id]).await?.pop();
    let Some(row) = row.filter(|row| may_see(row.scope)) else { return Ok(Vec::new()) };
    let may_move = matches!(kind.home, Home::Parent(_));
    let mut content = row.content;
    let mut steps = Vec::new();
    let mut below = i32::MAX;
    let mut bytes = 0;
    loop {
        let portion = store::revisions_below(db, (kind.entity_type, id), below).await?;
        let Some(last) = portion.last() else { return Ok(steps) };
        below = last.version;
        for revision in portion {
            // Where it lay before is not known of older revisions: then it may have been anywhere.
            if !revision.scope.map_or(!may_move, may_see) {
                return Ok(steps);
            }
            bytes += revision.old.iter().map(|(_, value)| value.weight()).sum::<usize>();
            if bytes > limits::LIST_BYTES as usize {
                let message = "this row's history is too long to be read that far back";
                return Err(Error::new(Code::Limit, message));
            }
            let json = |values: &mut dyn Iterator<Item = (usize, &Value)>| -> Map<String, Json> {
                values
                    .map(|(at, value)| {
                        let field = &kind.fields[at];
                        (field.name.clone(), value.to_json(field.choices()))
                    })
                    .collect()
            };
            let old = json(&mut revision.old.iter().map(|(at, value)| (*at, value)));
            let new = match revision.version {
                1 => content.to_json(),
                _ => json(&mut revision.old.iter().map(|(at, _)| (*at, &content.values[*at]))),
            };
            for (at, value) in &revision.old {
                content.values[*at] = value.clone();
            }
            if before.is_some_and(|before| revision.version >= before) {
                continue;
            }
            if steps.len() == limit {
                return Ok(steps);
            }
            let operation = match (revision.version, revision.life) {
                (1, _) => Operation::Create,
                (_, Some(Life::Ended)) => Operation::Delete,
                _ => Operation::Update,
            };
            steps.push(Step { revision, operation, old, new });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_its_text_and_nothing_else_does() {
        let place = Place { at: 1_234_567_890_123, id: Uuid::from_u128(7) };
        assert_eq!(Place::open(&place.seal()), Ok(place));
        for bad in ["", "a", "ä", "AAAA", &place.seal()[1..], &format!("{}A", place.seal())] {
            assert_eq!(Place::open(bad).expect_err(bad).code, Code::InvalidCursor);
        }
    }
}
