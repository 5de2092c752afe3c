//! The schedule: the seed fully expanded. Every fault with its virtual time and target, every
//! client's operations with their times, every link's and disk's law, the executor's seed.
//!
//! Replay and shrinking take a schedule; the seed is only its short name, so that an artifact
//! stays replayable when the generators change. Targets are symbolic and resolved when a fault
//! fires, so that a schedule stays meaningful when something is taken out of it.

mod faults;
mod target;
mod workload;

use aspen_transport_sim::network::LinkLaw;
use aspen_transport_sim::streams;
use rand::RngExt;
use serde::{Deserialize, Serialize};

pub use self::faults::{Direction, Fault, PlannedFault};
pub use self::target::{Target, Targets};
pub use self::workload::{ClientPlan, PlannedOperation, Request};
use crate::disk::DiskConfig;
use crate::scenario::Scenario;

/// A run, planned to its last draw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The seed that it was made from.
    pub seed: u64,
    /// The scenario that it was made from; its counts and timeouts hold for the run.
    pub scenario: Scenario,
    /// The executor's seed: which task runs next.
    pub executor_seed: u64,
    /// Seed of the links' draws.
    pub network_seed: u64,
    /// Seed of the nodes' own draws, such as election timeouts.
    pub node_seed: u64,
    /// What a link does while no fault changes it.
    pub link: LinkLaw,
    /// Each node's disk, by node.
    pub disks: Vec<DiskConfig>,
    /// The faults, by time.
    pub faults: Vec<PlannedFault>,
    /// The clients.
    pub clients: Vec<ClientPlan>,
}

impl Schedule {
    /// Expands a seed. The same seed and scenario give the same schedule.
    pub fn generate(seed: u64, scenario: &Scenario) -> Self {
        let mut rng = streams::stream(seed, "schedule", &[]);
        let disks = (0..scenario.nodes)
            .map(|node| {
                let mut rng = streams::stream(seed, "disk-law", &[node]);
                let fastest = rng.random_range(100..=1_000);
                let slowest = fastest + rng.random_range(100..=3_000);
                DiskConfig {
                    sync_us_min: fastest,
                    sync_us_max: slowest,
                    capacity_bytes: None,
                    seed: rng.random(),
                }
            })
            .collect();
        Self {
            seed,
            scenario: scenario.clone(),
            executor_seed: rng.random(),
            network_seed: rng.random(),
            node_seed: rng.random(),
            link: link_law(seed),
            disks,
            faults: faults::generate(seed, scenario),
            clients: workload::generate(seed, scenario),
        }
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// One line that names the field and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        self.scenario.validate().map_err(|error| format!("scenario.{error}"))?;
        let (disks, nodes) = (self.disks.len() as u64, self.scenario.nodes);
        if disks != nodes {
            return Err(format!("disks has {disks} laws, expected one for each of {nodes} nodes"));
        }
        let (plans, clients) = (self.clients.len() as u64, self.scenario.clients);
        if plans != clients {
            return Err(format!("clients has {plans} plans, expected {clients}"));
        }
        Ok(())
    }
}

/// A healthy link between two racks: its delay differs from seed to seed.
fn link_law(seed: u64) -> LinkLaw {
    let mut rng = streams::stream(seed, "link-law", &[]);
    let fastest = rng.random_range(200..=2_000);
    let slowest = fastest + rng.random_range(100..=4_000);
    LinkLaw { delay_us_min: fastest, delay_us_max: slowest, ..LinkLaw::default() }
}
