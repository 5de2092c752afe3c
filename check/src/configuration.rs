//! The states that a search passes through, and which of them are not worth keeping.
//!
//! Two configurations in the same state that have placed the same operations may still differ in a
//! [burden](Ranking::burden): operations of unknown outcome that they have used up, and writes that
//! nobody notices and that they still have to place. One whose burden is a part of the other's can
//! do whatever the other can, so the other is dropped.

use std::hash::Hash;

use smallvec::SmallVec;

use crate::hashing::Table;
use crate::mask::Mask;

/// One state that the system may be in.
#[derive(Clone, Debug)]
pub(crate) struct Configuration<S, M> {
    /// What the objects hold.
    pub(crate) state: S,
    /// The slots of the open steps that have taken effect.
    pub(crate) taken: M,
}

/// What tells configurations apart that do not cover each other, and what makes one of two that
/// are alike in that the better one: any subset of the burden is better.
#[derive(Clone, Debug)]
pub(crate) struct Ranking<M> {
    /// The slots of open steps that may be left out.
    pub(crate) optional: M,
    /// The slots of open writes that nobody notices.
    pub(crate) silent: M,
}

impl<M: Mask> Ranking<M> {
    /// The taken steps that another configuration must have taken, too.
    fn fixed<S>(&self, one: &Configuration<S, M>) -> M {
        one.taken.without(&self.optional).without(&self.silent)
    }

    /// The optional steps used up and the silent ones still to be placed.
    fn burden<S>(&self, one: &Configuration<S, M>) -> M {
        one.taken.and(&self.optional).or(&self.silent.without(&one.taken))
    }
}

/// The configurations met in one expansion, by everything but their burdens. While they are
/// few, looking at each is faster than a table.
#[derive(Debug)]
pub(crate) struct Seen<S, M> {
    few: Vec<((M, S), M)>,
    many: Table<(M, S), SmallVec<[M; 1]>>,
    /// With how many burdens others were compared.
    pub(crate) compared: u64,
}

impl<S, M> Default for Seen<S, M> {
    fn default() -> Self {
        Self { few: Vec::new(), many: Table::default(), compared: 0 }
    }
}

impl<S: Clone + Eq + Hash, M: Mask> Seen<S, M> {
    const FEW: usize = 24;

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }

    /// Whether no configuration was met that can do all that this one can; notes it if so.
    pub(crate) fn is_new(&mut self, one: &Configuration<S, M>, ranking: &Ranking<M>) -> bool {
        let (fixed, burden) = (ranking.fixed(one), ranking.burden(one));
        if self.many.is_empty() {
            let covers = |(place, other): &((M, S), M)| {
                other.is_subset(&burden) && place.0 == fixed && place.1 == one.state
            };
            if self.few.iter().any(covers) {
                return false;
            }
            self.few.push(((fixed, one.state.clone()), burden));
            if self.few.len() > Self::FEW {
                for (place, burden) in self.few.drain(..) {
                    self.many.entry(place).or_default().push(burden);
                }
            }
            return true;
        }
        let met = self.many.entry((fixed, one.state.clone())).or_default();
        self.compared += met.len() as u64;
        let covered = met.iter().any(|other| other.is_subset(&burden));
        if !covered {
            met.push(burden);
        }
        !covered
    }

    /// The configurations that no other one covers.
    pub(crate) fn best(
        &mut self,
        mut all: Vec<Configuration<S, M>>,
        ranking: &Ranking<M>,
    ) -> Vec<Configuration<S, M>> {
        all.sort_by_cached_key(|one| {
            let burden = ranking.burden(one);
            (burden.count(), burden)
        });
        self.clear();
        all.retain(|one| self.is_new(one, ranking));
        all
    }
}

/// Configurations waiting for their expansion, by the size of their burden.
#[derive(Debug)]
pub(crate) struct Levels<S, M> {
    shelves: Vec<Vec<Configuration<S, M>>>,
    lowest: usize,
}

impl<S, M> Default for Levels<S, M> {
    fn default() -> Self {
        Self { shelves: Vec::new(), lowest: 0 }
    }
}

impl<S, M: Mask> Levels<S, M> {
    /// Adds one.
    pub(crate) fn push(&mut self, one: Configuration<S, M>, ranking: &Ranking<M>) {
        let level = ranking.burden(&one).count() as usize;
        if self.shelves.len() <= level {
            self.shelves.resize_with(level + 1, Vec::new);
        }
        self.shelves[level].push(one);
        self.lowest = self.lowest.min(level);
    }

    /// Takes one of those with the smallest burden.
    pub(crate) fn pop(&mut self) -> Option<Configuration<S, M>> {
        while self.lowest < self.shelves.len() {
            if let Some(one) = self.shelves[self.lowest].pop() {
                return Some(one);
            }
            self.lowest += 1;
        }
        None
    }
}
