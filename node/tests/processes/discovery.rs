//! Nodes that move to other addresses, while the membership still names the old ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{COOKIE, Cluster, PATIENCE, client_of, command};
use aspen_core::NodeId;
use aspen_core::api::{ClusterState, Consistency};
use aspen_core::command::{Command, Reply};
use aspen_transport_iroh::PeerAddress;
use bytes::Bytes;

async fn write(cluster: &Cluster, key: &str) {
    let bytes = Bytes::from(key.to_owned());
    let set = Command::Set { key: bytes.clone(), value: bytes };
    assert_eq!(cluster.client.write(set).await, Ok(Reply::Done));
}

async fn assert_written(cluster: &Cluster, key: &str) {
    let bytes = Bytes::from(key.to_owned());
    let read = cluster.client.get(bytes.clone(), Consistency::Linearizable).await;
    assert_eq!(read, Ok(Some(bytes)));
}

/// Waits until all have applied what one has applied.
async fn caught_up(cluster: &Cluster) {
    let nodes = cluster.nodes.len();
    let all = |states: &[ClusterState]| {
        let applied = states.iter().map(|state| state.applied_index);
        (states.len() == nodes && applied.clone().min() == applied.max()).then_some(())
    };
    cluster.until("everybody to catch up", all).await;
}

/// Stops a node, writes, and starts it again elsewhere, where it catches up.
async fn move_node(cluster: &mut Cluster, id: u64) {
    cluster.node(id).terminate();
    write(cluster, &format!("without {id}")).await;
    cluster.node(id).restart_elsewhere(&[]);
    cluster.client = client_of(cluster.nodes.values(), PATIENCE).await;
    caught_up(cluster).await;
}

/// Waits until a node has noted where another was found.
async fn noted(cluster: &Cluster, by: u64, of: u64) {
    let file = cluster.nodes[&by].place.folder.join("found.json");
    let address = cluster.nodes[&of].address.to_string();
    let noted = || std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&address));
    let waiting = async {
        while !noted() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("node {by} has not heard where node {of} is"));
}

/// Where the first node says that the members are.
async fn told_addresses(cluster: &Cluster) -> BTreeMap<NodeId, String> {
    cluster.until("a membership", |states| Some(states.first()?.addresses.clone())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_moved_is_found_again() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let moved = (1..=3).find(|id| *id != leader).unwrap();
    move_node(&mut cluster, moved).await;
    for other in (1..=3).filter(|id| *id != moved) {
        noted(&cluster, other, moved).await;
    }
    // The membership still names the old port; who asks is told the new one.
    let told = told_addresses(&cluster).await[&NodeId(moved)].clone();
    assert_eq!(told, cluster.nodes[&moved].address.to_string());
}

/// In the end the membership names nobody's address, and the nodes know each other from announcements
/// alone, those that were heard before the last restart among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_move_one_after_the_other_and_restart_at_once() {
    let mut cluster = Cluster::start().await;
    for id in 1..=3 {
        move_node(&mut cluster, id).await;
        for other in (1..=3).filter(|other| *other != id) {
            noted(&cluster, other, id).await;
        }
    }
    for id in 1..=3 {
        cluster.node(id).kill();
    }
    for id in 1..=3 {
        cluster.node(id).restart();
    }
    cluster.leader().await;
    for id in 1..=3 {
        assert_written(&cluster, &format!("without {id}")).await;
    }
    write(&cluster, "after all").await;
    caught_up(&cluster).await;
}

/// Nobody is where anybody thinks; one is told by its operator, and tells the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_move_at_once_and_one_is_told_where_the_others_are() {
    let mut cluster = Cluster::start().await;
    write(&cluster, "before").await;
    for id in 1..=3 {
        cluster.node(id).kill();
        // Where it was heard that the others are, they are no longer.
        let _ = std::fs::remove_file(cluster.node(id).place.folder.join("found.json"));
    }
    cluster.node(1).restart_elsewhere(&[]);
    cluster.node(2).restart_elsewhere(&[]);
    let peers = [1, 2].map(|id| cluster.nodes[&id].address.to_string()).join(",");
    cluster.node(3).restart_elsewhere(&["--peers", &peers]);
    cluster.client = client_of(cluster.nodes.values(), PATIENCE).await;
    noted(&cluster, 1, 2).await;
    noted(&cluster, 2, 1).await;
    cluster.leader().await;
    assert_written(&cluster, "before").await;
}

/// The port of mDNS is taken, so it cannot work; the node says so once and runs.
#[test]
fn a_node_without_mdns_runs() {
    // Where a daemon of the machine has the port, it shares it, and mDNS works.
    let Ok(_taken) = UdpSocket::bind("[::]:5353").or_else(|_| UdpSocket::bind("0.0.0.0:5353"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = command();
    command.args(["--node-id", "1", "--cookie", COOKIE, "--bind", "0.0.0.0:0", "--data-dir"]);
    command.arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = out.nth(1).expect("it starts").unwrap();
    let address = address.strip_prefix("address ").unwrap().parse::<PeerAddress>();
    assert!(address.is_ok(), "{address:?}");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said.matches("mDNS does not work here").count(), 1, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
