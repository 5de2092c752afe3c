//! How a disk is configured and what the nemesis can do to it, as it stands in a schedule.
//!
//! Integers only: a schedule must mean the same on every machine.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A disk's law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskConfig {
    /// Shortest time that a synced transaction takes.
    pub sync_us_min: u64,
    /// Longest time that a synced transaction takes.
    pub sync_us_max: u64,
    /// How many bytes fit, or no limit.
    pub capacity_bytes: Option<u64>,
    /// The seed of the stream that the times are drawn from.
    pub seed: u64,
}

impl Default for DiskConfig {
    /// A decent solid-state disk without a limit.
    fn default() -> Self {
        Self { sync_us_min: 200, sync_us_max: 1_000, capacity_bytes: None, seed: 0 }
    }
}

/// A window of slow syncs: each takes `factor` times its drawn time, and `extra_us` more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowSync {
    /// By how much the drawn time is multiplied.
    pub factor: u64,
    /// What is added to it.
    pub extra_us: u64,
}

/// What an I/O error can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoOperation {
    /// Reading bytes.
    Read,
    /// Writing bytes or changing a file's length.
    Write,
    /// Syncing a file or the folder.
    Sync,
}

impl fmt::Display for IoOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoOperation::Read => "read",
            IoOperation::Write => "write",
            IoOperation::Sync => "sync",
        })
    }
}

/// One operation that will fail with an I/O error.
///
/// A failed write changes nothing. A failed sync forgets that its pages were dirty, as operating
/// systems do: of each unsynced page the seed says whether it reached the platter, is only in the
/// cache (readers see it until the power fails), or was evicted (readers see the old content at
/// once). A later sync that succeeds does not bring them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoFault {
    /// Which kind of operation.
    pub operation: IoOperation,
    /// How many operations of that kind pass before it.
    pub skip: u64,
    /// What a failed sync does to its pages.
    pub seed: u64,
}

/// A disk that reports syncs it did not finish: one in `one_in` forgets one of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lie {
    /// How often; 1 is always. 0 counts as 1.
    pub one_in: u64,
    /// Which syncs and which writes.
    pub seed: u64,
}

/// From where a [`Death`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeathFrom {
    /// From now on.
    Now,
    /// From the next mount on: how a crash inside recovery is scheduled.
    NextMount,
}

/// A death at an operation.
///
/// Counted are the operations that change something: writes, changes of length, syncs, and the
/// folder's creations, renames, removals and syncs. A write in which the disk dies is cut: the
/// seed says how many of its sectors still entered the cache. A sync in which it dies made
/// nothing durable; how much of it survives is the power failure's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// From where the operations are counted.
    pub from: DeathFrom,
    /// How many operations still succeed.
    pub after_operations: u64,
    /// How the last operation is cut.
    pub seed: u64,
}

/// What becomes of the transaction that waits for its sync when a kill or a power failure lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InFlight {
    /// It never started.
    Dropped,
    /// It runs against a disk that dies after so many operations; when it has fewer, it completes,
    /// and whoever waits for it is told so.
    DiesAfter {
        /// How many operations still succeed.
        operations: u64,
    },
}
