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
    pub fn of_this_test_on(backend: Backend) -> Variant {
        if let Ok(named) = std::env::var("CACHE_VARIANT") {
            let found = Variant::ALL.into_iter().find(|variant| variant.name() == named);
            return found.unwrap_or_else(|| panic!("CACHE_VARIANT: none, memory, redis or both"));
        }
        Variant::of(std::thread::current().name().unwrap_or_default(), backend)
    }

    /// Of a test with this name. The runner names its threads after the tests.
    fn of(test: &str, backend: Backend) -> Variant {
        let databases = ["::sqlite", "_sqlite", "::postgres", "_postgres"];
        let story = databases.iter().find_map(|database| test.strip_suffix(database));
        let hash = story.unwrap_or(test).bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
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

    /// As the environment of a server.
    pub fn settings(self) -> Vec<(&'static str, &'static str)> {
        let no_memory = ("CACHE_TTL_LOCAL", "0");
        let no_redis = ("SYNC_CACHE_TTL", "0");
        let redis = || ("REDIS_URL", shared().url.as_str());
        match self {
            Variant::None => vec![no_memory, no_redis],
            Variant::Memory => vec![no_redis],
            Variant::Redis => vec![no_memory, redis()],
            Variant::Both => vec![redis()],
        }
    }

    /// As arguments of a server.
    pub fn arguments(self) -> Vec<&'static str> {
        let argument = |name| match name {
            "CACHE_TTL_LOCAL" => "--cache-ttl-local",
            "SYNC_CACHE_TTL" => "--sync-cache-ttl",
            "REDIS_URL" => "--redis-url",
            other => panic!("{other}: no argument is known for it"),
        };
        self.settings().into_iter().flat_map(|(name, value)| [argument(name), value]).collect()
    }
}

/// One Redis for all tests that do nothing to it: each database has keys of its own.
pub fn shared() -> &'static Redis {
    static SHARED: OnceLock<Redis> = OnceLock::new();
    SHARED.get_or_init(Redis::start)
}

#[test]
fn a_story_meets_memory_once_and_redis_once() {
    for [on_sqlite, on_postgres] in [
        ["g11::two_edits::sqlite", "g11::two_edits::postgres"],
        ["g14::every_order_sqlite", "g14::every_order_postgres"],
        ["one_test_on_both", "one_test_on_both"],
    ] {
        let one = Variant::of(on_sqlite, Backend::Sqlite);
        let other = Variant::of(on_postgres, Backend::Postgres);
        let opposites = [[Variant::None, Variant::Both], [Variant::Memory, Variant::Redis]];
        let pair = [one, other];
        assert!(opposites.iter().any(|both| both.iter().all(|v| pair.contains(v))), "{pair:?}");
    }
}
