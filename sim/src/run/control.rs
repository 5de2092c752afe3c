//! How a run is watched and ended from outside: by an interrupt, or by the watchdog.
//!
//! A run is one thread that cannot be killed. It looks at its [`Control`] whenever it records
//! something and at every tenth of a virtual second, and ends itself by a panic of a kind that
//! [`run`](super::run) knows.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Why a run was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// The user interrupted it.
    Interrupt,
    /// Its virtual time stood still for too long.
    Livelock,
}

const GOES_ON: u8 = 0;
const INTERRUPT: u8 = 1;
const LIVELOCK: u8 = 2;

/// The line between a run and whoever watches it.
#[derive(Debug, Default)]
pub struct Control {
    abort: AtomicU8,
    virtual_us: AtomicU64,
}

impl Control {
    /// Asks the run to end. The first reason counts.
    pub fn abort(&self, why: Abort) {
        let code = match why {
            Abort::Interrupt => INTERRUPT,
            Abort::Livelock => LIVELOCK,
        };
        // A failed exchange means that the run was asked before.
        let _ = self.abort.compare_exchange(GOES_ON, code, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Why the run was asked to end, if it was.
    pub fn aborted(&self) -> Option<Abort> {
        match self.abort.load(Ordering::Relaxed) {
            INTERRUPT => Some(Abort::Interrupt),
            LIVELOCK => Some(Abort::Livelock),
            _ => None,
        }
    }

    /// How far the run has come, in microseconds of virtual time.
    pub fn virtual_us(&self) -> u64 {
        self.virtual_us.load(Ordering::Relaxed)
    }

    /// Says how far the run has come.
    pub(crate) fn progress(&self, virtual_us: u64) {
        self.virtual_us.store(virtual_us, Ordering::Relaxed);
    }

    /// Ends the run if it was asked to.
    ///
    /// # Panics
    /// When it was; that is how a run ends in the middle.
    pub(super) fn check(&self) {
        if let Some(abort) = self.aborted() {
            panic!("the run was ended from outside: {abort:?}");
        }
    }
}
