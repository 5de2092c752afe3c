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

use aspen_core::history::{Answer, Operation, Text};

use super::calls::Call;
use super::groups::Group;

/// A key together with a value that it may hold.
pub(crate) type Cell = u32;

/// Never returns.
pub(crate) const NEVER: usize = usize::MAX;

/// One operation as the search sees it.
#[derive(Debug)]
pub(crate) struct Step {
    /// Which of the group's calls it is.
    pub(crate) call: usize,
    /// Cells that must be in place when it takes effect.
    pub(crate) conditions: Vec<Cell>,
    /// Cells that are in place afterwards. Empty: it only reads.
    pub(crate) effects: Vec<Cell>,
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
        let mut cells = CellIndex::new(&group.keys);
        let calls = group.calls.iter().enumerate();
        let mut steps: Vec<Step> =
            calls.map(|(number, call)| reduce(number, call, &mut cells)).collect();
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
struct CellIndex<'h> {
    keys: BTreeMap<&'h Text, usize>,
    known: Vec<BTreeMap<&'h Text, Cell>>,
    facts: Vec<CellFacts>,
    values: Vec<Option<&'h Text>>,
}

impl<'h> CellIndex<'h> {
    fn new(keys: &[&'h Text]) -> Self {
        let facts = |key| CellFacts { key, writers: 1, last_needed: 0, last_noticed: 0 };
        Self {
            keys: keys.iter().enumerate().map(|(number, key)| (*key, number)).collect(),
            known: vec![BTreeMap::new(); keys.len()],
            facts: (0..keys.len()).map(facts).collect(),
            values: vec![None; keys.len()],
        }
    }

    fn cell(&mut self, key: &'h Text, value: Option<&'h Text>) -> Cell {
        let key = *self.keys.get(key).expect("a group holds every key of its calls");
        let Some(value) = value else { return key as Cell };
        *self.known[key].entry(value).or_insert_with(|| {
            self.facts.push(CellFacts { key, writers: 0, last_needed: 0, last_noticed: 0 });
            self.values.push(Some(value));
            (self.facts.len() - 1) as Cell
        })
    }
}

fn reduce<'h>(number: usize, call: &Call<'h>, cells: &mut CellIndex<'h>) -> Step {
    let mut step = Step {
        call: number,
        conditions: Vec::new(),
        effects: Vec::new(),
        impossible: false,
        optional: call.returned.is_none(),
        silent: false,
        invoked: call.invoked,
        leaves: call.returned.map_or(NEVER, |returned| returned.event),
    };
    let answer = call.returned.map(|returned| returned.answer);
    match call.operation {
        Operation::Get { key } => {
            step.conditions.extend(seen(answer).map(|value| cells.cell(key, value)));
        }
        Operation::Set { key, value } => step.effects.push(cells.cell(key, Some(value))),
        Operation::SetMulti { pairs } => {
            let last: BTreeMap<_, _> = pairs.iter().map(|(key, value)| (key, value)).collect();
            step.effects.extend(last.into_iter().map(|(key, value)| cells.cell(key, Some(value))));
        }
        Operation::Delete { key } => {
            step.conditions.extend(seen(answer).map(|value| cells.cell(key, value)));
            step.effects.push(cells.cell(key, None));
        }
        Operation::CompareAndSet { key, expected, value } => {
            compare(&mut step, cells, key, (expected.as_ref(), Some(value)), answer);
        }
        Operation::CompareAndDelete { key, expected } => {
            compare(&mut step, cells, key, (Some(expected), None), answer);
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
    cells: &mut CellIndex<'h>,
    key: &'h Text,
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
    cells: &mut CellIndex<'h>,
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
    let passed: Vec<&'h Text> = cells
        .keys
        .keys()
        .copied()
        .filter(|key| key.0.starts_with(&prefix.0))
        .filter(|key| !full || last.is_some_and(|last| *key <= last))
        .collect();
    for key in passed {
        let row = rows.binary_search_by(|(listed, _)| listed.cmp(key));
        let value = row.ok().map(|row| &rows[row].1);
        step.conditions.push(cells.cell(key, value));
    }
}
