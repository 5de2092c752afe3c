//! A backup: the state machine as it is at one moment, sent to a client while the node serves on.
//!
//! What is sent is a snapshot, in the same chunks that a follower gets, from one read transaction.
//! Any node can send one. A client that wants every write that was acknowledged before writes
//! something itself and says at which index that stands; the node waits until it has applied it.

use openraft::async_runtime::watch::WatchReceiver;

use super::{Machine, Node};
use crate::codec::{self, BackupOpening, SnapshotChunk};
use crate::runtime::Runtime;
use crate::storage::SnapshotData;
use crate::transport::{FrameSender, Transport};
use crate::types::Snapshot;

impl<R, T, SM> Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    /// Sends a snapshot that holds the effects of the entry `at_least`.
    ///
    /// # Errors
    /// What broke the stream off, in words.
    pub(super) async fn serve_backup(
        &self,
        at_least: Option<u64>,
        mut sender: T::Sender,
    ) -> Result<(), String> {
        let (opening, data) = match self.current_snapshot(at_least).await {
            Ok(Snapshot { meta, snapshot }) => (Ok(meta), Some(snapshot)),
            Err(reason) => (Err(reason), None),
        };
        self.send_frame(&mut sender, &BackupOpening(opening)).await?;
        let Some(mut data) = data else { return sender.finish().await.map_err(text) };
        while let Some(chunk) = data.next_chunk().map_err(text)? {
            self.send_frame(&mut sender, &SnapshotChunk(chunk)).await?;
        }
        sender.finish().await.map_err(text)
    }

    async fn current_snapshot(
        &self,
        at_least: Option<u64>,
    ) -> Result<Snapshot<SnapshotData>, String> {
        let timeout = self.inner.config.request_timeout;
        if R::timeout(timeout, self.has_applied(at_least)).await.is_err() {
            let (ms, index) = (timeout.as_millis(), at_least.unwrap_or_default());
            return Err(format!("the node has not applied entry {index} within {ms} ms"));
        }
        let snapshot = self.inner.raft.get_snapshot().await.map_err(text)?;
        snapshot.ok_or_else(|| "the node has applied nothing yet".to_owned())
    }

    /// Waits until the entry is applied here; one that has stopped says so where it is asked next.
    async fn has_applied(&self, index: Option<u64>) {
        let mut metrics = self.inner.raft.metrics();
        while metrics.borrow_watched().last_applied.map(|applied| applied.index) < index {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// A client that takes nothing holds old pages of the database; it is not waited for long.
    async fn send_frame<M: codec::Message + Sync>(
        &self,
        sender: &mut T::Sender,
        message: &M,
    ) -> Result<(), String> {
        let frame = codec::encode(message).map_err(text)?;
        let timeout = self.inner.config.snapshot_timeout;
        match R::timeout(timeout, sender.send(frame)).await {
            Ok(sent) => sent.map_err(text),
            Err(_elapsed) => Err(format!("nothing was taken within {} ms", timeout.as_millis())),
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
