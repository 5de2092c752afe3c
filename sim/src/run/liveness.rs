//! The liveness phase: faults have stopped; now the cluster must elect, serve and converge.
//!
//! Safety is judged over the whole run; liveness only here, where nothing excuses a cluster that
//! does not come back. Bounds are stated in longest election timeouts, because that is the unit in
//! which a cluster can be expected to act.

use std::time::Duration;

use super::client::Client;
use super::cluster::Cluster;
use super::recorder::now_us;
use crate::checks::Property;
use crate::scenario::Scenario;
use crate::sut::Status;
use crate::verdict::{Evidence, Violation};

/// A leader that all nodes follow must be there within so many longest election timeouts.
const ELECTION_BOUND: u64 = 40;
/// After that, all replicas must hold the same within so many.
const CONVERGENCE_BOUND: u64 = 40;

/// A cluster without faults elects a leader.
pub(super) const ELECTION: Property = Property {
    name: "liveness-election",
    source: "Raft paper, section 5.6; VOPR's liveness phase",
    claim: "once faults stop, every node follows one leader within 40 election timeouts",
};
/// A cluster without faults serves.
pub(super) const SERVICE: Property = Property {
    name: "liveness-service",
    source: "Raft paper, section 5.6; VOPR's liveness phase",
    claim: "after that, a write and a read of every key are answered",
};
/// A cluster without faults converges.
pub(super) const CONVERGENCE: Property = Property {
    name: "liveness-convergence",
    source: "Raft paper, section 5.3 (a leader retries until all followers store all entries)",
    claim: "after that, all replicas hold the same within 40 election timeouts",
};
const POLL: Duration = Duration::from_millis(50);

/// Judges whether the cluster came back. Gives the first property that it violates.
pub(super) async fn phase(
    cluster: &Cluster,
    client: &mut Client,
    scenario: &Scenario,
) -> Option<Violation> {
    let unit_us = scenario.election_ms_max * 1000;
    if !within(ELECTION_BOUND * unit_us, || agree_on_leader(cluster)).await {
        let message = format!("no leader that all follow after {ELECTION_BOUND} election timeouts");
        return Some(violation(ELECTION, message, cluster));
    }
    let keys = keys(scenario);
    if let Err(reason) = client.write_and_read_all(&keys).await {
        return Some(violation(SERVICE, reason, cluster));
    }
    if !within(CONVERGENCE_BOUND * unit_us, || same_everywhere(cluster)).await {
        let message = format!("replicas still differ after {CONVERGENCE_BOUND} election timeouts");
        return Some(violation(CONVERGENCE, message, cluster));
    }
    None
}

/// Every node's state, for the digest and the evidence; `None` for a node that is down.
pub(super) fn statuses(cluster: &Cluster) -> Vec<(u64, Option<Status>)> {
    let running = cluster.running();
    let nodes = cluster.nodes().into_iter();
    nodes.map(|node| (node.0, running.get(&node).map(|it| it.status()))).collect()
}

async fn within(bound_us: u64, holds: impl Fn() -> bool) -> bool {
    let deadline_us = now_us() + bound_us;
    while !holds() {
        if now_us() >= deadline_us {
            return false;
        }
        madsim::time::sleep(POLL).await;
    }
    true
}

fn agree_on_leader(cluster: &Cluster) -> bool {
    let statuses = statuses(cluster);
    let leaders: Vec<_> = statuses
        .iter()
        .map(|(_, status)| status.as_ref().and_then(|it| it.leader.map(|leader| (it.term, leader))))
        .collect();
    leaders.first().is_some_and(|first| first.is_some() && leaders.iter().all(|it| it == first))
}

fn same_everywhere(cluster: &Cluster) -> bool {
    let statuses = statuses(cluster);
    let states: Vec<_> = statuses
        .iter()
        .map(|(_, status)| {
            let status = status.as_ref()?;
            let applied_all = status.applied_index == status.last_log_index;
            applied_all.then_some((status.applied_index, status.state))
        })
        .collect();
    states.first().is_some_and(|first| first.is_some() && states.iter().all(|it| it == first))
}

fn violation(property: Property, message: String, cluster: &Cluster) -> Violation {
    let evidence = statuses(cluster)
        .into_iter()
        .map(|(node, status)| {
            let text = match status {
                None => format!("node {node} is down"),
                Some(status) => format!("node {node}: {status:?}"),
            };
            Evidence { time_us: now_us(), text }
        })
        .collect();
    Violation {
        property: property.name.to_owned(),
        source: property.source.to_owned(),
        message,
        evidence,
        explanation: None,
    }
}

fn keys(scenario: &Scenario) -> Vec<String> {
    let groups = 0..scenario.groups;
    groups
        .flat_map(|group| (0..scenario.group_keys).map(move |key| format!("g{group}/k{key}")))
        .collect()
}
