//! The log as memory knows it: where it begins and ends, and its latest entries.
//!
//! Entries are readable as soon as they are appended, which is before they are on the disk, and
//! replication and apply read what was just written; so the latest entries stay here. An entry
//! leaves only when it has been written to the database and newer ones need the room. Everything
//! from the oldest entry kept here to the log's end is here, without gaps.

use std::collections::VecDeque;
use std::ops::{Bound, Range, RangeBounds};

use openraft::EntryPayload;

use crate::command::Command;
use crate::limits;
use crate::storage::error::StorageError;
use crate::types::{Entry, LogId};

/// The log's bounds and its latest entries.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The first index that the log holds, if it holds any.
    first: u64,
    last: Option<LogId>,
    purged: Option<LogId>,
    entries: VecDeque<Kept>,
    bytes: usize,
    /// Counts appends; every entry remembers the append that brought it.
    appends: u64,
    /// The last append whose entries are in the database.
    written: u64,
    /// The last index kept by each truncation that the database has not seen, oldest first.
    unremoved: VecDeque<Option<u64>>,
}

#[derive(Debug)]
struct Kept {
    entry: Entry,
    bytes: usize,
    append: u64,
}

/// What a read needs: indexes that only the database has, then entries.
pub(crate) struct Read {
    /// Indexes to read from the database, perhaps none.
    pub(crate) stored: Range<u64>,
    /// The entries that follow them.
    pub(crate) kept: Vec<Entry>,
}

impl Tail {
    /// The tail of a log that was found on the disk.
    pub(crate) fn new(first: u64, last: Option<LogId>, purged: Option<LogId>) -> Self {
        let (entries, unremoved) = (VecDeque::new(), VecDeque::new());
        Self { first, last, purged, entries, bytes: 0, appends: 0, written: 0, unremoved }
    }

    /// The last log id: of the last entry, or the last one purged.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// The last log id purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// Takes new entries in; gives the number of this append.
    ///
    /// # Errors
    /// [`StorageError::Gap`], when they do not follow the last entry.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<u64, StorageError> {
        self.appends += 1;
        for entry in entries {
            let index = entry.log_id.index;
            match self.last {
                Some(last) if last.index + 1 != index => {
                    return Err(StorageError::Gap { index, last: last.index });
                }
                // An empty log may begin anywhere: after a snapshot it does.
                None => self.first = index,
                Some(_) => {}
            }
            self.last = Some(entry.log_id);
            let bytes = weight(entry);
            self.bytes += bytes;
            self.entries.push_back(Kept { entry: entry.clone(), bytes, append: self.appends });
        }
        self.evict();
        Ok(self.appends)
    }

    /// Notes that the entries of an append are in the database.
    pub(crate) fn written(&mut self, append: u64) {
        self.written = append;
        self.evict();
    }

    /// Drops what comes after `last`; the disk still has it.
    pub(crate) fn truncate_after(&mut self, last: Option<LogId>) {
        self.unremoved.push_back(last.map(|last| last.index));
        let end = last.map_or(0, |last| last.index + 1);
        if self.last.is_none_or(|last| last.index < end) {
            return;
        }
        while self.entries.back().is_some_and(|kept| kept.entry.log_id.index >= end) {
            let kept = self.entries.pop_back().expect("back() just saw it");
            self.bytes -= kept.bytes;
        }
        self.last = last.max(self.purged);
    }

    /// Notes that the database has seen the oldest truncations, `count` of them.
    pub(crate) fn removed(&mut self, count: usize) {
        self.unremoved.drain(..count);
    }

    /// The last index kept by each truncation that the database has not seen, oldest first.
    pub(crate) fn unremoved(&self) -> impl Iterator<Item = Option<u64>> {
        self.unremoved.iter().copied()
    }

    /// Drops what comes before `upto`, and `upto` itself.
    pub(crate) fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|kept| kept.entry.log_id.index <= upto.index) {
            self.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
        self.first = self.first.max(upto.index + 1);
    }

    /// Plans the read of a range, cut down to what the log holds and to the two limits. At least
    /// one entry is read if there is one.
    pub(crate) fn read(&self, range: impl RangeBounds<u64>, count: usize, bytes: usize) -> Read {
        let end = self.last.map_or(0, |last| last.index + 1);
        let wanted = clip(range, self.first..end);
        let kept_from = self.entries.front().map_or(end, |kept| kept.entry.log_id.index);
        let stored = wanted.start..wanted.end.min(kept_from).max(wanted.start);
        let stored = stored.start..stored.end.min(stored.start.saturating_add(count as u64));
        let count = count - (stored.end - stored.start) as usize;
        let skipped = wanted.start.max(kept_from) - kept_from;
        let length = wanted.end.saturating_sub(wanted.start.max(kept_from));
        let kept = self.entries.iter().skip(skipped as usize).take(count.min(length as usize));
        let mut total = 0;
        let kept = kept.enumerate().take_while(|(nth, kept)| {
            total += kept.bytes;
            *nth == 0 || total <= bytes
        });
        Read { stored, kept: kept.map(|(_, kept)| kept.entry.clone()).collect() }
    }

    fn evict(&mut self) {
        while (self.entries.len() > limits::LOG_CACHE_ENTRIES_MAX
            || self.bytes > limits::LOG_CACHE_BYTES_MAX)
            && self.entries.front().is_some_and(|kept| kept.append <= self.written)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(kept) = self.entries.pop_front() {
            self.bytes -= kept.bytes;
        }
    }
}

/// What an entry weighs in memory and in a message, in bytes; close enough for limits.
pub(crate) fn weight(entry: &Entry) -> usize {
    const OVERHEAD: usize = 64;
    let payload = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Membership(membership) => 64 * membership.nodes().count(),
        EntryPayload::Normal(proposal) => match &proposal.command {
            Command::Tick | Command::OpenSession { .. } | Command::CloseSession => 0,
            Command::Set { key, value } => key.len() + value.len(),
            Command::SetMulti { pairs } => {
                pairs.iter().map(|(key, value)| key.len() + value.len() + 16).sum()
            }
            Command::Delete { key } => key.len(),
            Command::CompareAndSet { key, expected, value } => {
                key.len() + expected.as_ref().map_or(0, |expected| expected.len()) + value.len()
            }
            Command::CompareAndDelete { key, expected } => key.len() + expected.len(),
        },
    };
    OVERHEAD + payload
}

/// The part of `range` inside `bounds`; empty ranges begin where they end.
fn clip(range: impl RangeBounds<u64>, bounds: Range<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    let start = start.max(bounds.start);
    start..end.min(bounds.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CommittedLeaderId;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId { term }, index)
    }

    fn blanks(term: u64, indexes: Range<u64>) -> Vec<Entry> {
        indexes
            .map(|index| Entry { log_id: log_id(term, index), payload: EntryPayload::Blank })
            .collect()
    }

    /// The indexes of a read: how many come from the database, and which from memory.
    fn read(tail: &Tail, range: Range<u64>) -> (Range<u64>, Vec<u64>) {
        let read = tail.read(range, usize::MAX, usize::MAX);
        (read.stored, read.kept.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn a_read_is_cut_down_to_what_the_log_holds() {
        let mut tail = Tail::new(3, Some(log_id(1, 5)), Some(log_id(1, 2)));
        tail.append(&blanks(1, 6..9)).unwrap();
        assert_eq!(read(&tail, 0..100), (3..6, vec![6, 7, 8]));
        assert_eq!(read(&tail, 4..7), (4..6, vec![6]));
        assert_eq!(read(&tail, 7..8), (7..7, vec![7]));
        assert_eq!(read(&tail, 5..5), (5..5, vec![]));
        assert_eq!(read(&tail, 9..20), (9..9, vec![]));
    }

    #[test]
    fn limits_leave_at_least_one_entry() {
        let mut tail = Tail::new(0, None, None);
        tail.append(&blanks(1, 0..10)).unwrap();
        let indexes = |count, bytes| {
            let read = tail.read(2..9, count, bytes);
            read.kept.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>()
        };
        assert_eq!(indexes(3, usize::MAX), [2, 3, 4]);
        assert_eq!(indexes(usize::MAX, 1), [2]);
        assert_eq!(indexes(usize::MAX, 2 * 64), [2, 3]);
    }

    #[test]
    fn a_truncated_tail_is_not_taken_for_written_when_the_old_append_completes() {
        let mut tail = Tail::new(0, None, None);
        let first = tail.append(&blanks(1, 0..4)).unwrap();
        tail.truncate_after(Some(log_id(1, 1)));
        assert_eq!(tail.last(), Some(log_id(1, 1)));
        let count = limits::LOG_CACHE_ENTRIES_MAX as u64;
        tail.append(&blanks(2, 2..2 + count)).unwrap();
        tail.written(first);
        let (stored, kept) = read(&tail, 0..u64::MAX);
        assert_eq!(stored, 0..2, "only what the first append wrote may be left to the database");
        assert_eq!(kept.len() as u64, count);
    }

    #[test]
    fn truncating_into_the_stored_part_hides_what_the_database_still_holds() {
        let mut tail = Tail::new(0, Some(log_id(1, 9)), None);
        tail.truncate_after(Some(log_id(1, 4)));
        assert_eq!(read(&tail, 0..100), (0..5, vec![]));
        tail.append(&blanks(2, 5..7)).unwrap();
        assert_eq!(read(&tail, 0..100), (0..5, vec![5, 6]));
        tail.truncate_after(None);
        assert_eq!((tail.last(), read(&tail, 0..100)), (None, (0..0, vec![])));
    }

    #[test]
    fn a_purge_past_the_end_moves_the_end() {
        let mut tail = Tail::new(0, None, None);
        tail.append(&blanks(1, 0..4)).unwrap();
        tail.purge(log_id(2, 20));
        assert_eq!((tail.last(), tail.purged()), (Some(log_id(2, 20)), Some(log_id(2, 20))));
        assert_eq!(read(&tail, 0..100), (21..21, vec![]));
        assert!(matches!(tail.append(&blanks(2, 22..23)), Err(StorageError::Gap { .. })));
    }
}
