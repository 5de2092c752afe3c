//! A whole cluster in this process, on loopback and in a temporary folder: to try it, and for the
//! examples. Nothing of it stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use aspen_core::{ClusterController, NodeId};
use aspen_transport_iroh::{SecretKey, Ticket};
use clap::Parser;
use data_encoding::HEXLOWER;
use tempfile::TempDir;

use crate::node::RunningNode;
use crate::settings::{self, Options};

/// How often is looked whether there is a leader.
const LOOK: Duration = Duration::from_millis(10);
/// How long an election may take here.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes on loopback that form a cluster.
pub struct LocalCluster {
    nodes: BTreeMap<NodeId, RunningNode>,
    cookie: String,
    folder: TempDir,
}

impl LocalCluster {
    /// Starts so many nodes, makes a cluster of them, and waits until it has a leader.
    ///
    /// # Errors
    /// What is in the way of a node.
    pub async fn start(count: u64) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("aspen-").tempdir()?;
        let cookie = HEXLOWER.encode(&SecretKey::generate().to_bytes());
        let mut cluster = Self { nodes: BTreeMap::new(), cookie, folder };
        for id in 1..=count {
            cluster.add(NodeId(id)).await?;
        }
        let voters = cluster.nodes.iter().map(|(id, node)| (*id, node.address().to_string()));
        let voters = voters.collect();
        let (_, first) = cluster.nodes.first_key_value().context("a cluster of no nodes")?;
        first.core().init(voters).await?;
        cluster.leader().await?;
        Ok(cluster)
    }

    /// Starts one more node, which nobody knows yet.
    ///
    /// # Errors
    /// What is in its way.
    pub async fn add(&mut self, id: NodeId) -> anyhow::Result<&RunningNode> {
        let data_dir = self.folder.path().join(id.to_string());
        let data_dir = data_dir.to_str().context("the temporary folder's name is no text")?;
        let (number, cookie) = (id.to_string(), self.cookie.as_str());
        let options = Options::try_parse_from([
            "aspen-node",
            "--bind=127.0.0.1:0",
            "--heartbeat-interval-ms=100",
            "--election-timeout-min-ms=300",
            "--election-timeout-max-ms=600",
            "--node-id",
            &number,
            "--cookie",
            cookie,
            "--data-dir",
            data_dir,
        ])?;
        let settings = settings::read(options, std::iter::empty())?;
        let node = RunningNode::start(&settings).await.with_context(|| format!("node {id}"))?;
        Ok(self.nodes.entry(id).or_insert(node))
    }

    /// A node that runs.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn node(&self, id: NodeId) -> anyhow::Result<&RunningNode> {
        self.nodes.get(&id).ok_or_else(|| anyhow!("node {id} does not run"))
    }

    /// Stops one node in good order.
    ///
    /// # Errors
    /// When there is none of that number.
    pub async fn stop_node(&mut self, id: NodeId) -> anyhow::Result<()> {
        let node = self.nodes.remove(&id).with_context(|| format!("node {id} does not run"))?;
        node.shutdown().await;
        Ok(())
    }

    /// Waits until a node that runs leads and every member that runs knows it, and says which.
    ///
    /// # Errors
    /// When none does in a time that is long for an election.
    pub async fn leader(&self) -> anyhow::Result<NodeId> {
        let looking = async {
            loop {
                if let Some(leader) = self.agreed_leader() {
                    return leader;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.context("there is no leader")
    }

    /// The leader, once every member that runs knows it and the members it has.
    fn agreed_leader(&self) -> Option<NodeId> {
        let states: Vec<_> = self.nodes.values().map(|node| node.core().current_state()).collect();
        let leads = states.iter().find(|state| state.leader == Some(state.id))?;
        let members = states.iter().filter(|state| leads.addresses.contains_key(&state.id));
        let mut members = members.map(|state| (state.leader, &state.addresses));
        members.all(|known| known == (Some(leads.id), &leads.addresses)).then_some(leads.id)
    }

    /// A ticket that names every node.
    ///
    /// # Errors
    /// When no node runs.
    pub fn ticket(&self) -> anyhow::Result<Ticket> {
        let (_, first) = self.nodes.first_key_value().context("no node runs")?;
        let mut ticket = first.ticket();
        ticket.nodes = self.nodes.iter().map(|(id, node)| (*id, node.address())).collect();
        Ok(ticket)
    }

    /// Where the nodes' folders are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until a node has stopped by itself, and says why.
    pub async fn stopped(&self) -> String {
        let stopped = self.nodes.iter().map(|(id, node)| {
            Box::pin(async move { format!("node {id} has stopped: {}", node.stopped().await) })
        });
        futures_util::future::select_all(stopped).await.0
    }

    /// Stops every node and removes what they wrote.
    ///
    /// # Errors
    /// The system's, when a folder cannot be removed.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { nodes, folder, .. } = self;
        futures_util::future::join_all(nodes.into_values().map(RunningNode::end)).await;
        folder.close().context("the temporary folder")
    }
}
