//! The cache in front of queries: what is asked of it, and answers that come out of it.

use std::sync::Arc;

use async_graphql::{Request, Response as Answer};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tokio::time::{Instant, timeout_at};

use super::documents::Document;
use super::graphql::Asker;
use super::{Context, LoggedUser, is_known};
use crate::auth::Caller;
use crate::cache::key::Question;
use crate::cache::{About, Coding, Entry, Key, Landed, Lead, Seat, Source, Standing};
use crate::config::limits;
use crate::graphql::{Cacheable, Waits};

/// Says where an answer came from: [`Source::name`].
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cairn-cache");

/// What the cache said.
pub enum Asked {
    /// It is not to be asked: what is wanted may not be kept, or the client wants it anew.
    Bypass,
    /// Someone else made it, or could not.
    Alone,
    Found(Found),
    /// Whoever asked has to make it.
    Make(Box<Making>),
}

/// An answer that was there.
pub struct Found {
    pub entry: Arc<Entry>,
    pub source: Source,
    pub caller: Caller,
}

/// An answer that is to be made and kept.
pub struct Making {
    context: Context,
    key: Key,
    lead: Lead,
    standing: Arc<Standing>,
    coding: Coding,
    urls: bool,
    about: About,
    pub caller: Caller,
}

/// Asks the cache for the answer to a request. Whether the caller's session goes on is found out before,
/// and where they stand, on every request.
pub async fn ask(
    context: &Context,
    asker: &Asker,
    base: &str,
    document: &Document,
    request: &Request,
) -> Asked {
    let operation = request.operation_name.as_deref();
    let Some(cacheable) = document.cacheable(operation) else { return Asked::Bypass };
    if !context.cache.is_on() || wants_it_anew(&asker.headers) {
        return Asked::Bypass;
    }
    let Some(caller) = asker.caller else { return Asked::Bypass };
    // Whoever is refused, or cannot be looked up, is told so where all others are.
    let Ok(Some(standing)) = context.cache.standing(caller).await else { return Asked::Bypass };
    // The names come in order.
    let variables = serde_json::to_vec(&request.variables).unwrap_or_default();
    if variables.len() > limits::CACHED_VARIABLES {
        return Asked::Bypass;
    }
    let key = context.keys.key(&Question {
        account: caller.account,
        standing: &standing,
        document: &document.digest,
        operation,
        variables: &variables,
        media: asker.media,
        base,
    });
    if let Some(entry) = context.cache.near(&key) {
        return Asked::Found(Found { entry, source: Source::Memory, caller });
    }
    let lead = match seat(context, key).await {
        Ok(lead) => lead,
        Err(Some(entry)) => return Asked::Found(Found { entry, source: Source::Joined, caller }),
        Err(None) => return Asked::Alone,
    };
    // It may have been made just before that one took the lead.
    if let Some(entry) = context.cache.near(&key) {
        lead.share(entry.clone());
        return Asked::Found(Found { entry, source: Source::Memory, caller });
    }
    let coding = coding(&asker.headers);
    if let Some(entry) = context.cache.far(&key, coding).await {
        lead.share(entry.clone());
        return Asked::Found(Found { entry, source: Source::Redis, caller });
    }
    let about = about(context, caller, &standing, cacheable);
    let urls = cacheable.urls;
    let context = context.clone();
    Asked::Make(Box::new(Making { context, key, lead, standing, coding, urls, about, caller }))
}

/// Takes the lead, or waits for whoever has it: an error is what came of that.
async fn seat(context: &Context, key: Key) -> Result<Lead, Option<Arc<Entry>>> {
    // It leaves time to make it, should they not.
    let until = Instant::now() + context.timeout / 2;
    for _ in 0..limits::FLIGHTS {
        match context.cache.join(key) {
            Seat::Lead(lead) => return Ok(lead),
            Seat::Follow(follow) => match timeout_at(until, follow.wait()).await {
                Ok(Landed::Made(entry)) => return Err(Some(entry)),
                // Another one takes the lead.
                Ok(Landed::Lost) => {}
                Ok(Landed::Withheld) | Err(_) => return Err(None),
            },
        }
    }
    Err(None)
}

fn about(
    context: &Context,
    caller: Caller,
    standing: &Standing,
    Cacheable { name, fields, .. }: &Cacheable,
) -> About {
    let seen = standing.seen();
    let scopes = seen.iter().take(limits::HELD_SCOPES);
    let scopes = scopes
        .map(|scope| (scope.id, scope.head, scope.role.name().to_owned(), !scope.is_visible()))
        .collect();
    About {
        account: caller.account,
        operation: name.clone(),
        fields: fields.clone(),
        scopes,
        scope_count: seen.len(),
        standing: *standing.digest(),
        schema: *context.keys.schema(),
    }
}

impl Making {
    /// Keeps an answer that was made, and gives it to those who wait; if it may not be kept, they make
    /// their own.
    pub async fn keep(self: Box<Self>, answer: &Answer, waits: &Waits) -> Option<Found> {
        if !answer.errors.is_empty() || waits.are_noted() {
            self.lead.withhold();
            return None;
        }
        // Serializing what was made of JSON cannot fail.
        let body = serde_json::to_vec(answer).unwrap_or_default();
        if body.is_empty() || body.len() > limits::CACHED {
            self.lead.withhold();
            return None;
        }
        let made_at = crate::cache::now();
        let good_for = match self.urls {
            // Whoever gets it must have time to use them.
            true => limits::URL / 2,
            false => limits::CACHED_FOR,
        };
        let until = made_at + good_for.as_millis() as i64;
        let (coding, about) = (self.coding, self.about);
        let made = tokio::task::spawn_blocking(move || {
            let entry = Entry::new(body.into_boxed_slice().into(), made_at, until, about);
            // Packed here, and not where others wait for their turn: as it is stored, which says how
            // much it weighs, and as it is wanted.
            entry.body(coding.stored());
            Arc::new(entry)
        });
        let entry = made.await.ok()?;
        // Nothing moved while it was made: then it is what its key says. Else it is as good as any
        // answer, but of another moment.
        let now = self.context.cache.standing(self.caller).await.ok().flatten();
        let is_of_this_key = now.is_some_and(|now| now.digest() == self.standing.digest());
        if is_of_this_key {
            self.context.cache.keep(&self.key, &entry, coding);
        }
        self.lead.share(entry.clone());
        Some(Found { entry, source: Source::Miss, caller: self.caller })
    }
}

/// Whether the client wants no answer from a cache.
fn wants_it_anew(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase())
        .any(|directive| ["no-cache", "no-store", "max-age=0"].contains(&directive.as_str()))
}

/// Answers with an entry, as it lies there.
pub fn respond(context: &Context, asker: &Asker, found: Found) -> Response {
    let Asker { method, headers, media, .. } = asker;
    let Found { entry, source, caller } = found;
    context.cache.counts.answered(source);
    let (coding, body) = entry.body(coding(headers));
    let mark = coding.name().map(|name| format!("-{name}")).unwrap_or_default();
    let tag = format!("\"{}{mark}\"", entry.tag);
    // By RFC 9110, 13.1.2, a 304 answers GET and HEAD alone. What a POST would be compared with is
    // what a GET of the same URL would give, and that is no query: it is answered as a whole.
    let is_known = *method == Method::GET && is_known(headers, &tag);
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(body) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let mut set = |name: HeaderName, value: &str| {
        // Made of ASCII here.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::ETAG, &tag);
    set(header::CACHE_CONTROL, "private, no-cache");
    set(header::VARY, "authorization, accept, accept-encoding");
    set(X_CACHE, source.name());
    if source != Source::Miss {
        set(header::AGE, &entry.age(crate::cache::now()).to_string());
    }
    if !is_known {
        set(header::CONTENT_TYPE, media);
        if let Some(name) = coding.name() {
            set(header::CONTENT_ENCODING, name);
        }
    }
    response.extensions_mut().insert(LoggedUser(caller.account));
    response
}

/// Whether a response is as it is meant to be: an entry's, which must not be compressed again.
pub fn is_finished(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) && headers.contains_key(X_CACHE)
}

/// The coding that the client likes best, of several the smallest.
fn coding(headers: &HeaderMap) -> Coding {
    let mut best = (0.0, Coding::Plain);
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    for range in accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let coding = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "zstd" => Coding::Zstd,
            "gzip" | "x-gzip" => Coding::Gzip,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        let is_best = weight > best.0 || (weight == best.0 && coding == Coding::Zstd);
        if weight > 0.0 && is_best {
            best = (weight, coding);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_coding_is_the_one_that_the_client_likes_best() {
        for (accepted, expected) in [
            ("", Coding::Plain),
            ("identity", Coding::Plain),
            ("br, deflate", Coding::Plain),
            ("gzip", Coding::Gzip),
            ("gzip, deflate, br", Coding::Gzip),
            ("gzip, zstd", Coding::Zstd),
            ("zstd, gzip", Coding::Zstd),
            ("zstd;q=0.5, GZIP;q=0.8", Coding::Gzip),
            ("gzip;q=0, zstd;q=0", Coding::Plain),
        ] {
            let headers = HeaderMap::from_iter([(
                header::ACCEPT_ENCODING,
                HeaderValue::from_str(accepted).expect("a value"),
            )]);
            assert_eq!(coding(&headers), expected, "{accepted}");
        }
        assert_eq!(coding(&HeaderMap::new()), Coding::Plain);
        assert_eq!(coding(&of(header::ACCEPT_ENCODING, &["gzip", "zstd"])), Coding::Zstd);
    }

    #[test]
    fn a_client_can_want_it_anew() {
        for wanted in ["no-cache", "No-Cache", "max-age=0", "no-transform, no-store"] {
            let value = HeaderValue::from_str(wanted).expect("a value");
            assert!(wants_it_anew(&HeaderMap::from_iter([(header::CACHE_CONTROL, value)])));
        }
        assert!(!wants_it_anew(&of(header::CACHE_CONTROL, &["max-age=60", "only-if-cached"])));
        assert!(!wants_it_anew(&HeaderMap::new()));
    }
}
