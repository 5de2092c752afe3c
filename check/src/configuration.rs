//! The states that a search passes through, and which of them are not worth keeping.
//!
//! Two configurations that hold the same values and have placed the same operations may still
//! differ in a [burden](Ranking::burden): operations of unknown outcome that they have used up,
//! and writes that nobody notices and that they still have to place. One whose burden is a part of
//! the other's can do whatever the other can, so the other is dropped.

use smallvec::SmallVec;

use crate::hashing::Table;
use crate::model::Cell;

/// What the keys of a group hold, by their places.
pub(crate) type Values = SmallVec<[Cell; 4]>;

/// One state that the cluster may be in.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// The cell of each key.
    pub(crate) values: Values,
    /// The slots of the open steps that have taken effect.
    pub(crate) taken: u128,
    /// The end of its linearization in the sweep's chain.
    pub(crate) tail: u32,
}

/// What tells configurations apart that do not cover each other, and what makes one of two that
/// are alike in that the better one: any subset of the burden is better.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranking {
    /// The slots of open steps that may be left out.
    pub(crate) optional: u128,
    /// The slots of open writes that nobody notices.
    pub(crate) silent: u128,
}

impl Ranking {
    /// The taken steps that another configuration must have taken, too.
    pub(crate) fn fixed(self, one: &Configuration) -> u128 {
        one.taken & !self.optional & !self.silent
    }

    /// The optional steps used up and the silent ones still to be placed.
    pub(crate) fn burden(self, one: &Configuration) -> u128 {
        one.taken & self.optional | self.silent & !one.taken
    }

    /// The configurations that no other one covers.
    pub(crate) fn best(self, mut all: Vec<Configuration>) -> Vec<Configuration> {
        let place = |one: &Configuration| {
            let burden = self.burden(one);
            (self.fixed(one), burden.count_ones(), burden)
        };
        all.sort_by(|a, b| a.values.cmp(&b.values).then_with(|| place(a).cmp(&place(b))));
        let mut kept: Vec<Configuration> = Vec::with_capacity(all.len());
        // Where the configurations begin that differ from the current one in their burden only.
        let mut family = 0;
        for one in all {
            let same_family = kept.get(family).is_some_and(|first| {
                self.fixed(first) == self.fixed(&one) && first.values == one.values
            });
            if !same_family {
                family = kept.len();
            }
            let burden = self.burden(&one);
            if !kept[family..].iter().any(|other| self.burden(other) & !burden == 0) {
                kept.push(one);
            }
        }
        kept
    }
}

/// The configurations met in one expansion, by everything but their burdens. Mostly they are few,
/// and then looking at each is faster than a table.
#[derive(Default)]
pub(crate) struct Seen {
    few: Vec<((u128, Values), u128)>,
    many: Table<(u128, Values), SmallVec<[u128; 1]>>,
}

impl Seen {
    const FEW: usize = 24;

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }

    /// Whether no configuration was met that can do all that this one can; notes it if so.
    pub(crate) fn is_new(&mut self, one: &Configuration, ranking: Ranking) -> bool {
        let (fixed, burden) = (ranking.fixed(one), ranking.burden(one));
        if self.many.is_empty() {
            let covers = |(place, other): &((u128, Values), u128)| {
                other & !burden == 0 && place.0 == fixed && place.1 == one.values
            };
            if self.few.iter().any(covers) {
                return false;
            }
            self.few.push(((fixed, one.values.clone()), burden));
            if self.few.len() > Self::FEW {
                for (place, burden) in self.few.drain(..) {
                    self.many.entry(place).or_default().push(burden);
                }
            }
            return true;
        }
        let met = self.many.entry((fixed, one.values.clone())).or_default();
        let covered = met.iter().any(|other| other & !burden == 0);
        if !covered {
            met.push(burden);
        }
        !covered
    }
}

/// Configurations waiting for their expansion, by the size of their burden.
#[derive(Default)]
pub(crate) struct Levels {
    shelves: Vec<Vec<Configuration>>,
    lowest: usize,
}

impl Levels {
    /// Adds one.
    pub(crate) fn push(&mut self, one: Configuration, ranking: Ranking) {
        let level = ranking.burden(&one).count_ones() as usize;
        if self.shelves.len() <= level {
            self.shelves.resize_with(level + 1, Vec::new);
        }
        self.shelves[level].push(one);
        self.lowest = self.lowest.min(level);
    }

    /// Takes one of those with the smallest burden.
    pub(crate) fn pop(&mut self) -> Option<Configuration> {
        while self.lowest < self.shelves.len() {
            if let Some(one) = self.shelves[self.lowest].pop() {
                return Some(one);
            }
            self.lowest += 1;
        }
        None
    }
}
