//! A committed entry is never truncated or overwritten.
//!
//! A node may not remove what it knows itself to be committed. Nor may it remove an entry that
//! others have committed, once it follows a leader of a later term than that of the commit: such a
//! leader has the entry and does not ask for that. (A node that still obeys the leader of an
//! earlier term may remove it late: its copy was not needed for the quorum.)

use super::cluster_model::ClusterModel;
use super::invariant::{Finding, Invariant, Scene, entry_name};
use super::node_model::{Held, LogEntry, NodeModel};
use super::property::Property;
use crate::trace::{EntryMark, Position, TraceEvent, TraceKind};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "committed-immutable",
    source: "Raft paper, section 5.3; thesis, section 3.6 (committed entries are durable)",
    claim: "no node truncates or overwrites an entry that is committed",
};

/// Needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct CommittedImmutable;

impl Invariant for CommittedImmutable {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        let node = scene.node?;
        let first = if let TraceKind::Truncated { after } = &event.kind {
            after.map_or(0, |after| after.index + 1)
        } else if let TraceKind::Appended { entries } = &event.kind {
            overwritten(node, entries)?
        } else {
            return None;
        };
        let settled = node.settled().map_or(0, |settled| settled + 1);
        if first < settled {
            let message = format!(
                "removes its log from entry {first} on, and knows it committed up to {}",
                settled - 1
            );
            let finding = Finding::new(event, message);
            let known = node.committed.or(node.applied);
            return Some(known.into_iter().fold(finding, |finding, (last, time_us)| {
                let text = format!("node {} knows {} committed", event.node, entry_name(last));
                finding.after(time_us, text)
            }));
        }
        committed_elsewhere(scene.cluster, node, event, first)
    }
}

/// The first entry that an append replaces by another one.
fn overwritten(node: &NodeModel, entries: &[EntryMark]) -> Option<u64> {
    let replaced = entries.iter().find(|mark| match node.at(mark.position.index) {
        Held::Entry(entry) => entry != LogEntry::from(*mark),
        Held::Compacted => true,
        Held::Absent => false,
    });
    replaced.map(|mark| mark.position.index)
}

fn committed_elsewhere(
    cluster: &ClusterModel,
    node: &NodeModel,
    event: &TraceEvent,
    first: u64,
) -> Option<Finding> {
    let (vote, _) = node.vote.filter(|(vote, _)| vote.committed)?;
    let end = node.log_end().min(cluster.committed_end());
    (first..end).find_map(|index| {
        let committed = cluster.committed_at(index)?;
        if node.at(index) != Held::Entry(committed.entry) || committed.by_term > vote.term {
            return None;
        }
        let name = entry_name(Position { index, term: committed.entry.term });
        let message = format!(
            "removes {name}, which is committed, while it follows node {} in term {}",
            vote.voted_for, vote.term
        );
        let before = format!("node {} shows {name} to be committed", committed.node);
        Some(Finding::new(event, message).after(committed.time_us, before))
    })
}
