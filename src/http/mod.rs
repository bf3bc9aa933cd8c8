//! The server's HTTP side: router, limits, health.

mod address;
mod budget;
mod cached;
mod console;
mod document;
mod documents;
mod files;
mod graphql;
pub mod operator;
mod playground;
mod range;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header,
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::CompressionLevel;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::Instrument;
use uuid::Uuid;

use crate::auth::Operator;
use crate::cache::Cache;
use crate::cache::key::Maker;
use crate::config::{Config, limits};
use crate::db;
use crate::graphql::{Api, Services, sdl};
use documents::Documents;

use budget::Budget;
pub use socket::Sockets;

/// What handlers need. Every layer of a request has it: it is one thing to share, not ten.
type Context = Arc<Server>;

struct Server {
    api: Api,
    services: Arc<Services>,
    timeout: Duration,
    public_url: Option<Arc<str>>,
    listen: SocketAddr,
    sockets: Sockets,
    /// Whether the proxy in front is asked for whom it speaks.
    trust_proxy: bool,
    documents: Documents,
    cache: Arc<Cache>,
    keys: Maker,
    operator: Operator,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// All paths of the server.
pub fn router(
    api: Api,
    services: Arc<Services>,
    sockets: Sockets,
    cache: Arc<Cache>,
    operator: Operator,
    config: &Config,
) -> Router {
    let keys = Maker::new(services.sealer.epoch(), &sdl(), &config.answers());
    let timeout = Duration::from_secs(config.request_timeout.into());
    let context = Arc::new(Server {
        api,
        services,
        timeout,
        public_url: config.files.public_url.as_deref().map(Arc::from),
        listen: config.listen,
        sockets,
        trust_proxy: config.trust_proxy,
        documents: Documents::default(),
        cache,
        keys,
        operator,
    });
    let budget = Budget::new(limits::BODIES, limits::BODIES_SHARE, limits::BODIES_ADDRESS);
    let bodies = middleware::from_fn_with_state((budget, context.clone()), budget::count);
    let mut router = Router::new()
        .route("/graphql", get(graphql::get).post(graphql::post).layer(bodies))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .merge(operator::routes());
    if config.playground {
        router = router.route("/", get(playground::page));
    }
    if config.console {
        router = router.merge(console::routes());
    }
    router = compressed(router).merge(files::routes());
    let origins: Vec<HeaderValue> =
        config.cors_origins.iter().filter_map(|origin| origin.trim().parse().ok()).collect();
    if !origins.is_empty() {
        router = router.layer(
            CorsLayer::new()
                .allow_origin(AllowOrigin::list(origins))
                .allow_methods([Method::GET, Method::POST, Method::PUT])
                .allow_headers([
                    header::CONTENT_TYPE,
                    header::AUTHORIZATION,
                    header::ACCEPT,
                    header::RANGE,
                    header::CACHE_CONTROL,
                    header::IF_NONE_MATCH,
                ])
                .expose_headers([header::ETAG, header::CONTENT_RANGE, header::AGE, cached::X_CACHE])
                .max_age(Duration::from_secs(3600)),
        );
    }
    guarded(router, timeout).with_state(context)
}

/// What goes for JSON and pages, but not for files: they are large, and compressed as they are.
fn compressed<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let compression = CompressionLayer::new()
        .gzip(true)
        .zstd(true)
        .quality(CompressionLevel::Fastest)
        .compress_when(DefaultPredicate::new().and(
            |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| {
                !cached::is_finished(headers)
            },
        ));
    router.layer(
        ServiceBuilder::new()
            // Counted after unpacking: a small body must not grow without bound.
            .layer(DefaultBodyLimit::max(limits::BODY))
            .layer(compression),
    )
}

/// Puts what protects the server and tells about it around the routes.
fn guarded<S: Clone + Send + Sync + 'static>(router: Router<S>, timeout: Duration) -> Router<S> {
    // Together: each that is put around a router by itself costs every request a few allocations.
    router.layer(
        ServiceBuilder::new()
            .layer(middleware::from_fn(log))
            .layer(CatchPanicLayer::custom(|_| graphql::internal()))
            // Between two pieces of a body: a slow line may take its time, a dead one may not.
            .layer(RequestBodyTimeoutLayer::new(timeout))
            .layer(RequestDecompressionLayer::new()),
    )
}

/// How the client reaches this server: what the settings say, else how it did just now.
fn base_url(public_url: Option<&str>, headers: &HeaderMap, listen: SocketAddr) -> String {
    if let Some(url) = public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // Clients can send anything as a host, but not what ends one: it comes back to them in URLs.
    let host = host
        .filter(|host| host.parse::<Authority>().is_ok_and(|host| !host.host().is_empty()))
        .filter(|host| host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c)));
    match host {
        Some(host) => format!("http://{host}"),
        None => format!("http://{listen}"),
    }
}

/// Whether the client has what goes by this tag already.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known =
        headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|list| list.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag
    })
}

/// Whether the server can do its work: the database answers, and it is not about to stop. Redis is
/// not asked: without it everything works, a little later.
async fn ready(State(context): State<Context>) -> Response {
    if context.sockets.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping").into_response();
    }
    let db = &context.services.db;
    // By a connection of its own, which is there though requests hold all others. A slow database may yet
    // answer.
    if db.stamp().await.is_ok() {
        return "ok".into_response();
    }
    match tokio::time::timeout(limits::DB_LOCK, db::now(db.pool())).await {
        Ok(Ok(_)) => "ok".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer").into_response(),
    }
}

/// The account that a request was made for, told to the log by the handler.
#[derive(Clone, Copy)]
struct LoggedUser(Uuid);

/// Logs a request with an id, its user and the time taken; nothing of its content. A request id
/// that a proxy made is kept.
async fn log(mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| {
            !id.is_empty()
                && id.len() <= 64
                && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
        .map(str::to_owned);
    let id = given.unwrap_or_else(|| Uuid::new_v4().to_string());
    if let Ok(value) = HeaderValue::from_str(&id) {
        request.headers_mut().insert(REQUEST_ID, value);
    }
    let method = request.method().clone();
    let path = match request.uri().path() {
        // The names of people's files are content.
        path if path.starts_with("/files/") => "/files/…".to_owned(),
        path => path.to_owned(),
    };
    let started = Instant::now();
    let span = tracing::info_span!("request", %id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let user = response.extensions().get::<LoggedUser>().map(|LoggedUser(user)| *user);
    let _entered = span.enter();
    tracing::info!(
        %method,
        path,
        status = response.status().as_u16(),
        user = user.map(tracing::field::display),
        milliseconds = started.elapsed().as_millis() as u64,
        "answered"
    );
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// An answer of JSON with a media type of its own.
fn json(status: StatusCode, media_type: &'static str, body: serde_json::Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn urls_begin_with_what_the_settings_say_or_with_the_host_of_the_request() {
        let listen: SocketAddr = "127.0.0.1:4000".parse().expect("an address");
        let base = |public_url: Option<&str>, host: Option<&'static str>| {
            let host = host.map(|host| (header::HOST, HeaderValue::from_static(host)));
            base_url(public_url, &host.into_iter().collect(), listen)
        };
        let public = Some("https://sync.example.org/");
        assert_eq!(base(public, Some("evil.example")), "https://sync.example.org");
        for host in ["localhost:4000", "10.0.0.7", "[::1]:4000", "sync.example.org"] {
            assert_eq!(base(None, Some(host)), format!("http://{host}"));
        }
        for host in ["", "a b", "a/b", "a?b", "me@a", "a#b", "a:b:c", ":80", "a\\b", "\"a"] {
            assert_eq!(base(None, Some(host)), "http://127.0.0.1:4000", "{host}");
        }
        assert_eq!(base(None, None), "http://127.0.0.1:4000");
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_tells_nothing() {
        let routes = Router::new().route("/", get(|| async { panic!("the secret cause") as () }));
        let request = Request::new(Body::empty());
        let response = guarded(routes, Duration::MAX).oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = to_bytes(response.into_body(), 1000).await.expect("a body");
        let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INTERNAL");
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
}
