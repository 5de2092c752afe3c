//! The smallest cluster: one node in this process, which elects itself and holds a value.
//!
//! `cargo run -p aspen-node --example basic_cluster`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use aspen_core::api::Consistency;
use aspen_core::command::Command;
use aspen_core::{ClusterController, KeyValueStore};
use aspen_node::local::LocalCluster;
use bytes::Bytes;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Starts a node in a temporary folder, tells it that it is the only voter, and waits until it
    // leads.
    let cluster = LocalCluster::start(1).await?;
    let leader = cluster.leader().await?;

    // A node has two planes. This is the one of the cluster:
    let node = cluster.node(leader)?.core();
    let state = node.current_state();
    println!("node {} leads in term {}, of {} voters", state.id, state.term, state.voters[0].len());

    // And this is the one of the data. A write returns when a quorum has it on its disks.
    let (key, value) = (Bytes::from("greeting"), Bytes::from("hello"));
    let written = node.write(None, Command::Set { key: key.clone(), value }).await?;
    println!("written by entry {} of the log", written.index);

    // A linearizable read sees every write that was acknowledged before it began.
    let held = node.read(key, Consistency::Linearizable).await?;
    println!("greeting = {}", String::from_utf8_lossy(&held.unwrap_or_default()));

    // A client on another machine would need this, and nothing else:
    println!("a ticket of {} characters", cluster.ticket()?.to_string().len());
    cluster.stop().await
}
