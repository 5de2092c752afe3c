//! What the clients will ask, and when.
//!
//! Every written value is unique in its run (`v17`, or `v17.0` in a multi-key write), which keeps
//! checking tractable and makes a stale value show. What a comparison expects is symbolic: what
//! the client last saw of the key.

use aspen_transport_sim::streams;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;

/// What one client does: one operation after another, each at its time or as soon as it can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// Its operations, in order.
    pub operations: Vec<PlannedOperation>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOperation {
    /// When the client asks, in microseconds since the run began; later, if it is still busy with
    /// the operation before.
    pub at_us: u64,
    /// Which node it asks first, counted from 1.
    pub node: u64,
    /// A number that no other operation of the run has; it makes the written values.
    pub id: u64,
    /// What it asks.
    pub request: Request,
}

/// What an operation asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Reads a key.
    Get {
        /// The key.
        key: String,
    },
    /// Sets a key.
    Set {
        /// The key.
        key: String,
    },
    /// Sets several keys of a group.
    SetMulti {
        /// The keys.
        keys: Vec<String>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Sets a key if it holds what the client last saw there.
    CompareAndSet {
        /// The key.
        key: String,
    },
    /// Removes a key if it holds what the client last saw there.
    CompareAndDelete {
        /// The key.
        key: String,
    },
    /// Reads the keys of a group.
    Scan {
        /// The group's prefix.
        prefix: String,
        /// Most rows wanted.
        limit: u64,
    },
}

/// Draws every client's operations.
pub(super) fn generate(seed: u64, scenario: &Scenario) -> Vec<ClientPlan> {
    let mut next_id = 0;
    let share = |client: u64| {
        let (each, rest) =
            (scenario.operations / scenario.clients, scenario.operations % scenario.clients);
        each + u64::from(client < rest)
    };
    (0..scenario.clients)
        .map(|client| {
            let mut rng = streams::stream(seed, "workload", &[client]);
            // Spread over the run, so that faults meet operations from its first second to its last.
            let mut times: Vec<u64> = (0..share(client))
                .map(|_| rng.random_range(0..scenario.duration_ms * 1000))
                .collect();
            times.sort_unstable();
            let operations = times
                .into_iter()
                .map(|at_us| {
                    next_id += 1;
                    PlannedOperation {
                        at_us,
                        node: rng.random_range(1..=scenario.nodes),
                        id: next_id,
                        request: draw_request(&mut rng, scenario),
                    }
                })
                .collect();
            ClientPlan { operations }
        })
        .collect()
}

fn draw_request(rng: &mut impl rand::Rng, scenario: &Scenario) -> Request {
    let group = rng.random_range(0..scenario.groups);
    let key_of = |number: u64| format!("g{group}/k{number}");
    let key = key_of(rng.random_range(0..scenario.group_keys));
    if rng.random_range(0..100) < scenario.reads_percent {
        return if rng.random_range(0..5) == 0 {
            let limit = rng.random_range(1..=scenario.group_keys + 1);
            Request::Scan { prefix: format!("g{group}/"), limit }
        } else {
            Request::Get { key }
        };
    }
    match rng.random_range(0..100) {
        0..50 => Request::Set { key },
        50..70 => Request::CompareAndSet { key },
        70..82 => Request::Delete { key },
        82..88 => Request::CompareAndDelete { key },
        _ => {
            let first = rng.random_range(0..scenario.group_keys);
            let count = rng.random_range(1..=scenario.group_keys.min(3));
            let number = |offset| (first + offset) % scenario.group_keys;
            Request::SetMulti { keys: (0..count).map(|offset| key_of(number(offset))).collect() }
        }
    }
}
