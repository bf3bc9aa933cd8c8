//! Conflicts: lists of them, what is told with each, decisions, and a row's history.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_graphql::{ComplexObject, Context, ID, Object, Result, SimpleObject};
use serde_json::{Map, Value as Json};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::types::{
    ConflictResolutionStrategy, ConflictStatus, ConflictType, DateTime, EntityType, SyncOperation,
    display_name,
};
use super::{caller, files, optional_uuid, public, services, uuid};
use crate::config::limits;
use crate::error::Error;
use crate::sync::change::{Item, edit_json};
use crate::sync::conflict::{Conflict, Edit, Resolution, Undone};
use crate::sync::inbox::{self, Details, Filter, Place};
use crate::sync::resolve::{self, Done};
use crate::sync::row::{Key, Row};
use crate::sync::{Sender, Strategy};

/// Two edits of one row that collided.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ConflictResult {
    pub id: ID,
    pub entity_type: EntityType,
    pub entity_id: ID,
    pub conflict_type: ConflictType,
    pub operation: SyncOperation,
    /// The item's place in its list of the batch, in bulkSync's answer.
    pub index: Option<usize>,
    pub operation_id: Option<ID>,
    pub device_id: Option<ID>,
    /// The row's version now; 0 where there is no row.
    pub current_version: i32,
    /// The server's version when the conflict arose.
    pub local_version: i32,
    /// The version that the device's edit was made on.
    pub remote_version: i32,
    /// JSON: the server's row when the conflict arose.
    pub local_data: String,
    /// JSON: the device's edit.
    pub remote_data: String,
    /// JSON: the row both started from, where known.
    pub base_data: Option<String>,
    pub conflicted_fields: Vec<String>,
    pub timestamp: DateTime,
    pub status: ConflictStatus,
    pub resolution: Option<ConflictResolution>,
    #[graphql(skip)]
    key: Key,
    #[graphql(skip)]
    uuid: Uuid,
    #[graphql(skip)]
    account: Uuid,
    /// None: the caller may see nothing but their own edit.
    #[graphql(skip)]
    group: Option<Arc<Group>>,
}

/// Conflicts that are shown together: what is told with each is read for all of them at once.
struct Group {
    account: Uuid,
    conflicts: Vec<Conflict>,
    details: OnceCell<Details>,
    people: OnceCell<HashMap<Uuid, String>>,
}

impl Group {
    async fn details(&self, ctx: &Context<'_>) -> Result<&Details> {
        let db = &services(ctx)?.db;
        let read = || inbox::details(db, self.account, &self.conflicts);
        self.details.get_or_try_init(read).await.map_err(|error| public(error.into()))
    }

    /// What the people are called whose doing these conflicts are.
    async fn person(&self, ctx: &Context<'_>, id: Uuid) -> Result<Person> {
        let details = self.details(ctx).await?;
        let read = async || {
            let mut ids: BTreeSet<Uuid> = BTreeSet::new();
            for conflict in &self.conflicts {
                ids.insert(conflict.account);
                ids.extend(conflict.resolution.as_ref().map(|resolution| resolution.by));
            }
            ids.extend(details.stories.values().flatten().map(|edit| edit.account));
            ids.extend(details.writers.values().map(|writer| writer.account));
            let undone = details.undone.values().flatten();
            ids.extend(undone.flat_map(|undone| [undone.by, undone.resolution.by]));
            names(ctx, ids).await
        };
        Ok(Person::named(id, self.people.get_or_try_init(read).await?))
    }
}

async fn names(ctx: &Context<'_>, ids: BTreeSet<Uuid>) -> Result<HashMap<Uuid, String>> {
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let accounts = services(ctx)?.auth.accounts(&ids).await?;
    Ok(accounts.iter().map(|account| (account.id, display_name(account))).collect())
}

/// Someone whose doing it was.
#[derive(SimpleObject, Clone)]
pub struct Person {
    pub id: ID,
    /// Empty: the account was erased.
    pub display_name: String,
}

impl Person {
    fn named(id: Uuid, names: &HashMap<Uuid, String>) -> Person {
        let display_name = names.get(&id).cloned().unwrap_or_default();
        Person { id: id.into(), display_name }
    }
}

fn text(map: Map<String, Json>) -> String {
    Json::Object(map).to_string()
}

/// An operation id as its sender gave it; one that the server derived is its own affair.
fn sent_operation_id(key: &str) -> Option<ID> {
    (!key.starts_with('~')).then(|| key.into())
}

impl ConflictResult {
    /// Shows conflicts to an account, each with its row's version now.
    pub fn list(account: Uuid, found: Vec<(Conflict, i32)>) -> Vec<ConflictResult> {
        let conflicts = found.iter().map(|(conflict, _)| conflict.clone()).collect();
        let group = Arc::new(Group {
            account,
            conflicts,
            details: OnceCell::new(),
            people: OnceCell::new(),
        });
        found
            .into_iter()
            .map(|(conflict, version)| ConflictResult::new(conflict, version, group.clone()))
            .collect()
    }

    fn new(conflict: Conflict, current_version: i32, group: Arc<Group>) -> ConflictResult {
        let status = conflict.status().into();
        let id = conflict.id;
        let shown = |resolution| ConflictResolution::new(id, resolution, group.clone());
        ConflictResult {
            id: id.into(),
            entity_type: conflict.key.0.into(),
            entity_id: conflict.key.1.into(),
            conflict_type: conflict.conflict_type.into(),
            operation: conflict.operation.into(),
            index: None,
            operation_id: sent_operation_id(&conflict.operation_id),
            device_id: conflict.device.map(ID::from),
            current_version,
            local_version: conflict.local_version,
            remote_version: conflict.remote_version,
            local_data: text(conflict.local),
            remote_data: text(conflict.remote),
            base_data: conflict.base.map(text),
            conflicted_fields: conflict.fields,
            timestamp: DateTime(conflict.at),
            status,
            resolution: conflict.resolution.map(shown),
            key: conflict.key,
            uuid: id,
            account: conflict.account,
            group: Some(group),
        }
    }

    /// The scope that it lies in.
    pub fn scope(&self) -> Uuid {
        self.conflict().map_or(Uuid::nil(), |conflict| conflict.scope)
    }

    fn conflict(&self) -> Option<&Conflict> {
        let mut all = self.group.iter().flat_map(|group| &group.conflicts);
        all.find(|conflict| conflict.id == self.uuid)
    }

    /// As the answer to one item of a batch.
    pub fn for_item(mut self, item: &Item) -> ConflictResult {
        self.index = Some(item.index);
        self.operation = item.operation.into();
        self.operation_id = item.operation_id.as_deref().map(ID::from);
        self
    }

    /// For someone who has lost the role that may see the row: their own edit, and nothing of what
    /// others did.
    pub fn without_data(mut self, item: &Item) -> ConflictResult {
        let own = item.change.as_ref().map(edit_json).unwrap_or_default();
        self.local_data = "{}".into();
        self.remote_data = text(own);
        self.base_data = None;
        self.conflicted_fields = Vec::new();
        self.current_version = self.remote_version;
        self.local_version = self.remote_version;
        self.status = ConflictStatus::Open;
        self.resolution = None;
        self.group = None;
        self
    }

    async fn details(&self, ctx: &Context<'_>) -> Result<Option<&Details>> {
        match &self.group {
            Some(group) => group.details(ctx).await.map(Some),
            None => Ok(None),
        }
    }

    async fn person(&self, ctx: &Context<'_>, id: Uuid) -> Result<Person> {
        match &self.group {
            Some(group) => group.person(ctx, id).await,
            None => Ok(Person::named(id, &HashMap::new())),
        }
    }
}

#[ComplexObject]
impl ConflictResult {
    /// The trip that the row lies in, if it lies in one.
    async fn trip_id(&self, ctx: &Context<'_>) -> Result<Option<ID>> {
        let scope = self.scope();
        let is_trip =
            self.details(ctx).await?.is_some_and(|details| details.trips.contains_key(&scope));
        Ok(is_trip.then(|| scope.into()))
    }

    /// What that trip is called.
    async fn trip_name(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let details = self.details(ctx).await?;
        Ok(details.and_then(|details| details.trips.get(&self.scope()).cloned()))
    }

    /// What people call the row: its name, title or file name.
    async fn title(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let row = self.details(ctx).await?.and_then(|details| details.rows.get(&self.key));
        Ok(self.conflict().and_then(|conflict| inbox::title(conflict, row)))
    }

    /// Who sent the edit; `deviceId` says from where.
    async fn edited_by(&self, ctx: &Context<'_>) -> Result<Person> {
        self.person(ctx, self.account).await
    }

    /// Who changed the server's row last, where that is known.
    async fn server_by(&self, ctx: &Context<'_>) -> Result<Option<Person>> {
        let writer = self.details(ctx).await?.and_then(|all| all.writers.get(&self.key));
        match writer {
            Some(writer) => Ok(Some(self.person(ctx, writer.account).await?)),
            None => Ok(None),
        }
    }

    /// The device that changed the server's row last, where that is known.
    async fn server_device_id(&self, ctx: &Context<'_>) -> Result<Option<ID>> {
        let writer = self.details(ctx).await?.and_then(|all| all.writers.get(&self.key));
        Ok(writer.and_then(|writer| writer.device).map(ID::from))
    }

    /// JSON: the row as it is now; it has `deletedAt` where it is deleted. Null: there is no row.
    async fn current_data(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let row = self.details(ctx).await?.and_then(|details| details.rows.get(&self.key));
        Ok(row.map(Row::to_json).map(text))
    }

    /// JSON: the fields of the row that FIELD_MERGE would make. Null where it would make none.
    async fn merged_data(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let details = self.details(ctx).await?;
        let choices = details.and_then(|details| details.choices.get(&self.uuid));
        Ok(choices.and_then(|choices| choices.merged.clone()).map(text))
    }

    /// What the caller may apply now. Empty: it is resolved.
    async fn strategies(&self, ctx: &Context<'_>) -> Result<Vec<ConflictResolutionStrategy>> {
        let details = self.details(ctx).await?;
        let choices = details.and_then(|details| details.choices.get(&self.uuid));
        let strategies = choices.map(|choices| choices.strategies.as_slice()).unwrap_or_default();
        Ok(strategies.iter().copied().map(Into::into).collect())
    }

    /// Its story: every edit that went into it, the first one included, in the order in which they
    /// came.
    async fn edits(&self, ctx: &Context<'_>) -> Result<Vec<ConflictEdit>> {
        let story = self.details(ctx).await?.and_then(|all| all.stories.get(&self.uuid));
        let mut edits = Vec::new();
        for edit in story.into_iter().flatten() {
            let Edit { account, device, operation, remote_version, data, client_time, at, .. } =
                edit.clone();
            edits.push(ConflictEdit {
                person: self.person(ctx, account).await?,
                device_id: device.map(ID::from),
                operation: operation.into(),
                operation_id: sent_operation_id(&edit.operation_id),
                remote_version,
                data: text(data),
                client_timestamp: DateTime(client_time),
                timestamp: DateTime(at),
            });
        }
        Ok(edits)
    }

    /// What the rows are called that its sides refer to, of those that the caller sees.
    async fn names(&self, ctx: &Context<'_>) -> Result<Vec<NamedRow>> {
        let (Some(details), Some(conflict)) = (self.details(ctx).await?, self.conflict()) else {
            return Ok(Vec::new());
        };
        let named = |key: &Key| {
            details.names.get(key).map(|name| NamedRow {
                entity_type: key.0.into(),
                id: key.1.into(),
                name: name.clone(),
            })
        };
        let row = details.rows.get(&self.key);
        Ok(inbox::referred(conflict, row).iter().filter_map(named).collect())
    }

    /// Resolutions that were undone, the oldest first.
    async fn undone(&self, ctx: &Context<'_>) -> Result<Vec<UndoneResolution>> {
        let undone = self.details(ctx).await?.and_then(|all| all.undone.get(&self.uuid));
        let mut shown = Vec::new();
        for Undone { resolution, at, by, .. } in undone.into_iter().flatten() {
            shown.push(UndoneResolution {
                strategy: resolution.strategy.into(),
                resolved_data: resolution.data.clone().map(text),
                resolved_at: DateTime(resolution.at),
                resolved_by: self.person(ctx, resolution.by).await?,
                undone_at: DateTime(*at),
                undone_by: self.person(ctx, *by).await?,
            });
        }
        Ok(shown)
    }
}

/// An edit in a conflict's story.
#[derive(SimpleObject)]
pub struct ConflictEdit {
    pub person: Person,
    pub device_id: Option<ID>,
    pub operation: SyncOperation,
    pub operation_id: Option<ID>,
    /// The version that it was made on.
    pub remote_version: i32,
    /// JSON: what it wanted.
    pub data: String,
    /// By the device's clock, no later than when it came.
    pub client_timestamp: DateTime,
    /// When it came.
    pub timestamp: DateTime,
}

/// What people call a row.
#[derive(SimpleObject)]
pub struct NamedRow {
    pub entity_type: EntityType,
    pub id: ID,
    pub name: String,
}

/// How a conflict was decided.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ConflictResolution {
    pub conflict_id: ID,
    pub strategy: ConflictResolutionStrategy,
    /// JSON: the row that came out.
    pub resolved_data: Option<String>,
    pub resolved_at: DateTime,
    /// The user; automatic ones name the user who pushed.
    pub resolved_by: ID,
    /// The row that was put beside the conflict's own, by KEEP_BOTH.
    pub copy_id: Option<ID>,
    #[graphql(skip)]
    by: Uuid,
    #[graphql(skip)]
    group: Arc<Group>,
}

impl ConflictResolution {
    fn new(conflict: Uuid, resolution: Resolution, group: Arc<Group>) -> ConflictResolution {
        let Resolution { strategy, data, at, by, effect } = resolution;
        ConflictResolution {
            conflict_id: conflict.into(),
            strategy: strategy.into(),
            resolved_data: data.map(text),
            resolved_at: DateTime(at),
            resolved_by: by.into(),
            copy_id: effect.and_then(|effect| effect.copy).map(ID::from),
            by,
            group,
        }
    }
}

#[ComplexObject]
impl ConflictResolution {
    /// Who decided.
    async fn person(&self, ctx: &Context<'_>) -> Result<Person> {
        self.group.person(ctx, self.by).await
    }
}

/// A resolution that was taken back.
#[derive(SimpleObject)]
pub struct UndoneResolution {
    pub strategy: ConflictResolutionStrategy,
    /// JSON: the row that had come out.
    pub resolved_data: Option<String>,
    pub resolved_at: DateTime,
    pub resolved_by: Person,
    pub undone_at: DateTime,
    pub undone_by: Person,
}

/// A page of conflicts.
#[derive(SimpleObject)]
pub struct ConflictInbox {
    pub conflicts: Vec<ConflictResult>,
    /// Null: there are no more.
    pub next_cursor: Option<String>,
    /// All that match, on whatever page.
    pub total_count: i64,
    /// How many there are of each kind and status, whatever kind and status was asked for.
    pub counts: Vec<ConflictCount>,
}

#[derive(SimpleObject)]
pub struct ConflictCount {
    pub entity_type: EntityType,
    pub status: ConflictStatus,
    pub count: i64,
}

/// What an accepted change did to a row.
#[derive(SimpleObject)]
pub struct RowRevision {
    /// The version that it made.
    pub version: i32,
    pub operation: SyncOperation,
    pub person: Person,
    pub device_id: Option<ID>,
    pub timestamp: DateTime,
    /// By the device's clock, no later than `timestamp`.
    pub client_timestamp: DateTime,
    /// JSON: the changed fields with the values that they had before.
    pub old_data: String,
    /// JSON: the changed fields with the values that they got.
    pub new_data: String,
}

#[derive(Default)]
pub struct ConflictQuery;

#[Object]
impl ConflictQuery {
    /// Conflicts of rows that the caller may change, newest first.
    #[allow(clippy::too_many_arguments)]
    async fn get_conflicts(
        &self,
        ctx: &Context<'_>,
        entity_type: Option<EntityType>,
        status: Option<ConflictStatus>,
        trip_id: Option<ID>,
        #[graphql(desc = "Default 100, at most 500; very large ones come fewer at once.")]
        limit: Option<i32>,
        #[graphql(desc = "Those older than this conflict.")] after: Option<ID>,
        #[graphql(desc = "Those with an edit of this device.")] device_id: Option<ID>,
        #[graphql(desc = "Those that arose then or later.")] since: Option<DateTime>,
        #[graphql(desc = "Those that arose before.")] until: Option<DateTime>,
    ) -> Result<Vec<ConflictResult>> {
        let account = caller(ctx)?.account;
        let limit = bounded("limit", limit, 100, limits::CONFLICTS)?;
        let filter = filter(ctx, entity_type, status, trip_id, device_id, since, until)?;
        let db = &services(ctx)?.db;
        let after = match optional_uuid(ctx, "after", after)? {
            None => None,
            Some(after) => match inbox::place_of(db, account, after).await.map_err(Error::from)? {
                Some(place) => Some(place),
                // It is there no more, or never was for the caller.
                None => return Ok(Vec::new()),
            },
        };
        let found = inbox::conflicts(db.pool(), account, &filter, after, limit).await;
        Ok(ConflictResult::list(account, found.map_err(Error::from)?.conflicts))
    }

    /// A page of conflicts of rows that the caller may change, newest first, with counts.
    #[allow(clippy::too_many_arguments)]
    async fn conflict_inbox(
        &self,
        ctx: &Context<'_>,
        entity_type: Option<EntityType>,
        status: Option<ConflictStatus>,
        trip_id: Option<ID>,
        #[graphql(desc = "Those with an edit of this device.")] device_id: Option<ID>,
        #[graphql(desc = "Those that arose then or later.")] since: Option<DateTime>,
        #[graphql(desc = "Those that arose before.")] until: Option<DateTime>,
        #[graphql(desc = "Default 50, at most 500.")] limit: Option<i32>,
        #[graphql(desc = "nextCursor of the page before.")] cursor: Option<String>,
    ) -> Result<ConflictInbox> {
        let account = caller(ctx)?.account;
        let limit = bounded("limit", limit, 50, limits::CONFLICTS)?;
        let filter = filter(ctx, entity_type, status, trip_id, device_id, since, until)?;
        let after = cursor.as_deref().map(Place::open).transpose()?;
        let db = &services(ctx)?.db;
        let found = inbox::conflicts(db.pool(), account, &filter, after, limit).await;
        let page = found.map_err(Error::from)?;
        let last = page.conflicts.last().filter(|_| page.more);
        let next_cursor = last.map(|(conflict, _)| Place::of(conflict).seal());
        let counts = inbox::counts(db, account, &filter).await.map_err(Error::from)?;
        let total_count = counts
            .iter()
            .filter(|((kind, _), _)| filter.kind.is_none_or(|only| only == *kind))
            .filter(|((_, status), _)| filter.status.is_none_or(|only| only == *status))
            .map(|(_, count)| count)
            .sum();
        let counts = counts.into_iter().map(|((kind, status), count)| ConflictCount {
            entity_type: kind.into(),
            status: status.into(),
            count,
        });
        Ok(ConflictInbox {
            conflicts: ConflictResult::list(account, page.conflicts),
            next_cursor,
            total_count,
            counts: counts.collect(),
        })
    }

    /// One conflict.
    async fn conflict(&self, ctx: &Context<'_>, id: ID) -> Result<Option<ConflictResult>> {
        let account = caller(ctx)?.account;
        one(ctx, account, uuid(ctx, "id", &id)?).await
    }

    /// What accepted changes did to a row, newest first, for those who may change it. A row that came
    /// from a trip which the caller cannot see has a history since then.
    async fn history(
        &self,
        ctx: &Context<'_>,
        entity_type: EntityType,
        id: ID,
        #[graphql(desc = "Default 50, at most 500.")] limit: Option<i32>,
        #[graphql(desc = "Versions below this one.")] before: Option<i32>,
    ) -> Result<Vec<RowRevision>> {
        let account = caller(ctx)?.account;
        let limit = bounded("limit", limit, 50, limits::HISTORY)?;
        let id = uuid(ctx, "id", &id)?;
        let db = &services(ctx)?.db;
        let kind = entity_type.0.kind();
        let steps = inbox::history(db, account, kind, id, before, limit as usize).await?;
        let people = steps.iter().map(|step| step.revision.account).collect();
        let names = names(ctx, people).await?;
        let shown = steps.into_iter().map(|step| RowRevision {
            version: step.revision.version,
            operation: step.operation.into(),
            person: Person::named(step.revision.account, &names),
            device_id: step.revision.device.map(ID::from),
            timestamp: DateTime(step.revision.at),
            client_timestamp: DateTime(step.revision.client_time),
            old_data: text(step.old),
            new_data: text(step.new),
        });
        Ok(shown.collect())
    }
}

fn bounded(name: &str, given: Option<i32>, default: u64, most: i32) -> Result<u64> {
    match given {
        None => Ok(default),
        Some(given) if (1..=most).contains(&given) => Ok(given as u64),
        Some(_) => Err(public(Error::bad_input(format!("{name}: must be from 1 to {most}")))),
    }
}

fn filter(
    ctx: &Context<'_>,
    entity_type: Option<EntityType>,
    status: Option<ConflictStatus>,
    trip_id: Option<ID>,
    device_id: Option<ID>,
    since: Option<DateTime>,
    until: Option<DateTime>,
) -> Result<Filter> {
    Ok(Filter {
        id: None,
        kind: entity_type.map(|kind| kind.0),
        status: status.map(crate::sync::ConflictStatus::from),
        scope: optional_uuid(ctx, "tripId", trip_id)?,
        device: optional_uuid(ctx, "deviceId", device_id)?,
        since: since.map(|time| time.0),
        until: until.map(|time| time.0),
    })
}

async fn one(ctx: &Context<'_>, account: Uuid, id: Uuid) -> Result<Option<ConflictResult>> {
    let filter = Filter { id: Some(id), ..Filter::default() };
    let pool = services(ctx)?.db.pool();
    let found = inbox::conflicts(pool, account, &filter, None, 1).await.map_err(Error::from)?;
    Ok(ConflictResult::list(account, found.conflicts).pop())
}

#[derive(Default)]
pub struct ConflictMutation;

#[Object]
impl ConflictMutation {
    /// Decides a conflict. It is a write: the row gets a new version, and all devices get it. Who
    /// comes second gets CONFLICT_ALREADY_RESOLVED with what came out in `extensions.resolution`.
    async fn resolve_conflict(
        &self,
        ctx: &Context<'_>,
        conflict_id: ID,
        strategy: ConflictResolutionStrategy,
        #[graphql(
            desc = "A JSON object of fields, under the names that batches use, which MANUAL_RESOLUTION puts on the row as it is now. `deletedAt` with a time deletes the row, or leaves it deleted. `syncVersion`: the version that the person looked at; what others changed after it is not overwritten, but refused."
        )]
        resolved_data: Option<String>,
        #[graphql(desc = "Who decides, as in bulkSync.")] device_id: Option<ID>,
    ) -> Result<ConflictResolution> {
        let id = uuid(ctx, "conflictId", &conflict_id)?;
        let sender = sender(ctx, device_id)?;
        let data = resolved_data.as_deref();
        let strategy = Strategy::from(strategy);
        let done = resolve::resolve(&services(ctx)?.db, sender, id, strategy, data).await?;
        let shown = decided(ctx, sender.account, done)?.pop();
        shown.ok_or_else(|| public(Error::internal("a decided conflict is not there")))
    }

    /// Decides several conflicts by one strategy: all, or none. Those that are resolved already come
    /// back with what came out. Answers in the order of the ids.
    async fn resolve_conflicts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most 500.")] conflict_ids: Vec<ID>,
        #[graphql(desc = "Not MANUAL_RESOLUTION.")] strategy: ConflictResolutionStrategy,
        #[graphql(desc = "Who decides, as in bulkSync.")] device_id: Option<ID>,
    ) -> Result<Vec<ConflictResolution>> {
        let sender = sender(ctx, device_id)?;
        let ids = conflict_ids.iter().map(|id| uuid(ctx, "conflictIds", id));
        let mut ids = ids.collect::<Result<Vec<Uuid>>>()?;
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        let strategy = Strategy::from(strategy);
        let done = resolve::resolve_all(&services(ctx)?.db, sender, ids, strategy).await?;
        decided(ctx, sender.account, done)
    }

    /// Takes a resolution back. The row gets the values that it had before, but for what was changed
    /// since, and the conflict is open again. That is a write, too.
    async fn undo_resolution(
        &self,
        ctx: &Context<'_>,
        conflict_id: ID,
        #[graphql(desc = "Who does it, as in bulkSync.")] device_id: Option<ID>,
    ) -> Result<ConflictResult> {
        let id = uuid(ctx, "conflictId", &conflict_id)?;
        let sender = sender(ctx, device_id)?;
        let done = resolve::undo(&services(ctx)?.db, sender, id).await?;
        files::read_later(services(ctx)?.clone(), done.unread);
        let shown = one(ctx, sender.account, id).await?;
        shown.ok_or_else(|| public(Error::internal("a conflict is not there any more")))
    }
}

/// Who decides. A login stands for the device that is not named.
fn sender(ctx: &Context<'_>, device_id: Option<ID>) -> Result<Sender> {
    let caller = caller(ctx)?;
    let device = optional_uuid(ctx, "deviceId", device_id)?.unwrap_or_else(|| caller.device());
    Ok(Sender { account: caller.account, device: Some(device) })
}

fn decided(ctx: &Context<'_>, account: Uuid, done: Done) -> Result<Vec<ConflictResolution>> {
    files::read_later(services(ctx)?.clone(), done.unread);
    let found = done.conflicts.into_iter().map(|conflict| (conflict, 0)).collect();
    let shown = ConflictResult::list(account, found).into_iter();
    Ok(shown.filter_map(|conflict| conflict.resolution).collect())
}
