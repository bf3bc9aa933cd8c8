//! A device asks what was asked before: such an answer was kept, and must be as true as any.

use futures_util::future::join_all;
use serde_json::{Value as Json, json};

use super::client::{Client, View};
use crate::support::Rows;

/// The lists of the older API.
const LISTS: &str = "{ trips { id syncVersion } memories { id syncVersion }
    tags { id syncVersion } bucketListItems { id syncVersion } }";

/// The same by its sync, of a device that has nothing.
const SYNC: &str = "{ sync(lastSyncedAt: \"0001-01-01T00:00:00.000Z\") {
    trips { id syncVersion } memories { id syncVersion }
    tags { id syncVersion } bucketListItems { id syncVersion } } }";

/// How often it asks the same.
const TIMES: usize = 3;

impl Client {
    /// Pulls several times from where it is, or from the beginning, as devices of one account do that
    /// are at the same place.
    pub(super) async fn pull_again(&mut self) {
        let place = match self.dice.percent(50) {
            true => View::default(),
            false => std::mem::take(&mut self.view),
        };
        let size = self.page_size();
        for _ in 0..TIMES {
            let mut view = place.clone();
            self.pull_into(&mut view, size).await;
            self.view = view;
        }
    }

    /// Asks for its lists several times, each time twice at once, as lists or by the older sync.
    pub(super) async fn list_again(&mut self) {
        let query = [LISTS, SYNC][self.dice.below(2)];
        for _ in 0..TIMES {
            let expected = self.ledger().expected(self.account);
            let rolls = [self.luck.roll(), self.luck.roll()];
            let nothing = json!({});
            let asked = rolls.map(|roll| self.door.ask(roll, &self.token, query, &nothing));
            for answer in join_all(asked).await.into_iter().flatten() {
                let data = &answer["data"];
                let (kinds, rows) = rows_in(data.get("sync").unwrap_or(data));
                assert!(!kinds.is_empty(), "{answer}");
                let is_asked = |kind: &str| kinds.contains(&kind);
                let verified = self.ledger().verify_rows(&expected, is_asked, &rows);
                if let Err(problem) = verified {
                    panic!("lists of account {}: {problem}", self.account);
                }
            }
        }
    }
}

/// The rows in lists, and of which kinds these are.
fn rows_in(lists: &Json) -> (Vec<&'static str>, Rows) {
    let mut rows = Rows::new();
    let mut kinds = Vec::new();
    for kind in cairn::kinds::all() {
        let Some(list) = lists[kind.list].as_array() else { continue };
        kinds.push(kind.name());
        for row in list {
            let id = row["id"].as_str().expect("an id").to_owned();
            rows.insert((kind.name().to_owned(), id), row.clone());
        }
    }
    (kinds, rows)
}
