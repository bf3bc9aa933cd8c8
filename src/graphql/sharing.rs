//! Sharing a trip, and who is in it.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use uuid::Uuid;

use super::rows::{Node, Trip, View};
use super::types::{DateTime, Group, TripRole, User};
use super::{caller, services, uuid};
use crate::auth::Account;
use crate::error::{Code, Error};
use crate::kinds::EntityType;
use crate::sync::Role;
use crate::sync::share::{self, By, membership_id};

/// What someone is let do: READ makes a VIEWER, WRITE and ADMIN an EDITOR.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Read,
    Write,
    Admin,
}

impl From<Permission> for Role {
    fn from(permission: Permission) -> Role {
        match permission {
            Permission::Read => Role::Viewer,
            Permission::Write | Permission::Admin => Role::Editor,
        }
    }
}

/// That someone may see a trip.
#[derive(SimpleObject)]
pub struct TripMembership {
    pub id: ID,
    pub role: TripRole,
}

/// A member of a trip.
#[derive(SimpleObject)]
pub struct TripMembershipResponse {
    pub id: ID,
    pub trip_id: String,
    pub user_id: String,
    pub role: TripRole,
    /// ACTIVE: memberships that have ended are not listed.
    pub status: String,
    pub user: User,
    pub trip: Option<Trip>,
    pub created_at: DateTime,
}

#[derive(Default)]
pub struct SharingQuery;

#[Object]
impl SharingQuery {
    /// The members of a trip, those who came first first. Empty where the caller sees no such trip.
    async fn get_trip_members(
        &self,
        ctx: &Context<'_>,
        trip_id: ID,
    ) -> Result<Vec<TripMembershipResponse>> {
        let trip = uuid(ctx, "tripId", &trip_id)?;
        let view = View::of(ctx).await?;
        let Some(row) = view.row(EntityType::Trip, trip).await? else { return Ok(Vec::new()) };
        let services = services(ctx)?;
        let members = share::members(services.db.pool(), trip).await.map_err(Error::from)?;
        let ids: Vec<Uuid> = members.iter().map(|member| member.account_id).collect();
        let group = Arc::new(Group::new(ids.clone()));
        let mut accounts: HashMap<Uuid, _> = services
            .auth
            .accounts(&ids)
            .await?
            .into_iter()
            .map(|account| (account.id, account))
            .collect();
        let shown = members.into_iter().filter_map(|member| {
            let account = accounts.remove(&member.account_id)?;
            Some(TripMembershipResponse {
                id: membership_id(trip, member.account_id).into(),
                trip_id: trip.to_string(),
                user_id: member.account_id.to_string(),
                role: Role::from_name(&member.role)?.into(),
                status: "ACTIVE".into(),
                user: match account.id == view.account {
                    true => User::of(account, group.clone()),
                    // When someone logs in is theirs to know.
                    false => User::of(Account { last_login_at: None, ..account }, group.clone()),
                },
                trip: Some(Node { view: view.clone(), row: row.clone() }),
                created_at: DateTime(member.granted_at),
            })
        });
        Ok(shown.collect())
    }
}

#[derive(Default)]
pub struct SharingMutation;

#[Object]
impl SharingMutation {
    /// Lets the person with this address see a trip, or edit it. Owners and editors may.
    async fn share_trip(
        &self,
        ctx: &Context<'_>,
        permission: Permission,
        email: String,
        trip_id: ID,
    ) -> Result<TripMembership> {
        let by = caller(ctx)?.account;
        let trip = uuid(ctx, "tripId", &trip_id)?;
        let services = services(ctx)?;
        // Counted before anything is looked up: this is how one would find out who has an account.
        services.shares.check(&by)?;
        let by = By::Account(by);
        // Who may not share learns nothing of addresses.
        share::may_grant(&services.db, by, trip).await?;
        let account = services.auth.find(&email).await?.ok_or_else(|| {
            Error::new(Code::NotFound, "email: there is no account with this address")
        })?;
        let role = Role::from(permission);
        share::grant(&services.db, by, trip, account, role).await?;
        Ok(TripMembership { id: membership_id(trip, account).into(), role: role.into() })
    }

    /// Takes a trip from a member, which its owner may; or leaves it, which every other member may.
    /// True, too, for someone who is no member.
    async fn unshare_trip(&self, ctx: &Context<'_>, trip_id: ID, user_id: ID) -> Result<bool> {
        let by = By::Account(caller(ctx)?.account);
        let (trip, account) = (uuid(ctx, "tripId", &trip_id)?, uuid(ctx, "userId", &user_id)?);
        share::revoke(&services(ctx)?.db, by, trip, account).await?;
        Ok(true)
    }

    /// Gives a member another role. Only the owner may.
    async fn change_trip_role(
        &self,
        ctx: &Context<'_>,
        trip_id: ID,
        user_id: ID,
        permission: Permission,
    ) -> Result<TripMembership> {
        let by = By::Account(caller(ctx)?.account);
        let (trip, account) = (uuid(ctx, "tripId", &trip_id)?, uuid(ctx, "userId", &user_id)?);
        let role = Role::from(permission);
        share::change_role(&services(ctx)?.db, by, trip, account, role).await?;
        Ok(TripMembership { id: membership_id(trip, account).into(), role: role.into() })
    }
}
