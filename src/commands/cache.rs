//! `cairn cache`: what is held of people's answers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use cairn::auth::Auth;
use cairn::cache::{self, Held, Standing};
use cairn::config::{DatabaseConfig, RedisConfig, limits};
use cairn::db::Db;
use cairn::http::operator;
use cairn::kinds::rfc3339;
use cairn::sync::scope;
use cairn::{app, graphql, tls};
use clap::Subcommand;
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::{Outcome, connect, sentence};

#[derive(Subcommand)]
pub enum Action {
    /// Print the answers that are held for a person, in Redis and in the memory of running servers:
    /// since when, how large, of which query, what they depend on, and whether a request can still get
    /// them.
    Inspect(Inspect),
}

#[derive(clap::Args)]
pub struct Inspect {
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    redis: RedisConfig,
    /// The address that the account logs in with.
    #[arg(long)]
    user: String,
    /// Where a server of this database runs, as http://host:port; once for each. Without it, where
    /// LISTEN says.
    #[arg(long, value_name = "URL")]
    at: Vec<String>,
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:4000", hide = true)]
    listen: SocketAddr,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Where entries lie.
enum Place {
    Redis,
    /// The memory of the server there.
    Memory(String),
}

pub async fn run(action: Action) -> Outcome {
    match action {
        Action::Inspect(arguments) => inspect(arguments).await,
    }
}

/// Prints what it finds; a place that cannot be looked into is told, and makes it fail in the end.
async fn inspect(Inspect { database, redis, user, at, listen, json }: Inspect) -> Outcome {
    let db = connect(&database).await?;
    let account = Auth::find_in(&db, &user).await.map_err(sentence)?;
    let account = account.ok_or_else(|| format!("there is no account {user}"))?;
    let mut found = Vec::new();
    if redis.redis_url.is_some() {
        found.push((Place::Redis, in_redis(&db, &redis, account).await));
    }
    let servers = if at.is_empty() { vec![here(listen)] } else { at };
    for server in servers {
        let held = in_memory(&db, &server, account).await;
        found.push((Place::Memory(server), held));
    }
    let seen = scope::seen_by(db.pool(), account).await;
    let standing = Standing::new(seen.map_err(|error| sentence(error.into()))?);
    let schema = cache::key::schema(&graphql::sdl());
    let mut outcome = ExitCode::SUCCESS;
    for (place, held) in found {
        let held = match held {
            Ok(held) => held,
            Err(problem) => {
                eprintln!("cairn: {problem}");
                outcome = ExitCode::FAILURE;
                continue;
            }
        };
        for held in &held {
            let reasons = state(held, &standing, &schema);
            match json {
                true => println!("{}", as_object(&place, held, &reasons)),
                false => print_for_people(&place, held, &reasons),
            }
        }
        if held.is_empty() && !json {
            println!("{} holds no answers for {user}", place.name());
        }
    }
    Ok(outcome)
}

/// What this machine's server is asked by.
fn here(listen: SocketAddr) -> String {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        let is_v4 = listen.is_ipv4();
        address.set_ip(if is_v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}")
}

async fn in_redis(db: &Db, redis: &RedisConfig, account: Uuid) -> Result<Vec<Held>, String> {
    let epoch = app::epoch(db).await.map_err(sentence)?;
    let seal = app::seal(db).await.map_err(sentence)?;
    let Some(redis) = redis.open(epoch)? else { return Ok(Vec::new()) };
    // It connects in the background.
    let until = tokio::time::Instant::now() + limits::REDIS_PATIENCE;
    while !redis.is_there() && tokio::time::Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let held = cache::held(&redis, &seal, account).await;
    held.map_err(|trouble| format!("Redis does not answer: {trouble}"))
}

async fn in_memory(db: &Db, server: &str, account: Uuid) -> Result<Vec<Held>, String> {
    let token = app::operator(db).await.and_then(|operator| operator.sign()).map_err(sentence)?;
    let url = format!("{}{}?account={account}", server.trim_end_matches('/'), operator::CACHE);
    tls::provide();
    // A server of one's own, and a token for it: no proxy's business.
    let client = reqwest::Client::builder().timeout(limits::OPERATOR_REQUEST).no_proxy().build();
    let unreachable = |error: reqwest::Error| {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let cause = causes.last().map(ToString::to_string).unwrap_or_default();
        format!(
            "the memory of {server} cannot be looked into: {cause}; --at says where servers run"
        )
    };
    let client = client.map_err(unreachable)?;
    let answer = client.get(url).bearer_auth(token).send().await.map_err(unreachable)?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => {
            return Err(format!("the server at {server} has another database"));
        }
        status => {
            return Err(format!(
                "what is at {server} answers {status}: it is no server of this kind"
            ));
        }
    }
    let body = answer.bytes().await.map_err(unreachable)?;
    serde_json::from_slice(&body)
        .map_err(|error| format!("what is at {server} answers something else: {error}"))
}

impl Place {
    fn name(&self) -> String {
        match self {
            Place::Redis => "Redis".into(),
            Place::Memory(server) => format!("the memory of {server}"),
        }
    }
}

/// Why no request can get an entry any more. Empty: the same query still gets it.
fn state(held: &Held, standing: &Standing, schema: &[u8; 32]) -> Vec<String> {
    let mut reasons = Vec::new();
    if held.until <= cache::now() {
        reasons.push("it is too old".to_owned());
    }
    if held.about.schema != *schema {
        reasons.push("another version of the server made it".to_owned());
    }
    if held.about.standing == *standing.digest() {
        return reasons;
    }
    let before = reasons.len();
    for (id, head, role, is_over) in &held.about.scopes {
        let Some(now) = standing.seen().iter().find(|scope| scope.id == *id) else {
            reasons.push(format!("scope {id} is gone"));
            continue;
        };
        if now.head != *head {
            reasons.push(format!("scope {id} moved from {head} to {}", now.head));
        }
        if now.is_visible() == *is_over {
            let change = if *is_over { "was opened again" } else { "was closed" };
            reasons.push(format!("scope {id} {change} to the account"));
        }
        if now.role.name() != role {
            reasons.push(format!("the role in scope {id} was {role}, and is {}", now.role.name()));
        }
    }
    if standing.seen().len() != held.about.scope_count {
        let (then, now) = (held.about.scope_count, standing.seen().len());
        reasons.push(format!("the account had {then} scopes, and has {now}"));
    }
    if reasons.len() == before {
        reasons.push("where the account stands has changed since".to_owned());
    }
    reasons
}

fn as_object(place: &Place, held: &Held, reasons: &[String]) -> serde_json::Value {
    let Held { name, stored, plain, made_at, until, about } = held;
    let scopes = about.scopes.iter().map(|(id, head, role, is_over)| {
        json!({ "id": id, "head": head, "role": role, "isOver": is_over })
    });
    let (place, server) = match place {
        Place::Redis => ("redis", None),
        Place::Memory(server) => ("memory", Some(server)),
    };
    json!({
        "place": place,
        "server": server,
        "key": name,
        "operation": about.operation,
        "fields": about.fields,
        "madeAt": rfc3339(*made_at),
        "goodUntil": rfc3339(*until),
        "bytesStored": stored,
        "bytesPlain": plain,
        "scopes": scopes.collect::<Vec<_>>(),
        "scopeCount": about.scope_count,
        "isReachable": reasons.is_empty(),
        "reasons": reasons,
    })
}

fn print_for_people(place: &Place, held: &Held, reasons: &[String]) {
    let Held { name, stored, plain, made_at, until, about } = held;
    let operation = about.operation.as_deref().unwrap_or("(no name)");
    println!("{operation}: {}", about.fields.join(", "));
    println!("  in          {}", place.name());
    println!("  key         {name}");
    println!("  made        {}, good until {} at most", rfc3339(*made_at), rfc3339(*until));
    println!("  size        {stored} bytes, {plain} unpacked");
    for (id, head, role, is_over) in &about.scopes {
        let over = if *is_over { ", over" } else { "" };
        println!("  depends on  scope {id} at {head} as {role}{over}");
    }
    if about.scope_count > about.scopes.len() {
        println!("  depends on  {} more scopes", about.scope_count - about.scopes.len());
    }
    match reasons {
        [] => println!("  reachable   yes"),
        reasons => println!("  reachable   no: {}", reasons.join("; ")),
    }
}
