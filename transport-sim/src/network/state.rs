//! The network's state behind its one lock, and what every part of it needs: the queue of events,
//! links, endpoints, and the record of passages.
//!
//! Nothing of a user runs under the lock but the [`Observer`]. What an event hands to an endpoint
//! leaves as [`Work`], and is done after the lock is free.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::task::Waker;

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use bytes::Bytes;

use super::calls::CallEvent;
use super::endpoint::{Acceptor, Incoming};
use super::law::{Fare, LinkLaw};
use super::link::{Link, LinkId};
use super::passage::{Counters, DropReason, Fate, Observer, Passage, PassageKind};
use super::stream::{Stream, StreamEvent};

/// What is due at some time.
pub(super) enum Event {
    Call(CallEvent),
    Stream(StreamEvent),
    /// A link was cut an idle timeout ago; `cuts` says which cut is meant.
    IdleCheck {
        link: LinkId,
        cuts: u64,
    },
}

/// An event with its time; the sequence number orders those of one microsecond.
struct Due {
    at_us: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.sequence).cmp(&(other.at_us, other.sequence))
    }
}

/// What an event hands to an endpoint.
pub(super) struct Work {
    pub(super) acceptor: Acceptor,
    pub(super) incoming: Incoming,
}

/// One incarnation of a node, as the network sees it.
pub(super) struct Endpoint {
    pub(super) incarnation: u64,
    /// Present while the endpoint serves.
    pub(super) acceptor: Option<Acceptor>,
    /// Wakes the serving future when the endpoint closes.
    pub(super) server: Option<Waker>,
}

/// A message, as far as its passage is recorded.
#[derive(Clone, Copy)]
pub(super) struct Letter<'a> {
    pub(super) link: LinkId,
    pub(super) lane: Lane,
    pub(super) exchange: u64,
    pub(super) kind: PassageKind,
    pub(super) frame: &'a Bytes,
}

/// What a message without a frame carries.
pub(super) static NO_FRAME: Bytes = Bytes::new();

pub(super) struct State {
    seed: u64,
    pub(super) default_law: LinkLaw,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) endpoints: BTreeMap<NodeId, Endpoint>,
    pub(super) streams: BTreeMap<u64, Stream>,
    pub(super) counters: Counters,
    pub(super) observer: Option<Arc<dyn Observer>>,
    queue: BinaryHeap<Reverse<Due>>,
    next_sequence: u64,
    next_number: u64,
    /// Times at which a timer of the router will fire.
    pub(super) timers: BTreeSet<u64>,
    /// The router, unless it is at work and will look at the queue anyway.
    pub(super) router: Option<Waker>,
}

impl State {
    pub(super) fn new(seed: u64, default_law: LinkLaw) -> Self {
        Self {
            seed,
            default_law,
            links: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            streams: BTreeMap::new(),
            counters: Counters::default(),
            observer: None,
            queue: BinaryHeap::new(),
            next_sequence: 0,
            next_number: 1,
            timers: BTreeSet::new(),
            router: None,
        }
    }

    /// Plans an event, and wakes the router if it would come too late.
    pub(super) fn plan(&mut self, at_us: u64, event: Event) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.queue.push(Reverse(Due { at_us, sequence, event }));
        if self.timers.first().is_none_or(|first| at_us < *first)
            && let Some(router) = self.router.take()
        {
            router.wake();
        }
    }

    /// Takes the next event that is due at `now_us`.
    pub(super) fn take_due(&mut self, now_us: u64) -> Option<Event> {
        if self.next_due_us()? > now_us {
            return None;
        }
        self.queue.pop().map(|Reverse(due)| due.event)
    }

    /// When the next event is due.
    pub(super) fn next_due_us(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(due)| due.at_us)
    }

    /// Carries one event out.
    pub(super) fn carry_out(&mut self, now_us: u64, event: Event) -> Option<Work> {
        match event {
            Event::Call(event) => self.call_event(now_us, event),
            Event::Stream(event) => self.stream_event(now_us, event),
            Event::IdleCheck { link, cuts } => {
                self.idle_check(now_us, link, cuts);
                None
            }
        }
    }

    /// A number that is new in this run: of a call, a stream or an incarnation.
    pub(super) fn new_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// A link, made with the default law when it is first named.
    pub(super) fn link(&mut self, id: LinkId) -> &mut Link {
        let (seed, law) = (self.seed, self.default_law);
        self.links.entry(id).or_insert_with(|| Link::new(seed, id, law))
    }

    /// Whether this incarnation is the one that is there.
    pub(super) fn is_open(&self, node: NodeId, incarnation: u64) -> bool {
        self.endpoints.get(&node).is_some_and(|endpoint| endpoint.incarnation == incarnation)
    }

    /// Counts a moment of a message and shows it to the observer.
    pub(super) fn note(&mut self, now_us: u64, letter: Letter<'_>, fate: Fate) {
        match fate {
            Fate::Sent => self.counters.sent += 1,
            Fate::Delivered => self.counters.delivered += 1,
            Fate::Dropped(DropReason::Lost) => self.counters.lost += 1,
            Fate::Dropped(DropReason::Cut) => self.counters.cut += 1,
            Fate::Dropped(DropReason::NoEndpoint) => self.counters.no_endpoint += 1,
            Fate::Dropped(DropReason::Unwanted | DropReason::Broken) => {}
        }
        self.show(now_us, letter, fate);
    }

    /// Shows a moment to the observer without counting it.
    pub(super) fn show(&self, now_us: u64, letter: Letter<'_>, fate: Fate) {
        let Some(observer) = &self.observer else { return };
        let (from, to) = letter.link;
        observer.passage(&Passage {
            time_us: now_us,
            from,
            to,
            lane: letter.lane,
            exchange: letter.exchange,
            kind: letter.kind,
            frame: letter.frame,
            fate,
        });
    }

    /// Counts what held a message up.
    pub(super) fn count_fare(&mut self, fare: Fare) {
        self.counters.spiked += u64::from(fare.spiked);
        self.counters.retransmitted += u64::from(fare.retransmissions);
    }
}
