//! A node: openraft on the storage engine and the network, serving both planes.
//!
//! [`Node::start`] takes the log and the state machine as openraft's traits, so that the simulator
//! can put decorators around the real ones; everything else is the same in both worlds. A node
//! that meets a storage error stops and stays stopped ([`Node::stopped`]); whoever runs it decides
//! when to start it again.
//!
//! The files: `client` serves the data plane, `confirm` says when a read is fresh, `control` serves the
//! control plane, `backup` a copy of the state machine, `peer` what other nodes send; `measures` says
//! what an operator wants to know.

mod backup;
mod client;
mod confirm;
mod control;
mod measures;
mod peer;

pub use measures::Measures;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::{Config, Raft, RaftMetrics, SnapshotPolicy};

use crate::command::Command;
use crate::limits;
use crate::network::{Deadlines, Network};
use crate::runtime::Runtime;
use crate::storage::{SnapshotData, Store};
use crate::transport::Transport;
use crate::types::{LogId, NodeId, RaftConfig};

/// How a node runs. All nodes of a cluster should agree on the timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Who this node is.
    pub id: NodeId,
    /// How often a leader says that it is alive.
    pub heartbeat: Duration,
    /// Shortest wait for a leader before an election.
    pub election_min: Duration,
    /// Longest wait for a leader before an election.
    pub election_max: Duration,
    /// A snapshot is taken after so many entries.
    pub snapshot_after_entries: u64,
    /// So many entries are kept behind a snapshot for followers that lag.
    pub keep_entries: u64,
    /// A client's request is given up after this.
    pub request_timeout: Duration,
    /// A chunk of a snapshot must be taken, and a snapshot installed, within this.
    pub snapshot_timeout: Duration,
    /// Linearizable reads trust the leader's lease instead of asking a quorum each time. With
    /// clocks whose rates differ by more than an election's wait makes up for, or with a machine
    /// that stands still between the look at its clock and the read, they may be stale.
    pub lease_reads: bool,
}

impl NodeConfig {
    /// The defaults of production. A snapshot holds up the log for a moment, so nodes with neighbouring
    /// numbers do not take theirs at the same entries: meanwhile the others are a quorum.
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            heartbeat: Duration::from_millis(500),
            election_min: Duration::from_millis(1500),
            election_max: Duration::from_millis(3000),
            snapshot_after_entries: 10_000 + 1250 * (id.0 % 8),
            keep_entries: 1000,
            request_timeout: Duration::from_secs(10),
            snapshot_timeout: Duration::from_secs(10),
            lease_reads: false,
        }
    }

    fn raft_config(&self) -> Result<Config, StartError> {
        let ms = |duration: Duration| duration.as_millis() as u64;
        let config = Config {
            cluster_name: "aspen".to_owned(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_min),
            election_timeout_max: ms(self.election_max),
            enable_pre_vote: Some(true),
            // A leader sends entries while its own copy is still on its way to the disk. One that
            // restarts as the leader of its old term may have lost entries that followers hold,
            // and would put others of the same term in their place: it must be elected anew. Reads
            // (`confirm`) rely on that, too: what it had acknowledged, it may not have applied yet.
            enable_leader_restore: Some(false),
            max_payload_entries: limits::APPEND_ENTRIES_MAX as u64,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            install_snapshot_timeout: ms(self.snapshot_timeout),
            ..Config::default()
        };
        config.validate().map_err(|error| StartError(format!("bad timeouts: {error}")))
    }
}

/// Why a node could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node cannot start: {0}")]
pub struct StartError(pub String);

/// A running node. Cloning gives another handle to the same node.
pub struct Node<R: Runtime, T: Transport, SM: Machine<R>> {
    inner: Arc<Inner<R, T, SM>>,
}

/// The state machines that a node can run: those over the engine's snapshots.
pub trait Machine<R: Runtime>:
    RaftStateMachine<RaftConfig<R>, SnapshotData = SnapshotData>
{
}

impl<R: Runtime, SM> Machine<R> for SM where
    SM: RaftStateMachine<RaftConfig<R>, SnapshotData = SnapshotData>
{
}

struct Inner<R: Runtime, T: Transport, SM: Machine<R>> {
    config: NodeConfig,
    raft: Raft<RaftConfig<R>, SM>,
    transport: T,
    store: Store<R>,
    failure: OnceLock<String>,
    /// The membership whose addresses the transport knows.
    learned: Mutex<Option<LogId>>,
    rounds: confirm::Rounds<R>,
}

impl<R: Runtime, T: Transport, SM: Machine<R>> Clone for Node<R, T, SM> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<R, T, SM> Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    /// Starts a node on what its storage holds and begins to serve.
    ///
    /// # Errors
    /// [`StartError`] when the configuration is no valid one or the storage cannot be read.
    pub async fn start<LS>(
        config: NodeConfig,
        transport: T,
        log: LS,
        machine: SM,
        store: Store<R>,
    ) -> Result<Self, StartError>
    where
        LS: RaftLogStorage<RaftConfig<R>>,
    {
        let raft_config = Arc::new(config.raft_config()?);
        let deadlines =
            Deadlines { append: config.election_max, snapshot: config.snapshot_timeout };
        let network = Network::<R, T>::new(config.id, transport.clone(), deadlines);
        let raft = Raft::new(config.id, raft_config, network, log, machine)
            .await
            .map_err(|error| StartError(error.to_string()))?;
        let failure = OnceLock::new();
        let learned = Mutex::default();
        let rounds = confirm::Rounds::default();
        let inner = Inner { config, raft, transport, store, failure, learned, rounds };
        let node = Self { inner: Arc::new(inner) };
        // The tasks end with the process: a node never outlives its endpoint.
        drop(R::spawn(node.clone().serve()));
        drop(R::spawn(node.clone().tick()));
        Ok(node)
    }

    /// Waits until the node has stopped, and says why: a storage error, or a shutdown.
    pub async fn stopped(&self) -> String {
        // The end of any of the core's channels is its own end. This one changes with leaders and
        // members; the one that tells how it ended changes with every message.
        let mut metrics = self.inner.raft.server_metrics();
        while metrics.changed().await.is_ok() {}
        if let Some(reason) = self.inner.failure.get() {
            return reason.clone();
        }
        let state = self.inner.raft.metrics().borrow_watched().running_state.clone();
        state.err().map_or_else(|| "raft stopped".to_owned(), |fatal| fatal.to_string())
    }

    /// Stops the node in good order.
    pub async fn shutdown(&self) {
        // An error here means that the core's task is gone already, which is what is wanted.
        let _ = self.inner.raft.shutdown().await;
    }

    /// What the node has applied, read without asking anyone.
    pub fn store(&self) -> &Store<R> {
        &self.inner.store
    }

    /// Stops for good after a storage error: it never limps on.
    async fn fail(&self, reason: String) {
        let _ = self.inner.failure.set(reason);
        self.shutdown().await;
    }

    /// Tells the transport where the members are. openraft does when it is about to send them
    /// something, and a node that neither led nor asked for votes has sent nobody anything.
    fn learn_members(&self) {
        let metrics = self.inner.raft.server_metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        let mut learned = self.inner.learned.lock().expect("nothing panics while it holds this");
        if *learned == *membership.log_id() {
            return;
        }
        *learned = *membership.log_id();
        for (id, node) in membership.membership().nodes() {
            self.inner.transport.learn(*id, &node.addr);
        }
    }

    /// The members that have answered this leader lately.
    fn answering(&self, metrics: &RaftMetrics<RaftConfig<R>>) -> BTreeSet<NodeId> {
        let (now, patience) = (RaftConfig::<R>::now(), 2 * self.inner.config.election_max);
        let answered = metrics.heartbeat.iter().flatten();
        let lately = answered.filter(|(_, at)| at.is_some_and(|at| *at + patience >= now));
        lately.map(|(node, _)| *node).collect()
    }

    async fn serve(self) {
        let transport = self.inner.transport.clone();
        transport.serve(Arc::new(self)).await;
    }

    /// Lets the log's time pass while sessions could expire and nobody writes.
    async fn tick(self) {
        loop {
            R::sleep(limits::TICK_INTERVAL).await;
            let inner = &self.inner;
            let late = inner.store.log_time().ms + limits::TICK_INTERVAL.as_millis() as u64;
            if !inner.raft.is_leader() || inner.store.sessions() == 0 || R::wall_clock().ms < late {
                continue;
            }
            let proposal = crate::api::proposal::<R>(None, Command::Tick);
            if inner.raft.client_write_ff(proposal, None).await.is_err() {
                return;
            }
        }
    }
}
