//! `/graphql`, as the GraphQL-over-HTTP specification says
//! (<https://graphql.github.io/graphql-over-http/draft/>).
//!
//! A request that cannot be executed is 400. One that is executed is 200, whatever its fields say;
//! clients that accept nothing but `application/json` get 200 for every well-formed request.

use std::error::Error as StdError;
use std::num::NonZeroU32;

use async_graphql::parser::types::OperationType;
use async_graphql::{ErrorExtensionValues, Request, Response as Answer, ServerError, Value};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json as json_value;
use tokio::time::Instant;
use tower_http::timeout::TimeoutError;
use tracing::Instrument;

use super::budget::{Exhausted, TooSlow};
use super::cached::{self, Asked, Found, X_CACHE};
use super::{Context, LoggedUser, base_url, json, socket};
use crate::admission::{Place, Requester};
use crate::auth::Caller;
use crate::cache::Source;
use crate::config::limits;
use crate::error::{self, Code, Error};
use crate::graphql::{BaseUrl, ClientAddress, Waits};

pub(super) const JSON: &str = "application/json; charset=utf-8";
const GRAPHQL: &str = "application/graphql-response+json; charset=utf-8";

/// Who asks, and how they want to be answered.
pub(super) struct Asker {
    pub address: ClientAddress,
    /// Whom the token names. Whether their session goes on, the database knows.
    pub caller: Option<Caller>,
    pub method: Method,
    pub headers: HeaderMap,
    pub media: &'static str,
}

impl Asker {
    fn new(
        context: &Context,
        address: ClientAddress,
        method: Method,
        headers: HeaderMap,
        media: &'static str,
    ) -> Asker {
        let named = bearer(&headers).and_then(|token| context.services.auth.read(token));
        let caller = named.map(|(caller, _)| caller);
        Asker { address, caller, method, headers, media }
    }
}

pub async fn post(
    State(context): State<Context>,
    address: ClientAddress,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(media) = accepted(&headers) else { return not_acceptable() };
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let (status, error) = unread(&rejection);
            return refusal(media, status, error);
        }
    };
    if !is_json(&headers) {
        let error = Error::bad_input("send the request as application/json");
        return refusal(media, StatusCode::UNSUPPORTED_MEDIA_TYPE, error);
    }
    // A list would be read as the fields in order, and is a batch elsewhere: neither is meant here.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let error = Error::bad_input("the body is no GraphQL request: send one JSON object");
        return refusal(media, StatusCode::BAD_REQUEST, error);
    }
    // Of what changes something, or is large, only the bytes wait for a place: read as a request they
    // take several times as much. A small query may find its answer without one.
    let asker = Asker::new(&context, address, Method::POST, headers, media);
    let place = match is_small_query(&body) {
        true => None,
        false => match enter(&context, &asker).await {
            Ok(place) => Some(place),
            Err(error) => return refusal(media, request_error(media), error),
        },
    };
    let request = serde_json::from_slice::<Request>(&body);
    drop(body);
    match request {
        Ok(request) if request.query.is_empty() => {
            let error = Error::bad_input("the body is no GraphQL request: give `query`");
            refusal(media, StatusCode::BAD_REQUEST, error)
        }
        Ok(request) => execute(context, asker, place, request).await,
        Err(error) => {
            let message = format!("the body is no GraphQL request: {error}");
            refusal(media, StatusCode::BAD_REQUEST, Error::bad_input(message))
        }
    }
}

/// Whether a body is read before its turn. A guess will do: what it takes for something else waits.
fn is_small_query(body: &[u8]) -> bool {
    const MUTATION: &[u8] = b"mutation";
    body.len() <= limits::SMALL && !body.windows(MUTATION.len()).any(|part| part == MUTATION)
}

/// Waits for a place.
async fn enter(context: &Context, asker: &Asker) -> Result<Place, Error> {
    let requester = match asker.caller {
        Some(caller) => Requester::Account(caller.account),
        None => Requester::Address(asker.address.0),
    };
    context.services.admission.enter(requester).await
}

/// Why a body could not be read.
pub(super) fn unread(rejection: &BytesRejection) -> (StatusCode, Error) {
    let mut causes =
        std::iter::successors(Some(rejection as &dyn StdError), |&error| error.source());
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("a request may have {} bytes; send the batch in parts", limits::BODY);
        (StatusCode::PAYLOAD_TOO_LARGE, Error::new(Code::Limit, message))
    } else if let Some(exhausted) = causes.clone().find_map(|cause| cause.downcast_ref()) {
        match exhausted {
            Exhausted::All => (StatusCode::SERVICE_UNAVAILABLE, Error::overloaded(error::spread())),
            Exhausted::Share => {
                (StatusCode::TOO_MANY_REQUESTS, Error::rate_limited(error::spread()))
            }
        }
    } else if causes.any(|cause| cause.is::<TimeoutError>() || cause.is::<TooSlow>()) {
        (StatusCode::REQUEST_TIMEOUT, Error::bad_input("the body of the request stopped coming"))
    } else {
        let error = Error::bad_input("the body of the request could not be read");
        (StatusCode::BAD_REQUEST, error)
    }
}

/// The parameters of a GET. `variables` is JSON; `extensions` mean nothing here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    query: String,
    operation_name: Option<String>,
    variables: Option<String>,
}

pub async fn get(
    State(context): State<Context>,
    address: ClientAddress,
    headers: HeaderMap,
    parameters: Result<Query<Parameters>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if socket::is_wanted(&headers) {
        return socket::open(context, address, upgrade);
    }
    let Some(media) = accepted(&headers) else { return not_acceptable() };
    let refused =
        |message: &str| refusal(media, StatusCode::BAD_REQUEST, Error::bad_input(message));
    let Ok(Query(Parameters { query, operation_name, variables })) = parameters else {
        return refused("the URL holds no GraphQL request: give `query`");
    };
    let Ok(variables) = variables.map(|json| serde_json::from_str(&json)).transpose() else {
        return refused("`variables` must be a JSON object");
    };
    let mut request = Request::new(query).variables(variables.unwrap_or_default());
    request.operation_name = operation_name.filter(|name| !name.is_empty());
    let asker = Asker::new(&context, address, Method::GET, headers, media);
    execute(context, asker, None, request).await
}

/// What became of a request.
enum Done {
    /// It was executed.
    Executed(Option<Caller>, Box<Answer>),
    /// Its answer is kept from now on.
    Kept(Found),
}

async fn execute(
    context: Context,
    asker: Asker,
    place: Option<Place>,
    mut request: Request,
) -> Response {
    let media = asker.media;
    let refused = |error| refusal(media, request_error(media), error);
    let document = match context.documents.read(&request.query) {
        Ok(document) => document,
        Err(error) => return refused(error),
    };
    let operation = document.operation_type(request.operation_name.as_deref());
    if asker.method == Method::GET && !matches!(operation, None | Some(OperationType::Query)) {
        let error = Error::bad_input("only queries can be sent by GET; send this by POST");
        let mut response = refusal(media, StatusCode::METHOD_NOT_ALLOWED, error);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let base = base_url(context.public_url.as_deref(), &asker.headers, context.listen);
    let (making, source) = match cached::ask(&context, &asker, &base, &document, &request).await {
        Asked::Found(found) => return cached::respond(&context, &asker, found),
        Asked::Make(making) => (Some(making), Source::Miss),
        Asked::Alone => (None, Source::Miss),
        Asked::Bypass => (None, Source::Bypass),
    };
    // Only what has to be made needs a place.
    let place = match place {
        Some(place) => place,
        None => match enter(&context, &asker).await {
            Ok(place) => place,
            Err(error) => return refused(error),
        },
    };
    let deadline = Instant::now() + context.timeout;
    document.prepare(&mut request);
    let waits = Waits::default();
    let (address, named) = (asker.address, asker.caller);
    let request = request.data(BaseUrl(base)).data(address).data(waits.clone());
    let writes = document.mutations(request.operation_name.as_deref());
    let (services, api) = (context.services.clone(), context.api.clone());
    let work = async move {
        let _place = place;
        let caller = match (&making, named) {
            // Whose session was looked up before.
            (Some(making), _) => Some(making.caller),
            (None, Some(named)) => services.auth.is_alive(named).await?.then_some(named),
            (None, None) => None,
        };
        if let (Some(caller), Some(writes)) = (caller, NonZeroU32::new(writes)) {
            services.throttles.writes.check_many(&caller.account, writes)?;
            services.throttles.writes_from.check_many(&address.0, writes)?;
        }
        let answer = api.execute(request.data(caller)).await;
        if let Some(making) = making
            && let Some(found) = making.keep(&answer, &waits).await
        {
            return Ok(Done::Kept(found));
        }
        Ok::<_, Error>(Done::Executed(caller, Box::new(answer)))
    };
    // In a task of its own: a client that goes away does not tear a transaction off half-way, at
    // whatever statement it happens to be; and others may wait for the same answer.
    let mut task = tokio::spawn(work.in_current_span());
    let done = match tokio::time::timeout_at(deadline, &mut task).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(panic)) => Ok(Err(Error::internal(panic))),
        Err(late) => {
            task.abort();
            Err(late)
        }
    };
    match done {
        Ok(Ok(Done::Kept(found))) => cached::respond(&context, &asker, found),
        Ok(Ok(Done::Executed(caller, answer))) => {
            let mut response = answered(media, *answer);
            if operation == Some(OperationType::Query) {
                context.cache.counts.answered(source);
                let source = HeaderValue::from_static(source.name());
                response.headers_mut().insert(X_CACHE, source);
            }
            if let Some(caller) = caller {
                response.extensions_mut().insert(LoggedUser(caller.account));
            }
            response
        }
        Ok(Err(error)) => refused(error),
        Err(_) => refused(Error::new(
            Code::Unavailable,
            "the request took too long and was given up; ask for less, or try again",
        )),
    }
}

fn answered(media: &'static str, mut answer: Answer) -> Response {
    for error in &mut answer.errors {
        complete(error);
    }
    // Without any path, and without data, nothing was executed.
    let executed = answer.errors.iter().any(|error| !error.path.is_empty())
        || answer.errors.is_empty()
        || answer.data != Value::Null;
    let has = |code| answer.errors.iter().any(|error| has_code(error, code));
    let unavailable = has(Code::Unavailable);
    let status = if unavailable {
        StatusCode::SERVICE_UNAVAILABLE
    } else if has(Code::RateLimited) && answer.data == Value::Null {
        StatusCode::TOO_MANY_REQUESTS
    } else if executed {
        StatusCode::OK
    } else {
        request_error(media)
    };
    let retry_after = answer.errors.iter().find_map(retry_after);
    // Serializing what was made of JSON cannot fail.
    let body = serde_json::to_vec(&answer).unwrap_or_default();
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    if let Some(seconds) = retry_after.or(unavailable.then_some(1)) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The seconds that an error asks to wait.
fn retry_after(error: &ServerError) -> Option<u64> {
    match error.extensions.as_ref()?.get("retryAfter")? {
        Value::Number(seconds) => seconds.as_u64(),
        _ => None,
    }
}

/// Gives errors of the GraphQL library a code.
pub(super) fn complete(error: &mut ServerError) {
    let has_code = error.extensions.as_ref().is_some_and(|values| values.get("code").is_some());
    if has_code {
        return;
    }
    let limit = ["Query is nested too deep.", "Query is too complex."];
    let code =
        if limit.contains(&error.message.as_str()) { Code::Limit } else { Code::BadUserInput };
    error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", code.name());
}

fn has_code(error: &ServerError, code: Code) -> bool {
    let found = error.extensions.as_ref().and_then(|values| values.get("code"));
    matches!(found, Some(Value::String(found)) if found == code.name())
}

fn request_error(media: &'static str) -> StatusCode {
    if media == GRAPHQL { StatusCode::BAD_REQUEST } else { StatusCode::OK }
}

/// An answer without data.
pub(super) fn refusal(media: &'static str, status: StatusCode, error: Error) -> Response {
    let (status, retry_after) = match error.code {
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, error.retry_after.or(Some(1))),
        Code::RateLimited => (StatusCode::TOO_MANY_REQUESTS, error.retry_after),
        _ => (status, error.retry_after),
    };
    let mut extensions = json_value!({ "code": error.code.name() });
    if let Some(seconds) = retry_after {
        extensions["retryAfter"] = seconds.into();
    }
    let body = json_value!({
        "errors": [{ "message": error.message, "extensions": extensions }]
    });
    let mut response = json(status, media, body);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The answer after a panic, whose cause is in the log.
pub fn internal() -> Response {
    refusal(JSON, StatusCode::INTERNAL_SERVER_ERROR, Error::internal("a request panicked"))
}

fn not_acceptable() -> Response {
    let error = Error::bad_input(
        "this server answers application/graphql-response+json and application/json",
    );
    refusal(JSON, StatusCode::NOT_ACCEPTABLE, error)
}

/// The media type of the answer: the one with the highest weight that the server has, of several
/// the first. None: the client accepts neither.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|range| !range.trim().is_empty())
        .peekable();
    if ranges.peek().is_none() {
        return Some(JSON);
    }
    let mut best = (0.0, None);
    for range in ranges {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let media = match parts.next().unwrap_or_default().as_str() {
            "application/graphql-response+json" => GRAPHQL,
            "application/json" | "application/*" | "*/*" => JSON,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if weight > best.0 {
            best = (weight, Some(media));
        }
    }
    best.1
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let mut parts = media_type.split(';').map(str::trim);
    let is_json =
        parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| {
            !parameter.to_ascii_lowercase().starts_with("charset=")
                || parameter[8..].trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION).and_then(token)
}

/// The token in an Authorization header.
pub(super) fn token(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
