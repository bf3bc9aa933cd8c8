//! The answer of enhancedSync: one list a kind, made from the kinds' tables.

use std::borrow::Cow;
use std::collections::HashMap;

use async_graphql::parser::types::Field;
use async_graphql::registry::{MetaTypeId, Registry};
use async_graphql::resolver_utils::{ContainerType, resolve_container};
use async_graphql::{Context, ContextSelectionSet, OutputType, Positioned, ServerResult, Value};
use uuid::Uuid;

use super::node::{self, id_lists, meta_field, meta_object, raw, selection};
use super::types::{ConflictResult, DateTime};
use super::{public, services};
use crate::kinds;
use crate::sync::Role;
use crate::sync::pull::Page;

/// One page of what a device has not seen.
pub struct EnhancedSyncResponse {
    pub page: Page,
    pub conflicts: Vec<ConflictResult>,
    pub next_cursor: String,
    pub batch_size: u64,
    roles: HashMap<Uuid, Role>,
}

const DELETED: &str = "EnhancedDeletedIds";

impl EnhancedSyncResponse {
    pub fn new(mut page: Page, next_cursor: String, batch_size: u64) -> EnhancedSyncResponse {
        let conflicts = std::mem::take(&mut page.conflicts)
            .into_iter()
            .map(|(conflict, version)| ConflictResult::new(conflict, version))
            .collect();
        let roles = page
            .scopes
            .iter()
            .filter(|scope| scope.is_visible())
            .map(|scope| (scope.id, scope.role))
            .collect();
        EnhancedSyncResponse { page, conflicts, next_cursor, batch_size, roles }
    }
}

impl OutputType for EnhancedSyncResponse {
    fn type_name() -> Cow<'static, str> {
        "EnhancedSyncResponse".into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_output_type::<Self, _>(MetaTypeId::Object, |registry| {
            node::register(registry);
            ConflictResult::create_type_info(registry);
            DateTime::create_type_info(registry);
            let deleted = kinds::all().map(|kind| meta_field(kind.list, "[ID!]!", ""));
            let deleted = meta_object(DELETED, "Ids of rows that the device has to drop.", deleted);
            registry.types.insert(DELETED.into(), deleted);
            let lists = kinds::all()
                .map(|kind| meta_field(kind.list, format!("[{}!]!", kind.name()), ""));
            let rest = [
                ("deleted", "EnhancedDeletedIds!", "To be applied before the rows."),
                ("conflicts", "[ConflictResult!]!", "The newest open ones, at most 100."),
                ("serverTimestamp", "DateTime!", ""),
                ("hasMore", "Boolean!", "False: the device has everything, as of one moment."),
                ("nextCursor", "String", "Always set. Keep it, and send it next time."),
                (
                    "totalCount",
                    "Int!",
                    "Rows and deletions still to come, this page's included; counted once a window.",
                ),
                ("batchSize", "Int!", "The page size in force."),
            ];
            let rest = rest.map(|(name, ty, doc)| meta_field(name, ty, doc));
            let doc = "What a device has not seen yet: apply `deleted`, then the rows, kind by \
                       kind in the order of this type.";
            meta_object("EnhancedSyncResponse", doc, lists.chain(rest))
        })
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        _field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        resolve_container(ctx, self).await
    }
}

impl ContainerType for EnhancedSyncResponse {
    async fn resolve_field(&self, ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        let value = match ctx.item.node.name.node.as_str() {
            "deleted" => {
                let mut ids: HashMap<&'static str, Vec<Uuid>> = HashMap::new();
                for (entity_type, id) in &self.page.deleted {
                    ids.entry(entity_type.kind().list).or_default().push(*id);
                }
                raw(id_lists(&selection(ctx.field()), DELETED, &ids))
            }
            "conflicts" => {
                let inner = ctx.with_selection_set(&ctx.item.node.selection_set);
                return self.conflicts.resolve(&inner, ctx.item).await.map(Some);
            }
            "serverTimestamp" => Value::String(kinds::rfc3339(self.page.server_time)),
            "hasMore" => Value::Boolean(self.page.has_more),
            "nextCursor" => Value::String(self.next_cursor.clone()),
            "totalCount" => Value::Number(self.page.total.into()),
            "batchSize" => Value::Number(self.batch_size.into()),
            name => {
                let Some(kind) = kinds::all().find(|kind| kind.list == name) else {
                    return Ok(None);
                };
                let failed = |error| ctx.set_error_path(error);
                let services =
                    services(ctx).map_err(|e| failed(e.into_server_error(ctx.item.pos)))?;
                let writer = node::Writer {
                    db: &services.db,
                    account: self.page.cursor.account,
                    roles: &self.roles,
                };
                let rows = self.page.rows.get(&kind.entity_type).map(Vec::as_slice);
                let list = writer
                    .list(kind, rows.unwrap_or_default(), &selection(ctx.field()))
                    .await
                    .map_err(|e| failed(public(e).into_server_error(ctx.item.pos)))?;
                raw(list)
            }
        };
        Ok(Some(value))
    }
}
