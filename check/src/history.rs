//! The history: what clients saw, as the checkers judge it.
//!
//! It belongs to no simulator, so that a real client can write the same format and
//! `aspen-sim check` can judge a real cluster. A history is a sequence of [`Event`]s in the
//! order in which they happened; a process has at most one operation open, and after
//! [`Outcome::Info`] its client goes on under a new process number.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A client's identity in a history. After an operation of unknown outcome a client takes a new
/// number, because the old operation may still take effect at any later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Process(pub u64);

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds since the run began.
    pub time_us: u64,
    /// Who.
    pub process: Process,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The two things that happen to an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A client asked.
    Invoke {
        /// What it asked for.
        operation: Operation,
    },
    /// A client got its answer, or gave up waiting.
    Complete {
        /// What it knows.
        outcome: Outcome,
    },
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// Reads one key.
    Get {
        /// The key.
        key: Text,
    },
    /// Sets one key.
    Set {
        /// The key.
        key: Text,
        /// Its new value.
        value: Text,
    },
    /// Sets several keys at once.
    SetMulti {
        /// Keys and values.
        pairs: Vec<(Text, Text)>,
    },
    /// Removes a key and reads what it held.
    Delete {
        /// The key.
        key: Text,
    },
    /// Sets a key if it holds what is expected.
    CompareAndSet {
        /// The key.
        key: Text,
        /// What it must hold; `null`: it must be absent.
        expected: Option<Text>,
        /// Its new value.
        value: Text,
    },
    /// Removes a key if it holds what is expected.
    CompareAndDelete {
        /// The key.
        key: Text,
        /// What it must hold.
        expected: Text,
    },
    /// Reads all keys that begin with a prefix, in ascending order, up to a limit.
    Scan {
        /// The prefix.
        prefix: Text,
        /// Most rows wanted.
        limit: u64,
    },
}

/// What a client knows of its operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect, once, and this is the answer.
    Ok {
        /// The answer.
        answer: Answer,
    },
    /// It did not take effect and never will.
    Fail {
        /// Why.
        reason: String,
    },
    /// It may have taken effect, or may still.
    Info {
        /// Why the client does not know.
        reason: String,
    },
}

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Written.
    Done,
    /// What a read saw, or what a delete removed; `null`: nothing.
    Value {
        /// The value.
        value: Option<Text>,
    },
    /// A comparison held and the change was made.
    Swapped,
    /// A comparison did not hold; this was there instead.
    Mismatch {
        /// The value found.
        value: Option<Text>,
    },
    /// What a scan saw.
    Rows {
        /// Keys and values, ascending.
        rows: Vec<(Text, Text)>,
    },
}

/// Bytes that a history writes as a string: UTF-8 as it is, anything else as `base16:` and hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub Bytes);

impl Text {
    /// The text of a string.
    pub fn new(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

const BASE16: &str = "base16:";

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.starts_with(BASE16) => f.write_str(text),
            _ => {
                f.write_str(BASE16)?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some(hex) = text.strip_prefix(BASE16) else { return Ok(Self(text.into())) };
        let digits = hex.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = digits
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok()?;
                let hex = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
                let pair = hex.then_some(pair)?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect();
        let bytes = bytes.ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}`: expected pairs of hex digits after `{BASE16}`"
            ))
        })?;
        Ok(Self(bytes.into()))
    }
}
