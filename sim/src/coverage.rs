//! What a run exercised. A run whose chaos did nothing says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counters of one run, or of many added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Faults that struck, by name.
    pub faults: BTreeMap<String, u64>,
    /// What faults did to messages and disks, by name.
    pub effects: BTreeMap<String, u64>,
    /// Leaders elected.
    pub elections: u64,
    /// Elections that another node won than the one before.
    pub leader_changes: u64,
    /// Times that a node was started again.
    pub restarts: u64,
    /// Restarts that went through redb's repair, as they do after an unclean stop.
    pub recoveries: u64,
    /// Snapshots built.
    pub snapshots_built: u64,
    /// Snapshots installed.
    pub snapshots_installed: u64,
    /// Times that a follower removed conflicting entries.
    pub truncations: u64,
    /// Log entries applied, on all nodes together.
    pub entries_applied: u64,
    /// Log entries committed.
    pub entries_committed: u64,
    /// Operations that took effect.
    pub operations_ok: u64,
    /// Operations that did not take effect.
    pub operations_failed: u64,
    /// Operations of unknown outcome.
    pub operations_unknown: u64,
    /// Client sessions that ran out or were refused.
    pub sessions_expired: u64,
    /// Messages that entered the network.
    pub messages_sent: u64,
    /// Messages that reached their receiver.
    pub messages_delivered: u64,
    /// Virtual time of the run, in microseconds, the liveness phase included.
    pub virtual_us: u64,
}

impl Coverage {
    /// Operations whose outcome is known.
    pub fn operations_decided(&self) -> u64 {
        self.operations_ok + self.operations_failed
    }

    /// Adds the counters of a part: a struct of numbers. Their names begin with the part's.
    pub fn add_effects(&mut self, part: &str, counters: &impl Serialize) {
        let counters = serde_json::to_value(counters).expect("counters are plain numbers");
        let named = counters.as_object().into_iter().flatten();
        for (name, count) in named {
            let count = count.as_u64().expect("counters are plain numbers");
            *self.effects.entry(format!("{part}.{name}")).or_default() += count;
        }
    }

    /// Adds another run's counters.
    pub fn add(&mut self, other: &Coverage) {
        for (mine, theirs) in
            [(&mut self.faults, &other.faults), (&mut self.effects, &other.effects)]
        {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
        self.elections += other.elections;
        self.leader_changes += other.leader_changes;
        self.restarts += other.restarts;
        self.recoveries += other.recoveries;
        self.snapshots_built += other.snapshots_built;
        self.snapshots_installed += other.snapshots_installed;
        self.truncations += other.truncations;
        self.entries_applied += other.entries_applied;
        self.entries_committed += other.entries_committed;
        self.operations_ok += other.operations_ok;
        self.operations_failed += other.operations_failed;
        self.operations_unknown += other.operations_unknown;
        self.sessions_expired += other.sessions_expired;
        self.messages_sent += other.messages_sent;
        self.messages_delivered += other.messages_delivered;
        self.virtual_us += other.virtual_us;
    }
}
