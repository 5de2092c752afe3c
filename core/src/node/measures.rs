//! What an operator measures: numbers of this node, and of its followers where it leads.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::Instant;
use openraft::async_runtime::watch::WatchReceiver;

use super::{Machine, Node};
use crate::runtime::Runtime;
use crate::transport::Transport;
use crate::types::NodeId;

/// Numbers of a node at one moment, as it knows them itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measures {
    /// The current term.
    pub term: u64,
    /// The node taken for the leader.
    pub leader: Option<NodeId>,
    /// Whether it has stopped, for good.
    pub stopped: bool,
    /// How many voters the cluster has; none before the node has heard of a cluster.
    pub voters: usize,
    /// Index of the last log entry.
    pub last_log: Option<u64>,
    /// Index of the last entry known to be committed.
    pub committed: Option<u64>,
    /// Index of the last entry applied.
    pub applied: Option<u64>,
    /// Index of the last entry that the latest snapshot covers.
    pub snapshot: Option<u64>,
    /// Index of the last entry removed from the log's head.
    pub purged: Option<u64>,
    /// On the leader: the last entry that each other node is known to have.
    pub matched: BTreeMap<NodeId, Option<u64>>,
    /// On the leader: how long ago it asked what a quorum has answered since; `None` elsewhere, and
    /// before the first answer.
    pub quorum_answered: Option<Duration>,
    /// Sessions that are open.
    pub sessions: usize,
}

impl<R, T, SM> Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    /// Reads the numbers, without asking anyone.
    pub fn measures(&self) -> Measures {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let others = metrics.replication.iter().flatten();
        let others = others.filter(|(id, _)| **id != self.inner.config.id);
        Measures {
            term: metrics.current_term,
            leader: metrics.current_leader,
            stopped: metrics.running_state.is_err() || self.inner.failure.get().is_some(),
            voters: metrics.membership_config.membership().voter_ids().count(),
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.map(|log_id| log_id.index),
            applied: metrics.last_applied.map(|log_id| log_id.index),
            snapshot: metrics.snapshot.map(|log_id| log_id.index),
            purged: metrics.purged.map(|log_id| log_id.index),
            matched: others.map(|(id, last)| (*id, last.map(|last| last.index))).collect(),
            quorum_answered: metrics.last_quorum_acked.as_ref().map(|asked| asked.elapsed()),
            sessions: self.inner.store.sessions(),
        }
    }
}
