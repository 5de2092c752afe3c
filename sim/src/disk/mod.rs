//! The simulated disk: what a machine keeps when its node dies, and what it loses.
//!
//! A [`SimDisk`] belongs to a machine and outlives the incarnations of its node. Each incarnation
//! [mounts](SimDisk::mount) it and works through a [`SimVolume`], which is what the core knows as
//! a `Volume`. Between the node and the platter lies a cache: reads see every write at once, but
//! only a sync makes writes durable, and only a sync of the folder makes names durable. Three
//! things end an incarnation:
//!
//! - a **kill** ([`SimDisk::kill`]): the process is gone, the cache lives on;
//! - a **power failure** ([`SimDisk::power_failure`]): of what was not synced, the part survives
//!   that the schedule says ([`Survive`]), down to single sectors of a write;
//! - a **mount** by the next incarnation.
//!
//! Each of them *fences* the older handle: from that instant on, every operation on it fails.
//! redb's `Drop` commits and writes a clean header, and killed tasks are dropped late, so without
//! the fence every kill would be a graceful shutdown.
//!
//! Code between two awaits is atomic to the executor's kill, so crash points inside a commit come
//! from the disk: [`SimDisk::die_at`] and the `in_flight` of [`Kill`] and [`PowerFailure`] count
//! the operations that change something and let the disk die in the middle of one of them. That
//! is also how a crash inside recovery, or inside the creation of a database, is scheduled.
//!
//! Everything is drawn from ChaCha streams whose seeds stand in the configuration or in the
//! fault, in integers; nothing comes from the executor's generator.
//!
//! Left out: bit rot, reordering across a completed sync (except for a disk that
//! [lies](SimDisk::lie)), and the cost of reads and of cached writes, which take no virtual time.

mod counters;
mod failure;
mod fault;
mod file;
#[cfg(test)]
mod file_tests;
mod folder;
mod jobs;
mod power;
mod state;
mod volume;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

pub use counters::DiskCounters;
pub use failure::DiskFailure;
pub use fault::{Death, DeathFrom, DiskConfig, InFlight, IoFault, IoOperation, Lie, SlowSync};
pub use power::{Kill, PowerFailure, Survive};
pub use volume::{SimFile, SimVolume};

use state::DiskState;

/// A machine's disk. Cloning gives another handle to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<DiskState>>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(config: DiskConfig) -> Self {
        Self { state: Arc::new(Mutex::new(DiskState::new(config))) }
    }

    /// Hands the disk to the next incarnation and fences the handle of the one before.
    ///
    /// A disk that has died and was neither killed nor power-cycled since stays dead: the volume
    /// is there, and its every operation fails.
    pub fn mount(&self) -> SimVolume {
        let (incarnation, unfinished) = self.lock().mount();
        // Outside the lock: a job owns database handles, whose destructors come back to the disk.
        drop(unfinished);
        SimVolume::new(self.clone(), incarnation)
    }

    /// Schedules the disk's death at one of its coming operations; replaces an older plan.
    pub fn die_at(&self, death: Death) {
        self.lock().plan_death(death);
    }

    /// Whether the disk has died and waits for a kill or a power failure.
    pub fn is_dead(&self) -> bool {
        self.lock().is_dead()
    }

    /// Waits until the disk dies, which is when the nemesis has to kill or power-cycle the
    /// machine. Ready at once while the disk is dead.
    pub fn death(&self) -> impl Future<Output = ()> + Send + use<> {
        let disk = self.clone();
        std::future::poll_fn(move |context| {
            let mut state = disk.lock();
            if state.is_dead() {
                return Poll::Ready(());
            }
            state.wake_at_death(context.waker());
            Poll::Pending
        })
    }

    /// Slows syncs down from the next one on, or, with `None`, lets them be as fast as configured.
    pub fn set_slow(&self, slow: Option<SlowSync>) {
        self.lock().slow = slow;
    }

    /// Lets one coming operation fail with an I/O error. Faults of one kind fire one after another.
    pub fn fail_next(&self, fault: IoFault) {
        self.lock().io_faults.push(fault);
    }

    /// Makes coming syncs lie, or, with `None`, tell the truth: the negative control of every
    /// durability test.
    pub fn lie(&self, lie: Option<Lie>) {
        self.lock().set_lie(lie);
    }

    /// Sets how many bytes fit, or lifts the limit. What is already written stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// Fills the disk with something else until `free_bytes` (rounded down to whole blocks) are
    /// left; [`set_capacity`](SimDisk::set_capacity) frees it again.
    pub fn fill(&self, free_bytes: u64) {
        let mut state = self.lock();
        state.capacity_bytes = Some(state.used_bytes() + free_bytes);
    }

    /// How many bytes are free, in whole blocks; `u64::MAX` without a limit.
    pub fn free_space(&self) -> u64 {
        self.lock().free_bytes()
    }

    /// How many bytes of blocks that were ever written the files take; holes take none.
    pub fn used_space(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// Takes back every fault that is still to come: planned deaths, I/O errors that were not met,
    /// slow and lying syncs, and a capacity other than the configured one. What has happened stays:
    /// a dead disk is dead until a kill or a power failure settles it.
    pub fn heal(&self) {
        self.lock().heal();
    }

    /// What the disk has been through since it was built.
    pub fn counters(&self) -> DiskCounters {
        self.lock().counters
    }

    /// The names in the folder and the bytes behind them, as a process would read them now:
    /// for digests and for tests.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.lock().files()
    }

    pub(in crate::disk) fn lock(&self) -> MutexGuard<'_, DiskState> {
        // No code of the disk leaves the state half changed when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}
