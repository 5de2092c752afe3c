//! Opening a storage, and creating it first where there is none.
//!
//! redb's own creation does not survive a crash, so a new database is made under a temporary name,
//! filled with its first records, closed, and only then given its name. A file that carries the
//! name is therefore always a whole database, and one that is not means that the disk lost data:
//! the storage refuses to open, rather than to begin anew and forget its vote.
//!
//! The journal is made before the database names its epoch. What the last life left in it goes into
//! the database before anybody reads that.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::type_config::TypeConfigExt;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    TableHandle,
};

use crate::limits;
use crate::runtime::Runtime;
use crate::storage::applied::Applied;
use crate::storage::engine::Ledger;
use crate::storage::error::StorageError;
use crate::storage::generation::{self, Generation};
use crate::storage::journal::{self, Journal, JournalRow, LogRow};
use crate::storage::log::LogStore;
use crate::storage::queue::Queue;
use crate::storage::shared::{Memory, Recovered, Shared};
use crate::storage::snapshot::SnapshotEnd;
use crate::storage::state_machine::StateMachine;
use crate::storage::store::Store;
use crate::storage::tables::{self, LOG, META, MachineRow};
use crate::storage::tail::Tail;
use crate::storage::writer::Writer;
use crate::storage::{Storage, StorageConfig};
use crate::types::{Entry, RaftConfig};
use crate::volume::Volume;

/// The database's name in its volume.
pub const DATABASE: &str = "aspen.redb";
/// The journal's name in its volume.
pub const JOURNAL: &str = "aspen.journal";
/// The name of a database that is being created.
pub const UNFINISHED: &str = "aspen.redb.new";

const FIRST_GENERATION: u64 = 1;
const FIRST_EPOCH: u64 = 1;

/// Why a storage cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The volume refused something.
    #[error("{what} {name}: {source}")]
    Volume {
        /// What was tried.
        what: &'static str,
        /// On which file.
        name: &'static str,
        /// The volume's error.
        source: io::Error,
    },
    /// redb cannot open the file.
    #[error("opening {DATABASE}: {0}")]
    Database(#[from] redb::DatabaseError),
    /// The file is there and empty, or a database without our records in it.
    #[error("{DATABASE} exists and is no database of ours: {reason}")]
    Foreign {
        /// What is missing.
        reason: &'static str,
    },
    /// The database has a journal, and the volume has none, or another.
    #[error(
        "{JOURNAL} is {found}, expected the one of {expected} bytes that belongs to {DATABASE}: the \
         last entries of the log may be in it"
    )]
    JournalLost {
        /// What is there.
        found: String,
        /// Its length, in bytes.
        expected: u64,
    },
    /// The volume has a journal and no database.
    #[error("{DATABASE} is gone: {JOURNAL}, which belongs to it, is there")]
    DatabaseLost,
    /// Reading what the database holds, or writing its first records, failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Opens the storage in a volume, creating it if there is none, and starts its writer on the
/// runtime that this is called in.
///
/// # Errors
/// [`OpenError`].
pub fn open<R: Runtime, V: Volume>(
    volume: Arc<V>,
    config: &StorageConfig,
) -> Result<Storage<R>, OpenError> {
    let (database, repaired) = open_database(&*volume)?;
    let journal = open_journal(&*volume, &database, config.journal_bytes)?;
    let recovered = recover(&database, journal)?;
    let shared = Arc::new(Shared::new(database, recovered, config, repaired));
    let (sender, receiver) = RaftConfig::<R>::mpsc(limits::STORAGE_QUEUE_OPS_MAX);
    let queue = Queue(sender);
    let writer = Writer::<R, V>::new(shared.clone(), volume, receiver);
    drop(RaftConfig::<R>::spawn(writer.run()));
    Ok(Storage {
        log: LogStore::new(shared.clone(), queue.clone()),
        machine: StateMachine::new(shared.clone(), queue.clone()),
        store: Store::new(shared, queue),
    })
}

fn on_volume<T>(
    what: &'static str,
    name: &'static str,
    result: io::Result<T>,
) -> Result<T, OpenError> {
    result.map_err(|source| OpenError::Volume { what, name, source })
}

/// Opens the database, and says whether redb repaired it.
fn open_database<V: Volume>(volume: &V) -> Result<(Database, bool), OpenError> {
    on_volume("removing", UNFINISHED, volume.remove(UNFINISHED))?;
    let backend = match on_volume("opening", DATABASE, volume.open(DATABASE))? {
        Some(backend) => backend,
        None => {
            // The database is there before its journal is made.
            if on_volume("opening", JOURNAL, volume.open(JOURNAL))?.is_some() {
                return Err(OpenError::DatabaseLost);
            }
            create(volume)?;
            let created = on_volume("opening", DATABASE, volume.open(DATABASE))?;
            created.ok_or(OpenError::Foreign { reason: "it vanished after its creation" })?
        }
    };
    // Also for a name that was there: a life that was killed may have left it unsynced, and nothing
    // may be acknowledged in a database whose name a loss of power takes back.
    on_volume("syncing the folder of", DATABASE, volume.sync_folder())?;
    if on_volume("measuring", DATABASE, backend.len())? == 0 {
        return Err(OpenError::Foreign { reason: "it is empty" });
    }
    let repaired = Arc::new(AtomicBool::new(false));
    let noted = repaired.clone();
    let database = Database::builder()
        .set_cache_size(limits::CACHE_BYTES)
        .set_repair_callback(move |_| noted.store(true, Ordering::Relaxed))
        .create_with_backend(backend)?;
    Ok((database, repaired.load(Ordering::Relaxed)))
}

/// Makes an empty database under its temporary name, then gives it its own, which is not yet
/// durable.
fn create<V: Volume>(volume: &V) -> Result<(), OpenError> {
    let backend = on_volume("creating", UNFINISHED, volume.create(UNFINISHED))?;
    let database =
        Database::builder().set_cache_size(limits::CACHE_BYTES).create_with_backend(backend)?;
    write_first_records(&database)?;
    // Dropping closes it, with a clean header.
    drop(database);
    on_volume("renaming", UNFINISHED, volume.rename(UNFINISHED, DATABASE))
}

fn write_first_records(database: &Database) -> Result<(), StorageError> {
    let txn = database.begin_write()?;
    let generation = Generation::named(FIRST_GENERATION);
    txn.open_table(LOG)?;
    txn.open_table(generation.rows())?;
    txn.open_table(generation.sessions())?;
    let row = MachineRow { generation: FIRST_GENERATION, ..MachineRow::default() };
    tables::put_record(&mut txn.open_table(META)?, tables::MACHINE, &row)?;
    Ok(txn.commit()?)
}

/// Opens the journal at the beginning of an epoch, with all that it held in the database.
fn open_journal<V: Volume>(
    volume: &V,
    database: &Database,
    bytes: u64,
) -> Result<Journal, OpenError> {
    let Some(row) = read_journal_row(database)? else {
        // A new database, or one of a build that had no journal.
        let file = on_volume("creating", JOURNAL, volume.create(JOURNAL))?;
        on_volume("preparing", JOURNAL, journal::prepare(&file, bytes))?;
        on_volume("syncing the folder of", JOURNAL, volume.sync_folder())?;
        let row = JournalRow { epoch: FIRST_EPOCH, bytes };
        begin_epoch(database, row, &[])?;
        return Ok(Journal::new(Box::new(file), row));
    };
    let lost = |found| OpenError::JournalLost { found, expected: row.bytes };
    let file = on_volume("opening", JOURNAL, volume.open(JOURNAL))?;
    let file = file.ok_or_else(|| lost("gone".to_owned()))?;
    let found = on_volume("measuring", JOURNAL, file.len())?;
    if found != row.bytes {
        return Err(lost(format!("{found} bytes long")));
    }
    let rows = journal::read(&file, row.epoch)?;
    let mut journal = Journal::new(Box::new(file), row);
    if rows.is_empty() {
        return Ok(journal);
    }
    begin_epoch(database, journal.next_epoch(), &rows)?;
    journal.turn();
    Ok(journal)
}

/// What the database knows of its journal, if it has one.
fn read_journal_row(database: &Database) -> Result<Option<JournalRow>, OpenError> {
    let txn = database.begin_read().map_err(StorageError::from)?;
    Ok(tables::record(&open_records(&txn)?, tables::JOURNAL)?)
}

/// Begins an epoch, with what the one before has left.
fn begin_epoch(database: &Database, row: JournalRow, rows: &[LogRow]) -> Result<(), StorageError> {
    let txn = database.begin_write()?;
    let mut log = txn.open_table(LOG)?;
    for (index, row) in rows {
        let last = log.last()?.map(|(last, _)| last.value());
        if let Some(last) = last.filter(|last| last + 1 != *index) {
            return Err(StorageError::Gap { index: *index, last });
        }
        log.insert(*index, row.as_slice())?;
    }
    drop(log);
    tables::put_record(&mut txn.open_table(META)?, tables::JOURNAL, &row)?;
    Ok(txn.commit()?)
}

/// The table of records, which every database of ours has.
fn open_records(
    txn: &ReadTransaction,
) -> Result<ReadOnlyTable<&'static str, &'static [u8]>, OpenError> {
    let foreign = |_| OpenError::Foreign { reason: "it has no table of ours" };
    txn.open_table(META).map_err(foreign)
}

/// Reads what memory needs to know.
fn recover(database: &Database, journal: Journal) -> Result<Recovered, OpenError> {
    let txn = database.begin_read().map_err(StorageError::from)?;
    let meta = open_records(&txn)?;
    let machine: Option<MachineRow> = tables::record(&meta, tables::MACHINE)?;
    let machine = machine.ok_or(OpenError::Foreign { reason: "it has no state machine" })?;
    Ok(recover_records(&txn, &meta, &machine, journal)?)
}

fn recover_records(
    txn: &ReadTransaction,
    meta: &ReadOnlyTable<&'static str, &'static [u8]>,
    machine: &MachineRow,
    journal: Journal,
) -> Result<Recovered, StorageError> {
    let tail = recover_tail(txn, meta)?;
    let sessions = txn.open_table(Generation::named(machine.generation).sessions())?;
    let applied = Applied::new(
        machine.generation,
        machine.applied,
        tables::record(meta, tables::MEMBERSHIP)?.unwrap_or_default(),
        generation::load_machine(&sessions, &SnapshotEnd::of(machine, 0, 0))?,
    );
    let committed = tables::record(meta, tables::COMMITTED)?.flatten();
    let (last, flushed) = (tail.last(), machine.applied);
    let ledger = Ledger { last, committed, flushed, journal, journaled: None };
    let generations = generations(txn)?;
    let memory = Memory {
        tail,
        vote: tables::record(meta, tables::VOTE)?,
        committed,
        failure: None,
        next_generation: generations.last().copied().unwrap_or(FIRST_GENERATION) + 1,
        abandoned: generations.into_iter().filter(|one| *one != machine.generation).collect(),
    };
    Ok(Recovered { memory, applied, ledger })
}

/// The log's bounds.
fn recover_tail(
    txn: &ReadTransaction,
    meta: &ReadOnlyTable<&'static str, &'static [u8]>,
) -> Result<Tail, StorageError> {
    let log = txn.open_table(LOG)?;
    let purged = tables::record(meta, tables::PURGED)?;
    let after_purged = purged.map_or(0, |purged: crate::types::LogId| purged.index + 1);
    let Some((index, row)) = log.last()? else {
        return Ok(Tail::new(after_purged, purged, purged));
    };
    let key = tables::number_key(index.value());
    let last: Entry = tables::unseal_record(LOG.name(), &key, row.value())?;
    let first = log.first()?.map_or(after_purged, |(index, _)| index.value());
    Ok(Tail::new(first, Some(last.log_id), purged))
}

/// Every generation that has a table.
fn generations(txn: &ReadTransaction) -> Result<BTreeSet<u64>, StorageError> {
    let tables = txn.list_tables()?;
    Ok(tables.filter_map(|table| Generation::of_table(table.name())).collect())
}
