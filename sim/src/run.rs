//! The run: a schedule is carried out on a cluster in simulation, and what happened is judged.
//!
//! The phases: start and elect; then, for the scenario's duration, clients ask while the nemesis
//! strikes; then the liveness phase; then the checks, outside of the simulation.

mod client;
mod cluster;
mod control;
mod liveness;
mod nemesis;
mod recorder;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aspen_core::NodeId;
use aspen_transport_sim::network::Network;
use aspen_transport_sim::runtime::register_node;
use aspen_transport_sim::{RunPanicked, run_isolated};

use self::client::{Client, FIRST_CLIENT};
use self::cluster::Cluster;
pub use self::control::{Abort, Control};
use self::nemesis::Nemesis;
use self::recorder::now_us;
pub use self::recorder::{MessageMark, Recorder, Recording};
use crate::checks::{self, Budget, Property};
use crate::mutants::Mutant;
use crate::schedule::Schedule;
use crate::verdict::{Evidence, Verdict, Violation};

/// What the run itself sees, beside what the checks do.
pub const PROPERTIES: [Property; 4] =
    [NODE_PANIC, liveness::ELECTION, liveness::SERVICE, liveness::CONVERGENCE];

const NODE_PANIC: Property = Property {
    name: "node-panic",
    source: "a panic marks a bug, and the simulator keeps assertions on",
    claim: "no task of a node panics",
};

/// How long a new cluster gets to elect its first leader, in virtual time.
const FIRST_ELECTION: Duration = Duration::from_secs(60);
const PULSE: Duration = Duration::from_millis(100);

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// What happened.
    pub recording: Recording,
    /// What the checks say of it.
    pub verdict: Verdict,
}

/// Carries a schedule out and judges what happened.
///
/// The schedule must be [valid](Schedule::validate), the recorder a new one; its
/// [`Control`] watches and ends the run from outside. The run takes a thread of its own.
pub fn run(schedule: &Schedule, mutant: Option<Mutant>, recorder: &Recorder) -> Run {
    let control = recorder.control().clone();
    let leak = (mutant == Some(Mutant::LeakState)).then(leaked_state);
    let schedule = Arc::new(schedule.clone());
    let result = {
        let (schedule, recorder, control) = (schedule.clone(), recorder.clone(), control.clone());
        run_isolated(schedule.executor_seed, move || async move {
            // The run's own tasks have a machine, too: what is on none is never killed at the end,
            // and would keep its disks in memory for ever.
            let director = madsim::runtime::Handle::current().create_node().name("run").build();
            register_node(director.id(), schedule.node_seed, 0);
            let directing = director.spawn(async move {
                drop(madsim::task::spawn(pulse(control)));
                if let Some(leak) = leak {
                    madsim::time::sleep(leak).await;
                }
                simulate(schedule, recorder, mutant).await
            });
            directing.await.expect("a panic ends the run before this")
        })
    };
    let recording = recorder.finish();
    let verdict = judge(&recording, result, &control);
    Run { recording, verdict }
}

/// Says how far the run has come, and ends it when it is asked to end.
async fn pulse(control: Arc<Control>) {
    loop {
        control.progress(now_us());
        control.check();
        madsim::time::sleep(PULSE).await;
    }
}

/// The planted nondeterminism: something that one run of the process leaves to the next.
fn leaked_state() -> Duration {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    Duration::from_millis(1 + RUNS.fetch_add(1, Ordering::Relaxed))
}

/// The simulated part: gives what the liveness phase found.
async fn simulate(
    schedule: Arc<Schedule>,
    recorder: Recorder,
    mutant: Option<Mutant>,
) -> Option<Violation> {
    let network = Network::new(schedule.network_seed, schedule.link);
    network.observe(Arc::new(recorder.clone()));
    let cluster = Cluster::new(schedule.clone(), network.clone(), recorder.clone(), mutant);
    start(&cluster, &recorder).await;

    let clients: Vec<NodeId> =
        (0..schedule.scenario.clients).map(|number| NodeId(FIRST_CLIENT + number)).collect();
    let new_client = |number: u64| {
        let endpoint = network.endpoint(NodeId(FIRST_CLIENT + number));
        Client::new(number, endpoint, schedule.clone(), recorder.clone())
    };
    let end_us = now_us() + schedule.scenario.duration_ms * 1000;
    let working: Vec<_> = (0..schedule.scenario.clients)
        .map(|number| madsim::task::spawn(new_client(number).work(end_us)))
        .collect();
    let nemesis =
        Nemesis::new(schedule.clone(), cluster.clone(), network.clone(), recorder.clone(), clients);
    nemesis.work(end_us).await;
    for client in working {
        client.await.expect("a client's panic ends the run before this");
    }

    let mut last = new_client(schedule.scenario.clients);
    let found = liveness::phase(&cluster, &mut last, &schedule.scenario).await;
    recorder.seal(&liveness::statuses(&cluster));
    count_effects(&recorder, &network, &cluster);
    found
}

/// Starts every node, makes them a cluster, and waits for its first leader.
async fn start(cluster: &Cluster, recorder: &Recorder) {
    let nodes = cluster.nodes();
    for node in &nodes {
        cluster.start(*node);
    }
    let deadline_us = now_us() + FIRST_ELECTION.as_micros() as u64;
    let mut asked = false;
    while recorder.leader().is_none() {
        assert!(now_us() < deadline_us, "a healthy new cluster elects a leader");
        let running = cluster.running();
        if !asked && running.len() == nodes.len() {
            let first = &running[&nodes[0]];
            first.init(&nodes).await.expect("a new cluster can be initialized once");
            asked = true;
        }
        madsim::time::sleep(Duration::from_millis(10)).await;
    }
}

fn count_effects(recorder: &Recorder, network: &Network, cluster: &Cluster) {
    let network = network.counters();
    let disks: Vec<_> = cluster.disks().iter().map(|disk| disk.counters()).collect();
    recorder.count(|coverage| {
        coverage.add_effects("network", &network);
        for disk in &disks {
            coverage.add_effects("disk", disk);
        }
    });
}

/// From what happened to the verdict.
fn judge(
    recording: &Recording,
    result: Result<Option<Violation>, RunPanicked>,
    control: &Control,
) -> Verdict {
    let checked = checks::judge(&recording.history, &recording.trace, Budget::default())
        .expect("the clients write a well-formed history");
    let found = match result {
        Ok(found) => found,
        Err(_panicked) if control.aborted().is_some() => {
            let why = match control.aborted() {
                Some(Abort::Livelock) => "the watchdog ended the run: its virtual time stood still",
                _ => "the run was interrupted",
            };
            return match checked {
                Verdict::Invalid { .. } => checked,
                Verdict::Valid | Verdict::Unknown { .. } => {
                    Verdict::Unknown { reason: why.to_owned() }
                }
            };
        }
        Err(panicked) => Some(panic_violation(recording, &panicked)),
    };
    match (checked, found) {
        (Verdict::Invalid { mut violations }, found) => {
            violations.extend(found);
            Verdict::Invalid { violations }
        }
        (_, Some(found)) => Verdict::Invalid { violations: vec![found] },
        (checked, None) => checked,
    }
}

fn panic_violation(recording: &Recording, panicked: &RunPanicked) -> Violation {
    let time_us = recording.trace.last().map_or(0, |event| event.time_us);
    Violation {
        property: NODE_PANIC.name.to_owned(),
        source: NODE_PANIC.source.to_owned(),
        message: panicked.message.clone(),
        evidence: vec![Evidence { time_us, text: place(panicked) }],
        explanation: None,
    }
}

/// Where the panic was, without the folders of the machine that built the tool.
fn place(panicked: &RunPanicked) -> String {
    let location = panicked.location.as_deref().unwrap_or("an unknown place");
    let in_crate = location
        .rsplit_once("/registry/src/")
        .map_or(location, |(_, rest)| rest.split_once('/').map_or(rest, |(_registry, rest)| rest));
    format!("panicked at {in_crate}: {}", panicked.message)
}
