//! The machines of a run: each with a disk that stays and a node that comes and goes.
//!
//! A life of a node is one madsim machine: it mounts the disk, gets an endpoint and draws of its
//! own, and ends by a kill, a power failure or a storage error. A machine is started again when
//! nobody holds it down any more: every fault that takes it down holds it for its time, and so
//! does the supervisor after a storage error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aspen_core::NodeId;
use aspen_transport_sim::network::Network;
use aspen_transport_sim::runtime::register_node;
use aspen_transport_sim::streams;
use madsim::runtime::Handle;
use rand::RngExt;
use tokio::sync::mpsc;

use super::recorder::Recorder;
use crate::disk::{InFlight, Kill, PowerFailure, SimDisk, Survive};
use crate::mutants::Mutant;
use crate::schedule::Schedule;
use crate::sut::{self, Running, Start};
use crate::trace::{StopReason, TraceKind};

/// How long a machine is off after a storage error.
const POWER_CYCLE: Duration = Duration::from_millis(400);

/// How a node's life ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crash {
    /// Its process is killed.
    Kill(Kill),
    /// Its machine loses power.
    Power(PowerFailure),
}

struct Machine {
    disk: SimDisk,
    incarnation: u32,
    /// The madsim machine of the present life.
    host: Option<madsim::task::NodeId>,
    /// The node, once it has started.
    running: Option<Running>,
    holds: u32,
}

/// A node that ended by itself.
struct Exit {
    node: NodeId,
    incarnation: u32,
    reason: String,
}

/// The machines. Cloning gives another handle to the same ones.
#[derive(Clone)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    schedule: Arc<Schedule>,
    network: Network,
    recorder: Recorder,
    mutant: Option<Mutant>,
    machines: Mutex<BTreeMap<NodeId, Machine>>,
    exits: mpsc::UnboundedSender<Exit>,
}

impl Cluster {
    /// Builds the machines; none is started yet.
    pub(super) fn new(
        schedule: Arc<Schedule>,
        network: Network,
        recorder: Recorder,
        mutant: Option<Mutant>,
    ) -> Self {
        let machines = schedule
            .disks
            .iter()
            .zip(1..)
            .map(|(config, id)| {
                let disk = SimDisk::new(*config);
                let machine = Machine { disk, incarnation: 0, host: None, running: None, holds: 0 };
                (NodeId(id), machine)
            })
            .collect();
        let (exits, incoming) = mpsc::unbounded_channel();
        let machines = Mutex::new(machines);
        let shared = Shared { schedule, network, recorder, mutant, machines, exits };
        let cluster = Self { shared: Arc::new(shared) };
        drop(madsim::task::spawn(cluster.clone().supervise(incoming)));
        cluster
    }

    /// Every node's id, ascending.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.lock().keys().copied().collect()
    }

    /// The nodes that are up.
    pub(super) fn running(&self) -> BTreeMap<NodeId, Running> {
        let machines = self.lock();
        let up = machines.iter().filter_map(|(id, it)| Some((*id, it.running.clone()?)));
        up.collect()
    }

    /// A machine's disk.
    pub(super) fn disk(&self, node: NodeId) -> SimDisk {
        self.lock()[&node].disk.clone()
    }

    /// Every machine's disk.
    pub(super) fn disks(&self) -> Vec<SimDisk> {
        self.lock().values().map(|machine| machine.disk.clone()).collect()
    }

    /// The madsim machine of a node's present life.
    pub(super) fn host(&self, node: NodeId) -> Option<madsim::task::NodeId> {
        self.lock()[&node].host
    }

    /// Takes a node down and keeps it down until [`release`](Cluster::release).
    pub(super) fn hold(&self, node: NodeId, crash: Crash, reason: StopReason) {
        self.machine(node, |machine| machine.holds += 1);
        self.crash(node, crash, reason);
    }

    /// Undoes one hold; the last one starts the node.
    pub(super) fn release(&self, node: NodeId) {
        let start = self.machine(node, |machine| {
            machine.holds -= 1;
            machine.holds == 0 && machine.host.is_none()
        });
        if start {
            self.start(node);
        }
    }

    /// Starts a node's next life.
    pub(super) fn start(&self, node: NodeId) {
        let shared = &self.shared;
        let host = Handle::current().create_node().name(format!("n{node}")).build();
        let (volume, incarnation) = self.machine(node, |machine| {
            machine.incarnation += 1;
            machine.host = Some(host.id());
            (machine.disk.mount(), machine.incarnation)
        });
        let numbers = [node.0, u64::from(incarnation)];
        let seed = streams::stream(shared.schedule.node_seed, "node", &numbers).random();
        register_node(host.id(), seed, 0);
        let start = Start {
            id: node,
            incarnation,
            config: sut::node_config(node, &shared.schedule.scenario),
            storage: sut::storage_config(&shared.schedule.scenario),
            transport: shared.network.endpoint(node),
            volume,
            recorder: shared.recorder.clone(),
            mutant: shared.mutant,
        };
        drop(host.spawn(self.clone().live(start)));
    }

    /// One life of a node, on its own machine.
    async fn live(self, start: Start) {
        let (node, incarnation) = (start.id, start.incarnation);
        let reason = match start.start().await {
            Ok(running) => {
                self.machine(node, |machine| machine.running = Some(running.clone()));
                running.stopped().await
            }
            Err(reason) => reason,
        };
        // The supervisor lives as long as the run.
        let _ = self.shared.exits.send(Exit { node, incarnation, reason });
    }

    /// Power-cycles machines whose node ended by itself: after a storage error the page cache is
    /// not to be trusted.
    async fn supervise(self, mut exits: mpsc::UnboundedReceiver<Exit>) {
        while let Some(exit) = exits.recv().await {
            let node = exit.node;
            let current =
                self.machine(node, |it| it.host.is_some() && it.incarnation == exit.incarnation);
            if !current {
                continue;
            }
            tracing::info!(node = node.0, reason = %exit.reason, "a node stopped by itself");
            let failure = self.power_cycle(node);
            self.hold(node, Crash::Power(failure), StopReason::StorageError);
            let cluster = self.clone();
            drop(madsim::task::spawn(async move {
                madsim::time::sleep(POWER_CYCLE).await;
                cluster.release(node);
            }));
        }
    }

    /// What a power cycle leaves, drawn from the node's own stream.
    fn power_cycle(&self, node: NodeId) -> PowerFailure {
        let incarnation = self.machine(node, |machine| machine.incarnation);
        let numbers = [node.0, u64::from(incarnation)];
        let mut rng = streams::stream(self.shared.schedule.node_seed, "power-cycle", &numbers);
        PowerFailure { survive: Survive::Prefix, in_flight: InFlight::Dropped, seed: rng.random() }
    }

    /// Ends a node's life; a machine without one only loses its power.
    pub(super) fn crash(&self, node: NodeId, crash: Crash, reason: StopReason) {
        let (disk, host, incarnation) = self.machine(node, |machine| {
            machine.running = None;
            (machine.disk.clone(), machine.host.take(), machine.incarnation)
        });
        // The disk first: the transaction in flight belongs to a task that the kill ends.
        match crash {
            Crash::Kill(kill) => disk.kill(kill),
            Crash::Power(failure) => disk.power_failure(failure),
        }
        if let Some(host) = host {
            self.shared.recorder.event(node, incarnation, TraceKind::Stopped { reason });
            self.shared.network.close(node);
            Handle::current().kill(host);
        }
    }

    fn machine<V>(&self, node: NodeId, change: impl FnOnce(&mut Machine) -> V) -> V {
        let mut machines = self.lock();
        change(machines.get_mut(&node).expect("every target resolves to a node of the cluster"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Machine>> {
        self.shared.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
