//! `cairn cache`: what Redis holds of people's answers.

use std::process::ExitCode;

use cairn::auth::Auth;
use cairn::cache::{self, Held, Standing};
use cairn::config::{DatabaseConfig, RedisConfig, limits};
use cairn::kinds::rfc3339;
use cairn::sync::scope;
use cairn::{app, graphql};
use clap::Subcommand;
use serde_json::json;

use crate::{Outcome, connect, sentence};

#[derive(Subcommand)]
pub enum Action {
    /// Print the answers that Redis holds for a person: since when, how large, of which query, what
    /// they depend on, and whether a request can still get them.
    Inspect {
        #[command(flatten)]
        database: DatabaseConfig,
        #[command(flatten)]
        redis: RedisConfig,
        /// The address that the account logs in with.
        #[arg(long)]
        user: String,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(action: Action) -> Outcome {
    match action {
        Action::Inspect { database, redis, user, json } => {
            inspect(&database, &redis, &user, json).await
        }
    }
}

async fn inspect(
    database: &DatabaseConfig,
    redis: &RedisConfig,
    user: &str,
    as_json: bool,
) -> Outcome {
    let db = connect(database).await?;
    let epoch = app::epoch(&db).await.map_err(sentence)?;
    let redis = redis.open(epoch)?.ok_or("REDIS_URL is not set: nothing is kept there")?;
    let account = Auth::find_in(&db, user).await.map_err(sentence)?;
    let account = account.ok_or_else(|| format!("there is no account {user}"))?;
    let seal = app::seal(&db).await.map_err(sentence)?;
    // It connects in the background.
    let until = tokio::time::Instant::now() + limits::REDIS_PATIENCE;
    while !redis.is_there() && tokio::time::Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let held = cache::held(&redis, &seal, account)
        .await
        .map_err(|trouble| format!("Redis does not answer: {trouble}"))?;
    let seen = scope::seen_by(db.pool(), account).await;
    let standing = Standing::new(seen.map_err(|error| sentence(error.into()))?);
    let schema = cache::key::schema(&graphql::sdl());
    for held in &held {
        let state = state(held, &standing, &schema);
        match as_json {
            true => println!("{}", as_object(held, &state)),
            false => print_for_people(held, &state),
        }
    }
    if held.is_empty() && !as_json {
        println!("Redis holds no answers for {user}");
    }
    Ok(ExitCode::SUCCESS)
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

fn as_object(held: &Held, reasons: &[String]) -> serde_json::Value {
    let Held { name, stored, plain, made_at, until, about } = held;
    let scopes = about.scopes.iter().map(|(id, head, role, is_over)| {
        json!({ "id": id, "head": head, "role": role, "isOver": is_over })
    });
    json!({
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

fn print_for_people(held: &Held, reasons: &[String]) {
    let Held { name, stored, plain, made_at, until, about } = held;
    let operation = about.operation.as_deref().unwrap_or("(no name)");
    println!("{operation}: {}", about.fields.join(", "));
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
