//! Keys with appends: what they hold depends on what was there.
//!
//! The cells of `cell_space` do not know appends, so groups with appends have this model in their
//! place. Its orders are searched for in a [`StringSpace`], which is fast and knows numbers only; an
//! explanation has to name values, so its search is the one for every model.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::calls::Call;
use crate::groups::Group;
use crate::history::{Answer, Operation, Text};
use crate::model::{self, Model};
use crate::operations;
use crate::search::{Allowance, Ending, Foresight, Space, Stuck, sweep};
use crate::string_space::StringSpace;

/// The model of the keys of a group.
#[derive(Debug)]
pub(crate) struct Strings<'h> {
    keys: Vec<&'h Text>,
}

/// What each key holds.
pub(crate) type Values = SmallVec<[Option<Bytes>; 1]>;

impl<'h> Strings<'h> {
    /// The model of a group's keys.
    pub(crate) fn new(group: &Group<'h>) -> Self {
        Self { keys: group.keys.clone() }
    }

    /// The place of a key.
    fn key(&self, key: &Text) -> usize {
        self.keys.binary_search(&key).expect("a group holds every key of its calls")
    }

    /// What a full scan would see.
    fn scan(&self, values: &Values, prefix: &Text, limit: u64) -> Vec<(Text, Text)> {
        let held = self.keys.iter().zip(values);
        let rows = held.filter(|(key, _)| key.starts_with(prefix)).filter_map(|(key, value)| {
            value.as_deref().map(|value| ((*key).clone(), Text::from(value)))
        });
        rows.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
    }

    /// What an operation does to the values, and what it answers.
    fn play(&self, values: &mut Values, operation: &Operation) -> Answer {
        let value = |held: Option<Bytes>| held.as_deref().map(Text::from);
        let held = |value: &Text| Bytes::copy_from_slice(value.as_bytes());
        match operation {
            Operation::Get { key } => Answer::Value { value: value(values[self.key(key)].clone()) },
            Operation::Set { key, value } => {
                values[self.key(key)] = Some(held(value));
                Answer::Done
            }
            Operation::SetMulti { pairs } => {
                for (key, value) in pairs {
                    values[self.key(key)] = Some(held(value));
                }
                Answer::Done
            }
            Operation::Append { key, value } => {
                let held = &mut values[self.key(key)];
                let parts = [held.as_deref().unwrap_or_default(), value.as_bytes()];
                *held = Some(parts.concat().into());
                Answer::Done
            }
            Operation::Delete { key } => {
                Answer::Value { value: value(values[self.key(key)].take()) }
            }
            Operation::CompareAndSet { key, expected, value: new } => {
                let held = &mut values[self.key(key)];
                if held.as_deref() != expected.as_ref().map(Text::as_bytes) {
                    return Answer::Mismatch { value: value(held.clone()) };
                }
                *held = Some(Bytes::copy_from_slice(new.as_bytes()));
                Answer::Swapped
            }
            Operation::CompareAndDelete { key, expected } => {
                let held = &mut values[self.key(key)];
                if held.as_deref() != Some(expected.as_bytes()) {
                    return Answer::Mismatch { value: value(held.clone()) };
                }
                *held = None;
                Answer::Swapped
            }
            Operation::Scan { prefix, limit } => {
                Answer::Rows { rows: self.scan(values, prefix, *limit) }
            }
            Operation::CounterAdd { .. }
            | Operation::CounterGet { .. }
            | Operation::LockAcquire { .. }
            | Operation::LockRelease { .. } => {
                unreachable!("counters and locks are in groups of their own")
            }
        }
    }
}

impl Model for Strings<'_> {
    type Operation = Operation;
    type Answer = Answer;
    type State = Values;

    fn initial(&self) -> Values {
        self.keys.iter().map(|_| None).collect()
    }

    fn step(
        &self,
        values: &Values,
        operation: &Operation,
        answer: Option<&Answer>,
    ) -> Option<Values> {
        let mut after = values.clone();
        let played = self.play(&mut after, operation);
        let fits = match (operation, answer) {
            (_, None) => true,
            // It says nothing about what it removed.
            (Operation::Delete { .. }, Some(Answer::Done)) => true,
            (_, Some(answer)) => *answer == played,
        };
        fits.then_some(after)
    }

    fn describe(&self, operation: &Operation) -> String {
        operations::describe(operation)
    }

    fn describe_answer(&self, answer: &Answer) -> String {
        operations::describe_answer(answer)
    }

    fn answer(&self, values: &Values, operation: &Operation) -> Option<Answer> {
        Some(self.play(&mut values.clone(), operation))
    }

    fn reads_only(&self, operation: &Operation, answer: Option<&Answer>) -> bool {
        matches!(operation, Operation::Get { .. } | Operation::Scan { .. })
            || matches!(answer, Some(Answer::Mismatch { .. }))
    }
}

/// The search for an order of operations with appends.
pub(crate) fn search(
    model: &Strings<'_>,
    calls: &[Call<'_>],
    foresight: Foresight,
    allowance: &mut Allowance<'_>,
) -> Ending<Values> {
    let space = StringSpace::new(&model.keys, calls);
    match sweep(&space, foresight, allowance) {
        Ending::Linearizable => Ending::Linearizable,
        Ending::Stuck(Stuck { step, .. }) => {
            let step = space.steps()[step].call as usize;
            let states = match foresight {
                Foresight::Full => Vec::new(),
                Foresight::Blind => states_at(model, calls, step, allowance),
            };
            Ending::Stuck(Stuck { step, states })
        }
        Ending::Spent => Ending::Spent,
        Ending::Stopped => Ending::Stopped,
    }
}

/// What the keys may have held while no place was found for a call, if that is found with half of
/// the allowance: the cells of the faster search do not say it.
fn states_at(
    model: &Strings<'_>,
    calls: &[Call<'_>],
    stuck: usize,
    allowance: &mut Allowance<'_>,
) -> Vec<Values> {
    let before = calls.partition_point(|call| call.invoked < calls[stuck].returned);
    let states = allowance.states / 2;
    let mut half = Allowance { states, stop: &mut *allowance.stop };
    let ending = model::search(model, &calls[..before], Foresight::Blind, &mut half);
    allowance.states -= states - half.states;
    if let Ending::Stuck(Stuck { step, states }) = ending
        && step == stuck
    {
        return states;
    }
    Vec::new()
}
