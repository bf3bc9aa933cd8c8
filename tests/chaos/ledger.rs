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
    /// Conflicts that someone has begun to decide.
    pub decisions: BTreeMap<String, Decision>,
    /// How many were acknowledged.
    decided: usize,
    /// The newest acknowledged deletions.
    gone: VecDeque<Uuid>,
    /// Rows that nobody has begun to delete.
    alive: BTreeSet<Uuid>,
}

pub struct Row {
    pub kind: &'static str,
    pub parent: Option<Uuid>,
    /// Where it may hang instead: nobody has been told yet whether it was moved.
    pub elsewhere: BTreeSet<Uuid>,
    /// Moves that were begun, and how many of them are under way.
    pub moves: usize,
    pub moving: usize,
    /// A move became a conflict: whoever decides that may move it, or not.
    pub is_adrift: bool,
    /// The version of the newest acknowledged move.
    pub moved_at: i64,
    /// Its account, which always sees it.
    pub maker: usize,
    /// The accounts that can see what hangs on nothing.
    pub readers: Vec<usize>,
    /// The highest acknowledged version; 0: none yet.
    pub version: i64,
    /// Someone has begun to delete it: it may be gone.
    pub deleting: bool,
    /// Someone has begun to decide a conflict in a way that may bring it back.
    pub returning: bool,
}

impl Row {
    /// That nobody has acknowledged yet.
    pub fn new(kind: &'static str, maker: usize) -> Row {
        Row {
            kind,
            parent: None,
            elsewhere: BTreeSet::new(),
            moves: 0,
            moving: 0,
            is_adrift: false,
            moved_at: 0,
            maker,
            readers: vec![maker],
            version: 0,
            deleting: false,
            returning: false,
        }
    }

    /// What it hangs on, or may hang on.
    fn parents(&self) -> impl Iterator<Item = Uuid> {
        self.parent.into_iter().chain(self.elsewhere.iter().copied())
    }
}

/// What is known of the decision of a conflict.
#[derive(Default)]
pub struct Decision {
    /// How many were told that it was they who decided.
    pub won: usize,
    /// How many were told that somebody had.
    pub late: usize,
    /// What everyone is told that came out, and the how manieth decision that was.
    pub outcome: Option<(Json, usize)>,
}

pub struct Operation {
    pub row: Uuid,
    pub account: usize,
    pub device: Uuid,
    /// The text that it writes and no other operation does. None: a deletion.
    pub token: Option<String>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Applied {
        version: i64,
    },
    /// Merged at once, or open until someone decides.
    Conflict {
        conflict: String,
    },
}

/// The fields that hold a set's text: kind, id, name.
pub struct Set {
    pub readers: Vec<usize>,
    pub fields: Vec<(&'static str, Uuid, &'static str)>,
}

/// What a pull that begins now must bring.
pub struct Expected {
    /// With the moves that had been begun.
    versions: Vec<(Uuid, i64, usize)>,
    /// Rows that were moved to where the account cannot see them.
    away: Vec<(Uuid, usize)>,
    gone: Vec<Uuid>,
    decided: usize,
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
        self.look_who_may_be_gone();
    }

    fn look_who_may_be_gone(&mut self) {
        let mut alive = std::mem::take(&mut self.alive);
        alive.retain(|id| !self.may_be_gone(*id));
        self.alive = alive;
    }

    /// From now on it hangs here or there. Only its maker moves a row, who sees both.
    pub fn begin_move(&mut self, id: Uuid, to: Uuid) {
        let row = self.row(id);
        row.elsewhere.insert(to);
        row.moves += 1;
        row.moving += 1;
        self.look_who_may_be_gone();
    }

    /// Where a row is, is certain again when every move has come to an end that is known.
    pub fn end_move(&mut self, id: Uuid, to: Uuid, outcome: Option<&Outcome>) {
        let row = self.row(id);
        row.moving -= 1;
        match outcome {
            Some(Outcome::Applied { version }) if *version > row.moved_at => {
                (row.parent, row.moved_at) = (Some(to), *version);
            }
            Some(Outcome::Conflict { .. }) => row.is_adrift = true,
            _ => {}
        }
        row.elsewhere.extend(row.is_adrift.then_some(to));
        if row.moving == 0 && !row.is_adrift {
            row.elsewhere.clear();
        }
    }

    /// Whether it was ever moved, or begun to be.
    pub fn has_moved(&self, id: Uuid) -> bool {
        self.is_below(id, &|row| row.moves > 0)
    }

    fn moves(&self, id: Uuid) -> usize {
        let row = &self.rows[&id];
        row.moves + row.parent.map_or(0, |parent| self.moves(parent))
    }

    /// Who sees a row wherever it is: only memories are moved, each by its maker.
    pub fn witness(&self, id: Uuid) -> usize {
        let row = &self.rows[&id];
        match row.parent {
            Some(parent) if row.kind != "Memory" => self.witness(parent),
            _ => row.maker,
        }
    }

    /// What a row hangs on in the end, or may hang on.
    fn roots(&self, id: Uuid) -> Vec<&Row> {
        let row = &self.rows[&id];
        match row.parent {
            None => vec![row],
            Some(_) => row.parents().flat_map(|parent| self.roots(parent)).collect(),
        }
    }

    /// Whether an account sees a row wherever it may be.
    fn sees(&self, account: usize, id: Uuid) -> bool {
        self.roots(id).iter().all(|root| root.readers.contains(&account))
    }

    fn may_see(&self, account: usize, id: Uuid) -> bool {
        self.roots(id).iter().any(|root| root.readers.contains(&account))
    }

    /// From now on it may come back, with all that hangs on it, and what it hangs on.
    pub fn begin_decision(&mut self, conflict: &str, id: Uuid, may_revive: bool) {
        self.decisions.entry(conflict.to_owned()).or_default();
        let mut next: Vec<Uuid> = may_revive.then_some(id).into_iter().collect();
        while let Some(id) = next.pop() {
            // Nobody deletes sets, so they do not come back.
            if !self.is_in_set(id) {
                let row = self.row(id);
                row.returning = true;
                next.extend(row.parents());
            }
        }
    }

    /// Everyone must be told the same of a decision.
    pub fn decide(
        &mut self,
        conflict: &str,
        id: Uuid,
        outcome: Json,
        is_won: bool,
    ) -> Result<(), String> {
        let count = self.decided;
        let decision = self.decisions.get_mut(conflict).expect("it was begun");
        *if is_won { &mut decision.won } else { &mut decision.late } += 1;
        let first = decision.outcome.get_or_insert_with(|| (outcome.clone(), count));
        if first.0 != outcome {
            return Err(format!("two decisions of {conflict}: {} and {outcome}", first.0));
        }
        self.decided += usize::from(first.1 == count);
        if let Some(row) = came_out(&outcome) {
            let version = version_of(&row);
            let row = self.row(id);
            row.version = row.version.max(version);
        }
        Ok(())
    }

    pub fn is_in_set(&self, id: Uuid) -> bool {
        self.sets.iter().any(|set| set.fields.iter().any(|(_, at, _)| *at == id))
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
        let is_final = self.is_final(id, operation.account);
        let row = self.row(id);
        match operation.outcome {
            Outcome::Applied { .. } if is_deletion && !is_final => {}
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
        self.is_below(id, &|row| row.deleting)
    }

    fn may_return(&self, id: Uuid) -> bool {
        self.is_below(id, &|row| row.returning)
    }

    /// Whether a row is gone for good whose deletion an account was told of. Of what it does not see
    /// it is told that, too.
    fn is_final(&self, id: Uuid, account: usize) -> bool {
        let was_there = !self.has_moved(id) || self.witness(id) == account;
        was_there && !self.may_return(id)
    }

    /// Whether it is one of these, or hangs on one.
    fn is_below(&self, id: Uuid, is_one: &dyn Fn(&Row) -> bool) -> bool {
        let row = &self.rows[&id];
        is_one(row) || row.parents().any(|parent| self.is_below(parent, is_one))
    }

    pub fn expected(&self, account: usize) -> Expected {
        let there = self.alive.iter().filter(|id| self.rows[*id].version > 0);
        let there = there.filter(|id| self.sees(account, **id));
        let away = self.rows.keys().filter(|id| self.has_moved(**id));
        let away = away.filter(|id| !self.may_see(account, **id));
        Expected {
            versions: there.map(|id| (*id, self.rows[id].version, self.moves(*id))).collect(),
            away: away.map(|id| (*id, self.moves(*id))).collect(),
            gone: self.gone.iter().copied().collect(),
            decided: self.decided,
        }
    }

    /// Whether what a device holds after a pull is as new as was expected when it began, and one cut.
    pub fn verify(
        &self,
        expected: &Expected,
        account: usize,
        rows: &Rows,
        open: &[Dispute],
    ) -> Result<(), String> {
        let find = |kind: &str, id: Uuid| rows.get(&(kind.to_owned(), id.to_string()));
        self.verify_rows(expected, |_| true, rows)?;
        for Dispute { conflict, .. } in open {
            let outcome = self.decisions.get(conflict).and_then(|known| known.outcome.as_ref());
            if outcome.is_some_and(|(_, at)| *at < expected.decided) {
                return Err(format!(
                    "stale: conflict {conflict} was decided before the pull began"
                ));
            }
        }
        for set in self.sets.iter().filter(|set| set.readers.contains(&account)) {
            let seen = set.fields.iter().filter(|(_, id, _)| self.sees(account, *id));
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

    /// The same of rows of some kinds alone, however they were asked for.
    pub fn verify_rows(
        &self,
        expected: &Expected,
        is_asked: impl Fn(&str) -> bool,
        rows: &Rows,
    ) -> Result<(), String> {
        let find = |kind: &str, id: Uuid| rows.get(&(kind.to_owned(), id.to_string()));
        for &(id, moves) in &expected.away {
            let kind = self.rows[&id].kind;
            if self.moves(id) == moves && find(kind, id).is_some() {
                return Err(format!("stale: {kind} {id} was moved away before the question"));
            }
        }
        let versions = expected.versions.iter();
        for &(id, version, moves) in versions.filter(|(id, ..)| is_asked(self.rows[id].kind)) {
            let kind = self.rows[&id].kind;
            match find(kind, id).map(version_of) {
                Some(has) if has >= version => {}
                None if self.may_be_gone(id) || self.moves(id) != moves => {}
                has => {
                    return Err(format!(
                        "stale: {kind} {id} was acknowledged in version {version} before the \
                         question, whose answer has {has:?}"
                    ));
                }
            }
        }
        for &id in &expected.gone {
            let kind = self.rows[&id].kind;
            if find(kind, id).is_some() && !self.may_return(id) {
                return Err(format!("stale: {kind} {id} was deleted before the question"));
            }
        }
        Ok(())
    }
}

/// A conflict, as devices are told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispute {
    pub conflict: String,
    pub row: Uuid,
}

impl Dispute {
    pub fn read(json: &Json) -> Dispute {
        let text = |name: &str| json[name].as_str().expect("an id");
        let row = Uuid::try_parse(text("entityId")).expect("an id");
        Dispute { conflict: text("id").to_owned(), row }
    }
}

/// What everyone must be told of a decision.
pub fn outcome_of(resolution: &Json) -> Json {
    let parts = ["strategy", "resolvedData", "resolvedAt", "resolvedBy"];
    parts.iter().map(|part| ((*part).to_owned(), resolution[*part].clone())).collect()
}

/// The row that a decision made.
pub fn came_out(outcome: &Json) -> Option<Json> {
    Some(serde_json::from_str(outcome["resolvedData"].as_str()?).expect("a row"))
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
    /// What devices hold: what hangs on what, and which accounts have it.
    pub rows: BTreeMap<Uuid, Held>,
}

#[derive(Default)]
pub struct Held {
    pub parent: Option<Uuid>,
    pub by: BTreeSet<usize>,
}

impl Told {
    /// The rows that KEEP_BOTH made, with what they are copies of.
    pub fn copies(&self) -> BTreeMap<Uuid, Uuid> {
        let copy = |conflict: &Json| {
            let copy = conflict["resolution"]["copyId"].as_str()?;
            Some((Uuid::try_parse(copy).expect("an id"), Dispute::read(conflict).row))
        };
        self.conflicts.values().filter_map(copy).collect()
    }
}

impl Ledger {
    /// Every conflict that someone was told of, with an account that sees it.
    pub fn conflicts(&self) -> BTreeMap<String, usize> {
        let told = self.operations.iter().filter_map(|operation| match &operation.outcome {
            Outcome::Conflict { conflict } => Some((conflict.clone(), self.witness(operation.row))),
            Outcome::Applied { .. } => None,
        });
        told.collect()
    }

    /// Everything acknowledged must be told of, once; and nothing that nobody sent.
    pub fn audit(&self, told: &Told) -> Vec<String> {
        let mut problems = Vec::new();
        // Every step that wrote a text, by row and text: the version, the device.
        let mut steps: HashMap<(Uuid, String), Vec<(i64, &Json)>> = HashMap::new();
        let copies = told.copies();
        let mut copied: BTreeSet<(Uuid, String)> = BTreeSet::new();
        for (id, history) in &told.histories {
            for step in history {
                let version = step["version"].as_i64().expect("a version");
                let original = copies.get(id).filter(|_| version == 1);
                if let Some(original) = original {
                    // It holds what the row was given before.
                    copied
                        .extend(tokens(&step["newData"]).into_iter().map(|text| (*original, text)));
                    continue;
                }
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
        for operation in &self.operations {
            if let Outcome::Conflict { conflict } = &operation.outcome {
                *in_conflict.entry(conflict).or_default() += 1;
            }
        }
        let mut sent: BTreeSet<(Uuid, String)> = BTreeSet::new();
        for operation in &self.operations {
            let Operation { row, account, device, token, outcome } = operation;
            let Some(token) = token else {
                // The newest step comes first. What went with its parent has none of its own.
                let parent = self.rows[row].parent;
                if parent.is_some_and(|parent| self.may_be_gone(parent))
                    || !self.is_final(*row, *account)
                {
                    continue;
                }
                // A decision that leaves it as it is says so with a version of its own.
                let is_empty =
                    |step: &&Json| step["operation"] == "UPDATE" && step["newData"] == "{}";
                let last = told.histories[row].iter().find(|step| !is_empty(step));
                let last = last.map(|step| &step["operation"]);
                if matches!(outcome, Outcome::Applied { .. }) && last != Some(&json!("DELETE")) {
                    problems
                        .push(format!("the deletion of {row} was acknowledged; last: {last:?}"));
                }
                continue;
            };
            let key = (*row, token.clone());
            let found = steps.get(&key).map_or(&[][..], Vec::as_slice);
            sent.insert(key.clone());
            let right = match outcome {
                Outcome::Applied { version } => {
                    matches!(found, [(at, by)] if at == version && **by == device.to_string())
                }
                Outcome::Conflict { conflict } => {
                    let told = &told.conflicts[conflict];
                    let resolution = &told["resolution"];
                    told["entityId"] == row.to_string()
                        && told["edits"].to_string().contains(token.as_str())
                        && match resolution["strategy"].as_str() {
                            None => found.is_empty(),
                            Some(_) if !self.decisions.contains_key(conflict) => {
                                matches!(found, [(_, by)] if **by == device.to_string())
                            }
                            Some("FIRST_WRITE_WINS") => found.is_empty(),
                            // Beside the row, or made at last. A later edit in the same conflict
                            // may have taken its place.
                            Some("KEEP_BOTH") => {
                                let copies = usize::from(copied.contains(&key));
                                let is_alone = in_conflict[conflict.as_str()] == 1;
                                found.len() + copies == 1 || (!is_alone && found.is_empty())
                            }
                            Some(_) => found.len() <= 1,
                        }
                }
            };
            if !right {
                problems.push(format!(
                    "{token} in {} {row} was acknowledged as {outcome:?}, and is told of as {found:?}",
                    self.rows[row].kind
                ));
            }
        }
        for (original, token) in &copied {
            // It may be a copy itself.
            let mut origins = std::iter::successors(Some(original), |copy| copies.get(*copy));
            if !origins.any(|row| sent.contains(&(*row, token.clone()))) {
                problems.push(format!(
                    "{token} was never acknowledged, and is in a copy of {original}"
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
        for (id, decision) in &self.decisions {
            let conflict = &told.conflicts[id];
            let told = outcome_of(&conflict["resolution"]);
            if decision.won > 1 {
                problems.push(format!("{} were told that they decided {id}", decision.won));
            }
            if let Some((outcome, _)) = &decision.outcome
                && (conflict["status"] != "RESOLVED" || told != *outcome)
            {
                problems.push(format!("{id} was decided: {outcome}, and is told of as {conflict}"));
            }
        }
        for copy in copies.keys().filter(|copy| told.histories[*copy].is_empty()) {
            problems.push(format!("{copy} was put beside the row of a conflict, and is not there"));
        }
        let abandoned: BTreeSet<&Uuid> = self.abandoned.iter().flat_map(|(_, ids)| ids).collect();
        let is_known = |id: &&Uuid| {
            self.rows.contains_key(*id) || copies.contains_key(*id) || abandoned.contains(*id)
        };
        for id in told.rows.keys().filter(|id| !is_known(id)) {
            problems.push(format!("nobody has made {id}"));
        }
        for (id, Held { parent, by }) in &told.rows {
            let above = parent.map(|parent| &told.rows[&parent].by);
            if above.is_some_and(|above| above != by) {
                problems.push(format!("{by:?} have {id}, and {above:?} what it hangs on"));
            }
        }
        problems
    }
}

/// What a text begins with that an operation writes.
pub const TOKEN: &str = "token-";

fn tokens(data: &Json) -> Vec<String> {
    match data {
        // A copy says behind it that it is one.
        Json::String(text) if text.starts_with(TOKEN) => {
            text.split(' ').take(1).map(str::to_owned).collect()
        }
        Json::String(text) => match serde_json::from_str::<Json>(text) {
            Ok(inner @ Json::Object(_)) => tokens(&inner),
            _ => Vec::new(),
        },
        Json::Object(fields) => fields.values().flat_map(tokens).collect(),
        Json::Array(values) => values.iter().flat_map(tokens).collect(),
        _ => Vec::new(),
    }
}
