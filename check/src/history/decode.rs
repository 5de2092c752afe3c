//! How events are read back: by flat structs whose fields may come in any order.
//!
//! What serde derives for tagged enums buffers every object before it looks at the tag; a history
//! of 100,000 operations took several times as long that way. Fields that an operation or an
//! answer does not have are ignored, so a recorder may add its own.

use serde::{Deserialize, Deserializer};

use super::text::BASE16;
use super::{Answer, Event, EventKind, Operation, Outcome, Process, Text};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum EventType {
    Invoke,
    Complete,
}

#[derive(Deserialize)]
struct RawEvent<O, A> {
    time_us: u64,
    process: Process,
    #[serde(rename = "type")]
    event_type: EventType,
    operation: Option<O>,
    outcome: Option<Outcome<A>>,
}

impl<'de, O: Deserialize<'de>, A: Deserialize<'de>> Deserialize<'de> for Event<O, A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawEvent::<O, A>::deserialize(deserializer)?;
        let kind = match raw.event_type {
            EventType::Invoke => EventKind::Invoke { operation: need(raw.operation, "operation")? },
            EventType::Complete => EventKind::Complete { outcome: need(raw.outcome, "outcome")? },
        };
        Ok(Self { time_us: raw.time_us, process: raw.process, kind })
    }
}

fn need<T, E: serde::de::Error>(field: Option<T>, name: &'static str) -> Result<T, E> {
    field.ok_or_else(|| E::missing_field(name))
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OperationName {
    Get,
    Set,
    SetMulti,
    Append,
    Delete,
    CompareAndSet,
    CompareAndDelete,
    Scan,
    CounterAdd,
    CounterGet,
    LockAcquire,
    LockRelease,
}

#[derive(Deserialize)]
struct RawOperation {
    op: OperationName,
    key: Option<Text>,
    value: Option<Text>,
    expected: Option<Text>,
    pairs: Option<Vec<(Text, Text)>>,
    prefix: Option<Text>,
    limit: Option<u64>,
    delta: Option<i64>,
    #[serde(default)]
    leased: bool,
    token: Option<u64>,
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawOperation::deserialize(deserializer)?;
        let (key, value) = (raw.key, raw.value);
        Ok(match raw.op {
            OperationName::Get => Self::Get { key: need(key, "key")? },
            OperationName::Set => {
                Self::Set { key: need(key, "key")?, value: need(value, "value")? }
            }
            OperationName::SetMulti => Self::SetMulti { pairs: need(raw.pairs, "pairs")? },
            OperationName::Append => {
                Self::Append { key: need(key, "key")?, value: need(value, "value")? }
            }
            OperationName::Delete => Self::Delete { key: need(key, "key")? },
            OperationName::CompareAndSet => Self::CompareAndSet {
                key: need(key, "key")?,
                expected: raw.expected,
                value: need(value, "value")?,
            },
            OperationName::CompareAndDelete => Self::CompareAndDelete {
                key: need(key, "key")?,
                expected: need(raw.expected, "expected")?,
            },
            OperationName::Scan => {
                Self::Scan { prefix: need(raw.prefix, "prefix")?, limit: need(raw.limit, "limit")? }
            }
            OperationName::CounterAdd => {
                Self::CounterAdd { key: need(key, "key")?, delta: need(raw.delta, "delta")? }
            }
            OperationName::CounterGet => Self::CounterGet { key: need(key, "key")? },
            OperationName::LockAcquire => {
                Self::LockAcquire { key: need(key, "key")?, leased: raw.leased }
            }
            OperationName::LockRelease => {
                Self::LockRelease { key: need(key, "key")?, token: need(raw.token, "token")? }
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeName {
    Ok,
    Fail,
    Info,
}

#[derive(Deserialize)]
struct RawOutcome<A> {
    outcome: OutcomeName,
    answer: Option<A>,
    reason: Option<String>,
}

impl<'de, A: Deserialize<'de>> Deserialize<'de> for Outcome<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawOutcome::<A>::deserialize(deserializer)?;
        Ok(match raw.outcome {
            OutcomeName::Ok => Self::Ok { answer: need(raw.answer, "answer")? },
            OutcomeName::Fail => Self::Fail { reason: need(raw.reason, "reason")? },
            OutcomeName::Info => Self::Info { reason: need(raw.reason, "reason")? },
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnswerName {
    Done,
    Value,
    Swapped,
    Mismatch,
    Rows,
    Count,
    Token,
    Held,
    Stale,
}

#[derive(Deserialize)]
struct RawAnswer {
    answer: AnswerName,
    value: Option<Text>,
    rows: Option<Vec<(Text, Text)>>,
    count: Option<i64>,
    token: Option<u64>,
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawAnswer::deserialize(deserializer)?;
        Ok(match raw.answer {
            AnswerName::Done => Self::Done,
            AnswerName::Value => Self::Value { value: raw.value },
            AnswerName::Swapped => Self::Swapped,
            AnswerName::Mismatch => Self::Mismatch { value: raw.value },
            AnswerName::Rows => Self::Rows { rows: need(raw.rows, "rows")? },
            AnswerName::Count => Self::Count { count: need(raw.count, "count")? },
            AnswerName::Token => Self::Token { token: need(raw.token, "token")? },
            AnswerName::Held => Self::Held,
            AnswerName::Stale => Self::Stale,
        })
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl serde::de::Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
        let Some(hex) = text.strip_prefix(BASE16) else { return Ok(Text::new(text)) };
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        let bytes = bytes.ok_or_else(|| {
            E::custom(format!("`{text}`: expected pairs of hex digits after `{BASE16}`"))
        })?;
        Ok(Text::from(bytes.as_slice()))
    }
}

/// The byte that two hex digits stand for.
fn byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let digit = |one: u8| char::from(one).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}
