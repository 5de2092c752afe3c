//! An entry is committed only when a quorum of the membership in force has it on disk.
//!
//! Looked at when the trace first shows an entry committed. Durable is what `Flushed` has covered;
//! a snapshot holds everything up to its position. An entry of an earlier term is committed
//! through a later one of the leader's own term, so it is enough that a quorum has such an entry.
//! A leader may not count copies of an entry of an earlier term (the paper's figure 8); it may only
//! show what a quorum had when it was elected, because it can have been told so as a follower.
//!
//! In force is the last membership of the leader's log, committed or not; of a joint one a quorum
//! of each set is needed. The leader may have proposed a newer membership by the time its commit
//! shows, or be gone, so the memberships at and after the entry, in any log that holds it, are all
//! allowed: a correct leader satisfies one of them.

use std::collections::BTreeMap;

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

/// Remembers by term up to where a quorum had the leader's log when it was elected.
#[derive(Debug, Default)]
pub(crate) struct QuorumCommit {
    inherited: BTreeMap<u64, u64>,
}

impl Invariant for QuorumCommit {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        if let TraceKind::VoteSaved { vote } = &event.kind {
            if vote.committed && vote.voted_for == event.node {
                self.inherited.insert(vote.term, inherited_end(scene));
            }
            return None;
        }
        let (position, cluster) = (shown_committed(event)?, scene.cluster);
        if position.index < cluster.committed_end() || self.has_quorum(scene, event, position) {
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

impl QuorumCommit {
    fn has_quorum(&self, scene: Scene<'_>, event: &TraceEvent, position: Position) -> bool {
        let cluster = scene.cluster;
        let (vote, _) = scene.node.and_then(|node| node.vote).unzip();
        let led = vote.filter(|vote| vote.committed && vote.voted_for == event.node);
        let led = led.map(|vote| vote.term).filter(|term| *term > position.term);
        let inherited = led.and_then(|term| self.inherited.get(&term));
        let by_itself = inherited.is_none_or(|end| position.index < *end);
        if by_itself && counted(cluster, position, position) {
            return true;
        }
        let later = cluster.leaders.range(position.term + 1..);
        later.filter_map(|(term, _)| cluster.term_starts.get_key_value(term)).any(
            |(term, start)| {
                let own = Position { index: *start, term: *term };
                own.index > position.index && counted(cluster, position, own)
            },
        )
    }
}

/// The index after the last entry of a node's log that a quorum has.
fn inherited_end(scene: Scene<'_>) -> u64 {
    let Scene { cluster, node: Some(node) } = scene else { return 0 };
    let open = cluster.committed_end()..node.last().map_or(0, |last| last.index + 1);
    let had = open.rev().find(|index| {
        let position = node.term_at(*index).map(|term| Position { index: *index, term });
        position.is_some_and(|position| counted(cluster, position, position))
    });
    had.map_or(0, |index| index + 1)
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
