//! How often something may happen: a bucket that fills with time, kept as the instant at which it
//! would be full again (GCRA, ATM Forum TM 4.0).

use std::time::{Duration, Instant};

/// A rate.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    /// Once in so long, in the long run.
    pub(crate) every: Duration,
    /// So many at once; 1 or more.
    pub(crate) burst: u32,
}

/// What is left of a rate.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Whether it may happen now, once.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        if full_at - now > rate.every * (rate.burst - 1) {
            return false;
        }
        self.full_at = Some(full_at + rate.every);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate { every: Duration::from_secs(1), burst: 3 };
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let mut taken_at = |ms: u64| bucket.take(rate, start + Duration::from_millis(ms));
        let times = [0, 0, 0, 0, 999, 1000, 1000, 10_000, 10_000, 10_000, 10_000];
        let taken = times.map(&mut taken_at);
        let expected = [true, true, true, false, false, true, false, true, true, true, false];
        assert_eq!(taken, expected);
    }
}
