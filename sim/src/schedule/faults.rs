//! The faults of a schedule: what can strike, and how a seed draws what does.
//!
//! Each chaos kind draws from a stream of its own, so that adding a kind changes nothing in the
//! others. Within a kind a run uses only some of the shapes (swarm testing): a mixture that is
//! always the same everywhere is too fair to find much.

use aspen_transport_sim::streams;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::target::{Target, Targets};
use crate::disk::{
    Death, DeathFrom, InFlight, IoFault, IoOperation, Kill, PowerFailure, SlowSync, Survive,
};
use crate::scenario::{ChaosKind, Scenario};

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// When it strikes, in microseconds since the faults' time began.
    pub at_us: u64,
    /// How long it lasts, in microseconds; for a crash: how long the nodes are down.
    pub for_us: u64,
    /// What it is.
    pub fault: Fault,
}

/// Which way a cut works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The target hears nobody.
    In,
    /// Nobody hears the target.
    Out,
}

/// What can strike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Two sides that do not hear each other.
    Halves {
        /// The smaller side.
        side: Targets,
    },
    /// One node and the rest do not hear each other.
    Isolate {
        /// The node.
        target: Target,
    },
    /// One node does not hear the others, or they do not hear it.
    OneWay {
        /// The node.
        target: Target,
        /// Which way is cut.
        direction: Direction,
    },
    /// Two halves that meet in one node only.
    Bridge {
        /// The node in both halves.
        target: Target,
    },
    /// A node that is isolated and heard again, over and over.
    Flapping {
        /// The node.
        target: Target,
        /// Time from one change to the next, in microseconds.
        period_us: u64,
    },
    /// Some messages from and to a node take longer.
    DelaySpikes {
        /// The node.
        target: Target,
        /// How many messages of a million.
        ppm: u32,
        /// How much longer at most, in microseconds.
        us_max: u32,
    },
    /// Messages from and to a node are lost.
    Loss {
        /// The node.
        target: Target,
        /// How many messages of a million.
        ppm: u32,
    },
    /// Calls from and to a node arrive twice.
    DoubledCalls {
        /// The node.
        target: Target,
        /// How many calls of a million.
        ppm: u32,
    },
    /// The streams from and to a node break, once.
    BrokenStreams {
        /// The node.
        target: Target,
    },
    /// The streams from and to a node stand still.
    SlowStreams {
        /// The node.
        target: Target,
    },
    /// Processes are killed; what they wrote is in the machine's cache.
    Kill {
        /// The nodes.
        targets: Targets,
        /// What becomes of the transaction in flight.
        kill: Kill,
    },
    /// Machines lose power; what they did not sync is at the disk's mercy.
    PowerFailure {
        /// The nodes.
        targets: Targets,
        /// What survives.
        failure: PowerFailure,
    },
    /// A disk dies at an operation to come, and its machine loses power then.
    DiskDeath {
        /// The node.
        target: Target,
        /// The operation.
        death: Death,
        /// What survives.
        failure: PowerFailure,
    },
    /// Processes stand still and go on.
    Pause {
        /// The nodes.
        targets: Targets,
    },
    /// A disk's syncs are slow.
    SlowSync {
        /// The node.
        target: Target,
        /// How slow.
        slow: SlowSync,
    },
    /// One operation of a disk fails; its node must stop. It is power-cycled afterwards.
    IoError {
        /// The node.
        target: Target,
        /// Which operation.
        error: IoFault,
    },
    /// A disk is full; its node must stop when it notices. It is freed and started afterwards.
    FullDisk {
        /// The node.
        target: Target,
    },
}

impl Fault {
    /// The fault's name, as the coverage counters use it.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Halves { .. } => "halves",
            Fault::Isolate { .. } => "isolate",
            Fault::OneWay { .. } => "one_way",
            Fault::Bridge { .. } => "bridge",
            Fault::Flapping { .. } => "flapping",
            Fault::DelaySpikes { .. } => "delay_spikes",
            Fault::Loss { .. } => "loss",
            Fault::DoubledCalls { .. } => "doubled_calls",
            Fault::BrokenStreams { .. } => "broken_streams",
            Fault::SlowStreams { .. } => "slow_streams",
            Fault::Kill { .. } => "kill",
            Fault::PowerFailure { .. } => "power_failure",
            Fault::DiskDeath { .. } => "disk_death",
            Fault::Pause { .. } => "pause",
            Fault::SlowSync { .. } => "slow_sync",
            Fault::IoError { .. } => "io_error",
            Fault::FullDisk { .. } => "full_disk",
        }
    }

    /// The names of the faults that a chaos kind draws.
    pub fn names(kind: ChaosKind) -> &'static [&'static str] {
        match kind {
            ChaosKind::Partition => &["halves", "isolate", "one_way", "bridge", "flapping"],
            ChaosKind::Network => {
                &["delay_spikes", "loss", "doubled_calls", "broken_streams", "slow_streams"]
            }
            ChaosKind::Crash => &["kill", "power_failure", "disk_death"],
            ChaosKind::Pause => &["pause"],
            ChaosKind::Disk => &["slow_sync", "io_error", "full_disk"],
        }
    }
}

/// Draws the faults of every chaos kind of the scenario, by time.
pub(super) fn generate(seed: u64, scenario: &Scenario) -> Vec<PlannedFault> {
    let mut faults: Vec<PlannedFault> = scenario
        .chaos
        .kinds()
        .flat_map(|kind| generate_kind(seed, kind, scenario.nodes, scenario.duration_ms * 1000))
        .collect();
    // Stable: of two faults at one time, the kinds' order decides.
    faults.sort_by_key(|fault| fault.at_us);
    faults
}

fn generate_kind(seed: u64, kind: ChaosKind, nodes: u64, end_us: u64) -> Vec<PlannedFault> {
    let mut rng = streams::stream(seed, "faults", &[kind as u64]);
    let names = Fault::names(kind);
    let shapes = rng.random_range(1..=names.len());
    let swarm = names.iter().copied().sample(&mut rng, shapes);
    let mut faults = Vec::new();
    let mut at_us = rng.random_range(200_000..2_000_000);
    while at_us < end_us {
        let name = swarm.choose(&mut rng).copied().expect("a swarm has at least one shape");
        let for_us = rng.random_range(300_000..3_000_000u64).min(end_us - at_us);
        let fault = draw(&mut rng, name, nodes);
        faults.push(PlannedFault { at_us, for_us, fault });
        at_us += for_us + rng.random_range(300_000..3_000_000);
    }
    faults
}

fn draw(rng: &mut ChaCha8Rng, name: &str, nodes: u64) -> Fault {
    let target = draw_target(rng, nodes);
    match name {
        "halves" => {
            let side = *[Targets::Minority, Targets::One(Target::Leader), Targets::Majority]
                .choose(rng)
                .expect("the list is not empty");
            Fault::Halves { side }
        }
        "isolate" => Fault::Isolate { target },
        "one_way" => {
            let direction = if rng.random() { Direction::In } else { Direction::Out };
            Fault::OneWay { target, direction }
        }
        "bridge" => Fault::Bridge { target },
        "flapping" => Fault::Flapping { target, period_us: rng.random_range(30_000..400_000) },
        "delay_spikes" => Fault::DelaySpikes {
            target,
            ppm: rng.random_range(50_000..500_000),
            us_max: rng.random_range(20_000..400_000),
        },
        "loss" => Fault::Loss { target, ppm: rng.random_range(20_000..900_000) },
        "doubled_calls" => Fault::DoubledCalls { target, ppm: rng.random_range(50_000..800_000) },
        "broken_streams" => Fault::BrokenStreams { target },
        "slow_streams" => Fault::SlowStreams { target },
        "kill" => Fault::Kill {
            targets: draw_targets(rng, nodes),
            kill: Kill { in_flight: draw_in_flight(rng), seed: rng.random() },
        },
        "power_failure" => {
            Fault::PowerFailure { targets: draw_targets(rng, nodes), failure: draw_failure(rng) }
        }
        "disk_death" => {
            Fault::DiskDeath { target, death: draw_death(rng), failure: draw_failure(rng) }
        }
        "pause" => Fault::Pause { targets: draw_targets(rng, nodes) },
        "slow_sync" => Fault::SlowSync {
            target,
            slow: SlowSync {
                factor: rng.random_range(1..20),
                extra_us: rng.random_range(1_000..150_000),
            },
        },
        "io_error" => Fault::IoError { target, error: draw_io_fault(rng) },
        "full_disk" => Fault::FullDisk { target },
        other => unreachable!("{other} is no fault's name"),
    }
}

/// Leaders are the interesting half: they are hit as often as all followers together.
fn draw_target(rng: &mut impl Rng, nodes: u64) -> Target {
    match rng.random_range(0..4) {
        0 | 1 => Target::Leader,
        2 => Target::Follower(rng.random_range(1..nodes.max(2))),
        _ => Target::Node(rng.random_range(1..=nodes)),
    }
}

fn draw_targets(rng: &mut impl Rng, nodes: u64) -> Targets {
    match rng.random_range(0..10) {
        0 => Targets::Minority,
        1 | 2 => Targets::Majority,
        3 => Targets::All,
        _ => Targets::One(draw_target(rng, nodes)),
    }
}

fn draw_in_flight(rng: &mut impl Rng) -> InFlight {
    if rng.random_range(0..4) == 0 {
        return InFlight::Dropped;
    }
    InFlight::DiesAfter { operations: rng.random_range(0..24) }
}

fn draw_failure(rng: &mut impl Rng) -> PowerFailure {
    let keep_percent = *[10, 50, 90, 99].choose(rng).expect("the list is not empty");
    let survive = match rng.random_range(0..6) {
        0 => Survive::Nothing,
        1 => Survive::Everything,
        2 => Survive::Prefix,
        3 => Survive::Writes { keep_percent },
        _ => {
            let sector_bytes = if rng.random() { 512 } else { 4096 };
            Survive::Sectors { sector_bytes, keep_percent }
        }
    };
    PowerFailure { survive, in_flight: draw_in_flight(rng), seed: rng.random() }
}

fn draw_death(rng: &mut impl Rng) -> Death {
    // Counted from the next mount, the first few operations are those of recovery.
    let from = if rng.random() { DeathFrom::Now } else { DeathFrom::NextMount };
    let most = if from == DeathFrom::Now { 200 } else { 12 };
    Death { from, after_operations: rng.random_range(0..most), seed: rng.random() }
}

fn draw_io_fault(rng: &mut impl Rng) -> IoFault {
    let operation = match rng.random_range(0..4) {
        0 => IoOperation::Read,
        1 => IoOperation::Write,
        _ => IoOperation::Sync,
    };
    IoFault { operation, skip: rng.random_range(0..20), seed: rng.random() }
}
