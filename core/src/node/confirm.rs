//! Linearizable reads: a quorum confirms, after they came in, that this node still leads.
//!
//! This is ReadIndex (Ongaro's thesis, section 6.4), asked of the nodes' storages instead of their
//! consensus loops. A leader that has applied an entry of its own term has applied every write that
//! was acknowledged before: an earlier leader's, because its log has them in front of that entry,
//! and its own, because it applies before it acknowledges (and does not lead on in the same term
//! when it has restarted: `enable_leader_restore` is off). So what it has applied is fresh enough
//! unless there is a later leader already. A later leader was elected by a quorum that had stored
//! its term, and stored terms never fall: of any quorum that is asked after the read came in, one
//! node at least would tell.
//!
//! Which members are a quorum, openraft's metrics say. They may be one membership behind what the
//! consensus loop knows, and no more. A membership is only appended when the one before it is
//! committed, each turn of the loop begins by telling its metrics, and no turn appends one, sees it
//! committed and appends the next. The quorums of two memberships that follow one another meet.
//!
//! For a read that is alone, all nodes are asked, and the quickest answers count: there is time for
//! that. For several, no more than a quorum needs, those first that confirmed last; the others when
//! an answer is long in coming or is no. Where this way does not lead to a quorum, openraft's own
//! is taken, which also knows why.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use openraft::ServerState;
use openraft::alias::OneshotSenderOf;
use openraft::async_runtime::OneshotSender;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::type_config::TypeConfigExt;

use super::{Machine, Node};
use crate::codec::{self, Request, Response};
use crate::runtime::Runtime;
use crate::transport::{Lane, Transport};
use crate::types::{NodeId, RaftConfig};

/// Rounds of confirmation, one at a time: who comes in during one waits for the next.
pub(super) struct Rounds<R: Runtime>(Mutex<State<R>>);

struct State<R: Runtime> {
    running: bool,
    waiting: Vec<OneshotSenderOf<RaftConfig<R>, bool>>,
    /// While no round runs.
    asked: Asked,
}

/// An answer is long in coming when it takes this long: some turns of a local network, and little
/// for a reader whose first node has just fallen.
const LONG: Duration = Duration::from_millis(10);

/// Who was asked and has not answered yet. A node that is slow is not asked again meanwhile.
#[derive(Default)]
struct Asked {
    /// The number of the last round.
    round: u64,
    nodes: BTreeSet<NodeId>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// The last round that each node confirmed.
    confirmed: BTreeMap<NodeId, u64>,
}

impl Asked {
    /// In the order in which nodes are asked: last those that owe an answer, first those that
    /// confirmed last.
    fn order(&self, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
        let confirmed = |node: &NodeId| self.confirmed.get(node).copied().unwrap_or(0);
        nodes.sort_by_key(|node| (self.nodes.contains(node), Reverse(confirmed(node)), *node));
        nodes
    }
}

struct Answer {
    node: NodeId,
    round: u64,
    confirmed: bool,
}

impl<R: Runtime> Default for Rounds<R> {
    fn default() -> Self {
        let (running, waiting, asked) = (false, Vec::new(), Asked::default());
        Self(Mutex::new(State { running, waiting, asked }))
    }
}

impl<R: Runtime> Rounds<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next round. Where none runs, the caller has to run it.
    fn join(&self, waiter: OneshotSenderOf<RaftConfig<R>, bool>) -> Option<Asked> {
        let mut state = self.lock();
        state.waiting.push(waiter);
        let runs = std::mem::replace(&mut state.running, true);
        (!runs).then(|| std::mem::take(&mut state.asked))
    }

    /// Who waits for the round that begins now. With nobody, the rounds end.
    fn begin(&self, asked: &mut Asked) -> Vec<OneshotSenderOf<RaftConfig<R>, bool>> {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        if waiting.is_empty() {
            state.running = false;
            state.asked = std::mem::take(asked);
        }
        waiting
    }
}

/// What this node takes itself for when a round begins.
struct Leadership {
    term: u64,
    /// The voters; two sets of them during a change of the membership.
    voters: Vec<BTreeSet<NodeId>>,
    /// Those of them that have answered lately: others are not asked again and again.
    alive: BTreeSet<NodeId>,
}

impl Leadership {
    fn is_quorum(&self, nodes: &BTreeSet<NodeId>) -> bool {
        self.voters.iter().all(|voters| voters.intersection(nodes).count() * 2 > voters.len())
    }

    /// How many of these, in this order, are asked at once for so many reads: all for one, for more
    /// as many as are a quorum together with `id`; all, if they are none.
    fn enough(&self, reads: usize, id: NodeId, others: &[NodeId]) -> usize {
        if reads == 1 {
            return others.len();
        }
        let quorum = (0..others.len())
            .find(|count| self.is_quorum(&others[..*count].iter().copied().chain([id]).collect()));
        quorum.unwrap_or(others.len())
    }
}

impl<R, T, SM> Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    /// Whether a quorum confirms from now on that what is applied here is fresh. `false` says
    /// nothing.
    pub(super) async fn is_confirmed(&self) -> bool {
        let (sender, confirmed) = RaftConfig::<R>::oneshot();
        if let Some(asked) = self.inner.rounds.join(sender) {
            drop(R::spawn(self.clone().run_rounds(asked)));
        }
        confirmed.await.unwrap_or(false)
    }

    async fn run_rounds(self, mut asked: Asked) {
        loop {
            let waiting = self.inner.rounds.begin(&mut asked);
            if waiting.is_empty() {
                return;
            }
            let round = self.round(waiting.len(), &mut asked);
            let round = R::timeout(self.inner.config.heartbeat, round);
            let confirmed = round.await.unwrap_or(false);
            for waiter in waiting {
                // Whoever waited may have given up.
                let _ = waiter.send(confirmed);
            }
        }
    }

    /// Whether a quorum confirms for so many reads that this node leads.
    async fn round(&self, reads: usize, asked: &mut Asked) -> bool {
        let Some(leadership) = self.leadership() else { return false };
        let request = Request::<R>::Confirm { term: leadership.term };
        let Ok(frame) = codec::encode(&request) else { return false };
        let id = self.inner.config.id;
        asked.round += 1;
        let others = leadership.alive.iter().copied().filter(|node| *node != id).collect();
        let mut chosen = asked.order(others);
        let mut rest = chosen.split_off(leadership.enough(reads, id, &chosen));
        chosen.iter().for_each(|node| self.ask(*node, &frame, asked));
        let mut confirmed = BTreeSet::new();
        if self.confirms(leadership.term) {
            confirmed.insert(id);
        }
        while !leadership.is_quorum(&confirmed) {
            let answer = if rest.is_empty() {
                asked.answers.next().await
            } else {
                R::timeout(LONG, asked.answers.next()).await.unwrap_or(None)
            };
            if let Some(answer) = &answer {
                asked.nodes.remove(&answer.node);
            }
            match answer {
                Some(Answer { node, round, .. }) if round < asked.round => {
                    // It tells of a moment before this round began.
                    if chosen.contains(&node) {
                        self.ask(node, &frame, asked);
                    }
                }
                Some(Answer { node, round, confirmed: true }) => {
                    asked.confirmed.insert(node, round);
                    confirmed.insert(node);
                }
                None if rest.is_empty() => return false,
                // No, or not yet.
                Some(_) | None => {
                    rest.iter().for_each(|node| self.ask(*node, &frame, asked));
                    chosen.append(&mut rest);
                }
            }
        }
        true
    }

    /// Asks another node in this round, unless it owes an answer.
    fn ask(&self, node: NodeId, frame: &Bytes, asked: &mut Asked) {
        if !asked.nodes.insert(node) {
            return;
        }
        let (transport, frame, round) = (self.inner.transport.clone(), frame.clone(), asked.round);
        let patience = self.inner.config.heartbeat;
        asked.answers.push(Box::pin(async move {
            let call = R::timeout(patience, transport.call(node, Lane::Control, frame)).await;
            let answer = call.ok().and_then(Result::ok);
            let confirmed = answer.is_some_and(|answer| {
                matches!(codec::decode(&answer), Ok(Response::<R>::Confirmed(true)))
            });
            Answer { node, round, confirmed }
        }));
    }

    /// Whether this node has stored no term after this one.
    pub(super) fn confirms(&self, term: u64) -> bool {
        self.inner.store.term() <= term
    }

    /// What there is to be confirmed, if this node leads and has applied an entry of its term.
    fn leadership(&self) -> Option<Leadership> {
        // Before the metrics are held, which the consensus loop may be about to tell anew.
        let applied = self.inner.store.applied()?;
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let term = metrics.current_term;
        if metrics.state != ServerState::Leader || applied.leader_id.term != term {
            return None;
        }
        let voters = metrics.membership_config.membership().get_joint_config().clone();
        let mut alive = self.answering(&metrics);
        alive.retain(|node| voters.iter().any(|voters| voters.contains(node)));
        Some(Leadership { term, voters, alive })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn during_a_change_both_memberships_must_confirm() {
        let leadership = |voters: &[&[u64]]| {
            let voters = voters.iter().map(|ids| nodes(ids)).collect();
            Leadership { term: 1, voters, alive: BTreeSet::new() }
        };
        let three = leadership(&[&[1, 2, 3]]);
        assert!(three.is_quorum(&nodes(&[1, 3])));
        assert!(!three.is_quorum(&nodes(&[1, 4, 5])), "others do not count");
        let four = leadership(&[&[1, 2, 3, 4]]);
        assert!(!four.is_quorum(&nodes(&[1, 2])), "half is no quorum");
        let joint = leadership(&[&[1, 2, 3], &[3, 4, 5]]);
        assert!(joint.is_quorum(&nodes(&[2, 3, 4])));
        assert!(!joint.is_quorum(&nodes(&[1, 2, 3])));

        let others = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        assert_eq!(three.enough(2, NodeId(1), &others(&[3, 2])), 1);
        assert_eq!(four.enough(2, NodeId(1), &others(&[4, 3, 2])), 2);
        assert_eq!(joint.enough(2, NodeId(1), &others(&[2, 5, 3, 4])), 3);
        assert_eq!(joint.enough(1, NodeId(1), &others(&[2, 5, 3, 4])), 4, "one read asks all");
        assert_eq!(joint.enough(2, NodeId(1), &others(&[2, 5])), 2, "all, who are none");
        assert_eq!(leadership(&[&[1]]).enough(2, NodeId(1), &[]), 0);
    }

    #[test]
    fn who_confirmed_last_is_asked_first_and_who_owes_an_answer_last() {
        let mut asked = Asked::default();
        let order = |asked: &Asked| asked.order([1, 2, 3, 4].map(NodeId).to_vec());
        assert_eq!(order(&asked), [1, 2, 3, 4].map(NodeId));
        asked.confirmed.extend([(NodeId(3), 7), (NodeId(4), 8)]);
        assert_eq!(order(&asked), [4, 3, 1, 2].map(NodeId));
        asked.nodes.insert(NodeId(4));
        assert_eq!(order(&asked), [3, 1, 2, 4].map(NodeId));
    }
}
