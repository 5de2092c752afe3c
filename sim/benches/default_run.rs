//! What the default run costs: virtual seconds a CPU second, CPU per delivered message and per
//! committed entry, decided operations, and the memory of many runs in one process.
//!
//! `cargo bench -p aspen-sim --bench default_run -- --runs 200`. A run here is what `aspen-sim run
//! --chaos partition` does, checks included, but for the artifact. Only the scenario's duration
//! counts as virtual time; starting the cluster and the liveness phase are cost without credit.

use std::process::ExitCode;
use std::sync::Arc;

use aspen_check::history::{EventKind, Outcome};
use aspen_sim::coverage::Coverage;
use aspen_sim::run::{Control, Recorder, Recording, run};
use aspen_sim::scenario::{Chaos, Scenario};
use aspen_sim::schedule::Schedule;
use aspen_sim::verdict::Verdict;
use clap::Parser;

#[path = "crash_recovery/cpu.rs"]
mod cpu;

/// The cost of the default run.
#[derive(Parser)]
struct Arguments {
    /// How many seeds, from 0 on.
    #[arg(long, default_value_t = 100)]
    runs: u64,
    /// Chaos kinds.
    #[arg(long, default_value = "partition")]
    chaos: Chaos,
    /// cargo passes this.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scenario = Scenario { chaos: arguments.chaos, ..Scenario::default() };
    let mut total = Coverage::default();
    let (mut decided_total, mut decided_min) = (0, u64::MAX);
    let started = cpu::time_ms();
    for seed in 0..arguments.runs {
        let recorder = Recorder::new(Arc::new(Control::default()));
        let run = run(&Schedule::generate(seed, &scenario), None, &recorder);
        if run.verdict != Verdict::Valid {
            report(&format!("seed {seed}: {:?}", run.verdict));
            return ExitCode::FAILURE;
        }
        let decided = decided_under_chaos(&run.recording, scenario.clients);
        decided_total += decided;
        decided_min = decided_min.min(decided);
        total.add(&run.recording.coverage);
    }
    let Some(cpu_ms) = cpu::time_ms().zip(started).map(|(now, then)| now - then) else {
        report("this system does not tell CPU times");
        return ExitCode::FAILURE;
    };
    let virtual_ms = arguments.runs * scenario.duration_ms;
    let ratio = |value: u64, unit: u64| value as f64 / unit.max(1) as f64;
    report(&format!(
        "{} runs, chaos {}, all valid\n\
         virtual seconds a CPU second  {:.0}\n\
         CPU a run                     {:.1} ms\n\
         CPU a delivered message       {:.1} µs\n\
         CPU a committed entry         {:.0} µs\n\
         decided operations a run      {:.0}, at least {decided_min}\n\
         peak memory                   {}",
        arguments.runs,
        scenario.chaos,
        ratio(virtual_ms, cpu_ms),
        ratio(cpu_ms, arguments.runs),
        ratio(cpu_ms * 1000, total.messages_delivered),
        ratio(cpu_ms * 1000, total.entries_committed),
        ratio(decided_total, arguments.runs),
        peak_memory(),
    ));
    ExitCode::SUCCESS
}

/// Operations whose outcome is known, without those of the client that reads everything at the end.
fn decided_under_chaos(recording: &Recording, clients: u64) -> u64 {
    let decided = recording.history.iter().filter(|event| {
        let known = match &event.kind {
            EventKind::Complete { outcome } => !matches!(outcome, Outcome::Info { .. }),
            EventKind::Invoke { .. } => false,
        };
        known && event.process.0 % (clients + 1) != clients
    });
    decided.count() as u64
}

/// The most memory that the process ever held, as Linux tells it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".to_owned(), |line| line.trim().to_owned())
}

fn report(text: &str) {
    use std::io::Write;
    // A benchmark whose report cannot be written has nobody to tell.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The same allocator as the binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
