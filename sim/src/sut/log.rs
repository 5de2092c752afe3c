//! The decorator around the log: it records what openraft was told, when it was told.

use std::io;

use aspen_core::types::{Entry, LogId, Vote};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::OneshotReceiverOf;
use tokio::sync::mpsc;

use super::{Teller, Types, marks};
use crate::trace::{Position, TraceKind};

/// An append whose completion is awaited.
struct Pending {
    last: Option<Position>,
    completed: OneshotReceiverOf<Types, Result<(), io::Error>>,
    callback: IOFlushed<Types>,
}

/// A log that records.
pub(super) struct TracedLog<L> {
    inner: L,
    teller: Teller,
    pending: mpsc::UnboundedSender<Pending>,
}

impl<L> TracedLog<L> {
    /// Must be called on the node's own machine: a task of it passes completions on.
    pub(super) fn new(inner: L, teller: Teller) -> Self {
        let (pending, incoming) = mpsc::unbounded_channel();
        drop(Types::spawn(pass_completions_on(incoming, teller.clone())));
        Self { inner, teller, pending }
    }
}

/// Records each completion before openraft hears of it.
async fn pass_completions_on(mut incoming: mpsc::UnboundedReceiver<Pending>, teller: Teller) {
    while let Some(pending) = incoming.recv().await {
        let result = match pending.completed.await {
            Ok(result) => result,
            Err(_dropped) => Err(io::Error::other("the log dropped a completion")),
        };
        if let (Ok(()), Some(position)) = (&result, pending.last) {
            teller.tell(TraceKind::Flushed { position });
        }
        pending.callback.io_completed(result);
    }
}

impl<L: RaftLogStorage<Types>> RaftLogStorage<Types> for TracedLog<L> {
    type LogReader = L::LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        self.inner.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> L::LogReader {
        self.inner.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.teller.tell_truncation(None);
        self.inner.save_vote(vote).await?;
        self.teller.tell(TraceKind::VoteSaved { vote: marks::vote(vote) });
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.inner.save_committed(committed).await?;
        if let Some(log_id) = committed {
            self.teller.tell(TraceKind::Committed { position: marks::position(log_id) });
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.inner.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let marks: Vec<_> = entries.iter().map(marks::entry).collect();
        let last = marks.last().map(|mark| mark.position);
        self.teller.tell_truncation(None);
        if !marks.is_empty() {
            self.teller.tell(TraceKind::Appended { entries: marks });
        }
        let (told, completed) = Types::oneshot();
        let pending = Pending { last, completed, callback };
        // The task lives as long as the node's machine, and so does this log.
        let _ = self.pending.send(pending);
        self.inner.append(entries, IOFlushed::signal(told)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.teller.note_truncation(last_log_id.map(marks::position));
        self.inner.truncate_after(last_log_id).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.teller.tell_truncation(None);
        self.inner.purge(log_id).await?;
        self.teller.tell(TraceKind::Purged { upto: marks::position(log_id) });
        Ok(())
    }
}
