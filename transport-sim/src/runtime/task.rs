//! Handles of spawned tasks, without madsim's task ids.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Waits for a task's end. Dropping it lets the task run on.
#[derive(Debug)]
pub struct JoinHandle<T>(madsim::task::JoinHandle<T>);

impl<T> JoinHandle<T> {
    pub(super) fn new(handle: madsim::task::JoinHandle<T>) -> Self {
        Self(handle)
    }

    /// Cancels the task at its next await point.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| JoinError)
    }
}

/// The task was cancelled, or the machine it ran on was killed.
///
/// madsim's own error says which task, by an id that differs between two runs of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinError;

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was cancelled")
    }
}

impl std::error::Error for JoinError {}
