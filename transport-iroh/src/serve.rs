//! What comes in: connections are admitted, and each of their streams is a task of its own.
//!
//! A stream that stalls, breaks off or holds nonsense is reset, alone: no other stream of its
//! connection notices. Strangers, those that have not proven anything yet, are few at a time: one
//! more drives the oldest out. A proof takes milliseconds, so who can give one is through before
//! that, however many others hold on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aspen_core::limits::{CONNECT_TIMEOUT, CONNECTIONS_MAX, READ_TIMEOUT, STRANGERS_MAX};
use aspen_core::transport::{Handler, Lane};
use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream, VarInt};
use tokio::task::{AbortHandle, JoinSet};

use crate::access::{self, Purpose, closed};
use crate::calls::{Slots, serve_calls};
use crate::messages::Messages;
use crate::protocol::Protocol;
use crate::stream::{IrohReceiver, IrohSender};
use crate::transport::{Inner, IrohTransport};

/// Longest first message of a stream, which only says what it is for.
const FIRST_BYTES_MAX: usize = 16;
/// Refusals are warned of this often at most.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);
/// How a stream is reset whose first message cannot be read.
const UNREADABLE: VarInt = VarInt::from_u32(400);

/// What was turned away, counted since the endpoint was bound.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Connections above the limit, and strangers that others drove out.
    pub too_many: AtomicU64,
    /// Connections that ended before they had proven anything, among them those of other programs.
    pub handshake: AtomicU64,
    /// Connections of endpoints that are not on the allow list.
    pub not_allowed: AtomicU64,
    /// Connections with a wrong cookie or ticket.
    pub unproven: AtomicU64,
    /// Streams whose first message was late, too long or nonsense.
    pub unreadable: AtomicU64,
    /// When a refusal was last warned of.
    warned: Mutex<Option<Instant>>,
}

impl Refusals {
    /// Whether a refusal was not warned of for a while.
    fn is_worth_a_line(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let worth = warned.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
        if worth {
            *warned = Some(Instant::now());
        }
        worth
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Serves until the endpoint is closed. Dropping the future ends all that it serves.
pub(crate) async fn serve<H: Handler<IrohTransport>>(inner: &Arc<Inner>, handler: Arc<H>) {
    let mut strangers: VecDeque<Stranger> = VecDeque::new();
    let mut connections = JoinSet::new();
    while let Some(incoming) = inner.endpoint.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            count(&inner.refusals.too_many);
            incoming.refuse();
            continue;
        }
        strangers.retain(|one| !one.task.is_finished() && !one.admitted.load(Ordering::Relaxed));
        if strangers.len() >= STRANGERS_MAX
            && let Some(oldest) = strangers.pop_front()
        {
            count(&inner.refusals.too_many);
            oldest.task.abort();
        }
        let admitted = Arc::new(AtomicBool::new(false));
        let (flag, inner, handler) = (admitted.clone(), inner.clone(), handler.clone());
        let task = connections.spawn(async move {
            let Some((connection, purpose)) = admit(&inner, incoming).await else { return };
            flag.store(true, Ordering::Relaxed);
            match purpose {
                Purpose::Lane(lane) => serve_connection(&inner, connection, lane, handler).await,
                Purpose::Gossip => inner.gossip.take_in(connection).await,
            }
        });
        strangers.push_back(Stranger { task, admitted });
    }
}

/// A connection that has proven nothing yet.
struct Stranger {
    task: AbortHandle,
    admitted: Arc<AtomicBool>,
}

/// The handshake and the proof.
async fn admit(inner: &Inner, incoming: Incoming) -> Option<(Connection, Purpose)> {
    let handshake = async { incoming.accept().ok()?.await.ok() };
    let Ok(Some(connection)) = tokio::time::timeout(CONNECT_TIMEOUT, handshake).await else {
        count(&inner.refusals.handshake);
        return None;
    };
    let purpose = Purpose::of(connection.alpn())?;
    if !inner.allowed.admits(purpose, connection.remote_id()) {
        count(&inner.refusals.not_allowed);
        connection.close(closed::NOT_ALLOWED, b"not on the allow list");
        return None;
    }
    let key = inner.credentials.key(purpose)?;
    match tokio::time::timeout(READ_TIMEOUT, access::verify(&connection, key)).await {
        Ok(Ok(())) => Some((connection, purpose)),
        Ok(Err(error)) => {
            // Before the other side can know.
            count(&inner.refusals.unproven);
            connection.close(closed::UNPROVEN, error.to_string().as_bytes());
            let endpoint = connection.remote_id();
            // They are counted; a log that is full helps nobody.
            if inner.refusals.is_worth_a_line() {
                tracing::warn!(%endpoint, %error, "a connection was refused");
            } else {
                tracing::debug!(%endpoint, %error, "a connection was refused");
            }
            None
        }
        Err(_elapsed) => {
            count(&inner.refusals.unproven);
            connection.close(closed::TOO_SLOW, b"no proof");
            None
        }
    }
}

async fn serve_connection<H: Handler<IrohTransport>>(
    inner: &Arc<Inner>,
    connection: Connection,
    lane: Lane,
    handler: Arc<H>,
) {
    let mut streams = JoinSet::new();
    let slots = Arc::new(Slots::new());
    while let Ok((send, receive)) = connection.accept_bi().await {
        while streams.try_join_next().is_some() {}
        let (inner, handler, slots) = (inner.clone(), handler.clone(), slots.clone());
        streams.spawn(async move {
            serve_stream(&inner, &slots, send, receive, lane, handler).await;
        });
    }
    // Nobody waits for the answers any more, but what was asked is done.
    while streams.join_next().await.is_some() {}
}

async fn serve_stream<H: Handler<IrohTransport>>(
    inner: &Arc<Inner>,
    slots: &Slots,
    mut send: SendStream,
    receive: RecvStream,
    lane: Lane,
    handler: Arc<H>,
) {
    let mut messages = Messages::new(receive);
    let first = messages.next_within(FIRST_BYTES_MAX);
    let first = tokio::time::timeout(READ_TIMEOUT, first).await;
    match first {
        Ok(Ok(Some(Protocol::Calls(_)))) => {
            let (calls, answers) = (messages.of(), send.into());
            serve_calls(inner, lane, handler, slots, calls, answers).await;
        }
        Ok(Ok(Some(Protocol::Stream(_)))) => {
            let receiver = IrohReceiver::new(messages.of());
            handler.stream(lane, IrohSender(send.into()), receiver).await;
        }
        Ok(Ok(None) | Err(_)) | Err(_) => {
            count(&inner.refusals.unreadable);
            // Either fails when the other side has reset the stream already.
            let _ = send.reset(UNREADABLE);
            let _ = messages.stream().stop(UNREADABLE);
        }
    }
}
