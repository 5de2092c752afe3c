//! The operations of the history format: their names, the answers that fit them, and how they read.

use std::fmt::Display;

use crate::history::{Answer, Operation, Text};

/// How many characters of a value are shown.
const SHOWN_CHARS_MAX: usize = 40;
/// How many pairs of a multi-key write or of a scan are shown.
const SHOWN_PAIRS_MAX: usize = 8;

/// Whether the answer is one that the operation can have.
///
/// # Errors
/// What was expected.
pub(crate) fn check_answer(operation: &Operation, answer: &Answer) -> Result<(), String> {
    if fits(operation, answer) {
        return Ok(());
    }
    Err(format!(
        "this answer does not fit its operation, a {}; expected {}",
        name(operation),
        expected(operation)
    ))
}

/// The operation's name, as a history file writes it.
fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Get { .. } => "get",
        Operation::Set { .. } => "set",
        Operation::SetMulti { .. } => "set_multi",
        Operation::Append { .. } => "append",
        Operation::Delete { .. } => "delete",
        Operation::CompareAndSet { .. } => "compare_and_set",
        Operation::CompareAndDelete { .. } => "compare_and_delete",
        Operation::Scan { .. } => "scan",
        Operation::CounterAdd { .. } => "counter_add",
        Operation::CounterGet { .. } => "counter_get",
        Operation::LockAcquire { .. } => "lock_acquire",
        Operation::LockRelease { .. } => "lock_release",
    }
}

fn expected(operation: &Operation) -> &'static str {
    match operation {
        Operation::Get { .. } => "`value`",
        Operation::Delete { .. } => "`value` or `done`",
        Operation::Set { .. } | Operation::SetMulti { .. } | Operation::Append { .. } => "`done`",
        Operation::CompareAndSet { .. } | Operation::CompareAndDelete { .. } => {
            "`swapped` or `mismatch`"
        }
        Operation::Scan { .. } => "`rows`",
        Operation::CounterAdd { .. } => "`count` or `done`",
        Operation::CounterGet { .. } => "`count`",
        Operation::LockAcquire { .. } => "`token` or `held`",
        Operation::LockRelease { .. } => "`done` or `stale`",
    }
}

fn fits(operation: &Operation, answer: &Answer) -> bool {
    match operation {
        Operation::Get { .. } => matches!(answer, Answer::Value { .. }),
        Operation::Delete { .. } => matches!(answer, Answer::Value { .. } | Answer::Done),
        Operation::Set { .. } | Operation::SetMulti { .. } | Operation::Append { .. } => {
            matches!(answer, Answer::Done)
        }
        Operation::CompareAndSet { .. } | Operation::CompareAndDelete { .. } => {
            matches!(answer, Answer::Swapped | Answer::Mismatch { .. })
        }
        Operation::Scan { .. } => matches!(answer, Answer::Rows { .. }),
        Operation::CounterAdd { .. } => matches!(answer, Answer::Count { .. } | Answer::Done),
        Operation::CounterGet { .. } => matches!(answer, Answer::Count { .. }),
        Operation::LockAcquire { .. } => matches!(answer, Answer::Token { .. } | Answer::Held),
        Operation::LockRelease { .. } => matches!(answer, Answer::Done | Answer::Stale),
    }
}

/// An operation in words, such as `set a = "1"`.
pub(crate) fn describe(operation: &Operation) -> String {
    let what = match operation {
        Operation::Get { key }
        | Operation::Delete { key }
        | Operation::CounterGet { key }
        | Operation::LockAcquire { key, .. } => format!("{key}"),
        Operation::Set { key, value } | Operation::Append { key, value } => {
            format!("{key} = {}", quote(value))
        }
        Operation::SetMulti { pairs } => list(pairs),
        Operation::CompareAndSet { key, expected, value } => {
            format!("{key} from {} to {}", show(expected.as_ref()), quote(value))
        }
        Operation::CompareAndDelete { key, expected } => format!("{key} from {}", quote(expected)),
        Operation::Scan { prefix, limit } => format!("{prefix}* limit {limit}"),
        Operation::CounterAdd { key, delta } => format!("{key} {delta:+}"),
        Operation::LockRelease { key, token } => format!("{key} token {token}"),
    };
    format!("{} {what}", name(operation))
}

/// An answer in words.
pub(crate) fn describe_answer(answer: &Answer) -> String {
    match answer {
        Answer::Done => "done".to_owned(),
        Answer::Swapped => "swapped".to_owned(),
        Answer::Value { value } => show(value.as_ref()),
        Answer::Mismatch { value } => format!("mismatch, {}", show(value.as_ref())),
        Answer::Rows { rows } => format!("[{}]", list(rows)),
        Answer::Count { count } => format!("{count}"),
        Answer::Token { token } => format!("token {token}"),
        Answer::Held => "held".to_owned(),
        Answer::Stale => "stale".to_owned(),
    }
}

/// What a key holds, in words.
pub(crate) fn show(value: Option<&impl Display>) -> String {
    value.map_or_else(|| "absent".to_owned(), quote)
}

fn quote(text: &impl Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
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
