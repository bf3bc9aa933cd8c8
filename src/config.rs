//! Every setting: its name, default and meaning. Read once, at the start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use uuid::Uuid;

use crate::redis::{self, Redis};
use crate::sync::Strategy;
use crate::sync::policy::Policy;

/// How serious the surroundings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Env {
    /// Everything works without any setting, and says so loudly.
    Development,
    /// What protects people must be set.
    Production,
}

/// What all commands need.
#[derive(Clone, Debug, Args)]
pub struct DatabaseConfig {
    /// Where the data is: sqlite://… or postgres://…
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "sqlite://data/cairn.db?mode=rwc"
    )]
    pub database_url: String,
}

/// Where files are kept, and how they are reached.
///
/// The `AWS_…` variables are those of every S3 tool. Those that are not named here (roles of
/// machines and containers, web identities) are taken from the environment as well.
#[derive(Clone, Debug, Args)]
pub struct FilesConfig {
    /// The folder for files, unless FILES_URL names an S3 store.
    #[arg(long, env = "FILES_DIR", default_value = "data/files")]
    pub files_dir: PathBuf,

    /// An S3-compatible store for files: s3://bucket or s3://bucket/prefix.
    #[arg(long, env = "FILES_URL")]
    pub files_url: Option<String>,

    /// Megabytes (2^20 bytes) that the files of one account may take.
    #[arg(long, env = "FILES_QUOTA", default_value_t = 20_480)]
    pub files_quota: u32,

    /// Hours after which a file that no row names is removed.
    #[arg(long, env = "FILES_GRACE_HOURS", default_value_t = 72)]
    pub files_grace_hours: u32,

    /// How clients reach this server: http(s)://host. Without it, http:// and the request's Host.
    #[arg(long, env = "PUBLIC_URL")]
    pub public_url: Option<String>,

    /// The S3 store's address, if it is not Amazon's. AWS_ENDPOINT means the same.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    pub aws_endpoint_url: Option<String>,

    /// The S3 store's region.
    #[arg(long, env = "AWS_REGION")]
    pub aws_region: Option<String>,

    /// The S3 store's key.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub aws_access_key_id: Option<String>,

    /// The secret of that key.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub aws_secret_access_key: Option<String>,

    /// Allow an S3 store without TLS.
    #[arg(long, env = "AWS_ALLOW_HTTP", value_parser = BoolishValueParser::new(), default_value = "false", num_args = 0..=1, default_missing_value = "true")]
    pub aws_allow_http: bool,

    /// The bucket is part of the host's name, not of the path.
    #[arg(long, env = "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", value_parser = BoolishValueParser::new(), default_value = "false", num_args = 0..=1, default_missing_value = "true")]
    pub aws_virtual_hosted_style_request: bool,
}

impl FilesConfig {
    /// Bytes that the files of one account may take.
    pub fn quota(&self) -> u64 {
        u64::from(self.files_quota) * 1024 * 1024
    }

    pub fn grace(&self) -> Duration {
        Duration::from_secs(u64::from(self.files_grace_hours) * 3600)
    }
}

/// What instances share besides the database.
#[derive(Clone, Debug, Args)]
pub struct RedisConfig {
    /// What the instances of one database share: redis://…, or redis+cluster://… with some nodes.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
}

impl RedisConfig {
    /// Redis, if there is to be one. The error is a sentence for the operator.
    pub fn open(&self, epoch: Uuid) -> Result<Option<Redis>, String> {
        self.redis_url.as_deref().map(|url| Redis::open(url, epoch)).transpose()
    }
}

/// How long answers are kept. Each tier is off with 0, and Redis without REDIS_URL.
#[derive(Clone, Debug, Args)]
pub struct CacheConfig {
    /// Seconds for which an answer is kept in this process's memory.
    #[arg(long, env = "CACHE_TTL_LOCAL", default_value_t = 300, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub cache_ttl_local: u32,

    /// Seconds for which an answer is kept in Redis.
    #[arg(long, env = "SYNC_CACHE_TTL", default_value_t = 900, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub sync_cache_ttl: u32,

    /// Megabytes (2^20 bytes) of this process's memory that kept answers may take.
    #[arg(long, env = "CACHE_MEMORY", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub cache_memory: u32,
}

/// What the server needs.
#[derive(Clone, Debug, Args)]
pub struct Config {
    #[command(flatten)]
    pub database: DatabaseConfig,

    #[command(flatten)]
    pub files: FilesConfig,

    /// The address to listen on.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:4000")]
    pub listen: SocketAddr,

    #[command(flatten)]
    pub redis: RedisConfig,

    /// Signs the tokens; at least 32 bytes. Without it, development uses a secret of the database.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,

    /// Production refuses to start with development's defaults.
    #[arg(long, env = "ENV", value_enum, default_value = "development")]
    pub env: Env,

    /// Rows a page where the query does not say.
    #[arg(long, env = "SYNC_BATCH_SIZE", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub sync_batch_size: u32,

    /// What becomes of edits that overlap, where the batch does not say.
    #[arg(long, env = "CONFLICT_RESOLUTION_STRATEGY", default_value = "MANUAL_RESOLUTION", value_parser = strategy)]
    pub conflict_resolution_strategy: Strategy,

    /// What decides overlaps in kinds and fields, and deletions, instead of that:
    /// "Kind.field = STRATEGY, …", or "recommended".
    #[arg(long, env = "CONFLICT_POLICIES", default_value = "", hide_default_value = true)]
    pub conflict_policies: String,

    /// Days for which tombstones, receipts, revisions and resolved conflicts are kept.
    #[arg(long, env = "RETENTION_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub retention_days: u32,

    /// How far ahead a device's clock may be, in seconds.
    #[arg(long, env = "MAX_CLOCK_SKEW", default_value_t = 300)]
    pub max_clock_skew: u32,

    /// How long a token is good for, in days.
    #[arg(long, env = "TOKEN_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub token_days: u32,

    /// Web origins that may call the API from a browser, separated by commas. None by default.
    #[arg(long, env = "CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Do not migrate the database at the start. On SQLite it is always migrated.
    #[arg(long, env = "NO_MIGRATE", value_parser = BoolishValueParser::new(), default_value = "false", num_args = 0..=1, default_missing_value = "true")]
    pub no_migrate: bool,

    /// Serve the playground at / and answer introspection.
    #[arg(long, env = "PLAYGROUND", value_parser = BoolishValueParser::new(), default_value = "true", action = clap::ArgAction::Set)]
    pub playground: bool,

    /// Serve the conflict inbox at /conflicts.
    #[arg(long, env = "CONSOLE", value_parser = BoolishValueParser::new(), default_value = "true", action = clap::ArgAction::Set)]
    pub console: bool,

    /// Seconds between two pings on a socket. A peer that shows no life for two of them is dead.
    #[arg(long, env = "SOCKET_PING", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub socket_ping: u32,

    /// Seconds to go on serving after SIGTERM, with /readyz at 503, so that a balancer notices.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=300))]
    pub shutdown_delay: u32,

    /// Attempts a minute to log in, or to tell a password otherwise, for each account. 0: no limit.
    #[arg(long, env = "PASSWORD_LIMIT", default_value_t = 20)]
    pub password_limit: u32,

    /// Logins and registrations a minute from one address. 0: no limit.
    #[arg(long, env = "ADDRESS_LIMIT", default_value_t = 120)]
    pub address_limit: u32,

    /// Mutations a minute of one account. 0: no limit.
    #[arg(long, env = "WRITE_LIMIT", default_value_t = 1200)]
    pub write_limit: u32,

    /// Mutations a minute from one address. 0: no limit.
    #[arg(long, env = "ADDRESS_WRITE_LIMIT", default_value_t = 12000)]
    pub address_write_limit: u32,

    /// Take the client's address from the last entry of X-Forwarded-For: a proxy in front sets it.
    #[arg(long, env = "TRUST_PROXY", value_parser = BoolishValueParser::new(), default_value = "false", num_args = 0..=1, default_missing_value = "true")]
    pub trust_proxy: bool,

    /// Requests that the database is asked to work on at once. The default is twice its connections,
    /// so that none of those is idle between two requests.
    #[arg(long, env = "REQUESTS_AT_ONCE", default_value_t = 2 * limits::DB_CONNECTIONS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub requests_at_once: u32,

    /// Requests that wait for their turn, before others are told to come back. The default is what is
    /// worked off within a few seconds.
    #[arg(long, env = "REQUESTS_WAITING", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub requests_waiting: u32,

    #[command(flatten)]
    pub cache: CacheConfig,

    /// Seconds that a request may take, once it is its turn.
    #[arg(long, env = "REQUEST_TIMEOUT", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub request_timeout: u32,
}

fn strategy(name: &str) -> Result<Strategy, String> {
    Strategy::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
        format!("must be one of {}", names.join(", "))
    })
}

impl Config {
    /// What is wrong with the settings together, for a person.
    pub fn check(&self) -> Result<(), String> {
        for origin in &self.cors_origins {
            if origin.trim().parse::<axum::http::HeaderValue>().is_err() {
                return Err(format!("CORS_ORIGINS: {origin:?} is no origin"));
            }
        }
        if let Some(url) = &self.files.public_url
            && !is_base_url(url)
        {
            return Err(format!("PUBLIC_URL: {url:?} must be http(s)://host, without a path"));
        }
        self.policy()?;
        if let Some(url) = &self.redis.redis_url {
            redis::check_url(url)?;
        }
        match (&self.jwt_secret, self.env) {
            (None, Env::Production) => Err("JWT_SECRET must be set in production".into()),
            (Some(secret), _) if secret.len() < 32 => {
                Err("JWT_SECRET must have at least 32 bytes".into())
            }
            _ => Ok(()),
        }
    }

    /// What is decided without a person. The error's sentence is for the operator.
    pub fn policy(&self) -> Result<Policy, String> {
        Policy::parse(self.conflict_resolution_strategy, &self.conflict_policies)
            .map_err(|problem| format!("CONFLICT_POLICIES: {problem}"))
    }

    /// The settings that change what queries answer, in some form: instances that differ in them do
    /// not take each other's answers.
    pub fn answers(&self) -> String {
        let FilesConfig { files_url, aws_endpoint_url, aws_region, aws_access_key_id, .. } =
            &self.files;
        let files = (files_url, aws_endpoint_url, aws_region, aws_access_key_id);
        format!(
            "{} {files:?} {}",
            self.sync_batch_size, self.files.aws_virtual_hosted_style_request
        )
    }

    pub fn retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.retention_days) * 86_400)
    }
}

/// Whether it is a scheme and a host, perhaps with a port, and nothing else.
fn is_base_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<axum::http::Uri>() else { return false };
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_host = uri.authority().is_some_and(|host| !host.as_str().contains('@'));
    // The parser drops a fragment.
    is_web && is_host && uri.path() == "/" && uri.query().is_none() && !url.contains('#')
}

/// Fixed limits, each with its reason.
pub mod limits {
    use std::num::NonZeroU32;
    use std::time::Duration;

    /// Items in a batch. A device that was away for weeks sends several.
    pub const BATCH: usize = 5_000;
    /// Points of a route that are added at once, and points of a trip: a month at one a few seconds.
    pub const ROUTE_POINTS: usize = 10_000;
    pub const TRIP_POINTS: u64 = 200_000;
    /// Segments of a GPX file. A track has one for each time the recording was resumed.
    pub const GPX_SEGMENTS: usize = 10_000;
    /// Points of a segment in an answer: what a map can show. The file has all of them.
    pub const SEGMENT_POINTS: usize = 10_000;
    /// Points that are read for one field of an answer. Every track and every trip can be shown by
    /// itself: the largest GPX file has no more.
    pub const POINTS: u64 = GPX_POINTS as u64;
    /// Segments that are read for one field of an answer: some 300 bytes each, without their points.
    pub const SEGMENTS: u64 = 100_000;
    /// For how long a URL to upload or download is good where the request does not say.
    pub const URL: Duration = Duration::from_secs(3600);
    /// Files of an account that were asked for and not uploaded: a journey's photos, offline.
    pub const OUTSTANDING: u64 = 20_000;
    /// Bytes of a part of a file that is put into a store; S3 wants five million or more.
    pub const STORE_PART: usize = 8 * 1024 * 1024;
    /// Files in one request for URLs.
    pub const URLS: usize = 500;
    /// GPX files that are read at once: each takes its bytes and its points in memory.
    pub const FILES_READ: usize = 2;
    /// Rows that name an object, of which one is sought that the caller sees.
    pub const NAMINGS: u64 = 1_000;
    /// Rows in a list that has no pages.
    pub const LIST: u64 = 20_000;
    /// Rows and deletions in an answer of the app's `sync`, which has no pages.
    pub const SYNC_ROWS: u64 = 50_000;
    /// Bytes of the rows in either of these: a memory may have 64 KiB of text. Rows are read in
    /// portions of a page, and one portion more than this is held at most.
    pub const LIST_BYTES: u64 = 64 * 1024 * 1024;
    /// Rows in a page: memory for a pull follows from it.
    pub const PAGE: u32 = 1_000;
    /// Bytes of a request's body: a full batch of ordinary items is about 2 MB.
    pub const BODY: usize = 16 * 1024 * 1024;
    /// How long a request waits for its turn before it is told to come back: clients give up after
    /// some half a minute, and the work itself takes time, too.
    pub const PATIENCE: Duration = Duration::from_secs(10);
    /// The longest that someone is told to stay away for.
    pub const COME_BACK: Duration = Duration::from_secs(60);
    /// Bytes that the bodies of all requests may take together, unpacked: eight of the largest.
    pub const BODIES: usize = 8 * BODY;
    /// Of those, what the bodies of one account may take, or of one address without a token.
    pub const BODIES_SHARE: usize = BODIES / 4;
    /// What the bodies of one address may take, whatever accounts they are of.
    pub const BODIES_ADDRESS: usize = BODIES / 2;
    /// How long a body may take to come: the largest at 50 KB a second.
    pub const BODY_TIME: Duration = Duration::from_secs(330);
    /// Bytes of a request whose body may be read before its turn.
    pub const SMALL: usize = 8 * 1024;
    /// Bytes of a GraphQL document. Rows belong into variables: parsing a literal costs ten times
    /// as much, and cannot be cut short.
    pub const DOCUMENT: usize = 64 * 1024;
    /// Fields and fragments of a document, fragments counted wherever they are spread: more than
    /// its complexity could be, and still walked within milliseconds.
    pub const SELECTIONS: usize = 10_000;
    /// Nesting of a query. Introspection needs 13.
    pub const DEPTH: usize = 15;
    /// Fields of a query, nested and aliased ones included.
    pub const COMPLEXITY: usize = 2_000;
    /// Bytes that the nested rows of one field may take in an answer: nesting multiplies.
    pub const NESTED_BYTES: usize = 32 * 1024 * 1024;
    /// Bytes of a file: half an hour of a phone's video, and what one upload can carry at all.
    pub const FILE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
    /// Characters of a file's name.
    pub const FILE_NAME: usize = 255;
    /// Bytes of a file's name. S3 takes keys of 1,024; account and prefix stand before the name.
    pub const FILE_NAME_BYTES: usize = 900;
    /// Bytes of the prefix in FILES_URL: what is left of a key.
    pub const FILES_PREFIX: usize = 80;
    /// The longest that a signed URL may be good for; more is refused by S3.
    pub const SIGNED_URL: Duration = Duration::from_secs(7 * 86_400);
    /// Bytes of an upload that are gathered before they are written.
    pub const UPLOAD_PART: usize = 256 * 1024;
    /// Bytes of a download that are read at once.
    pub const DOWNLOAD_PART: usize = 64 * 1024;
    /// Age of what a killed server left of an upload, when it is removed. An upload that goes on
    /// is never that old: its last piece is younger than a request's timeout.
    pub const STALE_UPLOAD: Duration = Duration::from_secs(86_400);
    /// Waiting for a connection to the S3 store.
    pub const S3_CONNECT: Duration = Duration::from_secs(5);
    /// Time of one request to the S3 store, and of all its tries.
    pub const S3_REQUEST: Duration = Duration::from_secs(20);
    /// Tries of a request to the S3 store after the first.
    pub const S3_RETRIES: usize = 3;
    /// Open conflicts in an answer of enhancedSync.
    pub const CONFLICTS_IN_PULL: u64 = 100;
    /// Conflicts in an answer of getConflicts, and in one request to decide several.
    pub const CONFLICTS: i32 = 500;
    /// Bytes of the conflicts in an answer: all sides of a few hundred with the longest texts. More
    /// come with the next page.
    pub const CONFLICT_BYTES: usize = 16 * 1024 * 1024;
    /// Edits in the story of one conflict: a device that never pulls. More have to wait until someone
    /// decides, or the story could not be read in one piece.
    pub const STORY: usize = 500;
    /// Conflicts that a policy cannot decide, of one batch, until the rest is left to people: each
    /// costs planning all of them once more.
    pub const POLICY_ATTEMPTS: usize = 16;
    /// Bytes of `resolvedData`: several of the longest texts, escaped.
    pub const RESOLVED_DATA: usize = 1024 * 1024;
    /// Revisions in an answer of history.
    pub const HISTORY: i32 = 500;
    /// Characters of a name of a person.
    pub const LINE: usize = 255;
    /// Characters of a link to a picture.
    pub const LINK: usize = 2_048;
    /// Sharings at once, and the wait for each one more: an address book's worth, not a search
    /// for who has an account.
    pub const SHARES: NonZeroU32 = NonZeroU32::new(20).unwrap();
    pub const SHARE_EVERY: Duration = Duration::from_secs(30);
    /// Bytes of an email address (RFC 5321).
    pub const EMAIL: usize = 254;
    /// Characters of a password: enough for any sentence, and bounded work for the hash.
    pub const PASSWORD: std::ops::RangeInclusive<usize> = 8..=256;
    /// Passwords that are hashed at once: each takes 19 MiB and a core for a while.
    pub const HASHES: usize = 4;
    /// Costs of bcrypt hashes that come from elsewhere: 15 takes some two seconds, and each more
    /// doubles that.
    pub const BCRYPT_COST: std::ops::RangeInclusive<u32> = 4..=15;
    /// KiB of memory that an argon2 hash from elsewhere may ask for: four at once take half a GiB.
    pub const ARGON2_MEMORY: u32 = 128 * 1024;
    /// Passes over that memory: all of it takes some two seconds.
    pub const ARGON2_PASSES: u32 = 16;
    /// Lanes of it: they are worked off one after another.
    pub const ARGON2_LANES: u32 = 16;
    /// Characters of a cursor that is looked at: 10,000 scopes fit.
    pub const CURSOR: usize = 256 * 1024;

    /// Bytes of a GPX file: a whole day, recorded every second with heart rate and cadence.
    pub const GPX_BYTES: usize = 24 * 1024 * 1024;
    /// Points of a GPX file, which take 64 bytes each in memory. A file of 20 MB has 500,000 if it
    /// holds nothing but coordinates of six decimals.
    pub const GPX_POINTS: usize = 600_000;

    /// Connections to the database.
    pub const DB_CONNECTIONS: u32 = 16;
    /// KiB of pages that each connection to SQLite keeps for itself.
    pub const SQLITE_CACHE: i32 = 256;
    /// Waiting for a connection.
    pub const DB_ACQUIRE: Duration = Duration::from_secs(8);
    /// How long a connection may have been idle to be used without asking whether it is still there.
    pub const DB_TEST_IDLE: Duration = Duration::from_millis(100);
    /// How long all connections are asked whether they are still there, after one was not.
    pub const DB_DOUBT: Duration = Duration::from_secs(10);
    /// How long the connection is used on which the database says whether anything was committed.
    pub const STAMP_LINE: Duration = Duration::from_secs(60);
    /// Waiting for the database to say whether anything was committed; else what was to be spared is read.
    pub const STAMP: Duration = Duration::from_millis(500);
    /// Closing all connections at the end: some may be busy with a database that hangs.
    pub const DB_CLOSE: Duration = Duration::from_secs(5);
    /// Waiting for a lock.
    pub const DB_LOCK: Duration = Duration::from_secs(5);
    /// The longest that a transaction may last. `serverTimestamp` lies behind the clock by more.
    pub const TRANSACTION: Duration = Duration::from_secs(10);
    /// How far `serverTimestamp` lies behind the database's clock: a transaction that has not
    /// ended by then never commits.
    pub const TIMESTAMP_LAG: Duration = Duration::from_secs(30);
    /// Tries of one push, when locks or rows changed under it.
    pub const PUSH_ATTEMPTS: u32 = 8;
    /// For how long a creation without an id is taken for the same one, sent again.
    pub const CREATED_AGAIN: Duration = Duration::from_secs(24 * 3600);
    /// Tries of one pull, when the database is busy or a connection was lost.
    pub const PULL_ATTEMPTS: u32 = 3;
    /// Finishing what is in flight after SIGTERM.
    pub const SHUTDOWN: Duration = Duration::from_secs(25);
    /// Commits that wait to be told: a moment's worth. With more, all are poked.
    pub const NEWS: usize = 4_096;
    /// Accounts that one notice names; with more it is for everyone.
    pub const NOTICE_ACCOUNTS: usize = 10_000;
    /// At most one poke in this time for each subscription.
    pub const POKE_EVERY: Duration = Duration::from_secs(1);
    /// Accounts that are poked at once when all are, and the pause after each such portion: each of
    /// them pulls.
    pub const POKED_AT_ONCE: usize = 500;
    pub const POKE_PAUSE: Duration = Duration::from_millis(100);
    /// Looking at the sessions of all sockets, should it not have been heard that one has ended.
    pub const SESSION_CHECK: Duration = Duration::from_secs(15);
    /// Pause before sessions that could not be looked at are looked at again.
    pub const SESSION_RETRY: Duration = Duration::from_secs(1);
    /// Sockets on one instance: twice what it is measured with. Each takes a file descriptor, too.
    pub const SOCKETS: usize = 20_000;
    /// Sockets of one account on one instance: all devices of a person, and some that have not yet
    /// noticed that they are disconnected.
    pub const SOCKETS_PER_ACCOUNT: usize = 20;
    /// Sockets of one address on one instance whose clients have not said yet who they are: each may send a
    /// message as long as any.
    pub const STRANGERS_PER_ADDRESS: usize = 100;
    /// Subscriptions on one socket. A device needs one.
    pub const SUBSCRIPTIONS: usize = 10;
    /// Bytes of a message on a socket: a document and a cursor.
    pub const SOCKET_MESSAGE: usize = DOCUMENT + CURSOR + 64 * 1024;
    /// Bytes that are read from a socket at once. Each idle socket holds that much.
    pub const SOCKET_READ: usize = 1_024;
    /// Characters of a subscription's id.
    pub const SUBSCRIPTION_ID: usize = 128;
    /// Waiting for connection_init.
    pub const SOCKET_INIT: Duration = Duration::from_secs(10);
    /// Waiting for a peer that does not take what it is sent.
    pub const SOCKET_SEND: Duration = Duration::from_secs(10);
    /// Waiting for a peer to close its side, too.
    pub const SOCKET_CLOSE: Duration = Duration::from_secs(2);
    /// Pings without any sign of life after which a peer is dead.
    pub const SOCKET_PINGS: u32 = 2;
    /// The longest time over which the sockets of a stopping instance are spread when they are told
    /// to go: a millisecond for each, so that the other instances can take them in.
    pub const SOCKETS_LEAVE: Duration = Duration::from_secs(5);
    pub const SOCKET_LEAVES: Duration = Duration::from_millis(1);
    /// Telling the other instances of the last commits, when this one stops.
    pub const LAST_NEWS: Duration = Duration::from_secs(2);
    /// Waiting for Redis in a request: less than making an answer costs a busy server, and little to lose
    /// when it hangs.
    pub const REDIS_REQUEST: Duration = Duration::from_millis(100);
    /// Waiting for Redis in the background: connecting, telling others, pinging.
    pub const REDIS_PATIENCE: Duration = Duration::from_secs(1);
    /// Failures in a row after which Redis is not asked any more until it answers a ping.
    pub const REDIS_FAILURES: u32 = 3;
    /// Asking Redis whether it is still there, while nothing is heard from it.
    pub const REDIS_PING: Duration = Duration::from_secs(2);
    /// How long a connection to Redis is used that sees no failure: the address may lead elsewhere by now.
    pub const REDIS_LINE: Duration = Duration::from_secs(15);
    /// Pause between two tries to reach Redis.
    pub const REDIS_RETRY: Duration = Duration::from_millis(500);
    /// The longest such pause, where Redis can be reached and is too slow.
    pub const REDIS_SLOW_RETRY: Duration = Duration::from_secs(4);
    /// A connection to what turns out to be a replica within this time is not renewed at once.
    pub const REDIS_REPLICA: Duration = Duration::from_secs(10);
    /// Requests that wait for their turn on the one connection to Redis.
    pub const REDIS_QUEUE: usize = 1_000;
    /// Bytes of an entry: a page of ordinary rows has less, and takes a few milliseconds.
    pub const REDIS_ENTRY: usize = 1024 * 1024;
    /// Pause between two looks whether another instance has finished migrating.
    pub const TURN_RETRY: Duration = Duration::from_millis(200);
    /// How often an instance looks whether the clean-up is due, and how long ago the last one is then:
    /// should the instance that is at it die, another one takes over at its next look.
    pub const CLEAN_UP_LOOK: Duration = Duration::from_secs(3600);
    pub const CLEAN_UP_EVERY: Duration = Duration::from_secs(86_400);
    /// Bytes of an answer that is kept, before it is compressed: many pages of ordinary rows.
    pub const CACHED: usize = 8 * 1024 * 1024;
    /// The longest that any answer is kept.
    pub const CACHED_FOR: Duration = Duration::from_secs(86_400);
    /// Bytes of the variables of a query whose answer is kept: the longest cursor, and some more.
    pub const CACHED_VARIABLES: usize = CURSOR + 64 * 1024;
    /// Bytes of an answer from which on it is compressed: a smaller one fits into a packet or two.
    pub const COMPRESSED: usize = 1_024;
    /// About how many bytes the documents take that are remembered, parsed. An app has some dozens, of up to
    /// some hundred names.
    pub const DOCUMENTS: u64 = 32 * 1024 * 1024;
    /// Bytes of a document that is remembered. What is longer holds literals, and never comes again.
    pub const REMEMBERED: usize = 16 * 1024;
    /// Answers of an account that the list for people names, of Redis and of each instance.
    pub const HELD: usize = 200;
    /// Scopes that a kept answer names, for people to read.
    pub const HELD_SCOPES: usize = 100;
    /// How long an operator's command may ask a running server with one token.
    pub const OPERATOR_TOKEN: Duration = Duration::from_secs(60);
    /// Waiting for a running server, in an operator's command.
    pub const OPERATOR_REQUEST: Duration = Duration::from_secs(10);
    /// Reads for many at once that run at the same time: while one takes long, others go on.
    pub const GATHER_READS: usize = 2;
    /// Those who must wait before another such read begins beside one.
    pub const GATHER_COMPANY: usize = 16;
    /// Those whom one read serves: it takes no longer for them than for a few.
    pub const GATHERED: usize = 256;
    /// Scopes of the sessions whose standing is remembered while nothing is committed: 100 bytes each.
    pub const RECALLED_SCOPES: usize = 100_000;
    /// Reads of standings that do not ask whether something was committed, after something was.
    pub const STAMP_SKIP: u32 = 16;
    /// How often someone waits for another one's answer to the same question, where that one goes away.
    pub const FLIGHTS: usize = 3;
    /// Those who wait for such reads. One more goes on as if the read had failed.
    pub const GATHER_WAITING: usize = 5_000;
    /// Waiting for a read for many. A request that waits longer asks by itself.
    pub const GATHER_PATIENCE: Duration = Duration::from_secs(5);
    /// Rows that the clean-up removes in one transaction.
    pub const GC_ROWS: u64 = 1_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_url_is_a_scheme_and_a_host() {
        for good in ["https://sync.example.org", "http://10.0.0.7:4000", "https://[::1]:4000/"] {
            assert!(is_base_url(good), "{good}");
        }
        for bad in [
            "",
            "sync.example.org",
            "ftp://sync.example.org",
            "https://",
            "https:///",
            "https://sync.example.org/cairn",
            "https://sync.example.org?x=1",
            "https://sync.example.org#x",
            "https://me:secret@sync.example.org",
            "https://sync example.org",
        ] {
            assert!(!is_base_url(bad), "{bad}");
        }
    }
}
