//! A place for one answer that may be given several times and is taken once.
//!
//! A oneshot channel will not do: a doubled request has two tasks that answer it, and the first
//! answer counts.

use std::sync::Mutex;
use std::task::{Poll, Waker};

use crate::lock::lock;

/// The place.
#[derive(Debug)]
pub(super) struct Answer<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Awaited(Option<Waker>),
    Given(T),
    /// The answer was taken, or nobody waits for one.
    Settled,
}

impl<T> Answer<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State::Awaited(None)))
    }

    /// Gives the answer; says whether it was the first and somebody waits for it.
    pub(super) fn give(&self, answer: T) -> bool {
        let mut state = lock(&self.0);
        let State::Awaited(waker) = &mut *state else { return false };
        let waker = waker.take();
        *state = State::Given(answer);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Whether an answer can still be given.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(*lock(&self.0), State::Awaited(_))
    }

    /// Nobody waits any longer; says whether the answer had not been taken.
    pub(super) fn abandon(&self) -> bool {
        let old = std::mem::replace(&mut *lock(&self.0), State::Settled);
        !matches!(old, State::Settled)
    }

    /// Takes the answer once it is given; never ready after that.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<T> {
        let mut state = lock(&self.0);
        match std::mem::replace(&mut *state, State::Settled) {
            State::Given(answer) => Poll::Ready(answer),
            State::Awaited(_) => {
                *state = State::Awaited(Some(waker.clone()));
                Poll::Pending
            }
            State::Settled => Poll::Pending,
        }
    }
}
