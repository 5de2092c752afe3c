//! From the lines of a history to operations: who asked for what, when, and what is known of it.
//!
//! A history is judged only when it is well formed: a process has one operation open at a time and
//! none after an unknown outcome, completions answer what was asked, and time does not go back.
//! Anything else is an error that names the line, because a verdict on such a file means nothing.
//! Operations that failed are left out: they never take effect.

use crate::hashing::Table;
use crate::history::{Answer, Event, EventKind, Operation, Outcome, Process};

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
    /// Nothing.
    Idle,
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
    let mut calls: Vec<Call<'_>> = Vec::with_capacity(history.len() / 2);
    let mut failed = Vec::new();
    let mut activities: Table<Process, Activity> = Table::default();
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
                let activity = activities.entry(event.process).or_insert(Activity::Idle);
                if let Some(problem) = busy(event.process, activity, &calls) {
                    return Err(fail(problem));
                }
                *activity = Activity::Open(calls.len());
                calls.push(invoked(event, index, operation));
            }
            EventKind::Complete { outcome } => {
                let activity = activities.entry(event.process).or_insert(Activity::Idle);
                let Activity::Open(call) = *activity else {
                    let process = event.process.0;
                    return Err(fail(format!(
                        "process {process} completes an operation, and has none open"
                    )));
                };
                *activity = Activity::Idle;
                match outcome {
                    Outcome::Ok { answer } => {
                        let returned = Returned { event: index, time_us: event.time_us, answer };
                        check_answer(calls[call].operation, answer).map_err(fail)?;
                        calls[call].returned = Some(returned);
                    }
                    Outcome::Fail { .. } => failed.push(call),
                    Outcome::Info { .. } => *activity = Activity::Retired(index + 1),
                }
            }
        }
    }
    remove(&mut calls, failed);
    Ok(calls)
}

/// Removes the calls of these numbers.
fn remove(calls: &mut Vec<Call<'_>>, mut numbers: Vec<usize>) {
    numbers.sort_unstable();
    let (mut number, mut next) = (0, numbers.into_iter().peekable());
    calls.retain(|_| {
        let kept = next.next_if_eq(&number).is_none();
        number += 1;
        kept
    });
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

/// Why a process may not invoke an operation.
fn busy(process: Process, activity: &Activity, calls: &[Call<'_>]) -> Option<String> {
    let process = process.0;
    match activity {
        Activity::Idle => None,
        Activity::Open(call) => {
            let line = calls[*call].invoked + 1;
            Some(format!("process {process} invokes while its operation of line {line} is open"))
        }
        Activity::Retired(line) => Some(format!(
            "process {process} invokes after the unknown outcome of line {line}; expected its \
             client to go on under a new process number"
        )),
    }
}

fn check_answer(operation: &Operation, answer: &Answer) -> Result<(), String> {
    if fits(operation, answer) {
        return Ok(());
    }
    Err(format!(
        "this answer does not fit its operation, a {}; expected {}",
        name(operation),
        expected(operation)
    ))
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
