//! The trace: what happened inside the cluster, as the checks and the artifact see it.
//!
//! It is recorded by decorators around the storage and by looking at messages, never from
//! openraft's metrics, which miss short leaderships. `trace` is internal; what clients saw is the
//! [`history`](aspen_check::history). Nothing in an event depends on task or thread ids.

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// When, in microseconds of virtual time since the run began.
    pub time_us: u64,
    /// On which node (for a message: its sender; for a fault: whom it hit).
    pub node: NodeId,
    /// Which life of the node, counted from 1 at its first start; 0 for a message.
    pub incarnation: u32,
    /// What.
    #[serde(flatten)]
    pub kind: TraceKind,
}

/// Term and index of a log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The entry's index.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
}

/// A vote as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteMark {
    /// The term.
    pub term: u64,
    /// For whom.
    pub voted_for: NodeId,
    /// Whether a quorum is known to have granted it, which makes `voted_for` the term's leader.
    pub committed: bool,
}

/// A log entry, as far as the checks need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryMark {
    /// Where it stands.
    pub position: Position,
    /// A hash of its payload.
    pub payload: u64,
    /// The client session and sequence number that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<(u64, u64)>,
    /// The voters that it makes, for a membership entry: one set, or two while it is joint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voters: Option<Vec<Vec<NodeId>>>,
}

/// What a node's storage held when an incarnation opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The stored vote.
    pub vote: Option<VoteMark>,
    /// The last entry removed by a purge.
    pub purged: Option<Position>,
    /// The log from there on.
    pub entries: Vec<EntryMark>,
    /// The last entry that the stored state machine has applied.
    pub applied: Option<Position>,
    /// Whether redb had to repair the file, as it does after an unclean stop.
    pub repaired: bool,
}

/// Why an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The process was killed; the page cache lives on.
    Kill,
    /// The machine lost power; unsynced writes are at the disk's mercy.
    PowerFailure,
    /// A storage error stopped the node, as it must.
    StorageError,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TraceKind {
    /// An incarnation opened its storage.
    Started {
        /// What it found.
        recovered: Recovered,
    },
    /// An incarnation ended.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// A vote was reported durable.
    VoteSaved {
        /// The vote.
        vote: VoteMark,
    },
    /// Entries were handed to the log; they are readable, and durable when `Flushed` says so.
    Appended {
        /// The entries, ascending and without gaps.
        entries: Vec<EntryMark>,
    },
    /// The log was reported durable up to here.
    Flushed {
        /// The last durable entry.
        position: Position,
    },
    /// The log's tail was removed, and the removal handed over to reach the disk in one
    /// transaction with what is told next; behind `SnapshotInstalled` it has reached the disk
    /// with that, and what the snapshot covers is not counted as removed.
    Truncated {
        /// The last entry kept, or none.
        after: Option<Position>,
    },
    /// The log's head was removed and the removal reported durable.
    Purged {
        /// The last entry removed.
        upto: Position,
    },
    /// The node learned that the log is committed up to here.
    Committed {
        /// The last committed entry.
        position: Position,
    },
    /// The state machine applied one entry.
    Applied {
        /// The entry.
        entry: EntryMark,
        /// Digest of the keys and values after it.
        content: u64,
        /// Digest of the whole state machine after it.
        state: u64,
    },
    /// A snapshot was built.
    SnapshotBuilt {
        /// The last entry that it covers, if any.
        position: Option<Position>,
    },
    /// A snapshot replaced the state machine.
    SnapshotInstalled {
        /// The last entry that it covers.
        position: Position,
        /// Digest of the whole state machine after it.
        state: u64,
    },
    /// A message entered the network.
    Sent {
        /// The receiver.
        to: NodeId,
        /// The lane.
        lane: Lane,
        /// What it was, in few words, such as `append 3@17..20`.
        message: String,
    },
    /// A message reached its receiver.
    Delivered {
        /// The receiver.
        to: NodeId,
        /// The lane.
        lane: Lane,
        /// What it was.
        message: String,
    },
    /// A message was lost.
    Dropped {
        /// The receiver.
        to: NodeId,
        /// The lane.
        lane: Lane,
        /// What it was, and why it was lost.
        message: String,
    },
    /// The nemesis acted.
    Fault {
        /// What it did, with the targets as they were resolved.
        action: String,
    },
}

/// The events of one run, in the order in which they happened.
pub type Trace = [TraceEvent];
