//! What was acknowledged to anyone, and what may therefore be asked of everyone.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::Rows;

/// What all devices of a run know together.
#[derive(Default)]
pub struct Ledger {
    pub rows: BTreeMap<Uuid, Row>,
    /// Every operation that was acknowledged.
    pub operations: Vec<Operation>,
    /// The ids of batches whose senders never learned what became of them: all of it, or none.
    pub abandoned: Vec<(usize, Vec<Uuid>)>,
    /// Rows that one batch writes, always with the same text.
    pub sets: Vec<Set>,
    /// The newest acknowledged deletions.
    gone: VecDeque<Uuid>,
    /// Rows that nobody has begun to delete.
    alive: BTreeSet<Uuid>,
}

pub struct Row {
    pub kind: &'static str,
    pub parent: Option<Uuid>,
    /// The accounts that can see it.
    pub readers: Vec<usize>,
    /// The highest acknowledged version; 0: none yet.
    pub version: i64,
    /// Someone has begun to delete it: it may be gone.
    pub deleting: bool,
}

pub struct Operation {
    pub row: Uuid,
    pub device: Uuid,
    /// The text that it writes and no other operation does. None: a deletion.
    pub token: Option<String>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Applied { version: i64 },
    Merged { conflict: String },
    Open { conflict: String },
}

/// The fields that hold a set's text: kind, id, name.
pub struct Set {
    pub readers: Vec<usize>,
    pub fields: Vec<(&'static str, Uuid, &'static str)>,
}

/// What a pull that begins now must bring.
pub struct Expected {
    versions: Vec<(Uuid, i64)>,
    gone: Vec<Uuid>,
}

/// Deletions that every pull is asked for.
const GONE: usize = 200;

impl Ledger {
    pub fn add(&mut self, id: Uuid, row: Row) {
        self.alive.insert(id);
        self.rows.insert(id, row);
    }

    /// From now on it may be gone, with all that hangs on it.
    pub fn begin_deletion(&mut self, id: Uuid) {
        self.row(id).deleting = true;
        let mut alive = std::mem::take(&mut self.alive);
        alive.retain(|id| !self.may_be_gone(*id));
        self.alive = alive;
    }

    /// The oldest abandoned batch of an account that has many; nobody is asked for it any more.
    pub fn take_abandoned(&mut self, account: usize) -> Option<Vec<Uuid>> {
        let own = || self.abandoned.iter().enumerate().filter(|(_, (owner, _))| *owner == account);
        let oldest = (own().count() >= 30).then(|| own().next()).flatten()?.0;
        Some(self.abandoned.remove(oldest).1)
    }

    pub fn acknowledge(&mut self, operation: Operation) {
        let id = operation.row;
        let is_deletion = operation.token.is_none();
        let row = self.row(id);
        match operation.outcome {
            Outcome::Applied { .. } if is_deletion => {
                self.gone.push_back(id);
                if self.gone.len() > GONE {
                    self.gone.pop_front();
                }
            }
            Outcome::Applied { version } => row.version = row.version.max(version),
            _ => {}
        }
        self.operations.push(operation);
    }

    fn row(&mut self, id: Uuid) -> &mut Row {
        self.rows.get_mut(&id).expect("the ledger knows it")
    }

    pub fn may_be_gone(&self, id: Uuid) -> bool {
        let row = &self.rows[&id];
        row.deleting || row.parent.is_some_and(|parent| self.may_be_gone(parent))
    }

    pub fn expected(&self, account: usize) -> Expected {
        let visible = |id: &&Uuid| self.rows[*id].readers.contains(&account);
        let alive = self.alive.iter().filter(visible);
        Expected {
            versions: alive
                .map(|id| (*id, self.rows[id].version))
                .filter(|(_, v)| *v > 0)
                .collect(),
            gone: self.gone.iter().copied().collect(),
        }
    }

    /// Whether what a device holds after a pull is as new as was expected when it began, and one cut.
    pub fn verify(&self, expected: &Expected, account: usize, rows: &Rows) -> Result<(), String> {
        let find = |kind: &str, id: Uuid| rows.get(&(kind.to_owned(), id.to_string()));
        for &(id, version) in &expected.versions {
            let kind = self.rows[&id].kind;
            match find(kind, id).map(version_of) {
                Some(has) if has >= version => {}
                None if self.may_be_gone(id) => {}
                has => {
                    return Err(format!(
                        "stale: {kind} {id} was acknowledged in version {version} before the pull \
                         began, which brought {has:?}"
                    ));
                }
            }
        }
        for &id in &expected.gone {
            let kind = self.rows[&id].kind;
            if find(kind, id).is_some() {
                return Err(format!("stale: {kind} {id} was deleted before the pull began"));
            }
        }
        for set in self.sets.iter().filter(|set| set.readers.contains(&account)) {
            let seen =
                set.fields.iter().filter(|(_, id, _)| self.rows[id].readers.contains(&account));
            let texts: BTreeSet<String> = seen
                .map(|(kind, id, field)| {
                    find(kind, *id).map_or("no row".into(), |row| row[field].to_string())
                })
                .collect();
            if texts.len() > 1 {
                return Err(format!("no cut: one batch wrote all of these: {texts:?}"));
            }
        }
        for (_, ids) in self.abandoned.iter().filter(|(owner, _)| *owner == account) {
            let there = ids.iter().filter(|id| find(ABANDONED, **id).is_some()).count();
            if there != 0 && there != ids.len() {
                return Err(format!("{there} rows of a batch of {} are there: {ids:?}", ids.len()));
            }
        }
        Ok(())
    }
}

/// The kind of the rows in abandoned batches. No other batch holds any.
pub const ABANDONED: &str = "TagCategory";

pub fn version_of(row: &Json) -> i64 {
    row["syncVersion"].as_i64().expect("a version")
}

// ── The final account ────────────────────────────────────────────────────────────────────────

/// What the server tells of everything that ever happened.
#[derive(Default)]
pub struct Told {
    /// Of each row.
    pub histories: HashMap<Uuid, Vec<Json>>,
    pub conflicts: HashMap<String, Json>,
}

impl Ledger {
    /// Every conflict that someone was told of, with an account that sees it.
    pub fn conflicts(&self) -> BTreeMap<String, usize> {
        let told = self.operations.iter().filter_map(|operation| match &operation.outcome {
            Outcome::Merged { conflict } | Outcome::Open { conflict } => {
                Some((conflict.clone(), self.rows[&operation.row].readers[0]))
            }
            Outcome::Applied { .. } => None,
        });
        told.collect()
    }

    /// Everything acknowledged must be told of, once; and nothing that nobody sent.
    pub fn audit(&self, told: &Told) -> Vec<String> {
        let mut problems = Vec::new();
        // Every step that wrote a text, by row and text: the version, the device.
        let mut steps: HashMap<(Uuid, String), Vec<(i64, &Json)>> = HashMap::new();
        for (id, history) in &told.histories {
            for step in history {
                let version = step["version"].as_i64().expect("a version");
                for token in tokens(&step["newData"]) {
                    steps.entry((*id, token)).or_default().push((version, &step["deviceId"]));
                }
            }
            let versions: Vec<i64> =
                history.iter().map(|step| step["version"].as_i64().expect("a version")).collect();
            let all: Vec<i64> = (1..=versions.len() as i64).rev().collect();
            if versions != all {
                problems.push(format!("the history of {id} has the versions {versions:?}"));
            }
        }
        let mut in_conflict: HashMap<&str, usize> = HashMap::new();
        let mut sent: BTreeSet<(Uuid, String)> = BTreeSet::new();
        for operation in &self.operations {
            let Operation { row, device, token, outcome } = operation;
            if let Outcome::Merged { conflict } | Outcome::Open { conflict } = outcome {
                *in_conflict.entry(conflict).or_default() += 1;
            }
            let Some(token) = token else {
                // The newest step comes first. What went with its parent has none of its own.
                let parent = self.rows[row].parent;
                if parent.is_some_and(|parent| self.may_be_gone(parent)) {
                    continue;
                }
                let last = told.histories[row].first().map(|step| &step["operation"]);
                if matches!(outcome, Outcome::Applied { .. }) && last != Some(&json!("DELETE")) {
                    problems
                        .push(format!("the deletion of {row} was acknowledged; last: {last:?}"));
                }
                continue;
            };
            let key = (*row, token.clone());
            let found = steps.get(&key).map_or(&[][..], Vec::as_slice);
            sent.insert(key);
            let right = match outcome {
                Outcome::Applied { version } => {
                    matches!(found, [(at, by)] if at == version && **by == device.to_string())
                }
                Outcome::Merged { .. } => {
                    matches!(found, [(_, by)] if **by == device.to_string())
                }
                Outcome::Open { conflict } => {
                    found.is_empty()
                        && told.conflicts.get(conflict).is_some_and(|conflict| {
                            conflict["entityId"] == row.to_string()
                                && conflict.to_string().contains(token.as_str())
                        })
                }
            };
            if !right {
                problems.push(format!(
                    "{token} in {} {row} was acknowledged as {outcome:?}, and is told of as {found:?}",
                    self.rows[row].kind
                ));
            }
        }
        for (key, found) in steps.iter().filter(|(key, _)| !sent.contains(*key)) {
            problems.push(format!("{key:?} was never acknowledged, and is in {found:?}"));
        }
        for (id, conflict) in &told.conflicts {
            let edits = conflict["edits"].as_array().expect("edits").len();
            let known = in_conflict.get(id.as_str()).copied().unwrap_or_default();
            if edits != known {
                problems.push(format!("{known} edits went into conflict {id}, it has {edits}"));
            }
        }
        problems
    }
}

/// What a text begins with that an operation writes.
pub const TOKEN: &str = "token-";

fn tokens(data: &Json) -> Vec<String> {
    match data {
        Json::String(text) if text.starts_with(TOKEN) => vec![text.clone()],
        Json::String(text) => match serde_json::from_str::<Json>(text) {
            Ok(inner @ Json::Object(_)) => tokens(&inner),
            _ => Vec::new(),
        },
        Json::Object(fields) => fields.values().flat_map(tokens).collect(),
        Json::Array(values) => values.iter().flat_map(tokens).collect(),
        _ => Vec::new(),
    }
}
