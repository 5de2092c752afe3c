//! The decorator around the state machine: it records what was applied and what came of it.

use std::io;

use aspen_core::storage::Store;
use aspen_core::types::{LogId, Snapshot, SnapshotMeta, StoredMembership};
use aspen_transport_sim::SimRuntime;
use futures_util::{Stream, TryStreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use super::{Teller, Types, marks};
use crate::trace::{EntryMark, TraceKind};

/// A state machine that records.
pub(crate) struct TracedMachine<M> {
    inner: M,
    store: Store<SimRuntime>,
    teller: Teller,
}

impl<M> TracedMachine<M> {
    pub(super) fn new(inner: M, store: Store<SimRuntime>, teller: Teller) -> Self {
        Self { inner, store, teller }
    }

    /// Records entries together with the digests that the machine had after each.
    fn tell_applied(&self, applied: Vec<EntryMark>) {
        let (Some(first), Some(last)) = (applied.first(), applied.last()) else { return };
        let digests = self.store.digests(first.position.index..=last.position.index);
        for entry in applied {
            let index = entry.position.index;
            let found = digests.iter().find(|(at, _)| *at == index).map(|(_, digests)| digests);
            let (content, state) = found.map_or((0, 0), |it| (it.content, it.state));
            self.teller.tell(TraceKind::Applied { entry, content, state });
        }
    }
}

impl<M: RaftStateMachine<Types>> RaftStateMachine<Types> for TracedMachine<M> {
    type SnapshotData = M::SnapshotData;
    type SnapshotBuilder = TracedBuilder<M::SnapshotBuilder>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.inner.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut applied = Vec::new();
        let recorded = entries.inspect_ok(|(entry, _responder)| applied.push(marks::entry(entry)));
        self.inner.apply(recorded).await?;
        self.tell_applied(applied);
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self::SnapshotBuilder> {
        let inner = self.inner.try_create_snapshot_builder(force).await?;
        Some(TracedBuilder { inner, teller: self.teller.clone() })
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        let inner = self
            .inner
            .try_create_snapshot_builder(true)
            .await
            .expect("the engine can always build a snapshot");
        TracedBuilder { inner, teller: self.teller.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: M::SnapshotData,
    ) -> Result<(), io::Error> {
        self.inner.install_snapshot(meta, snapshot).await?;
        if let Some(log_id) = meta.last_log_id {
            let digests = self.store.digests(log_id.index..=log_id.index);
            let state = digests.last().map_or(0, |(_, digests)| digests.state);
            let position = marks::position(log_id);
            self.teller.tell(TraceKind::SnapshotInstalled { position, state });
            self.teller.tell_truncation(Some(position));
        }
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<M::SnapshotData>>, io::Error> {
        self.inner.get_current_snapshot().await
    }
}

/// A snapshot builder that records.
pub(crate) struct TracedBuilder<B> {
    inner: B,
    teller: Teller,
}

impl<B: RaftSnapshotBuilder<Types>> RaftSnapshotBuilder<Types> for TracedBuilder<B> {
    type SnapshotData = B::SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot<B::SnapshotData>, io::Error> {
        let snapshot = self.inner.build_snapshot().await?;
        let position = snapshot.meta.last_log_id.map(marks::position);
        self.teller.tell(TraceKind::SnapshotBuilt { position });
        Ok(snapshot)
    }
}
