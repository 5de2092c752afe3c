//! Two logs that hold the same entry are the same up to there.
//!
//! It is enough that index and term determine an entry's payload and the term of the entry before
//! it: the rest follows by induction, so each entry is looked at once and no logs are compared.
//! Where the entry before is not in the trace, its term is not compared. That a log has no holes
//! is part of it.

use aspen_core::NodeId;

use super::invariant::{Finding, Invariant, Scene, entry_name};
use super::node_model::NodeModel;
use super::property::Property;
use crate::trace::{EntryMark, Position, TraceEvent, TraceKind};

/// What this check shows.
pub(crate) const PROPERTY: Property = Property {
    name: "log-matching",
    source: "Raft paper, figure 3 and section 5.3; TLA+ LogMatching",
    claim: "an entry's index and term determine it and everything before it",
};

#[derive(Clone, Copy, Debug)]
struct Known {
    term: u64,
    payload: u64,
    /// The term of the entry before, where it is known; index 0 has none.
    previous: Option<u64>,
    node: NodeId,
    time_us: u64,
}

/// The entries ever seen, by index; there is one for each term that proposed at that index.
#[derive(Debug, Default)]
pub(crate) struct LogMatching {
    entries: Vec<Vec<Known>>,
}

impl Invariant for LogMatching {
    fn property(&self) -> &'static Property {
        &PROPERTY
    }

    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding> {
        let (entries, mut previous) = if let TraceKind::Appended { entries } = &event.kind {
            let first = entries.first()?.position.index;
            let node = scene.node;
            if let Some(finding) = gap(node, event, first) {
                return Some(finding);
            }
            let before = first.checked_sub(1);
            (entries, before.and_then(|before| node?.term_at(before)))
        } else if let TraceKind::Started { recovered } = &event.kind {
            let first = recovered.entries.first()?.position.index;
            let purged = recovered.purged.filter(|purged| purged.index + 1 == first);
            (&recovered.entries, purged.map(|purged| purged.term))
        } else {
            return None;
        };
        for (at, entry) in entries.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| entries[before].position.index);
            if before.is_some_and(|before| before + 1 != entry.position.index) {
                let message = format!("{} follows a hole", entry_name(entry.position));
                return Some(Finding::new(event, message));
            }
            if let Some(finding) = self.meet(event, entry, previous) {
                return Some(finding);
            }
            previous = Some(entry.position.term);
        }
        None
    }
}

/// An append that does not begin at the log's end, nor inside of it, nor behind a snapshot.
fn gap(node: Option<&NodeModel>, event: &TraceEvent, first: u64) -> Option<Finding> {
    let end = node.map_or(0, |node| node.log_end());
    let snapshot = node.and_then(|node| node.snapshot);
    let behind_snapshot = snapshot.is_some_and(|snapshot| snapshot.index + 1 == first);
    (first > end && !behind_snapshot).then(|| {
        Finding::new(event, format!("appends entry {first} to a log whose next entry is {end}"))
    })
}

impl LogMatching {
    fn meet(
        &mut self,
        event: &TraceEvent,
        mark: &EntryMark,
        previous: Option<u64>,
    ) -> Option<Finding> {
        let Position { index, term } = mark.position;
        let index = index as usize;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, Vec::new());
        }
        let (node, time_us) = (event.node, event.time_us);
        let Some(known) = self.entries[index].iter_mut().find(|known| known.term == term) else {
            self.entries[index].push(Known {
                term,
                payload: mark.payload,
                previous,
                node,
                time_us,
            });
            return None;
        };
        let name = entry_name(mark.position);
        if known.payload != mark.payload {
            let message = format!("holds {name} with another payload than node {}", known.node);
            let before = format!("node {} holds {name}", known.node);
            return Some(Finding::new(event, message).after(known.time_us, before));
        }
        match (known.previous, previous) {
            (Some(one), Some(other)) if one != other => {
                let message = format!("holds {name} after an entry of term {other}");
                let before =
                    format!("node {} holds {name} after an entry of term {one}", known.node);
                Some(Finding::new(event, message).after(known.time_us, before))
            }
            _ => {
                known.previous = known.previous.or(previous);
                None
            }
        }
    }
}
