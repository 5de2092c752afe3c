//! Replicas that have applied the same entries are the same, digest by digest.
//!
//! The digest covers the whole state machine, sessions and clock included. The first node that
//! reaches an index, by applying or by a snapshot, sets what every other node and every later life
//! must have there.

use aspen_core::NodeId;

use super::invariant::{Finding, Invariant, Scene};
use super::property::Property;
use crate::trace::{TraceEvent, TraceKind};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "replica-digest",
    source: "Schneider 1990, replica coordination; Raft paper, section 2",
    claim: "state machines that have applied the same entries are equal",
};

/// The digest after each index, with the first node that had it.
#[derive(Debug, Default)]
pub(crate) struct ReplicaDigest {
    digests: Vec<Option<(u64, NodeId, u64)>>,
}

impl Invariant for ReplicaDigest {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, _scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        let (position, digest) = if let TraceKind::Applied { entry, state, .. } = &event.kind {
            (entry.position, *state)
        } else if let TraceKind::SnapshotInstalled { position, state } = &event.kind {
            (*position, *state)
        } else {
            return None;
        };
        let index = position.index as usize;
        if self.digests.len() <= index {
            self.digests.resize(index + 1, None);
        }
        let own = (digest, event.node, event.time_us);
        let (known, node, time_us) = *self.digests[index].get_or_insert(own);
        (known != digest).then(|| {
            let message = format!("has digest {digest:016x} after entry {index}");
            let before = format!("node {node} has digest {known:016x} after entry {index}");
            Finding::new(event, message).after(time_us, before)
        })
    }
}
