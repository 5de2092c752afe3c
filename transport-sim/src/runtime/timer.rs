//! Sleeps and timeouts.
//!
//! madsim's `Sleep` adds a timer at every poll and has no way to take one back: a loop that waits
//! for a message or a deadline would leave a trail of timers, each of which wakes the task for
//! nothing. Ours adds one timer, at its first poll, with an [`Alarm`] in place of the task's
//! waker. Later polls change whom the alarm wakes; dropping the sleep makes it wake nobody.
//!
//! A sleep lasts a millisecond at least, as tokio's does: a loop of zero sleeps still lets time
//! pass.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::lock::lock;

/// What a pending timer wakes: the sleeper's latest waker, or nobody.
#[derive(Default)]
struct Alarm {
    sleeper: Mutex<Option<Waker>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let sleeper = lock(&self.sleeper).take();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }
}

/// Waits until a point in virtual time.
pub struct Sleep {
    timer: madsim::time::Sleep,
    alarm: Option<Arc<Alarm>>,
}

impl Sleep {
    pub(super) fn new(duration: Duration) -> Self {
        Self { timer: madsim::time::sleep(duration), alarm: None }
    }

    /// Adds the one timer of this sleep.
    fn arm(&mut self, sleeper: Waker) {
        let alarm = Arc::new(Alarm { sleeper: Mutex::new(Some(sleeper)) });
        let waker = Waker::from(Arc::clone(&alarm));
        let pending = Pin::new(&mut self.timer).poll(&mut Context::from_waker(&waker));
        debug_assert!(pending.is_pending(), "an elapsed timer needs no alarm");
        self.alarm = Some(alarm);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_elapsed() {
            return Poll::Ready(());
        }
        match &self.alarm {
            Some(alarm) => lock(&alarm.sleeper)
                .get_or_insert_with(|| cx.waker().clone())
                .clone_from(cx.waker()),
            None => self.arm(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let sleeper = self.alarm.take().and_then(|alarm| lock(&alarm.sleeper).take());
        drop(sleeper);
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

/// A timeout's deadline passed before its future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl std::error::Error for Elapsed {}

pin_project_lite::pin_project! {
    /// Polls a future until it is ready or a deadline passes; the future goes first.
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        deadline: Sleep,
    }
}

impl<F> Timeout<F> {
    pub(super) fn new(future: F, deadline: Sleep) -> Self {
        Self { future, deadline }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => this.deadline.poll(cx).map(|()| Err(Elapsed)),
        }
    }
}
