//! Crash and recover, some thousand times: nothing acknowledged may be lost.
//!
//! One cycle: a store works on a simulated disk until the disk dies at a drawn operation, in the
//! middle of a commit, of a recovery or of the creation; the machine is killed or loses power; the
//! store is opened again and compared with a model. What was acknowledged must be there; what was
//! not may be there as a prefix, in the order in which it was asked for.
//!
//! A benchmark that cannot fail says nothing: as a test it also runs some cycles on a disk that lies
//! about its syncs, and fails unless they go wrong.
//!
//! `cargo bench -p aspen-sim --bench crash_recovery -- --cycles 10000`. The report is
//! deterministic but for its last line, the CPU time.

mod chain;
mod cpu;
mod crash;
mod driver;
mod model;
mod report;
mod rows;
mod storage;

use std::process::ExitCode;

use clap::{Args, Parser, ValueEnum};

use report::Report;

/// Cycles of the negative control.
const CONTROL_CYCLES: u64 = 40;

/// What is crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Over {
    /// redb alone, under a small table of rows.
    Redb,
    /// The storage that nodes run on.
    Storage,
}

impl Over {
    fn run(self, cycles: u64, seed: u64, lying_disk: bool) -> Report {
        match self {
            Over::Redb => rows::run(cycles, seed, lying_disk),
            Over::Storage => storage::run(cycles, seed, lying_disk),
        }
    }
}

/// Crash-and-recover cycles against a simulated disk.
#[derive(Parser)]
struct Arguments {
    /// What is crashed; by default one after the other.
    #[arg(long)]
    over: Option<Over>,
    /// Cycles of each; by default 10,000, or 300 when cargo runs this as a test.
    #[arg(long)]
    cycles: Option<u64>,
    /// The seed of everything that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let the disk lie about its syncs: the run must then fail.
    #[arg(long)]
    lying_disk: bool,
    /// Cargo says that it runs benchmarks.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(flatten)]
    harness: Harness,
}

/// What nextest says to a test binary: it lists the tests first and then runs one by its name.
#[derive(Args)]
struct Harness {
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    ignored: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(hide = true)]
    name: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.harness.list {
        // There is one test, and it is not an ignored one.
        if !arguments.harness.ignored {
            report::line("crash_recovery: test");
        }
        return ExitCode::SUCCESS;
    }
    let cycles = arguments.cycles.unwrap_or(if arguments.bench { 10_000 } else { 300 });
    let mut clean = true;
    for over in Over::value_variants() {
        if arguments.over.is_some_and(|only| only != *over) {
            continue;
        }
        let started = cpu::time_ms();
        let report = over.run(cycles, arguments.seed, arguments.lying_disk);
        let spent = cpu::time_ms().zip(started).map(|(now, then)| now - then);
        report.print(*over, arguments.seed, spent);
        clean &= report.is_clean();
        let notices_lies =
            arguments.bench || !over.run(CONTROL_CYCLES, arguments.seed, true).is_clean();
        assert!(notices_lies, "{over:?}: {CONTROL_CYCLES} cycles on a lying disk look clean");
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
