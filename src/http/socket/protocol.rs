//! The messages of graphql-transport-ws
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>). Pure.

use async_graphql::{Request, Response, ServerError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};

use crate::config::limits;

/// The one subprotocol that this server speaks. The older `graphql-ws` is another one, in spite of its
/// name.
pub const NAME: &str = "graphql-transport-ws";

/// Why the server closes a socket: a code, and a word for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close(pub u16, pub &'static str);

impl Close {
    /// This instance stops: connect again, and you come to another one.
    pub const GOING_AWAY: Close = Close(1001, "Going away");
    /// The database does not answer: connect again later.
    pub const UNAVAILABLE: Close = Close(1013, "Try again later");
    pub const BAD_REQUEST: Close = Close(4400, "Invalid message");
    /// Nobody had logged in, or nobody is any more: get another token.
    pub const UNAUTHORIZED: Close = Close(4401, "Unauthorized");
    /// connection_init brought no token that is worth something: get another one.
    pub const FORBIDDEN: Close = Close(4403, "Forbidden");
    pub const INIT_TIMEOUT: Close = Close(4408, "Connection initialisation timeout");
    /// The protocol has the id in this sentence; a close frame has room for 123 bytes only.
    pub const SUBSCRIBER_EXISTS: Close = Close(4409, "Subscriber already exists");
    pub const TOO_MANY_INITS: Close = Close(4429, "Too many initialisation requests");
    pub const TOO_MANY_SOCKETS: Close = Close(4429, "Too many connections");
}

/// What clients send.
#[derive(Debug)]
pub enum Incoming {
    Init { token: Option<String> },
    Ping,
    Pong,
    Subscribe { id: String, request: Box<Request> },
    Complete { id: String },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    r#type: String,
    id: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// Reads a message. What is none is 4400.
pub fn read(text: &str) -> Result<Incoming, Close> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| Close::BAD_REQUEST)?;
    let Envelope { r#type, id, payload } = envelope;
    let object = || -> Result<Option<Map<String, Json>>, Close> {
        let read = |payload: &RawValue| serde_json::from_str(payload.get());
        payload.map(read).transpose().map(Option::flatten).map_err(|_| Close::BAD_REQUEST)
    };
    let id = || {
        let good = |id: &String| (1..=limits::SUBSCRIPTION_ID).contains(&id.chars().count());
        id.filter(good).ok_or(Close::BAD_REQUEST)
    };
    match r#type.as_str() {
        "connection_init" => Ok(Incoming::Init { token: token(&object()?.unwrap_or_default()) }),
        "ping" => object().map(|_| Incoming::Ping),
        "pong" => object().map(|_| Incoming::Pong),
        "complete" => Ok(Incoming::Complete { id: id()? }),
        "subscribe" => {
            let request = payload.and_then(|json| serde_json::from_str(json.get()).ok());
            let request: Box<Request> = request.ok_or(Close::BAD_REQUEST)?;
            if request.query.is_empty() {
                return Err(Close::BAD_REQUEST);
            }
            Ok(Incoming::Subscribe { id: id()?, request })
        }
        _ => Err(Close::BAD_REQUEST),
    }
}

/// The token in the payload of connection_init, as clients are used to give it: like the header, or
/// bare.
fn token(payload: &Map<String, Json>) -> Option<String> {
    let text = |name: &str| {
        let found = payload.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.as_str()).map(str::trim)
    };
    let bearer = text("authorization").map(|value| match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => value,
    });
    bearer.or_else(|| text("token")).map(str::to_owned)
}

pub fn ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

pub fn pong() -> String {
    json!({ "type": "pong" }).to_string()
}

pub fn next(id: &str, response: &Response) -> String {
    json!({ "type": "next", "id": id, "payload": response }).to_string()
}

pub fn error(id: &str, errors: &[ServerError]) -> String {
    json!({ "type": "error", "id": id, "payload": errors }).to_string()
}

pub fn complete(id: &str) -> String {
    json!({ "type": "complete", "id": id }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_wherever_clients_put_it() {
        for payload in [
            r#"{"Authorization":"Bearer abc"}"#,
            r#"{"authorization":"bearer  abc "}"#,
            r#"{"authorization":"abc"}"#,
            r#"{"token":"abc"}"#,
            r#"{"more":{"a":[1]},"Token":"abc"}"#,
        ] {
            let read = read(&format!(r#"{{"type":"connection_init","payload":{payload}}}"#));
            let Ok(Incoming::Init { token: Some(token) }) = read else { panic!("{payload}") };
            assert_eq!(token, "abc", "{payload}");
        }
        for message in [
            r#"{"type":"connection_init"}"#,
            r#"{"type":"connection_init","payload":null}"#,
            r#"{"type":"connection_init","payload":{}}"#,
            r#"{"type":"connection_init","payload":{"token":7}}"#,
        ] {
            assert!(matches!(read(message), Ok(Incoming::Init { token: None })), "{message}");
        }
    }

    #[test]
    fn what_is_no_message_of_the_protocol_is_4400() {
        for message in [
            "",
            "null",
            "[]",
            "{}",
            "{\"type\":7}",
            "{\"type\":\"start\",\"id\":\"1\",\"payload\":{\"query\":\"{ hello }\"}}",
            "{\"type\":\"next\",\"id\":\"1\",\"payload\":{}}",
            "{\"type\":\"connection_init\",\"payload\":7}",
            "{\"type\":\"ping\",\"payload\":[]}",
            "{\"type\":\"complete\"}",
            "{\"type\":\"complete\",\"id\":\"\"}",
            "{\"type\":\"subscribe\",\"payload\":{\"query\":\"{ hello }\"}}",
            "{\"type\":\"subscribe\",\"id\":\"1\"}",
            "{\"type\":\"subscribe\",\"id\":\"1\",\"payload\":{}}",
            "{\"type\":\"subscribe\",\"id\":\"1\",\"payload\":{\"query\":7}}",
            "{\"type\":\"subscribe\",\"id\":1,\"payload\":{\"query\":\"{ hello }\"}}",
        ] {
            assert_eq!(read(message).err(), Some(Close::BAD_REQUEST), "{message}");
        }
        let id = "x".repeat(limits::SUBSCRIPTION_ID + 1);
        let long = format!(r#"{{"type":"complete","id":"{id}"}}"#);
        assert_eq!(read(&long).err(), Some(Close::BAD_REQUEST));
        assert!(read(r#"{"type":"ping","payload":{"any":1}}"#).is_ok());
        assert!(read(r#"{"type":"pong","payload":null,"more":1}"#).is_ok());
    }
}
