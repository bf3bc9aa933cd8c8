//! How clients find an instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::{self, Fleet, Socket};

pub struct Door {
    fleet: Arc<Fleet>,
    client: reqwest::Client,
    way: Way,
    /// Requests that came to nothing, by what became of them.
    pub lost: AtomicUsize,
    pub busy: AtomicUsize,
}

enum Way {
    /// Any of them, whether it is there or not.
    Any,
    /// One after the other, of those that said last that they are ready.
    Balanced { ready: [AtomicBool; 3], next: AtomicUsize },
}

/// Why there is no answer. Every client tries again.
pub type Trouble = String;

impl Door {
    pub fn any(fleet: Arc<Fleet>) -> Door {
        Door::new(fleet, Way::Any)
    }

    /// Behind a balancer, which asks every instance ten times a second whether it is ready.
    pub fn balanced(fleet: Arc<Fleet>) -> Arc<Door> {
        let ready = [(); 3].map(|()| AtomicBool::new(true));
        let door = Arc::new(Door::new(fleet, Way::Balanced { ready, next: AtomicUsize::new(0) }));
        let watched = Arc::downgrade(&door);
        tokio::spawn(async move {
            while let Some(door) = watched.upgrade() {
                door.look().await;
                drop(door);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        door
    }

    fn new(fleet: Arc<Fleet>, way: Way) -> Door {
        let (lost, busy) = Default::default();
        Door { fleet, client: support::client(), way, lost, busy }
    }

    async fn look(&self) {
        let Way::Balanced { ready, .. } = &self.way else { return };
        for (at, ready) in ready.iter().enumerate() {
            ready.store(self.is_ready(at).await, Ordering::Relaxed);
        }
    }

    pub async fn is_ready(&self, instance: usize) -> bool {
        let Some(url) = self.fleet.instances[instance].own_url() else { return false };
        let request = self.client.get(format!("{url}/readyz")).timeout(Duration::from_secs(5));
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Where the next request goes: which instance, and its address.
    fn choose(&self, roll: u64) -> Option<(usize, String)> {
        let instances = &self.fleet.instances;
        let count = instances.len();
        match &self.way {
            Way::Any => {
                let at = roll as usize % count;
                Some((at, instances[at].url()))
            }
            Way::Balanced { ready, next } => (0..count)
                .map(|_| next.fetch_add(1, Ordering::Relaxed) % count)
                .filter(|at| ready[*at].load(Ordering::Relaxed))
                .find_map(|at| Some((at, instances[at].own_url()?))),
        }
    }

    /// For how long a client waits. Some are impatient, and go elsewhere while the instance is still at
    /// it. Behind a balancer everything must be answered.
    fn patience(&self, roll: u64) -> Duration {
        match self.way {
            Way::Any if (roll >> 8) % 10 == 9 => Duration::from_millis(50 + (roll >> 16) % 1000),
            Way::Any => Duration::from_secs(20),
            Way::Balanced { .. } => Duration::from_secs(60),
        }
    }

    /// Opens a socket. None: it came to nothing, as clients know it.
    pub async fn listen(&self, roll: u64, token: &str, patience: Duration) -> Option<Socket> {
        let (_, url) = self.choose(roll)?;
        let opened = tokio::time::timeout(patience, Socket::try_connect(&url, token)).await;
        opened.ok()?.map_err(closed).ok()
    }

    /// Sends one request that must succeed.
    pub async fn ask(
        &self,
        roll: u64,
        token: &str,
        query: &str,
        variables: &Json,
    ) -> Result<Json, Trouble> {
        let answer = self.answer(roll, token, query, variables).await?;
        assert!(answer["errors"].is_null(), "{answer}");
        Ok(answer)
    }

    /// Sends one request. What is neither an answer nor trouble that clients know must not be.
    pub async fn answer(
        &self,
        roll: u64,
        token: &str,
        query: &str,
        variables: &Json,
    ) -> Result<Json, Trouble> {
        let body = json!({ "query": query, "variables": variables });
        let lost = |error: reqwest::Error| {
            let may_be = matches!(self.way, Way::Any) || !error.is_timeout();
            assert!(may_be, "a request was not answered: {error}");
            self.lost.fetch_add(1, Ordering::Relaxed);
            error.to_string()
        };
        let response = loop {
            let (at, url) = self.choose(roll).ok_or("no instance says that it is ready")?;
            let request = self.client.post(format!("{url}/graphql")).bearer_auth(token);
            match (&self.way, request.json(&body).timeout(self.patience(roll)).send().await) {
                // Nothing listens there: the balancer takes the next one.
                (Way::Balanced { ready, .. }, Err(error)) if error.is_connect() => {
                    ready[at].store(false, Ordering::Relaxed);
                }
                (_, answer) => break answer.map_err(lost)?,
            }
        };
        let status = response.status();
        let body = response.text().await.map_err(lost)?;
        if status == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            self.busy.fetch_add(1, Ordering::Relaxed);
            return Err(body);
        }
        let answer: Json = serde_json::from_str(&body).unwrap_or_default();
        assert!(status.is_success(), "{status}: {body}");
        Ok(answer)
    }
}

/// A socket's end, or its refusal: one after which clients come again.
pub fn closed(code: u16) {
    // Going away, without a word, try again later, cut off in the middle, too busy.
    assert!([1001, 1006, 1013, 4400, 503].contains(&code), "a socket was closed: {code}");
}
