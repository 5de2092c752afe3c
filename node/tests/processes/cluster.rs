//! Three real processes on loopback, and what may happen to them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::harness::running::Running;
use crate::harness::{Cluster, PATIENCE, UNHEARD};
use aspen_check::{Budget, Verdict, check};
use aspen_core::NodeId;
use aspen_core::api::{Consistency, ControlBody, Scan};
use aspen_core::command::{Command, Reply};
use aspen_transport_iroh::Ticket;
use bytes::Bytes;

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

fn set(key: &str, value: &str) -> Command {
    Command::Set { key: bytes(key), value: bytes(value) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_serves_and_changes_its_members() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client.clone();
    assert_eq!(client.write(set("a/1", "one")).await, Ok(Reply::Done));
    let pairs = vec![(bytes("a/2"), bytes("two")), (bytes("b"), bytes("three"))];
    assert_eq!(client.write(Command::SetMulti { pairs }).await, Ok(Reply::Done));
    let swap = |expected: &str| Command::CompareAndSet {
        key: bytes("b"),
        expected: Some(bytes(expected)),
        value: bytes("four"),
    };
    assert_eq!(client.write(swap("two")).await, Ok(Reply::Mismatch(Some(bytes("three")))));
    assert_eq!(client.write(swap("three")).await, Ok(Reply::Swapped));
    let get = |key: &str| client.get(bytes(key), Consistency::Linearizable);
    assert_eq!(get("b").await, Ok(Some(bytes("four"))));
    assert_eq!(get("c").await, Ok(None));
    let scan = Scan { prefix: bytes("a/"), after: None, limit: 10 };
    let page = client.scan(scan, Consistency::Linearizable).await.unwrap();
    assert_eq!(page.rows, [("a/1", "one"), ("a/2", "two")].map(|(k, v)| (bytes(k), bytes(v))));

    // A fourth node learns, takes the leader's place among the voters, and serves.
    cluster.join(4).await;
    let leader = cluster.leader().await;
    let voters: BTreeSet<NodeId> = (1..=4).filter(|id| *id != leader).map(NodeId).collect();
    let heir = *voters.first().unwrap();
    client.control(ControlBody::TransferLeader { to: heir }).await.unwrap();
    cluster
        .until("the heir to lead", |states| {
            states.iter().any(|it| it.id == heir && it.leader == Some(heir)).then_some(())
        })
        .await;
    client.control(ControlBody::ChangeMembership { voters: voters.clone() }).await.unwrap();
    cluster.node(leader).kill();
    let expected = vec![voters];
    cluster
        .until("three voters", |states| {
            states.iter().all(|state| state.voters == expected).then_some(())
        })
        .await;
    assert_eq!(client.write(set("after", "all")).await, Ok(Reply::Done));
    assert_eq!(get("a/1").await, Ok(Some(bytes("one"))));
    client.control(ControlBody::Snapshot).await.unwrap();
    cluster
        .until("a snapshot", |states| {
            states.iter().any(|state| state.snapshot_index.is_some()).then_some(())
        })
        .await;
}

/// An exit code, and what was printed.
type Printed = (Option<i32>, String);

/// Runs `aspen-cli`: its exit code, and what it printed where.
pub(crate) fn cli_output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_aspen-node")).with_file_name("aspen-cli");
    assert!(program.exists(), "aspen-cli is not built; `cargo test --workspace` builds it");
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs `aspen-cli` on the cluster.
fn cli(cluster: &Cluster, arguments: &[&str]) -> Printed {
    let ticket = cluster.nodes.values().next().unwrap().ticket.to_string();
    let (code, printed, said) = cli_output(&[&["--ticket", &ticket], arguments].concat());
    assert!(said.is_empty(), "{said}");
    (code, printed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_says_what_it_did() {
    let cluster = Cluster::start().await;
    let done = |out: &str| (Some(0), out.to_owned());
    let not = |out: &str| (Some(1), out.to_owned());
    let cases: [(&[&str], Printed); 12] = [
        (&["kv", "set", "a/1", "one"], done("")),
        (&["kv", "get", "a/1"], done("one\n")),
        (&["kv", "get", "a/1", "--json"], done("{\"value\":\"one\"}\n")),
        (&["kv", "get", "a/2"], not("")),
        (&["kv", "get", "a/2", "--json"], not("{\"value\":null}\n")),
        (&["kv", "cas", "a/1", "--expected", "two", "three"], not("it holds one\n")),
        (&["kv", "cas", "a/1", "--expected", "one", "two"], done("")),
        (&["kv", "cas", "a/1", "--absent", "three"], not("it holds two\n")),
        (&["kv", "set-multi", "a/2=x=y", "b=z"], done("")),
        (&["kv", "scan", "a/"], done("a/1\ttwo\na/2\tx=y\n")),
        (&["kv", "delete", "a/2"], done("x=y\n")),
        (&["kv", "delete", "a/2"], not("")),
    ];
    for (arguments, expected) in cases {
        assert_eq!(cli(&cluster, arguments), expected, "{arguments:?}");
    }
    let (exit, status) = cli(&cluster, &["cluster", "status"]);
    assert_eq!((exit, status.lines().count()), (Some(0), 3), "{status}");
    assert_eq!(status.matches(": leader, ").count(), 1, "{status}");
    assert_eq!(status.matches(": follower, ").count(), 2, "{status}");
    let (_, ticket) = cli(&cluster, &["cluster", "ticket"]);
    let ticket: Ticket = ticket.parse().unwrap();
    assert_eq!(ticket.nodes.len(), 3);
    let history = tempfile::NamedTempFile::new().unwrap();
    let path = history.path().to_str().unwrap();
    let bench = ["bench", "--seconds", "1", "--keys", "3", "--reads", "50", "--history", path];
    let (exit, figures) = cli(&cluster, &[&bench[..], &["--json"]].concat());
    assert_eq!(exit, Some(0));
    let figures: serde_json::Value = serde_json::from_str(&figures).unwrap();
    let writes = |name: &str| figures["latency_us"]["writes"][name].as_u64().unwrap();
    let reads = figures["latency_us"]["reads"]["count"].as_u64().unwrap();
    assert_eq!(figures["answered"].as_u64().unwrap(), reads + writes("count"), "{figures}");
    // A write passes the network twice and waits for syncs; half of them in no time is no figure.
    assert!(writes("p50") >= 100 && writes("p50") < 1_000_000, "{figures}");
    assert!(writes("p50") <= writes("p99") && writes("p99") <= writes("max"), "{figures}");
    let events = aspen_check::history_file::read(history.path()).unwrap();
    assert_eq!(check(&events, Budget::default()), Ok(Verdict::Linearizable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_a_pause_and_nothing_else() {
    let mut cluster = Cluster::start().await;
    let running = Running::start(&cluster).await;
    for _ in 0..2 {
        let leader = cluster.leader().await;
        cluster.node(leader).kill();
        // What was under way is answered late or not at all; a new request tells of the service.
        cluster.served_without(leader, UNHEARD).await;
        running.answers(100).await;
        cluster.node(leader).restart();
        running.answers(100).await;
    }
    let history = running.stop().await;
    assert!(history.len() > 800, "{} events", history.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_killed_and_restarted_hold_what_they_acknowledged() {
    let mut cluster = Cluster::start().await;
    let running = Running::start(&cluster).await;
    for id in 1..=3 {
        cluster.node(id).kill();
    }
    for id in 1..=3 {
        cluster.node(id).restart();
    }
    running.answers(100).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_follower_is_replaced() {
    let mut cluster = Cluster::start().await;
    let running = Running::start(&cluster).await;
    let leader = cluster.leader().await;
    let lost = (1..=3).find(|id| *id != leader).unwrap();
    cluster.node(lost).kill();
    std::fs::remove_dir_all(&cluster.node(lost).place.folder).unwrap();
    // Its number is not used again: who has forgotten its vote must not vote once more.
    cluster.join(4).await;
    let client = cluster.client.clone();
    let voters = (1..=4).filter(|id| *id != lost).map(NodeId).collect();
    client.control(ControlBody::ChangeMembership { voters }).await.unwrap();
    running.answers(100).await;
    // The newcomer counts: with one more gone, two of three are left.
    let other = (1..=3).find(|id| *id != leader && *id != lost).unwrap();
    cluster.node(other).kill();
    running.answers(100).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_is_removed_by_any_node_and_a_voter_is_not() {
    let mut cluster = Cluster::start().await;
    cluster.join(4).await;
    let learners = |expected: &'static [u64]| {
        move |states: &[aspen_core::api::ClusterState]| {
            let expected: BTreeSet<NodeId> = expected.iter().copied().map(NodeId).collect();
            let voters = states.iter().filter(|state| state.id.0 <= 3);
            let agree = voters.filter(|state| state.learners == expected).count();
            (agree == 3).then_some(())
        }
    };
    cluster.until("a learner", learners(&[4])).await;
    // One that does not lead sends the request on.
    let leader = cluster.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let asked = cluster.nodes[&follower].ticket.to_string();
    let remove = |node: &str| cli_output(&["--ticket", &asked, "cluster", "remove-learner", node]);
    let refused = |code: Option<i32>, said: String, words: &str| {
        assert_eq!(code, Some(65), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    };
    let (code, _, said) = remove(&leader.to_string());
    refused(code, said, "votes; expected a learner");
    let (code, _, said) = remove("5");
    refused(code, said, "node 5 is no member; expected a learner");
    assert_eq!(remove("4"), (Some(0), String::new(), String::new()));
    cluster.until("no learner", learners(&[])).await;
    let (code, _, said) = remove("4");
    refused(code, said, "node 4 is no member; expected a learner");

    // Nothing reaches it any more, and the others do not miss it.
    let gone = cluster.node(4).ticket.clone();
    let gone = aspen_cli::Client::new(&gone, PATIENCE).await.unwrap();
    let applied = gone.state().await.unwrap().applied_index;
    assert_eq!(cluster.client.write(set("after", "all")).await, Ok(Reply::Done));
    let last = cluster.client.state().await.unwrap().applied_index;
    cluster
        .until("all that vote to have it", |states| {
            let has = |state: &&aspen_core::api::ClusterState| {
                state.id.0 <= 3 && state.applied_index >= last
            };
            (states.iter().filter(has).count() == 3).then_some(())
        })
        .await;
    assert!(gone.state().await.unwrap().applied_index < last);
    assert!(applied < last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_operation() {
    let mut cluster = Cluster::start().await;
    let running = Running::start(&cluster).await;
    for id in 1..=3 {
        cluster.node(id).terminate();
        running.answers(50).await;
        cluster.node(id).restart();
        cluster
            .until("everybody to catch up", |states| {
                let last = states.iter().filter_map(|state| state.applied_index).max()?;
                let caught_up =
                    states.iter().filter(|state| state.applied_index >= Some(last - 50)).count();
                (caught_up == 3).then_some(())
            })
            .await;
        running.answers(50).await;
    }
    let tally = running.tally.clone();
    running.stop().await;
    assert_eq!(tally.failed.load(Ordering::Relaxed), 0);
    assert_eq!(tally.unknown.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_leader_is_replaced_and_comes_back_as_a_follower() {
    let mut cluster = Cluster::start().await;
    let running = Running::start(&cluster).await;
    let leader = cluster.leader().await;
    cluster.node(leader).signal("STOP");
    cluster.served_without(leader, PATIENCE).await;
    cluster.node(leader).signal("CONT");
    running.answers(100).await;
    assert_ne!(cluster.leader().await, leader);
    running.stop().await;
}
