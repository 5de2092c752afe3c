//! What a storage must hold: the operations asked of it, replayed in memory.

use std::collections::BTreeMap;

use aspen_core::LogTime;
use aspen_core::NodeId;
use aspen_core::command::{Command, Key, Proposal, Value};
use aspen_core::types::{Entry, LogId, Vote};
use bytes::Bytes;
use openraft::EntryPayload;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Distinct keys.
const KEYS: u32 = 300;

/// One operation, as openraft asks for it.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Append entries; the driver need not wait.
    Append(Vec<Entry>),
    /// Save a vote.
    Vote(Vote),
    /// Remove what comes after this entry; on the disk together with the next operation on the log
    /// or the vote.
    TruncateAfter(Option<LogId>),
    /// Remove everything up to this entry.
    Purge(LogId),
    /// Apply these entries, in memory; a later transaction takes their effects to the disk.
    Apply(Vec<Entry>),
}

impl Operation {
    /// The entries that it applies.
    pub(crate) fn applied(&self) -> &[Entry] {
        match self {
            Operation::Apply(entries) => entries,
            Operation::Append(_)
            | Operation::Vote(_)
            | Operation::TruncateAfter(_)
            | Operation::Purge(_) => &[],
        }
    }
}

/// The state of a storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    /// The vote.
    pub(crate) vote: Option<Vote>,
    /// The last entry purged.
    pub(crate) purged: Option<LogId>,
    /// The entries after it.
    pub(crate) log: BTreeMap<u64, Entry>,
    /// Entries that were removed from the log's end and that the disk still has.
    pub(crate) removed: BTreeMap<u64, Entry>,
    /// The last entry applied.
    pub(crate) applied: Option<LogId>,
    /// The state machine's rows.
    pub(crate) rows: BTreeMap<Key, Value>,
}

impl Model {
    /// The log's last entry, purged or not.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.log.values().next_back().map(|entry| entry.log_id).or(self.purged)
    }

    fn next_index(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn next_to_apply(&self) -> u64 {
        self.applied.map_or(0, |applied| applied.index + 1)
    }

    fn term(&self) -> u64 {
        self.vote.as_ref().map_or(0, |vote| vote.leader_id.term)
    }

    fn log_id(&self, index: u64) -> Option<LogId> {
        self.log.get(&index).map(|entry| entry.log_id)
    }

    /// Does to the model what the operation does to the storage.
    pub(crate) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Append(_) | Operation::Vote(_) | Operation::Purge(_) => self.removed.clear(),
            Operation::TruncateAfter(_) | Operation::Apply(_) => {}
        }
        match operation {
            Operation::Append(entries) => {
                self.log.extend(entries.iter().map(|entry| (entry.log_id.index, entry.clone())));
            }
            Operation::Vote(vote) => self.vote = Some(*vote),
            Operation::TruncateAfter(last) => {
                self.removed
                    .append(&mut self.log.split_off(&last.map_or(0, |last| last.index + 1)));
            }
            Operation::Purge(upto) => {
                self.log = self.log.split_off(&(upto.index + 1));
                self.purged = Some(*upto);
            }
            Operation::Apply(entries) => entries.iter().for_each(|entry| self.apply_entry(entry)),
        }
    }

    /// Applies an entry to the state machine.
    pub(crate) fn apply_entry(&mut self, entry: &Entry) {
        self.applied = Some(entry.log_id);
        let EntryPayload::Normal(proposal) = &entry.payload else { return };
        match &proposal.command {
            Command::Set { key, value } => {
                self.rows.insert(key.clone(), value.clone());
            }
            Command::Delete { key } => {
                self.rows.remove(key);
            }
            Command::Tick
            | Command::OpenSession { .. }
            | Command::CloseSession
            | Command::SetMulti { .. }
            | Command::CompareAndSet { .. }
            | Command::CompareAndDelete { .. } => unreachable!("no such command is drawn"),
        }
    }

    /// Whether this is the log and the vote that a start finds.
    pub(crate) fn same_log(&self, found: &Self) -> bool {
        (self.vote, self.purged) == (found.vote, found.purged)
            && self.log.iter().chain(&self.removed).eq(&found.log)
    }

    /// Draws an operation that a Raft node may ask for in this state.
    pub(crate) fn draw(&self, random: &mut ChaCha8Rng) -> Operation {
        let (next, to_apply) = (self.next_index(), self.next_to_apply());
        // Only what is applied may be purged.
        let purgeable = to_apply.checked_sub(30).and_then(|upto| self.log_id(upto));
        match random.random_range(0..100) {
            0..8 => Operation::Vote(Vote::new(self.term() + 1, NodeId(1))),
            8..16 if next > to_apply => {
                // Only what is not applied may be taken back.
                let kept = random.random_range(to_apply..next);
                let last = kept.checked_sub(1).and_then(|last| self.log_id(last)).or(self.purged);
                Operation::TruncateAfter(last)
            }
            16..24 if purgeable.is_some() => Operation::Purge(purgeable.expect("just looked")),
            24..60 if next > to_apply => {
                let upto = random.random_range(to_apply..next);
                Operation::Apply(self.log.range(to_apply..=upto).map(|(_, e)| e.clone()).collect())
            }
            _ => {
                let count = random.random_range(1..16);
                Operation::Append((next..next + count).map(|at| self.entry(at, random)).collect())
            }
        }
    }

    fn entry(&self, index: u64, random: &mut ChaCha8Rng) -> Entry {
        let log_id = LogId::new_term_index(self.term(), index);
        if random.random_range(0..20) == 0 {
            return Entry { log_id, payload: EntryPayload::Blank };
        }
        let key = Bytes::from(format!("key {}", random.random_range(0..KEYS)));
        let command = if random.random_range(0..6) == 0 {
            Command::Delete { key }
        } else {
            let longest = if random.random_range(0..20) == 0 { 9_000 } else { 400 };
            let value = vec![random.random(); random.random_range(1..longest)];
            Command::Set { key, value: value.into() }
        };
        let time = LogTime::from_ms(index);
        Entry { log_id, payload: EntryPayload::Normal(Proposal { time, stamp: None, command }) }
    }
}
