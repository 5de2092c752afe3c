//! Reading: what the applied state machine holds.
//!
//! A [`Store`] reads what has been applied here, which may be behind the cluster. Whoever needs a
//! linearizable read first waits until this node has applied what the leader had committed.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use redb::{ReadTransaction, TableHandle};

use crate::api::ScanPage;
use crate::command::{Key, Value};
use crate::limits;
use crate::machine::digest::{Digests, RowsDigest};
use crate::runtime::Runtime;
use crate::storage::applied::{self, RowsView};
use crate::storage::error::StorageError;
use crate::storage::generation::{self, Generation};
use crate::storage::memtable::Change;
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

impl<R: Runtime> Store<R> {
    pub(crate) fn new(shared: Arc<Shared>, queue: Queue<R>) -> Self {
        Self { shared, queue }
    }

    /// What a key holds.
    ///
    /// # Errors
    /// [`StorageError`], which is final.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StorageError> {
        self.shared.check()?;
        let rows = {
            let applied = self.shared.applied();
            if let Some(change) = applied.memtable().get(key) {
                return Ok(change.as_ref().map(|row| row.value.clone()));
            }
            self.shared.guard(applied::open_rows(&self.shared, applied.generation()))?
        };
        let row = self.shared.guard(applied::stored_row(&rows, key))?;
        Ok(row.map(|row| row.value))
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
        self.shared.check()?;
        let from = match after {
            Some(after) if &after[..] >= prefix => Bound::Excluded(&after[..]),
            Some(_) | None => Bound::Included(prefix),
        };
        let (rows, changes) = {
            let applied = self.shared.applied();
            let changes = applied.memtable().range(prefix, from);
            let changes = changes.map(|(key, change)| (key.clone(), change.clone())).collect();
            let rows = applied::open_rows(&self.shared, applied.generation());
            (self.shared.guard(rows)?, changes)
        };
        let limit = limit.min(limits::SCAN_ROWS_MAX);
        let page = Merged::new(&rows, changes, from).and_then(|rows| page_of(rows, prefix, limit));
        self.shared.guard(page)
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogId> {
        self.shared.applied().last()
    }

    /// The term of the vote that is stored, durably: one of its own, or the one for a leader that it
    /// follows. It never falls.
    pub fn term(&self) -> u64 {
        self.shared.memory().vote.map_or(0, |vote| vote.leader_id.term)
    }

    /// The log's time: the largest that an applied proposal carried.
    pub fn log_time(&self) -> LogTime {
        self.shared.applied().machine().log_time()
    }

    /// How many client sessions are open.
    pub fn sessions(&self) -> usize {
        self.shared.applied().machine().sessions().len()
    }

    /// The digests after each applied entry of a range, ascending, as far as they are remembered:
    /// for the last [`limits::DIGESTS_KEPT`] entries since the storage was opened, and for the
    /// entry that it was opened at.
    pub fn digests(&self, range: RangeInclusive<u64>) -> Vec<(u64, Digests)> {
        self.shared.applied().digests(range)
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

    /// Reads every row that the database holds of the state machine, checks its checksum, and
    /// compares the recomputed digests with the running ones. Takes time that grows with the number
    /// of rows.
    ///
    /// # Errors
    /// What is wrong: a damaged row, or a digest that differs.
    pub fn verify(&self) -> Result<(), StorageError> {
        self.shared.check()?;
        self.shared.guard(self.shared.begin_read().and_then(|txn| verify_machine(&txn)))
    }

    /// Makes everything durable and closes the database. Every later operation of every handle
    /// fails with [`StorageError::Closed`].
    ///
    /// # Errors
    /// [`StorageError`], when the last transaction failed.
    pub async fn close(&self) -> Result<(), StorageError> {
        self.queue.close().await
    }
}

/// The rows of the database with the memtable's changes laid over them, ascending.
struct Merged<'a> {
    table: &'a str,
    stored: Peekable<redb::Range<'a, &'static [u8], &'static [u8]>>,
    changes: Peekable<std::vec::IntoIter<(Key, Change)>>,
}

impl<'a> Merged<'a> {
    fn new(
        rows: &'a RowsView,
        changes: Vec<(Key, Change)>,
        from: Bound<&[u8]>,
    ) -> Result<Self, StorageError> {
        let stored = rows.range::<&[u8]>((from, Bound::Unbounded))?.peekable();
        Ok(Self { table: rows.name(), stored, changes: changes.into_iter().peekable() })
    }

    fn next(&mut self) -> Result<Option<(Key, Value)>, StorageError> {
        loop {
            let order = match (self.stored.peek(), self.changes.peek()) {
                (None, None) => return Ok(None),
                (None, Some(_)) => Ordering::Greater,
                (Some(Ok((stored, _))), Some((changed, _))) => stored.value().cmp(&changed[..]),
                (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
            };
            if order.is_le()
                && let Some(stored) = self.stored.next()
            {
                let (key, sealed) = stored?;
                if order.is_lt() {
                    let (value, _) = tables::unseal(self.table, key.value(), sealed.value())?;
                    let (key, value) = (key.value(), Value::copy_from_slice(value));
                    return Ok(Some((Key::copy_from_slice(key), value)));
                }
            }
            if let Some((key, Some(row))) = self.changes.next() {
                return Ok(Some((key, row.value)));
            }
        }
    }
}

fn page_of(mut rows: Merged<'_>, prefix: &[u8], limit: usize) -> Result<ScanPage, StorageError> {
    let (mut page, mut bytes) = (ScanPage::default(), 0);
    while let Some((key, value)) = rows.next()? {
        if !key.starts_with(prefix) {
            break;
        }
        bytes += key.len() + value.len();
        let full = bytes > limits::SCAN_BYTES_MAX && !page.rows.is_empty();
        if full || page.rows.len() == limit {
            page.more = true;
            break;
        }
        page.rows.push((key, value));
    }
    Ok(page)
}

fn verify_machine(txn: &ReadTransaction) -> Result<(), StorageError> {
    let machine = tables::record::<MachineRow>(&tables::open_meta(txn)?, tables::MACHINE)?;
    let machine = machine.unwrap_or_default();
    let generation = Generation::named(machine.generation);
    let rows = txn.open_table(generation.rows())?;
    let mut digest = RowsDigest::default();
    for row in rows.range::<&[u8]>(..)? {
        let (key, sealed) = row?;
        digest.insert(tables::unseal(rows.name(), key.value(), sealed.value())?.1);
    }
    if digest != machine.content {
        let (stored, computed) = (machine.content.short(), digest.short());
        return Err(StorageError::Digest { what: "content", stored, computed });
    }
    let sessions = txn.open_table(generation.sessions())?;
    generation::load_machine(&sessions, &SnapshotEnd::of(&machine, 0, 0)).map(drop)
}
