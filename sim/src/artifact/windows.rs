//! The trace of an artifact: all of it, or the windows of it that matter.
//!
//! Up to [`TRACE_EVENTS_MAX`] events are kept whole. A longer trace keeps its beginning, its end,
//! and what happened around the evidence of each violation. Messages are put into words here.

use aspen_transport_sim::network::Fate;
use serde::{Deserialize, Serialize};

use crate::run::{MessageMark, Recording};
use crate::sut;
use crate::trace::{TraceEvent, TraceKind};
use crate::verdict::Verdict;

/// Most events that a trace keeps whole.
pub const TRACE_EVENTS_MAX: usize = 12_000;
const HEAD: usize = 1_500;
const TAIL: usize = 3_000;
/// Events kept on each side of a piece of evidence.
const AROUND: usize = 400;
const EVIDENCE_MAX: usize = 8;

/// A trace with gaps, if it was long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowedTrace {
    /// Events that happened.
    pub total: u64,
    /// Events that are here.
    pub kept: u64,
    /// Whether some are missing.
    pub truncated: bool,
    /// The events that are here, in runs without gaps.
    pub windows: Vec<TraceWindow>,
}

/// Events without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceWindow {
    /// How many events happened before these.
    pub first: u64,
    /// The events.
    pub events: Vec<TraceEvent>,
}

impl WindowedTrace {
    /// Cuts a recording down to what an artifact keeps.
    pub fn new(recording: &Recording, verdict: &Verdict) -> Self {
        let merged = merge(recording);
        let ranges = if merged.len() <= TRACE_EVENTS_MAX {
            std::iter::once(0..merged.len()).collect()
        } else {
            ranges(&merged, verdict)
        };
        let windows: Vec<TraceWindow> = ranges
            .into_iter()
            .map(|range| TraceWindow {
                first: range.start as u64,
                events: merged[range].iter().map(|item| item.event()).collect(),
            })
            .collect();
        let kept = windows.iter().map(|window| window.events.len()).sum::<usize>();
        Self {
            total: merged.len() as u64,
            kept: kept as u64,
            truncated: kept < merged.len(),
            windows,
        }
    }
}

/// One thing that happened, not yet in words.
enum Item<'r> {
    Event(&'r TraceEvent),
    Message(&'r MessageMark),
}

impl Item<'_> {
    fn time_us(&self) -> u64 {
        match self {
            Item::Event(event) => event.time_us,
            Item::Message(message) => message.time_us,
        }
    }

    fn event(&self) -> TraceEvent {
        match self {
            Item::Event(event) => (*event).clone(),
            Item::Message(message) => message_event(message),
        }
    }
}

fn message_event(mark: &MessageMark) -> TraceEvent {
    let words = sut::describe(&mark.frame);
    let part = format!("{:?}", mark.kind).to_lowercase();
    let message = if words.is_empty() { part } else { format!("{part}: {words}") };
    let (to, lane) = (mark.to, mark.lane);
    let kind = match mark.fate {
        Fate::Sent => TraceKind::Sent { to, lane, message },
        Fate::Delivered => TraceKind::Delivered { to, lane, message },
        Fate::Dropped(why) => {
            let message = format!("{message} ({})", format!("{why:?}").to_lowercase());
            TraceKind::Dropped { to, lane, message }
        }
    };
    TraceEvent { time_us: mark.time_us, node: mark.from, incarnation: 0, kind }
}

/// Events and messages in the order in which they happened.
fn merge(recording: &Recording) -> Vec<Item<'_>> {
    let mut merged = Vec::with_capacity(recording.trace.len() + recording.messages.len());
    let mut messages = recording.messages.iter().peekable();
    for (number, event) in recording.trace.iter().enumerate() {
        while let Some(message) = messages.next_if(|message| message.after_events <= number) {
            merged.push(Item::Message(message));
        }
        merged.push(Item::Event(event));
    }
    merged.extend(messages.map(Item::Message));
    merged
}

/// What a long trace keeps, as ranges that do not touch.
fn ranges(merged: &[Item<'_>], verdict: &Verdict) -> Vec<std::ops::Range<usize>> {
    let len = merged.len();
    let mut wanted = vec![0..HEAD, len - TAIL..len];
    if let Verdict::Invalid { violations } = verdict {
        let times = violations.iter().flat_map(|violation| &violation.evidence);
        for evidence in times.take(EVIDENCE_MAX) {
            let at = merged.partition_point(|item| item.time_us() < evidence.time_us);
            wanted.push(at.saturating_sub(AROUND)..(at + AROUND).min(len));
        }
    }
    wanted.sort_by_key(|range| range.start);
    let mut joined: Vec<std::ops::Range<usize>> = Vec::new();
    for range in wanted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
