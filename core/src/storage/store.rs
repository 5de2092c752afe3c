//! Reading: what the applied state machine holds.
//!
//! A [`Store`] reads what has been applied here, which may be behind the cluster. Whoever needs a
//! linearizable read first waits until this node has applied what the leader had committed.

use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, TableHandle};

use crate::api::ScanPage;
use crate::command::{Key, Value};
use crate::limits;
use crate::machine::digest::{Digests, RowsDigest};
use crate::runtime::Runtime;
use crate::storage::error::StorageError;
use crate::storage::generation::{self, Generation};
use crate::storage::queue::Queue;
use crate::storage::receive::SnapshotReceiver;
use crate::storage::shared::{Shadow, Shared};
use crate::storage::snapshot::SnapshotEnd;
use crate::storage::tables::{self, MachineRow};
use crate::types::{LogId, LogTime};

/// A handle for reading. Cloning is cheap and gives another handle to the same storage.
pub struct Store<R: Runtime> {
    shared: Arc<Shared>,
    queue: Queue<R>,
}

impl<R: Runtime> Clone for Store<R> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), queue: self.queue.clone() }
    }
}

type RowsView = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl<R: Runtime> Store<R> {
    pub(crate) fn new(shared: Arc<Shared>, queue: Queue<R>) -> Self {
        Self { shared, queue }
    }

    /// What a key holds.
    ///
    /// # Errors
    /// [`StorageError`], which is final.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StorageError> {
        let (_, rows) = self.rows()?;
        self.shared.guard(value_of(&rows, key))
    }

    /// The rows whose keys begin with `prefix` and come after `after`, at most `limit` of them and
    /// at most [`limits::SCAN_ROWS_MAX`] and [`limits::SCAN_BYTES_MAX`]; one row at least, if
    /// there is one and `limit` is not 0.
    ///
    /// # Errors
    /// [`StorageError`], which is final.
    pub fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<ScanPage, StorageError> {
        let (_, rows) = self.rows()?;
        self.shared.guard(page_of(&rows, prefix, after, limit.min(limits::SCAN_ROWS_MAX)))
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogId> {
        self.shared.memory().applied.last
    }

    /// The log's time: the largest that an applied proposal carried.
    pub fn log_time(&self) -> LogTime {
        self.shared.memory().applied.log_time
    }

    /// How many client sessions are open.
    pub fn sessions(&self) -> usize {
        self.shared.memory().applied.sessions
    }

    /// The digests after each applied entry of a range, ascending, as far as they are remembered:
    /// for the last [`limits::DIGESTS_KEPT`] entries since the storage was opened, and for the
    /// entry that it was opened at.
    pub fn digests(&self, range: RangeInclusive<u64>) -> Vec<(u64, Digests)> {
        self.shared.memory().applied.digests(range)
    }

    /// Whether redb had to repair the file when it was opened, as it does after an unclean stop.
    pub fn repaired(&self) -> bool {
        self.shared.repaired()
    }

    /// The error that ended this storage, if one did.
    pub fn failure(&self) -> Option<StorageError> {
        self.shared.memory().failure.clone()
    }

    /// Begins to receive a snapshot.
    pub fn receive_snapshot(&self) -> SnapshotReceiver<R> {
        SnapshotReceiver::new(self.queue.clone(), Shadow::new(&self.shared))
    }

    /// Reads every row of the state machine, checks its checksum, and compares the recomputed
    /// digests with the running ones. Takes time that grows with the number of rows.
    ///
    /// # Errors
    /// What is wrong: a damaged row, or a digest that differs.
    pub fn verify(&self) -> Result<(), StorageError> {
        let (txn, rows) = self.rows()?;
        self.shared.guard(verify_machine(&txn, &rows))
    }

    /// Makes everything durable and closes the database. Every later operation of every handle
    /// fails with [`StorageError::Closed`].
    ///
    /// # Errors
    /// [`StorageError`], when the last transaction failed.
    pub async fn close(&self) -> Result<(), StorageError> {
        self.queue.close().await
    }

    /// A view of the current generation's rows.
    fn rows(&self) -> Result<(ReadTransaction, RowsView), StorageError> {
        let (txn, generation) = {
            let memory = self.shared.memory();
            memory.failure.clone().map_or(Ok(()), Err)?;
            // The number and the view are of one moment: later the generation may be dropped.
            (self.shared.begin_read()?, memory.applied.generation)
        };
        let rows = txn.open_table(Generation::named(generation).rows())?;
        Ok((txn, rows))
    }
}

fn value_of(rows: &RowsView, key: &[u8]) -> Result<Option<Value>, StorageError> {
    let Some(row) = rows.get(key)? else { return Ok(None) };
    let (value, _) = tables::unseal(rows.name(), key, row.value())?;
    Ok(Some(Value::copy_from_slice(value)))
}

fn page_of(
    rows: &RowsView,
    prefix: &[u8],
    after: Option<&Key>,
    limit: usize,
) -> Result<ScanPage, StorageError> {
    let from = match after {
        Some(after) if &after[..] >= prefix => Bound::Excluded(&after[..]),
        Some(_) | None => Bound::Included(prefix),
    };
    let (mut page, mut bytes) = (ScanPage::default(), 0);
    for row in rows.range::<&[u8]>((from, Bound::Unbounded))? {
        let (key, sealed) = row?;
        let (key, sealed) = (key.value(), sealed.value());
        if !key.starts_with(prefix) {
            return Ok(page);
        }
        bytes += key.len() + sealed.len();
        let full = bytes > limits::SCAN_BYTES_MAX && !page.rows.is_empty();
        if full || page.rows.len() == limit {
            page.more = true;
            return Ok(page);
        }
        let (value, _) = tables::unseal(rows.name(), key, sealed)?;
        page.rows.push((Key::copy_from_slice(key), Value::copy_from_slice(value)));
    }
    Ok(page)
}

fn verify_machine(txn: &ReadTransaction, rows: &RowsView) -> Result<(), StorageError> {
    let mut digest = RowsDigest::default();
    for row in rows.range::<&[u8]>(..)? {
        let (key, sealed) = row?;
        digest.insert(tables::unseal(rows.name(), key.value(), sealed.value())?.1);
    }
    let machine = tables::record::<MachineRow>(&tables::open_meta(txn)?, tables::MACHINE)?;
    let machine = machine.unwrap_or_default();
    if digest != machine.content {
        let (stored, computed) = (machine.content.short(), digest.short());
        return Err(StorageError::Digest { what: "content", stored, computed });
    }
    let sessions = txn.open_table(Generation::named(machine.generation).sessions())?;
    generation::load_machine(&sessions, &SnapshotEnd::of(&machine, 0, 0)).map(drop)
}
