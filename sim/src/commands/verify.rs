//! `verify`: the same seeds several times, and the same digests each time.
//!
//! A seed runs alone, beside another run, in a fresh process, and from its schedule as JSON. Whatever
//! differs between these leaks into the simulation: a failure of ours, not of the cluster.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::replay::first_difference;
use super::{Exit, Failure, MutantArgs, ScenarioArgs, SeedRange, summary, watch};
use crate::artifact::Artifact;
use crate::mutants::Mutant;
use crate::scenario::Scenario;
use crate::schedule::Schedule;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The seeds, from A up to, and without, B
    #[arg(long, value_name = "A..B")]
    seeds: SeedRange,
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    mutant: MutantArgs,
    /// Prints the digests as JSON and compares nothing
    #[arg(long)]
    digests: bool,
}

type Digests = BTreeMap<u64, String>;

pub(super) fn verify(args: &VerifyArgs) -> Result<Exit, Failure> {
    let scenario = args.scenario.scenario()?;
    let plan = Plan { args, scenario: &scenario };
    watch::on_interrupt();
    if args.digests {
        let bar = ProgressBar::hidden();
        let digests = plan.run(1, &bar, fresh)?;
        summary::print_json(&serde_json::to_value(digests).map_err(Failure::internal)?)?;
        return Ok(Exit::Valid);
    }
    let seeds = args.seeds.0.end - args.seeds.0.start;
    let bar = ProgressBar::new(seeds * 4);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} runs  {eta} left");
    bar.set_style(style.expect("the template is a constant"));
    let alone = plan.pass("alone", &bar, |plan, bar| plan.run(1, bar, fresh))?;
    let others = [
        ("beside another run", plan.pass("beside", &bar, |plan, bar| plan.run(2, bar, fresh))?),
        ("in a fresh process", plan.pass("process", &bar, Plan::run_elsewhere)?),
        (
            "from its schedule as JSON",
            plan.pass("json", &bar, |plan, bar| plan.run(1, bar, reread))?,
        ),
    ];
    bar.finish_and_clear();
    if watch::interrupted() {
        return Ok(Exit::Unknown);
    }
    for (how, digests) in &others {
        for (seed, digest) in &alone {
            if digests.get(seed) != Some(digest) {
                return Err(plan.differs(*seed, how));
            }
        }
    }
    let chaos = &scenario.chaos;
    let line = format!(
        "seeds {}  chaos {chaos}: {seeds} seeds, 4 runs each, the same digests",
        args.seeds
    );
    summary::print_lines([line])?;
    Ok(Exit::Valid)
}

struct Plan<'a> {
    args: &'a VerifyArgs,
    scenario: &'a Scenario,
}

/// The schedule as the seed makes it.
fn fresh(schedule: Schedule) -> Result<Schedule, Failure> {
    Ok(schedule)
}

/// The schedule as a replay reads it.
fn reread(schedule: Schedule) -> Result<Schedule, Failure> {
    let text = serde_json::to_string(&schedule).map_err(Failure::internal)?;
    serde_json::from_str(&text).map_err(Failure::internal)
}

impl Plan<'_> {
    fn pass(
        &self,
        name: &'static str,
        bar: &ProgressBar,
        run: impl Fn(&Self, &ProgressBar) -> Result<Digests, Failure>,
    ) -> Result<Digests, Failure> {
        bar.set_message(name);
        run(self, bar)
    }

    /// Runs every seed in this process, `jobs` beside each other.
    fn run(
        &self,
        jobs: usize,
        bar: &ProgressBar,
        prepare: fn(Schedule) -> Result<Schedule, Failure>,
    ) -> Result<Digests, Failure> {
        let seeds: Vec<u64> = self.args.seeds.0.clone().collect();
        let next = AtomicUsize::new(0);
        let digests = Mutex::new(Ok(Digests::new()));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if watch::interrupted() {
                            return;
                        }
                        let schedule = prepare(Schedule::generate(*seed, self.scenario));
                        let digest = schedule.map(|it| digest(&it, self.args.mutant.mutant));
                        let mut digests = digests.lock().expect("no holder of this lock panics");
                        match (&mut *digests, digest) {
                            (Ok(digests), Ok(digest)) => {
                                digests.insert(*seed, digest);
                            }
                            (Ok(_), Err(failure)) => *digests = Err(failure),
                            (Err(_), _) => {}
                        }
                        bar.inc(1);
                    }
                });
            }
        });
        digests.into_inner().expect("no holder of this lock panics")
    }

    /// Runs every seed in a process of its own.
    fn run_elsewhere(&self, bar: &ProgressBar) -> Result<Digests, Failure> {
        let scenario = serde_json::to_vec(self.scenario).map_err(Failure::internal)?;
        let file = std::env::temp_dir().join(format!("aspen-verify-{}.json", std::process::id()));
        std::fs::write(&file, scenario).map_err(Failure::internal)?;
        let this = std::env::current_exe().map_err(Failure::internal)?;
        let mut command = Command::new(this);
        command.args(["verify", "--digests", "--seeds", &self.args.seeds.to_string()]);
        command.arg("--scenario").arg(&file).stderr(Stdio::inherit());
        if let Some(mutant) = self.args.mutant.mutant {
            command.args(["--mutant", mutant.name()]);
        }
        let output = command.output();
        // It is a temporary file; what counts is what the process said.
        let _ = std::fs::remove_file(&file);
        let output = output.map_err(Failure::internal)?;
        if !output.status.success() {
            let message = format!("the fresh process ended with {}", output.status);
            return Err(Failure::internal(anyhow::Error::msg(message)));
        }
        bar.inc(self.args.seeds.0.end - self.args.seeds.0.start);
        serde_json::from_slice(&output.stdout).map_err(Failure::internal)
    }

    /// What to say of a seed whose digests differ: the first event that does, if it can be found.
    fn differs(&self, seed: u64, how: &str) -> Failure {
        let schedule = Schedule::generate(seed, self.scenario);
        let again = || {
            let run = watch::watched(&schedule, self.args.mutant.mutant, |_virtual_us| {});
            Artifact::new(&schedule, self.args.mutant.mutant, &run)
        };
        let (one, other) = (again(), again());
        let difference = if one.digest == other.digest {
            "two runs beside each other are equal".to_owned()
        } else {
            first_difference(&one, &other)
        };
        Failure::internal(anyhow::anyhow!(
            "seed {seed} is not deterministic: {how} its digest differs; {difference}"
        ))
    }
}

fn digest(schedule: &Schedule, mutant: Option<Mutant>) -> String {
    watch::watched(schedule, mutant, |_virtual_us| {}).recording.digest
}
