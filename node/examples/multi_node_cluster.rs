//! A cluster of three that gains a node, changes its leader and its voters, and goes on.
//!
//! `cargo run -p aspen-node --example multi_node_cluster`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeSet;

use aspen_core::api::Consistency;
use aspen_core::command::{Command, Key, Value};
use aspen_core::{ClusterController, KeyValueStore, NodeId};
use aspen_node::local::LocalCluster;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut cluster = LocalCluster::start(3).await?;
    let old = cluster.leader().await?;
    let key = Key::from_static(b"written before");
    let write = Command::Set { key: key.clone(), value: Value::from_static(b"all of it") };
    cluster.node(old)?.core().write(None, write).await?;

    // A node that joins learns first: it gets the log, and does not vote. This returns when it has
    // caught up.
    let newcomer = NodeId(4);
    let address = cluster.add(newcomer).await?.address().to_string();
    let leader = cluster.node(old)?.core();
    leader.add_learner(newcomer, address).await?;
    println!("learners: {:?}", leader.current_state().learners);

    // Then it takes the place of the old leader among the voters. The old leader leads until that is
    // decided, and leaves.
    let voters: BTreeSet<NodeId> = (1..=4).map(NodeId).filter(|id| *id != old).collect();
    leader.change_membership(voters.clone()).await?;
    cluster.stop_node(old).await?;
    let new = cluster.leader().await?;
    let state = cluster.node(new)?.core().current_state();
    assert!(new != old && state.voters == [voters]);
    println!("one of {} voters leads now, and the old leader is gone", state.voters[0].len());

    // Everything is still there, and each node can be asked for it.
    let held = cluster.node(newcomer)?.core().read(key, Consistency::Linearizable).await?;
    println!("the newcomer reads: {}", String::from_utf8_lossy(&held.unwrap_or_default()));
    cluster.stop().await
}
