//! How an incarnation ends: a kill, or a power failure with a say in what survives.

use serde::{Deserialize, Serialize};

use super::SimDisk;
use super::fault::InFlight;

/// What survives a power failure of what was not synced.
///
/// Each file has its own fate, and so has the folder: the folder's changes are journaled, so in
/// the modes below `Prefix` a drawn prefix of them survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Survive {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// The operations up to a drawn one.
    Prefix,
    /// Each write and each change of length with this chance, as a whole.
    Writes {
        /// The chance to survive, in percent.
        keep_percent: u32,
    },
    /// Each sector of each write with this chance: torn writes.
    Sectors {
        /// The size of a sector: 512 or 4096.
        sector_bytes: u32,
        /// The chance to survive, in percent.
        keep_percent: u32,
    },
}

/// The machine loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerFailure {
    /// What survives of what was not synced.
    pub survive: Survive,
    /// What becomes of the transaction in flight.
    pub in_flight: InFlight,
    /// The seed of every draw that this failure makes.
    pub seed: u64,
}

/// The process is killed; the cache lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// What becomes of the transaction in flight.
    pub in_flight: InFlight,
    /// The seed of the cut.
    pub seed: u64,
}

impl SimDisk {
    /// Ends the incarnation as a kill of its process does. See [`Kill`].
    ///
    /// Call it before the executor kills the node's tasks: the transaction in flight belongs to
    /// one of them. Also settles a disk that has died, as a death of the process alone.
    pub fn kill(&self, kill: Kill) {
        self.cut_in_flight(kill.in_flight, kill.seed);
        let unfinished = self.lock().end_by_kill();
        drop(unfinished);
    }

    /// Ends the incarnation as a loss of power does. See [`PowerFailure`].
    ///
    /// Call it before the executor kills the node's tasks: the transaction in flight belongs to
    /// one of them. Also settles a disk that has died, and one that nobody has mounted.
    pub fn power_failure(&self, failure: PowerFailure) {
        self.cut_in_flight(failure.in_flight, failure.seed);
        let unfinished = self.lock().end_by_power_failure(failure);
        drop(unfinished);
    }

    /// Runs the transaction in flight, if there is one, on a disk that dies under it.
    fn cut_in_flight(&self, in_flight: InFlight, seed: u64) {
        let InFlight::DiesAfter { operations } = in_flight else { return };
        let job = self.lock().take_in_flight(operations, seed);
        // The job works through its own handle on this disk, so the lock must be free.
        if let Some(job) = job {
            job();
        }
    }
}
