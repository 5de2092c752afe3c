//! At an index, every state machine applies the same entry, and each applies all of them in order.
//!
//! What counts is what nodes treat as committed: the entries that they report committed are
//! compared as well as those that they apply, because the former show a split earlier. Within a
//! life an application follows the one before it, the snapshot installed before it, or what the
//! node found at its start.

use aspen_core::NodeId;

use super::cluster_model::{ClusterModel, CommittedEntry};
use super::invariant::{Finding, Invariant, Scene, entry_name};
use super::node_model::{Held, LogEntry, NodeModel};
use super::property::Property;
use crate::trace::{Position, TraceEvent, TraceKind};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "state-machine-safety",
    source: "Raft paper, figure 3 and section 5.4.3; TLA+ StateMachineSafety",
    claim: "nodes apply the same entry at an index, in order and without gaps",
};

/// The entries applied, by index, with the first node that did.
#[derive(Debug, Default)]
pub(crate) struct StateMachineSafety {
    applied: Vec<Option<(LogEntry, NodeId, u64)>>,
}

impl Invariant for StateMachineSafety {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        if let TraceKind::Committed { position } = &event.kind {
            reports(scene.cluster, scene.node?, event, *position)
        } else if let TraceKind::Applied { entry, .. } = &event.kind {
            let (position, entry) = (entry.position, LogEntry::from(entry));
            skips(scene.node, event, position)
                .or_else(|| differs(scene.cluster, event, position.index, entry))
                .or_else(|| self.apply(event, position, entry))
        } else if let TraceKind::SnapshotInstalled { position, .. } = &event.kind {
            covers(scene.cluster, event, *position)
        } else if let TraceKind::Started { recovered } = &event.kind {
            covers(scene.cluster, event, recovered.applied?)
        } else {
            None
        }
    }
}

/// Compares an application with the one before it in the same life.
fn skips(node: Option<&NodeModel>, event: &TraceEvent, position: Position) -> Option<Finding> {
    let last = node.and_then(|node| node.applied).map(|(applied, _)| applied.index);
    let next = last.map_or(0, |last| last + 1);
    (position.index > next).then(|| {
        let message = format!("applies {}, and entry {next} was next", entry_name(position));
        Finding::new(event, message)
    })
}

impl StateMachineSafety {
    fn apply(
        &mut self,
        event: &TraceEvent,
        position: Position,
        entry: LogEntry,
    ) -> Option<Finding> {
        let index = position.index as usize;
        if self.applied.len() <= index {
            self.applied.resize(index + 1, None);
        }
        let slot = &mut self.applied[index];
        let (known, node, time_us) = *slot.get_or_insert((entry, event.node, event.time_us));
        (known != entry).then(|| {
            let message = format!("applies {}, and node {node} another one", entry_name(position));
            let before = Position { index: position.index, term: known.term };
            let before = format!("node {node} applies {}", entry_name(before));
            Finding::new(event, message).after(time_us, before)
        })
    }
}

/// Compares what a node newly reports as committed with what is known to be.
fn reports(
    cluster: &ClusterModel,
    node: &NodeModel,
    event: &TraceEvent,
    position: Position,
) -> Option<Finding> {
    if !node.has(position) {
        let message = format!("reports {} committed, which its log lacks", entry_name(position));
        return Some(Finding::new(event, message));
    }
    let from = node.committed.map_or(0, |(last, _)| last.index + 1).max(node.log_start());
    (from..=position.index).find_map(|index| match node.at(index) {
        Held::Entry(entry) => differs(cluster, event, index, entry),
        Held::Compacted | Held::Absent => None,
    })
}

fn differs(
    cluster: &ClusterModel,
    event: &TraceEvent,
    index: u64,
    entry: LogEntry,
) -> Option<Finding> {
    let committed = cluster.committed_at(index)?;
    (committed.entry != entry)
        .then(|| conflict(event, Position { index, term: entry.term }, committed))
}

/// Compares the last entry that a state machine covers with the committed one.
fn covers(cluster: &ClusterModel, event: &TraceEvent, position: Position) -> Option<Finding> {
    let committed = cluster.committed_at(position.index)?;
    (committed.entry.term != position.term).then(|| conflict(event, position, committed))
}

fn conflict(event: &TraceEvent, position: Position, committed: &CommittedEntry) -> Finding {
    let other = entry_name(Position { index: position.index, term: committed.entry.term });
    let name = entry_name(position);
    let message = format!("takes {name} as committed, and node {} had {other}", committed.node);
    let before = format!("node {} takes {other} as committed", committed.node);
    Finding::new(event, message).after(committed.time_us, before)
}
