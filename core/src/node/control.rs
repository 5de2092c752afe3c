//! The control plane: the cluster's birth, its membership and its leadership.

use std::collections::{BTreeMap, BTreeSet};

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};

use super::{Machine, Node};
use crate::api::{
    ClusterController, ClusterState, ControlBody, ControlError, ControlRequest, ControlResponse,
};
use crate::codec::{self, Request, Response};
use crate::limits;
use crate::runtime::Runtime;
use crate::transport::{Lane, Transport, TransportError};
use crate::types::{NodeId, RaftConfig};

impl<R, T, SM> ClusterController for Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    async fn init(&self, voters: BTreeMap<NodeId, String>) -> Result<(), ControlError> {
        limits::check("voters", voters.len(), limits::VOTERS_MAX)?;
        let voters: BTreeMap<NodeId, BasicNode> =
            voters.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
        match self.inner.raft.initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(error)) => Err(ControlError::Rejected(error.to_string())),
            Err(RaftError::Fatal(fatal)) => Err(ControlError::Stopped(fatal.to_string())),
        }
    }

    async fn add_learner(&self, node: NodeId, address: String) -> Result<(), ControlError> {
        let known = self.current_state();
        let members: BTreeSet<NodeId> =
            known.voters.iter().flatten().chain(&known.learners).chain([&node]).copied().collect();
        limits::check("peers", members.len(), limits::PEERS_MAX)?;
        let added = self.inner.raft.add_learner(node, BasicNode::new(address), true).await;
        added.map(drop).map_err(control_error)
    }

    async fn remove_learner(&self, node: NodeId) -> Result<(), ControlError> {
        let known = self.current_state();
        // A node that does not lead may know an old membership; the leader is asked then.
        if known.leader == Some(self.inner.config.id) && !known.learners.contains(&node) {
            let votes = known.voters.iter().any(|voters| voters.contains(&node));
            let what = if votes { "votes" } else { "is no member" };
            return Err(ControlError::Rejected(format!("node {node} {what}; expected a learner")));
        }
        // openraft itself rejects the removal of a node that votes by then.
        let removal = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        let removed = self.inner.raft.change_membership(removal, true).await;
        removed.map(drop).map_err(control_error)
    }

    async fn change_membership(&self, voters: BTreeSet<NodeId>) -> Result<(), ControlError> {
        limits::check("voters", voters.len(), limits::VOTERS_MAX)?;
        let changed = self.inner.raft.change_membership(voters, false).await;
        changed.map(drop).map_err(control_error)
    }

    async fn transfer_leader(&self, to: NodeId) -> Result<(), ControlError> {
        let state = self.current_state();
        if state.leader != Some(self.inner.config.id) {
            return Err(ControlError::NotLeader { leader: state.leader });
        }
        if !state.voters.iter().any(|voters| voters.contains(&to)) {
            return Err(ControlError::Rejected(format!("node {to} is not a voter")));
        }
        let triggered = self.inner.raft.trigger().transfer_leader(to).await;
        triggered.map_err(|fatal| ControlError::Stopped(fatal.to_string()))
    }

    async fn snapshot(&self) -> Result<(), ControlError> {
        let triggered = self.inner.raft.trigger().snapshot().await;
        triggered.map_err(|fatal| ControlError::Stopped(fatal.to_string()))
    }

    fn current_state(&self) -> ClusterState {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        ClusterState {
            id: metrics.id,
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log_index: metrics.last_log_index,
            committed_index: metrics.local_committed.map(|log_id| log_id.index),
            applied_index: metrics.last_applied.map(|log_id| log_id.index),
            snapshot_index: metrics.snapshot.map(|log_id| log_id.index),
            voters: membership.get_joint_config().clone(),
            learners: membership.learner_ids().collect(),
            addresses: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl<R, T, SM> Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    /// Serves an operator's request here, or where the leader is.
    pub(super) async fn serve_control(&self, request: ControlRequest) -> ControlResponse {
        let ControlRequest { forwarded, body } = request;
        let done = match body.clone() {
            ControlBody::Init { voters } => self.init(voters).await,
            ControlBody::AddLearner { node, address } => self.add_learner(node, address).await,
            ControlBody::RemoveLearner { node } => self.remove_learner(node).await,
            ControlBody::ChangeMembership { voters } => self.change_membership(voters).await,
            ControlBody::TransferLeader { to } => self.transfer_leader(to).await,
            ControlBody::Snapshot => self.snapshot().await,
            ControlBody::State => return ControlResponse::State(self.current_state()),
        };
        match done {
            Ok(()) => ControlResponse::Done,
            Err(ControlError::NotLeader { leader: Some(leader) })
                if !forwarded && leader != self.inner.config.id =>
            {
                self.forward_control(leader, body).await
            }
            Err(error) => ControlResponse::Failed(error),
        }
    }

    async fn forward_control(&self, leader: NodeId, body: ControlBody) -> ControlResponse {
        let request = Request::<R>::Control(ControlRequest { forwarded: true, body });
        let failed = |error: String| ControlResponse::Failed(ControlError::Unknown(error));
        let frame = match codec::encode(&request) {
            Ok(frame) => frame,
            Err(error) => return failed(error.to_string()),
        };
        self.learn_members();
        match self.inner.transport.call(leader, Lane::Client, frame).await {
            Ok(answer) => match codec::decode::<Response<R>>(&answer) {
                Ok(Response::Control(response)) => response,
                Ok(_) => failed("the leader answered another request".to_owned()),
                Err(error) => failed(error.to_string()),
            },
            Err(TransportError::Unreachable { .. } | TransportError::Refused { .. }) => {
                ControlResponse::Failed(ControlError::NotLeader { leader: Some(leader) })
            }
            Err(error) => failed(error.to_string()),
        }
    }
}

fn control_error<R: Runtime>(
    error: RaftError<RaftConfig<R>, ClientWriteError<RaftConfig<R>>>,
) -> ControlError {
    match error {
        RaftError::APIError(
            ClientWriteError::ForwardToLeader(forward)
            | ClientWriteError::LogEntryDiscarded(forward),
        ) => ControlError::NotLeader { leader: forward.leader_id },
        RaftError::APIError(other) => ControlError::Rejected(other.to_string()),
        RaftError::Fatal(fatal) => ControlError::Stopped(fatal.to_string()),
    }
}
