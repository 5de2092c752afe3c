//! What every handle of one storage shares: the database, and what memory knows of it.
//!
//! [`Memory`] is what readers see. It changes when an operation is accepted (the log's tail) or
//! when its transaction has committed (everything else). The [`Ledger`]
//! is what the running transaction sees; only one runs at a time.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::limits;
use crate::machine::digest::Digests;
use crate::storage::engine::Ledger;
use crate::storage::error::StorageError;
use crate::storage::tail::Tail;
use crate::types::{LogId, LogTime, StoredMembership, Vote};

const UNPOISONED: &str = "nothing panics while it holds this lock";

/// One storage.
pub(crate) struct Shared {
    /// `None` once the storage is closed.
    database: RwLock<Option<Database>>,
    memory: Mutex<Memory>,
    ledger: Mutex<Ledger>,
    repaired: bool,
}

/// What readers see.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The log.
    pub(crate) tail: Tail,
    /// The durable vote.
    pub(crate) vote: Option<Vote>,
    /// The last log id known to be committed; the disk may know an older one.
    pub(crate) committed: Option<LogId>,
    /// The state machine.
    pub(crate) applied: Applied,
    /// The first error; the answer to everything that comes after it.
    pub(crate) failure: Option<StorageError>,
    /// Generations that nobody will install and that are still to be dropped.
    pub(crate) abandoned: Vec<u64>,
    /// The number for the next generation to be received.
    pub(crate) next_generation: u64,
}

/// What readers see of the state machine.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// The generation that holds the rows.
    pub(crate) generation: u64,
    /// The last entry applied.
    pub(crate) last: Option<LogId>,
    /// The last membership applied.
    pub(crate) membership: StoredMembership,
    /// The largest time that a proposal carried.
    pub(crate) log_time: LogTime,
    /// How many sessions are open.
    pub(crate) sessions: usize,
    /// The digests after the latest entries, ascending.
    pub(crate) digests: VecDeque<(u64, Digests)>,
}

impl Applied {
    /// Remembers the digests after one more entry.
    pub(crate) fn remember(&mut self, index: u64, digests: Digests) {
        if self.digests.len() == limits::DIGESTS_KEPT {
            self.digests.pop_front();
        }
        self.digests.push_back((index, digests));
    }

    /// The digests after the entries of a range, as far as they are remembered.
    pub(crate) fn digests(&self, range: RangeInclusive<u64>) -> Vec<(u64, Digests)> {
        let from = self.digests.partition_point(|(index, _)| index < range.start());
        let rest = self.digests.iter().skip(from);
        rest.take_while(|(index, _)| index <= range.end()).copied().collect()
    }
}

impl Shared {
    pub(crate) fn new(database: Database, memory: Memory, ledger: Ledger, repaired: bool) -> Self {
        Self {
            database: RwLock::new(Some(database)),
            memory: Mutex::new(memory),
            ledger: Mutex::new(ledger),
            repaired,
        }
    }

    /// Whether redb repaired the file when it was opened.
    pub(crate) fn repaired(&self) -> bool {
        self.repaired
    }

    /// What readers see. Hold it for a moment only.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect(UNPOISONED)
    }

    /// What the running transaction sees. Locked before [`memory`](Shared::memory), never after.
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

    /// Begins a read transaction. Whoever wants it to fit to what [`Memory`] says calls this while
    /// holding the memory's lock: no transaction can publish in between.
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
