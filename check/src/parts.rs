//! The independent parts of a history, and how one verdict comes of theirs.
//!
//! Parts are tried in turn, each with a small budget at first. Those that spend it are tried again
//! with a larger one, until they are decided, the budget is spent, or another part turns out to be
//! illegal: so an expensive part does not hide a violation in a cheap one, and costs little before
//! it is found.

use crate::Budget;
use crate::search::Allowance;
use crate::verdict::{Undecided, Verdict, Violation};

/// Operations that can be judged apart from all others.
pub(crate) trait Part {
    /// Which, in words.
    fn describe(&self) -> String;

    /// How many operations.
    fn len(&self) -> usize;

    /// Looks for an order that explains every answer.
    fn attempt(&mut self, allowance: &mut Allowance<'_>) -> Attempt;

    /// Says why there is none, after an attempt that found so.
    fn explain(&self, illegal: Illegal, allowance: &mut Allowance<'_>) -> Violation;
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// There is an order.
    Linearizable,
    /// There is none.
    Illegal(Illegal),
    /// The allowance was spent.
    Spent,
    /// The caller wanted it to end.
    Stopped,
}

impl Attempt {
    /// Whether there is no order, if that is known.
    pub(crate) fn is_illegal(&self) -> Option<bool> {
        match self {
            Self::Linearizable => Some(false),
            Self::Illegal(_) => Some(true),
            Self::Spent | Self::Stopped => None,
        }
    }
}

/// What an attempt knows of a contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Illegal {
    /// The call without a place.
    pub(crate) call: u32,
    /// Whether everything before its answer has an order.
    pub(crate) before_is_legal: bool,
    /// Calls that are likely to show it.
    pub(crate) suspects: Vec<u32>,
}

/// How much larger the budget of the next round is.
const GROWTH: u64 = 16;

/// What the search for explanations may spend on top of what the check has visited so far, so that
/// an illegal history takes no more than about twice the time of a legal one; each gets a tenth.
const EXPLAINING_STATES: u64 = 5_000;

/// Judges all parts. `stop` is asked now and then by those that search; with yes they stay unknown.
/// What needs no search, or little, is judged all the same.
pub(crate) fn judge<'p>(
    parts: Vec<Box<dyn Part + 'p>>,
    budget: Budget,
    stop: &mut dyn FnMut() -> bool,
) -> Verdict {
    let mut violations = Vec::new();
    let mut open: Vec<(Box<dyn Part + 'p>, u64)> = parts
        .into_iter()
        .map(|part| {
            let first = 1024 + 4 * part.len() as u64;
            (part, first.min(budget.states_per_group))
        })
        .collect();
    let mut undecided = Vec::new();
    let (mut visited, mut explained) = (0, 0);
    while !open.is_empty() && violations.is_empty() {
        let round = std::mem::take(&mut open);
        for (mut part, states) in round {
            let mut allowance = Allowance { states, stop: &mut *stop };
            let attempt = part.attempt(&mut allowance);
            visited += states - allowance.states;
            match attempt {
                Attempt::Linearizable => {}
                Attempt::Illegal(illegal) => {
                    let states = (EXPLAINING_STATES + visited).saturating_sub(explained);
                    allowance.states = states.max(EXPLAINING_STATES / 10);
                    let before = allowance.states;
                    violations.push(part.explain(illegal, &mut allowance));
                    explained += before - allowance.states;
                }
                Attempt::Spent if states < budget.states_per_group => {
                    let more = states.saturating_mul(GROWTH).min(budget.states_per_group);
                    open.push((part, more));
                }
                Attempt::Spent => {
                    let reason = format!("gave up after {states} visited states");
                    undecided.push(Undecided { group: part.describe(), reason });
                }
                Attempt::Stopped => {
                    let reason = "stopped before it was decided".to_owned();
                    undecided.push(Undecided { group: part.describe(), reason });
                }
            }
        }
    }
    if !violations.is_empty() {
        Verdict::Illegal { violations }
    } else if !undecided.is_empty() {
        Verdict::Unknown { undecided }
    } else {
        Verdict::Linearizable
    }
}
