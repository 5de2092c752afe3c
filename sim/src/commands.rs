//! The commands of `aspen-sim`, one module each, and what they share: arguments, exit codes, and
//! the two ways to fail.

mod check;
mod list;
mod outcome;
mod ranges;
mod replay;
mod run;
mod summary;
mod sweep;
mod verify;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::outcome::{Exit, Failure};
pub use self::ranges::{SeedRange, Shard};
use crate::mutants::Mutant;
use crate::scenario::{Chaos, Scenario};

/// Runs a real Raft cluster in simulation, judges the run, and explains it.
#[derive(Debug, Parser)]
#[command(
    name = "aspen-sim",
    version,
    arg_required_else_help = false,
    after_help = "Exit codes: 0 valid, 1 invalid, 2 unknown, 64 bad usage or input, 70 own failure.\n\
                  RUST_LOG (such as RUST_LOG=openraft=info) shows the nodes' logs on stderr, with \
                  virtual time and node."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one seed and writes its artifact
    #[command(after_help = "Examples:\n  aspen-sim run --seed 7 --chaos partition\n  \
        aspen-sim run --seed 7 --chaos crash,disk --duration 60s --ops 2000\n  \
        aspen-sim run --seed 7 --chaos crash --mutant forget-vote")]
    Run(run::RunArgs),
    /// Runs the schedule of an artifact again
    #[command(
        after_help = "The exit code is the new run's verdict. Under the build that wrote the \
        artifact another digest is a failure of the simulator (70); under another build it is a \
        note.\n\nExample:\n  aspen-sim replay artifacts/runs/seed-7-partition.json"
    )]
    Replay(replay::ReplayArgs),
    /// Runs seeds several times and compares the digests
    #[command(after_help = "Each seed runs four times: alone, beside other runs, in a fresh \
        process, and with its schedule read back from JSON, as a replay does.\n\nExample:\n  aspen-sim verify --seeds 0..200 --chaos all")]
    Verify(verify::VerifyArgs),
    /// Runs many seeds and keeps the artifacts of those that fail
    #[command(after_help = "Examples:\n  aspen-sim sweep --seeds 0..1000 --chaos all --jobs 2\n  \
        aspen-sim sweep --seeds 0..100000 --chaos crash --shard 1/4 --keep-going --json")]
    Sweep(sweep::SweepArgs),
    /// Judges a history from a file: Aspen's, an artifact's, or Jepsen's
    #[command(after_help = "Examples:\n  aspen-sim check history.jsonl\n  \
        aspen-sim check --json store/register/latest/history.edn\n  \
        aspen-sim check --states 1000000 --time-limit 10s etcd_000.log")]
    Check(check::CheckArgs),
    /// Lists chaos kinds, properties, scenarios and mutants
    List(list::ListArgs),
}

/// What kind of run.
#[derive(Clone, Debug, Args)]
struct ScenarioArgs {
    /// Faults: none, all, or some of partition, network, crash, pause, disk joined by commas
    #[arg(long, value_name = "KINDS")]
    chaos: Option<Chaos>,
    /// Nodes of the cluster [default: 3]
    #[arg(long, value_name = "N")]
    nodes: Option<u64>,
    /// Concurrent clients [default: 8]
    #[arg(long, value_name = "N")]
    clients: Option<u64>,
    /// Operations of all clients together, at most [default: 490]
    #[arg(long, value_name = "N")]
    ops: Option<u64>,
    /// Virtual time of chaos, such as 30s or 500ms [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = ranges::parse_duration_ms)]
    duration: Option<u64>,
    /// A scenario as JSON; the other flags change it
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

impl ScenarioArgs {
    fn scenario(&self) -> Result<Scenario, Failure> {
        let mut scenario = match &self.scenario {
            None => Scenario::default(),
            Some(path) => {
                let said = |error: String| {
                    let path = path.display();
                    Failure::Input(format!("{path}: {error}, expected a scenario as JSON"))
                };
                let text =
                    std::fs::read_to_string(path).map_err(|error| said(error.to_string()))?;
                serde_json::from_str(&text).map_err(|error| said(error.to_string()))?
            }
        };
        if let Some(chaos) = &self.chaos {
            scenario.chaos = chaos.clone();
        }
        let changes = [
            (&mut scenario.nodes, self.nodes),
            (&mut scenario.clients, self.clients),
            (&mut scenario.operations, self.ops),
            (&mut scenario.duration_ms, self.duration),
        ];
        for (field, value) in changes {
            *field = value.unwrap_or(*field);
        }
        let place = self.scenario.as_ref().map_or("scenario".into(), |it| it.to_string_lossy());
        scenario.validate().map_err(|error| Failure::Input(format!("{place}: {error}")))?;
        Ok(scenario)
    }
}

/// The planted bug to run with.
#[derive(Clone, Debug, Args)]
struct MutantArgs {
    /// Plants a bug (see `aspen-sim list`)
    #[arg(long, value_name = "NAME")]
    mutant: Option<Mutant>,
}

/// Runs the command line.
///
/// # Errors
/// [`Failure::Input`] for a bad command line or input, [`Failure::Internal`] for our own failures.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Result<Exit, Failure> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return Err(Failure::usage(&error)),
        Err(help) => {
            help.print().map_err(Failure::internal)?;
            return Ok(Exit::Valid);
        }
    };
    crate::logging::init();
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Check(args) => check::check(&args),
        Command::List(args) => list::list(&args),
    }
}
