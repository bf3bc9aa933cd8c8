//! The app's API of one row at a time. Every mutation makes a change and pushes it, like a batch of
//! one; `docs/app-api.md` says what differs.

use async_graphql::{Context, ID, Object, Result};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::page::SyncResponse;
use super::rows::{
    BucketListItem, BucketListItems, GPXTrack, GPXTracks, Memories, Memory, Node, Tag,
    TagCategories, TagCategory, Tags, Trip, Trips, View,
};
use super::shapes::{
    BucketListItemInput, MemoryInput, TagCategoryInput, TagInput, TripInput, UpdateMemoryInput,
    UpdateTagCategoryInput, UpdateTagInput, UpdateTripInput,
};
use super::types::DateTime;
use super::{caller, public, services, uuid};
use crate::error::{Code, Error};
use crate::kinds::{EntityType, rfc3339};
use crate::sync::change::{Origin, RawItem};
use crate::sync::conflict::Conflict;
use crate::sync::plan::Verdict;
use crate::sync::policy::Policy;
use crate::sync::pull;
use crate::sync::push::{self, Batch, Pushed};
use crate::sync::search;
use crate::sync::{ConflictStatus, Operation, Sender, Strategy};

#[derive(Default)]
pub struct AppQuery;

#[Object]
impl AppQuery {
    /// The trips that the caller owns or is a member of, by their start.
    async fn trips(&self, ctx: &Context<'_>) -> Result<Trips> {
        Ok(Trips::read(View::of(ctx).await?, None).await?)
    }

    /// A trip. Null where there is none that the caller sees.
    async fn trip(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Trip>> {
        read(ctx, "id", &id).await
    }

    /// The memories of one trip, or of all, by their date.
    async fn memories(&self, ctx: &Context<'_>, trip_id: Option<ID>) -> Result<Memories> {
        let trip = super::optional_uuid(ctx, "tripId", trip_id)?;
        Ok(Memories::read(View::of(ctx).await?, trip).await?)
    }

    /// A memory. Null where there is none that the caller sees.
    async fn memory(&self, ctx: &Context<'_>, id: String) -> Result<Option<Memory>> {
        read(ctx, "id", &id).await
    }

    /// Memories that hold all these words, in their title, text, place or tags, without regard to
    /// case and diacritics.
    async fn search_memories(
        &self,
        ctx: &Context<'_>,
        trip_id: Option<ID>,
        query: String,
    ) -> Result<Memories> {
        let trip = super::optional_uuid(ctx, "tripId", trip_id)?;
        let view = View::of(ctx).await?;
        let rows =
            search::memories(&view.services.db, view.account, &view.seen, trip, &query).await?;
        Ok(Memories { view, rows })
    }

    /// The caller's tags.
    async fn tags(&self, ctx: &Context<'_>) -> Result<Tags> {
        Ok(Tags::read(View::of(ctx).await?, None).await?)
    }

    /// The caller's tag categories.
    async fn tag_categories(&self, ctx: &Context<'_>) -> Result<TagCategories> {
        Ok(TagCategories::read(View::of(ctx).await?, None).await?)
    }

    /// What the caller wants to see or do.
    async fn bucket_list_items(&self, ctx: &Context<'_>) -> Result<BucketListItems> {
        Ok(BucketListItems::read(View::of(ctx).await?, None).await?)
    }

    /// What changed since the serverTimestamp of the last answer. The first time, ask since the year
    /// 1. `enhancedSync` does the same with less to carry.
    async fn sync(&self, ctx: &Context<'_>, last_synced_at: DateTime) -> Result<SyncResponse> {
        let services = services(ctx)?;
        let account = caller(ctx)?.account;
        let epoch = services.sealer.epoch();
        let changes = pull::since(&services.db, epoch, account, last_synced_at.0).await?;
        Ok(SyncResponse::new(ctx, services.clone(), account, changes))
    }

    /// The tracks and routes of a trip.
    async fn gpx_tracks_by_trip(&self, ctx: &Context<'_>, trip_id: ID) -> Result<GPXTracks> {
        let trip = uuid(ctx, "tripId", &trip_id)?;
        Ok(GPXTracks::read(View::of(ctx).await?, Some(trip)).await?)
    }

    /// A track. Null where there is none that the caller sees.
    async fn gpx_track(&self, ctx: &Context<'_>, id: ID) -> Result<Option<GPXTrack>> {
        read(ctx, "id", &id).await
    }
}

async fn read<const KIND: usize>(
    ctx: &Context<'_>,
    name: &str,
    id: &str,
) -> Result<Option<Node<KIND>>> {
    let id = uuid(ctx, name, id)?;
    Ok(Node::read(View::of(ctx).await?, id).await?)
}

#[derive(Default)]
pub struct AppMutation;

#[Object]
impl AppMutation {
    async fn create_trip(&self, ctx: &Context<'_>, input: TripInput) -> Result<Trip> {
        create(ctx, input.0).await
    }

    async fn update_trip(&self, ctx: &Context<'_>, input: UpdateTripInput, id: ID) -> Result<Trip> {
        update(ctx, &id, input.0).await
    }

    /// Deletes a trip with all that is in it. True, too, if it is not there.
    async fn delete_trip(&self, ctx: &Context<'_>, id: ID) -> Result<bool> {
        delete(ctx, EntityType::Trip, &id).await
    }

    async fn create_memory(&self, ctx: &Context<'_>, input: MemoryInput) -> Result<Memory> {
        create(ctx, input.0).await
    }

    async fn update_memory(
        &self,
        ctx: &Context<'_>,
        input: UpdateMemoryInput,
        id: String,
    ) -> Result<Memory> {
        update(ctx, &id, input.0).await
    }

    async fn delete_memory(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        delete(ctx, EntityType::Memory, &id).await
    }

    async fn delete_media_item(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        delete(ctx, EntityType::MediaItem, &id).await
    }

    /// Makes a tag, or gives back the caller's tag of that name.
    async fn create_tag(&self, ctx: &Context<'_>, input: TagInput) -> Result<Tag> {
        create(ctx, input.0).await
    }

    /// Null where the caller has no such tag.
    async fn update_tag(
        &self,
        ctx: &Context<'_>,
        input: UpdateTagInput,
        id: String,
    ) -> Result<Option<Tag>> {
        update_if_there(ctx, &id, input.0).await
    }

    async fn delete_tag(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        delete(ctx, EntityType::Tag, &id).await
    }

    /// Makes a category, or gives back the caller's category of that name.
    async fn create_tag_category(
        &self,
        ctx: &Context<'_>,
        input: TagCategoryInput,
    ) -> Result<TagCategory> {
        create(ctx, input.0).await
    }

    /// Null where the caller has no such category.
    async fn update_tag_category(
        &self,
        ctx: &Context<'_>,
        input: UpdateTagCategoryInput,
        id: String,
    ) -> Result<Option<TagCategory>> {
        update_if_there(ctx, &id, input.0).await
    }

    async fn delete_tag_category(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        delete(ctx, EntityType::TagCategory, &id).await
    }

    /// Makes an item, or edits the caller's item of that name.
    async fn create_bucket_list_item(
        &self,
        ctx: &Context<'_>,
        input: BucketListItemInput,
    ) -> Result<BucketListItem> {
        create(ctx, input.0).await
    }

    /// Null where the caller has no such item.
    async fn update_bucket_list_item(
        &self,
        ctx: &Context<'_>,
        input: BucketListItemInput,
        id: ID,
    ) -> Result<Option<BucketListItem>> {
        update_if_there(ctx, &id, input.0).await
    }

    /// Marks an item as done, in this memory. Null where the caller sees no such item or memory.
    async fn complete_bucket_list_item(
        &self,
        ctx: &Context<'_>,
        memory_id: ID,
        id: ID,
    ) -> Result<Option<BucketListItem>> {
        let (memory, id) = (uuid(ctx, "memoryId", &memory_id)?, uuid(ctx, "id", &id)?);
        let view = View::of(ctx).await?;
        let Some(item) = view.row(EntityType::BucketListItem, id).await? else { return Ok(None) };
        if view.row(EntityType::Memory, memory).await?.is_none() {
            return Ok(None);
        }
        let mut memories = item.content.get("memoryIds").as_ids().to_vec();
        memories.push(memory);
        let mut fields = Map::new();
        fields.insert("id".into(), json!(id));
        fields.insert("operation".into(), json!(Operation::Update.name()));
        // Made on what was read: another memory that arrives meanwhile stays, too.
        fields.insert("syncVersion".into(), json!(item.version));
        fields.insert("isDone".into(), json!(true));
        fields.insert("memoryIds".into(), json!(memories));
        if item.content.get("completedAt").is_null() {
            let now = crate::db::now(view.services.db.pool()).await.map_err(Error::from)?;
            fields.insert("completedAt".into(), json!(rfc3339(now)));
        }
        match push(ctx, Origin::Server, EntityType::BucketListItem, fields).await {
            Ok(id) => Ok(Node::read(View::of(ctx).await?, id).await?),
            Err(error) if error.code == Code::NotFound => Ok(None),
            Err(error) => Err(public(error)),
        }
    }

    async fn delete_bucket_list_item(&self, ctx: &Context<'_>, id: ID) -> Result<bool> {
        delete(ctx, EntityType::BucketListItem, &id).await
    }

    async fn delete_gpx_track(&self, ctx: &Context<'_>, id: ID) -> Result<bool> {
        delete(ctx, EntityType::GPXTrack, &id).await
    }
}

/// Creates a row, or finds the one that the same creation made before.
pub async fn create<const KIND: usize>(
    ctx: &Context<'_>,
    mut fields: Map<String, Json>,
) -> Result<Node<KIND>> {
    // Nothing was there that a null could clear.
    fields.retain(|_, value| !value.is_null());
    fields.insert("id".into(), json!(Uuid::now_v7()));
    fields.insert("operation".into(), json!(Operation::Create.name()));
    write(ctx, fields).await
}

/// Updates a row with the fields that were given.
pub async fn update<const KIND: usize>(
    ctx: &Context<'_>,
    id: &str,
    mut fields: Map<String, Json>,
) -> Result<Node<KIND>> {
    let kind = Node::<KIND>::KIND.kind();
    // The app sends null for what it has nothing to say about.
    let clears = |name: &str| kind.find(name).is_some_and(|field| kind.fields[field].nullable);
    fields.retain(|name, value| !value.is_null() || clears(name));
    fields.insert("id".into(), json!(uuid(ctx, "id", id)?));
    fields.insert("operation".into(), json!(Operation::Update.name()));
    fields.insert("operationId".into(), json!(Uuid::new_v4()));
    write(ctx, fields).await
}

async fn update_if_there<const KIND: usize>(
    ctx: &Context<'_>,
    id: &str,
    fields: Map<String, Json>,
) -> Result<Option<Node<KIND>>> {
    match update(ctx, id, fields).await {
        Ok(node) => Ok(Some(node)),
        Err(error) if super::has_code(&error, Code::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write<const KIND: usize>(
    ctx: &Context<'_>,
    fields: Map<String, Json>,
) -> Result<Node<KIND>> {
    let id = push(ctx, Origin::OneRow, Node::<KIND>::KIND, fields).await?;
    let node = Node::read(View::of(ctx).await?, id).await?;
    // Deleted, or its trip lost, in this very moment.
    node.ok_or_else(|| public(not_there(Node::<KIND>::KIND)))
}

async fn delete(ctx: &Context<'_>, kind: EntityType, id: &str) -> Result<bool> {
    let mut fields = Map::new();
    fields.insert("id".into(), json!(uuid(ctx, "id", id)?));
    fields.insert("operation".into(), json!(Operation::Delete.name()));
    fields.insert("operationId".into(), json!(Uuid::new_v4()));
    push(ctx, Origin::OneRow, kind, fields).await?;
    Ok(true)
}

/// Pushes one change, and gives the id of its row.
async fn push(
    ctx: &Context<'_>,
    origin: Origin,
    entity_type: EntityType,
    json: Map<String, Json>,
) -> std::result::Result<Uuid, Error> {
    let unavailable = |error: async_graphql::Error| Error::internal(error.message);
    let services = services(ctx).map_err(unavailable)?;
    let caller = caller(ctx).map_err(|_| Error::unauthenticated())?;
    let batch = Batch {
        sender: Sender { account: caller.account, device: Some(caller.device()) },
        origin,
        items: vec![RawItem { entity_type, index: 0, json }],
        cursor: None,
        policy: Policy::of(Strategy::LastWriteWins),
        max_skew: services.max_skew,
    };
    let mut pushed = push::push(&services.db, &batch).await?;
    match pushed.verdicts.pop() {
        Some(Verdict::Successful { id, .. }) => Ok(id),
        Some(Verdict::Failed(refusal)) => Err(Error::from(refusal)),
        Some(Verdict::Conflict { id }) => collided(&pushed, entity_type, id),
        None => Err(Error::internal("a batch of one has no verdict")),
    }
}

/// A row in conflict: what was overwritten is on record, or the edit waits for someone to decide.
fn collided(pushed: &Pushed, entity_type: EntityType, id: Uuid) -> Result<Uuid, Error> {
    let conflict: Option<&Conflict> = pushed.conflicts.get(&id).map(|(conflict, _)| conflict);
    match conflict {
        Some(conflict) if conflict.status() == ConflictStatus::Resolved => Ok(conflict.key.1),
        _ => Err(Error::new(
            Code::NotFound,
            format!(
                "there is no such {}: it, or what it hangs on, was deleted; the edit is kept as \
                 conflict {id}",
                entity_type.name()
            ),
        )),
    }
}

pub fn not_there(kind: EntityType) -> Error {
    Error::new(Code::NotFound, format!("there is no such {}", kind.name()))
}
