//! The nemesis: it carries the schedule's faults out, each from its time to its end.
//!
//! Symbolic targets are resolved when a fault begins, and the trace records whom they hit. Faults
//! overlap: cuts are counted for each direction of a link, link laws are made anew from all that
//! is active, and a machine is held down by each fault that took it down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use aspen_transport_sim::network::{LinkLaw, Network};
use madsim::runtime::Handle;

use super::cluster::{Cluster, Crash};
use super::recorder::{Recorder, now_us};
use crate::disk::DeathFrom;
use crate::schedule::{Direction, Fault, PlannedFault, Schedule, Target, Targets};
use crate::trace::StopReason;

/// What is to happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(usize),
    Toggle(usize),
    End(usize),
}

/// What a fault that is in force did, so that it can be undone.
#[derive(Debug)]
enum Active {
    /// Directed links that it cut. A flapping fault has its own cuts in or out of force.
    Cuts { links: Vec<(NodeId, NodeId)>, in_force: bool },
    /// A node whose links follow another law.
    Law(NodeId),
    /// Nodes that it holds down.
    Down(Vec<NodeId>),
    /// Lives of nodes that it paused.
    Paused(Vec<madsim::task::NodeId>),
    /// A node whose disk's syncs it slowed.
    Slow(NodeId),
    /// A node whose disk it filled.
    Full(NodeId),
}

impl Active {
    /// The node whose links follow another law because of it.
    fn spoiled(&self) -> Option<NodeId> {
        if let Active::Law(node) = self { Some(*node) } else { None }
    }
}

/// The executor of one schedule's faults.
pub(super) struct Nemesis {
    schedule: Arc<Schedule>,
    cluster: Cluster,
    network: Network,
    recorder: Recorder,
    /// The endpoints of clients, whose links a bad network spoils too.
    clients: Vec<NodeId>,
    agenda: BTreeMap<(u64, u64), Step>,
    steps: u64,
    active: BTreeMap<usize, Active>,
    cuts: BTreeMap<(NodeId, NodeId), u32>,
}

impl Nemesis {
    /// Plans the faults from now on.
    pub(super) fn new(
        schedule: Arc<Schedule>,
        cluster: Cluster,
        network: Network,
        recorder: Recorder,
        clients: Vec<NodeId>,
    ) -> Self {
        let mut nemesis = Self {
            schedule: schedule.clone(),
            cluster,
            network,
            recorder,
            clients,
            agenda: BTreeMap::new(),
            steps: 0,
            active: BTreeMap::new(),
            cuts: BTreeMap::new(),
        };
        let start_us = now_us();
        for (number, planned) in schedule.faults.iter().enumerate() {
            nemesis.plan(start_us + planned.at_us, Step::Begin(number));
        }
        nemesis
    }

    fn plan(&mut self, at_us: u64, step: Step) {
        self.steps += 1;
        self.agenda.insert((at_us, self.steps), step);
    }

    /// Works until `end_us` of virtual time, then ends every fault.
    pub(super) async fn work(mut self, end_us: u64) {
        while let Some(((at_us, _), step)) = self.agenda.pop_first() {
            if at_us >= end_us {
                break;
            }
            sleep_until(at_us).await;
            self.take(step);
        }
        sleep_until(end_us).await;
        while let Some((number, active)) = self.active.pop_first() {
            self.undo(number, active);
        }
        self.network.heal_all();
        for disk in self.cluster.disks() {
            disk.heal();
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin(number) => {
                let planned = self.schedule.faults[number].clone();
                if let Some(active) = self.begin(number, &planned) {
                    let spoiled = active.spoiled();
                    self.active.insert(number, active);
                    self.spread_laws(spoiled);
                }
                self.plan(now_us() + planned.for_us, Step::End(number));
            }
            Step::Toggle(number) => self.toggle(number),
            Step::End(number) => {
                if let Some(active) = self.active.remove(&number) {
                    self.undo(number, active);
                }
            }
        }
    }

    /// Lets a fault strike; gives what is to be undone when it ends.
    fn begin(&mut self, number: usize, planned: &PlannedFault) -> Option<Active> {
        let fault = &planned.fault;
        match fault {
            Fault::Halves { .. }
            | Fault::Isolate { .. }
            | Fault::OneWay { .. }
            | Fault::Bridge { .. }
            | Fault::Flapping { .. } => self.begin_partition(number, fault),
            Fault::DelaySpikes { target, .. }
            | Fault::Loss { target, .. }
            | Fault::DoubledCalls { target, .. }
            | Fault::BrokenStreams { target }
            | Fault::SlowStreams { target } => Some(self.begin_bad_network(planned, *target)),
            Fault::Kill { targets, kill } => {
                Some(self.take_down(fault, *targets, Crash::Kill(*kill)))
            }
            Fault::PowerFailure { targets, failure } => {
                Some(self.take_down(fault, *targets, Crash::Power(*failure)))
            }
            Fault::DiskDeath { target, .. } => {
                self.arm_disk_death(planned, *target);
                None
            }
            Fault::Pause { targets } => Some(self.pause(fault, *targets)),
            Fault::SlowSync { target, .. }
            | Fault::IoError { target, .. }
            | Fault::FullDisk { target } => self.begin_bad_disk(fault, *target),
        }
    }

    fn begin_partition(&mut self, number: usize, fault: &Fault) -> Option<Active> {
        let nodes = self.cluster.nodes();
        let leader = self.recorder.leader();
        let (node, links) = self.links_to_cut(fault, &nodes, leader)?;
        self.tell(node, fault, &format!("cut {}", links_text(&links)));
        self.cut(&links);
        if let Fault::Flapping { period_us, .. } = fault {
            self.plan(now_us() + period_us, Step::Toggle(number));
        }
        Some(Active::Cuts { links, in_force: true })
    }

    /// The directed links that a partition cuts, and the node that stands for it in the trace.
    fn links_to_cut(
        &self,
        fault: &Fault,
        nodes: &[NodeId],
        leader: Option<NodeId>,
    ) -> Option<(NodeId, Vec<(NodeId, NodeId)>)> {
        if let Fault::Halves { side } = fault {
            let side = side.resolve(nodes, leader);
            return Some((side.first().copied()?, between(nodes, |node| side.contains(&node))));
        }
        if let Fault::Bridge { target } = fault {
            let bridge = target.resolve(nodes, leader);
            let rest: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != bridge).collect();
            let left = &rest[..rest.len() / 2];
            return Some((bridge, between(&rest, |node| left.contains(&node))));
        }
        if let Fault::OneWay { target, direction } = fault {
            let node = target.resolve(nodes, leader);
            let mut links = between(nodes, |other| other == node);
            links.retain(|(from, to)| match direction {
                Direction::In => *to == node,
                Direction::Out => *from == node,
            });
            return Some((node, links));
        }
        let (Fault::Isolate { target } | Fault::Flapping { target, .. }) = fault else {
            unreachable!("{} is no partition", fault.name());
        };
        let node = target.resolve(nodes, leader);
        Some((node, between(nodes, |other| other == node)))
    }

    /// A flapping node is heard again, or not any more.
    fn toggle(&mut self, number: usize) {
        let Fault::Flapping { period_us, .. } = self.schedule.faults[number].fault else { return };
        let Some(Active::Cuts { links, in_force }) = self.active.get_mut(&number) else { return };
        *in_force = !*in_force;
        let (links, cut) = (links.clone(), *in_force);
        if cut {
            self.cut(&links)
        } else {
            self.heal(&links)
        }
        self.plan(now_us() + period_us, Step::Toggle(number));
    }

    fn begin_bad_network(&mut self, planned: &PlannedFault, target: Target) -> Active {
        let node = self.resolve(target);
        let links = self.links_of(node);
        self.tell(node, &planned.fault, "its links");
        for (from, to) in &links {
            if let Fault::BrokenStreams { .. } = planned.fault {
                self.network.break_streams(*from, *to);
            }
            if let Fault::SlowStreams { .. } = planned.fault {
                let time = Duration::from_micros(planned.for_us);
                self.network.stall_streams(*from, *to, &Lane::ALL, time);
            }
        }
        Active::Law(node)
    }

    /// Gives every link of a node the law that the faults in force at its two ends make.
    fn spread_laws(&self, node: Option<NodeId>) {
        for (from, to) in node.map(|node| self.links_of(node)).unwrap_or_default() {
            self.network.set_law(from, to, self.law_between(from, to));
        }
    }

    fn law_between(&self, from: NodeId, to: NodeId) -> LinkLaw {
        let mut law = self.schedule.link;
        for (number, active) in &self.active {
            if active.spoiled().is_none_or(|node| node != from && node != to) {
                continue;
            }
            let fault = &self.schedule.faults[*number].fault;
            if let Fault::DelaySpikes { ppm, us_max, .. } = fault {
                law.spike_ppm = law.spike_ppm.max(*ppm);
                law.spike_us_max = law.spike_us_max.max(*us_max);
            } else if let Fault::Loss { ppm, .. } = fault {
                law.loss_ppm = law.loss_ppm.max(*ppm);
            } else if let Fault::DoubledCalls { ppm, .. } = fault {
                law.duplicate_ppm = law.duplicate_ppm.max(*ppm);
            }
        }
        law
    }

    fn take_down(&mut self, fault: &Fault, targets: Targets, crash: Crash) -> Active {
        let nodes = targets.resolve(&self.cluster.nodes(), self.recorder.leader());
        let reason = match crash {
            Crash::Kill(_) => StopReason::Kill,
            Crash::Power(_) => StopReason::PowerFailure,
        };
        for node in &nodes {
            self.tell(*node, fault, "down");
            self.cluster.hold(*node, crash, reason);
        }
        Active::Down(nodes)
    }

    /// The disk dies when its operation comes, and the machine loses power at that instant.
    fn arm_disk_death(&self, planned: &PlannedFault, target: Target) {
        let Fault::DiskDeath { death, failure, .. } = planned.fault else { return };
        let node = self.resolve(target);
        let disk = self.cluster.disk(node);
        disk.die_at(death);
        let (cluster, recorder) = (self.cluster.clone(), self.recorder.clone());
        let (name, down) = (planned.fault.name(), Duration::from_micros(planned.for_us));
        if death.from == DeathFrom::NextMount {
            // Recovery needs a crash to recover from.
            cluster.hold(node, Crash::Power(failure), StopReason::PowerFailure);
            cluster.release(node);
        }
        drop(madsim::task::spawn(async move {
            disk.death().await;
            recorder.fault(node, name, format!("{name}: node {node} lost power at an operation"));
            cluster.hold(node, Crash::Power(failure), StopReason::PowerFailure);
            madsim::time::sleep(down).await;
            cluster.release(node);
        }));
    }

    fn pause(&mut self, fault: &Fault, targets: Targets) -> Active {
        let nodes = targets.resolve(&self.cluster.nodes(), self.recorder.leader());
        let mut hosts = Vec::new();
        for node in nodes {
            if let Some(host) = self.cluster.host(node) {
                self.tell(node, fault, "stands still");
                Handle::current().pause(host);
                hosts.push(host);
            }
        }
        Active::Paused(hosts)
    }

    fn begin_bad_disk(&mut self, fault: &Fault, target: Target) -> Option<Active> {
        let node = self.resolve(target);
        let disk = self.cluster.disk(node);
        self.tell(node, fault, "its disk");
        if let Fault::SlowSync { slow, .. } = fault {
            disk.set_slow(Some(*slow));
            return Some(Active::Slow(node));
        }
        if let Fault::IoError { error, .. } = fault {
            disk.fail_next(*error);
            return None;
        }
        disk.fill(0);
        Some(Active::Full(node))
    }

    fn undo(&mut self, number: usize, active: Active) {
        match active {
            Active::Cuts { links, in_force: true } => self.heal(&links),
            Active::Cuts { in_force: false, .. } => {}
            Active::Law(node) => self.spread_laws(Some(node)),
            Active::Down(nodes) => nodes.iter().for_each(|node| self.cluster.release(*node)),
            Active::Paused(hosts) => {
                // Two pauses of one life: the first to end ends both, which is as good a draw.
                hosts.iter().for_each(|host| Handle::current().resume(*host));
            }
            Active::Slow(node) => self.cluster.disk(node).set_slow(None),
            Active::Full(node) => self.cluster.disk(node).set_capacity(None),
        }
        tracing::debug!(number, "a fault ended");
    }

    fn resolve(&self, target: Target) -> NodeId {
        target.resolve(&self.cluster.nodes(), self.recorder.leader())
    }

    /// Every link from or to a node, those of clients included.
    fn links_of(&self, node: NodeId) -> Vec<(NodeId, NodeId)> {
        let nodes = self.cluster.nodes();
        let others = nodes.iter().chain(&self.clients).filter(|other| **other != node);
        others.flat_map(|other| [(node, *other), (*other, node)]).collect()
    }

    fn cut(&mut self, links: &[(NodeId, NodeId)]) {
        for link in links {
            let count = self.cuts.entry(*link).or_default();
            *count += 1;
            if *count == 1 {
                self.network.cut(link.0, link.1);
            }
        }
    }

    fn heal(&mut self, links: &[(NodeId, NodeId)]) {
        for link in links {
            let count = self.cuts.get_mut(link).expect("what is healed was cut before");
            *count -= 1;
            if *count == 0 {
                self.network.heal(link.0, link.1);
            }
        }
    }

    fn tell(&self, node: NodeId, fault: &Fault, what: &str) {
        let name = fault.name();
        self.recorder.fault(node, name, format!("{name}: node {node}, {what}"));
    }
}

/// Both directions of every link between those inside and those outside.
fn between(nodes: &[NodeId], inside: impl Fn(NodeId) -> bool) -> Vec<(NodeId, NodeId)> {
    let pairs = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
    pairs.filter(|(from, to)| inside(*from) != inside(*to)).collect()
}

fn links_text(links: &[(NodeId, NodeId)]) -> String {
    let texts: Vec<String> = links.iter().map(|(from, to)| format!("{from}→{to}")).collect();
    texts.join(" ")
}

async fn sleep_until(at_us: u64) {
    let left = at_us.saturating_sub(now_us());
    if left > 0 {
        madsim::time::sleep(Duration::from_micros(left)).await;
    }
}
