//! The queue of storage transactions: one at a time, in the order of the calls.
//!
//! A transaction stays here while it waits for its turn and while its sync takes its time, so
//! that a kill or a power failure finds it. Jobs own database handles, whose destructors come
//! back to the disk: they are run and dropped outside the disk's lock, never here.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use aspen_core::volume::Job;

/// A transaction's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

struct Waiting {
    ticket: Ticket,
    job: Option<Job>,
    in_flight: bool,
    waker: Option<Waker>,
}

/// The transactions that wait, the oldest first.
#[derive(Default)]
pub(super) struct JobQueue {
    waiting: VecDeque<Waiting>,
    last_ticket: u64,
}

impl JobQueue {
    pub(super) fn push(&mut self, job: Job) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.push_back(Waiting { ticket, job: Some(job), in_flight: false, waker: None });
        ticket
    }

    /// Ready when the transaction's turn has come, or when it is no longer in the queue.
    pub(super) fn poll_turn(&mut self, ticket: Ticket, context: &Context<'_>) -> Poll<()> {
        match self.waiting.iter().position(|waiting| waiting.ticket == ticket) {
            None | Some(0) => Poll::Ready(()),
            Some(at) => {
                self.waiting[at].waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Says that the first transaction's sync is under way. False if it is not in the queue.
    pub(super) fn set_in_flight(&mut self, ticket: Ticket) -> bool {
        match self.waiting.front_mut().filter(|first| first.ticket == ticket) {
            Some(first) => {
                first.in_flight = true;
                true
            }
            None => false,
        }
    }

    /// Hands out the first transaction to be run; its place stays taken until it leaves.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Job> {
        let first = self.waiting.front_mut().filter(|first| first.ticket == ticket)?;
        first.in_flight = false;
        first.job.take()
    }

    /// Hands out the transaction whose sync is under way.
    pub(super) fn take_in_flight(&mut self) -> Option<Job> {
        let first = self.waiting.front_mut().filter(|first| first.in_flight)?;
        first.in_flight = false;
        first.job.take()
    }

    /// Takes a transaction out of the order and wakes the next. What is returned must be dropped
    /// outside the disk's lock.
    #[must_use]
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Job> {
        let at = self.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        let left = self.waiting.remove(at)?;
        if let Some(waker) = self.waiting.front_mut().and_then(|first| first.waker.take()) {
            waker.wake();
        }
        left.job
    }

    /// Empties the queue and wakes everyone. What is returned must be dropped outside the lock.
    #[must_use]
    pub(super) fn drain(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for waiting in self.waiting.drain(..) {
            jobs.extend(waiting.job);
            if let Some(waker) = waiting.waker {
                waker.wake();
            }
        }
        jobs
    }
}
