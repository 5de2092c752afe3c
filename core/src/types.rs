//! The words that every module shares: who a node is, what time the log tells, and openraft's
//! type configuration.
//!
//! openraft runs here with `leader_id_std`: at most one leader a term, as in the Raft paper, so
//! that the textbook's properties can be checked as they are written.

use std::fmt;
use std::marker::PhantomData;

use openraft::OptionalSend;
use serde::{Deserialize, Serialize};

use crate::command::{Proposal, Reply};
use crate::runtime::Runtime;

/// The identity of a node in a cluster. Never reused for another machine.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl From<u64> for NodeId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The log's own time, in milliseconds since the Unix epoch.
///
/// The leader stamps each proposal from [`Runtime::wall_clock`]; the state machine keeps the
/// maximum it has applied, so that expiry is a function of the log alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogTime {
    /// Milliseconds since the Unix epoch.
    pub ms: u64,
}

impl LogTime {
    /// The time `ms` milliseconds after the Unix epoch.
    pub fn from_ms(ms: u64) -> Self {
        Self { ms }
    }
}

/// openraft's type configuration, generic over the world it runs in.
pub struct RaftConfig<R>(PhantomData<fn() -> R>);

impl<R: Runtime> openraft::RaftTypeConfig for RaftConfig<R> {
    type D = Proposal;
    type R = Reply;
    type NodeId = NodeId;
    type Node = openraft::BasicNode;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Proposal, NodeId, openraft::BasicNode>;
    type Entry =
        openraft::Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = R;
    type Responder<T>
        = openraft::impls::ProgressResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// The log id that every runtime shares: a term and an index.
pub type LogId = openraft::LogId<CommittedLeaderId>;
/// The part of a leader's identity that a committed entry keeps: its term.
pub type CommittedLeaderId = <openraft::impls::leader_id_std::LeaderId<u64, NodeId> as openraft::vote::RaftLeaderId>::Committed;
/// A vote: a term, for whom, and whether a quorum has granted it.
pub type Vote = openraft::impls::Vote<openraft::impls::leader_id_std::LeaderId<u64, NodeId>>;
/// A log entry.
pub type Entry = openraft::Entry<
    CommittedLeaderId,
    openraft::EntryPayload<Proposal, NodeId, openraft::BasicNode>,
>;
/// A membership together with the log id that set it.
pub type StoredMembership =
    openraft::StoredMembership<CommittedLeaderId, NodeId, openraft::BasicNode>;
/// What a snapshot covers: the last log id applied and the membership at that point.
pub type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, NodeId, openraft::BasicNode>;
/// A snapshot: what it covers, and its data.
pub type Snapshot<D> = openraft::Snapshot<CommittedLeaderId, NodeId, openraft::BasicNode, D>;

// The derives would ask the same of `R`, which carries no data.
impl<R> fmt::Debug for RaftConfig<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RaftConfig")
    }
}
impl<R> Clone for RaftConfig<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for RaftConfig<R> {}
impl<R> Default for RaftConfig<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<R> PartialEq for RaftConfig<R> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}
impl<R> Eq for RaftConfig<R> {}
impl<R> PartialOrd for RaftConfig<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<R> Ord for RaftConfig<R> {
    fn cmp(&self, _other: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
