//! A contradiction in words and as data: the window, the culprit, and what could have been seen.

use crate::calls::{Call, Line, NEVER};
use crate::history::Event;
use crate::parts::Illegal;
use crate::search::Allowance;
use crate::verdict::{Evidence, Explanation, Moment, Violation, WindowOperation};
use crate::window::{self, Kept, Window};

/// Most answers that are named as possible.
const POSSIBLE_MAX: usize = 8;
/// Most calls that are shown where no smallest window was found.
const CONCURRENT_MAX: usize = 16;
/// What one attempt at a smaller window may spend.
const ATTEMPT_STATES: u64 = 5_000;

/// A contradiction, as far as it is known.
pub(crate) struct Finding<'a, 'h, O, A> {
    /// The part in words.
    pub(crate) part: String,
    pub(crate) history: &'h [Event<O, A>],
    pub(crate) calls: &'a [Call<'h, O, A>],
    /// The numbers of the calls with an answer, in the order of the answers.
    pub(crate) answered: &'a [u32],
    pub(crate) illegal: Illegal,
    /// What the culprit could have seen, in words.
    pub(crate) possible: Vec<String>,
    pub(crate) describe: &'a dyn Fn(&O) -> String,
    pub(crate) describe_answer: &'a dyn Fn(&A) -> String,
}

impl<'h, O, A> Finding<'_, 'h, O, A> {
    /// Looks for the smallest window, and puts everything in words. `illegal` says whether the
    /// history is so with these answers alone.
    pub(crate) fn violation(
        self,
        allowance: &mut Allowance<'_>,
        illegal: &mut dyn FnMut(&Kept, &mut Allowance<'_>) -> Option<bool>,
    ) -> Violation {
        let found = self.calls[self.illegal.call as usize];
        let before = |line: Line| {
            self.answered.partition_point(|one| self.calls[*one as usize].returned <= line)
        };
        // The search knows the answers of the operations that are open, so theirs may be needed.
        let open = self.calls.iter().take_while(|call| call.invoked < found.returned);
        let last = open.filter(|call| call.answer.is_some()).map(|call| call.returned).max();
        let (certain, all) = (before(found.returned), before(last.unwrap_or(found.returned)));
        let suspects: Vec<u32> =
            self.illegal.suspects.iter().copied().chain([self.illegal.call]).collect();
        let mut exhausted = false;
        let window = window::smallest(&self.answered[..all], certain, &suspects, &mut |kept| {
            if kept.is_empty() {
                // Then nothing needs to have happened.
                return Some(false);
            }
            let states = ATTEMPT_STATES.min(allowance.states);
            let mut attempt = Allowance { states, stop: &mut *allowance.stop };
            let is_illegal = illegal(kept, &mut attempt);
            let left = attempt.states;
            exhausted |= is_illegal.is_none();
            allowance.states -= states - left;
            is_illegal
        });
        let legal_lines = if self.illegal.before_is_legal { found.returned - 1 } else { 0 };
        match window {
            Some(Window { kept, smallest, before_is_legal }) => {
                let last = kept.iter().map(|one| self.calls[*one as usize].returned).max();
                let legal_lines = match last {
                    Some(last) if before_is_legal && last > found.returned => last - 1,
                    _ => legal_lines,
                };
                self.describe(&kept, smallest && !exhausted, legal_lines, Line::MAX)
            }
            None => self.describe(&self.concurrent(found), false, legal_lines, found.returned),
        }
    }

    /// The call without a place and the last ones that were under way together with it.
    fn concurrent(&self, culprit: Call<'h, O, A>) -> Kept {
        let overlaps = |call: &Call<'h, O, A>| {
            call.invoked <= culprit.returned && call.returned >= culprit.invoked
        };
        let last_first = (0..self.calls.len() as u32).rev();
        let overlapping = last_first.filter(|number| overlaps(&self.calls[*number as usize]));
        overlapping.take(CONCURRENT_MAX).chain([self.illegal.call]).collect()
    }

    /// The violation with this window. Its operations are shown as they stood on the line `until`.
    fn describe(&self, kept: &Kept, smallest: bool, legal_lines: Line, until: Line) -> Violation {
        let last = |number: &u32| {
            let returned = self.calls[*number as usize].returned;
            (returned <= until && returned < NEVER, returned)
        };
        let answered = kept.iter().filter(|number| last(number).0);
        let culprit = answered.max_by_key(|number| last(number).1).copied();
        let culprit = culprit.unwrap_or(self.illegal.call);
        let window: Vec<WindowOperation> =
            kept.iter().map(|number| self.operation(*number, until, *number == culprit)).collect();
        let call = &self.calls[culprit as usize];
        let mut possible = self.possible.clone();
        possible.truncate(POSSIBLE_MAX);
        if culprit != self.illegal.call {
            possible.clear();
        }
        let operation = (self.describe)(call.operation);
        let answer = call.answer.map(|answer| (self.describe_answer)(answer));
        let answer = answer.unwrap_or_else(|| "unknown".to_owned());
        let instead = match possible.as_slice() {
            [] => String::new(),
            some => format!("; possible would have been {}", some.join(" or ")),
        };
        let message = format!(
            "not linearizable ({}): no order of the operations up to line {} explains the answer of \
             process {} {operation} → {answer}{instead}",
            self.part,
            call.returned,
            self.process(call),
        );
        let explanation = Explanation {
            legal_lines: legal_lines.into(),
            illegal_lines: if until < NEVER { self.last_line() } else { call.returned }.into(),
            window,
            smallest,
            possible,
        };
        let evidence = explanation.window.iter().map(evidence).collect();
        Violation { group: self.part.clone(), message, evidence, explanation }
    }

    /// The line of the last answer.
    fn last_line(&self) -> Line {
        self.answered.last().map_or(0, |number| self.calls[*number as usize].returned)
    }

    fn process(&self, call: &Call<'h, O, A>) -> u64 {
        self.history[call.invoked as usize - 1].process.0
    }

    /// A call as it stood on the line `until`.
    fn operation(&self, number: u32, until: Line, culprit: bool) -> WindowOperation {
        let mut call = self.calls[number as usize];
        if call.returned > until {
            call = call.without_answer();
        }
        let moment = |line: Line| Moment {
            line: u64::from(line),
            time_us: self.history[line as usize - 1].time_us,
        };
        WindowOperation {
            process: self.history[call.invoked as usize - 1].process,
            operation: (self.describe)(call.operation),
            answer: call.answer.map(|answer| (self.describe_answer)(answer)),
            invoked: moment(call.invoked),
            returned: (call.returned != NEVER).then(|| moment(call.returned)),
            culprit,
        }
    }
}

fn evidence(one: &WindowOperation) -> Evidence {
    let role = if one.culprit { "has no place: " } else { "" };
    let answer = one.answer.as_deref().unwrap_or("unknown");
    let lines = match one.returned {
        Some(returned) => format!("lines {} to {}", one.invoked.line, returned.line),
        None => format!("from line {} on", one.invoked.line),
    };
    let (process, operation) = (one.process.0, &one.operation);
    let text = format!("{role}process {process} {operation} → {answer} ({lines})");
    Evidence { time_us: one.invoked.time_us, text }
}
