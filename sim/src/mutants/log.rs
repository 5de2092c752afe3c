//! Bugs of the log: a forgotten vote, an early acknowledgement, conflicting entries that stay.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aspen_core::types::{Entry, LogId, Vote};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::Mutant;
use crate::sut::Types;

/// A log with at most one bug.
pub(crate) struct MutantLog<L> {
    inner: L,
    mutant: Option<Mutant>,
    /// Whether this life has saved a vote: what it saved itself, it remembers.
    voted: Arc<AtomicBool>,
}

impl<L> MutantLog<L> {
    pub(crate) fn new(inner: L, mutant: Option<Mutant>) -> Self {
        Self { inner, mutant, voted: Arc::new(AtomicBool::new(false)) }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

impl<L: RaftLogStorage<Types>> RaftLogStorage<Types> for MutantLog<L> {
    type LogReader = MutantReader<L::LogReader>;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        self.inner.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        let forgetful = self.is(Mutant::ForgetVote).then(|| self.voted.clone());
        MutantReader { inner: self.inner.get_log_reader().await, forgetful }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.voted.store(true, Ordering::Relaxed);
        self.inner.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.inner.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.inner.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        if self.is(Mutant::AckBeforeSync) {
            callback.io_completed(Ok(()));
            return self.inner.append(entries, IOFlushed::noop()).await;
        }
        if self.is(Mutant::KeepConflict) {
            let last = self.inner.get_log_state().await?.last_log_id;
            let next = last.map_or(0, |last| last.index + 1);
            let fresh = entries.into_iter().skip_while(|entry| entry.log_id.index < next);
            return self.inner.append(fresh.collect::<Vec<_>>(), callback).await;
        }
        self.inner.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        if self.is(Mutant::KeepConflict) {
            return Ok(());
        }
        self.inner.truncate_after(last_log_id).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.inner.purge(log_id).await
    }
}

/// Reads the log; a forgetful one has no vote until its life saves one.
pub(crate) struct MutantReader<R> {
    inner: R,
    forgetful: Option<Arc<AtomicBool>>,
}

impl<R: RaftLogReader<Types>> RaftLogReader<Types> for MutantReader<R> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.inner.try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let voted = self.forgetful.as_ref().is_none_or(|voted| voted.load(Ordering::Relaxed));
        if voted { self.inner.read_vote().await } else { Ok(None) }
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.inner.limited_get_log_entries(start, end).await
    }
}
