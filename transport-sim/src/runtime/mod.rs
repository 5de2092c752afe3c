//! openraft's [`AsyncRuntime`] on madsim's executor and clock.
//!
//! Tasks, join handles and timers are thin coats over madsim's; mpsc, oneshot and mutex over
//! tokio's, which need no tokio executor. The [`watch`] channel is our own, because tokio's wakes
//! its waiters in an order drawn from a hidden generator. Random numbers and the wall clock
//! belong to the [`machine`] that the asking task runs on.
//!
//! No task id ever leaves this module: madsim counts them for the whole process, so they differ
//! between two runs of one seed.
//!
//! Left out: threads. What openraft would do on one (`spawn_blocking`) runs inline.

mod channels;
mod instant;
pub mod machine;
mod task;
mod timer;
pub mod watch;

use std::future::Future;
use std::io;
use std::time::Duration;

use aspen_core::{LogTime, Runtime};
use openraft_rt::{AsyncRuntime, Instant, OptionalSend};

pub use channels::{
    MpscReceiver, MpscSender, MpscWeakSender, OneshotSender, SimMpsc, SimMutex, SimOneshot,
};
pub use instant::SimInstant;
pub use machine::{SimRng, register_node, set_clock_offset};
pub use task::{JoinError, JoinHandle};
pub use timer::{Elapsed, Sleep, Timeout};
pub use watch::SimWatch;

/// The simulated world as a node sees it. It has no state: the executor is the thread's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimRuntime;

impl AsyncRuntime for SimRuntime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = SimInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = SimRng;
    type Mpsc = SimMpsc;
    type Watch = SimWatch;
    type Oneshot = SimOneshot;
    type Mutex<T: OptionalSend + 'static> = SimMutex<T>;

    #[track_caller]
    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        JoinHandle::new(madsim::task::spawn(future))
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep::new(duration)
    }

    fn sleep_until(deadline: SimInstant) -> Sleep {
        Sleep::new(deadline - SimInstant::now())
    }

    fn timeout<R, F>(duration: Duration, future: F) -> Timeout<F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        Timeout::new(future, Self::sleep(duration))
    }

    fn timeout_at<R, F>(deadline: SimInstant, future: F) -> Timeout<F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        Timeout::new(future, Self::sleep_until(deadline))
    }

    /// Never: a panic in a task ends the whole run before anyone could join the task.
    fn is_panic(_error: &JoinError) -> bool {
        false
    }

    fn thread_rng() -> SimRng {
        SimRng
    }

    fn new(_threads: usize) -> Self {
        Self
    }

    /// Runs `future` on a new executor with seed 0, on this thread. For openraft's own tests;
    /// simulations go through [`run_isolated`](crate::run_isolated).
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        machine::reset(0);
        madsim::runtime::Runtime::with_seed_and_config(0, madsim::Config::default())
            .block_on(future)
    }

    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        std::future::ready(Ok(f()))
    }
}

impl Runtime for SimRuntime {
    fn wall_clock() -> LogTime {
        machine::wall_clock()
    }
}
