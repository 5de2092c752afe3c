//! What one directed link does to what travels on it, in integers, as a schedule writes it.

use serde::{Deserialize, Serialize};

use super::draws::Draws;

/// Shortest time after which a lost stream packet is sent again.
const RETRANSMIT_US_MIN: u64 = 1_000;

/// The law of one directed link. Probabilities are in parts per million of messages; every value
/// of every field is legal (a probability over a million is certainty, an empty range is its
/// lower end, an empty window holds one frame).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkLaw {
    /// Shortest delay of a message, in microseconds.
    pub delay_us_min: u32,
    /// Longest delay of a message without a spike, in microseconds.
    pub delay_us_max: u32,
    /// How often a message is held up by a spike.
    pub spike_ppm: u32,
    /// Longest spike, in microseconds.
    pub spike_us_max: u32,
    /// How slow the link is: every delay is multiplied by this many hundredths (100: as stated).
    pub slow_percent: u32,
    /// How often a message is lost. A call's stays lost; a stream's is sent again, later.
    pub loss_ppm: u32,
    /// How often a call's request or response arrives twice.
    pub duplicate_ppm: u32,
    /// How often a stream breaks at a frame.
    pub break_ppm: u32,
    /// Frames of a stream in flight or unread, in one direction, before its sender waits.
    pub window_frames: u32,
    /// How long an end that hears nothing waits before its streams break, and how long an opening
    /// is tried, in microseconds.
    pub idle_timeout_us: u32,
}

impl Default for LinkLaw {
    /// A healthy local network.
    fn default() -> Self {
        Self {
            delay_us_min: 300,
            delay_us_max: 1_500,
            spike_ppm: 0,
            spike_us_max: 50_000,
            slow_percent: 100,
            loss_ppm: 0,
            duplicate_ppm: 0,
            break_ppm: 0,
            window_frames: 64,
            idle_timeout_us: 1_500_000,
        }
    }
}

/// How one message fares, before faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fare {
    /// Its delay.
    pub(super) delay_us: u64,
    /// Whether a spike is part of the delay.
    pub(super) spiked: bool,
    /// How often the packet was lost before it arrived, for a stream's.
    pub(super) retransmissions: u32,
}

impl LinkLaw {
    /// The fare of a call's request or response.
    pub(super) fn datagram(&self, draws: &Draws) -> Fare {
        let spiked = draws.spike.happens(self.spike_ppm);
        let spike_us =
            if spiked { draws.spike_size.within(0, u64::from(self.spike_us_max)) } else { 0 };
        let delay_us = self.slowed(self.plain_us(draws) + spike_us);
        Fare { delay_us, spiked, retransmissions: 0 }
    }

    /// The fare of what a stream carries: a loss costs a retransmission, each slower than the one
    /// before.
    pub(super) fn reliable(&self, draws: &Draws) -> Fare {
        let mut fare = self.datagram(draws);
        for lost in draws.loss.thrice(self.loss_ppm) {
            if !lost {
                break;
            }
            fare.delay_us += self.retransmit_us() << fare.retransmissions;
            fare.retransmissions += 1;
        }
        fare
    }

    /// The delay of a call's second copy, which overtakes the first as often as not.
    pub(super) fn copy_delay_us(&self, draws: &Draws) -> u64 {
        let us = draws.copy_delay.within(self.delay_us_min.into(), self.delay_us_max.into());
        self.slowed(us)
    }

    /// The first retransmission's wait.
    pub(super) fn retransmit_us(&self) -> u64 {
        self.slowed(2 * u64::from(self.delay_us_max)).max(RETRANSMIT_US_MIN)
    }

    fn plain_us(&self, draws: &Draws) -> u64 {
        draws.delay.within(self.delay_us_min.into(), self.delay_us_max.into())
    }

    fn slowed(&self, us: u64) -> u64 {
        us * u64::from(self.slow_percent) / 100
    }
}
