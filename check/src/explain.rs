//! From a failed search to words: which operation has no place, and how far one can get.
//!
//! The search looks ahead, so it may fail before the first answer that is wrong. For the evidence
//! it runs once more without that, and then fails at the end of the shortest prefix that no order
//! explains. Shown are the end of the longest linearization of it, and the operations that were
//! open and found no place in it.

use crate::history::{Answer, Operation, Text};

use crate::calls::{Call, name};
use crate::groups::Group;
use crate::model::{Cell, Model};
use crate::search::{Ending, Foresight, Stuck, sweep};
use crate::verdict::{Evidence, Violation};

/// How many operations of the longest linearization are shown.
const SHOWN_MAX: usize = 12;
/// How many characters of a value are shown.
const SHOWN_CHARS_MAX: usize = 40;
/// How many pairs of a multi-key write or of a scan are shown.
const SHOWN_PAIRS_MAX: usize = 8;

/// Says what is wrong with a group in which the search got stuck at `found`.
pub(crate) fn explain(
    group: &Group<'_>,
    model: &Model<'_>,
    found: Stuck,
    budget: u64,
) -> Violation {
    let stuck = match sweep(model, Foresight::Blind, budget).0 {
        Ending::Stuck(stuck) => stuck,
        Ending::Linearizable | Ending::GaveUp(_) => found,
    };
    let call = |step: usize| &group.calls[model.steps[step].call];
    let message = format!(
        "not linearizable ({}): no order of the operations up to here explains the answer of \
         {}; the longest one that respects real time places {} of them",
        group.describe(),
        describe(call(stuck.step)),
        stuck.order.len(),
    );
    let mut evidence = Vec::new();
    let first = stuck.order.len().saturating_sub(SHOWN_MAX);
    for (place, step) in stuck.order.iter().enumerate().skip(first) {
        let text = format!("takes effect as number {}: {}", place + 1, describe(call(*step)));
        evidence.push(Evidence { time_us: call(*step).invoked_us, text });
    }
    for step in &stuck.waiting {
        let Some(reason) = obstacle(group, model, *step, &stuck.values) else { continue };
        let text = format!("has no place: {}; {reason}", describe(call(*step)));
        let time_us = call(*step).returned.map_or(call(*step).invoked_us, |end| end.time_us);
        evidence.push(Evidence { time_us, text });
    }
    Violation { group: group.describe(), message, evidence }
}

/// Why a step cannot take effect where the longest linearization ends.
fn obstacle(group: &Group<'_>, model: &Model<'_>, step: usize, values: &[Cell]) -> Option<String> {
    let step = &model.steps[step];
    if step.impossible {
        return Some("its answer contradicts itself".to_owned());
    }
    let key = |cell: Cell| model.cells[cell as usize].key;
    if let Some(cell) = step.conditions.iter().find(|cell| values[key(**cell)] != **cell) {
        let wanted = show(model.value(*cell));
        let found = show(model.value(values[key(*cell)]));
        return Some(format!(
            "it needs {} = {wanted}, which is {found} there",
            group.keys[key(*cell)]
        ));
    }
    // An operation of unknown outcome that would change nothing is no obstacle to anybody.
    let changes = step.effects.iter().any(|cell| values[key(*cell)] != *cell);
    (changes || !step.optional)
        .then(|| "it would overwrite what another operation has yet to see".to_owned())
}

fn show(value: Option<&Text>) -> String {
    value.map_or_else(|| "absent".to_owned(), quote)
}

fn quote(text: &Text) -> String {
    let text = text.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}

/// An operation in words, with its answer.
fn describe(call: &Call<'_>) -> String {
    let what = match call.operation {
        Operation::Get { key } | Operation::Delete { key } => format!("{key}"),
        Operation::Set { key, value } => format!("{key} = {}", quote(value)),
        Operation::SetMulti { pairs } => list(pairs),
        Operation::CompareAndSet { key, expected, value } => {
            format!("{key} from {} to {}", show(expected.as_ref()), quote(value))
        }
        Operation::CompareAndDelete { key, expected } => format!("{key} from {}", quote(expected)),
        Operation::Scan { prefix, limit } => format!("{prefix}* limit {limit}"),
    };
    let answer = match call.returned.map(|end| end.answer) {
        None => "unknown".to_owned(),
        Some(Answer::Done) => "done".to_owned(),
        Some(Answer::Swapped) => "swapped".to_owned(),
        Some(Answer::Value { value }) => show(value.as_ref()),
        Some(Answer::Mismatch { value }) => format!("mismatch, {}", show(value.as_ref())),
        Some(Answer::Rows { rows }) => format!("[{}]", list(rows)),
    };
    let line = call.invoked + 1;
    format!("process {} {} {what} → {answer} (line {line})", call.process.0, name(call.operation))
}

fn list(pairs: &[(Text, Text)]) -> String {
    let shown = pairs.iter().take(SHOWN_PAIRS_MAX);
    let mut words: Vec<String> =
        shown.map(|(key, value)| format!("{key} = {}", quote(value))).collect();
    if pairs.len() > SHOWN_PAIRS_MAX {
        words.push(format!("{} more", pairs.len() - SHOWN_PAIRS_MAX));
    }
    words.join(", ")
}
