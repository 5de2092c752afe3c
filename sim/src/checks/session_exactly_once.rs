//! A request of a session takes effect at most once, however often it is in the log.
//!
//! A client that got no answer sends its request again with the same stamp, and both copies may be
//! committed. The second one must leave the keys and values as they are. Sequence numbers are
//! never used twice in a session, so a stamp that comes again is a copy.

use std::collections::BTreeMap;

use super::invariant::{Finding, Invariant, Scene, entry_name};
use super::property::Property;
use crate::trace::{TraceEvent, TraceKind};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "session-exactly-once",
    source: "Raft thesis, section 6.3",
    claim: "a request that a client repeats takes effect at most once",
};

/// The digests of keys and values by index, and where each stamp was applied first.
#[derive(Debug, Default)]
pub(crate) struct SessionExactlyOnce {
    contents: Vec<Option<u64>>,
    stamps: BTreeMap<(u64, u64), (u64, u64)>,
}

impl Invariant for SessionExactlyOnce {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, _scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        let TraceKind::Applied { entry, content, .. } = &event.kind else { return None };
        let index = entry.position.index as usize;
        if self.contents.len() <= index {
            self.contents.resize(index + 1, None);
        }
        // The first replica that applies an entry speaks for all: replica-digest compares them.
        if self.contents[index].is_some() {
            return None;
        }
        self.contents[index] = Some(*content);
        let stamp = entry.stamp?;
        let own = (entry.position.index, event.time_us);
        let (first, time_us) = *self.stamps.entry(stamp).or_insert(own);
        let before = self.contents[index.checked_sub(1)?]?;
        (first < own.0 && before != *content).then(|| {
            let name = entry_name(entry.position);
            let (session, sequence) = stamp;
            let message = format!(
                "{name} repeats request {sequence} of session {session}, and changes the data again"
            );
            let earlier = format!("entry {first} carries request {sequence} of session {session}");
            Finding::new(event, message).after(time_us, earlier)
        })
    }
}
