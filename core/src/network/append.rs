//! The pipelined append stream: requests go out as openraft makes them, results come in in the
//! same order, and neither waits for the other.
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
use openraft::async_runtime::Select2;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};

use super::{AppendSession, Connection, network_error};
use crate::codec::{self, AppendFrame, AppendResultFrame, Open};
use crate::runtime::Runtime;
use crate::transport::{FrameReceiver, FrameSender, Lane, Transport, TransportError};
use crate::types::RaftConfig;

type Requests<R> = Pin<Box<dyn Stream<Item = AppendEntriesRequest<RaftConfig<R>>> + Send>>;
type StepResult<R> = Result<StreamAppendResult<RaftConfig<R>>, RPCError<RaftConfig<R>>>;
/// A frame on its way; it gives its sender back.
type Sending<S> = Pin<Box<dyn Future<Output = Result<S, TransportError>> + Send>>;

/// One session: where its requests come from, and what is under way on its stream.
struct Session<'s, R: Runtime, T: Transport> {
    connection: &'s mut Connection<R, T>,
    requests: Requests<R>,
    exhausted: bool,
    /// The sender, unless a frame is being sent.
    sender: Option<T::Sender>,
    /// The frame that is being sent; it gives the sender back.
    sending: Option<Sending<T::Sender>>,
    receiver: T::Receiver,
    unanswered: u64,
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
    let session = Session {
        connection,
        requests: Box::pin(input),
        exhausted: false,
        sender: Some(sender),
        sending: None,
        receiver,
        unanswered: 0,
    };
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
            if self.exhausted && self.sending.is_none() && self.unanswered == 0 {
                return Ok(None);
            }
            if self.unanswered == 0 {
                self.send_next().await?;
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
        let can_send = self.sending.is_some() || !self.exhausted;
        let Self { connection, requests, exhausted, sender, sending, receiver, unanswered } = self;
        let received = if can_send {
            let send = std::pin::pin!(send_step(requests, exhausted, sender, sending, unanswered));
            let receive = std::pin::pin!(receiver.recv());
            match R::select2(receive, send).await {
                Select2::First(received) => received,
                Select2::Second(sent) => {
                    return sent.map(|()| None).map_err(|error| error.into_rpc(connection));
                }
            }
        } else {
            receiver.recv().await
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

    async fn send_next(&mut self) -> Result<(), RPCError<RaftConfig<R>>> {
        let Self { connection, requests, exhausted, sender, sending, unanswered, .. } = self;
        send_step(requests, exhausted, sender, sending, unanswered)
            .await
            .map_err(|error| error.into_rpc(connection))
    }

    /// Leaves the stream to the next session.
    fn rest(self) {
        if let Some(sender) = self.sender {
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

/// Takes the next request and sends it, or finishes the send under way. Cancel safe: the frame
/// under way stays in `sending`.
async fn send_step<R: Runtime, S: FrameSender>(
    requests: &mut Requests<R>,
    exhausted: &mut bool,
    sender: &mut Option<S>,
    sending: &mut Option<Sending<S>>,
    unanswered: &mut u64,
) -> Result<(), SendError> {
    if sending.is_none() {
        let Some(request) = requests.next().await else {
            *exhausted = true;
            return Ok(());
        };
        let frame = codec::encode(&AppendFrame::<R>(request)).map_err(SendError::Codec)?;
        let mut idle = sender.take().expect("no frame is under way");
        *unanswered += 1;
        *sending = Some(Box::pin(async move { idle.send(frame).await.map(|()| idle) }));
    }
    if let Some(future) = sending {
        let idle = future.as_mut().await.map_err(SendError::Transport)?;
        *sender = Some(idle);
        *sending = None;
    }
    Ok(())
}
