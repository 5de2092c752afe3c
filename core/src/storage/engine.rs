//! One storage transaction, from its operations to its commit.
//!
//! The writer hands over a group of operations; they run in order inside one redb transaction,
//! and what they changed is published to [`Memory`](super::shared::Memory) once it has committed.
//! Synchronous on purpose: the volume decides on which thread it runs.
//!
//! A transaction that fails leaves the ledger ahead of the disk. That is no harm: after the first
//! error nothing runs any more.

use std::sync::Arc;

use openraft::EntryPayload;
use redb::{Durability as RedbDurability, ReadableTableMetadata, WriteTransaction};

use crate::command::{Reply, SessionId};
use crate::machine::Machine;
use crate::machine::digest::Digests;
use crate::storage::error::StorageError;
use crate::storage::generation::{self, Generation};
use crate::storage::shared::{Shadow, Shared};
use crate::storage::snapshot::SnapshotEnd;
use crate::storage::tables::{self, LOG, META, MachineRow, MetaTable, NumbersTable, RowsTable};
use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership, Vote};
use crate::volume::Durability;

/// An operation, without its callback.
pub(crate) enum Work {
    /// Writes log entries: sealed rows under their indexes.
    Append { rows: Vec<(u64, Vec<u8>)>, last: Option<LogId>, append: u64 },
    /// Writes the vote.
    Vote(Vote),
    /// Removes the log's entries after this one.
    Truncate(Option<LogId>),
    /// Removes the log's entries up to this one.
    Purge(LogId),
    /// Applies entries.
    Apply(Vec<Entry>),
    /// Writes a part of a received snapshot.
    Receive(Slice),
    /// Makes a received snapshot the state machine.
    Install { shadow: Arc<Shadow>, meta: SnapshotMeta, end: SnapshotEnd },
    /// Makes durable whatever is visible.
    Flush,
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
            Work::Apply(_) | Work::Receive(_) => Durability::Visible,
            Work::Append { .. }
            | Work::Vote(_)
            | Work::Truncate(_)
            | Work::Purge(_)
            | Work::Install { .. }
            | Work::Flush => Durability::Synced,
        }
    }
}

/// The storage as the running transaction sees it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) machine: Machine,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) generation: u64,
    /// The last log id in the database, or the last purged.
    pub(crate) last: Option<LogId>,
    /// The committed log id in the database.
    pub(crate) committed: Option<LogId>,
}

/// What a transaction changed, for the readers to see after its commit.
#[derive(Default)]
struct Changes {
    replies: Vec<Vec<Reply>>,
    digests: Vec<(u64, Digests)>,
    append: Option<u64>,
    vote: Option<Vote>,
    membership: bool,
    machine: bool,
    adopted: Option<Arc<Shadow>>,
}

/// Runs a group of operations as one transaction. Gives the replies of each apply among them, in
/// order.
///
/// # Errors
/// The first thing that went wrong; nothing of the group is visible then, and nothing may run
/// after it.
pub(crate) fn run(
    shared: &Shared,
    durability: Durability,
    group: &[Work],
) -> Result<Vec<Vec<Reply>>, StorageError> {
    let mut ledger = shared.ledger();
    let mut txn = shared.begin_write()?;
    if durability == Durability::Visible {
        txn.set_durability(RedbDurability::None)?;
    }
    let mut transaction = Transaction::new(&txn, &mut ledger);
    for work in group {
        transaction.run(work)?;
    }
    let committed = shared.memory().committed;
    let changes = transaction.finish(committed)?;
    txn.commit()?;
    Ok(publish(shared, &ledger, changes))
}

fn publish(shared: &Shared, ledger: &Ledger, changes: Changes) -> Vec<Vec<Reply>> {
    let mut memory = shared.memory();
    if let Some(append) = changes.append {
        memory.tail.written(append);
    }
    if let Some(vote) = changes.vote {
        memory.vote = Some(vote);
    }
    if changes.machine {
        let applied = &mut memory.applied;
        applied.last = ledger.applied;
        applied.log_time = ledger.machine.log_time();
        applied.sessions = ledger.machine.sessions().len();
        if changes.membership {
            applied.membership = ledger.membership.clone();
        }
        for (index, digests) in changes.digests {
            applied.remember(index, digests);
        }
    }
    if let Some(shadow) = changes.adopted {
        shadow.adopt();
        let old = std::mem::replace(&mut memory.applied.generation, shadow.number());
        memory.abandoned.push(old);
    }
    changes.replies
}

/// A write transaction with the tables that it has opened so far.
struct Transaction<'txn, 'ledger> {
    txn: &'txn WriteTransaction,
    ledger: &'ledger mut Ledger,
    log: Option<NumbersTable<'txn>>,
    meta: Option<MetaTable<'txn>>,
    rows: Option<RowsTable<'txn>>,
    changes: Changes,
}

impl<'txn, 'ledger> Transaction<'txn, 'ledger> {
    fn new(txn: &'txn WriteTransaction, ledger: &'ledger mut Ledger) -> Self {
        Self { txn, ledger, log: None, meta: None, rows: None, changes: Changes::default() }
    }

    fn run(&mut self, work: &Work) -> Result<(), StorageError> {
        match work {
            Work::Append { rows, last, append } => self.append(rows, *last, *append),
            Work::Vote(vote) => self.vote(vote),
            Work::Truncate(last) => self.truncate_after(*last),
            Work::Purge(upto) => self.purge(*upto),
            Work::Apply(entries) => self.apply(entries),
            Work::Receive(slice) => self.receive(slice),
            Work::Install { shadow, meta, end } => self.install(shadow, meta, end),
            Work::Flush => Ok(()),
        }
    }

    fn append(
        &mut self,
        rows: &[(u64, Vec<u8>)],
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
        Ok(())
    }

    /// This transaction is durable, and with it every apply before it; so what counts as persisted
    /// is what the ledger has applied. A state machine that has applied nothing is let through:
    /// there is nothing that it could lose.
    fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        if let Some(applied) = self.ledger.applied.filter(|applied| applied.index < upto.index) {
            let (upto, applied) = (upto.index, applied.index);
            return Err(StorageError::PurgePastApplied { upto, applied });
        }
        self.log()?.retain_in(..=upto.index, |_, _| false)?;
        tables::put_record(self.meta()?, tables::PURGED, &upto)?;
        if self.ledger.last.is_none_or(|last| last.index < upto.index) {
            self.ledger.last = Some(upto);
        }
        Ok(())
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), StorageError> {
        self.open_rows()?;
        let rows = self.rows.as_mut().expect("opened one line above");
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = entry.log_id.index;
            if let Some(applied) = self.ledger.applied.filter(|applied| applied.index >= index) {
                return Err(StorageError::ApplyOrder { index, applied: applied.index });
            }
            self.ledger.applied = Some(entry.log_id);
            replies.push(match &entry.payload {
                EntryPayload::Blank => Reply::Done,
                EntryPayload::Normal(proposal) => {
                    self.ledger.machine.apply(rows, index, proposal)?
                }
                EntryPayload::Membership(membership) => {
                    let log_id = Some(entry.log_id);
                    self.ledger.membership = StoredMembership::new(log_id, membership.clone());
                    self.changes.membership = true;
                    Reply::Done
                }
            });
            self.changes.digests.push((index, self.ledger.machine.digests()));
        }
        self.changes.machine = true;
        self.changes.replies.push(replies);
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
        self.store_sessions()?;
        self.rows = None;
        let generation = Generation::named(shadow.number());
        let rows = self.txn.open_table(generation.rows())?;
        assert_eq!(rows.len()?, end.rows, "the receiver counted the rows that it wrote");
        let sessions = self.txn.open_table(generation.sessions())?;
        let machine = generation::load_machine(&sessions, end)?;
        self.ledger.machine = machine;
        self.ledger.generation = shadow.number();
        self.ledger.applied = meta.last_log_id;
        self.ledger.membership = meta.last_membership.clone();
        self.changes.machine = true;
        self.changes.membership = true;
        let index = meta.last_log_id.map_or(0, |log_id| log_id.index);
        self.changes.digests.push((index, self.ledger.machine.digests()));
        assert!(self.changes.adopted.is_none(), "openraft waits for one install at a time");
        self.changes.adopted = Some(shadow.clone());
        Ok(())
    }

    /// Writes what the operations left to be written once.
    ///
    /// The committed log id rides along when the log or the state machine on the disk reach that
    /// far: a restart re-applies the log up to it, and must find those entries.
    fn finish(mut self, committed: Option<LogId>) -> Result<Changes, StorageError> {
        if self.changes.machine {
            self.store_sessions()?;
            let row = self.ledger.machine_row();
            tables::put_record(self.meta()?, tables::MACHINE, &row)?;
        }
        if self.changes.membership {
            let membership = self.ledger.membership.clone();
            tables::put_record(self.meta()?, tables::MEMBERSHIP, &membership)?;
        }
        let index = |log_id: Option<LogId>| log_id.map(|log_id| log_id.index);
        let reach = index(self.ledger.last).max(index(self.ledger.applied));
        let reached = index(committed) <= reach;
        if reached && committed != self.ledger.committed {
            tables::put_record(self.meta()?, tables::COMMITTED, &committed)?;
            self.ledger.committed = committed;
        }
        Ok(self.changes)
    }

    fn store_sessions(&mut self) -> Result<(), StorageError> {
        let changes = self.ledger.machine.sessions_mut().take_changes();
        if changes.is_empty() {
            return Ok(());
        }
        let generation = Generation::named(self.ledger.generation);
        let mut sessions = self.txn.open_table(generation.sessions())?;
        for (SessionId(id), row) in changes {
            match row {
                None => drop(sessions.remove(id)?),
                Some(row) => {
                    drop(sessions.insert(id, generation::seal_session(id, &row).as_slice())?)
                }
            }
        }
        Ok(())
    }

    fn open_rows(&mut self) -> Result<(), StorageError> {
        if self.rows.is_none() {
            let generation = Generation::named(self.ledger.generation);
            self.rows = Some(RowsTable(self.txn.open_table(generation.rows())?));
        }
        Ok(())
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

impl Ledger {
    /// The record that `meta` keeps of the state machine.
    pub(crate) fn machine_row(&self) -> MachineRow {
        MachineRow {
            generation: self.generation,
            applied: self.applied,
            log_time: self.machine.log_time(),
            content: self.machine.content(),
            sessions: self.machine.sessions().digest(),
        }
    }
}
