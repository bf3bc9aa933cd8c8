//! The memory that bodies of requests take together: read before anybody works on them, they would
//! otherwise be bounded by the number of connections only. Nobody has more than a share of it: who
//! sends much, or never comes to an end, is in nobody else's way.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Context, graphql};
use crate::admission::Requester;
use crate::config::limits;
use crate::graphql::ClientAddress;

/// What is left. All sizes are in KiB.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    left: Arc<Semaphore>,
    /// What one requester may take.
    share: usize,
    /// What each has taken, small bodies left out.
    shares: Mutex<HashMap<Requester, usize>>,
}

const KIB: usize = 1024;

impl Budget {
    /// Of so many bytes, and for one requester.
    pub fn new(bytes: usize, share: usize) -> Budget {
        Budget(Arc::new(Inner {
            left: Arc::new(Semaphore::new(bytes / KIB)),
            share: share / KIB,
            shares: Mutex::default(),
        }))
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<Requester, usize>> {
        // Nothing that holds it can panic half-way.
        self.0.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no memory for the rest of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// For nobody's.
    All,
    /// For this requester's.
    Share,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Exhausted::All => "the bodies of requests take too much memory at the moment",
            Exhausted::Share => "your requests take too much memory at the moment",
        })
    }
}

impl StdError for Exhausted {}

/// A body has been coming for too long.
#[derive(Debug)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the body of the request takes too long")
    }
}

impl StdError for TooSlow {}

/// Counts a body, piece by piece as it is read, until its request is answered.
pub async fn count(
    State((budget, context)): State<(Budget, Context)>,
    request: Request,
    next: Next,
) -> Response {
    let until = Instant::now() + limits::BODY_TIME;
    let (mut parts, body) = request.into_parts();
    let Ok(address) = ClientAddress::from_request_parts(&mut parts, &context).await;
    let headers = parts.headers.clone();
    let taken = Arc::new(Mutex::new(Taken::of(budget)));
    let counted = {
        let taken = taken.clone();
        body.into_data_stream().map(move |piece| {
            let piece = piece.map_err(Box::<dyn StdError + Send + Sync>::from)?;
            if Instant::now() > until {
                return Err(Box::from(TooSlow));
            }
            // Nothing that holds it can panic half-way.
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.take(&piece, || requester(&context, address, &headers))?;
            Ok::<_, Box<dyn StdError + Send + Sync>>(piece)
        })
    };
    let response = next.run(Request::from_parts(parts, Body::from_stream(counted))).await;
    drop(taken);
    response
}

fn requester(context: &Context, address: ClientAddress, headers: &HeaderMap) -> Requester {
    let named = graphql::bearer(headers).and_then(|token| context.services.auth.read(token));
    named.map_or(Requester::Address(address.0), |(caller, _)| Requester::Account(caller.account))
}

/// What one body has taken. Dropped, it gives it back.
struct Taken {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
    /// Whose share it counts for: a small one for nobody's.
    of: Option<Requester>,
}

impl Taken {
    fn of(budget: Budget) -> Taken {
        Taken { budget, permit: None, of: None }
    }

    fn size(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn take(&mut self, piece: &Bytes, who: impl FnOnce() -> Requester) -> Result<(), Exhausted> {
        let size = piece.len().div_ceil(KIB);
        if self.size() + size > limits::SMALL / KIB {
            let (of, more) = match self.of {
                Some(of) => (of, size),
                // From now on it counts, with what came before.
                None => (who(), self.size() + size),
            };
            let share = self.budget.0.share;
            let mut shares = self.budget.shares();
            let taken = shares.entry(of).or_default();
            if *taken + more > share {
                if *taken == 0 {
                    shares.remove(&of);
                }
                return Err(Exhausted::Share);
            }
            *taken += more;
            drop(shares);
            self.of = Some(of);
        }
        // A piece is smaller than four terabytes.
        let count = u32::try_from(size).unwrap_or(u32::MAX);
        match self.budget.0.left.clone().try_acquire_many_owned(count) {
            Ok(more) => match &mut self.permit {
                Some(permit) => permit.merge(more),
                none => *none = Some(more),
            },
            Err(_) => {
                self.give_back(size);
                return Err(Exhausted::All);
            }
        }
        Ok(())
    }

    /// Takes so much out of the share that it counts for.
    fn give_back(&mut self, size: usize) {
        let Some(of) = self.of else { return };
        let mut shares = self.budget.shares();
        if let Some(taken) = shares.get_mut(&of) {
            *taken -= Ord::min(size, *taken);
            if *taken == 0 {
                shares.remove(&of);
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.give_back(self.size());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use uuid::Uuid;

    use super::*;

    fn ada() -> Requester {
        Requester::Account(Uuid::from_u128(1))
    }

    fn eve() -> Requester {
        Requester::Address(IpAddr::from(Ipv4Addr::LOCALHOST))
    }

    /// A body of so many KiB, in pieces of one.
    fn body(budget: &Budget, of: Requester, size: usize) -> (Taken, Result<(), Exhausted>) {
        let mut taken = Taken::of(budget.clone());
        let piece = Bytes::from(vec![0; KIB]);
        let all = (0..size).try_for_each(|_| taken.take(&piece, || of));
        (taken, all)
    }

    fn is_whole(budget: &Budget, all: usize) -> bool {
        budget.0.left.available_permits() == all && budget.shares().is_empty()
    }

    #[test]
    fn nobody_takes_more_than_a_share_and_what_was_taken_comes_back() {
        let budget = Budget::new(100 * KIB, 40 * KIB);
        for _ in 0..3 {
            let (_first, taken) = body(&budget, eve(), 30);
            assert_eq!(taken, Ok(()));
            assert_eq!(body(&budget, eve(), 11).1, Err(Exhausted::Share));
            let (second, taken) = body(&budget, eve(), 10);
            assert_eq!(taken, Ok(()));
            // What is small goes through, and others have theirs.
            assert_eq!(body(&budget, eve(), limits::SMALL / KIB).1, Ok(()));
            let (_hers, taken) = body(&budget, ada(), 40);
            assert_eq!(taken, Ok(()));
            drop(second);
            assert_eq!(body(&budget, eve(), 10).1, Ok(()));
        }
        assert!(is_whole(&budget, 100));
    }

    #[test]
    fn all_together_take_no_more_than_there_is() {
        let budget = Budget::new(50 * KIB, 40 * KIB);
        let (first, taken) = body(&budget, eve(), 40);
        assert_eq!(taken, Ok(()));
        assert_eq!(body(&budget, ada(), 11).1, Err(Exhausted::All));
        assert_eq!(budget.shares().len(), 1, "what could not be had is nobody's");
        drop(first);
        assert_eq!(body(&budget, ada(), 11).1, Ok(()));
        assert!(is_whole(&budget, 50));
    }
}
