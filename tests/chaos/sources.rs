//! Where answers come from, as servers say it themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use reqwest::header::HeaderMap;

#[derive(Default)]
pub struct Sources {
    /// How many came from where.
    counts: BTreeMap<String, usize>,
    /// Which instances made an answer, by its tag. The newest alone: nothing is kept for ever.
    makers: HashMap<String, BTreeSet<usize>>,
    /// Those that came out of Redis on an instance that never made them, and which another one did.
    others: usize,
}

/// Makers that are remembered. An answer is asked for again soon, or never.
const MAKERS: usize = 10_000;

impl Sources {
    /// Notes an answer of an instance.
    pub fn note(&mut self, instance: usize, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        // Mutations say nothing.
        let Some(source) = text("x-cairn-cache") else { return };
        if let Some(tag) = text("etag") {
            match source.as_str() {
                "miss" => {
                    if self.makers.len() >= MAKERS {
                        self.makers.clear();
                    }
                    self.makers.entry(tag).or_default().insert(instance);
                }
                "hit-redis" => {
                    let makers = self.makers.get(&tag);
                    let is_anothers = makers.is_some_and(|makers| !makers.contains(&instance));
                    self.others += usize::from(is_anothers);
                }
                _ => {}
            }
        }
        *self.counts.entry(source).or_default() += 1;
    }

    /// Kept answers came from everywhere where they are kept.
    pub fn were_all_met(&self) {
        for source in ["hit-memory", "hit-redis"] {
            assert!(self.counts.contains_key(source), "no {source}: {self}");
        }
        assert!(self.others > 0, "no instance had an answer from another: {self}");
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, of these made by another instance: {}", self.counts, self.others)
    }
}
