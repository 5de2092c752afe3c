//! The history: what clients saw, as the checkers judge it.
//!
//! It belongs to no simulator, so that a real client can write the same format and
//! `aspen-sim check` can judge a real cluster. A history is a sequence of [`Event`]s in the
//! order in which they happened; a process has at most one operation open, and after
//! [`Outcome::Info`] its client goes on under a new process number.

mod decode;
mod text;

use serde::{Deserialize, Serialize};

pub use text::Text;
pub(crate) use text::TextRef;

/// A client's identity in a history. After an operation of unknown outcome a client takes a new
/// number, because the old operation may still take effect at any later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Process(pub u64);

/// One line of a history. A model of one's own brings its own operations `O` and answers `A`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event<O = Operation, A = Answer> {
    /// When, in microseconds since the run began.
    pub time_us: u64,
    /// Who.
    pub process: Process,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind<O, A>,
}

/// The two things that happen to an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind<O = Operation, A = Answer> {
    /// A client asked.
    Invoke {
        /// What it asked for.
        operation: O,
    },
    /// A client got its answer, or gave up waiting.
    Complete {
        /// What it knows.
        outcome: Outcome<A>,
    },
}

/// What a client asks for. Values, counters and locks are three kinds of objects: a key `a`, a
/// counter `a` and a lock `a` have nothing to do with each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// Adds bytes at the end of what a key holds; an absent key counts as empty.
    Append {
        /// The key.
        key: Text,
        /// What is added.
        value: Text,
    },
    /// Removes a key, and reads what it held if the system says so.
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
    /// Adds to a counter; one that nobody has added to is 0.
    CounterAdd {
        /// The counter.
        key: Text,
        /// How much; less than nothing is subtracted.
        delta: i64,
    },
    /// Reads a counter.
    CounterGet {
        /// The counter.
        key: Text,
    },
    /// Asks for a lock.
    LockAcquire {
        /// The lock.
        key: Text,
        /// Whether it may be taken from its holder at any time, because a lease runs out.
        leased: bool,
    },
    /// Gives a lock back.
    LockRelease {
        /// The lock.
        key: Text,
        /// The fencing token that came with it.
        token: u64,
    },
}

/// What a client knows of its operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome<A = Answer> {
    /// It took effect, once, and this is the answer.
    Ok {
        /// The answer.
        answer: A,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Written, removed, added or released.
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
    /// What a counter stands at, after an addition.
    Count {
        /// The count.
        count: i64,
    },
    /// A lock was granted.
    Token {
        /// The fencing token: larger than every one before.
        token: u64,
    },
    /// A lock was not granted, because somebody holds it.
    Held,
    /// A lock was not released, because this token does not hold it.
    Stale,
}
