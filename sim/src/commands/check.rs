//! `check`: judges a history from a file, whoever wrote it.

use std::path::PathBuf;

use clap::Args;

use aspen_check::history_file::{self, HistoryFileError};

use super::{Exit, Failure, summary};
use crate::artifact;
use crate::checks::{self, Budget};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// A history as JSON Lines, or an artifact
    file: PathBuf,
    /// Prints the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let is_artifact = args.file.extension().is_some_and(|extension| extension == "json");
    let history = if is_artifact {
        artifact::read(&args.file).map_err(Failure::input)?.history
    } else {
        history_file::read(&args.file).map_err(|error| match error {
            HistoryFileError::File { .. } => {
                Failure::Input(format!("{error}, expected a history as JSON Lines"))
            }
            HistoryFileError::Line { .. } => Failure::input(error),
        })?
    };
    let place = args.file.display();
    let verdict = checks::linearizability::check(&history, Budget::default())
        .map_err(|error| Failure::Input(format!("{place}: {error}, expected a whole history")))?;
    if args.json {
        summary::print_json(&serde_json::to_value(&verdict).map_err(Failure::internal)?)?;
    } else {
        summary::print_verdict(&verdict)?;
    }
    Ok(Exit::from(&verdict))
}
