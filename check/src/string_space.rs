//! The search's view of keys with appends: the cells that matter, and how operations lead from one
//! to another.
//!
//! It is to `growth` what `cell_space` is to cells that are only set, and the same ideas hold:
//! - **Unknown outcomes that do not matter** are left out. When nobody that could still take
//!   effect sees what an optional operation puts or appends, or what later appends make of it, then
//!   no answer on the key depends on it from its effect to the next set or delete of the key, and
//!   after that nothing does. For the same reason it is retired when the last one that sees it has
//!   returned, and a write with an answer that nobody sees is silent.
//! - **Looking ahead**: for each of the next operations that must see a value there has to be a way
//!   to it, which may begin with an append that leads nearer to it, or with a set or delete from
//!   which there is such a way. What the way needs first must be open, or be invoked before the
//!   operation has returned.

use smallvec::SmallVec;

use crate::calls::{Call, Line};
use crate::cells::{ABSENT, Cell, CellIndex, KeyCells};
use crate::growth::{Growth, LOST, Suffix, Uses};
use crate::hashing::Table;
use crate::history::{Operation, Text};
use crate::search::{Space, Step};

/// What the keys of a group hold, by their places.
pub(crate) type Values = SmallVec<[Cell; 4]>;

/// A group of operations on keys, appends among them.
#[derive(Debug)]
pub(crate) struct StringSpace {
    steps: Vec<Step>,
    /// For each step what it needs and what it does.
    needs: Vec<Needs>,
    keys: Vec<Key>,
    /// For each suffix when it is appended.
    appends: Vec<Vec<Line>>,
}

/// One key.
#[derive(Debug)]
struct Key {
    growth: Growth,
    /// For each cell when it is put, ascending.
    puts: Vec<Vec<Line>>,
    /// What steps must see, in the order of their invocations.
    needed: Vec<Need>,
}

/// That a step must see a cell.
#[derive(Clone, Copy, Debug)]
struct Need {
    cell: Cell,
    invoked: Line,
    returned: Line,
}

/// What a step needs, and what it does.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Needs {
    conditions: KeyCells,
    effects: SmallVec<[(u32, Effect); 1]>,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Effect {
    Put(Cell),
    Append(Suffix),
}

impl Needs {
    /// Puts the cells of the keys in place of the numbers that their values had.
    fn rename(&mut self, cells: &[Vec<Cell>]) {
        for (key, cell) in &mut self.conditions {
            *cell = cells[*key as usize][*cell as usize];
        }
        for (key, effect) in &mut self.effects {
            if let Effect::Put(cell) = effect {
                *cell = cells[*key as usize][*cell as usize];
            }
        }
    }
}

/// How many of the next operations on a key are looked at, besides the open ones.
const LOOK_AHEAD: usize = 16;

impl StringSpace {
    /// Reduces the calls on some keys, which are ascending.
    pub(crate) fn new(keys: &[&Text], calls: &[Call<'_>]) -> Self {
        let (mut needs, uses, suffixes) = reduce(keys, calls);
        let (growths, cells): (Vec<Growth>, Vec<Vec<Cell>>) = uses.iter().map(Growth::new).unzip();
        needs.iter_mut().for_each(|needs| needs.rename(&cells));
        let steps = calls
            .iter()
            .zip(0..)
            .zip(&needs)
            .map(|((call, number), needs)| Step::new(number, call, needs.effects.is_empty()));
        let key = |growth: Growth| Key { puts: Vec::new(), needed: Vec::new(), growth };
        let mut space = Self {
            steps: steps.collect(),
            needs,
            keys: growths.into_iter().map(key).collect(),
            appends: Vec::new(),
        };
        space.keep(|_, step, _| !(step.optional && step.reads_only));
        let mut noticed = space.count(suffixes);
        while space.drop_unnoticed(&noticed) {
            noticed = space.count(suffixes);
        }
        space.settle(&noticed);
        space.list(suffixes);
        space.compare();
        space
    }

    /// Leaves out all steps but those that are to be kept, and says whether there were others.
    fn keep(&mut self, keep: impl Fn(&Self, &Step, &Needs) -> bool) -> bool {
        let both = self.steps.iter().zip(&self.needs);
        let kept: Vec<bool> = both.map(|(step, needs)| keep(self, step, needs)).collect();
        let mut each = kept.iter();
        self.steps.retain(|_| each.next() == Some(&true));
        let mut each = kept.iter();
        self.needs.retain(|_| each.next() == Some(&true));
        self.steps.len() < kept.len()
    }

    /// Finds for each cell, and for each suffix, when the last step returns that notices it.
    fn count(&mut self, suffixes: usize) -> Vec<Line> {
        self.keys.iter_mut().for_each(|key| key.growth.forget());
        for (step, needs) in self.steps.iter().zip(&self.needs) {
            for (key, cell) in &needs.conditions {
                self.keys[*key as usize].growth.notice(*cell, step.leaves);
            }
        }
        let mut noticed = vec![0; suffixes];
        for key in &mut self.keys {
            key.growth.settle(|suffix, line| {
                let last: &mut Line = &mut noticed[suffix as usize];
                *last = line.max(*last);
            });
        }
        noticed
    }

    /// When the last step returns that notices an effect.
    fn noticed(&self, (key, effect): &(u32, Effect), suffixes: &[Line]) -> Line {
        match effect {
            Effect::Put(cell) => self.keys[*key as usize].growth.noticed(*cell),
            Effect::Append(suffix) => suffixes[*suffix as usize],
        }
    }

    /// Leaves out optional steps that nobody can notice, and says whether there were any.
    fn drop_unnoticed(&mut self, suffixes: &[Line]) -> bool {
        self.keep(|space, step, needs| {
            let noticed = |effect: &(u32, Effect)| space.noticed(effect, suffixes) > step.invoked;
            !step.optional || needs.effects.iter().any(noticed)
        })
    }

    /// Says of each step when it stops to matter, and whether anybody notices it. Effects that
    /// nobody notices become alike.
    fn settle(&mut self, suffixes: &[Line]) {
        for number in 0..self.steps.len() {
            let noticed = |effect| self.noticed(effect, suffixes);
            let lines: SmallVec<[Line; 4]> =
                self.needs[number].effects.iter().map(noticed).collect();
            let (step, needs) = (&mut self.steps[number], &mut self.needs[number]);
            for ((_, effect), noticed) in needs.effects.iter_mut().zip(&lines) {
                if *noticed < step.invoked {
                    *effect = Effect::Put(LOST);
                }
            }
            let last = lines.into_iter().max().unwrap_or(0);
            if step.optional {
                step.leaves = last;
            } else {
                let writes_only = needs.conditions.is_empty() && !step.reads_only;
                step.silent = writes_only && last < step.invoked;
            }
        }
    }

    /// Lists who needs cells, and who brings them about.
    fn list(&mut self, suffixes: usize) {
        self.appends = vec![Vec::new(); suffixes];
        for key in &mut self.keys {
            key.puts = vec![Vec::new(); key.growth.len()];
        }
        for (step, needs) in self.steps.iter().zip(&self.needs) {
            for (key, effect) in &needs.effects {
                match effect {
                    Effect::Put(cell) => {
                        self.keys[*key as usize].puts[*cell as usize].push(step.invoked);
                    }
                    Effect::Append(suffix) => self.appends[*suffix as usize].push(step.invoked),
                }
            }
            if !step.optional {
                for (key, cell) in &needs.conditions {
                    let (invoked, returned) = (step.invoked, step.leaves);
                    let need = Need { cell: *cell, invoked, returned };
                    self.keys[*key as usize].needed.push(need);
                }
            }
        }
    }

    /// What a step must see of a key.
    fn need(&self, step: usize, key: u32) -> Option<Need> {
        let Step { invoked, leaves: returned, optional, .. } = self.steps[step];
        let (_, cell) = self.needs[step].conditions.iter().find(|(other, _)| *other == key)?;
        (!optional).then_some(Need { cell: *cell, invoked, returned })
    }

    /// Numbers the steps that need and do the same.
    fn compare(&mut self) {
        let mut first: Table<&Needs, usize> = Table::default();
        let steps = &mut self.steps;
        for (number, needs) in self.needs.iter().enumerate() {
            if steps[number].reads_only {
                continue;
            }
            let like = *first.entry(needs).or_insert(number);
            if like != number {
                // Only what has its like gets a number.
                steps[like].likeness = like as u32 + 1;
                steps[number].likeness = like as u32 + 1;
            }
        }
    }
}

/// What each call needs and does, with the cells as the keys' uses number them, and how many
/// different suffixes there are.
fn reduce<'h>(keys: &[&Text], calls: &[Call<'h>]) -> (Vec<Needs>, Vec<Uses<'h>>, usize) {
    let mut index = CellIndex::new(keys.len());
    let mut uses: Vec<Uses<'h>> = keys.iter().map(|_| Uses::default()).collect();
    let mut suffixes = 0;
    let mut needs = Vec::with_capacity(calls.len());
    for call in calls {
        if let Operation::Append { key, value } = call.operation {
            let key = keys.binary_search(&key).expect("a group holds every key of its calls");
            let uses = &mut uses[key];
            uses.lengths.insert(value.as_bytes().len());
            let suffix = *uses.suffixes.entry(value.as_bytes()).or_insert(suffixes);
            suffixes = suffixes.max(suffix + 1);
            let effects = std::iter::once((key as u32, Effect::Append(suffix))).collect();
            needs.push(Needs { conditions: KeyCells::new(), effects });
        } else {
            let (conditions, effects) = index.conditions_and_effects(keys, call);
            let put = |(key, cell): &(u32, Cell)| (*key, Effect::Put(*cell));
            needs.push(Needs { conditions, effects: effects.iter().map(put).collect() });
        }
    }
    for (uses, values) in uses.iter_mut().zip(&index.keys) {
        let held = values.held();
        uses.shown = vec![false; held.len()];
        uses.put = vec![false; held.len()];
        uses.held = held.to_vec();
    }
    mark(&mut uses, &needs);
    (needs, uses, suffixes as usize)
}

/// Says of the values which of them are conditions, and which are put.
fn mark(uses: &mut [Uses<'_>], needs: &[Needs]) {
    for Needs { conditions, effects } in needs {
        for (key, cell) in conditions {
            uses[*key as usize].shown[*cell as usize] = true;
        }
        for (key, effect) in effects {
            if let Effect::Put(cell) = effect {
                uses[*key as usize].put[*cell as usize] = true;
            }
        }
    }
}

/// What can still take effect on one key: the open steps, and those that are invoked after `now`.
struct Available<'a> {
    space: &'a StringSpace,
    key: &'a Key,
    now: Line,
    open: SmallVec<[Effect; 8]>,
}

impl Available<'_> {
    /// Whether a step with this effect can take effect before a line.
    fn has(&self, effect: Effect, until: Line) -> bool {
        let lines = match effect {
            Effect::Put(cell) => &self.key.puts[cell as usize],
            Effect::Append(suffix) => &self.space.appends[suffix as usize],
        };
        let next = lines.partition_point(|line| *line <= self.now);
        lines.get(next).is_some_and(|line| *line < until) || self.open.contains(&effect)
    }

    /// Whether appends alone could lead from a cell to one that is needed.
    fn grows(&self, from: Cell, need: &Need) -> bool {
        let mut nearer = self.key.growth.towards(from, need.cell);
        from == need.cell
            || nearer.any(|(suffix, _)| self.has(Effect::Append(suffix), need.returned))
    }

    /// Whether anything could lead from a cell to one that is needed.
    fn leads(&self, from: Cell, need: &Need) -> bool {
        let mut puts = self.key.growth.puts_below(need.cell).iter();
        let has = |put: Cell| self.has(Effect::Put(put), need.returned);
        self.grows(from, need) || puts.any(|put| has(*put) && self.grows(*put, need))
    }
}

impl Space for StringSpace {
    type State = Values;

    fn initial(&self) -> Values {
        self.keys.iter().map(|_| ABSENT).collect()
    }

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn after(&self, step: usize, values: &Values) -> Option<Values> {
        self.holds(step, values).then(|| {
            let mut values = values.clone();
            for (key, effect) in &self.needs[step].effects {
                let (key, held) = (&self.keys[*key as usize], &mut values[*key as usize]);
                *held = match effect {
                    Effect::Put(cell) => *cell,
                    Effect::Append(suffix) => key.growth.after(*held, *suffix),
                };
                if key.growth.noticed(*held) < self.steps[step].invoked {
                    *held = LOST;
                }
            }
            values
        })
    }

    fn holds(&self, step: usize, values: &Values) -> bool {
        self.needs[step].conditions.iter().all(|(key, cell)| values[*key as usize] == *cell)
    }

    fn hopeless(
        &self,
        from: &Values,
        to: &Values,
        now: Line,
        waiting: impl Iterator<Item = usize> + Clone,
    ) -> bool {
        if waiting.clone().next().is_none() {
            // There was no choice.
            return false;
        }
        let mut changed = (0..).zip(from.iter().zip(to)).filter(|(_, (from, to))| from != to);
        changed.any(|(number, (_, held))| {
            let key = &self.keys[number as usize];
            let effects = waiting.clone().flat_map(|step| &self.needs[step].effects);
            let open = effects.filter(|(key, _)| *key == number).map(|(_, effect)| *effect);
            let available = Available { space: self, key, now, open: open.collect() };
            let next = key.needed.partition_point(|need| need.invoked <= now);
            let mut later = key.needed[next..].iter().take(LOOK_AHEAD);
            let mut open = waiting.clone().filter_map(|step| self.need(step, number));
            open.any(|need| !available.leads(*held, &need))
                || later.any(|need| !available.leads(*held, need))
        })
    }

    fn hides(&self, step: usize, silent: usize) -> bool {
        let Needs { conditions, effects } = &self.needs[step];
        self.needs[silent].effects.iter().all(|(written, _)| {
            let puts =
                |(key, effect): &(u32, Effect)| key == written && matches!(effect, Effect::Put(_));
            effects.iter().any(puts) && !conditions.iter().any(|(key, _)| key == written)
        })
    }
}
