//! `check`: judges a history from a file, whoever wrote it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use aspen_check::history::Event;
use aspen_check::history_file::{self, HistoryFileError};
use aspen_check::import;

use super::{Exit, Failure, ranges, summary};
use crate::artifact;
use crate::checks::{self, Budget};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// A history, or an artifact
    file: PathBuf,
    /// What the file holds [default: what its name ends in says; anything else is jsonl]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Most states that the search visits for a group of keys before it gives up
    #[arg(long, value_name = "N", default_value_t = Budget::default().states_per_group)]
    states: u64,
    /// Longest time for the search, such as 10s or 500ms; what is undecided then is unknown
    #[arg(long, value_name = "TIME", value_parser = ranges::parse_duration_ms)]
    time_limit: Option<u64>,
    /// Prints the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An artifact of `run` or `sweep` (.json)
    Artifact,
    /// Aspen's own history format, JSON Lines (.jsonl)
    Jsonl,
    /// A history of Jepsen's, as EDN (.edn)
    Edn,
    /// The lines that Jepsen logs (.log)
    JepsenLog,
}

impl Format {
    fn of(path: &Path) -> Self {
        match import::Format::of(path) {
            Some(import::Format::Edn) => Self::Edn,
            Some(import::Format::JepsenLog) => Self::JepsenLog,
            None if path.extension().is_some_and(|extension| extension == "json") => Self::Artifact,
            None => Self::Jsonl,
        }
    }

    fn read(self, path: &Path) -> Result<Vec<Event>, Failure> {
        let (history, expected) = match self {
            Self::Artifact => {
                return Ok(artifact::read(path).map_err(Failure::input)?.history);
            }
            Self::Jsonl => (history_file::read(path), "a history as JSON Lines"),
            Self::Edn => (import::read(path, import::Format::Edn), "a history as EDN"),
            Self::JepsenLog => (import::read(path, import::Format::JepsenLog), "a log of Jepsen's"),
        };
        history.map_err(|error| match error {
            HistoryFileError::File { .. } => {
                Failure::Input(format!("{error}, expected {expected}"))
            }
            HistoryFileError::Line { .. } => Failure::input(error),
        })
    }
}

pub(super) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let history = args.format.unwrap_or_else(|| Format::of(&args.file)).read(&args.file)?;
    let place = args.file.display();
    let budget = Budget { states_per_group: args.states };
    let verdict =
        checks::linearizability::check_until(&history, budget, &mut timer(args.time_limit))
            .map_err(|error| {
                Failure::Input(format!("{place}: {error}, expected a whole history"))
            })?;
    if args.json {
        summary::print_json(&serde_json::to_value(&verdict).map_err(Failure::internal)?)?;
    } else {
        summary::print_verdict(&verdict)?;
    }
    // The process ends now, and to free a large history one by one takes as long as to check it.
    std::mem::forget(history);
    Ok(Exit::from(&verdict))
}

/// Whether the time has passed.
#[allow(clippy::disallowed_methods, reason = "a limit on the time that a person waits")]
fn timer(limit_ms: Option<u64>) -> impl FnMut() -> bool {
    let end = limit_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
    move || end.is_some_and(|end| Instant::now() >= end)
}
