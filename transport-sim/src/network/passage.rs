//! What the network tells about itself: each passage of a message as it happens, and counts.

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PassageKind {
    /// A call's request.
    Request,
    /// A call's response; its frame is empty when the call was refused or nobody listened.
    Response,
    /// A stream is being opened.
    Open,
    /// The answer to an opening.
    Opened,
    /// A frame of a stream.
    Frame,
    /// The end of one direction of a stream.
    Finish,
    /// The end of one direction of a stream whose sender was dropped before it finished.
    Reset,
    /// An end learns that its stream is broken.
    Break,
}

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The link lost it.
    Lost,
    /// The link was cut when it entered or when it would have arrived.
    Cut,
    /// Nobody listens at the receiver.
    NoEndpoint,
    /// The receiver waits for it no longer: an earlier response came, or the waiting was dropped.
    Unwanted,
    /// Its stream broke.
    Broken,
}

/// What became of it at this moment. A message that arrives has a `Sent` and a `Delivered` (two,
/// when it was doubled); one that does not has a `Sent` and a `Dropped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It entered the network.
    Sent,
    /// It reached its receiver.
    Delivered,
    /// It was lost.
    Dropped(DropReason),
}

/// One moment of one message.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    /// Virtual time since the run began, in microseconds.
    pub time_us: u64,
    /// The message's sender.
    pub from: NodeId,
    /// Its receiver.
    pub to: NodeId,
    /// Its lane.
    pub lane: Lane,
    /// The call or stream that it belongs to; a number of the run's own, equal on every repeat.
    pub exchange: u64,
    /// What it is.
    pub kind: PassageKind,
    /// What it carries; empty for the kinds that carry nothing.
    pub frame: &'a Bytes,
    /// What became of it.
    pub fate: Fate,
}

/// Watches every passage, in order. It is called while the network is locked: it must not call
/// the network.
pub trait Observer: Send + Sync {
    /// Something happened to a message.
    fn passage(&self, passage: &Passage<'_>);
}

/// How much the network did, and how many of its faults fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Messages that entered: requests, responses, openings and their answers, frames and ends.
    pub sent: u64,
    /// Messages that arrived; the second copy of a doubled one counts, too.
    pub delivered: u64,
    /// Call messages that a link lost.
    pub lost: u64,
    /// Stream messages that a link lost and that were sent again, by retransmission.
    pub retransmitted: u64,
    /// Call messages that were doubled.
    pub doubled: u64,
    /// Call messages that arrived after a later one of the same link and lane.
    pub overtaken: u64,
    /// Messages held up by a spike.
    pub spiked: u64,
    /// Messages that a cut swallowed.
    pub cut: u64,
    /// Messages for which nobody listened.
    pub no_endpoint: u64,
    /// Streams opened.
    pub streams_opened: u64,
    /// Streams broken, whatever the cause.
    pub streams_broken: u64,
    /// Times that one direction of a stream had to wait for a cut or stalled link.
    pub streams_stalled: u64,
}
