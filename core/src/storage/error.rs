//! What can go wrong in the storage. Every one of these is final: after the first, every later
//! operation fails with the same error, because a database whose disk failed once cannot be
//! trusted to hold what it shows.

use std::io;
use std::sync::Arc;

use crate::storage::encoding::DecodeError;

/// A storage error. Cheap to clone, because the first one answers everything that comes later.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// redb, or the disk below it, failed.
    #[error("the database failed: {0}")]
    Database(Arc<redb::Error>),
    /// The disk below the journal failed.
    #[error("the journal failed: {0}")]
    Journal(Arc<io::Error>),
    /// A record of the journal cannot be read, and one behind it can: no crash does that.
    #[error("the journal is damaged: record {record} cannot be read, and a later one can")]
    JournalDamaged {
        /// The record's number since the database last took the journal's rows.
        record: u32,
    },
    /// A row's checksum does not fit what the row holds.
    #[error("the row {key} of the table {table} is damaged: its checksum does not fit")]
    Damaged {
        /// The table.
        table: String,
        /// The key, as text where it is text.
        key: String,
    },
    /// A row's checksum fits and its record cannot be read.
    #[error("the row {key} of the table {table} cannot be read: {reason}")]
    Unreadable {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// Why.
        reason: DecodeError,
    },
    /// Entries were appended that do not follow the last one.
    #[error("an append at index {index} does not follow the log's last index {last}")]
    Gap {
        /// The first index appended.
        index: u64,
        /// The log's last index.
        last: u64,
    },
    /// The log misses an entry that it must hold.
    #[error("the log holds no entry {index}, in a read of {first} to {last}")]
    Hole {
        /// The missing index.
        index: u64,
        /// The first index read.
        first: u64,
        /// The last index read.
        last: u64,
    },
    /// A purge would remove entries that the persisted state machine still needs.
    #[error("a purge up to {upto} passes the persisted state machine, which has applied {applied}")]
    PurgePastApplied {
        /// The last index to purge.
        upto: u64,
        /// The last index applied.
        applied: u64,
    },
    /// Entries were applied that do not come after the last one.
    #[error("an apply of index {index} does not follow the applied index {applied}")]
    ApplyOrder {
        /// The entry's index.
        index: u64,
        /// The last index applied.
        applied: u64,
    },
    /// A digest differs from the one recomputed from the rows.
    #[error("the {what} digest is {stored:016x}, recomputed from the rows it is {computed:016x}")]
    Digest {
        /// Which digest.
        what: &'static str,
        /// The running one.
        stored: u64,
        /// The recomputed one.
        computed: u64,
    },
    /// The volume gave a transaction back without having run it.
    #[error("the volume did not run a transaction")]
    NotRun,
    /// The storage was closed, or its writer has ended with its runtime.
    #[error("the storage is closed")]
    Closed,
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        io::Error::other(error)
    }
}

/// The journal is the one file that the storage itself reads and writes.
impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        Self::Journal(Arc::new(error))
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for StorageError {
            fn from(error: $error) -> Self {
                Self::Database(Arc::new(error.into()))
            }
        })*
    };
}

from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);
