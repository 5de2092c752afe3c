//! The two halves of a stream.

use std::pin::Pin;

use aspen_core::limits::MESSAGE_BYTES_MAX;
use aspen_core::transport::{FrameReceiver, FrameSender, TransportError};
use bytes::Bytes;
use irpc::channel::mpsc;

use crate::protocol::Frame;

/// The sending half of a stream.
#[derive(Debug)]
pub struct IrohSender(pub(crate) mpsc::Sender<Frame>);

/// The receiving half of a stream.
pub struct IrohReceiver(Reading);

/// irpc loses what it has read of a message when its future is dropped, and core drops it whenever
/// it has something to send. So the future lives here until it is done.
enum Reading {
    Idle(mpsc::Receiver<Frame>),
    Busy(Pin<Box<dyn Future<Output = (mpsc::Receiver<Frame>, Received)> + Send>>),
    Ended,
    Broken(TransportError),
}

type Received = Result<Option<Frame>, mpsc::RecvError>;

impl IrohReceiver {
    pub(crate) fn new(receiver: mpsc::Receiver<Frame>) -> Self {
        Self(Reading::Idle(receiver))
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
        if let Reading::Idle(_) = &self.0 {
            let Reading::Idle(mut receiver) = std::mem::replace(&mut self.0, Reading::Ended) else {
                unreachable!("it is idle");
            };
            self.0 = Reading::Busy(Box::pin(async move {
                let received = receiver.recv().await;
                (receiver, received)
            }));
        }
        let (receiver, received) = match &mut self.0 {
            Reading::Busy(reading) => reading.await,
            Reading::Ended => return Ok(None),
            Reading::Broken(error) => return Err(error.clone()),
            Reading::Idle(_) => unreachable!("it reads"),
        };
        let error = match received {
            Ok(Some(Frame::Data(frame))) if frame.len() <= MESSAGE_BYTES_MAX => {
                self.0 = Reading::Idle(receiver);
                return Ok(Some(frame));
            }
            Ok(Some(Frame::End)) => {
                self.0 = Reading::Ended;
                return Ok(None);
            }
            Ok(Some(Frame::Data(frame))) => broken(format!("a frame of {} bytes", frame.len())),
            Ok(None) => broken("its sender is gone"),
            Err(error) => broken(error),
        };
        self.0 = Reading::Broken(error.clone());
        Err(error)
    }
}

impl std::fmt::Debug for IrohReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IrohReceiver")
    }
}
