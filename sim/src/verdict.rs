//! The verdict: what the checks say of a run.
//!
//! A violation is data, never an error: it names the property, where the property comes from, and
//! the evidence. `unknown` never counts as a pass.

pub use aspen_check::{Evidence, Explanation};
use serde::{Deserialize, Serialize};

/// What the checks say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every check ran to its end and found nothing.
    Valid,
    /// At least one property is violated.
    Invalid {
        /// The violations, in the order in which they were found.
        violations: Vec<Violation>,
    },
    /// No violation was found, and at least one check could not run to its end.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// One violated property with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The property's name, as `aspen-sim list` shows it.
    pub property: String,
    /// Where the property comes from.
    pub source: String,
    /// What went wrong, in a sentence.
    pub message: String,
    /// What shows it, in order of time.
    pub evidence: Vec<Evidence>,
    /// The same as data, where the check has it: a history that is not linearizable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}
