//! A leader's log holds every entry that was committed in an earlier term.
//!
//! Looked at twice: when a leader stores its committed vote, for what is committed by then, and
//! when an earlier leader shows a commit late, for the leaders elected meanwhile. Entries that may
//! have been committed in the leader's own term or later are not asked for: the vote can be stored
//! late, when the next leader is already at work.

use super::cluster_model::ClusterModel;
use super::invariant::{Finding, Invariant, Scene, entry_name};
use super::property::Property;
use crate::trace::{Position, TraceEvent, TraceKind};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "leader-completeness",
    source: "Raft paper, figure 3 and section 5.4; TLA+ LeaderCompleteness",
    claim: "a leader's log holds every entry committed in earlier terms",
};

/// Needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct LeaderCompleteness;

impl Invariant for LeaderCompleteness {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        if let TraceKind::VoteSaved { vote } = &event.kind {
            let own = vote.committed && vote.voted_for == event.node;
            return own.then(|| elected(scene, event, vote.term)).flatten();
        }
        let TraceKind::Committed { position } = &event.kind else { return None };
        shown_late(scene.cluster, event, *position)
    }
}

/// Looks through the log of a node that has just become leader.
fn elected(scene: Scene<'_>, event: &TraceEvent, term: u64) -> Option<Finding> {
    let Scene { cluster, node } = scene;
    let start = node.map_or(0, |node| node.log_start());
    for index in start..cluster.committed_end() {
        let Some(committed) = cluster.committed_at(index) else { continue };
        let position = Position { index, term: committed.entry.term };
        if committed.by_term >= term || node.is_some_and(|node| node.has(position)) {
            continue;
        }
        let name = entry_name(position);
        let message = format!("leads term {term} without {name}, which is committed");
        let before = format!("node {} shows {name} to be committed", committed.node);
        return Some(Finding::new(event, message).after(committed.time_us, before));
    }
    None
}

/// Looks at the leaders that were elected before an earlier leader showed its commit.
fn shown_late(cluster: &ClusterModel, event: &TraceEvent, position: Position) -> Option<Finding> {
    if !cluster.leads(event.node, position.term) {
        return None;
    }
    for (term, leader) in cluster.leaders.range(position.term + 1..) {
        let Some((time_us, last)) = leader.established else { continue };
        // A log with this entry ends at it or behind it, in no lower term.
        if last.is_some_and(|last| last.index >= position.index && last.term >= position.term) {
            continue;
        }
        let name = entry_name(position);
        let message = format!("commits {name}, which the leader of term {term} did not have");
        let log = last.map_or_else(|| "nothing".to_owned(), entry_name);
        let before = format!("node {} leads term {term}; its log ends with {log}", leader.node);
        return Some(Finding::new(event, message).after(time_us, before));
    }
    None
}
