//! A counter: a number that operations add to.

use crate::history::{Answer, Operation};
use crate::model::Model;
use crate::operations;

/// The model. Its operations are [`Operation::CounterAdd`] and [`Operation::CounterGet`].
#[derive(Debug)]
pub(crate) struct Counter {
    /// No operation of the history subtracts, so what a counter has passed never comes back.
    only_grows: bool,
}

impl Counter {
    /// The model of a counter with these operations.
    pub(crate) fn new<'o>(mut operations: impl Iterator<Item = &'o Operation>) -> Self {
        let subtracts =
            |one: &Operation| matches!(one, Operation::CounterAdd { delta, .. } if *delta < 0);
        Self { only_grows: !operations.any(subtracts) }
    }
}

impl Model for Counter {
    type Operation = Operation;
    type Answer = Answer;
    /// Wide enough that a history cannot overflow it.
    type State = i128;

    fn initial(&self) -> i128 {
        0
    }

    fn step(&self, state: &i128, operation: &Operation, answer: Option<&Answer>) -> Option<i128> {
        let after = state + added(operation);
        match answer {
            Some(Answer::Count { count }) => (i128::from(*count) == after).then_some(after),
            _ => Some(after),
        }
    }

    fn describe(&self, operation: &Operation) -> String {
        operations::describe(operation)
    }

    fn describe_answer(&self, answer: &Answer) -> String {
        operations::describe_answer(answer)
    }

    fn answer(&self, state: &i128, operation: &Operation) -> Option<Answer> {
        let after = self.step(state, operation, None)?;
        i64::try_from(after).ok().map(|count| Answer::Count { count })
    }

    fn reads_only(&self, operation: &Operation, _: Option<&Answer>) -> bool {
        added(operation) == 0
    }

    fn likeness(&self, operation: &Operation, answer: Option<&Answer>) -> Option<u128> {
        let tells = matches!(answer, Some(Answer::Count { .. }));
        (!tells).then(|| added(operation).cast_unsigned())
    }

    fn can_follow(&self, state: &i128, operation: &Operation, answer: &Answer) -> bool {
        let (Answer::Count { count }, true) = (answer, self.only_grows) else { return true };
        state + added(operation) <= i128::from(*count)
    }
}

/// How much an operation adds; nothing, if it only reads.
fn added(operation: &Operation) -> i128 {
    if let Operation::CounterAdd { delta, .. } = operation { i128::from(*delta) } else { 0 }
}
