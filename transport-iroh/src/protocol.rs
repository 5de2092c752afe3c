//! What irpc carries: core's frames as opaque bytes, and where a direction of a stream ends.
//!
//! irpc prefixes every message with its length. A QUIC stream whose sender is dropped looks
//! finished to its reader, so the end that was meant is a message of its own ([`Frame::End`]):
//! without it, a direction is broken.

use bytes::Bytes;
use irpc::channel::{mpsc, oneshot};
use irpc::rpc_requests;
use serde::{Deserialize, Serialize};

/// The first message of a QUIC stream.
#[rpc_requests(message = Message, no_spans)]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Protocol {
    /// One request, one response.
    #[rpc(tx = oneshot::Sender<Answer>)]
    Call(Call),
    /// Frames in both directions.
    #[rpc(tx = mpsc::Sender<Frame>, rx = mpsc::Receiver<Frame>)]
    Stream(Stream),
}

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call(pub(crate) Bytes);

/// The opening of a stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream;

/// What a handler made of a request: the response, or why it did not handle it.
pub(crate) type Answer = Result<Bytes, String>;

/// A piece of one direction of a stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// A frame.
    Data(Bytes),
    /// None follows.
    End,
}
