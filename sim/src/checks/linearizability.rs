//! Linearizability of the clients' history: [`aspen_check`]'s verdict as a property of a run.

use aspen_check::history::Event;
use aspen_check::{Budget, HistoryError};

use super::property::Property;
use crate::verdict::{Verdict, Violation};

/// What this check shows.
pub const PROPERTY: Property = Property {
    name: "linearizability",
    source: "Herlihy and Wing 1990; Raft thesis, section 6.3",
    claim: "every operation seems to take effect at one instant between its call and its answer",
};

/// Judges a history by itself.
///
/// # Errors
/// [`HistoryError`] when the history is not well formed.
pub fn check(history: &[Event], budget: Budget) -> Result<Verdict, HistoryError> {
    check_until(history, budget, &mut || false)
}

/// Judges a history by itself, until it is decided or `stop` says yes.
///
/// # Errors
/// [`HistoryError`] when the history is not well formed.
pub fn check_until(
    history: &[Event],
    budget: Budget,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Verdict, HistoryError> {
    Ok(match aspen_check::check_until(history, budget, stop)? {
        aspen_check::Verdict::Linearizable => Verdict::Valid,
        aspen_check::Verdict::Illegal { violations } => {
            Verdict::Invalid { violations: violations.into_iter().map(violation).collect() }
        }
        aspen_check::Verdict::Unknown { undecided } => {
            let reasons = undecided
                .iter()
                .map(|one| format!("{} ({}): {}", PROPERTY.name, one.group, one.reason));
            Verdict::Unknown { reason: reasons.collect::<Vec<_>>().join("; ") }
        }
    })
}

fn violation(found: aspen_check::Violation) -> Violation {
    Violation {
        property: PROPERTY.name.to_owned(),
        source: PROPERTY.source.to_owned(),
        message: found.message,
        evidence: found.evidence,
        explanation: Some(found.explanation),
    }
}
