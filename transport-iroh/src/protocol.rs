//! What irpc carries: core's frames as opaque bytes, and where a direction of a stream ends.
//!
//! irpc prefixes every message with its length. A QUIC stream whose sender is dropped looks
//! finished to its reader, so the end that was meant is a message of its own ([`Frame::End`]):
//! without it, a direction is broken.

use bytes::Bytes;
use irpc::channel::mpsc;
use irpc::rpc_requests;
use serde::{Deserialize, Serialize};

/// The first message of a QUIC stream.
#[rpc_requests(message = Message, no_spans)]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Protocol {
    /// Requests and their responses, as many as there are, in messages that hold several.
    #[rpc(tx = mpsc::Sender<Vec<Numbered<Answer>>>, rx = mpsc::Receiver<Vec<Numbered<Bytes>>>)]
    Calls(Calls),
    /// Frames in both directions.
    #[rpc(tx = mpsc::Sender<Frame>, rx = mpsc::Receiver<Frame>)]
    Stream(Stream),
}

/// The opening of a stream of calls.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Calls;

/// The opening of a stream of frames.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream;

/// A request or its answer, under a number that the caller uses once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Numbered<T> {
    /// The call's.
    pub(crate) number: u64,
    pub(crate) body: T,
}

/// What came of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The response.
    Done(Bytes),
    /// Why it was not handled.
    Refused(String),
    /// The response passes what a message may hold, with so many bytes.
    TooLarge(u64),
    /// The handler broke down over it.
    Lost,
}

impl Answer {
    /// Its length in a message, close enough for limits.
    pub(crate) fn len(&self) -> usize {
        match self {
            Answer::Done(bytes) => bytes.len(),
            Answer::Refused(reason) => reason.len(),
            Answer::TooLarge(_) | Answer::Lost => 0,
        }
    }
}

/// A piece of one direction of a stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// A frame.
    Data(Bytes),
    /// None follows.
    End,
}
