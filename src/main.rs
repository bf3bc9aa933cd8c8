//! The command line.

mod commands;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use cairn::allocator;
use cairn::app::{self, App};
use cairn::config::{Config, DatabaseConfig, FilesConfig, RedisConfig};
use cairn::db::Db;
use cairn::error::Error;
use cairn::graphql;
use cairn::kinds::EntityType;
use cairn::sync::{check, file, gc, restore};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

/// A self-hosted GraphQL sync backend for offline-first mobile apps.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Config,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API. This is what happens without any command.
    Serve(Box<Config>),
    /// Bring the database's schema up to date.
    Migrate(DatabaseConfig),
    /// Print the API's schema in GraphQL's definition language.
    Schema,
    /// Remove what is past its retention. The server does it by itself once a day.
    Gc {
        #[command(flatten)]
        retained: Retained,
        #[command(flatten)]
        files: Box<FilesConfig>,
    },
    /// Look at the files that rows wait for, and tell the rows whose are there.
    Arrive(commands::arrive::Arguments),
    /// Verify every invariant of a database that nobody is writing to.
    Check(Retained),
    /// Bring a deleted row back, with everything that its deletion took along.
    Restore {
        #[command(flatten)]
        database: DatabaseConfig,
        #[command(flatten)]
        redis: RedisConfig,
        /// Trip, Memory, MediaItem, GPXTrack, Tag, TagCategory or BucketListItem.
        kind: String,
        id: Uuid,
    },
    /// List, make and erase accounts, and reset their passwords.
    #[command(subcommand)]
    Account(commands::account::Action),
    /// Look at the answers that are held for people.
    #[command(subcommand)]
    Cache(commands::cache::Action),
    /// Take over a dump of an older backend. It can be stopped at any moment and run again.
    Import(commands::import::Arguments),
    /// Begin a new timeline, after a backup was restored: all devices pull from the beginning.
    NewEpoch(DatabaseConfig),
}

#[derive(clap::Args)]
struct Retained {
    #[command(flatten)]
    database: DatabaseConfig,
    /// Days for which tombstones, receipts, revisions and resolved conflicts are kept.
    #[arg(long, env = "RETENTION_DAYS", default_value_t = 90)]
    retention_days: u32,
}

impl Retained {
    fn retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.retention_days) * 86_400)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    allocator::give_back_at_once();
    let cli = Cli::parse();
    let default_log = match cli.command {
        // What they have to say they print.
        Some(Command::Account(_) | Command::Cache(_) | Command::Import(_)) => "warn",
        _ => "info",
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Colours are for people, not for files.
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_log)),
        )
        .init();
    let result = match cli.command {
        None => serve(cli.serve).await,
        Some(Command::Serve(config)) => serve(*config).await,
        Some(Command::Schema) => {
            print!("{}", graphql::sdl());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Migrate(database)) => migrate(&database).await,
        Some(Command::Gc { retained, files }) => collect(&retained, &files).await,
        Some(Command::Arrive(arguments)) => commands::arrive::run(arguments).await,
        Some(Command::Check(retained)) => verify(&retained).await,
        Some(Command::Restore { database, redis, kind, id }) => {
            commands::telling(&database, &redis, async |db| restore(&db, &kind, id).await).await
        }
        Some(Command::Account(action)) => commands::account::run(action).await,
        Some(Command::Cache(action)) => commands::cache::run(action).await,
        Some(Command::Import(arguments)) => commands::import::run(arguments).await,
        Some(Command::NewEpoch(database)) => renew_epoch(&database).await,
    };
    result.unwrap_or_else(|message| {
        eprintln!("cairn: {message}");
        ExitCode::FAILURE
    })
}

type Outcome = Result<ExitCode, String>;

fn sentence(error: Error) -> String {
    error.message
}

async fn connect(database: &DatabaseConfig) -> Result<Db, String> {
    Db::connect(&database.database_url)
        .await
        .map_err(|error| format!("cannot open the database: {error}"))
}

async fn serve(config: Config) -> Outcome {
    config.check()?;
    raise_file_limit();
    let listen = config.listen;
    let stop = stop_signal().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let app = App::new(config).await.map_err(sentence)?;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!("listening on http://{address}");
    app.run(listener, stop).await.map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Each socket takes a file descriptor, and the soft limit is made for programs that have few.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Waits for SIGTERM or SIGINT, from when this is called: one that comes during the start is kept.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn migrate(database: &DatabaseConfig) -> Outcome {
    app::migrate(&connect(database).await?).await.map_err(sentence)?;
    println!("the schema is up to date");
    Ok(ExitCode::SUCCESS)
}

async fn collect(retained: &Retained, config: &FilesConfig) -> Outcome {
    let db = connect(&retained.database).await?;
    let files = app::open_files(&db, config).await.map_err(sentence)?;
    let removed = gc::clean_up(&db, retained.retention()).await.map_err(sentence)?;
    let gc::Removed { tombstones, deletions, receipts, conflicts, revisions, ticks, sessions } =
        removed;
    let removed = file::clean_up(&db, &files, retained.retention(), config.grace());
    let file::Removed { files, attachments } = removed.await.map_err(sentence)?;
    println!(
        "removed {tombstones} tombstones, {deletions} deletions, {receipts} receipts, \
         {conflicts} conflicts, {revisions} revisions, {ticks} ticks, {sessions} sessions, \
         {files} files, {attachments} names of files"
    );
    Ok(ExitCode::SUCCESS)
}

async fn verify(retained: &Retained) -> Outcome {
    let db = connect(&retained.database).await?;
    let problems = check::check(&db, retained.retention()).await.map_err(sentence)?;
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => {
            println!("all is well");
            Ok(ExitCode::SUCCESS)
        }
        count => Err(format!("{count} problems")),
    }
}

async fn restore(db: &Db, kind: &str, id: Uuid) -> Outcome {
    let kind = EntityType::from_name(kind).ok_or_else(|| format!("there is no kind {kind}"))?;
    let version = restore::restore(db, kind, id).await.map_err(sentence)?;
    println!("{} {id} is back, at version {version}", kind.name());
    Ok(ExitCode::SUCCESS)
}

async fn renew_epoch(database: &DatabaseConfig) -> Outcome {
    let epoch = app::renew_epoch(&connect(database).await?).await.map_err(sentence)?;
    println!("the epoch is {epoch}");
    Ok(ExitCode::SUCCESS)
}
