//! The storage: log, vote and state machine in one redb file, and a journal in front of it.
//!
//! [`open()`] finds or creates the database in a [`Volume`](crate::Volume) and starts the one task
//! that writes to it. What it gives are three handles to the same storage: [`LogStore`] and
//! [`StateMachine`] are openraft's, [`Store`] is for everybody who reads.
//!
//! Boxes, in the order in which a write passes them:
//!
//! ```text
//! LogStore, StateMachine, SnapshotReceiver → queue → writer → volume → engine → redb, journal
//!                  └─── tail, memory, applied ←─────────────── publish ┘
//! ```
//!
//! An entry is appended by a transaction and applied in memory; what has been applied is flushed
//! by a later transaction, many entries at once. Three kinds of transaction: a small append alone
//! goes to the journal; everything else goes to the database, either synced (log, vote, purge,
//! install), and then it takes along what the journal holds, or visible at once and durable with the
//! database's next synced one (parts of snapshots, the flush before a snapshot is taken). So what a
//! crash leaves of the log and the vote is always a prefix of what was done; of the rest it may
//! leave less, which the log makes up for. Every error is final: after the first, everything fails
//! with it, because a database whose disk has failed once cannot be trusted.
//!
//! Left out: recovery on a disk that lost what it had synced. The checksums of rows and the running
//! digests make that visible; nothing here repairs it.

mod applied;
pub mod encoding;
mod engine;
mod error;
mod generation;
mod journal;
mod log;
mod memtable;
mod open;
mod queue;
mod receive;
mod shared;
mod snapshot;
mod sole_voter;
mod state_machine;
mod store;
mod tables;
mod tail;
mod writer;

pub use error::StorageError;
pub use log::LogStore;
pub use open::{DATABASE, JOURNAL, OpenError, UNFINISHED, open};
pub use receive::{ReceivedSnapshot, SnapshotCheck, SnapshotError, SnapshotReceiver};
pub use snapshot::{ChunkError, OutgoingSnapshot, SnapshotData};
pub use sole_voter::Holdings;
pub use state_machine::{SnapshotBuilder, StateMachine};
pub use store::Store;

use crate::limits;
use crate::runtime::Runtime;

/// What can be chosen of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// How many applied entries gather in memory before an append takes their effects to the
    /// disk. A restart re-applies at most four times as many, and one batch of
    /// [`limits::APPEND_ENTRIES_MAX`]. From 1.
    pub flush_after_entries: u64,
    /// The journal's length in bytes. A journal that is there keeps its own.
    pub journal_bytes: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let journal_bytes = limits::JOURNAL_BYTES;
        Self { flush_after_entries: limits::FLUSH_AFTER_ENTRIES, journal_bytes }
    }
}

/// An open storage.
pub struct Storage<R: Runtime> {
    /// Log and vote, for openraft.
    pub log: LogStore<R>,
    /// The state machine, for openraft.
    pub machine: StateMachine<R>,
    /// What has been applied, for readers.
    pub store: Store<R>,
}
