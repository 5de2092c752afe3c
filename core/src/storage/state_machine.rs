//! The state machine as openraft drives it: apply, snapshots, what has been applied.
//!
//! What an entry does is [`Applied`](super::applied::Applied)'s business; here entries are gathered
//! and replies go back to whoever waits for them. A snapshot is a view of the database, so what has
//! been applied in memory alone is flushed before one is taken.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};

use crate::limits;
use crate::runtime::Runtime;
use crate::storage::engine::Work;
use crate::storage::error::StorageError;
use crate::storage::queue::Queue;
use crate::storage::receive::{ReceivedSnapshot, SnapshotReceiver};
use crate::storage::shared::{Shadow, Shared};
use crate::storage::snapshot::{OutgoingSnapshot, SnapshotData};
use crate::storage::tail;
use crate::types::{Entry, LogId, RaftConfig, Snapshot, SnapshotMeta, StoredMembership};
use crate::volume::Durability;

/// A handle to the state machine.
pub struct StateMachine<R: Runtime> {
    shared: Arc<Shared>,
    queue: Queue<R>,
}

/// The state machine as it was when openraft asked for a snapshot.
pub struct SnapshotBuilder {
    /// Taken by the one build; openraft makes a new builder for each.
    view: Option<Result<Snapshot<SnapshotData>, StorageError>>,
}

impl<R: Runtime> StateMachine<R> {
    pub(crate) fn new(shared: Arc<Shared>, queue: Queue<R>) -> Self {
        Self { shared, queue }
    }

    /// The state machine as it is now.
    async fn view(&self) -> Result<Snapshot<SnapshotData>, StorageError> {
        self.shared.check()?;
        let unflushed = self.shared.applied().has_unflushed(1, usize::MAX);
        if unflushed {
            self.queue.run(Work::Flush(Durability::Visible)).await?;
        }
        let view = self.shared.begin_read().and_then(|txn| OutgoingSnapshot::open(&txn));
        let (meta, outgoing) = self.shared.guard(view)?;
        Ok(Snapshot { meta, snapshot: SnapshotData::Outgoing(Box::new(outgoing)) })
    }

    /// Applies what was collected and answers those who wait for it.
    async fn apply_batch(&self, batch: &mut Batch<R>) -> Result<(), StorageError> {
        let Batch { entries, responders, .. } = std::mem::take(batch);
        self.shared.check()?;
        // Only when nothing is appended for long: otherwise an append has taken it along.
        let overdue = self.shared.flush_is_overdue(&self.shared.applied());
        if overdue {
            self.queue.run(Work::Flush(Durability::Visible)).await?;
        }
        let applied = self.shared.applied().apply(&self.shared, &entries);
        let replies = self.shared.guard(applied)?;
        for (responder, reply) in responders.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    /// Receives a snapshot of another storage from within this process.
    async fn receive(&self, mut snapshot: OutgoingSnapshot) -> io::Result<ReceivedSnapshot> {
        let mut receiver = SnapshotReceiver::new(self.queue.clone(), Shadow::new(&self.shared));
        while let Some(chunk) = snapshot.next_chunk()? {
            receiver.write(chunk).await?;
        }
        Ok(receiver.finish_received()?)
    }
}

/// Entries that are applied together.
struct Batch<R: Runtime> {
    entries: Vec<Entry>,
    responders: Vec<Option<ApplyResponder<RaftConfig<R>>>>,
    bytes: usize,
}

impl<R: Runtime> Default for Batch<R> {
    fn default() -> Self {
        Self { entries: Vec::new(), responders: Vec::new(), bytes: 0 }
    }
}

impl<R: Runtime> Batch<R> {
    fn push(&mut self, entry: Entry, responder: Option<ApplyResponder<RaftConfig<R>>>) {
        self.bytes += tail::weight(&entry);
        self.entries.push(entry);
        self.responders.push(responder);
    }

    /// Whether it is as large as one transaction should be.
    fn is_full(&self) -> bool {
        self.entries.len() >= limits::APPEND_ENTRIES_MAX || self.bytes >= limits::APPEND_BYTES_MAX
    }
}

impl<R: Runtime> RaftStateMachine<RaftConfig<R>> for StateMachine<R> {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.shared.check()?;
        let applied = self.shared.applied();
        Ok((applied.last(), applied.membership().clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<RaftConfig<R>>>> + Unpin + OptionalSend,
    {
        let mut batch = Batch::default();
        while let Some((entry, responder)) = entries.try_next().await? {
            batch.push(entry, responder);
            if batch.is_full() {
                self.apply_batch(&mut batch).await?;
            }
        }
        Ok(self.apply_batch(&mut batch).await?)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        // The view is taken here, not by the build: it must be of this moment.
        SnapshotBuilder { view: Some(self.view().await) }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let ReceivedSnapshot { shadow, end } = match snapshot {
            SnapshotData::Received(received) => {
                assert!(received.shadow.belongs_to(&self.shared), "received by another storage");
                received
            }
            SnapshotData::Outgoing(outgoing) => self.receive(*outgoing).await?,
        };
        Ok(self.queue.run(Work::Install { shadow, meta: meta.clone(), end }).await?)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<SnapshotData>>> {
        // Any moment's view is a snapshot; one of nothing would be of no use to anybody.
        let view = self.view().await?;
        Ok(view.meta.last_log_id.is_some().then_some(view))
    }
}

impl<R: Runtime> RaftSnapshotBuilder<RaftConfig<R>> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<SnapshotData>> {
        Ok(self.view.take().expect("openraft builds once with each builder")?)
    }
}
