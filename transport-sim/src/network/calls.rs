//! Calls: one request, one response, each a datagram with a fate of its own.
//!
//! A call that is lost is never answered; the caller's own timeout ends it. A doubled request is
//! handled twice, and the second response finds nobody waiting. A request to a node where nobody
//! listens is sent back as unreachable, if the way back lets it through.

use std::sync::Arc;

use aspen_core::NodeId;
use aspen_core::limits::MESSAGE_BYTES_MAX;
use aspen_core::transport::{Lane, TransportError};
use bytes::Bytes;

use super::answer::Answer;
use super::endpoint::Incoming;
use super::link::LinkId;
use super::passage::{DropReason, Fate, PassageKind};
use super::state::{Event, Letter, NO_FRAME, State, Work};

/// How a call ends.
pub(super) type Outcome = Result<Bytes, TransportError>;

/// A call under way.
pub(super) struct Call {
    number: u64,
    from: NodeId,
    from_incarnation: u64,
    to: NodeId,
    pub(super) lane: Lane,
    pub(super) request: Bytes,
    pub(super) answer: Answer<Outcome>,
}

/// A message of a call arrives. The number orders the messages of all calls by their sending.
pub(super) enum CallEvent {
    Request { call: Arc<Call>, sent: u64 },
    Response { call: Arc<Call>, sent: u64, outcome: Outcome },
}

impl Call {
    fn request_letter(&self) -> Letter<'_> {
        Letter {
            link: (self.from, self.to),
            lane: self.lane,
            exchange: self.number,
            kind: PassageKind::Request,
            frame: &self.request,
        }
    }

    fn response_letter<'a>(&self, outcome: &'a Outcome) -> Letter<'a> {
        Letter {
            link: (self.to, self.from),
            lane: self.lane,
            exchange: self.number,
            kind: PassageKind::Response,
            frame: outcome.as_ref().unwrap_or(&NO_FRAME),
        }
    }
}

/// Refuses a frame that is too long.
pub(super) fn check_length(frame: &Bytes) -> Result<(), TransportError> {
    let (bytes, limit) = (frame.len(), MESSAGE_BYTES_MAX);
    if bytes <= limit { Ok(()) } else { Err(TransportError::TooLarge { bytes, limit }) }
}

/// What the caller learns when a handler answers like this.
fn as_heard_by_the_caller(outcome: Outcome) -> Outcome {
    let failed = |reason| Err(TransportError::Broken { reason });
    match outcome {
        Err(TransportError::Refused { reason }) => Err(TransportError::Refused { reason }),
        Err(other) => failed(format!("the peer failed: {other}")),
        Ok(response) => match check_length(&response) {
            Ok(()) => Ok(response),
            Err(error) => failed(format!("the response was not sent: {error}")),
        },
    }
}

impl State {
    /// Sends a request; the answer's place is in what is returned.
    pub(super) fn begin_call(
        &mut self,
        now_us: u64,
        (from, from_incarnation): (NodeId, u64),
        to: NodeId,
        lane: Lane,
        request: Bytes,
    ) -> Arc<Call> {
        let number = self.new_number();
        let answer = Answer::new();
        let call = Arc::new(Call { number, from, from_incarnation, to, lane, request, answer });
        let event = |sent| Event::Call(CallEvent::Request { call: Arc::clone(&call), sent });
        self.send_datagram(now_us, call.request_letter(), event);
        call
    }

    /// Sends a handler's answer back, unless its incarnation is gone.
    pub(super) fn respond(
        &mut self,
        now_us: u64,
        call: Arc<Call>,
        incarnation: u64,
        outcome: Outcome,
    ) {
        if self.is_open(call.to, incarnation) {
            self.send_response(now_us, call, as_heard_by_the_caller(outcome));
        }
    }

    fn send_response(&mut self, now_us: u64, call: Arc<Call>, outcome: Outcome) {
        let event = |sent| {
            let (call, outcome) = (Arc::clone(&call), outcome.clone());
            Event::Call(CallEvent::Response { call, sent, outcome })
        };
        self.send_datagram(now_us, call.response_letter(&outcome), event);
    }

    /// Draws one datagram's fate and plans its arrivals: none, one or two.
    fn send_datagram(&mut self, now_us: u64, letter: Letter<'_>, event: impl Fn(u64) -> Event) {
        let sent = self.new_number();
        let link = self.link(letter.link);
        let draws = link.draws(letter.lane, now_us);
        let (law, cut) = (link.law, link.cut);
        self.note(now_us, letter, Fate::Sent);
        if cut {
            return self.note(now_us, letter, Fate::Dropped(DropReason::Cut));
        }
        if draws.loss.happens(law.loss_ppm) {
            return self.note(now_us, letter, Fate::Dropped(DropReason::Lost));
        }
        let fare = law.datagram(&draws);
        self.count_fare(fare);
        self.plan(now_us + fare.delay_us, event(sent));
        if draws.copy.happens(law.duplicate_ppm) {
            self.counters.doubled += 1;
            self.plan(now_us + law.copy_delay_us(&draws), event(sent));
        }
    }

    pub(super) fn call_event(&mut self, now_us: u64, event: CallEvent) -> Option<Work> {
        match event {
            CallEvent::Request { call, sent } => self.request_arrives(now_us, call, sent),
            CallEvent::Response { call, sent, outcome } => {
                self.response_arrives(now_us, &call, sent, outcome);
                None
            }
        }
    }

    fn request_arrives(&mut self, now_us: u64, call: Arc<Call>, sent: u64) -> Option<Work> {
        let letter = call.request_letter();
        if self.link(letter.link).cut {
            self.note(now_us, letter, Fate::Dropped(DropReason::Cut));
            return None;
        }
        let listener = self.endpoints.get(&call.to);
        let listener = listener.and_then(|it| Some((it.incarnation, it.acceptor.clone()?)));
        let Some((incarnation, acceptor)) = listener else {
            self.note(now_us, letter, Fate::Dropped(DropReason::NoEndpoint));
            self.send_response(now_us, Arc::clone(&call), Err(nobody_listens(call.to)));
            return None;
        };
        self.note(now_us, letter, Fate::Delivered);
        self.note_order(letter.link, letter.lane, sent);
        Some(Work { acceptor, incoming: Incoming::Call { call, incarnation } })
    }

    fn response_arrives(&mut self, now_us: u64, call: &Call, sent: u64, outcome: Outcome) {
        let kept = outcome.clone();
        let letter = call.response_letter(&kept);
        let fate = if self.link(letter.link).cut {
            Fate::Dropped(DropReason::Cut)
        } else if !self.is_open(call.from, call.from_incarnation) {
            Fate::Dropped(DropReason::NoEndpoint)
        } else if call.answer.give(outcome) {
            Fate::Delivered
        } else {
            Fate::Dropped(DropReason::Unwanted)
        };
        self.note(now_us, letter, fate);
        if fate == Fate::Delivered {
            self.note_order(letter.link, letter.lane, sent);
        }
    }

    /// Counts a message that arrives after one that was sent later.
    fn note_order(&mut self, link: LinkId, lane: Lane, sent: u64) {
        let newest = &mut self.link(link).lane(lane).newest_arrival;
        if sent < *newest {
            self.counters.overtaken += 1;
        } else {
            *newest = sent;
        }
    }
}

/// What a caller hears of a node where nobody listens.
pub(super) fn nobody_listens(to: NodeId) -> TransportError {
    TransportError::Unreachable { to, reason: "nobody listens there".to_owned() }
}
