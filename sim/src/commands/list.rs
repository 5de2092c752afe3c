//! `list`: what the tool knows by name, a line each.

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Failure, summary};
use crate::checks;
use crate::mutants::Mutant;
use crate::run;
use crate::scenario::{ChaosKind, PRESETS};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let chaos = ChaosKind::ALL.into_iter().map(|kind| (kind.name(), kind.summary().to_owned()));
    let properties = checks::PROPERTIES
        .iter()
        .chain(&run::PROPERTIES)
        .map(|property| (property.name, format!("{} ({})", property.claim, property.source)));
    let scenarios = PRESETS.iter().map(|preset| (preset.name, preset.summary.to_owned()));
    let mutants = Mutant::ALL.into_iter().map(|it| (it.name(), it.summary().to_owned()));
    let sections: [(&str, Vec<(&str, String)>); 4] = [
        ("chaos", chaos.collect()),
        ("property", properties.collect()),
        ("scenario", scenarios.collect()),
        ("mutant", mutants.collect()),
    ];
    if args.json {
        let rows = sections.iter().flat_map(|(section, rows)| {
            let row = move |(name, summary): &(&str, String)| -> Value {
                json!({ "kind": section, "name": name, "summary": summary })
            };
            rows.iter().map(row)
        });
        summary::print_json(&rows.collect())?;
        return Ok(Exit::Valid);
    }
    let lines = sections.iter().flat_map(|(section, rows)| {
        rows.iter().map(move |(name, summary)| format!("{section:<9} {name:<22} {summary}"))
    });
    summary::print_lines(lines)?;
    Ok(Exit::Valid)
}
