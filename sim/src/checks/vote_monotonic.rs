//! A vote is never taken back: neither within a life nor by a restart.
//!
//! Votes are ordered by term, and within a term a committed vote is above one that is not. What is
//! found at a start may be newer than what was last reported durable, because a crash can fall
//! between the two; it may not be older. Two different candidates in one term are the business of
//! election-safety.

use super::election_safety::stored_vote;
use super::invariant::{Finding, Invariant, Scene};
use super::property::Property;
use crate::trace::{TraceEvent, TraceKind, VoteMark};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "vote-monotonic",
    source: "Raft paper, figure 2 (currentTerm increases, votedFor is persistent)",
    claim: "a node's stored vote never goes back, not even by a restart",
};

/// Needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct VoteMonotonic;

impl Invariant for VoteMonotonic {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        if !matches!(event.kind, TraceKind::VoteSaved { .. } | TraceKind::Started { .. }) {
            return None;
        }
        let (saved, time_us) = scene.node?.vote?;
        let stored = stored_vote(event);
        let order = |vote: VoteMark| (vote.term, vote.committed);
        if stored.is_some_and(|stored| order(stored) >= order(saved)) {
            return None;
        }
        let now = stored.map_or_else(|| "no vote".to_owned(), describe);
        let message = format!("stores {now} after {}", describe(saved));
        let before = format!("node {} stores {}", event.node, describe(saved));
        Some(Finding::new(event, message).after(time_us, before))
    }
}

fn describe(vote: VoteMark) -> String {
    let committed = if vote.committed { ", committed" } else { "" };
    format!("the vote for node {} in term {}{committed}", vote.voted_for, vote.term)
}
