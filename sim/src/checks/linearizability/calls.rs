//! From the lines of a history to operations: who asked for what, when, and what is known of it.
//!
//! A history is judged only when it is well formed: a process has one operation open at a time and
//! none after an unknown outcome, completions answer what was asked, and time does not go back.
//! Anything else is an error that names the line, because a verdict on such a file means nothing.
//! Operations that failed are left out: they never take effect.

use std::collections::BTreeMap;

use aspen_core::history::{Answer, Event, EventKind, Operation, Outcome, Process};

/// Why a history cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct HistoryError {
    /// The event's number in the history, counted from 1, which is its line in a history file.
    pub line: usize,
    /// What was found and what was expected.
    pub problem: String,
}

/// One operation as its client saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'h> {
    /// Who asked.
    pub(crate) process: Process,
    /// What for.
    pub(crate) operation: &'h Operation,
    /// Which event asked.
    pub(crate) invoked: usize,
    /// When, in microseconds.
    pub(crate) invoked_us: u64,
    /// What came back; without it the operation takes effect once after `invoked`, or never.
    pub(crate) returned: Option<Returned<'h>>,
}

/// The end of an operation whose outcome is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned<'h> {
    /// Which event brought the answer.
    pub(crate) event: usize,
    /// When, in microseconds.
    pub(crate) time_us: u64,
    /// The answer.
    pub(crate) answer: &'h Answer,
}

/// What a process is doing.
enum Activity {
    /// It waits for the answer to this call.
    Open(usize),
    /// Its operation on this line ended in an unknown outcome, so it may not ask again.
    Retired(usize),
}

/// Pairs invocations with completions, in the order of the invocations.
///
/// # Errors
/// [`HistoryError`] at the first event that a well-formed history cannot have.
pub(crate) fn pair(history: &[Event]) -> Result<Vec<Call<'_>>, HistoryError> {
    let mut calls: Vec<Option<Call<'_>>> = Vec::with_capacity(history.len() / 2);
    let mut activities = BTreeMap::new();
    let mut last_us = 0;
    for (index, event) in history.iter().enumerate() {
        let fail = |problem: String| HistoryError { line: index + 1, problem };
        if event.time_us < last_us {
            let problem = format!("time_us goes back from {last_us} to {}", event.time_us);
            return Err(fail(problem));
        }
        last_us = event.time_us;
        match &event.kind {
            EventKind::Invoke { operation } => {
                if let Some(activity) = activities.get(&event.process) {
                    return Err(fail(reinvoked(event.process, activity, &calls)));
                }
                activities.insert(event.process, Activity::Open(calls.len()));
                calls.push(Some(invoked(event, index, operation)));
            }
            EventKind::Complete { outcome } => {
                let Some(Activity::Open(call)) = activities.remove(&event.process) else {
                    let process = event.process.0;
                    return Err(fail(format!(
                        "process {process} completes an operation, and has none open"
                    )));
                };
                if let Outcome::Info { .. } = outcome {
                    activities.insert(event.process, Activity::Retired(index + 1));
                }
                complete(&mut calls[call], event.time_us, index, outcome).map_err(fail)?;
            }
        }
    }
    Ok(calls.into_iter().flatten().collect())
}

fn invoked<'h>(event: &Event, index: usize, operation: &'h Operation) -> Call<'h> {
    Call {
        process: event.process,
        operation,
        invoked: index,
        invoked_us: event.time_us,
        returned: None,
    }
}

fn reinvoked(process: Process, activity: &Activity, calls: &[Option<Call<'_>>]) -> String {
    let process = process.0;
    match activity {
        Activity::Open(call) => {
            let line = calls[*call].map_or(0, |call| call.invoked + 1);
            format!("process {process} invokes while its operation of line {line} is open")
        }
        Activity::Retired(line) => format!(
            "process {process} invokes after the unknown outcome of line {line}; expected its \
             client to go on under a new process number"
        ),
    }
}

fn complete<'h>(
    slot: &mut Option<Call<'h>>,
    time_us: u64,
    event: usize,
    outcome: &'h Outcome,
) -> Result<(), String> {
    let call = slot.as_mut().expect("an open call is in its slot");
    match outcome {
        Outcome::Ok { answer } => {
            if !fits(call.operation, answer) {
                return Err(format!(
                    "this answer does not fit its operation, a {}; expected {}",
                    name(call.operation),
                    expected(call.operation)
                ));
            }
            call.returned = Some(Returned { event, time_us, answer });
        }
        Outcome::Fail { .. } => *slot = None,
        Outcome::Info { .. } => {}
    }
    Ok(())
}

/// The operation's name, as a history file writes it.
pub(crate) fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Get { .. } => "get",
        Operation::Set { .. } => "set",
        Operation::SetMulti { .. } => "set_multi",
        Operation::Delete { .. } => "delete",
        Operation::CompareAndSet { .. } => "compare_and_set",
        Operation::CompareAndDelete { .. } => "compare_and_delete",
        Operation::Scan { .. } => "scan",
    }
}

fn expected(operation: &Operation) -> &'static str {
    match operation {
        Operation::Get { .. } | Operation::Delete { .. } => "`value`",
        Operation::Set { .. } | Operation::SetMulti { .. } => "`done`",
        Operation::CompareAndSet { .. } | Operation::CompareAndDelete { .. } => {
            "`swapped` or `mismatch`"
        }
        Operation::Scan { .. } => "`rows`",
    }
}

fn fits(operation: &Operation, answer: &Answer) -> bool {
    match operation {
        Operation::Get { .. } | Operation::Delete { .. } => matches!(answer, Answer::Value { .. }),
        Operation::Set { .. } | Operation::SetMulti { .. } => matches!(answer, Answer::Done),
        Operation::CompareAndSet { .. } | Operation::CompareAndDelete { .. } => {
            matches!(answer, Answer::Swapped | Answer::Mismatch { .. })
        }
        Operation::Scan { .. } => matches!(answer, Answer::Rows { .. }),
    }
}
