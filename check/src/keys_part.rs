//! Keys that hold values, as a part: the polynomial special case where it applies, else the search.

use std::collections::BTreeSet;

use crate::calls::{Call, Line, NEVER};
use crate::cell_space::{CellSpace, Needs, Values};
use crate::cells::{Cell, NONE};
use crate::explain::Finding;
use crate::groups::{Group, Single};
use crate::history::Event;
use crate::operations;
use crate::parts::{Attempt, Illegal, Part};
use crate::register::Register;
use crate::search::{Allowance, Ending, Foresight, Space, Stuck, sweep};
use crate::verdict::Violation;
use crate::window::Kept;

/// Most calls that an attempt at a smaller window takes into account.
const WINDOW_CALLS_MAX: usize = 4096;

/// A group of keys without appends.
pub(crate) struct KeysPart<'h> {
    history: &'h [Event],
    group: Group<'h>,
    /// Kept from an attempt that found a contradiction, to explain it.
    prepared: Option<Prepared<'h>>,
}

/// A group, ready for its check.
enum Prepared<'h> {
    /// The values of its key are unique: nothing needs to be prepared.
    Register,
    Space(CellSpace<'h>),
}

impl<'h> Prepared<'h> {
    fn attempt(group: &Group<'h>, allowance: &mut Allowance<'_>) -> (Self, Attempt) {
        if let Some(mut register) = Register::new(group) {
            let attempt = match register.run(NEVER) {
                Ok(()) => Attempt::Linearizable,
                Err(broken) => Attempt::Illegal(Illegal {
                    call: broken.call,
                    before_is_legal: true,
                    suspects: broken.lines.iter().filter_map(|line| at(group, *line)).collect(),
                }),
            };
            return (Self::Register, attempt);
        }
        let space = CellSpace::new(group);
        let attempt = match sweep(&space, Foresight::Full, allowance) {
            Ending::Linearizable => Attempt::Linearizable,
            Ending::Stuck(Stuck { step, .. }) => {
                let call = space.steps()[step].call;
                Attempt::Illegal(Illegal { call, before_is_legal: false, suspects: Vec::new() })
            }
            Ending::Spent => Attempt::Spent,
            Ending::Stopped => Attempt::Stopped,
        };
        (Self::Space(space), attempt)
    }
}

/// The call that was asked or answered on a line.
fn at(group: &Group<'_>, line: Line) -> Option<u32> {
    let calls = &group.calls;
    if let Ok(number) = calls.binary_search_by_key(&line, |call| call.invoked) {
        return Some(number as u32);
    }
    let returned = |number: &u32| calls[*number as usize].returned;
    group.answered.binary_search_by_key(&line, returned).ok().map(|at| group.answered[at])
}

impl Part for KeysPart<'_> {
    fn describe(&self) -> String {
        self.group.describe()
    }

    fn len(&self) -> usize {
        self.group.calls.len()
    }

    fn attempt(&mut self, allowance: &mut Allowance<'_>) -> Attempt {
        let (prepared, attempt) = Prepared::attempt(&self.group, allowance);
        self.prepared = matches!(attempt, Attempt::Illegal(_)).then_some(prepared);
        attempt
    }

    fn explain(&self, illegal: Illegal, allowance: &mut Allowance<'_>) -> Violation {
        let group = &self.group;
        let prepared = self.prepared.as_ref().expect("a contradiction was found");
        let (illegal, possible) = match prepared {
            Prepared::Register => {
                let possible = self.possible_values(illegal.call);
                (illegal, possible)
            }
            Prepared::Space(space) => match sweep(space, Foresight::Blind, allowance) {
                Ending::Stuck(Stuck { step, states }) => {
                    let call = space.steps()[step].call;
                    let possible = self.possible_states(space, step, &states);
                    (Illegal { call, before_is_legal: true, ..illegal }, possible)
                }
                Ending::Linearizable | Ending::Spent | Ending::Stopped => (illegal, Vec::new()),
            },
        };
        let sources = Sources::new(group, prepared);
        let finding = Finding {
            part: group.describe(),
            history: self.history,
            calls: &group.calls,
            answered: &group.answered,
            illegal,
            possible,
            describe: &operations::describe,
            describe_answer: &operations::describe_answer,
        };
        finding.violation(allowance, &mut |kept, allowance| {
            let Some(some) = sources.group(group, kept) else { return false };
            allowance.spend_on(some.calls.len());
            matches!(Prepared::attempt(&some, allowance).1, Attempt::Illegal(_))
        })
    }
}

impl<'h> KeysPart<'h> {
    pub(crate) fn new(history: &'h [Event], group: Group<'h>) -> Self {
        Self { history, group, prepared: None }
    }

    /// What a call could have seen of a register in place of what it did.
    fn possible_values(&self, call: u32) -> Vec<String> {
        let group = &self.group;
        let (Some(mut register), Some(single)) = (Register::new(group), &group.single) else {
            return Vec::new();
        };
        if register.run(group.calls[call as usize].returned).is_err() {
            return Vec::new();
        }
        // Written last is most likely.
        let cells = (0..single.held.len() as Cell).zip(&single.held).rev();
        let admitted = cells.filter(|(cell, _)| register.admits(call, *cell));
        admitted.map(|(_, held)| operations::show(held.value())).collect()
    }

    /// The same from the states that a blind sweep met.
    fn possible_states(
        &self,
        space: &CellSpace<'_>,
        step: usize,
        states: &[Values],
    ) -> Vec<String> {
        let mut possible: Vec<String> = Vec::new();
        for values in states {
            let conditions = space.needs(step).conditions.iter();
            let unmet = conditions.map(|cell| space.key(*cell)).zip(&space.needs(step).conditions);
            for (key, _) in unmet.filter(|(key, cell)| values[*key] != **cell) {
                let value = operations::show(space.held[values[key] as usize].value());
                let words = match self.group.keys.as_slice() {
                    [_] => value,
                    keys => format!("{} = {value}", keys[key]),
                };
                if !possible.contains(&words) {
                    possible.push(words);
                }
            }
        }
        possible
    }
}

/// Which calls write and which need which cells of a group.
struct Sources<'a> {
    /// For each call the cells that it needs, and those that it writes.
    needs: Vec<(&'a [Cell], &'a [Cell])>,
    /// The calls that write a cell, cell by cell.
    writers: Vec<u32>,
    /// Where the writers of each cell begin.
    starts: Vec<u32>,
}

impl<'a> Sources<'a> {
    fn new(group: &'a Group<'_>, prepared: &'a Prepared<'_>) -> Self {
        let mut needs: Vec<(&[Cell], &[Cell])> = vec![(&[], &[]); group.calls.len()];
        let cells = match (prepared, &group.single) {
            (Prepared::Space(space), _) => {
                for (number, step) in space.steps().iter().enumerate() {
                    let Needs { conditions, effects } = space.needs(number);
                    needs[step.call as usize] = (conditions, effects);
                }
                space.held.len()
            }
            (Prepared::Register, single) => {
                let single = single.as_ref().expect("a register has one key");
                let some = |cell: &'a Cell| match *cell {
                    NONE => &[],
                    _ => std::slice::from_ref(cell),
                };
                for (needs, access) in needs.iter_mut().zip(&single.accesses) {
                    *needs = (some(&access.condition), some(&access.effect));
                }
                single.held.len()
            }
        };
        let mut starts = vec![0; cells + 1];
        let written = || {
            needs.iter().zip(0..).flat_map(|((_, effects), call)| {
                effects.iter().map(move |cell| (*cell as usize, call))
            })
        };
        written().for_each(|(cell, _)| starts[cell + 1] += 1);
        (0..cells).for_each(|cell| starts[cell + 1] += starts[cell]);
        let mut next = starts.clone();
        let mut writers = vec![0; starts[cells] as usize];
        for (cell, call) in written() {
            writers[next[cell] as usize] = call;
            next[cell] += 1;
        }
        Self { needs, writers, starts }
    }

    /// The calls that write a cell.
    fn writers(&self, cell: Cell) -> &[u32] {
        let cell = cell as usize;
        &self.writers[self.starts[cell] as usize..self.starts[cell + 1] as usize]
    }

    /// The group with the answers of the kept calls alone. Of the other calls those are there that
    /// may have written what the kept ones saw; none, when they are too many.
    fn group<'h>(&self, group: &Group<'h>, kept: &Kept) -> Option<Group<'h>> {
        let mut members: BTreeSet<u32> = kept.clone();
        let mut unseen: Vec<u32> = kept.iter().copied().collect();
        let until = kept.iter().map(|number| group.calls[*number as usize].returned).max()?;
        while let Some(number) = unseen.pop() {
            for cell in self.needs[number as usize].0 {
                for writer in self.writers(*cell) {
                    let asked = group.calls[*writer as usize].invoked < until;
                    if asked && members.insert(*writer) {
                        unseen.push(*writer);
                    }
                }
                if members.len() > WINDOW_CALLS_MAX {
                    return None;
                }
            }
        }
        let with_answers = |number: &u32| -> Call<'h> {
            let call = group.calls[*number as usize];
            if kept.contains(number) { call } else { call.without_answer() }
        };
        let calls: Vec<Call<'h>> = members.iter().map(with_answers).collect();
        let mut answered: Vec<u32> =
            (0..calls.len() as u32).filter(|one| calls[*one as usize].answer.is_some()).collect();
        answered.sort_unstable_by_key(|number| calls[*number as usize].returned);
        let single = group.single.as_ref().and_then(|_| Single::new(&calls));
        Some(Group { kind: group.kind, keys: group.keys.clone(), calls, answered, single })
    }
}
