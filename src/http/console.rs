//! The conflict inbox: a page of the binary's own. Its files lie in `console/`, as they are sent;
//! `kinds.json` is made here, from the kinds' tables, so that the page knows each field's type.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::kinds::{self, Field, FieldType, Writer};

/// Names each file of `console/` once.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../console/", $name)))),*]
    };
}

const FILES: &[(&str, &[u8])] = files![
    "index.html",
    "style.css",
    "icon.svg",
    "account.js",
    "actions.js",
    "announce.js",
    "api.js",
    "bulk.js",
    "conflict.js",
    "decide.js",
    "diff.js",
    "dom.js",
    "edit.js",
    "explain.js",
    "history.js",
    "inbox.js",
    "kinds.js",
    "live.js",
    "login.js",
    "main.js",
    "outcome.js",
    "queries.js",
    "sides.js",
    "summary.js",
    "text.js",
    "text/de.js",
    "text/en.js",
    "text/fields.js",
    "values.js",
];

const INDEX: &str = "index.html";
const KINDS: &str = "kinds.json";

/// What the page may load and do: its own files and this server's API. No markup can be made of
/// text, wherever the text comes from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// A file as it is sent.
struct Asset {
    name: &'static str,
    body: &'static [u8],
    media_type: &'static str,
    etag: HeaderValue,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let kinds: &'static [u8] = kinds_json().to_string().into_bytes().leak();
    FILES.iter().copied().chain([(KINDS, kinds)]).map(|(name, body)| asset(name, body)).collect()
});

/// `/conflicts`, and below it the page's files.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/conflicts", get(|headers: HeaderMap| async move { answer(INDEX, &headers) }))
        .route(
            "/conflicts/{*file}",
            get(|Path(file): Path<String>, headers: HeaderMap| async move {
                answer(&file, &headers)
            }),
        )
}

fn asset(name: &'static str, body: &'static [u8]) -> Asset {
    let media_type = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/json",
    };
    // Weak: the same file is also sent compressed.
    let etag = format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(body)[..12]));
    let etag = HeaderValue::try_from(etag).expect("base64 is a header's text");
    Asset { name, body, media_type, etag }
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, guards(), "there is no such file").into_response();
    };
    let known =
        headers.get(header::IF_NONE_MATCH).is_some_and(|known| is_named(known, &asset.etag));
    let tags = [
        (header::ETAG, asset.etag.clone()),
        // Kept, but asked for each time: a new version of the server brings all of its page.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, tags, guards()).into_response();
    }
    let media_type = [(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type))];
    (tags, media_type, guards(), asset.body).into_response()
}

/// Whether an If-None-Match names this tag, compared weakly (RFC 9110, 13.1.2).
fn is_named(known: &HeaderValue, etag: &HeaderValue) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let etag = strong(&text(etag));
    text(known).split(',').any(|tag| tag.trim() == "*" || strong(tag) == etag)
}

/// Headers that guard the page, on each of its files.
fn guards() -> [(HeaderName, HeaderValue); 5] {
    [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ]
}

/// The kinds in dependency order, with the type and the group of each field.
fn kinds_json() -> Json {
    kinds::all()
        .map(|kind| {
            let fields: Vec<Json> = kind.fields.iter().map(field_json).collect();
            json!({ "name": kind.name(), "label": kind.label, "fields": fields })
        })
        .collect()
}

fn field_json(field: &Field) -> Json {
    let mut json = match field.ty {
        FieldType::Name => json!({ "type": "name" }),
        FieldType::Line => json!({ "type": "line" }),
        FieldType::Text => json!({ "type": "text" }),
        FieldType::Color => json!({ "type": "color" }),
        FieldType::Bool => json!({ "type": "bool" }),
        FieldType::Int { min, max } => json!({ "type": "int", "min": min, "max": max }),
        FieldType::Float { min, max } => json!({ "type": "float", "min": min, "max": max }),
        FieldType::Time => json!({ "type": "time" }),
        FieldType::Parent { kind, .. } => json!({ "type": "parent", "kind": kind.name() }),
        FieldType::Refs { kind } => json!({ "type": "refs", "kind": kind.name() }),
        FieldType::Choice(choice) => json!({ "type": "choice", "choices": choice.values }),
    };
    json["name"] = json!(field.name);
    json["nullable"] = json!(field.nullable);
    json["group"] = json!(field.group);
    json["readOnly"] = json!(field.writer == Writer::Server || field.file.is_some());
    json
}
