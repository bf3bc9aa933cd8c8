//! Password hashes: argon2id with the parameters of OWASP's cheat sheet (19 MiB, two passes, one
//! lane), which are the crate's default. As many at once as there are cores, off the threads that serve.
//!
//! Accounts that came from an older backend may bring a bcrypt hash, or argon2 with other
//! parameters. Such a hash is good for a login, which replaces it. Until then a login takes as long
//! as that hash takes, so its time may tell that the account exists and is an old one; accounts with
//! our own hashes take the same time as unknown addresses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use argon2::password_hash::{
    Output, ParamsString, PasswordHash, PasswordVerifier, Salt, SaltString,
};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::limits;
use crate::error::Error;

#[derive(Clone)]
pub struct Hasher {
    places: Arc<Semaphore>,
    /// How many there are.
    count: usize,
    /// The memory that passwords are hashed in: one for each place, kept and used again as long as there
    /// is something to hash. An instance that only keeps sockets open has no use for it.
    memories: Arc<Mutex<Vec<Memory>>>,
    /// The hash of nobody's password: checked where there is no account, so that it takes as long.
    nobody: Arc<str>,
}

/// Empty until it is used for the first time.
type Memory = Vec<Block>;

/// What a password is to a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Wrong,
    Right,
    /// Right, and the hash should be replaced by one of ours.
    Outdated,
}

impl Default for Hasher {
    fn default() -> Hasher {
        // More than there are cores would only take turns.
        let places = available_parallelism().map_or(1, usize::from).min(limits::HASHES);
        let nobody = hash(&Uuid::new_v4().to_string(), &mut Memory::new()).unwrap_or_default();
        Hasher {
            places: Arc::new(Semaphore::new(places)),
            count: places,
            memories: Arc::default(),
            nobody: nobody.into(),
        }
    }
}

impl Hasher {
    /// The PHC string of a password.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        let hashed = self.work(move |memory| hash(&password, memory)).await?;
        hashed.ok_or_else(|| Error::internal("argon2 failed"))
    }

    /// Whether the password is the one of the hash. None: there is no account, and it never is.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<Check, Error> {
        let known = hash.filter(|hash| check_hash(hash).is_ok());
        let nobody = self.nobody.clone();
        self.work(move |memory| match &known {
            Some(hash) => verify(&password, hash, memory),
            None => {
                verify(&password, &nobody, memory);
                Check::Wrong
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = self.places.clone().acquire_owned().await.map_err(Error::internal)?;
        let Hasher { places, count, memories, .. } = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut memory = lock(&memories).pop().unwrap_or_default();
            let result = work(&mut memory);
            let mut memories = lock(&memories);
            // Who waits for a place has it at once when one is free.
            match places.available_permits() + 1 == count {
                true => memories.clear(),
                false => memories.push(memory),
            }
            drop(place);
            result
        })
        .await
        .map_err(Error::internal)
    }
}

fn lock(memories: &Mutex<Vec<Memory>>) -> MutexGuard<'_, Vec<Memory>> {
    memories.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(password: &str, memory: &mut Memory) -> Option<String> {
    // 16 random bytes, as RFC 9106 recommends for a salt.
    let salt = SaltString::encode_b64(Uuid::new_v4().as_bytes()).ok()?;
    let hash = output(password, salt.as_salt(), Params::DEFAULT_OUTPUT_LEN, memory)?;
    let hash = PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: ParamsString::try_from(&Params::default()).ok()?,
        salt: Some(salt.as_salt()),
        hash: Some(hash),
    };
    Some(hash.to_string())
}

/// Argon2 with our own parameters.
fn output(password: &str, salt: Salt<'_>, length: usize, memory: &mut Memory) -> Option<Output> {
    memory.resize(Params::DEFAULT.block_count(), Block::default());
    let mut buffer = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut buffer).ok()?;
    Output::init_with(length, |out| {
        let argon2 = Argon2::default();
        Ok(argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, memory)?)
    })
    .ok()
}

fn verify(password: &str, hash: &str, memory: &mut Memory) -> Check {
    if is_bcrypt(hash) {
        let read = bcrypt_reads(password);
        return match bcrypt::verify(read, hash) {
            // What bcrypt does not read of a long password was never checked: a new hash would hold
            // its user to an end that may be mistyped. The old one goes on instead.
            Ok(true) if read.len() == password.len() => Check::Outdated,
            Ok(true) => Check::Right,
            _ => Check::Wrong,
        };
    }
    let Ok(parsed) = PasswordHash::new(hash) else { return Check::Wrong };
    if is_ours(&parsed) {
        let (Some(salt), Some(expected)) = (parsed.salt, parsed.hash) else { return Check::Wrong };
        // Outputs are compared in a time that tells nothing.
        let right = output(password, salt, expected.len(), memory) == Some(expected);
        return if right { Check::Right } else { Check::Wrong };
    }
    // In memory of its own: it may ask for more, and does so once.
    match Argon2::default().verify_password(password.as_bytes(), &parsed) {
        Ok(()) => Check::Outdated,
        Err(_) => Check::Wrong,
    }
}

/// Whether it was made as we make hashes.
fn is_ours(hash: &PasswordHash<'_>) -> bool {
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    hash.algorithm == Algorithm::default().ident()
        && hash.version == Some(Version::default().into())
        && Params::try_from(hash).is_ok_and(|params| costs(&params) == costs(&Params::DEFAULT))
}

/// The part of a password that the original bcrypt reads: up to the first NUL, where its strings
/// end, and 72 bytes at most.
fn bcrypt_reads(password: &str) -> &[u8] {
    let bytes = password.as_bytes();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end.min(72)]
}

fn is_bcrypt(hash: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix))
}

/// Refuses what no password can be checked against, or only at a cost that would stop the server.
/// The sentence is for the operator, and repeats nothing of the hash.
pub fn check_hash(hash: &str) -> Result<(), String> {
    if is_bcrypt(hash) {
        let parts: bcrypt::HashParts =
            hash.parse().map_err(|_| "is no complete bcrypt hash".to_owned())?;
        return match limits::BCRYPT_COST.contains(&parts.get_cost()) {
            true => Ok(()),
            false => Err(format!(
                "has cost {}; bcrypt hashes of cost {} to {} are taken",
                parts.get_cost(),
                limits::BCRYPT_COST.start(),
                limits::BCRYPT_COST.end()
            )),
        };
    }
    let parsed = PasswordHash::new(hash).ok().filter(|parsed| {
        Algorithm::try_from(parsed.algorithm).is_ok()
            && parsed.salt.is_some()
            && parsed.hash.is_some()
    });
    let parsed = parsed.ok_or_else(|| {
        "must be a bcrypt hash ($2a$, $2b$, $2y$) or a PHC string of argon2".to_owned()
    })?;
    let params = Params::try_from(&parsed).map_err(|_| "is no complete argon2 hash".to_owned())?;
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    match memory <= limits::ARGON2_MEMORY
        && passes <= limits::ARGON2_PASSES
        && lanes <= limits::ARGON2_LANES
    {
        true => Ok(()),
        false => Err(format!(
            "has m={memory},t={passes},p={lanes}; argon2 hashes up to m={},t={},p={} are taken",
            limits::ARGON2_MEMORY,
            limits::ARGON2_PASSES,
            limits::ARGON2_LANES
        )),
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher;

    use super::*;

    fn verify(password: &str, hash: &str) -> Check {
        super::verify(password, hash, &mut Memory::new())
    }

    fn bcrypt(password: &[u8]) -> String {
        ::bcrypt::hash_with_salt(password, 4, [7; 16]).expect("hashed").to_string()
    }

    #[test]
    fn hashes_of_other_programs_are_good() {
        // From the tests of the original implementation and of PHP.
        for (password, hash) in [
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
            ("U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
            ("rasmuslerdorf", "$2a$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi"),
        ] {
            assert_eq!(check_hash(hash), Ok(()));
            assert_eq!(verify(password, hash), Check::Outdated, "{password}");
            assert_eq!(verify("another", hash), Check::Wrong);
            for prefix in ["$2b$", "$2y$"] {
                assert_eq!(verify(password, &hash.replace("$2a$", prefix)), Check::Outdated);
            }
        }
    }

    #[test]
    fn bcrypt_reads_72_bytes_and_stops_at_nul() {
        let long = "é".repeat(36);
        let hash = bcrypt(long.as_bytes());
        assert_eq!(verify(&long, &hash), Check::Outdated);
        // More than it reads: good as ever, and not held to an end that nobody checked.
        assert_eq!(verify(&format!("{long}and more"), &hash), Check::Right);
        assert_eq!(verify(&long[..70], &hash), Check::Wrong);
        let hash = bcrypt(b"before");
        assert_eq!(verify("before\0after", &hash), Check::Right);
        assert_eq!(verify("before", &hash), Check::Outdated);
        assert_eq!(verify("\0before", &bcrypt(b"")), Check::Right);
        assert_eq!(verify("\0before", &hash), Check::Wrong);
    }

    #[test]
    fn our_own_hashes_stay_and_others_of_argon2_are_replaced() {
        let mut memory = Memory::new();
        let ours = hash("correct horse", &mut memory).expect("hashed");
        assert_eq!(check_hash(&ours), Ok(()));
        assert_eq!(verify("correct horse", &ours), Check::Right);
        assert_eq!(verify("wrong horse", &ours), Check::Wrong);
        // Used memory is as good as new, and another program comes to the same.
        let again = hash("correct horse", &mut memory).expect("hashed");
        for hash in [&ours, &again] {
            assert_eq!(super::verify("correct horse", hash, &mut memory), Check::Right);
            assert_eq!(super::verify("wrong horse", hash, &mut memory), Check::Wrong);
            let parsed = PasswordHash::new(hash).expect("well-formed");
            assert_eq!(Argon2::default().verify_password(b"correct horse", &parsed), Ok(()));
        }
        let salt = SaltString::encode_b64(&[7; 16]).expect("a salt");
        for algorithm in [Algorithm::Argon2i, Algorithm::Argon2d, Algorithm::Argon2id] {
            let params = Params::new(64, 1, 2, None).expect("parameters");
            let hasher = Argon2::new(algorithm, argon2::Version::V0x13, params);
            let old = hasher.hash_password(b"correct horse", &salt).expect("hashed").to_string();
            assert_eq!(check_hash(&old), Ok(()), "{old}");
            assert_eq!(verify("correct horse", &old), Check::Outdated);
            assert_eq!(verify("wrong horse", &old), Check::Wrong);
        }
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let good = bcrypt(b"x");
        let ours = hash("x", &mut Memory::new()).expect("hashed");
        for bad in [
            "",
            "x",
            "plain text",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "$2b$",
            "$2b$xx$",
            "$1$salt$hash",
            "$argon2id$",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0",
            "$pbkdf2-sha256$i=1000$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            &good.replace("$2b$", "$2x$"),
            &good.replace("$2b$", "$2$"),
            &good.replace("$04$", "$03$"),
            &good.replace("$04$", "$16$"),
            &good.replace("$04$", "$31$"),
            &good.replace("$04$", "$99$"),
            &good.replace("$04$", "$4$"),
            &good[..59],
            &format!("{good}x"),
            &good.replace("$04$", "$0é$"),
            &format!("{}é", &good[..58]),
            &ours.replace("m=19456", "m=4000000000"),
            &ours.replace("t=2", "t=4000000000"),
            &ours.replace("p=1", "p=255"),
            &ours.replace("m=19456", "m=0"),
        ] {
            assert!(check_hash(bad).is_err(), "{bad}");
        }
    }
}
