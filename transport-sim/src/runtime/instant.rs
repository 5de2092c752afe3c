//! The monotonic clock: virtual time as a plain counter.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// Keeps `now - something` from running below zero early in a run.
const ORIGIN: Duration = Duration::from_secs(60 * 60);

/// A point in virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimInstant(Duration);

impl openraft_rt::Instant for SimInstant {
    fn now() -> Self {
        Self(ORIGIN + madsim::time::TimeHandle::current().elapsed())
    }
}

impl SimInstant {
    /// Microseconds since the run began; zero for points before it.
    pub fn run_time_us(self) -> u64 {
        self.0.saturating_sub(ORIGIN).as_micros() as u64
    }
}

impl Add<Duration> for SimInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for SimInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for SimInstant {
    type Output = Duration;

    /// Zero when `earlier` is later, as with the standard library's.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
