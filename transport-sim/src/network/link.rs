//! The state of one directed link: its law, its cut, and a source of numbers for each lane.

use aspen_core::NodeId;
use aspen_core::transport::Lane;

use super::draws::{Draws, Source};
use super::law::LinkLaw;

/// From whom to whom.
pub(super) type LinkId = (NodeId, NodeId);

/// One directed link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) law: LinkLaw,
    pub(super) cut: bool,
    /// Counts the cuts, so that a check planned for one cut does not judge another.
    pub(super) cuts: u64,
    lanes: [LaneState; Lane::ALL.len()],
}

/// One lane of a link.
#[derive(Debug)]
pub(super) struct LaneState {
    source: Source,
    /// Streams move no frame before this time.
    pub(super) stalled_until_us: u64,
    /// The highest number of a call message that arrived.
    pub(super) newest_arrival: u64,
}

impl Link {
    pub(super) fn new(seed: u64, (from, to): LinkId, law: LinkLaw) -> Self {
        let lanes = Lane::ALL.map(|lane| LaneState {
            source: Source::new(seed, from, to, lane),
            stalled_until_us: 0,
            newest_arrival: 0,
        });
        Self { law, cut: false, cuts: 0, lanes }
    }

    /// The numbers of the next message on a lane.
    pub(super) fn draws(&mut self, lane: Lane, now_us: u64) -> Draws {
        self.lanes[lane as usize].source.next(now_us)
    }

    pub(super) fn lane(&mut self, lane: Lane) -> &mut LaneState {
        &mut self.lanes[lane as usize]
    }
}
