//! What the checker says of a history. A violation is data, never an error.

use serde::{Deserialize, Serialize};

use crate::history::Process;

/// The verdict on a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Some order of the operations explains every answer.
    Linearizable,
    /// No order does, for at least one group of objects.
    Illegal {
        /// One for each such group.
        violations: Vec<Violation>,
    },
    /// No group is known to be illegal, and at least one could not be decided.
    Unknown {
        /// One for each such group.
        undecided: Vec<Undecided>,
    },
}

/// A group of objects whose operations no order explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which objects, in words.
    pub group: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What shows it: the window in words.
    pub evidence: Vec<Evidence>,
    /// The same as data.
    pub explanation: Explanation,
}

/// Why no order explains a group, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The longest legal prefix: so many lines of the history can be explained, as far as this
    /// group goes. An operation that fails counts as having had no effect from the beginning.
    pub legal_lines: u64,
    /// So many cannot: mostly one more. They are further apart where a search for the line between
    /// them would have cost too much, or where the answers of several operations that were under way
    /// at once make the contradiction together.
    pub illegal_lines: u64,
    /// Operations that cannot be linearized, in the order of their invocations. What is not among
    /// them is not needed for the contradiction.
    pub window: Vec<WindowOperation>,
    /// Whether the window is smallest: without the answer to any one of its operations no
    /// contradiction is left.
    pub smallest: bool,
    /// What could have been seen in place of what was, in words; not more than eight.
    pub possible: Vec<String>,
}

/// An operation of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowOperation {
    /// Who asked.
    pub process: Process,
    /// What for, in words.
    pub operation: String,
    /// What came back before the legal prefix ended, in words; `null`: nothing.
    pub answer: Option<String>,
    /// When it was asked.
    pub invoked: Moment,
    /// When the answer came.
    pub returned: Option<Moment>,
    /// Whether its answer is the last one, which completes the contradiction.
    pub culprit: bool,
}

/// A line of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Which line, counted from 1.
    pub line: u64,
    /// When, in microseconds since the run began.
    pub time_us: u64,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When, in microseconds since the run began.
    pub time_us: u64,
    /// What happened then.
    pub text: String,
}

/// A group of objects on which the checker gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecided {
    /// Which objects, in words.
    pub group: String,
    /// Why.
    pub reason: String,
}
