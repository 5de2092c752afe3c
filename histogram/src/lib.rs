//! The histograms in which openraft counts what its consensus loop does, by `hdrhistogram`.
//!
//! openraft uses the crate `base2histogram`, which fills tables for sixteen precisions when the
//! first histogram is made, 26 MiB in every process; openraft uses one precision, and Aspen reads
//! none of these histograms. The workspace's `Cargo.toml` puts this crate in its place (`[patch]`).
//! It has what openraft uses and documents, under the same names, and nothing else.

use std::fmt;
use std::marker::PhantomData;

use hdrhistogram::Histogram as Counts;

/// Values are told apart by this many decimal digits.
const DIGITS: u8 = 1;

/// How often which values were recorded. openraft never names a `T`.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram<T = ()>(Counts<u64>, PhantomData<T>);

impl<T: PartialEq> Eq for Histogram<T> {}

impl<T> Histogram<T> {
    /// Nothing is recorded yet.
    #[allow(clippy::new_without_default, reason = "openraft asks for no default")]
    #[allow(clippy::missing_panics_doc, reason = "one to five digits are allowed")]
    pub fn new() -> Self {
        let counts = Counts::new(DIGITS).expect("one to five digits are allowed");
        Self(counts, PhantomData)
    }

    /// Records a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records a value `count` times.
    #[allow(clippy::missing_panics_doc, reason = "there is room for every value")]
    pub fn record_n(&mut self, value: u64, count: u64) {
        self.0.record_n(value, count).expect("it grows as far as values go");
    }

    /// How many values were recorded.
    pub fn total(&self) -> u64 {
        self.0.len()
    }

    /// Below what the shares of the values are.
    pub fn percentile_stats(&self) -> PercentileStats {
        let at = |percent| self.0.value_at_percentile(percent);
        PercentileStats {
            samples: self.total(),
            p0_1: at(0.1),
            p1: at(1.0),
            p5: at(5.0),
            p10: at(10.0),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p99_9: at(99.9),
        }
    }
}

/// Percentiles of a histogram, in the unit of its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the percentile that it is named after")]
pub struct PercentileStats {
    /// How many values there are.
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p10, p50, p90, p99, p99_9, .. } = self;
        write!(f, "{samples} samples, p10 {p10}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}")
    }
}

/// Histograms below one another: a line of percentiles for each.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart(Vec<(&'static str, PercentileStats)>);

impl AsciiChart {
    /// Without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "openraft's word")]
    #[allow(clippy::needless_pass_by_value, reason = "openraft gives it away")]
    pub fn add<T>(mut self, name: &'static str, histogram: Histogram<T>) -> Self {
        self.0.push((name, histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_their_precision() {
        let mut histogram: Histogram = Histogram::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        (1..=1000).for_each(|value| histogram.record(value));
        histogram.record_n(0, 1000);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p10, stats.p50), (2000, 0, 0));
        assert!((800..=900).contains(&stats.p90), "{stats}");
        assert!((980..=1050).contains(&stats.p99), "{stats}");
    }

    #[test]
    fn the_largest_values_have_room() {
        let mut histogram: Histogram = Histogram::new();
        [u64::MAX, 0, 1 << 40].into_iter().for_each(|value| histogram.record(value));
        assert_eq!(histogram.total(), 3);
        let chart = AsciiChart::new().add("odd", histogram.clone()).to_string();
        assert!(chart.starts_with("odd: 3 samples, p10 0"), "{chart}");
        assert_eq!(histogram, histogram.clone());
    }
}
