//! The partition of a history: operations that share no object cannot disturb each other.
//!
//! Linearizability is local (Herlihy and Wing, section 3.3): a history is linearizable when each
//! independent part of it is. Counters and locks are independent each by itself. The parts of the
//! keys are their connected components: a multi-key write joins the keys that it writes, a scan
//! joins all keys of the history that have its prefix, because any of them could have been in its
//! answer. Keys that no such operation touches stay alone. Names are not relied on.

use std::rc::Rc;

use crate::calls::{Call, Calls};
use crate::cells::{ABSENT, Access, Cell, CellIndex, Held, KnownCells};
use crate::history::{Answer, Operation, Text};
use crate::objects::{Kind, NOWHERE, ObjectIndex, SortedObjects, rows};

/// Objects that operations join, and the operations that touch them.
#[derive(Debug, Default)]
pub(crate) struct Group<'h> {
    /// What they are.
    pub(crate) kind: Kind,
    /// The keys, ascending.
    pub(crate) keys: Vec<&'h Text>,
    /// The operations, in the order of their invocations.
    pub(crate) calls: Vec<Call<'h>>,
    /// The numbers of those with an answer, in the order of the answers.
    pub(crate) answered: Vec<u32>,
    /// The operations once more, if they are all on one key and each by itself.
    pub(crate) single: Option<Single<'h>>,
}

/// Operations on one key.
#[derive(Debug)]
pub(crate) struct Single<'h> {
    /// What each needs and does.
    pub(crate) accesses: Vec<Access>,
    /// What the cells stand for.
    pub(crate) held: Vec<Held<'h>>,
    /// The cells of its values, under the key's number.
    known: Rc<KnownCells<'h>>,
    number: u32,
}

impl<'h> Single<'h> {
    /// Of these calls; none, if there are others among them.
    pub(crate) fn new(calls: &[Call<'h>]) -> Option<Self> {
        let mut cells = CellIndex::new(1, calls.len() / 2);
        let accesses = calls.iter().map(|call| cells.access(0, call)).collect::<Option<_>>()?;
        let CellIndex { known, mut held } = cells;
        Some(Self { accesses, held: held.pop()?, known: Rc::new(known), number: 0 })
    }

    /// What each of the calls would need and do without its answer, and how many cells there are
    /// then: a comparison that did not hold, or a delete that says what it removed, has an effect
    /// that its answer rules out.
    pub(crate) fn unanswered(&self, calls: &[Call<'h>]) -> (Vec<Access>, usize) {
        let differs = |call: &Call<'h>| {
            matches!(call.answer, Some(Answer::Mismatch { .. }))
                || matches!(call.operation, Operation::Delete { .. })
        };
        let mut accesses: Vec<Access> =
            self.accesses.iter().map(|one| one.if_it_writes()).collect();
        let mut named = CellIndex::new(1, 0);
        let mut changed: Vec<usize> = Vec::new();
        for (number, call) in calls.iter().enumerate().filter(|(_, call)| differs(call)) {
            if let Some(access) = named.access(0, &call.without_answer()) {
                accesses[number] = access;
                changed.push(number);
            }
        }
        // Only these have other names for the cells; what nobody else names is new.
        let news = (self.held.len() as Cell..).zip(&named.held[0]);
        let names = news.map(|(new, held)| match held {
            Held::Value(value) => {
                self.known.get(&(self.number, value.as_bytes())).copied().unwrap_or(new)
            }
            Held::Absent | Held::Nonsense => ABSENT,
        });
        let names: Vec<Cell> = names.collect();
        for number in changed {
            accesses[number] = accesses[number].renamed(&names);
        }
        (accesses, self.held.len() + names.len())
    }
}

impl<'h> Group<'h> {
    /// The group in words, short.
    pub(crate) fn describe(&self) -> String {
        let (one, many) = match self.kind {
            Kind::Keys => ("key", "keys"),
            Kind::Counter => ("counter", "counters"),
            Kind::Lock => ("lock", "locks"),
        };
        match self.keys.as_slice() {
            [] => format!("no {many}"),
            [key] => format!("{one} {key}"),
            [first, .., last] => format!("{} {many} {first} to {last}", self.keys.len()),
        }
    }
}

/// Splits the calls into groups, ordered by their first object.
pub(crate) fn split<'h>(paired: &Calls<'h>, index: ObjectIndex<'h>) -> Vec<Group<'h>> {
    let mut index = index.sorted(&paired.calls);
    let mut joined = Components::new(index.objects.len());
    let mut homes: Vec<u32> = Vec::with_capacity(paired.calls.len());
    for (call, single) in paired.calls.iter().zip(&index.singles) {
        homes.push(match *single {
            _ if call.failed() => NOWHERE,
            NOWHERE => home(call, &index, &mut joined),
            number => index.places[number as usize],
        });
    }
    let mut groups: Vec<Group<'h>> = Vec::new();
    let mut group_of: Vec<u32> = Vec::with_capacity(index.objects.len());
    for (place, (kind, key)) in index.objects.iter().enumerate() {
        let root = joined.root(place);
        let group = if root == place { groups.len() as u32 } else { group_of[root] };
        if group as usize == groups.len() {
            groups.push(Group { kind: *kind, ..Group::default() });
        }
        group_of.push(group);
        groups[group as usize].keys.push(key);
    }
    // From here on `homes` holds groups, then places in them.
    let mut sizes = vec![0; groups.len()];
    for home in &mut homes {
        // A scan that matches no key of the history saw nothing and constrains nothing.
        if *home != NOWHERE {
            *home = group_of[*home as usize];
            sizes[*home as usize] += 1;
        }
    }
    for (group, size) in groups.iter_mut().zip(sizes) {
        group.calls.reserve_exact(size);
        group.answered.reserve_exact(size);
    }
    for (number, place) in index.places.iter().enumerate() {
        let group = &mut groups[group_of[*place as usize] as usize];
        if let [_] = group.keys.as_slice()
            && index.plain[number]
        {
            let held = std::mem::take(&mut index.held[number]);
            let accesses = Vec::with_capacity(group.calls.capacity());
            let known = Rc::clone(&index.known);
            group.single = Some(Single { accesses, held, known, number: number as u32 });
        }
    }
    fill(&mut groups, paired, &homes, &index);
    groups
}

/// Hands the calls out, in the order of their invocations and in that of their answers.
fn fill<'h>(
    groups: &mut [Group<'h>],
    paired: &Calls<'h>,
    homes: &[u32],
    index: &SortedObjects<'h>,
) {
    let mut places: Vec<u32> = Vec::with_capacity(homes.len());
    for (number, (call, home)) in paired.calls.iter().zip(homes).enumerate() {
        let Some(group) = groups.get_mut(*home as usize) else {
            places.push(NOWHERE);
            continue;
        };
        places.push(group.calls.len() as u32);
        group.calls.push(*call);
        match &mut group.single {
            Some(single) if index.singles[number] != NOWHERE => {
                single.accesses.push(index.accesses[number]);
            }
            single => *single = None,
        }
    }
    for number in &paired.answered {
        if let Some(group) = groups.get_mut(homes[*number as usize] as usize) {
            group.answered.push(places[*number as usize]);
        }
    }
}

/// Joins the keys that a call on several keys touches, and answers with one of them.
fn home(call: &Call<'_>, index: &SortedObjects<'_>, joined: &mut Components) -> u32 {
    let first = if let Operation::Scan { prefix, limit } = call.operation {
        let rows = rows(call);
        // What is behind a full page is not in it, and without an answer nothing is.
        let range = index.with_prefix(prefix);
        let end = match rows.last() {
            _ if call.answer.is_none() || *limit == 0 => range.start,
            Some((last, _)) if rows.len() as u64 >= *limit => index.after(last).min(range.end),
            _ => range.end,
        };
        // Rows outside of the prefix are wrong, and belong to the evidence all the same.
        let listed = rows.iter().filter_map(|(key, _)| index.place(key));
        joined.join((range.start..end).chain(listed))
    } else if let Operation::SetMulti { pairs } = call.operation {
        joined.join(pairs.iter().filter_map(|(key, _)| index.place(key)))
    } else {
        None
    };
    first.map_or(NOWHERE, |place| place as u32)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::pair;
    use crate::tests::script::history;

    #[test]
    fn only_the_keys_that_a_call_touches_are_joined() {
        let script = "1 set a/1 x|2 set a/2 x|3 set b x|4 set c x|1 = done|2 = done|3 = done|4 = done\
                      |1 scan a/ 9|1 = rows a/1=x a/2=x|2 multi c=y d=y|2 = done|3 add a/1 1|3 = done\
                      |4 set e x|4 fail";
        let history = history(&script.replace('|', "\n"));
        let mut index = ObjectIndex::new(8);
        let paired = pair(&history, &mut index).expect("a well-formed history");
        let groups = split(&paired, index);
        let words: Vec<(String, usize)> =
            groups.iter().map(|group| (group.describe(), group.calls.len())).collect();
        let expected = [
            ("2 keys a/1 to a/2", 3),
            ("key b", 1),
            ("2 keys c to d", 2),
            ("key e", 0),
            ("counter a/1", 1),
        ];
        assert_eq!(words, expected.map(|(words, calls)| (words.to_owned(), calls)));
    }
}
