//! A bug of the state machine: a client's retry is applied a second time.

use std::io;

use aspen_core::types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership};
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};

use super::Mutant;
use crate::sut::Types;

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
        self.inner.apply(entries.map_ok(|(entry, responder)| (anonymous(entry), responder))).await
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

/// The entry as if it came from no session: a repeated request is not recognised.
fn anonymous(mut entry: Entry) -> Entry {
    if let EntryPayload::Normal(proposal) = &mut entry.payload {
        proposal.stamp = None;
    }
    entry
}
