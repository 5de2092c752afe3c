//! The system under test, and the only module of the simulator that knows it: how to start a node
//! on a runtime, a transport and a volume, how to ask it something, how to read its state.
//!
//! Everything else speaks of nodes, links, disks, operations and histories, so that one day
//! another openraft application can stand where Aspen's core stands. Around the real storage stand
//! two kinds of decorators: those that record the trace, and the planted bugs of [`mutants`].
//!
//! [`mutants`]: crate::mutants

mod log;
mod machine;
mod marks;
mod message;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aspen_core::storage::{StorageConfig, Store};
use aspen_core::{ClusterController, Node, NodeConfig, NodeId, storage};
use aspen_transport_sim::SimRuntime;
use aspen_transport_sim::network::SimTransport;

use self::log::TracedLog;
use self::machine::TracedMachine;
pub use self::message::describe;
use crate::disk::SimVolume;
use crate::mutants::{Mutant, MutantLog, MutantMachine, MutantTransport};
use crate::run::Recorder;
use crate::scenario::Scenario;
use crate::trace::{Position, TraceKind};

/// openraft's types, as the simulator runs them.
pub(crate) type Types = aspen_core::RaftConfig<SimRuntime>;
type Machine = TracedMachine<MutantMachine<storage::StateMachine<SimRuntime>>>;

/// What a node's incarnation is started on.
pub struct Start {
    /// Who.
    pub id: NodeId,
    /// Which life.
    pub incarnation: u32,
    /// The timeouts.
    pub config: NodeConfig,
    /// How it keeps its data.
    pub storage: StorageConfig,
    /// Its endpoint.
    pub transport: SimTransport,
    /// Its disk.
    pub volume: SimVolume,
    /// Where its trace goes.
    pub recorder: Recorder,
    /// The planted bug, if any.
    pub mutant: Option<Mutant>,
}

/// A running node of the system under test.
#[derive(Clone)]
pub struct Running {
    node: Node<SimRuntime, MutantTransport, Machine>,
}

/// What the checks want to know of a node at the end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Its term.
    pub term: u64,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// Index of its last log entry.
    pub last_log_index: Option<u64>,
    /// Index of the last entry applied.
    pub applied_index: Option<u64>,
    /// Digest of its state machine.
    pub state: Option<u64>,
}

impl Start {
    /// Opens the storage, records what it held, and starts the node.
    ///
    /// # Errors
    /// What the storage or openraft said; the node is to be taken for stopped.
    pub async fn start(self) -> Result<Running, String> {
        let volume = Arc::new(self.volume);
        let opened = storage::open::<SimRuntime, _>(volume, &self.storage)
            .map_err(|error| error.to_string())?;
        let store: Store<SimRuntime> = opened.store;
        let teller = Teller::new(self.id, self.incarnation, self.recorder);

        let log = MutantLog::new(opened.log, self.mutant);
        let mut log = TracedLog::new(log, teller.clone());
        let machine = MutantMachine::new(opened.machine, self.mutant);
        let mut machine = TracedMachine::new(machine, store.clone(), teller.clone());
        let recovered = marks::recovered(&mut log, &mut machine, store.repaired())
            .await
            .map_err(|error| error.to_string())?;
        teller.tell(TraceKind::Started { recovered });

        let transport = MutantTransport::new(self.transport, self.mutant);
        let node = Node::start(self.config, transport, log, machine, store)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Running { node })
    }
}

impl Running {
    /// Makes a new cluster of these nodes.
    ///
    /// # Errors
    /// What the node said.
    pub async fn init(&self, nodes: &[NodeId]) -> Result<(), String> {
        let voters: BTreeMap<NodeId, String> =
            nodes.iter().map(|node| (*node, format!("sim://{node}"))).collect();
        self.node.init(voters).await.map_err(|error| error.to_string())
    }

    /// Waits until the node has stopped by itself, and says why.
    pub async fn stopped(&self) -> String {
        self.node.stopped().await
    }

    /// What the node knows now.
    pub fn status(&self) -> Status {
        let state = self.node.current_state();
        let applied_index = self.node.store().applied().map(|log_id| log_id.index);
        let digests = applied_index.map(|index| self.node.store().digests(index..=index));
        let digest = digests.and_then(|digests| digests.last().map(|(_, digests)| digests.state));
        Status {
            term: state.term,
            leader: state.leader,
            last_log_index: state.last_log_index,
            applied_index,
            state: digest,
        }
    }
}

/// A node's configuration in a scenario.
pub fn node_config(id: NodeId, scenario: &Scenario) -> NodeConfig {
    NodeConfig {
        id,
        heartbeat: Duration::from_millis(scenario.heartbeat_ms),
        election_min: Duration::from_millis(scenario.election_ms_min),
        election_max: Duration::from_millis(scenario.election_ms_max),
        snapshot_after_entries: scenario.snapshot_after_entries,
        keep_entries: scenario.keep_entries,
        request_timeout: Duration::from_millis(scenario.operation_timeout_ms),
        snapshot_timeout: Duration::from_millis(scenario.election_ms_max * 4),
        lease_reads: false,
    }
}

/// A node's storage in a scenario.
pub fn storage_config(scenario: &Scenario) -> StorageConfig {
    // Short, for many epochs in a run.
    let journal_bytes = 8 << 10;
    StorageConfig { flush_after_entries: scenario.flush_after_entries, journal_bytes }
}

/// Records the events of one incarnation.
#[derive(Clone)]
pub(crate) struct Teller {
    node: NodeId,
    incarnation: u32,
    recorder: Recorder,
    /// The last entry kept by the truncation that the storage still holds back, if it does.
    truncation: Arc<Mutex<Option<Option<Position>>>>,
}

impl Teller {
    fn new(node: NodeId, incarnation: u32, recorder: Recorder) -> Self {
        Self { node, incarnation, recorder, truncation: Arc::default() }
    }

    pub(crate) fn tell(&self, kind: TraceKind) {
        self.recorder.event(self.node, self.incarnation, kind);
    }

    /// Notes a truncation, to be told when the storage is asked for what takes it to the disk.
    pub(crate) fn note_truncation(&self, after: Option<Position>) {
        let mut noted = self.truncation();
        *noted = Some(noted.map_or(after, |earlier| earlier.min(after)));
    }

    /// Tells of the truncation that was noted. An installed snapshot has taken the place of
    /// everything up to its `last` entry; only what comes after that is gone.
    pub(crate) fn tell_truncation(&self, last: Option<Position>) {
        let noted = self.truncation().take();
        if let Some(after) = noted {
            self.tell(TraceKind::Truncated { after: after.max(last) });
        }
    }

    fn truncation(&self) -> MutexGuard<'_, Option<Option<Position>>> {
        self.truncation.lock().expect("nothing panics while it holds this lock")
    }
}
