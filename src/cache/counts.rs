//! How often answers came from where, for whoever measures.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Memory,
    Redis,
    /// Someone else asked the same at the same time.
    Joined,
    /// It was made.
    Miss,
    /// The cache was not asked.
    Bypass,
}

impl Source {
    pub const ALL: [Source; 5] =
        [Source::Memory, Source::Redis, Source::Joined, Source::Miss, Source::Bypass];

    pub fn name(self) -> &'static str {
        match self {
            Source::Memory => "hit-memory",
            Source::Redis => "hit-redis",
            Source::Joined => "joined",
            Source::Miss => "miss",
            Source::Bypass => "bypass",
        }
    }
}

#[derive(Default)]
pub struct Counts {
    answers: [AtomicU64; Source::ALL.len()],
    garbage: AtomicU64,
}

impl Counts {
    pub fn answered(&self, source: Source) {
        self.answers[source as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn garbage(&self) {
        self.garbage.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers from each source since the start.
    pub fn answers(&self) -> [(Source, u64); Source::ALL.len()] {
        Source::ALL.map(|source| (source, self.answers[source as usize].load(Ordering::Relaxed)))
    }

    /// Entries in Redis that were none.
    pub fn garbage_met(&self) -> u64 {
        self.garbage.load(Ordering::Relaxed)
    }
}
