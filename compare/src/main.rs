//! Compares three Aspen nodes with three etcd nodes on this machine.
//!
//! Both clusters run on loopback, sync to the same folder's disk, and are loaded in turns: a round
//! loads etcd and Aspen right after one another for every kind of load, so that a machine that
//! grows slow grows slow for both. What is told is the median of the rounds.

mod aspen;
mod disk;
mod etcd;
mod etcd_load;
mod floor;
mod processes;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};

use crate::processes::{Cluster, children_cpu_us};
use crate::report::{Measured, Report};

/// What the streams of the floors are.
const FLOORS: [&str; 2] = ["quic", "tcp"];

#[derive(Parser)]
#[command(name = "aspen-compare", about = "Three Aspen nodes beside three etcd nodes")]
enum Cli {
    /// Run both and print the comparison
    Run(Run),
    /// Load an etcd cluster, as `aspen-cli bench` loads one of Aspen
    EtcdLoad(etcd_load::EtcdLoad),
}

#[derive(Args)]
struct Run {
    /// The etcd to run
    #[arg(long, value_name = "PROGRAM", default_value = "etcd")]
    etcd: PathBuf,
    /// The folder of the release builds of aspen-node and aspen-cli
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    aspen: PathBuf,
    /// Where both clusters keep their data while they run; a folder in memory syncs nothing
    #[arg(long, value_name = "DIR", default_value = "target")]
    data: PathBuf,
    /// How many clients ask at once
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<u64>,
    /// What the clients do
    #[arg(long, value_delimiter = ',', default_value = "puts,reads")]
    loads: Vec<Kind>,
    /// How long each load takes
    #[arg(long, value_name = "S", default_value_t = 5)]
    seconds: u64,
    /// How often each load is repeated
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// How long each value is
    #[arg(long, value_name = "N", default_value_t = 256)]
    value_bytes: usize,
    /// Measure with one client, beside both, what passing on, storing and answering cost without any
    /// agreement, over QUIC and over TCP
    #[arg(long)]
    floor: bool,
    /// How many keys
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    keys: u64,
    /// Write every measurement here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What a load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Sets a key.
    Puts,
    /// Reads a key, linearizably.
    Reads,
}

/// One load.
#[derive(Clone, Copy, Debug)]
struct Load {
    kind: Kind,
    clients: u64,
    seconds: u64,
    keys: u64,
    value_bytes: usize,
}

/// What a load generator prints.
#[derive(Debug, Serialize, Deserialize)]
struct Loaded {
    answered: u64,
    failed: u64,
    unknown: u64,
    per_second: f64,
    latency_us: Latencies,
}

#[derive(Debug, Serialize, Deserialize)]
struct Latencies {
    reads: Option<Latency>,
    writes: Option<Latency>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Latency {
    p50: u64,
    p99: u64,
}

/// Three servers that can be loaded.
trait System {
    fn cluster(&self) -> &Cluster;

    /// Runs a load to its end.
    fn load(&self, load: Load) -> Result<Loaded>;

    /// Whether there is anything to learn from this load.
    fn takes(&self, _load: Load) -> bool {
        true
    }
}

/// A system, and what was measured of it so far.
type Measuring = (Box<dyn System>, Vec<Measured>);

fn main() -> ExitCode {
    let done = match Cli::parse() {
        Cli::Run(run) => run.run(),
        Cli::EtcdLoad(load) => load.run(),
    };
    if let Err(error) = done {
        eprintln!("aspen-compare: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

impl Run {
    fn run(self) -> Result<()> {
        let measures_floor = !self.floor || self.clients.contains(&1);
        anyhow::ensure!(measures_floor, "--floor: expected 1 among the --clients");
        let folder = tempfile::Builder::new().prefix("aspen-compare-").tempdir_in(&self.data);
        let folder = folder.with_context(|| format!("--data {}", self.data.display()))?;
        let sync_before = disk::sync_latency(folder.path())?;
        let mut systems = self.start(folder.path())?;
        for round in 0..self.rounds {
            for load in self.loads() {
                let Load { kind, clients, .. } = load;
                eprintln!("round {} of {}: {kind:?}, {clients} clients", round + 1, self.rounds);
                let mut turns: Vec<_> = systems.iter_mut().collect();
                // What a load leaves behind it is to meet each system as often.
                if round % 2 == 1 {
                    turns.reverse();
                }
                for (system, measured) in turns {
                    if system.takes(load) {
                        measured.push(measure(load, system.as_ref())?);
                    }
                }
            }
        }
        let sync_after = disk::sync_latency(folder.path())?;
        let mut measured = systems.into_iter().map(|(_, measured)| measured);
        let (etcd, aspen) = measured.next().zip(measured.next()).context("two systems at least")?;
        let floors = FLOORS.into_iter().zip(measured).collect();
        let report = Report { sync_before, sync_after, etcd, aspen, floors };
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(&report)?)
                .with_context(|| format!("--json {}", path.display()))?;
        }
        report.print();
        Ok(())
    }

    /// Starts etcd, Aspen, and the floors if they are asked for.
    fn start(&self, folder: &Path) -> Result<Vec<Measuring>> {
        let mut systems: Vec<Box<dyn System>> = vec![
            Box::new(etcd::Etcd::start(&self.etcd, &folder.join("etcd"))?),
            Box::new(aspen::Aspen::start(&self.aspen, &folder.join("aspen"))?),
        ];
        for over in FLOORS.into_iter().filter(|_| self.floor) {
            systems.push(Box::new(floor::Floor::start(&folder.join(over), over)?));
        }
        Ok(systems.into_iter().map(|system| (system, Vec::new())).collect())
    }

    /// The loads of a round.
    fn loads(&self) -> impl Iterator<Item = Load> {
        let Self { seconds, keys, value_bytes, .. } = *self;
        self.loads.iter().flat_map(move |&kind| {
            let load = move |&clients| Load { kind, clients, seconds, keys, value_bytes };
            self.clients.iter().map(load)
        })
    }
}

/// Runs a load and looks at what it cost.
fn measure(load: Load, system: &dyn System) -> Result<Measured> {
    let cluster = system.cluster();
    let (servers, clients) = (cluster.cpu_us()?, children_cpu_us()?);
    let loaded = system.load(load)?;
    anyhow::ensure!(loaded.failed + loaded.unknown == 0, "operations failed: {loaded:?}");
    let Latencies { reads, writes } = loaded.latency_us;
    let latency = reads.or(writes).context("nothing was answered")?;
    let answered = loaded.answered as f64;
    Ok(Measured {
        kind: load.kind,
        clients: load.clients,
        per_second: loaded.per_second,
        latency,
        server_cpu_us: (cluster.cpu_us()? - servers) / answered,
        client_cpu_us: (children_cpu_us()? - clients) / answered,
        memory_mib: cluster.memory_mib()?,
    })
}
