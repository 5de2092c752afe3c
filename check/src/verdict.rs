//! What the checker says of a history. A violation is data, never an error.

use serde::{Deserialize, Serialize};

/// The verdict on a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Some order of the operations explains every answer.
    Linearizable,
    /// No order does, for at least one group of keys.
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

/// A group of keys whose operations no order explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which keys, in words.
    pub group: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What shows it.
    pub evidence: Vec<Evidence>,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When, in microseconds since the run began.
    pub time_us: u64,
    /// What happened then.
    pub text: String,
}

/// A group of keys on which the checker gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecided {
    /// Which keys, in words.
    pub group: String,
    /// Why.
    pub reason: String,
}
