//! What commands print: one screen for people, one JSON value for programs.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::Failure;
use crate::artifact::Artifact;
use crate::coverage::Coverage;
use crate::run::Recording;
use crate::verdict::Verdict;

/// Evidence shown of one violation; the artifact holds all of it.
const EVIDENCE_LINES_MAX: usize = 8;
const VIOLATIONS_MAX: usize = 3;

/// Prints lines to stdout.
pub(super) fn print_lines(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = lines.into_iter().try_for_each(|line| writeln!(out, "{line}"));
    match printed.and_then(|()| out.flush()) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Failure::internal),
    }
}

/// Prints one JSON value to stdout.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print_lines([value.to_string()])
}

/// Says something beside the result, on stderr.
pub(super) fn note(text: &str) -> Result<(), Failure> {
    writeln!(io::stderr(), "{text}").map_err(Failure::internal)
}

/// Prints a run's one-screen summary.
pub(super) fn print(
    artifact: &Artifact,
    recording: &Recording,
    path: Option<&Path>,
) -> Result<(), Failure> {
    let scenario = &artifact.schedule.scenario;
    let mut lines = vec![
        format!(
            "seed {}  chaos {}  {} nodes  {} clients  {} s of virtual time",
            artifact.seed,
            scenario.chaos,
            scenario.nodes,
            scenario.clients,
            artifact.coverage.virtual_us / 1_000_000,
        ),
        String::new(),
    ];
    lines.extend(coverage_lines(&artifact.coverage));
    lines.push(format!(
        "recorded      {} history events, {} trace events, digest {}",
        recording.history.len(),
        artifact.trace.total,
        artifact.digest,
    ));
    lines.push(String::new());
    lines.extend(verdict_lines(&artifact.verdict));
    if let Some(path) = path {
        lines.push(String::new());
        lines.push(format!("artifact      {}", path.display()));
        lines.push(format!("replay        aspen-sim replay {}", path.display()));
    }
    print_lines(lines)
}

/// Prints a verdict alone.
pub(super) fn print_verdict(verdict: &Verdict) -> Result<(), Failure> {
    print_lines(verdict_lines(verdict))
}

/// A run's summary for programs.
pub(super) fn machine_readable(artifact: &Artifact, path: Option<&Path>) -> Value {
    json!({
        "seed": artifact.seed,
        "scenario": artifact.schedule.scenario,
        "mutant": artifact.mutant,
        "verdict": artifact.verdict,
        "digest": artifact.digest,
        "coverage": artifact.coverage,
        "artifact": path,
    })
}

/// The counters, a line for each family.
pub(super) fn coverage_lines(coverage: &Coverage) -> Vec<String> {
    let named = |counts: &std::collections::BTreeMap<String, u64>| {
        let texts: Vec<String> = counts
            .iter()
            .filter(|it| *it.1 > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if texts.is_empty() { "none: nothing was exercised".to_owned() } else { texts.join(", ") }
    };
    let mut lines = vec![
        format!(
            "operations    {} ok, {} failed, {} unknown",
            coverage.operations_ok, coverage.operations_failed, coverage.operations_unknown,
        ),
        format!(
            "cluster       {} elections, {} leader changes, {} restarts, {} recoveries",
            coverage.elections, coverage.leader_changes, coverage.restarts, coverage.recoveries,
        ),
        format!(
            "storage       {} entries applied, {} truncations, {} snapshots built, {} installed",
            coverage.entries_applied,
            coverage.truncations,
            coverage.snapshots_built,
            coverage.snapshots_installed,
        ),
        format!(
            "network       {} messages sent, {} delivered",
            coverage.messages_sent, coverage.messages_delivered,
        ),
    ];
    lines.push(format!("faults        {}", named(&coverage.faults)));
    lines
}

fn verdict_lines(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Valid => vec!["verdict       VALID: every check ran and found nothing".to_owned()],
        Verdict::Unknown { reason } => vec![format!("verdict       UNKNOWN: {reason}")],
        Verdict::Invalid { violations } => {
            let count = violations.len();
            let mut lines = vec![format!("verdict       INVALID: {count} violation(s)")];
            for violation in violations.iter().take(VIOLATIONS_MAX) {
                lines.push(format!("  {}: {}", violation.property, violation.message));
                lines.push(format!("    source: {}", violation.source));
                let shown = violation.evidence.iter().take(EVIDENCE_LINES_MAX);
                lines.extend(shown.map(|evidence| {
                    let ms = evidence.time_us / 1000;
                    format!("    {ms:>8} ms  {}", evidence.text)
                }));
            }
            lines
        }
    }
}
