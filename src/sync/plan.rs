//! Folds a batch over what the database holds, and says what to write. Pure: it is given the facts
//! that were read under the locks, and returns verdicts and sets of rows.

mod resolve;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use entity::Millis;
use uuid::Uuid;

use super::change::{Change, Item, Past, Refusal, derive, edit_json};
use super::conflict::{Conflict, Did, Edit, Effect, Resolution, Undone};
use super::decide::{self, Base, Decision, Outcome, decide};
use super::policy::Policy;
use super::row::{Key, Life, Revision, Row};
use super::{ConflictType, ErrorCode, Operation, Role, Sender, Status, Strategy};
use crate::config::limits;
use crate::kinds::{self, Content, EntityType, Home, Kind, OnDelete, Value, Writer};

pub use resolve::{Resolving, Unresolved, case, plan_resolutions, plan_undo};

/// What was read under the locks.
#[derive(Clone)]
pub struct World {
    pub sender: Sender,
    /// By the database's clock.
    pub now: Millis,
    pub policy: Policy,
    /// Rows may refer to what the sender cannot see.
    pub is_import: bool,
    /// The caller's memberships, ended ones included, by scope.
    pub memberships: HashMap<Uuid, Membership>,
    /// The locked scopes.
    pub scopes: HashMap<Uuid, Scope>,
    /// The rows that the batch names, their parents, and where it matters their descendants.
    /// Tombstones included.
    pub rows: HashMap<Key, Row>,
    /// Those of `rows` of which only the id is left.
    pub buried: HashSet<Key>,
    pub revisions: HashMap<Key, Vec<Revision>>,
    /// By operation key.
    pub receipts: HashMap<String, Receipt>,
    /// Open conflicts of the rows that the batch names, and the devices whose edits are in them.
    pub open: HashMap<Key, (Conflict, Senders)>,
    /// How many edits open conflicts have in their stories.
    pub told: HashMap<Uuid, usize>,
    /// The edits of conflicts that are to be decided, in the order in which they came.
    pub stories: HashMap<Uuid, Vec<Edit>>,
    /// How often decisions about these conflicts were undone.
    pub undone: HashMap<Uuid, usize>,
    /// Of the ids that the batch wants to create scopes for: those that are scopes already.
    pub taken: HashSet<Uuid>,
    /// Of the accounts whose deleted rows the batch refers to, those that are or were in a trip with
    /// the sender.
    pub acquainted: HashSet<Uuid>,
    /// Which rows carry a row that the batch changes or deletes.
    pub carriers: HashMap<Key, Vec<Key>>,
    /// Entries of the deletion log of rows that may come back to a scope, with the seq with which
    /// each had come into it.
    pub departed: HashMap<(Uuid, Key), i64>,
    /// Roots whose deletion would take along what others changed and the device has not seen.
    pub unseen: HashSet<Key>,
    /// Of the files that the batch or its rows name, those that are there, with their size: by account
    /// and name.
    pub files: HashMap<(Uuid, String), i64>,
    /// Who named the files of the batch's rows: by row, field and name.
    pub namers: HashMap<(Key, usize, String), Uuid>,
}

/// Accounts and devices whose edits are in a conflict.
pub type Senders = Vec<(Uuid, Option<Uuid>)>;

impl World {
    /// A world of which nothing is known but who asks.
    pub fn empty(sender: Sender, now: Millis, seen: &[super::scope::Seen]) -> World {
        World {
            sender,
            now,
            policy: Policy::of(Strategy::Manual),
            is_import: false,
            memberships: super::scope::memberships(seen),
            scopes: HashMap::new(),
            rows: HashMap::new(),
            buried: HashSet::new(),
            revisions: HashMap::new(),
            receipts: HashMap::new(),
            open: HashMap::new(),
            told: HashMap::new(),
            stories: HashMap::new(),
            undone: HashMap::new(),
            taken: HashSet::new(),
            acquainted: HashSet::new(),
            carriers: HashMap::new(),
            departed: HashMap::new(),
            unseen: HashSet::new(),
            files: HashMap::new(),
            namers: HashMap::new(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Membership {
    pub role: Role,
    /// Set when it has ended: the scope's head then.
    pub until: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub head: i64,
    /// When the head moved last, by the database's clock.
    pub head_at: Millis,
    /// Whether it has members besides the sender.
    pub shared: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    pub operation_key: String,
    pub hash: Uuid,
    pub key: Key,
    pub version: i32,
    pub conflict: Option<Uuid>,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Successful {
        /// The row: of a creation that was sent again, the one that it made the first time.
        id: Uuid,
        version: i32,
    },
    Conflict {
        id: Uuid,
    },
    Failed(Refusal),
}

/// An entry of the deletion log.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    pub scope: Uuid,
    pub key: Key,
    pub seq: i64,
    pub entered_seq: i64,
}

/// A row begins, or ceases, to name a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    pub key: Key,
    pub field: usize,
    pub name: String,
    /// The row names it from now on. Otherwise it does no more, or would if a conflict were decided
    /// otherwise.
    pub begins: bool,
    /// The row that this one was copied from: the file is the same.
    pub copied_from: Option<Uuid>,
    /// Who named it, where that is not the sender.
    pub named_by: Option<Uuid>,
}

/// What to write, set by set.
#[derive(Default)]
pub struct Plan {
    /// In the order of the items.
    pub verdicts: Vec<Verdict>,
    /// Rows to insert or update, parents first.
    pub rows: Vec<Row>,
    pub revisions: Vec<(Key, Revision)>,
    pub departures: Vec<Departure>,
    /// Entries of the deletion log to take back: scope and row.
    pub returns: Vec<(Uuid, Key)>,
    /// New conflicts, and open ones that changed.
    pub conflicts: Vec<Conflict>,
    pub edits: Vec<Edit>,
    pub undone: Vec<Undone>,
    pub receipts: Vec<Receipt>,
    /// Scopes whose head moved.
    pub heads: Vec<(Uuid, Scope)>,
    /// Scopes of new trips; the sender owns them.
    pub new_scopes: Vec<Uuid>,
    /// Rows whose references changed, with the new ones.
    pub links: Vec<(Key, Vec<Uuid>)>,
    pub attachments: Vec<Attachment>,
    /// Rows whose file is there and has still to be read.
    pub unread: Vec<Key>,
}

/// The order in which a batch is worked off: creates and updates parents first, then deletes
/// children first; in the order of the batch within a kind.
pub fn order(items: &[Item]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&at| {
        let item = &items[at];
        let place = item.entity_type as i32;
        match item.operation {
            Operation::Delete => (1, -place, item.index),
            _ => (0, place, item.index),
        }
    });
    order
}

/// Gives every item its verdict.
pub fn plan(world: World, items: &[Item]) -> Plan {
    let mut first_delete: HashMap<Key, usize> = HashMap::new();
    for item in items {
        if let (Operation::Delete, Ok(change)) = (item.operation, &item.change) {
            let first = first_delete.entry((change.entity_type, change.id)).or_insert(item.index);
            *first = item.index.min(*first);
        }
    }
    let mut planner = Planner::new(world);
    let mut verdicts = vec![None; items.len()];
    for at in order(items) {
        let item = &items[at];
        let after_delete = item.change.as_ref().is_ok_and(|change| {
            first_delete
                .get(&(change.entity_type, change.id))
                .is_some_and(|first| *first < item.index)
        });
        verdicts[at] = Some(planner.verdict(item, after_delete));
    }
    let mut plan = planner.finish();
    plan.verdicts = verdicts.into_iter().flatten().collect();
    plan
}

/// Brings a deleted row back, with everything that its deletion took along.
pub fn plan_restore(world: World, key: Key) -> Result<Plan, Refusal> {
    let mut planner = Planner::new(world);
    planner.restore(key)?;
    Ok(planner.finish())
}

/// What the server itself changes about a row. Nobody edited it: a new seq, and no new version.
pub struct Amendment {
    pub key: Key,
    /// What its files say now, and what is wrong with them.
    pub status: Option<(Status, Option<String>)>,
    /// Values of fields that the server writes.
    pub values: Vec<(usize, Value)>,
}

impl Amendment {
    /// Nothing but that the row is delivered again: what is shown with it changed.
    pub fn touch(key: Key) -> Amendment {
        Amendment { key, status: None, values: Vec::new() }
    }
}

/// Amends rows, where they are live.
pub fn plan_amendments(world: World, amendments: Vec<Amendment>) -> Plan {
    let mut planner = Planner::new(world);
    for Amendment { key, status, values } in amendments {
        if !planner.world.rows.get(&key).is_some_and(Row::is_live) {
            continue;
        }
        planner.touch(key);
        let Some(row) = planner.world.rows.get_mut(&key) else { continue };
        if let Some((status, error)) = status {
            row.status = status;
            row.sync_error = error;
        }
        for (field, value) in values {
            row.content.values[field] = value;
        }
    }
    planner.finish()
}

/// Moves the heads of scopes whose answers changed though no row of theirs did.
pub fn plan_nudge(world: World, scopes: impl IntoIterator<Item = Uuid>) -> Plan {
    let mut planner = Planner::new(world);
    planner.nudged.extend(scopes);
    planner.finish()
}

/// What the batch did to a row so far.
struct Chain {
    state: ChainState,
    /// The version that the first change was made on.
    base: i32,
}

#[derive(Clone, Copy, PartialEq)]
enum ChainState {
    Applied,
    Failed,
    /// Later changes join this conflict.
    Open(Uuid),
    /// Later changes go to the copy that KEEP_BOTH made.
    Copied {
        conflict: Uuid,
        copy: Uuid,
    },
}

/// How a row was before the batch.
struct Before {
    scope: Uuid,
    live: bool,
    entered_seq: i64,
    refs: Vec<Uuid>,
    files: Vec<(usize, String)>,
}

/// What the caller may know of a row.
enum Sight {
    Member(Role),
    /// It had been given to the caller while they were a member.
    Given,
    Hidden,
}

/// Why content cannot hang where it wants to.
enum Trouble {
    Refused(Refusal),
    /// A parent in this scope is deleted.
    ParentDeleted(Uuid),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        Trouble::Refused(refusal)
    }
}

struct Planner {
    world: World,
    plan: Plan,
    done: HashMap<String, (Uuid, Verdict)>,
    chains: HashMap<Key, Chain>,
    failed_creates: HashSet<Key>,
    children: HashMap<(EntityType, usize, Uuid), Vec<Uuid>>,
    /// Rows to write, in the order in which they were first touched; each gets one seq.
    touched: Vec<Key>,
    before: HashMap<Key, Option<Before>>,
    /// Scopes whose answers changed though no row of theirs did.
    nudged: BTreeSet<Uuid>,
    changed_conflicts: Vec<Key>,
    /// Copies that KEEP_BOTH made, with what they are copies of.
    copies: HashMap<Key, Uuid>,
    /// Someone decides about the edits of others: files stay theirs who named them.
    is_resolution: bool,
    /// What a person decides is named by them: what they cannot see is refused, not left out.
    is_manual: bool,
    /// What rows may carry though the sender cannot see it: the one whose edit is taken sees it.
    lent: HashSet<Key>,
}

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, message))
}

impl Planner {
    fn new(mut world: World) -> Planner {
        let done = std::mem::take(&mut world.receipts)
            .into_values()
            .map(|receipt| {
                let verdict = match receipt.conflict {
                    Some(id) => Verdict::Conflict { id },
                    None => Verdict::Successful { id: receipt.key.1, version: receipt.version },
                };
                (receipt.operation_key, (receipt.hash, verdict))
            })
            .collect();
        let mut planner = Planner {
            world,
            plan: Plan::default(),
            done,
            chains: HashMap::new(),
            failed_creates: HashSet::new(),
            children: HashMap::new(),
            touched: Vec::new(),
            before: HashMap::new(),
            nudged: BTreeSet::new(),
            changed_conflicts: Vec::new(),
            copies: HashMap::new(),
            is_resolution: false,
            is_manual: false,
            lent: HashSet::new(),
        };
        let keys: Vec<Key> = planner.world.rows.keys().copied().collect();
        for key in keys {
            planner.index_children(key);
        }
        planner
    }

    /// One item, from its receipt to its own receipt.
    fn verdict(&mut self, item: &Item, after_delete: bool) -> Verdict {
        if let Some((hash, verdict)) = self.done.get(&item.operation_key) {
            return match *hash == item.hash {
                true => verdict.clone(),
                false => Verdict::Failed(Refusal::new(
                    ErrorCode::OperationReused,
                    "operationId: was used for another edit; each edit needs its own",
                )),
            };
        }
        let result = match &item.change {
            Err(refusal) => Err(refusal.clone()),
            Ok(_) if after_delete => refuse(
                ErrorCode::Validation,
                "the batch deletes this row before; nothing can follow",
            ),
            Ok(change) => self.change(item, change),
        };
        let verdict = result.unwrap_or_else(Verdict::Failed);
        if after_delete {
            // The deletion itself is still to be worked off.
        } else if let Ok(change) = &item.change {
            let key = (change.entity_type, change.id);
            match &verdict {
                Verdict::Failed(_) => {
                    if item.operation == Operation::Create && !self.world.rows.contains_key(&key) {
                        self.failed_creates.insert(key);
                    }
                    self.chains.insert(key, Chain { state: ChainState::Failed, base: 0 });
                }
                Verdict::Successful { version, .. } => self.receipt(item, key, *version, None),
                Verdict::Conflict { id } => {
                    let version = self.world.rows.get(&key).map_or(0, |row| row.version);
                    self.receipt(item, key, version, Some(*id));
                }
            }
        } else if let Some(id) = crate::kinds::parse_id(&item.shown_id) {
            let key = (item.entity_type, id);
            if item.operation == Operation::Create && !self.world.rows.contains_key(&key) {
                self.failed_creates.insert(key);
            }
            self.chains.insert(key, Chain { state: ChainState::Failed, base: 0 });
        }
        self.done.insert(item.operation_key.clone(), (item.hash, verdict.clone()));
        verdict
    }

    fn receipt(&mut self, item: &Item, key: Key, version: i32, conflict: Option<Uuid>) {
        self.plan.receipts.push(Receipt {
            operation_key: item.operation_key.clone(),
            hash: item.hash,
            key,
            version,
            conflict,
        });
    }

    fn change(&mut self, item: &Item, change: &Change) -> Result<Verdict, Refusal> {
        let key = (change.entity_type, change.id);
        if self.chains.get(&key).is_some_and(|chain| chain.state == ChainState::Failed) {
            return refuse(
                ErrorCode::Dependency,
                "an earlier change of this row in the batch failed",
            );
        }
        if let Some(verdict) = self.authorize(change)? {
            return Ok(verdict);
        }
        match self.chains.get(&key).map(|chain| chain.state) {
            // A deletion of what is deleted is done, however the batches are cut.
            Some(ChainState::Open(_))
                if change.operation == Operation::Delete
                    && self.world.rows.get(&key).is_some_and(|row| !row.is_live()) => {}
            Some(ChainState::Open(_)) => return Ok(self.join(item, change)),
            Some(ChainState::Copied { conflict, copy }) => {
                // What the device does next to its version of the row, it does to the copy.
                let change = Change { id: copy, ..change.clone() };
                self.change(item, &change)?;
                return Ok(Verdict::Conflict { id: conflict });
            }
            _ if self.joins(change) => return Ok(self.join(item, change)),
            _ => {}
        }

        let row = self.world.rows.get(&key);
        let facts = decide::Facts {
            sender: self.world.sender,
            row,
            revisions: self.world.revisions.get(&key).map(Vec::as_slice).unwrap_or_default(),
            chained: self.chains.get(&key).map(|chain| chain.base),
            policy: &self.world.policy,
        };
        let decision = decide(change, &facts);
        let base = match row {
            Some(row) => decide::base(change, row, &facts),
            None => Base::UNKNOWN,
        };
        let verdict = self.carry_out(item, change, decision, &base)?;
        self.chain(key, base);
        Ok(verdict)
    }

    /// Remembers what the row's later changes are made on, after one that did not fail.
    fn chain(&mut self, key: Key, base: Base) {
        let settled = self.chains.get(&key).is_some_and(|c| c.state != ChainState::Applied);
        if settled || !self.world.rows.contains_key(&key) {
            return;
        }
        // The maker of a row takes version 1 for its own, even where another's row was there.
        let base = Ord::max(base.version, 1);
        self.chains.insert(key, Chain { state: ChainState::Applied, base });
    }

    /// Refuses what the caller may not do. A verdict comes back where there is nothing to do for
    /// someone who may not know that the row exists.
    fn authorize(&self, change: &Change) -> Result<Option<Verdict>, Refusal> {
        let kind = change.entity_type.kind();
        let key = (change.entity_type, change.id);
        let Some(row) = self.world.rows.get(&key) else {
            let taken = kind.home == Home::Itself && self.world.taken.contains(&change.id);
            // What waits in a conflict may still become a row, of those whom that concerns.
            let reserved = self.world.open.get(&key).is_some_and(|(conflict, _)| {
                !matches!(
                    self.world.memberships.get(&conflict.scope),
                    Some(Membership { until: None, role }) if *role != Role::Viewer
                )
            });
            return match change.operation == Operation::Create && (taken || reserved) {
                true => refuse(ErrorCode::Validation, "id: this id cannot be used"),
                false => Ok(None),
            };
        };
        match self.sight(row) {
            Sight::Member(Role::Viewer) => {
                refuse(ErrorCode::Forbidden, "your role allows to read, not to change")
            }
            Sight::Member(role)
                if change.operation == Operation::Delete
                    && kind.home == Home::Itself
                    && role != Role::Owner =>
            {
                refuse(ErrorCode::Forbidden, format!("only the owner may delete a {}", kind.name()))
            }
            Sight::Member(_) => Ok(None),
            Sight::Given => refuse(ErrorCode::Forbidden, "you are no longer a member"),
            Sight::Hidden => match change.operation {
                Operation::Create => refuse(ErrorCode::Validation, "id: this id cannot be used"),
                Operation::Update => {
                    refuse(ErrorCode::NotFound, format!("there is no such {}", kind.name()))
                }
                Operation::Delete => {
                    Ok(Some(Verdict::Successful { id: change.id, version: change.base_version }))
                }
            },
        }
    }

    fn sight(&self, row: &Row) -> Sight {
        match self.world.memberships.get(&row.scope) {
            Some(Membership { role, until: None }) => Sight::Member(*role),
            Some(Membership { until: Some(until), .. }) if row.entered_seq <= *until => {
                Sight::Given
            }
            _ => Sight::Hidden,
        }
    }

    /// Whether the change belongs to an open conflict: the device's earlier edit is in it, and it
    /// has not seen what the row became. So it makes no difference how a device cuts its batches.
    fn joins(&self, change: &Change) -> bool {
        let key = (change.entity_type, change.id);
        let Some((conflict, senders)) = self.world.open.get(&key) else { return false };
        let sender = self.world.sender;
        let mine = senders.contains(&(sender.account, sender.device));
        match self.world.rows.get(&key) {
            Some(row) if change.operation == Operation::Delete && !row.is_live() => false,
            Some(row) => {
                // A device whose creation collided takes the row's version 1 for its own.
                let unseen = match conflict.conflict_type {
                    ConflictType::ConcurrentModification => change.base_version <= 1,
                    _ => false,
                };
                mine && sender.device.is_some() && (unseen || change.base_version < row.version)
            }
            // Only the conflict knows the row. Who cannot see the scope learns nothing of it.
            None => matches!(
                self.world.memberships.get(&conflict.scope),
                Some(Membership { until: None, role }) if *role != Role::Viewer
            ),
        }
    }

    fn carry_out(
        &mut self,
        item: &Item,
        change: &Change,
        decision: Decision,
        base: &Base,
    ) -> Result<Verdict, Refusal> {
        let key = (change.entity_type, change.id);
        match decision {
            Decision::Refuse(code, message) => refuse(code, message),
            Decision::Same => Ok(Verdict::Successful {
                id: key.1,
                version: self.world.rows.get(&key).map_or(change.base_version, |row| row.version),
            }),
            Decision::Create(content) => {
                self.check(&content)?;
                match self.place(key, content, None) {
                    Ok((content, scope)) => {
                        self.create(key, content, scope, change);
                        Ok(Verdict::Successful { id: key.1, version: 1 })
                    }
                    Err(trouble) => self.open_for_parent(item, change, base, trouble),
                }
            }
            Decision::Apply(content) => {
                self.check(&content)?;
                match self.rewrite(key, content, change.client_time) {
                    Ok(version) => Ok(Verdict::Successful { id: key.1, version }),
                    Err(trouble) => self.open_for_parent(item, change, base, trouble),
                }
            }
            Decision::Delete if self.world.unseen.contains(&key) => {
                Ok(self.open(item, change, base, ConflictType::Deletion, &[]))
            }
            Decision::Delete => {
                let version = self.delete(key, change.client_time);
                Ok(Verdict::Successful { id: key.1, version })
            }
            Decision::Open { conflict, fields } => {
                Ok(self.open(item, change, base, conflict, &fields))
            }
            Decision::Settle { conflict, strategy, fields, outcome } => {
                let record = self.record(item, change, base, conflict, &fields);
                let id = record.id;
                let mut did = Did::Kept;
                match outcome {
                    Outcome::Unchanged => {}
                    Outcome::Deleted => {
                        did = Did::Deleted;
                        self.delete(key, change.client_time);
                    }
                    Outcome::Row(content) => {
                        did = Did::Edited;
                        // The merged row is checked like any other. Where it is invalid, each side
                        // may be valid for itself: but for who overwrites, that is for a person.
                        match self.check(&content) {
                            Err(refusal) if change.is_blind => return Err(refusal),
                            Err(_) => return Ok(self.open(item, change, base, conflict, &fields)),
                            Ok(()) => {}
                        }
                        let before = self.world.rows.get(&key).map(|row| row.version);
                        match self.rewrite(key, content, change.client_time) {
                            // What was left of it was references that cannot be carried.
                            Ok(version) if Some(version) == before => did = Did::Kept,
                            Ok(_) => {}
                            Err(Trouble::Refused(refusal))
                                if refusal.code == ErrorCode::Validation && !change.is_blind =>
                            {
                                return Ok(self.open(item, change, base, conflict, &fields));
                            }
                            Err(trouble) => {
                                return self.open_for_parent(item, change, base, trouble);
                            }
                        }
                    }
                    Outcome::Copy(content) => {
                        did = Did::Copied;
                        let copy = copy_id(id, 0);
                        let original = self.world.rows.get(&key).map(|row| &row.content);
                        let content = labelled_as_copy(content, original);
                        if self.check(&content).is_err() {
                            return Ok(self.open(item, change, base, conflict, &fields));
                        }
                        let copy_key = (key.0, copy);
                        // It hangs where the row hangs, and carries what the row carries.
                        let beside = self.world.rows.get(&key).filter(|row| row.scope != row.id);
                        let Ok((content, scope)) = self.place(copy_key, content, beside) else {
                            return Ok(self.open(item, change, base, conflict, &fields));
                        };
                        self.copies.insert(copy_key, key.1);
                        self.create(copy_key, content, scope, change);
                        let state = ChainState::Copied { conflict: id, copy };
                        self.chains.insert(key, Chain { state, base: 1 });
                        let state = ChainState::Applied;
                        self.chains.insert(copy_key, Chain { state, base: 1 });
                    }
                }
                self.settle(record, strategy, did, item, change);
                Ok(Verdict::Conflict { id })
            }
        }
    }

    /// Stores a conflict because of a deleted parent; passes any other trouble on.
    fn open_for_parent(
        &mut self,
        item: &Item,
        change: &Change,
        base: &Base,
        trouble: Trouble,
    ) -> Result<Verdict, Refusal> {
        match trouble {
            Trouble::Refused(refusal) => Err(refusal),
            Trouble::ParentDeleted(scope) => {
                let key = (change.entity_type, change.id);
                let mut record = self.record(item, change, base, ConflictType::Dependency, &[]);
                if !self.world.rows.contains_key(&key) {
                    record.scope = scope;
                }
                Ok(self.keep_open(record, item, change))
            }
        }
    }

    fn check(&self, content: &Content) -> Result<(), Refusal> {
        let kind = content.kind.kind();
        for (field, _) in kind.refs() {
            // Two sets that are within the limit may merge into one that is not.
            if content.values[field].as_ids().len() > crate::kinds::MAX_SET {
                let name = &kind.fields[field].name;
                return refuse(ErrorCode::Validation, format!("{name}: has too many members"));
            }
        }
        (kind.check)(content).map_err(Refusal::from)
    }

    /// Finds the scope that content belongs in, and checks what it refers to. `current` is the row
    /// as it is, if there is one: what it refers to already is not asked again.
    fn place(
        &self,
        key: Key,
        mut content: Content,
        current: Option<&Row>,
    ) -> Result<(Content, Uuid), Trouble> {
        let kind = content.kind.kind();
        let mut scope = match kind.home {
            Home::Account => self.world.sender.account,
            Home::Itself => key.1,
            Home::Parent(_) => Uuid::nil(),
        };
        if let Some(current) = current
            && !matches!(kind.home, Home::Parent(_))
        {
            scope = current.scope;
        }
        if let Home::Parent(field) = kind.home {
            let field = kind.field(field);
            let unchanged =
                current.filter(|row| row.content.values[field] == content.values[field]);
            scope = match unchanged {
                Some(row) => row.scope,
                None => self.parent_scope(kind, field, &content)?,
            };
        }
        for (field, _) in kind.parents() {
            let value = &content.values[field];
            if value.is_null()
                || matches!(kind.home, Home::Parent(home) if kind.field(home) == field)
            {
                continue;
            }
            let moved = current.is_none_or(|row| row.scope != scope);
            let new = current.is_none_or(|row| row.content.values[field] != *value);
            if new || moved {
                let parent_scope = if new {
                    self.parent_scope(kind, field, &content)?
                } else {
                    // It refers to it already; where that lies now is all that matters.
                    let parent = kind.fields[field].parent().zip(value.as_id());
                    parent
                        .and_then(|((kind, _), id)| self.world.rows.get(&(kind, id)))
                        .map_or(scope, |row| row.scope)
                };
                if parent_scope != scope {
                    let name = &kind.fields[field].name;
                    let message = format!("{name}: must lie in the same trip as the row itself");
                    return Err(Refusal::new(ErrorCode::Validation, message).into());
                }
            }
        }
        for (field, target) in kind.refs() {
            let carried: &[Uuid] =
                current.map(|row| row.content.values[field].as_ids()).unwrap_or_default();
            let mut kept = Vec::new();
            for id in content.values[field].as_ids() {
                if carried.contains(id) || self.may_refer(kind, field, (target, *id))? {
                    kept.push(*id);
                }
            }
            content.values[field] = Value::Ids(kept);
        }
        Ok((content, scope))
    }

    /// The scope of the row that a field names, which must be there, and open to the caller.
    fn parent_scope(&self, kind: &Kind, field: usize, content: &Content) -> Result<Uuid, Trouble> {
        let name = &kind.fields[field].name;
        let Some(((parent, _), id)) =
            kind.fields[field].parent().zip(content.values[field].as_id())
        else {
            let message = format!("{name}: must name a parent");
            return Err(Refusal::new(ErrorCode::Validation, message).into());
        };
        let key = (parent, id);
        if self.failed_creates.contains(&key) {
            let message = format!("{name}: its creation failed in this batch");
            return Err(Refusal::new(ErrorCode::Dependency, message).into());
        }
        let hidden = || {
            Trouble::Refused(Refusal::new(
                ErrorCode::NotFound,
                format!("{name}: there is no such {}", parent.name()),
            ))
        };
        let Some(row) = self.world.rows.get(&key) else {
            // The parent itself may wait in a conflict; then its child waits with it.
            return match self.world.open.get(&key) {
                Some((conflict, _)) => match self.world.memberships.get(&conflict.scope) {
                    Some(Membership { until: None, role }) if *role != Role::Viewer => {
                        Err(Trouble::ParentDeleted(conflict.scope))
                    }
                    _ => Err(hidden()),
                },
                None => Err(hidden()),
            };
        };
        match self.sight(row) {
            Sight::Member(Role::Viewer) => Err(Trouble::Refused(Refusal::new(
                ErrorCode::Forbidden,
                format!("{name}: your role there allows to read, not to change"),
            ))),
            Sight::Member(_) if !row.is_live() => Err(Trouble::ParentDeleted(row.scope)),
            Sight::Member(_) => Ok(row.scope),
            Sight::Given => Err(Trouble::Refused(Refusal::new(
                ErrorCode::Forbidden,
                format!("{name}: you are no longer a member there"),
            ))),
            Sight::Hidden => Err(hidden()),
        }
    }

    /// Whether a row may newly carry a reference. A deleted one is dropped: it is on no row any more.
    fn may_refer(&self, kind: &Kind, field: usize, key: Key) -> Result<bool, Refusal> {
        let name = &kind.fields[field].name;
        if self.failed_creates.contains(&key) {
            return refuse(
                ErrorCode::Dependency,
                format!("{name}: the creation of {} failed in this batch", key.1),
            );
        }
        let missing = || format!("{name}: there is no {} {}", key.0.name(), key.1);
        match self.world.rows.get(&key) {
            // A device that has not heard of the deletion still sends it. It may be another's, whose
            // memory carried it; of a stranger's it is not told that it was there.
            Some(row)
                if !row.is_live()
                    && (row.scope == self.world.sender.account
                        || self.world.is_import
                        || self.world.acquainted.contains(&row.scope)) =>
            {
                Ok(false)
            }
            Some(row) if !row.is_live() => refuse(ErrorCode::NotFound, missing()),
            Some(row) if matches!(self.sight(row), Sight::Member(_)) => Ok(true),
            Some(_) if self.lent.contains(&key) => Ok(true),
            Some(_) if self.world.is_import => Ok(true),
            _ => refuse(ErrorCode::NotFound, missing()),
        }
    }

    // ── Writing into the world ───────────────────────────────────────────────────────────────

    fn touch(&mut self, key: Key) {
        let row = self.world.rows.get(&key);
        if self.before.contains_key(&key) {
            return;
        }
        if self.world.buried.contains(&key) {
            // Nothing is left to write; its scope's answers change all the same.
            self.nudged.extend(row.map(|row| row.scope));
            return;
        }
        let before = row.map(|row| Before {
            scope: row.scope,
            live: row.is_live(),
            entered_seq: row.entered_seq,
            refs: live_refs(row),
            files: named_files(row),
        });
        self.before.insert(key, before);
        self.touched.push(key);
    }

    /// What a row's files say: pending as soon as one is named that is awaited, until its bytes are
    /// there.
    fn file_status(&mut self, key: Key, content: &Content) -> Status {
        let mut status = Status::InSync;
        for (at, file) in key.0.kind().files().filter(|(_, file)| file.awaited) {
            let Some(name) = content.values[at].as_text() else { continue };
            let account = self.namer(key, at, name);
            let there = self.world.files.get(&(account, name.to_owned()));
            let there = there.is_some_and(|bytes| match file.size {
                Some(field) => *content.get(field) == Value::Int(*bytes),
                None => true,
            });
            if there && key.0.kind().read_file.is_none() {
                continue;
            }
            if there && !self.plan.unread.contains(&key) {
                self.plan.unread.push(key);
            }
            status = Status::FilesPending;
        }
        status
    }

    /// In whose space the file lies that a row is to name: of who named it, if it is named already, or
    /// in what the row is a copy of.
    fn namer(&self, key: Key, field: usize, name: &str) -> Uuid {
        let known =
            |id: Uuid| self.world.namers.get(&((key.0, id), field, name.to_owned())).copied();
        let current = self.world.rows.get(&key);
        let current =
            current.filter(|row| row.content.values[field].as_text().is_some_and(|n| n == name));
        match (current, self.copies.get(&key)) {
            (Some(row), _) => known(row.id).unwrap_or(row.created_by),
            (None, Some(original)) => known(*original).unwrap_or(self.world.sender.account),
            (None, None) if self.is_resolution => known(key.1).unwrap_or(self.world.sender.account),
            (None, None) => self.world.sender.account,
        }
    }

    fn index_children(&mut self, key: Key) {
        let Some(row) = self.world.rows.get(&key) else { return };
        let links: Vec<_> = row
            .kind()
            .parents()
            .filter_map(|(field, _)| row.parent(field).map(|parent| (field, parent)))
            .collect();
        for (field, parent) in links {
            self.children.entry((key.0, field, parent)).or_default().push(key.1);
        }
    }

    /// Live rows that point to a row, with the field by which they do.
    fn children_of(&self, key: Key) -> Vec<(Key, usize, OnDelete)> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for child in &key.0.kind().children {
            for id in self.children.get(&(child.kind, child.field, key.1)).into_iter().flatten() {
                let child_key = (child.kind, *id);
                let points_here = self
                    .world
                    .rows
                    .get(&child_key)
                    .is_some_and(|row| row.is_live() && row.parent(child.field) == Some(key.1));
                if points_here && seen.insert((child_key, child.field)) {
                    found.push((child_key, child.field, child.on_delete));
                }
            }
        }
        found
    }

    fn create(&mut self, key: Key, content: Content, scope: Uuid, change: &Change) {
        let account = self.world.sender.account;
        let now = self.world.now;
        let client_time = change.client_time;
        self.touch(key);
        if content.kind.kind().home == Home::Itself {
            self.plan.new_scopes.push(scope);
            self.world.memberships.insert(scope, Membership { role: Role::Owner, until: None });
            self.world.scopes.insert(scope, Scope { head: 0, head_at: 0, shared: false });
        }
        let status = self.file_status(key, &content);
        let row = Row {
            id: key.1,
            scope,
            seq: 0,
            entered_seq: 0,
            version: 1,
            field_versions: Vec::new(),
            status,
            last_sync_attempt: Some(now),
            sync_error: None,
            conflict: None,
            created_by: change.past.and_then(|past| past.created_by).unwrap_or(account),
            created_at: change.past.map_or(now, |past| past.created_at),
            updated_at: change.past.map_or(now, |past| past.updated_at),
            deleted_at: None,
            deleted_root: None,
            content,
        };
        self.world.rows.insert(key, row);
        self.index_children(key);
        self.revise(key, client_time, Vec::new(), None);
    }

    /// Notes what made a row's version, while the row still lies where it lay before.
    fn revise(
        &mut self,
        key: Key,
        client_time: Millis,
        old: Vec<(usize, Value)>,
        life: Option<Life>,
    ) {
        let Some(row) = self.world.rows.get(&key) else { return };
        let Sender { account, device } = self.world.sender;
        let revision = Revision {
            version: row.version,
            account,
            device,
            client_time,
            at: self.world.now,
            seq: 0,
            scope: Some(row.scope),
            old,
            life,
        };
        self.world.revisions.entry(key).or_default().push(revision.clone());
        self.plan.revisions.push((key, revision));
    }

    /// Gives a row a new version without another content, and says which.
    fn bump(&mut self, key: Key, client_time: Millis, life: Option<Life>) -> i32 {
        self.touch(key);
        let now = self.world.now;
        let Some(row) = self.world.rows.get_mut(&key) else { return 0 };
        row.version += 1;
        row.updated_at = now;
        let version = row.version;
        self.revise(key, client_time, Vec::new(), life);
        version
    }

    /// Gives a row new content, and moves it if that lies elsewhere. Returns its new version.
    fn rewrite(&mut self, key: Key, content: Content, client_time: Millis) -> Result<i32, Trouble> {
        let Some(row) = self.world.rows.get(&key) else {
            let message = format!("there is no such {}", key.0.name());
            return Err(Refusal::new(ErrorCode::NotFound, message).into());
        };
        let (mut content, scope) = self.place(key, content, Some(row))?;
        let moved = scope != row.scope;
        let kind = row.kind();
        let differs =
            |content: &Content, field: usize| row.content.values[field] != content.values[field];
        if kind.read_file.is_some() && kind.files().any(|(at, _)| differs(&content, at)) {
            // What was read from the file before says nothing of this one.
            for (field, value) in kind.fields.iter().zip(&mut content.values) {
                if field.writer == Writer::Server {
                    *value = Value::Null;
                }
            }
        }
        let other_file = kind.files().any(|(at, file)| {
            let size = file.size.map(|name| kind.field(name));
            file.awaited && (differs(&content, at) || size.is_some_and(|at| differs(&content, at)))
        });
        let old: Vec<(usize, Value)> = row
            .content
            .values
            .iter()
            .zip(&content.values)
            .enumerate()
            .filter(|(_, (old, new))| old != new)
            .map(|(field, (old, _))| (field, old.clone()))
            .collect();
        if old.is_empty() {
            return Ok(row.version);
        }
        self.touch(key);
        let now = self.world.now;
        let status = other_file.then(|| self.file_status(key, &content));
        let Some(row) = self.world.rows.get_mut(&key) else { return Ok(0) };
        row.version += 1;
        let version = row.version;
        for (field, _) in &old {
            row.set_version_of(*field, version);
        }
        if let Some(status) = status {
            row.status = status;
            row.sync_error = None;
        }
        row.content = content;
        row.updated_at = now;
        row.last_sync_attempt = Some(now);
        self.index_children(key);
        self.revise(key, client_time, old, None);
        if moved {
            self.move_to(key, scope);
        }
        // A row that others carry is shown inside theirs: those are delivered again.
        for carrier in self.world.carriers.get(&key).cloned().unwrap_or_default() {
            let shown = self.world.rows.get(&carrier).is_some_and(|row| {
                row.is_live() && self.world.scopes.get(&row.scope).is_some_and(|scope| scope.shared)
            });
            if shown {
                self.touch(carrier);
            }
        }
        Ok(version)
    }

    /// Moves a row, and what hangs on it, to another scope. No new version: nobody edited it.
    fn move_to(&mut self, key: Key, scope: Uuid) {
        self.touch(key);
        if let Some(row) = self.world.rows.get_mut(&key) {
            row.scope = scope;
        }
        if let Some((conflict, _)) = self.world.open.get_mut(&key) {
            conflict.scope = scope;
            self.changed_conflicts.push(key);
        }
        for (child, field, _) in self.children_of(key) {
            if let Home::Parent(home) = child.0.kind().home
                && child.0.kind().field(home) != field
            {
                // It hangs on the scope's own row, too: on the new one from now on.
                self.touch(child);
                if let Some(row) = self.world.rows.get_mut(&child) {
                    row.content.values[child.0.kind().field(home)] = Value::Id(scope);
                }
                self.index_children(child);
            }
            self.move_to(child, scope);
        }
    }

    /// Makes a row and all below it tombstones. Returns the row's new version.
    fn delete(&mut self, key: Key, client_time: Millis) -> i32 {
        let now = self.world.now;
        let mut doomed = vec![key];
        let mut seen: HashSet<Key> = HashSet::from([key]);
        let mut at = 0;
        let mut unlinked = Vec::new();
        while let Some(parent) = doomed.get(at).copied() {
            at += 1;
            for (child, field, on_delete) in self.children_of(parent) {
                match on_delete {
                    OnDelete::Cascade if seen.insert(child) => doomed.push(child),
                    OnDelete::Cascade => {}
                    OnDelete::Unlink => unlinked.push((child, field)),
                }
            }
        }
        unlinked.retain(|(child, _)| !seen.contains(child));
        for (child, field) in unlinked {
            self.touch(child);
            if let Some(row) = self.world.rows.get_mut(&child) {
                row.content.values[field] = Value::Null;
            }
        }
        for dead in &doomed {
            self.touch(*dead);
            if let Some(row) = self.world.rows.get_mut(dead) {
                row.deleted_at = Some(now);
                row.deleted_root = Some(key.1);
            }
            if let Some((conflict, _)) = self.world.open.get_mut(dead) {
                conflict.conflict_type = ConflictType::Deletion;
                self.changed_conflicts.push(*dead);
            }
            for carrier in self.world.carriers.get(dead).cloned().unwrap_or_default() {
                self.drop_reference(carrier, *dead);
            }
        }
        self.bump(key, client_time, Some(Life::Ended))
    }

    /// Makes tombstones live again: the row, and what its deletion took along.
    fn restore(&mut self, key: Key) -> Result<(), Refusal> {
        self.raise(key, &BTreeMap::new())?;
        self.bump(key, self.world.now, Some(Life::Began));
        Ok(())
    }

    /// As `restore`, without a new version for the row itself, which is to get these values: where
    /// they name another parent, the old one may be gone.
    fn raise(&mut self, root: Key, values: &BTreeMap<usize, Value>) -> Result<(), Refusal> {
        if self.world.rows.get(&root).is_none_or(Row::is_live) {
            return refuse(ErrorCode::Validation, format!("{} is not deleted", root.1));
        }
        let back: Vec<Key> = self
            .world
            .rows
            .values()
            .filter(|row| row.key() == root || row.deleted_root == Some(root.1))
            .map(Row::key)
            .collect();
        for key in &back {
            self.touch(*key);
            if let Some(row) = self.world.rows.get_mut(key) {
                row.deleted_at = None;
                row.deleted_root = None;
            }
            if let Some((conflict, _)) = self.world.open.get_mut(key)
                && conflict.conflict_type == ConflictType::Deletion
                && !conflict.is_about_deletion()
            {
                // It is again about what it was before the row was deleted.
                conflict.conflict_type = ConflictType::VersionMismatch;
                self.changed_conflicts.push(*key);
            }
        }
        for key in &back {
            let Some(mut content) = self.world.rows.get(key).map(|row| row.content.clone()) else {
                continue;
            };
            let is_live = |key: &Key| self.world.rows.get(key).is_some_and(Row::is_live);
            for (field, parent) in key.0.kind().parents() {
                let missing = content.values[field].as_id().filter(|id| !is_live(&(parent, *id)));
                let replaced = *key == root && values.contains_key(&field);
                if let Some(id) = missing.filter(|_| !replaced) {
                    let field_of = &key.0.kind().fields[field];
                    if !field_of.nullable {
                        return refuse(
                            ErrorCode::Dependency,
                            format!("restore {} {id} first", parent.name()),
                        );
                    }
                    content.values[field] = Value::Null;
                }
            }
            for (field, target) in key.0.kind().refs() {
                let kept = content.values[field].as_ids().iter().copied();
                content.values[field] =
                    Value::Ids(kept.filter(|id| is_live(&(target, *id))).collect());
            }
            if let Some(row) = self.world.rows.get_mut(key) {
                row.content = content;
            }
        }
        Ok(())
    }

    fn drop_reference(&mut self, carrier: Key, target: Key) {
        let fields: Vec<usize> = carrier
            .0
            .kind()
            .refs()
            .filter(|(_, kind)| *kind == target.0)
            .map(|(at, _)| at)
            .collect();
        for field in fields {
            let carries = self.world.rows.get(&carrier).is_some_and(|row| {
                row.is_live() && row.content.values[field].as_ids().contains(&target.1)
            });
            if carries {
                self.touch(carrier);
                if let Some(row) = self.world.rows.get_mut(&carrier)
                    && let Value::Ids(ids) = &mut row.content.values[field]
                {
                    ids.retain(|id| *id != target.1);
                }
            }
        }
    }

    // ── Conflicts ────────────────────────────────────────────────────────────────────────────

    fn record(
        &self,
        item: &Item,
        change: &Change,
        base: &Base,
        conflict_type: ConflictType,
        fields: &[usize],
    ) -> Conflict {
        let sender = self.world.sender;
        let key = (change.entity_type, change.id);
        let row = self.world.rows.get(&key);
        let kind = change.entity_type.kind();
        Conflict {
            id: derive(&[
                b"conflict",
                sender.account.as_bytes(),
                sender.device.unwrap_or_default().as_bytes(),
                item.operation_key.as_bytes(),
                kind.name().as_bytes(),
                change.id.as_bytes(),
            ]),
            key,
            scope: row.map_or(sender.account, |row| row.scope),
            conflict_type,
            operation: change.operation,
            operation_id: item.operation_key.clone(),
            device: sender.device,
            account: sender.account,
            local_version: row.map_or(0, |row| row.version),
            remote_version: change.base_version,
            local: row.map(Row::to_json).unwrap_or_default(),
            remote: edit_json(change),
            base: base.content.as_ref().filter(|_| self.lay_here(key, base)).map(Content::to_json),
            fields: fields.iter().map(|field| kind.fields[*field].name.clone()).collect(),
            at: self.world.now,
            resolution: None,
        }
    }

    /// Whether a row lay where it lies now at the version that an edit started from. Who sees it here
    /// may not have seen it there.
    fn lay_here(&self, key: Key, base: &Base) -> bool {
        let here = self.world.rows.get(&key).map(|row| row.scope);
        let revisions = self.world.revisions.get(&key).into_iter().flatten();
        let mut since = revisions.filter(|revision| revision.version > base.version);
        since.all(|revision| revision.scope.is_none() || revision.scope == here)
    }

    fn open(
        &mut self,
        item: &Item,
        change: &Change,
        base: &Base,
        conflict_type: ConflictType,
        fields: &[usize],
    ) -> Verdict {
        let record = self.record(item, change, base, conflict_type, fields);
        self.keep_open(record, item, change)
    }

    /// Keeps a conflict open; if the row has one already, the edit joins that one's story.
    fn keep_open(&mut self, record: Conflict, item: &Item, change: &Change) -> Verdict {
        let key = record.key;
        if self.world.open.contains_key(&key) {
            return self.join(item, change);
        }
        let id = record.id;
        self.tell(id, item, change);
        self.nudge(key, record.scope, id);
        let senders = vec![(record.account, record.device)];
        self.world.open.insert(key, (record, senders));
        self.changed_conflicts.push(key);
        self.stay_open(key, id);
        Verdict::Conflict { id }
    }

    fn join(&mut self, item: &Item, change: &Change) -> Verdict {
        let key = (change.entity_type, change.id);
        let Sender { account, device } = self.world.sender;
        let Some((conflict, senders)) = self.world.open.get_mut(&key) else {
            // Callers have found it; a conflict that is not there cannot be joined.
            return Verdict::Failed(Refusal::new(ErrorCode::NotFound, "there is no such conflict"));
        };
        let (id, scope) = (conflict.id, conflict.scope);
        if self.world.told.get(&id).is_some_and(|told| *told >= limits::STORY) {
            return Verdict::Failed(Refusal::new(
                ErrorCode::Limit,
                format!("this row's conflict has {} edits; decide it first", limits::STORY),
            ));
        }
        conflict.remote.extend(edit_json(change));
        let fields = change.edit.keys().map(|field| &key.0.kind().fields[*field].name);
        for name in fields {
            if !conflict.fields.contains(name) {
                conflict.fields.push(name.clone());
            }
        }
        senders.push((account, device));
        self.changed_conflicts.push(key);
        self.tell(id, item, change);
        self.nudge(key, scope, id);
        self.stay_open(key, id);
        Verdict::Conflict { id }
    }

    fn stay_open(&mut self, key: Key, id: Uuid) {
        self.chains.insert(key, Chain { state: ChainState::Open(id), base: 0 });
    }

    /// Writes an edit into a conflict's story. The files that it names stay as long as that does.
    fn tell(&mut self, conflict: Uuid, item: &Item, change: &Change) {
        let Sender { account, device } = self.world.sender;
        let key = (change.entity_type, change.id);
        for (field, _) in key.0.kind().files() {
            if let Some(name) = change.edit.get(&field).and_then(Value::as_text) {
                let name = name.to_owned();
                self.plan.attachments.push(Attachment {
                    key,
                    field,
                    name,
                    begins: false,
                    copied_from: None,
                    named_by: None,
                });
            }
        }
        *self.world.told.entry(conflict).or_default() += 1;
        self.plan.edits.push(Edit {
            conflict,
            account,
            device,
            operation: change.operation,
            operation_id: item.operation_key.clone(),
            remote_version: change.base_version,
            data: edit_json(change),
            client_time: change.client_time,
            at: self.world.now,
        });
    }

    /// A conflict opened or grew: the row is delivered again, or at least its scope's head moves.
    fn nudge(&mut self, key: Key, scope: Uuid, conflict: Uuid) {
        if self.world.rows.contains_key(&key) {
            self.touch(key);
            if let Some(row) = self.world.rows.get_mut(&key) {
                row.conflict = Some(conflict);
            }
        } else {
            self.nudged.insert(scope);
        }
    }

    /// Stores a conflict that is resolved already.
    fn settle(
        &mut self,
        mut record: Conflict,
        strategy: Strategy,
        did: Did,
        item: &Item,
        change: &Change,
    ) {
        self.tell(record.id, item, change);
        // Delivered again, even if nothing changed: a device that lost learns what stands.
        self.touch(record.key);
        let row = self.world.rows.get(&record.key);
        if let Some(scope) = row.map(|row| row.scope).filter(|scope| *scope != record.scope) {
            // It moved with this, and its record with it.
            self.nudged.insert(record.scope);
            record.scope = scope;
        }
        let mut effect = Effect::new(did, row.map_or(0, |row| row.version));
        effect.copy = (did == Did::Copied).then(|| copy_id(record.id, 0));
        record.resolution = Some(Resolution {
            strategy,
            data: row.map(Row::to_json),
            at: self.world.now,
            by: self.world.sender.account,
            effect: Some(effect),
        });
        self.plan.conflicts.push(record);
    }

    // ── The end ──────────────────────────────────────────────────────────────────────────────

    /// Gives every touched row its seq, and writes the deletion log.
    fn finish(mut self) -> Plan {
        let mut moved_heads: BTreeSet<Uuid> = BTreeSet::new();
        let touched = std::mem::take(&mut self.touched);
        let mut seqs: HashMap<Key, i64> = HashMap::new();
        for key in &touched {
            let Some(mut row) = self.world.rows.remove(key) else { continue };
            let before = self.before.remove(key).flatten();
            row.seq = self.next_seq(row.scope, &mut moved_heads);
            let arrived = before.as_ref().is_none_or(|before| before.scope != row.scope);
            if arrived {
                // Who was given the row before it left is told of it again: it never came in anew.
                let earlier = self.world.departed.get(&(row.scope, *key)).copied();
                row.entered_seq = earlier.unwrap_or(row.seq);
            }
            if let Some(before) = &before
                && before.scope != row.scope
            {
                if before.live {
                    let seq = self.next_seq(before.scope, &mut moved_heads);
                    self.plan.departures.push(Departure {
                        scope: before.scope,
                        key: *key,
                        seq,
                        entered_seq: before.entered_seq,
                    });
                }
                self.plan.returns.push((row.scope, *key));
            }
            if !row.is_live() {
                self.plan.departures.push(Departure {
                    scope: row.scope,
                    key: *key,
                    seq: row.seq,
                    entered_seq: row.entered_seq,
                });
            } else if before.as_ref().is_some_and(|before| !before.live) {
                self.plan.returns.push((row.scope, *key));
            }
            seqs.insert(*key, row.seq);
            let old = before.as_ref().map(|before| before.files.as_slice()).unwrap_or_default();
            let new = named_files(&row);
            let ends = old.iter().filter(|named| !new.contains(named)).map(|named| (false, named));
            let begins = new.iter().filter(|named| !old.contains(named)).map(|named| (true, named));
            self.plan.attachments.extend(ends.chain(begins).map(|(begins, (field, name))| {
                Attachment {
                    key: *key,
                    field: *field,
                    name: name.clone(),
                    begins,
                    copied_from: self.copies.get(key).copied(),
                    named_by: match (self.world.is_import, self.is_resolution) {
                        (true, _) => Some(row.created_by),
                        // Whoever decides takes nobody's file for their own.
                        (false, true) => {
                            self.world.namers.get(&(*key, *field, name.clone())).copied()
                        }
                        (false, false) => None,
                    },
                }
            }));
            let refs = live_refs(&row);
            if before.as_ref().map(|before| before.refs.as_slice()).unwrap_or_default() != refs {
                self.plan.links.push((row.key(), refs));
            }
            self.plan.rows.push(row);
        }
        for (key, revision) in &mut self.plan.revisions {
            revision.seq = seqs.get(key).copied().unwrap_or_default();
        }
        for scope in std::mem::take(&mut self.nudged) {
            self.next_seq(scope, &mut moved_heads);
        }
        self.plan.rows.sort_by_key(|row| (row.entity_type(), row.scope, row.seq));
        self.plan.heads = moved_heads
            .into_iter()
            .filter_map(|id| self.world.scopes.get(&id).map(|scope| (id, *scope)))
            .collect();
        let changed: HashSet<Key> = self.changed_conflicts.into_iter().collect();
        self.plan.conflicts.extend(
            changed.into_iter().filter_map(|key| self.world.open.remove(&key)).map(|(c, _)| c),
        );
        self.plan
    }

    fn next_seq(&mut self, scope: Uuid, moved: &mut BTreeSet<Uuid>) -> i64 {
        moved.insert(scope);
        // Every scope that a row lies in was locked and read before; `push` makes sure of it.
        let entry =
            self.world.scopes.entry(scope).or_insert(Scope { head: 0, head_at: 0, shared: false });
        entry.head += 1;
        // A clock that was set back must not make the ticks fall.
        entry.head_at = entry.head_at.max(self.world.now);
        entry.head
    }
}

/// The references of a live row; a tombstone has none.
fn live_refs(row: &Row) -> Vec<Uuid> {
    if !row.is_live() {
        return Vec::new();
    }
    row.kind()
        .refs()
        .flat_map(|(field, _)| row.content.values[field].as_ids().iter().copied())
        .collect()
}

/// The files that a row names.
fn named_files(row: &Row) -> Vec<(usize, String)> {
    row.kind()
        .files()
        .filter_map(|(at, _)| Some((at, row.content.values[at].as_text()?.to_owned())))
        .collect()
}

/// The id of the copy that KEEP_BOTH makes: a retry makes no third. Once that was undone, the id is
/// used up.
fn copy_id(conflict: Uuid, undone: usize) -> Uuid {
    derive(&[b"copy", conflict.as_bytes(), &undone.to_be_bytes()])
}

/// A copy says in its name where it came from.
fn labelled_as_copy(mut content: Content, original: Option<&Content>) -> Content {
    let field = content.kind.kind().field(content.kind.kind().label);
    let text = |content: &Content| content.values[field].as_text().unwrap_or_default().to_owned();
    let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let label = text(&content);
    let source = original.map(text).filter(|source| *source != label && !source.is_empty());
    let mark = match source {
        Some(source) => format!("(conflicting copy of {})", cut(&source, 100)),
        None => "(conflicting copy)".to_owned(),
    };
    let label = cut(&label, kinds::NAME - 1 - mark.chars().count());
    content.values[field] = Value::Text(format!("{label} {mark}").trim_start().to_owned());
    content
}
