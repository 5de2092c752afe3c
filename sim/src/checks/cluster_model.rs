//! The cluster as the trace shows it: its nodes, its leaders, and what it has committed.
//!
//! One pass over the trace builds it, shared by all invariants: each of them looks at an event
//! while the model shows the moment before, then the model absorbs it. Events of a life that has
//! ended are dropped, because they come from tasks that outlive their machine.
//!
//! An entry is **committed** when the trace first shows somebody treat it so: a node that says so,
//! applies it, or installs a snapshot that covers it. The term in which that happened is known
//! exactly when the term's leader says it; otherwise an upper bound is kept, the highest term that
//! had a leader then, so that no later leader is blamed for an entry that it could not know.

use std::collections::BTreeMap;

use aspen_core::NodeId;

use super::node_model::{Held, LogEntry, Membership, NodeModel};
use crate::trace::{Position, TraceEvent, TraceKind, VoteMark};

/// An entry that is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommittedEntry {
    /// The entry.
    pub(crate) entry: LogEntry,
    /// It was committed in this term or in an earlier one.
    pub(crate) by_term: u64,
    /// Who showed it first.
    pub(crate) node: NodeId,
    /// When.
    pub(crate) time_us: u64,
}

/// The leader of a term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leader {
    /// Who.
    pub(crate) node: NodeId,
    /// When a committed vote for it was first seen.
    pub(crate) time_us: u64,
    /// When it had saved that vote itself, with the last entry of its log at that moment.
    pub(crate) established: Option<(u64, Option<Position>)>,
}

/// The cluster.
#[derive(Debug, Default)]
pub(crate) struct ClusterModel {
    /// The nodes that have appeared.
    pub(crate) nodes: BTreeMap<NodeId, NodeModel>,
    /// The leaders by term; of two in one term, the first.
    pub(crate) leaders: BTreeMap<u64, Leader>,
    /// The committed entries by index; unknown ones are those that nobody has shown.
    committed: Vec<Option<CommittedEntry>>,
    /// The last entry shown to be committed.
    pub(crate) committed_last: Option<Position>,
    /// The membership entries among the committed ones, ascending.
    memberships: Vec<Membership>,
    /// The first index at which an entry of a term was appended.
    pub(crate) term_starts: BTreeMap<u64, u64>,
}

impl ClusterModel {
    /// Whether an event comes from a life that goes on.
    pub(crate) fn is_alive(&self, event: &TraceEvent) -> bool {
        let Some(node) = self.nodes.get(&event.node) else { return true };
        matches!(event.kind, TraceKind::Started { .. })
            || node.running && node.incarnation == event.incarnation
    }

    /// The committed entry at an index.
    pub(crate) fn committed_at(&self, index: u64) -> Option<&CommittedEntry> {
        self.committed.get(index as usize)?.as_ref()
    }

    /// The index after the last one shown to be committed.
    pub(crate) fn committed_end(&self) -> u64 {
        self.committed_last.map_or(0, |last| last.index + 1)
    }

    /// Takes an event in.
    pub(crate) fn absorb(&mut self, event: &TraceEvent) {
        let (id, time_us) = (event.node, event.time_us);
        let node = self.nodes.entry(id).or_insert_with(|| NodeModel::new(event.incarnation));
        match &event.kind {
            TraceKind::Started { recovered } => {
                node.incarnation = event.incarnation;
                node.running = true;
                node.start(recovered, &self.memberships, time_us);
                if let Some(vote) = recovered.vote {
                    self.note_leader(vote, time_us);
                }
            }
            TraceKind::Stopped { .. } => node.running = false,
            TraceKind::VoteSaved { vote } => {
                node.vote = Some((*vote, time_us));
                node.settle();
                let last = node.last();
                self.note_leader(*vote, time_us);
                if vote.committed && vote.voted_for == id {
                    self.note_established(vote.term, id, time_us, last);
                }
            }
            TraceKind::Appended { entries } => {
                node.append(entries);
                for entry in entries {
                    let Position { index, term } = entry.position;
                    let start = self.term_starts.entry(term).or_insert(index);
                    *start = index.min(*start);
                }
            }
            TraceKind::Flushed { position } => node.flush(*position, time_us),
            TraceKind::Truncated { after } => node.truncate(*after),
            TraceKind::Purged { upto } => {
                node.settle();
                node.purge(*upto);
            }
            TraceKind::Committed { position } => self.learn_committed(id, *position, time_us),
            TraceKind::Applied { entry, .. } => {
                node.applied = Some((entry.position, time_us));
                let known = node.committed.map(|(last, _)| last.index);
                if known.is_none_or(|known| known < entry.position.index) {
                    self.learn_committed(id, entry.position, time_us);
                }
            }
            // What the log has below a snapshot may be a leftover, so nothing is learnt from it.
            TraceKind::SnapshotInstalled { position, .. } => {
                self.commit(id, *position, time_us);
                let node = self.nodes.get_mut(&id).expect("absorb makes the node first");
                node.install(*position, &self.memberships, time_us);
            }
            TraceKind::SnapshotBuilt { .. }
            | TraceKind::Sent { .. }
            | TraceKind::Delivered { .. }
            | TraceKind::Dropped { .. }
            | TraceKind::Fault { .. } => {}
        }
    }

    fn node_mut(&mut self, id: NodeId) -> &mut NodeModel {
        self.nodes.get_mut(&id).expect("absorb makes the node first")
    }

    fn note_leader(&mut self, vote: VoteMark, time_us: u64) {
        if vote.committed {
            let leader = Leader { node: vote.voted_for, time_us, established: None };
            self.leaders.entry(vote.term).or_insert(leader);
        }
    }

    fn note_established(&mut self, term: u64, node: NodeId, time_us: u64, last: Option<Position>) {
        if let Some(leader) = self.leaders.get_mut(&term)
            && leader.node == node
            && leader.established.is_none()
        {
            leader.established = Some((time_us, last));
        }
    }

    /// The term in which a node that shows `position` committed may have done so, at the latest.
    pub(crate) fn commit_term(&self, node: NodeId, position: Position) -> u64 {
        if self.leads(node, position.term) {
            return position.term;
        }
        let highest = self.leaders.last_key_value().map_or(0, |(term, _)| *term);
        highest.max(position.term)
    }

    /// Whether a node leads a term at this moment, as far as its own vote says.
    pub(crate) fn leads(&self, node: NodeId, term: u64) -> bool {
        let vote = self.nodes.get(&node).and_then(|node| node.vote);
        vote.is_some_and(|(vote, _)| vote.committed && vote.voted_for == node && vote.term == term)
    }

    /// Notes a committed position, and the entries that the node's log has up to it.
    fn learn_committed(&mut self, id: NodeId, position: Position, time_us: u64) {
        let by_term = self.commit_term(id, position);
        let end = position.index + 1;
        if self.committed.len() < end as usize {
            self.committed.resize(end as usize, None);
        }
        let node = self.nodes.get(&id).expect("absorb makes the node first");
        let from = node.committed.map_or(0, |(last, _)| last.index + 1).max(node.log_start());
        for index in from..end {
            let Held::Entry(entry) = node.at(index) else { continue };
            let fresh = CommittedEntry { entry, by_term, node: id, time_us };
            let known = self.committed[index as usize].get_or_insert(fresh);
            known.by_term = known.by_term.min(by_term);
        }
        let last = self.memberships.last().map(|one| one.position.index);
        let fresh = node.memberships.iter().filter(|one| {
            one.position.index < end && last.is_none_or(|last| last < one.position.index)
        });
        self.memberships.extend(fresh.cloned());
        self.commit(id, position, time_us);
    }

    /// Notes a committed position.
    fn commit(&mut self, id: NodeId, position: Position, time_us: u64) {
        let node = self.node_mut(id);
        if node.committed.is_none_or(|(last, _)| last.index < position.index) {
            node.committed = Some((position, time_us));
        }
        if self.committed_last.is_none_or(|last| last.index < position.index) {
            self.committed_last = Some(position);
        }
    }
}
