//! The key-value model, reduced to what a search needs: conditions and effects.
//!
//! Every operation with a known answer says which keys must hold which values at the instant at
//! which it takes effect, and what they hold afterwards. A get has conditions only, a set effects
//! only; a delete, and a comparison that held, have both; a comparison that did not hold is a
//! read. A scan is a conjunction of conditions: its rows, and the absence of every key that it
//! passed over; keys behind the last row of a full page are not constrained. So the search knows
//! nothing about operations, and the model nothing about searching.
//!
//! A pair of a key and a value is a [`Cell`]; "absent" is a value too.
//!
//! **Unknown outcomes that do not matter** are left out here. An operation of unknown outcome is
//! optional, so it may be removed from a linearization when that changes no condition: when no
//! operation that could still take effect after it has a condition on a cell that it writes. (From
//! its effect to the next write of the key, any condition on the key would have to be on that very
//! cell; there is none, so nobody notices.) For the same reason an optional operation is *retired*
//! once the last operation with such a condition has returned, and a plain write with an answer is
//! called *silent* when nobody notices it: it must find a place, and any place will do.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::history::{Answer, Operation, Text};

use crate::calls::Call;
use crate::groups::Group;
use crate::hashing::Table;

/// A key together with a value that it may hold.
pub(crate) type Cell = u32;

/// Few cells: an operation on one key has one at most of each kind.
pub(crate) type Cells = SmallVec<[Cell; 2]>;

/// Never returns.
pub(crate) const NEVER: usize = usize::MAX;

/// One operation as the search sees it.
#[derive(Debug)]
pub(crate) struct Step {
    /// Which of the group's calls it is.
    pub(crate) call: usize,
    /// Cells that must be in place when it takes effect.
    pub(crate) conditions: Cells,
    /// Cells that are in place afterwards. Empty: it only reads.
    pub(crate) effects: Cells,
    /// The answer contradicts itself, so that it can never have been given.
    pub(crate) impossible: bool,
    /// Its outcome is unknown: it may be left out.
    pub(crate) optional: bool,
    /// It must take effect, at all times can, and nobody will notice.
    pub(crate) silent: bool,
    /// Which event invoked it.
    pub(crate) invoked: usize,
    /// Which event completed it; for an optional step, when it stops to matter.
    pub(crate) leaves: usize,
}

/// What the search needs to know of a cell.
#[derive(Clone, Debug)]
pub(crate) struct CellFacts {
    /// Which key it belongs to.
    pub(crate) key: usize,
    /// How many steps can bring it about; being there at the beginning counts as one.
    pub(crate) writers: u32,
    /// The last invocation of a step that must take effect and has a condition on it.
    pub(crate) last_needed: usize,
    /// The last return of a step that has a condition on it.
    last_noticed: usize,
}

/// A group of operations, ready for the search.
#[derive(Debug)]
pub(crate) struct Model<'h> {
    /// The steps, in the order of their invocations.
    pub(crate) steps: Vec<Step>,
    /// The cells. The first ones, one for each key, are the absences, which is the initial state.
    pub(crate) cells: Vec<CellFacts>,
    values: Vec<Option<&'h Text>>,
}

impl<'h> Model<'h> {
    /// Reduces a group.
    pub(crate) fn new(group: &Group<'h>) -> Self {
        let mut cells = CellIndex::new(group);
        let calls = group.calls.iter().zip(&group.homes).enumerate();
        let mut steps: Vec<Step> =
            calls.map(|(number, (call, home))| reduce(number, call, *home, &mut cells)).collect();
        steps.retain(|step| !(step.optional && step.effects.is_empty()));
        let mut model = Self { steps, cells: cells.facts, values: cells.values };
        while model.drop_unnoticed() {}
        for step in &mut model.steps {
            let noticed = step.effects.iter().map(|cell| model.cells[*cell as usize].last_noticed);
            let noticed = noticed.max().unwrap_or(0);
            if step.optional {
                step.leaves = noticed;
            } else {
                let writes_only = step.conditions.is_empty() && !step.effects.is_empty();
                step.silent = writes_only && noticed < step.invoked;
            }
        }
        model
    }

    /// What a cell's key holds.
    pub(crate) fn value(&self, cell: Cell) -> Option<&'h Text> {
        self.values[cell as usize]
    }

    /// Leaves out optional steps that nobody can notice, and says whether there were any.
    fn drop_unnoticed(&mut self) -> bool {
        self.count();
        let before = self.steps.len();
        let cells = &self.cells;
        self.steps.retain(|step| {
            let noticed = |cell: &Cell| cells[*cell as usize].last_noticed > step.invoked;
            !step.optional || step.effects.iter().any(noticed)
        });
        self.steps.len() < before
    }

    fn count(&mut self) {
        let keys = self.cells.iter().map(|cell| cell.key + 1).max().unwrap_or(0);
        for (number, cell) in self.cells.iter_mut().enumerate() {
            cell.writers = u32::from(number < keys);
            cell.last_needed = 0;
            cell.last_noticed = 0;
        }
        for step in &self.steps {
            for cell in &step.effects {
                self.cells[*cell as usize].writers += 1;
            }
            for cell in &step.conditions {
                let facts = &mut self.cells[*cell as usize];
                facts.last_noticed = facts.last_noticed.max(step.leaves);
                if !step.optional {
                    facts.last_needed = facts.last_needed.max(step.invoked);
                }
            }
        }
    }
}

/// Numbers the cells of a group.
struct CellIndex<'g, 'h> {
    group: &'g Group<'h>,
    known: Table<(usize, &'h Text), Cell>,
    facts: Vec<CellFacts>,
    values: Vec<Option<&'h Text>>,
}

impl<'g, 'h> CellIndex<'g, 'h> {
    fn new(group: &'g Group<'h>) -> Self {
        let facts = |key| CellFacts { key, writers: 1, last_needed: 0, last_noticed: 0 };
        let keys = group.keys.len();
        Self {
            group,
            known: Table::with_capacity_and_hasher(group.calls.len() / 2, Default::default()),
            facts: (0..keys).map(facts).collect(),
            values: vec![None; keys],
        }
    }

    /// The cell of a key, given by its place in the group, and a value.
    fn cell(&mut self, key: usize, value: Option<&'h Text>) -> Cell {
        let Some(value) = value else { return key as Cell };
        *self.known.entry((key, value)).or_insert_with(|| {
            self.facts.push(CellFacts { key, writers: 0, last_needed: 0, last_noticed: 0 });
            self.values.push(Some(value));
            (self.facts.len() - 1) as Cell
        })
    }
}

fn reduce<'h>(number: usize, call: &Call<'h>, home: usize, cells: &mut CellIndex<'_, 'h>) -> Step {
    let mut step = Step {
        call: number,
        conditions: Cells::new(),
        effects: Cells::new(),
        impossible: false,
        optional: call.returned.is_none(),
        silent: false,
        invoked: call.invoked,
        leaves: call.returned.map_or(NEVER, |returned| returned.event),
    };
    let answer = call.returned.map(|returned| returned.answer);
    match call.operation {
        Operation::Get { .. } => {
            step.conditions.extend(seen(answer).map(|value| cells.cell(home, value)));
        }
        Operation::Set { value, .. } => step.effects.push(cells.cell(home, Some(value))),
        Operation::SetMulti { pairs } => {
            let last: BTreeMap<_, _> = pairs.iter().map(|(key, value)| (key, value)).collect();
            step.effects.extend(last.into_iter().map(|(key, value)| {
                let key = cells.group.key(key);
                cells.cell(key, Some(value))
            }));
        }
        Operation::Delete { .. } => {
            step.conditions.extend(seen(answer).map(|value| cells.cell(home, value)));
            step.effects.push(cells.cell(home, None));
        }
        Operation::CompareAndSet { expected, value, .. } => {
            compare(&mut step, cells, home, (expected.as_ref(), Some(value)), answer);
        }
        Operation::CompareAndDelete { expected, .. } => {
            compare(&mut step, cells, home, (Some(expected), None), answer);
        }
        Operation::Scan { prefix, limit } => {
            if let Some(Answer::Rows { rows }) = answer {
                scan(&mut step, cells, prefix, *limit, rows);
            }
        }
    }
    // Writing what is there already is reading.
    let conditions = &step.conditions;
    step.effects.retain(|effect| !conditions.contains(effect));
    step
}

/// The value in an answer: of the key before the operation.
fn seen(answer: Option<&Answer>) -> Option<Option<&Text>> {
    match answer? {
        Answer::Value { value } | Answer::Mismatch { value } => Some(value.as_ref()),
        Answer::Done | Answer::Swapped | Answer::Rows { .. } => None,
    }
}

fn compare<'h>(
    step: &mut Step,
    cells: &mut CellIndex<'_, 'h>,
    key: usize,
    (expected, new): (Option<&'h Text>, Option<&'h Text>),
    answer: Option<&'h Answer>,
) {
    match seen(answer) {
        Some(found) => {
            step.conditions.push(cells.cell(key, found));
            step.impossible = found == expected;
        }
        // It was swapped, or it is unknown, and then only a swap has an effect.
        None => {
            step.conditions.push(cells.cell(key, expected));
            step.effects.push(cells.cell(key, new));
        }
    }
}

fn scan<'h>(
    step: &mut Step,
    cells: &mut CellIndex<'_, 'h>,
    prefix: &'h Text,
    limit: u64,
    rows: &'h [(Text, Text)],
) {
    let ascending = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let inside = rows.iter().all(|(key, _)| key.0.starts_with(&prefix.0));
    step.impossible = !ascending || !inside || rows.len() as u64 > limit;
    if step.impossible {
        return;
    }
    let full = rows.len() as u64 == limit;
    let last = rows.last().map(|(key, _)| key);
    let group = cells.group;
    for (number, key) in group.keys.iter().enumerate() {
        let passed = !full || last.is_some_and(|last| *key <= last);
        if passed && key.0.starts_with(&prefix.0) {
            let row = rows.binary_search_by(|(listed, _)| listed.cmp(key));
            let value = row.ok().map(|row| &rows[row].1);
            step.conditions.push(cells.cell(number, value));
        }
    }
}
