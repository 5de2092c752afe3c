//! How items move through a stream's pipes: sent, late, blocked, arrived.
//!
//! One event at a time is planned for each pipe, for its head. When it comes, everything that is
//! due arrives; if the link is cut or stalled, nothing does, and the pipe waits for the heal or
//! for the stall's end.

use aspen_core::transport::Lane;

use super::link::LinkId;
use super::passage::{DropReason, Fate};
use super::state::{Event, Letter, State};
use super::stream::{Ending, Item, Side, StreamEvent};

impl State {
    /// Puts one item into the pipe towards `side`.
    pub(super) fn send_item(&mut self, now_us: u64, stream: u64, side: Side, item: Item) {
        let Some(open) = self.streams.get(&stream) else { return };
        let (link_id, lane, severed) = (open.link_to(side), open.lane, open.severed.is_some());
        let letter = item_letter(link_id, lane, stream, &item);
        self.note(now_us, letter, Fate::Sent);
        if severed {
            if let Some(open) = self.streams.get_mut(&stream) {
                open.pipe(side).lost += 1;
            }
            return self.note(now_us, letter, Fate::Dropped(DropReason::Broken));
        }
        let link = self.link(link_id);
        let (draws, law) = (link.draws(lane, now_us), link.law);
        let fare = law.reliable(&draws);
        self.count_fare(fare);
        if matches!(item, Item::Reset) {
            self.lose_travelling(now_us, stream, side, draws.kept);
        }
        let breaks = matches!(item, Item::Frame(_)) && draws.breaks.happens(law.break_ppm);
        if let Some(open) = self.streams.get_mut(&stream) {
            let pipe = open.pipe(side);
            let at_us = pipe.last_us().max(now_us + fare.delay_us);
            pipe.travelling.push_back((at_us, item));
            self.plan_head(stream, side);
        }
        if breaks {
            self.sever(now_us, stream, "the link broke the stream", None);
        }
    }

    /// Plans the event for a pipe's head, unless one is planned or the pipe is blocked.
    fn plan_head(&mut self, stream: u64, side: Side) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let pipe = open.pipe(side);
        if pipe.planned || pipe.blocked {
            return;
        }
        if let Some((at_us, _)) = pipe.travelling.front() {
            let at_us = *at_us;
            pipe.planned = true;
            self.plan(at_us, Event::Stream(StreamEvent::Head { stream, side }));
        }
    }

    /// Lets everything arrive that is due, unless the link is cut or stalled.
    pub(super) fn head_is_due(&mut self, now_us: u64, stream: u64, side: Side) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        open.pipe(side).planned = false;
        let (link_id, lane) = (open.link_to(side), open.lane);
        let link = self.link(link_id);
        let (cut, stalled_until_us) = (link.cut, link.lane(lane).stalled_until_us);
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let pipe = open.pipe(side);
        if pipe.travelling.is_empty() {
            return;
        }
        if cut {
            pipe.blocked = true;
            self.counters.streams_stalled += 1;
            return;
        }
        if stalled_until_us > now_us {
            pipe.planned = true;
            self.counters.streams_stalled += 1;
            let head = StreamEvent::Head { stream, side };
            return self.plan(stalled_until_us, Event::Stream(head));
        }
        while let Some(item) = self.take_arrival(now_us, stream, side) {
            self.item_arrives(now_us, stream, side, item);
        }
        self.plan_head(stream, side);
    }

    fn take_arrival(&mut self, now_us: u64, stream: u64, side: Side) -> Option<Item> {
        let travelling = &mut self.streams.get_mut(&stream)?.pipe(side).travelling;
        if travelling.front()?.0 > now_us {
            return None;
        }
        travelling.pop_front().map(|(_, item)| item)
    }

    fn item_arrives(&mut self, now_us: u64, stream: u64, side: Side, item: Item) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let (link, lane) = (open.link_to(side), open.lane);
        let pipe = open.pipe(side);
        let mut fate = Fate::Delivered;
        match &item {
            Item::Frame(_) if pipe.unread => fate = Fate::Dropped(DropReason::Unwanted),
            Item::Frame(frame) => pipe.receive(frame.clone()),
            Item::Finish => pipe.end(Ending::Finished),
            Item::Reset => pipe.end(Ending::Broken("the peer reset the stream")),
        }
        self.note(now_us, item_letter(link, lane, stream, &item), fate);
    }
}

/// An item of a stream, as its passage is recorded.
pub(super) fn item_letter(link: LinkId, lane: Lane, stream: u64, item: &Item) -> Letter<'_> {
    Letter { link, lane, exchange: stream, kind: item.kind(), frame: item.frame() }
}
