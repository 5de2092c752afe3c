//! Models: what an object does, written down once, for the search to try orders of.
//!
//! A [`Model`] describes one kind of object: its state, and what an operation with an answer does
//! to it. That is enough for a verdict. The hints, [`Model::reads_only`],
//! [`Model::can_follow`] and [`Model::likeness`], change no verdict; they make the search fast.

use std::hash::Hash;

use crate::calls::{Call, Line};
use crate::hashing::Table;
use crate::search::{Allowance, Ending, Foresight, Space, Step, Stuck, sweep};

/// A sequential specification of the objects that a history is about.
///
/// ```
/// use aspen_check::history::{Event, EventKind, Outcome, Process};
/// use aspen_check::{Budget, Model, Verdict, check_model};
///
/// /// A stack of numbers: `Some` pushes, `None` pops. The answer is what was popped.
/// struct Stack;
///
/// impl Model for Stack {
///     type Operation = Option<u32>;
///     type Answer = Option<u32>;
///     type State = Vec<u32>;
///
///     fn initial(&self) -> Vec<u32> {
///         Vec::new()
///     }
///
///     fn step(
///         &self,
///         state: &Vec<u32>,
///         operation: &Option<u32>,
///         answer: Option<&Option<u32>>,
///     ) -> Option<Vec<u32>> {
///         let mut after = state.clone();
///         let popped = match operation {
///             Some(number) => {
///                 after.push(*number);
///                 None
///             }
///             None => after.pop(),
///         };
///         (answer.is_none_or(|answer| *answer == popped)).then_some(after)
///     }
///
///     fn describe(&self, operation: &Option<u32>) -> String {
///         operation.map_or("pop".into(), |number| format!("push {number}"))
///     }
///
///     fn describe_answer(&self, answer: &Option<u32>) -> String {
///         format!("{answer:?}")
///     }
/// }
///
/// let event = |time_us, kind| Event { time_us, process: Process(1), kind };
/// let history = [
///     event(1, EventKind::Invoke { operation: Some(7) }),
///     event(2, EventKind::Complete { outcome: Outcome::Ok { answer: None } }),
///     event(3, EventKind::Invoke { operation: None }),
///     event(4, EventKind::Complete { outcome: Outcome::Ok { answer: Some(7) } }),
/// ];
/// assert_eq!(check_model(&Stack, &history, Budget::default()), Ok(Verdict::Linearizable));
/// ```
pub trait Model {
    /// What a client asks for.
    type Operation;
    /// What it gets back.
    type Answer;
    /// What an object holds. Cloned and compared once for each state that the search visits.
    type State: Clone + Eq + Hash;

    /// What an object holds before the first operation.
    fn initial(&self) -> Self::State;

    /// What an object holds after an operation that takes effect in `state`; none, if it cannot
    /// have this answer there. Without an answer the outcome is unknown: any answer will do, and
    /// none means that the operation has no effect in this state.
    fn step(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;

    /// The operation in words.
    fn describe(&self, operation: &Self::Operation) -> String;

    /// The answer in words.
    fn describe_answer(&self, answer: &Self::Answer) -> String;

    /// The object that an operation is about. Operations on different objects are judged apart,
    /// which keeps a check fast. By default there is one object only.
    fn object(&self, operation: &Self::Operation) -> String {
        let _ = operation;
        String::new()
    }

    /// Whether an operation leaves every state as it is, with this answer.
    fn reads_only(&self, operation: &Self::Operation, answer: Option<&Self::Answer>) -> bool {
        let _ = (operation, answer);
        false
    }

    /// Whether an operation can still get this answer once an object is in `state`, whatever else
    /// happens in between. With a false no the verdict would be wrong; yes is always right.
    fn can_follow(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        answer: &Self::Answer,
    ) -> bool {
        let _ = (state, operation, answer);
        true
    }

    /// Operations with the same number have the same effect in every state, and the same answer. So
    /// they can stand in for each other, and the search need not try them in every order. That
    /// matters most for operations of unknown outcome.
    fn likeness(&self, operation: &Self::Operation, answer: Option<&Self::Answer>) -> Option<u128> {
        let _ = (operation, answer);
        None
    }

    /// What the answer would be in a state, to be told when the one that came cannot be.
    fn answer(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::Answer> {
        let _ = (state, operation);
        None
    }

    /// Whether the operation can have such an answer at all, in any state.
    ///
    /// # Errors
    /// What was expected, to be told with the line of the answer.
    fn check_answer(
        &self,
        operation: &Self::Operation,
        answer: &Self::Answer,
    ) -> Result<(), String> {
        let _ = (operation, answer);
        Ok(())
    }
}

/// How many of the next operations [`Model::can_follow`] is asked about, besides the open ones.
const LOOK_AHEAD: usize = 16;

/// How the calls on one object are searched for an order. Where it is stuck, the step is the number
/// of a call.
pub(crate) type Search<M> = fn(
    &M,
    &[Call<'_, <M as Model>::Operation, <M as Model>::Answer>],
    Foresight,
    &mut Allowance<'_>,
) -> Ending<<M as Model>::State>;

/// The [`Search`] through the states that a model describes.
pub(crate) fn search<M: Model>(
    model: &M,
    calls: &[Call<'_, M::Operation, M::Answer>],
    foresight: Foresight,
    allowance: &mut Allowance<'_>,
) -> Ending<M::State> {
    let space = ModelSpace::new(model, calls);
    match sweep(&space, foresight, allowance) {
        Ending::Stuck(Stuck { step, states }) => {
            Ending::Stuck(Stuck { step: space.steps[step].call as usize, states })
        }
        ending @ (Ending::Linearizable | Ending::Spent | Ending::Stopped) => ending,
    }
}

/// The search's view of the operations on one object of a model.
pub(crate) struct ModelSpace<'m, 'h, M: Model> {
    model: &'m M,
    calls: &'m [Call<'h, M::Operation, M::Answer>],
    steps: Vec<Step>,
    /// The steps with an answer, in the order of their invocations.
    definite: Vec<usize>,
}

impl<'m, 'h, M: Model> ModelSpace<'m, 'h, M> {
    /// Prepares the calls on one object.
    pub(crate) fn new(model: &'m M, calls: &'m [Call<'h, M::Operation, M::Answer>]) -> Self {
        let steps = calls.iter().zip(0..).map(|(call, number)| {
            Step::new(number, call, model.reads_only(call.operation, call.answer))
        });
        let mut steps: Vec<Step> =
            steps.filter(|step| !(step.optional && step.reads_only)).collect();
        compare(model, calls, &mut steps);
        let definite = (0..steps.len()).filter(|step| !steps[*step].optional).collect();
        Self { model, calls, steps, definite }
    }

    fn call(&self, step: usize) -> &Call<'h, M::Operation, M::Answer> {
        &self.calls[self.steps[step].call as usize]
    }
}

/// Numbers the steps that are alike.
fn compare<M: Model>(model: &M, calls: &[Call<'_, M::Operation, M::Answer>], steps: &mut [Step]) {
    let mut numbers: Table<u128, u32> = Table::default();
    for step in steps.iter_mut().filter(|step| !step.reads_only) {
        let call = &calls[step.call as usize];
        let Some(likeness) = model.likeness(call.operation, call.answer) else { continue };
        let next = numbers.len() as u32 + 1;
        step.likeness = *numbers.entry(likeness).or_insert(next);
    }
}

impl<M: Model> Space for ModelSpace<'_, '_, M> {
    type State = M::State;

    fn initial(&self) -> M::State {
        self.model.initial()
    }

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn after(&self, step: usize, state: &M::State) -> Option<M::State> {
        let call = self.call(step);
        self.model.step(state, call.operation, call.answer)
    }

    fn hopeless(
        &self,
        _: &M::State,
        to: &M::State,
        now: Line,
        waiting: impl Iterator<Item = usize> + Clone,
    ) -> bool {
        let next = self.definite.partition_point(|step| self.steps[*step].invoked <= now);
        let later = self.definite[next..].iter().take(LOOK_AHEAD).copied();
        waiting.chain(later).any(|step| {
            let call = self.call(step);
            call.answer.is_some_and(|answer| !self.model.can_follow(to, call.operation, answer))
        })
    }
}
