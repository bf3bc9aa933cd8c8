//! `/graphql` as a WebSocket: subscriptions by graphql-transport-ws.
//!
//! Only subscriptions: a query or mutation has POST, with its limits, compression and log; here it would
//! need all of that once more.
//!
//! Where the page that opened a socket comes from (`Origin`) is not asked. Browsers let any site open
//! a socket to any other, and send cookies along; but there are none here. What a socket may do follows
//! from the token that its client sends in connection_init, and another site's page does not have it.

mod protocol;
mod subscriptions;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, ServerError};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::protocol::{Close, Incoming};
use self::subscriptions::Subscriptions;
use super::Context;
use super::graphql::{JSON, complete, refusal};
use crate::admission::Requester;
use crate::auth::Caller;
use crate::config::limits;
use crate::error::{self, Code, Error};
use crate::graphql::{ClientAddress, Services};
use crate::poke::{Hub, Seat};

/// What the sockets of this instance share.
#[derive(Clone)]
pub struct Sockets {
    hub: Arc<Hub>,
    /// Pause between two pings.
    ping: Duration,
    /// Set when this instance takes no more of them, and then when those that are there must go.
    stopping: CancellationToken,
    leaving: CancellationToken,
    open: TaskTracker,
    /// Sockets whose clients have not said yet who they are, of each address.
    strangers: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One whose client has not said yet who it is.
struct Stranger {
    all: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = lock(&self.all).entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds it can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sockets {
    pub fn new(hub: Arc<Hub>, ping: Duration) -> Sockets {
        let open = TaskTracker::new();
        open.close();
        let [stopping, leaving] = Default::default();
        Sockets { hub, ping, stopping, leaving, open, strangers: Arc::default() }
    }

    /// Room for another of this address. None: there are enough of whom nothing is known yet.
    fn meet(&self, ClientAddress(address): ClientAddress) -> Option<Stranger> {
        let mut strangers = lock(&self.strangers);
        let count = strangers.entry(address).or_default();
        if *count >= limits::STRANGERS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        drop(strangers);
        Some(Stranger { all: self.strangers.clone(), address })
    }

    /// Whether this instance takes no more of them.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Takes no more of them: this instance is about to stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Tells all of them to go elsewhere, spread over a while, and waits until they are gone.
    pub async fn leave(&self) {
        self.stop();
        self.leaving.cancel();
        self.open.wait().await;
    }

    /// How long one of them waits before it goes.
    fn wait_to_leave(&self) -> Duration {
        let count = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        let spread = limits::SOCKET_LEAVES.saturating_mul(count).min(limits::SOCKETS_LEAVE);
        // Random bits, and no need for more than a few.
        spread.mul_f64(f64::from(Uuid::new_v4().as_u128() as u16) / f64::from(u16::MAX))
    }
}

/// Whether a request wants to become a socket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.trim().eq_ignore_ascii_case("websocket"))
}

/// Makes a socket of a request.
pub fn open(
    context: Context,
    address: ClientAddress,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([protocol::NAME]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        let message = format!("this server speaks the subprotocol {}", protocol::NAME);
        return refusal(JSON, StatusCode::BAD_REQUEST, Error::bad_input(message));
    }
    let sockets = context.sockets.clone();
    if sockets.is_stopping() || sockets.open.len() >= limits::SOCKETS {
        let message = "this instance takes no more sockets; try again, and another one may";
        let error = Error::new(Code::Unavailable, message);
        return refusal(JSON, StatusCode::SERVICE_UNAVAILABLE, error);
    }
    let Some(stranger) = sockets.meet(address) else {
        return refusal(JSON, StatusCode::TOO_MANY_REQUESTS, Error::rate_limited(error::spread()));
    };
    upgrade
        .read_buffer_size(limits::SOCKET_READ)
        // Everything that is sent is sent at once.
        .write_buffer_size(0)
        .max_write_buffer_size(limits::SOCKET_MESSAGE)
        .max_message_size(limits::SOCKET_MESSAGE)
        .max_frame_size(limits::SOCKET_MESSAGE)
        .on_upgrade(move |socket| {
            let open = sockets.open.clone();
            open.track_future(serve(context, socket, stranger))
        })
}

/// How a socket ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The server closes it.
    Closed(Close),
    /// The client has closed it.
    Gone,
    /// The line is cut, or what came is no WebSocket, or a message that is too long.
    Broken,
    /// The client shows no life.
    Dead,
    /// The client does not take what it is sent. Nothing is kept for it: a poke that it has not
    /// taken is as good as none.
    Slow,
}

/// No `async fn`, which would take room for the socket twice: as it comes, and as it is used.
fn serve(context: Context, socket: WebSocket, stranger: Stranger) -> impl Future<Output = ()> {
    let started = Instant::now();
    let mut line = Line { socket, heard: started };
    // Who is not let in is one until the socket is closed.
    let mut stranger = Some(stranger);
    async move {
        // What is over soon does not take room for as long as the socket is there.
        let (user, end) = match Box::pin(greet(&context, &mut line, &mut stranger)).await {
            Ok(greeted) => {
                (Some(greeted.caller.account), talk(&context, &mut line, &greeted).await)
            }
            Err(end) => (None, end),
        };
        let seconds = started.elapsed().as_secs();
        let user = user.map(tracing::field::display);
        tracing::info!(user, seconds, ?end, "socket ended");
        Box::pin(line.close(end)).await;
    }
}

/// Who a socket is of.
struct Greeted {
    caller: Caller,
    seat: Seat,
    /// When the token is not good any more.
    until: Instant,
}

/// Timers go no further than two years, and no socket gets that old.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Waits for connection_init, and lets in whose token is good.
async fn greet(
    context: &Context,
    line: &mut Line,
    stranger: &mut Option<Stranger>,
) -> Result<Greeted, End> {
    let sockets = &context.sockets;
    let deadline = Instant::now() + limits::SOCKET_INIT;
    let token = loop {
        let text = tokio::select! {
            text = timeout_at(deadline, line.read()) => match text {
                Ok(text) => text?,
                Err(_) => return Err(End::Closed(Close::INIT_TIMEOUT)),
            },
            () = sockets.leaving.cancelled() => return Err(End::Closed(Close::GOING_AWAY)),
        };
        match protocol::read(&text).map_err(End::Closed)? {
            Incoming::Init { token } => break token,
            Incoming::Ping => line.send(protocol::pong()).await?,
            Incoming::Pong => {}
            Incoming::Subscribe { .. } | Incoming::Complete { .. } => {
                return Err(End::Closed(Close::UNAUTHORIZED));
            }
        }
    };
    let Services { auth, admission, .. } = &*context.services;
    let named = token.and_then(|token| auth.read(&token));
    let (caller, good_for) = named.ok_or(End::Closed(Close::FORBIDDEN))?;
    // First the seat, then the question: a session that ends from here on ends the socket.
    let seat = sockets.hub.seat(caller).ok_or(End::Closed(Close::TOO_MANY_SOCKETS))?;
    let place = admission.enter(Requester::Account(caller.account)).await;
    let place = place.map_err(|_| End::Closed(Close::UNAVAILABLE))?;
    match auth.is_alive(caller).await {
        Ok(true) => drop(place),
        Ok(false) => return Err(End::Closed(Close::FORBIDDEN)),
        Err(_) => return Err(End::Closed(Close::UNAVAILABLE)),
    }
    *stranger = None;
    line.send(protocol::ack()).await?;
    Ok(Greeted { caller, seat, until: Instant::now() + good_for.min(LONGEST) })
}

/// Answers what comes, until it ends.
async fn talk(context: &Context, line: &mut Line, greeted: &Greeted) -> End {
    let Sockets { ping, leaving, .. } = &context.sockets;
    let Greeted { seat, until, .. } = greeted;
    let mut until = (*until, Close::UNAUTHORIZED);
    let mut is_leaving = false;
    let mut pings = interval_at(Instant::now() + *ping, *ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = Subscriptions::default();
    loop {
        let done = tokio::select! {
            text = line.read() => match text {
                Ok(text) => {
                    Box::pin(hear(context, line, greeted, &mut running, &text)).await
                }
                Err(end) => Err(end),
            },
            (id, answer) = running.next() => match answer {
                Some(answer) if answer.errors.is_empty() => line.send(protocol::next(&id, &answer)).await,
                Some(answer) => {
                    running.remove(&id);
                    line.send_error(&id, answer.errors).await
                }
                None => line.send(protocol::complete(&id)).await,
            },
            _ = pings.tick() => match line.heard.elapsed() > *ping * limits::SOCKET_PINGS {
                true => Err(End::Dead),
                false => line.write(Message::Ping(Default::default())).await,
            },
            () = leaving.cancelled(), if !is_leaving => {
                is_leaving = true;
                let going = (Instant::now() + context.sockets.wait_to_leave(), Close::GOING_AWAY);
                until = if going.0 < until.0 { going } else { until };
                Ok(())
            }
            () = seat.ended() => Err(End::Closed(Close::UNAUTHORIZED)),
            () = sleep_until(until.0) => Err(End::Closed(until.1)),
        };
        if let Err(end) = done {
            return end;
        }
    }
}

/// Does what a message asks for.
async fn hear(
    context: &Context,
    line: &mut Line,
    Greeted { caller, seat, .. }: &Greeted,
    running: &mut Subscriptions,
    text: &str,
) -> Result<(), End> {
    match protocol::read(text).map_err(End::Closed)? {
        Incoming::Init { .. } => Err(End::Closed(Close::TOO_MANY_INITS)),
        Incoming::Ping => line.send(protocol::pong()).await,
        Incoming::Pong => Ok(()),
        Incoming::Complete { id } => {
            running.remove(&id);
            Ok(())
        }
        Incoming::Subscribe { id, .. } if running.has(&id) => {
            Err(End::Closed(Close::SUBSCRIBER_EXISTS))
        }
        Incoming::Subscribe { id, mut request } => {
            match check(context, &mut request, running.len()) {
                Ok(()) => {
                    let request = request.data(Some(*caller)).data(seat.marks());
                    running.add(&id, context.api.execute_stream(request));
                    Ok(())
                }
                Err(error) => line.send_error(&id, vec![error.into_server_error()]).await,
            }
        }
    }
}

/// Refuses what cannot be subscribed to.
fn check(context: &Context, request: &mut Request, running: usize) -> Result<(), Error> {
    if running >= limits::SUBSCRIPTIONS {
        let message = format!("a socket may have {} subscriptions", limits::SUBSCRIPTIONS);
        return Err(Error::new(Code::Limit, message));
    }
    let document = context.documents.read(&request.query)?;
    document.prepare(request);
    let name = request.operation_name.as_deref();
    match document.operation_type(name) {
        // The library would make a stream for each, and none for those in fragments.
        None | Some(OperationType::Subscription) if !document.has_one_root(name) => {
            let message = "a subscription has one field at its root, and that not in a fragment";
            Err(Error::bad_input(message))
        }
        None | Some(OperationType::Subscription) => Ok(()),
        Some(_) => {
            let message = "only subscriptions can be sent by a socket; send this by POST";
            Err(Error::bad_input(message))
        }
    }
}

/// A socket, and when something was last heard on it.
struct Line {
    socket: WebSocket,
    heard: Instant,
}

impl Line {
    /// The next message. Nothing is lost if this is dropped.
    async fn read(&mut self) -> Result<axum::extract::ws::Utf8Bytes, End> {
        loop {
            let message = self.socket.recv().await;
            self.heard = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Binary(_))) => return Err(End::Closed(Close::BAD_REQUEST)),
                // Pings are answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
                Some(Err(_)) => return Err(End::Broken),
            }
        }
    }

    async fn send(&mut self, text: String) -> Result<(), End> {
        self.write(Message::Text(text.into())).await
    }

    async fn send_error(&mut self, id: &str, mut errors: Vec<ServerError>) -> Result<(), End> {
        errors.iter_mut().for_each(complete);
        self.send(protocol::error(id, &errors)).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(limits::SOCKET_SEND, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    /// Says why, and gives the client a moment to hear it.
    async fn close(mut self, end: End) {
        let said = match end {
            End::Closed(close) => Some(close),
            End::Broken => Some(Close::BAD_REQUEST),
            End::Gone => None,
            // Nobody listens.
            End::Dead | End::Slow => return,
        };
        let goodbye = async {
            if let Some(Close(code, reason)) = said {
                let frame = CloseFrame { code, reason: reason.into() };
                if self.socket.send(Message::Close(Some(frame))).await.is_err() {
                    return;
                }
            }
            // Until the other side has closed, too: what is dropped before may never arrive.
            while let Some(Ok(_)) = self.socket.recv().await {}
        };
        // An error: it took too long, and is cut off.
        let _ = timeout(limits::SOCKET_CLOSE, goodbye).await;
    }
}
