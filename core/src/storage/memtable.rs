//! The memtable: rows that entries have written and that are not in the database yet.
//!
//! Readers look here first, then into the database. A row leaves when the transaction that wrote
//! it has committed, unless a later entry has written it again by then.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::command::{Key, Value};
use crate::machine::digest::RowHash;

/// What a key holds, with the hash of the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) value: Value,
    pub(crate) hash: RowHash,
}

/// What became of a key: its new row, or nothing, if it was deleted.
pub(crate) type Change = Option<Row>;

/// Rows that are not in the database yet.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    /// The change of each key, and the index of the entry that made it.
    changes: BTreeMap<Key, (u64, Change)>,
    bytes: usize,
}

impl Memtable {
    /// What became of a key, if anything did.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Change> {
        self.changes.get(key).map(|(_, change)| change)
    }

    /// Takes in what the entry at `index` did to a key.
    pub(crate) fn put(&mut self, index: u64, key: &Key, change: Change) {
        self.bytes += weight(key, &change);
        if let Some((_, old)) = self.changes.insert(key.clone(), (index, change)) {
            self.bytes -= weight(key, &old);
        }
    }

    /// What it weighs: keys and values, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes of the keys that begin with `prefix`, from a bound on, ascending.
    pub(crate) fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        from: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Key, &'a Change)> {
        let range = self.changes.range::<[u8], _>((from, Bound::Unbounded));
        let inside = range.take_while(move |(key, _)| key.starts_with(prefix));
        inside.map(|(key, (_, change))| (key, change))
    }

    /// Every change, ascending by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Change)> {
        self.changes.iter().map(|(key, (_, change))| (key, change))
    }

    /// Drops the changes that entries up to this index have made: the database has them.
    pub(crate) fn flushed(&mut self, index: u64) {
        self.changes.retain(|key, (written, change)| {
            let newer = *written > index;
            if !newer {
                self.bytes -= weight(key, change);
            }
            newer
        });
    }
}

fn weight(key: &Key, change: &Change) -> usize {
    key.len() + change.as_ref().map_or(0, |row| row.value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &'static str) -> Change {
        let hash = RowHash::of(b"", value.as_bytes());
        Some(Row { value: Value::from_static(value.as_bytes()), hash })
    }

    #[test]
    fn a_flush_takes_what_it_wrote_and_leaves_what_came_after() {
        let (old, new) = (Key::from_static(b"old"), Key::from_static(b"new"));
        let mut memtable = Memtable::default();
        memtable.put(1, &old, row("1"));
        memtable.put(1, &new, row("1"));
        memtable.put(2, &new, row("22"));
        assert_eq!(memtable.bytes(), 3 + 1 + 3 + 2);
        memtable.flushed(1);
        assert_eq!((memtable.get(b"old"), memtable.get(b"new")), (None, Some(&row("22"))));
        assert_eq!(memtable.bytes(), 3 + 2);
        memtable.put(3, &new, None);
        assert_eq!((memtable.get(b"new"), memtable.bytes()), (Some(&None), 3));
        memtable.flushed(3);
        assert_eq!((memtable.iter().count(), memtable.bytes()), (0, 0));
    }

    #[test]
    fn a_range_stays_inside_its_prefix() {
        let mut memtable = Memtable::default();
        for key in ["a", "b/1", "b/2", "c"] {
            memtable.put(1, &Key::from_static(key.as_bytes()), row("v"));
        }
        let keys =
            |from| -> Vec<&[u8]> { memtable.range(b"b/", from).map(|(key, _)| &key[..]).collect() };
        assert_eq!(keys(Bound::Included(b"b/")), [b"b/1", b"b/2"]);
        assert_eq!(keys(Bound::Excluded(b"b/1")), [b"b/2"]);
    }
}
