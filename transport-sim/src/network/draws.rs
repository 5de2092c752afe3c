//! A link's random numbers: a function of link, lane, bucket of virtual time and ordinal.
//!
//! The numbers of the `n`-th message that enters a lane of a link within one bucket stand at a
//! fixed place of a ChaCha stream: the key names seed, link and lane, the stream number is the
//! bucket, and message `n` reads the 64-byte block `n`. Every message reads its block, whatever
//! then happens to it. So a fault that is taken out of a schedule, and the messages that come and
//! go with it, shift the numbers of their own bucket and of no other.

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::streams::stream;

/// The length of a bucket. Short, so that a shrunk schedule stays close to its origin; long
/// enough that an idle link seldom pays for a new block per message.
pub const BUCKET_US: u64 = 10_000;

const PPM: u64 = 1_000_000;

/// One uniformly drawn number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw(pub(super) u64);

impl Draw {
    /// Whether an event of this probability happens.
    pub(super) fn happens(self, ppm: u32) -> bool {
        self.0 % PPM < u64::from(ppm)
    }

    /// Three independent events of this probability, from three digits to the base of a million.
    pub(super) fn thrice(self, ppm: u32) -> [bool; 3] {
        [self.0, self.0 / PPM, self.0 / (PPM * PPM)].map(|digits| Draw(digits).happens(ppm))
    }

    /// A number from `min` to `max`, both included; `min` when there is none between.
    pub(super) fn within(self, min: u64, max: u64) -> u64 {
        min + self.0 % (max.saturating_sub(min) + 1)
    }
}

/// The numbers of one message: one block, each number with one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draws {
    pub(super) delay: Draw,
    pub(super) spike: Draw,
    pub(super) spike_size: Draw,
    pub(super) loss: Draw,
    pub(super) copy: Draw,
    pub(super) copy_delay: Draw,
    pub(super) breaks: Draw,
    /// How much of a direction survives a break.
    pub(super) kept: Draw,
}

/// The source of one lane of one link.
#[derive(Debug)]
pub(super) struct Source {
    key: [u8; 32],
    bucket: u64,
    rng: ChaCha8Rng,
}

impl Source {
    pub(super) fn new(seed: u64, from: NodeId, to: NodeId, lane: Lane) -> Self {
        let rng = stream(seed, "link", &[from.0, to.0, lane as u64]);
        Self { key: rng.get_seed(), bucket: 0, rng }
    }

    /// The numbers of the next message that enters the lane, at `now_us`.
    pub(super) fn next(&mut self, now_us: u64) -> Draws {
        let bucket = now_us / BUCKET_US;
        if bucket != self.bucket {
            self.bucket = bucket;
            // A fresh generator, because moving a used one computes its block twice.
            self.rng = ChaCha8Rng::from_seed(self.key);
            self.rng.set_stream(bucket);
        }
        let mut draw = || Draw(self.rng.next_u64());
        Draws {
            delay: draw(),
            spike: draw(),
            spike_size: draw(),
            loss: draw(),
            copy: draw(),
            copy_delay: draw(),
            breaks: draw(),
            kept: draw(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source::new(1, NodeId(1), NodeId(2), Lane::Control)
    }

    #[test]
    fn a_buckets_numbers_do_not_depend_on_what_other_buckets_drew() {
        let (mut quiet, mut busy) = (source(), source());
        for _ in 0..100 {
            busy.next(0);
        }
        assert_ne!(quiet.next(0), busy.next(0));
        for ordinal in 0..20 {
            let now_us = 3 * BUCKET_US + ordinal;
            assert_eq!(quiet.next(now_us), busy.next(now_us));
        }
    }

    #[test]
    fn each_link_lane_and_seed_draws_its_own() {
        let first = source().next(0);
        let others = [
            Source::new(2, NodeId(1), NodeId(2), Lane::Control),
            Source::new(1, NodeId(2), NodeId(1), Lane::Control),
            Source::new(1, NodeId(1), NodeId(2), Lane::Client),
        ];
        for mut other in others {
            assert_ne!(other.next(0), first);
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        assert_eq!(Draw(7).within(5, 5), 5);
        assert_eq!(Draw(7).within(9, 5), 9);
        assert_eq!(Draw(11).within(0, 10), 0);
        assert_eq!(Draw(10).within(0, 10), 10);
    }
}
