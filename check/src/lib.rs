//! Linearizability: could this history have come from one copy of the data?
//!
//! Every operation must seem to take effect at one instant between its invocation and its answer
//! (Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects"). The
//! path: a [`history`], read from a [`history_file`], [imported](import) or recorded by a simulator,
//! is paired into `calls`, split into independent `groups`, each group is a part that is judged by
//! itself, and a contradiction is put in words by `explain`.
//!
//! There are two ways to judge a part. Where every value of a key is written once, `register` needs
//! no search. Everything else is a space of states that `search` sweeps over: keys in `cell_space`,
//! keys with appends in `string_space`, counters, locks and whatever [`Model`] somebody writes in
//! `model`.
//!
//! An operation of unknown outcome may take effect at any time after its invocation, or never;
//! one without a completion is of unknown outcome; one that failed never takes effect.
//!
//! The search is exponential in the worst case, so each group has a budget of visited states. A
//! group that spends it makes the verdict unknown, unless another group is a violation: an
//! expensive group does not hide a cheap one. What makes a group expensive: many clients on one
//! key that write few values again and again, unknown additions of many different amounts to one
//! counter, and scans that join thousands of keys.
//!
//! Left out: any knowledge of the cluster's inside. A check is pure: it has no clock, no threads and
//! no randomness, so a history has one verdict. (Reading a long file takes threads, and what is read
//! does not depend on them.)

mod calls;
mod cell_space;
mod cells;
mod configuration;
mod explain;
mod groups;
mod growth;
mod hashing;
mod held;
pub mod history;
pub mod history_file;
pub mod import;
mod keys_part;
mod mask;
mod model;
mod model_part;
mod models;
mod objects;
mod operations;
mod parts;
mod register;
mod search;
mod string_space;
mod verdict;
mod window;

use std::collections::BTreeMap;

pub use calls::HistoryError;
pub use model::Model;
pub use verdict::{Evidence, Explanation, Moment, Undecided, Verdict, Violation, WindowOperation};

use calls::{Call, Calls, Record};
use groups::Group;
use history::{Event, Operation};
use keys_part::KeysPart;
use model::Search;
use model_part::ModelPart;
use models::counter::Counter;
use models::lock::Lock;
use models::strings::{self, Strings};
use objects::{Kind, ObjectIndex};
use parts::Part;

/// How much a check may do before it gives up, in units that do not depend on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most states that the search visits in one group of keys.
    pub states_per_group: u64,
}

impl Default for Budget {
    /// Some seconds to a minute of search for each group that is hard, and hardly any is.
    fn default() -> Self {
        Self { states_per_group: 10_000_000 }
    }
}

/// Judges a history by itself.
///
/// # Errors
/// [`HistoryError`] when the history is not well formed.
pub fn check(history: &[Event], budget: Budget) -> Result<Verdict, HistoryError> {
    check_until(history, budget, &mut || false)
}

/// Judges a history by itself, and stops when it is told to: `stop` is asked every few thousand
/// visited states. Groups that are undecided then stay unknown.
///
/// # Errors
/// [`HistoryError`] when the history is not well formed.
pub fn check_until(
    history: &[Event],
    budget: Budget,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Verdict, HistoryError> {
    let mut index = ObjectIndex::new(history.len() / 2);
    let calls = calls::pair(history, &mut index)?;
    let groups = groups::split(&calls, index);
    drop(calls);
    let models: Vec<GroupModel<'_>> = groups.iter().map(GroupModel::of).collect();
    let parts = groups.into_iter().zip(&models).map(|(group, model)| model.part(history, group));
    Ok(parts::judge(parts.collect(), budget, stop))
}

/// How a group of the history format's objects is judged.
enum GroupModel<'h> {
    Keys,
    Strings(Strings<'h>),
    Counter(Counter),
    Lock(Lock),
}

impl<'h> GroupModel<'h> {
    fn of(group: &Group<'h>) -> Self {
        let mut operations = group.calls.iter().map(|call| call.operation);
        let appends = |one: &Operation| matches!(one, Operation::Append { .. });
        match group.kind {
            // That is known already, and to look at the operations once more is slow.
            Kind::Keys if group.single.is_some() => Self::Keys,
            Kind::Keys if operations.any(appends) => Self::Strings(Strings::new(group)),
            Kind::Keys => Self::Keys,
            Kind::Counter => Self::Counter(Counter::new(operations)),
            Kind::Lock => Self::Lock(Lock),
        }
    }

    fn part<'p>(&'p self, history: &'h [Event], group: Group<'h>) -> Box<dyn Part + 'p>
    where
        'h: 'p,
    {
        match self {
            Self::Keys => Box::new(KeysPart::new(history, group)),
            Self::Strings(model) => model_part(history, model, strings::search, group),
            Self::Counter(model) => model_part(history, model, model::search, group),
            Self::Lock(model) => model_part(history, model, model::search, group),
        }
    }
}

fn model_part<'p, 'h: 'p, M>(
    history: &'h [Event],
    model: &'p M,
    search: Search<M>,
    group: Group<'h>,
) -> Box<dyn Part + 'p>
where
    M: Model<Operation = Operation, Answer = history::Answer>,
{
    let name = group.describe();
    let Group { calls, answered, .. } = group;
    Box::new(ModelPart { name, model, search, history, calls, answered })
}

/// Judges a history of operations on the objects that a [`Model`] describes.
///
/// # Errors
/// [`HistoryError`] when the history is not well formed.
pub fn check_model<M: Model>(
    model: &M,
    history: &[Event<M::Operation, M::Answer>],
    budget: Budget,
) -> Result<Verdict, HistoryError> {
    let Calls { calls, answered } = calls::pair(history, &mut AnswersFit(model))?;
    let mut objects: BTreeMap<String, ModelPart<'_, '_, M>> = BTreeMap::new();
    let mut places = Vec::with_capacity(calls.len());
    for call in calls {
        if call.failed() {
            places.push((String::new(), 0));
            continue;
        }
        let name = model.object(call.operation);
        let part = objects.entry(name.clone()).or_insert_with(|| ModelPart {
            name: name.clone(),
            model,
            search: model::search,
            history,
            calls: Vec::new(),
            answered: Vec::new(),
        });
        places.push((name, part.calls.len() as u32));
        part.calls.push(call);
    }
    for number in answered {
        let (name, place) = &places[number as usize];
        objects.get_mut(name).expect("its call was put there").answered.push(*place);
    }
    let parts = objects.into_values().map(|part| Box::new(part) as Box<dyn Part + '_>).collect();
    Ok(parts::judge(parts, budget, &mut || false))
}

/// Notes nothing of the calls, and has the model look at their answers.
struct AnswersFit<'m, M>(&'m M);

impl<'h, M: Model> Record<'h, M::Operation, M::Answer> for AnswersFit<'_, M> {
    fn invoked(&mut self, _: &'h M::Operation) {}

    fn answered(&mut self, _: u32, call: &Call<'h, M::Operation, M::Answer>) -> Result<(), String> {
        call.answer.map_or(Ok(()), |answer| self.0.check_answer(call.operation, answer))
    }
}

// The generator of histories is compiled into the benchmark, too, where this crate has its name.
#[cfg(test)]
extern crate self as aspen_check;
#[cfg(test)]
mod tests;
