//! One batch, one transaction: lock, read, decide, write set by set, commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use entity::{Millis, buried, link};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::change::{self, Item, Origin, RawItem, Reading};
use super::conflict::Conflict;
use super::cursor::{Cursor, Filter};
use super::plan::{
    Amendment, Attachment, Plan, Receipt, Senders, Verdict, World, plan, plan_amendments,
};
use super::policy::Policy;
use super::resolution::recall;
use super::row::{Key, Row};
use super::transaction::{self, Failure, Held, Step, Work};
use super::{Operation, Sender, Strategy, pull, resolve, scope, store};
use crate::config::limits;
use crate::db::{self, Db};
use crate::error::{Code, Error};
use crate::kinds::{self, Content, CreatedAgain, EntityType, Home, Kind, Value};

/// A batch.
pub struct Batch {
    pub sender: Sender,
    pub origin: Origin,
    pub items: Vec<RawItem>,
    /// What the device has seen: guards against blind deletions.
    pub cursor: Option<Cursor>,
    pub policy: Policy,
    /// How far ahead a device's clock may be, in milliseconds.
    pub max_skew: Millis,
}

/// What became of a batch.
pub struct Pushed {
    pub items: Vec<Item>,
    /// In the order of the items.
    pub verdicts: Vec<Verdict>,
    /// The conflicts that the verdicts name, with the row's version now.
    pub conflicts: HashMap<Uuid, (Conflict, i32)>,
    /// The scopes that the caller may read: of others' conflicts only the verdict is told.
    pub readable: HashSet<Uuid>,
    /// Rows whose file is there and has still to be read.
    pub unread: Vec<Key>,
    pub server_time: Millis,
}

/// Applies a batch. Whatever is wrong with an item is that item's verdict; an error means that
/// nothing was written.
pub async fn push(db: &Db, batch: &Batch) -> Result<Pushed, Error> {
    if batch.items.len() > limits::BATCH {
        return Err(Error::new(
            Code::Limit,
            format!(
                "a batch may have {} items, this one has {}; send it in parts",
                limits::BATCH,
                batch.items.len()
            ),
        ));
    }
    if let Some(cursor) = &batch.cursor {
        let seen = scope::seen_by(db.pool(), batch.sender.account).await?;
        pull::check_cursor(cursor, &seen)?;
    }
    let mut scopes = scope::ToLock { named: named_scopes(batch), ..Default::default() };
    if !db::one_writer(db.pool()) {
        scopes.named.extend(locate(db, batch).await?);
    }
    transaction::run(db, batch.sender.account, scopes, batch).await
}

/// The sender's own scope, which orders all of their pushes, and the trips that the batch names.
fn named_scopes(batch: &Batch) -> BTreeSet<Uuid> {
    let named = batch.items.iter().filter_map(|item| {
        let kind = item.entity_type.kind();
        let field = match kind.home {
            Home::Account => return None,
            Home::Itself => "id",
            Home::Parent(field) => field,
        };
        kinds::parse_id(item.json.get(field)?.as_str()?)
    });
    std::iter::once(batch.sender.account).chain(named).collect()
}

/// The scopes in which the rows lie that the batch names by id, as far as they are known before
/// anything is locked. Under the locks it is looked at again.
async fn locate(db: &Db, batch: &Batch) -> Result<BTreeSet<Uuid>, DbErr> {
    let mut ids: BTreeMap<EntityType, BTreeSet<Uuid>> = BTreeMap::new();
    for item in &batch.items {
        let kind = item.entity_type.kind();
        let id = |name: &str| kinds::parse_id(item.json.get(name)?.as_str()?);
        let operation = item.json.get("operation").and_then(|operation| operation.as_str());
        if operation != Some(Operation::Create.name())
            && let Some(id) = id("id")
        {
            ids.entry(kind.entity_type).or_default().insert(id);
        }
        for (field, parent) in kind.parents() {
            if parent.kind().home != Home::Itself
                && let Some(id) = id(&kind.fields[field].name)
            {
                ids.entry(parent).or_default().insert(id);
            }
        }
    }
    let mut scopes = BTreeSet::new();
    for (entity_type, ids) in ids {
        let ids: Vec<Uuid> = ids.into_iter().collect();
        for among in store::in_lists(db.pool(), "id", &ids) {
            let select = Query::select()
                .distinct()
                .column("scope_id")
                .from(entity_type.kind().table)
                .and_where(among)
                .to_owned();
            for row in db.pool().query_all(&select).await? {
                scopes.insert(row.try_get_by_index(0)?);
            }
        }
    }
    Ok(scopes)
}

impl Work for Batch {
    type Done = Pushed;

    async fn attempt(
        &self,
        tx: &DatabaseTransaction,
        mut held: Held,
    ) -> Result<Step<Pushed>, Failure> {
        if !held.scopes.contains_key(&self.sender.account) {
            // The account was erased since it was asked who sends.
            return Err(Error::unauthenticated().into());
        }
        let now = held.now;
        let reading =
            Reading { sender: self.sender, origin: self.origin, now, max_skew: self.max_skew };
        let items: Vec<Item> = match self.origin {
            Origin::OneRow => {
                let known = self.known_by_name(tx).await?;
                known.iter().map(|raw| change::read(raw, reading)).collect()
            }
            _ => self.items.iter().map(|raw| change::read(raw, reading)).collect(),
        };
        let mut world = Loader::load(tx, self, &items, now).await?;

        let missing = held.cover(tx, needed_scopes(&world)).await?;
        if !missing.is_empty() {
            return Ok(Step::Lock(missing));
        }
        world.scopes = held.scopes;
        share_scopes(tx, &mut world).await?;
        let mut readable: HashSet<Uuid> = world
            .memberships
            .iter()
            .filter(|(_, m)| m.until.is_none() && m.role != super::Role::Viewer)
            .map(|(id, _)| *id)
            .chain(std::iter::once(self.sender.account))
            .collect();
        let locked: Vec<Uuid> = world.scopes.keys().copied().collect();

        let plan = plan(world, &items);
        if !write(tx, self.receiver(), now, &plan, &locked).await? {
            return Ok(Step::Again);
        }
        let mut unread = plan.unread;
        if self.policy.decides_types() {
            let opened: Vec<Uuid> = plan.conflicts.iter().map(|conflict| conflict.id).collect();
            // Read again: the heads have moved.
            let scopes = locked.into_iter().chain(plan.new_scopes.iter().copied());
            let scopes = scope::lock_found(tx, scopes).await?;
            let held = Held { scopes, now, locked: held.locked };
            let strategy_of = |c: &Conflict| self.policy.of_type(c.conflict_type, c.key.0);
            match resolve::by_policy(tx, self.sender, held, &opened, strategy_of).await? {
                Step::Done(more) => unread.extend(more),
                Step::Lock(missing) => return Ok(Step::Lock(missing)),
                Step::Again => return Ok(Step::Again),
            }
        }
        let conflicts = answered_conflicts(tx, &plan.verdicts).await?;
        readable.extend(plan.new_scopes.iter());
        Ok(Step::Done(Pushed {
            items,
            verdicts: plan.verdicts,
            conflicts,
            readable,
            unread,
            server_time: now - limits::TIMESTAMP_LAG.as_millis() as Millis,
        }))
    }
}

impl Batch {
    /// Who receipts are kept for. A creation without an id may be sent again after another login.
    fn receiver(&self) -> Sender {
        match self.origin {
            Origin::OneRow => Sender { device: None, ..self.sender },
            _ => self.sender,
        }
    }

    /// The items, with creations of what the sender has already under the same name made edits of
    /// it. Called under the lock of the sender's own scope, in which those rows lie.
    async fn known_by_name(&self, tx: &DatabaseTransaction) -> Result<Vec<RawItem>, DbErr> {
        let mut items = self.items.clone();
        for item in &mut items {
            let kind = item.entity_type.kind();
            let Some(again) = kind.created_again else { continue };
            let text = |name: &str| item.json.get(name).and_then(|value| value.as_str());
            let Some(label) = text(kind.label) else { continue };
            if text("operation") != Some(Operation::Create.name()) {
                continue;
            }
            let label = kinds::normalize(label);
            let names = Query::select()
                .columns(["id", kind.fields[kind.field(kind.label)].column])
                .from(kind.table)
                .and_where(Expr::col("scope_id").eq(self.sender.account))
                .and_where(Expr::col("deleted_at").is_null())
                .order_by("seq", sea_orm::Order::Asc)
                .to_owned();
            for row in tx.query_all(&names).await? {
                let name: String = row.try_get_by_index(1)?;
                if kinds::normalize(&name) != label {
                    continue;
                }
                let id: Uuid = row.try_get_by_index(0)?;
                item.json.insert("id".into(), id.to_string().into());
                item.json.insert("operation".into(), Operation::Update.name().into());
                // Not this creation's receipt: it is an edit now.
                item.json.insert("operationId".into(), Uuid::new_v4().to_string().into());
                if again == CreatedAgain::Stays {
                    let keep = ["id", "operation", "operationId"];
                    item.json.retain(|name, _| keep.contains(&name.as_str()));
                }
                break;
            }
        }
        Ok(items)
    }
}

/// The scopes in which a row may be written. Rows that the caller cannot see are not among them.
pub(super) fn needed_scopes(world: &World) -> BTreeSet<Uuid> {
    let visible =
        |id: &Uuid| world.memberships.get(id).is_some_and(|membership| membership.until.is_none());
    let carried: HashSet<Key> = world.carriers.values().flatten().copied().collect();
    world
        .rows
        .values()
        .filter(|row| world.is_import || visible(&row.scope) || carried.contains(&row.key()))
        .map(|row| row.scope)
        .chain(world.open.values().map(|(conflict, _)| conflict.scope).filter(visible))
        .collect()
}

/// Marks the scopes that others see, where what they carry may change.
pub(super) async fn share_scopes(tx: &DatabaseTransaction, world: &mut World) -> Result<(), DbErr> {
    if world.carriers.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = world.scopes.keys().copied().collect();
    for id in scope::shared(tx, world.sender.account, &ids).await? {
        if let Some(scope) = world.scopes.get_mut(&id) {
            scope.shared = true;
        }
    }
    Ok(())
}

// ── Reading ──────────────────────────────────────────────────────────────────────────────────

/// Reads what the plan depends on. All of it under the locks: receipts too, or the same batch sent
/// twice at once would not find the first one's.
pub(super) struct Loader<'a> {
    pub tx: &'a DatabaseTransaction,
    pub world: World,
}

impl Loader<'_> {
    async fn load(
        tx: &DatabaseTransaction,
        batch: &Batch,
        items: &[Item],
        now: Millis,
    ) -> Result<World, DbErr> {
        let seen = scope::seen_by(tx, batch.sender.account).await?;
        let mut world = World::empty(batch.sender, now, &seen);
        world.policy = batch.policy.clone();
        world.is_import = batch.origin == Origin::Import;
        let mut loader = Loader { tx, world };
        loader.receipts(batch, items).await?;
        let fresh: Vec<&Item> = items
            .iter()
            .filter(|item| !loader.world.receipts.contains_key(&item.operation_key))
            .collect();
        let targets = loader.targets(&fresh).await?;
        // What an import names lies in the space of who made the row: nobody has looked there.
        if batch.origin != Origin::Import {
            loader.files(&fresh).await?;
        }
        loader.buried(&targets).await?;
        loader.taken(&fresh).await?;
        loader.acquainted(&targets).await?;
        let below = loader.descendants(&fresh).await?;
        loader.carriers(changed_keys(&fresh).chain(below).collect()).await?;
        loader.open_conflicts(&targets).await?;
        loader.revisions(&fresh).await?;
        if let Some(cursor) = &batch.cursor {
            loader.unseen(&fresh, cursor, &seen).await?;
        }
        Ok(loader.world)
    }

    async fn receipts(&mut self, batch: &Batch, items: &[Item]) -> Result<(), DbErr> {
        use entity::receipt::{Column, Entity};
        let sender = batch.receiver();
        let ids: Vec<Uuid> =
            items.iter().map(|item| receipt_id(sender, &item.operation_key)).collect();
        for among in store::in_lists(self.tx, Column::Id, &ids) {
            let found = Entity::find().filter(among).all(self.tx).await?;
            for model in found {
                let entity_type = entity_type(&model.kind)?;
                if batch.origin == Origin::OneRow {
                    // People do make the same thing twice: after a while, and after deleting it.
                    let kind = entity_type.kind();
                    let rows = store::rows_by_id(self.tx, kind, &[model.entity_id]).await?;
                    let is_there = rows.first().is_some_and(Row::is_live);
                    // Known by its label, under the lock, and by nothing else.
                    let by_label = kind.created_again.is_some();
                    let decided = match model.conflict_id {
                        Some(id) => entity::conflict::Entity::find_by_id(id)
                            .one(self.tx)
                            .await?
                            .is_none_or(|conflict| conflict.resolved_at.is_some()),
                        None => false,
                    };
                    let oldest = self.world.now - limits::CREATED_AGAIN.as_millis() as Millis;
                    if by_label
                        || decided
                        || model.at < oldest
                        || (model.conflict_id.is_none() && !is_there)
                    {
                        continue;
                    }
                }
                self.world.receipts.insert(
                    model.operation_id.clone(),
                    Receipt {
                        operation_key: model.operation_id,
                        hash: model.content_hash,
                        key: (entity_type, model.entity_id),
                        version: model.version,
                        conflict: model.conflict_id,
                    },
                );
            }
        }
        Ok(())
    }

    /// Reads which of the files are there that the changes, or the rows that they change, name.
    async fn files(&mut self, items: &[&Item]) -> Result<(), DbErr> {
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for change in items.iter().filter_map(|item| item.change.as_ref().ok()) {
            let kind = change.entity_type.kind();
            let row = self.world.rows.get(&(change.entity_type, change.id));
            for (at, file) in kind.files() {
                let size = file.size.map(|name| kind.field(name));
                let edited = |at: &usize| change.edit.contains_key(at);
                let copied = self.world.policy.has(Strategy::KeepBoth);
                if !copied && !edited(&at) && !size.as_ref().is_some_and(edited) {
                    continue;
                }
                let edit = change.edit.get(&at).and_then(Value::as_text);
                let current = row.and_then(|row| row.content.values[at].as_text());
                names.extend(edit.into_iter().chain(current).map(str::to_owned));
                ids.extend(row.map(|row| row.id));
            }
        }
        let keys: BTreeSet<Key> = self.world.rows.keys().copied().collect();
        self.named_files(names, ids, &keys).await
    }

    /// Reads who named files of these rows, and which of the files are there.
    pub async fn named_files(
        &mut self,
        names: BTreeSet<String>,
        ids: BTreeSet<Uuid>,
        keys: &BTreeSet<Key>,
    ) -> Result<(), DbErr> {
        use entity::attachment;
        use entity::file::{Column, Entity};
        let ids: Vec<Uuid> = ids.into_iter().collect();
        for among in store::in_lists(self.tx, attachment::Column::EntityId, &ids) {
            for model in attachment::Entity::find().filter(among).all(self.tx).await? {
                // Ids are unique within a kind, and accounts name files, too.
                let Some(kind) = EntityType::from_name(&model.kind) else { continue };
                let key = (kind, model.entity_id);
                if let (Some(field), true) = (kind.kind().find(&model.field), keys.contains(&key)) {
                    self.world.namers.insert((key, field, model.name), model.account_id);
                }
            }
        }
        let mut accounts: BTreeSet<Uuid> = self.world.namers.values().copied().collect();
        accounts.insert(self.world.sender.account);
        let names: Vec<String> = names.into_iter().collect();
        for among in store::in_lists(self.tx, Column::Name, &names) {
            let found = Entity::find()
                .filter(among)
                .filter(Column::AccountId.is_in(accounts.iter().copied()))
                .filter(Column::UploadedAt.is_not_null())
                .all(self.tx)
                .await?;
            self.world.files.extend(
                found
                    .into_iter()
                    .filter_map(|file| Some(((file.account_id, file.name), file.size?))),
            );
        }
        Ok(())
    }

    /// Reads the rows that the changes name: their own, parents and references. Returns all keys.
    async fn targets(&mut self, items: &[&Item]) -> Result<BTreeSet<Key>, DbErr> {
        let mut keys = BTreeSet::new();
        for change in items.iter().filter_map(|item| item.change.as_ref().ok()) {
            let kind = change.entity_type.kind();
            keys.insert((change.entity_type, change.id));
            for (field, value) in &change.edit {
                refers(kind, *field, value, &mut keys);
            }
        }
        self.rows(&keys).await?;
        // A row that is to hang elsewhere brings along what else it hangs on.
        let mut more = BTreeSet::new();
        for change in items.iter().filter_map(|item| item.change.as_ref().ok()) {
            let kind = change.entity_type.kind();
            let moves = kind.parents().any(|(field, _)| change.edit.contains_key(&field));
            let moves = moves || self.world.policy.has(Strategy::KeepBoth);
            if let Some(row) = self.world.rows.get(&(change.entity_type, change.id))
                && moves
            {
                for (field, value) in row.content.values.iter().enumerate() {
                    refers(kind, field, value, &mut more);
                }
            }
        }
        self.rows(&more.difference(&keys).copied().collect()).await?;
        Ok(keys)
    }

    pub async fn rows(&mut self, keys: &BTreeSet<Key>) -> Result<(), DbErr> {
        for kind in kinds::all() {
            let ids: Vec<Uuid> = keys
                .iter()
                .filter(|(entity_type, _)| *entity_type == kind.entity_type)
                .map(|(_, id)| *id)
                .collect();
            self.keep(store::rows_by_id(self.tx, kind, &ids).await?);
        }
        Ok(())
    }

    fn keep(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.world.rows.entry(row.key()).or_insert(row);
        }
    }

    /// For ids that no row has: whether one had it long ago.
    pub async fn buried(&mut self, targets: &BTreeSet<Key>) -> Result<(), DbErr> {
        let missing: Vec<Uuid> = targets
            .iter()
            .filter(|key| !self.world.rows.contains_key(key))
            .map(|(_, id)| *id)
            .collect();
        for among in store::in_lists(self.tx, buried::Column::EntityId, &missing) {
            for model in buried::Entity::find().filter(among).all(self.tx).await? {
                let row = unearthed(model)?;
                let key = row.key();
                if targets.contains(&key) {
                    self.world.buried.insert(key);
                    self.world.rows.insert(key, row);
                }
            }
        }
        Ok(())
    }

    /// Of the ids that are to become scopes: whether they are already.
    async fn taken(&mut self, items: &[&Item]) -> Result<(), DbErr> {
        let new: Vec<Uuid> = items
            .iter()
            .filter_map(|item| item.change.as_ref().ok())
            .filter(|change| {
                change.operation == Operation::Create
                    && change.entity_type.kind().home == Home::Itself
                    && !self.world.rows.contains_key(&(change.entity_type, change.id))
            })
            .map(|change| change.id)
            .collect();
        for among in store::in_lists(self.tx, entity::scope::Column::Id, &new) {
            let taken = entity::scope::Entity::find().filter(among).all(self.tx).await?;
            self.world.taken.extend(taken.into_iter().map(|scope| scope.id));
        }
        Ok(())
    }

    /// Finds out whose deleted rows the sender may have been shown.
    async fn acquainted(&mut self, targets: &BTreeSet<Key>) -> Result<(), DbErr> {
        let own = self.world.sender.account;
        let owners: BTreeSet<Uuid> = targets
            .iter()
            .filter(|(kind, _)| kind.kind().home == Home::Account)
            .filter_map(|key| self.world.rows.get(key))
            .filter(|row| !row.is_live() && row.scope != own)
            .map(|row| row.scope)
            .collect();
        let owners: Vec<Uuid> = owners.into_iter().collect();
        for among in store::in_lists(self.tx, ("theirs", "account_id"), &owners) {
            let together = Query::select()
                .distinct()
                .column(("theirs", "account_id"))
                .from_as("membership", "theirs")
                .join_as(
                    sea_orm::sea_query::JoinType::InnerJoin,
                    "membership",
                    "own",
                    Expr::col(("own", "scope_id")).equals(("theirs", "scope_id")),
                )
                .and_where(among)
                .and_where(Expr::col(("own", "account_id")).eq(own))
                .to_owned();
            for row in self.tx.query_all(&together).await? {
                self.world.acquainted.insert(row.try_get_by_index(0)?);
            }
        }
        Ok(())
    }

    /// Reads what hangs on rows that are to be deleted or moved, and gives its keys.
    async fn descendants(&mut self, items: &[&Item]) -> Result<BTreeSet<Key>, DbErr> {
        let mut level: BTreeSet<Key> = BTreeSet::new();
        let mut moves = false;
        for change in items.iter().filter_map(|item| item.change.as_ref().ok()) {
            let key = (change.entity_type, change.id);
            let Some(row) = self.world.rows.get(&key).filter(|row| row.is_live()) else { continue };
            let moved = match row.kind().home {
                Home::Parent(home) => {
                    let home = row.kind().field(home);
                    change.edit.get(&home).is_some_and(|to| *to != row.content.values[home])
                }
                _ => false,
            };
            moves |= moved;
            if moved || change.operation == Operation::Delete {
                level.insert(key);
            }
        }
        self.below(level, moves).await
    }

    /// Reads what hangs on rows, and gives its keys. What moves may come back to where it was.
    pub async fn below(
        &mut self,
        mut level: BTreeSet<Key>,
        moves: bool,
    ) -> Result<BTreeSet<Key>, DbErr> {
        let mut below = BTreeSet::new();
        while !level.is_empty() {
            let mut next = BTreeSet::new();
            let parents: BTreeSet<EntityType> = level.iter().map(|(kind, _)| *kind).collect();
            for parent in parents {
                let ids: Vec<Uuid> =
                    level.iter().filter(|(kind, _)| *kind == parent).map(|(_, id)| *id).collect();
                for child in &parent.kind().children {
                    let kind = child.kind.kind();
                    let column = kind.fields[child.field].column;
                    for row in store::rows_where(self.tx, kind, column, &ids).await? {
                        if row.is_live() {
                            next.insert(row.key());
                            self.keep(vec![row]);
                        }
                    }
                }
            }
            below.extend(next.iter().copied());
            level = next;
        }
        let moving: Vec<Uuid> = self.world.rows.keys().map(|(_, id)| *id).collect();
        if moves {
            use entity::deletion::{Column, Entity};
            for among in store::in_lists(self.tx, Column::EntityId, &moving) {
                let found = Entity::find().filter(among).all(self.tx).await?;
                for entry in found {
                    let key = (entity_type(&entry.kind)?, entry.entity_id);
                    self.world.departed.insert((entry.scope_id, key), entry.entered_seq);
                }
            }
        }
        Ok(below)
    }

    /// Reads a deleted row, what went with it, and what those hang on and carry.
    pub async fn restored(&mut self, root: Key) -> Result<(), DbErr> {
        self.rows(&BTreeSet::from([root])).await?;
        let Some(scope) = self.world.rows.get(&root).map(|row| row.scope) else { return Ok(()) };
        self.gone_with(scope, root.1).await?;
        self.referred().await
    }

    /// Reads what went with a deleted row, itself included.
    async fn gone_with(&mut self, scope: Uuid, root: Uuid) -> Result<(), DbErr> {
        for kind in kinds::all() {
            let along = store::select(kind)
                .and_where(Expr::col((kind.table, "scope_id")).eq(scope))
                .and_where(Expr::col((kind.table, "deleted_root")).eq(root))
                .to_owned();
            let rows = store::rows_of(self.tx, kind, &along).await?;
            self.keep(rows);
        }
        Ok(())
    }

    /// Reads what the rows so far hang on and carry.
    async fn referred(&mut self) -> Result<(), DbErr> {
        let mut keys = BTreeSet::new();
        for row in self.world.rows.values() {
            for (field, value) in row.content.values.iter().enumerate() {
                refers(row.kind(), field, value, &mut keys);
            }
        }
        keys.retain(|key| !self.world.rows.contains_key(key));
        self.rows(&keys).await
    }

    /// Reads what conflicts are about, for decisions: their rows, the stories, what is named in
    /// them, and where something is deleted what would come back with it. `values` are given besides
    /// by who decides, or a deletion.
    pub async fn disputed(
        &mut self,
        conflicts: &[Conflict],
        values: &BTreeMap<usize, Value>,
        deletes: bool,
    ) -> Result<(), DbErr> {
        let ids: Vec<Uuid> = conflicts.iter().map(|conflict| conflict.id).collect();
        self.world.stories = store::stories(self.tx, &ids).await?;
        for undone in store::undone(self.tx, &ids).await? {
            *self.world.undone.entry(undone.conflict).or_default() += 1;
        }
        let mut keys: BTreeSet<Key> = conflicts.iter().map(|conflict| conflict.key).collect();
        let mut above = keys.clone();
        let mut names = BTreeSet::new();
        for conflict in conflicts {
            let kind = conflict.key.0.kind();
            let sides = [Some(&conflict.remote), Some(&conflict.local), conflict.base.as_ref()];
            let sides = sides.into_iter().flatten().map(|side| recall(conflict.key.0, side));
            for (field, value) in sides.chain([values.clone()]).flatten() {
                refers(kind, field, &value, &mut keys);
                if kind.fields[field].parent().is_some() {
                    refers(kind, field, &value, &mut above);
                }
                if kind.fields[field].file.is_some() {
                    names.extend(value.as_text().map(str::to_owned));
                }
            }
            keys.extend(conflict.rows());
        }
        self.rows(&keys).await?;
        self.buried(&keys).await?;
        self.referred().await?;
        let roots = self.ancestry(above).await?;
        let ids: BTreeSet<Uuid> = conflicts.iter().map(|conflict| conflict.key.1).collect();
        let files: Vec<String> = ids
            .iter()
            .flat_map(|id| self.world.rows.values().filter(|row| row.id == *id))
            .flat_map(|row| row.kind().files().map(|(at, _)| &row.content.values[at]))
            .filter_map(|value| value.as_text().map(str::to_owned))
            .collect();
        names.extend(files);
        self.named_files(names, ids.clone(), &keys).await?;
        let ids: Vec<Uuid> = ids.into_iter().filter(|id| !roots.contains(id)).collect();
        let oldest = conflicts.iter().map(|conflict| conflict.remote_version).min().unwrap_or(0);
        self.world.revisions = store::revisions(self.tx, &ids, oldest).await?;
        // Among those of a root is its deletion.
        let roots: Vec<Uuid> = roots.into_iter().collect();
        self.world.revisions.extend(store::revisions(self.tx, &roots, 0).await?);
        let reached = conflicts.iter().filter(|conflict| {
            let story = self.world.stories.get(&conflict.id).into_iter().flatten();
            deletes
                || story.into_iter().any(|edit| edit.operation == Operation::Delete)
                || conflict.may_reach_further(values)
        });
        let level = reached.flat_map(Conflict::rows).collect();
        let below = self.below(level, true).await?;
        let changed = conflicts.iter().flat_map(Conflict::rows).chain(below);
        self.carriers(changed.collect()).await?;
        self.open_conflicts(&keys).await
    }

    /// Reads what rows hang on, up to the top, and what went with those that are deleted. Returns the
    /// ids of the rows whose deletion it was.
    async fn ancestry(&mut self, mut level: BTreeSet<Key>) -> Result<BTreeSet<Uuid>, DbErr> {
        let mut walked: BTreeSet<Key> = BTreeSet::new();
        let mut roots = BTreeSet::new();
        while !level.is_empty() {
            self.rows(&level).await?;
            self.buried(&level).await?;
            let dead = level.iter().filter_map(|key| self.world.rows.get(key));
            let dead: BTreeSet<(Uuid, Uuid)> = dead
                .filter(|row| !row.is_live() && !self.world.buried.contains(&row.key()))
                .filter_map(|row| Some((row.scope, row.deleted_root?)))
                .filter(|(_, root)| roots.insert(*root))
                .collect();
            for (scope, root) in dead {
                self.gone_with(scope, root).await?;
            }
            walked.extend(level);
            let mut next = BTreeSet::new();
            let on_the_way = self
                .world
                .rows
                .values()
                .filter(|row| walked.contains(&row.key()) || roots.contains(&row.id));
            for row in on_the_way {
                for (field, _) in row.kind().parents() {
                    refers(row.kind(), field, &row.content.values[field], &mut next);
                }
            }
            level = next.difference(&walked).copied().collect();
        }
        self.referred().await?;
        Ok(roots)
    }

    /// Reads the rows that carry a row which may be changed or deleted.
    async fn carriers(&mut self, changed: BTreeSet<Key>) -> Result<(), DbErr> {
        let carried: BTreeSet<EntityType> =
            kinds::all().flat_map(Kind::refs).map(|(_, target)| target).collect();
        let targets: BTreeSet<Key> = changed
            .into_iter()
            .filter(|key| carried.contains(&key.0) && self.world.rows.contains_key(key))
            .collect();
        let ids: BTreeSet<Uuid> = targets.iter().map(|(_, id)| *id).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut sources: HashMap<Key, Vec<Uuid>> = HashMap::new();
        for among in store::in_lists(self.tx, link::Column::TargetId, &ids) {
            for link in link::Entity::find().filter(among).all(self.tx).await? {
                let source = (entity_type(&link.kind)?, link.source_id);
                sources.entry(source).or_default().push(link.target_id);
            }
        }
        for kind in kinds::all() {
            // A link knows only the id of what is carried; of which kind that is, the field says.
            let found: Vec<(Uuid, Key)> = sources
                .iter()
                .filter(|((entity_type, _), _)| *entity_type == kind.entity_type)
                .flat_map(|((_, source), ids)| ids.iter().map(|id| (*source, *id)))
                .flat_map(|(source, id)| kind.refs().map(move |(_, to)| (source, (to, id))))
                .filter(|(_, target)| targets.contains(target))
                .collect();
            let ids: BTreeSet<Uuid> = found.iter().map(|(source, _)| *source).collect();
            let ids: Vec<Uuid> = ids.into_iter().collect();
            self.keep(store::rows_by_id(self.tx, kind, &ids).await?);
            for (source, target) in found {
                let carrier = (kind.entity_type, source);
                self.world.carriers.entry(target).or_default().push(carrier);
            }
        }
        Ok(())
    }

    pub async fn open_conflicts(&mut self, targets: &BTreeSet<Key>) -> Result<(), DbErr> {
        // What a row says about itself is enough; what has no row may still have a conflict.
        let ids: Vec<Uuid> = targets
            .iter()
            .filter(|key| !self.world.rows.contains_key(key))
            .map(|(_, id)| *id)
            .chain(self.world.rows.values().filter(|row| row.conflict.is_some()).map(|row| row.id))
            .chain(self.world.buried.iter().map(|(_, id)| *id))
            .collect();
        let mut found = Vec::new();
        use entity::conflict::{Column, Entity};
        for among in store::in_lists(self.tx, Column::EntityId, &ids) {
            let models = Entity::find()
                .filter(among)
                .filter(Column::Status.eq(super::ConflictStatus::Open.name()))
                .all(self.tx)
                .await?;
            for model in models {
                found.push(store::read_conflict(model)?);
            }
        }
        let conflicts: Vec<Uuid> = found.iter().map(|conflict| conflict.id).collect();
        let mut senders: HashMap<Uuid, Senders> = HashMap::new();
        for among in store::in_lists(self.tx, "conflict_id", &conflicts) {
            let sender = ["conflict_id", "account_id", "device_id"];
            let select = Query::select()
                .columns(sender)
                .expr(Expr::col("operation_id").count())
                .from("conflict_edit")
                .and_where(among)
                .group_by_columns(sender)
                .to_owned();
            for row in self.tx.query_all(&select).await? {
                let device: Uuid = row.try_get_by_index(2)?;
                let sender = (row.try_get_by_index(1)?, Some(device).filter(|id| !id.is_nil()));
                let conflict: Uuid = row.try_get_by_index(0)?;
                let edits: i64 = row.try_get_by_index(3)?;
                *self.world.told.entry(conflict).or_default() += edits as usize;
                senders.entry(conflict).or_default().push(sender);
            }
        }
        for conflict in found {
            let senders = senders.remove(&conflict.id).unwrap_or_default();
            self.world.open.insert(conflict.key, (conflict, senders));
        }
        Ok(())
    }

    /// Reads the revisions of rows whose change is not plainly up to date.
    async fn revisions(&mut self, items: &[&Item]) -> Result<(), DbErr> {
        let mut ids = BTreeSet::new();
        let mut oldest = i32::MAX;
        for change in items.iter().filter_map(|item| item.change.as_ref().ok()) {
            let key = (change.entity_type, change.id);
            let Some(row) = self.world.rows.get(&key) else { continue };
            if change.operation == Operation::Create || change.base_version < row.version {
                ids.insert(change.id);
                oldest = Ord::min(oldest, change.base_version);
            }
        }
        let ids: Vec<Uuid> = ids.into_iter().collect();
        self.world.revisions = store::revisions(self.tx, &ids, oldest).await?;
        if !self.world.is_import {
            // What a row was in a trip that the sender cannot see is nothing that they started from.
            let memberships = &self.world.memberships;
            let is_seen = |id: &Uuid| memberships.get(id).is_some_and(|m| m.until.is_none());
            for revisions in self.world.revisions.values_mut() {
                revisions.retain(|revision| revision.scope.as_ref().is_none_or(is_seen));
            }
        }
        Ok(())
    }

    /// Finds the scopes that are to be deleted though others changed what the device has not seen.
    async fn unseen(
        &mut self,
        items: &[&Item],
        cursor: &Cursor,
        seen: &[scope::Seen],
    ) -> Result<(), DbErr> {
        let roots: Vec<Uuid> = items
            .iter()
            .filter_map(|item| item.change.as_ref().ok())
            .filter(|change| {
                change.operation == Operation::Delete
                    && change.entity_type.kind().home == Home::Itself
            })
            .map(|change| change.id)
            .collect();
        let mut newer: Vec<(Uuid, Key, i64)> = Vec::new();
        for root in roots {
            let Some(scope) = seen.iter().find(|scope| scope.id == root) else { continue };
            // A filtered stream leaves out rows: what it has seen says nothing of them.
            let filtered = cursor.filter != Filter::default();
            let known = if filtered { 0 } else { cursor.seen_in(scope.no).unwrap_or(0) };
            let rows = self.world.rows.values();
            let rows = rows.filter(|row| row.scope == root && row.is_live() && row.seq > known);
            newer.extend(rows.map(|row| (root, row.key(), known)));
        }
        let ids: Vec<Uuid> = newer.iter().map(|(_, (_, id), _)| *id).collect();
        let revisions = store::revisions(self.tx, &ids, 0).await?;
        for (root, key, known) in newer {
            let by_others = revisions
                .get(&key)
                .into_iter()
                .flatten()
                .any(|revision| revision.seq > known && !revision.made_by(self.world.sender));
            if by_others {
                let kinds = kinds::all().filter(|kind| kind.home == Home::Itself);
                self.world.unseen.extend(kinds.map(|kind| (kind.entity_type, root)));
            }
        }
        Ok(())
    }
}

/// The rows that items are about.
fn changed_keys(items: &[&Item]) -> impl Iterator<Item = Key> {
    let changes = items.iter().filter_map(|item| item.change.as_ref().ok());
    changes.map(|change| (change.entity_type, change.id))
}

/// The keys that a field's value refers to.
pub fn refers(kind: &Kind, field: usize, value: &Value, keys: &mut BTreeSet<Key>) {
    if let (Some((parent, _)), Some(id)) = (kind.fields[field].parent(), value.as_id()) {
        keys.insert((parent, id));
    }
    if let crate::kinds::FieldType::Refs { kind: target } = kind.fields[field].ty {
        keys.extend(value.as_ids().iter().map(|id| (target, *id)));
    }
}

/// What a receipt is found by: an operation of a device of an account.
fn receipt_id(sender: Sender, operation_key: &str) -> Uuid {
    change::derive(&[
        b"receipt",
        sender.account.as_bytes(),
        sender.device.unwrap_or_default().as_bytes(),
        operation_key.as_bytes(),
    ])
}

fn entity_type(name: &str) -> Result<EntityType, DbErr> {
    EntityType::from_name(name).ok_or_else(|| DbErr::Custom(format!("no such kind: {name}")))
}

/// What is left of a tombstone, as a row without content.
fn unearthed(model: entity::buried::Model) -> Result<Row, DbErr> {
    let kind = entity_type(&model.kind)?.kind();
    Ok(Row {
        id: model.entity_id,
        scope: model.scope_id,
        seq: 0,
        entered_seq: model.entered_seq,
        version: model.sync_version,
        field_versions: Vec::new(),
        status: super::Status::InSync,
        last_sync_attempt: None,
        sync_error: None,
        conflict: None,
        created_by: model.created_by,
        created_at: model.deleted_at,
        updated_at: model.deleted_at,
        deleted_at: Some(model.deleted_at),
        deleted_root: Some(model.entity_id),
        content: Content { kind: kind.entity_type, values: vec![Value::Null; kind.fields.len()] },
    })
}

// ── Writing ──────────────────────────────────────────────────────────────────────────────────

/// Writes the plan. False: another transaction took an id in the meantime, and nothing counts.
pub(super) async fn write(
    tx: &DatabaseTransaction,
    sender: Sender,
    now: Millis,
    plan: &Plan,
    locked: &[Uuid],
) -> Result<bool, DbErr> {
    let new: HashSet<Uuid> = plan.new_scopes.iter().copied().collect();
    if !create_scopes(tx, sender.account, now, plan).await? {
        return Ok(false);
    }
    let mut guard = locked.to_vec();
    guard.extend(&new);
    for kind in kinds::all() {
        let rows: Vec<&Row> =
            plan.rows.iter().filter(|row| row.entity_type() == kind.entity_type).collect();
        if store::upsert_rows(tx, kind, &rows, &guard).await? != rows.len() as u64 {
            return Ok(false);
        }
    }
    store::insert::<entity::revision::Entity, _>(
        tx,
        plan.revisions.iter().map(|(key, r)| store::revision_model(*key, r)).collect(),
    )
    .await?;
    store::take_back_departures(tx, &plan.returns).await?;
    store::upsert::<entity::deletion::Entity, _>(
        tx,
        plan.departures
            .iter()
            .map(|departure| entity::deletion::Model {
                scope_id: departure.scope,
                kind: departure.key.0.name().into(),
                entity_id: departure.key.1,
                seq: departure.seq,
                entered_seq: departure.entered_seq,
                at: now,
            })
            .collect(),
    )
    .await?;
    write_links(tx, plan).await?;
    store::upsert::<entity::conflict::Entity, _>(
        tx,
        plan.conflicts.iter().map(store::conflict_model).collect(),
    )
    .await?;
    store::upsert::<entity::conflict_edit::Entity, _>(
        tx,
        plan.edits.iter().map(store::edit_model).collect(),
    )
    .await?;
    store::insert::<entity::undone::Entity, _>(
        tx,
        plan.undone.iter().map(store::undone_model).collect(),
    )
    .await?;
    store::upsert::<entity::receipt::Entity, _>(
        tx,
        plan.receipts
            .iter()
            .map(|receipt| entity::receipt::Model {
                id: receipt_id(sender, &receipt.operation_key),
                account_id: sender.account,
                device_id: sender.device.unwrap_or_default(),
                operation_id: receipt.operation_key.clone(),
                content_hash: receipt.hash,
                kind: receipt.key.0.name().into(),
                entity_id: receipt.key.1,
                version: receipt.version,
                conflict_id: receipt.conflict,
                at: now,
            })
            .collect(),
    )
    .await?;
    store::insert::<entity::tick::Entity, _>(
        tx,
        plan.heads
            .iter()
            .map(|(id, scope)| entity::tick::Model {
                scope_id: *id,
                seq: scope.head,
                at: scope.head_at,
            })
            .collect(),
    )
    .await?;
    write_attachments(tx, sender.account, now, plan).await?;
    let moved: Vec<_> = plan.heads.iter().filter(|(id, _)| !new.contains(id)).copied().collect();
    store::move_heads(tx, &moved).await?;
    if let Some(device) = sender.device {
        let seen =
            entity::device::Model { account_id: sender.account, id: device, last_seen_at: now };
        store::upsert::<entity::device::Entity, _>(tx, vec![seen]).await?;
    }
    Ok(true)
}

/// Writes what the server itself changes about one row of a locked scope, which is no device's doing.
/// False as for [`write`].
pub(super) async fn amend(
    tx: &DatabaseTransaction,
    account: Uuid,
    held: Held,
    row: Row,
    amendment: Amendment,
) -> Result<bool, DbErr> {
    let sender = Sender { account, device: None };
    let scope = row.scope;
    let mut world = World::empty(sender, held.now, &[]);
    world.scopes = held.scopes;
    world.rows.insert(row.key(), row);
    let plan = plan_amendments(world, vec![amendment]);
    write(tx, sender, held.now, &plan, &[scope]).await
}

/// Creates the scopes of new trips. False if another transaction has taken one of the ids.
async fn create_scopes(
    tx: &DatabaseTransaction,
    owner: Uuid,
    now: Millis,
    plan: &Plan,
) -> Result<bool, DbErr> {
    let mut ids = plan.new_scopes.clone();
    ids.sort_unstable();
    for chunk in store::chunks(&ids, 128) {
        let mut insert = Query::insert();
        insert.into_table("scope").columns(["id", "head", "head_at", "floor"]);
        for id in chunk {
            let head = plan.heads.iter().find(|(scope, _)| scope == id);
            let (head, head_at) = head.map_or((0, now), |(_, scope)| (scope.head, scope.head_at));
            insert.values_panic([(*id).into(), head.into(), head_at.into(), 0.into()]);
        }
        insert.on_conflict(OnConflict::column("id").do_nothing().to_owned());
        if tx.execute(&insert).await?.rows_affected() != chunk.len() as u64 {
            return Ok(false);
        }
    }
    // An imported trip is as old as it says: who asks since then has had it.
    let made: HashMap<Uuid, Millis> = plan
        .rows
        .iter()
        .filter(|row| row.id == row.scope)
        .map(|row| (row.id, row.created_at))
        .collect();
    let owners = ids.into_iter().map(|id| entity::membership::Model {
        scope_id: id,
        account_id: owner,
        role: super::Role::Owner.name().into(),
        granted_at: made.get(&id).copied().unwrap_or(now),
        since_seq: 0,
        until_seq: None,
        removed_at: None,
    });
    store::upsert::<entity::membership::Entity, _>(tx, owners.collect()).await?;
    Ok(true)
}

/// Notes whose files rows name: of who named it last. A name that a row has had, or that waits in a
/// conflict, stays theirs who gave it.
async fn write_attachments(
    tx: &DatabaseTransaction,
    account: Uuid,
    now: Millis,
    plan: &Plan,
) -> Result<(), DbErr> {
    use entity::attachment::{Column, Entity, Model};
    let copied: Vec<Uuid> = plan.attachments.iter().filter_map(|a| a.copied_from).collect();
    let mut owners: HashMap<(Uuid, String, String), Uuid> = HashMap::new();
    for among in store::in_lists(tx, Column::EntityId, &copied) {
        for model in Entity::find().filter(among).all(tx).await? {
            owners.insert((model.entity_id, model.field, model.name), model.account_id);
        }
    }
    let mut models: BTreeMap<(Uuid, String, String), Model> = BTreeMap::new();
    let mut begun: BTreeSet<(Uuid, String, String)> = BTreeSet::new();
    for Attachment { key, field, name, begins, copied_from, named_by } in &plan.attachments {
        let field = key.0.kind().fields[*field].name.clone();
        let original = copied_from.map(|id| (id, field.clone(), name.clone()));
        let owner = original.and_then(|original| owners.get(&original).copied());
        let model = Model {
            entity_id: key.1,
            field: field.clone(),
            name: name.clone(),
            kind: key.0.name().into(),
            account_id: owner.or(*named_by).unwrap_or(account),
            at: now,
        };
        let place = (key.1, field, name.clone());
        if *begins {
            begun.insert(place.clone());
        }
        models.insert(place, model);
    }
    let (begun, rest): (Vec<_>, Vec<_>) =
        models.into_iter().partition(|(place, _)| begun.contains(place));
    for (models, changed) in
        [(begun, vec![Column::AccountId, Column::At]), (rest, vec![Column::At])]
    {
        let models: Vec<Model> = models.into_iter().map(|(_, model)| model).collect();
        for mut insert in store::inserts::<Entity>(&models) {
            let mut again = OnConflict::columns([Column::EntityId, Column::Field, Column::Name]);
            again.update_columns(changed.iter().copied());
            tx.execute(insert.on_conflict(again)).await?;
        }
    }
    Ok(())
}

async fn write_links(tx: &DatabaseTransaction, plan: &Plan) -> Result<(), DbErr> {
    let created: HashSet<Key> = plan
        .revisions
        .iter()
        .filter(|(_, revision)| revision.version == 1)
        .map(|(key, _)| *key)
        .collect();
    for kind in kinds::all() {
        let old: Vec<Uuid> = plan
            .links
            .iter()
            .map(|(key, _)| key)
            .filter(|key| key.0 == kind.entity_type && !created.contains(key))
            .map(|(_, id)| *id)
            .collect();
        for among in store::in_lists(tx, "source_id", &old) {
            let mut delete = Query::delete();
            delete.from_table("link").and_where(among);
            delete.and_where(Expr::col("kind").eq(kind.name()));
            tx.execute(&delete).await?;
        }
    }
    let links = plan.links.iter().flat_map(|((kind, source), targets)| {
        targets.iter().map(|target| link::Model {
            kind: kind.name().into(),
            source_id: *source,
            target_id: *target,
        })
    });
    store::insert::<link::Entity, _>(tx, links.collect()).await
}

/// Reads the conflicts that the verdicts name, with their rows' versions.
async fn answered_conflicts(
    tx: &DatabaseTransaction,
    verdicts: &[Verdict],
) -> Result<HashMap<Uuid, (Conflict, i32)>, DbErr> {
    let ids: BTreeSet<Uuid> = verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::Conflict { id } => Some(*id),
            _ => None,
        })
        .collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let mut found = Vec::new();
    use entity::conflict::{Column, Entity};
    for among in store::in_lists(tx, Column::Id, &ids) {
        for model in Entity::find().filter(among).all(tx).await? {
            found.push(store::read_conflict(model)?);
        }
    }
    let versions = current_versions(tx, &found).await?;
    Ok(found.into_iter().zip(versions).map(|(c, version)| (c.id, (c, version))).collect())
}

/// The versions that the rows of conflicts have now; 0 where there is no row.
pub async fn current_versions<C: ConnectionTrait>(
    db: &C,
    conflicts: &[Conflict],
) -> Result<Vec<i32>, DbErr> {
    let mut versions: HashMap<Key, i32> = HashMap::new();
    let present: BTreeSet<EntityType> = conflicts.iter().map(|c| c.key.0).collect();
    for entity_type in present {
        let ids: Vec<Uuid> =
            conflicts.iter().filter(|c| c.key.0 == entity_type).map(|c| c.key.1).collect();
        for among in store::in_lists(db, "id", &ids) {
            let select = Query::select()
                .columns(["id", "sync_version"])
                .from(entity_type.kind().table)
                .and_where(among)
                .to_owned();
            for row in db.query_all(&select).await? {
                versions.insert((entity_type, row.try_get_by_index(0)?), row.try_get_by_index(1)?);
            }
        }
    }
    Ok(conflicts.iter().map(|c| versions.get(&c.key).copied().unwrap_or(0)).collect())
}
