//! What a node has promised to keep is there at its next start.
//!
//! Promised is what was reported durable and not removed since: log entries, and the state machine
//! as a snapshot or an earlier start left it. Beyond the durable part a crash may leave any prefix
//! of what was appended, and nothing else. A purge removes only what the state machine has applied,
//! or a restart could not rebuild it.
//!
//! A truncation reaches the disk together with what is asked for next, and a crash can fall in
//! front of that. So the log that is found is the one from after the truncation or the one from
//! before it, and either is held to all of this; a mixture is none of them.
//!
//! One loss is excused, because an install is recorded when it has become durable: what the log had
//! behind the place of a snapshot's last entry, when it had another entry in that place.

use super::invariant::{Finding, Invariant, Scene, entry_name};
use super::node_model::{Held, LogEntry, NodeModel};
use super::property::Property;
use crate::trace::{Position, Recovered, TraceEvent, TraceKind};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "durable-log",
    source: "Raft paper, figure 2 (persistent state) and section 5.2; thesis, section 3.8",
    claim: "what a node reported durable is there at its next start",
};

/// Needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct DurableLog;

impl Invariant for DurableLog {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        if let TraceKind::Purged { upto } = &event.kind {
            let applied = scene.node.and_then(|node| node.applied);
            return purged_too_far(event, *upto, applied.map(|(applied, _)| applied));
        }
        let TraceKind::Started { recovered } = &event.kind else { return None };
        recovered
            .purged
            .and_then(|upto| purged_too_far(event, upto, recovered.applied))
            .or_else(|| hole(event, recovered))
            .or_else(|| {
                let node = scene.node?;
                state_lost(node, event, recovered).or_else(|| {
                    let mut logs = node.versions().map(|node| log_differs(&node, event, recovered));
                    let latest = logs.next().expect("the node as it is comes first")?;
                    logs.all(|finding| finding.is_some()).then_some(latest)
                })
            })
    }
}

fn purged_too_far(
    event: &TraceEvent,
    upto: Position,
    applied: Option<Position>,
) -> Option<Finding> {
    let too_far = applied.is_none_or(|applied| applied.index < upto.index);
    too_far.then(|| {
        let applied = applied.map_or_else(|| "nothing".to_owned(), entry_name);
        let purged = entry_name(upto);
        Finding::new(event, format!("has purged its log up to {purged}, and applied {applied}"))
    })
}

fn hole(event: &TraceEvent, recovered: &Recovered) -> Option<Finding> {
    let first = recovered.entries.first()?.position.index;
    let expected = recovered.purged.map_or(0, |purged| purged.index + 1);
    (first != expected).then(|| {
        let message = format!("finds a log that begins with entry {first}, not with {expected}");
        Finding::new(event, message)
    })
}

/// A state machine that was on disk has gone back.
fn state_lost(node: &NodeModel, event: &TraceEvent, recovered: &Recovered) -> Option<Finding> {
    let kept = node.snapshot?;
    let found = recovered.applied;
    found.is_none_or(|found| found.index < kept.index).then(|| {
        let found = found.map_or_else(|| "nothing".to_owned(), entry_name);
        let kept = entry_name(kept);
        let message = format!("finds {found} applied, and had {kept} applied on disk");
        Finding::new(event, message)
    })
}

/// What is found is not the log that the node had.
fn log_differs(node: &NodeModel, event: &TraceEvent, recovered: &Recovered) -> Option<Finding> {
    entry_lost(node, event, recovered).or_else(|| entry_from_nowhere(node, event, recovered))
}

/// A durable entry that is neither in the log nor covered by the state machine.
fn entry_lost(node: &NodeModel, event: &TraceEvent, recovered: &Recovered) -> Option<Finding> {
    let covered = [recovered.applied, recovered.purged].into_iter().flatten().max();
    if covered.is_some_and(|covered| conflicts(node, covered)) {
        return None;
    }
    let from = covered.map_or(0, |covered| covered.index + 1).max(node.log_start());
    let durable_end = node.durable_end.min(node.log_end());
    let start = recovered.entries.first().map_or(0, |entry| entry.position.index);
    (from..durable_end).find_map(|index| {
        let Held::Entry(entry) = node.at(index) else { return None };
        let at = index.checked_sub(start).map(|at| at as usize);
        let found = at.and_then(|at| recovered.entries.get(at));
        if found.is_some_and(|found| LogEntry::from(found) == entry) {
            return None;
        }
        let name = entry_name(Position { index, term: entry.term });
        let instead = found.map_or_else(
            || "finds no trace of".to_owned(),
            |found| format!("finds {} in place of", entry_name(found.position)),
        );
        let finding = Finding::new(event, format!("{instead} {name}, which was durable"));
        let before = format!("node {} reports its log durable beyond {name}", event.node);
        Some(finding.after(node.flushed_us, before))
    })
}

/// Whether the log has another entry in the place of one that is committed.
fn conflicts(node: &NodeModel, committed: Position) -> bool {
    match node.at(committed.index) {
        Held::Entry(entry) => entry.term != committed.term,
        Held::Compacted | Held::Absent => false,
    }
}

/// An entry that was never appended, or that was removed.
fn entry_from_nowhere(
    node: &NodeModel,
    event: &TraceEvent,
    recovered: &Recovered,
) -> Option<Finding> {
    let strange = recovered.entries.iter().find(|mark| match node.at(mark.position.index) {
        Held::Entry(entry) => entry != LogEntry::from(*mark),
        Held::Compacted => false,
        Held::Absent => true,
    })?;
    let name = entry_name(strange.position);
    let message = format!("finds {name}, which its log did not hold when it stopped");
    Some(Finding::new(event, message))
}
