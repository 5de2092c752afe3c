//! Compares three Aspen nodes with three etcd nodes on this machine.
//!
//! Both clusters run on loopback, sync to the same folder's disk, and are loaded in turns: a round
//! loads etcd and Aspen right after one another for every kind of load, so that a machine that
//! grows slow grows slow for both. What is told is the median of the rounds.

mod aspen;
mod disk;
mod etcd;
mod etcd_load;
mod processes;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};

use crate::processes::{Cluster, children_cpu_us};
use crate::report::{Measured, Report};

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
        let folder = tempfile::Builder::new().prefix("aspen-compare-").tempdir_in(&self.data);
        let folder = folder.with_context(|| format!("--data {}", self.data.display()))?;
        let sync_before = disk::sync_latency(folder.path())?;
        let etcd = etcd::Etcd::start(&self.etcd, &folder.path().join("etcd"))?;
        let aspen = aspen::Aspen::start(&self.aspen, &folder.path().join("aspen"))?;
        let (mut of_etcd, mut of_aspen) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            for &kind in &self.loads {
                for &clients in &self.clients {
                    let Self { seconds, keys, value_bytes, .. } = self;
                    let load = Load { kind, clients, seconds, keys, value_bytes };
                    eprintln!(
                        "round {} of {}: {kind:?}, {clients} clients",
                        round + 1,
                        self.rounds
                    );
                    of_etcd.push(measure(load, &etcd.cluster, || etcd.load(load))?);
                    of_aspen.push(measure(load, &aspen.cluster, || aspen.load(load))?);
                }
            }
        }
        let sync_after = disk::sync_latency(folder.path())?;
        let report = Report { sync_before, sync_after, etcd: of_etcd, aspen: of_aspen };
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(&report)?)
                .with_context(|| format!("--json {}", path.display()))?;
        }
        report.print();
        Ok(())
    }
}

/// Runs a load and looks at what it cost.
fn measure(load: Load, cluster: &Cluster, run: impl Fn() -> Result<Loaded>) -> Result<Measured> {
    let (servers, clients) = (cluster.cpu_us()?, children_cpu_us()?);
    let loaded = run()?;
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
