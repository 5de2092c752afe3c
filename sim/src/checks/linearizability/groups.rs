//! The partition of a history: operations that share no key cannot disturb each other.
//!
//! Linearizability is local (Herlihy and Wing, section 3.3): a history is linearizable when each
//! independent part of it is. The parts are the connected components of the keys: a multi-key
//! write joins the keys that it writes, a scan joins all keys of the history that have its prefix,
//! because any of them could have been in its answer. Names are not relied on.

use std::collections::BTreeMap;
use std::ops::Bound;

use aspen_core::history::{Answer, Operation, Text};

use super::calls::Call;

/// Keys that operations join, and the operations that touch them.
#[derive(Debug)]
pub(crate) struct Group<'h> {
    /// The keys, ascending.
    pub(crate) keys: Vec<&'h Text>,
    /// The operations, in the order of their invocations.
    pub(crate) calls: Vec<Call<'h>>,
}

impl Group<'_> {
    /// The group in words, short.
    pub(crate) fn describe(&self) -> String {
        match self.keys.as_slice() {
            [] => "no keys".to_owned(),
            [key] => format!("key {key}"),
            [first, .., last] => format!("{} keys {first} to {last}", self.keys.len()),
        }
    }
}

/// Splits the calls into groups, ordered by their first key.
pub(crate) fn split<'h>(calls: &[Call<'h>]) -> Vec<Group<'h>> {
    let index = index_keys(calls);
    let mut joined = Components::new(index.len());
    let homes: Vec<Option<usize>> =
        calls.iter().map(|call| home(call, &index, &mut joined)).collect();
    let mut groups: BTreeMap<usize, Group<'h>> = BTreeMap::new();
    for (key, &number) in &index {
        let root = joined.root(number);
        let group =
            groups.entry(root).or_insert_with(|| Group { keys: Vec::new(), calls: Vec::new() });
        group.keys.push(key);
    }
    for (call, home) in calls.iter().zip(homes) {
        // A scan that matches no key of the history saw nothing and constrains nothing.
        let Some(home) = home else { continue };
        let root = joined.root(home);
        if let Some(group) = groups.get_mut(&root) {
            group.calls.push(*call);
        }
    }
    groups.into_values().collect()
}

fn index_keys<'h>(calls: &[Call<'h>]) -> BTreeMap<&'h Text, usize> {
    let mut index = BTreeMap::new();
    for call in calls {
        match call.operation {
            Operation::Get { key }
            | Operation::Set { key, .. }
            | Operation::Delete { key }
            | Operation::CompareAndSet { key, .. }
            | Operation::CompareAndDelete { key, .. } => {
                index.insert(key, 0);
            }
            Operation::SetMulti { pairs } => index.extend(pairs.iter().map(|(key, _)| (key, 0))),
            Operation::Scan { .. } => {
                if let Some(Answer::Rows { rows }) = call.returned.map(|returned| returned.answer) {
                    index.extend(rows.iter().map(|(key, _)| (key, 0)));
                }
            }
        }
    }
    // Ascending numbers, so that the root of a component is its first key.
    for (number, slot) in index.values_mut().enumerate() {
        *slot = number;
    }
    index
}

/// Joins the keys that a call touches and answers with one of them.
fn home(call: &Call<'_>, index: &BTreeMap<&Text, usize>, joined: &mut Components) -> Option<usize> {
    match call.operation {
        Operation::Get { key }
        | Operation::Set { key, .. }
        | Operation::Delete { key }
        | Operation::CompareAndSet { key, .. }
        | Operation::CompareAndDelete { key, .. } => index.get(key).copied(),
        Operation::SetMulti { pairs } => {
            joined.join(pairs.iter().filter_map(|(key, _)| index.get(key).copied()))
        }
        Operation::Scan { prefix, .. } => {
            let rows = match call.returned.map(|returned| returned.answer) {
                Some(Answer::Rows { rows }) => rows.as_slice(),
                _ => &[],
            };
            // Rows outside of the prefix are wrong, and belong to the evidence all the same.
            let listed = rows.iter().filter_map(|(key, _)| index.get(key).copied());
            joined.join(with_prefix(index, prefix).chain(listed))
        }
    }
}

fn with_prefix<'a>(
    index: &'a BTreeMap<&Text, usize>,
    prefix: &'a Text,
) -> impl Iterator<Item = usize> + 'a {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let keys = index.range::<Text, _>(from);
    keys.take_while(move |(key, _)| key.0.starts_with(&prefix.0)).map(|(_, number)| *number)
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
