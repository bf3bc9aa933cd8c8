//! `cairn account`: the operator's hand on accounts. Passwords come from the standard input, never
//! from the command line, where every process of the machine could read them.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use cairn::app;
use cairn::auth::{Account, Hasher, accounts};
use cairn::config::{DatabaseConfig, FilesConfig, RedisConfig};
use cairn::db::Db;
use cairn::kinds::rfc3339;
use cairn::sync::erase::erase;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::{connect_migrated, telling};
use crate::{Outcome, connect, sentence};

#[derive(Subcommand)]
pub enum Action {
    /// Print all accounts, by their addresses: id, when it was made, last login, state, address.
    List {
        #[command(flatten)]
        database: DatabaseConfig,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Make an account. The password is the first line of the standard input.
    Create(Subject),
    /// Give an account another password, the first line of the standard input, and end its sessions.
    ResetPassword(Subject),
    /// Erase an account with what is its alone, files included. Trips that others edit, too, go to
    /// the one of them who has been in it longest.
    Delete {
        #[command(flatten)]
        database: DatabaseConfig,
        #[command(flatten)]
        files: Box<FilesConfig>,
        #[command(flatten)]
        redis: RedisConfig,
        /// The address that the account logs in with.
        email: String,
        /// Needed: there is no way back.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
pub struct Subject {
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    redis: RedisConfig,
    /// The address that the account logs in with.
    email: String,
    /// Make up a password and print it, instead of reading one.
    #[arg(long)]
    generate: bool,
}

/// Accounts that are read at once.
const PAGE: u64 = 500;
/// Bytes of a line with a password that are read: more than the longest password has.
const LINE: u64 = 4 * 1024;

pub async fn run(action: Action) -> Outcome {
    match action {
        Action::List { database, json } => list(&database, json).await,
        Action::Create(subject) => create(subject).await,
        Action::ResetPassword(subject) => reset_password(subject).await,
        Action::Delete { database, files, redis, email, yes } => {
            telling(&database, &redis, async |db| delete(&db, &files, &email, yes).await).await
        }
    }
}

async fn list(database: &DatabaseConfig, json: bool) -> Outcome {
    let db = connect(database).await?;
    let mut after = String::new();
    loop {
        let page = accounts::page(&db, &after, PAGE).await.map_err(sentence)?;
        let Some(last) = page.last() else { return Ok(ExitCode::SUCCESS) };
        after = last.email.clone();
        let mut text = String::new();
        for account in &page {
            text.push_str(&if json { as_json(account) } else { as_line(account) });
            text.push('\n');
        }
        match std::io::stdout().write_all(text.as_bytes()) {
            // `cairn account list | head` has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            written => written.map_err(|error| format!("cannot print: {error}"))?,
        }
    }
}

fn as_line(account: &Account) -> String {
    let last_login = account.last_login_at.map_or("never".into(), rfc3339);
    let state = if account.is_active { "active" } else { "inactive" };
    let (id, created, email) = (account.id, rfc3339(account.created_at), &account.email);
    format!("{id}  {created}  {last_login:<24}  {state:<8}  {email}")
}

fn as_json(account: &Account) -> String {
    json!({
        "id": account.id,
        "email": account.email,
        "createdAt": rfc3339(account.created_at),
        "lastLoginAt": account.last_login_at.map(rfc3339),
        "isActive": account.is_active,
    })
    .to_string()
}

async fn create(subject: Subject) -> Outcome {
    // Nobody has to be told of an account that nobody uses yet.
    let Subject { database, redis: _, email, generate } = subject;
    let password = password(generate)?;
    let db = connect_migrated(&database).await?;
    let account = accounts::create(&db, &Hasher::default(), &email, password.clone())
        .await
        .map_err(sentence)?;
    println!("{} is account {}", account.email, account.id);
    if generate {
        println!("its password is {password}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn reset_password(subject: Subject) -> Outcome {
    let Subject { database, redis, email, generate } = subject;
    let password = password(generate)?;
    telling(&database, &redis, async |db| {
        let account = accounts::reset_password(&db, &Hasher::default(), &email, password.clone())
            .await
            .map_err(sentence)?;
        println!("{} has a new password, and is logged in nowhere", account.email);
        if generate {
            println!("the password is {password}");
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn delete(db: &Db, files: &FilesConfig, email: &str, yes: bool) -> Outcome {
    let account = accounts::find(db, email).await.map_err(sentence)?;
    if !yes {
        return Err(format!("this erases {email} for good; say --yes"));
    }
    let files = app::open_files(db, files).await.map_err(sentence)?;
    erase(db, &files, account.id).await.map_err(sentence)?;
    println!("{email} is gone");
    Ok(ExitCode::SUCCESS)
}

/// A password that was made up, or the first line of the standard input.
fn password(generate: bool) -> Result<String, String> {
    if generate {
        return Ok(generated());
    }
    if std::io::stdin().is_terminal() {
        eprint!("password: ");
        let read = console::Term::stderr().read_secure_line();
        return read.map_err(|error| format!("cannot read the password: {error}"));
    }
    let mut line = Vec::new();
    std::io::stdin()
        .lock()
        .take(LINE)
        .read_until(b'\n', &mut line)
        .map_err(|error| format!("cannot read the password: {error}"))?;
    let line = String::from_utf8(line).map_err(|_| "the password must be UTF-8".to_owned())?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    match line.strip_suffix('\r').unwrap_or(line) {
        "" => Err("no password: give one line on the standard input, or --generate".into()),
        password => Ok(password.to_owned()),
    }
}

/// Four groups of five letters and digits, 100 random bits, without those that look alike.
fn generated() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnopqrstuvwxyz23456789";
    let random = std::iter::repeat_with(|| Uuid::new_v4().into_bytes())
        .flat_map(|bytes| bytes.into_iter().enumerate())
        // Bytes 6 and 8 of a UUID hold its version and variant.
        .filter(|(at, _)| *at != 6 && *at != 8);
    let mut password = String::new();
    for (at, (_, byte)) in random.take(20).enumerate() {
        if at > 0 && at % 5 == 0 {
            password.push('-');
        }
        password.push(LETTERS[usize::from(byte % 32)].into());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_are_long_and_each_is_another() {
        let [one, other] = [generated(), generated()];
        assert_eq!(one.len(), 23);
        assert_ne!(one, other);
    }
}
