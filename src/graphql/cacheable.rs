//! Which queries' answers may be kept: those that depend on nothing but the caller's scopes, whose
//! heads are part of an answer's key (`cache::key`).
//!
//! This is a list of what may, not of what may not: a field that is not named here is not kept, and
//! with it the whole answer. Before a field is named, it must be certain that whatever changes it
//! moves the head of a scope of the caller's, in the same transaction. Not here for that reason:
//! accounts (their names, and who is online), devices, conflicts that are decided (the clean-up
//! removes them), members of trips, URLs to upload.
//!
//! The time in an answer is no obstacle: a `serverTimestamp` that lies further back is as good as a
//! later one for whoever holds what the answer holds.

use async_graphql::Name;
use async_graphql::parser::types::{
    ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
};

use super::node::outputs;
use crate::config::limits;
use crate::kinds::{self, EntityType, Home, Kind, Via};

/// An operation whose answer may be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cacheable {
    /// What its document calls it.
    pub name: Option<String>,
    /// Whether it asks for signed URLs: the answer is worth nothing any more when they are.
    pub urls: bool,
    /// The fields of Query that it asks for.
    pub fields: Vec<String>,
}

/// What a selected field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Something that only changes with a head.
    Value,
    SignedUrl,
    Object(Type),
}

/// The types whose fields may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Query,
    EnhancedSync,
    Sync,
    /// Ids of deleted rows.
    Deleted,
    /// An open one.
    Conflict,
    Row(EntityType),
    /// A row that is shown inside one that carries it, and may be another's. When its content
    /// changes, that one is delivered again; its status is its owner's affair.
    Carried(EntityType),
    Location,
    Point,
    Segment,
}

/// What an operation's answer depends on, if it may be kept.
pub fn cacheable(
    document: &ExecutableDocument,
    name: Option<&Name>,
    operation: &OperationDefinition,
) -> Option<Cacheable> {
    if operation.ty != OperationType::Query {
        return None;
    }
    let found = Cacheable { name: name.map(Name::to_string), ..Cacheable::default() };
    let mut walk = Walk { document, found, steps: limits::SELECTIONS };
    walk.selections(&operation.selection_set.node, Type::Query)?;
    Some(walk.found)
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    found: Cacheable,
    /// How many selections are still looked at: fragments that spread themselves are refused later.
    steps: usize,
}

impl Walk<'_> {
    /// None: something in it may not be kept.
    fn selections(&mut self, set: &SelectionSet, of: Type) -> Option<()> {
        for selection in &set.items {
            self.steps = self.steps.checked_sub(1)?;
            // All types are objects: a fragment on another type than this one is no valid query.
            match &selection.node {
                Selection::Field(field) => {
                    let name = field.node.name.node.as_str();
                    if of == Type::Query && name != "__typename" {
                        self.found.fields.push(name.to_owned());
                    }
                    match holds(of, name)? {
                        Holds::Value => {}
                        Holds::SignedUrl => self.found.urls = true,
                        Holds::Object(inner) => {
                            self.selections(&field.node.selection_set.node, inner)?;
                        }
                    }
                }
                Selection::InlineFragment(fragment) => {
                    self.selections(&fragment.node.selection_set.node, of)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let fragment = self.document.fragments.get(name)?;
                    self.selections(&fragment.node.selection_set.node, of)?;
                }
            }
        }
        Some(())
    }
}

/// What a field of a type holds, if it may be kept.
fn holds(of: Type, name: &str) -> Option<Holds> {
    if name == "__typename" {
        return Some(Holds::Value);
    }
    let value = |known: &[&str]| known.contains(&name).then_some(Holds::Value);
    match of {
        Type::Query => root(name).map(Holds::Object),
        Type::EnhancedSync | Type::Sync => {
            let list = kinds::all().find(|kind| kind.list == name);
            match (list, name) {
                (Some(kind), _) => Some(Holds::Object(Type::Row(kind.entity_type))),
                (None, "deleted") => Some(Holds::Object(Type::Deleted)),
                (None, "serverTimestamp") => Some(Holds::Value),
                (None, "conflicts") if of == Type::EnhancedSync => {
                    Some(Holds::Object(Type::Conflict))
                }
                _ if of == Type::EnhancedSync => {
                    value(&["hasMore", "nextCursor", "totalCount", "batchSize"])
                }
                _ => None,
            }
        }
        Type::Deleted => kinds::all().any(|kind| kind.list == name).then_some(Holds::Value),
        // Not who did what: people's names change without any head. An open one has no resolution,
        // whatever is asked of it.
        Type::Conflict => value(&[
            "resolution",
            "id",
            "entityType",
            "entityId",
            "conflictType",
            "operation",
            "index",
            "operationId",
            "deviceId",
            "currentVersion",
            "localVersion",
            "remoteVersion",
            "localData",
            "remoteData",
            "baseData",
            "conflictedFields",
            "timestamp",
            "status",
        ]),
        Type::Row(kind) => of_row(kind.kind(), name).or_else(|| {
            value(&["lastSyncAttempt", "syncErrorMessage", "isDirty", "needsSync", "syncStatus"])
        }),
        Type::Carried(kind) => of_row(kind.kind(), name),
        Type::Location => value(&["latitude", "longitude", "name"]),
        Type::Point => {
            value(&["id", "latitude", "longitude", "altitude", "speed", "timestamp", "created_at"])
        }
        Type::Segment if name == "points" => Some(Holds::Object(Type::Point)),
        Type::Segment => value(&[
            "id",
            "segmentType",
            "startDate",
            "endDate",
            "distance",
            "averageSpeed",
            "maxSpeed",
            "originalPointCount",
            "isCompressed",
            "compressionRatio",
            "qualityLevel",
        ]),
    }
}

fn root(name: &str) -> Option<Type> {
    Some(match name {
        "enhancedSync" => Type::EnhancedSync,
        "sync" => Type::Sync,
        "trips" | "trip" => Type::Row(EntityType::Trip),
        "memories" | "memory" | "searchMemories" => Type::Row(EntityType::Memory),
        "tags" => Type::Row(EntityType::Tag),
        "tagCategories" => Type::Row(EntityType::TagCategory),
        "bucketListItems" => Type::Row(EntityType::BucketListItem),
        "gpxTracksByTrip" | "gpxTrack" => Type::Row(EntityType::GPXTrack),
        "routePoints" => Type::Point,
        _ => return None,
    })
}

fn of_row(kind: &'static Kind, name: &str) -> Option<Holds> {
    // What is stored of a row changes with its seq, and that is its scope's head then.
    if kind.fields.iter().any(|field| outputs(field).any(|output| output == name)) {
        return Some(Holds::Value);
    }
    if let Some(relation) = kind.relations.iter().find(|relation| relation.name == name) {
        let target = relation.target;
        let carried = target.kind().home == Home::Account;
        return Some(Holds::Object(match relation.via {
            Via::Refs(_) if carried => Type::Carried(target),
            // Shown are those whose scopes the caller sees.
            Via::Refs(_) | Via::Children(_) | Via::Parent(_) | Via::Together => Type::Row(target),
        }));
    }
    if kind.files().any(|(_, file)| file.url == name) {
        return Some(Holds::SignedUrl);
    }
    let made = match (kind.entity_type, name) {
        (EntityType::Trip, "role") | (EntityType::Memory, "userId") => Holds::Value,
        (EntityType::Trip, "routePoints") => Holds::Object(Type::Point),
        (EntityType::Trip, "trackSegments") | (EntityType::GPXTrack, "segments") => {
            Holds::Object(Type::Segment)
        }
        (EntityType::Memory, "location") => Holds::Object(Type::Location),
        (EntityType::Tag, "normalizedName" | "usageCount") => Holds::Value,
        (_, "id" | "createdAt" | "updatedAt" | "syncVersion") => Holds::Value,
        _ => return None,
    };
    Some(made)
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn of(text: &str) -> Option<Cacheable> {
        let document = parse_query(text).expect("a document");
        let (name, operation) = document.operations.iter().next().expect("an operation");
        cacheable(&document, name, &operation.node)
    }

    #[test]
    fn rows_and_what_hangs_on_them_may_be_kept() {
        let pull = of("query Pull($c: String) { enhancedSync(cursor: $c) {
            __typename trips { ...T } memories { id tags { name usageCount } location { name } }
            deleted { memories } conflicts { id localData resolution { resolvedBy } } hasMore nextCursor serverTimestamp } }
            fragment T on Trip { id role trackSegments { points { speed } } ... { name } }");
        let fields = vec!["enhancedSync".into()];
        let name = Some("Pull".into());
        assert_eq!(pull, Some(Cacheable { name, urls: false, fields }));
        let urls = of("{ trips { coverImageUrl } tags { id } }").expect("may be kept");
        assert!(urls.urls);
        assert_eq!(urls.fields, ["trips", "tags"]);
        assert!(of("{ sync(lastSyncedAt: \"x\") { trips { id } serverTimestamp } }").is_some());
    }

    #[test]
    fn what_changes_without_a_head_may_not() {
        for text in [
            "{ hello }",
            "{ getCurrentUser { id } }",
            "{ trips { id } devices { id } }",
            "{ getConflicts { id } }",
            "{ getTripMembers(tripId: \"x\") { user { isOnline } } }",
            "{ getPresignedDownloadUrl(objectKey: \"x\") { downloadUrl } }",
            "{ enhancedSync { conflicts { id title } } }",
            "{ conflictInbox { total } }",
            "{ history(entityType: Trip, entityId: \"x\") { version } }",
            "{ enhancedSync { conflicts { ...C } } } fragment C on ConflictResult { editedBy }",
            "{ memories { tags { id syncStatus } } }",
            "{ trips { id somethingNew } }",
            "{ somethingNew { id } }",
            "{ sync(lastSyncedAt: \"x\") { hasMore } }",
            "{ __schema { types { name } } }",
            "{ ...Gone }",
            "{ ...A } fragment A on Query { ...B ...B } fragment B on Query { ...A ...A }",
            "mutation { deleteTrip(id: \"x\") }",
            "subscription { syncAvailable }",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
