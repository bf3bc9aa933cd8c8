//! Making, listing and mending accounts, for the API and for the operator's commands.

use entity::Millis;
use entity::account::{Column, Entity};
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::{Account, Hasher, check_password, end_sessions, normalized_email};
use crate::db::{self, Db};
use crate::error::{Code, Error};
use crate::sync::Role;

/// Makes an account and its own scope.
pub async fn create(
    db: &Db,
    passwords: &Hasher,
    email: &str,
    password: String,
) -> Result<Account, Error> {
    let email = normalized_email(email)?;
    check_password(&password)?;
    // Hashed before the address is looked up: known and unknown ones take the same time.
    let password_hash = passwords.hash(password).await?;
    let tx = db.begin_write().await?;
    let now = db::now(&tx).await?;
    let account = Account {
        id: Uuid::now_v7(),
        username: username_of(&email),
        email,
        password_hash,
        first_name: None,
        last_name: None,
        profile_image_url: None,
        is_active: true,
        is_email_verified: false,
        last_login_at: None,
        created_at: now,
        updated_at: now,
    };
    if !insert(&tx, account.clone(), now).await? {
        return Err(Error::bad_input("email: there is an account with this address already"));
    }
    tx.commit().await?;
    Ok(account)
}

/// What people are called who gave no other name.
pub fn username_of(email: &str) -> String {
    email.split('@').next().unwrap_or_default().to_owned()
}

/// Stores an account and its own scope. False: there is an account with its address already.
pub async fn insert(
    tx: &DatabaseTransaction,
    account: Account,
    now: Millis,
) -> Result<bool, Error> {
    let id = account.id;
    let granted_at = account.created_at;
    let inserted = Entity::insert(account.into_active_model())
        .on_conflict(OnConflict::column(Column::Email).do_nothing().to_owned())
        .exec_without_returning(tx)
        .await?;
    if inserted == 0 {
        return Ok(false);
    }
    let mut scope = Query::insert();
    scope.into_table("scope").columns(["id", "head", "head_at", "floor"]).values_panic([
        id.into(),
        0.into(),
        now.into(),
        0.into(),
    ]);
    tx.execute(&scope).await?;
    let membership = entity::membership::Model {
        scope_id: id,
        account_id: id,
        role: Role::Owner.name().into(),
        granted_at,
        since_seq: 0,
        until_seq: None,
        removed_at: None,
    };
    membership.into_active_model().insert(tx).await?;
    Ok(true)
}

/// Gives an account another password, and ends all its sessions.
pub async fn reset_password(
    db: &Db,
    passwords: &Hasher,
    email: &str,
    password: String,
) -> Result<Account, Error> {
    let account = find(db, email).await?;
    check_password(&password)?;
    let password_hash = passwords.hash(password).await?;
    let tx = db.begin_write().await?;
    let updated_at = db::now(&tx).await?;
    let account = Account { password_hash, updated_at, ..account };
    let change = Query::update()
        .table("account")
        .values([
            ("password_hash", account.password_hash.as_str().into()),
            ("updated_at", updated_at.into()),
        ])
        .and_where(Column::Id.eq(account.id))
        .to_owned();
    if tx.execute(&change).await?.rows_affected() == 0 {
        return Err(unknown(&account.email));
    }
    // After the update: a login that waited for it finds another password, one that came before it
    // is ended here.
    end_sessions(&tx, account.id).await?;
    tx.commit().await?;
    db.announcer().sessions_ended_best_effort(account.id);
    Ok(account)
}

/// The account with this address.
pub async fn find(db: &Db, email: &str) -> Result<Account, Error> {
    let email = normalized_email(email)?;
    let found = Entity::find().filter(Column::Email.eq(&*email)).one(db.pool()).await?;
    found.ok_or_else(|| unknown(&email))
}

fn unknown(email: &str) -> Error {
    Error::new(Code::NotFound, format!("there is no account with the address {email}"))
}

/// Accounts in the order of their addresses, beginning after this one.
pub async fn page(db: &Db, after: &str, size: u64) -> Result<Vec<Account>, Error> {
    Ok(Entity::find()
        .filter(Column::Email.gt(after))
        .order_by_asc(Column::Email)
        .limit(size)
        .all(db.pool())
        .await?)
}
