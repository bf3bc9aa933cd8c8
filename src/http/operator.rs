//! `/operator/…`: what the operator's commands ask a running server, with a token of their own
//! ([`crate::auth::Operator`]).

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{Context, graphql};
use crate::error::{Code, Error};

/// Where it is asked what this process's memory holds for an account.
pub const CACHE: &str = "/operator/cache";

pub(super) fn routes() -> Router<Context> {
    Router::new().route(CACHE, get(cache))
}

#[derive(Deserialize)]
struct Whose {
    account: Uuid,
}

/// A list of [`crate::cache::Held`].
async fn cache(
    State(context): State<Context>,
    headers: HeaderMap,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Response {
    let refused = |status, error| graphql::refusal(graphql::JSON, status, error);
    if !graphql::bearer(&headers).is_some_and(|token| context.operator.verify(token)) {
        let error = Error::new(Code::Unauthenticated, "this is for the operator's commands");
        let mut response = refused(StatusCode::UNAUTHORIZED, error);
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        return response;
    }
    let Ok(Query(Whose { account })) = whose else {
        let error = Error::bad_input("give `account`, the id of one");
        return refused(StatusCode::BAD_REQUEST, error);
    };
    // There may be many to go through.
    match spawn_blocking(move || context.cache.held_near(account)).await {
        Ok(held) => Json(held).into_response(),
        Err(panic) => refused(StatusCode::INTERNAL_SERVER_ERROR, Error::internal(panic)),
    }
}
