//! Changes of the membership and of the leadership that would cost a cluster its quorum, or that
//! go nowhere: they are refused, and it serves on.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use aspen_transport_iroh::SecretKey;

use crate::cluster::cli_output;
use crate::harness::{COOKIE, Cluster, ELECTION_MAX_MS, command};

/// What an operator asks of the first node, with little patience: the exit code, and what was said.
fn ask(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let ticket = cluster.nodes.values().next().unwrap().ticket.to_string();
    let (code, _, said) =
        cli_output(&[&["--ticket", &ticket, "--timeout-ms", "4000"], arguments].concat());
    (code, said)
}

#[track_caller]
fn assert_refused((code, said): (Option<i32>, String), why: &str) {
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains(why) && said.lines().count() == 1, "{said}");
}

#[track_caller]
fn assert_serves(cluster: &Cluster) {
    assert_eq!(ask(cluster, &["kv", "set", "key", "value"]), (Some(0), String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_there_is_no_learner_that_has_caught_up_and_no_voter() {
    let mut cluster = Cluster::start().await;
    let change = ["cluster", "change-membership"];
    let endpoint = SecretKey::from_bytes(&[9; 32]).public();
    let nowhere = format!("9={endpoint}@127.0.0.1:9");
    for _ in ["at first", "once more"] {
        let (code, said) = ask(&cluster, &["cluster", "add-learner", &nowhere]);
        assert_eq!(code, Some(2), "{said}");
    }
    let never_there = ask(&cluster, &[&change[..], &["1,2,3,9"]].concat());
    assert_refused(never_there, "node 9 has not answered");
    cluster.join(4).await;
    let elsewhere = format!("4={endpoint}@127.0.0.1:9");
    let moved = ask(&cluster, &["cluster", "add-learner", &elsewhere]);
    assert_refused(moved, "node 4 is a learner already");
    let voter = format!("2={endpoint}@127.0.0.1:9");
    assert_refused(ask(&cluster, &["cluster", "add-learner", &voter]), "node 2 votes already");

    let ids = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let leader = cluster.leader().await;
    let fallen = (1..=3).find(|id| *id != leader).unwrap();
    cluster.node(fallen).kill();
    // A node that answered within two of these is not missed yet.
    tokio::time::sleep(Duration::from_millis(3 * ELECTION_MAX_MS)).await;
    let pair = ids(&[leader, fallen]);
    assert_refused(ask(&cluster, &[&change[..], &[&pair]].concat()), "only 1 have answered");
    cluster.node(4).kill();
    tokio::time::sleep(Duration::from_millis(3 * ELECTION_MAX_MS)).await;
    let all = ids(&[1, 2, 3, 4]);
    assert_refused(ask(&cluster, &[&change[..], &[&all]].concat()), "node 4 has not answered");
    let heir = ["cluster", "transfer-leader", &fallen.to_string()];
    assert_refused(ask(&cluster, &heir), "has not answered lately");
    assert_serves(&cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_to_hand_over_to_itself_leads_on() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let (code, said) = ask(&cluster, &["cluster", "transfer-leader", &leader.to_string()]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_serves(&cluster);
    assert_eq!(cluster.leader().await, leader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_of_another_cluster_makes_nobody_a_member() {
    let cluster = Cluster::start().await;
    let mut foreign = cluster.nodes[&1].ticket.clone();
    foreign.secret.0[0] ^= 1;
    let foreign = foreign.to_string();
    for arguments in [["cluster", "add-learner", &foreign], ["cluster", "init", &foreign]] {
        let (code, said) = ask(&cluster, &arguments);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("another cookie") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_node_with_an_ipv6_address_alone_is_reached() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return println!("skipped: this machine has no IPv6");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut starting = command();
    starting.args(["--node-id", "1", "--cookie", COOKIE, "--bind", "[::1]:0", "--disable-mdns"]);
    starting.arg("--data-dir").arg(folder.path().join("data")).stdout(Stdio::piped());
    let mut node = starting.spawn().unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let ticket = lines.find_map(|line| Some(line.unwrap().strip_prefix("ticket ")?.to_owned()));
    let ticket = ticket.unwrap();
    let asked =
        [&["cluster", "init", &ticket][..], &["kv", "set", "key", "value"], &["kv", "get", "key"]]
            .map(|arguments| cli_output(&[&["--ticket", &ticket], arguments].concat()));
    let file = folder.path().join("backup");
    let backup = command().args(["backup", "--ticket", &ticket, "--out"]).arg(&file).output();
    node.kill().unwrap();
    node.wait().unwrap();
    let done = |out: &str| (Some(0), out.to_owned(), String::new());
    assert_eq!(asked, [done(""), done(""), done("value\n")]);
    assert!(backup.unwrap().status.success() && file.exists());
}
