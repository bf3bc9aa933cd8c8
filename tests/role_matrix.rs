//! G16, as a table: every operation of the API × everyone who may ask: allowed, refused, or as if
//! it did not exist. The table is written by hand from what was promised, not derived from the code.

use std::collections::{BTreeMap, BTreeSet};

use cairn::sync::Role;
use cairn::sync::share::{self, By};
use sea_orm::sea_query::Query;
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::both;
use crate::support::{App, Device, PUSH, Socket, create, update};

/// Who asks: three roles in the trip, someone who never had one, someone who was removed from it
/// (an EDITOR until then), and a request without a token.
const WHO: [&str; 6] = ["owner", "editor", "viewer", "stranger", "former", "nobody"];

/// A name of the API, a request, and what comes of it for each of `WHO`:
///
/// - `shown`: no error, and the answer holds what the trip (or its owner) calls its own
/// - `hidden`: no error, and the answer holds nothing of it
/// - `done`: no error, and the answer is not null
/// - `null`, `[]`, `true`, `false`: this is the answer, and it changes nothing, unless the role may
/// - anything else: the code of the error, and nothing has changed
///
/// `<…>` stands for something of the trip or its owner: an id, an object name. Whatever a stranger
/// is told, they are told with ids and names that do not exist, too, letter by letter. `<my …>` is the
/// caller's own; `<fresh>` is a UUID that nobody has used.
type Line = (&'static str, &'static str, [&'static str; 6]);

#[rustfmt::skip]
const TABLE: &[Line] = &[
    // ── Of the caller alone, whatever their roles ──
    //                                                 owner             editor            viewer            stranger          former            nobody
    ("hello", "{ hello }",                            ["done",           "done",           "done",           "done",           "done",           "done"]),
    ("register", "mutation { register(input: { email: \"<fresh>@example.org\", password: \"correct horse\" }) { id } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "done"]),
    ("login", "mutation { login(input: { email: \"<login>\", password: \"correct horse\" }) { token } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "done"]),
    ("getCurrentUser", "{ getCurrentUser { id email username firstName lastName } }",
                                                      ["shown",          "hidden",         "hidden",         "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("syncAvailable", "subscription { syncAvailable { serverTimestamp } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("devices", "{ devices { id lastSeenAt } }",      ["hidden",         "hidden",         "hidden",         "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("updateUser", "mutation { updateUser(input: { firstName: \"Augusta\" }) { id } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("refreshToken", "mutation { refreshToken { token } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("changePassword", "mutation { changePassword(currentPassword: \"correct horse\", newPassword: \"correct horse\") { token } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("logout", "mutation { logout }",                 ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    // With the right password it would be the end of them; here a wrong one must be noticed first.
    ("deleteAccount", "mutation { deleteAccount(password: \"wrong horse\") }",
                                                      ["BAD_USER_INPUT", "BAD_USER_INPUT", "BAD_USER_INPUT", "BAD_USER_INPUT", "BAD_USER_INPUT", "UNAUTHENTICATED"]),
    ("createTrip", "mutation { createTrip(input: { name: \"x\", startDate: \"2026-01-01T00:00:00Z\" }) { id } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("tags", "{ tags { id name } }",                  ["shown",          "hidden",         "hidden",         "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("createTag", "mutation { createTag(input: { name: \"<fresh>\" }) { id } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("createTag", "mutation { createTag(input: { name: \"<fresh>\", categoryId: \"<category>\" }) { id } }",
                                                      ["done",           "NOT_FOUND",      "NOT_FOUND",      "NOT_FOUND",      "NOT_FOUND",      "UNAUTHENTICATED"]),
    ("updateTag", "mutation { updateTag(id: \"<tag>\", input: { name: \"<fresh>\" }) { id } }",
                                                      ["done",           "null",           "null",           "null",           "null",           "UNAUTHENTICATED"]),
    ("updateTag", "mutation { updateTag(id: \"<shown tag>\", input: { name: \"<fresh>\" }) { id } }",
                                                      ["done",           "null",           "null",           "null",           "null",           "UNAUTHENTICATED"]),
    ("updateTag", "mutation { updateTag(id: \"<my tag>\", input: { categoryId: \"<category>\" }) { id } }",
                                                      ["done",           "null",           "null",           "null",           "null",           "UNAUTHENTICATED"]),
    ("deleteTag", "mutation { deleteTag(id: \"<tag>\") }",
                                                      ["done",           "true",           "true",           "true",           "true",           "UNAUTHENTICATED"]),
    ("deleteTag", "mutation { deleteTag(id: \"<shown tag>\") }",
                                                      ["done",           "true",           "true",           "true",           "true",           "UNAUTHENTICATED"]),
    ("tagCategories", "{ tagCategories { id name tags { name } } }",
                                                      ["shown",          "hidden",         "hidden",         "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("createTagCategory", "mutation { createTagCategory(input: { name: \"<fresh>\" }) { id } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("updateTagCategory", "mutation { updateTagCategory(id: \"<category>\", input: { name: \"<fresh>\" }) { id } }",
                                                      ["done",           "null",           "null",           "null",           "null",           "UNAUTHENTICATED"]),
    ("deleteTagCategory", "mutation { deleteTagCategory(id: \"<category>\") }",
                                                      ["done",           "true",           "true",           "true",           "true",           "UNAUTHENTICATED"]),
    ("bucketListItems", "{ bucketListItems { id name memories { title } } }",
                                                      ["shown",          "hidden",         "hidden",         "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("createBucketListItem", "mutation { createBucketListItem(input: { name: \"<fresh>\" }) { id } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("updateBucketListItem", "mutation { updateBucketListItem(id: \"<item>\", input: { name: \"<fresh>\" }) { id } }",
                                                      ["done",           "null",           "null",           "null",           "null",           "UNAUTHENTICATED"]),
    ("completeBucketListItem", "mutation { completeBucketListItem(id: \"<item>\", memoryId: \"<my memory>\") { id } }",
                                                      ["done",           "null",           "null",           "null",           "null",           "UNAUTHENTICATED"]),
    ("completeBucketListItem", "mutation { completeBucketListItem(id: \"<my item>\", memoryId: \"<memory>\") { id memories { title } } }",
                                                      ["shown",          "shown",          "shown",          "null",           "null",           "UNAUTHENTICATED"]),
    ("deleteBucketListItem", "mutation { deleteBucketListItem(id: \"<item>\") }",
                                                      ["done",           "true",           "true",           "true",           "true",           "UNAUTHENTICATED"]),

    // ── The trip and who is in it ──
    //                                                 owner             editor            viewer            stranger          former            nobody
    ("trips", "{ trips { id name role memories { title } gpxTracks { name } } }",
                                                      ["shown",          "shown",          "shown",          "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("trip", "{ trip(id: \"<trip>\") { id name role memories { title mediaItems { filename } } gpxTracks { name } routePoints { id } } }",
                                                      ["shown",          "shown",          "shown",          "null",           "null",           "UNAUTHENTICATED"]),
    ("updateTrip", "mutation { updateTrip(id: \"<trip>\", input: { visitedCountries: \"<fresh>\" }) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("deleteTrip", "mutation { deleteTrip(id: \"<trip>\") }",
                                                      ["done",           "FORBIDDEN",      "FORBIDDEN",      "true",           "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("getTripMembers", "{ getTripMembers(tripId: \"<trip>\") { id role user { email } trip { name } } }",
                                                      ["shown",          "shown",          "shown",          "[]",             "[]",             "UNAUTHENTICATED"]),
    ("shareTrip", "mutation { shareTrip(tripId: \"<trip>\", email: \"<guest>\", permission: READ) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    // Sharing with a member is no way to another role, for whomever.
    ("shareTrip", "mutation { shareTrip(tripId: \"<trip>\", email: \"<my email>\", permission: ADMIN) { id } }",
                                                      ["BAD_USER_INPUT", "BAD_USER_INPUT", "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("shareTrip", "mutation { shareTrip(tripId: \"<trip>\", email: \"<member email>\", permission: ADMIN) { id } }",
                                                      ["BAD_USER_INPUT", "BAD_USER_INPUT", "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("unshareTrip", "mutation { unshareTrip(tripId: \"<trip>\", userId: \"<member>\") }",
                                                      ["done",           "FORBIDDEN",      "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("unshareTrip", "mutation { unshareTrip(tripId: \"<trip>\", userId: \"<owner>\") }",
                                                      ["BAD_USER_INPUT", "FORBIDDEN",      "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    // Leaving, which an owner cannot.
    ("unshareTrip", "mutation { unshareTrip(tripId: \"<trip>\", userId: \"<me>\") }",
                                                      ["BAD_USER_INPUT", "done",           "done",           "NOT_FOUND",      "done",           "UNAUTHENTICATED"]),
    ("changeTripRole", "mutation { changeTripRole(tripId: \"<trip>\", userId: \"<member>\", permission: WRITE) { id } }",
                                                      ["done",           "FORBIDDEN",      "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("changeTripRole", "mutation { changeTripRole(tripId: \"<trip>\", userId: \"<owner>\", permission: READ) { id } }",
                                                      ["BAD_USER_INPUT", "FORBIDDEN",      "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    // Someone who has nothing to do with one's own trip, and who need not be there at all.
    ("unshareTrip", "mutation { unshareTrip(tripId: \"<my trip>\", userId: \"<owner>\") }",
                                                      ["BAD_USER_INPUT", "true",           "true",           "true",           "true",           "UNAUTHENTICATED"]),
    ("changeTripRole", "mutation { changeTripRole(tripId: \"<my trip>\", userId: \"<owner>\", permission: READ) { id } }",
                                                      ["BAD_USER_INPUT", "NOT_FOUND",      "NOT_FOUND",      "NOT_FOUND",      "NOT_FOUND",      "UNAUTHENTICATED"]),
    ("generateTripCoverImageUploadUrl", "mutation { generateTripCoverImageUploadUrl(tripId: \"<trip>\", contentType: \"image/jpeg\") { objectKey } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("assignCoverImageToTrip", "mutation { assignCoverImageToTrip(tripId: \"<trip>\", objectName: \"<my file>\") { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),

    // ── What is in the trip ──
    //                                                 owner             editor            viewer            stranger          former            nobody
    ("memories", "{ memories { id title } }",         ["shown",          "shown",          "shown",          "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("memories", "{ memories(tripId: \"<trip>\") { id title } }",
                                                      ["shown",          "shown",          "shown",          "[]",             "[]",             "UNAUTHENTICATED"]),
    ("memory", "{ memory(id: \"<memory>\") { id title tripId userId tags { name } } }",
                                                      ["shown",          "shown",          "shown",          "null",           "null",           "UNAUTHENTICATED"]),
    ("searchMemories", "{ searchMemories(query: \"<mark>\") { id title } }",
                                                      ["shown",          "shown",          "shown",          "[]",             "[]",             "UNAUTHENTICATED"]),
    ("searchMemories", "{ searchMemories(tripId: \"<trip>\", query: \"Hut\") { id title } }",
                                                      ["shown",          "shown",          "shown",          "[]",             "[]",             "UNAUTHENTICATED"]),
    ("createMemory", "mutation { createMemory(input: { title: \"x\", tripId: \"<trip>\" }) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("createMemory", "mutation { createMemory(input: { title: \"x\", tripId: \"<my trip>\", tagIds: [\"<tag>\"] }) { id } }",
                                                      ["done",           "NOT_FOUND",      "NOT_FOUND",      "NOT_FOUND",      "NOT_FOUND",      "UNAUTHENTICATED"]),
    ("updateMemory", "mutation { updateMemory(id: \"<memory>\", input: { content: \"<fresh>\" }) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("updateMemory", "mutation { updateMemory(id: \"<my memory>\", input: { tagIds: [\"<tag>\"] }) { id } }",
                                                      ["done",           "NOT_FOUND",      "NOT_FOUND",      "NOT_FOUND",      "NOT_FOUND",      "UNAUTHENTICATED"]),
    ("deleteMemory", "mutation { deleteMemory(id: \"<memory>\") }",
                                                      ["done",           "done",           "FORBIDDEN",      "true",           "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("createMediaItem", "mutation { createMediaItem(input: { memoryId: \"<memory>\", objectName: \"<my file>\", mediaType: \"image/jpeg\", timestamp: \"2026-01-01T00:00:00Z\", order: 0, filesize: 5 }) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("updateMediaItem", "mutation { updateMediaItem(id: \"<media>\", input: { order: 7 }) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("deleteMediaItem", "mutation { deleteMediaItem(id: \"<media>\") }",
                                                      ["done",           "done",           "FORBIDDEN",      "true",           "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("gpxTracksByTrip", "{ gpxTracksByTrip(tripId: \"<trip>\") { id name } }",
                                                      ["shown",          "shown",          "shown",          "[]",             "[]",             "UNAUTHENTICATED"]),
    ("gpxTrack", "{ gpxTrack(id: \"<track>\") { id name } }",
                                                      ["shown",          "shown",          "shown",          "null",           "null",           "UNAUTHENTICATED"]),
    ("createGpxTrack", "mutation { createGpxTrack(input: { name: \"x\", tripId: \"<trip>\" }) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("updateGpxTrack", "mutation { updateGpxTrack(id: \"<track>\", input: { creator: \"<fresh>\" }) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("deleteGpxTrack", "mutation { deleteGpxTrack(id: \"<track>\") }",
                                                      ["done",           "done",           "FORBIDDEN",      "true",           "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("processGpxFile", "mutation { processGpxFile(tripId: \"<trip>\", trackName: \"x\", objectName: \"<my gpx file>\") { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("routePoints", "{ routePoints(tripId: \"<trip>\") { id latitude longitude } }",
                                                      ["shown",          "shown",          "shown",          "[]",             "[]",             "UNAUTHENTICATED"]),
    ("createRoutePoints", "mutation { createRoutePoints(tripId: \"<trip>\", points: [{ latitude: 1, longitude: 2, timestamp: \"2026-01-02T00:00:00Z\" }]) { id } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),

    // ── Files ──
    //                                                 owner             editor            viewer            stranger          former            nobody
    ("getPresignedUploadUrl", "{ getPresignedUploadUrl(mimeType: \"image/jpeg\", filename: \"a.jpg\") { objectKey } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("createUploadUrl", "mutation { createUploadUrl(mimeType: \"image/jpeg\", filename: \"a.jpg\") { objectKey } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("generateGpxUploadUrl", "mutation { generateGpxUploadUrl(filename: \"a.gpx\") { objectKey } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("getPresignedDownloadUrl", "{ getPresignedDownloadUrl(objectKey: \"<file>\") { objectKey downloadUrl } }",
                                                      ["shown",          "shown",          "shown",          "NOT_FOUND",      "NOT_FOUND",      "UNAUTHENTICATED"]),
    ("generateBatchDownloadUrls", "{ generateBatchDownloadUrls(mediaItemIds: [\"<media>\"], gpxTrackIds: [\"<track>\"]) { downloadUrls { objectName downloadUrl } } }",
                                                      ["shown",          "shown",          "shown",          "hidden",         "hidden",         "UNAUTHENTICATED"]),
    // A file may come before its row: a URL is for the caller's own space, whatever it is to be for.
    ("generateBatchUploadUrls", "mutation { generateBatchUploadUrls(uploadRequests: [{ entityId: \"<media>\", entityType: \"MediaItem\", objectName: \"<file>\", mimeType: \"image/jpeg\" }]) { uploadUrls { entityId objectName } } }",
                                                      ["done",           "done",           "FORBIDDEN",      "done",           "done",           "UNAUTHENTICATED"]),
    ("markFileUploadComplete", "mutation { markFileUploadComplete(entityId: \"<media>\", entityType: \"MediaItem\", objectName: \"<file>\") }",
                                                      ["true",           "true",           "FORBIDDEN",      "false",          "false",          "UNAUTHENTICATED"]),

    // ── Sync ──
    //                                                 owner             editor            viewer            stranger          former            nobody
    ("sync", "{ sync(lastSyncedAt: \"0001-01-01T00:00:00Z\") { trips { name } memories { title } mediaItems { filename } gpxTracks { name } tags { name } tagCategories { name } bucketListItems { name } } }",
                                                      ["shown",          "shown",          "shown",          "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("enhancedSync", "{ enhancedSync(batchSize: 1000) { trips { name } memories { title } mediaItems { filename } gpxTracks { name } tags { name } tagCategories { name } bucketListItems { name } conflicts { localData } } }",
                                                      ["shown",          "shown",          "shown",          "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("bulkSync", "mutation { bulkSync(input: {}) { processedCount } }",
                                                      ["done",           "done",           "done",           "done",           "done",           "UNAUTHENTICATED"]),
    ("getConflicts", "{ getConflicts { id entityId localData remoteData baseData } }",
                                                      ["shown",          "shown",          "[]",             "[]",             "[]",             "UNAUTHENTICATED"]),
    ("getConflicts", "{ getConflicts(tripId: \"<trip>\") { id entityId localData remoteData baseData } }",
                                                      ["shown",          "shown",          "[]",             "[]",             "[]",             "UNAUTHENTICATED"]),
    ("conflict", "{ conflict(id: \"<conflict>\") { id entityId localData remoteData baseData } }",
                                                      ["shown",          "shown",          "null",           "null",           "null",           "UNAUTHENTICATED"]),
    ("conflictInbox", "{ conflictInbox { conflicts { title localData currentData mergedData edits { data } names { name } editedBy { displayName } } } }",
                                                      ["shown",          "shown",          "hidden",         "hidden",         "hidden",         "UNAUTHENTICATED"]),
    ("history", "{ history(entityType: Memory, id: \"<memory>\") { version newData oldData person { displayName } } }",
                                                      ["shown",          "shown",          "[]",             "[]",             "[]",             "UNAUTHENTICATED"]),
    ("resolveConflict", "mutation { resolveConflict(conflictId: \"<conflict>\", strategy: FIRST_WRITE_WINS) { strategy } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("resolveConflict", "mutation { resolveConflict(conflictId: \"<conflict>\", strategy: MANUAL_RESOLUTION, resolvedData: \"{\\\"title\\\":\\\"x\\\"}\") { strategy } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    ("resolveConflicts", "mutation { resolveConflicts(conflictIds: [\"<conflict>\"], strategy: LAST_WRITE_WINS) { strategy } }",
                                                      ["done",           "done",           "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
    // An open one cannot be undone, and who may not decide it is not told that it is open.
    ("undoResolution", "mutation { undoResolution(conflictId: \"<conflict>\") { id } }",
                                                      ["BAD_USER_INPUT", "BAD_USER_INPUT", "FORBIDDEN",      "NOT_FOUND",      "FORBIDDEN",      "UNAUTHENTICATED"]),
];

/// What comes of one item of a batch: the same people, but for nobody, who cannot push at all.
type Item = (&'static str, &'static str, &'static str, &'static str, [&'static str; 5]);

/// Kind, operation, id and fields. Verdicts are in short: `ok` is successful, `gone` successful as
/// for what was never there, a code is a failure.
#[rustfmt::skip]
const ITEMS: &[Item] = &[
    //                                                                             owner         editor        viewer        stranger      former
    ("Trip",           "UPDATE", "<trip>",     r#"{ "visitedCountries": "CH" }"#, ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("Trip",           "DELETE", "<trip>",     r#"{}"#,                           ["ok",         "FORBIDDEN",  "FORBIDDEN",  "gone",       "FORBIDDEN"]),
    ("Memory",         "CREATE", "<fresh>",    r#"{ "tripId": "<trip>", "title": "x" }"#,
                                                                                  ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("Memory",         "UPDATE", "<memory>",   r#"{ "content": "x" }"#,           ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("Memory",         "DELETE", "<memory>",   r#"{}"#,                           ["ok",         "ok",         "FORBIDDEN",  "gone",       "FORBIDDEN"]),
    // Out of the trip, and into it.
    ("Memory",         "UPDATE", "<memory>",   r#"{ "tripId": "<my trip>" }"#,    ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("Memory",         "UPDATE", "<my memory>", r#"{ "tripId": "<trip>" }"#,      ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    // With a tag of the owner's that nobody else sees, in a memory of the trip and in one's own.
    ("Memory",         "UPDATE", "<memory>",   r#"{ "tagIds": ["<tag>"] }"#,      ["ok",         "NOT_FOUND",  "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("Memory",         "UPDATE", "<my memory>", r#"{ "tagIds": ["<tag>"] }"#,     ["ok",         "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND"]),
    ("Memory",         "CREATE", "<fresh>",    r#"{ "tripId": "<my trip>", "title": "x", "tagIds": ["<tag>"] }"#,
                                                                                  ["ok",         "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND"]),
    ("MediaItem",      "CREATE", "<fresh>",    r#"{ "memoryId": "<memory>", "objectName": "<my file>", "mimeType": "image/jpeg", "fileSize": 5 }"#,
                                                                                  ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("MediaItem",      "UPDATE", "<media>",    r#"{ "order": 7 }"#,               ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("MediaItem",      "DELETE", "<media>",    r#"{}"#,                           ["ok",         "ok",         "FORBIDDEN",  "gone",       "FORBIDDEN"]),
    ("MediaItem",      "UPDATE", "<media>",    r#"{ "memoryId": "<my memory>" }"#,
                                                                                  ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("MediaItem",      "UPDATE", "<my media>", r#"{ "memoryId": "<memory>" }"#,   ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("GPXTrack",       "CREATE", "<fresh>",    r#"{ "tripId": "<trip>", "name": "x" }"#,
                                                                                  ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("GPXTrack",       "UPDATE", "<track>",    r#"{ "description": "x" }"#,       ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("GPXTrack",       "DELETE", "<track>",    r#"{}"#,                           ["ok",         "ok",         "FORBIDDEN",  "gone",       "FORBIDDEN"]),
    ("GPXTrack",       "UPDATE", "<track>",    r#"{ "memoryId": "<memory>" }"#,   ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("GPXTrack",       "UPDATE", "<my track>", r#"{ "tripId": "<trip>" }"#,       ["ok",         "ok",         "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    // A memory of another trip than the track's, which is one's own.
    ("GPXTrack",       "CREATE", "<fresh>",    r#"{ "tripId": "<my trip>", "memoryId": "<memory>", "name": "x" }"#,
                                                                                  ["VALIDATION", "VALIDATION", "FORBIDDEN",  "NOT_FOUND",  "FORBIDDEN"]),
    ("Tag",            "CREATE", "<fresh>",    r#"{ "name": "<fresh>", "categoryId": "<category>" }"#,
                                                                                  ["ok",         "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND"]),
    ("Tag",            "UPDATE", "<my tag>",   r#"{ "categoryId": "<category>" }"#,
                                                                                  ["ok",         "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND"]),
    ("Tag",            "UPDATE", "<tag>",      r##"{ "color": "#112233" }"##,     ["ok",         "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND"]),
    ("Tag",            "DELETE", "<tag>",      r#"{}"#,                           ["ok",         "gone",       "gone",       "gone",       "gone"]),
    // The tag that a memory of the trip carries is no more theirs.
    ("Tag",            "UPDATE", "<shown tag>", r##"{ "color": "#112233" }"##,    ["ok",         "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND"]),
    ("Tag",            "DELETE", "<shown tag>", r#"{}"#,                          ["ok",         "gone",       "gone",       "gone",       "gone"]),
    ("TagCategory",    "UPDATE", "<category>", r#"{ "sortOrder": 7 }"#,           ["ok",         "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND"]),
    ("TagCategory",    "DELETE", "<category>", r#"{}"#,                           ["ok",         "gone",       "gone",       "gone",       "gone"]),
    ("BucketListItem", "UPDATE", "<item>",     r#"{ "country": "CH" }"#,          ["ok",         "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND",  "NOT_FOUND"]),
    ("BucketListItem", "DELETE", "<item>",     r#"{}"#,                           ["ok",         "gone",       "gone",       "gone",       "gone"]),
    // An id that is taken cannot be used by anyone else; a CREATE of what is one's own and has other
    // content is a conflict.
    ("Tag",            "CREATE", "<tag>",      r#"{ "name": "x" }"#,              ["conflict",   "VALIDATION", "VALIDATION", "VALIDATION", "VALIDATION"]),
    ("Memory",         "CREATE", "<memory>",   r#"{ "tripId": "<my trip>", "title": "x" }"#,
                                                                                  ["conflict",   "conflict",   "FORBIDDEN",  "VALIDATION", "FORBIDDEN"]),
];

/// What people of the trip may read, and what only its owner may: parts of names.
const SHARED: &str = "cairn-shared";
const PRIVATE: &str = "cairn-private";

const GPX: &str = r#"<gpx version="1.1" creator="x"><trk><trkseg>
    <trkpt lat="46.5" lon="8.1"><ele>2000</ele></trkpt><trkpt lat="46.6" lon="8.2"><ele>2100</ele></trkpt>
    </trkseg></trk></gpx>"#;

/// What the `<…>` of a request stand for.
type Names = BTreeMap<&'static str, String>;

fn fill(text: &str, names: &Names) -> String {
    let filled = names
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value));
    assert!(!filled.contains("\"<") && !filled.contains("<my"), "not all is filled in: {filled}");
    filled
}

/// An answer without the names that were sent.
fn unfill(answer: &str, names: &Names) -> String {
    names
        .iter()
        .fold(answer.to_owned(), |text, (name, value)| text.replace(value, &format!("<{name}>")))
}

/// Names of what is not there, instead of what this person cannot see.
fn missing(who: usize, names: &Names) -> Names {
    const PERSONAL: [&str; 4] = ["tag", "shown tag", "category", "item"];
    const OWN: [&str; 5] = ["me", "fresh", "guest", "login", "member email"];
    let other = |(name, value): (&&'static str, &String)| {
        let foreign = match WHO[who] {
            "stranger" | "former" => !name.starts_with("my ") && !OWN.contains(name),
            _ => PERSONAL.contains(name),
        };
        let value = match (foreign, value.rsplit_once('.')) {
            (false, _) => value.clone(),
            (true, Some((_, kind))) => format!("photos/{}.{kind}", Uuid::new_v4()),
            (true, None) => Uuid::new_v4().to_string(),
        };
        (*name, value)
    };
    names.iter().map(other).collect()
}

/// Everyone of `WHO`, someone who can be invited, and another VIEWER.
struct Cast<'a> {
    app: &'a App,
    people: Vec<Device<'a>>,
    accounts: Vec<Uuid>,
    member: Uuid,
    owner_elsewhere: Device<'a>,
}

impl<'a> Cast<'a> {
    async fn assemble(app: &'a App) -> Cast<'a> {
        let mut people = Vec::new();
        let mut accounts = Vec::new();
        for who in &WHO[..5] {
            let device = app.device_of(who).await;
            accounts.push(device.account().await);
            people.push(device);
        }
        app.register("guest").await;
        let member = app.device_of("member").await.account().await;
        let name =
            format!("mutation {{ updateUser(input: {{ lastName: \"{PRIVATE}\" }}) {{ id }} }}");
        people[0].ask(&name, json!({})).await;
        let owner_elsewhere = Device::new(app, "owner", people[0].token.clone());
        Cast { app, people, accounts, member, owner_elsewhere }
    }

    fn owner(&self) -> &Device<'a> {
        &self.people[0]
    }

    /// A new trip of the owner's, with members, a row of every kind, and files.
    async fn trip(&self) -> Names {
        let owner = self.owner();
        let ids: Vec<Uuid> = (0..8).map(|_| Uuid::new_v4()).collect();
        let [trip, memory, disputed, media, tag, shown, category, item] = ids[..] else {
            panic!("eight ids")
        };
        let file = format!("photos/{SHARED}-{media}.jpg");
        let gpx = format!("tracks/{SHARED}-{media}.gpx");
        owner.upload(&file, "image/jpeg", "bytes").await;
        owner.upload(&gpx, "application/gpx+xml", GPX).await;
        let rows = [
            create("TagCategory", category, json!({ "name": format!("{PRIVATE} {category}") })),
            create(
                "Tag",
                tag,
                json!({ "name": format!("{PRIVATE} {tag}"), "categoryId": category }),
            ),
            create(
                "Tag",
                shown,
                json!({ "name": format!("{SHARED} {shown}"), "categoryId": category }),
            ),
            create("BucketListItem", item, json!({ "name": format!("{PRIVATE} {item}") })),
            create("Trip", trip, json!({ "name": SHARED, "startDate": "2026-01-01T00:00:00Z" })),
            create(
                "Memory",
                memory,
                json!({ "tripId": trip, "title": format!("Hut {SHARED}"), "tagIds": [shown] }),
            ),
            create(
                "Memory",
                disputed,
                json!({ "tripId": trip, "title": format!("Ridge {SHARED}") }),
            ),
            create(
                "MediaItem",
                media,
                json!({ "memoryId": memory, "objectName": file, "mimeType": "image/jpeg", "fileSize": 5 }),
            ),
        ];
        push_all(owner, rows).await;
        let title = |title: &str| json!({ "title": format!("{title} {SHARED}") });
        assert_eq!(owner.push_one(update("Memory", disputed, 1, title("Peak"))).await, "ok 2");
        let stale = update("Memory", disputed, 1, title("Spur"));
        let pushed = self.owner_elsewhere.push(json!({ stale.0: [stale.1] })).await;
        let conflict = pushed.conflicts[0]["id"].as_str().expect("a conflict").to_owned();
        let more = format!(
            "mutation {{
                processGpxFile(tripId: \"{trip}\", trackName: \"{SHARED}\", objectName: \"{gpx}\") {{ id }}
                createRoutePoints(tripId: \"{trip}\", points: [{{ latitude: 46.123456, longitude: 8, timestamp: \"2026-01-01T00:00:00Z\" }}]) {{ id }}
            }}"
        );
        let answer = owner.ask(&more, json!({})).await;
        let track = answer["data"]["processGpxFile"]["id"].as_str();
        let track = track.unwrap_or_else(|| panic!("{answer}")).to_owned();
        let db = self.app.db();
        let former = self.accounts[4];
        for (account, role) in [
            (self.accounts[1], Role::Editor),
            (self.accounts[2], Role::Viewer),
            (self.member, Role::Viewer),
            (former, Role::Editor),
        ] {
            share::grant(db, By::Operator, trip, account, role).await.expect("shared");
        }
        share::revoke(db, By::Operator, trip, former).await.expect("revoked");
        let ids = [
            ("trip", trip),
            ("memory", memory),
            ("media", media),
            ("tag", tag),
            ("shown tag", shown),
            ("category", category),
            ("item", item),
            ("owner", self.accounts[0]),
            ("member", self.member),
        ];
        let ids = ids.into_iter().map(|(name, id)| (name, id.to_string()));
        let more = [
            ("track", track),
            ("conflict", conflict),
            ("file", file),
            ("member email", "member@example.org".into()),
            ("guest", "guest@example.org".into()),
            ("login", "guest@example.org".into()),
            ("mark", SHARED.into()),
        ];
        ids.chain(more).collect()
    }

    /// What a request that speaks of `<my …>` needs, made anew.
    async fn add_own(&self, who: usize, request: &str, names: &mut Names) {
        names.insert("fresh", Uuid::new_v4().to_string());
        names.insert("my email", format!("{}@example.org", WHO[who]));
        names.insert("me", self.accounts.get(who).copied().unwrap_or_default().to_string());
        let ids: Vec<Uuid> = (0..6).map(|_| Uuid::new_v4()).collect();
        let [trip, memory, media, track, tag, item] = ids[..] else { panic!("six ids") };
        let (file, gpx) = (format!("mine/{media}.jpg"), format!("mine/{track}.gpx"));
        if let (true, Some(device)) = (request.contains("<my "), self.people.get(who)) {
            device.upload(&file, "image/jpeg", "bytes").await;
            device.upload(&gpx, "application/gpx+xml", GPX).await;
            let rows = [
                create("Tag", tag, json!({ "name": tag })),
                create("BucketListItem", item, json!({ "name": item })),
                create(
                    "Trip",
                    trip,
                    json!({ "name": "mine", "startDate": "2026-01-01T00:00:00Z" }),
                ),
                create("Memory", memory, json!({ "tripId": trip, "title": "mine" })),
                create(
                    "MediaItem",
                    media,
                    json!({ "memoryId": memory, "objectName": file, "mimeType": "image/jpeg", "fileSize": 5 }),
                ),
                create("GPXTrack", track, json!({ "tripId": trip, "name": "mine" })),
            ];
            push_all(device, rows).await;
        }
        let names_of = ["my trip", "my memory", "my media", "my track", "my tag", "my item"];
        names.extend(names_of.into_iter().zip(ids.iter().map(Uuid::to_string)));
        names.extend([("my file", file), ("my gpx file", gpx)]);
    }
}

/// Pushes rows that must all go through.
async fn push_all(device: &Device<'_>, rows: impl IntoIterator<Item = (&'static str, Json)>) {
    let mut input: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    for (list, row) in rows {
        input.entry(list).or_default().push(row);
    }
    let pushed = device.push(json!(input)).await;
    assert!(pushed.failed.is_empty() && pushed.conflicts.is_empty(), "{pushed:?}");
}

/// Everything that a write moves: the heads of all scopes, and who is a member where.
async fn state(app: &App) -> BTreeSet<String> {
    let heads = Query::select().columns(["id", "head"]).from("scope").to_owned();
    let heads = app.db().pool().query_all(&heads).await.expect("scopes can be read");
    let memberships = entity::membership::Entity::find().all(app.db().pool()).await;
    heads
        .iter()
        .map(|row| {
            let id: Uuid = row.try_get_by_index(0).expect("an id");
            let head: i64 = row.try_get_by_index(1).expect("a head");
            format!("{id} {head}")
        })
        .chain(memberships.expect("memberships can be read").iter().map(|m| format!("{m:?}")))
        .collect()
}

/// Whether an answer is what the table says; else what it is instead.
fn compare(answer: &Json, operation: &str, expected: &str) -> Result<(), String> {
    let text = answer.to_string();
    let (shared, private) =
        (text.contains(SHARED) || text.contains("46.123456"), text.contains(PRIVATE));
    let code = answer["errors"][0]["extensions"]["code"].as_str();
    let data = &answer["data"][operation];
    let good = match expected {
        "shown" => code.is_none() && (shared || private),
        "done" => code.is_none() && !data.is_null(),
        "hidden" => code.is_none() && !data.is_null() && !shared && !private,
        "null" => code.is_none() && *data == json!(null),
        "[]" => code.is_none() && *data == json!([]),
        "true" => code.is_none() && *data == json!(true),
        "false" => code.is_none() && *data == json!(false),
        expected => code == Some(expected) && !shared && !private,
    };
    if good { Ok(()) } else { Err(format!("expected {expected}, and the answer is {text}")) }
}

/// Whether nothing may have changed where this was the answer.
fn changes_nothing(expected: &str) -> bool {
    !matches!(expected, "done" | "shown" | "ok" | "conflict")
}

/// Every name in the schema's Query, Mutation and Subscription.
fn operations() -> BTreeSet<String> {
    let schema = include_str!("../schema.graphql");
    let document = async_graphql::parser::parse_schema(schema).expect("schema.graphql is one");
    let mut names = BTreeSet::new();
    for definition in document.definitions {
        let async_graphql::parser::types::TypeSystemDefinition::Type(ty) = definition else {
            continue;
        };
        if let async_graphql::parser::types::TypeKind::Object(object) = ty.node.kind
            && ["Query", "Mutation", "Subscription"].contains(&ty.node.name.node.as_str())
        {
            names.extend(object.fields.into_iter().map(|field| field.node.name.node.to_string()));
        }
    }
    names
}

#[test]
fn g16_the_table_names_every_operation_of_the_schema() {
    let named: BTreeSet<String> = TABLE.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let missing: Vec<_> = operations().difference(&named).cloned().collect();
    assert!(missing.is_empty(), "say in the table who may do what: {missing:?}");
    for (name, request, _) in TABLE {
        assert!(request.contains(&format!("{{ {name}")), "{name} is not what {request} asks");
    }
}

both! {
    async fn g16_everyone_is_told_what_the_table_says(app: &App) {
        let mut cast = Cast::assemble(app).await;
        let mut trip = cast.trip().await;
        let mut wrong = Vec::new();
        for (operation, request, expected) in TABLE {
            for who in (0..WHO.len()).rev() {
                let mut names = trip.clone();
                cast.add_own(who, request, &mut names).await;
                let before = state(app).await;
                let token = cast.people.get(who).map(|device| device.token.clone());
                let ask = async |names: &Names| {
                    let (token, request) = (token.as_deref(), fill(request, names));
                    match request.starts_with("subscription") {
                        true => Socket::first(&app.url, token, &request).await,
                        false => app.ask(token, &request, json!({})).await,
                    }
                };
                let answer = ask(&names).await;
                let mut problem = compare(&answer, operation, expected[who]).err();
                let after = state(app).await;
                if changes_nothing(expected[who]) && before != after {
                    problem.get_or_insert_with(|| "something has changed".into());
                }
                // As if it did not exist: exactly so.
                let told = unfill(&answer.to_string(), &names);
                let about_others = fill(request, &missing(who, &names)) != fill(request, &names);
                if about_others && who == 3 || who != 0 && changes_nothing(expected[who]) && expected[who] == expected[3] {
                    let others = missing(who, &names);
                    let nothing = unfill(&ask(&others).await.to_string(), &others);
                    if told != nothing {
                        problem.get_or_insert_with(|| format!("{told}, and of what is missing {nothing}"));
                    }
                }
                if let Some(problem) = problem {
                    wrong.push(format!("{} of {operation} by {}: {problem}", fill(request, &names), WHO[who]));
                }
                if ["logout", "changePassword"].contains(operation)
                    && let Some(device) = cast.people.get_mut(who)
                {
                    let login = format!(
                        "mutation {{ login(input: {{ email: \"{}@example.org\", password: \"correct horse\" }}) {{ token }} }}",
                        WHO[who]
                    );
                    let answer = app.ask(None, &login, json!({})).await;
                    device.token = answer["data"]["login"]["token"].as_str().expect("a token").into();
                    if who == 0 {
                        cast.owner_elsewhere.token = device.token.clone();
                    }
                }
                if before != after {
                    trip = cast.trip().await;
                }
            }
        }
        assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }

    async fn g16_everyone_s_items_get_the_verdicts_of_the_table(app: &App) {
        let cast = Cast::assemble(app).await;
        let mut trip = cast.trip().await;
        let mut wrong = Vec::new();
        for (kind, operation, id, fields, expected) in ITEMS {
            for who in (0..5).rev() {
                let device = &cast.people[who];
                let mut names = trip.clone();
                let request = format!("{id} {fields}");
                cast.add_own(who, &request, &mut names).await;
                let before = state(app).await;
                let push = async |names: &Names| {
                    let fields: Json = serde_json::from_str(&fill(fields, names)).expect("JSON");
                    let id = Uuid::try_parse(&fill(id, names)).expect("an id");
                    let (list, mut item) = update(kind, id, 1, fields);
                    item["operation"] = json!(operation);
                    item["operationId"] = json!("operation");
                    // A device for each try: what it does is nothing that it did before.
                    let sender = json!({ "input": { list: [item] }, "deviceId": Uuid::new_v4() });
                    device.ask(PUSH, sender).await
                };
                let answer = push(&names).await;
                let pushed = &answer["data"]["bulkSync"];
                let verdict = match (&pushed["successful"][0], &pushed["conflicts"][0]) {
                    (Json::Object(_), _) => "ok",
                    (_, Json::Object(_)) => "conflict",
                    _ => pushed["failed"][0]["code"].as_str().unwrap_or("none"),
                };
                let said = format!("{operation} {kind} {fields} by {}", WHO[who]);
                let expected_verdict = if expected[who] == "gone" { "ok" } else { expected[who] };
                if verdict != expected_verdict {
                    wrong.push(format!("{said}: expected {}, got {answer}", expected[who]));
                }
                let after = state(app).await;
                if changes_nothing(expected[who]) && before != after {
                    wrong.push(format!("{said}: something has changed"));
                }
                let text = answer.to_string();
                if who == 3 && [SHARED, PRIVATE].iter().any(|mark| text.contains(mark)) {
                    wrong.push(format!("{said}: {text}"));
                }
                // The one exception: an id that is taken cannot be used.
                let taken = *operation == "CREATE" && *id != "<fresh>";
                let hidden = ["NOT_FOUND", "gone"].contains(&expected[who]);
                if hidden && !taken {
                    let others = missing(who, &names);
                    let nothing = unfill(&push(&others).await.to_string(), &others);
                    let told = unfill(&text, &names);
                    if told != nothing {
                        wrong.push(format!("{said}: {told}, and of what is missing {nothing}"));
                    }
                }
                if before != after {
                    trip = cast.trip().await;
                }
            }
        }
        assert!(wrong.is_empty(), "{} verdicts are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}
