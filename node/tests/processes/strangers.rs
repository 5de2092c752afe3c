//! A cluster under load, and strangers who want to come in, with and without a ticket, over real
//! QUIC. Its clients are served, and its memory and its files stay bounded.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::bare::abandon_all_paths;
use crate::harness::running::Running;
use crate::harness::{Cluster, PATIENCE, Place, client_of};
use aspen_core::NodeId;
use aspen_core::command::{Command, Reply};
use aspen_core::limits::STREAMS_MAX;
use aspen_core::transport::{Lane, Transport};
use aspen_transport_iroh::{
    ClientSecret, ClusterKeys, Credentials, IrohTransport, SecretKey, Settings,
};
use bytes::Bytes;
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode};
use tokio::task::JoinSet;

/// Connections that are tried, by [`CONCURRENT`] strangers at once; with the datagrams they make
/// ten thousand.
const CONNECTIONS: u64 = 4_000;
const DATAGRAMS: u64 = 6_000;
const CONCURRENT: u64 = 64;
/// Clients with a ticket that write what they want on all streams that they may have.
const BAD_CLIENTS: usize = 20;
/// How much a node's memory may grow. The load alone may take 80 MiB, redb's cache and the log's; the
/// rest is for 500 connections, with what allocators keep of those that ended. Were the room for a
/// promised message taken at once, [`BAD_CLIENTS`] would take 10 GiB.
const GROWTH_KIB_MAX: u64 = 128 << 10;
/// A node has one socket for all connections, and opens files only when it starts.
const FILES_MORE_MAX: usize = 8;

/// An endpoint of a program that is none of Aspen's.
async fn endpoint() -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
    let builder = builder.secret_key(SecretKey::generate()).clear_ip_transports();
    builder.bind_addr((Ipv4Addr::LOCALHOST, 0)).unwrap().bind().await.unwrap()
}

/// A node, as a stranger knows it.
#[derive(Clone)]
struct Victim {
    address: EndpointAddr,
    secret: ClientSecret,
    pid: u32,
}

impl Victim {
    fn of(cluster: &Cluster, id: u64) -> Self {
        let node = &cluster.nodes[&id];
        Self {
            address: node.address.0.clone(),
            secret: node.ticket.secret.clone(),
            pid: node.pid(),
        }
    }

    fn socket(&self) -> SocketAddr {
        *self.address.ip_addrs().next().unwrap()
    }

    /// Resident memory.
    fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Open files and sockets.
    fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// A connection that has proven to be a client's.
    async fn proven(&self, from: &Endpoint) -> Connection {
        let connection = from.connect(self.address.clone(), b"aspen/1/client").await.unwrap();
        let mut exported = [0; 32];
        let label = b"EXPORTER-aspen-proof-v1";
        connection.export_keying_material(&mut exported, label, b"dialer").unwrap();
        let mut hasher = blake3::Hasher::new_keyed(&self.secret.0);
        let proof = *hasher.update(b"dialer").update(&exported).finalize().as_bytes();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&proof).await.unwrap();
        receive.read_exact(&mut [0; 32]).await.unwrap();
        connection
    }
}

/// What a node has now, to be compared with later.
struct Before {
    victim: Victim,
    memory_kib: u64,
    files: usize,
}

impl Before {
    fn look(cluster: &Cluster) -> Vec<Self> {
        let victims = (1..=3).map(|id| Victim::of(cluster, id));
        let look = |victim: Victim| Self {
            memory_kib: victim.memory_kib(),
            files: victim.files(),
            victim,
        };
        victims.map(look).collect()
    }

    fn assert_bounded(&self) {
        let (memory_kib, files) = (self.victim.memory_kib(), self.victim.files());
        let (had_kib, had) = (self.memory_kib, self.files);
        assert!(memory_kib <= had_kib + GROWTH_KIB_MAX, "{had_kib} became {memory_kib} KiB");
        assert!(files <= had + FILES_MORE_MAX, "{had} became {files} files");
    }
}

/// The ways in which strangers try.
#[derive(Clone, Copy)]
enum Attempt {
    WrongCookie,
    WrongProtocol,
    NoProof,
    WrongProof,
}

const ATTEMPTS: [Attempt; 4] =
    [Attempt::WrongCookie, Attempt::WrongProtocol, Attempt::NoProof, Attempt::WrongProof];

/// One stranger, who tries again and again.
struct Stranger {
    victim: Victim,
    endpoint: Endpoint,
    /// Connections that it holds on to and says nothing on.
    held: Vec<Connection>,
}

impl Stranger {
    async fn new(victim: Victim) -> Self {
        Self { victim, endpoint: endpoint().await, held: Vec::new() }
    }

    async fn attempt(&mut self, attempt: Attempt) {
        let address = self.victim.address.clone();
        match attempt {
            Attempt::WrongCookie => {
                let wrong = ClusterKeys::new(b"some other cookie of the length");
                let credentials = Credentials::Node(wrong);
                let bind = (Ipv4Addr::LOCALHOST, 0).into();
                let settings = Settings::new(SecretKey::generate(), credentials, bind);
                let peer = IrohTransport::bind(settings).await.unwrap();
                let id = format!("{}@{}", self.victim.address.id, self.victim.socket());
                peer.learn(NodeId(1), &id);
                let answer = peer.call(NodeId(1), Lane::Control, Bytes::from("hello")).await;
                assert!(answer.is_err(), "{answer:?}");
                peer.close().await;
            }
            Attempt::WrongProtocol => {
                let refused = self.endpoint.connect(address, b"h3").await;
                assert!(refused.is_err());
            }
            Attempt::NoProof => {
                if let Ok(connection) = self.endpoint.connect(address, b"aspen/1/control").await {
                    self.held.push(connection);
                }
            }
            Attempt::WrongProof => {
                let Ok(connection) = self.endpoint.connect(address, b"aspen/1/snapshot").await
                else {
                    return;
                };
                // The clients' secret is not enough on a lane of nodes.
                let Ok((mut send, mut receive)) = connection.open_bi().await else { return };
                let _ = send.write_all(&self.victim.secret.0).await;
                assert!(receive.read_exact(&mut [0; 32]).await.is_err());
            }
        }
    }
}

async fn rush(victim: &Victim) {
    let number = Arc::new(AtomicU64::new(0));
    let mut strangers = JoinSet::new();
    for _ in 0..CONCURRENT {
        let (victim, number) = (victim.clone(), number.clone());
        strangers.spawn(async move {
            let mut stranger = Stranger::new(victim).await;
            loop {
                let number = number.fetch_add(1, Ordering::Relaxed);
                if number >= CONNECTIONS {
                    return stranger;
                }
                stranger.attempt(ATTEMPTS[number as usize % ATTEMPTS.len()]).await;
            }
        });
    }
    strangers.join_all().await;
}

/// Datagrams that are no QUIC, and some that begin as its first packets do.
fn throw_garbage(victim: &Victim) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for number in 0..DATAGRAMS {
        let mut datagram = [0; 1200];
        let mut noise = blake3::Hasher::new();
        noise.update(&number.to_le_bytes()).finalize_xof().fill(&mut datagram);
        if number % 3 == 0 {
            // A long header, version 1, an initial packet.
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        // The system may have no room for it; then it is one that got lost.
        let _ = socket.send_to(&datagram[..64 + number as usize % 1136], victim.socket());
    }
}

/// Streams of a client with a ticket: nonsense, lies about lengths, stalls and breaks.
async fn misbehave(victim: Victim) -> (Endpoint, Connection, Vec<(SendStream, RecvStream)>) {
    let endpoint = endpoint().await;
    let connection = victim.proven(&endpoint).await;
    let mut held = Vec::new();
    for number in 0..u64::from(STREAMS_MAX) * 3 {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        match number % 3 {
            // Nonsense: it is refused.
            0 => {
                let nonsense: [&[u8]; 3] =
                    [b"\x05\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\x00"];
                send.write_all(nonsense[(number / 3 % 3) as usize]).await.unwrap();
                assert!(receive.read(&mut [0; 1]).await.is_err());
            }
            // Half a request, and no more.
            1 => {
                send.write_all(b"\x01\x00\xc8\x01x").await.unwrap();
                send.reset(VarInt::from_u32(7)).unwrap();
            }
            // Ten megabytes are promised, and do not come. Half of the streams are left for the rest.
            _ if held.len() < STREAMS_MAX as usize / 2 => {
                send.write_all(b"\x01\x00\x80\x80\x80\x05xxxxxxxx").await.unwrap();
                held.push((send, receive));
            }
            _ => send.reset(VarInt::from_u32(7)).unwrap(),
        }
    }
    (endpoint, connection, held)
}

/// Every refusal is a line on stderr; they go to files.
async fn start() -> Cluster {
    let place = |id: u64, folder: &Path| {
        let stderr = Some(folder.join(format!("stderr-{id}")));
        Place { stderr, ..Place::on_loopback(folder.join(id.to_string())) }
    };
    Cluster::start_in(place).await
}

/// A client that comes while strangers do is served.
async fn assert_served(cluster: &Cluster) {
    let client = client_of(cluster.nodes.values(), PATIENCE).await;
    let (key, value) = (Bytes::from("still"), Bytes::from("there"));
    assert_eq!(client.write(Command::Set { key, value }).await, Ok(Reply::Done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_strangers_cost_no_service_and_bounded_memory() {
    let cluster = start().await;
    let running = Running::start(&cluster).await;
    running.answers(500).await;
    let before = Before::look(&cluster);
    let victim = Victim::of(&cluster, cluster.leader().await);
    let (rushed, thrown) = (victim.clone(), victim.clone());
    let garbage = tokio::task::spawn_blocking(move || throw_garbage(&thrown));
    let rushing = async move { tokio::time::timeout(3 * PATIENCE, rush(&rushed)).await };
    let rush = tokio::spawn(rushing);
    while !rush.is_finished() {
        running.answers(20).await;
        assert_served(&cluster).await;
        before.iter().for_each(Before::assert_bounded);
    }
    garbage.await.unwrap();
    rush.await.unwrap().unwrap();
    end_well(cluster, running, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_misbehave_harm_themselves_alone() {
    let cluster = start().await;
    let running = Running::start(&cluster).await;
    running.answers(500).await;
    let before = Before::look(&cluster);
    let victim = Victim::of(&cluster, cluster.leader().await);
    let mut clients = JoinSet::new();
    for _ in 0..BAD_CLIENTS {
        clients.spawn(misbehave(victim.clone()));
    }
    let held = tokio::time::timeout(PATIENCE, clients.join_all()).await.unwrap();
    assert_served(&cluster).await;
    before.iter().for_each(Before::assert_bounded);
    running.answers(200).await;
    drop(held);
    end_well(cluster, running, &before).await;
}

/// noq 1.4 breaks down over a connection without a path if it is to ask for fewer receipts, and
/// takes the process along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_abandon_their_paths_cost_their_connections_alone() {
    let cluster = start().await;
    let running = Running::start(&cluster).await;
    running.answers(500).await;
    let before = Before::look(&cluster);
    let mut strangers = JoinSet::new();
    for victim in before.iter().map(|before| &before.victim) {
        for protocol in [b"aspen/1/client".as_slice(), b"aspen/1/control"] {
            strangers.spawn(abandon_all_paths(victim.socket(), protocol, PATIENCE));
        }
    }
    strangers.join_all().await;
    assert_served(&cluster).await;
    end_well(cluster, running, &before).await;
}

/// The load failed nowhere, and the cluster is whole.
async fn end_well(cluster: Cluster, running: Running, before: &[Before]) {
    running.answers(100).await;
    let tally = running.tally.clone();
    running.stop().await;
    assert_eq!(tally.failed.load(Ordering::Relaxed), 0);
    assert_eq!(tally.unknown.load(Ordering::Relaxed), 0);
    before.iter().for_each(Before::assert_bounded);
    cluster.assert_same_data().await;
}
