//! Accounts, passwords, sessions and tokens.
//!
//! A token is a JWT that names an account and a session; it is worth something only as long as the
//! session is there, so logging out works at once, on every instance.

pub mod accounts;
mod operator;
mod password;
mod token;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use entity::Millis;
use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement, UpdateStatement};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
};
use uuid::Uuid;

use self::password::Check;
use crate::config::limits;
use crate::db::{self, Db};
use crate::error::{Code, Error};
use crate::gather::{Failed, Gather};
use crate::sync::change::derive;
use crate::sync::{scope, store};

pub use entity::account::Model as Account;
pub use operator::Operator;
pub use password::{Hasher, check_hash};
pub use token::Signer;

/// Who asks, as a token says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: Uuid,
    pub session: Uuid,
}

impl Caller {
    /// What stands for the device of a client that does not say which it is.
    pub fn device(&self) -> Uuid {
        derive(&[b"session", self.session.as_bytes()])
    }
}

/// The accounts of a database.
#[derive(Clone)]
pub struct Auth {
    db: Db,
    signer: Signer,
    passwords: Hasher,
    session: Duration,
    /// Whose sessions are there.
    sessions: Gather<Uuid, Uuid>,
}

/// For how long someone counts as online after they were seen, in milliseconds.
const ONLINE: Millis = 5 * 60 * 1000;
/// Sessions of one account; the oldest end when more begin.
const MAX_SESSIONS: u64 = 100;
/// Tries of what depends on a password: two first logins of an account from an older backend, at
/// once, both want to replace its hash.
const PASSWORD_ATTEMPTS: u32 = 2;
/// Devices in a list.
const MAX_DEVICES: u64 = 1_000;

impl Auth {
    pub fn new(db: Db, signer: Signer, session: Duration) -> Auth {
        let reader = db.clone();
        let sessions = Gather::new(move |ids: Vec<Uuid>| {
            let db = reader.clone();
            async move { alive(&db, &ids).await }
        });
        Auth { db, signer, passwords: Hasher::default(), session, sessions }
    }

    /// Makes an account and its own scope.
    pub async fn register(&self, email: &str, password: String) -> Result<Account, Error> {
        accounts::create(&self.db, &self.passwords, email, password).await
    }

    /// Checks the password and begins a session.
    pub async fn login(&self, email: &str, password: String) -> Result<(String, Account), Error> {
        use entity::account::{Column, Entity};
        let refused = || Error::bad_input("the email address or the password is wrong");
        for _ in 0..PASSWORD_ATTEMPTS {
            let known = match normalized_email(email) {
                Ok(email) => {
                    Entity::find().filter(Column::Email.eq(email)).one(self.db.pool()).await?
                }
                Err(_) => None,
            };
            let hash = known.as_ref().map(|account| account.password_hash.clone());
            let check = self.passwords.verify(password.clone(), hash).await?;
            let account = known
                .filter(|account| check != Check::Wrong && account.is_active)
                .ok_or_else(refused)?;
            let new_hash = match check {
                Check::Outdated => Some(self.passwords.hash(password.clone()).await?),
                _ => None,
            };
            let tx = self.db.begin_write().await?;
            let now = db::now(&tx).await?;
            let mut login = Query::update();
            login.table("account").value("last_login_at", now);
            if let Some(hash) = &new_hash {
                login.value("password_hash", hash.as_str());
            }
            if !self.change_account(&tx, login, &account).await? {
                continue;
            }
            let account = Account {
                last_login_at: Some(now),
                password_hash: new_hash.unwrap_or(account.password_hash),
                ..account
            };
            let (token, surplus) = self.begin_session(&tx, account.id, now).await?;
            tx.commit().await?;
            if surplus > 0 {
                self.db.announcer().sessions_ended_best_effort(account.id);
            }
            return Ok((token, account));
        }
        Err(refused())
    }

    /// Changes an account whose password was checked, unless it was changed since: a session that
    /// began with the old one would outlive it.
    async fn change_account<C: ConnectionTrait>(
        &self,
        tx: &C,
        mut change: UpdateStatement,
        account: &Account,
    ) -> Result<bool, Error> {
        change
            .and_where(Expr::col("id").eq(account.id))
            .and_where(Expr::col("password_hash").eq(&*account.password_hash))
            .and_where(Expr::col("is_active").eq(true));
        Ok(tx.execute(&change).await?.rows_affected() == 1)
    }

    /// Gives its token, and how many sessions ended because there would have been too many.
    async fn begin_session<C: ConnectionTrait>(
        &self,
        tx: &C,
        account: Uuid,
        now: Millis,
    ) -> Result<(String, usize), Error> {
        use entity::session::{Column, Entity, Model};
        let session = Model {
            id: Uuid::new_v4(),
            account_id: account,
            created_at: now,
            expires_at: now + self.session.as_millis() as Millis,
        };
        let surplus: Vec<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::AccountId.eq(account))
            .order_by_desc(Column::CreatedAt)
            .offset(MAX_SESSIONS - 1)
            .limit(MAX_SESSIONS)
            .into_tuple()
            .all(tx)
            .await?;
        let ended = surplus.len();
        if ended > 0 {
            Entity::delete_many().filter(Column::Id.is_in(surplus)).exec(tx).await?;
        }
        let caller = Caller { account, session: session.id };
        let expires_at = session.expires_at;
        session.into_active_model().insert(tx).await?;
        Ok((self.signer.sign(caller, now, expires_at)?, ended))
    }

    /// Makes the session last longer.
    pub async fn refresh(&self, caller: Caller) -> Result<(String, Account), Error> {
        let account = self.account(caller.account).await?.ok_or_else(Error::unauthenticated)?;
        let now = db::now(self.db.pool()).await?;
        let expires_at = now + self.session.as_millis() as Millis;
        let extend = Query::update()
            .table("session")
            .value("expires_at", expires_at)
            .and_where(Expr::col("id").eq(caller.session))
            .to_owned();
        if self.db.pool().execute(&extend).await?.rows_affected() == 0 {
            return Err(Error::unauthenticated());
        }
        Ok((self.signer.sign(caller, now, expires_at)?, account))
    }

    /// Ends all sessions and begins a new one.
    pub async fn change_password(
        &self,
        caller: Caller,
        current: String,
        new: String,
    ) -> Result<(String, Account), Error> {
        check_password(&new)?;
        let wrong = || Error::bad_input("currentPassword: is wrong");
        for _ in 0..PASSWORD_ATTEMPTS {
            let account = self.account(caller.account).await?.ok_or_else(Error::unauthenticated)?;
            let hash = account.password_hash.clone();
            if self.passwords.verify(current.clone(), Some(hash)).await? == Check::Wrong {
                return Err(wrong());
            }
            let password_hash = self.passwords.hash(new.clone()).await?;
            let tx = self.db.begin_write().await?;
            let now = db::now(&tx).await?;
            let change = Query::update()
                .table("account")
                .values([("password_hash", password_hash.into()), ("updated_at", now.into())])
                .to_owned();
            if !self.change_account(&tx, change, &account).await? {
                continue;
            }
            let account = Account { updated_at: now, ..account };
            end_sessions(&tx, account.id).await?;
            let (token, _) = self.begin_session(&tx, account.id, now).await?;
            tx.commit().await?;
            self.db.announcer().sessions_ended_best_effort(account.id);
            return Ok((token, account));
        }
        Err(wrong())
    }

    /// Refuses a wrong password.
    pub async fn check_password_of(&self, account: Uuid, password: String) -> Result<(), Error> {
        let account = self.account(account).await?.ok_or_else(Error::unauthenticated)?;
        match self.passwords.verify(password, Some(account.password_hash)).await? {
            Check::Wrong => Err(Error::bad_input("password: is wrong")),
            Check::Right | Check::Outdated => Ok(()),
        }
    }

    /// Ends the caller's session, or all of theirs.
    pub async fn logout(&self, caller: Caller, everywhere: bool) -> Result<(), Error> {
        if everywhere {
            end_sessions(self.db.pool(), caller.account).await?;
        } else {
            entity::session::Entity::delete_by_id(caller.session).exec(self.db.pool()).await?;
        }
        self.db.announcer().sessions_ended_best_effort(caller.account);
        Ok(())
    }

    /// Whom a token names, and for how long it is good. Whether the session is there is another
    /// question: [`Auth::is_alive`].
    pub fn read(&self, token: &str) -> Option<(Caller, Duration)> {
        let (caller, refused_from) = self.signer.read(token)?;
        // Tokens are dated by the second, and judged by this machine's clock.
        let left = refused_from.saturating_sub(chrono::Utc::now().timestamp());
        Some((caller, Duration::from_secs(Ord::max(left, 0) as u64)))
    }

    /// Whether the caller's session is there: as of now, for all who ask at once.
    pub async fn is_alive(&self, caller: Caller) -> Result<bool, Error> {
        let account = match self.sessions.ask(caller.session).await {
            Ok(found) => found,
            Err(Failed) => alive(&self.db, &[caller.session]).await?.remove(&caller.session),
        };
        Ok(account == Some(caller.account))
    }

    /// Those of these sessions that are there.
    pub async fn alive(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        Ok(alive(&self.db, ids).await?.into_keys().collect())
    }

    pub async fn account(&self, id: Uuid) -> Result<Option<Account>, Error> {
        Ok(entity::account::Entity::find_by_id(id).one(self.db.pool()).await?)
    }

    pub async fn devices(&self, account: Uuid) -> Result<Vec<entity::device::Model>, Error> {
        use entity::device::{Column, Entity};
        Ok(Entity::find()
            .filter(Column::AccountId.eq(account))
            .order_by_desc(Column::LastSeenAt)
            .limit(MAX_DEVICES)
            .all(self.db.pool())
            .await?)
    }

    /// The account with this address, if it can log in.
    pub async fn find(&self, email: &str) -> Result<Option<Uuid>, Error> {
        Auth::find_in(&self.db, email).await
    }

    /// The same, for a command.
    pub async fn find_in(db: &Db, email: &str) -> Result<Option<Uuid>, Error> {
        use entity::account::{Column, Entity};
        let Ok(email) = normalized_email(email) else { return Ok(None) };
        let found = Entity::find()
            .filter(Column::Email.eq(email))
            .filter(Column::IsActive.eq(true))
            .one(db.pool())
            .await?;
        Ok(found.map(|account| account.id))
    }

    /// The accounts with these ids, in no particular order.
    pub async fn accounts(&self, ids: &[Uuid]) -> Result<Vec<Account>, Error> {
        use entity::account::{Column, Entity};
        let mut found = Vec::new();
        for among in store::in_lists(self.db.pool(), Column::Id, ids) {
            found.extend(Entity::find().filter(among).all(self.db.pool()).await?);
        }
        Ok(found)
    }

    /// Which of these accounts logged in, or had a device push, a short while ago.
    pub async fn online(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        let since = db::now(self.db.pool()).await? - ONLINE;
        let mut found = HashSet::new();
        for (table, account, seen) in
            [("account", "id", "last_login_at"), ("device", "account_id", "last_seen_at")]
        {
            for among in store::in_lists(self.db.pool(), account, ids) {
                let select = Query::select()
                    .distinct()
                    .column(account)
                    .from(table)
                    .and_where(among)
                    .and_where(Expr::col(seen).gt(since))
                    .to_owned();
                for row in self.db.pool().query_all(&select).await? {
                    found.insert(row.try_get_by_index(0).map_err(Error::from)?);
                }
            }
        }
        Ok(found)
    }

    /// Changes what an account says of its person. None: stays as it is.
    pub async fn update(&self, account: Uuid, profile: Profile) -> Result<Account, Error> {
        let Profile { username, first_name, last_name, profile_image_url } = profile;
        let mut change = Query::update();
        change.table("account").and_where(Expr::col("id").eq(account));
        if let Some(username) = username {
            change.value("username", check_line("username", username)?);
        }
        for (name, column, value) in [
            ("firstName", "first_name", first_name),
            ("lastName", "last_name", last_name),
            ("profileImageUrl", "profile_image_url", profile_image_url),
        ] {
            match value {
                None => {}
                Some(None) => drop(change.value(column, None::<String>)),
                Some(Some(value)) => drop(change.value(column, check_line(name, value)?)),
            }
        }
        let tx = self.db.begin_write().await?;
        change.value("updated_at", db::now(&tx).await?);
        tx.execute(&change).await?;
        tx.commit().await?;
        self.account(account).await?.ok_or_else(Error::unauthenticated)
    }
}

/// What an account says of its person; None stays as it is, Some(None) is cleared.
pub struct Profile {
    pub username: Option<String>,
    pub first_name: Option<Option<String>>,
    pub last_name: Option<Option<String>>,
    pub profile_image_url: Option<Option<String>>,
}

/// A line that an account says of its person.
pub fn check_line(name: &str, text: String) -> Result<String, Error> {
    let most = if name == "profileImageUrl" { limits::LINK } else { limits::LINE };
    if text.chars().count() > most || text.chars().any(char::is_control) {
        let message = format!("{name}: must be one line of at most {most} characters");
        return Err(Error::bad_input(message));
    }
    if name == "username" && text.trim().is_empty() {
        return Err(Error::bad_input("username: must not be empty"));
    }
    Ok(text)
}

/// Those of these sessions that are there, and whose they are.
async fn alive(db: &Db, ids: &[Uuid]) -> Result<HashMap<Uuid, Uuid>, Error> {
    let mut found = HashMap::new();
    for among in store::in_lists(db.pool(), ("session", "id"), ids) {
        let select = sessions().column(("session", "account_id")).and_where(among).to_owned();
        for row in db.pool().query_all(&select).await? {
            let session = row.try_get_by_index(0).map_err(Error::from)?;
            found.insert(session, row.try_get_by_index(1).map_err(Error::from)?);
        }
    }
    Ok(found)
}

/// The ids of the sessions whose tokens are worth something, unless they have expired.
fn sessions() -> SelectStatement {
    scope::usable(Query::select().column(("session", "id")).from("session").to_owned())
}

async fn end_sessions<C: ConnectionTrait>(db: &C, account: Uuid) -> Result<(), Error> {
    use entity::session::{Column, Entity};
    Entity::delete_many().filter(Column::AccountId.eq(account)).exec(db).await?;
    Ok(())
}

/// Lower case, and checked.
pub fn normalized_email(email: &str) -> Result<String, Error> {
    let email = email.trim().to_lowercase();
    let well_formed = email.len() <= limits::EMAIL
        && !email.chars().any(|c| c.is_control() || c.is_whitespace())
        && email.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
    match well_formed {
        true => Ok(email),
        false => Err(Error::bad_input("email: must be an email address")),
    }
}

fn check_password(password: &str) -> Result<(), Error> {
    match limits::PASSWORD.contains(&password.chars().count()) {
        true => Ok(()),
        false => Err(Error::new(
            Code::BadUserInput,
            format!(
                "password: must have {} to {} characters",
                limits::PASSWORD.start(),
                limits::PASSWORD.end()
            ),
        )),
    }
}
