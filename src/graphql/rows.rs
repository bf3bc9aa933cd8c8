//! Rows as results of queries and mutations: one, or a list.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{Context, ContextSelectionSet, OutputType, Positioned, ServerResult, Value};
use uuid::Uuid;

use super::node::{self, raw, selection};
use super::{BaseUrl, Services, Waits, caller, public, services};
use crate::error::Error;
use crate::kinds::EntityType;
use crate::sync::row::Row;
use crate::sync::scope::{self, Seen};
use crate::sync::{Role, read};

/// What a caller sees, as of now.
pub struct View {
    pub services: Arc<Services>,
    pub account: Uuid,
    pub seen: Vec<Seen>,
    roles: HashMap<Uuid, Role>,
    /// What URLs of local files begin with.
    pub base: String,
    waits: Waits,
}

impl View {
    pub async fn of(ctx: &Context<'_>) -> async_graphql::Result<Arc<View>> {
        let services = services(ctx)?.clone();
        let account = caller(ctx)?.account;
        let seen = scope::seen_by(services.db.pool(), account).await.map_err(Error::from)?;
        Ok(Arc::new(View::new(ctx, services, account, seen)))
    }

    pub fn new(ctx: &Context<'_>, services: Arc<Services>, account: Uuid, seen: Vec<Seen>) -> View {
        let base = ctx.data_opt::<BaseUrl>().map(|base| base.0.clone()).unwrap_or_default();
        let visible = seen.iter().filter(|scope| scope.is_visible());
        let roles = visible.map(|scope| (scope.id, scope.role)).collect();
        let waits = ctx.data_opt::<Waits>().cloned().unwrap_or_default();
        View { services, account, seen, roles, base, waits }
    }

    /// The caller's role in a scope that they see.
    pub fn role(&self, scope: Uuid) -> Option<Role> {
        self.roles.get(&scope).copied()
    }

    pub async fn row(&self, kind: EntityType, id: Uuid) -> Result<Option<Row>, Error> {
        read::one(self.services.db.pool(), &self.seen, kind.kind(), id).await
    }

    /// Of the rows with these ids those that the caller sees.
    pub async fn some(&self, kind: EntityType, ids: &[Uuid]) -> Result<Vec<Row>, Error> {
        read::some(self.services.db.pool(), &self.seen, kind.kind(), ids).await
    }

    pub async fn list(&self, kind: EntityType, scope: Option<Uuid>) -> Result<Vec<Row>, Error> {
        read::list(&self.services.db, self.account, &self.seen, kind.kind(), scope).await
    }

    /// Writes a list of rows as JSON.
    pub async fn write(
        &self,
        kind: EntityType,
        rows: &[Row],
        selected: &[node::Selected],
    ) -> Result<Vec<u8>, Error> {
        let writer = node::Writer {
            db: &self.services.db,
            files: &self.services.files,
            base: &self.base,
            account: self.account,
            roles: &self.roles,
            waits: &self.waits,
        };
        writer.list(kind.kind(), rows, selected).await
    }
}

/// A row of the kind with this number.
pub struct Node<const KIND: usize> {
    pub view: Arc<View>,
    pub row: Row,
}

/// A list of them.
pub struct Nodes<const KIND: usize> {
    pub view: Arc<View>,
    pub rows: Vec<Row>,
}

pub type Trip = Node<{ EntityType::Trip as usize }>;
pub type Memory = Node<{ EntityType::Memory as usize }>;
pub type MediaItem = Node<{ EntityType::MediaItem as usize }>;
pub type GPXTrack = Node<{ EntityType::GPXTrack as usize }>;
pub type Tag = Node<{ EntityType::Tag as usize }>;
pub type TagCategory = Node<{ EntityType::TagCategory as usize }>;
pub type BucketListItem = Node<{ EntityType::BucketListItem as usize }>;

pub type Trips = Nodes<{ EntityType::Trip as usize }>;
pub type Memories = Nodes<{ EntityType::Memory as usize }>;
pub type GPXTracks = Nodes<{ EntityType::GPXTrack as usize }>;
pub type Tags = Nodes<{ EntityType::Tag as usize }>;
pub type TagCategories = Nodes<{ EntityType::TagCategory as usize }>;
pub type BucketListItems = Nodes<{ EntityType::BucketListItem as usize }>;

impl<const KIND: usize> Node<KIND> {
    /// The kind by its number, which the types above are the only ones to choose.
    pub const KIND: EntityType = EntityType::ALL[KIND];

    /// The row with this id, if the caller sees it.
    pub async fn read(view: Arc<View>, id: Uuid) -> Result<Option<Node<KIND>>, Error> {
        let row = view.row(Self::KIND, id).await?;
        Ok(row.map(|row| Node { view, row }))
    }
}

impl<const KIND: usize> Nodes<KIND> {
    /// All that the caller sees, or those of one scope.
    pub async fn read(view: Arc<View>, scope: Option<Uuid>) -> Result<Nodes<KIND>, Error> {
        let rows = view.list(EntityType::ALL[KIND], scope).await?;
        Ok(Nodes { view, rows })
    }
}

impl<const KIND: usize> OutputType for Node<KIND> {
    fn type_name() -> Cow<'static, str> {
        EntityType::ALL[KIND].name().into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        node::register(registry);
        Self::qualified_type_name()
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        let rows = std::slice::from_ref(&self.row);
        let list = write::<KIND>(ctx, field, &self.view, rows).await?;
        // The one object, without the brackets of the list.
        Ok(raw(list[1..list.len() - 1].to_vec()))
    }
}

impl<const KIND: usize> OutputType for Nodes<KIND> {
    fn type_name() -> Cow<'static, str> {
        format!("[{}]", Node::<KIND>::qualified_type_name()).into()
    }

    fn qualified_type_name() -> String {
        format!("[{}]!", Node::<KIND>::qualified_type_name())
    }

    fn create_type_info(registry: &mut Registry) -> String {
        node::register(registry);
        Self::qualified_type_name()
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        Ok(raw(write::<KIND>(ctx, field, &self.view, &self.rows).await?))
    }
}

async fn write<const KIND: usize>(
    ctx: &ContextSelectionSet<'_>,
    field: &Positioned<Field>,
    view: &View,
    rows: &[Row],
) -> ServerResult<Vec<u8>> {
    let ctx = ctx.with_field(field);
    view.write(EntityType::ALL[KIND], rows, &selection(ctx.field()))
        .await
        .map_err(|error| ctx.set_error_path(public(error).into_server_error(field.pos)))
}
