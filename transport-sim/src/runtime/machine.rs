//! What belongs to the machine a task runs on: its random numbers and its wall clock.
//!
//! A machine is a madsim node. The cluster registers each incarnation with a seed of its own, so
//! that what one node draws (its election timeouts) is no function of what the others do. Tasks
//! on machines that nobody registered, the run's main task among them, share one stream.
//! Nothing here touches madsim's generator, which picks the executor's next task.
//!
//! The registry is the thread's, as the executor is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use aspen_core::LogTime;
use madsim::task::NodeId;
use rand::{Rng, TryRng};
use rand_chacha::ChaCha8Rng;

use crate::streams::stream;

/// The wall clock when a run begins, in milliseconds since the Unix epoch (1 January 2025).
pub const WALL_CLOCK_BASE_MS: u64 = 1_735_689_600_000;

struct Machine {
    rng: ChaCha8Rng,
    clock_offset_ms: i64,
}

struct Machines {
    registered: BTreeMap<NodeId, Machine>,
    others: ChaCha8Rng,
}

thread_local! {
    static MACHINES: RefCell<Machines> = RefCell::new(Machines::new(0));
}

impl Machines {
    fn new(seed: u64) -> Self {
        Self { registered: BTreeMap::new(), others: stream(seed, "unregistered machines", &[]) }
    }

    fn rng(&mut self) -> &mut ChaCha8Rng {
        match self.registered.get_mut(&madsim::plugin::node()) {
            Some(machine) => &mut machine.rng,
            None => &mut self.others,
        }
    }
}

/// Gives a machine its random numbers and its clock, in place of what it had; called for each
/// incarnation, before its first task runs.
///
/// `clock_offset_ms` is what its wall clock is ahead of the run's (negative: behind).
pub fn register_node(node: NodeId, seed: u64, clock_offset_ms: i64) {
    let machine = Machine { rng: stream(seed, "machine", &[]), clock_offset_ms };
    MACHINES.with_borrow_mut(|machines| machines.registered.insert(node, machine));
}

/// Makes a registered machine's wall clock jump.
///
/// # Panics
/// When the machine was never registered.
pub fn set_clock_offset(node: NodeId, clock_offset_ms: i64) {
    MACHINES.with_borrow_mut(|machines| {
        let machine = machines.registered.get_mut(&node).expect("the machine was registered");
        machine.clock_offset_ms = clock_offset_ms;
    });
}

/// Forgets every machine: a new run begins.
pub(crate) fn reset(seed: u64) {
    MACHINES.set(Machines::new(seed));
}

/// Kills every registered machine.
pub(crate) fn kill_all() {
    let nodes: Vec<NodeId> =
        MACHINES.with_borrow(|machines| machines.registered.keys().copied().collect());
    let handle = madsim::runtime::Handle::current();
    for node in nodes {
        handle.kill(node);
    }
}

/// The wall clock of the calling task's machine.
pub(super) fn wall_clock() -> LogTime {
    let offset_ms = MACHINES.with_borrow(|machines| {
        machines.registered.get(&madsim::plugin::node()).map_or(0, |it| it.clock_offset_ms)
    });
    let run_ms = madsim::time::TimeHandle::current().elapsed().as_millis() as u64;
    LogTime::from_ms((WALL_CLOCK_BASE_MS + run_ms).saturating_add_signed(offset_ms))
}

/// The random numbers of the machine that the drawing task runs on.
#[derive(Clone, Copy, Debug)]
pub struct SimRng;

impl TryRng for SimRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(MACHINES.with_borrow_mut(|machines| machines.rng().next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(MACHINES.with_borrow_mut(|machines| machines.rng().next_u64()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        MACHINES.with_borrow_mut(|machines| machines.rng().fill_bytes(bytes));
        Ok(())
    }
}
