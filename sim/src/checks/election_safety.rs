//! At most one leader in a term.
//!
//! A committed vote makes its node the leader of its term, wherever it is stored. The rule that
//! brings this about is checked too: a node grants its vote to one candidate a term, across its
//! lives. A candidate that stores a committed vote for the rival that won has not voted twice.
//!
//! Term 0 is left out: every node that initializes a cluster is its own authority there.

use std::collections::BTreeMap;

use aspen_core::NodeId;

use super::invariant::{Finding, Invariant, Scene};
use super::property::Property;
use crate::trace::{TraceEvent, TraceKind, VoteMark};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "election-safety",
    source: "Raft paper, figure 3 and section 5.2; TLA+ ElectionSafety",
    claim: "a term has at most one leader, and a node votes for one candidate a term",
};

/// Remembers for whom each node voted in each term, and when.
#[derive(Debug, Default)]
pub(crate) struct ElectionSafety {
    granted: BTreeMap<(NodeId, u64), (NodeId, u64)>,
}

impl Invariant for ElectionSafety {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        let vote = stored_vote(event)?;
        if vote.term == 0 {
            return None;
        }
        if vote.committed {
            let leader = scene.cluster.leaders.get(&vote.term)?;
            return (leader.node != vote.voted_for).then(|| {
                let message = format!("term {} has the leader {}", vote.term, vote.voted_for);
                let before = format!("term {} has the leader {}", vote.term, leader.node);
                Finding::new(event, message).after(leader.time_us, before)
            });
        }
        let entry = self.granted.entry((event.node, vote.term));
        let (candidate, time_us) = *entry.or_insert((vote.voted_for, event.time_us));
        (candidate != vote.voted_for).then(|| {
            let message = format!("votes for node {} in term {}", vote.voted_for, vote.term);
            let before =
                format!("node {} votes for node {candidate} in term {}", event.node, vote.term);
            Finding::new(event, message).after(time_us, before)
        })
    }
}

/// The vote that an event shows in a node's store.
pub(crate) fn stored_vote(event: &TraceEvent) -> Option<VoteMark> {
    if let TraceKind::Started { recovered } = &event.kind {
        return recovered.vote;
    }
    let TraceKind::VoteSaved { vote } = &event.kind else { return None };
    Some(*vote)
}
