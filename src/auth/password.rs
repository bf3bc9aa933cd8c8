//! Password hashes: argon2id with the parameters of OWASP's cheat sheet (19 MiB, two passes, one
//! lane), which are the crate's default. A few at once, off the threads that serve.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::limits;
use crate::error::Error;

#[derive(Clone)]
pub struct Hasher {
    places: Arc<Semaphore>,
    /// The hash of nobody's password: checked where there is no account, so that it takes as long.
    nobody: Arc<str>,
}

impl Hasher {
    pub fn new() -> Hasher {
        let nobody = hash(&Uuid::new_v4().to_string()).unwrap_or_default();
        Hasher { places: Arc::new(Semaphore::new(limits::HASHES)), nobody: nobody.into() }
    }

    /// The PHC string of a password.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        self.work(move || hash(&password)).await?.ok_or_else(|| Error::internal("argon2 failed"))
    }

    /// Whether the password is the one of the hash. None: there is no account, and it never is.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.to_string());
        let right = self
            .work(move || {
                PasswordHash::new(&hash).is_ok_and(|hash| {
                    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
                })
            })
            .await?;
        Ok(known && right)
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = self.places.clone().acquire_owned().await.map_err(Error::internal)?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        })
        .await
        .map_err(Error::internal)
    }
}

fn hash(password: &str) -> Option<String> {
    // 16 random bytes, as RFC 9106 recommends for a salt.
    let salt = SaltString::encode_b64(Uuid::new_v4().as_bytes()).ok()?;
    Some(Argon2::default().hash_password(password.as_bytes(), &salt).ok()?.to_string())
}
