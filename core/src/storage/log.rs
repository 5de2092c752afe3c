//! The log store: openraft's view of the log and the vote.
//!
//! Everything that openraft asks often is answered from memory: bounds, vote, committed, and the
//! latest entries. Older entries come from the database.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt, future, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use redb::{ReadTransaction, TableHandle};

use crate::limits;
use crate::runtime::Runtime;
use crate::storage::encoding;
use crate::storage::engine::Work;
use crate::storage::error::StorageError;
use crate::storage::queue::Queue;
use crate::storage::shared::Shared;
use crate::storage::tables::{self, LOG};
use crate::storage::tail;
use crate::types::{Entry, LogId, RaftConfig, Vote};

/// A handle to the log. Cloning is cheap and gives another handle to the same log.
pub struct LogStore<R: Runtime> {
    shared: Arc<Shared>,
    queue: Queue<R>,
}

impl<R: Runtime> Clone for LogStore<R> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), queue: self.queue.clone() }
    }
}

impl<R: Runtime> LogStore<R> {
    pub(crate) fn new(shared: Arc<Shared>, queue: Queue<R>) -> Self {
        Self { shared, queue }
    }

    /// Reads entries, up to the first that would pass a limit; at least one if there is one.
    fn read(
        &self,
        range: impl RangeBounds<u64>,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let (read, txn) = {
            let memory = self.shared.memory();
            memory.failure.clone().map_or(Ok(()), Err)?;
            let read = memory.tail.read(range, count, bytes);
            // While the memory is locked, no entry can leave it for the database.
            let txn = (!read.stored.is_empty()).then(|| self.shared.begin_read()).transpose()?;
            (read, txn)
        };
        let Some(txn) = txn else { return Ok(read.kept) };
        let mut page = Page { entries: Vec::new(), bytes, full: false };
        self.shared.guard(read_stored(&txn, read.stored, &mut page))?;
        read.kept.into_iter().for_each(|entry| page.push(entry));
        Ok(page.entries)
    }
}

/// Entries up to a limit.
struct Page {
    entries: Vec<Entry>,
    /// How many bytes there is room for.
    bytes: usize,
    full: bool,
}

impl Page {
    /// Takes an entry in, unless there is no room for it and others are in already.
    fn push(&mut self, entry: Entry) {
        let weight = tail::weight(&entry);
        self.full |= weight > self.bytes && !self.entries.is_empty();
        if !self.full {
            self.bytes = self.bytes.saturating_sub(weight);
            self.entries.push(entry);
        }
    }
}

/// Reads entries from the database, where every one of the range must be.
fn read_stored(
    txn: &ReadTransaction,
    range: Range<u64>,
    page: &mut Page,
) -> Result<(), StorageError> {
    let log = txn.open_table(LOG)?;
    let (first, last) = (range.start, range.end - 1);
    let mut next = first;
    for row in log.range(range)? {
        let (index, row) = row?;
        if index.value() != next {
            break;
        }
        page.push(tables::unseal_record(LOG.name(), &tables::number_key(next), row.value())?);
        if page.full {
            return Ok(());
        }
        next += 1;
    }
    if next <= last { Err(StorageError::Hole { index: next, first, last }) } else { Ok(()) }
}

impl<R: Runtime> RaftLogReader<RaftConfig<R>> for LogStore<R> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        Ok(self.read(range, usize::MAX, usize::MAX)?)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let memory = self.shared.memory();
        memory.failure.clone().map_or(Ok(memory.vote), |failure| Err(failure.into()))
    }

    /// What replication sends in one message.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        Ok(self.read(start..end, limits::APPEND_ENTRIES_MAX, limits::APPEND_BYTES_MAX)?)
    }

    /// What apply reads: committed entries, however many, a page at a time.
    async fn entries_stream<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend {
        let end = range.end_bound().cloned();
        let pages =
            stream::try_unfold((self.clone(), range.start_bound().cloned()), move |state| {
                let (log, start) = state;
                let page =
                    log.read((start, end), limits::APPEND_ENTRIES_MAX, limits::APPEND_BYTES_MAX);
                future::ready(page.map_err(io::Error::from).map(|entries| {
                    let start = Bound::Excluded(entries.last()?.log_id.index);
                    Some((stream::iter(entries.into_iter().map(Ok)), (log, start)))
                }))
            });
        pages.try_flatten()
    }
}

impl<R: Runtime> RaftLogStorage<RaftConfig<R>> for LogStore<R> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<RaftConfig<R>>> {
        self.shared.check()?;
        let memory = self.shared.memory();
        let (last_purged_log_id, last_log_id) = (memory.tail.purged(), memory.tail.last());
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        Ok(self.queue.run(Work::Vote(*vote)).await?)
    }

    /// Only remembers it: the next transaction that writes records takes it along.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.shared.check()?;
        self.shared.memory().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.shared.check()?;
        Ok(self.shared.memory().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<RaftConfig<R>>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.shared.check()?;
        let entries: Vec<Entry> = entries.into_iter().collect();
        let rows = entries.iter().map(|entry| {
            let index = entry.log_id.index;
            (index, encoding::seal_record(&tables::number_key(index), entry))
        });
        let rows = rows.collect();
        let last = entries.last().map(|entry| entry.log_id);
        let append = self.shared.memory().tail.append(&entries);
        let append = self.shared.guard(append)?;
        Ok(self.queue.append(Work::Append { rows, last, append }, callback).await?)
    }

    /// Removes the entries for every reader at once, and from the disk in the transaction of the
    /// next append, vote, purge or install.
    ///
    /// By itself a truncation needs no durability: a node that comes back with the entries that
    /// were to go is asked again. And it must not have any before an install: openraft truncates
    /// in front of a snapshot what conflicts with it, down to what the node knows to be committed,
    /// and among that may be entries whose commit was counted with this disk.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.shared.check()?;
        self.shared.memory().tail.truncate_after(last);
        Ok(self.queue.leave(Work::Truncate(last)).await?)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.shared.memory().tail.purge(upto);
        Ok(self.queue.run(Work::Purge(upto)).await?)
    }
}
