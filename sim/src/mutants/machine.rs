//! A bug of the state machine: every sixteenth entry is applied a second time.

use std::io;

use aspen_core::types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};

use super::Mutant;
use crate::sut::Types;

const EVERY: u64 = 16;

/// A state machine with at most one bug.
pub(crate) struct MutantMachine<M> {
    inner: M,
    mutant: Option<Mutant>,
}

impl<M> MutantMachine<M> {
    pub(crate) fn new(inner: M, mutant: Option<Mutant>) -> Self {
        Self { inner, mutant }
    }
}

impl<M: RaftStateMachine<Types>> RaftStateMachine<Types> for MutantMachine<M> {
    type SnapshotData = M::SnapshotData;
    type SnapshotBuilder = M::SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.inner.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        if self.mutant != Some(Mutant::ApplyTwice) {
            return self.inner.apply(entries).await;
        }
        let doubled = entries.flat_map(|item| {
            let again = item.as_ref().ok().and_then(|(entry, _responder)| again(entry));
            futures_util::stream::iter([Some(item), again.map(|entry| Ok((entry, None)))])
                .filter_map(std::future::ready)
        });
        self.inner.apply(Box::pin(doubled)).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self::SnapshotBuilder> {
        self.inner.try_create_snapshot_builder(force).await
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.inner
            .try_create_snapshot_builder(true)
            .await
            .expect("the engine can always build a snapshot")
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: M::SnapshotData,
    ) -> Result<(), io::Error> {
        self.inner.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<M::SnapshotData>>, io::Error> {
        self.inner.get_current_snapshot().await
    }
}

/// The entry to apply a second time, without its stamp: the session would notice.
fn again(entry: &Entry) -> Option<Entry> {
    if entry.log_id.index % EVERY != 0 {
        return None;
    }
    let EntryPayload::Normal(proposal) = &entry.payload else { return None };
    let mut proposal = proposal.clone();
    proposal.stamp = None;
    Some(Entry { log_id: entry.log_id, payload: EntryPayload::Normal(proposal) })
}
