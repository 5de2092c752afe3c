//! The recorder: history, trace, counters and the running digest of one run.
//!
//! Everything that happens passes through here in the one order in which it happens. The digest
//! covers messages byte for byte, the trace and the history, so that two runs with the same digest
//! did the same. Messages are kept as frames and put into words only when an artifact needs them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aspen_check::history::{self, Process};
use aspen_core::NodeId;
use aspen_transport_sim::network::{Fate, Observer, Passage, PassageKind};
use bytes::Bytes;
use serde::Serialize;

use super::control::Control;
use crate::coverage::Coverage;
use crate::trace::{TraceEvent, TraceKind};

/// A message on its way, as the network showed it.
#[derive(Clone, Debug)]
pub struct MessageMark {
    /// Its place among trace events: how many were recorded before it.
    pub after_events: usize,
    /// When, in microseconds of virtual time.
    pub time_us: u64,
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The lane.
    pub lane: aspen_core::transport::Lane,
    /// What part of which exchange.
    pub kind: PassageKind,
    /// What became of it.
    pub fate: Fate,
    /// Its bytes.
    pub frame: Bytes,
}

/// What one run leaves behind.
#[derive(Debug, Default)]
pub struct Recording {
    /// What happened inside, without messages.
    pub trace: Vec<TraceEvent>,
    /// The messages.
    pub messages: Vec<MessageMark>,
    /// What clients saw.
    pub history: Vec<history::Event>,
    /// What the run exercised.
    pub coverage: Coverage,
    /// The digest over all of it.
    pub digest: String,
}

/// A handle to the recording in progress. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Recorder {
    state: Arc<Mutex<State>>,
    control: Arc<Control>,
}

struct State {
    recording: Recording,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    /// The leader of the highest term seen.
    leader: Option<(u64, NodeId)>,
    /// The highest index that a node took as committed.
    committed: u64,
    incarnations: BTreeMap<NodeId, u32>,
}

impl Recorder {
    /// An empty recording.
    pub fn new(control: Arc<Control>) -> Self {
        let state = State {
            recording: Recording::default(),
            hasher: blake3::Hasher::new(),
            buffer: Vec::new(),
            leader: None,
            committed: 0,
            incarnations: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), control }
    }

    /// How the run is watched and ended from outside.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Records one event of a node's life.
    pub fn event(&self, node: NodeId, incarnation: u32, kind: TraceKind) {
        self.control.check();
        let time_us = now_us();
        let mut state = self.lock();
        state.notice(node, &kind);
        let event = TraceEvent { time_us, node, incarnation, kind };
        // By parts: the flattened whole has no length that postcard could write.
        state.digest(b't', &(time_us, node, incarnation, &event.kind));
        state.recording.trace.push(event);
    }

    /// Records what the nemesis did to a node in its present life.
    pub fn fault(&self, node: NodeId, name: &str, action: String) {
        let incarnation = self.lock().incarnations.get(&node).copied().unwrap_or(0);
        self.event(node, incarnation, TraceKind::Fault { action });
        *self.lock().recording.coverage.faults.entry(name.to_owned()).or_default() += 1;
    }

    /// Records one line of the history.
    pub fn history(&self, process: Process, kind: history::EventKind) {
        self.control.check();
        let event = history::Event { time_us: now_us(), process, kind };
        let mut state = self.lock();
        state.digest(b'h', &(event.time_us, process, &event.kind));
        state.recording.history.push(event);
    }

    /// Adds something to the digest that stands nowhere else, such as the final state.
    pub fn seal(&self, what: &impl Serialize) {
        self.lock().digest(b's', what);
    }

    /// Changes the counters.
    pub fn count(&self, change: impl FnOnce(&mut Coverage)) {
        change(&mut self.lock().recording.coverage);
    }

    /// The leader of the highest term seen so far.
    pub fn leader(&self) -> Option<NodeId> {
        self.lock().leader.map(|(_term, node)| node)
    }

    /// Ends the recording and hands it over; what is recorded afterwards is lost.
    pub fn finish(&self) -> Recording {
        let mut state = self.lock();
        let mut recording = std::mem::take(&mut state.recording);
        recording.coverage.virtual_us = self.control.virtual_us();
        recording.digest = state.hasher.finalize().to_hex()[..32].to_owned();
        recording
    }

    /// A panic elsewhere leaves the recording as it was: every change is made in one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn digest(&mut self, tag: u8, what: &impl Serialize) {
        self.buffer.clear();
        self.buffer.push(tag);
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = postcard::to_extend(what, buffer).expect("events are plain data");
        self.hasher.update(&self.buffer);
    }

    /// Keeps count of what an event means for the run.
    fn notice(&mut self, node: NodeId, kind: &TraceKind) {
        let coverage = &mut self.recording.coverage;
        match kind {
            TraceKind::Started { recovered } => {
                let life = self.incarnations.entry(node).or_default();
                *life += 1;
                if *life > 1 {
                    coverage.restarts += 1;
                    coverage.recoveries += u64::from(recovered.repaired);
                }
            }
            TraceKind::VoteSaved { vote } if vote.committed && vote.voted_for == node => {
                let newer = self.leader.is_none_or(|(term, _)| vote.term > term);
                if newer {
                    coverage.elections += 1;
                    let before = self.leader.map(|(_, node)| node);
                    coverage.leader_changes += u64::from(before.is_some_and(|id| id != node));
                    self.leader = Some((vote.term, node));
                }
            }
            TraceKind::Committed { position } => {
                coverage.entries_committed += position.index.saturating_sub(self.committed);
                self.committed = self.committed.max(position.index);
            }
            TraceKind::SnapshotBuilt { .. } => coverage.snapshots_built += 1,
            TraceKind::SnapshotInstalled { .. } => coverage.snapshots_installed += 1,
            TraceKind::Applied { .. } => coverage.entries_applied += 1,
            TraceKind::Truncated { .. } => coverage.truncations += 1,
            TraceKind::VoteSaved { .. }
            | TraceKind::Stopped { .. }
            | TraceKind::Appended { .. }
            | TraceKind::Flushed { .. }
            | TraceKind::Purged { .. }
            | TraceKind::Sent { .. }
            | TraceKind::Delivered { .. }
            | TraceKind::Dropped { .. }
            | TraceKind::Fault { .. } => {}
        }
    }
}

impl Observer for Recorder {
    fn passage(&self, passage: &Passage<'_>) {
        self.control.check();
        let mut state = self.lock();
        let header = (
            passage.time_us,
            passage.from,
            passage.to,
            passage.lane as u8,
            passage.kind as u8,
            fate_code(passage.fate),
        );
        state.digest(b'm', &header);
        state.hasher.update(passage.frame);
        let coverage = &mut state.recording.coverage;
        coverage.messages_sent += u64::from(passage.fate == Fate::Sent);
        coverage.messages_delivered += u64::from(passage.fate == Fate::Delivered);
        let mark = MessageMark {
            after_events: state.recording.trace.len(),
            time_us: passage.time_us,
            from: passage.from,
            to: passage.to,
            lane: passage.lane,
            kind: passage.kind,
            fate: passage.fate,
            frame: passage.frame.clone(),
        };
        state.recording.messages.push(mark);
    }
}

/// A number for each fate, for the digest.
fn fate_code(fate: Fate) -> u8 {
    match fate {
        Fate::Sent => 0,
        Fate::Delivered => 1,
        Fate::Dropped(reason) => 2 + reason as u8,
    }
}

/// Virtual time since the run began, in microseconds.
pub(super) fn now_us() -> u64 {
    madsim::time::TimeHandle::current().elapsed().as_micros() as u64
}
