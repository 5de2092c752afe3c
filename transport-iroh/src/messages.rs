//! The messages of one direction of a QUIC stream, as irpc writes them: a length, then postcard.
//!
//! Reading makes room for what has come, not for what a length promises: a stream of twelve bytes
//! must not take ten megabytes. And what has been read of a message stays here when the future that
//! reads is dropped, which core does whenever it has something to send.

use std::marker::PhantomData;

use aspen_core::limits::MESSAGE_BYTES_MAX;
use bytes::{Buf, BytesMut};
use iroh::endpoint::{ReadError, RecvStream};
use serde::de::DeserializeOwned;

/// What irpc and the protocol write around what a message carries, at most.
const AROUND_BYTES_MAX: usize = 1 << 20;
/// How much is taken from the stream at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Longest varint.
const VARINT_BYTES_MAX: usize = 10;

/// Why the next message cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a message of {0} bytes")]
    TooLong(u64),
    #[error("a message that makes no sense")]
    Nonsense,
    #[error("the stream ended inside a message")]
    CutOff,
}

/// Reads messages, one after the other.
#[derive(Debug)]
pub(crate) struct Messages<T> {
    receive: RecvStream,
    /// What has come and is not a whole message yet, or several.
    buffer: BytesMut,
    messages: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Messages<T> {
    pub(crate) fn new(receive: RecvStream) -> Self {
        Self { receive, buffer: BytesMut::new(), messages: PhantomData }
    }

    /// The next message, or `None` at the stream's end. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, MessageError> {
        self.next_within(MESSAGE_BYTES_MAX + AROUND_BYTES_MAX).await
    }

    /// The same, if it is not longer than this.
    pub(crate) async fn next_within(&mut self, bytes: usize) -> Result<Option<T>, MessageError> {
        loop {
            if let Some((head, body)) = self.lengths(bytes)?
                && self.buffer.len() >= head + body
            {
                let message = postcard::from_bytes(&self.buffer[head..head + body]);
                self.buffer.advance(head + body);
                return message.map(Some).map_err(|_| MessageError::Nonsense);
            }
            match self.receive.read_chunk(CHUNK_BYTES).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(MessageError::CutOff),
            }
        }
    }

    /// What follows the messages that were read, for messages of another kind.
    pub(crate) fn of<U>(self) -> Messages<U> {
        Messages { receive: self.receive, buffer: self.buffer, messages: PhantomData }
    }

    /// The stream itself, to be stopped.
    pub(crate) fn stream(&mut self) -> &mut RecvStream {
        &mut self.receive
    }

    /// How long the next message's length is, and how long the message.
    fn lengths(&self, limit: usize) -> Result<Option<(usize, usize)>, MessageError> {
        let Some(last) = self.buffer.iter().position(|byte| byte & 0x80 == 0) else {
            let cut = self.buffer.len() < VARINT_BYTES_MAX;
            return if cut { Ok(None) } else { Err(MessageError::Nonsense) };
        };
        let head = &self.buffer[..=last];
        let length: u64 = postcard::from_bytes(head).map_err(|_| MessageError::Nonsense)?;
        match usize::try_from(length) {
            Ok(body) if body <= limit => Ok(Some((head.len(), body))),
            Ok(_) | Err(_) => Err(MessageError::TooLong(length)),
        }
    }
}
