//! The one task that carries the network's events out.
//!
//! It works off what is due, then waits for the next event with one madsim timer. madsim cannot
//! take a timer back, so the router remembers which of its own are pending and adds one only for
//! an event that comes before all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Network, Shared};
use crate::lock::lock;

/// The router's future. It ends when the last handle of the network is gone.
pub(super) struct Router(pub(super) Weak<Shared>);

impl Future for Router {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = self.0.upgrade() else { return Poll::Ready(()) };
        let network = Network { shared };
        loop {
            let now_us = network.shared.now_us();
            let mut state = lock(&network.shared.state);
            // While it works, the router need not be woken: it looks at the queue once more.
            state.router = None;
            let Some(event) = state.take_due(now_us) else {
                while state.timers.first().is_some_and(|first| *first <= now_us) {
                    state.timers.pop_first();
                }
                let next_us = state.next_due_us();
                let uncovered =
                    next_us.filter(|next| state.timers.first().is_none_or(|first| next < first));
                if let Some(at_us) = uncovered {
                    state.timers.insert(at_us);
                    network.shared.add_timer(at_us, cx);
                }
                state.router = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let work = state.carry_out(now_us, event);
            drop(state);
            if let Some(work) = work {
                (work.acceptor)(&network, work.incoming);
            }
        }
    }
}

impl Shared {
    /// Wakes the router at `at_us`, to the microsecond; madsim's own `sleep` would round up to a
    /// millisecond.
    fn add_timer(&self, at_us: u64, cx: &mut Context<'_>) {
        let mut timer = self.time.sleep(Duration::ZERO);
        let wait = Duration::from_micros(at_us).saturating_sub(self.time.elapsed());
        Pin::new(&mut timer).reset(self.time.now_instant() + wait);
        let pending = Pin::new(&mut timer).poll(cx).is_pending();
        debug_assert!(pending, "an event in the future needs a timer");
    }
}
