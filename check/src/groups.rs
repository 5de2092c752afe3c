//! The partition of a history: operations that share no key cannot disturb each other.
//!
//! Linearizability is local (Herlihy and Wing, section 3.3): a history is linearizable when each
//! independent part of it is. The parts are the connected components of the keys: a multi-key
//! write joins the keys that it writes, a scan joins all keys of the history that have its prefix,
//! because any of them could have been in its answer. Names are not relied on.

use crate::calls::Call;
use crate::hashing::Table;
use crate::history::{Answer, Operation, Text};

/// Keys that operations join, and the operations that touch them.
#[derive(Debug, Default)]
pub(crate) struct Group<'h> {
    /// The keys, ascending.
    pub(crate) keys: Vec<&'h Text>,
    /// The operations, in the order of their invocations.
    pub(crate) calls: Vec<Call<'h>>,
    /// For each operation one of its keys, which is the only one of most.
    pub(crate) homes: Vec<usize>,
}

impl<'h> Group<'h> {
    /// The group in words, short.
    pub(crate) fn describe(&self) -> String {
        match self.keys.as_slice() {
            [] => "no keys".to_owned(),
            [key] => format!("key {key}"),
            [first, .., last] => format!("{} keys {first} to {last}", self.keys.len()),
        }
    }

    /// The place of a key among the group's.
    pub(crate) fn key(&self, key: &Text) -> usize {
        self.keys.binary_search(&key).expect("a group holds every key of its calls")
    }
}

/// Splits the calls into groups, ordered by their first key.
pub(crate) fn split<'h>(calls: &[Call<'h>]) -> Vec<Group<'h>> {
    let index = KeyIndex::new(calls);
    let mut joined = Components::new(index.keys.len());
    let homes: Vec<Option<usize>> = calls
        .iter()
        .zip(&index.singles)
        .map(|(call, single)| match single {
            Some(key) => Some(index.places[*key]),
            None => home(call, &index, &mut joined),
        })
        .collect();
    let mut groups: Vec<Group<'h>> = Vec::new();
    // Where each key went: its group, and its place there.
    let mut addresses: Vec<(usize, usize)> = Vec::with_capacity(index.keys.len());
    for (number, key) in index.keys.iter().enumerate() {
        let root = joined.root(number);
        let group = if root == number { groups.len() } else { addresses[root].0 };
        if group == groups.len() {
            groups.push(Group::default());
        }
        addresses.push((group, groups[group].keys.len()));
        groups[group].keys.push(key);
    }
    let mut sizes = vec![0; groups.len()];
    homes.iter().flatten().for_each(|home| sizes[addresses[*home].0] += 1);
    for (group, size) in groups.iter_mut().zip(sizes) {
        group.calls.reserve_exact(size);
        group.homes.reserve_exact(size);
    }
    for (call, home) in calls.iter().zip(homes) {
        // A scan that matches no key of the history saw nothing and constrains nothing.
        let Some(home) = home else { continue };
        let (group, key) = addresses[home];
        groups[group].calls.push(*call);
        groups[group].homes.push(key);
    }
    groups
}

/// Every key of a history.
struct KeyIndex<'h> {
    /// The keys, ascending.
    keys: Vec<&'h Text>,
    /// Numbers of the keys, in the order in which the history names them.
    numbers: Table<&'h Text, usize>,
    /// The place among the ascending keys, by number.
    places: Vec<usize>,
    /// For each call on a single key, that key's number.
    singles: Vec<Option<usize>>,
}

impl<'h> KeyIndex<'h> {
    fn new(calls: &[Call<'h>]) -> Self {
        let mut numbers: Table<&'h Text, usize> = Table::default();
        let mut keys: Vec<&'h Text> = Vec::new();
        let mut number = |key: &'h Text| {
            *numbers.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len() - 1
            })
        };
        let mut single = |call: &Call<'h>| match call.operation {
            Operation::Get { key }
            | Operation::Set { key, .. }
            | Operation::Delete { key }
            | Operation::CompareAndSet { key, .. }
            | Operation::CompareAndDelete { key, .. } => Some(number(key)),
            Operation::SetMulti { pairs } => {
                pairs.iter().for_each(|(key, _)| _ = number(key));
                None
            }
            Operation::Scan { .. } => {
                if let Some(Answer::Rows { rows }) = call.returned.map(|returned| returned.answer) {
                    rows.iter().for_each(|(key, _)| _ = number(key));
                }
                None
            }
        };
        let singles = calls.iter().map(&mut single).collect();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|number| keys[*number]);
        let mut places = vec![0; keys.len()];
        order.iter().enumerate().for_each(|(place, number)| places[*number] = place);
        let keys = order.into_iter().map(|number| keys[number]).collect();
        Self { keys, numbers, places, singles }
    }

    /// The place of a key among the ascending keys.
    fn place(&self, key: &Text) -> Option<usize> {
        self.numbers.get(key).map(|number| self.places[*number])
    }

    /// The places of the keys that begin with a prefix.
    fn with_prefix(&self, prefix: &Text) -> std::ops::Range<usize> {
        let start = self.keys.partition_point(|key| *key < prefix);
        let inside = self.keys[start..].partition_point(|key| key.0.starts_with(&prefix.0));
        start..start + inside
    }
}

/// Joins the keys that a call on several keys touches, and answers with one of them.
fn home(call: &Call<'_>, index: &KeyIndex<'_>, joined: &mut Components) -> Option<usize> {
    match call.operation {
        Operation::SetMulti { pairs } => {
            joined.join(pairs.iter().filter_map(|(key, _)| index.place(key)))
        }
        Operation::Scan { prefix, .. } => {
            let rows = match call.returned.map(|returned| returned.answer) {
                Some(Answer::Rows { rows }) => rows.as_slice(),
                _ => &[],
            };
            // Rows outside of the prefix are wrong, and belong to the evidence all the same.
            let listed = rows.iter().filter_map(|(key, _)| index.place(key));
            joined.join(index.with_prefix(prefix).chain(listed))
        }
        Operation::Get { .. }
        | Operation::Set { .. }
        | Operation::Delete { .. }
        | Operation::CompareAndSet { .. }
        | Operation::CompareAndDelete { .. } => None,
    }
}

/// Union–find whose roots are the smallest members.
struct Components(Vec<usize>);

impl Components {
    fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    fn root(&mut self, member: usize) -> usize {
        let mut at = member;
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, members: impl Iterator<Item = usize>) -> Option<usize> {
        let mut first = None;
        for member in members {
            let root = self.root(member);
            let kept = first.map_or(root, |first| self.root(first));
            self.0[root.max(kept)] = root.min(kept);
            first = Some(root.min(kept));
        }
        first
    }
}
