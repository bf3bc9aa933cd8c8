//! How clients find an instance.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::sources::Sources;
use crate::support::{self, Fleet, Socket};

pub struct Door {
    fleet: Arc<Fleet>,
    client: reqwest::Client,
    way: Way,
    pub counts: Counts,
    sources: Mutex<Sources>,
}

/// Requests that came to nothing, by what became of them.
#[derive(Debug, Default)]
pub struct Counts {
    /// No connection came about, so nothing was sent: anyone tries elsewhere.
    pub unsent: AtomicUsize,
    /// It went out on a connection, and no whole answer came back: whether it was carried out, its
    /// sender cannot know. What can be sent twice is sent again (RFC 9110, 9.2.2), as everything here:
    /// batches by the ids of their operations. One that meets the end of a kept connection is among
    /// these, too, unless nothing of it had been written: then the client has sent it again by itself.
    /// Behind a balancer there is none, as it sends nothing more to an instance long before that ends.
    pub torn: AtomicUsize,
    /// Its sender would not wait any longer.
    pub given_up: AtomicUsize,
    /// It was told to come back.
    pub refused: AtomicUsize,
}

enum Way {
    /// Any of them, whether it is there or not.
    Any,
    /// One after the other, of those that are ready. When each was asked that said so last.
    Balanced { heard: [Mutex<Option<Instant>>; 3], next: AtomicUsize },
}

/// Why there is no answer. Every client tries again.
pub type Trouble = String;

/// How often a balancer asks every instance whether it is ready, and for how long it trusts in a yes.
const LOOK: Duration = Duration::from_millis(100);
const TRUST: Duration = Duration::from_millis(500);

/// How long a balancer holds a request while no instance is ready.
const HOLD: Duration = Duration::from_secs(5);

impl Door {
    pub fn any(fleet: Arc<Fleet>) -> Arc<Door> {
        Arc::new(Door::new(fleet, Way::Any))
    }

    /// Behind a balancer.
    pub fn balanced(fleet: Arc<Fleet>) -> Arc<Door> {
        let way = Way::Balanced { heard: Default::default(), next: AtomicUsize::new(0) };
        let door = Arc::new(Door::new(fleet, way));
        for at in 0..door.fleet.instances.len() {
            let watched = Arc::downgrade(&door);
            tokio::spawn(async move {
                while let Some(door) = watched.upgrade() {
                    door.look(at).await;
                    drop(door);
                    tokio::time::sleep(LOOK).await;
                }
            });
        }
        door
    }

    fn new(fleet: Arc<Fleet>, way: Way) -> Door {
        let (counts, sources) = Default::default();
        Door { fleet, client: support::client(), way, counts, sources }
    }

    async fn look(&self, at: usize) {
        let asked = Instant::now();
        let is_ready = self.is_ready(at).await;
        self.note(at, is_ready.then_some(asked));
    }

    /// Notes what a balancer knows of an instance.
    fn note(&self, at: usize, ready: Option<Instant>) {
        if let Way::Balanced { heard, .. } = &self.way {
            *heard[at].lock().expect("nobody panicked") = ready;
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
            Way::Balanced { heard, next } => (0..count)
                .map(|_| next.fetch_add(1, Ordering::Relaxed) % count)
                .filter(|at| {
                    let heard = heard[*at].lock().expect("nobody panicked");
                    heard.is_some_and(|asked| asked.elapsed() < TRUST)
                })
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
        let began = Instant::now();
        loop {
            let Some((at, url)) = self.choose(roll) else {
                if began.elapsed() > HOLD {
                    return Err("no instance says that it is ready".into());
                }
                tokio::time::sleep(LOOK / 5).await;
                continue;
            };
            let request = self.client.post(format!("{url}/graphql")).bearer_auth(token);
            let sent = request.json(&body).timeout(self.patience(roll)).send().await;
            match (&self.way, sent) {
                // Nothing listens there: the balancer takes the next one.
                (Way::Balanced { .. }, Err(error)) if error.is_connect() => {
                    self.counts.unsent.fetch_add(1, Ordering::Relaxed);
                    self.note(at, None);
                }
                (_, sent) => return self.read(at, sent).await,
            }
        }
    }

    /// Sends one request to this instance over a slow line: the second half of it when it is told to.
    pub async fn answer_slowly(
        &self,
        at: usize,
        token: &str,
        query: &str,
        variables: &Json,
        go_on: oneshot::Receiver<()>,
    ) -> Result<Json, Trouble> {
        let mut first = json!({ "query": query, "variables": variables }).to_string();
        let second = first.split_off(first.len() / 2);
        let first = futures_util::stream::iter([first]);
        let second = futures_util::stream::once(async {
            // An error: nobody will tell it any more.
            let _ = go_on.await;
            second
        });
        let body = reqwest::Body::wrap_stream(first.chain(second).map(Ok::<_, std::io::Error>));
        let url = self.fleet.instances[at].own_url().expect("it runs");
        let request = self.client.post(format!("{url}/graphql")).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body);
        self.read(at, request.timeout(Duration::from_secs(60)).send().await).await
    }

    /// Reads an answer, and counts what came to nothing. Behind a balancer everything that was sent has
    /// an answer.
    async fn read(
        &self,
        at: usize,
        sent: reqwest::Result<reqwest::Response>,
    ) -> Result<Json, Trouble> {
        let lost = |error: reqwest::Error| {
            let may_be = matches!(self.way, Way::Any) || error.is_connect();
            assert!(may_be, "instance {at} was sent a request, and has not answered it: {error:?}");
            let count = match () {
                () if error.is_timeout() => &self.counts.given_up,
                () if error.is_connect() => &self.counts.unsent,
                () => &self.counts.torn,
            };
            count.fetch_add(1, Ordering::Relaxed);
            error.to_string()
        };
        let response = sent.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await.map_err(lost)?;
        if status == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(body);
        }
        let answer: Json = serde_json::from_str(&body).unwrap_or_default();
        assert!(status.is_success(), "{status}: {body}");
        self.sources().note(at, &headers);
        Ok(answer)
    }

    /// Where answers came from so far.
    pub fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().expect("nobody panicked")
    }
}

/// A socket's end, or its refusal: one after which clients come again.
pub fn closed(code: u16) {
    // Going away, without a word, try again later, cut off in the middle, too busy.
    assert!([1001, 1006, 1013, 4400, 503].contains(&code), "a socket was closed: {code}");
}
