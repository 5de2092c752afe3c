//! Who is let in over the real network, and what strangers and broken streams do to others.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::collections::BTreeSet;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use aspen_core::NodeId;
use aspen_core::limits::STRANGERS_MAX;
use aspen_core::transport::{Handler, Lane, Transport, TransportError};
use aspen_tests::iroh_network::IrohWorld;
use aspen_tests::transport_conformance::{A, B, Peer, World};
use aspen_transport_iroh::{
    ClusterKeys, Credentials, IrohReceiver, IrohSender, IrohTransport, SecretKey, Settings,
    TokioRuntime,
};
use bytes::Bytes;
use iroh::endpoint::{Connection, VarInt, presets};
use iroh::{Endpoint, RelayMode};
use openraft_rt::AsyncRuntime;

const SERVER: NodeId = NodeId(1);
const COOKIE: &[u8] = b"a cookie of the right length";

/// Answers every call with its request, late if that begins with an `s`.
struct Echo;

impl Handler<IrohTransport> for Echo {
    async fn call(&self, _lane: Lane, request: Bytes) -> Result<Bytes, TransportError> {
        if request.starts_with(b"s") {
            TokioRuntime::sleep(Duration::from_millis(300)).await;
        }
        Ok(request)
    }

    async fn stream(&self, _lane: Lane, _sender: IrohSender, _receiver: IrohReceiver) {}
}

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    TokioRuntime::new(2).block_on(async { test().await });
}

fn settings(key: u8, credentials: Credentials) -> Settings {
    let key = SecretKey::from_bytes(&[key; 32]);
    Settings::new(key, credentials, (Ipv4Addr::LOCALHOST, 0).into())
}

fn node(cookie: &[u8]) -> Credentials {
    Credentials::Node(ClusterKeys::new(cookie))
}

async fn serve(key: u8) -> IrohTransport {
    let server = IrohTransport::bind(settings(key, node(COOKIE))).await.unwrap();
    echo(server.clone());
    server
}

/// Serves calls with their echo.
fn echo(server: IrohTransport) {
    drop(TokioRuntime::spawn(async move { server.serve(Arc::new(Echo)).await }));
}

/// An endpoint that knows where the server is.
async fn peer(server: &IrohTransport, key: u8, credentials: Credentials) -> IrohTransport {
    let peer = IrohTransport::bind(settings(key, credentials)).await.unwrap();
    peer.learn(SERVER, &server.address().to_string());
    peer
}

async fn hello(peer: &IrohTransport, lane: Lane) -> Result<Bytes, TransportError> {
    peer.call(SERVER, lane, Bytes::from("hello")).await
}

fn assert_turned_away(answer: Result<Bytes, TransportError>, word: &str) {
    let Err(TransportError::Unreachable { reason, .. }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains(word), "{reason}");
}

/// Waits until this much is counted.
async fn counted(counter: &AtomicU64, least: u64) {
    let counted = async {
        while counter.load(Ordering::Relaxed) < least {
            TokioRuntime::sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = TokioRuntime::timeout(Duration::from_secs(10), counted).await;
    in_time
        .unwrap_or_else(|_| panic!("{} of {least} are counted", counter.load(Ordering::Relaxed)));
}

#[test]
fn who_knows_the_cookie_is_let_in_and_who_does_not_is_not() {
    run(|| async {
        let server = serve(1).await;
        let friend = peer(&server, 2, node(COOKIE)).await;
        let stranger = peer(&server, 3, node(b"some other cookie of the length")).await;
        for lane in Lane::ALL {
            assert_eq!(hello(&friend, lane).await, Ok(Bytes::from("hello")));
            assert_turned_away(hello(&stranger, lane).await, "wrong cookie or ticket");
        }
        let lanes = Lane::ALL.len() as u64;
        assert_eq!(server.refusals().unproven.load(Ordering::Relaxed), lanes);
    });
}

#[test]
fn a_clients_secret_opens_the_clients_lane_and_no_other() {
    run(|| async {
        let server = serve(1).await;
        let secret = ClusterKeys::new(COOKIE).client_secret().clone();
        let client = peer(&server, 2, Credentials::Client(secret.clone())).await;
        assert_eq!(hello(&client, Lane::Client).await, Ok(Bytes::from("hello")));
        for lane in [Lane::Control, Lane::Replication, Lane::Snapshot] {
            assert_turned_away(hello(&client, lane).await, "opens no lane of nodes");
            // Nor does it, when the client does not hold itself back.
            let connection = dial(&server, lane_name(lane)).await;
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.write_all(&secret.0).await.unwrap();
            assert!(receive.read_exact(&mut [0; 32]).await.is_err());
        }
    });
}

#[test]
fn with_an_allow_list_the_cookie_is_not_enough() {
    run(|| async {
        let server = serve(1).await;
        let friend = peer(&server, 2, node(COOKIE)).await;
        let other = peer(&server, 3, node(COOKIE)).await;
        server.allow(Some(BTreeSet::from([friend.id()])));
        assert_eq!(hello(&friend, Lane::Control).await, Ok(Bytes::from("hello")));
        assert_turned_away(hello(&other, Lane::Control).await, "not on the allow list");
        assert_eq!(hello(&other, Lane::Client).await, Ok(Bytes::from("hello")), "as a client");
        assert_eq!(server.refusals().not_allowed.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_dialer_finds_out_whom_it_has_dialed() {
    run(|| async {
        let server = serve(1).await;
        let peer = IrohTransport::bind(settings(2, node(COOKIE))).await.unwrap();
        let there = server.address().to_string();
        let (_, ways) = there.split_once('@').unwrap();
        let wrong = SecretKey::from_bytes(&[77; 32]).public();
        peer.learn(SERVER, &format!("{wrong}@{ways}"));
        let answer = hello(&peer, Lane::Control).await;
        assert!(matches!(answer, Err(TransportError::Unreachable { .. })), "{answer:?}");
    });
}

fn lane_name(lane: Lane) -> &'static [u8] {
    match lane {
        Lane::Control => b"aspen/1/control",
        Lane::Replication => b"aspen/1/replication",
        Lane::Snapshot => b"aspen/1/snapshot",
        Lane::Client => b"aspen/1/client",
    }
}

/// A connection of a program that knows the address and the protocol's name.
async fn dial(server: &IrohTransport, protocol: &[u8]) -> Connection {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
    let builder = builder.clear_ip_transports().bind_addr((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = builder.bind().await.unwrap();
    let connection = endpoint.connect(server.address().0, protocol).await.unwrap();
    // Dropped, it would close its connections.
    std::mem::forget(endpoint);
    connection
}

/// Streams that break off, stall, lie about their length or hold nonsense.
#[test]
fn a_bad_stream_is_reset_and_its_neighbours_notice_nothing() {
    run(|| async {
        let server = serve(1).await;
        let friend = peer(&server, 2, node(COOKIE)).await;
        let raw = dial_proven(&server).await;
        let slow = raw.call("slow").await;
        for nonsense in [&b"\x05\xff\xff\xff\xff\xff"[..], b"\xff\xff\xff\xff\x0f", b"\x00"] {
            let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
            send.write_all(nonsense).await.unwrap();
            let error = receive.read(&mut [0; 1]).await.unwrap_err();
            assert!(error.to_string().contains("400"), "{error}");
        }
        let (mut cut_short, _) = raw.connection.open_bi().await.unwrap();
        cut_short.write_all(b"\xc8\x01x").await.unwrap();
        cut_short.reset(VarInt::from_u32(7)).unwrap();
        let (mut stalled, _held) = raw.connection.open_bi().await.unwrap();
        stalled.write_all(b"\xc8\x01x").await.unwrap();
        assert_eq!(hello(&friend, Lane::Client).await, Ok(Bytes::from("hello")));
        assert!(slow.await, "what was under way on the same connection is answered");
        assert!(raw.call("again").await.await, "and so is what comes after");
        counted(&server.refusals().unreadable, 3).await;
    });
}

/// What proves on this connection that its dialer is a client of the cluster.
fn proof(connection: &Connection) -> [u8; 32] {
    let key = ClusterKeys::new(COOKIE).client_secret().0;
    let mut exported = [0; 32];
    let label = b"EXPORTER-aspen-proof-v1";
    connection.export_keying_material(&mut exported, label, b"dialer").unwrap();
    let mut hasher = blake3::Hasher::new_keyed(&key);
    *hasher.update(b"dialer").update(&exported).finalize().as_bytes()
}

/// Shows a proof, and says whether the server proves itself in return.
async fn show(connection: &Connection, proof: &[u8; 32]) -> bool {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(proof).await.unwrap();
    receive.read_exact(&mut [0; 32]).await.is_ok()
}

/// A connection on the clients' lane in the hands of a program that writes what it wants.
struct Raw {
    connection: Connection,
}

async fn dial_proven(server: &IrohTransport) -> Raw {
    let connection = dial(server, lane_name(Lane::Client)).await;
    assert!(show(&connection, &proof(&connection)).await);
    Raw { connection }
}

impl Raw {
    /// Sends a request, and says later whether it was answered.
    async fn call(&self, request: &str) -> impl Future<Output = bool> + use<> {
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        let length = request.len() as u8;
        // irpc's length and the stream's purpose; then irpc's length and one call of number 1.
        send.write_all(&[1, 0, length + 3, 1, 1, length]).await.unwrap();
        send.write_all(request.as_bytes()).await.unwrap();
        send.finish().unwrap();
        let request = request.to_owned();
        async move {
            let answer = receive.read_to_end(64).await.unwrap_or_default();
            answer.ends_with(request.as_bytes())
        }
    }
}

/// The same proof on a connection of its own proves nothing.
#[test]
fn a_proof_cannot_be_used_twice() {
    run(|| async {
        let server = serve(1).await;
        let first = dial(&server, lane_name(Lane::Client)).await;
        let second = dial(&server, lane_name(Lane::Client)).await;
        let proof = proof(&first);
        assert!(!show(&second, &proof).await);
        assert!(show(&first, &proof).await);
    });
}

/// Connections that prove nothing hold on, more than are allowed; a friend gets through all the same.
#[test]
fn strangers_keep_nobody_out() {
    run(|| async {
        let server = serve(1).await;
        let mut held = Vec::new();
        for _ in 0..STRANGERS_MAX + 50 {
            held.push(dial(&server, lane_name(Lane::Client)).await);
        }
        let friend = peer(&server, 2, node(COOKIE)).await;
        for lane in Lane::ALL {
            assert_eq!(hello(&friend, lane).await, Ok(Bytes::from("hello")));
        }
        counted(&server.refusals().too_many, 50).await;
        let open = held.iter().filter(|one| one.close_reason().is_none()).count();
        assert!(open <= STRANGERS_MAX, "{open} strangers hold on");
    });
}

/// A peer that was killed and came back is talked to again within 2 s.
#[test]
fn a_restarted_peer_is_noticed_in_time() {
    run(|| async {
        let world = IrohWorld::new(Settings::IDLE_TIMEOUT);
        let (a, _) = Peer::start(&world, A).await;
        let (_b, _) = Peer::start(&world, B).await;
        let hello = || a.call(B, Lane::Control, Bytes::from("hello"));
        assert_eq!(hello().await, Ok(Bytes::from("hello")));
        world.kill(B).await;
        let (_b, _) = Peer::<TokioRuntime>::start(&world, B).await;
        let again = async { while hello().await.is_err() {} };
        let noticed = TokioRuntime::timeout(Duration::from_secs(2), again).await;
        assert!(noticed.is_ok(), "it was not noticed within 2 s");
    });
}

/// The same when this process stands still meanwhile, for long or not: what it then takes for a
/// round trip must not make it hold on to the connection.
#[test]
fn a_peer_that_restarts_while_we_stand_still_is_noticed_in_time() {
    for stop in [Settings::IDLE_TIMEOUT * 2, Settings::IDLE_TIMEOUT * 3 / 4] {
        let world = IrohWorld::new(Settings::IDLE_TIMEOUT);
        let (stopping, stops) = std::sync::mpsc::channel();
        let (resume, resumed) = std::sync::mpsc::channel();
        let ours = world.clone();
        let asking = async move {
            let a = ours.start(A).await;
            let hello = || a.call(B, Lane::Control, Bytes::from("hello"));
            while hello().await.is_err() {}
            // Its receipt comes while we stand still.
            let asked = a.call(B, Lane::Control, Bytes::from("slowly"));
            let _ = TokioRuntime::timeout(Duration::from_millis(2), asked).await;
            stopping.send(()).unwrap();
            resumed.recv().unwrap();
            let again = async { while hello().await.is_err() {} };
            TokioRuntime::timeout(Duration::from_secs(2), again).await.is_ok()
        };
        // All of this endpoint is on one thread, and stands still with it.
        let asking = std::thread::spawn(|| {
            TokioRuntime::new(1).block_on(async { TokioRuntime::spawn(asking).await.unwrap() })
        });
        run(|| async {
            echo(world.start(B).await);
            while stops.try_recv() == Err(TryRecvError::Empty) {
                TokioRuntime::sleep(Duration::from_millis(1)).await;
            }
            TokioRuntime::sleep(stop / 2).await;
            world.kill(B).await;
            echo(world.start(B).await);
            TokioRuntime::sleep(stop / 2).await;
            resume.send(()).unwrap();
            while !asking.is_finished() {
                TokioRuntime::sleep(Duration::from_millis(1)).await;
            }
            assert!(asking.join().unwrap(), "not noticed within 2 s after standing still {stop:?}");
        });
    }
}
