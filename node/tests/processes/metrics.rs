//! Metrics and health of real processes, read over HTTP as Prometheus reads them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{COOKIE, Cluster, HEARTBEAT_MS, PATIENCE, Place, Process, refused};
use aspen_cli::Client;
use aspen_core::api::Consistency;
use aspen_core::command::Command;
use aspen_transport_iroh::{ClusterKeys, Ticket};

/// One request: the status and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Every sample by its name and labels.
fn samples(address: SocketAddr) -> BTreeMap<String, f64> {
    let (status, body) = get(address, "/metrics");
    assert_eq!(status, 200);
    assert!(body.ends_with("# EOF\n"), "{body}");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_happens() {
    let cluster = Cluster::start().await;
    let mut session = cluster.client.open_session().await.unwrap();
    for number in 0..20_u8 {
        let key = vec![number].into();
        session.write(Command::Set { key, value: "value".into() }).await.unwrap();
    }
    let _ = cluster.client.get("key".into(), Consistency::Linearizable).await.unwrap();
    session.close().await;
    let applied = cluster
        .until("all to have applied the same", |states| {
            let applied: Vec<_> = states.iter().map(|state| state.applied_index).collect();
            let all = states.len() == 3 && applied.iter().all(|one| *one == applied[0]);
            all.then_some(applied[0]?)
        })
        .await;
    let leader = cluster.leader().await;
    for node in cluster.nodes.values() {
        let seen = samples(node.metrics);
        let number = |name: &str| *seen.get(name).unwrap_or_else(|| panic!("{name}: {seen:#?}"));
        let leads = f64::from(u8::from(node.id == leader));
        assert_eq!(number("aspen_node_id"), node.id as f64);
        assert_eq!(number("aspen_leader"), leader as f64);
        assert_eq!(number("aspen_is_leader"), leads);
        assert_eq!(number("aspen_voters"), 3.0);
        assert_eq!(number("aspen_applied_index"), applied as f64);
        assert_eq!(number("aspen_committed_index"), applied as f64);
        assert!(number("aspen_term") >= 1.0);
        assert!(number("aspen_log_entries") >= 20.0);
        assert!(number("aspen_storage_bytes") >= 4096.0);
        assert!(number("aspen_sync_seconds_count") >= 1.0);
        assert!(number("aspen_sync_seconds_sum") > 0.0);
        let lags = seen.keys().filter(|name| name.starts_with("aspen_replication_lag_entries{"));
        assert_eq!(lags.count(), if node.id == leader { 2 } else { 0 }, "{seen:#?}");
        let made = "aspen_call_seconds_count{direction=\"made\",lane=\"control\"}";
        assert!(node.id != leader || number(made) >= 1.0);
        assert_eq!(number("aspen_refused_total{reason=\"unproven\"}"), 0.0);
        assert_eq!(number("aspen_announcements_total{outcome=\"forged\"}"), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_the_node_serves() {
    let folder = tempfile::tempdir().unwrap();
    let alone = Process::start(1, Place::on_loopback(folder.path().join("1")));
    let (status, body) = get(alone.metrics, "/health");
    assert_eq!(status, 503);
    assert!(body.contains("\"healthy\":false") && body.contains("in no cluster yet"), "{body}");
    assert_eq!(get(alone.metrics, "/nothing").0, 404);

    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    for node in cluster.nodes.values() {
        let (status, body) = get(node.metrics, "/health");
        assert_eq!(status, 200, "{body}");
        assert!(body.contains(&format!("\"leader\":{leader}")), "{body}");
    }
    // A leader without a quorum serves nobody.
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.node(id).kill();
    }
    let left = cluster.nodes[&leader].metrics;
    let noticed = tokio::time::timeout(PATIENCE, async {
        while get(left, "/health").0 != 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    noticed.await.expect("a leader without followers is not healthy");
    assert!(get(left, "/health").1.contains("no quorum"));
}

/// Reads, one after the other, which share nothing: how many calls on the control lane the leader makes
/// for each of them, and how many of those the heartbeats to two followers may be.
async fn calls_for_each_read(cluster: &Cluster) -> (f64, f64) {
    const READS: u32 = 200;
    let leader = cluster.nodes[&cluster.leader().await].metrics;
    let name = "aspen_call_seconds_count{direction=\"made\",lane=\"control\"}";
    let (begun, before) = (Instant::now(), samples(leader)[name]);
    for _ in 0..READS {
        cluster.client.get("key".into(), Consistency::Linearizable).await.unwrap();
    }
    let calls = samples(leader)[name] - before;
    let heartbeats = 2.0 * (1.0 + begun.elapsed().as_millis() as f64 / HEARTBEAT_MS as f64);
    (calls / f64::from(READS), heartbeats / f64::from(READS))
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_ask_a_quorum_unless_the_lease_is_trusted() {
    let asking = Cluster::start().await;
    let (calls, _) = calls_for_each_read(&asking).await;
    assert!(calls >= 1.0, "{calls} calls for each read");
    drop(asking);
    let trusting = Cluster::start_in(|id, folder| {
        let place = Place::on_loopback(folder.join(id.to_string()));
        Place { flags: &["--lease-reads"], ..place }
    });
    let (calls, heartbeats) = calls_for_each_read(&trusting.await).await;
    assert!(calls < 0.2 + heartbeats, "{calls} calls for each read, {heartbeats} heartbeats");
}

/// A client with another secret is turned away, and that shows.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let node = Process::start(1, Place::on_loopback(folder.path().join("1")));
    let name = "aspen_refused_total{reason=\"unproven\"}";
    assert_eq!(samples(node.metrics)[name], 0.0);
    let keys = ClusterKeys::new(b"the cookie of somebody else");
    let secret = keys.client_secret().clone();
    let ticket = Ticket { nodes: node.ticket.nodes.clone(), secret };
    let client = Client::new(&ticket, Duration::from_secs(1)).await.unwrap();
    assert!(client.get("key".into(), Consistency::Stale).await.is_err());
    assert!(samples(node.metrics)[name] >= 1.0);
}

#[test]
fn a_taken_address_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let mut arguments = vec!["--node-id", "1", "--cookie", COOKIE, "--data-dir", data];
    arguments.extend(["--bind", "127.0.0.1:0", "--metrics-addr", &address]);
    let (status, said) = refused(&arguments, &[]);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains(&format!("--metrics-addr {address}")), "{said}");
    assert!(!folder.path().join("aspen.redb").exists());
}
