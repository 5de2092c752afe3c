//! One storage transaction, from its operations to its commit.
//!
//! The writer hands over a group of operations; they run in order inside one redb transaction,
//! and what they changed is published once it has committed. A group of appends that is small goes
//! to the journal instead. A redb transaction that ends with a sync takes along what the journal
//! holds, and what has been applied in memory, when enough of that has gathered.
//! Synchronous on purpose: the volume decides on which thread it runs.
//!
//! A transaction that fails leaves the ledger ahead of the disk. That is no harm: after the first
//! error nothing runs any more.

use std::sync::Arc;

use redb::{Durability as RedbDurability, ReadableTableMetadata, WriteTransaction};

use crate::command::SessionId;
use crate::limits;
use crate::machine::Machine;
use crate::storage::applied::Cut;
use crate::storage::encoding;
use crate::storage::error::StorageError;
use crate::storage::generation::{self, Generation};
use crate::storage::journal::{self, Journal, LogRow};
use crate::storage::shared::{Shadow, Shared};
use crate::storage::snapshot::SnapshotEnd;
use crate::storage::tables::{self, BytesTable, LOG, META, MachineRow, MetaTable, NumbersTable};
use crate::types::{LogId, SnapshotMeta, Vote};
use crate::volume::Durability;

/// An operation, without its callback.
pub(crate) enum Work {
    /// Writes log entries: sealed rows under their indexes.
    Append { rows: Vec<LogRow>, last: Option<LogId>, append: u64 },
    /// Writes the vote.
    Vote(Vote),
    /// Removes the log's entries after this one.
    Truncate(Option<LogId>),
    /// Removes the log's entries up to this one.
    Purge(LogId),
    /// Writes a part of a received snapshot.
    Receive(Slice),
    /// Makes a received snapshot the state machine.
    Install { shadow: Arc<Shadow>, meta: SnapshotMeta, end: SnapshotEnd },
    /// Writes what has been applied and is in memory alone.
    Flush(Durability),
}

/// Rows of a snapshot on their way into a shadow generation, sealed.
pub(crate) struct Slice {
    pub(crate) shadow: Arc<Shadow>,
    pub(crate) rows: Vec<(bytes::Bytes, Vec<u8>)>,
    pub(crate) sessions: Vec<(u64, Vec<u8>)>,
}

impl Work {
    /// What the operation asks of the disk.
    pub(crate) fn durability(&self) -> Durability {
        match self {
            Work::Receive(_) | Work::Truncate(_) => Durability::Visible,
            Work::Flush(durability) => *durability,
            Work::Append { .. } | Work::Vote(_) | Work::Purge(_) | Work::Install { .. } => {
                Durability::Synced
            }
        }
    }

    /// Whether a truncation in front of it runs in its transaction; otherwise it waits on.
    pub(crate) fn takes_truncations(&self) -> bool {
        match self {
            Work::Append { .. } | Work::Vote(_) | Work::Purge(_) | Work::Install { .. } => true,
            Work::Truncate(_) | Work::Receive(_) | Work::Flush(_) => false,
        }
    }
}

/// The storage as the running transaction sees it.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The last log id in the database and its journal, or the last purged.
    pub(crate) last: Option<LogId>,
    /// The committed log id in the database.
    pub(crate) committed: Option<LogId>,
    /// The last entry whose effects are in the database.
    pub(crate) flushed: Option<LogId>,
    /// The rows that the database has not got yet.
    pub(crate) journal: Journal,
    /// The last append in the journal.
    pub(crate) journaled: Option<u64>,
}

/// What a transaction changed, for the readers to see after its commit.
#[derive(Default)]
struct Changes {
    /// The last append that the database has now.
    append: Option<u64>,
    /// How many truncations it ran.
    truncations: usize,
    vote: Option<Vote>,
    /// The last entry of those that were flushed, if any were.
    flushed: Option<LogId>,
    installed: Option<Installed>,
}

/// A snapshot that took the state machine's place.
struct Installed {
    shadow: Arc<Shadow>,
    meta: SnapshotMeta,
    machine: Machine,
}

/// Runs a group of operations as one transaction.
///
/// # Errors
/// The first thing that went wrong; nothing of the group is visible then, and nothing may run
/// after it.
pub(crate) fn run(
    shared: &Shared,
    durability: Durability,
    group: Vec<Work>,
) -> Result<(), StorageError> {
    let mut ledger = shared.ledger();
    if fits_journal(&ledger.journal, &group) && !shared.flush_is_due(&shared.applied()) {
        return write_journal(&mut ledger, group);
    }
    let mut txn = shared.begin_write()?;
    if durability == Durability::Visible {
        txn.set_durability(RedbDurability::None)?;
    }
    let takes_journal = durability == Durability::Synced && ledger.journaled.is_some();
    let mut transaction = Transaction::new(shared, &txn, &mut ledger);
    if takes_journal {
        transaction.take_journal()?;
    }
    for work in &group {
        transaction.run(work)?;
    }
    let changes = transaction.finish(durability)?;
    txn.commit()?;
    if takes_journal {
        ledger.journal.turn();
    }
    publish(shared, changes);
    Ok(())
}

/// Whether a group is appends alone, of some rows and not too many for the journal.
fn fits_journal(journal: &Journal, group: &[Work]) -> bool {
    let weights = group.iter().map(|work| match work {
        Work::Append { rows, .. } => Some(journal::weight(rows)),
        Work::Vote(_)
        | Work::Truncate(_)
        | Work::Purge(_)
        | Work::Receive(_)
        | Work::Install { .. }
        | Work::Flush(_) => None,
    });
    let weight: Option<usize> = weights.sum();
    weight.is_some_and(|bytes| {
        (1..=limits::JOURNAL_GROUP_BYTES_MAX).contains(&bytes) && journal.has_room_for(bytes)
    })
}

/// Makes appends durable in the journal. Readers find them in memory until the database has them.
fn write_journal(ledger: &mut Ledger, group: Vec<Work>) -> Result<(), StorageError> {
    let mut gathered = Vec::new();
    for work in group {
        if let Work::Append { rows, last, append } = work {
            gathered.extend(rows);
            ledger.last = last.or(ledger.last);
            ledger.journaled = Some(append);
        }
    }
    ledger.journal.write(gathered)
}

fn publish(shared: &Shared, changes: Changes) {
    let mut memory = shared.memory();
    if let Some(append) = changes.append {
        memory.tail.written(append);
    }
    memory.tail.removed(changes.truncations);
    if let Some(vote) = changes.vote {
        memory.vote = Some(vote);
    }
    drop(memory);
    if let Some(last) = changes.flushed {
        shared.applied().note_flushed(last);
    }
    if let Some(Installed { shadow, meta, machine }) = changes.installed {
        let mut applied = shared.applied();
        let old = applied.generation();
        applied.adopt(shadow.number(), &meta, machine);
        drop(applied);
        shadow.adopt();
        shared.memory().abandoned.push(old);
    }
}

/// A write transaction with the tables that it has opened so far.
struct Transaction<'txn, 'ledger> {
    shared: &'ledger Shared,
    txn: &'txn WriteTransaction,
    ledger: &'ledger mut Ledger,
    log: Option<NumbersTable<'txn>>,
    meta: Option<MetaTable<'txn>>,
    /// Whether it was asked to take along what is in memory alone.
    flush: bool,
    changes: Changes,
}

impl<'txn, 'ledger> Transaction<'txn, 'ledger> {
    fn new(
        shared: &'ledger Shared,
        txn: &'txn WriteTransaction,
        ledger: &'ledger mut Ledger,
    ) -> Self {
        let changes = Changes::default();
        Self { shared, txn, ledger, log: None, meta: None, flush: false, changes }
    }

    fn run(&mut self, work: &Work) -> Result<(), StorageError> {
        match work {
            Work::Append { rows, last, append } => self.append(rows, *last, *append),
            Work::Vote(vote) => self.vote(vote),
            Work::Truncate(last) => self.truncate_after(*last),
            Work::Purge(upto) => self.purge(*upto),
            Work::Receive(slice) => self.receive(slice),
            Work::Install { shadow, meta, end } => self.install(shadow, meta, end),
            Work::Flush(_) => {
                self.flush = true;
                Ok(())
            }
        }
    }

    /// Takes along what the journal holds, and names the epoch that begins with this commit.
    fn take_journal(&mut self) -> Result<(), StorageError> {
        let mut log = self.txn.open_table(LOG)?;
        for (index, row) in self.ledger.journal.rows() {
            log.insert(*index, row.as_slice())?;
        }
        self.log = Some(log);
        self.changes.append = self.ledger.journaled.take();
        let next = self.ledger.journal.next_epoch();
        tables::put_record(self.meta()?, tables::JOURNAL, &next)
    }

    fn append(
        &mut self,
        rows: &[LogRow],
        last: Option<LogId>,
        append: u64,
    ) -> Result<(), StorageError> {
        let log = self.log()?;
        for (index, row) in rows {
            log.insert(*index, row.as_slice())?;
        }
        self.ledger.last = last.or(self.ledger.last);
        self.changes.append = Some(append);
        Ok(())
    }

    fn vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        tables::put_record(self.meta()?, tables::VOTE, vote)?;
        self.changes.vote = Some(*vote);
        Ok(())
    }

    fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), StorageError> {
        let end = last.map_or(0, |last| last.index + 1);
        self.log()?.retain_in(end.., |_, _| false)?;
        if self.ledger.last.is_some_and(|kept| kept.index >= end) {
            self.ledger.last = last;
        }
        self.changes.truncations += 1;
        Ok(())
    }

    /// The entries to be purged must never be needed again, so their effects go to the disk in
    /// this transaction at the latest. A state machine that has applied nothing is let through:
    /// there is nothing that it could lose.
    fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        if index(self.ledger.flushed) < Some(upto.index) {
            let applied = self.shared.applied().last();
            if let Some(applied) = applied.filter(|applied| applied.index < upto.index) {
                let (upto, applied) = (upto.index, applied.index);
                return Err(StorageError::PurgePastApplied { upto, applied });
            }
            self.flush = true;
        }
        self.log()?.retain_in(..=upto.index, |_, _| false)?;
        tables::put_record(self.meta()?, tables::PURGED, &upto)?;
        if self.ledger.last.is_none_or(|last| last.index < upto.index) {
            self.ledger.last = Some(upto);
        }
        Ok(())
    }

    fn receive(&mut self, slice: &Slice) -> Result<(), StorageError> {
        let generation = Generation::named(slice.shadow.number());
        let mut rows = self.txn.open_table(generation.rows())?;
        for (key, row) in &slice.rows {
            rows.insert(&key[..], row.as_slice())?;
        }
        let mut sessions = self.txn.open_table(generation.sessions())?;
        for (id, row) in &slice.sessions {
            sessions.insert(*id, row.as_slice())?;
        }
        Ok(())
    }

    fn install(
        &mut self,
        shadow: &Arc<Shadow>,
        meta: &SnapshotMeta,
        end: &SnapshotEnd,
    ) -> Result<(), StorageError> {
        let generation = Generation::named(shadow.number());
        let rows = self.txn.open_table(generation.rows())?;
        assert_eq!(rows.len()?, end.rows, "the receiver counted the rows that it wrote");
        let sessions = self.txn.open_table(generation.sessions())?;
        let machine = generation::load_machine(&sessions, end)?;
        let row = MachineRow::of(shadow.number(), meta.last_log_id, &machine);
        tables::put_record(self.meta()?, tables::MACHINE, &row)?;
        tables::put_record(self.meta()?, tables::MEMBERSHIP, &meta.last_membership)?;
        self.ledger.flushed = meta.last_log_id;
        assert!(self.changes.installed.is_none(), "openraft waits for one install at a time");
        let (shadow, meta) = (shadow.clone(), meta.clone());
        self.changes.installed = Some(Installed { shadow, meta, machine });
        Ok(())
    }

    /// Writes what the operations left to be written once.
    ///
    /// The committed log id is written when there are other records to write, and when the log or
    /// the state machine on the disk reach that far: a restart re-applies the log up to it, and
    /// must find those entries. An older one costs a restart nothing but time.
    fn finish(mut self, durability: Durability) -> Result<Changes, StorageError> {
        // What an installed snapshot has replaced need not be written any more.
        if self.changes.installed.is_none()
            && let Some(cut) = self.cut(durability)
        {
            self.write_cut(cut)?;
        }
        let reach = self.log_reach().max(index(self.ledger.flushed));
        let committed = self.shared.memory().committed;
        let news = committed != self.ledger.committed && index(committed) <= reach;
        if let Some(meta) = self.meta.as_mut().filter(|_| news) {
            tables::put_record(meta, tables::COMMITTED, &committed)?;
            self.ledger.committed = committed;
        }
        Ok(self.changes)
    }

    /// What this transaction writes of the state machine: what it was asked to flush, or, as it is
    /// synced anyway, what has gathered. Entries that are applied while their append still waits
    /// for its turn are left to the next one, so that the state machine on the disk never passes
    /// the log.
    fn cut(&self, durability: Durability) -> Option<Cut> {
        let reach = self.log_reach();
        let mut applied = self.shared.applied();
        let due = durability == Durability::Synced
            && self.shared.flush_is_due(&applied)
            && index(applied.last()) <= reach;
        (self.flush || due).then(|| applied.cut())
    }

    fn write_cut(&mut self, cut: Cut) -> Result<(), StorageError> {
        let generation = Generation::named(cut.machine.generation);
        if !cut.rows.is_empty() {
            let mut rows: BytesTable<'_> = self.txn.open_table(generation.rows())?;
            for (key, change) in cut.rows {
                match change {
                    None => drop(rows.remove(&key[..])?),
                    Some(row) => {
                        let sealed = encoding::seal_hashed(&row.value, row.hash);
                        drop(rows.insert(&key[..], sealed.as_slice())?);
                    }
                }
            }
        }
        if !cut.sessions.is_empty() {
            let mut sessions: NumbersTable<'_> = self.txn.open_table(generation.sessions())?;
            for (SessionId(id), row) in cut.sessions {
                match row {
                    None => drop(sessions.remove(id)?),
                    Some(row) => {
                        let sealed = generation::seal_session(id, &row);
                        drop(sessions.insert(id, sealed.as_slice())?);
                    }
                }
            }
        }
        tables::put_record(self.meta()?, tables::MACHINE, &cut.machine)?;
        if let Some(membership) = cut.membership {
            tables::put_record(self.meta()?, tables::MEMBERSHIP, &membership)?;
        }
        self.ledger.flushed = cut.machine.applied;
        self.changes.flushed = cut.machine.applied;
        Ok(())
    }

    /// How far the log on the disk is the log that readers see. Behind a truncation that has not
    /// run yet they see others.
    fn log_reach(&self) -> Option<u64> {
        let last = index(self.ledger.last);
        let memory = self.shared.memory();
        memory.tail.unremoved().skip(self.changes.truncations).fold(last, Option::min)
    }

    fn log(&mut self) -> Result<&mut NumbersTable<'txn>, StorageError> {
        let log = match self.log.take() {
            Some(log) => log,
            None => self.txn.open_table(LOG)?,
        };
        Ok(self.log.insert(log))
    }

    fn meta(&mut self) -> Result<&mut MetaTable<'txn>, StorageError> {
        let meta = match self.meta.take() {
            Some(meta) => meta,
            None => self.txn.open_table(META)?,
        };
        Ok(self.meta.insert(meta))
    }
}

fn index(log_id: Option<LogId>) -> Option<u64> {
    log_id.map(|log_id| log_id.index)
}
