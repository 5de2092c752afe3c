//! Streams as their ends use them: opening, sending, reading, letting go.
//!
//! Opening takes a round trip, so that a peer that is not there is known before anything is sent.
//! A lost packet is sent again and shows as delay, also of what follows it. The window is counted
//! in frames that are on their way or unread; reading one makes room at once, as if the news of
//! it took no time.

use std::sync::Arc;
use std::task::{Poll, Waker};

use aspen_core::NodeId;
use aspen_core::transport::{Lane, TransportError};
use bytes::Bytes;

use super::answer::Answer;
use super::calls::nobody_listens;
use super::endpoint::Incoming;
use super::passage::{DropReason, Fate, PassageKind};
use super::state::{Event, Letter, NO_FRAME, State, Work};
use super::stream::{Item, Opening, Side, Stream, StreamEvent, broken};

/// A stream that fell out of the table has broken long ago.
const FORGOTTEN: &str = "the stream is over";

impl Opening {
    fn letter(&self, kind: PassageKind) -> Letter<'_> {
        let link =
            if kind == PassageKind::Open { (self.from, self.to) } else { (self.to, self.from) };
        Letter { link, lane: self.lane, exchange: self.number, kind, frame: &NO_FRAME }
    }
}

impl State {
    /// Sends an opening; the answer's place is in what is returned.
    pub(super) fn begin_opening(
        &mut self,
        now_us: u64,
        (from, from_incarnation): (NodeId, u64),
        to: NodeId,
        lane: Lane,
    ) -> Arc<Opening> {
        let number = self.new_number();
        let answer = Answer::new();
        let opening = Arc::new(Opening { number, from, from_incarnation, to, lane, answer });
        let arrives = StreamEvent::Open(Arc::clone(&opening));
        self.send_packet(now_us, opening.letter(PassageKind::Open), arrives);
        let patience_us = u64::from(self.link((from, to)).law.idle_timeout_us);
        let expires = Event::Stream(StreamEvent::OpenExpired(Arc::clone(&opening)));
        self.plan(now_us + patience_us, expires);
        opening
    }

    /// Sends what is sent again when it is lost.
    fn send_packet(&mut self, now_us: u64, letter: Letter<'_>, arrives: StreamEvent) {
        let link = self.link(letter.link);
        let (draws, law) = (link.draws(letter.lane, now_us), link.law);
        let fare = law.reliable(&draws);
        self.note(now_us, letter, Fate::Sent);
        self.count_fare(fare);
        self.plan(now_us + fare.delay_us, Event::Stream(arrives));
    }

    pub(super) fn stream_event(&mut self, now_us: u64, event: StreamEvent) -> Option<Work> {
        match event {
            StreamEvent::Open(opening) => return self.open_arrives(now_us, &opening),
            StreamEvent::Opened(opening, result) => self.opened_arrives(now_us, &opening, result),
            StreamEvent::OpenExpired(opening) => self.open_expires(now_us, &opening),
            StreamEvent::Head { stream, side } => self.head_is_due(now_us, stream, side),
            StreamEvent::Told { stream, side } => self.tell(now_us, stream, side),
            StreamEvent::Stopped { stream, side } => self.stopped(now_us, stream, side),
        }
        None
    }

    fn open_arrives(&mut self, now_us: u64, opening: &Arc<Opening>) -> Option<Work> {
        let letter = opening.letter(PassageKind::Open);
        let link = self.link(letter.link);
        let (cut, window_frames) = (link.cut, link.law.window_frames);
        if cut || !opening.answer.is_awaited() {
            let reason = if cut { DropReason::Cut } else { DropReason::Unwanted };
            self.note(now_us, letter, Fate::Dropped(reason));
            return None;
        }
        let listener = self.endpoints.get(&opening.to);
        let listener = listener.and_then(|it| Some((it.incarnation, it.acceptor.clone()?)));
        let Some((incarnation, acceptor)) = listener else {
            self.note(now_us, letter, Fate::Dropped(DropReason::NoEndpoint));
            self.answer_opening(now_us, opening, Err(nobody_listens(opening.to)));
            return None;
        };
        self.note(now_us, letter, Fate::Delivered);
        self.counters.streams_opened += 1;
        self.streams.insert(opening.number, Stream::new(opening, incarnation, window_frames));
        self.answer_opening(now_us, opening, Ok(()));
        let incoming = Incoming::Stream { stream: opening.number, lane: opening.lane };
        Some(Work { acceptor, incoming })
    }

    fn answer_opening(
        &mut self,
        now_us: u64,
        opening: &Arc<Opening>,
        result: Result<(), TransportError>,
    ) {
        let arrives = StreamEvent::Opened(Arc::clone(opening), result);
        self.send_packet(now_us, opening.letter(PassageKind::Opened), arrives);
    }

    fn opened_arrives(
        &mut self,
        now_us: u64,
        opening: &Opening,
        result: Result<(), TransportError>,
    ) {
        let letter = opening.letter(PassageKind::Opened);
        let fate = if self.link(letter.link).cut {
            Fate::Dropped(DropReason::Cut)
        } else if !self.is_open(opening.from, opening.from_incarnation) {
            Fate::Dropped(DropReason::NoEndpoint)
        } else if opening.answer.give(result) {
            Fate::Delivered
        } else {
            Fate::Dropped(DropReason::Unwanted)
        };
        self.note(now_us, letter, fate);
    }

    fn open_expires(&mut self, now_us: u64, opening: &Opening) {
        let reason = "no answer within the idle timeout".to_owned();
        if opening.answer.give(Err(TransportError::Unreachable { to: opening.to, reason })) {
            self.give_up_opening(now_us, opening.number);
        }
    }

    /// The opener will never hold its halves; what the acceptor may hold breaks.
    pub(super) fn give_up_opening(&mut self, now_us: u64, stream: u64) {
        let Some(opened) = self.streams.get(&stream) else { return };
        if opened.ends[Side::Opener as usize].halves == 0 {
            return;
        }
        self.sever(now_us, stream, "the opener gave up", None);
        self.tell(now_us, stream, Side::Opener);
        self.let_go(stream, Side::Opener, 2);
    }

    /// Sends the frame, which is taken, once the window has room.
    pub(super) fn poll_send(
        &mut self,
        now_us: u64,
        stream: u64,
        side: Side,
        frame: &mut Option<Bytes>,
        waker: &Waker,
    ) -> Poll<Result<(), TransportError>> {
        let Some(open) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Err(broken(FORGOTTEN)));
        };
        let window_frames = open.window_frames;
        let room = open.pipe(side.other()).poll_room(window_frames, waker);
        if let Poll::Ready(Ok(())) = room {
            let frame = frame.take().expect("a send future is not polled after it is ready");
            self.send_item(now_us, stream, side.other(), Item::Frame(frame));
        }
        room
    }

    /// Ends the direction from `side` after what was sent.
    pub(super) fn finish(
        &mut self,
        now_us: u64,
        stream: u64,
        side: Side,
    ) -> Result<(), TransportError> {
        let Some(open) = self.streams.get_mut(&stream) else { return Err(broken(FORGOTTEN)) };
        if let Some(reason) = open.pipe(side.other()).refusing {
            return Err(broken(reason));
        }
        self.send_item(now_us, stream, side.other(), Item::Finish);
        Ok(())
    }

    pub(super) fn poll_receive(
        &mut self,
        stream: u64,
        side: Side,
        waker: &Waker,
    ) -> Poll<Result<Option<Bytes>, TransportError>> {
        match self.streams.get_mut(&stream) {
            Some(open) => open.pipe(side).poll_frame(waker),
            None => Poll::Ready(Err(broken(FORGOTTEN))),
        }
    }

    /// The sending half at `side` was dropped; without a finish that resets its direction.
    pub(super) fn release_sender(&mut self, now_us: u64, stream: u64, side: Side, finished: bool) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        if !finished && open.pipe(side.other()).refusing.is_none() {
            self.send_item(now_us, stream, side.other(), Item::Reset);
        }
        self.let_go(stream, side, 1);
    }

    /// The receiving half at `side` was dropped; the peer's sender is told to stop.
    pub(super) fn release_receiver(&mut self, now_us: u64, stream: u64, side: Side) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let pipe = open.pipe(side);
        pipe.unread = true;
        pipe.arrived.clear();
        if pipe.ending.is_none() && open.severed.is_none() {
            let (back, lane) = (open.link_to(side.other()), open.lane);
            let link = self.link(back);
            let (draws, law) = (link.draws(lane, now_us), link.law);
            let at_us = now_us + law.reliable(&draws).delay_us;
            let stopped = StreamEvent::Stopped { stream, side: side.other() };
            self.plan(at_us, Event::Stream(stopped));
        }
        self.let_go(stream, side, 1);
    }

    fn stopped(&mut self, now_us: u64, stream: u64, side: Side) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        if open.severed.is_some() {
            return;
        }
        let back = open.link_to(side);
        let link = self.link(back);
        if link.cut {
            // Said again until the link heals, or the idle timeout breaks the stream.
            let again_us = link.law.retransmit_us().max(u64::from(link.law.idle_timeout_us) / 16);
            let stopped = StreamEvent::Stopped { stream, side };
            return self.plan(now_us + again_us, Event::Stream(stopped));
        }
        if let Some(open) = self.streams.get_mut(&stream) {
            open.pipe(side.other()).refuse("the peer reads no more");
        }
    }

    /// Forgets a stream once nobody holds a half of it.
    fn let_go(&mut self, stream: u64, side: Side, halves: u8) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let end = &mut open.ends[side as usize];
        end.halves = end.halves.saturating_sub(halves);
        if open.ends.iter().all(|end| end.halves == 0) {
            self.streams.remove(&stream);
        }
    }
}
