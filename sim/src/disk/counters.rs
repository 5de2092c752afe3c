//! What a disk has been through, so that a run can tell whether its chaos did anything.

use serde::{Deserialize, Serialize};

/// Counts since the disk was built. Operations count when they took effect, in full or in part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskCounters {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Changes of a file's length.
    pub resizes: u64,
    /// Syncs of a file.
    pub syncs: u64,
    /// Syncs of the folder.
    pub folder_syncs: u64,
    /// Transactions that ran after the time of their sync.
    pub jobs_synced: u64,
    /// Transactions that ran at once.
    pub jobs_visible: u64,
    /// Syncs that were slower than configured.
    pub slow_syncs: u64,
    /// Mounts.
    pub mounts: u64,
    /// Mounts that followed a kill or a power failure.
    pub recoveries: u64,
    /// Kills.
    pub kills: u64,
    /// Power failures.
    pub power_failures: u64,
    /// Times the disk died in the middle of an operation.
    pub deaths: u64,
    /// Transactions in flight that were run against a dying disk.
    pub jobs_cut: u64,
    /// Transactions that were queued or in flight and never ran.
    pub jobs_dropped: u64,
    /// Unsynced writes of which nothing survived a power failure.
    pub lost_writes: u64,
    /// Unsynced writes of which some sectors survived a power failure and some did not, and
    /// writes that a death cut.
    pub torn_writes: u64,
    /// Sectors lost in power failures.
    pub lost_sectors: u64,
    /// Changes of a file's length that a power failure undid.
    pub lost_resizes: u64,
    /// Creations, renames and removals that a power failure undid.
    pub lost_folder_changes: u64,
    /// Reads that failed with an injected I/O error.
    pub read_errors: u64,
    /// Writes and changes of length that failed with an injected I/O error.
    pub write_errors: u64,
    /// Syncs, of files and of the folder, that failed with an injected I/O error.
    pub sync_errors: u64,
    /// Pages that a failed or lying sync forgot.
    pub forgotten_pages: u64,
    /// Operations that failed because the disk was full.
    pub full_hits: u64,
    /// Operations of fenced handles.
    pub fenced_operations: u64,
}
