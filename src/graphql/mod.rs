//! The API's shape. Thin: parse, ask, answer.

mod app;
mod cacheable;
mod conflicts;
mod files;
mod input;
mod node;
mod page;
mod poke;
mod rows;
mod shapes;
mod sharing;
mod track;
mod types;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::{Context, ErrorExtensions, ID, MergedObject, Object, Result, Schema};
use uuid::Uuid;

use crate::admission::Admission;
use crate::auth::{Auth, Caller, normalized_email};
use crate::config::{Config, limits};
use crate::db::Db;
use crate::error::{Code, Error};
use crate::files::Files;
use crate::kinds::{self, parse_id};
use crate::sync::change::Origin;
use crate::sync::cursor::{Filter, Sealer};
use crate::sync::erase::erase;
use crate::sync::file;
use crate::sync::plan::Verdict;
use crate::sync::policy::Policy;
use crate::sync::pull;
use crate::sync::push::{self, Batch};
use crate::sync::{Sender, Strategy};
use crate::throttle::{Throttle, Throttles};
use conflicts::ConflictResult;
use input::BulkSyncInput;
use page::EnhancedSyncResponse;
use types::{
    AuthResponse, BulkSyncResponse, ConflictResolutionStrategy, DateTime, Device, EntityType,
    SyncError, SyncPriority, SyncResult, UpdateUserInput, User, UserInput,
};

pub use cacheable::{Cacheable, cacheable};
pub use poke::Subscription;

pub type Api = Schema<Query, Mutation, Subscription>;

/// What resolvers ask.
pub struct Services {
    pub db: Db,
    pub auth: Auth,
    pub files: Files,
    pub sealer: Sealer,
    pub page_size: u64,
    pub policy: Policy,
    pub max_skew: i64,
    /// Bytes that the files of one account may take.
    pub quota: u64,
    /// How often someone may look for a person to share with.
    pub shares: Throttle,
    pub throttles: Throttles,
    /// Whoever asks the database for something new takes a place here. Requests by POST and GET have one
    /// while they are executed; an answer that was kept needs none.
    pub admission: Admission,
}

/// How the client reaches this server, for URLs that it is given: `http://host:port`.
pub struct BaseUrl(pub String);

/// The client's address, as far as limits go by it. Of an IPv6 address only the network counts: a
/// household has 2⁶⁴ of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Notes that an answer waits for something that comes without moving a head: a file. Such an answer
/// is not kept.
#[derive(Clone, Default)]
pub struct Waits(Arc<AtomicBool>);

impl Waits {
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn are_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Builds the API over its services.
pub fn api(services: Arc<Services>, config: &Config) -> Api {
    let builder = builder().data(services);
    match config.playground {
        true => builder.finish(),
        false => builder.disable_introspection().finish(),
    }
}

/// The schema as GraphQL's definition language, for `schema.graphql`.
pub fn sdl() -> String {
    let options = async_graphql::SDLExportOptions::new().sorted_enum_items();
    builder().finish().sdl_with_options(options)
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query::default(), Mutation::default(), Subscription)
        .limit_depth(limits::DEPTH)
        .limit_complexity(limits::COMPLEXITY)
}

/// The public form of an error.
fn public(error: Error) -> async_graphql::Error {
    async_graphql::Error::new(error.message).extend_with(|_, extensions| {
        extensions.set("code", error.code.name());
        if let Some(reason) = error.reason {
            extensions.set("reason", reason.name());
        }
        if let Some(seconds) = error.retry_after {
            extensions.set("retryAfter", seconds);
        }
        if let Some((name, details)) = error.details.clone() {
            // Made of JSON, it is always a value.
            extensions.set(name, async_graphql::Value::from_json(details).unwrap_or_default());
        }
    })
}

fn has_code(error: &async_graphql::Error, code: Code) -> bool {
    let found = error.extensions.as_ref().and_then(|values| values.get("code"));
    matches!(found, Some(async_graphql::Value::String(found)) if found == code.name())
}

impl From<Error> for async_graphql::Error {
    fn from(error: Error) -> async_graphql::Error {
        public(error)
    }
}

fn services<'a>(ctx: &Context<'a>) -> Result<&'a Arc<Services>> {
    ctx.data::<Arc<Services>>().map_err(|error| public(Error::internal(error.message)))
}

/// Where the request comes from.
fn client(ctx: &Context<'_>) -> IpAddr {
    // Sockets carry subscriptions only, and need none.
    ctx.data_opt::<ClientAddress>().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.0)
}

/// Who asks. Everything but a few fields needs a token.
fn caller(ctx: &Context<'_>) -> Result<Caller> {
    match ctx.data_opt::<Option<Caller>>() {
        Some(Some(caller)) => Ok(*caller),
        _ => Err(public(Error::unauthenticated())),
    }
}

/// An id, whether its type in the schema is `ID` or `String`. Who has no token learns nothing of it.
fn uuid(ctx: &Context<'_>, name: &str, id: &str) -> Result<Uuid> {
    caller(ctx)?;
    parse_id(id).ok_or_else(|| public(Error::bad_input(format!("{name}: must be a UUID"))))
}

fn optional_uuid(ctx: &Context<'_>, name: &str, id: Option<ID>) -> Result<Option<Uuid>> {
    id.map(|id| uuid(ctx, name, &id)).transpose()
}

#[derive(MergedObject, Default)]
pub struct Query(
    SyncQuery,
    conflicts::ConflictQuery,
    app::AppQuery,
    sharing::SharingQuery,
    files::FileQuery,
);

#[derive(MergedObject, Default)]
pub struct Mutation(
    SyncMutation,
    conflicts::ConflictMutation,
    app::AppMutation,
    sharing::SharingMutation,
    files::FileMutation,
);

#[derive(Default)]
pub struct SyncQuery;

#[Object]
impl SyncQuery {
    /// Whether anybody is there. Needs no token.
    async fn hello(&self) -> &'static str {
        "Hello from Cairn"
    }

    /// The caller.
    async fn get_current_user(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        let account = services(ctx)?.auth.account(caller(ctx)?.account).await?;
        Ok(account.map(User::from))
    }

    /// The caller's devices that have pushed, the latest first.
    async fn devices(&self, ctx: &Context<'_>) -> Result<Vec<Device>> {
        let devices = services(ctx)?.auth.devices(caller(ctx)?.account).await?;
        let device = |device: entity::device::Model| Device {
            id: device.id.into(),
            last_seen_at: DateTime(device.last_seen_at),
        };
        Ok(devices.into_iter().map(device).collect())
    }

    /// What a device has not seen yet, a page at a time. Without a cursor: from the beginning.
    #[allow(clippy::too_many_arguments)]
    async fn enhanced_sync(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A serverTimestamp of ours, only for a client that has no cursor yet.")]
        last_synced_at: Option<DateTime>,
        #[graphql(desc = "nextCursor of the last answer.")] cursor: Option<String>,
        #[graphql(desc = "This priority and above; the cursor remembers it.")]
        sync_priority: Option<SyncPriority>,
        #[graphql(desc = "The cursor remembers them.")] entity_types: Option<Vec<EntityType>>,
        #[graphql(desc = "Rows a page; default 100, at most 1,000.")] batch_size: Option<i32>,
    ) -> Result<EnhancedSyncResponse> {
        let services = services(ctx)?;
        let account = caller(ctx)?.account;
        let size = match batch_size {
            None => services.page_size,
            Some(size) if (1..=limits::PAGE as i32).contains(&size) => size as u64,
            Some(_) => {
                let message = format!("batchSize: must be from 1 to {}", limits::PAGE);
                return Err(public(Error::bad_input(message)));
            }
        };
        let filter = match (sync_priority, entity_types) {
            (None, None) => None,
            (priority, kinds) => {
                let mut kinds: Vec<_> =
                    kinds.unwrap_or_default().into_iter().map(|kind| kind.0).collect();
                kinds.sort_unstable();
                kinds.dedup();
                if kinds.len() == kinds::EntityType::ALL.len() {
                    kinds.clear();
                }
                let kinds = kinds.into_iter().map(|kind| kind.name().to_owned()).collect();
                let priority = priority.map_or(0, |p| crate::sync::Priority::from(p) as u8);
                Some(Filter { priority, kinds })
            }
        };
        let request = pull::Request {
            account,
            cursor: cursor.map(|text| services.sealer.open(&text, account)).transpose()?,
            filter,
            since: last_synced_at.map(|time| time.0),
            size,
            conflicts: ctx.look_ahead().field("conflicts").exists(),
        };
        let page = pull::pull(&services.db, services.sealer.epoch(), request).await?;
        let next_cursor = services.sealer.seal(&page.cursor);
        Ok(EnhancedSyncResponse::new(ctx, services.clone(), page, next_cursor, size))
    }
}

#[derive(Default)]
pub struct SyncMutation;

#[Object]
impl SyncMutation {
    /// Makes an account. Needs no token, and gives none: log in next.
    async fn register(&self, ctx: &Context<'_>, input: UserInput) -> Result<User> {
        let UserInput { email, password } = input;
        services(ctx)?.throttles.logins_from.check(&client(ctx))?;
        Ok(services(ctx)?.auth.register(&email, password).await?.into())
    }

    /// Gives a token. Needs none.
    async fn login(&self, ctx: &Context<'_>, input: UserInput) -> Result<AuthResponse> {
        let UserInput { email, password } = input;
        let throttles = &services(ctx)?.throttles;
        throttles.logins_from.check(&client(ctx))?;
        // Known or not: how often it may be tried tells nothing. What is no address is nobody's.
        if let Ok(email) = normalized_email(&email) {
            throttles.passwords.check(&email)?;
        }
        let (token, account) = services(ctx)?.auth.login(&email, password).await?;
        Ok(AuthResponse { token, user: account.into() })
    }

    /// Changes what the caller's account says of its person.
    async fn update_user(&self, ctx: &Context<'_>, input: UpdateUserInput) -> Result<User> {
        let account = caller(ctx)?.account;
        let services = services(ctx)?;
        let account = services.auth.update(account, input.into()).await?;
        if let Some(url) = &account.profile_image_url {
            file::name_portrait(&services.db, account.id, url).await?;
        }
        Ok(account.into())
    }

    /// Gives a token of the same session that lasts longer. The old one stays good until it
    /// expires, in case the answer is lost.
    async fn refresh_token(&self, ctx: &Context<'_>) -> Result<AuthResponse> {
        let (token, account) = services(ctx)?.auth.refresh(caller(ctx)?).await?;
        Ok(AuthResponse { token, user: account.into() })
    }

    /// Ends all sessions, and begins a new one.
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        current_password: String,
        #[graphql(desc = "8 to 256 characters.")] new_password: String,
    ) -> Result<AuthResponse> {
        let caller = caller(ctx)?;
        services(ctx)?.throttles.passwords.check(&caller.account.to_string())?;
        let auth = &services(ctx)?.auth;
        let (token, account) = auth.change_password(caller, current_password, new_password).await?;
        Ok(AuthResponse { token, user: account.into() })
    }

    /// Ends the session: its tokens are worth nothing from now on.
    async fn logout(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = false, desc = "All of the caller's sessions.")] everywhere: bool,
    ) -> Result<bool> {
        services(ctx)?.auth.logout(caller(ctx)?, everywhere).await?;
        Ok(true)
    }

    /// Erases the account with what is the caller's alone, files included. Trips that others edit,
    /// too, go to the one of them who has been in it longest.
    async fn delete_account(&self, ctx: &Context<'_>, password: String) -> Result<bool> {
        let services = services(ctx)?;
        let account = caller(ctx)?.account;
        services.throttles.passwords.check(&account.to_string())?;
        services.auth.check_password_of(account, password).await?;
        erase(&services.db, &services.files, account).await?;
        Ok(true)
    }

    /// Pushes a batch of edits, in one transaction. Each item gets exactly one verdict.
    async fn bulk_sync(
        &self,
        ctx: &Context<'_>,
        input: BulkSyncInput,
        #[graphql(desc = "Who sends; a device never conflicts with itself.")] device_id: Option<ID>,
        #[graphql(
            desc = "What the device has seen: guards against old timelines and blind deletions."
        )]
        cursor: Option<String>,
        #[graphql(desc = "This batch's policy; default: the server's setting.")]
        conflict_strategy: Option<ConflictResolutionStrategy>,
    ) -> Result<BulkSyncResponse> {
        let services = services(ctx)?;
        let account = caller(ctx)?.account;
        let batch = Batch {
            sender: Sender { account, device: optional_uuid(ctx, "deviceId", device_id)? },
            origin: Origin::Device,
            items: input.0,
            cursor: cursor.map(|text| services.sealer.open(&text, account)).transpose()?,
            policy: services.policy.for_batch(conflict_strategy.map(Strategy::from)),
            max_skew: services.max_skew,
        };
        let pushed = push::push(&services.db, &batch).await?;
        files::read_later(services.clone(), pushed.unread.clone());
        let mut response = BulkSyncResponse {
            successful: Vec::new(),
            conflicts: Vec::new(),
            failed: Vec::new(),
            server_timestamp: DateTime(pushed.server_time),
            processed_count: pushed.items.len(),
        };
        let mut met = Vec::new();
        for (item, verdict) in pushed.items.iter().zip(pushed.verdicts) {
            let operation_id = item.operation_id.as_deref().map(ID::from);
            match verdict {
                Verdict::Successful { version, .. } => response.successful.push(SyncResult {
                    entity_type: item.entity_type.into(),
                    entity_id: (&*item.shown_id).into(),
                    operation: item.operation.into(),
                    sync_version: version,
                    index: item.index,
                    operation_id,
                }),
                Verdict::Failed(refusal) => response.failed.push(SyncError {
                    entity_type: item.entity_type.into(),
                    entity_id: (&*item.shown_id).into(),
                    error: refusal.message,
                    code: refusal.code.into(),
                    index: item.index,
                    operation_id,
                }),
                Verdict::Conflict { id } => {
                    let found = pushed.conflicts.get(&id).cloned();
                    let missing = || Error::internal(format!("conflict {id} is not there"));
                    met.push((found.ok_or_else(missing)?, item));
                }
            }
        }
        let (found, items): (Vec<_>, Vec<_>) = met.into_iter().unzip();
        let shown = ConflictResult::list(account, found).into_iter().zip(items);
        response.conflicts = shown
            .map(|(conflict, item)| {
                let shown = conflict.for_item(item);
                match pushed.readable.contains(&shown.scope()) {
                    true => shown,
                    false => shown.without_data(item),
                }
            })
            .collect();
        Ok(response)
    }
}
