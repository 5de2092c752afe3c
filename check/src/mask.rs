//! Sets of the operations that are open: a machine word where they are few, more where they are
//! many, so that no number of clients is too many.

use std::fmt::Debug;
use std::hash::Hash;

use smallvec::SmallVec;

/// A set of slots. Equal sets have equal hashes.
pub(crate) trait Mask: Clone + Debug + Default + Eq + Hash + Ord {
    /// Whether the slot is in it.
    fn has(&self, slot: u32) -> bool;
    /// Adds a slot.
    fn insert(&mut self, slot: u32);
    /// What is in both.
    fn and(&self, other: &Self) -> Self;
    /// What is in either.
    fn or(&self, other: &Self) -> Self;
    /// What is in this one only.
    fn without(&self, other: &Self) -> Self;
    /// Whether all of it is in the other one.
    fn is_subset(&self, other: &Self) -> bool;
    /// How many slots.
    fn count(&self) -> u32;
    /// The slots, ascending.
    fn slots(&self) -> impl Iterator<Item = u32> + Clone;
    /// The smallest slot that is not in it.
    fn first_free(&self) -> u32;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

macro_rules! word_mask {
    ($word:ty) => {
        impl Mask for $word {
            fn has(&self, slot: u32) -> bool {
                self >> slot & 1 == 1
            }

            fn insert(&mut self, slot: u32) {
                *self |= 1 << slot;
            }

            fn and(&self, other: &Self) -> Self {
                self & other
            }

            fn or(&self, other: &Self) -> Self {
                self | other
            }

            fn without(&self, other: &Self) -> Self {
                self & !other
            }

            fn is_subset(&self, other: &Self) -> bool {
                self & !other == 0
            }

            fn count(&self) -> u32 {
                self.count_ones()
            }

            fn slots(&self) -> impl Iterator<Item = u32> + Clone {
                let mut mask = *self;
                std::iter::from_fn(move || {
                    let slot = (mask != 0).then(|| mask.trailing_zeros())?;
                    mask &= mask - 1;
                    Some(slot)
                })
            }

            fn first_free(&self) -> u32 {
                self.trailing_ones()
            }
        }
    };
}

word_mask!(u64);
word_mask!(u128);

/// Any number of slots, in words of 64 of which the last one is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WideMask(SmallVec<[u64; 4]>);

impl WideMask {
    fn word(&self, number: usize) -> u64 {
        self.0.get(number).copied().unwrap_or(0)
    }

    fn combine(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let words = 0..self.0.len().max(other.0.len());
        Self(words.map(|number| combine(self.word(number), other.word(number))).collect()).trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }
}

impl Mask for WideMask {
    fn has(&self, slot: u32) -> bool {
        self.word(slot as usize / 64).has(slot % 64)
    }

    fn insert(&mut self, slot: u32) {
        let number = slot as usize / 64;
        if self.0.len() <= number {
            self.0.resize(number + 1, 0);
        }
        self.0[number].insert(slot % 64);
    }

    fn and(&self, other: &Self) -> Self {
        self.combine(other, |one, other| one & other)
    }

    fn or(&self, other: &Self) -> Self {
        self.combine(other, |one, other| one | other)
    }

    fn without(&self, other: &Self) -> Self {
        self.combine(other, |one, other| one & !other)
    }

    fn is_subset(&self, other: &Self) -> bool {
        let mut words = self.0.iter().enumerate();
        words.all(|(number, word)| word.is_subset(&other.word(number)))
    }

    fn count(&self) -> u32 {
        self.0.iter().map(Mask::count).sum()
    }

    fn slots(&self) -> impl Iterator<Item = u32> + Clone {
        let words = self.0.iter().zip(0..);
        words.flat_map(|(word, number)| word.slots().map(move |slot| slot + 64 * number))
    }

    fn first_free(&self) -> u32 {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        64 * full as u32 + self.word(full).first_free()
    }
}
