//! The applied state machine, as memory holds it over the database.
//!
//! An entry is applied in memory: its rows go into the [`Memtable`], the rest is the
//! [`Machine`]'s. Now and then a transaction **flushes** what has gathered: it takes a [`Cut`],
//! which is the state after one entry, and writes it as a whole. So the database always holds the
//! state after some entry, a restart re-applies the log from there, and an apply costs no
//! transaction.
//!
//! Everybody locks it for a moment: readers, the apply, and the writer before and after a flush.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use openraft::EntryPayload;
use redb::{ReadOnlyTable, TableHandle};

use crate::command::{Key, Reply, SessionId, Value};
use crate::limits;
use crate::machine::digest::{Digests, RowHash};
use crate::machine::{Machine, Rows};
use crate::storage::error::StorageError;
use crate::storage::generation::Generation;
use crate::storage::memtable::{Change, Memtable, Row};
use crate::storage::shared::Shared;
use crate::storage::tables::{self, MachineRow};
use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership};

/// A view of the rows of one generation.
pub(crate) type RowsView = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The state machine after the last entry applied.
#[derive(Debug)]
pub(crate) struct Applied {
    generation: u64,
    last: Option<LogId>,
    membership: StoredMembership,
    machine: Machine,
    memtable: Memtable,
    /// The last entry whose effects are in the database.
    flushed: Option<LogId>,
    /// The digests after the latest entries, ascending.
    digests: VecDeque<(u64, Digests)>,
}

/// What a flush writes: everything that changed since the one before it.
pub(crate) struct Cut {
    pub(crate) rows: Vec<(Key, Change)>,
    pub(crate) sessions: BTreeMap<SessionId, Option<Vec<u8>>>,
    pub(crate) machine: MachineRow,
    pub(crate) membership: Option<StoredMembership>,
}

impl Applied {
    /// The state machine as the database holds it.
    pub(crate) fn new(
        generation: u64,
        last: Option<LogId>,
        membership: StoredMembership,
        machine: Machine,
    ) -> Self {
        let (memtable, digests) = (Memtable::default(), VecDeque::new());
        let mut applied =
            Self { generation, last, membership, machine, memtable, flushed: last, digests };
        if let Some(last) = last {
            applied.remember_digests(last.index);
        }
        applied
    }

    /// The generation that holds the rows.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The last entry applied.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// The last membership applied.
    pub(crate) fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    /// Everything but the rows.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The rows that the database does not have yet.
    pub(crate) fn memtable(&self) -> &Memtable {
        &self.memtable
    }

    /// Whether the effects of so many entries, or rows of so many bytes, are in memory alone.
    pub(crate) fn has_unflushed(&self, entries: u64, bytes: usize) -> bool {
        let end = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index + 1);
        let unflushed_bytes = self.memtable.bytes() + self.machine.sessions().changed_bytes();
        end(self.last) - end(self.flushed) >= entries || unflushed_bytes >= bytes
    }

    /// The digests after the entries of a range, as far as they are remembered.
    pub(crate) fn digests(&self, range: RangeInclusive<u64>) -> Vec<(u64, Digests)> {
        let from = self.digests.partition_point(|(index, _)| index < range.start());
        let rest = self.digests.iter().skip(from);
        rest.take_while(|(index, _)| index <= range.end()).copied().collect()
    }

    /// Applies entries; gives the reply of each.
    ///
    /// # Errors
    /// The first thing that went wrong. Some entries have been applied then, perhaps one by half:
    /// nothing may use the state machine any more.
    pub(crate) fn apply(
        &mut self,
        shared: &Shared,
        entries: &[Entry],
    ) -> Result<Vec<Reply>, StorageError> {
        let base = Base { shared, generation: self.generation, view: OnceCell::new() };
        let apply_one = |entry: &Entry| {
            let index = entry.log_id.index;
            if let Some(last) = self.last.filter(|last| last.index >= index) {
                return Err(StorageError::ApplyOrder { index, applied: last.index });
            }
            let reply = match &entry.payload {
                EntryPayload::Blank => Reply::Done,
                EntryPayload::Normal(proposal) => {
                    let mut rows = Layers { memtable: &mut self.memtable, base: &base, index };
                    self.machine.apply(&mut rows, index, proposal)?
                }
                EntryPayload::Membership(membership) => {
                    let log_id = Some(entry.log_id);
                    self.membership = StoredMembership::new(log_id, membership.clone());
                    Reply::Done
                }
            };
            self.last = Some(entry.log_id);
            self.remember_digests(index);
            Ok(reply)
        };
        entries.iter().map(apply_one).collect()
    }

    /// Everything that changed since the last cut. The rows stay readable here until
    /// [`note_flushed`](Applied::note_flushed) says that they are readable in the database.
    pub(crate) fn cut(&mut self) -> Cut {
        let rows = self.memtable.iter().map(|(key, change)| (key.clone(), change.clone()));
        let membership_is_new = *self.membership.log_id() > self.flushed;
        Cut {
            rows: rows.collect(),
            sessions: self.machine.sessions_mut().take_changes(),
            machine: MachineRow::of(self.generation, self.last, &self.machine),
            membership: membership_is_new.then(|| self.membership.clone()),
        }
    }

    /// Notes that the state after this entry is in the database.
    pub(crate) fn note_flushed(&mut self, last: LogId) {
        self.flushed = Some(last);
        self.memtable.flushed(last.index);
    }

    /// Becomes the state machine of a snapshot, whose rows are in another generation.
    pub(crate) fn adopt(&mut self, generation: u64, meta: &SnapshotMeta, machine: Machine) {
        let last = meta.last_log_id;
        self.generation = generation;
        self.last = last;
        self.flushed = last;
        self.membership = meta.last_membership.clone();
        self.machine = machine;
        self.memtable = Memtable::default();
        self.remember_digests(last.map_or(0, |last| last.index));
    }

    fn remember_digests(&mut self, index: u64) {
        if self.digests.len() == limits::DIGESTS_KEPT {
            self.digests.pop_front();
        }
        self.digests.push_back((index, self.machine.digests()));
    }
}

/// The current generation in the database, opened when it is first asked.
struct Base<'a> {
    shared: &'a Shared,
    generation: u64,
    view: OnceCell<RowsView>,
}

impl Base<'_> {
    fn get(&self, key: &[u8]) -> Result<Change, StorageError> {
        let view = match self.view.get() {
            Some(view) => view,
            None => {
                let opened = open_rows(self.shared, self.generation)?;
                self.view.get_or_init(|| opened)
            }
        };
        stored_row(view, key)
    }
}

/// The rows as an entry finds them: the memtable over the database.
struct Layers<'a> {
    memtable: &'a mut Memtable,
    base: &'a Base<'a>,
    index: u64,
}

impl Layers<'_> {
    fn row(&self, key: &[u8]) -> Result<Change, StorageError> {
        self.memtable.get(key).map_or_else(|| self.base.get(key), |change| Ok(change.clone()))
    }
}

impl Rows for Layers<'_> {
    type Error = StorageError;

    fn get(&self, key: &Key) -> Result<Option<Value>, StorageError> {
        Ok(self.row(key)?.map(|row| row.value))
    }

    fn put(
        &mut self,
        key: &Key,
        value: &Value,
        hash: RowHash,
    ) -> Result<Option<RowHash>, StorageError> {
        let old = self.row(key)?;
        self.memtable.put(self.index, key, Some(Row { value: value.clone(), hash }));
        Ok(old.map(|old| old.hash))
    }

    fn remove(&mut self, key: &Key) -> Result<Option<(Value, RowHash)>, StorageError> {
        let Some(old) = self.row(key)? else { return Ok(None) };
        self.memtable.put(self.index, key, None);
        Ok(Some((old.value, old.hash)))
    }
}

/// A view of the rows that the database holds of a generation. Whoever wants it to fit to the
/// memtable calls this while holding [`Applied`]'s lock: no flush can be noted in between.
pub(crate) fn open_rows(shared: &Shared, generation: u64) -> Result<RowsView, StorageError> {
    Ok(shared.begin_read()?.open_table(Generation::named(generation).rows())?)
}

/// What the database holds of a key.
pub(crate) fn stored_row(view: &RowsView, key: &[u8]) -> Result<Change, StorageError> {
    let Some(sealed) = view.get(key)? else { return Ok(None) };
    let (value, hash) = tables::unseal(view.name(), key, sealed.value())?;
    Ok(Some(Row { value: Value::copy_from_slice(value), hash }))
}
