//! `run`: one seed, its summary, its artifact.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::ranges::parse_seed;
use super::{Exit, Failure, MutantArgs, ScenarioArgs, summary, watch};
use crate::artifact::{self, Artifact};
use crate::mutants::Mutant;
use crate::run::Run;
use crate::schedule::Schedule;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The seed
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    seed: u64,
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    mutant: MutantArgs,
    /// Folder for the artifact
    #[arg(long, value_name = "DIR", default_value = "artifacts/runs")]
    out: PathBuf,
    /// Prints the verdict, counters and the artifact's path as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let scenario = args.scenario.scenario()?;
    artifact::check_folder(&args.out).map_err(Failure::input)?;
    let schedule = Schedule::generate(args.seed, &scenario);
    let run = with_progress(&schedule, args.mutant.mutant);
    let artifact = Artifact::new(&schedule, args.mutant.mutant, &run);
    let path = artifact::write(&artifact, &args.out).map_err(Failure::internal)?;
    if args.json {
        summary::print_json(&summary::machine_readable(&artifact, Some(&path)))?;
    } else {
        summary::print(&artifact, &run.recording, Some(&path))?;
    }
    Ok(Exit::from(&run.verdict))
}

/// Runs under a bar that shows the virtual time; there is none where stderr is no terminal.
pub(super) fn with_progress(schedule: &Schedule, mutant: Option<Mutant>) -> Run {
    watch::on_interrupt();
    let bar = ProgressBar::new(schedule.scenario.duration_ms);
    let style = ProgressStyle::with_template("seed {msg} {wide_bar} {pos}/{len} virtual ms")
        .expect("the template is a constant");
    bar.set_style(style);
    bar.set_message(schedule.seed.to_string());
    let run = watch::watched(schedule, mutant, |virtual_us| {
        bar.set_position(virtual_us / 1000);
    });
    bar.finish_and_clear();
    run
}
