//! The answers of enhancedSync and of the app's sync: one list a kind, made from the kinds' tables.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_graphql::parser::types::Field;
use async_graphql::registry::{MetaField, MetaTypeId, Registry};
use async_graphql::resolver_utils::{ContainerType, resolve_container};
use async_graphql::{Context, ContextSelectionSet, OutputType, Positioned, ServerResult, Value};
use entity::Millis;
use uuid::Uuid;

use super::conflicts::ConflictResult;
use super::node::{self, id_lists, meta_field, meta_object, raw, selection};
use super::rows::View;
use super::types::DateTime;
use super::{Services, public};
use crate::kinds;
use crate::sync::pull::{Changes, Page};
use crate::sync::row::{Key, Row};

/// One page of what a device has not seen.
pub struct EnhancedSyncResponse {
    delivered: Delivered,
    conflicts: Vec<ConflictResult>,
    server_time: Millis,
    has_more: bool,
    next_cursor: String,
    total: u64,
    batch_size: u64,
}

/// What changed since a time, in one answer.
pub struct SyncResponse {
    delivered: Delivered,
    server_time: Millis,
}

/// Rows and deletions, in the lists of their kinds.
struct Delivered {
    view: View,
    rows: BTreeMap<kinds::EntityType, Vec<Row>>,
    deleted: Vec<Key>,
}

const DELETED: &str = "EnhancedDeletedIds";
const DELETED_BY_TIME: &str = "DeletedIds";

impl EnhancedSyncResponse {
    pub fn new(
        ctx: &Context<'_>,
        services: Arc<Services>,
        page: Page,
        next_cursor: String,
        batch_size: u64,
    ) -> EnhancedSyncResponse {
        let Page { rows, deleted, conflicts, server_time, has_more, cursor, total, scopes } = page;
        EnhancedSyncResponse {
            delivered: Delivered {
                view: View::new(ctx, services, cursor.account, scopes),
                rows,
                deleted,
            },
            conflicts: ConflictResult::list(cursor.account, conflicts),
            server_time,
            has_more,
            next_cursor,
            total,
            batch_size,
        }
    }
}

impl SyncResponse {
    pub fn new(
        ctx: &Context<'_>,
        services: Arc<Services>,
        account: Uuid,
        changes: Changes,
    ) -> SyncResponse {
        let Changes { rows, deleted, server_time, scopes } = changes;
        let view = View::new(ctx, services, account, scopes);
        let delivered = Delivered { view, rows, deleted };
        SyncResponse { delivered, server_time }
    }
}

impl Delivered {
    /// The type's fields that hold rows and deletions; the type of the latter.
    fn describe(registry: &mut Registry, deleted: &'static str) -> Vec<MetaField> {
        node::register(registry);
        let ids = kinds::all().map(|kind| meta_field(kind.list, "[ID!]!", ""));
        let ids = meta_object(deleted, "Ids of rows that the device has to drop.", ids);
        registry.types.insert(deleted.into(), ids);
        let lists =
            kinds::all().map(|kind| meta_field(kind.list, format!("[{}!]!", kind.name()), ""));
        let doc = "To be applied before the rows.";
        lists.chain([meta_field("deleted", format!("{deleted}!"), doc)]).collect()
    }

    async fn field(&self, ctx: &Context<'_>, deleted: &str) -> ServerResult<Option<Value>> {
        let name = ctx.item.node.name.node.as_str();
        if name == "deleted" {
            let mut ids: HashMap<&'static str, Vec<Uuid>> = HashMap::new();
            for (entity_type, id) in &self.deleted {
                ids.entry(entity_type.kind().list).or_default().push(*id);
            }
            return Ok(Some(raw(id_lists(&selection(ctx.field()), deleted, &ids))));
        }
        let Some(kind) = kinds::all().find(|kind| kind.list == name) else { return Ok(None) };
        let rows = self.rows.get(&kind.entity_type).map(Vec::as_slice).unwrap_or_default();
        let list = self.view.write(kind.entity_type, rows, &selection(ctx.field())).await;
        let failed = |error| ctx.set_error_path(public(error).into_server_error(ctx.item.pos));
        list.map(raw).map(Some).map_err(failed)
    }
}

impl OutputType for EnhancedSyncResponse {
    fn type_name() -> Cow<'static, str> {
        "EnhancedSyncResponse".into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_output_type::<Self, _>(MetaTypeId::Object, |registry| {
            let lists = Delivered::describe(registry, DELETED);
            ConflictResult::create_type_info(registry);
            DateTime::create_type_info(registry);
            let rest = [
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
            meta_object("EnhancedSyncResponse", doc, lists.into_iter().chain(rest))
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
            "conflicts" => {
                let inner = ctx.with_selection_set(&ctx.item.node.selection_set);
                return self.conflicts.resolve(&inner, ctx.item).await.map(Some);
            }
            "serverTimestamp" => Value::String(kinds::rfc3339(self.server_time)),
            "hasMore" => Value::Boolean(self.has_more),
            "nextCursor" => Value::String(self.next_cursor.clone()),
            "totalCount" => Value::Number(self.total.into()),
            "batchSize" => Value::Number(self.batch_size.into()),
            _ => return self.delivered.field(ctx, DELETED).await,
        };
        Ok(Some(value))
    }
}

impl OutputType for SyncResponse {
    fn type_name() -> Cow<'static, str> {
        "SyncResponse".into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_output_type::<Self, _>(MetaTypeId::Object, |registry| {
            let lists = Delivered::describe(registry, DELETED_BY_TIME);
            DateTime::create_type_info(registry);
            let time = "To be given as lastSyncedAt the next time. It lies a little behind the \
                        clock, so that nothing is left out.";
            let time = meta_field("serverTimestamp", "DateTime!", time);
            let doc = "What changed since a time. It may hold what the app has already.";
            meta_object("SyncResponse", doc, lists.into_iter().chain([time]))
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

impl ContainerType for SyncResponse {
    async fn resolve_field(&self, ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        if ctx.item.node.name.node == "serverTimestamp" {
            return Ok(Some(Value::String(kinds::rfc3339(self.server_time))));
        }
        self.delivered.field(ctx, DELETED_BY_TIME).await
    }
}
