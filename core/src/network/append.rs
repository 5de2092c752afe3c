//! The pipelined append stream: requests go out as openraft makes them, results come in in the
//! same order, and neither waits for the other.
//!
//! A request that only tells of commits waits a moment for the next one, which tells of them too and
//! takes its place: a request is a packet there and a packet back, with a task woken at each end.
//! openraft does not miss the answer, because it takes that of a later request for all before it.
//!
//! openraft opens a session for each batch of work. The transport's stream outlives sessions: one
//! that ends with every request answered leaves its stream to the next. Any other end (an error, a
//! timeout, a cancelled session) drops the stream, because answers still under way would be taken
//! for those of the next session.

use std::pin::Pin;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::RPCTypes;
use openraft::alias::InstantOf;
use openraft::async_runtime::Select2;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use openraft::type_config::TypeConfigExt;

use super::{AppendSession, Connection, network_error};
use crate::codec::{self, AppendFrame, AppendResultFrame, Open};
use crate::limits::COMMIT_WAIT;
use crate::runtime::Runtime;
use crate::transport::{FrameReceiver, FrameSender, Lane, Transport, TransportError};
use crate::types::{LogId, RaftConfig};

type Requests<R> = Pin<Box<dyn Stream<Item = AppendEntriesRequest<RaftConfig<R>>> + Send>>;
type StepResult<R> = Result<StreamAppendResult<RaftConfig<R>>, RPCError<RaftConfig<R>>>;
/// A frame on its way; it gives its sender back.
type Sending<S> = Pin<Box<dyn Future<Output = Result<S, TransportError>> + Send>>;

/// One session: what goes out on its stream, and what comes in.
struct Session<'s, R: Runtime, T: Transport> {
    connection: &'s mut Connection<R, T>,
    outgoing: Outgoing<R, T::Sender>,
    receiver: T::Receiver,
    unanswered: u64,
}

/// The way of a session's requests onto its stream.
struct Outgoing<R: Runtime, S> {
    requests: Requests<R>,
    exhausted: bool,
    /// A request that waits for the next one to take its place.
    held: Option<Held<R>>,
    /// Goes off when a held request is due, or was: it stays set when another takes the place of
    /// what it was set for. To set one may take a system call, and most would never go off.
    alarm: Option<Pin<Box<R::Sleep>>>,
    /// The last entry of the last request that was sent.
    last_sent: Option<LogId>,
    /// The sender, unless a frame is being sent.
    sender: Option<S>,
    /// The frame that is being sent; it gives the sender back.
    sending: Option<Sending<S>>,
}

/// A request that only tells of commits.
struct Held<R: Runtime> {
    request: AppendEntriesRequest<RaftConfig<R>>,
    /// When it is sent by itself.
    until: InstantOf<RaftConfig<R>>,
}

/// Begins a session on the connection's idle stream, or on a new one.
pub(super) async fn session<'s, R, T, S>(
    connection: &'s mut Connection<R, T>,
    input: S,
    setup_ttl: Duration,
) -> AppendSession<'s, R>
where
    R: Runtime,
    T: Transport,
    S: Stream<Item = AppendEntriesRequest<RaftConfig<R>>> + Send + Unpin + 'static,
{
    let action = RPCTypes::AppendEntries;
    let (sender, receiver) = match idle(connection).take() {
        Some(stream) => stream,
        None => R::timeout(setup_ttl, open(connection))
            .await
            .map_err(|_elapsed| connection.timeout(action, setup_ttl))?
            .map_err(|error| connection.transport_error(action, error))?,
    };
    let outgoing = Outgoing {
        requests: Box::pin(input),
        exhausted: false,
        held: None,
        alarm: None,
        last_sent: None,
        sender: Some(sender),
        sending: None,
    };
    let session = Session { connection, outgoing, receiver, unanswered: 0 };
    Ok(Box::pin(futures_util::stream::unfold(Some(session), step)))
}

/// The idle stream's place. A panic elsewhere leaves it as it was: empty or whole.
fn idle<R: Runtime, T: Transport>(
    connection: &mut Connection<R, T>,
) -> &mut Option<(T::Sender, T::Receiver)> {
    connection.idle.get_mut().unwrap_or_else(PoisonError::into_inner)
}

async fn open<R: Runtime, T: Transport>(
    connection: &Connection<R, T>,
) -> Result<(T::Sender, T::Receiver), TransportError> {
    let (mut sender, receiver) =
        connection.transport.open(connection.target, Lane::Replication).await?;
    let frame = codec::encode(&Open::Append).expect("the opening frame has a few bytes");
    sender.send(frame).await?;
    Ok((sender, receiver))
}

/// The next result of a session, and the session if it goes on after it.
async fn step<'s, R, T>(
    session: Option<Session<'s, R, T>>,
) -> Option<(StepResult<R>, Option<Session<'s, R, T>>)>
where
    R: Runtime,
    T: Transport,
{
    let mut session = session?;
    match session.next_result().await {
        Ok(Some(Ok(matching))) => Some((Ok(Ok(matching)), Some(session))),
        // openraft ends a session after a conflict or a higher vote, and so does the peer.
        Ok(Some(Err(refused))) => Some((Ok(Err(refused)), None)),
        Ok(None) => {
            session.rest();
            None
        }
        Err(error) => Some((Err(error), None)),
    }
}

impl<R, T> Session<'_, R, T>
where
    R: Runtime,
    T: Transport,
{
    /// Sends requests until a result comes in; `None` once all requests are sent and answered.
    async fn next_result(
        &mut self,
    ) -> Result<Option<StreamAppendResult<RaftConfig<R>>>, RPCError<RaftConfig<R>>> {
        let deadline = self.connection.deadlines.append;
        let action = RPCTypes::AppendEntries;
        loop {
            if self.unanswered == 0 {
                if self.outgoing.is_over() {
                    return Ok(None);
                }
                let sent = self.outgoing.step(&mut self.unanswered).await;
                sent.map_err(|error| error.into_rpc(self.connection))?;
                continue;
            }
            let waiting = self.send_or_receive();
            let frame = R::timeout(deadline, waiting)
                .await
                .map_err(|_elapsed| self.connection.timeout(action, deadline))??;
            if let Some(frame) = frame {
                self.unanswered -= 1;
                let AppendResultFrame(result) = codec::decode::<AppendResultFrame<R>>(&frame)
                    .map_err(|error| network_error(&error))?;
                return Ok(Some(result));
            }
        }
    }

    /// Waits for a frame of the peer; gives `None` when a request went out instead.
    async fn send_or_receive(&mut self) -> Result<Option<bytes::Bytes>, RPCError<RaftConfig<R>>> {
        let Self { connection, outgoing, receiver, unanswered } = self;
        let received = if outgoing.is_over() {
            receiver.recv().await
        } else {
            let send = std::pin::pin!(outgoing.step(unanswered));
            let receive = std::pin::pin!(receiver.recv());
            match R::select2(receive, send).await {
                Select2::First(received) => received,
                Select2::Second(sent) => {
                    return sent.map(|()| None).map_err(|error| error.into_rpc(connection));
                }
            }
        };
        match received {
            Ok(Some(frame)) => Ok(Some(frame)),
            Ok(None) => {
                let reason = "the peer finished with requests unanswered".to_owned();
                Err(network_error(&TransportError::Broken { reason }))
            }
            Err(error) => Err(connection.transport_error(RPCTypes::AppendEntries, error)),
        }
    }

    /// Leaves the stream to the next session.
    fn rest(self) {
        if let Some(sender) = self.outgoing.sender {
            *idle(self.connection) = Some((sender, self.receiver));
        }
    }
}

/// What can go wrong with an outgoing request.
enum SendError {
    Codec(codec::CodecError),
    Transport(TransportError),
}

impl SendError {
    fn into_rpc<R: Runtime, T: Transport>(
        self,
        connection: &Connection<R, T>,
    ) -> RPCError<RaftConfig<R>> {
        match self {
            SendError::Codec(error) => network_error(&error),
            SendError::Transport(error) => {
                connection.transport_error(RPCTypes::AppendEntries, error)
            }
        }
    }
}

impl<R: Runtime, S: FrameSender> Outgoing<R, S> {
    /// Whether every request was sent.
    fn is_over(&self) -> bool {
        self.exhausted && self.held.is_none() && self.sending.is_none()
    }

    /// Takes the next request and sends it, or finishes the send under way; counts what it sends.
    /// May be dropped and called again: what was taken and not sent stays.
    async fn step(&mut self, unanswered: &mut u64) -> Result<(), SendError> {
        if self.sending.is_none() {
            let Some(request) = self.next_request().await else { return Ok(()) };
            let last = request.entries.last().map(|entry| entry.log_id);
            self.last_sent = last.or(request.prev_log_id);
            let frame = codec::encode(&AppendFrame::<R>(request)).map_err(SendError::Codec)?;
            let mut idle = self.sender.take().expect("no frame is under way");
            *unanswered += 1;
            self.sending = Some(Box::pin(async move { idle.send(frame).await.map(|()| idle) }));
        }
        if let Some(future) = &mut self.sending {
            let idle = future.as_mut().await.map_err(SendError::Transport)?;
            self.sender = Some(idle);
            self.sending = None;
        }
        Ok(())
    }

    /// The next request to send, unless there is none.
    async fn next_request(&mut self) -> Option<AppendEntriesRequest<RaftConfig<R>>> {
        while !self.exhausted {
            let next = match &self.held {
                None => self.requests.next().await,
                Some(held) => {
                    let alarm =
                        self.alarm.get_or_insert_with(|| Box::pin(R::sleep_until(held.until)));
                    match R::select2(self.requests.next(), alarm).await {
                        Select2::First(next) => next,
                        Select2::Second(()) => {
                            self.alarm = None;
                            if held.until <= RaftConfig::<R>::now() {
                                break;
                            }
                            continue;
                        }
                    }
                }
            };
            let Some(next) = next else {
                self.exhausted = true;
                break;
            };
            let follows = self.last_sent.is_some() && self.last_sent == next.prev_log_id;
            // What was held until now, `next` tells as well.
            let held = self.held.take();
            if !follows || !next.entries.is_empty() {
                return Some(next);
            }
            let until =
                held.map_or_else(|| RaftConfig::<R>::now() + COMMIT_WAIT, |held| held.until);
            self.held = Some(Held { request: next, until });
        }
        self.held.take().map(|held| held.request)
    }
}
