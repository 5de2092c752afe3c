//! The objects that a history is about, noted while its events are paired.
//!
//! What an operation on one key needs and does is found out at its answer, too, because then it is
//! at hand: group by group the operations of a long history lie far apart in memory, and to fetch
//! them once more took a third of the time of a check.

use crate::calls::{Call, Record};
use crate::cells::{self, Access};
use crate::hashing::Table;
use crate::held::{self, Held};
use crate::history::{Answer, Operation, Text};
use crate::operations;

/// What an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Kind {
    /// Keys that hold values.
    #[default]
    Keys,
    /// A counter.
    Counter,
    /// A lock.
    Lock,
}

/// In place of a number: none.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Every object of a history, numbered in the order in which the history names them.
#[derive(Debug)]
pub(crate) struct ObjectIndex<'h> {
    /// By kind. The names are copies: where they stand in the history is seldom at hand.
    numbers: [Table<Text, u32>; 3],
    objects: Vec<(Kind, &'h Text)>,
    /// For each call on a single object, that object's number; [`NOWHERE`] for the others.
    singles: Vec<u32>,
    /// What each call on a single key needs and does; its cells are the key's mentions.
    accesses: Vec<Access>,
    /// For each object whether cells can express all operations on it alone.
    plain: Vec<bool>,
    /// For each object what operations mention as its values.
    mentioned: Vec<Vec<Held<'h>>>,
}

impl<'h> ObjectIndex<'h> {
    /// With room for so many calls.
    pub(crate) fn new(calls: usize) -> Self {
        Self {
            numbers: Default::default(),
            objects: Vec::new(),
            singles: Vec::with_capacity(calls),
            accesses: Vec::with_capacity(calls),
            plain: Vec::new(),
            mentioned: Vec::new(),
        }
    }

    fn number(&mut self, kind: Kind, key: &'h Text) -> u32 {
        let Self { numbers, objects, plain, mentioned, .. } = self;
        if let Some(number) = numbers[kind as usize].get(key) {
            return *number;
        }
        let number = objects.len() as u32;
        numbers[kind as usize].insert(key.clone(), number);
        objects.push((kind, key));
        plain.push(kind == Kind::Keys);
        mentioned.push(vec![Held::Absent]);
        number
    }

    fn note_access(&mut self, number: usize, call: &Call<'h>) {
        let object = self.singles[number];
        let Some(mentioned) = self.mentioned.get_mut(object as usize) else { return };
        if let Some(access) = cells::access(call, |held| held::mention(mentioned, held)) {
            self.accesses[number] = access;
        }
    }

    /// Everything, with the objects in ascending order, after all calls were noted.
    pub(crate) fn sorted(mut self, calls: &[Call<'h>]) -> SortedObjects<'h> {
        for (number, call) in calls.iter().enumerate() {
            if call.answer.is_none() && !call.failed() {
                self.note_access(number, call);
            }
        }
        let Self { objects, singles, accesses, plain, mentioned, .. } = self;
        let mut order: Vec<u32> = (0..objects.len() as u32).collect();
        order.sort_unstable_by_key(|number| objects[*number as usize]);
        let mut places = vec![0; objects.len()];
        order.iter().zip(0..).for_each(|(number, place)| places[*number as usize] = place);
        let objects = order.into_iter().map(|number| objects[number as usize]).collect();
        let [keys, _, _] = self.numbers;
        SortedObjects { objects, keys, places, singles, accesses, plain, mentioned }
    }
}

impl<'h> Record<'h, Operation, Answer> for ObjectIndex<'h> {
    fn invoked(&mut self, operation: &'h Operation) {
        let number = match operation {
            Operation::Append { key, .. } => {
                let number = self.number(Kind::Keys, key);
                self.plain[number as usize] = false;
                number
            }
            Operation::Get { key }
            | Operation::Set { key, .. }
            | Operation::Delete { key }
            | Operation::CompareAndSet { key, .. }
            | Operation::CompareAndDelete { key, .. } => self.number(Kind::Keys, key),
            Operation::CounterAdd { key, .. } | Operation::CounterGet { key } => {
                self.number(Kind::Counter, key)
            }
            Operation::LockAcquire { key, .. } | Operation::LockRelease { key, .. } => {
                self.number(Kind::Lock, key)
            }
            Operation::SetMulti { pairs } => {
                pairs.iter().for_each(|(key, _)| _ = self.number(Kind::Keys, key));
                NOWHERE
            }
            Operation::Scan { .. } => NOWHERE,
        };
        self.singles.push(number);
        self.accesses.push(Access::NOTHING);
    }

    fn answered(&mut self, number: u32, call: &Call<'h>) -> Result<(), String> {
        if let Some(answer) = call.answer {
            operations::check_answer(call.operation, answer)?;
        }
        self.note_access(number as usize, call);
        rows(call).iter().for_each(|(key, _)| _ = self.number(Kind::Keys, key));
        Ok(())
    }
}

/// Every object of a history, ascending.
#[derive(Debug)]
pub(crate) struct SortedObjects<'h> {
    /// The objects: keys first.
    pub(crate) objects: Vec<(Kind, &'h Text)>,
    /// Numbers of the keys.
    keys: Table<Text, u32>,
    /// The place among the ascending objects, by number.
    pub(crate) places: Vec<u32>,
    /// For each call on a single object, that object's number; [`NOWHERE`] for the others.
    pub(crate) singles: Vec<u32>,
    /// What each call on a single key needs and does; its cells are the key's mentions.
    pub(crate) accesses: Vec<Access>,
    /// For each object, by number, whether cells can express all operations on it alone.
    pub(crate) plain: Vec<bool>,
    /// For each object, by number, what operations mention as its values.
    pub(crate) mentioned: Vec<Vec<Held<'h>>>,
}

impl SortedObjects<'_> {
    /// The place of a key among the ascending objects.
    pub(crate) fn place(&self, key: &Text) -> Option<usize> {
        self.keys.get(key).map(|number| self.places[*number as usize] as usize)
    }

    /// The first place of the keys that come after this one.
    pub(crate) fn after(&self, last: &Text) -> usize {
        self.objects[..self.keys.len()].partition_point(|(_, key)| *key <= last)
    }

    /// The places of the keys that begin with a prefix.
    pub(crate) fn with_prefix(&self, prefix: &Text) -> std::ops::Range<usize> {
        let keys = &self.objects[..self.keys.len()];
        let start = keys.partition_point(|(_, key)| *key < prefix);
        let inside = keys[start..].partition_point(|(_, key)| key.starts_with(prefix));
        start..start + inside
    }
}

/// What a scan saw.
pub(crate) fn rows<'h>(call: &Call<'h>) -> &'h [(Text, Text)] {
    match call.answer {
        Some(Answer::Rows { rows }) => rows,
        _ => &[],
    }
}
