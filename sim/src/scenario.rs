//! A scenario: what kind of run. The first stage of the path; a seed and a scenario make a
//! [`schedule`](crate::schedule).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most nodes of a simulated cluster.
pub const NODES_MAX: u64 = 9;
/// Most clients.
pub const CLIENTS_MAX: u64 = 64;
/// Most keys of a key group. Operations on several keys stay inside a group, so that
/// linearizability can be checked group by group.
pub const GROUP_KEYS_MAX: u64 = 8;
/// Most operations of a run.
pub const OPERATIONS_MAX: u64 = 1_000_000;
/// Longest run, in milliseconds of virtual time.
pub const DURATION_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// One family of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChaosKind {
    /// Cuts between nodes.
    Partition,
    /// Slow, lossy and doubling links, broken and slow streams.
    Network,
    /// Processes killed, machines without power, restarts.
    Crash,
    /// Processes that stand still and go on.
    Pause,
    /// Slow syncs, I/O errors, full disks.
    Disk,
}

impl ChaosKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [ChaosKind; 5] = [
        ChaosKind::Partition,
        ChaosKind::Network,
        ChaosKind::Crash,
        ChaosKind::Pause,
        ChaosKind::Disk,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ChaosKind::Partition => "partition",
            ChaosKind::Network => "network",
            ChaosKind::Crash => "crash",
            ChaosKind::Pause => "pause",
            ChaosKind::Disk => "disk",
        }
    }

    /// One line about it.
    pub fn summary(self) -> &'static str {
        match self {
            ChaosKind::Partition => {
                "halves, an isolated node, one-way cuts, a bridge node, flapping links"
            }
            ChaosKind::Network => "delay spikes, loss, doubled calls, broken and slow streams",
            ChaosKind::Crash => {
                "process kills, power failures (also inside writes, syncs and recovery), restarts"
            }
            ChaosKind::Pause => "processes that stand still and go on",
            ChaosKind::Disk => "slow syncs, I/O errors, full disks",
        }
    }
}

/// Which families of faults a run draws from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Chaos(BTreeSet<ChaosKind>);

impl Chaos {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every family.
    pub fn all() -> Self {
        Self(ChaosKind::ALL.into())
    }

    /// The families, in order.
    pub fn kinds(&self) -> impl Iterator<Item = ChaosKind> + '_ {
        self.0.iter().copied()
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        if self.0.len() == ChaosKind::ALL.len() {
            return f.write_str("all");
        }
        let names: Vec<&str> = self.kinds().map(ChaosKind::name).collect();
        f.write_str(&names.join(","))
    }
}

impl From<Chaos> for String {
    fn from(chaos: Chaos) -> Self {
        chaos.to_string()
    }
}

impl TryFrom<String> for Chaos {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Chaos {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut kinds = BTreeSet::new();
        for name in text.split(',') {
            match name {
                "none" => {}
                "all" => kinds.extend(ChaosKind::ALL),
                name => {
                    let kind = ChaosKind::ALL.into_iter().find(|kind| kind.name() == name);
                    kinds.insert(kind.ok_or_else(|| unknown_kind(name))?);
                }
            }
        }
        Ok(Self(kinds))
    }
}

fn unknown_kind(name: &str) -> String {
    let names: Vec<&str> = ChaosKind::ALL.into_iter().map(ChaosKind::name).collect();
    format!(
        "unknown chaos kind `{name}`, expected none, all, or some of {} joined by commas",
        names.join(", ")
    )
}

/// What kind of run. Times are virtual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Nodes of the cluster, all voters.
    pub nodes: u64,
    /// Concurrent clients, each with one operation at a time.
    pub clients: u64,
    /// Operations of all clients together, at most.
    pub operations: u64,
    /// How long faults strike and clients ask, in milliseconds.
    pub duration_ms: u64,
    /// Which faults.
    pub chaos: Chaos,
    /// Key groups.
    pub groups: u64,
    /// Keys of each group.
    pub group_keys: u64,
    /// Share of reads among the operations, in percent.
    pub reads_percent: u64,
    /// Heartbeat interval, in milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest election timeout, in milliseconds.
    pub election_ms_min: u64,
    /// Longest election timeout, in milliseconds.
    pub election_ms_max: u64,
    /// A node takes a snapshot after so many entries.
    pub snapshot_after_entries: u64,
    /// So many entries are kept behind a snapshot.
    pub keep_entries: u64,
    /// So many applied entries gather in memory before an append takes their effects to the disk.
    pub flush_after_entries: u64,
    /// A client gives an operation up after this, in milliseconds.
    pub operation_timeout_ms: u64,
    /// A session ends after this time without a request, in milliseconds.
    pub session_ttl_ms: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            nodes: 3,
            clients: 8,
            operations: 490,
            duration_ms: 30_000,
            chaos: Chaos::none(),
            groups: 4,
            group_keys: 4,
            reads_percent: 50,
            heartbeat_ms: 50,
            election_ms_min: 150,
            election_ms_max: 300,
            snapshot_after_entries: 60,
            keep_entries: 5,
            flush_after_entries: 24,
            operation_timeout_ms: 2_000,
            session_ttl_ms: 3_000,
        }
    }
}

/// A scenario with a name, as `aspen-sim list` shows it.
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
}

/// The scenarios that the tool knows by itself.
pub const PRESETS: [Preset; 1] = [Preset {
    name: "default",
    summary: "3 nodes, 8 clients, 30 s; a file given with --scenario changes any of its fields",
}];

impl Scenario {
    /// Checks that every field is in its range.
    ///
    /// # Errors
    /// One line that names the field, its value and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        let ranges = [
            ("nodes", self.nodes, 1, NODES_MAX),
            ("clients", self.clients, 1, CLIENTS_MAX),
            ("operations", self.operations, 1, OPERATIONS_MAX),
            ("duration_ms", self.duration_ms, 1, DURATION_MS_MAX),
            ("groups", self.groups, 1, 1000),
            ("group_keys", self.group_keys, 1, GROUP_KEYS_MAX),
            ("reads_percent", self.reads_percent, 0, 100),
            ("heartbeat_ms", self.heartbeat_ms, 5, 60_000),
            ("election_ms_min", self.election_ms_min, self.heartbeat_ms * 2, 600_000),
            ("election_ms_max", self.election_ms_max, self.election_ms_min + 1, 600_000),
            ("snapshot_after_entries", self.snapshot_after_entries, 1, u64::MAX),
            ("keep_entries", self.keep_entries, 0, u64::MAX),
            ("flush_after_entries", self.flush_after_entries, 1, u64::MAX),
            ("operation_timeout_ms", self.operation_timeout_ms, 1, 600_000),
            ("session_ttl_ms", self.session_ttl_ms, 1_000, 600_000),
        ];
        for (field, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                return Err(format!("{field} is {value}, expected {min} to {max}"));
            }
        }
        Ok(())
    }
}
