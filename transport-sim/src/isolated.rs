//! One run, on one fresh OS thread.
//!
//! A reused thread remembers: hashers, thread-local generators and madsim's own state leak from
//! one run into the next, and the same seed then gives other bytes. A fresh thread forgets. A
//! panic in any task of a run unwinds out of the executor; it is caught here and handed back as
//! data, because to the simulator it is a finding about the system under test.
//!
//! At the end every registered machine is killed and one virtual second passes, in which the
//! killed tasks are dropped; without that each run would leak its tasks.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::time::Duration;

use crate::runtime::machine;

/// Deep futures of an unoptimised build want more than the default two megabytes.
const STACK_BYTES: usize = 16 << 20;
/// How long killed tasks get to be dropped; their timers hold them that long.
const WIND_DOWN: Duration = Duration::from_secs(1);

/// A task of the run panicked, which ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPanicked {
    /// The panic's message.
    pub message: String,
    /// File, line and column of the panic, where known.
    pub location: Option<String>,
}

impl std::fmt::Display for RunPanicked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{} (at {location})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for RunPanicked {}

/// Runs one simulation to its end and returns what its future returns. `make` is called inside the
/// run: it may already start tasks and networks.
///
/// `seed` is the executor's: from it madsim draws which ready task runs next. Tasks on machines
/// that are not registered draw from a stream of this seed, too. Nested runs are not possible:
/// madsim forbids a simulated task to start a thread.
///
/// # Errors
/// [`RunPanicked`] when any task panicked, or when every task waits and no timer is left.
pub fn run_isolated<F, T>(seed: u64, make: impl FnOnce() -> F + Send) -> Result<T, RunPanicked>
where
    F: Future<Output = T>,
    T: Send,
{
    install_quiet_hook();
    std::thread::scope(|scope| {
        let run = std::thread::Builder::new()
            .name("simulation".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, move || run_here(seed, make))
            .expect("the operating system lends a thread");
        run.join().expect("run_here catches every panic")
    })
}

fn run_here<F, T>(seed: u64, make: impl FnOnce() -> F) -> Result<T, RunPanicked>
where
    F: Future<Output = T>,
{
    FOUND.set(Some(None));
    machine::reset(seed);
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime =
            madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(async move {
            let value = make().await;
            machine::kill_all();
            madsim::time::sleep(WIND_DOWN).await;
            value
        })
    }));
    result.map_err(|payload| {
        let found = FOUND.take().flatten();
        found.unwrap_or_else(|| RunPanicked { message: payload_text(&*payload), location: None })
    })
}

thread_local! {
    /// `None` outside a run; inside, the first panic of the run once there is one.
    static FOUND: RefCell<Option<Option<RunPanicked>>> = const { RefCell::new(None) };
}

/// Makes panics on simulation threads silent, once for the process; other threads keep the hook
/// that was there. The first panic counts: what panics while it unwinds is only its echo.
fn install_quiet_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let in_run = FOUND.try_with(|found| record(&mut found.borrow_mut(), info));
            if !in_run.unwrap_or(false) {
                before(info);
            }
        }));
    });
}

/// Keeps the panic if this thread is a run's, and says whether it is.
fn record(found: &mut Option<Option<RunPanicked>>, info: &PanicHookInfo<'_>) -> bool {
    let Some(first) = found else { return false };
    first.get_or_insert_with(|| RunPanicked {
        message: payload_text(info.payload()),
        location: info.location().map(ToString::to_string),
    });
    true
}

fn payload_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic without words".to_owned())
}
