//! Operations on keys, reduced to what has to hold and what holds afterwards.
//!
//! The values of a key are numbered as [`Cell`]s; "absent" is a value too. An operation
//! with a known answer has conditions, the cells that must be in place at the instant at which it
//! takes effect, and effects, the cells that are in place afterwards. A get has a condition only, a
//! set an effect only; a delete that says what it removed, and a comparison that held, have both; a
//! comparison that did not hold is a read. A scan is a conjunction of conditions: its rows, and the
//! absence of every key that it passed over; keys behind the last row of a full page are not
//! constrained. So a search knows nothing about operations.
//!
//! Left out: appends, whose effect depends on what they find (see `growth`).

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::calls::Call;
use crate::hashing::Table;
use crate::history::{Answer, Operation, Text};

/// A value of a key, by its number among those of the key; 0 is absence, the initial one.
pub(crate) type Cell = u32;

/// Absence.
pub(crate) const ABSENT: Cell = 0;

/// Few cells of some keys: an operation on one key has one at most of each kind.
pub(crate) type KeyCells = SmallVec<[(u32, Cell); 2]>;

/// In place of a cell: none.
pub(crate) const NONE: Cell = Cell::MAX;

/// What an operation on one key needs and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// The cell that must be in place, or [`NONE`].
    pub(crate) condition: Cell,
    /// The cell that is in place afterwards, or [`NONE`].
    pub(crate) effect: Cell,
}

impl Access {
    /// Needs nothing and does nothing.
    pub(crate) const NOTHING: Self = Self { condition: NONE, effect: NONE };

    /// The same, or nothing for a read.
    pub(crate) fn if_it_writes(self) -> Self {
        if self.effect == NONE { Self::NOTHING } else { self }
    }

    /// The same with other names for the cells.
    pub(crate) fn renamed(self, names: &[Cell]) -> Self {
        let name = |cell: Cell| names.get(cell as usize).copied().unwrap_or(NONE);
        Self { condition: name(self.condition), effect: name(self.effect) }
    }

    /// An operation that leaves what it finds is a read.
    fn new(condition: Cell, effect: Cell) -> Self {
        Self { condition, effect: if effect == condition { NONE } else { effect } }
    }
}

/// What a cell's key holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held<'h> {
    /// Nothing.
    Absent,
    /// This value.
    Value(&'h Text),
    /// What cannot be: the condition of an operation whose answer contradicts itself.
    Nonsense,
}

impl<'h> Held<'h> {
    /// The value as operations write it.
    pub(crate) fn value(self) -> Option<&'h Text> {
        match self {
            Held::Value(value) => Some(value),
            Held::Absent | Held::Nonsense => None,
        }
    }
}

/// The cells of values, by key.
pub(crate) type KnownCells<'h> = Table<(u32, &'h [u8]), Cell>;

/// The numbers of the values of some keys, which have numbers themselves.
#[derive(Debug, Default)]
pub(crate) struct CellIndex<'h> {
    pub(crate) known: KnownCells<'h>,
    /// For each key what its cells stand for.
    pub(crate) held: Vec<Vec<Held<'h>>>,
}

impl<'h> CellIndex<'h> {
    /// For so many keys, with room for so many values.
    pub(crate) fn new(keys: usize, values: usize) -> Self {
        Self {
            known: Table::with_capacity_and_hasher(values, Default::default()),
            held: vec![vec![Held::Absent]; keys],
        }
    }

    fn cell(&mut self, key: u32, value: Option<&'h Text>) -> Cell {
        let Some(value) = value else { return ABSENT };
        let held = &mut self.held[key as usize];
        *self.known.entry((key, value.as_bytes())).or_insert_with(|| {
            held.push(Held::Value(value));
            (held.len() - 1) as Cell
        })
    }

    /// A cell that nothing can bring about.
    fn nonsense(&mut self, key: u32) -> Cell {
        let held = &mut self.held[key as usize];
        held.push(Held::Nonsense);
        (held.len() - 1) as Cell
    }

    /// What an operation on one key needs and does; none for other operations.
    pub(crate) fn access(&mut self, key: u32, call: &Call<'h>) -> Option<Access> {
        let (condition, effect) = match call.operation {
            Operation::Get { .. } => (seen(call.answer), None),
            Operation::Set { value, .. } => (None, Some(Some(value))),
            Operation::Delete { .. } => (seen(call.answer), Some(None)),
            Operation::CompareAndSet { expected, value, .. } => {
                return Some(self.compare(key, expected.as_ref(), Some(value), call.answer));
            }
            Operation::CompareAndDelete { expected, .. } => {
                return Some(self.compare(key, Some(expected), None, call.answer));
            }
            Operation::SetMulti { .. }
            | Operation::Scan { .. }
            | Operation::Append { .. }
            | Operation::CounterAdd { .. }
            | Operation::CounterGet { .. }
            | Operation::LockAcquire { .. }
            | Operation::LockRelease { .. } => return None,
        };
        let condition = condition.map_or(NONE, |value| self.cell(key, value));
        let effect = effect.map_or(NONE, |value| self.cell(key, value));
        Some(Access::new(condition, effect))
    }

    fn compare(
        &mut self,
        key: u32,
        expected: Option<&'h Text>,
        new: Option<&'h Text>,
        answer: Option<&'h Answer>,
    ) -> Access {
        match seen(answer) {
            Some(found) if found == expected => {
                Access { condition: self.nonsense(key), effect: NONE }
            }
            Some(found) => Access { condition: self.cell(key, found), effect: NONE },
            // It was swapped, or it is unknown, and then only a swap has an effect.
            None => {
                let condition = self.cell(key, expected);
                Access::new(condition, self.cell(key, new))
            }
        }
    }

    /// The conditions and effects of any operation but an append. Here keys are numbered by their
    /// places among `keys`, which are ascending and hold every key of the call.
    pub(crate) fn conditions_and_effects(
        &mut self,
        keys: &[&Text],
        call: &Call<'h>,
    ) -> (KeyCells, KeyCells) {
        let key = match call.operation {
            Operation::SetMulti { pairs } => return (KeyCells::new(), self.pairs(keys, pairs)),
            Operation::Scan { prefix, limit } => {
                let conditions = match call.answer {
                    Some(Answer::Rows { rows }) => self.rows(keys, prefix, *limit, rows),
                    // Without an answer it says nothing.
                    _ => KeyCells::new(),
                };
                return (conditions, KeyCells::new());
            }
            Operation::Get { key }
            | Operation::Set { key, .. }
            | Operation::Append { key, .. }
            | Operation::Delete { key }
            | Operation::CompareAndSet { key, .. }
            | Operation::CompareAndDelete { key, .. }
            | Operation::CounterAdd { key, .. }
            | Operation::CounterGet { key }
            | Operation::LockAcquire { key, .. }
            | Operation::LockRelease { key, .. } => place(keys, key),
        };
        let access = self.access(key, call).expect("groups with other operations have models");
        let cells = |cell: Cell| (cell != NONE).then_some((key, cell)).into_iter().collect();
        (cells(access.condition), cells(access.effect))
    }

    /// Of a key that stands twice the last value counts.
    fn pairs(&mut self, keys: &[&Text], pairs: &'h [(Text, Text)]) -> KeyCells {
        let mut written = BTreeSet::new();
        let mut effects = KeyCells::new();
        for (key, value) in pairs.iter().rev().filter(|(key, _)| written.insert(key)) {
            let key = place(keys, key);
            effects.push((key, self.cell(key, Some(value))));
        }
        effects
    }

    fn rows(
        &mut self,
        keys: &[&Text],
        prefix: &Text,
        limit: u64,
        rows: &'h [(Text, Text)],
    ) -> KeyCells {
        let ascending = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let inside = rows.iter().all(|(key, _)| key.starts_with(prefix));
        if !ascending || !inside || rows.len() as u64 > limit {
            return std::iter::once((0, self.nonsense(0))).collect();
        }
        let full = rows.len() as u64 == limit;
        let last = rows.last().map(|(key, _)| key);
        let mut conditions = KeyCells::new();
        for (number, key) in (0..).zip(keys) {
            let passed = !full || last.is_some_and(|last| *key <= last);
            if passed && key.starts_with(prefix) {
                let row = rows.binary_search_by(|(listed, _)| listed.cmp(key));
                let value = row.ok().map(|row| &rows[row].1);
                conditions.push((number, self.cell(number, value)));
            }
        }
        conditions
    }
}

fn place(keys: &[&Text], key: &Text) -> u32 {
    keys.binary_search(&key).expect("a group holds every key of its calls") as u32
}

/// What an answer says about its key, where it says something.
fn seen(answer: Option<&Answer>) -> Option<Option<&Text>> {
    match answer? {
        Answer::Value { value } | Answer::Mismatch { value } => Some(value.as_ref()),
        Answer::Done
        | Answer::Swapped
        | Answer::Rows { .. }
        | Answer::Count { .. }
        | Answer::Token { .. }
        | Answer::Held
        | Answer::Stale => None,
    }
}
