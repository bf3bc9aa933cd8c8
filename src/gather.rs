//! One read for many who ask at once.
//!
//! Whoever asks gets what a read found that *began after they asked*: what was committed before they
//! asked is in it. A read that is already running is never joined; who comes meanwhile waits for the
//! next one, together with all others who do.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::limits;
use crate::error::Error;

/// Reads values by their keys for all who ask at once. Clones share the reads.
pub struct Gather<K, V> {
    inner: Arc<Inner<K, V>>,
}

impl<K, V> Clone for Gather<K, V> {
    fn clone(&self) -> Gather<K, V> {
        Gather { inner: self.inner.clone() }
    }
}

type Read<K, V> = dyn Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>, Error>> + Send + Sync;

struct Inner<K, V> {
    read: Box<Read<K, V>>,
    queue: Mutex<Queue<K, V>>,
}

struct Queue<K, V> {
    /// Reads that have begun and are not done.
    running: usize,
    /// Who came since the last read began, in the order in which they came.
    waiting: VecDeque<Asker<K, V>>,
}

struct Asker<K, V> {
    key: K,
    answer: oneshot::Sender<Answer<V>>,
}

/// None: there is nothing under the key.
type Answer<V> = Result<Option<V>, Failed>;

/// The read failed, or too many wait. Whoever has a place for work on the database may still ask by
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

impl<K, V> Gather<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Reads with this, which gives what it finds; a key without a value is left out.
    pub fn new<F>(read: impl Fn(Vec<K>) -> F + Send + Sync + 'static) -> Gather<K, V>
    where
        F: Future<Output = Result<HashMap<K, V>, Error>> + Send + 'static,
    {
        let read = Box::new(move |keys| read(keys).boxed());
        let queue = Mutex::new(Queue { running: 0, waiting: VecDeque::new() });
        Gather { inner: Arc::new(Inner { read, queue }) }
    }

    /// The value under a key, as of now or later.
    pub async fn ask(&self, key: K) -> Answer<V> {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut queue = self.inner.queue();
            if queue.waiting.len() >= limits::GATHER_WAITING {
                return Err(Failed);
            }
            queue.waiting.push_back(Asker { key, answer });
            queue.begin()
        };
        if begins {
            // In a task of its own: whoever began it may go away, and the others still want it.
            tokio::spawn(self.inner.clone().work());
        }
        match timeout(limits::GATHER_PATIENCE, answered).await {
            Ok(answer) => answer.unwrap_or(Err(Failed)),
            Err(_) => Err(Failed),
        }
    }
}

impl<K, V> Queue<K, V> {
    /// Begins a read for those who wait, if there may be another. Beside one that is running only for
    /// several: a read costs the same for one as for many, and under load that is what a hit costs.
    fn begin(&mut self) -> bool {
        let enough = if self.running == 0 { 1 } else { limits::GATHER_COMPANY };
        let begins = self.waiting.len() >= enough && self.running < limits::GATHER_READS;
        self.running += usize::from(begins);
        begins
    }

    fn portion(&mut self) -> Vec<Asker<K, V>> {
        let count = Ord::min(self.waiting.len(), limits::GATHERED);
        self.waiting.drain(..count).collect()
    }
}

impl<K, V> Inner<K, V>
where
    K: Clone + Eq + Hash,
    V: Clone,
{
    fn queue(&self) -> MutexGuard<'_, Queue<K, V>> {
        // Nothing that holds it can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads for those who wait, and then for whoever came meanwhile.
    async fn work(self: Arc<Self>) {
        loop {
            // Whatever can go on now does so first: those among it who are about to ask are read for,
            // too. Where nothing else is to be done this takes no time.
            tokio::task::yield_now().await;
            let mut portion = {
                let mut queue = self.queue();
                if queue.waiting.is_empty() {
                    queue.running -= 1;
                    return;
                }
                queue.portion()
            };
            // Those who have gone away meanwhile are not read for.
            portion.retain(|asker| !asker.answer.is_closed());
            let mut keys: Vec<K> = Vec::with_capacity(portion.len());
            let mut met = std::collections::HashSet::with_capacity(portion.len());
            keys.extend(
                portion.iter().map(|asker| &asker.key).filter(|key| met.insert(*key)).cloned(),
            );
            let found = match keys.is_empty() {
                true => Ok(HashMap::new()),
                false => self.try_read(keys).await,
            };
            for Asker { key, answer } in portion {
                let value = found.as_ref().map(|found| found.get(&key).cloned());
                // An error: they have gone away.
                let _ = answer.send(value.map_err(|failed| *failed));
            }
        }
    }

    async fn try_read(&self, keys: Vec<K>) -> Result<HashMap<K, V>, Failed> {
        // A panic must not leave the next ones waiting for ever.
        let read = AssertUnwindSafe(async { (self.read)(keys).await }).catch_unwind();
        match timeout(limits::GATHER_PATIENCE, read).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => {
                tracing::debug!(error = error.message, "a read for many failed");
                Err(Failed)
            }
            Ok(Err(_)) => {
                tracing::error!("a read for many panicked");
                Err(Failed)
            }
            Err(_) => Err(Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::error::Code;

    /// A gather over a counter: what it reads is the counter as of when the read began, and each read
    /// takes a while.
    fn of_counter(counter: &Arc<AtomicU64>, reads: &Arc<AtomicUsize>) -> Gather<u8, u64> {
        let (counter, reads) = (counter.clone(), reads.clone());
        Gather::new(move |keys: Vec<u8>| {
            let (counter, reads) = (counter.clone(), reads.clone());
            async move {
                reads.fetch_add(1, Ordering::SeqCst);
                let value = counter.load(Ordering::SeqCst);
                tokio::time::sleep(Duration::from_micros(200)).await;
                Ok(keys.into_iter().map(|key| (key, value)).collect())
            }
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_was_written_before_the_question_is_in_the_answer() {
        let (counter, reads) = (Arc::default(), Arc::default());
        let gather = of_counter(&counter, &reads);
        let askers = (0..16u8).map(|asker| {
            let (gather, counter) = (gather.clone(), counter.clone());
            tokio::spawn(async move {
                for round in 0..200u32 {
                    let written = counter.fetch_add(1, Ordering::SeqCst) + 1;
                    let asked = gather.ask(asker % 3);
                    // Some lose patience; nobody else may notice.
                    if round % 7 == 0 {
                        let _ = timeout(Duration::from_micros(50), asked).await;
                        continue;
                    }
                    let found = asked.await.expect("a read").expect("a value");
                    assert!(found >= written, "{found} was read after {written} was written");
                }
            })
        });
        for asker in askers.collect::<Vec<_>>() {
            asker.await.expect("an asker");
        }
        let reads = reads.load(Ordering::SeqCst);
        assert!(reads < 16 * 200 / 2, "{reads} reads: those who ask at once share one");
    }

    #[tokio::test]
    async fn nobody_waits_longer_for_their_turn_than_for_a_read() {
        let gather: Gather<u8, u8> = Gather::new(|_| std::future::pending());
        let reading = gather.ask(1);
        let in_line = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            gather.ask(2).await
        };
        // Before a read that begins when the first one is given up is given up, too.
        let both = async { futures_util::join!(reading, in_line) };
        let answers = timeout(limits::GATHER_PATIENCE * 3 / 2, both).await;
        assert_eq!(answers.expect("in time"), (Err(Failed), Err(Failed)));
    }

    #[tokio::test]
    async fn a_read_that_fails_panics_or_knows_nothing_is_the_askers_own_affair() {
        let calls = Arc::new(AtomicUsize::new(0));
        let gather: Gather<u8, u8> = Gather::new(move |keys: Vec<u8>| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                match call {
                    0 => Err(Error::new(Code::Unavailable, "no database")),
                    1 => panic!("a bug"),
                    _ => {
                        Ok(keys.into_iter().filter(|key| *key > 0).map(|key| (key, key)).collect())
                    }
                }
            }
        });
        assert_eq!(gather.ask(1).await, Err(Failed));
        assert_eq!(gather.ask(1).await, Err(Failed));
        assert_eq!(gather.ask(1).await, Ok(Some(1)));
        assert_eq!(gather.ask(0).await, Ok(None));
    }

    #[tokio::test]
    async fn one_read_serves_all_who_wait_and_asks_for_each_key_once() {
        let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
        let seen = asked.clone();
        let gather: Gather<usize, usize> = Gather::new(move |keys: Vec<usize>| {
            seen.lock().expect("no panic").push(keys.len());
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(keys.into_iter().map(|key| (key, key)).collect())
            }
        });
        let early = gather.ask(7);
        let all = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            futures_util::future::join_all((0..100).map(|n| gather.ask(n % 10))).await
        };
        let (early, all) = tokio::join!(early, all);
        assert_eq!(early, Ok(Some(7)));
        for (n, answer) in all.into_iter().enumerate() {
            assert_eq!(answer, Ok(Some(n % 10)));
        }
        let asked = asked.lock().expect("no panic").clone();
        // The early one did not wait for company; all others came together.
        assert_eq!(asked, [1, 10]);
    }
}
