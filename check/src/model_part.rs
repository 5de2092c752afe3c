//! One object of a model, as a part: the search over the states that the model describes.

use crate::calls::Call;
use crate::explain::Finding;
use crate::history::Event;
use crate::model::{Model, Search};
use crate::parts::{Attempt, Illegal, Part};
use crate::search::{Allowance, Ending, Foresight, Stuck};
use crate::verdict::Violation;

/// Most calls before a contradiction for which a smallest window is looked for. Without its answer
/// an operation of a model stays in the search, so each attempt is a search through all of them.
const WINDOW_CALLS_MAX: usize = 256;

/// The operations on one object.
pub(crate) struct ModelPart<'m, 'h, M: Model> {
    /// Which object, in words.
    pub(crate) name: String,
    pub(crate) model: &'m M,
    pub(crate) search: Search<M>,
    pub(crate) history: &'h [Event<M::Operation, M::Answer>],
    /// In the order of their invocations.
    pub(crate) calls: Vec<Call<'h, M::Operation, M::Answer>>,
    /// The numbers of those with an answer, in the order of the answers.
    pub(crate) answered: Vec<u32>,
}

impl<M: Model> Part for ModelPart<'_, '_, M> {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.calls.len()
    }

    fn attempt(&mut self, allowance: &mut Allowance<'_>) -> Attempt {
        self.attempt_on(&self.calls, allowance)
    }

    fn explain(&self, illegal: Illegal, allowance: &mut Allowance<'_>) -> Violation {
        let ending = (self.search)(self.model, &self.calls, Foresight::Blind, allowance);
        let (illegal, possible) = match ending {
            Ending::Stuck(Stuck { step, states }) => {
                let operation = self.calls[step].operation;
                let mut possible: Vec<String> = Vec::new();
                for state in &states {
                    let answer = self.model.answer(state, operation);
                    let words = answer.map(|answer| self.model.describe_answer(&answer));
                    possible.extend(words.filter(|words| !possible.contains(words)));
                }
                (Illegal { call: step as u32, before_is_legal: true, ..illegal }, possible)
            }
            Ending::Linearizable | Ending::Spent | Ending::Stopped => (illegal, Vec::new()),
        };
        let until = self.calls[illegal.call as usize].returned;
        let finding = Finding {
            part: self.name.clone(),
            history: self.history,
            calls: &self.calls,
            answered: &self.answered,
            illegal,
            possible,
            describe: &|operation| self.model.describe(operation),
            describe_answer: &|answer| self.model.describe_answer(answer),
        };
        let before = self.calls.partition_point(|call| call.invoked < until);
        let reads_only = |call: &Call<'_, _, _>| self.model.reads_only(call.operation, None);
        finding.violation(allowance, &mut |kept, allowance| {
            if before > WINDOW_CALLS_MAX {
                return None;
            }
            // Answers of calls that are open at the culprit's may be among those that are kept.
            let last = kept.iter().map(|number| self.calls[*number as usize].returned).max();
            let before = before.max(self.calls.partition_point(|call| Some(call.invoked) < last));
            let calls =
                self.calls[..before].iter().zip(0..).filter_map(|(call, number)| {
                    match kept.contains(&number) {
                        true => Some(*call),
                        false => (!reads_only(call)).then(|| call.without_answer()),
                    }
                });
            let calls: Vec<_> = calls.collect();
            allowance.spend_on(calls.len());
            self.attempt_on(&calls, allowance).is_illegal()
        })
    }
}

impl<'h, M: Model> ModelPart<'_, 'h, M> {
    fn attempt_on(
        &self,
        calls: &[Call<'h, M::Operation, M::Answer>],
        allowance: &mut Allowance<'_>,
    ) -> Attempt {
        match (self.search)(self.model, calls, Foresight::Full, allowance) {
            Ending::Linearizable => Attempt::Linearizable,
            Ending::Stuck(Stuck { step, .. }) => Attempt::Illegal(Illegal {
                call: step as u32,
                before_is_legal: false,
                suspects: Vec::new(),
            }),
            Ending::Spent => Attempt::Spent,
            Ending::Stopped => Attempt::Stopped,
        }
    }
}
