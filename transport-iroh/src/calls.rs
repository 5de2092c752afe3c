//! Calls: many under way at once on one long-lived stream of a connection.
//!
//! Each call has a number, and its answer comes under that number, in whatever order. Both ends put
//! what waits to be sent into one message: under load many calls share a packet, and one alone
//! waits for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aspen_core::NodeId;
use aspen_core::limits::{CALLS_MAX, MESSAGE_BYTES_MAX};
use aspen_core::transport::{Handler, Lane, TransportError};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use iroh::endpoint::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::messages::Messages;
use crate::protocol::{Answer, Batch, Calls, Numbered};
use crate::stream::broken;
use crate::transport::{Inner, IrohTransport, open};

/// A message takes no more calls, or answers, once it is this long.
const BATCH_BYTES: usize = 64 << 10;
/// A call takes one of [`CALLS_MAX`] slots for each so many bytes that it has begun.
const BYTES_PER_SLOT: usize = 64 << 10;

type Response = Result<Bytes, TransportError>;

/// A call that was not sent yet.
struct Waiting {
    request: Bytes,
    response: oneshot::Sender<Response>,
}

/// The calls to one peer on one connection. Cloning gives another handle to the same stream.
#[derive(Clone)]
pub(crate) struct Caller {
    to: NodeId,
    queue: mpsc::Sender<Waiting>,
}

impl Caller {
    /// Opens the stream, in a task of its own; calls wait for that.
    pub(crate) fn open(to: NodeId, connection: Connection) -> Self {
        let (queue, waiting) = mpsc::channel(CALLS_MAX);
        tokio::spawn(carry(to, connection, waiting));
        Self { to, queue }
    }

    /// Whether the stream has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.queue.is_closed()
    }

    pub(crate) async fn call(&self, request: Bytes) -> Response {
        let (response, receiver) = oneshot::channel();
        if self.queue.send(Waiting { request, response }).await.is_err() {
            return Err(unsent(self.to, "the stream of calls has just ended"));
        }
        receiver.await.unwrap_or_else(|_| Err(broken("the stream of calls has ended")))
    }
}

fn unsent(to: NodeId, reason: impl std::fmt::Display) -> TransportError {
    TransportError::Unreachable { to, reason: format!("{reason:#}") }
}

/// The calls that were sent and not answered.
#[derive(Default)]
struct Pending(Mutex<BTreeMap<u64, oneshot::Sender<Response>>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Response>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries calls there and answers back until either way ends.
async fn carry(to: NodeId, connection: Connection, mut waiting: mpsc::Receiver<Waiting>) {
    let (send, receive) = match open(connection, Calls).await {
        Ok(opened) => opened,
        Err(reason) => return refuse(to, waiting, reason),
    };
    let (sender, receiver) = (send.into(), Messages::new(receive));
    let pending = Pending::default();
    let reason = tokio::select! {
        reason = send_calls(&mut waiting, sender, &pending) => reason,
        reason = receive_answers(receiver, &pending) => reason,
    };
    for response in std::mem::take(&mut *pending.lock()).into_values() {
        // Who does not wait any more has no use for it.
        let _ = response.send(Err(broken(&reason)));
    }
    refuse(to, waiting, reason);
}

/// Turns those away that were not sent.
fn refuse(to: NodeId, mut waiting: mpsc::Receiver<Waiting>, reason: String) {
    waiting.close();
    while let Ok(unlucky) = waiting.try_recv() {
        let _ = unlucky.response.send(Err(unsent(to, &reason)));
    }
}

/// Sends what waits; gives the reason why that ended.
async fn send_calls(
    waiting: &mut mpsc::Receiver<Waiting>,
    sender: irpc::channel::mpsc::Sender<Batch>,
    pending: &Pending,
) -> String {
    let mut number = 0;
    while let Some(first) = waiting.recv().await {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Waiting { request, response }) = next.take() {
            // Nobody waits for it, and nobody was told that it was sent.
            if !response.is_closed() {
                number += 1;
                bytes += request.len();
                pending.lock().insert(number, response);
                batch.push(Numbered { number, body: request });
            }
            if bytes < BATCH_BYTES && batch.len() < CALLS_MAX {
                next = waiting.try_recv().ok();
            }
        }
        if let Err(error) = sender.send(Batch(batch)).await {
            return format!("{error:#}");
        }
    }
    "nobody calls any more".to_owned()
}

/// Hands answers out; gives the reason why that ended.
async fn receive_answers(
    mut receiver: Messages<Vec<Numbered<Answer>>>,
    pending: &Pending,
) -> String {
    loop {
        let answers = match receiver.next().await {
            Ok(Some(answers)) => answers,
            Ok(None) => return "the peer has ended the stream of calls".to_owned(),
            Err(error) => return format!("{error:#}"),
        };
        for Numbered { number, body } in answers {
            let Some(response) = pending.lock().remove(&number) else { continue };
            let _ = response.send(match body {
                Answer::Done(bytes) => Ok(bytes),
                Answer::Refused(reason) => Err(TransportError::Refused { reason }),
                Answer::TooLarge(bytes) => Err(TransportError::TooLarge {
                    bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                    limit: MESSAGE_BYTES_MAX,
                }),
                Answer::Lost => Err(broken("the peer lost the call")),
            });
        }
    }
}

/// How many calls of one connection are served at once.
pub(crate) struct Slots(Arc<Semaphore>);

impl Slots {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(CALLS_MAX)))
    }

    /// Waits for room for a call.
    async fn take(&self, request: &Bytes) -> OwnedSemaphorePermit {
        let slots = 1 + request.len() / BYTES_PER_SLOT;
        let slots = u32::try_from(slots.min(CALLS_MAX)).expect("a small number");
        self.0.clone().acquire_many_owned(slots).await.expect("nobody closes it")
    }
}

/// A call that is being served. It is answered however its task ends.
struct Serving {
    number: u64,
    answer: Answer,
    queue: mpsc::UnboundedSender<Served>,
    slots: Option<OwnedSemaphorePermit>,
}

/// An answer on its way, with the slots that are free once it is sent.
struct Served(Numbered<Answer>, Option<OwnedSemaphorePermit>);

impl Serving {
    fn end(mut self, response: Response) {
        self.answer = match response {
            Ok(answer) if answer.len() > MESSAGE_BYTES_MAX => Answer::TooLarge(answer.len() as u64),
            Ok(answer) => Answer::Done(answer),
            Err(error) => Answer::Refused(reason(&error)),
        };
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let body = std::mem::replace(&mut self.answer, Answer::Lost);
        // An answer that nobody waits for any more is lost, as the law has it.
        let _ = self.queue.send(Served(Numbered { number: self.number, body }, self.slots.take()));
    }
}

/// Serves the calls of one stream until it ends, all of them in the stream's own task: a
/// task for each would be woken, moved and run by itself, and most calls only wait for the node.
pub(crate) async fn serve_calls<H: Handler<IrohTransport>>(
    inner: &Arc<Inner>,
    lane: Lane,
    handler: Arc<H>,
    slots: &Slots,
    mut calls: Messages<Batch>,
    answers: irpc::channel::mpsc::Sender<Vec<Numbered<Answer>>>,
) {
    // Each call has a slot, so neither queue holds more than there are of those.
    let (begun, waiting) = mpsc::unbounded_channel();
    let (queue, served) = mpsc::unbounded_channel();
    let handler = &handler;
    let begin = async move {
        while let Ok(Some(Batch(batch))) = calls.next().await {
            for Numbered { number, body: request } in batch {
                let taken = slots.take(&request).await;
                let queue = queue.clone();
                let serving = Serving { number, answer: Answer::Lost, queue, slots: Some(taken) };
                let call: BoxFuture<'_, ()> = Box::pin(async move {
                    let begun = Instant::now();
                    serving.end(handler.call(lane, request).await);
                    inner.took(true, lane, begun);
                });
                // Its other end waits until this one is gone.
                let _ = begun.send(call);
            }
            if queue.is_closed() {
                break;
            }
        }
    };
    // When nobody waits for the answers any more, what was asked is done nevertheless.
    tokio::join!(begin, finish_calls(waiting), send_answers(served, answers));
}

/// Runs all calls that are under way until there are no more to come.
async fn finish_calls(mut waiting: mpsc::UnboundedReceiver<BoxFuture<'_, ()>>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            begun = waiting.recv() => match begun {
                Some(call) => under_way.push(call),
                None => break,
            },
            Some(()) = under_way.next() => {}
        }
    }
    while let Some(()) = under_way.next().await {}
}

async fn send_answers(
    mut served: mpsc::UnboundedReceiver<Served>,
    answers: irpc::channel::mpsc::Sender<Vec<Numbered<Answer>>>,
) {
    while let Some(first) = served.recv().await {
        let (mut batch, mut slots) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Served(answer, taken)) = next.take() {
            bytes += answer.body.len();
            batch.push(answer);
            slots.push(taken);
            if bytes < BATCH_BYTES {
                next = served.try_recv().ok();
            }
        }
        if answers.send(batch).await.is_err() {
            return;
        }
    }
}

/// The words of a handler that did not handle a call.
fn reason(error: &TransportError) -> String {
    match error {
        TransportError::Refused { reason } => reason.clone(),
        TransportError::Unreachable { .. }
        | TransportError::Broken { .. }
        | TransportError::Timeout { .. }
        | TransportError::TooLarge { .. } => error.to_string(),
    }
}
