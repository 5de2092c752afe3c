//! Within a life, what is committed and what is applied never go back.
//!
//! Two properties of one kind. Across a restart both may: what is committed is learnt anew, and
//! what is applied starts from what the state machine had on disk.

use super::invariant::{Finding, Invariant, Scene, entry_name};
use super::property::Property;
use crate::trace::{Position, TraceEvent, TraceKind};

/// What [`CommitMonotonic`] shows.
pub(crate) const COMMIT: Property = Property {
    name: "commit-monotonic",
    source: "Raft paper, figure 2 (commitIndex increases monotonically)",
    claim: "within a life the committed index never goes back",
};

/// What [`ApplyMonotonic`] shows.
pub(crate) const APPLY: Property = Property {
    name: "apply-monotonic",
    source: "Raft paper, figure 2 (lastApplied increases monotonically)",
    claim: "within a life no entry is applied twice and no snapshot goes back",
};

/// Needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct CommitMonotonic;

impl Invariant for CommitMonotonic {
    fn property(&self) -> &'static Property {
        &COMMIT
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        let TraceKind::Committed { position } = &event.kind else { return None };
        let (last, time_us) = scene.node?.committed?;
        let back = position.index < last.index || position.term < last.term;
        back.then(|| went_back(event, "reports as committed", *position, (last, time_us)))
    }
}

/// Needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct ApplyMonotonic;

impl Invariant for ApplyMonotonic {
    fn property(&self) -> &'static Property {
        &APPLY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        let (last, time_us) = scene.node?.applied?;
        if let TraceKind::Applied { entry, .. } = &event.kind {
            let back = entry.position.index <= last.index;
            return back.then(|| went_back(event, "applies", entry.position, (last, time_us)));
        }
        let TraceKind::SnapshotInstalled { position, .. } = &event.kind else { return None };
        let back = position.index < last.index;
        back.then(|| went_back(event, "installs a snapshot up to", *position, (last, time_us)))
    }
}

fn went_back(
    event: &TraceEvent,
    verb: &str,
    position: Position,
    (last, time_us): (Position, u64),
) -> Finding {
    let message = format!("{verb} {} after {}", entry_name(position), entry_name(last));
    let before = format!("node {} was at {}", event.node, entry_name(last));
    Finding::new(event, message).after(time_us, before)
}
