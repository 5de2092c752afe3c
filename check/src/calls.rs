//! From the lines of a history to operations: who asked for what, when, and what is known of it.
//!
//! A history is judged only when it is well formed: a process has one operation open at a time and
//! none after an unknown outcome, completions answer what was asked, and time does not go back.
//! Anything else is an error that names the line, because a verdict on such a file means nothing.
//!
//! Times are lines, counted from 1: what happens on an earlier line happens before. So 0 is before
//! everything, and [`NEVER`] after it.

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

/// A line of a history, counted from 1.
pub(crate) type Line = u32;

/// Later than every line.
pub(crate) const NEVER: Line = Line::MAX;

/// In place of a line for an operation that failed: it never takes effect.
const FAILED: Line = NEVER - 1;

/// One operation as its client saw it.
#[derive(Debug)]
pub(crate) struct Call<'h, O = Operation, A = Answer> {
    /// What was asked.
    pub(crate) operation: &'h O,
    /// What came back; without it the operation takes effect once after `invoked`, or never.
    pub(crate) answer: Option<&'h A>,
    /// When it was asked.
    pub(crate) invoked: Line,
    /// When the answer came; [`NEVER`], or a mark that it failed, without an answer.
    pub(crate) returned: Line,
}

impl<O, A> Clone for Call<'_, O, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O, A> Copy for Call<'_, O, A> {}

impl<O, A> Call<'_, O, A> {
    /// Whether it never takes effect, so that nothing is to be said of it.
    pub(crate) fn failed(&self) -> bool {
        self.returned == FAILED
    }

    /// The same call, as if its client had never heard of it again.
    pub(crate) fn without_answer(self) -> Self {
        Self { answer: None, returned: NEVER, ..self }
    }
}

/// A history's operations.
#[derive(Debug)]
pub(crate) struct Calls<'h, O = Operation, A = Answer> {
    /// All of them, in the order of their invocations.
    pub(crate) calls: Vec<Call<'h, O, A>>,
    /// The numbers of those with an answer, in the order of the answers.
    pub(crate) answered: Vec<u32>,
}

/// What a process is doing.
#[derive(Clone, Copy)]
enum Activity {
    /// Nothing.
    Idle,
    /// It waits for the answer to this call.
    Open(u32),
    /// Its operation on this line ended in an unknown outcome, so it may not ask again.
    Retired(Line),
}

/// What each process is doing. Most numbers are small, and those need no hashing.
#[derive(Default)]
struct Activities {
    small: Vec<Activity>,
    large: Table<Process, Activity>,
}

impl Activities {
    const SMALL: u64 = 1 << 16;

    #[inline]
    fn of(&mut self, process: Process) -> &mut Activity {
        if process.0 >= Self::SMALL {
            return self.large.entry(process).or_insert(Activity::Idle);
        }
        let place = process.0 as usize;
        if place >= self.small.len() {
            self.grow(place);
        }
        &mut self.small[place]
    }

    #[cold]
    fn grow(&mut self, place: usize) {
        self.small.resize(place + 1, Activity::Idle);
    }
}

/// What is to be noted of the calls while they are paired.
pub(crate) trait Record<'h, O, A> {
    /// The next call begins.
    fn invoked(&mut self, operation: &'h O);

    /// The call of this number got its answer.
    ///
    /// # Errors
    /// What was expected in place of an answer that cannot be one to the operation.
    fn answered(&mut self, number: u32, call: &Call<'h, O, A>) -> Result<(), String>;
}

/// Pairs invocations with completions.
///
/// # Errors
/// [`HistoryError`] at the first event that a well-formed history cannot have.
pub(crate) fn pair<'h, O, A>(
    history: &'h [Event<O, A>],
    record: &mut impl Record<'h, O, A>,
) -> Result<Calls<'h, O, A>, HistoryError> {
    let mut paired = Calls {
        calls: Vec::with_capacity(history.len() / 2 + 1),
        answered: Vec::with_capacity(history.len() / 2 + 1),
    };
    let mut activities = Activities::default();
    let mut last_us = 0;
    for (index, event) in history.iter().enumerate() {
        let fail = |problem: String| HistoryError { line: index + 1, problem };
        if event.time_us < last_us {
            let problem = format!("time_us goes back from {last_us} to {}", event.time_us);
            return Err(fail(problem));
        }
        last_us = event.time_us;
        let line = Line::try_from(index + 1).ok().filter(|line| *line < FAILED);
        let line = line.ok_or_else(|| fail(format!("expected less than {FAILED} events")))?;
        let activity = activities.of(event.process);
        match &event.kind {
            EventKind::Invoke { operation } => {
                if let Some(problem) = busy(event.process, *activity, &paired.calls) {
                    return Err(fail(problem));
                }
                *activity = Activity::Open(paired.calls.len() as u32);
                let call = Call { operation, answer: None, invoked: line, returned: NEVER };
                paired.calls.push(call);
                record.invoked(operation);
            }
            EventKind::Complete { outcome } => {
                let Activity::Open(call) = *activity else {
                    let process = event.process.0;
                    return Err(fail(format!(
                        "process {process} completes an operation, and has none open"
                    )));
                };
                *activity = match outcome {
                    Outcome::Info { .. } => Activity::Retired(line),
                    Outcome::Ok { .. } | Outcome::Fail { .. } => Activity::Idle,
                };
                complete(&mut paired, call, line, outcome, record).map_err(fail)?;
            }
        }
    }
    Ok(paired)
}

fn complete<'h, O, A>(
    paired: &mut Calls<'h, O, A>,
    number: u32,
    line: Line,
    outcome: &'h Outcome<A>,
    record: &mut impl Record<'h, O, A>,
) -> Result<(), String> {
    match outcome {
        Outcome::Ok { answer } => {
            let call = &mut paired.calls[number as usize];
            (call.answer, call.returned) = (Some(answer), line);
            record.answered(number, call)?;
            paired.answered.push(number);
        }
        Outcome::Fail { .. } => paired.calls[number as usize].returned = FAILED,
        Outcome::Info { .. } => {}
    }
    Ok(())
}

/// Why a process may not invoke an operation.
fn busy<O, A>(process: Process, activity: Activity, calls: &[Call<'_, O, A>]) -> Option<String> {
    let process = process.0;
    match activity {
        Activity::Idle => None,
        Activity::Open(call) => {
            let line = calls[call as usize].invoked;
            Some(format!("process {process} invokes while its operation of line {line} is open"))
        }
        Activity::Retired(line) => Some(format!(
            "process {process} invokes after the unknown outcome of line {line}; expected its \
             client to go on under a new process number"
        )),
    }
}
