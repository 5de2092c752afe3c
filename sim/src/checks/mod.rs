//! The checks: `(history, trace) → verdict`.
//!
//! They are pure: no clock, no file, no randomness, so a verdict can be had again from an artifact
//! or from a real cluster's files. Two kinds stand side by side. [`linearizability`] knows only
//! what clients saw. The trace invariants know only what happened inside; each is one file with
//! one property of Raft or of the state machine, its source in [`Property::source`], and they
//! share one pass over the trace and one model of the cluster.
//!
//! Left out: what can only be seen while a run is under way (a panic, a cluster that does not get
//! going again); the run adds those to the verdict itself.

mod cluster_model;
mod committed_immutable;
mod durable_log;
mod election_safety;
mod invariant;
mod leader_completeness;
pub mod linearizability;
mod log_matching;
mod monotonic;
mod node_model;
mod property;
mod quorum_commit;
mod replica_digest;
mod session_exactly_once;
mod state_machine_safety;
mod vote_monotonic;

use aspen_check::history::Event;
use invariant::Invariant;

pub use aspen_check::{Budget, HistoryError};
pub use property::Property;

use crate::trace::Trace;
use crate::verdict::{Verdict, Violation};

/// Every property that this module checks.
pub const PROPERTIES: [Property; 13] = [
    linearizability::PROPERTY,
    election_safety::PROPERTY,
    vote_monotonic::PROPERTY,
    log_matching::PROPERTY,
    leader_completeness::PROPERTY,
    state_machine_safety::PROPERTY,
    quorum_commit::PROPERTY,
    committed_immutable::PROPERTY,
    monotonic::COMMIT,
    monotonic::APPLY,
    durable_log::PROPERTY,
    session_exactly_once::PROPERTY,
    replica_digest::PROPERTY,
];

/// Judges a run: what its clients saw and what happened inside.
///
/// Violations of the history come first, then those of the trace in the order in which they
/// happened; each trace property is reported once. A violation counts even when another check
/// gave up; without one, a check that gave up makes the verdict unknown.
///
/// # Errors
/// [`HistoryError`] when the history is not well formed, which is our failure or the file's and no
/// property of the cluster.
pub fn judge(history: &[Event], trace: &Trace, budget: Budget) -> Result<Verdict, HistoryError> {
    let verdict = linearizability::check(history, budget)?;
    let found = check_trace(trace);
    Ok(match verdict {
        Verdict::Invalid { mut violations } => {
            violations.extend(found);
            Verdict::Invalid { violations }
        }
        Verdict::Valid | Verdict::Unknown { .. } if !found.is_empty() => {
            Verdict::Invalid { violations: found }
        }
        Verdict::Valid | Verdict::Unknown { .. } => verdict,
    })
}

/// Checks the trace invariants alone. Empty: none is violated.
pub fn check_trace(trace: &Trace) -> Vec<Violation> {
    invariant::check_all(invariants(), trace)
}

fn invariants() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(election_safety::ElectionSafety::default()),
        Box::new(vote_monotonic::VoteMonotonic),
        Box::new(log_matching::LogMatching::default()),
        Box::new(leader_completeness::LeaderCompleteness),
        Box::new(state_machine_safety::StateMachineSafety::default()),
        Box::new(quorum_commit::QuorumCommit::default()),
        Box::new(committed_immutable::CommittedImmutable),
        Box::new(monotonic::CommitMonotonic),
        Box::new(monotonic::ApplyMonotonic),
        Box::new(durable_log::DurableLog),
        Box::new(session_exactly_once::SessionExactlyOnce::default()),
        Box::new(replica_digest::ReplicaDigest::default()),
    ]
}

#[cfg(test)]
mod tests;
