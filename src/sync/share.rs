//! Who may see a trip: sharing it, changing a role, taking it back, leaving.
//!
//! A grant needs no write to the rows: a scope that a device's cursor does not name is new to the
//! device and delivered from its beginning. A revocation keeps the membership, with the head that the
//! member had been given up to; their next pull takes everything back.

use std::collections::HashMap;

use entity::membership::{Column, Entity, Model};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder,
};
use uuid::Uuid;

use super::change::derive;
use super::plan::Amendment;
use super::push::amend;
use super::row::Row;
use super::scope::{self, ToLock};
use super::transaction::{self, Failure, Held, Step, Work};
use super::{Role, store};
use crate::db::Db;
use crate::error::{Code, Error};
use crate::kinds::{self, EntityType, Home};

/// Who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Account(Uuid),
    /// The operator, who may all.
    Operator,
}

/// What is to happen to a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Grant(Role),
    ChangeRole(Role),
    Revoke,
}

/// Makes an account a member of a trip. Someone who is a member already is an error.
pub async fn grant(db: &Db, by: By, trip: Uuid, account: Uuid, role: Role) -> Result<(), Error> {
    Share { trip, by, account, deed: Deed::Grant(role) }.run(db).await
}

/// Refuses who may not make anyone a member of a trip.
pub async fn may_grant(db: &Db, by: By, trip: Uuid) -> Result<(), Error> {
    // Whom and in which role makes no difference here.
    let share = Share { trip, by, account: Uuid::nil(), deed: Deed::Grant(Role::Viewer) };
    share.examine(db.pool()).await.map(|_| ())
}

/// Gives a member another role.
pub async fn change_role(
    db: &Db,
    by: By,
    trip: Uuid,
    account: Uuid,
    role: Role,
) -> Result<(), Error> {
    Share { trip, by, account, deed: Deed::ChangeRole(role) }.run(db).await
}

/// Ends a membership, or leaves. Done already is done.
pub async fn revoke(db: &Db, by: By, trip: Uuid, account: Uuid) -> Result<(), Error> {
    Share { trip, by, account, deed: Deed::Revoke }.run(db).await
}

/// The members of a scope, those who came first first.
pub async fn members<C: ConnectionTrait>(db: &C, scope: Uuid) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::ScopeId.eq(scope))
        .filter(Column::RemovedAt.is_null())
        .order_by_asc(Column::GrantedAt)
        .order_by_asc(Column::AccountId)
        .all(db)
        .await
}

/// The live row that is the scope itself; an account's own scope has none.
pub async fn root<C: ConnectionTrait>(db: &C, scope: Uuid) -> Result<Option<Row>, DbErr> {
    for kind in kinds::all().filter(|kind| kind.home == Home::Itself) {
        let found = store::rows_by_id(db, kind, &[scope]).await?;
        if let Some(row) = found.into_iter().find(Row::is_live) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// What a membership goes by in the API.
pub fn membership_id(scope: Uuid, account: Uuid) -> Uuid {
    derive(&[b"membership", scope.as_bytes(), account.as_bytes()])
}

struct Share {
    trip: Uuid,
    by: By,
    /// Whose membership it is about.
    account: Uuid,
    deed: Deed,
}

impl Share {
    async fn run(&self, db: &Db) -> Result<(), Error> {
        let mut scopes = ToLock::default();
        let by = match self.by {
            By::Account(by) => {
                scopes.named.insert(self.trip);
                by
            }
            By::Operator => {
                scopes.found.insert(self.trip);
                Uuid::nil()
            }
        };
        if let Deed::Grant(_) = self.deed {
            // An account that is being erased takes its own scope first.
            scopes.found.insert(self.account);
        }
        transaction::run(db, by, scopes, self).await
    }

    /// Refuses what there is no trip for, and who may not. Gives all memberships there ever were,
    /// and the trip's row.
    async fn examine<C: ConnectionTrait>(
        &self,
        db: &C,
    ) -> Result<(HashMap<Uuid, Model>, Row), Error> {
        let memberships: HashMap<Uuid, Model> = Entity::find()
            .filter(Column::ScopeId.eq(self.trip))
            .all(db)
            .await?
            .into_iter()
            .map(|membership| (membership.account_id, membership))
            .collect();
        self.authorize(&memberships)?;
        match root(db, self.trip).await? {
            Some(row) => Ok((memberships, row)),
            None => Err(no_such_trip()),
        }
    }

    /// Whether the one who wants it may.
    fn authorize(&self, memberships: &HashMap<Uuid, Model>) -> Result<(), Error> {
        let By::Account(by) = self.by else { return Ok(()) };
        let role = match memberships.get(&by) {
            None => return Err(no_such_trip()),
            Some(membership) if membership.removed_at.is_some() => {
                return Err(Error::new(Code::Forbidden, "you are no longer a member"));
            }
            Some(membership) => role(membership)?,
        };
        let may = match self.deed {
            Deed::Grant(_) => role >= Role::Editor,
            Deed::ChangeRole(_) => role == Role::Owner,
            Deed::Revoke => role == Role::Owner || by == self.account,
        };
        let message = match self.deed {
            Deed::Grant(_) => "your role allows to read, not to share",
            _ => "only the owner may do this",
        };
        if may { Ok(()) } else { Err(Error::new(Code::Forbidden, message)) }
    }
}

impl Work for Share {
    type Done = ();

    async fn attempt(&self, tx: &DatabaseTransaction, held: Held) -> Result<Step<()>, Failure> {
        if self.deed == Deed::Revoke && self.by == By::Account(self.account) {
            let left = Entity::find_by_id((self.trip, self.account)).one(tx).await?;
            if left.is_some_and(|membership| membership.removed_at.is_some()) {
                // Who has left has left, whatever became of the trip.
                return Ok(Step::Done(()));
            }
        }
        let Some(scope) = held.scopes.get(&self.trip).copied() else {
            return Err(no_such_trip().into());
        };
        let (memberships, root) = self.examine(tx).await?;
        if let (Deed::Grant(_), false) = (self.deed, held.scopes.contains_key(&self.account)) {
            return Err(Error::new(Code::NotFound, "there is no such account").into());
        }
        let earlier = memberships.get(&self.account);
        let current = earlier.filter(|membership| membership.removed_at.is_none());
        let owns = match current {
            Some(current) => role(current)? == Role::Owner,
            None => false,
        };
        let model = match (self.deed, current) {
            (Deed::Grant(_), Some(_)) => {
                return Err(Error::bad_input("this person is a member of the trip already").into());
            }
            (Deed::Grant(role), None) => Model {
                scope_id: self.trip,
                account_id: self.account,
                role: role.name().into(),
                granted_at: held.now,
                since_seq: scope.head,
                until_seq: None,
                removed_at: None,
            },
            (Deed::ChangeRole(_), None) => {
                return Err(Error::new(Code::NotFound, "this person is no member").into());
            }
            (Deed::Revoke, None) => return Ok(Step::Done(())),
            (_, Some(_)) if owns => {
                let message = "the trip belongs to its owner: delete it, or let them delete it";
                return Err(Error::bad_input(message).into());
            }
            (Deed::ChangeRole(role), Some(current)) => {
                Model { role: role.name().into(), ..current.clone() }
            }
            (Deed::Revoke, Some(current)) => {
                Model { until_seq: Some(scope.head), removed_at: Some(held.now), ..current.clone() }
            }
        };
        store::upsert::<Entity, _>(tx, vec![model]).await?;
        // The trip's row tells its reader their role. A new reader is given it in any case.
        if self.deed == Deed::Revoke || earlier.is_none() {
            return Ok(Step::Done(()));
        }
        let touch = Amendment::touch(root.key());
        match amend(tx, self.account, held, root, touch).await? {
            true => Ok(Step::Done(())),
            false => Ok(Step::Again),
        }
    }
}

fn no_such_trip() -> Error {
    Error::new(Code::NotFound, format!("there is no such {}", EntityType::Trip.name()))
}

fn role(membership: &Model) -> Result<Role, DbErr> {
    scope::role(&membership.role)
}
