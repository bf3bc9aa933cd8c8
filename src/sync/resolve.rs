//! Decides conflicts, and takes decisions back: one transaction, by compare and set.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use entity::Millis;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::conflict::Conflict;
use super::plan::{Plan, Resolving, World, plan_resolutions, plan_undo};
use super::push::{Loader, needed_scopes, share_scopes, write};
use super::resolution::Manual;
use super::row::Key;
use super::scope::{self, Seen, ToLock};
use super::transaction::{self, Failure, Held, Step, Work};
use super::{ConflictStatus, Role, Sender, Strategy, store};
use crate::config::limits;
use crate::db::Db;
use crate::error::{Code, Error};
use crate::kinds::rfc3339;

/// What came of decisions.
pub struct Done {
    /// In the order in which they were asked for.
    pub conflicts: Vec<Conflict>,
    /// Rows whose file is there and has still to be read.
    pub unread: Vec<Key>,
}

/// Decides one conflict. `data` is what `MANUAL_RESOLUTION` needs: a JSON object of fields.
pub async fn resolve(
    db: &Db,
    sender: Sender,
    id: Uuid,
    strategy: Strategy,
    data: Option<&str>,
) -> Result<Done, Error> {
    match (strategy, data) {
        (Strategy::Manual, None) => {
            return Err(Error::bad_input("resolvedData: MANUAL_RESOLUTION needs it"));
        }
        (Strategy::Manual, Some(text)) if text.len() > limits::RESOLVED_DATA => {
            let message = format!("resolvedData: may have {} bytes", limits::RESOLVED_DATA);
            return Err(Error::new(Code::Limit, message));
        }
        (Strategy::Manual, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            return Err(Error::bad_input("resolvedData: only MANUAL_RESOLUTION takes it"));
        }
    }
    let work = Resolve { sender, ids: vec![id], strategy, data, alone: true };
    run(db, sender, &work.ids, &work).await
}

/// Decides several conflicts by one strategy, all or none. What was decided already is answered with
/// what came out.
pub async fn resolve_all(
    db: &Db,
    sender: Sender,
    ids: Vec<Uuid>,
    strategy: Strategy,
) -> Result<Done, Error> {
    if ids.len() > limits::CONFLICTS as usize {
        let message = format!("conflictIds: at most {} at once", limits::CONFLICTS);
        return Err(Error::new(Code::Limit, message));
    }
    if strategy == Strategy::Manual {
        let message = "strategy: MANUAL_RESOLUTION is for one conflict at a time";
        return Err(Error::bad_input(message));
    }
    let work = Resolve { sender, ids, strategy, data: None, alone: false };
    run(db, sender, &work.ids, &work).await
}

/// Takes a resolution back. The conflict is open again.
pub async fn undo(db: &Db, sender: Sender, id: Uuid) -> Result<Done, Error> {
    run(db, sender, &[id], &Undo { sender, id }).await
}

/// Looks up what is to be locked, and does the work. Nothing of strangers is locked.
async fn run<W: Work>(db: &Db, sender: Sender, ids: &[Uuid], work: &W) -> Result<W::Done, Error> {
    let seen = scope::seen_by(db.pool(), sender.account).await?;
    let mut scopes = ToLock { named: BTreeSet::from([sender.account]), found: BTreeSet::new() };
    for conflict in read(db.pool(), ids).await?.into_values() {
        if may_decide(&conflict, &seen).is_ok() {
            scopes.found.insert(conflict.scope);
        }
    }
    transaction::run(db, sender.account, scopes, work).await
}

async fn read<C: ConnectionTrait>(db: &C, ids: &[Uuid]) -> Result<HashMap<Uuid, Conflict>, DbErr> {
    use entity::conflict::{Column, Entity};
    let mut found = HashMap::new();
    for among in store::in_lists(db, Column::Id, ids) {
        for model in Entity::find().filter(among).all(db).await? {
            found.insert(model.id, store::read_conflict(model)?);
        }
    }
    Ok(found)
}

/// Whether someone may decide a conflict. To strangers it is not there.
fn may_decide(conflict: &Conflict, seen: &[Seen]) -> Result<(), Error> {
    let member = seen.iter().find(|seen| seen.id == conflict.scope);
    match member.map(|member| (member.role, member.removed_at)) {
        Some((Role::Viewer, None)) => {
            Err(Error::new(Code::Forbidden, "your role allows to read, not to decide"))
        }
        Some((_, None)) => Ok(()),
        Some((_, Some(removed))) if conflict.at <= removed => {
            Err(Error::new(Code::Forbidden, "you are no longer a member"))
        }
        _ => Err(Error::new(Code::NotFound, "there is no such conflict")),
    }
}

/// The second of two who decide learns what came out.
fn already_resolved(conflict: &Conflict) -> Option<Error> {
    let resolution = conflict.resolution.as_ref()?;
    let mut error =
        Error::new(Code::ConflictAlreadyResolved, "somebody has decided this conflict already");
    let data = resolution.data.clone().map(|data| serde_json::Value::Object(data).to_string());
    error.details = Some((
        "resolution",
        json!({
            "conflictId": conflict.id,
            "strategy": resolution.strategy.name(),
            "resolvedData": data,
            "resolvedAt": rfc3339(resolution.at),
            "resolvedBy": resolution.by,
        }),
    ));
    Some(error)
}

struct Resolve<'a> {
    sender: Sender,
    ids: Vec<Uuid>,
    strategy: Strategy,
    data: Option<&'a str>,
    /// It is the only one: where it is decided already, that is an error.
    alone: bool,
}

impl Work for Resolve<'_> {
    type Done = Done;

    async fn attempt(&self, tx: &DatabaseTransaction, held: Held) -> Result<Step<Done>, Failure> {
        let seen = scope::seen_by(tx, self.sender.account).await?;
        let found = read(tx, &self.ids).await?;
        let mut open = Vec::new();
        for id in &self.ids {
            let missing = || Error::new(Code::NotFound, "there is no such conflict");
            let of_several = |error| of_several(error, *id, self.alone);
            let conflict = found.get(id).ok_or_else(missing).map_err(of_several)?;
            may_decide(conflict, &seen).map_err(of_several)?;
            match already_resolved(conflict) {
                Some(error) if self.alone => return Err(error.into()),
                Some(_) => {}
                None => open.push(conflict.clone()),
            }
        }
        let mut manual = None;
        if let (Some(text), Some(conflict)) = (self.data, open.first()) {
            let kind = conflict.key.0.kind();
            let row = store::rows_by_id(tx, kind, &[conflict.key.1]).await?;
            let read = Manual::read(text, conflict.key, row.first()).map_err(Error::from)?;
            manual = Some(read);
        }
        let decisions = open.iter().map(|conflict| Resolving {
            conflict: conflict.id,
            strategy: self.strategy,
            manual: manual.clone(),
        });
        let decisions: Vec<Resolving> = decisions.collect();
        let none = BTreeMap::new();
        let (values, deletes) =
            manual.as_ref().map_or((&none, false), |manual| (manual.values(), manual.deletes()));
        let loaded = Load { sender: self.sender, seen: &seen, conflicts: &open, values, deletes };
        let (mut world, locked, now) = match loaded.world(tx, held).await? {
            Step::Done(loaded) => loaded,
            Step::Lock(missing) => return Ok(Step::Lock(missing)),
            Step::Again => return Ok(Step::Again),
        };
        world.forget_elsewhere(&open);
        let plan = plan_resolutions(world, decisions).map_err(|unresolved| {
            of_several(unresolved.refusal.into(), unresolved.conflict, self.alone)
        })?;
        carry_out(tx, self.sender, now, plan, &locked, &self.ids).await
    }
}

/// Names the conflict that an error is about, where there are several.
fn of_several(mut error: Error, conflict: Uuid, alone: bool) -> Error {
    if !alone {
        error.details = Some(("conflictId", json!(conflict)));
    }
    error
}

struct Undo {
    sender: Sender,
    id: Uuid,
}

impl Work for Undo {
    type Done = Done;

    async fn attempt(&self, tx: &DatabaseTransaction, held: Held) -> Result<Step<Done>, Failure> {
        let seen = scope::seen_by(tx, self.sender.account).await?;
        let conflict = read(tx, &[self.id]).await?.remove(&self.id);
        let conflict =
            conflict.ok_or_else(|| Error::new(Code::NotFound, "there is no such conflict"))?;
        may_decide(&conflict, &seen)?;
        let conflicts = [conflict];
        let none = BTreeMap::new();
        let loaded = Load {
            sender: self.sender,
            seen: &seen,
            conflicts: &conflicts,
            values: &none,
            deletes: false,
        };
        let (world, locked, now) = match loaded.world(tx, held).await? {
            Step::Done(loaded) => loaded,
            Step::Lock(missing) => return Ok(Step::Lock(missing)),
            Step::Again => return Ok(Step::Again),
        };
        let [conflict] = conflicts;
        let plan = plan_undo(world, conflict).map_err(Error::from)?;
        carry_out(tx, self.sender, now, plan, &locked, &[self.id]).await
    }
}

/// Reads what decisions depend on.
struct Load<'a> {
    sender: Sender,
    seen: &'a [Seen],
    conflicts: &'a [Conflict],
    values: &'a BTreeMap<usize, crate::kinds::Value>,
    deletes: bool,
}

impl Load<'_> {
    /// The world with the locked scopes and the time; or what has to be locked, too.
    async fn world(
        &self,
        tx: &DatabaseTransaction,
        mut held: Held,
    ) -> Result<Step<(World, Vec<Uuid>, Millis)>, DbErr> {
        let now = held.now;
        let mut loader = Loader { tx, world: World::empty(self.sender, now, self.seen) };
        loader.disputed(self.conflicts, self.values, self.deletes).await?;
        let mut world = loader.world;
        let scopes = self.conflicts.iter().map(|conflict| conflict.scope);
        let missing = held.cover(tx, needed_scopes(&world).into_iter().chain(scopes)).await?;
        if !missing.is_empty() {
            return Ok(Step::Lock(missing));
        }
        world.scopes = held.scopes;
        share_scopes(tx, &mut world).await?;
        let locked = world.scopes.keys().copied().collect();
        Ok(Step::Done((world, locked, now)))
    }
}

async fn carry_out(
    tx: &DatabaseTransaction,
    sender: Sender,
    now: Millis,
    plan: Plan,
    locked: &[Uuid],
    ids: &[Uuid],
) -> Result<Step<Done>, Failure> {
    if !write(tx, sender, now, &plan, locked).await? {
        return Ok(Step::Again);
    }
    let mut found = read(tx, ids).await?;
    let mut conflicts = Vec::new();
    for id in ids {
        conflicts.extend(found.get_mut(id).cloned());
    }
    Ok(Step::Done(Done { conflicts, unread: plan.unread }))
}

/// Decides what a policy names among the conflicts that a push has opened, in its transaction. What
/// cannot be decided like that stays open. Returns the rows whose file has still to be read.
pub(super) async fn by_policy(
    tx: &DatabaseTransaction,
    sender: Sender,
    held: Held,
    opened: &[Uuid],
    strategy_of: impl Fn(&Conflict) -> Option<Strategy>,
) -> Result<Step<Vec<Key>>, DbErr> {
    let mut named: Vec<(Conflict, Strategy)> = Vec::new();
    for conflict in read(tx, opened).await?.into_values() {
        if conflict.status() == ConflictStatus::Open
            && let Some(strategy) = strategy_of(&conflict)
        {
            named.push((conflict, strategy));
        }
    }
    if named.is_empty() {
        return Ok(Step::Done(Vec::new()));
    }
    named.sort_by_key(|(conflict, _)| conflict.key);
    let seen = scope::seen_by(tx, sender.account).await?;
    let conflicts: Vec<Conflict> = named.iter().map(|(conflict, _)| conflict.clone()).collect();
    let none = BTreeMap::new();
    let load = Load { sender, seen: &seen, conflicts: &conflicts, values: &none, deletes: false };
    let (mut world, locked, now) = match load.world(tx, held).await? {
        Step::Done(loaded) => loaded,
        Step::Lock(missing) => return Ok(Step::Lock(missing)),
        Step::Again => return Ok(Step::Again),
    };
    world.forget_elsewhere(&conflicts);
    let mut decisions: Vec<Resolving> = named
        .iter()
        .map(|(conflict, strategy)| Resolving {
            conflict: conflict.id,
            strategy: *strategy,
            manual: None,
        })
        .collect();
    for _ in 0..limits::POLICY_ATTEMPTS {
        match plan_resolutions(world.clone(), decisions.clone()) {
            Ok(plan) => {
                return Ok(match write(tx, sender, now, &plan, &locked).await? {
                    true => Step::Done(plan.unread),
                    false => Step::Again,
                });
            }
            Err(unresolved) => {
                let (id, why) = (unresolved.conflict, &unresolved.refusal.message);
                tracing::debug!(conflict = %id, why, "a policy cannot decide this conflict");
                decisions.retain(|decision| decision.conflict != id);
            }
        }
    }
    Ok(Step::Done(Vec::new()))
}
