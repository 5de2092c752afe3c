//! The two planes of a node: [`KeyValueStore`] for data, [`ClusterController`] for the cluster,
//! and the requests of the data plane as they travel.
//!
//! Errors say what the client may conclude of **one delivery** of its request. Only
//! [`ClientError::Unknown`] leaves open whether it took effect. A transport may deliver a call
//! twice, though, and a client may have tried before: what a client concludes of its operation is
//! the worst that it may conclude of any delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::command::{Command, Key, Proposal, Refusal, Reply, SessionStamp, Value};
use crate::limits::{self, LimitExceeded};
use crate::types::NodeId;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// As of some moment between the request and its answer, confirmed by a quorum (ReadIndex).
    #[default]
    Linearizable,
    /// Whatever the asked node has applied.
    Stale,
}

/// A request of the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRequest {
    /// Whether a follower sent this on to the leader; it is not sent on again.
    pub forwarded: bool,
    /// What to do.
    pub body: ClientBody,
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientBody {
    /// Changes the state.
    Write {
        /// Session and sequence number, so that a retry takes effect once.
        stamp: Option<SessionStamp>,
        /// The change.
        command: Command,
    },
    /// Reads one key.
    Get {
        /// The key.
        key: Key,
        /// How fresh.
        consistency: Consistency,
    },
    /// Reads the keys that begin with a prefix.
    Scan {
        /// Which.
        scan: Scan,
        /// How fresh.
        consistency: Consistency,
    },
}

/// Which keys to scan, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// All keys that begin with this; empty: all keys.
    pub prefix: Key,
    /// Only keys after this one: the continuation of an earlier page.
    pub after: Option<Key>,
    /// Most rows wanted, at most [`limits::SCAN_ROWS_MAX`].
    pub limit: u64,
}

/// One page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanPage {
    /// Keys and values, ascending.
    pub rows: Vec<(Key, Value)>,
    /// Whether more rows follow; then the next page begins after the last key of this one.
    pub more: bool,
}

/// A write that took effect, or that the state machine answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The index of its log entry.
    pub index: u64,
    /// The state machine's answer.
    pub reply: Reply,
}

/// The answer to a [`ClientRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientResponse {
    /// To a write.
    Written(Written),
    /// To a get.
    Value(Option<Value>),
    /// To a scan.
    Page(ScanPage),
    /// To any request.
    Failed(ClientError),
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ClientError {
    /// This node does not lead and may not or cannot forward. Nothing happened.
    #[error("not the leader{}", .leader.map(|id| format!("; node {id} may be")).unwrap_or_default())]
    NotLeader {
        /// Whom the node takes for the leader.
        leader: Option<NodeId>,
    },
    /// The write may have taken effect, or may still.
    #[error("the outcome is unknown: {reason}")]
    Unknown {
        /// What was seen.
        reason: String,
    },
    /// The node could not serve the request. Nothing happened.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// What was seen.
        reason: String,
    },
    /// The request passes a limit. Nothing happened.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The state machine refused the write. Nothing happened.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl ClientBody {
    /// Checks the request against [`limits`].
    ///
    /// # Errors
    /// [`LimitExceeded`] that names the first limit passed.
    pub fn check_limits(&self) -> Result<(), LimitExceeded> {
        match self {
            ClientBody::Write { command, .. } => command.check_limits(),
            ClientBody::Get { key, .. } => {
                limits::check("key bytes", key.len(), limits::KEY_BYTES_MAX)
            }
            ClientBody::Scan { scan, .. } => {
                limits::check("prefix bytes", scan.prefix.len(), limits::KEY_BYTES_MAX)?;
                limits::check("scan rows", scan.limit as usize, limits::SCAN_ROWS_MAX)
            }
        }
    }

    /// Whether the request changes the state.
    pub fn is_write(&self) -> bool {
        matches!(self, ClientBody::Write { .. })
    }
}

/// The data plane.
pub trait KeyValueStore: Send + Sync {
    /// Changes the state through the log.
    ///
    /// # Errors
    /// See [`ClientError`].
    fn write(
        &self,
        stamp: Option<SessionStamp>,
        command: Command,
    ) -> impl Future<Output = Result<Written, ClientError>> + Send;

    /// Reads one key.
    ///
    /// # Errors
    /// See [`ClientError`].
    fn read(
        &self,
        key: Key,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Option<Value>, ClientError>> + Send;

    /// Reads one page of the keys that begin with a prefix.
    ///
    /// # Errors
    /// See [`ClientError`].
    fn scan(
        &self,
        scan: Scan,
        consistency: Consistency,
    ) -> impl Future<Output = Result<ScanPage, ClientError>> + Send;
}

/// A request of the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRequest {
    /// Whether a follower sent this on to the leader; it is not sent on again.
    pub forwarded: bool,
    /// What to do.
    pub body: ControlBody,
}

/// What an operator may ask; [`ClusterController`] says what each does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlBody {
    /// Makes a new cluster. The asked node does it.
    Init {
        /// The voters and their addresses.
        voters: BTreeMap<NodeId, String>,
    },
    /// Adds a learner and waits until it has caught up.
    AddLearner {
        /// The learner.
        node: NodeId,
        /// Its address.
        address: String,
    },
    /// Makes these nodes the voters.
    ChangeMembership {
        /// The voters.
        voters: BTreeSet<NodeId>,
    },
    /// Hands the leadership over.
    TransferLeader {
        /// To whom.
        to: NodeId,
    },
    /// Takes a snapshot. The asked node does it.
    Snapshot,
    /// Says what it knows. The asked node does it.
    State,
    /// Removes a learner.
    RemoveLearner {
        /// The learner.
        node: NodeId,
    },
}

/// The answer to a [`ControlRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlResponse {
    /// It is done.
    Done,
    /// To `State`.
    State(ClusterState),
    /// To any request.
    Failed(ControlError),
}

/// What a node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// The answering node.
    pub id: NodeId,
    /// Its term.
    pub term: u64,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// Index of its last log entry.
    pub last_log_index: Option<u64>,
    /// Index of the last entry that it knows to be committed.
    pub committed_index: Option<u64>,
    /// Index of the last entry applied.
    pub applied_index: Option<u64>,
    /// Index of the last entry that its snapshot covers.
    pub snapshot_index: Option<u64>,
    /// The voters: one set, or two while the membership changes.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// The learners.
    pub learners: BTreeSet<NodeId>,
    /// Where the members are, as the membership says. Whoever asks another node is told where they
    /// have said to be since, as far as that node has heard.
    pub addresses: BTreeMap<NodeId, String>,
}

/// Why the cluster could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ControlError {
    /// This node does not lead.
    #[error("not the leader{}", .leader.map(|id| format!("; node {id} may be")).unwrap_or_default())]
    NotLeader {
        /// Whom the node takes for the leader.
        leader: Option<NodeId>,
    },
    /// The change passes a limit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The change is not allowed in the cluster's present state.
    #[error("{0}")]
    Rejected(String),
    /// The node has stopped.
    #[error("the node has stopped: {0}")]
    Stopped(String),
    /// The leader was asked, and gave no answer: it may have been done, or may still be.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// The control plane.
pub trait ClusterController: Send + Sync {
    /// Makes a new cluster of these voters, by node and address. Once in a cluster's life.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn init(
        &self,
        voters: BTreeMap<NodeId, String>,
    ) -> impl Future<Output = Result<(), ControlError>> + Send;

    /// Adds a node that receives the log and does not vote, and waits until it answers and has the
    /// log up to the entry that added it, for [`limits::CATCH_UP_PATIENCE`].
    ///
    /// # Errors
    /// See [`ControlError`]; a voter, or a learner at another address, is rejected. `Unknown` says
    /// that it was added and has not caught up.
    fn add_learner(
        &self,
        node: NodeId,
        address: String,
    ) -> impl Future<Output = Result<(), ControlError>> + Send;

    /// Removes a node that does not vote; it receives nothing more.
    ///
    /// # Errors
    /// See [`ControlError`]; a voter, or a node that is no member, is rejected.
    fn remove_learner(&self, node: NodeId)
    -> impl Future<Output = Result<(), ControlError>> + Send;

    /// Makes these nodes, all of them learners or voters now, the voters.
    ///
    /// # Errors
    /// See [`ControlError`]; new voters that do not answer or lag are rejected, and so are voters of
    /// which no quorum answers.
    fn change_membership(
        &self,
        voters: BTreeSet<NodeId>,
    ) -> impl Future<Output = Result<(), ControlError>> + Send;

    /// Has the leader hand its leadership to another voter, and waits until that one leads.
    ///
    /// # Errors
    /// See [`ControlError`]; a node that is no voter or does not answer is rejected. `Unknown` says
    /// that it was asked and does not lead yet.
    fn transfer_leader(&self, to: NodeId) -> impl Future<Output = Result<(), ControlError>> + Send;

    /// Takes a snapshot of what the node has applied, and lets the log before it go.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn snapshot(&self) -> impl Future<Output = Result<(), ControlError>> + Send;

    /// What this node knows of the cluster.
    fn current_state(&self) -> ClusterState;
}

/// The proposal of a write, stamped with the proposing leader's clock.
pub(crate) fn proposal<R: crate::Runtime>(
    stamp: Option<SessionStamp>,
    command: Command,
) -> Proposal {
    Proposal { time: R::wall_clock(), stamp, command }
}
