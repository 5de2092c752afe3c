//! An entry is committed only when a quorum of the membership in force has it on disk.
//!
//! Looked at when the trace first shows an entry committed. Durable is what `Flushed` has covered;
//! a snapshot holds everything up to its position. An entry of an earlier term is committed
//! through a later one of the leader's own term, so it is enough that a quorum has such an entry.
//!
//! In force is the last membership of the leader's log, committed or not; of a joint one a quorum
//! of each set is needed. The leader may have proposed a newer membership by the time its commit
//! shows, or be gone, so the memberships at and after the entry, in any log that holds it, are all
//! allowed: a correct leader satisfies one of them.

use aspen_core::NodeId;

use super::cluster_model::ClusterModel;
use super::invariant::{Finding, Invariant, Scene, entry_name};
use super::node_model::Membership;
use super::property::Property;
use crate::trace::{Position, TraceEvent, TraceKind};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "quorum-commit",
    source: "Raft paper, sections 5.3 and 5.4.2; thesis, section 4.3 for joint memberships",
    claim: "an entry is committed only when a quorum of the membership in force has it on disk",
};

/// Needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct QuorumCommit;

impl Invariant for QuorumCommit {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        let (position, cluster) = (shown_committed(event)?, scene.cluster);
        if position.index < cluster.committed_end() || has_quorum(cluster, position) {
            return None;
        }
        let name = entry_name(position);
        let message = format!("takes {name} as committed, and no quorum has it on disk");
        Some(holders(cluster, position).fold(
            Finding::new(event, message),
            |finding, (id, time_us)| {
                finding.after(time_us, format!("node {id} has {name} on disk"))
            },
        ))
    }
}

/// The position up to which an event treats the log as committed.
fn shown_committed(event: &TraceEvent) -> Option<Position> {
    if let TraceKind::Applied { entry, .. } = &event.kind {
        return Some(entry.position);
    }
    let (TraceKind::Committed { position } | TraceKind::SnapshotInstalled { position, .. }) =
        &event.kind
    else {
        return None;
    };
    Some(*position)
}

fn holders(cluster: &ClusterModel, position: Position) -> impl Iterator<Item = (NodeId, u64)> + '_ {
    let nodes = cluster.nodes.iter();
    let holding = nodes.filter(move |(_, node)| node.has_durably(position));
    holding.map(|(id, node)| (*id, node.flushed_us))
}

fn has_quorum(cluster: &ClusterModel, position: Position) -> bool {
    if counted(cluster, position, position) {
        return true;
    }
    let later = cluster.leaders.range(position.term + 1..);
    later.filter_map(|(term, _)| cluster.term_starts.get_key_value(term)).any(|(term, start)| {
        let own = Position { index: *start, term: *term };
        own.index > position.index && counted(cluster, position, own)
    })
}

/// Whether a quorum has `own` on disk, in logs that hold `position`.
fn counted(cluster: &ClusterModel, position: Position, own: Position) -> bool {
    let logs = cluster.nodes.values().filter(|node| node.has(own) && node.has(position));
    logs.flat_map(|node| node.memberships_for(own.index)).any(|membership| {
        is_quorum(membership, |id| {
            let node = cluster.nodes.get(&id);
            node.is_some_and(|node| node.has_durably(own) && node.has_durably(position))
        })
    })
}

fn is_quorum(membership: &Membership, has: impl Fn(NodeId) -> bool) -> bool {
    membership.voters.iter().all(|voters| {
        let holding = voters.iter().filter(|id| has(**id)).count();
        holding * 2 > voters.len()
    })
}
