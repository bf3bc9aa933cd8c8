//! One line of a dump, as `docs/import.md` describes it. Pure.

use std::borrow::Cow;

use entity::Millis;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::auth::{self, Account};
use crate::kinds::{EntityType, Field, Home, Invalid, parse_id, parse_time};
use crate::sync::Role;
use crate::sync::row::Key;

/// What a line is about. In this order they are imported: what others hang on comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Account,
    Row(EntityType),
    /// A deleted row that was a scope of its own: others may have lain in it.
    DeletedRoot,
    Deleted,
}

/// A line that is well formed in itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Account(Account),
    Row(RowLine),
    Deleted(DeletedLine),
}

/// A row of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct RowLine {
    pub key: Key,
    /// The account whose row it is; of rows that hang on others, nobody's but theirs.
    pub owner: Option<Uuid>,
    pub created_by: Option<Uuid>,
    pub created_at: Millis,
    pub updated_at: Millis,
    pub members: Vec<(Uuid, Role)>,
    /// By the fields' names.
    pub fields: Map<String, Json>,
}

/// A row that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedLine {
    pub key: Key,
    /// The scope that it lay in.
    pub scope: Uuid,
    /// The account whose row it was, where the line says it.
    pub owner: Option<Uuid>,
    pub deleted_at: Millis,
}

/// The order in which kinds are imported: parents first, and what carries rows of another kind after
/// that kind.
pub fn order() -> Vec<Subject> {
    let late = |kind: EntityType| kind.kind().refs().any(|(_, target)| target > kind);
    let kinds = || EntityType::ALL.iter().copied();
    let rows = kinds().filter(|kind| !late(*kind)).chain(kinds().filter(|kind| late(*kind)));
    std::iter::once(Subject::Account)
        .chain(rows.map(Subject::Row))
        .chain([Subject::DeletedRoot, Subject::Deleted])
        .collect()
}

/// What a line is about, or why it is about nothing.
pub fn subject(line: &[u8]) -> Result<Subject, String> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(rename = "type", borrow)]
        subject: Option<Cow<'a, str>>,
        /// Matters of deletions alone; elsewhere it is an unknown field, whatever it holds.
        kind: Option<Json>,
    }

    let head: Head<'_> = serde_json::from_slice(line).map_err(not_json)?;
    let name = head.subject.ok_or("type: is missing")?;
    match &*name {
        "account" => Ok(Subject::Account),
        "deleted" => {
            let kind = head.kind.as_ref().and_then(Json::as_str);
            let kind = kind.ok_or("kind: must name the kind of the deleted row")?;
            let kind = EntityType::from_name(kind)
                .ok_or_else(|| format!("kind: there is no kind {}", shown(kind)))?;
            match kind.kind().home {
                Home::Itself => Ok(Subject::DeletedRoot),
                _ => Ok(Subject::Deleted),
            }
        }
        name => EntityType::from_name(name)
            .map(Subject::Row)
            .ok_or_else(|| format!("type: there is no kind {}", shown(name))),
    }
}

/// Reads a line whose subject is known to be good. `now` stands for times that it does not say; none
/// may lie much later.
pub fn read(line: &[u8], now: Millis) -> Result<Line, String> {
    let mut given = Given { left: serde_json::from_slice(line).map_err(not_json)?, now };
    // What is null is as good as absent.
    given.left.retain(|_, value| !value.is_null());
    let subject = given.text("type")?.ok_or("type: is missing")?;
    match &*subject {
        "account" => account(given).map(Line::Account),
        "deleted" => deleted(given).map(Line::Deleted),
        name => {
            let kind = EntityType::from_name(name)
                .ok_or_else(|| format!("type: there is no kind {}", shown(name)))?;
            row(kind, given).map(Line::Row)
        }
    }
}

fn not_json(error: serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "must be a JSON object with a type".into(),
        _ => {
            // Its own count of lines begins at each line anew.
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or_default();
            format!("is no JSON: {what}, at column {}", error.column())
        }
    }
}

/// What stands in a file may be of any length.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn account(mut given: Given) -> Result<Account, String> {
    let id = given.id("id")?.ok_or("id: is missing")?;
    let email = given.text("email")?.ok_or("email: is missing")?;
    let email = auth::normalized_email(&email).map_err(|error| error.message)?;
    let password_hash = given.text("passwordHash")?.unwrap_or_default();
    if !password_hash.is_empty() {
        auth::check_hash(&password_hash).map_err(|why| format!("passwordHash: {why}"))?;
    }
    let (created_at, updated_at) = given.past()?;
    let account = Account {
        id,
        username: match given.line("username")? {
            Some(name) => name,
            None => auth::accounts::username_of(&email),
        },
        email,
        password_hash,
        first_name: given.line("firstName")?,
        last_name: given.line("lastName")?,
        profile_image_url: given.line("profileImageUrl")?,
        is_active: given.flag("isActive")?.unwrap_or(true),
        is_email_verified: given.flag("isEmailVerified")?.unwrap_or(false),
        last_login_at: given.time("lastLoginAt")?,
        created_at,
        updated_at,
    };
    given.end("an account")?;
    Ok(account)
}

fn row(kind: EntityType, mut given: Given) -> Result<RowLine, String> {
    let id = given.id("id")?.ok_or("id: is missing")?;
    let home = kind.kind().home;
    let (created_at, updated_at) = given.past()?;
    let mut line = RowLine {
        key: (kind, id),
        owner: None,
        created_by: None,
        created_at,
        updated_at,
        members: Vec::new(),
        fields: Map::new(),
    };
    match home {
        Home::Account | Home::Itself => {
            line.owner = Some(given.id("owner")?.ok_or("owner: is missing")?);
        }
        Home::Parent(_) => {
            let [created_by, user] = [given.id("createdBy")?, given.id("userId")?];
            line.created_by = created_by.or(user);
            if user.is_some_and(|user| line.created_by != Some(user)) {
                return Err("userId: differs from createdBy, which means the same".into());
            }
        }
    }
    if home == Home::Itself {
        line.members = given.members()?;
    }
    for field in &kind.kind().fields {
        let mut found: Option<Json> = None;
        for name in names(field) {
            let Some(value) = given.left.remove(name) else { continue };
            match &found {
                Some(other) if *other != value => {
                    return Err(format!("{name}: differs from another name of {}", field.name));
                }
                _ => found = Some(value),
            }
        }
        if let Some(value) = found {
            let taken = field.take(&value);
            taken.map_err(|Invalid(why)| why)?;
            line.fields.insert(field.name.clone(), value);
        }
    }
    given.end(&format!("a {}", kind.name()))?;
    Ok(line)
}

/// The names of a field: in batches, in answers, and in the older API.
fn names(field: &Field) -> impl Iterator<Item = &str> {
    let older = match &*field.name {
        "emoji" => &["icon"][..],
        _ => &[],
    };
    let outputs = field.outputs.unwrap_or_default().iter().chain(older).copied();
    std::iter::once(&*field.name).chain(outputs.filter(|name| *name != field.name))
}

fn deleted(mut given: Given) -> Result<DeletedLine, String> {
    let kind = given.text("kind")?.unwrap_or_default();
    let kind = EntityType::from_name(&kind)
        .ok_or_else(|| format!("kind: there is no kind {}", shown(&kind)))?;
    let id = given.id("id")?.ok_or("id: is missing")?;
    let deleted_at = given.time("deletedAt")?.unwrap_or(given.now);
    let (scope, owner) = match kind.kind().home {
        Home::Account => {
            let owner = given.id("owner")?.ok_or("owner: is missing")?;
            (owner, Some(owner))
        }
        Home::Itself => (id, Some(given.id("owner")?.ok_or("owner: is missing")?)),
        Home::Parent(_) => (given.id("trip")?.ok_or("trip: is missing")?, None),
    };
    given.end(&format!("a deleted {}", kind.name()))?;
    Ok(DeletedLine { key: (kind, id), scope, owner, deleted_at })
}

/// What a line holds and nobody has taken yet.
struct Given {
    left: Map<String, Json>,
    now: Millis,
}

/// How far the dump's clock may have been ahead, in milliseconds.
const SKEW: Millis = 5 * 60 * 1000;

impl Given {
    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name}: must be text")),
        }
    }

    fn line(&mut self, name: &str) -> Result<Option<String>, String> {
        let text = self.text(name)?;
        text.map(|text| auth::check_line(name, text)).transpose().map_err(|error| error.message)
    }

    fn id(&mut self, name: &str) -> Result<Option<Uuid>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let id = parse_id(&text).filter(|id| !id.is_nil());
        id.map(Some).ok_or_else(|| format!("{name}: must be a UUID"))
    }

    fn time(&mut self, name: &str) -> Result<Option<Millis>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match parse_time(&text) {
            Some(time) if time > self.now + SKEW => Err(format!("{name}: lies in the future")),
            Some(time) => Ok(Some(time)),
            None => {
                Err(format!("{name}: must be an RFC 3339 date and time in the years 0001 to 9999"))
            }
        }
    }

    /// When it was made, and when it was changed last.
    fn past(&mut self) -> Result<(Millis, Millis), String> {
        let [created_at, updated_at] = [self.time("createdAt")?, self.time("updatedAt")?];
        let updated_at = updated_at.or(created_at).unwrap_or(self.now);
        Ok((created_at.unwrap_or(updated_at), updated_at))
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(format!("{name}: must be a boolean")),
        }
    }

    fn members(&mut self) -> Result<Vec<(Uuid, Role)>, String> {
        let list = match self.left.remove("members") {
            None => return Ok(Vec::new()),
            Some(Json::Array(list)) => list,
            Some(_) => return Err("members: must be a list".into()),
        };
        list.into_iter().map(|json| member(json, self.now)).collect()
    }

    /// What is left is nothing that the format knows.
    fn end(self, of: &str) -> Result<(), String> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("{}: {of} has no such field", shown(name))),
        }
    }
}

fn member(json: Json, now: Millis) -> Result<(Uuid, Role), String> {
    let Json::Object(map) = json else { return Err("members: must be objects".into()) };
    let mut given = Given { left: map, now };
    given.left.retain(|_, value| !value.is_null());
    let within = |why: String| format!("members: {why}");
    let account = given.id("account").map_err(within)?.ok_or("members: account: is missing")?;
    let [role, permission] = ["role", "permission"].map(|name| given.text(name));
    let role = match (role.map_err(within)?, permission.map_err(within)?) {
        (Some(role), None) => {
            Role::from_name(&role).ok_or("members: role: must be OWNER, EDITOR or VIEWER")?
        }
        (None, Some(permission)) => match &*permission {
            "READ" => Role::Viewer,
            "WRITE" | "ADMIN" => Role::Editor,
            _ => return Err("members: permission: must be READ, WRITE or ADMIN".into()),
        },
        _ => return Err("members: give either a role or a permission".into()),
    };
    given.end("a member").map_err(within)?;
    Ok((account, role))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    const ID: &str = "6AD0F5F2-8f4e-4d0e-9a51-0d6c6a1b7e01";
    /// 2026-01-01T00:00:00Z.
    const NOW: Millis = 1_767_225_600_000;
    const ADA: &str = "6ad0f5f2-8f4e-4d0e-9a51-0d6c6a1b7e02";

    fn uuid(text: &str) -> Uuid {
        parse_id(text).expect("a UUID")
    }

    fn read_json(json: Json) -> Result<Line, String> {
        let text = json.to_string();
        subject(text.as_bytes()).and_then(|_| read(text.as_bytes(), NOW))
    }

    #[test]
    fn everything_comes_after_what_it_refers_to() {
        let rows = order().into_iter().filter_map(|subject| match subject {
            Subject::Row(kind) => Some(kind),
            _ => None,
        });
        let order: Vec<EntityType> = rows.collect();
        assert_eq!(order.len(), EntityType::ALL.len());
        let place = |kind: EntityType| order.iter().position(|k| *k == kind);
        for kind in kinds::all() {
            let targets = kind.parents().chain(kind.refs()).map(|(_, target)| target);
            for target in targets.filter(|target| *target != kind.entity_type) {
                assert!(place(target) < place(kind.entity_type), "{} {target:?}", kind.name());
            }
        }
    }

    #[test]
    fn rows_are_read_with_the_names_of_every_api() {
        let line = json!({
            "type": "Memory", "id": ID, "tripId": ADA, "title": "Hut", "text": "Rain.",
            "timestamp": "2025-07-01T10:00:00Z", "locationName": "A valley", "latitude": null,
            "userId": ADA, "createdAt": "2025-07-01T10:00:00Z", "tagIds": [ADA],
        });
        let Ok(Line::Row(row)) = read_json(line) else { panic!("a row") };
        assert_eq!(row.key, (EntityType::Memory, uuid(ID)));
        assert_eq!((row.owner, row.created_by), (None, Some(uuid(ADA))));
        let made = parse_time("2025-07-01T10:00:00Z").expect("a time");
        assert_eq!((row.created_at, row.updated_at), (made, made));
        let fields = json!({
            "tripId": ADA, "title": "Hut", "content": "Rain.", "date": "2025-07-01T10:00:00Z",
            "address": "A valley", "tagIds": [ADA],
        });
        assert_eq!(Json::Object(row.fields), fields);

        for (kind, name, field) in [
            ("MediaItem", "filename", "objectName"),
            ("MediaItem", "s3Key", "objectName"),
            ("MediaItem", "thumbnailS3Key", "thumbnailObjectName"),
        ] {
            let line = json!({ "type": kind, "id": ID, "memoryId": ADA, name: "x" });
            let Ok(Line::Row(row)) = read_json(line) else { panic!("a row") };
            assert_eq!(row.fields[field], "x");
        }
        for kind in ["Tag", "TagCategory"] {
            let line = json!({ "type": kind, "id": ID, "owner": ADA, "name": "x", "icon": "🌲" });
            let Ok(Line::Row(row)) = read_json(line) else { panic!("a row") };
            assert_eq!(row.fields["emoji"], "🌲");
        }
    }

    #[test]
    fn members_have_a_role_or_a_permission() {
        let trip = |members: Json| json!({ "type": "Trip", "id": ID, "owner": ADA, "name": "x", "members": members });
        let line = trip(json!([
            { "account": ADA, "role": "OWNER" }, { "account": ID, "permission": "READ" },
            { "account": ID, "permission": "ADMIN" },
        ]));
        let Ok(Line::Row(row)) = read_json(line) else { panic!("a row") };
        let roles: Vec<Role> = row.members.iter().map(|(_, role)| *role).collect();
        assert_eq!(roles, [Role::Owner, Role::Viewer, Role::Editor]);
        for bad in [
            json!("x"),
            json!([ADA]),
            json!([{ "account": ADA }]),
            json!([{ "role": "EDITOR" }]),
            json!([{ "account": "x", "role": "EDITOR" }]),
            json!([{ "account": ADA, "role": "BOSS" }]),
            json!([{ "account": ADA, "role": "EDITOR", "permission": "WRITE" }]),
            json!([{ "account": ADA, "role": "EDITOR", "since": "x" }]),
        ] {
            let why = read_json(trip(bad.clone())).expect_err("refused");
            assert!(why.starts_with("members: "), "{bad}: {why}");
        }
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_with_it() {
        let hash = "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        for (line, why) in [
            (json!([]), "must be a JSON object with a type"),
            (json!({}), "type: is missing"),
            (json!({ "type": 7 }), "must be a JSON object with a type"),
            (json!({ "type": "Hotel" }), "type: there is no kind Hotel"),
            (json!({ "type": "account", "id": "x" }), "id: must be a UUID"),
            (json!({ "type": "account", "id": ID }), "email: is missing"),
            (
                json!({ "type": "account", "id": ID, "email": "x" }),
                "email: must be an email address",
            ),
            (
                json!({ "type": "account", "id": ID, "email": "a@b", "passwordHash": "x" }),
                "passwordHash: must be a bcrypt hash ($2a$, $2b$, $2y$) or a PHC string of argon2",
            ),
            (
                json!({ "type": "account", "id": ID, "email": "a@b", "passwordHash": hash }),
                "passwordHash: has cost 31; bcrypt hashes of cost 4 to 15 are taken",
            ),
            (
                json!({ "type": "account", "id": ID, "email": "a@b", "nickname": "x" }),
                "nickname: an account has no such field",
            ),
            (json!({ "type": "Trip", "id": ID }), "owner: is missing"),
            (
                json!({ "type": "Trip", "id": ID, "owner": ADA, "colour": "x" }),
                "colour: a Trip has no such field",
            ),
            (
                json!({ "type": "Trip", "id": ID, "owner": ADA, "name": " " }),
                "name: must not be empty",
            ),
            (
                json!({ "type": "Memory", "id": ID, "owner": ADA }),
                "owner: a Memory has no such field",
            ),
            (
                json!({ "type": "Memory", "id": ID, "createdBy": ADA, "userId": ID }),
                "userId: differs from createdBy, which means the same",
            ),
            (
                json!({ "type": "Memory", "id": ID, "text": "x", "content": "y" }),
                "text: differs from another name of content",
            ),
            (
                json!({ "type": "Memory", "id": ID, "createdAt": "yesterday" }),
                "createdAt: must be an RFC 3339 date and time in the years 0001 to 9999",
            ),
            (
                json!({ "type": "Memory", "id": ID, "updatedAt": "2026-01-01T00:05:00.001Z" }),
                "updatedAt: lies in the future",
            ),
            (json!({ "type": "deleted", "id": ID }), "kind: must name the kind of the deleted row"),
            (json!({ "type": "deleted", "kind": "Hotel" }), "kind: there is no kind Hotel"),
            (json!({ "type": "deleted", "kind": "Tag", "id": ID }), "owner: is missing"),
            (json!({ "type": "deleted", "kind": "Memory", "id": ID }), "trip: is missing"),
            (
                json!({ "type": "deleted", "kind": "Tag", "id": ID, "owner": ADA, "trip": ID }),
                "trip: a deleted Tag has no such field",
            ),
        ] {
            assert_eq!(read_json(line.clone()), Err(why.into()), "{line}");
        }
        for text in ["", "{", "nonsense", "{\"type\":\"Trip\"} x", "\u{0}"] {
            let why = subject(text.as_bytes()).expect_err("refused");
            assert!(why.starts_with("is no JSON: "), "{why}");
        }
        assert!(subject(b"{\"type\":\"\xff\"}").is_err());
        let deep = format!("{{\"type\":\"Trip\",\"x\":{}", "[".repeat(100_000));
        assert!(subject(deep.as_bytes()).is_err());
    }

    #[test]
    fn an_account_fills_in_what_it_does_not_say() {
        let line = json!({ "type": "account", "id": ID, "email": "Ada@Example.org" });
        let Ok(Line::Account(account)) = read_json(line) else { panic!("an account") };
        assert_eq!((&*account.email, &*account.username), ("ada@example.org", "ada"));
        assert!(account.is_active && !account.is_email_verified);
        assert_eq!(account.password_hash, "", "which logs nobody in");
    }
}
