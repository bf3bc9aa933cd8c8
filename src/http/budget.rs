//! The memory that bodies of requests take together: read before anybody works on them, they would
//! otherwise be bounded by the number of connections only.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is left, in KiB.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Budget {
        Budget(Arc::new(Semaphore::new(bytes / KIB)))
    }
}

const KIB: usize = 1024;

/// There is no memory for the rest of a body.
#[derive(Debug)]
pub struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the bodies of requests take too much memory at the moment")
    }
}

impl StdError for Exhausted {}

/// Counts a body, piece by piece as it is read, until its request is answered.
pub async fn count(State(Budget(left)): State<Budget>, request: Request, next: Next) -> Response {
    let taken: Arc<Mutex<Option<OwnedSemaphorePermit>>> = Arc::default();
    let (parts, body) = request.into_parts();
    let counted = {
        let taken = taken.clone();
        body.into_data_stream().map(move |piece| {
            let piece = piece.map_err(Box::<dyn StdError + Send + Sync>::from)?;
            take(&left, &taken, &piece)?;
            Ok::<_, Box<dyn StdError + Send + Sync>>(piece)
        })
    };
    let response = next.run(Request::from_parts(parts, Body::from_stream(counted))).await;
    drop(taken);
    response
}

fn take(
    left: &Arc<Semaphore>,
    taken: &Mutex<Option<OwnedSemaphorePermit>>,
    piece: &Bytes,
) -> Result<(), Exhausted> {
    // A piece is smaller than four terabytes.
    let size = u32::try_from(piece.len().div_ceil(KIB)).unwrap_or(u32::MAX);
    let more = left.clone().try_acquire_many_owned(size).map_err(|_| Exhausted)?;
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *taken {
        Some(permit) => permit.merge(more),
        none => *none = Some(more),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::rejection::BytesRejection;
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use tower::ServiceExt;

    use super::super::graphql::unread;
    use super::*;

    #[tokio::test]
    async fn a_body_beyond_the_budget_cannot_be_read_and_what_was_taken_comes_back() {
        let budget = Budget::new(10 * KIB);
        let read = |body: Result<Bytes, BytesRejection>| async move {
            body.map_or_else(|error| unread(&error).0, |_| StatusCode::OK)
        };
        let routes =
            Router::new().route("/", post(read)).layer(from_fn_with_state(budget.clone(), count));
        let send = async |size: usize| {
            let request = Request::post("/").body(Body::from(vec![0; size])).expect("a request");
            routes.clone().oneshot(request).await.expect("an answer").status()
        };
        for _ in 0..5 {
            assert_eq!(send(8 * KIB).await, StatusCode::OK);
            assert_eq!(send(11 * KIB).await, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(budget.0.available_permits(), 10);
        }
    }
}
