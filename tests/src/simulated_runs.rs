//! Whole simulated runs in a test's hands: a schedule carried out, or many beside each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aspen_sim::mutants::Mutant;
use aspen_sim::run::{Control, Recorder, Run, run};
use aspen_sim::scenario::Scenario;
use aspen_sim::schedule::Schedule;
use aspen_sim::verdict::Verdict;

/// Every chaos kind, none and all of them, as the command line writes them.
pub const CHAOS: [&str; 7] = ["none", "partition", "network", "crash", "pause", "disk", "all"];

/// The default scenario under `chaos`.
///
/// # Panics
/// When there is no such chaos.
pub fn scenario(chaos: &str) -> Scenario {
    let chaos = chaos.parse().expect("the test names a chaos kind that exists");
    Scenario { chaos, ..Scenario::default() }
}

/// Carries a schedule out, as the commands do.
pub fn carry_out(schedule: &Schedule, mutant: Option<Mutant>) -> Run {
    run(schedule, mutant, &Recorder::new(Arc::new(Control::default())))
}

/// Does the work on every item, one item on each core at a time; the results keep the order.
///
/// # Panics
/// When the work does.
pub fn side_by_side<I: Sync, R: Send>(items: &[I], work: impl Fn(&I) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { return };
                    let result = work(item);
                    done.lock().expect("no holder of this lock panics").push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no holder of this lock panics");
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The names of the violated properties; none for a valid run.
///
/// # Panics
/// When the verdict is unknown, which never counts as a pass or as a find.
pub fn violated(verdict: &Verdict) -> Vec<&str> {
    match verdict {
        Verdict::Valid => Vec::new(),
        Verdict::Invalid { violations } => {
            violations.iter().map(|violation| violation.property.as_str()).collect()
        }
        Verdict::Unknown { reason } => panic!("the verdict is unknown: {reason}"),
    }
}
