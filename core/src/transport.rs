//! The second seam: what travels between nodes, and under which laws.
//!
//! - A **call** is one request and one response, independent of other calls: calls may overtake
//!   each other, be lost (the caller waits for nothing; its own timeout ends it) or be delivered
//!   twice (the second response is dropped).
//! - A **stream** is ordered and reliable until it breaks: loss shows as delay, then as a break
//!   after the transport's idle timeout. A break loses a suffix in each direction, independently.
//!
//! The transport carries opaque frames of at most [`MESSAGE_BYTES_MAX`]; what they mean is
//! [`codec`](crate::codec)'s business. It enforces no deadline of a request: the caller drops the
//! future, which cancels it. One conformance suite holds these laws for every implementation.
//!
//! [`MESSAGE_BYTES_MAX`]: crate::limits::MESSAGE_BYTES_MAX

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::NodeId;

/// Traffic classes that must not delay each other; a transport may give each its own connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Heartbeats, votes and leadership transfer.
    Control,
    /// Log entries.
    Replication,
    /// Snapshots.
    Snapshot,
    /// Requests of clients, and those that a follower forwards.
    Client,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 4] = [Lane::Control, Lane::Replication, Lane::Snapshot, Lane::Client];
}

/// Why a frame did not arrive, as far as the sender can know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection to the peer can be had: nothing was delivered.
    #[error("node {to} is unreachable: {reason}")]
    Unreachable {
        /// The peer.
        to: NodeId,
        /// What the transport saw.
        reason: String,
    },
    /// The connection or stream broke: what was sent may or may not have arrived.
    #[error("the stream broke: {reason}")]
    Broken {
        /// What the transport saw.
        reason: String,
    },
    /// The deadline passed: what was sent may or may not have arrived.
    #[error("timed out after {ms} ms")]
    Timeout {
        /// The deadline, in milliseconds.
        ms: u64,
    },
    /// The frame is longer than a transport carries; nothing was sent.
    #[error("a frame of {bytes} bytes passes the limit of {limit} bytes")]
    TooLarge {
        /// The frame's length.
        bytes: usize,
        /// The longest frame allowed.
        limit: usize,
    },
    /// The peer understood that there was a request and did not handle it.
    #[error("refused: {reason}")]
    Refused {
        /// The peer's words.
        reason: String,
    },
}

/// The network as one endpoint sees it. Cloning gives another handle to the same endpoint.
pub trait Transport: Clone + Send + Sync + 'static {
    /// The half of a stream that frames are sent on.
    type Sender: FrameSender;
    /// The half of a stream that frames arrive on.
    type Receiver: FrameReceiver;

    /// Tells the transport where a node can be reached; the latest word counts.
    fn learn(&self, node: NodeId, address: &str);

    /// Where a node is by now that was said to be here; a transport whose nodes stay where they are
    /// knows nothing else.
    fn whereabouts(&self, said: &str) -> String {
        said.to_owned()
    }

    /// Sends one request and waits for its response, however long that takes.
    ///
    /// # Errors
    /// Only [`TransportError::Unreachable`], `TooLarge` and `Refused` say that the request had no
    /// effect. Dropping the future cancels the wait, not the request.
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        request: Bytes,
    ) -> impl Future<Output = Result<Bytes, TransportError>> + Send;

    /// Opens a stream; the peer's [`Handler::stream`] gets the other ends.
    ///
    /// # Errors
    /// [`TransportError::Unreachable`] when there is no connection to be had.
    fn open(
        &self,
        to: NodeId,
        lane: Lane,
    ) -> impl Future<Output = Result<(Self::Sender, Self::Receiver), TransportError>> + Send;

    /// Hands every incoming call and stream to `handler`, each in a task of its own, until the
    /// future is dropped or the endpoint closes.
    fn serve<H: Handler<Self>>(&self, handler: Arc<H>) -> impl Future<Output = ()> + Send;
}

/// The sending half of a stream. Dropping it without [`finish`](FrameSender::finish) resets the
/// stream: the peer sees [`TransportError::Broken`].
pub trait FrameSender: Send + 'static {
    /// Sends one frame, waiting while the peer's window is full.
    ///
    /// # Errors
    /// [`TransportError::Broken`] once the stream is broken, `TooLarge` for a frame over the limit.
    fn send(&mut self, frame: Bytes) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Says that no frame follows; the peer's [`FrameReceiver::recv`] gives `None` after the last.
    ///
    /// # Errors
    /// [`TransportError::Broken`] once the stream is broken.
    fn finish(self) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// The receiving half of a stream.
pub trait FrameReceiver: Send + 'static {
    /// The next frame, or `None` after the peer finished.
    ///
    /// # Errors
    /// [`TransportError::Broken`] when the stream broke before the peer finished.
    fn recv(&mut self) -> impl Future<Output = Result<Option<Bytes>, TransportError>> + Send;
}

/// What an endpoint does with what comes in.
pub trait Handler<T: Transport>: Send + Sync + 'static {
    /// Answers one call.
    fn call(
        &self,
        lane: Lane,
        request: Bytes,
    ) -> impl Future<Output = Result<Bytes, TransportError>> + Send;

    /// Serves one stream until it ends.
    fn stream(
        &self,
        lane: Lane,
        sender: T::Sender,
        receiver: T::Receiver,
    ) -> impl Future<Output = ()> + Send;
}
