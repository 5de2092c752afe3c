//! Histories as scripts: one line an event, `process operation` or `process = answer`.

use crate::history::{Answer, Event, EventKind, Operation, Outcome, Process, Text};
use crate::{Budget, Verdict, check};

/// Reads a script: `1 set a x`, `1 = done`, `1 = x` or `1 = -` (absent), `1 ! ` (info), `1 x` (fail).
pub(crate) fn history(script: &str) -> Vec<Event> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .enumerate()
        .map(|(number, line)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let process = Process(words[0].parse().expect("a process number"));
            Event { time_us: number as u64 * 10, process, kind: kind(&words[1..]) }
        })
        .collect()
}

fn text(word: &str) -> Text {
    Text::new(word)
}

fn maybe(word: &str) -> Option<Text> {
    (word != "-").then(|| Text::new(word))
}

fn pairs(words: &[&str]) -> Vec<(Text, Text)> {
    let split = words.iter().map(|pair| pair.split_once('=').expect("key=value"));
    split.map(|(key, value)| (text(key), text(value))).collect()
}

fn kind(words: &[&str]) -> EventKind {
    let operation = match words {
        ["get", key] => Operation::Get { key: text(key) },
        ["set", key, value] => Operation::Set { key: text(key), value: text(value) },
        ["multi", rest @ ..] => Operation::SetMulti { pairs: pairs(rest) },
        ["delete", key] => Operation::Delete { key: text(key) },
        ["cas", key, expected, value] => Operation::CompareAndSet {
            key: text(key),
            expected: maybe(expected),
            value: text(value),
        },
        ["cad", key, expected] => {
            Operation::CompareAndDelete { key: text(key), expected: text(expected) }
        }
        ["scan", prefix, limit] => {
            Operation::Scan { prefix: text(prefix), limit: limit.parse().expect("a limit") }
        }
        ["append", key, value] => Operation::Append { key: text(key), value: text(value) },
        ["add", key, delta] => {
            Operation::CounterAdd { key: text(key), delta: delta.parse().expect("a number") }
        }
        ["count", key] => Operation::CounterGet { key: text(key) },
        ["lock", key] => Operation::LockAcquire { key: text(key), leased: false },
        ["lease", key] => Operation::LockAcquire { key: text(key), leased: true },
        ["unlock", key, token] => {
            Operation::LockRelease { key: text(key), token: token.parse().expect("a token") }
        }
        ["=", answer @ ..] => return EventKind::Complete { outcome: ok(answer) },
        ["info"] => {
            return EventKind::Complete { outcome: Outcome::Info { reason: "timeout".to_owned() } };
        }
        ["fail"] => {
            return EventKind::Complete { outcome: Outcome::Fail { reason: "full".to_owned() } };
        }
        _ => panic!("{words:?}"),
    };
    EventKind::Invoke { operation }
}

fn ok(words: &[&str]) -> Outcome {
    let answer = match words {
        ["done"] => Answer::Done,
        ["swapped"] => Answer::Swapped,
        ["mismatch", value] => Answer::Mismatch { value: maybe(value) },
        ["count", count] => Answer::Count { count: count.parse().expect("a number") },
        ["token", token] => Answer::Token { token: token.parse().expect("a token") },
        ["held"] => Answer::Held,
        ["stale"] => Answer::Stale,
        ["rows", rest @ ..] => Answer::Rows { rows: pairs(rest) },
        [value] => Answer::Value { value: maybe(value) },
        _ => panic!("{words:?}"),
    };
    Outcome::Ok { answer }
}

pub(super) fn judge(script: &str) -> Verdict {
    check(&history(script), Budget::default()).expect("a well-formed history")
}

/// Each script with what it shows; `|` stands for the end of a line.
pub(super) fn each(scripts: &[(&str, &str)], valid: bool) {
    for (story, script) in scripts {
        let verdict = judge(&script.replace('|', "\n"));
        assert_eq!(verdict == Verdict::Linearizable, valid, "{story}: {verdict:#?}");
        assert!(!matches!(verdict, Verdict::Unknown { .. }), "{story}: {verdict:#?}");
    }
}
