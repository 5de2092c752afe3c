//! Nodes with no direct way to each other, and a client that has none to them: all that they say
//! goes through a relay, iroh's own, which the operator has named.

use std::net::SocketAddr;

use crate::harness::running::Running;
use crate::harness::secluded::secluded;
use crate::harness::{Cluster, Place};
use iroh_relay::server::{RelayConfig, Server, ServerConfig};

/// Where the relay listens, as all nodes see it.
const RELAY: &str = "10.9.9.9:3340";
const FLAGS: &[&str] = &["--relay-url", "http://10.9.9.9:3340"];

/// Three machines that reach the relay and nothing else: the hub of their wires, where the relay
/// and the clients are, passes nothing on, and no packet of UDP comes in at either end of a wire.
const WIRES: &str = "
    mount -t tmpfs tmpfs /run
    ip link set lo up
    echo 0 > /proc/sys/net/ipv4/ip_forward
    ip addr add 10.9.9.9/32 dev lo
    ip rule add priority 2 lookup local
    ip rule del priority 0
    for i in 1 2 3; do
        ip netns add n$i
        ip link add h$i type veth peer name eth0 netns n$i
        ip addr add 10.0.$i.1/24 dev h$i
        ip link set h$i up
        ip -n n$i addr add 10.0.$i.2/24 dev eth0
        ip -n n$i link set lo up
        ip -n n$i link set eth0 up
        ip -n n$i route add default via 10.0.$i.1
        ip -n n$i rule add priority 2 lookup local
        ip -n n$i rule del priority 0
        ip -n n$i rule add priority 1 iif eth0 ipproto udp blackhole
        ip rule add priority 1 iif h$i ipproto udp blackhole
    done
";

async fn relay() -> Server {
    let address: SocketAddr = RELAY.parse().unwrap();
    let mut config = ServerConfig::default();
    config.relay = Some(RelayConfig::new(address));
    Server::spawn(config).await.unwrap()
}

#[test]
fn a_relay_carries_what_has_no_direct_way() {
    secluded("relay::a_relay_carries_what_has_no_direct_way", WIRES, || async {
        let relay = relay().await;
        let mut cluster = Cluster::start_in(|id, folder| Place {
            bind: format!("10.0.{id}.2:7600"),
            namespace: Some(format!("n{id}")),
            flags: FLAGS,
            ..Place::on_loopback(folder.join(id.to_string()))
        })
        .await;
        let running = Running::start(&cluster).await;
        let leader = cluster.leader().await;
        cluster.node(leader).kill();
        running.answers(100).await;
        cluster.node(leader).restart();
        running.answers(100).await;
        cluster.caught_up().await;
        running.stop().await;
        cluster.assert_same_data().await;
        relay.shutdown().await.unwrap();
    });
}
