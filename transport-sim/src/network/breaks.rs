//! What ends streams before their time: breaks, cuts that last, closed endpoints.
//!
//! A break happens at one instant, at which each direction keeps a drawn prefix of what is on its
//! way or unread and loses the rest. The ends do not know yet: each is told after a lag of its
//! own, and until then what it sends goes nowhere. An end whose link is cut hears nothing and
//! finds out at the idle timeout; the peer of an endpoint that closed finds out at a drawn time
//! before it, as from a reset, or by silence.

use aspen_core::NodeId;

use super::draws::{Draw, Draws};
use super::link::LinkId;
use super::passage::{DropReason, Fate, PassageKind};
use super::pipes::item_letter;
use super::state::{Event, Letter, NO_FRAME, State};
use super::stream::{Ending, Item, Side, Stream, StreamEvent};

impl State {
    /// Breaks a stream now; `dead` is the end that will never be told anything again.
    pub(super) fn sever(
        &mut self,
        now_us: u64,
        stream: u64,
        reason: &'static str,
        dead: Option<Side>,
    ) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let over = open.pipes.iter().all(|pipe| pipe.ending.is_some());
        if over || open.severed.is_some() {
            return;
        }
        open.severed = Some(reason);
        self.counters.streams_broken += 1;
        for side in Side::BOTH {
            self.sever_direction(now_us, stream, side, dead);
        }
    }

    /// Loses a suffix of the pipe towards `side`, and plans when that end is told.
    fn sever_direction(&mut self, now_us: u64, stream: u64, side: Side, dead: Option<Side>) {
        let Some(open) = self.streams.get(&stream) else { return };
        let (link_id, lane) = (open.link_to(side), open.lane);
        let draws = self.link(link_id).draws(lane, now_us);
        let lag_us = self.lag_us(link_id, &draws, dead == Some(side.other()));
        self.lose_suffix(now_us, stream, side, draws.kept);
        let Some(open) = self.streams.get_mut(&stream) else { return };
        // After the last frame that is kept, or the news would overtake what is kept.
        let at_us = (open.pipe(side).last_us() + 1).max(now_us + lag_us);
        self.plan(at_us, Event::Stream(StreamEvent::Told { stream, side }));
    }

    /// How long an end takes to notice a break, when `link` is what it hears its peer on.
    fn lag_us(&mut self, link: LinkId, draws: &Draws, peer_is_dead: bool) -> u64 {
        let link = self.link(link);
        let idle_us = u64::from(link.law.idle_timeout_us);
        let fare = link.law.reliable(draws);
        if link.cut {
            idle_us
        } else if peer_is_dead {
            draws.copy_delay.within(fare.delay_us, idle_us)
        } else {
            fare.delay_us
        }
    }

    /// Keeps a drawn prefix of what is unread and on its way towards `side`.
    fn lose_suffix(&mut self, now_us: u64, stream: u64, side: Side, kept: Draw) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let pipe = open.pipe(side);
        if pipe.ending.is_some() {
            // All of it has arrived; a break of the rest takes nothing back.
            return;
        }
        let arrived = pipe.arrived.len();
        let kept = kept.within(0, (arrived + pipe.travelling.len()) as u64) as usize;
        pipe.arrived.truncate(kept);
        self.keep_travelling(now_us, stream, side, kept.saturating_sub(arrived));
    }

    /// Keeps a drawn prefix of what is on its way towards `side`, as a reset does.
    pub(super) fn lose_travelling(&mut self, now_us: u64, stream: u64, side: Side, kept: Draw) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let kept = kept.within(0, open.pipe(side).travelling.len() as u64) as usize;
        self.keep_travelling(now_us, stream, side, kept);
    }

    fn keep_travelling(&mut self, now_us: u64, stream: u64, side: Side, kept: usize) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let (link, lane) = (open.link_to(side), open.lane);
        let pipe = open.pipe(side);
        let lost: Vec<(u64, Item)> = pipe.travelling.drain(kept..).collect();
        pipe.lost += lost.len();
        for (_, item) in &lost {
            let letter = item_letter(link, lane, stream, item);
            self.note(now_us, letter, Fate::Dropped(DropReason::Broken));
        }
    }

    /// The end at `side` learns that the stream is broken.
    pub(super) fn tell(&mut self, now_us: u64, stream: u64, side: Side) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let Some(reason) = open.severed else { return };
        let end = &mut open.ends[side as usize];
        if std::mem::replace(&mut end.told, true) {
            return;
        }
        let (link, lane) = (open.link_to(side), open.lane);
        self.keep_travelling(now_us, stream, side, 0);
        if let Some(open) = self.streams.get_mut(&stream) {
            open.pipe(side).end(Ending::Broken(reason));
            open.pipe(side.other()).refuse(reason);
        }
        let letter =
            Letter { link, lane, exchange: stream, kind: PassageKind::Break, frame: &NO_FRAME };
        self.show(now_us, letter, Fate::Delivered);
    }

    /// The streams and their ends that hear their peer on this link.
    fn ends_that_hear(&self, link: LinkId) -> Vec<(u64, Side)> {
        let hears = |(number, stream): (&u64, &Stream)| {
            let number = *number;
            Side::BOTH
                .into_iter()
                .filter(|side| stream.link_to(*side) == link)
                .map(move |side| (number, side))
                .collect::<Vec<_>>()
        };
        self.streams.iter().flat_map(hears).collect()
    }

    /// Cuts a link. What stays cut for the idle timeout breaks its streams.
    pub(super) fn cut(&mut self, now_us: u64, id: LinkId) {
        let link = self.link(id);
        if std::mem::replace(&mut link.cut, true) {
            return;
        }
        link.cuts += 1;
        let (cuts, idle_us) = (link.cuts, u64::from(link.law.idle_timeout_us));
        self.plan(now_us + idle_us, Event::IdleCheck { link: id, cuts });
    }

    /// Heals a cut link: what waited for it is sent again.
    pub(super) fn heal(&mut self, now_us: u64, id: LinkId) {
        if !std::mem::replace(&mut self.link(id).cut, false) {
            return;
        }
        for (stream, side) in self.ends_that_hear(id) {
            let Some(open) = self.streams.get_mut(&stream) else { continue };
            if !std::mem::replace(&mut open.pipe(side).blocked, false) {
                continue;
            }
            open.pipe(side).planned = true;
            let lane = open.lane;
            let link = self.link(id);
            let draws = link.draws(lane, now_us);
            let again_us = link.law.retransmit_us() + link.law.reliable(&draws).delay_us;
            let head = StreamEvent::Head { stream, side };
            self.plan(now_us + again_us, Event::Stream(head));
        }
    }

    /// Breaks the streams of a link that is still in the same cut.
    pub(super) fn idle_check(&mut self, now_us: u64, id: LinkId, cuts: u64) {
        let link = self.link(id);
        if !link.cut || link.cuts != cuts {
            return;
        }
        for (stream, side) in self.ends_that_hear(id) {
            self.sever(now_us, stream, "nothing was heard for the idle timeout", None);
            self.tell(now_us, stream, side);
        }
    }

    /// Breaks every stream that `from` opened to `to`.
    pub(super) fn break_streams(&mut self, now_us: u64, (from, to): LinkId) {
        for (stream, side) in self.ends_that_hear((from, to)) {
            if side == Side::Acceptor {
                self.sever(now_us, stream, "the network broke the stream", None);
            }
        }
    }

    /// Breaks every stream of an incarnation that is gone; its own ends are deaf from now on.
    pub(super) fn break_streams_of(&mut self, now_us: u64, node: NodeId, incarnation: u64) {
        let mut dead = Vec::new();
        for (number, stream) in &self.streams {
            for side in Side::BOTH {
                let end = &stream.ends[side as usize];
                if end.node == node && end.incarnation == incarnation {
                    dead.push((*number, side));
                }
            }
        }
        for (stream, side) in dead {
            self.sever(now_us, stream, "the peer is gone", Some(side));
            self.tell(now_us, stream, side);
        }
    }
}
