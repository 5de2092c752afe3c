//! A bug of the state machine: now and then a write takes effect a second time, some entries later.
//!
//! The engine refuses an entry at or below the last one that it applied, so the copy travels inside
//! a later write, as a batch applied from a stale cursor would. It sits below the trace: every
//! replica does the same, and only clients can see that an old value came back.

use std::io;

use aspen_core::command::{Command, Key, Value};
use aspen_core::types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership};
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};

use super::Mutant;
use crate::sut::Types;

/// Of so many entries one is remembered, if it sets something.
const EVERY: u64 = 8;
/// So many entries later, or more, it takes effect again.
const LATER: u64 = 6;

/// A state machine with at most one bug.
pub(crate) struct MutantMachine<M> {
    inner: M,
    mutant: Option<Mutant>,
    /// The index of a write, and what it set.
    remembered: Option<(u64, Pairs)>,
}

type Pairs = Vec<(Key, Value)>;

impl<M> MutantMachine<M> {
    pub(crate) fn new(inner: M, mutant: Option<Mutant>) -> Self {
        Self { inner, mutant, remembered: None }
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
        let remembered = &mut self.remembered;
        let doubled = entries.map_ok(|(entry, responder)| (tamper(entry, remembered), responder));
        self.inner.apply(doubled).await
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

/// Remembers a write, or lets the one that is remembered take effect again before this one.
fn tamper(mut entry: Entry, remembered: &mut Option<(u64, Pairs)>) -> Entry {
    let EntryPayload::Normal(proposal) = &mut entry.payload else { return entry };
    let own = match &proposal.command {
        Command::Set { key, value } => vec![(key.clone(), value.clone())],
        Command::SetMulti { pairs } => pairs.clone(),
        Command::Tick
        | Command::OpenSession { .. }
        | Command::CloseSession
        | Command::Delete { .. }
        | Command::CompareAndSet { .. }
        | Command::CompareAndDelete { .. } => return entry,
    };
    let index = entry.log_id.index;
    match remembered.take_if(|(first, _)| *first + LATER <= index) {
        // Of a key that stands twice, the last value counts: this entry's own.
        Some((_, mut pairs)) => {
            pairs.extend(own);
            proposal.command = Command::SetMulti { pairs };
        }
        None if index.is_multiple_of(EVERY) => *remembered = Some((index, own)),
        None => {}
    }
    entry
}
