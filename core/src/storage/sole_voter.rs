//! A cluster of one, made of what a storage holds: after a lost quorum, and from a backup.
//!
//! Both are done while no node runs on the storage. A membership entry that names this node as the
//! only voter is appended at the log's end, in a term that is later than every term this storage
//! has seen. A node counts with the last membership in its log, so the one that starts here next
//! elects itself, and commits whatever the log holds in front of that entry.
//!
//! Nothing of the log is dropped. Which of its last entries a lost quorum had committed, nobody can
//! tell any more. Keeping them keeps every acknowledged write that is here; among them may be writes
//! that nobody ever got an answer to, and those may take effect at any time anyway.
//!
//! Left out: keeping the others away. A storage does not know who they are; who gives the cluster
//! a new life must give it a new secret too, because the old voters can still form a quorum.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::{BasicNode, EntryPayload, Membership, RaftLogReader};

use crate::runtime::Runtime;
use crate::storage::Storage;
use crate::types::{
    CommittedLeaderId, Entry, LogId, NodeId, RaftConfig, SnapshotMeta, StoredMembership, Vote,
};

/// What a storage holds, as its own records say.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// The last term that it has voted in.
    pub term: u64,
    /// The last entry of its log, or the last one purged.
    pub last: Option<LogId>,
    /// The last entry that is known here to be committed; others may know of later ones.
    pub committed: Option<LogId>,
    /// The last membership in its log.
    pub membership: StoredMembership,
}

impl Holdings {
    /// How many entries follow the last one that is known to be committed.
    pub fn undecided(&self) -> u64 {
        let end = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index + 1);
        end(self.last).saturating_sub(end(self.committed))
    }
}

impl<R: Runtime> Storage<R> {
    /// What the storage holds.
    ///
    /// # Errors
    /// The storage's.
    pub async fn holdings(&mut self) -> io::Result<Holdings> {
        let vote = self.log.read_vote().await?;
        let last = self.log.get_log_state().await?.last_log_id;
        let (applied, mut membership) = self.machine.applied_state().await?;
        let committed = self.log.read_committed().await?.max(applied);
        let (mut next, end) =
            (applied.map_or(0, |it| it.index + 1), last.map_or(0, |it| it.index + 1));
        while next < end {
            let page = self.log.limited_get_log_entries(next, end).await?;
            for Entry { log_id, payload } in page {
                next = log_id.index + 1;
                if let EntryPayload::Membership(newer) = payload {
                    membership = StoredMembership::new(Some(log_id), newer);
                }
            }
        }
        let term = vote.map_or(0, |vote| vote.leader_id.term);
        // What an install left behind in the log is older than what is applied.
        Ok(Holdings { term, last: last.max(applied), committed, membership })
    }

    /// Makes a new storage hold what a snapshot does; `chunks` gives the snapshot's chunks.
    ///
    /// # Errors
    /// What `chunks` gives, a snapshot that is not whole, and the storage's.
    pub async fn restore(
        &mut self,
        meta: &SnapshotMeta,
        mut chunks: impl FnMut() -> io::Result<Option<Bytes>>,
    ) -> io::Result<()> {
        let mut receiver = self.store.receive_snapshot();
        while let Some(chunk) = chunks()? {
            receiver.write(chunk).await?;
        }
        self.machine.install_snapshot(meta, receiver.finish()?).await?;
        // The log begins after what the snapshot covers.
        if let Some(covered) = meta.last_log_id {
            self.log.purge(covered).await?;
        }
        Ok(())
    }

    /// Makes a node, at this address, the only voter of the cluster whose log this is; gives the
    /// entry that says so. It is durable when this returns.
    ///
    /// # Errors
    /// The storage's. The vote may have been written then, which does no harm.
    pub async fn make_sole_voter(&mut self, node: NodeId, address: &str) -> io::Result<LogId> {
        let Holdings { term, last, .. } = self.holdings().await?;
        let log_last = self.log.get_log_state().await?.last_log_id;
        if let Some(last) = last.filter(|_| log_last < last) {
            // A node that stopped right after an install has the log in front of it still.
            self.log.purge(last).await?;
        }
        let term = term.max(last.map_or(0, |last| last.leader_id.term)) + 1;
        // As a leader of this term would have it, because a leader appends.
        self.log.save_vote(&Vote::new_committed(term, node)).await?;
        let index = last.map_or(0, |last| last.index + 1);
        let log_id = LogId::new(CommittedLeaderId { term }, index);
        let nodes = BTreeMap::from([(node, BasicNode::new(address))]);
        let membership = Membership::new(vec![[node].into()], nodes).map_err(io::Error::other)?;
        let entry = Entry { log_id, payload: EntryPayload::Membership(membership) };
        let (sender, flushed) = RaftConfig::<R>::oneshot();
        self.log.append([entry], IOFlushed::signal(sender)).await?;
        flushed.await.map_err(|_| io::Error::other("the storage is closed"))??;
        Ok(log_id)
    }
}
