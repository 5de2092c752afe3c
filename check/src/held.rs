//! What the cells of a key hold: its values, numbered.
//!
//! A history of many keys comes by each key seldom, and whatever belongs to the key is out of the
//! processor's caches by then. So while the history is read, what operations mention is only put
//! at the end of the key's list ([`mention`]), unless it stands there already; equal values get
//! equal numbers afterwards, key by key ([`KeyValues::settle`]).

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::hash_table::{Entry, HashTable};

use crate::cells::{ABSENT, Cell};
use crate::history::TextRef;

/// What a cell's key holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held<'h> {
    /// Nothing.
    Absent,
    /// This value.
    Value(TextRef<'h>),
    /// What cannot be: the condition of an operation whose answer contradicts itself.
    Nonsense,
}

impl<'h> Held<'h> {
    /// The value as operations write it.
    pub(crate) fn value(&self) -> Option<&TextRef<'h>> {
        match self {
            Held::Value(value) => Some(value),
            Held::Absent | Held::Nonsense => None,
        }
    }
}

/// How many of the last mentions are looked at: most answers tell of one of the last writes.
const LOOK_BACK: usize = 2;

/// Puts what an operation mentions into the list of its key, which begins with absence.
pub(crate) fn mention<'h>(mentioned: &mut Vec<Held<'h>>, held: Held<'h>) -> Cell {
    if let Held::Absent = held {
        return ABSENT;
    }
    if let Held::Value(value) = &held {
        let last = (0..mentioned.len()).rev().take(LOOK_BACK);
        for cell in last {
            if mentioned[cell].value() == Some(value) {
                return cell as Cell;
            }
        }
    }
    mentioned.push(held);
    (mentioned.len() - 1) as Cell
}

/// The values of a key, each with one number.
#[derive(Clone, Debug)]
pub(crate) struct KeyValues<'h> {
    held: Vec<Held<'h>>,
    /// The cells of values, by value.
    known: HashTable<Cell>,
    hasher: FixedState,
}

impl<'h> KeyValues<'h> {
    /// With room for so many.
    pub(crate) fn new(values: usize) -> Self {
        let known = HashTable::with_capacity(values);
        Self { held: vec![Held::Absent], known, hasher: FixedState::default() }
    }

    /// What was mentioned, and for each mention the cell that it is.
    pub(crate) fn settle(mentioned: Vec<Held<'h>>) -> (Self, Vec<Cell>) {
        let mut values =
            Self { held: Vec::with_capacity(mentioned.len()), ..Self::new(mentioned.len()) };
        values.held.push(Held::Absent);
        let cells = mentioned.into_iter().map(|held| values.cell(held)).collect();
        (values, cells)
    }

    /// What the cells hold.
    pub(crate) fn held(&self) -> &[Held<'h>] {
        &self.held
    }

    /// The cell that holds this; nonsense has a new one each time.
    pub(crate) fn cell(&mut self, wanted: Held<'h>) -> Cell {
        let Self { held, known, hasher } = self;
        let next = held.len() as Cell;
        let value = match &wanted {
            Held::Absent => return ABSENT,
            Held::Nonsense => {
                held.push(wanted);
                return next;
            }
            Held::Value(value) => value,
        };
        let same = |cell: &Cell| held[*cell as usize].value() == Some(value);
        let again = |cell: &Cell| hasher.hash_one(held[*cell as usize].value());
        match known.entry(hasher.hash_one(Some(value)), same, again) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                entry.insert(next);
                held.push(wanted);
                next
            }
        }
    }
}
