//! A device: it pushes, pulls, and keeps what it was given.

use std::collections::{BTreeMap, BTreeSet};

use cairn::kinds;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::App;

/// A device of an account.
pub struct Device<'a> {
    pub app: &'a App,
    pub name: String,
    pub token: String,
    pub id: Uuid,
    pub cursor: Option<String>,
    pub rows: Rows,
}

/// What a device was given, by kind and id.
pub type Rows = BTreeMap<(String, String), Json>;

/// Applies a page: deletions, then rows kind by kind. Parents must be there first. Returns how many
/// entries it held.
pub fn apply(rows: &mut Rows, page: &Json) -> usize {
    let mut count = 0;
    for kind in kinds::all() {
        for id in page["deleted"][kind.list].as_array().expect("a list") {
            let id = id.as_str().expect("an id").to_owned();
            rows.remove(&(kind.name().to_owned(), id));
            count += 1;
        }
    }
    for kind in kinds::all() {
        for row in page[kind.list].as_array().expect("a list") {
            for parent in parents(kind.name(), row) {
                assert!(
                    rows.contains_key(&parent),
                    "{} {} came before its parent {parent:?}",
                    kind.name(),
                    row["id"]
                );
            }
            let id = row["id"].as_str().expect("an id").to_owned();
            rows.insert((kind.name().to_owned(), id), row.clone());
            count += 1;
        }
    }
    count
}

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    pub successful: Vec<Json>,
    pub conflicts: Vec<Json>,
    pub failed: Vec<Json>,
}

impl Pushed {
    /// Reads the answer to this batch: every item must be in it once.
    pub fn read(answer: &Json, input: &Json) -> Pushed {
        let pushed = &answer["data"]["bulkSync"];
        let list = |name: &str| pushed[name].as_array().expect("a list").clone();
        let all = Pushed {
            successful: list("successful"),
            conflicts: list("conflicts"),
            failed: list("failed"),
        };
        let lists = input.as_object().expect("lists").values();
        let items: usize = lists.map(|list| list.as_array().expect("a list").len()).sum();
        assert_eq!(pushed["processedCount"], items, "every item is counted");
        assert_eq!(all.verdicts().len(), items, "every item has a verdict");
        all
    }

    /// The one verdict of a batch of one item: `ok 2`, `conflict OPEN VERSION_MISMATCH` or
    /// `failed NOT_FOUND`.
    pub fn verdict(&self) -> String {
        let verdicts = self.verdicts();
        assert_eq!(verdicts.len(), 1, "{self:?}");
        verdicts.into_values().next().expect("one verdict")
    }

    /// The verdicts by kind and place in the batch.
    pub fn verdicts(&self) -> BTreeMap<(String, u64), String> {
        let place = |item: &Json| {
            let kind = item["entityType"].as_str().expect("a kind").to_owned();
            (kind, item["index"].as_u64().expect("an index"))
        };
        let text = |item: &Json, field: &str| item[field].as_str().unwrap_or_default().to_owned();
        let mut all = BTreeMap::new();
        for item in &self.successful {
            all.insert(place(item), format!("ok {}", item["syncVersion"]));
        }
        for item in &self.conflicts {
            let (status, kind) = (text(item, "status"), text(item, "conflictType"));
            let how = text(&item["resolution"], "strategy");
            all.insert(place(item), format!("conflict {status} {kind} {how}").trim_end().into());
        }
        for item in &self.failed {
            all.insert(place(item), format!("failed {}", text(item, "code")));
        }
        let count = self.successful.len() + self.conflicts.len() + self.failed.len();
        assert_eq!(all.len(), count, "each item has one verdict: {self:?}");
        all
    }
}

/// A batch, with everything that an answer can hold.
pub const PUSH: &str = "
    mutation($input: BulkSyncInput!, $deviceId: ID, $cursor: String, $strategy: ConflictResolutionStrategy) {
        bulkSync(input: $input, deviceId: $deviceId, cursor: $cursor, conflictStrategy: $strategy) {
            successful { entityType entityId operation syncVersion index operationId }
            conflicts {
                id entityType entityId conflictType operation index operationId deviceId
                currentVersion localVersion remoteVersion localData remoteData baseData
                conflictedFields timestamp status
                resolution { conflictId strategy resolvedData resolvedBy }
            }
            failed { entityType entityId error code index operationId }
            processedCount
        }
    }";

/// Decides a conflict.
pub const RESOLVE: &str = "
    mutation($id: ID!, $strategy: ConflictResolutionStrategy!, $data: String, $deviceId: ID) {
        resolveConflict(conflictId: $id, strategy: $strategy, resolvedData: $data, deviceId: $deviceId) {
            conflictId strategy resolvedData resolvedAt resolvedBy copyId person { displayName }
        }
    }";

/// Everything that is told of a conflict.
const CONFLICT: &str = "{
    id entityType entityId conflictType status operation deviceId currentVersion localVersion
    remoteVersion localData remoteData baseData conflictedFields timestamp tripId tripName title
    editedBy { id displayName } serverBy { id displayName } serverDeviceId currentData mergedData
    strategies names { entityType id name }
    edits { person { displayName } deviceId operation data clientTimestamp remoteVersion }
    undone { strategy resolvedData resolvedBy { displayName } undoneBy { displayName } }
    resolution { strategy resolvedData resolvedBy copyId person { displayName } } }";

/// Selects every list of rows with all their fields.
fn lists() -> String {
    kinds::all()
        .map(|kind| {
            let fields: String = kind
                .fields
                .iter()
                .map(|field| match field.outputs {
                    Some([first, ..]) => format!("{}: {first} ", field.name),
                    Some([]) => String::new(),
                    None => format!("{} ", field.name),
                })
                .collect();
            let list = kind.list;
            format!("{list} {{ id {fields} syncVersion syncStatus isDirty needsSync updatedAt }}\n")
        })
        .collect()
}

/// Selects every list of ids.
fn id_lists() -> String {
    kinds::all().map(|kind| format!("{} ", kind.list)).collect()
}

/// A query for everything that a page can hold.
pub fn pull_query() -> String {
    let (lists, ids) = (lists(), id_lists());
    format!(
        "query($cursor: String, $size: Int, $priority: SyncPriority, $types: [EntityType!], $since: DateTime) {{
            enhancedSync(cursor: $cursor, batchSize: $size, syncPriority: $priority, entityTypes: $types, lastSyncedAt: $since) {{
                {lists}
                deleted {{ {ids} }}
                conflicts {{ id entityType entityId conflictType status }}
                serverTimestamp hasMore nextCursor totalCount batchSize
            }}
        }}"
    )
}

/// The app's older sync, with the same rows.
pub fn sync_query() -> String {
    let (lists, ids) = (lists(), id_lists());
    format!(
        "query($since: DateTime!) {{ sync(lastSyncedAt: $since) {{
            {lists}
            deleted {{ {ids} }}
            serverTimestamp
        }} }}"
    )
}

/// The parents of a row as a device was given it: kind and id.
pub(super) fn parents(kind: &str, row: &Json) -> Vec<(String, String)> {
    let kind = kinds::EntityType::from_name(kind).expect("a kind").kind();
    kind.parents()
        .filter_map(|(field, parent)| {
            let id = row[&kind.fields[field].name].as_str()?;
            Some((parent.name().to_owned(), id.to_owned()))
        })
        .collect()
}

impl<'a> Device<'a> {
    pub fn new(app: &'a App, name: &str, token: String) -> Device<'a> {
        Device {
            app,
            name: name.into(),
            token,
            id: Uuid::new_v4(),
            cursor: None,
            rows: BTreeMap::new(),
        }
    }

    pub async fn account(&self) -> Uuid {
        let answer = self.ask("{ getCurrentUser { id } }", json!({})).await;
        let id = answer["data"]["getCurrentUser"]["id"].as_str().expect("an id");
        Uuid::try_parse(id).expect("a UUID")
    }

    pub async fn ask(&self, query: &str, variables: Json) -> Json {
        self.app.ask(Some(&self.token), query, variables).await
    }

    /// The raw answer to a batch.
    pub async fn try_push(&self, input: Json, more: Json) -> Json {
        let mut variables = json!({ "input": input, "deviceId": self.id });
        let all = variables.as_object_mut().expect("an object");
        all.extend(more.as_object().expect("an object").clone());
        self.ask(PUSH, variables).await
    }

    /// Pushes a batch.
    pub async fn push(&self, input: Json) -> Pushed {
        self.push_with(input, json!({})).await
    }

    /// Pushes with further arguments: `cursor`, `strategy`, or another `deviceId`.
    pub async fn push_with(&self, input: Json, more: Json) -> Pushed {
        let answer = self.try_push(input.clone(), more).await;
        assert!(answer["errors"].is_null(), "{}", answer["errors"]);
        Pushed::read(&answer, &input)
    }

    /// Pushes one item, and gives its verdict in short.
    pub async fn push_one(&self, (list, item): (&str, Json)) -> String {
        self.push(json!({ list: [item] })).await.verdict()
    }

    /// One page, raw.
    pub async fn page(&self, variables: Json) -> Json {
        self.ask(&pull_query(), variables).await
    }

    /// Pulls until there is no more, with pages of this size.
    pub async fn pull_by(&mut self, size: u32) -> usize {
        self.pull_with(json!({ "size": size })).await
    }

    /// Pulls everything.
    pub async fn pull(&mut self) -> usize {
        self.pull_by(1000).await
    }

    /// Pulls with further arguments, and applies page by page. Returns how many entries came. Along
    /// the way it checks what every page promises: parents first, and no more than was counted.
    pub async fn pull_with(&mut self, variables: Json) -> usize {
        let mut delivered = 0;
        let mut idle = 0;
        loop {
            let mut variables = variables.clone();
            variables["cursor"] = json!(self.cursor);
            let answer = self.page(variables).await;
            assert!(answer["errors"].is_null(), "{}", answer["errors"]);
            let page = answer["data"]["enhancedSync"].clone();
            let count = self.apply(&page);
            delivered += count;
            idle = if count == 0 { idle + 1 } else { 0 };
            assert!(idle < 20, "one empty page after another, and always more to come");
            let total = page["totalCount"].as_u64().expect("a count");
            assert!(total >= count as u64, "the count includes the page: {total} < {count}");
            self.cursor = Some(page["nextCursor"].as_str().expect("a cursor").to_owned());
            if page["hasMore"] == false {
                return delivered;
            }
        }
    }

    /// Applies a page as a client should: deletions, then rows kind by kind.
    pub fn apply(&mut self, page: &Json) -> usize {
        apply(&mut self.rows, page)
    }

    /// A row as the device was given it.
    pub fn row(&self, kind: &str, id: Uuid) -> Option<&Json> {
        self.rows.get(&(kind.to_owned(), id.to_string()))
    }

    /// A field of a row that the device has.
    pub fn field(&self, kind: &str, id: Uuid, name: &str) -> Json {
        self.row(kind, id).unwrap_or_else(|| panic!("no {kind} {id}"))[name].clone()
    }

    /// What a new device of the same account is given.
    pub async fn fresh_rows(&self) -> BTreeMap<(String, String), Json> {
        let mut fresh = Device::new(self.app, &self.name, self.token.clone());
        fresh.pull().await;
        fresh.rows
    }

    /// Makes someone a member of a trip of this account's, or gives a member another role: VIEWER or
    /// EDITOR.
    pub async fn share(&self, trip: Uuid, with: &Device<'_>, role: &str) {
        let permission = if role == "VIEWER" { "READ" } else { "WRITE" };
        let members = self.members(trip).await;
        let user = with.account().await.to_string();
        let answer = if members.iter().any(|(member, _)| *member == user) {
            let change = "mutation($trip: ID!, $user: ID!, $permission: Permission!) {
                changeTripRole(tripId: $trip, userId: $user, permission: $permission) { id } }";
            let variables = json!({ "trip": trip, "user": user, "permission": permission });
            self.ask(change, variables).await
        } else {
            self.try_share(trip, with, permission).await
        };
        assert!(answer["errors"].is_null(), "{answer}");
        let members = self.members(trip).await;
        assert!(members.contains(&(user, role.to_owned())), "{members:?}");
    }

    /// The raw answer to sharing a trip.
    pub async fn try_share(&self, trip: Uuid, with: &Device<'_>, permission: &str) -> Json {
        let share = "mutation($trip: ID!, $email: String!, $permission: Permission!) {
            shareTrip(tripId: $trip, email: $email, permission: $permission) { id role } }";
        let email = format!("{}@example.org", with.name);
        self.ask(share, json!({ "trip": trip, "email": email, "permission": permission })).await
    }

    /// Ends a membership.
    pub async fn unshare(&self, trip: Uuid, with: &Device<'_>) {
        let answer = self.try_unshare(trip, with).await;
        assert_eq!(answer, json!({ "data": { "unshareTrip": true } }));
    }

    /// The raw answer to ending a membership.
    pub async fn try_unshare(&self, trip: Uuid, with: &Device<'_>) -> Json {
        let unshare =
            "mutation($trip: ID!, $user: ID!) { unshareTrip(tripId: $trip, userId: $user) }";
        self.ask(unshare, json!({ "trip": trip, "user": with.account().await })).await
    }

    /// The members of a trip with their roles.
    pub async fn members(&self, trip: Uuid) -> Vec<(String, String)> {
        let query = "query($trip: ID!) { getTripMembers(tripId: $trip) { userId role } }";
        let answer = self.ask(query, json!({ "trip": trip })).await;
        let members = answer["data"]["getTripMembers"].as_array().expect("members");
        let text = |value: &Json| value.as_str().expect("text").to_owned();
        members.iter().map(|member| (text(&member["userId"]), text(&member["role"]))).collect()
    }

    /// Uploads a file under this name, as the app does.
    pub async fn upload(&self, name: &str, media: &str, bytes: &'static str) {
        let url = self.upload_url(name, media).await;
        let put = self.app.client.put(url).header("content-type", media).body(bytes).send().await;
        assert!(put.expect("the server answers").status().is_success());
        let complete = "mutation($id: ID!, $name: String!) {
            markFileUploadComplete(entityId: $id, entityType: \"MediaItem\", objectName: $name) }";
        let answer = self.ask(complete, json!({ "id": Uuid::new_v4(), "name": name })).await;
        assert!(answer["errors"].is_null(), "{answer}");
    }

    /// A URL to upload a file under this name.
    pub async fn upload_url(&self, name: &str, media: &str) -> String {
        let ask = "mutation($request: UploadRequest!) {
            generateBatchUploadUrls(uploadRequests: [$request]) { uploadUrls { uploadUrl } } }";
        let request = json!({
            "entityId": Uuid::new_v4(),
            "entityType": "MediaItem",
            "objectName": name,
            "mimeType": media,
        });
        let answer = self.ask(ask, json!({ "request": request })).await;
        let url = &answer["data"]["generateBatchUploadUrls"]["uploadUrls"][0]["uploadUrl"];
        url.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The raw answer to a decision about a conflict.
    pub async fn try_resolve(&self, conflict: &str, strategy: &str, data: Option<Json>) -> Json {
        let data = data.map(|data| data.to_string());
        let variables = json!({ "id": conflict, "strategy": strategy, "data": data });
        self.ask(RESOLVE, variables).await
    }

    /// Decides a conflict, and gives what came out.
    pub async fn resolve(&self, conflict: &str, strategy: &str) -> Json {
        let answer = self.try_resolve(conflict, strategy, None).await;
        assert!(answer["errors"].is_null(), "{strategy}: {answer}");
        answer["data"]["resolveConflict"].clone()
    }

    /// Decides a conflict field by field.
    pub async fn decide(&self, conflict: &str, data: Json) -> Json {
        let answer = self.try_resolve(conflict, "MANUAL_RESOLUTION", Some(data)).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"]["resolveConflict"].clone()
    }

    /// The raw answer to the undoing of a resolution.
    pub async fn try_undo(&self, conflict: &str) -> Json {
        let undo = format!("mutation($id: ID!) {{ undoResolution(conflictId: $id) {CONFLICT} }}");
        self.ask(&undo, json!({ "id": conflict })).await
    }

    /// Undoes a resolution, and gives the conflict.
    pub async fn undo(&self, conflict: &str) -> Json {
        let answer = self.try_undo(conflict).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"]["undoResolution"].clone()
    }

    /// A conflict, with everything that is told of it.
    pub async fn conflict(&self, id: &str) -> Json {
        let query = format!("query($id: ID!) {{ conflict(id: $id) {CONFLICT} }}");
        let answer = self.ask(&query, json!({ "id": id })).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"]["conflict"].clone()
    }

    /// The open conflicts, newest first.
    pub async fn open_conflicts(&self) -> Vec<Json> {
        self.conflicts("status: OPEN").await
    }

    /// The conflicts that these arguments name, newest first.
    pub async fn conflicts(&self, arguments: &str) -> Vec<Json> {
        let query = format!("{{ getConflicts(limit: 500, {arguments}) {CONFLICT} }}");
        let answer = self.ask(&query, json!({})).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"]["getConflicts"].as_array().expect("a list").clone()
    }

    /// What changed a row, newest first.
    pub async fn history(&self, kind: &str, id: Uuid) -> Vec<Json> {
        let query = "query($kind: EntityType!, $id: ID!) {
            history(entityType: $kind, id: $id, limit: 500) {
                version operation person { displayName } deviceId oldData newData } }";
        let answer = self.ask(query, json!({ "kind": kind, "id": id })).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"]["history"].as_array().expect("a list").clone()
    }

    /// Every text that the account can fetch: in its rows, in conflicts, and in the history of its
    /// rows and of these.
    pub async fn texts(&self, more: impl Iterator<Item = (&str, Uuid)>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let rows = self.fresh_rows().await;
        rows.values().for_each(|row| texts_in(row, &mut found));
        let all = "since: \"2000-01-01T00:00:00.000Z\"";
        self.conflicts(all).await.iter().for_each(|conflict| texts_in(conflict, &mut found));
        let more = more.map(|(kind, id)| (kind.to_owned(), id.to_string()));
        let keys: BTreeSet<(String, String)> = rows.into_keys().chain(more).collect();
        for (kind, id) in keys {
            let id = Uuid::try_parse(&id).expect("an id");
            self.history(&kind, id).await.iter().for_each(|step| texts_in(step, &mut found));
        }
        found
    }

    /// Pushes one item that must become an open conflict, and gives its id.
    pub async fn collide(&self, (list, item): (&str, Json)) -> String {
        let pushed = self.push(json!({ list: [item] })).await;
        let verdict = pushed.verdict();
        assert!(verdict.starts_with("conflict OPEN"), "{verdict}");
        pushed.conflicts[0]["id"].as_str().expect("an id").to_owned()
    }

    /// Creates a trip and gives its id.
    pub async fn trip(&self, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        let start = "2026-01-01T00:00:00.000Z";
        let verdict =
            self.push_one(create("Trip", id, json!({ "name": name, "startDate": start }))).await;
        assert_eq!(verdict, "ok 1");
        id
    }

    /// Creates a memory and gives its id.
    pub async fn memory(&self, trip: Uuid, title: &str) -> Uuid {
        let id = Uuid::new_v4();
        let verdict =
            self.push_one(create("Memory", id, json!({ "tripId": trip, "title": title }))).await;
        assert_eq!(verdict, "ok 1");
        id
    }

    /// Creates a tag and gives its id.
    pub async fn tag(&self, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        assert_eq!(self.push_one(create("Tag", id, json!({ "name": name }))).await, "ok 1");
        id
    }
}

/// Collects every text in JSON, and in the JSON that texts are.
fn texts_in(json: &Json, found: &mut BTreeSet<String>) {
    match json {
        Json::String(text) => match serde_json::from_str::<Json>(text) {
            Ok(inner @ (Json::Object(_) | Json::Array(_))) => texts_in(&inner, found),
            _ => {
                // A copy says where it came from.
                let own = text.split(" (conflicting copy").next().unwrap_or_default();
                found.extend([text.clone(), own.to_owned()]);
            }
        },
        Json::Array(values) => values.iter().for_each(|value| texts_in(value, found)),
        Json::Object(fields) => fields.values().for_each(|value| texts_in(value, found)),
        _ => {}
    }
}

fn item(kind: &str, id: Uuid, operation: &str, version: i64, fields: Json) -> (&'static str, Json) {
    let kind = kinds::EntityType::from_name(kind).expect("a kind").kind();
    let mut item = Map::new();
    item.insert("id".into(), json!(id));
    item.insert("operation".into(), json!(operation));
    item.insert("syncVersion".into(), json!(version));
    item.insert("clientTimestamp".into(), json!("2026-01-15T12:00:00.000Z"));
    item.insert("operationId".into(), json!(Uuid::new_v4()));
    item.extend(fields.as_object().expect("fields").clone());
    (kind.list, Json::Object(item))
}

/// An item that creates a row, with the name of its list. `fields` may replace what is preset.
pub fn create(kind: &str, id: Uuid, fields: Json) -> (&'static str, Json) {
    item(kind, id, "CREATE", 0, fields)
}

pub fn update(kind: &str, id: Uuid, version: i64, fields: Json) -> (&'static str, Json) {
    item(kind, id, "UPDATE", version, fields)
}

pub fn delete(kind: &str, id: Uuid, version: i64) -> (&'static str, Json) {
    item(kind, id, "DELETE", version, json!({}))
}
