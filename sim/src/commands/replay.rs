//! `replay`: the schedule of an artifact, carried out again.

use std::path::PathBuf;

use clap::Args;

use super::run::with_progress;
use super::{Exit, Failure, summary};
use crate::artifact::{self, Artifact};

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The artifact
    artifact: PathBuf,
    /// Prints the new run's verdict and counters as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn replay(args: &ReplayArgs) -> Result<Exit, Failure> {
    let old = artifact::read(&args.artifact).map_err(Failure::input)?;
    let run = with_progress(&old.schedule, old.mutant);
    let new = Artifact::new(&old.schedule, old.mutant, &run);
    if args.json {
        summary::print_json(&summary::machine_readable(&new, None))?;
    } else {
        summary::print(&new, &run.recording, None)?;
    }
    if new.digest == old.digest {
        summary::note("the digest is the artifact's: the run was the same to the last byte")?;
        return Ok(Exit::from(&run.verdict));
    }
    let differs = first_difference(&old, &new);
    if new.build.is_same(&old.build) {
        let message = format!("the same build and schedule gave another digest: {differs}");
        return Err(Failure::internal(anyhow::Error::msg(message)));
    }
    summary::note(&format!("another build, another digest: {differs}"))?;
    Ok(Exit::from(&run.verdict))
}

/// The first event in which two runs differ, as far as both artifacts kept it.
pub(super) fn first_difference(old: &Artifact, new: &Artifact) -> String {
    for (old, new) in old.trace.windows.iter().zip(&new.trace.windows) {
        let differs = old.events.iter().zip(&new.events).position(|(old, new)| old != new);
        let Some(at) = differs else { continue };
        let text = |event| serde_json::to_string(event).unwrap_or_default();
        let (before, after) = (text(&old.events[at]), text(&new.events[at]));
        return format!("event {} was {before} and is now {after}", old.first + at as u64);
    }
    "the kept parts of the traces are equal, so the first difference lies between them".to_owned()
}
