//! Brings a deleted row back, with everything that its deletion took along.

use std::collections::BTreeSet;

use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use super::plan::{World, plan_restore};
use super::push::{Loader, write};
use super::row::Key;
use super::scope::{self, ToLock};
use super::transaction::{self, Failure, Held, Step, Work};
use super::{Sender, store};
use crate::db::Db;
use crate::error::{Code, Error};
use crate::kinds::EntityType;

/// Restores a row, by the account that owns its scope. Returns the row's new version.
pub async fn restore(db: &Db, entity_type: EntityType, id: Uuid) -> Result<i32, Error> {
    transaction::run(db, Uuid::nil(), ToLock::default(), &Restore((entity_type, id))).await
}

struct Restore(Key);

impl Work for Restore {
    type Done = i32;

    async fn attempt(
        &self,
        tx: &DatabaseTransaction,
        mut held: Held,
    ) -> Result<Step<i32>, Failure> {
        let Restore(root) = *self;
        let (entity_type, id) = root;
        let not_found =
            || Error::new(Code::NotFound, format!("there is no {} {id}", entity_type.name()));
        let found = store::rows_by_id(tx, entity_type.kind(), &[id]).await?;
        let scope = found.first().map(|row| row.scope).ok_or_else(not_found)?;
        let account = scope::owner(tx, scope).await?.ok_or_else(not_found)?;
        let sender = Sender { account, device: None };
        let seen = scope::seen_by(tx, account).await?;
        let mut loader = Loader { tx, world: World::empty(sender, held.now, &seen) };
        loader.restored(root).await?;
        loader.open_conflicts(&BTreeSet::new()).await?;
        // What the rows carry must not be deleted meanwhile: its scopes are locked, too.
        let needed: BTreeSet<Uuid> =
            loader.world.rows.values().map(|row| row.scope).chain([account]).collect();
        let missing = held.cover(tx, needed.iter().copied()).await?;
        if !missing.is_empty() {
            return Ok(Step::Lock(missing));
        }
        loader.world.scopes = held.scopes;
        let plan = plan_restore(loader.world, root)
            .map_err(|refusal| Error::bad_input(refusal.message))?;
        let version = plan.rows.iter().find(|row| row.id == id).map_or(0, |row| row.version);
        let guard: Vec<Uuid> = needed.into_iter().collect();
        match write(tx, sender, held.now, &plan, &guard).await? {
            true => Ok(Step::Done(version)),
            false => Ok(Step::Again),
        }
    }
}
