//! Mutants: bugs planted on purpose, to show that the checks find what they are meant to find.
//!
//! Each is a decorator around a real part, or a forged message; the production code holds no
//! switch for any of them. Without a mutant the decorators pass everything on.

mod log;
mod machine;
mod transport;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use self::log::MutantLog;
pub(crate) use self::machine::MutantMachine;
pub(crate) use self::transport::MutantTransport;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Mutant {
    /// A restarted node does not remember whom it voted for.
    ForgetVote,
    /// An append is acknowledged before it is durable.
    AckBeforeSync,
    /// A node answers linearizable reads from what it has applied, without asking a quorum.
    SkipReadIndex,
    /// A leader answers linearizable reads as if every other node had confirmed it.
    ConfirmAlone,
    /// A request that stands in the log twice, because its client tried again, is applied twice.
    ApplyTwice,
    /// Entries that conflict with the leader's are not removed.
    KeepConflict,
    /// Something of one run leaks into the next: no bug of the cluster, but of the simulator.
    LeakState,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Mutant; 7] = [
        Mutant::ForgetVote,
        Mutant::AckBeforeSync,
        Mutant::SkipReadIndex,
        Mutant::ConfirmAlone,
        Mutant::ApplyTwice,
        Mutant::KeepConflict,
        Mutant::LeakState,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mutant::ForgetVote => "forget-vote",
            Mutant::AckBeforeSync => "ack-before-sync",
            Mutant::SkipReadIndex => "skip-read-index",
            Mutant::ConfirmAlone => "confirm-alone",
            Mutant::ApplyTwice => "apply-twice",
            Mutant::KeepConflict => "keep-conflict",
            Mutant::LeakState => "leak-state",
        }
    }

    /// One line about it: the bug, and what must find it.
    pub fn summary(self) -> &'static str {
        match self {
            Mutant::ForgetVote => "a restarted node forgets its vote; found by vote-monotonic",
            Mutant::AckBeforeSync => {
                "appends are acknowledged before the sync; found by durable-log"
            }
            Mutant::SkipReadIndex => "reads skip the ReadIndex round; found by linearizability",
            Mutant::ConfirmAlone => "leaders confirm themselves; found by linearizability",
            Mutant::ApplyTwice => {
                "a retried request is applied twice; found by session-exactly-once"
            }
            Mutant::KeepConflict => {
                "entries are kept that conflict with new ones; found by state-machine-safety"
            }
            Mutant::LeakState => "a run depends on the run before it; found by `verify`",
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Mutant::ALL.into_iter().find(|mutant| mutant.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Mutant::ALL.into_iter().map(Mutant::name).collect();
            format!("unknown mutant `{text}`, expected one of {}", names.join(", "))
        })
    }
}

impl From<Mutant> for String {
    fn from(mutant: Mutant) -> Self {
        mutant.to_string()
    }
}

impl TryFrom<String> for Mutant {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
