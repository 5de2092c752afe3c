//! What a trace invariant is, and the one pass that runs them all.
//!
//! An invariant looks at each event and at the [`Scene`], which is the moment before it. It
//! speaks once: after its first violation everything that follows is a consequence, so it is
//! taken out and the others go on.

use super::cluster_model::ClusterModel;
use super::node_model::NodeModel;
use super::property::Property;
use crate::trace::{Position, Trace, TraceEvent, TraceKind};
use crate::verdict::{Evidence, Violation};

/// A violation, without the name of its property.
#[derive(Debug)]
pub(crate) struct Finding {
    /// What went wrong, in a sentence.
    pub(crate) message: String,
    /// What shows it, in order of time.
    pub(crate) evidence: Vec<Evidence>,
}

impl Finding {
    /// A finding that the event itself shows; earlier evidence may be added.
    pub(crate) fn new(event: &TraceEvent, message: String) -> Self {
        let text = format!("node {} (life {}): {message}", event.node, event.incarnation);
        Self { message, evidence: vec![Evidence { time_us: event.time_us, text }] }
    }

    /// Adds what happened earlier.
    pub(crate) fn after(mut self, time_us: u64, text: String) -> Self {
        self.evidence.insert(0, Evidence { time_us, text });
        self
    }
}

/// The moment before an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    /// Everything.
    pub(crate) cluster: &'a ClusterModel,
    /// The event's own node, unless this is its first event.
    pub(crate) node: Option<&'a NodeModel>,
}

/// One property of the trace.
pub(crate) trait Invariant {
    /// What it shows.
    fn property(&self) -> &'static Property;

    /// Looks at one event.
    fn inspect(&mut self, scene: Scene<'_>, event: &TraceEvent) -> Option<Finding>;
}

/// Runs invariants over a trace. Violations come in the order in which they were found.
pub(crate) fn check_all(mut invariants: Vec<Box<dyn Invariant>>, trace: &Trace) -> Vec<Violation> {
    let mut cluster = ClusterModel::default();
    let mut violations = Vec::new();
    for event in trace {
        if !concerns_nodes(&event.kind) || !cluster.is_alive(event) {
            continue;
        }
        let scene = Scene { cluster: &cluster, node: cluster.nodes.get(&event.node) };
        invariants.retain_mut(|invariant| {
            let Some(mut finding) = invariant.inspect(scene, event) else { return true };
            finding.evidence.sort_by_key(|evidence| evidence.time_us);
            let property = invariant.property();
            violations.push(Violation {
                property: property.name.to_owned(),
                source: property.source.to_owned(),
                message: finding.message,
                evidence: finding.evidence,
                explanation: None,
            });
            false
        });
        cluster.absorb(event);
    }
    violations
}

/// Messages and faults are most of a trace, and no invariant looks at them.
fn concerns_nodes(kind: &TraceKind) -> bool {
    !matches!(
        kind,
        TraceKind::Sent { .. }
            | TraceKind::Delivered { .. }
            | TraceKind::Dropped { .. }
            | TraceKind::Fault { .. }
            | TraceKind::SnapshotBuilt { .. }
    )
}

/// A position in words.
pub(crate) fn entry_name(position: Position) -> String {
    format!("entry {} of term {}", position.index, position.term)
}
