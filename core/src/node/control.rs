//! The control plane: the cluster's birth, its membership and its leadership.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::type_config::TypeConfigExt;
use openraft::{BasicNode, ChangeMembers, RaftMetrics};

use super::{Machine, Node};
use crate::api::{
    ClusterController, ClusterState, ControlBody, ControlError, ControlRequest, ControlResponse,
};
use crate::codec::{self, Request, Response};
use crate::limits;
use crate::runtime::Runtime;
use crate::transport::{Lane, Transport, TransportError};
use crate::types::{LogId, NodeId, RaftConfig};

/// Whether something is decided, and how; or why it is not yet.
type Checked = ControlFlow<Result<(), ControlError>, ControlError>;

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
        // A node that does not lead may know an old membership; the leader is asked then.
        if known.leader == Some(self.inner.config.id) {
            can_be_added(&known, node, &address)?;
        }
        // openraft's own way of waiting takes a node that never answered for one that keeps up.
        let added = self.inner.raft.add_learner(node, BasicNode::new(address), false).await;
        let added = added.map_err(control_error)?.log_id;
        self.until(limits::CATCH_UP_PATIENCE, |metrics| self.has_caught_up(metrics, node, added))
            .await
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
        self.until(self.inner.config.election_max, |metrics| self.can_vote(metrics, &voters))
            .await?;
        let changed = self.inner.raft.change_membership(voters, false).await;
        changed.map(drop).map_err(control_error)
    }

    async fn transfer_leader(&self, to: NodeId) -> Result<(), ControlError> {
        let state = self.current_state();
        if state.leader != Some(self.inner.config.id) {
            return Err(ControlError::NotLeader { leader: state.leader });
        }
        // openraft would wait for itself, and take no writes until it is restarted.
        if to == self.inner.config.id {
            return Ok(());
        }
        if !state.voters.iter().any(|voters| voters.contains(&to)) {
            return Err(ControlError::Rejected(format!("node {to} is not a voter")));
        }
        let is_there = self.answering(&self.inner.raft.metrics().borrow_watched()).contains(&to);
        if !is_there {
            return Err(ControlError::Rejected(format!("node {to} has not answered lately")));
        }
        let triggered = self.inner.raft.trigger().transfer_leader(to).await;
        triggered.map_err(|fatal| ControlError::Stopped(fatal.to_string()))?;
        let leads = |metrics: &RaftMetrics<RaftConfig<R>>| {
            if metrics.current_leader == Some(to) {
                return ControlFlow::Break(Ok(()));
            }
            let reason = format!("node {to} was asked to lead and does not do so yet");
            ControlFlow::Continue(ControlError::Unknown(reason))
        };
        self.until(2 * self.inner.config.election_max, leads).await
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
    /// Waits until a check of the metrics is decided; gives why it was not when the time is over.
    async fn until(
        &self,
        patience: Duration,
        check: impl Fn(&RaftMetrics<RaftConfig<R>>) -> Checked,
    ) -> Result<(), ControlError> {
        let deadline = RaftConfig::<R>::now() + patience;
        let mut metrics = self.inner.raft.metrics();
        loop {
            let checked = check(&metrics.borrow_watched());
            let undecided = match checked {
                ControlFlow::Break(decided) => return decided,
                ControlFlow::Continue(undecided) => undecided,
            };
            match R::timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ControlError::Stopped("it was told to".to_owned())),
                Err(_elapsed) => return Err(undecided),
            }
        }
    }

    /// Whether a learner answers and has the log up to the entry that added it.
    fn has_caught_up(
        &self,
        metrics: &RaftMetrics<RaftConfig<R>>,
        node: NodeId,
        added: LogId,
    ) -> Checked {
        let Some(replication) = &metrics.replication else {
            return ControlFlow::Break(Err(ControlError::NotLeader {
                leader: metrics.current_leader,
            }));
        };
        let matched = replication.get(&node).copied().flatten();
        if matched >= Some(added) && self.answering(metrics).contains(&node) {
            return ControlFlow::Break(Ok(()));
        }
        let has = matched.map_or("nothing of the log".to_owned(), |log_id| {
            format!("the log to {} of {}", log_id.index, added.index)
        });
        let reason = format!("node {node} is a learner now, and has {has} yet");
        ControlFlow::Continue(ControlError::Unknown(reason))
    }

    /// Whether a cluster of these voters could go on: those that are new have caught up, and a
    /// quorum answers. Without one, no other change could undo this one.
    fn can_vote(&self, metrics: &RaftMetrics<RaftConfig<R>>, voters: &BTreeSet<NodeId>) -> Checked {
        // openraft tells who leads, and which nodes are no members.
        let Some(replication) = &metrics.replication else { return ControlFlow::Break(Ok(())) };
        let rejected = |reason| ControlFlow::Continue(ControlError::Rejected(reason));
        let mut there = self.answering(metrics);
        there.insert(self.inner.config.id);
        let membership = metrics.membership_config.membership();
        let old: BTreeSet<NodeId> = membership.voter_ids().collect();
        for node in voters.difference(&old) {
            let Some(matched) = replication.get(node) else { continue };
            if !there.contains(node) {
                return rejected(format!("node {node} has not answered lately"));
            }
            let (has, last) = (matched.map_or(0, |log_id| log_id.index), metrics.last_log_index);
            let lag = last.unwrap_or(0).saturating_sub(has);
            if lag > limits::APPEND_ENTRIES_MAX as u64 {
                return rejected(format!("node {node} has not caught up: it lacks {lag} entries"));
            }
        }
        let answer = voters.intersection(&there).count();
        if answer * 2 <= voters.len() {
            let all = voters.len();
            return rejected(format!("of {all} voters only {answer} have answered lately"));
        }
        ControlFlow::Break(Ok(()))
    }

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
            ControlBody::State => {
                let mut state = self.current_state();
                for address in state.addresses.values_mut() {
                    *address = self.inner.transport.whereabouts(address);
                }
                return ControlResponse::State(state);
            }
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

/// Whether the membership has no other place for this node.
fn can_be_added(known: &ClusterState, node: NodeId, address: &str) -> Result<(), ControlError> {
    if known.voters.iter().any(|voters| voters.contains(&node)) {
        return Err(ControlError::Rejected(format!("node {node} votes already")));
    }
    match known.addresses.get(&node) {
        Some(there) if there != address => {
            let reason = format!("node {node} is a learner already, at {there}; remove it first");
            Err(ControlError::Rejected(reason))
        }
        Some(_) | None => Ok(()),
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
