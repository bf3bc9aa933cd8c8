//! Deletions of rows that this database never held: what an import tells of them. Their ids stay
//! taken, and devices that still have the rows are told.

use std::collections::{HashMap, HashSet};

use entity::{Millis, buried};
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::plan::{Departure, Plan, Scope};
use super::push::{Loader, write};
use super::row::Key;
use super::scope::{self, ToLock};
use super::transaction::{self, Failure, Held, Step, Work};
use super::{Sender, plan::World, store};
use crate::db::Db;
use crate::error::Error;
use crate::kinds::{EntityType, Home};

/// A row that is gone.
#[derive(Clone, Copy, Debug)]
pub struct Grave {
    pub key: Key,
    pub deleted_at: Millis,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burial {
    Done,
    /// The row is a tombstone, or was buried before.
    Already,
    /// The row lives.
    Lives,
    /// There is no such scope, or another row of its kind has the id.
    NotThere,
}

/// Buries rows of one scope, which belongs to `owner`. A deleted trip makes its scope: its members
/// are told of it like of any other. Returns what became of each, in their order.
pub async fn bury(
    db: &Db,
    owner: Uuid,
    scope: Uuid,
    graves: &[Grave],
) -> Result<Vec<Burial>, Error> {
    let work = Graves { owner, scope, graves };
    let scopes = ToLock { found: [scope].into(), ..ToLock::default() };
    transaction::run(db, Uuid::nil(), scopes, &work).await
}

struct Graves<'a> {
    owner: Uuid,
    scope: Uuid,
    graves: &'a [Grave],
}

impl Work for Graves<'_> {
    type Done = Vec<Burial>;

    async fn attempt(
        &self,
        tx: &DatabaseTransaction,
        held: Held,
    ) -> Result<Step<Vec<Burial>>, Failure> {
        let sender = Sender { account: self.owner, device: None };
        let mut plan = Plan::default();
        let mut scope = match held.scopes.get(&self.scope) {
            Some(scope) => *scope,
            None if self.graves.iter().any(|grave| self.is_root(grave.key)) => {
                plan.new_scopes.push(self.scope);
                Scope { head: 0, head_at: held.now, shared: false }
            }
            None => return Ok(Step::Done(vec![Burial::NotThere; self.graves.len()])),
        };
        let is_new = !plan.new_scopes.is_empty();
        if !is_new && scope::owner(tx, self.scope).await? != Some(self.owner) {
            return Ok(Step::Done(vec![Burial::NotThere; self.graves.len()]));
        }
        let mut loader = Loader { tx, world: World::empty(sender, held.now, &[]) };
        loader.rows(&self.graves.iter().map(|grave| grave.key).collect()).await?;
        let rows = loader.world.rows;
        let known = self.known(tx).await?;
        let mut told = HashSet::new();
        let mut buried = Vec::new();
        let burials = self.graves.iter().map(|Grave { key, deleted_at }| {
            match (rows.get(key), known.get(key)) {
                (Some(row), _) if row.scope != self.scope => return Burial::NotThere,
                (Some(row), _) if row.is_live() => return Burial::Lives,
                (None, Some(scope)) if *scope != self.scope => return Burial::NotThere,
                (None, None) if told.insert(*key) => {}
                _ => return Burial::Already,
            }
            scope.head += 1;
            buried.push(buried::Model {
                kind: key.0.name().into(),
                entity_id: key.1,
                scope_id: self.scope,
                entered_seq: scope.head,
                sync_version: 1,
                created_by: self.owner,
                deleted_at: *deleted_at,
            });
            plan.departures.push(Departure {
                scope: self.scope,
                key: *key,
                seq: scope.head,
                entered_seq: scope.head,
            });
            Burial::Done
        });
        let burials: Vec<Burial> = burials.collect();
        if buried.is_empty() {
            return Ok(Step::Done(burials));
        }
        scope.head_at = scope.head_at.max(held.now);
        plan.heads.push((self.scope, scope));
        store::insert::<buried::Entity, _>(tx, buried).await?;
        match write(tx, sender, held.now, &plan, &[self.scope]).await? {
            true => Ok(Step::Done(burials)),
            false => Ok(Step::Again),
        }
    }
}

impl Graves<'_> {
    fn is_root(&self, key: Key) -> bool {
        key.0.kind().home == Home::Itself && key.1 == self.scope
    }

    /// What is buried under these ids, with the scopes that it lay in.
    async fn known(&self, tx: &DatabaseTransaction) -> Result<HashMap<Key, Uuid>, DbErr> {
        let ids: Vec<Uuid> = self.graves.iter().map(|grave| grave.key.1).collect();
        let mut known = HashMap::new();
        for among in store::in_lists(tx, buried::Column::EntityId, &ids) {
            for model in buried::Entity::find().filter(among).all(tx).await? {
                if let Some(kind) = EntityType::from_name(&model.kind) {
                    known.insert((kind, model.entity_id), model.scope_id);
                }
            }
        }
        Ok(known)
    }
}
