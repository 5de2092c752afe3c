//! Endpoints that tell each other where they are, and those that nobody listens to.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aspen_core::NodeId;
use aspen_core::transport::{Handler, Lane, Transport, TransportError};
use aspen_transport_iroh::{
    ClusterKeys, Credentials, Discovery, DiscoverySettings, IrohReceiver, IrohSender,
    IrohTransport, Neighbourhood, PeerAddress, SecretKey, Settings, TokioRuntime,
};
use bytes::Bytes;
use openraft_rt::AsyncRuntime;

const COOKIE: &[u8] = b"a cookie of the right length";
/// How long anything may take that is not held up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers every call with its request.
struct Echo;

impl Handler<IrohTransport> for Echo {
    async fn call(&self, _lane: Lane, request: Bytes) -> Result<Bytes, TransportError> {
        Ok(request)
    }

    async fn stream(&self, _lane: Lane, _sender: IrohSender, _receiver: IrohReceiver) {}
}

/// A membership that never changes.
struct Members(BTreeMap<NodeId, String>);

impl Neighbourhood for Members {
    fn members(&self) -> BTreeMap<NodeId, String> {
        self.0.clone()
    }

    async fn moved(&self, _found: Vec<PeerAddress>) {}
}

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    TokioRuntime::new(2).block_on(async { test().await });
}

/// A node, which has the key of its number.
struct Running {
    number: u8,
    transport: IrohTransport,
    discovery: Option<Discovery>,
}

impl Running {
    async fn bind(number: u8, cookie: &[u8]) -> Self {
        let credentials = Credentials::Node(ClusterKeys::new(cookie));
        let key = SecretKey::from_bytes(&[number; 32]);
        let settings = Settings::new(key, credentials, (Ipv4Addr::LOCALHOST, 0).into());
        let transport = IrohTransport::bind(settings).await.unwrap();
        let serving = transport.clone();
        drop(TokioRuntime::spawn(async move { serving.serve(Arc::new(Echo)).await }));
        Self { number, transport, discovery: None }
    }

    fn id(&self) -> NodeId {
        NodeId(self.number.into())
    }

    fn place(&self) -> (NodeId, String) {
        (self.id(), self.transport.address().to_string())
    }

    async fn discover(&mut self, members: &BTreeMap<NodeId, String>) {
        let mut members = members.clone();
        members.remove(&self.id());
        let settings = DiscoverySettings { mdns: false, ..DiscoverySettings::default() };
        let discovery = Discovery::start(&self.transport, &settings, Members(members)).await;
        self.discovery = Some(discovery);
    }

    fn believed(&self) -> u64 {
        count(&self.discovery.as_ref().unwrap().announcements().believed)
    }

    async fn end(self) {
        self.discovery.unwrap().shutdown().await;
        self.transport.close().await;
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

async fn until(what: &str, look: impl Fn() -> bool + Send + Sync) {
    let waiting = async {
        while !look() {
            TokioRuntime::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = TokioRuntime::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

async fn three() -> (Vec<Running>, BTreeMap<NodeId, String>) {
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(Running::bind(number, COOKIE).await);
    }
    let members = nodes.iter().map(Running::place).collect();
    for node in &mut nodes {
        node.discover(&members).await;
    }
    (nodes, members)
}

#[test]
fn where_one_has_moved_the_others_hear() {
    run(|| async {
        let (mut nodes, members) = three().await;
        until("all have heard of all", || nodes.iter().all(|node| node.believed() >= 2)).await;
        let moved = nodes.pop().unwrap();
        let (id, before) = moved.place();
        moved.end().await;
        let mut moved = Running::bind(3, COOKIE).await;
        let (_, after) = moved.place();
        assert_ne!(before, after);
        moved.discover(&members).await;
        let is_there = |node: &Running| node.transport.whereabouts(&before) == after;
        until("both have heard of it", || nodes.iter().all(is_there)).await;
        for node in &nodes {
            // The membership says what it has said before.
            node.transport.learn(id, &before);
            assert!(is_there(node), "a stale address took the place of a newer one");
            let hello = Bytes::from("hello");
            let answer = node.transport.call(id, Lane::Control, hello.clone()).await;
            assert_eq!(answer, Ok(hello));
        }
    });
}

#[test]
fn who_does_not_know_the_cookie_gossips_with_nobody() {
    run(|| async {
        let mut node = Running::bind(1, COOKIE).await;
        let mut stranger = Running::bind(2, b"some other cookie of the length").await;
        // Each knows the other, as a former member would.
        let members = BTreeMap::from([node.place(), stranger.place()]);
        node.discover(&members).await;
        stranger.discover(&members).await;
        let refused = |node: &Running| count(&node.transport.refusals().unproven) > 0;
        until("both have refused", || refused(&node) && refused(&stranger)).await;
        assert_eq!((node.believed(), stranger.believed()), (0, 0));
    });
}

#[test]
fn whom_nobody_has_named_nobody_listens_to() {
    run(|| async {
        let mut node = Running::bind(1, COOKIE).await;
        let mut newcomer = Running::bind(2, COOKIE).await;
        node.discover(&BTreeMap::new()).await;
        newcomer.discover(&BTreeMap::from([node.place()])).await;
        let heard = node.discovery.as_ref().unwrap().announcements().clone();
        until("it was heard", || count(&heard.unknown) > 0).await;
        assert_eq!(node.believed(), 0);
        let somewhere = format!("{}@127.0.0.1:1", newcomer.transport.id());
        assert_eq!(node.transport.whereabouts(&somewhere), somewhere);
        // The operator of the newcomer has named the node, so it listens to it.
        until("the other way round", || newcomer.believed() > 0).await;
    });
}
