//! A device that goes on whatever happens: what fails is sent again, as it is, to any instance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::door::{Door, Trouble};
use super::ledger::{
    ABANDONED, Dispute, Expected, Ledger, Operation, Outcome, Row, TOKEN, came_out, outcome_of,
    version_of,
};
use crate::support::{
    self, Dice, PUSH, Pushed, RESOLVE, Rows, Socket, create, delete, pull_query, update,
};

/// One item of a batch, with what the ledger should know of it.
#[derive(Clone)]
struct Item {
    list: &'static str,
    json: Json,
    row: Uuid,
    token: Option<String>,
}

/// What came of each operation, by its id.
type Verdicts = BTreeMap<String, String>;

pub struct Client {
    pub account: usize,
    pub make: Make,
    pub id: Uuid,
    pub(super) token: String,
    pub(super) door: Arc<Door>,
    ledger: Arc<Mutex<Ledger>>,
    /// What it does.
    pub(super) dice: Dice,
    /// How it does it: what depends on the answers must not change what it does next.
    pub(super) luck: Dice,
    pub(super) view: View,
    /// A watch is poked by this, and so often it was.
    pub(super) socket: Option<Socket>,
    pub pokes: usize,
    /// The account's own trip and the one that is shared with it.
    trips: Vec<Uuid>,
    /// The set that this device keeps the same, if it is its to do.
    set: Option<usize>,
    /// The last batches, which may be sent again much later.
    sent: Vec<(Vec<Item>, Verdicts)>,
}

/// What a device was given.
#[derive(Clone, Default)]
pub(super) struct View {
    rows: Rows,
    pub(super) cursor: Option<String>,
    /// Open conflicts, the newest first.
    open: Vec<Dispute>,
}

/// What an account has one each of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Make {
    /// It keeps its account's set the same.
    Phone,
    Tablet,
    /// It edits nothing, and pulls only when it is poked.
    Watch,
}

/// Who a client is.
pub struct Role {
    pub account: usize,
    pub token: String,
    pub make: Make,
    pub trips: Vec<Uuid>,
    pub seed: u64,
}

/// For what is to come through in the end, all faults being short. Only a test that fails waits so
/// long.
const PATIENCE: Duration = Duration::from_secs(180);

/// Rows from which on devices rather delete.
const CROWD: usize = 120;

/// Rows in a page. There are few sizes, so that devices ask the same.
const PAGES: [usize; 3] = [8, 30, 200];

/// Versions after which a row is left alone, so that there are many rows, not a few with long stories.
const OLD: i64 = 200;

impl Client {
    pub fn new(role: Role, door: Arc<Door>, ledger: Arc<Mutex<Ledger>>) -> Client {
        let mut dice = Dice(role.seed);
        Client {
            account: role.account,
            make: role.make,
            id: dice.id(),
            token: role.token,
            door,
            ledger,
            luck: Dice(dice.roll()),
            dice,
            view: View::default(),
            socket: None,
            pokes: 0,
            trips: role.trips,
            set: (role.make == Make::Phone).then_some(role.account),
            sent: Vec::new(),
        }
    }

    /// Another device of the account, which only does what it is told to.
    pub fn courier(&mut self) -> Client {
        let role = Role {
            account: self.account,
            token: self.token.clone(),
            make: Make::Tablet,
            trips: self.trips.clone(),
            seed: self.luck.roll(),
        };
        Client::new(role, self.door.clone(), self.ledger.clone())
    }

    pub fn rows(&self) -> &Rows {
        &self.view.rows
    }

    /// Edits and pulls until it is over; or pulls when it is poked.
    pub async fn live(mut self, over: Arc<AtomicBool>) -> Client {
        if self.make == Make::Watch {
            self.listen(|_| over.load(Ordering::Relaxed)).await;
            return self;
        }
        self.pull().await;
        while !over.load(Ordering::Relaxed) {
            match self.dice.below(24) {
                0 => self.abandon().await,
                1 => self.send_again().await,
                2 => self.begin_anew().await,
                3..=6 => self.decide().await,
                7..=8 => self.pull_again().await,
                9..=10 => self.list_again().await,
                _ => {
                    let batch = self.batch();
                    self.push(batch).await;
                }
            }
            // Now and then it stays offline for some batches.
            if !self.dice.percent(20) {
                self.pull().await;
            }
            let pause = Duration::from_millis(10 + self.dice.below(60) as u64);
            tokio::time::sleep(pause).await;
        }
        self
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panicked")
    }

    /// Asks until there is an answer.
    pub async fn ask(&mut self, query: &str, variables: &Json) -> Json {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.try_ask(query, variables).await {
                Ok(answer) => return answer,
                Err(trouble) => assert!(Instant::now() < until, "for {PATIENCE:?}: {trouble}"),
            }
            self.wait().await;
        }
    }

    /// Asks while all is well.
    pub async fn ask_once(&self, query: &str, variables: &Json) -> Json {
        let roll = variables.to_string().len() as u64;
        self.door.ask(roll, &self.token, query, variables).await.expect("all is well")
    }

    async fn try_ask(&mut self, query: &str, variables: &Json) -> Result<Json, Trouble> {
        let roll = self.luck.roll();
        self.door.ask(roll, &self.token, query, variables).await
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(Duration::from_millis(20 + self.luck.below(80) as u64)).await;
    }

    pub(super) async fn open_socket(&mut self, patience: Duration) -> Option<Socket> {
        let roll = self.luck.roll();
        self.door.listen(roll, &self.token, patience).await
    }

    // ── Pulling ──────────────────────────────────────────────────────────────────────────────

    /// Pulls until there is no more, each page from any instance. What was acknowledged to anyone
    /// before it began must then be there.
    pub async fn pull(&mut self) {
        let mut view = std::mem::take(&mut self.view);
        let size = self.page_size();
        self.pull_into(&mut view, size).await;
        self.view = view;
    }

    /// What a new device is given.
    pub async fn fresh_rows(&mut self) -> Rows {
        let mut view = View::default();
        let size = self.page_size();
        self.pull_into(&mut view, size).await;
        view.rows
    }

    /// The device has lost everything.
    async fn begin_anew(&mut self) {
        self.view = View::default();
        self.pull().await;
    }

    pub(super) fn page_size(&mut self) -> usize {
        PAGES[self.dice.below(PAGES.len())]
    }

    pub(super) async fn pull_into(&mut self, view: &mut View, mut size: usize) {
        let expected = self.ledger().expected(self.account);
        let query = pull_query();
        for pages in 0.. {
            // Pages that are too small may never catch up with all the others.
            if pages == 100 {
                size = 1000;
            }
            assert!(pages < 1000, "always more to come");
            let variables = json!({ "cursor": view.cursor, "size": size });
            let answer = self.ask(&query, &variables).await;
            let page = &answer["data"]["enhancedSync"];
            self.no_step_back(&view.rows, page);
            support::apply(&mut view.rows, page);
            let open = page["conflicts"].as_array().expect("a list");
            view.open = open.iter().map(Dispute::read).collect();
            view.cursor = Some(page["nextCursor"].as_str().expect("a cursor").to_owned());
            if page["hasMore"] == false {
                break;
            }
        }
        let verified = self.ledger().verify(&expected, self.account, &view.rows, &view.open);
        if let Err(problem) = verified {
            panic!("device {} of account {}: {problem}", self.id, self.account);
        }
    }

    /// Whether it has what is expected.
    pub fn has(&self, expected: &Expected) -> Result<(), String> {
        self.ledger().verify(expected, self.account, self.rows(), &self.view.open)
    }

    fn no_step_back(&self, rows: &Rows, page: &Json) {
        for kind in cairn::kinds::all() {
            for row in page[kind.list].as_array().expect("a list") {
                let id = row["id"].as_str().expect("an id").to_owned();
                let had = rows.get(&(kind.name().to_owned(), id)).map_or(0, version_of);
                assert!(version_of(row) >= had, "stale: version {had} was there before {row}");
            }
        }
    }

    // ── Pushing ──────────────────────────────────────────────────────────────────────────────

    /// Sends a batch until every item has its verdict; what comes twice must be the same.
    async fn push(&mut self, batch: Vec<Item>) {
        if batch.is_empty() {
            return;
        }
        let mut verdicts = Verdicts::new();
        self.push_until(&batch, &mut verdicts).await;
        self.close(batch, verdicts);
    }

    /// Pushes a tag over a slow line to an instance that takes no more requests before it has all of
    /// this one.
    pub async fn push_slowly(&mut self, instance: usize, go_on: oneshot::Receiver<()>) {
        let batch = vec![self.creation("Tag", None, json!({}))];
        let input = input(&batch);
        let variables = json!({ "input": input, "deviceId": self.id });
        let sent = self.door.answer_slowly(instance, &self.token, PUSH, &variables, go_on).await;
        let mut verdicts = Verdicts::new();
        match sent {
            Ok(answer) => self.note(&batch, Pushed::read(&answer, &input), &mut verdicts),
            Err(_) => self.push_until(&batch, &mut verdicts).await,
        }
        self.close(batch, verdicts);
    }

    /// Every item has its verdict.
    fn close(&mut self, mut batch: Vec<Item>, verdicts: Verdicts) {
        for item in &batch {
            let outcome = outcome(&verdicts[operation_id(item)]);
            if let Some(to) = item.destination() {
                self.ledger().end_move(item.row, to, outcome.as_ref());
            }
            if let Some(outcome) = outcome {
                self.acknowledge(item.row, item.token.clone(), outcome);
            }
        }
        // What failed could succeed later, and nobody would know.
        batch.retain(|item| outcome(&verdicts[operation_id(item)]).is_some());
        self.sent.push((batch, verdicts));
        if self.sent.len() > 20 {
            self.sent.remove(0);
        }
    }

    fn acknowledge(&self, row: Uuid, token: Option<String>, outcome: Outcome) {
        let (account, device) = (self.account, self.id);
        self.ledger().acknowledge(Operation { row, account, device, token, outcome });
    }

    async fn push_until(&mut self, batch: &[Item], verdicts: &mut Verdicts) {
        let until = Instant::now() + PATIENCE;
        let is_set = self.set.is_some_and(|set| {
            let fields = &self.ledger().sets[set].fields;
            fields.iter().any(|(_, id, _)| *id == batch[0].row)
        });
        let must_stay_whole = is_set || batch[0].json["operation"] == "DELETE";
        for attempt in 0.. {
            // A resend may be cut into other portions, but what others may only see as a whole.
            let may_cut = attempt > 0 && batch.len() > 1 && !must_stay_whole;
            let cut = if may_cut && self.luck.percent(30) {
                1 + self.luck.below(batch.len() - 1)
            } else {
                batch.len()
            };
            let mut done = true;
            for part in [&batch[..cut], &batch[cut..]] {
                done = done && (part.is_empty() || self.send(part, verdicts).await);
            }
            if done {
                return;
            }
            assert!(Instant::now() < until, "no answer to a push for {PATIENCE:?}");
            self.wait().await;
        }
    }

    /// Sends a part of a batch. Whether there was an answer.
    async fn send(&mut self, part: &[Item], verdicts: &mut Verdicts) -> bool {
        let input = input(part);
        let variables = json!({ "input": input, "deviceId": self.id });
        let answers = self.try_write(PUSH, &variables).await;
        for answer in &answers {
            assert!(answer["errors"].is_null(), "{answer}");
            self.note(part, Pushed::read(answer, &input), verdicts);
        }
        !answers.is_empty()
    }

    /// Sends once; now and then twice at the same time. Gives what was answered.
    async fn try_write(&mut self, query: &str, variables: &Json) -> Vec<Json> {
        let rolls = [self.luck.roll(), self.luck.roll()];
        let count = if self.luck.percent(10) { 2 } else { 1 };
        let sent = rolls[..count].iter();
        let sent = sent.map(|roll| self.door.answer(*roll, &self.token, query, variables));
        futures_util::future::join_all(sent).await.into_iter().filter_map(Result::ok).collect()
    }

    /// Each item has one verdict, and it is the one that it had before.
    fn note(&mut self, part: &[Item], pushed: Pushed, verdicts: &mut Verdicts) {
        let mut got = Verdicts::new();
        let short = pushed.verdicts();
        let Pushed { successful, conflicts, failed } = pushed;
        for answer in successful.iter().chain(&conflicts).chain(&failed) {
            let place = (
                answer["entityType"].as_str().expect("a kind").to_owned(),
                answer["index"].as_u64().expect("an index"),
            );
            let verdict = match answer["id"].as_str() {
                // Told as it is now: someone may have decided it, and if the row is deleted
                // meanwhile, its type is another.
                Some(conflict) => {
                    let dispute = Dispute::read(answer);
                    if answer["status"] == "OPEN" && !self.view.open.contains(&dispute) {
                        self.view.open.insert(0, dispute);
                    }
                    format!("conflict {conflict}")
                }
                None => short[&place].clone(),
            };
            let operation = answer["operationId"].as_str().expect("an operation").to_owned();
            got.insert(operation, verdict);
        }
        let sent: BTreeSet<&str> = part.iter().map(operation_id).collect();
        let answered: BTreeSet<&str> = got.keys().map(String::as_str).collect();
        assert_eq!(sent, answered, "a verdict for each item");
        for item in part {
            let verdict = &got[operation_id(item)];
            if verdict.starts_with("failed") {
                self.may_fail(item, verdict, &failed);
            }
            // Failed items may be sent again, and may then succeed.
            let before = verdicts.insert(operation_id(item).to_owned(), verdict.clone());
            let before = before.filter(|before| !before.starts_with("failed"));
            if let Some(before) = before.filter(|before| before != verdict) {
                panic!("a resend got another verdict: {verdict} after {before}: {item:?}");
            }
        }
    }

    /// Nothing that is sent here fails, but below what may be gone, or have gone elsewhere.
    fn may_fail(&self, item: &Item, verdict: &str, failed: &[Json]) {
        let ledger = self.ledger();
        let parent = ledger.rows[&item.row].parent;
        let excused = ["failed DEPENDENCY", "failed NOT_FOUND"].contains(&verdict)
            && (parent.is_some_and(|parent| ledger.may_be_gone(parent))
                || ledger.has_moved(item.row));
        drop(ledger);
        assert!(excused, "{item:?} among {failed:?}");
    }

    /// Sends one of the last batches again, long after its answer.
    async fn send_again(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let (batch, mut verdicts) = self.sent[self.dice.below(self.sent.len())].clone();
        self.push_until(&batch, &mut verdicts).await;
    }

    /// Sends a batch, and goes away before the answer is there. All of it comes about, or nothing.
    async fn abandon(&mut self) {
        let old = self.ledger().take_abandoned(self.account);
        if let Some(ids) = old {
            // Long ago: none of it is still under way. It goes as it came.
            let deletions = ids.into_iter().map(|id| item(delete(ABANDONED, id, 1), id, None));
            let deletions: Vec<Item> = deletions.collect();
            self.push_until(&deletions, &mut Verdicts::new()).await;
        }
        let ids = [(); 4].map(|()| self.dice.id());
        let items = ids.map(|id| create(ABANDONED, id, json!({ "name": format!("left-{id}") })).1);
        let list = kind(ABANDONED).list;
        self.ledger().abandoned.push((self.account, ids.into()));
        let variables = json!({ "input": { list: items }, "deviceId": self.id });
        let wait = Duration::from_millis(self.dice.below(120) as u64);
        let _ = tokio::time::timeout(wait, self.try_ask(PUSH, &variables)).await;
    }

    // ── Deciding ─────────────────────────────────────────────────────────────────────────────

    /// Decides a conflict, until it is told what came out. Others may do the same at this moment, in
    /// another way.
    async fn decide(&mut self) {
        let place = self.luck.recent(self.view.open.len());
        let strategy = STRATEGIES[self.dice.below(STRATEGIES.len())];
        let token = self.write();
        if place >= self.view.open.len() {
            return;
        }
        let Dispute { conflict, row } = self.view.open.remove(place);
        let kind = self.ledger().rows[&row].kind;
        self.ledger().begin_decision(&conflict, row, strategy != "FIRST_WRITE_WINS");
        let manual = strategy == "MANUAL_RESOLUTION";
        let data = manual.then(|| json!({ texts(kind)[0]: token }).to_string());
        let variables = json!({ "id": conflict, "strategy": strategy, "data": data,
                                "deviceId": self.id });
        let until = Instant::now() + PATIENCE;
        let answers = loop {
            let answers = self.try_write(RESOLVE, &variables).await;
            if !answers.is_empty() {
                break answers;
            }
            assert!(Instant::now() < until, "no answer to a decision for {PATIENCE:?}");
            self.wait().await;
        };
        for answer in answers {
            self.note_decision(&conflict, row, &token, &answer);
        }
    }

    fn note_decision(&self, conflict: &str, row: Uuid, token: &str, answer: &Json) {
        let won = &answer["data"]["resolveConflict"];
        let error = &answer["errors"][0]["extensions"];
        let resolution = match error["code"].as_str() {
            None => won,
            Some("CONFLICT_ALREADY_RESOLVED") => &error["resolution"],
            Some(_) => return self.may_be_refused(row, answer),
        };
        let outcome = outcome_of(resolution);
        let result = came_out(&outcome);
        let mut ledger = self.ledger();
        let decided = ledger.decide(conflict, row, outcome, won.is_object());
        drop(ledger);
        decided.unwrap_or_else(|problem| panic!("{problem}"));
        // An earlier try may have been it.
        if let Some(result) = result.filter(|result| result.to_string().contains(token)) {
            let outcome = Outcome::Applied { version: version_of(&result) };
            self.acknowledge(row, Some(token.to_owned()), outcome);
        }
        let mut ledger = self.ledger();
        // Where a copy of what may have been moved lies is not known.
        if let (Some(copy), false) = (won["copyId"].as_str(), ledger.has_moved(row)) {
            let copy = Uuid::try_parse(copy).expect("an id");
            let maker = ledger.witness(row);
            let Row { kind, parent, ref readers, .. } = ledger.rows[&row];
            let readers = readers.clone();
            ledger.add(copy, Row { parent, readers, version: 1, ..Row::new(kind, maker) });
        }
    }

    /// Nothing that is decided here is refused, but where something may be gone, or be elsewhere.
    fn may_be_refused(&self, row: Uuid, answer: &Json) {
        let ledger = self.ledger();
        let excused = ledger.may_be_gone(row) || ledger.has_moved(row);
        drop(ledger);
        assert!(excused, "{answer}");
    }

    // ── What it does ─────────────────────────────────────────────────────────────────────────

    fn batch(&mut self) -> Vec<Item> {
        let deletable = self.rows_that(true);
        let crowded = deletable.len() > CROWD;
        match self.dice.below(10) {
            0..=1 if self.set.is_some() => self.write_set(),
            0..=1 if !crowded => self.journey(),
            2..=4 if !crowded => self.creations(),
            6 => self.moves(),
            2..=3 | 5 => {
                let count = if crowded { 6 } else { 1 };
                self.deletions(deletable, count)
            }
            _ => self.edits(),
        }
    }

    /// The device's rows that it may edit, or delete: kind, id, version.
    fn rows_that(&mut self, deletable: bool) -> Vec<(&'static str, Uuid, i64)> {
        let ledger = self.ledger.lock().expect("nobody panicked");
        let mut found = Vec::new();
        for ((kind_name, id), row) in &self.view.rows {
            let id = Uuid::try_parse(id).expect("an id");
            let Some(known) = ledger.rows.get(&id) else { continue };
            debug_assert_eq!(known.kind, kind_name);
            let version = version_of(row);
            let is_fit = match deletable {
                true => !self.trips.contains(&id),
                false => version < OLD && row["syncStatus"] != "CONFLICT",
            };
            if !ledger.is_in_set(id) && is_fit {
                found.push((known.kind, id, version));
            }
        }
        found
    }

    fn edits(&mut self) -> Vec<Item> {
        let mut rows = self.rows_that(false);
        rows.sort_by_key(|(_, id, _)| *id);
        let mut batch = Vec::new();
        for _ in 0..1 + self.dice.below(8) {
            if rows.is_empty() {
                break;
            }
            // Some are everyone's favourites: there edits collide.
            let at = match self.dice.percent(30) {
                true => self.luck.recent(rows.len()),
                false => self.dice.below(rows.len()),
            };
            let (kind, id, version) = rows.remove(at);
            let fields = texts(kind);
            let field = fields[self.dice.below(fields.len())];
            let token = self.write();
            batch.push(item(update(kind, id, version, json!({ field: token })), id, Some(token)));
        }
        self.in_order(batch)
    }

    /// Takes memories to other trips, and gives them other titles: for some accounts they are gone,
    /// for others they are new.
    fn moves(&mut self) -> Vec<Item> {
        let mut memories = self.rows_that(false);
        memories.retain(|(kind, id, _)| {
            *kind == "Memory" && self.ledger().rows[id].maker == self.account
        });
        let trips = self.view.rows.keys().filter(|(kind, _)| kind == "Trip");
        let mut trips: Vec<Uuid> =
            trips.map(|(_, id)| Uuid::try_parse(id).expect("an id")).collect();
        // Copies that decisions have made are known in the end alone.
        trips.retain(|id| self.ledger().rows.contains_key(id));
        let mut batch = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            if memories.is_empty() {
                break;
            }
            let (kind, id, version) = memories.swap_remove(self.dice.below(memories.len()));
            // Mostly where it makes a difference to others.
            let private = self.dice.percent(30);
            let trip = match private {
                true => trips[self.dice.below(trips.len())],
                false => self.trips[self.dice.below(self.trips.len())],
            };
            let token = self.write();
            let fields = json!({ "tripId": trip, texts(kind)[0]: token });
            self.ledger().begin_move(id, trip);
            batch.push(item(update(kind, id, version, fields), id, Some(token)));
        }
        batch
    }

    fn deletions(&mut self, mut rows: Vec<(&'static str, Uuid, i64)>, count: usize) -> Vec<Item> {
        let mut batch = Vec::new();
        for _ in 0..count.min(rows.len()) {
            let (kind, id, version) = rows.swap_remove(self.dice.below(rows.len()));
            self.ledger().begin_deletion(id);
            batch.push(item(delete(kind, id, version), id, None));
        }
        batch
    }

    fn creations(&mut self) -> Vec<Item> {
        let mut batch = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            match self.dice.below(4) {
                0 => batch.push(self.creation("Tag", None, json!({}))),
                1 => batch.push(self.creation("BucketListItem", None, json!({}))),
                _ => {
                    let trip = self.trips[self.dice.below(self.trips.len())];
                    self.memory(trip, &mut batch);
                }
            }
        }
        self.in_order(batch)
    }

    /// A trip with memories: parents and children in one batch.
    fn journey(&mut self) -> Vec<Item> {
        let start = json!({ "startDate": "2026-01-01T00:00:00.000Z" });
        let mut batch = vec![self.creation("Trip", None, start)];
        let trip = batch[0].row;
        for _ in 0..1 + self.dice.below(3) {
            self.memory(trip, &mut batch);
        }
        self.in_order(batch)
    }

    fn memory(&mut self, trip: Uuid, batch: &mut Vec<Item>) {
        let memory = self.creation("Memory", Some(trip), json!({ "tripId": trip }));
        let id = memory.row;
        batch.push(memory);
        if self.dice.percent(40) {
            let name = format!("{}.jpg", self.dice.id());
            let fields = json!({ "memoryId": id, "objectName": name, "mimeType": "image/jpeg",
                                 "fileSize": 1 });
            let photo = self.creation("MediaItem", Some(id), fields);
            batch.push(photo);
        }
    }

    fn creation(&mut self, kind: &'static str, parent: Option<Uuid>, mut fields: Json) -> Item {
        let (id, token) = (self.dice.id(), self.write());
        fields[texts(kind)[0]] = json!(token);
        let row = Row { parent, ..Row::new(kind, self.account) };
        self.ledger().add(id, row);
        item(create(kind, id, fields), id, Some(token))
    }

    /// Changes something that the account and its friend see.
    pub async fn stir(&mut self) {
        let batch = self.write_set();
        self.push(batch).await;
    }

    /// Writes one text into all rows of its set.
    fn write_set(&mut self) -> Vec<Item> {
        let set = self.set.expect("it has one");
        let fields = self.ledger().sets[set].fields.clone();
        let token = self.write();
        let mut batch = Vec::new();
        for (kind, id, field) in fields {
            // Nobody else writes them.
            let version = self.ledger().rows[&id].version;
            batch.push(item(
                update(kind, id, version, json!({ field: token })),
                id,
                Some(token.clone()),
            ));
        }
        batch
    }

    /// A text that nobody else writes.
    fn write(&mut self) -> String {
        format!("{TOKEN}{}", self.dice.id().simple())
    }

    /// Parents first, so that the batch can be cut anywhere.
    fn in_order(&self, mut batch: Vec<Item>) -> Vec<Item> {
        let lists: Vec<&str> = cairn::kinds::all().map(|kind| kind.list).collect();
        batch.sort_by_key(|item| lists.iter().position(|list| *list == item.list));
        batch
    }
}

impl Item {
    /// Where an edit takes its row.
    fn destination(&self) -> Option<Uuid> {
        let trip = self.json["tripId"].as_str().filter(|_| self.json["operation"] == "UPDATE")?;
        Some(Uuid::try_parse(trip).expect("an id"))
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.json)
    }
}

fn kind(name: &str) -> &'static cairn::kinds::Kind {
    cairn::kinds::EntityType::from_name(name).expect("a kind").kind()
}

const STRATEGIES: [&str; 5] =
    ["FIELD_MERGE", "FIRST_WRITE_WINS", "KEEP_BOTH", "LAST_WRITE_WINS", "MANUAL_RESOLUTION"];

/// The texts of a kind that devices edit; creations write the first.
fn texts(kind: &str) -> &'static [&'static str] {
    match kind {
        "Trip" => &["name", "tripDescription"],
        "Memory" => &["title", "content", "address"],
        "MediaItem" => &["originalFilename"],
        "Tag" => &["name", "displayName", "tagDescription"],
        "BucketListItem" => &["name", "country", "region"],
        _ => panic!("nobody edits a {kind}"),
    }
}

fn item((list, json): (&'static str, Json), row: Uuid, token: Option<String>) -> Item {
    Item { list, json, row, token }
}

fn operation_id(item: &Item) -> &str {
    item.json["operationId"].as_str().expect("an operation's id")
}

fn input(part: &[Item]) -> Json {
    let mut lists = Map::new();
    for item in part {
        let list = lists.entry(item.list).or_insert_with(|| json!([]));
        list.as_array_mut().expect("a list").push(item.json.clone());
    }
    lists.into()
}

/// None: it failed, and nothing came of it.
fn outcome(verdict: &str) -> Option<Outcome> {
    let words: Vec<&str> = verdict.split(' ').collect();
    match words[..] {
        ["ok", version] => Some(Outcome::Applied { version: version.parse().expect("a version") }),
        ["conflict", id] => Some(Outcome::Conflict { conflict: id.into() }),
        _ => None,
    }
}
