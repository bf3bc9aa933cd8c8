//! The memory that bodies of requests take together: read before anybody works on them, they would
//! otherwise be bounded by the number of connections only. Nobody has more than a share of it: who
//! sends much, or never comes to an end, is in nobody else's way.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderValue, header};
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
    /// What one requester may take, and one address with all of its accounts.
    share: usize,
    address_share: usize,
    /// What each has taken, small bodies left out.
    shares: Mutex<HashMap<Requester, usize>>,
}

const KIB: usize = 1024;

impl Budget {
    /// Of so many bytes; for one requester, and for one address.
    pub fn new(bytes: usize, share: usize, address_share: usize) -> Budget {
        Budget(Arc::new(Inner {
            left: Arc::new(Semaphore::new(bytes / KIB)),
            share: share / KIB,
            address_share: address_share / KIB,
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
    let authorization = parts.headers.get(header::AUTHORIZATION).cloned();
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
            taken.take(&piece, || requesters(&context, address, authorization.as_ref()))?;
            Ok::<_, Box<dyn StdError + Send + Sync>>(piece)
        })
    };
    let response = next.run(Request::from_parts(parts, Body::from_stream(counted))).await;
    drop(taken);
    response
}

fn requesters(
    context: &Context,
    address: ClientAddress,
    authorization: Option<&HeaderValue>,
) -> Requesters {
    let token = authorization.and_then(graphql::token);
    let named = token.and_then(|token| context.services.auth.read(token));
    let account = named.map(|(caller, _)| Requester::Account(caller.account));
    Requesters { account, address: Requester::Address(address.0) }
}

/// Whose shares a body counts for.
#[derive(Clone, Copy)]
struct Requesters {
    /// None: there is no token.
    account: Option<Requester>,
    address: Requester,
}

impl Requesters {
    /// Each with what it may take.
    fn shares(&self, of: &Inner) -> impl Iterator<Item = (Requester, usize)> + use<> {
        let share_of_address = if self.account.is_some() { of.address_share } else { of.share };
        let account = self.account.map(|account| (account, of.share));
        account.into_iter().chain([(self.address, share_of_address)])
    }
}

/// What one body has taken. Dropped, it gives it back.
struct Taken {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
    /// In bytes, what each piece takes besides included.
    bytes: usize,
    /// Whose shares it counts for: a small one for nobody's.
    of: Option<Requesters>,
}

/// What a piece takes besides its bytes, roughly.
const PIECE: usize = 64;

impl Taken {
    fn of(budget: Budget) -> Taken {
        Taken { budget, permit: None, bytes: 0, of: None }
    }

    fn size(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn take(&mut self, piece: &Bytes, who: impl FnOnce() -> Requesters) -> Result<(), Exhausted> {
        self.bytes += piece.len() + PIECE;
        let size = self.bytes.div_ceil(KIB) - self.size();
        if self.bytes > limits::SMALL {
            let (of, more) = match self.of {
                Some(of) => (of, size),
                // From now on it counts, with what came before.
                None => (who(), self.size() + size),
            };
            let mut shares = self.budget.shares();
            let taken = |of: Requester| shares.get(&of).copied().unwrap_or(0);
            if of.shares(&self.budget.0).any(|(of, share)| taken(of) + more > share) {
                return Err(Exhausted::Share);
            }
            for (of, _) in of.shares(&self.budget.0) {
                *shares.entry(of).or_default() += more;
            }
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

    /// Takes so much out of the shares that it counts for.
    fn give_back(&mut self, size: usize) {
        let Some(of) = self.of else { return };
        let mut shares = self.budget.shares();
        for (of, _) in of.shares(&self.budget.0) {
            if let Some(taken) = shares.get_mut(&of) {
                *taken -= Ord::min(size, *taken);
                if *taken == 0 {
                    shares.remove(&of);
                }
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
    use std::net::Ipv4Addr;

    use uuid::Uuid;

    use super::*;

    fn address(last: u8) -> Requester {
        Requester::Address(Ipv4Addr::new(192, 0, 2, last).into())
    }

    /// Someone with a token, at this address.
    fn account(number: u128, last: u8) -> Requesters {
        let account = Some(Requester::Account(Uuid::from_u128(number)));
        Requesters { account, address: address(last) }
    }

    fn stranger(last: u8) -> Requesters {
        Requesters { account: None, address: address(last) }
    }

    /// A body of so many KiB, in pieces.
    fn body(budget: &Budget, of: Requesters, size: usize) -> (Taken, Result<(), Exhausted>) {
        let mut taken = Taken::of(budget.clone());
        let piece = Bytes::from(vec![0; KIB - PIECE]);
        let all = (0..size).try_for_each(|_| taken.take(&piece, || of));
        (taken, all)
    }

    fn is_whole(budget: &Budget, all: usize) -> bool {
        budget.0.left.available_permits() == all && budget.shares().is_empty()
    }

    #[test]
    fn nobody_takes_more_than_a_share_and_what_was_taken_comes_back() {
        let budget = Budget::new(200 * KIB, 40 * KIB, 70 * KIB);
        for eve in [stranger(1), account(1, 1)] {
            let (_first, taken) = body(&budget, eve, 30);
            assert_eq!(taken, Ok(()));
            assert_eq!(body(&budget, eve, 11).1, Err(Exhausted::Share));
            let (second, taken) = body(&budget, eve, 10);
            assert_eq!(taken, Ok(()));
            // What is small goes through, and others have theirs.
            assert_eq!(body(&budget, eve, limits::SMALL / KIB).1, Ok(()));
            let (_hers, taken) = body(&budget, account(2, 2), 40);
            assert_eq!(taken, Ok(()));
            drop(second);
            assert_eq!(body(&budget, eve, 10).1, Ok(()));
        }
        assert!(is_whole(&budget, 200));
    }

    #[test]
    fn many_accounts_of_one_address_do_not_take_it_all() {
        let budget = Budget::new(200 * KIB, 40 * KIB, 70 * KIB);
        let (_first, taken) = body(&budget, account(1, 1), 40);
        assert_eq!(taken, Ok(()));
        assert_eq!(body(&budget, account(2, 1), 31).1, Err(Exhausted::Share));
        assert_eq!(body(&budget, account(2, 1), 30).1, Ok(()));
        assert_eq!(body(&budget, account(2, 2), 40).1, Ok(()), "elsewhere");
    }

    #[test]
    fn all_together_take_no_more_than_there_is() {
        let budget = Budget::new(50 * KIB, 40 * KIB, 50 * KIB);
        let (first, taken) = body(&budget, stranger(1), 40);
        assert_eq!(taken, Ok(()));
        assert_eq!(body(&budget, account(2, 2), 11).1, Err(Exhausted::All));
        assert_eq!(budget.shares().len(), 1, "what could not be had is nobody's");
        drop(first);
        assert_eq!(body(&budget, account(2, 2), 11).1, Ok(()));
        assert!(is_whole(&budget, 50));
    }

    #[test]
    fn a_body_in_small_pieces_takes_what_it_takes() {
        let budget = Budget::new(50 * KIB, 40 * KIB, 50 * KIB);
        let mut taken = Taken::of(budget.clone());
        let piece = Bytes::from(vec![0; PIECE]);
        (0..160).try_for_each(|_| taken.take(&piece, || stranger(1))).expect("20 KiB");
        assert_eq!(budget.0.left.available_permits(), 30);
    }
}
