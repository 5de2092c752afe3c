//! The search: one sweep over the events of a group, keeping every state that the cluster may be in.
//!
//! This is Wing and Gong's search as Lowe improved it ("Testing for linearizability", section 4:
//! just-in-time linearization, with a memory of visited configurations), turned into a sweep, so
//! that memory follows the number of operations that are open at once and not the length of the
//! history. A [`Configuration`] is what the keys hold, and which of the open operations have taken
//! effect. At an invocation an operation becomes open. At a completion the operation must have
//! taken effect: configurations in which it has not are expanded by the open operations, in every
//! order, until it has. When none is left, the history up to that completion is not linearizable.
//!
//! Five things make it fast, none of which changes the answer:
//! - an operation that only reads takes effect as soon as its conditions hold: it changes nothing,
//!   so whatever could follow can still follow;
//! - a value that only one operation can write must not be overwritten while an operation that has
//!   to see it has not taken effect: it could never come back;
//! - a write that nobody notices takes effect right before another write of the same keys, as soon
//!   as there is one: that hides it at once, and later it could only do harm;
//! - of two configurations that differ only in the optional operations that they have used up, or
//!   in the unnoticed writes that they still have to place, the one with fewer of both is enough:
//!   it can do whatever the other can;
//! - an optional operation is forgotten once nobody can notice it any more.
//!
//! A differential test holds this search against plain enumeration.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::configuration::{Configuration, Levels, Ranking, Seen, Values};
use crate::model::{Cell, Model, NEVER, Step};

/// How a sweep ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Every operation with an answer found its place.
    Linearizable,
    /// One did not.
    Stuck(Stuck),
    /// The budget of visited states was spent, or too many operations were open at once.
    GaveUp(String),
}

/// Where the sweep found no way on.
#[derive(Debug)]
pub(crate) struct Stuck {
    /// The step that completed without a place to take effect.
    pub(crate) step: usize,
    /// The longest linearization found: steps in the order in which they took effect.
    pub(crate) order: Vec<usize>,
    /// What the keys held after it.
    pub(crate) values: Values,
    /// The steps that were open and had not taken effect in it.
    pub(crate) waiting: Vec<usize>,
}

/// Whether the sweep uses what comes later to abandon configurations early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foresight {
    /// It fails as soon as failure is certain.
    Full,
    /// It fails at the end of the shortest prefix that is not linearizable.
    Blind,
}

/// Most operations that may be open at once in a group: the width of the mask.
const SLOTS_MAX: u32 = u128::BITS;

/// How a step leaves, in the order in which it happens at one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leaving {
    Completed,
    Retired,
}

struct Sweep<'m> {
    model: &'m Model<'m>,
    foresight: Foresight,
    budget: u64,
    visited: u64,
    /// The event that the sweep has reached.
    now: usize,
    /// The step in each slot.
    slots: Vec<usize>,
    slot_of: Vec<u32>,
    open: u128,
    optional: u128,
    readers: u128,
    silent: u128,
    configurations: Vec<Configuration>,
    /// Room for the expansions.
    waiting: Vec<Configuration>,
    seen: Seen,
    levels: Levels,
    /// Linearizations, as a forest of (parent, step); a configuration points at a node.
    chain: Vec<(u32, u32)>,
}

/// The chain's root.
const START: u32 = u32::MAX;

/// Sweeps over one group. At most `budget` states are visited; their number is the second result.
pub(crate) fn sweep(model: &Model<'_>, foresight: Foresight, budget: u64) -> (Ending, u64) {
    let keys = model.cells.iter().map(|cell| cell.key + 1).max().unwrap_or(0);
    let start = Configuration { values: (0..keys as Cell).collect(), taken: 0, tail: START };
    let mut sweep = Sweep {
        model,
        foresight,
        budget,
        visited: 0,
        now: 0,
        slots: Vec::new(),
        slot_of: vec![0; model.steps.len()],
        open: 0,
        optional: 0,
        readers: 0,
        silent: 0,
        configurations: vec![start],
        waiting: Vec::new(),
        seen: Seen::default(),
        levels: Levels::default(),
        chain: Vec::new(),
    };
    let ending = sweep.run().err().unwrap_or(Ending::Linearizable);
    (ending, sweep.visited)
}

impl Sweep<'_> {
    fn run(&mut self) -> Result<(), Ending> {
        // The steps come in the order of their invocations; those that are open, by their ends.
        let mut open = BinaryHeap::new();
        for (number, step) in self.model.steps.iter().enumerate() {
            while let Some(&Reverse(next @ (event, _, _))) = open.peek()
                && event < step.invoked
            {
                open.pop();
                self.leave(next)?;
            }
            self.now = step.invoked;
            self.invoke(number)?;
            if step.leaves != NEVER {
                let how = if step.optional { Leaving::Retired } else { Leaving::Completed };
                open.push(Reverse((step.leaves, how, number)));
            }
        }
        while let Some(Reverse(next)) = open.pop() {
            self.leave(next)?;
        }
        Ok(())
    }

    fn leave(&mut self, (event, how, step): (usize, Leaving, usize)) -> Result<(), Ending> {
        self.now = event;
        match how {
            Leaving::Completed => self.complete(step)?,
            Leaving::Retired => self.retire(step),
        }
        Ok(())
    }

    fn step(&self, slot: u32) -> &Step {
        &self.model.steps[self.slots[slot as usize]]
    }

    fn invoke(&mut self, number: usize) -> Result<(), Ending> {
        let slot = (!self.open).trailing_zeros();
        if slot == SLOTS_MAX {
            let reason = format!("more than {SLOTS_MAX} operations are open at once");
            return Err(Ending::GaveUp(reason));
        }
        if slot as usize == self.slots.len() {
            self.slots.push(number);
        } else {
            self.slots[slot as usize] = number;
        }
        self.slot_of[number] = slot;
        let step = &self.model.steps[number];
        let bit = 1 << slot;
        self.open |= bit;
        self.optional |= if step.optional { bit } else { 0 };
        self.silent |= if step.silent { bit } else { 0 };
        if step.effects.is_empty() {
            self.readers |= bit;
            for configuration in &mut self.configurations {
                if holds(self.model, step, &configuration.values) {
                    take(configuration, slot, number, &mut self.chain);
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self, number: usize) -> Result<(), Ending> {
        let bit = 1 << self.slot_of[number];
        let mut done = std::mem::take(&mut self.configurations);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.extend(done.extract_if(.., |configuration| configuration.taken & bit == 0));
        if !waiting.is_empty() {
            let deepest = self.expand(&mut waiting, bit, &mut done)?;
            if done.is_empty() {
                return Err(Ending::Stuck(self.stuck(number, deepest)));
            }
        }
        self.configurations = done;
        self.waiting = waiting;
        self.release(bit);
        self.retire_taken();
        Ok(())
    }

    /// Lets open steps take effect, in every order, until the one in slot `bit` has; such
    /// configurations go to `done`. Gives back the configuration that had the most steps taken.
    ///
    /// Configurations with a smaller burden come first, so that one which takes on more without
    /// need meets the one that does not, and goes no further.
    fn expand(
        &mut self,
        waiting: &mut Vec<Configuration>,
        bit: u128,
        done: &mut Vec<Configuration>,
    ) -> Result<Configuration, Ending> {
        let ranking = self.ranking();
        let mut deepest = waiting[0].clone();
        let (mut seen, mut levels) =
            (std::mem::take(&mut self.seen), std::mem::take(&mut self.levels));
        seen.clear();
        for one in done.iter() {
            seen.is_new(one, ranking);
        }
        for one in waiting.drain(..) {
            if seen.is_new(&one, ranking) {
                levels.push(one, ranking);
            }
        }
        while let Some(configuration) = levels.pop() {
            if configuration.taken.count_ones() > deepest.taken.count_ones() {
                deepest = configuration.clone();
            }
            for slot in bits(self.open & !self.readers & !configuration.taken) {
                let Some(next) = self.apply(&configuration, slot) else { continue };
                self.visited += 1;
                if self.visited > self.budget {
                    let reason = format!("gave up after {} visited states", self.budget);
                    return Err(Ending::GaveUp(reason));
                }
                if !seen.is_new(&next, ranking) {
                    continue;
                }
                if next.taken & bit != 0 {
                    done.push(next);
                } else {
                    levels.push(next, ranking);
                }
            }
        }
        (self.seen, self.levels) = (seen, levels);
        Ok(deepest)
    }

    fn ranking(&self) -> Ranking {
        Ranking { optional: self.optional, silent: self.silent }
    }

    /// The configuration after the step in `slot`, with the open writes that it hides and the open
    /// reads that it makes possible; none, if the step cannot or should not take effect.
    fn apply(&mut self, from: &Configuration, slot: u32) -> Option<Configuration> {
        let model = self.model;
        let step = &model.steps[self.slots[slot as usize]];
        if !holds(model, step, &from.values) {
            return None;
        }
        let taken = from.taken | 1 << slot;
        let held = |effect: &Cell| from.values[model.cells[*effect as usize].key];
        let changed = step.effects.iter().any(|effect| held(effect) != *effect);
        // An optional step that changes nothing is better kept.
        if step.optional && !changed {
            return None;
        }
        let mut left = step.effects.iter().filter(|effect| held(effect) != **effect).map(held);
        if left.any(|cell| self.still_needed(cell, taken)) {
            return None;
        }
        let mut next = from.clone();
        for other in bits(self.open & self.silent & !taken) {
            if self.hides(slot, other) {
                self.take(&mut next, other);
            }
        }
        for effect in &step.effects {
            next.values[model.cells[*effect as usize].key] = *effect;
        }
        self.take(&mut next, slot);
        for reader in bits(self.open & self.readers & !next.taken) {
            if holds(model, self.step(reader), &next.values) {
                self.take(&mut next, reader);
            }
        }
        Some(next)
    }

    fn take(&mut self, configuration: &mut Configuration, slot: u32) {
        take(configuration, slot, self.slots[slot as usize], &mut self.chain);
    }

    /// Whether the step in `slot` overwrites all that the `silent` one writes, whatever it finds.
    fn hides(&self, slot: u32, silent: u32) -> bool {
        let key = |cell: &Cell| self.model.cells[*cell as usize].key;
        let step = self.step(slot);
        self.step(silent).effects.iter().map(key).all(|written| {
            let overwritten = step.effects.iter().any(|cell| key(cell) == written);
            overwritten && !step.conditions.iter().any(|cell| key(cell) == written)
        })
    }

    /// Whether a cell that is about to be left, and that nobody can bring back, is a condition of
    /// a step that has to take effect and has not.
    fn still_needed(&self, cell: Cell, taken: u128) -> bool {
        let facts = &self.model.cells[cell as usize];
        if facts.writers != 1 || self.foresight == Foresight::Blind {
            return false;
        }
        if facts.last_needed > self.now {
            return true;
        }
        bits(self.open & !self.optional & !taken)
            .any(|slot| self.step(slot).conditions.contains(&cell))
    }

    /// Frees slots, and drops configurations that another one makes superfluous.
    fn release(&mut self, slots: u128) {
        self.open &= !slots;
        self.optional &= !slots;
        self.readers &= !slots;
        self.silent &= !slots;
        for configuration in &mut self.configurations {
            configuration.taken &= !slots;
        }
        if self.configurations.len() > 1 {
            self.reduce();
        }
    }

    /// Forgets an optional step, if [`retire_taken`](Self::retire_taken) has not done so before and
    /// given its slot to another one.
    fn retire(&mut self, number: usize) {
        let slot = self.slot_of[number];
        if self.slots[slot as usize] == number {
            self.release(1 << slot);
        }
    }

    /// Frees the slots of optional steps that have taken effect in every configuration.
    fn retire_taken(&mut self) {
        let everywhere = self.configurations.iter().fold(self.optional, |all, one| all & one.taken);
        if everywhere != 0 {
            self.release(everywhere);
        }
    }

    fn reduce(&mut self) {
        let ranking = self.ranking();
        let all = std::mem::take(&mut self.configurations);
        self.configurations = ranking.best(all);
    }

    fn stuck(&self, step: usize, deepest: Configuration) -> Stuck {
        let mut order = Vec::new();
        let mut at = deepest.tail;
        while at != START {
            let (parent, step) = self.chain[at as usize];
            order.push(step as usize);
            at = parent;
        }
        order.reverse();
        let waiting = bits(self.open & !deepest.taken).map(|slot| self.slots[slot as usize]);
        Stuck { step, order, values: deepest.values, waiting: waiting.collect() }
    }
}

fn holds(model: &Model<'_>, step: &Step, values: &[Cell]) -> bool {
    !step.impossible
        && step.conditions.iter().all(|cell| values[model.cells[*cell as usize].key] == *cell)
}

/// The slots in a mask, ascending.
fn bits(mut mask: u128) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let slot = (mask != 0).then(|| mask.trailing_zeros())?;
        mask &= mask - 1;
        Some(slot)
    })
}

fn take(configuration: &mut Configuration, slot: u32, step: usize, chain: &mut Vec<(u32, u32)>) {
    configuration.taken |= 1 << slot;
    chain.push((configuration.tail, step as u32));
    configuration.tail = (chain.len() - 1) as u32;
}
