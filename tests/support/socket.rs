//! A client of subscriptions, by graphql-transport-ws.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Device;

pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// When something came last, be it a ping.
    heard: Instant,
}

/// What comes on a socket.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Message(Json),
    /// With this code; 1006: without any word.
    Closed(u16),
}

pub const SUBSCRIBE: &str =
    "subscription($cursor: String) { syncAvailable(cursor: $cursor) { serverTimestamp } }";

/// Far more than a slow machine needs; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

impl Socket {
    /// Opens a socket, and says nothing yet.
    pub async fn open(url: &str) -> Socket {
        Socket::try_open(url, Some("graphql-transport-ws")).await.expect("it is let in")
    }

    /// The same, with this subprotocol. The status, if it is refused; 1006, if there is no answer.
    pub async fn try_open(url: &str, protocol: Option<&str>) -> Result<Socket, u16> {
        let url = format!("{}/graphql", url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a good URL");
        if let Some(protocol) = protocol {
            let protocol = protocol.parse().expect("a good header");
            request.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        match connect_async(request).await {
            Ok((stream, _)) => Ok(Socket { stream, heard: Instant::now() }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(_) => Err(1006),
        }
    }

    /// Opens a socket, and says who it is of. The status or the close code, if it is refused.
    pub async fn try_connect(url: &str, token: &str) -> Result<Socket, u16> {
        let mut socket = Socket::try_open(url, Some("graphql-transport-ws")).await?;
        let payload = json!({ "Authorization": format!("Bearer {token}") });
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        match socket.next().await {
            Heard::Message(message) => {
                assert_eq!(message, json!({ "type": "connection_ack" }));
                Ok(socket)
            }
            Heard::Closed(code) => Err(code),
        }
    }

    pub async fn connect(url: &str, token: &str) -> Socket {
        Socket::try_connect(url, token).await.expect("a good token")
    }

    /// A device's socket, subscribed with its cursor and poked at once if it is behind. What it is
    /// told from now on is news.
    pub async fn of(url: &str, device: &Device<'_>) -> Socket {
        let mut socket = Socket::connect(url, &device.token).await;
        socket.subscribe("pokes", None).await;
        socket.poke().await;
        socket
    }

    pub async fn send(&mut self, message: Json) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        // Errors: the server has closed already, and says why to who reads.
        let _ = self.stream.send(message).await;
    }

    pub async fn subscribe(&mut self, id: &str, cursor: Option<&str>) {
        let payload = json!({ "query": SUBSCRIBE, "variables": { "cursor": cursor } });
        self.send(json!({ "type": "subscribe", "id": id, "payload": payload })).await;
    }

    /// What comes first of a subscription, as the answer to a request would be. Whoever is not let in
    /// is UNAUTHENTICATED.
    pub async fn first(url: &str, token: Option<&str>, query: &str) -> Json {
        match Socket::try_connect(url, token.unwrap_or_default()).await {
            Ok(mut socket) => {
                let payload = json!({ "query": query });
                socket.send(json!({ "type": "subscribe", "id": "1", "payload": payload })).await;
                let message = socket.message().await;
                match message["type"].as_str() {
                    Some("next") => message["payload"].clone(),
                    _ => json!({ "errors": message["payload"] }),
                }
            }
            Err(4403) => json!({ "errors": [{ "extensions": { "code": "UNAUTHENTICATED" } }] }),
            Err(code) => panic!("closed: {code}"),
        }
    }

    pub async fn next(&mut self) -> Heard {
        timeout(PATIENCE, self.hear(PATIENCE)).await.expect("something comes")
    }

    /// The next message. A line on which nothing came for so long, not even a ping, is dead. Nothing
    /// is lost if this is dropped.
    pub async fn hear(&mut self, silence: Duration) -> Heard {
        let mut code = 1006;
        loop {
            let frame = timeout_at(self.heard + silence, self.stream.next()).await;
            self.heard = Instant::now();
            match frame.unwrap_or(None) {
                Some(Ok(Message::Text(text))) => {
                    return Heard::Message(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(Some(frame)))) => code = frame.code.into(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(code),
            }
        }
    }

    pub async fn message(&mut self) -> Json {
        match self.next().await {
            Heard::Message(message) => message,
            Heard::Closed(code) => panic!("closed: {code}"),
        }
    }

    /// Waits for a poke, and gives its `serverTimestamp`.
    pub async fn poke(&mut self) -> String {
        let message = self.message().await;
        assert_eq!(message["type"], "next", "{message}");
        let time = &message["payload"]["data"]["syncAvailable"]["serverTimestamp"];
        time.as_str().unwrap_or_else(|| panic!("{message}")).to_owned()
    }

    /// Waits until it is closed, whatever comes before, and gives the code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Heard::Closed(code) = self.next().await {
                return code;
            }
        }
    }

    /// How many messages come until none has come for a while: longer than a poke may wait.
    pub async fn count(&mut self) -> usize {
        let mut count = 0;
        while let Ok(heard) = timeout(Duration::from_millis(1500), self.hear(PATIENCE)).await {
            assert!(matches!(heard, Heard::Message(_)), "{heard:?}");
            count += 1;
        }
        count
    }
}
