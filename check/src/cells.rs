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
use crate::held::{Held, KeyValues};
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
        Self::new(name(self.condition), name(self.effect))
    }

    /// An operation that leaves what it finds is a read.
    fn new(condition: Cell, effect: Cell) -> Self {
        Self { condition, effect: if effect == condition { NONE } else { effect } }
    }
}

/// What an operation on one key needs and does, where `cell` numbers what the key holds; none for
/// other operations.
pub(crate) fn access<'h>(
    call: &Call<'h>,
    mut cell: impl FnMut(Held<'h>) -> Cell,
) -> Option<Access> {
    let (condition, effect) = match call.operation {
        Operation::Get { .. } => (seen(call.answer), None),
        Operation::Set { value, .. } => (None, Some(Held::Value(value.by_ref()))),
        Operation::Delete { .. } => (seen(call.answer), Some(Held::Absent)),
        Operation::CompareAndSet { expected, value, .. } => {
            let new = Held::Value(value.by_ref());
            return Some(compare(held(expected.as_ref()), new, call.answer, cell));
        }
        Operation::CompareAndDelete { expected, .. } => {
            let expected = Held::Value(expected.by_ref());
            return Some(compare(expected, Held::Absent, call.answer, cell));
        }
        Operation::SetMulti { .. }
        | Operation::Scan { .. }
        | Operation::Append { .. }
        | Operation::CounterAdd { .. }
        | Operation::CounterGet { .. }
        | Operation::LockAcquire { .. }
        | Operation::LockRelease { .. } => return None,
    };
    let condition = condition.map_or(NONE, &mut cell);
    let effect = effect.map_or(NONE, &mut cell);
    Some(Access::new(condition, effect))
}

fn compare<'h>(
    expected: Held<'h>,
    new: Held<'h>,
    answer: Option<&'h Answer>,
    mut cell: impl FnMut(Held<'h>) -> Cell,
) -> Access {
    match seen(answer) {
        Some(found) if found.value() == expected.value() => {
            Access { condition: cell(Held::Nonsense), effect: NONE }
        }
        Some(found) => Access { condition: cell(found), effect: NONE },
        // It was swapped, or it is unknown, and then only a swap has an effect.
        None => {
            let condition = cell(expected);
            Access::new(condition, cell(new))
        }
    }
}

fn held(value: Option<&Text>) -> Held<'_> {
    value.map_or(Held::Absent, |value| Held::Value(value.by_ref()))
}

/// The values of some keys, which have numbers themselves.
#[derive(Debug)]
pub(crate) struct CellIndex<'h> {
    pub(crate) keys: Vec<KeyValues<'h>>,
}

impl<'h> CellIndex<'h> {
    /// For so many keys.
    pub(crate) fn new(keys: usize) -> Self {
        Self { keys: std::iter::repeat_with(|| KeyValues::new(0)).take(keys).collect() }
    }

    /// For each key the first number of its cells, when those of all keys are numbered together,
    /// key by key; and how many there are.
    pub(crate) fn first_cells(&self) -> (Vec<Cell>, Cell) {
        let mut next = 0;
        let first = self.keys.iter().map(|values| {
            let first = next;
            next += values.held().len() as Cell;
            first
        });
        (first.collect(), next)
    }

    fn cell(&mut self, key: u32, value: Option<&'h Text>) -> Cell {
        self.keys[key as usize].cell(held(value))
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
        let values = &mut self.keys[key as usize];
        let access = access(call, |held| values.cell(held));
        let access = access.expect("groups with other operations have models");
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
            return std::iter::once((0, self.keys[0].cell(Held::Nonsense))).collect();
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
fn seen(answer: Option<&Answer>) -> Option<Held<'_>> {
    match answer? {
        Answer::Value { value } | Answer::Mismatch { value } => Some(held(value.as_ref())),
        Answer::Done
        | Answer::Swapped
        | Answer::Rows { .. }
        | Answer::Count { .. }
        | Answer::Token { .. }
        | Answer::Held
        | Answer::Stale => None,
    }
}
