//! The peer that the checks talk to: it answers calls by their first byte and serves streams by
//! their first frame, and records what it saw.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aspen_core::transport::{FrameReceiver, FrameSender, Handler, Lane, Transport, TransportError};
use aspen_core::{NodeId, Runtime};
use bytes::Bytes;

use super::World;

/// What the peer saw of one stream.
#[derive(Clone, Debug, Default)]
pub struct StreamRecord {
    /// The frames that it read, without the first.
    pub frames: Vec<Bytes>,
    /// How its reading ended, once it has.
    pub ending: Option<Result<(), TransportError>>,
}

/// A handler with a memory.
pub struct Peer<R> {
    seen: Mutex<Seen>,
    slowness: Duration,
    runtime: PhantomData<fn() -> R>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Bytes>,
    streams: Vec<StreamRecord>,
    /// Whether streams that asked to be held are read.
    released: bool,
}

impl<R: Runtime> Peer<R> {
    /// Starts `node` in `world` with a peer that serves it.
    pub async fn start<W>(world: &W, node: NodeId) -> (W::Transport, Arc<Self>)
    where
        W: World<Runtime = R>,
    {
        let peer = Arc::new(Self {
            seen: Mutex::default(),
            slowness: world.patience(),
            runtime: PhantomData,
        });
        let transport = world.start(node).await;
        let (serving, handler) = (transport.clone(), Arc::clone(&peer));
        drop(R::spawn(async move { serving.serve(handler).await }));
        // One sleep lets the serving task begin; a call before that finds nobody.
        R::sleep(Duration::from_millis(1)).await;
        (transport, peer)
    }

    /// The requests that were handled, in order.
    pub fn requests(&self) -> Vec<Bytes> {
        self.lock().requests.clone()
    }

    /// The streams that were served, in the order of their opening.
    pub fn streams(&self) -> Vec<StreamRecord> {
        self.lock().streams.clone()
    }

    /// Lets the streams that were held be read.
    pub fn release(&self) {
        self.lock().released = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no check panics while it looks")
    }

    /// Reads to the end and records it; `visit` is called with each frame.
    async fn read<S: FrameReceiver>(&self, number: usize, receiver: &mut S) {
        loop {
            let next = receiver.recv().await;
            let mut seen = self.lock();
            match next {
                Ok(Some(frame)) => seen.streams[number].frames.push(frame),
                Ok(None) => return seen.streams[number].ending = Some(Ok(())),
                Err(error) => return seen.streams[number].ending = Some(Err(error)),
            }
        }
    }

    /// Sends every frame back as it comes, then finishes if the other side did.
    async fn echo<S: FrameSender, Q: FrameReceiver>(
        &self,
        number: usize,
        mut sender: S,
        mut receiver: Q,
    ) {
        let ending = loop {
            match receiver.recv().await {
                Ok(Some(frame)) => {
                    self.lock().streams[number].frames.push(frame.clone());
                    if let Err(error) = sender.send(frame).await {
                        break Err(error);
                    }
                }
                Ok(None) => break sender.finish().await,
                Err(error) => break Err(error),
            }
        };
        self.lock().streams[number].ending = Some(ending);
    }

    async fn until_released(&self) {
        while !self.lock().released {
            R::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl<R: Runtime, T: Transport> Handler<T> for Peer<R> {
    async fn call(&self, _lane: Lane, request: Bytes) -> Result<Bytes, TransportError> {
        self.lock().requests.push(request.clone());
        match request.first() {
            Some(b'r') => Err(TransportError::Refused { reason: "as asked".to_owned() }),
            Some(b's') => {
                R::sleep(self.slowness * 4).await;
                Ok(request)
            }
            _ => Ok(request),
        }
    }

    async fn stream(&self, _lane: Lane, sender: T::Sender, mut receiver: T::Receiver) {
        let number = {
            let mut seen = self.lock();
            seen.streams.push(StreamRecord::default());
            seen.streams.len() - 1
        };
        let first = receiver.recv().await.ok().flatten().unwrap_or_default();
        match &*first {
            b"echo" => self.echo(number, sender, receiver).await,
            b"hold" => {
                self.until_released().await;
                self.read(number, &mut receiver).await;
            }
            b"leave" => {}
            _ => self.read(number, &mut receiver).await,
        }
    }
}
