//! The way from a handle to the writer: an operation, and where its answer goes.

use openraft::alias::{MpscSenderOf, OneshotSenderOf};
use openraft::async_runtime::{MpscSender, OneshotSender};
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;

use crate::runtime::Runtime;
use crate::storage::engine::Work;
use crate::storage::error::StorageError;
use crate::types::RaftConfig;
use crate::volume::Durability;

/// One operation and where its answer goes.
pub(crate) struct Operation<R: Runtime> {
    pub(crate) work: Work,
    pub(crate) answer: Answer<R>,
}

/// Where the answer to an operation goes.
pub(crate) enum Answer<R: Runtime> {
    /// To openraft.
    Flushed(IOFlushed<RaftConfig<R>>),
    /// To the caller, who waits.
    Done(OneshotSenderOf<RaftConfig<R>, Result<(), StorageError>>),
    /// To the caller, who waits for the database to be closed.
    Closed(OneshotSenderOf<RaftConfig<R>, Result<(), StorageError>>),
    /// To nobody.
    Unasked,
}

impl<R: Runtime> Answer<R> {
    /// Answers with what became of the group. A caller who has stopped waiting has no use for the
    /// answer.
    pub(crate) fn send(self, result: Result<(), StorageError>) {
        match self {
            Answer::Flushed(callback) => callback.io_completed(result.map_err(Into::into)),
            Answer::Done(sender) | Answer::Closed(sender) => drop(sender.send(result)),
            Answer::Unasked => {}
        }
    }
}

/// The sending end of the writer's queue.
pub(crate) struct Queue<R: Runtime>(pub(crate) MpscSenderOf<RaftConfig<R>, Operation<R>>);

impl<R: Runtime> Clone for Queue<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Runtime> Queue<R> {
    /// Hands an append over; its callback fires when it is durable.
    pub(crate) async fn append(
        &self,
        work: Work,
        callback: IOFlushed<RaftConfig<R>>,
    ) -> Result<(), StorageError> {
        self.send(work, Answer::Flushed(callback)).await
    }

    /// Hands an operation over whose transaction nobody waits for.
    pub(crate) async fn leave(&self, work: Work) -> Result<(), StorageError> {
        self.send(work, Answer::Unasked).await
    }

    /// Runs an operation and waits for its transaction.
    pub(crate) async fn run(&self, work: Work) -> Result<(), StorageError> {
        let (sender, receiver) = RaftConfig::<R>::oneshot();
        self.send(work, Answer::Done(sender)).await?;
        receiver.await.map_err(|_| StorageError::Closed)?
    }

    /// Makes everything durable, closes the database and waits for it.
    pub(crate) async fn close(&self) -> Result<(), StorageError> {
        let (sender, receiver) = RaftConfig::<R>::oneshot();
        self.send(Work::Flush(Durability::Synced), Answer::Closed(sender)).await?;
        receiver.await.map_err(|_| StorageError::Closed)?
    }

    /// Boxed, because openraft's loop moves the futures of the storage's calls on every turn,
    /// whether it makes such a call or not.
    fn send(
        &self,
        work: Work,
        answer: Answer<R>,
    ) -> impl Future<Output = Result<(), StorageError>> + Send {
        Box::pin(async move {
            let sent = self.0.send(Operation { work, answer }).await;
            sent.map_err(|_| StorageError::Closed)
        })
    }
}
