//! `sweep`: many seeds, beside each other; the artifacts of those that fail are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Exit, Failure, MutantArgs, ScenarioArgs, SeedRange, Shard, summary, watch};
use crate::artifact::{self, Artifact};
use crate::coverage::Coverage;
use crate::mutants::Mutant;
use crate::scenario::Scenario;
use crate::schedule::Schedule;
use crate::verdict::Verdict;

#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    /// The seeds, from A up to, and without, B
    #[arg(long, value_name = "A..B")]
    seeds: SeedRange,
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    mutant: MutantArgs,
    /// Runs beside each other [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Only the I-th of N parts of the seeds
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Goes on after a failure
    #[arg(long)]
    keep_going: bool,
    /// Folder for the artifacts of failing seeds
    #[arg(long, value_name = "DIR", default_value = "artifacts/runs")]
    out: PathBuf,
    /// Prints the summary as JSON
    #[arg(long)]
    json: bool,
}

/// What a sweep keeps of one run.
struct Outcome {
    seed: u64,
    digest: String,
    coverage: Coverage,
    /// For a run that is not valid: the verdict, and where its artifact is.
    failure: Option<(Verdict, PathBuf)>,
}

/// What a sweep found.
#[derive(Default)]
struct Tally {
    coverage: Coverage,
    digests: BTreeMap<u64, String>,
    failures: BTreeMap<u64, (Verdict, PathBuf)>,
}

pub(super) fn sweep(args: &SweepArgs) -> Result<Exit, Failure> {
    let scenario = args.scenario.scenario()?;
    artifact::check_folder(&args.out).map_err(Failure::input)?;
    watch::on_interrupt();
    let seeds: Vec<u64> = args.shard.unwrap_or(Shard::WHOLE).seeds(&args.seeds).collect();
    let tally = run_all(args, &scenario, &seeds)?;
    if args.json {
        summary::print_json(&tally.machine_readable(args, &scenario, seeds.len()))?;
    } else {
        summary::print_lines(tally.lines(args, &scenario, seeds.len()))?;
    }
    Ok(tally.exit())
}

fn run_all(args: &SweepArgs, scenario: &Scenario, seeds: &[u64]) -> Result<Tally, Failure> {
    let jobs = args.jobs.map_or_else(cores, usize::from);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (outcomes, incoming) = channel();
    let bar = progress_bar(seeds.len());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let outcomes = outcomes.clone();
            let worker = Worker { args, scenario, seeds, next: &next, stop: &stop, outcomes };
            scope.spawn(move || worker.work());
        }
        drop(outcomes);
        let mut tally = Tally::default();
        let mut failed = None;
        for outcome in incoming {
            bar.inc(1);
            match outcome {
                Ok(outcome) => tally.add(outcome),
                Err(failure) => {
                    stop.store(true, Ordering::Relaxed);
                    failed = Some(failure);
                }
            }
            if !tally.failures.is_empty() && !args.keep_going {
                stop.store(true, Ordering::Relaxed);
            }
        }
        bar.finish_and_clear();
        failed.map_or(Ok(tally), Err)
    })
}

/// One of the runs beside each other.
struct Worker<'s> {
    args: &'s SweepArgs,
    scenario: &'s Scenario,
    seeds: &'s [u64],
    next: &'s AtomicUsize,
    stop: &'s AtomicBool,
    outcomes: Sender<Result<Outcome, Failure>>,
}

impl Worker<'_> {
    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) && !watch::interrupted() {
            let Some(seed) = self.seeds.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let outcome = run_one(*seed, self.scenario, self.args.mutant.mutant, &self.args.out);
            if self.outcomes.send(outcome).is_err() {
                return;
            }
        }
    }
}

fn run_one(
    seed: u64,
    scenario: &Scenario,
    mutant: Option<Mutant>,
    out: &Path,
) -> Result<Outcome, Failure> {
    let schedule = Schedule::generate(seed, scenario);
    let run = watch::watched(&schedule, mutant, |_virtual_us| {});
    let failure = if run.verdict == Verdict::Valid {
        None
    } else {
        let artifact = Artifact::new(&schedule, mutant, &run);
        let path = artifact::write(&artifact, out).map_err(Failure::internal)?;
        Some((run.verdict, path))
    };
    let (digest, coverage) = (run.recording.digest, run.recording.coverage);
    Ok(Outcome { seed, digest, coverage, failure })
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        self.coverage.add(&outcome.coverage);
        self.digests.insert(outcome.seed, outcome.digest);
        self.failures.extend(outcome.failure.map(|failure| (outcome.seed, failure)));
    }

    fn exit(&self) -> Exit {
        let mut verdicts = self.failures.values().map(|(verdict, _)| verdict);
        if verdicts.clone().any(|verdict| matches!(verdict, Verdict::Invalid { .. })) {
            return Exit::Invalid;
        }
        if verdicts.next().is_some() || watch::interrupted() { Exit::Unknown } else { Exit::Valid }
    }

    /// One digest over the digests of all runs, in the order of their seeds.
    fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (seed, digest) in &self.digests {
            hasher.update(&seed.to_le_bytes());
            hasher.update(digest.as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }

    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.failures.values().filter(|(verdict, _)| is(verdict)).count()
    }

    fn invalid(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Invalid { .. }))
    }

    fn unknown(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Unknown { .. }))
    }

    fn lines(&self, args: &SweepArgs, scenario: &Scenario, planned: usize) -> Vec<String> {
        let ran = self.digests.len();
        let mut lines = vec![
            format!(
                "seeds {}  chaos {}  {ran} of {planned} run: {} valid, {} invalid, {} unknown",
                args.seeds,
                scenario.chaos,
                ran - self.failures.len(),
                self.invalid(),
                self.unknown(),
            ),
            String::new(),
        ];
        lines.extend(summary::coverage_lines(&self.coverage));
        lines.push(format!("digest        {}", self.digest()));
        for (seed, (verdict, path)) in &self.failures {
            lines.push(format!("seed {seed:<9} {}", one_line(verdict)));
            lines.push(format!("  replay       aspen-sim replay {}", path.display()));
        }
        lines
    }

    fn machine_readable(&self, args: &SweepArgs, scenario: &Scenario, planned: usize) -> Value {
        let failures = self.failures.iter().map(
            |(seed, (verdict, path))| json!({ "seed": seed, "verdict": verdict, "artifact": path }),
        );
        json!({
            "seeds": args.seeds.to_string(),
            "scenario": scenario,
            "mutant": args.mutant.mutant,
            "planned": planned,
            "ran": self.digests.len(),
            "valid": self.digests.len() - self.failures.len(),
            "invalid": self.invalid(),
            "unknown": self.unknown(),
            "digest": self.digest(),
            "coverage": self.coverage,
            "failures": failures.collect::<Vec<Value>>(),
        })
    }
}

fn one_line(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Valid => "VALID".to_owned(),
        Verdict::Unknown { reason } => format!("UNKNOWN {reason}"),
        Verdict::Invalid { violations } => {
            let first = violations.first().map(|it| format!("{}: {}", it.property, it.message));
            format!("INVALID {}", first.unwrap_or_default())
        }
    }
}

fn progress_bar(seeds: usize) -> ProgressBar {
    let bar = ProgressBar::new(seeds as u64);
    let template = "{wide_bar} {pos}/{len} seeds  {per_sec}  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
    bar
}

/// As many runs as there are cores.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
