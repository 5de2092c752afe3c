//! Linearizability: could this history have come from one copy of the data?
//!
//! Every operation must seem to take effect at one instant between its invocation and its answer
//! (Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects"). The
//! path: a [`history`], read from a [`history_file`] or recorded by a simulator, is paired into
//! `calls`, split into independent `groups`, each group is reduced to conditions and effects by
//! the `model` and searched by the `search`; a failure is put in words by `explain`.
//!
//! An operation of unknown outcome may take effect at any time after its invocation, or never;
//! one without a completion is of unknown outcome; one that failed never takes effect.
//!
//! The search is exponential in the worst case, so each group has a budget of visited states. A
//! group that spends it makes the verdict unknown, unless another group is a violation: an
//! expensive group does not hide a cheap one. What makes a group expensive: many clients on one
//! key that write the same values again, or unknown deletes of a key that is often seen absent.
//!
//! Left out: any knowledge of the cluster's inside. The crate is pure: it has no clock, no threads
//! and no randomness, so a history has one verdict.

mod calls;
mod configuration;
mod explain;
mod groups;
mod hashing;
pub mod history;
pub mod history_file;
mod model;
mod search;
mod verdict;

pub use calls::HistoryError;
pub use verdict::{Evidence, Undecided, Verdict, Violation};

use history::Event;

/// How much a check may do before it gives up, in units that do not depend on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most states that the search visits in one group of keys.
    pub states_per_group: u64,
}

impl Default for Budget {
    /// Ten times what 2,000 operations of 8 clients on a few groups of keys need; below a second.
    fn default() -> Self {
        Self { states_per_group: 200_000 }
    }
}

/// Judges a history by itself.
///
/// # Errors
/// [`HistoryError`] when the history is not well formed.
pub fn check(history: &[Event], budget: Budget) -> Result<Verdict, HistoryError> {
    let calls = calls::pair(history)?;
    let mut violations = Vec::new();
    let mut undecided = Vec::new();
    for group in groups::split(&calls) {
        let model = model::Model::new(&group);
        match search::sweep(&model, search::Foresight::Full, budget.states_per_group).0 {
            search::Ending::Linearizable => {}
            search::Ending::Stuck(stuck) => {
                violations.push(explain::explain(&group, &model, stuck, budget.states_per_group));
            }
            search::Ending::GaveUp(reason) => {
                undecided.push(Undecided { group: group.describe(), reason });
            }
        }
    }
    Ok(if !violations.is_empty() {
        Verdict::Illegal { violations }
    } else if !undecided.is_empty() {
        Verdict::Unknown { undecided }
    } else {
        Verdict::Linearizable
    })
}

// The generator of histories is compiled into the benchmark, too, where this crate has its name.
#[cfg(test)]
extern crate self as aspen_check;
#[cfg(test)]
mod tests;
