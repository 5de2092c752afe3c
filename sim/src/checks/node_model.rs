//! One node as the trace shows it: its log, what of it is durable, its vote, what it committed.
//!
//! The model believes the trace: it absorbs each event without judging it, so that every
//! invariant can be stated against the same picture. What it takes for granted is how the recorder
//! works: `Truncated` and `Appended` are recorded before the store is asked, `Flushed` before
//! openraft is told, and `VoteSaved` and `Purged` after the store has answered. So at every instant
//! the true store holds at least what the model calls durable, and at most what it calls appended,
//! save for a purge that is under way; and until something that was asked for after a truncation
//! is durable, the store may still hold the log from before it, see [`NodeModel::versions`].
//!
//! What a node finds at its start counts as durable, because openraft acknowledges it from then
//! on.

use std::collections::VecDeque;
use std::iter;
use std::rc::Rc;

use aspen_core::NodeId;

use crate::trace::{EntryMark, Position, Recovered, VoteMark};

/// A log entry, without its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    /// The term of the leader that proposed it.
    pub(crate) term: u64,
    /// A hash of its payload.
    pub(crate) payload: u64,
}

impl From<&EntryMark> for LogEntry {
    fn from(mark: &EntryMark) -> Self {
        Self { term: mark.position.term, payload: mark.payload }
    }
}

/// What a node's log has at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// This entry.
    Entry(LogEntry),
    /// Nothing, because a purge or a snapshot took its place; it is the committed entry.
    Compacted,
    /// Nothing.
    Absent,
}

/// Voters, and the membership entry that makes them.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// The entry.
    pub(crate) position: Position,
    /// One set of voters, or two while it is joint; a quorum is one of each.
    pub(crate) voters: Rc<[Vec<NodeId>]>,
}

/// One node.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeModel {
    /// Which life it is in.
    pub(crate) incarnation: u32,
    /// Whether that life goes on.
    pub(crate) running: bool,
    /// The vote last reported durable, and when.
    pub(crate) vote: Option<(VoteMark, u64)>,
    /// The index of the first entry in `log`.
    base: u64,
    log: VecDeque<LogEntry>,
    /// Entries below this index are durable, if they are there.
    pub(crate) durable_end: u64,
    /// What the truncations removed that may not have reached the disk, oldest first.
    removed: Vec<Removed>,
    /// When the durable part last grew.
    pub(crate) flushed_us: u64,
    /// The last entry removed by a purge.
    pub(crate) purged: Option<Position>,
    /// The last entry covered by the state machine as it is on disk: a snapshot that was installed,
    /// or what was applied at the start.
    pub(crate) snapshot: Option<Position>,
    /// The last entry applied, and when.
    pub(crate) applied: Option<(Position, u64)>,
    /// The last entry that this life knows to be committed, and when it learnt that.
    pub(crate) committed: Option<(Position, u64)>,
    /// The membership entries in the log and below it, ascending.
    pub(crate) memberships: Vec<Membership>,
}

/// The tail that a truncation removed.
#[derive(Clone, Debug)]
struct Removed {
    /// The index of its first entry.
    first: u64,
    entries: Vec<LogEntry>,
    /// Entries below this index were durable.
    durable_end: u64,
}

impl NodeModel {
    /// An empty node in the middle of a life, as a trace that does not begin with a start shows it.
    pub(crate) fn new(incarnation: u32) -> Self {
        Self { incarnation, running: true, ..Self::default() }
    }

    /// The index after the last entry in the log.
    pub(crate) fn log_end(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    /// The index of the first entry in the log.
    pub(crate) fn log_start(&self) -> u64 {
        self.base
    }

    /// What the log has at an index.
    pub(crate) fn at(&self, index: u64) -> Held {
        if let Some(entry) = index.checked_sub(self.base).and_then(|at| self.log.get(at as usize)) {
            return Held::Entry(*entry);
        }
        if index < self.base || self.covers(index) {
            return Held::Compacted;
        }
        Held::Absent
    }

    /// The term of the entry at an index, where it is known.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        match self.at(index) {
            Held::Entry(entry) => Some(entry.term),
            Held::Compacted | Held::Absent => {
                let marks = [self.purged, self.snapshot];
                marks.into_iter().flatten().find(|mark| mark.index == index).map(|mark| mark.term)
            }
        }
    }

    /// Whether the state machine on disk covers an index; what the log has there is of no account.
    fn covers(&self, index: u64) -> bool {
        self.snapshot.is_some_and(|snapshot| index <= snapshot.index)
    }

    /// Whether the log, or the snapshot in its place, has this entry.
    pub(crate) fn has(&self, position: Position) -> bool {
        self.covers(position.index)
            || match self.at(position.index) {
                Held::Entry(entry) => entry.term == position.term,
                Held::Compacted => true,
                Held::Absent => false,
            }
    }

    /// Whether this entry would survive a power failure.
    pub(crate) fn has_durably(&self, position: Position) -> bool {
        let flushed = position.index < self.durable_end || position.index < self.base;
        self.covers(position.index) || flushed && self.has(position)
    }

    /// The last entry of the log, or of the snapshot when that reaches further.
    pub(crate) fn last(&self) -> Option<Position> {
        let tail =
            self.log.back().map(|entry| Position { index: self.log_end() - 1, term: entry.term });
        [tail, self.purged, self.snapshot].into_iter().flatten().max()
    }

    /// The index up to which this node knows the log to be committed.
    pub(crate) fn settled(&self) -> Option<u64> {
        let known = [self.committed.map(|at| at.0), self.applied.map(|at| at.0), self.snapshot];
        known.into_iter().flatten().map(|position| position.index).max()
    }

    /// The memberships that a leader with this log may have been under when it committed the
    /// entry at `index`: the last one up to there, and those that it had proposed since.
    pub(crate) fn memberships_for(&self, index: u64) -> &[Membership] {
        let later = self.memberships.partition_point(|one| one.position.index <= index);
        &self.memberships[later.saturating_sub(1)..]
    }

    /// A new life begins; `known` are the committed memberships.
    pub(crate) fn start(&mut self, found: &Recovered, known: &[Membership], time_us: u64) {
        self.vote = found.vote.map(|vote| (vote, time_us));
        let first = found.entries.first().map(|entry| entry.position.index);
        self.purged = found.purged;
        self.base = first.unwrap_or_else(|| found.purged.map_or(0, |purged| purged.index + 1));
        self.log = found.entries.iter().map(LogEntry::from).collect();
        self.durable_end = self.log_end();
        self.removed.clear();
        self.flushed_us = time_us;
        self.snapshot = found.applied;
        self.applied = found.applied.map(|applied| (applied, time_us));
        self.committed = self.applied;
        let base = self.base;
        self.memberships.retain(|one| one.position.index < base);
        found.entries.iter().for_each(|entry| self.note_membership(entry));
        if let Some(applied) = found.applied {
            self.learn_memberships(applied, known);
        }
    }

    pub(crate) fn append(&mut self, entries: &[EntryMark]) {
        let Some(first) = entries.first().map(|entry| entry.position.index) else { return };
        if first < self.log_end() {
            self.cut(first);
        } else if first > self.log_end() {
            // After a snapshot the log begins anew behind it.
            self.log.clear();
            self.base = first;
            self.removed.clear();
        }
        self.log.extend(entries.iter().map(LogEntry::from));
        entries.iter().for_each(|entry| self.note_membership(entry));
    }

    pub(crate) fn flush(&mut self, position: Position, time_us: u64) {
        // An entry that is not there any more says nothing: its truncation has been seen.
        let Held::Entry(entry) = self.at(position.index) else { return };
        if entry.term != position.term {
            return;
        }
        // It was appended after every truncation that began below it.
        let settled = self.removed.iter().rposition(|removed| removed.first <= position.index);
        self.removed.drain(..settled.map_or(0, |last| last + 1));
        if position.index >= self.durable_end {
            self.durable_end = position.index + 1;
            self.flushed_us = time_us;
        }
    }

    /// The store has run everything that it was asked for.
    pub(crate) fn settle(&mut self) {
        self.removed.clear();
    }

    pub(crate) fn truncate(&mut self, after: Option<Position>) {
        let first = after.map_or(0, |after| after.index + 1).max(self.base);
        let entries = self.log.iter().skip((first - self.base) as usize).copied().collect();
        self.removed.push(Removed { first, entries, durable_end: self.durable_end });
        self.cut(first);
    }

    /// This node, and before it as it was before each truncation that may not have reached the
    /// disk, latest first.
    pub(crate) fn versions(&self) -> impl Iterator<Item = Self> {
        let before = self.removed.iter().rev().scan(self.clone(), |node, removed| {
            node.log.truncate((removed.first - node.base.min(removed.first)) as usize);
            node.log.extend(&removed.entries);
            node.durable_end = removed.durable_end;
            Some(node.clone())
        });
        iter::once(self.clone()).chain(before)
    }

    fn cut(&mut self, end: u64) {
        self.log.truncate(end.saturating_sub(self.base) as usize);
        self.durable_end = self.durable_end.min(end);
        self.memberships.retain(|one| one.position.index < end);
    }

    pub(crate) fn purge(&mut self, upto: Position) {
        let start = upto.index + 1;
        if start > self.base {
            let gone = (start - self.base).min(self.log.len() as u64);
            self.log.drain(..gone as usize);
            self.base = start;
            self.durable_end = self.durable_end.max(start);
        }
        self.purged = self.purged.max(Some(upto));
    }

    /// A snapshot replaced the state machine; `known` are the memberships up to it.
    pub(crate) fn install(&mut self, position: Position, known: &[Membership], time_us: u64) {
        self.snapshot = self.snapshot.max(Some(position));
        self.applied = Some((position, time_us));
        self.learn_memberships(position, known);
    }

    /// Up to what the state machine covers, the memberships are the committed ones.
    fn learn_memberships(&mut self, upto: Position, known: &[Membership]) {
        let covered = known.partition_point(|one| one.position.index <= upto.index);
        if covered > 0 {
            let own = self.memberships.partition_point(|one| one.position.index <= upto.index);
            self.memberships.splice(..own, known[..covered].iter().cloned());
        }
    }

    fn note_membership(&mut self, entry: &EntryMark) {
        if let Some(voters) = &entry.voters {
            let membership =
                Membership { position: entry.position, voters: voters.as_slice().into() };
            self.memberships.push(membership);
        }
    }
}
