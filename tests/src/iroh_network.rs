//! Real endpoints on loopback, and a wire between them that can be cut: a world for the
//! conformance suite.
//!
//! QUIC finds every way between two endpoints that there is, so a forwarder that could be gone
//! around would cut nothing. One endpoint has IPv4 alone and the other IPv6 alone: what passes
//! between them must pass the forwarder, which has a socket of each.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aspen_core::NodeId;
use aspen_core::transport::Transport;
use aspen_transport_iroh::{
    ClusterKeys, Credentials, IrohTransport, PeerAddress, SecretKey, Settings, TokioRuntime,
};
use openraft_rt::AsyncRuntime;

use crate::transport_conformance::{A, B, World};

/// Longer than anything takes here that is not held up: a machine that tests may be busy.
const PATIENCE: Duration = Duration::from_millis(2500);
/// An idle timeout so long that two waits of the suite's patience fit in.
pub const LONG_IDLE_TIMEOUT: Duration = Duration::from_millis(6000);
/// How often the forwarder looks whether its world is gone.
const LOOK: Duration = Duration::from_millis(100);
/// The longest datagram of UDP.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The wire between [`A`] and [`B`].
#[derive(Default)]
struct Wire {
    /// Where the living endpoint of a node is.
    nodes: BTreeMap<NodeId, SocketAddr>,
    /// The directions in which nothing passes.
    cut: Vec<(NodeId, NodeId)>,
}

/// Two nodes on loopback.
#[derive(Clone)]
pub struct IrohWorld {
    wire: Arc<Mutex<Wire>>,
    endpoints: Arc<Mutex<BTreeMap<NodeId, IrohTransport>>>,
    /// What each of the two is told to be the other's address.
    to_a: SocketAddr,
    to_b: SocketAddr,
    idle_timeout: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IrohWorld {
    /// A wire without nodes; after `idle_timeout` of silence the nodes' connections break.
    ///
    /// # Panics
    /// Where loopback has no IPv4 or no IPv6.
    pub fn new(idle_timeout: Duration) -> Self {
        let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has IPv4");
        let v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("loopback has IPv6");
        let address = |socket: &UdpSocket| socket.local_addr().expect("a bound socket");
        let (to_b, to_a) = (address(&v4), address(&v6));
        let wire = Arc::new(Mutex::new(Wire::default()));
        let sockets = [Arc::new(v4), Arc::new(v6)];
        for (from, to, way) in [(A, B, [0, 1]), (B, A, [1, 0])] {
            let [input, output] = way.map(|number| Arc::clone(&sockets[number]));
            let wire = Arc::downgrade(&wire);
            std::thread::spawn(move || forward(&wire, (from, &input), (to, &output)));
        }
        Self { wire, endpoints: Arc::default(), to_a, to_b, idle_timeout }
    }
}

/// Passes on what comes from one node to the other, until the world is gone.
fn forward(wire: &Weak<Mutex<Wire>>, from: (NodeId, &UdpSocket), to: (NodeId, &UdpSocket)) {
    from.1.set_read_timeout(Some(LOOK)).expect("a timeout above zero");
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = from.1.recv_from(&mut datagram);
        let Some(wire) = wire.upgrade() else { return };
        let (bytes, source) = match received {
            Ok(received) => received,
            // Nothing came; or the last datagram found its port closed, which is told here.
            Err(error) if error.kind() != ErrorKind::InvalidInput => continue,
            Err(error) => panic!("a socket on loopback fails: {error}"),
        };
        let target = {
            let wire = lock(&wire);
            let passes =
                wire.nodes.get(&from.0) == Some(&source) && !wire.cut.contains(&(from.0, to.0));
            wire.nodes.get(&to.0).copied().filter(|_| passes)
        };
        if let Some(target) = target {
            // What does not go through is lost, as datagrams are.
            let _ = to.1.send_to(&datagram[..bytes], target);
        }
    }
}

fn key(node: NodeId) -> SecretKey {
    SecretKey::from_bytes(&[node.0 as u8; 32])
}

impl World for IrohWorld {
    type Runtime = TokioRuntime;
    type Transport = IrohTransport;

    async fn start(&self, node: NodeId) -> IrohTransport {
        self.kill(node).await;
        let bind: SocketAddr = match node {
            A => (Ipv4Addr::LOCALHOST, 0).into(),
            B => (Ipv6Addr::LOCALHOST, 0).into(),
            other => panic!("no wire leads to node {other}"),
        };
        let credentials =
            Credentials::Node(ClusterKeys::new(b"the cookie of the conformance suite"));
        let mut settings = Settings::new(key(node), credentials, bind);
        settings.idle_timeout = self.idle_timeout;
        let transport = IrohTransport::bind(settings).await.expect("loopback has free ports");
        for (peer, address) in [(A, self.to_a), (B, self.to_b)] {
            if peer != node {
                let address = iroh::EndpointAddr::new(key(peer).public()).with_ip_addr(address);
                transport.learn(peer, &PeerAddress(address).to_string());
            }
        }
        let socket = transport.address().0.ip_addrs().next().copied().expect("it is bound");
        lock(&self.wire).nodes.insert(node, socket);
        lock(&self.endpoints).insert(node, transport.clone());
        transport
    }

    async fn kill(&self, node: NodeId) {
        // From here on nobody hears of the endpoint, so its farewell is not heard either.
        lock(&self.wire).nodes.remove(&node);
        let endpoint = lock(&self.endpoints).remove(&node);
        if let Some(endpoint) = endpoint {
            drop(TokioRuntime::spawn(async move { endpoint.close().await }));
        }
    }

    async fn cut(&self, from: NodeId, to: NodeId) {
        lock(&self.wire).cut.push((from, to));
    }

    async fn heal(&self, from: NodeId, to: NodeId) {
        lock(&self.wire).cut.retain(|direction| *direction != (from, to));
    }

    fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
