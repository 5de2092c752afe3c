//! One stream: two pipes, each an ordered queue of frames on their way and a box of frames that
//! arrived.
//!
//! A pipe has at most one event planned, for the frame at its head; frames behind it never arrive
//! earlier, so a late frame delays those that follow. This module holds what the two ends see;
//! how breaks, cuts and closed endpoints act on a stream is [`streams`](super::streams)' business.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};

use aspen_core::NodeId;
use aspen_core::transport::{Lane, TransportError};
use bytes::Bytes;

use super::answer::Answer;
use super::link::LinkId;
use super::passage::PassageKind;
use super::state::NO_FRAME;

/// Which end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Opener = 0,
    Acceptor = 1,
}

impl Side {
    pub(super) const BOTH: [Side; 2] = [Side::Opener, Side::Acceptor];

    pub(super) fn other(self) -> Self {
        match self {
            Side::Opener => Side::Acceptor,
            Side::Acceptor => Side::Opener,
        }
    }
}

/// A stream that is being opened.
pub(super) struct Opening {
    pub(super) number: u64,
    pub(super) from: NodeId,
    pub(super) from_incarnation: u64,
    pub(super) to: NodeId,
    pub(super) lane: Lane,
    pub(super) answer: Answer<Result<(), TransportError>>,
}

/// Something happens to a stream.
pub(super) enum StreamEvent {
    /// The opening reaches the acceptor.
    Open(Arc<Opening>),
    /// The answer reaches the opener.
    Opened(Arc<Opening>, Result<(), TransportError>),
    /// The opener waits no longer.
    OpenExpired(Arc<Opening>),
    /// The head of the pipe towards `side` is due.
    Head { stream: u64, side: Side },
    /// The end at `side` learns that the stream is broken.
    Told { stream: u64, side: Side },
    /// The sender at `side` learns that its peer reads no more.
    Stopped { stream: u64, side: Side },
}

/// What travels in a pipe.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Frame(Bytes),
    Finish,
    Reset,
}

impl Item {
    pub(super) fn kind(&self) -> PassageKind {
        match self {
            Item::Frame(_) => PassageKind::Frame,
            Item::Finish => PassageKind::Finish,
            Item::Reset => PassageKind::Reset,
        }
    }

    pub(super) fn frame(&self) -> &Bytes {
        match self {
            Item::Frame(frame) => frame,
            Item::Finish | Item::Reset => &NO_FRAME,
        }
    }
}

/// What a receiver sees after the last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finished,
    Broken(&'static str),
}

/// One direction of a stream, named for the side that it leads to.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// On their way, with their times, which never decrease.
    pub(super) travelling: VecDeque<(u64, Item)>,
    /// Whether an event for the head is planned.
    pub(super) planned: bool,
    /// Whether the head waits for a cut link to heal.
    pub(super) blocked: bool,
    /// Frames that a break lost. Nobody will acknowledge them, so they fill the window until the
    /// sender is told; else it could send for ever in no time.
    pub(super) lost: usize,
    /// Arrived and unread.
    pub(super) arrived: VecDeque<Bytes>,
    /// What the receiver sees after the last frame that arrived.
    pub(super) ending: Option<Ending>,
    /// Why the sender can send no more.
    pub(super) refusing: Option<&'static str>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Whether the receiving half was dropped.
    pub(super) unread: bool,
}

/// One end of a stream.
#[derive(Debug)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    /// How many of its two halves are still held.
    pub(super) halves: u8,
    /// Whether it knows that the stream is broken.
    pub(super) told: bool,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) lane: Lane,
    pub(super) window_frames: usize,
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
    /// Why it broke, if it did; its ends may not know yet.
    pub(super) severed: Option<&'static str>,
}

impl Stream {
    pub(super) fn new(opening: &Opening, to_incarnation: u64, window_frames: u32) -> Self {
        let end = |node, incarnation| End { node, incarnation, halves: 2, told: false };
        Self {
            lane: opening.lane,
            window_frames: window_frames.max(1) as usize,
            ends: [end(opening.from, opening.from_incarnation), end(opening.to, to_incarnation)],
            pipes: Default::default(),
            severed: None,
        }
    }

    /// The link on which the pipe towards `side` travels.
    pub(super) fn link_to(&self, side: Side) -> LinkId {
        (self.ends[side.other() as usize].node, self.ends[side as usize].node)
    }

    pub(super) fn pipe(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side as usize]
    }
}

impl Pipe {
    /// Ready when one more frame may be sent.
    pub(super) fn poll_room(
        &mut self,
        window_frames: usize,
        waker: &Waker,
    ) -> Poll<Result<(), TransportError>> {
        if let Some(reason) = self.refusing {
            return Poll::Ready(Err(broken(reason)));
        }
        if self.travelling.len() + self.lost + self.arrived.len() >= window_frames {
            self.writer = Some(waker.clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame that arrived, or how the pipe ended.
    pub(super) fn poll_frame(
        &mut self,
        waker: &Waker,
    ) -> Poll<Result<Option<Bytes>, TransportError>> {
        if let Some(frame) = self.arrived.pop_front() {
            wake(&mut self.writer);
            return Poll::Ready(Ok(Some(frame)));
        }
        match self.ending {
            Some(Ending::Finished) => Poll::Ready(Ok(None)),
            Some(Ending::Broken(reason)) => Poll::Ready(Err(broken(reason))),
            None => {
                self.reader = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// A frame arrives for the reader.
    pub(super) fn receive(&mut self, frame: Bytes) {
        self.arrived.push_back(frame);
        wake(&mut self.reader);
    }

    /// When the last frame on its way arrives.
    pub(super) fn last_us(&self) -> u64 {
        self.travelling.back().map_or(0, |(at_us, _)| *at_us)
    }

    /// Ends the pipe for its receiver, unless it has ended.
    pub(super) fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
        wake(&mut self.reader);
    }

    /// Ends the pipe for its sender, unless it has ended.
    pub(super) fn refuse(&mut self, reason: &'static str) {
        self.refusing.get_or_insert(reason);
        wake(&mut self.writer);
    }
}

pub(super) fn broken(reason: &'static str) -> TransportError {
    TransportError::Broken { reason: reason.to_owned() }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
