//! Nodes with no direct way to each other, and a client that has none to them: all that they say
//! goes through a relay, iroh's own, which the operator has named.

use std::net::SocketAddr;

use crate::harness::running::Running;
use crate::harness::secluded::secluded;
use crate::namespaces::{WIRES, start_with};
use iroh_relay::server::{RelayConfig, Server, ServerConfig};

/// Where the relay listens, as all nodes see it.
const RELAY: &str = "10.9.9.9:3340";
const FLAGS: &[&str] = &["--relay-url", "http://10.9.9.9:3340"];

/// Cuts every wire for all but the relay, which is on the hub with the clients: the hub passes
/// nothing on, and no packet of UDP comes in at either end.
const CUT: &str = "
    echo 0 > /proc/sys/net/ipv4/ip_forward
    ip addr add 10.9.9.9/32 dev lo
    ip rule add priority 2 lookup local
    ip rule del priority 0
    for i in 1 2 3; do
        ip rule add priority 1 iif h$i ipproto udp blackhole
        ip -n n$i rule add priority 2 lookup local
        ip -n n$i rule del priority 0
        ip -n n$i rule add priority 1 iif eth0 ipproto udp blackhole
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
    let script = format!("{WIRES}{CUT}");
    secluded("relay::a_relay_carries_what_has_no_direct_way", &script, || async {
        let relay = relay().await;
        let mut cluster = start_with(FLAGS).await;
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
