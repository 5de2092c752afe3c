//! A run under watch: its progress, its interrupt, its watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::mutants::Mutant;
use crate::run::{Abort, Control, Recorder, Run, run};
use crate::schedule::Schedule;
use crate::verdict::Verdict;

/// How often the watcher looks.
const GLANCE: Duration = Duration::from_millis(100);
/// A run whose virtual time stands still for so many glances is taken for a livelock.
const STILL_GLANCES_MAX: u32 = 600;
/// A run that was asked to end and does not within so many more glances is given up.
const DEAF_GLANCES_MAX: u32 = 50;

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
    mut progress: impl FnMut(u64),
) -> Run {
    let control = Arc::new(Control::default());
    let recorder = Recorder::new(control.clone());
    let (finished, result) = channel();
    {
        let (schedule, recorder) = (schedule.clone(), recorder.clone());
        std::thread::spawn(move || {
            // A watcher that gave the run up does not listen any more.
            let _ = finished.send(run(&schedule, mutant, &recorder));
        });
    }
    let (mut still, mut deaf, mut last_us) = (0, 0, 0);
    loop {
        match result.recv_timeout(GLANCE) {
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
        if still >= STILL_GLANCES_MAX {
            control.abort(Abort::Livelock);
        }
        deaf += u32::from(control.aborted().is_some());
        if deaf > DEAF_GLANCES_MAX {
            return lost(&recorder);
        }
    }
}

/// What is left of a run that does not answer: its recording so far.
fn lost(recorder: &Recorder) -> Run {
    let reason = "the run did not end when it was asked to; a task never yields".to_owned();
    Run { recording: recorder.finish(), verdict: Verdict::Unknown { reason } }
}
