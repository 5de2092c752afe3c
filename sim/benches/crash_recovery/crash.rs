//! One crash, drawn: where it strikes, how the machine ends, and what survives.

use aspen_sim::disk::{Death, DeathFrom, InFlight, Kill, PowerFailure, SimDisk, Survive};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Longest wait for the death, in operations that change something: some dozens of commits.
const WORK_OPERATIONS_MAX: u64 = 250;
/// What a creation takes, roughly.
const CREATION_OPERATIONS: u64 = 40;
/// Longest wait for the death while the store opens.
const OPEN_OPERATIONS_MAX: u64 = 8;

/// Longest wait for a crash that is counted in time.
const WORK_US_MAX: u64 = 30_000;
/// Opening takes no virtual time; what the store does right after it may.
const OPEN_US: u64 = 2_000;
/// Longest wait for a death that is counted in operations: it comes much sooner.
const PATIENCE_US: u64 = 10_000_000;

/// A crash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    /// At which operation, counted from the mount; or only in time.
    death: Option<Death>,
    /// The latest time, in microseconds from the mount.
    pub(crate) after_us: u64,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Kill(Kill),
    PowerFailure(PowerFailure),
}

impl Crash {
    /// Draws a crash that strikes while the store works.
    pub(crate) fn at_work(random: &mut ChaCha8Rng) -> Self {
        let operations_max = [CREATION_OPERATIONS, WORK_OPERATIONS_MAX][random.random_range(0..2)];
        Self { after_us: PATIENCE_US, ..Self::draw(operations_max, random) }
    }

    /// Draws a crash that strikes while the store works, at an operation or at a time.
    pub(crate) fn at_work_or_in_time(random: &mut ChaCha8Rng) -> Self {
        let crash = Self::at_work(random);
        if random.random_range(0..3) > 0 {
            return crash;
        }
        Self { death: None, after_us: random.random_range(0..WORK_US_MAX), ..crash }
    }

    /// A kill, now.
    pub(crate) fn kill() -> Self {
        let end = End::Kill(Kill { in_flight: InFlight::Dropped, seed: 0 });
        Self { death: None, after_us: 0, end }
    }

    /// Draws a crash that strikes while the store opens, if that takes long enough.
    pub(crate) fn in_open(random: &mut ChaCha8Rng) -> Self {
        Self::draw(OPEN_OPERATIONS_MAX, random)
    }

    fn draw(operations_max: u64, random: &mut ChaCha8Rng) -> Self {
        let after_operations = random.random_range(0..operations_max);
        let seed = random.random();
        let death = Death { from: DeathFrom::NextMount, after_operations, seed };
        Self { death: Some(death), after_us: OPEN_US, end: End::draw(random) }
    }

    /// Tells the disk of the death, if there is one; before the mount.
    pub(crate) fn plan(&self, disk: &SimDisk) {
        if let Some(death) = self.death {
            disk.die_at(death);
        }
    }

    /// Ends the machine's life: settles the death, if it came, or interrupts it where it is.
    pub(crate) fn strike(&self, disk: &SimDisk) {
        match self.end {
            End::Kill(kill) => disk.kill(kill),
            End::PowerFailure(failure) => disk.power_failure(failure),
        }
    }
}

impl End {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let seed = random.random();
        let operations = random.random_range(0..16);
        let in_flight = match random.random_range(0..4) {
            0 => InFlight::Dropped,
            _ => InFlight::DiesAfter { operations },
        };
        if random.random_range(0..4) == 0 {
            return End::Kill(Kill { in_flight, seed });
        }
        End::PowerFailure(PowerFailure { survive: draw_survival(random), in_flight, seed })
    }
}

fn draw_survival(random: &mut ChaCha8Rng) -> Survive {
    let keep_percent = [10, 50, 90, 99][random.random_range(0..4)];
    match random.random_range(0..8) {
        0 => Survive::Nothing,
        1 => Survive::Everything,
        2 => Survive::Prefix,
        3 => Survive::Writes { keep_percent },
        4 | 5 => Survive::Sectors { sector_bytes: 4096, keep_percent },
        _ => Survive::Sectors { sector_bytes: 512, keep_percent },
    }
}
