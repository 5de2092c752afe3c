//! What every handle of one storage shares: the database, and what memory knows of it.
//!
//! [`Memory`] is what readers see of the log. It changes when an operation is accepted (the log's
//! tail) or when its transaction has committed (everything else). [`Applied`] is the state machine;
//! it changes when entries are applied and when a snapshot has been installed. The [`Ledger`] is
//! what the running transaction sees; only one runs at a time.
//!
//! The ledger is locked before the others. Memory and applied are never locked together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::limits;
use crate::storage::StorageConfig;
use crate::storage::applied::Applied;
use crate::storage::engine::Ledger;
use crate::storage::error::StorageError;
use crate::storage::tail::Tail;
use crate::types::{LogId, Vote};

const UNPOISONED: &str = "nothing panics while it holds this lock";

/// One storage.
pub(crate) struct Shared {
    /// `None` once the storage is closed.
    database: RwLock<Option<Database>>,
    memory: Mutex<Memory>,
    applied: Mutex<Applied>,
    ledger: Mutex<Ledger>,
    flush_after_entries: u64,
    repaired: bool,
}

/// What a storage begins with.
pub(crate) struct Recovered {
    pub(crate) memory: Memory,
    pub(crate) applied: Applied,
    pub(crate) ledger: Ledger,
}

/// What readers see, but for the state machine.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The log.
    pub(crate) tail: Tail,
    /// The durable vote.
    pub(crate) vote: Option<Vote>,
    /// The last log id known to be committed; the disk may know an older one.
    pub(crate) committed: Option<LogId>,
    /// The first error; the answer to everything that comes after it.
    pub(crate) failure: Option<StorageError>,
    /// Generations that nobody will install and that are still to be dropped.
    pub(crate) abandoned: Vec<u64>,
    /// The number for the next generation to be received.
    pub(crate) next_generation: u64,
}

impl Shared {
    pub(crate) fn new(
        database: Database,
        recovered: Recovered,
        config: &StorageConfig,
        repaired: bool,
    ) -> Self {
        let Recovered { memory, applied, ledger } = recovered;
        Self {
            database: RwLock::new(Some(database)),
            memory: Mutex::new(memory),
            applied: Mutex::new(applied),
            ledger: Mutex::new(ledger),
            flush_after_entries: config.flush_after_entries,
            repaired,
        }
    }

    /// Whether redb repaired the file when it was opened.
    pub(crate) fn repaired(&self) -> bool {
        self.repaired
    }

    /// What readers see, but for the state machine. Hold it for a moment only.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect(UNPOISONED)
    }

    /// The state machine.
    pub(crate) fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().expect("an apply that panicked ended its node")
    }

    /// Whether enough has been applied in memory alone for the next synced transaction to take it
    /// along.
    pub(crate) fn flush_is_due(&self, applied: &Applied) -> bool {
        applied.has_unflushed(self.flush_after_entries, limits::MEMTABLE_BYTES_MAX)
    }

    /// Whether so much has been applied in memory alone that the next apply has to wait.
    pub(crate) fn flush_is_overdue(&self, applied: &Applied) -> bool {
        const PATIENCE: u64 = 4;
        let entries = self.flush_after_entries.saturating_mul(PATIENCE);
        applied.has_unflushed(entries, limits::MEMTABLE_BYTES_MAX * PATIENCE as usize)
    }

    /// What the running transaction sees.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("a transaction that panicked ended its node")
    }

    /// Fails if anything failed before.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.memory().failure.clone().map_or(Ok(()), Err)
    }

    /// Remembers an error, unless an earlier one is remembered already; gives the one that counts.
    pub(crate) fn fail(&self, error: StorageError) -> StorageError {
        self.memory().failure.get_or_insert(error).clone()
    }

    /// Passes a result on and remembers its error.
    pub(crate) fn guard<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        result.map_err(|error| self.fail(error))
    }

    /// Begins a read transaction. Whoever wants it to fit to what [`Memory`] or [`Applied`] say
    /// calls this while holding that lock: no transaction can publish in between.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, StorageError> {
        let database = self.database.read().expect(UNPOISONED);
        Ok(database.as_ref().ok_or(StorageError::Closed)?.begin_read()?)
    }

    /// Begins the one write transaction.
    pub(crate) fn begin_write(&self) -> Result<WriteTransaction, StorageError> {
        let database = self.database.read().expect(UNPOISONED);
        Ok(database.as_ref().ok_or(StorageError::Closed)?.begin_write()?)
    }

    /// Closes the database; every later operation fails with [`StorageError::Closed`].
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        self.fail(StorageError::Closed);
        let database = self.database.write().expect(UNPOISONED).take();
        drop(database);
        Ok(())
    }
}

/// A generation that is being received. When the last holder lets go of it before it was adopted,
/// it is abandoned, and the writer drops its tables.
///
/// The operations that write into it hold it too, so it cannot be abandoned before they have run.
pub(crate) struct Shadow {
    shared: Arc<Shared>,
    number: u64,
    adopted: AtomicBool,
}

impl Shadow {
    /// Begins a new generation.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let mut memory = shared.memory();
        let number = memory.next_generation;
        memory.next_generation += 1;
        drop(memory);
        Self { shared: shared.clone(), number, adopted: AtomicBool::new(false) }
    }

    /// The generation's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether this generation belongs to `shared`.
    pub(crate) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Notes that the generation is the current one now.
    pub(crate) fn adopt(&self) {
        self.adopted.store(true, Ordering::Relaxed);
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if !*self.adopted.get_mut() {
            self.shared.memory().abandoned.push(self.number);
        }
    }
}
