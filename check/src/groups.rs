//! The partition of a history: operations that share no object cannot disturb each other.
//!
//! Linearizability is local (Herlihy and Wing, section 3.3): a history is linearizable when each
//! independent part of it is. Counters and locks are independent each by itself. The parts of the
//! keys are their connected components: a multi-key write joins the keys that it writes, a scan
//! joins all keys of the history that have its prefix, because any of them could have been in its
//! answer. Keys that no such operation touches stay alone. Names are not relied on.

use crate::calls::{Call, Calls};
use crate::cells::{self, Access};
use crate::held::{Held, KeyValues};
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
    /// What the cells hold.
    pub(crate) values: KeyValues<'h>,
}

impl<'h> Single<'h> {
    /// Of these calls; none, if there are others among them.
    pub(crate) fn new(calls: &[Call<'h>]) -> Option<Self> {
        let mut values = KeyValues::new(0);
        let accesses = calls.iter().map(|call| cells::access(call, |held| values.cell(held)));
        Some(Self { accesses: accesses.collect::<Option<_>>()?, values })
    }

    /// Of calls whose cells are mentions of their key's values.
    fn settled(mentioned: Vec<Held<'h>>, accesses: impl Iterator<Item = Access>) -> Self {
        let (values, cells) = KeyValues::settle(mentioned);
        Self { accesses: accesses.map(|one| one.renamed(&cells)).collect(), values }
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
        let mut values = self.values.clone();
        for (number, call) in calls.iter().enumerate().filter(|(_, call)| differs(call)) {
            let access = cells::access(&call.without_answer(), |held| values.cell(held));
            accesses[number] = access.unwrap_or(accesses[number]);
        }
        (accesses, values.held().len())
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
    for home in &mut homes {
        // A scan that matches no key of the history saw nothing and constrains nothing.
        *home = group_of.get(*home as usize).copied().unwrap_or(NOWHERE);
    }
    let mut numbers = vec![NOWHERE; groups.len()];
    for (number, place) in index.places.iter().enumerate() {
        let group = group_of[*place as usize] as usize;
        if groups[group].keys.len() == 1 && index.plain[number] {
            numbers[group] = number as u32;
        }
    }
    fill(&mut groups, paired, &homes, |group, calls| {
        let mentioned = std::mem::take(index.mentioned.get_mut(numbers[group] as usize)?);
        let alone = calls.iter().all(|call| index.singles[*call as usize] != NOWHERE);
        let accesses = calls.iter().map(|call| index.accesses[*call as usize]);
        alone.then(|| Single::settled(mentioned, accesses))
    });
    groups
}

/// Hands the calls out, in the order of their invocations and in that of their answers. `single`
/// gets the number of a group and those of its calls.
fn fill<'h>(
    groups: &mut [Group<'h>],
    paired: &Calls<'h>,
    homes: &[u32],
    mut single: impl FnMut(usize, &[u32]) -> Option<Single<'h>>,
) {
    let calls = Handed::out(groups.len(), || homes.iter().copied().zip(0..));
    let mut places = vec![0; homes.len()];
    for (number, group) in groups.iter_mut().enumerate() {
        let calls = calls.to(number);
        for (call, place) in calls.iter().zip(0..) {
            places[*call as usize] = place;
        }
        group.calls = calls.iter().map(|call| paired.calls[*call as usize]).collect();
        group.single = single(number, calls);
    }
    let answered = paired.answered.iter().map(|call| *call as usize);
    let answered =
        Handed::out(groups.len(), || answered.clone().map(|call| (homes[call], places[call])));
    for (number, group) in groups.iter_mut().enumerate() {
        group.answered = answered.to(number).to_vec();
    }
}

/// Numbers, group by group.
struct Handed {
    numbers: Vec<u32>,
    /// Where those of each group end.
    ends: Vec<u32>,
}

impl Handed {
    /// Sorts pairs of a group and a number by the groups; those of no group are left out.
    fn out<I: Iterator<Item = (u32, u32)>>(groups: usize, pairs: impl Fn() -> I) -> Self {
        let mut ends = vec![0_u32; groups + 1];
        for (group, _) in pairs() {
            if let Some(size) = ends.get_mut(group as usize + 1) {
                *size += 1;
            }
        }
        (0..groups).for_each(|group| ends[group + 1] += ends[group]);
        let mut numbers = vec![0; ends[groups] as usize];
        // These begin as the places where the groups begin.
        for (group, number) in pairs() {
            if let Some(end) = ends[..groups].get_mut(group as usize) {
                numbers[*end as usize] = number;
                *end += 1;
            }
        }
        Self { numbers, ends }
    }

    fn to(&self, group: usize) -> &[u32] {
        let start = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.numbers[start as usize..self.ends[group] as usize]
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
