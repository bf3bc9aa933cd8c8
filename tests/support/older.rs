//! An installation of the shipped app that syncs by time, and knows nothing of cursors.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn::kinds::{self, parse_time, rfc3339};
use serde_json::{Value as Json, json};

use super::App;
use super::device::{Device, parents, sync_query};

pub struct Older<'a> {
    pub app: &'a App,
    pub token: String,
    /// What the last sync said. The first asks since the year 1.
    pub since: Option<i64>,
    /// What it was given, by kind and id.
    pub rows: BTreeMap<(String, String), Json>,
}

impl<'a> Older<'a> {
    /// Another installation of the same account.
    pub fn of(device: &Device<'a>) -> Older<'a> {
        Older { app: device.app, token: device.token.clone(), since: None, rows: BTreeMap::new() }
    }

    /// Syncs, and applies as the app does: deletions, then rows. Gives the answer.
    pub async fn sync(&mut self) -> Json {
        let since = self.since.map_or_else(|| "0001-01-01T00:00:00.000Z".to_owned(), rfc3339);
        let answer =
            self.app.ask(Some(&self.token), &sync_query(), json!({ "since": since })).await;
        assert!(answer["errors"].is_null(), "{answer}");
        let synced = answer["data"]["sync"].clone();
        for kind in kinds::all() {
            for id in synced["deleted"][kind.list].as_array().expect("a list") {
                let id = id.as_str().expect("an id").to_owned();
                self.rows.remove(&(kind.name().to_owned(), id));
            }
        }
        for kind in kinds::all() {
            for row in synced[kind.list].as_array().expect("a list") {
                let id = row["id"].as_str().expect("an id").to_owned();
                self.rows.insert((kind.name().to_owned(), id), row.clone());
            }
        }
        for ((kind, id), row) in &self.rows {
            for parent in parents(kind, row) {
                assert!(
                    self.rows.contains_key(&parent),
                    "{kind} {id} hangs on nothing: {parent:?}"
                );
            }
        }
        let time = synced["serverTimestamp"].as_str().and_then(parse_time).expect("a time");
        assert!(self.since.is_none_or(|since| since <= time), "time does not go back");
        self.since = Some(time);
        synced
    }

    /// Goes along with [`App::age`].
    pub fn age(&mut self, by: Duration) {
        self.since = self.since.map(|since| since - by.as_millis() as i64);
    }
}
