//! An endpoint: the network as one incarnation of a node uses it, through
//! [`aspen_core::Transport`].
//!
//! A handler runs in tasks of the machine on which [`serve`](SimTransport::serve) was called, so
//! that killing or pausing that machine kills or pauses them. What is dropped late, as the tasks
//! of a killed machine are, finds its incarnation closed and says nothing.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use aspen_core::NodeId;
use aspen_core::transport::{FrameReceiver, FrameSender, Handler, Lane, Transport, TransportError};
use bytes::Bytes;

use super::Network;
use super::calls::{Call, check_length};
use super::stream::{Opening, Side};
use crate::lock::lock;

/// What is handed to an endpoint.
pub(super) enum Incoming {
    Call { call: Arc<Call>, incarnation: u64 },
    Stream { stream: u64, lane: Lane },
}

/// Starts the tasks that handle what comes in.
pub(super) type Acceptor = Arc<dyn Fn(&Network, Incoming) + Send + Sync>;

/// A handle to one incarnation of one node on the simulated network.
#[derive(Clone)]
pub struct SimTransport {
    network: Network,
    node: NodeId,
    incarnation: u64,
}

impl SimTransport {
    pub(super) fn new(network: Network, node: NodeId, incarnation: u64) -> Self {
        Self { network, node, incarnation }
    }

    /// Whose endpoint this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    fn closed(&self, to: NodeId) -> TransportError {
        TransportError::Unreachable { to, reason: "this endpoint is closed".to_owned() }
    }
}

impl std::fmt::Debug for SimTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimTransport({})", self.node)
    }
}

impl Transport for SimTransport {
    type Sender = SimSender;
    type Receiver = SimReceiver;

    /// Nothing to learn: nodes are found by their ids.
    fn learn(&self, _node: NodeId, _address: &str) {}

    async fn call(&self, to: NodeId, lane: Lane, request: Bytes) -> Result<Bytes, TransportError> {
        check_length(&request)?;
        let waiting = {
            let (now_us, mut state) = self.network.lock();
            if !state.is_open(self.node, self.incarnation) {
                return Err(self.closed(to));
            }
            let from = (self.node, self.incarnation);
            CallWait(state.begin_call(now_us, from, to, lane, request))
        };
        poll_fn(|cx| waiting.0.answer.poll(cx.waker())).await
    }

    async fn open(
        &self,
        to: NodeId,
        lane: Lane,
    ) -> Result<(SimSender, SimReceiver), TransportError> {
        let waiting = {
            let (now_us, mut state) = self.network.lock();
            if !state.is_open(self.node, self.incarnation) {
                return Err(self.closed(to));
            }
            let opening = state.begin_opening(now_us, (self.node, self.incarnation), to, lane);
            OpenWait { network: self.network.clone(), opening }
        };
        poll_fn(|cx| waiting.opening.answer.poll(cx.waker())).await?;
        Ok(halves(&self.network, waiting.opening.number, Side::Opener))
    }

    async fn serve<H: Handler<Self>>(&self, handler: Arc<H>) {
        let machine = madsim::runtime::Handle::current()
            .get_node(madsim::plugin::node())
            .expect("a task runs on a machine");
        let acceptor: Acceptor = Arc::new(move |network, incoming| {
            let (network, handler) = (network.clone(), Arc::clone(&handler));
            // Boxed, because a handler's future is large and spawning moves it several times.
            machine.spawn(Box::pin(handle(network, handler, incoming)));
        });
        let serving = Serving(self.clone());
        if let Some(endpoint) = self.network.lock().1.endpoints.get_mut(&self.node)
            && endpoint.incarnation == self.incarnation
        {
            endpoint.acceptor = Some(acceptor);
        }
        poll_fn(|cx| {
            let (_, mut state) = serving.0.network.lock();
            match state.endpoints.get_mut(&serving.0.node) {
                Some(endpoint) if endpoint.incarnation == serving.0.incarnation => {
                    endpoint.server = Some(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }
}

async fn handle<H: Handler<SimTransport>>(network: Network, handler: Arc<H>, incoming: Incoming) {
    match incoming {
        Incoming::Call { call, incarnation } => {
            let outcome = handler.call(call.lane, call.request.clone()).await;
            let (now_us, mut state) = network.lock();
            state.respond(now_us, call, incarnation, outcome);
        }
        Incoming::Stream { stream, lane } => {
            let (sender, receiver) = halves(&network, stream, Side::Acceptor);
            handler.stream(lane, sender, receiver).await;
        }
    }
}

fn halves(network: &Network, stream: u64, side: Side) -> (SimSender, SimReceiver) {
    let sender = SimSender { network: network.clone(), stream, side, finished: false };
    let receiver = SimReceiver { network: network.clone(), stream, side };
    (sender, receiver)
}

/// Takes the handler away from the endpoint when its serving future is dropped.
struct Serving(SimTransport);

impl Drop for Serving {
    fn drop(&mut self) {
        let Some((_, mut state)) = self.0.network.lock_for_drop() else { return };
        let endpoint = state.endpoints.get_mut(&self.0.node);
        let acceptor = endpoint
            .filter(|endpoint| endpoint.incarnation == self.0.incarnation)
            .and_then(|endpoint| endpoint.acceptor.take());
        // The handler may own streams, whose destructors take the lock.
        drop(state);
        drop(acceptor);
    }
}

/// A caller that waits; dropped, it waits no longer.
struct CallWait(Arc<Call>);

impl Drop for CallWait {
    fn drop(&mut self) {
        self.0.answer.abandon();
    }
}

/// An opener that waits; dropped before it has its halves, it gives the stream up.
struct OpenWait {
    network: Network,
    opening: Arc<Opening>,
}

impl Drop for OpenWait {
    fn drop(&mut self) {
        if self.opening.answer.abandon()
            && let Some((now_us, mut state)) = self.network.lock_for_drop()
        {
            state.give_up_opening(now_us, self.opening.number);
        }
    }
}

/// The half of a simulated stream that frames are sent on.
pub struct SimSender {
    network: Network,
    stream: u64,
    side: Side,
    finished: bool,
}

impl FrameSender for SimSender {
    fn send(&mut self, frame: Bytes) -> impl Future<Output = Result<(), TransportError>> + Send {
        let mut frame = Some(frame);
        poll_fn(move |cx| {
            if let Some(frame) = &frame {
                check_length(frame)?;
            }
            let (now_us, mut state) = self.network.lock();
            state.poll_send(now_us, self.stream, self.side, &mut frame, cx.waker())
        })
    }

    async fn finish(mut self) -> Result<(), TransportError> {
        let (now_us, mut state) = self.network.lock();
        let result = state.finish(now_us, self.stream, self.side);
        drop(state);
        self.finished = true;
        result
    }
}

impl Drop for SimSender {
    fn drop(&mut self) {
        if let Some((now_us, mut state)) = self.network.lock_for_drop() {
            state.release_sender(now_us, self.stream, self.side, self.finished);
        }
    }
}

impl std::fmt::Debug for SimSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimSender({})", self.stream)
    }
}

/// The half of a simulated stream that frames arrive on.
pub struct SimReceiver {
    network: Network,
    stream: u64,
    side: Side,
}

impl FrameReceiver for SimReceiver {
    fn recv(&mut self) -> impl Future<Output = Result<Option<Bytes>, TransportError>> + Send {
        poll_fn(|cx| {
            lock(&self.network.shared.state).poll_receive(self.stream, self.side, cx.waker())
        })
    }
}

impl Drop for SimReceiver {
    fn drop(&mut self) {
        if let Some((now_us, mut state)) = self.network.lock_for_drop() {
            state.release_receiver(now_us, self.stream, self.side);
        }
    }
}

impl std::fmt::Debug for SimReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimReceiver({})", self.stream)
    }
}
