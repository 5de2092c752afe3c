//! Keys that hold values, as a part: the polynomial special case where it applies, else the search.

use std::collections::BTreeSet;

use crate::calls::{Call, Line, NEVER};
use crate::cell_space::{CellSpace, Cells, Values};
use crate::cells::{Access, Cell, CellIndex, KeyCells, NONE};
use crate::explain::Finding;
use crate::groups::{Group, Single};
use crate::held::Held;
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
        let sources = Sources::new(group);
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
            let some = sources.group(group, kept)?;
            allowance.spend_on(some.calls.len());
            Prepared::attempt(&some, allowance).1.is_illegal()
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
        let held = single.values.held();
        let cells = (0..held.len() as Cell).zip(held).rev();
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
        let conditions = &space.needs(step).conditions;
        if conditions.iter().any(|cell| matches!(space.held[*cell as usize], Held::Nonsense)) {
            return possible;
        }
        for values in states {
            for cell in conditions {
                let key = space.key(*cell);
                if values[key] == *cell {
                    continue;
                }
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

/// Which calls need which cells of a group, and which may write them. The cells of all keys are
/// numbered together, key by key.
struct Sources<'a> {
    needs: SourceNeeds<'a>,
    /// The calls that may write a cell without their answers, cell by cell.
    writers: Vec<u32>,
    /// Where the writers of each cell begin.
    starts: Vec<u32>,
}

/// What each call needs, with its answer and without: a comparison that did not hold may have held
/// then.
enum SourceNeeds<'a> {
    Single(&'a [Access], Vec<Access>),
    Many(Vec<(Cells, Cells)>),
}

impl<'a> Sources<'a> {
    fn new(group: &'a Group<'_>) -> Self {
        if let Some(single) = &group.single {
            let (unanswered, cells) = single.unanswered(&group.calls);
            let written = unanswered.iter().zip(0..).map(|(one, call)| (one.effect, call));
            let written: Vec<(Cell, u32)> = written.filter(|(cell, _)| *cell != NONE).collect();
            return Self::of(SourceNeeds::Single(&single.accesses, unanswered), &written, cells);
        }
        let mut cells = CellIndex::new(group.keys.len());
        let mut reduce = |call: &Call<'a>| cells.conditions_and_effects(&group.keys, call);
        let both = group.calls.iter().map(|call| (reduce(call).0, reduce(&call.without_answer())));
        let both: Vec<(KeyCells, (KeyCells, KeyCells))> = both.collect();
        let (first, count) = cells.first_cells();
        let number = |(key, cell): &(u32, Cell)| first[*key as usize] + cell;
        let all = |some: &KeyCells| some.iter().map(number).collect();
        let mut written = Vec::new();
        for ((_, (_, effects)), call) in both.iter().zip(0..) {
            written.extend(effects.iter().map(|cell| (number(cell), call)));
        }
        let needs = both.iter().map(|(with, (without, _))| (all(with), all(without))).collect();
        Self::of(SourceNeeds::Many(needs), &written, count as usize)
    }

    fn of(needs: SourceNeeds<'a>, written: &[(Cell, u32)], cells: usize) -> Self {
        let mut starts = vec![0; cells + 1];
        written.iter().for_each(|(cell, _)| starts[*cell as usize + 1] += 1);
        (0..cells).for_each(|cell| starts[cell + 1] += starts[cell]);
        let mut next = starts.clone();
        let mut writers = vec![0; written.len()];
        for (cell, call) in written {
            let place = &mut next[*cell as usize];
            writers[*place as usize] = *call;
            *place += 1;
        }
        Self { needs, writers, starts }
    }

    /// The cells that a call needs, with its answer or without.
    fn needed(&self, call: u32, answered: bool) -> Cells {
        let call = call as usize;
        match &self.needs {
            SourceNeeds::Single(with, without) => {
                let cell = if answered { with[call].condition } else { without[call].condition };
                (cell != NONE).then_some(cell).into_iter().collect()
            }
            SourceNeeds::Many(needs) if answered => needs[call].0.clone(),
            SourceNeeds::Many(needs) => needs[call].1.clone(),
        }
    }

    /// The calls that may write a cell.
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
            for cell in self.needed(number, kept.contains(&number)) {
                for writer in self.writers(cell) {
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
