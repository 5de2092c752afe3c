//! A run under watch: its progress, its interrupt, its watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::mutants::Mutant;
use crate::run::{Abort, Control, Recorder, Run, run};
use crate::schedule::Schedule;
use crate::verdict::Verdict;

/// How long the watcher waits for what.
struct Patience {
    /// How often it looks.
    glance: Duration,
    /// A run whose virtual time stands still for so many glances is taken for a livelock.
    still_glances_max: u32,
    /// A run that was asked to end and does not within so many more glances is given up.
    deaf_glances_max: u32,
}

const PATIENCE: Patience =
    Patience { glance: Duration::from_millis(100), still_glances_max: 600, deaf_glances_max: 50 };

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Turns the first interrupt of the user into the end of the runs in progress; the second one
/// ends the process.
pub(super) fn on_interrupt() {
    // Where no handler can be set, an interrupt ends the process, which is the usual thing.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
}

/// Whether the user interrupted the command.
pub(super) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Carries a schedule out. `progress` is told the virtual time, in microseconds, now and then.
pub(super) fn watched(
    schedule: &Schedule,
    mutant: Option<Mutant>,
    progress: impl FnMut(u64),
) -> Run {
    let schedule = schedule.clone();
    watch(&PATIENCE, progress, move |recorder| run(&schedule, mutant, recorder))
}

fn watch(
    patience: &Patience,
    mut progress: impl FnMut(u64),
    run: impl FnOnce(&Recorder) -> Run + Send + 'static,
) -> Run {
    let control = Arc::new(Control::default());
    let recorder = Recorder::new(control.clone());
    let (finished, result) = channel();
    {
        let recorder = recorder.clone();
        std::thread::spawn(move || {
            // A watcher that gave the run up does not listen any more.
            let _ = finished.send(run(&recorder));
        });
    }
    let (mut still, mut deaf, mut last_us) = (0, 0, 0);
    loop {
        match result.recv_timeout(patience.glance) {
            Ok(run) => return run,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return lost(&recorder),
        }
        let now_us = control.virtual_us();
        progress(now_us);
        still = if now_us == last_us { still + 1 } else { 0 };
        last_us = now_us;
        if interrupted() {
            control.abort(Abort::Interrupt);
        }
        if still >= patience.still_glances_max {
            control.abort(Abort::Livelock);
        }
        deaf += u32::from(control.aborted().is_some());
        if deaf > patience.deaf_glances_max {
            return lost(&recorder);
        }
    }
}

/// What is left of a run that does not answer: its recording so far.
fn lost(recorder: &Recorder) -> Run {
    let reason = "the run did not end when it was asked to; a task never yields".to_owned();
    Run { recording: recorder.finish(), verdict: Verdict::Unknown { reason } }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// Gives nobody up: the machine may let a run's thread wait for longer than any glances.
    const IMPATIENT: Patience = Patience {
        glance: Duration::from_millis(1),
        still_glances_max: 5,
        deaf_glances_max: u32::MAX,
    };

    fn ended(recorder: &Recorder) -> Run {
        let reason = format!("{:?}", recorder.control().aborted());
        Run { recording: recorder.finish(), verdict: Verdict::Unknown { reason } }
    }

    fn reason(run: Run) -> String {
        let Verdict::Unknown { reason } = run.verdict else { panic!("{:?}", run.verdict) };
        reason
    }

    #[test]
    fn a_run_whose_time_stands_still_is_asked_to_end() {
        let run = watch(
            &IMPATIENT,
            |_| {},
            |recorder| {
                while recorder.control().aborted().is_none() {
                    std::thread::yield_now();
                }
                ended(recorder)
            },
        );
        assert_eq!(reason(run), format!("{:?}", Some(Abort::Livelock)));
    }

    #[test]
    fn a_run_whose_time_passes_is_left_alone() {
        let (stepped, steps) = sync_channel(0);
        // No further glance before time has passed, or the run has ended.
        let progress = move |_| {
            let _ = steps.recv();
        };
        let run = watch(&IMPATIENT, progress, move |recorder| {
            for virtual_us in 1..u64::from(4 * IMPATIENT.still_glances_max) {
                recorder.control().progress(virtual_us);
                stepped.send(()).unwrap();
            }
            ended(recorder)
        });
        assert_eq!(reason(run), "None");
    }

    #[test]
    fn a_run_that_does_not_listen_is_given_up() {
        let (release, held) = channel::<()>();
        let run = watch(
            &Patience { deaf_glances_max: 5, ..IMPATIENT },
            |_| {},
            move |recorder| {
                // Until the test is over.
                let _ = held.recv();
                ended(recorder)
            },
        );
        assert!(reason(run).contains("a task never yields"));
        drop(release);
    }
}
