//! The simulated network in a test's hands: a world for the conformance suite, a pair of peers,
//! and a record of every passage.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aspen_core::NodeId;
use aspen_core::transport::{FrameSender, Lane, Transport};
use aspen_transport_sim::network::{Fate, Observer, Passage, PassageKind, SimReceiver, SimSender};
use aspen_transport_sim::{LinkLaw, Network, SimRuntime, SimTransport};
use bytes::Bytes;

use crate::transport_conformance::{A, B, Peer, World};

/// Longer than any law of these tests takes.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// The simulated network as the conformance suite knows it.
#[derive(Clone)]
pub struct SimWorld {
    /// The network.
    pub network: Network,
    /// The idle timeout of its links.
    pub idle_timeout: Duration,
}

impl SimWorld {
    /// A network in which every link follows `law`.
    ///
    /// # Panics
    /// Outside a simulated run.
    pub fn new(seed: u64, law: LinkLaw) -> Self {
        let idle_timeout = Duration::from_micros(law.idle_timeout_us.into());
        Self { network: Network::new(seed, law), idle_timeout }
    }
}

impl World for SimWorld {
    type Runtime = SimRuntime;
    type Transport = SimTransport;

    async fn start(&self, node: NodeId) -> SimTransport {
        self.network.endpoint(node)
    }

    async fn kill(&self, node: NodeId) {
        self.network.close(node);
    }

    async fn cut(&self, from: NodeId, to: NodeId) {
        self.network.cut(from, to);
    }

    async fn heal(&self, from: NodeId, to: NodeId) {
        self.network.heal(from, to);
    }

    fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// Two peers on one network.
pub struct Pair {
    /// The network.
    pub network: Network,
    /// The endpoint of [`A`].
    pub a: SimTransport,
    /// The endpoint of [`B`].
    pub b: SimTransport,
    /// What serves `b`.
    pub peer_b: Arc<Peer<SimRuntime>>,
}

impl Pair {
    /// Starts both.
    pub async fn start(seed: u64, law: LinkLaw) -> Self {
        let world = SimWorld::new(seed, law);
        let (a, _) = Peer::start(&world, A).await;
        let (b, peer_b) = Peer::start(&world, B).await;
        Self { network: world.network, a, b, peer_b }
    }

    /// Opens a stream from `a` on which `b` does what `order` says.
    ///
    /// # Panics
    /// When the peer cannot be reached.
    pub async fn open(&self, lane: Lane, order: &'static str) -> (SimSender, SimReceiver) {
        let (mut sender, receiver) = self.a.open(B, lane).await.expect("the peer is there");
        sender.send(Bytes::from(order)).await.expect("the stream is open");
        (sender, receiver)
    }
}

/// The `number`-th frame of a test.
pub fn frame(number: usize) -> Bytes {
    Bytes::from(format!("frame {number}"))
}

/// A passage, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// As in [`Passage`], as are the others.
    pub time_us: u64,
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The lane.
    pub lane: Lane,
    /// The call or stream.
    pub exchange: u64,
    /// What it is.
    pub kind: PassageKind,
    /// What it carries.
    pub frame: Bytes,
    /// What became of it.
    pub fate: Fate,
}

/// Keeps every passage.
#[derive(Default)]
pub struct Record(Mutex<Vec<Seen>>);

impl Observer for Record {
    fn passage(&self, passage: &Passage<'_>) {
        let Passage { time_us, from, to, lane, exchange, kind, frame, fate } = *passage;
        let frame = frame.clone();
        let seen = Seen { time_us, from, to, lane, exchange, kind, frame, fate };
        self.0.lock().expect("no observer panics").push(seen);
    }
}

impl Record {
    /// A record of what passes from now on.
    pub fn watch(network: &Network) -> Arc<Self> {
        let record = Arc::new(Self::default());
        network.observe(record.clone());
        record
    }

    /// What has passed since the last call.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.lock().expect("no observer panics"))
    }
}
