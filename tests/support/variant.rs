//! Which tiers of the cache a test's servers have: what a test guarantees must hold with any.

use std::sync::OnceLock;

use super::{Backend, Redis};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    None,
    Memory,
    Redis,
    Both,
}

impl Variant {
    /// The first and the last have no tier in common, nor have the two between.
    pub const ALL: [Variant; 4] = [Variant::None, Variant::Memory, Variant::Redis, Variant::Both];

    /// What CACHE_VARIANT names. Without it the test's name decides, so that a test always has the
    /// same one; and a story has on PostgreSQL the tiers that it does not have on SQLite, so that each
    /// story meets each tier.
    pub fn of_this_test() -> Variant {
        let is_on_postgres = test().ends_with("::postgres");
        let backend = if is_on_postgres { Backend::Postgres } else { Backend::Sqlite };
        Variant::of_this_test_on(backend)
    }

    /// The same for a test that is on both databases itself.
    pub fn of_this_test_on(backend: Backend) -> Variant {
        if let Ok(named) = std::env::var("CACHE_VARIANT") {
            let found = Variant::ALL.into_iter().find(|variant| variant.name() == named);
            return found.unwrap_or_else(|| panic!("CACHE_VARIANT: none, memory, redis or both"));
        }
        let test = test();
        let databases = ["::sqlite", "::postgres"];
        let story = databases.iter().find_map(|database| test.strip_suffix(database));
        let hash = story.unwrap_or(&test).bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let at = (hash >> 32) as usize % Variant::ALL.len();
        match backend {
            Backend::Sqlite => Variant::ALL[at],
            Backend::Postgres => Variant::ALL[Variant::ALL.len() - 1 - at],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Variant::None => "none",
            Variant::Memory => "memory",
            Variant::Redis => "redis",
            Variant::Both => "both",
        }
    }

    /// As arguments of the server.
    pub fn arguments(self) -> Vec<&'static str> {
        let no_memory = ["--cache-ttl-local", "0"];
        let no_redis = ["--sync-cache-ttl", "0"];
        let redis = || ["--redis-url", &shared().url];
        match self {
            Variant::None => [no_memory, no_redis].concat(),
            Variant::Memory => no_redis.to_vec(),
            Variant::Redis => [no_memory, redis()].concat(),
            Variant::Both => redis().to_vec(),
        }
    }
}

/// One Redis for all tests that do nothing to it: each database has keys of its own.
pub fn shared() -> &'static Redis {
    static SHARED: OnceLock<Redis> = OnceLock::new();
    SHARED.get_or_init(Redis::start)
}

/// The test's name: the test runner names its threads after the tests.
fn test() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}
