//! A device that pulls only when it is poked.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use super::client::Client;
use super::door;
use super::ledger::Expected;
use crate::support::{Heard, Rows};

/// Seconds between two of the server's pings, and how long a line may be silent: as the server has it,
/// it is dead when two did not come.
pub const PING: &str = "1";
const SILENCE: Duration = Duration::from_secs(3);

/// Until pokes have brought everything once all is well: some pings, some seconds until Redis is asked
/// again, and far more.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);

impl Client {
    /// Listens until it is over, and pulls when it is poked.
    pub async fn listen(&mut self, is_over: impl Fn(&Client) -> bool) {
        while !is_over(self) {
            let Some(socket) = &mut self.socket else {
                self.subscribe().await;
                continue;
            };
            let Ok(heard) = timeout(GLANCE, socket.hear(SILENCE)).await else { continue };
            match heard {
                Heard::Message(message) if message["type"] == "next" => {
                    let poke = &message["payload"]["data"]["syncAvailable"]["serverTimestamp"];
                    assert!(poke.is_string(), "{message}");
                    let data = json!({ "syncAvailable": { "serverTimestamp": poke } });
                    let all = json!({ "type": "next", "id": ID, "payload": { "data": data } });
                    assert_eq!(message, all, "a poke is never data");
                    self.pokes += 1;
                    self.pull().await;
                }
                Heard::Message(message) => {
                    let code = &message["payload"][0]["extensions"]["code"];
                    assert_eq!((&message["type"], code), (&json!("error"), &json!("UNAVAILABLE")));
                    self.socket = None;
                }
                Heard::Closed(code) => {
                    door::closed(code);
                    self.socket = None;
                }
            }
        }
    }

    /// With the cursor that it has: if it is behind, it is poked at once.
    async fn subscribe(&mut self) {
        self.socket = self.open_socket(SILENCE).await;
        match &mut self.socket {
            Some(socket) => socket.subscribe(ID, self.view.cursor.as_deref()).await,
            None => self.wait().await,
        }
    }

    /// Listens until it has what is expected. All is well.
    pub async fn hear_of(&mut self, expected: &Expected) {
        self.listen_for("all that was acknowledged", |client| client.has(expected).is_ok()).await;
    }

    /// Listens until it has just these rows. All is well.
    pub async fn hear_all(&mut self, rows: &Rows) {
        self.listen_for("what a new device gets", |client| client.rows() == rows).await;
    }

    async fn listen_for(&mut self, what: &str, is_there: impl Fn(&Client) -> bool) {
        let until = Instant::now() + PATIENCE;
        self.listen(|client| {
            let done = is_there(client);
            assert!(done || Instant::now() < until, "no poke has brought {what} for {PATIENCE:?}");
            done
        })
        .await;
    }
}

const ID: &str = "pokes";
