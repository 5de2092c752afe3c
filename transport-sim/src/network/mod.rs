//! The simulated network: directed links, each with a delay law and faults of its own.
//!
//! Every message takes one path: it enters its link, draws its fate, waits in one queue ordered
//! by time and sequence number, and is handed over by one task, the router. Between two nodes
//! there are two links, one for each direction, and on each link four lanes, which share the
//! link's law and cuts but neither random numbers nor order. What the two shapes of traffic do
//! with loss, delay and cuts:
//!
//! - calls (`calls`) are datagrams: lost, doubled, overtaken;
//! - streams (`stream`, `pipes`, `breaks`) are ordered and reliable: late, stalled, broken.
//!
//! # Randomness
//!
//! A message's fate is a function of the network's seed, its link, its lane, the bucket of
//! virtual time in which it was sent, and its ordinal in that bucket ([`BUCKET_US`]). Nothing
//! is drawn from madsim's generator, from which the executor picks the next task, and all of it
//! is integers. Taking a fault out of a schedule therefore leaves the draws of every other bucket
//! as they were, which keeps a shrunk schedule close to the one that it came from.
//!
//! # Left out
//!
//! Bandwidth: a frame of ten megabytes travels as fast as an empty one. Connections: lanes have
//! none, so a break takes one stream and not all of a lane. Addresses: nodes are found by id.

mod answer;
mod breaks;
mod calls;
mod draws;
mod endpoint;
mod law;
mod link;
mod passage;
mod pipes;
mod router;
mod state;
mod stream;
mod streams;

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use madsim::time::TimeHandle;

pub use draws::BUCKET_US;
pub use endpoint::{SimReceiver, SimSender, SimTransport};
pub use law::LinkLaw;
pub use passage::{Counters, DropReason, Fate, Observer, Passage, PassageKind};

use crate::lock::lock;
use router::Router;
use state::{Endpoint, State};

/// The network of one run. Cloning gives another handle to it.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    time: TimeHandle,
    state: Mutex<State>,
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.time.elapsed().as_micros() as u64
    }
}

impl Network {
    /// Starts a network in which every link follows `default_law` until it gets a law of its own.
    ///
    /// # Panics
    /// Outside a madsim runtime.
    pub fn new(seed: u64, default_law: LinkLaw) -> Self {
        let state = Mutex::new(State::new(seed, default_law));
        let shared = Arc::new(Shared { time: TimeHandle::current(), state });
        madsim::task::spawn(Router(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// The endpoint of a new incarnation of `node`; an older one is closed.
    pub fn endpoint(&self, node: NodeId) -> SimTransport {
        self.close(node);
        let (_, mut state) = self.lock();
        let incarnation = state.new_number();
        let endpoint = Endpoint { incarnation, acceptor: None, server: None };
        state.endpoints.insert(node, endpoint);
        drop(state);
        SimTransport::new(self.clone(), node, incarnation)
    }

    /// Closes the node's endpoint, as a kill does: nothing leaves it from now on and nothing
    /// reaches it, its streams break, and its peers find out later. To be called before the
    /// node's machine is killed, whose tasks are dropped late and would otherwise say goodbye.
    pub fn close(&self, node: NodeId) {
        let (now_us, mut state) = self.lock();
        let Some(mut endpoint) = state.endpoints.remove(&node) else { return };
        state.break_streams_of(now_us, node, endpoint.incarnation);
        // The handler may own streams, whose destructors take the lock.
        drop(state);
        if let Some(server) = endpoint.server.take() {
            server.wake();
        }
    }

    /// The law of the link.
    pub fn law(&self, from: NodeId, to: NodeId) -> LinkLaw {
        self.lock().1.link((from, to)).law
    }

    /// Sets the law of one link, for what enters it from now on.
    pub fn set_law(&self, from: NodeId, to: NodeId, law: LinkLaw) {
        self.lock().1.link((from, to)).law = law;
    }

    /// Sets the law of every link, those that nobody has used yet included.
    pub fn set_every_law(&self, law: LinkLaw) {
        let (_, mut state) = self.lock();
        state.default_law = law;
        state.links.values_mut().for_each(|link| link.law = law);
    }

    /// Cuts the link: calls that enter it or would arrive are lost, streams stall, and break
    /// when the cut lasts for the idle timeout. Cutting a cut link changes nothing.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        let (now_us, mut state) = self.lock();
        state.cut(now_us, (from, to));
    }

    /// Whether the link is cut.
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.lock().1.links.get(&(from, to)).is_some_and(|link| link.cut)
    }

    /// Heals the link: calls pass, and what streams held back is sent again.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        let (now_us, mut state) = self.lock();
        state.heal(now_us, (from, to));
    }

    /// Heals every link.
    pub fn heal_all(&self) {
        let (now_us, mut state) = self.lock();
        let links: Vec<_> = state.links.keys().copied().collect();
        for link in links {
            state.heal(now_us, link);
        }
    }

    /// Makes the streams of some lanes of a link hold every frame back for a while. Peers hear
    /// each other meanwhile: a stall breaks nothing, however long it lasts.
    pub fn stall_streams(&self, from: NodeId, to: NodeId, lanes: &[Lane], duration: Duration) {
        let (now_us, mut state) = self.lock();
        for lane in lanes {
            let until_us = &mut state.link((from, to)).lane(*lane).stalled_until_us;
            *until_us = (*until_us).max(now_us + duration.as_micros() as u64);
        }
    }

    /// Breaks every stream that `from` has opened to `to`.
    pub fn break_streams(&self, from: NodeId, to: NodeId) {
        let (now_us, mut state) = self.lock();
        state.break_streams(now_us, (from, to));
    }

    /// What the network has done so far.
    pub fn counters(&self) -> Counters {
        self.lock().1.counters
    }

    /// Streams that somebody still holds a half of; none are left after an orderly end.
    pub fn streams_held(&self) -> usize {
        self.lock().1.streams.len()
    }

    /// Shows every passage from now on to `observer`, in place of an earlier one.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        let old = self.lock().1.observer.replace(observer);
        drop(old);
    }

    fn lock(&self) -> (u64, MutexGuard<'_, State>) {
        (self.shared.now_us(), lock(&self.shared.state))
    }

    /// The lock for destructors. When an executor is torn down after a panic, waking a task drops
    /// it on the spot, inside whatever woke it; a destructor that finds the network locked is in
    /// such a fall, in which nobody is left to be told anything.
    fn lock_for_drop(&self) -> Option<(u64, MutexGuard<'_, State>)> {
        match self.shared.state.try_lock() {
            Ok(state) => Some((self.shared.now_us(), state)),
            Err(TryLockError::Poisoned(poisoned)) => {
                Some((self.shared.now_us(), poisoned.into_inner()))
            }
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}
