//! The group-commit loop: the one task that writes.
//!
//! It drains the queue in order and runs what it found as transactions. Operations that ask for
//! a sync share one, and so does what stands behind them in the queue: it would wait for that sync
//! anyway. Parts of snapshots at the queue's head need no sync and get a transaction that is
//! visible at once and durable with the database's next synced one. A truncation waits for the
//! operation that takes it along, and lets those pass that do not touch the log. Callbacks fire after
//! the transaction, from this task, so that a node that was killed in between reports nothing.
//!
//! Between transactions it clears away generations that nothing names, slice by slice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use openraft::alias::MpscReceiverOf;
use openraft::async_runtime::{MpscReceiver, TryRecvError};
use openraft::type_config::TypeConfigExt;

use crate::limits;
use crate::runtime::Runtime;
use crate::storage::engine::{self, Work};
use crate::storage::error::StorageError;
use crate::storage::generation;
use crate::storage::queue::{Answer, Operation};
use crate::storage::shared::Shared;
use crate::types::RaftConfig;
use crate::volume::{Durability, Volume};

/// The writer's own state.
pub(crate) struct Writer<R: Runtime, V> {
    shared: Arc<Shared>,
    volume: Arc<V>,
    queue: MpscReceiverOf<RaftConfig<R>, Operation<R>>,
    waiting: VecDeque<Operation<R>>,
    /// Generations to be dropped, oldest first.
    doomed: VecDeque<u64>,
}

impl<R: Runtime, V: Volume> Writer<R, V> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        volume: Arc<V>,
        queue: MpscReceiverOf<RaftConfig<R>, Operation<R>>,
    ) -> Self {
        Self { shared, volume, queue, waiting: VecDeque::new(), doomed: VecDeque::new() }
    }

    /// Runs until every handle is gone.
    pub(crate) async fn run(mut self) {
        loop {
            self.doomed.extend(self.shared.memory().abandoned.drain(..));
            if !self.drain().await {
                return;
            }
            if !self.is_idle() {
                self.commit_group().await;
            }
            if let Some(generation) = self.doomed.front().copied() {
                self.drop_slice(generation).await;
            }
        }
    }

    /// Whether there is nothing to run; truncations alone are not run.
    fn is_idle(&self) -> bool {
        self.waiting.iter().all(|operation| matches!(operation.work, Work::Truncate(_)))
    }

    /// Takes what the queue holds, up to a group; waits for the first unless there is other work.
    /// Says whether anything can still come.
    async fn drain(&mut self) -> bool {
        if self.is_idle() && self.doomed.is_empty() {
            match self.queue.recv().await {
                Some(operation) => self.waiting.push_back(operation),
                None => return false,
            }
        }
        while self.waiting.len() < limits::GROUP_COMMIT_OPS_MAX {
            match self.queue.try_recv() {
                Ok(operation) => self.waiting.push_back(operation),
                Err(TryRecvError::Empty) => break,
                // The next open clears away whatever is still doomed.
                Err(TryRecvError::Disconnected) => return !self.is_idle(),
            }
        }
        true
    }

    /// Runs one transaction over the head of what waits.
    async fn commit_group(&mut self) {
        let (durability, group) = self.next_group();
        let (works, answers): (Vec<Work>, Vec<Answer<R>>) =
            group.into_iter().map(|operation| (operation.work, operation.answer)).unzip();
        let result = match self.shared.check() {
            Ok(()) => {
                self.transact(durability, move |shared| engine::run(shared, durability, works))
                    .await
            }
            Err(failure) => Err(failure),
        };
        if answers.iter().any(|answer| matches!(answer, Answer::Closed(_))) {
            // Closing writes to the disk, too, so it runs where transactions run.
            let closed = self.transact(Durability::Synced, Shared::close).await;
            drop(closed);
        }
        for answer in answers {
            answer.send(result.clone());
        }
    }

    /// What needs no sync goes alone while it is at the head; once there is a sync to wait for,
    /// everything behind it rides along. Truncations at the head go with what takes them.
    fn next_group(&mut self) -> (Durability, Vec<Operation<R>>) {
        let truncates = |operation: &Operation<R>| matches!(operation.work, Work::Truncate(_));
        let synced = |operation: &Operation<R>| operation.work.durability() == Durability::Synced;
        let head = self.waiting.iter().position(|operation| !truncates(operation));
        let first = self.waiting.iter().position(synced);
        let (durability, count) = match first {
            Some(first) if Some(first) == head => (Durability::Synced, self.waiting.len()),
            Some(first) => (Durability::Visible, first),
            None => (Durability::Visible, self.waiting.len()),
        };
        let mut group: Vec<Operation<R>> = self.waiting.drain(..count).collect();
        let takes = group.iter().rposition(|operation| operation.work.takes_truncations());
        let untaken = takes.map_or(0, |takes| takes + 1);
        let left: Vec<_> = group.extract_if(untaken.., |it| truncates(it)).collect();
        left.into_iter().rev().for_each(|operation| self.waiting.push_front(operation));
        (durability, group)
    }

    /// Clears away a slice of a doomed generation, then lets others run.
    async fn drop_slice(&mut self, generation: u64) {
        let sliced = match self.shared.check() {
            Ok(()) => {
                let slice = move |shared: &Shared| generation::drop_slice(shared, generation);
                self.transact(Durability::Visible, slice).await
            }
            Err(failure) => Err(failure),
        };
        // After a failure nothing is dropped any more.
        if sliced.unwrap_or(true) {
            self.doomed.pop_front();
        }
        RaftConfig::<R>::yield_now().await;
    }

    /// Runs one transaction where the volume wants it to run. Its error is final.
    async fn transact<T: Send + 'static>(
        // Exclusive, because the queue's end may not be shared between threads.
        &mut self,
        durability: Durability,
        transaction: impl FnOnce(&Shared) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let slot = Arc::new(Mutex::new(None));
        let (shared, outcome) = (self.shared.clone(), slot.clone());
        let job = move || {
            let result = transaction(&shared);
            *outcome.lock().expect("locked for one assignment") = Some(result);
        };
        self.volume.run(durability, Box::new(job)).await;
        let result = slot.lock().expect("the job is done or gone").take();
        self.shared.guard(result.unwrap_or(Err(StorageError::NotRun)))
    }
}
