//! The two halves of a stream.

use aspen_core::limits::MESSAGE_BYTES_MAX;
use aspen_core::transport::{FrameReceiver, FrameSender, TransportError};
use bytes::Bytes;
use irpc::channel::mpsc;

use crate::messages::Messages;
use crate::protocol::Frame;

/// The sending half of a stream.
#[derive(Debug)]
pub struct IrohSender(pub(crate) mpsc::Sender<Frame>);

/// The receiving half of a stream.
#[derive(Debug)]
pub struct IrohReceiver {
    messages: Messages<Frame>,
    /// How the stream has ended, once it has.
    ended: Option<Result<(), TransportError>>,
}

impl IrohReceiver {
    pub(crate) fn new(messages: Messages<Frame>) -> Self {
        Self { messages, ended: None }
    }
}

pub(crate) fn broken(reason: impl std::fmt::Display) -> TransportError {
    TransportError::Broken { reason: format!("{reason:#}") }
}

/// An error for a frame that is too long to be sent.
pub(crate) fn check_length(frame: &Bytes) -> Result<(), TransportError> {
    let (bytes, limit) = (frame.len(), MESSAGE_BYTES_MAX);
    if bytes > limit { Err(TransportError::TooLarge { bytes, limit }) } else { Ok(()) }
}

impl FrameSender for IrohSender {
    async fn send(&mut self, frame: Bytes) -> Result<(), TransportError> {
        check_length(&frame)?;
        self.0.send(Frame::Data(frame)).await.map_err(broken)
    }

    async fn finish(self) -> Result<(), TransportError> {
        self.0.send(Frame::End).await.map_err(broken)
    }
}

impl FrameReceiver for IrohReceiver {
    async fn recv(&mut self) -> Result<Option<Bytes>, TransportError> {
        if let Some(ended) = &self.ended {
            return ended.clone().map(|()| None);
        }
        let ended = match self.messages.next().await {
            Ok(Some(Frame::Data(frame))) if frame.len() <= MESSAGE_BYTES_MAX => {
                return Ok(Some(frame));
            }
            Ok(Some(Frame::Data(frame))) => {
                Err(broken(format!("a frame of {} bytes", frame.len())))
            }
            Ok(Some(Frame::End)) => Ok(()),
            Ok(None) => Err(broken("its sender is gone")),
            Err(error) => Err(broken(error)),
        };
        self.ended.insert(ended).clone().map(|()| None)
    }
}
