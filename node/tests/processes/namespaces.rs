//! Three nodes on three machines, as Linux's network namespaces have them, and what may happen to
//! the wires between them and to the processes.
//!
//! ```text
//! n1 10.0.1.2 ── h1 ┐
//! n2 10.0.2.2 ── h2 ┼ the hub routes between the nodes; the clients are on it, and reach all
//! n3 10.0.3.2 ── h3 ┘
//! ```
//!
//! A cut is a rule of the hub: packets that come in from one node for another are dropped, and
//! nobody is told. Every direction is cut by itself.

use std::path::Path;
use std::time::Duration;

use crate::harness::running::Running;
use crate::harness::secluded::{secluded, shell};
use crate::harness::{Cluster, ELECTION_MAX_MS, PATIENCE, Place, UNHEARD};
use aspen_transport_iroh::Settings;

/// Namespaces, wires, and the tool that cuts them.
pub(crate) const WIRES: &str = "
    mount -t tmpfs tmpfs /run
    ip link set lo up
    echo 1 > /proc/sys/net/ipv4/ip_forward
    for i in 1 2 3; do
        ip netns add n$i
        ip link add h$i type veth peer name eth0 netns n$i
        ip addr add 10.0.$i.1/24 dev h$i
        ip link set h$i up
        ip -n n$i addr add 10.0.$i.2/24 dev eth0
        ip -n n$i link set lo up
        ip -n n$i link set eth0 up
        ip -n n$i route add default via 10.0.$i.1
    done
    ip rule add iif h1 to 10.0.2.0/24 blackhole
    ip rule del iif h1 to 10.0.2.0/24 blackhole
";

async fn start() -> Cluster {
    start_with(&[]).await
}

/// A node at the end of each wire, with these flags beside the usual ones.
pub(crate) async fn start_with(flags: &'static [&'static str]) -> Cluster {
    let place = |id: u64, folder: &Path| Place {
        bind: format!("10.0.{id}.2:7600"),
        namespace: Some(format!("n{id}")),
        flags,
        ..Place::on_loopback(folder.join(id.to_string()))
    };
    Cluster::start_in(place).await
}

/// A direction of the way between two nodes: from, to.
type Direction = (u64, u64);

fn cut(directions: &[Direction]) {
    for (from, to) in directions {
        shell(&format!("ip rule add iif h{from} to 10.0.{to}.0/24 blackhole"));
    }
}

fn heal(directions: &[Direction]) {
    for (from, to) in directions {
        shell(&format!("ip rule del iif h{from} to 10.0.{to}.0/24 blackhole"));
    }
}

fn others(than: u64) -> Vec<u64> {
    (1..=3).filter(|id| *id != than).collect()
}

/// What it says to others.
fn mouth(of: u64) -> Vec<Direction> {
    others(of).into_iter().map(|other| (of, other)).collect()
}

/// What others say to it.
fn ears(of: u64) -> Vec<Direction> {
    others(of).into_iter().map(|other| (other, of)).collect()
}

/// How long when it is heard, and hears nobody: it goes on saying that it leads until its
/// connections break, and a client that has asked meanwhile may wait out its attempt of 3 s.
const DEAF: Duration =
    UNHEARD.saturating_add(Settings::IDLE_TIMEOUT).saturating_add(Duration::from_secs(3));

/// The load's clients are all served, all nodes hold the same, and the history is linearizable.
async fn all_is_well(cluster: &Cluster, running: Running) {
    running.answers(100).await;
    cluster.caught_up().await;
    running.stop().await;
    cluster.assert_same_data().await;
}

#[test]
fn a_leader_cut_off_is_replaced_and_catches_up() {
    secluded("namespaces::a_leader_cut_off_is_replaced_and_catches_up", WIRES, || async {
        let cluster = start().await;
        let running = Running::start(&cluster).await;
        for _ in 0..2 {
            let leader = cluster.leader().await;
            let alone = [mouth(leader), ears(leader)].concat();
            cut(&alone);
            cluster.served_without(leader, UNHEARD).await;
            assert_ne!(cluster.another_leader(leader).await, leader);
            running.answers(100).await;
            heal(&alone);
            cluster.caught_up().await;
        }
        all_is_well(&cluster, running).await;
    });
}

#[test]
fn a_leader_that_is_only_deaf_or_only_mute_is_replaced() {
    secluded("namespaces::a_leader_that_is_only_deaf_or_only_mute_is_replaced", WIRES, || async {
        let cluster = start().await;
        let running = Running::start(&cluster).await;
        for (part, bound) in [(mouth as fn(u64) -> Vec<Direction>, UNHEARD), (ears, DEAF)] {
            let leader = cluster.leader().await;
            let part = part(leader);
            cut(&part);
            cluster.served_without(leader, bound).await;
            assert_ne!(cluster.another_leader(leader).await, leader);
            running.answers(100).await;
            heal(&part);
            cluster.caught_up().await;
        }
        all_is_well(&cluster, running).await;
    });
}

/// A follower that does not hear its leader, or is not heard, disturbs nobody for long: with the
/// third node the leader has its majority.
#[test]
fn one_direction_between_two_nodes_costs_no_service() {
    secluded("namespaces::one_direction_between_two_nodes_costs_no_service", WIRES, || async {
        let cluster = start().await;
        let running = Running::start(&cluster).await;
        for to_follower in [true, false] {
            let leader = cluster.leader().await;
            let follower = others(leader)[0];
            let way = if to_follower { (leader, follower) } else { (follower, leader) };
            cut(&[way]);
            // Long enough for the connection to break and for elections to be tried.
            tokio::time::sleep(Duration::from_millis(4 * ELECTION_MAX_MS)).await;
            running.answers(200).await;
            heal(&[way]);
            cluster.caught_up().await;
        }
        all_is_well(&cluster, running).await;
    });
}

#[test]
fn a_pause_costs_an_election_at_most() {
    secluded("namespaces::a_pause_costs_an_election_at_most", WIRES, || async {
        let mut cluster = start().await;
        let running = Running::start(&cluster).await;
        let leader = cluster.leader().await;
        let follower = others(leader)[0];
        cluster.node(follower).signal("STOP");
        running.answers(200).await;
        cluster.node(follower).signal("CONT");
        cluster.caught_up().await;
        // The second time one is needed that has just stood still itself.
        for _ in 0..2 {
            let leader = cluster.leader().await;
            cluster.node(leader).signal("STOP");
            cluster.served_without(leader, UNHEARD).await;
            running.answers(200).await;
            cluster.node(leader).signal("CONT");
            cluster.caught_up().await;
        }
        all_is_well(&cluster, running).await;
    });
}

/// Packets are lost in bursts: all wires are dead for a moment, again and again.
#[test]
fn wires_that_flap_are_got_over() {
    secluded("namespaces::wires_that_flap_are_got_over", WIRES, || async {
        let cluster = start().await;
        let running = Running::start(&cluster).await;
        let all: Vec<Direction> = (1..=3).flat_map(mouth).collect();
        for round in 0..20 {
            cut(&all);
            // From a moment to longer than a follower waits for its leader.
            tokio::time::sleep(Duration::from_millis(40 * round)).await;
            heal(&all);
            running.answers(20).await;
        }
        all_is_well(&cluster, running).await;
    });
}

/// Serves through a bad network: wires of the queueing discipline that is given.
async fn weather(discipline: &str) {
    let cluster = start().await;
    let running = Running::start(&cluster).await;
    shell(&format!("for i in 1 2 3; do tc qdisc add dev h$i root {discipline}; done"));
    running.answers(300).await;
    // A load that has little of the processor asks little of the wires.
    let felt = async {
        while !weather_is_felt() {
            running.answers(50).await;
        }
    };
    tokio::time::timeout(PATIENCE, felt).await.expect("a packet is lost or held back");
    shell("for i in 1 2 3; do tc qdisc del dev h$i root; done");
    all_is_well(&cluster, running).await;
}

/// Whether a wire has lost a packet or held one back.
fn weather_is_felt() -> bool {
    let counted = std::process::Command::new("tc").args(["-s", "qdisc"]).output().unwrap();
    let counted = String::from_utf8_lossy(&counted.stdout).into_owned();
    let mut wires =
        counted.split("(dropped ").skip(1).filter_map(|rest| rest.split_once(", overlimits "));
    wires.any(|(dropped, overlimits)| dropped != "0" || !overlimits.starts_with("0 "))
}

#[test]
fn packets_that_are_lost_late_doubled_and_out_of_order_are_got_over() {
    const NETEM: &str = "netem delay 20ms 10ms loss 5% duplicate 2% reorder 25% 50%";
    let script = format!("{WIRES}\ntc qdisc add dev h1 root {NETEM}\ntc qdisc del dev h1 root");
    let name = "namespaces::packets_that_are_lost_late_doubled_and_out_of_order_are_got_over";
    secluded(name, &script, || weather(NETEM));
}

/// A wire that is too slow for the load lets packets queue.
#[test]
fn a_wire_that_is_too_slow_is_got_over() {
    const TBF: &str = "tbf rate 512kbit burst 2kb limit 4kb";
    let script = format!("{WIRES}\ntc qdisc add dev h1 root {TBF}\ntc qdisc del dev h1 root");
    secluded("namespaces::a_wire_that_is_too_slow_is_got_over", &script, || weather(TBF));
}
