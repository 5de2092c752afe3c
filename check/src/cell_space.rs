//! The search's view of keys that hold values: cells that are needed and cells that are written.
//!
//! **Unknown outcomes that do not matter** are left out here. An operation of unknown outcome is
//! optional, so it may be removed from a linearization when that changes no condition: when no
//! operation that could still take effect after it has a condition on a cell that it writes. (From
//! its effect to the next write of the key, any condition on the key would have to be on that very
//! cell; there is none, so nobody notices.) For the same reason an optional operation is *retired*
//! once the last operation with such a condition has returned, and a plain write with an answer is
//! called *silent* when nobody notices it: it must find a place, and any place will do.
//!
//! **Looking ahead**: a cell must not be left while an operation that has to see it has not taken
//! effect, unless some operation can still bring it back.

use smallvec::SmallVec;

use crate::calls::Line;
use crate::cells::{Cell, CellIndex, KeyCells, NONE};
use crate::groups::Group;
use crate::hashing::Table;
use crate::held::{Held, KeyValues};
use crate::search::{Space, Step};

/// Few cells.
pub(crate) type Cells = SmallVec<[Cell; 2]>;

/// What the keys of a group hold, by their places.
pub(crate) type Values = SmallVec<[Cell; 4]>;

/// A group of operations on keys.
#[derive(Debug)]
pub(crate) struct CellSpace<'h> {
    steps: Vec<Step>,
    /// For each step what it needs and what it does.
    needs: Vec<Needs>,
    initial: Values,
    facts: Vec<Facts>,
    /// The value of each cell.
    pub(crate) held: Vec<Held<'h>>,
}

/// What a step needs, and what it does.
#[derive(Debug)]
pub(crate) struct Needs {
    /// Cells that must be in place when it takes effect.
    pub(crate) conditions: Cells,
    /// Cells that are in place afterwards.
    pub(crate) effects: Cells,
}

/// What the search has to know of a cell.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// Which key it belongs to.
    key: u32,
    /// The last invocation of a step that can bring it about.
    last_written: Line,
    /// The last invocation of a step that must take effect and has a condition on it.
    last_needed: Line,
    /// The last return of a step that has a condition on it.
    last_noticed: Line,
}

impl<'h> CellSpace<'h> {
    /// Reduces a group.
    pub(crate) fn new(group: &Group<'h>) -> Self {
        if let Some(single) = &group.single {
            let cell = |cell: Cell| (cell != NONE).then_some(cell).into_iter().collect();
            let needs = single
                .accesses
                .iter()
                .map(|one| Needs { conditions: cell(one.condition), effects: cell(one.effect) });
            return Self::of(group, needs.collect(), vec![0], &[single.values.held()]);
        }
        let mut cells = CellIndex::new(group.keys.len());
        let reduce = |call| cells.conditions_and_effects(&group.keys, call);
        let reduced: Vec<(KeyCells, KeyCells)> = group.calls.iter().map(reduce).collect();
        // Here the cells of all keys are numbered together, key by key.
        let (first, _) = cells.first_cells();
        let all =
            |some: &KeyCells| some.iter().map(|(key, cell)| first[*key as usize] + cell).collect();
        let needs = reduced.iter().map(|(conditions, effects)| Needs {
            conditions: all(conditions),
            effects: all(effects),
        });
        let needs = needs.collect();
        let held: Vec<&[Held<'h>]> = cells.keys.iter().map(KeyValues::held).collect();
        Self::of(group, needs, first, &held)
    }

    fn of(group: &Group<'h>, needs: Vec<Needs>, initial: Vec<Cell>, held: &[&[Held<'h>]]) -> Self {
        let steps = group
            .calls
            .iter()
            .zip(0..)
            .zip(&needs)
            .map(|((call, number), needs)| Step::new(number, call, needs.effects.is_empty()));
        let facts = held.iter().zip(0..).flat_map(|(held, key)| {
            let unknown = Facts { key, last_written: 0, last_needed: 0, last_noticed: 0 };
            std::iter::repeat_n(unknown, held.len())
        });
        let mut space = Self {
            steps: steps.collect(),
            needs,
            initial: initial.into_iter().collect(),
            facts: facts.collect(),
            held: held.iter().flat_map(|held| held.iter().copied()).collect(),
        };
        space.keep(|_, step, _| !(step.optional && step.reads_only));
        space.count();
        while space.drop_unnoticed() {
            space.count();
        }
        space.settle();
        space.compare();
        space
    }

    /// What a step needs, and what it does.
    pub(crate) fn needs(&self, step: usize) -> &Needs {
        &self.needs[step]
    }

    /// The key of a cell, by its place in the group.
    pub(crate) fn key(&self, cell: Cell) -> usize {
        self.facts[cell as usize].key as usize
    }

    fn keep(&mut self, keep: impl Fn(&[Facts], &Step, &Needs) -> bool) {
        let facts = &self.facts;
        let kept: Vec<bool> = self
            .steps
            .iter()
            .zip(&self.needs)
            .map(|(step, needs)| keep(facts, step, needs))
            .collect();
        let mut each = kept.iter();
        self.steps.retain(|_| each.next() == Some(&true));
        let mut each = kept.iter();
        self.needs.retain(|_| each.next() == Some(&true));
    }

    /// Leaves out optional steps that nobody can notice, and says whether there were any.
    fn drop_unnoticed(&mut self) -> bool {
        let before = self.steps.len();
        self.keep(|facts, step, needs| {
            let noticed = |cell: &Cell| facts[*cell as usize].last_noticed > step.invoked;
            !step.optional || needs.effects.iter().any(noticed)
        });
        self.steps.len() < before
    }

    fn count(&mut self) {
        for facts in &mut self.facts {
            *facts = Facts { last_written: 0, last_needed: 0, last_noticed: 0, ..*facts };
        }
        for (step, needs) in self.steps.iter().zip(&self.needs) {
            for cell in &needs.effects {
                let facts = &mut self.facts[*cell as usize];
                facts.last_written = facts.last_written.max(step.invoked);
            }
            for cell in &needs.conditions {
                let facts = &mut self.facts[*cell as usize];
                facts.last_noticed = facts.last_noticed.max(step.leaves);
                if !step.optional {
                    facts.last_needed = facts.last_needed.max(step.invoked);
                }
            }
        }
    }

    /// Numbers the steps that need and do the same.
    fn compare(&mut self) {
        let mut first: Table<(&[Cell], &[Cell]), usize> = Table::default();
        let steps = &mut self.steps;
        for (number, needs) in self.needs.iter().enumerate() {
            if steps[number].reads_only {
                continue;
            }
            let Needs { conditions, effects } = needs;
            let like = *first.entry((conditions, effects)).or_insert(number);
            if like != number {
                // Only what has its like gets a number.
                steps[like].likeness = like as u32 + 1;
                steps[number].likeness = like as u32 + 1;
            }
        }
    }

    /// Says of each step when it stops to matter, and whether anybody notices it. Last, because
    /// until here an optional step notices cells for ever.
    fn settle(&mut self) {
        for (step, needs) in self.steps.iter_mut().zip(&self.needs) {
            let noticed = needs.effects.iter().map(|cell| self.facts[*cell as usize].last_noticed);
            let noticed = noticed.max().unwrap_or(0);
            if step.optional {
                step.leaves = noticed;
            } else {
                let writes_only = needs.conditions.is_empty() && !step.reads_only;
                step.silent = writes_only && noticed < step.invoked;
            }
        }
    }
}

impl Space for CellSpace<'_> {
    type State = Values;

    fn initial(&self) -> Values {
        self.initial.clone()
    }

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn after(&self, step: usize, values: &Values) -> Option<Values> {
        self.holds(step, values).then(|| {
            let mut values = values.clone();
            for cell in &self.needs[step].effects {
                values[self.key(*cell)] = *cell;
            }
            values
        })
    }

    fn holds(&self, step: usize, values: &Values) -> bool {
        self.needs[step].conditions.iter().all(|cell| values[self.key(*cell)] == *cell)
    }

    fn hopeless(
        &self,
        from: &Values,
        to: &Values,
        now: Line,
        waiting: impl Iterator<Item = usize> + Clone,
    ) -> bool {
        let left = from.iter().zip(to).filter(|(from, to)| from != to).map(|(from, _)| from);
        left.into_iter().any(|cell| {
            let facts = &self.facts[*cell as usize];
            let needed = || {
                let mut definite = waiting.clone().filter(|step| !self.steps[*step].optional);
                facts.last_needed > now
                    || definite.any(|step| self.needs[step].conditions.contains(cell))
            };
            let comes_back = || waiting.clone().any(|step| self.needs[step].effects.contains(cell));
            facts.last_written <= now && needed() && !comes_back()
        })
    }

    fn hides(&self, step: usize, silent: usize) -> bool {
        let Needs { conditions, effects } = &self.needs[step];
        self.needs[silent].effects.iter().map(|cell| self.key(*cell)).all(|written| {
            let overwritten = effects.iter().any(|cell| self.key(*cell) == written);
            overwritten && !conditions.iter().any(|cell| self.key(*cell) == written)
        })
    }
}
