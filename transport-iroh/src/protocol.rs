//! What irpc carries: core's frames as opaque bytes, and where a direction of a stream ends.
//!
//! irpc prefixes every message with its length. A QUIC stream whose sender is dropped looks
//! finished to its reader, so the end that was meant is a message of its own ([`Frame::End`]):
//! without it, a direction is broken.

use std::fmt;

use aspen_core::limits::CALLS_MAX;
use bytes::Bytes;
use irpc::channel::mpsc;
use irpc::rpc_requests;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The first message of a QUIC stream.
#[rpc_requests(message = Message, no_spans)]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Protocol {
    /// Requests and their responses, as many as there are, in messages that hold several.
    #[rpc(tx = mpsc::Sender<Vec<Numbered<Answer>>>, rx = mpsc::Receiver<Batch>)]
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

/// Requests that were sent together, [`CALLS_MAX`] at most. One takes two bytes of a message and forty
/// of memory, so a longer message of them is not read to its end.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Batch(pub(crate) Vec<Numbered<Bytes>>);

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Requests)
    }
}

struct Requests;

impl<'de> Visitor<'de> for Requests {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CALLS_MAX} requests at most")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut requests: A) -> Result<Batch, A::Error> {
        let mut batch = Vec::new();
        while let Some(request) = requests.next_element()? {
            if batch.len() == CALLS_MAX {
                return Err(A::Error::invalid_length(batch.len() + 1, &self));
            }
            batch.push(request);
        }
        Ok(Batch(batch))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_as_many_requests_as_may_be_under_way() {
        let message = |count: usize| {
            let request = |number: u64| Numbered { number, body: Bytes::from_static(b"request") };
            postcard::to_stdvec(&Batch((0..count as u64).map(request).collect())).unwrap()
        };
        let read = |message: &[u8]| postcard::from_bytes::<Batch>(message);
        let Batch(requests) = read(&message(CALLS_MAX)).unwrap();
        assert_eq!(requests.len(), CALLS_MAX);
        assert_eq!(requests[7].number, 7);
        assert!(read(&message(CALLS_MAX + 1)).is_err());
    }
}
