//! Every limit of the core, in one place, with its unit in its name.
//!
//! Whatever passes a limit gets an error that names it ([`LimitExceeded`]). The limits hold
//! together: the largest legal entry fits an append batch, and that batch fits a message.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest key.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// Longest value.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Most keys in one multi-key write.
pub const MULTI_KEYS_MAX: usize = 100;
/// Most bytes (keys and values) in one multi-key write.
pub const MULTI_BYTES_MAX: usize = 4 << 20;
/// Most entries in one append batch.
pub const APPEND_ENTRIES_MAX: usize = 1000;
/// Most bytes of entries in one append batch; a single larger entry travels alone.
pub const APPEND_BYTES_MAX: usize = 4 << 20;
/// Most rows in one scan page.
pub const SCAN_ROWS_MAX: usize = 10_000;
/// Most bytes in one scan page.
pub const SCAN_BYTES_MAX: usize = 4 << 20;
/// Longest frame that a transport carries.
pub const MESSAGE_BYTES_MAX: usize = 10 << 20;
/// Most connections that an endpoint accepts at once.
pub const CONNECTIONS_MAX: usize = 500;
/// Most connections at once that have not proven yet who they are.
pub const STRANGERS_MAX: usize = 100;
/// Most calls of one connection that are served at once; long ones count for several.
pub const CALLS_MAX: usize = 1024;
/// Most streams that a peer may have open on one connection.
pub const STREAMS_MAX: u32 = 100;
/// A connection is established within this, or given up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream of a connection is opened within this, or given up.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// The first message of a stream arrives within this, or the stream is reset.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Size of a chunk of a snapshot.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;
/// Most voters in a cluster.
pub const VOTERS_MAX: usize = 64;
/// Most peers that a node keeps connections to.
pub const PEERS_MAX: usize = 64;
/// Most client sessions open at once; opening one more is refused.
pub const SESSIONS_MAX: usize = 4096;
/// Longest time a session may ask to live without a request.
pub const SESSION_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A learner that is being added is waited for this long.
pub const CATCH_UP_PATIENCE: Duration = Duration::from_secs(60);
/// How often a leader lets the log's time pass while sessions exist and nothing is written.
pub const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// So long the news that entries are committed wait for entries to go along with.
pub const COMMIT_WAIT: Duration = Duration::from_millis(2);
/// Most operations that the storage loop takes into one transaction.
pub const GROUP_COMMIT_OPS_MAX: usize = 1024;
/// Most rows that one slice of a dropped generation removes.
pub const DROP_SLICE_ROWS: usize = 4096;
/// How many applied entries gather in memory before an append takes their effects to the disk,
/// unless a storage is configured otherwise.
pub const FLUSH_AFTER_ENTRIES: u64 = 16_384;
/// How many bytes of applied rows, sessions included, gather in memory before an append takes them
/// to the disk.
pub const MEMTABLE_BYTES_MAX: usize = 4 << 20;
/// The journal's length, unless a storage is configured otherwise: a thousand small appends.
pub const JOURNAL_BYTES: u64 = 512 << 10;
/// Longest group of appends that goes to the journal; longer ones go to the database at once.
pub const JOURNAL_GROUP_BYTES_MAX: usize = 64 << 10;
/// Most operations that wait for the storage loop before their callers do.
pub const STORAGE_QUEUE_OPS_MAX: usize = 4096;
/// Most log entries kept in memory once they are in the database.
pub const LOG_CACHE_ENTRIES_MAX: usize = 4096;
/// Most bytes of log entries kept in memory once they are in the database.
pub const LOG_CACHE_BYTES_MAX: usize = 16 << 20;
/// How many applied entries the digests of the state machine are remembered for.
pub const DIGESTS_KEPT: usize = 4096;
/// redb's page cache.
pub const CACHE_BYTES: usize = 64 << 20;

/// A request passed one of the limits of this module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what} is {actual}, the limit is {limit}")]
pub struct LimitExceeded {
    /// What was measured, with its unit, such as "key bytes".
    pub what: String,
    /// The measured size.
    pub actual: u64,
    /// The largest size allowed.
    pub limit: u64,
}

/// Checks one size against its limit.
///
/// # Errors
/// [`LimitExceeded`] that names `what`, when `actual` is larger than `limit`.
pub fn check(what: &str, actual: usize, limit: usize) -> Result<(), LimitExceeded> {
    if actual <= limit {
        return Ok(());
    }
    Err(LimitExceeded { what: what.to_owned(), actual: actual as u64, limit: limit as u64 })
}
