//! The API's shapes that are not made from the kinds' tables.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::parser::types::Field;
use async_graphql::registry::{Deprecation, MetaEnumValue, MetaType, MetaTypeId, Registry};
use async_graphql::{
    ComplexObject, Context, ContextSelectionSet, Enum, ID, InputObject, InputType, InputValueError,
    InputValueResult, MaybeUndefined, Name, OutputType, Positioned, Scalar, ScalarType,
    ServerResult, SimpleObject, Value,
};
use entity::Millis;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::conflicts::ConflictResult;
use super::{public, services};
use crate::auth::{Account, Profile};
use crate::kinds::{self, parse_time, rfc3339};
use crate::sync;

/// RFC 3339 in UTC with milliseconds and `Z`. Any RFC 3339 is read, from the year 0001 on.
#[derive(Clone, Copy, Debug)]
pub struct DateTime(pub Millis);

#[Scalar(name = "DateTime", specified_by_url = "https://datatracker.ietf.org/doc/html/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => parse_time(text).map(DateTime).ok_or_else(|| {
                InputValueError::custom(
                    "must be an RFC 3339 date and time in the years 0001 to 9999",
                )
            }),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    /// Only the JSON type: a malformed time in a batch fails its own item.
    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(_))
    }

    fn to_value(&self) -> Value {
        Value::String(rfc3339(self.0))
    }
}

/// Makes the GraphQL enum of one of the engine's.
macro_rules! graphql_enum {
    ($(#[$doc:meta])* $name:ident = $engine:tt { $($value:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Enum, Clone, Copy, PartialEq, Eq)]
        #[graphql(remote = $engine)]
        pub enum $name { $($value),* }
    };
}

graphql_enum! {
    /// What a row's files and attempts say; CONFLICT while a conflict of it is open.
    SyncStatus = "sync::Status" {
        InSync, NeedsUpload, NeedsDownload, Uploading, Downloading, SyncError, FilesPending, Conflict,
    }
}
graphql_enum! {
    /// How soon devices should have a row.
    SyncPriority = "sync::Priority" { Low, Normal, High, Critical }
}
graphql_enum! { SyncOperation = "sync::Operation" { Create, Update, Delete } }
graphql_enum! {
    /// What a member may do.
    TripRole = "sync::Role" { Owner, Editor, Viewer }
}
graphql_enum! {
    /// Whether someone still has to decide.
    ConflictStatus = "sync::ConflictStatus" { Open, Resolved }
}

/// The synced types; equal to `__typename`. Made from the list of kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntityType(pub kinds::EntityType);

impl EntityType {
    fn meta() -> MetaType {
        let value = |kind: &kinds::EntityType| MetaEnumValue {
            name: kind.name().into(),
            description: None,
            deprecation: Deprecation::NoDeprecated,
            visible: None,
            inaccessible: false,
            tags: Vec::new(),
            directive_invocations: Vec::new(),
        };
        MetaType::Enum {
            name: "EntityType".into(),
            description: Some("The synced types; equal to `__typename`.".into()),
            enum_values: kinds::EntityType::ALL
                .iter()
                .map(|kind| (kind.name().to_owned(), value(kind)))
                .collect(),
            visible: None,
            inaccessible: false,
            tags: Vec::new(),
            rust_typename: Some(std::any::type_name::<EntityType>()),
            directive_invocations: Vec::new(),
            requires_scopes: Vec::new(),
        }
    }
}

impl From<kinds::EntityType> for EntityType {
    fn from(kind: kinds::EntityType) -> EntityType {
        EntityType(kind)
    }
}

impl InputType for EntityType {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        "EntityType".into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_input_type::<Self, _>(MetaTypeId::Enum, |_| Self::meta())
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let value = value.unwrap_or_default();
        let name = match &value {
            Value::Enum(name) => name.as_str(),
            Value::String(name) => name,
            _ => "",
        };
        match kinds::EntityType::from_name(name) {
            Some(kind) => Ok(EntityType(kind)),
            None => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Enum(Name::new(self.0.name()))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
}

impl OutputType for EntityType {
    fn type_name() -> Cow<'static, str> {
        "EntityType".into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_output_type::<Self, _>(MetaTypeId::Enum, |_| Self::meta())
    }

    async fn resolve(
        &self,
        _ctx: &ContextSelectionSet<'_>,
        _field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        Ok(self.to_value())
    }
}

/// Why two edits could not both stand.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sync::ConflictType")]
pub enum ConflictType {
    VersionMismatch,
    ConcurrentModification,
    #[graphql(name = "DEPENDENCY_CONFLICT")]
    Dependency,
    #[graphql(name = "DELETION_CONFLICT")]
    Deletion,
}

/// How a conflict is, or was, resolved.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sync::Strategy")]
pub enum ConflictResolutionStrategy {
    LastWriteWins,
    FirstWriteWins,
    #[graphql(name = "MANUAL_RESOLUTION")]
    Manual,
    KeepBoth,
    FieldMerge,
}

/// Why a change failed, for a program.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sync::ErrorCode")]
pub enum SyncErrorCode {
    /// A field is missing, malformed or out of range.
    Validation,
    /// Nothing there that the caller may see.
    NotFound,
    /// Seen, but the caller's role may not change it.
    Forbidden,
    /// What it refers to failed or was skipped in this batch.
    Dependency,
    /// Claims a version that the server never issued.
    VersionAhead,
    /// clientTimestamp too far in the future.
    ClockSkew,
    /// Same operationId, other content.
    OperationReused,
    Limit,
}

// ── Accounts ─────────────────────────────────────────────────────────────────────────────────

/// What changes about the caller. An explicit null clears a name or the picture.
#[derive(InputObject)]
pub struct UpdateUserInput {
    pub first_name: MaybeUndefined<String>,
    pub last_name: MaybeUndefined<String>,
    pub username: Option<String>,
    pub profile_image_url: MaybeUndefined<String>,
}

impl From<UpdateUserInput> for Profile {
    fn from(input: UpdateUserInput) -> Profile {
        let UpdateUserInput { first_name, last_name, username, profile_image_url } = input;
        Profile {
            username,
            first_name: first_name.as_opt_deref().map(|name| name.map(str::to_owned)),
            last_name: last_name.as_opt_deref().map(|name| name.map(str::to_owned)),
            profile_image_url: profile_image_url.as_opt_deref().map(|url| url.map(str::to_owned)),
        }
    }
}

#[derive(InputObject)]
pub struct UserInput {
    pub email: String,
    /// 8 to 256 characters.
    pub password: String,
}

/// A person who can log in.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct User {
    pub id: ID,
    pub email: String,
    pub username: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub profile_image_url: Option<String>,
    pub is_active: bool,
    pub is_email_verified: bool,
    pub last_login_at: Option<DateTime>,
    pub created_at: DateTime,
    pub updated_at: DateTime,
    pub roles: Vec<String>,
    pub display_name: String,
    pub initials: String,
    #[graphql(skip)]
    account: Uuid,
    #[graphql(skip)]
    group: Arc<Group>,
}

/// Accounts that are shown together: whether they are online is read for all of them at once.
pub struct Group {
    accounts: Vec<Uuid>,
    online: OnceCell<HashSet<Uuid>>,
}

impl Group {
    pub fn new(accounts: Vec<Uuid>) -> Group {
        Group { accounts, online: OnceCell::new() }
    }
}

#[ComplexObject]
impl User {
    /// Whether the person logged in or a device of theirs pushed within the last five minutes.
    async fn is_online(&self, ctx: &Context<'_>) -> async_graphql::Result<bool> {
        let auth = &services(ctx)?.auth;
        let read = || auth.online(&self.group.accounts);
        let online = self.group.online.get_or_try_init(read).await.map_err(public)?;
        Ok(online.contains(&self.account))
    }
}

impl From<Account> for User {
    fn from(account: Account) -> User {
        let group = Group::new(vec![account.id]);
        User::of(account, Arc::new(group))
    }
}

/// What to call a person: by their names, or else as they call themselves.
pub fn display_name(account: &Account) -> String {
    let names = [account.first_name.as_deref(), account.last_name.as_deref()];
    let full: Vec<&str> = names.into_iter().flatten().filter(|name| !name.is_empty()).collect();
    if full.is_empty() { account.username.clone() } else { full.join(" ") }
}

impl User {
    /// One of several.
    pub fn of(account: Account, group: Arc<Group>) -> User {
        let display_name = display_name(&account);
        let initials = display_name
            .split_whitespace()
            .filter_map(|word| word.chars().next())
            .take(2)
            .flat_map(char::to_uppercase)
            .collect();
        User {
            id: account.id.into(),
            email: account.email,
            username: account.username,
            first_name: account.first_name,
            last_name: account.last_name,
            profile_image_url: account.profile_image_url,
            is_active: account.is_active,
            is_email_verified: account.is_email_verified,
            last_login_at: account.last_login_at.map(DateTime),
            created_at: DateTime(account.created_at),
            updated_at: DateTime(account.updated_at),
            roles: vec!["USER".into()],
            display_name,
            initials,
            account: account.id,
            group,
        }
    }
}

#[derive(SimpleObject)]
pub struct AuthResponse {
    /// Send it as `Authorization: Bearer …`.
    pub token: String,
    pub user: User,
}

/// A device that has pushed.
#[derive(SimpleObject)]
pub struct Device {
    pub id: ID,
    pub last_seen_at: DateTime,
}

// ── bulkSync ─────────────────────────────────────────────────────────────────────────────────

#[derive(SimpleObject)]
pub struct BulkSyncResponse {
    /// What was applied as sent, or was there already.
    pub successful: Vec<SyncResult>,
    /// Everything that collided, auto-resolved version mismatches too.
    pub conflicts: Vec<ConflictResult>,
    pub failed: Vec<SyncError>,
    pub server_timestamp: DateTime,
    /// Items in the batch: each has its one verdict above.
    pub processed_count: usize,
}

#[derive(SimpleObject)]
pub struct SyncResult {
    pub entity_type: EntityType,
    pub entity_id: ID,
    pub operation: SyncOperation,
    /// The row's version now.
    pub sync_version: i32,
    /// The item's place in its list of the input.
    pub index: usize,
    pub operation_id: Option<ID>,
}

#[derive(SimpleObject)]
pub struct SyncError {
    pub entity_type: EntityType,
    /// "unknown" where the item had none.
    pub entity_id: ID,
    /// For a person.
    pub error: String,
    /// For a program.
    pub code: SyncErrorCode,
    pub index: usize,
    pub operation_id: Option<ID>,
}
