//! Which announcements are believed.
//!
//! One is dropped that comes too often, cannot be read, is of an endpoint that is neither a member
//! nor named by the operator, is older or newer than the clocks of a cluster may differ, is not newer
//! than the last one of its endpoint, or is not signed by it. What costs least is looked at first; the
//! signature is checked last but one. Memory is kept for known endpoints alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use iroh::EndpointId;

use super::announcement::{Announcement, Unverified};
use super::rate::{Bucket, Rate};
use crate::access::Topic;

/// How far the clocks of a cluster's machines may be apart, with the way of a message.
const WINDOW: Duration = Duration::from_secs(60);
/// How much is looked at in all: several times what the largest cluster says.
const RATE_OF_ALL: Rate = Rate { every: Duration::from_millis(20), burst: 256 };
/// How much one endpoint may say: ten times what it does.
const RATE_OF_ONE: Rate = Rate { every: Duration::from_secs(1), burst: 5 };

/// What was heard, counted since the discovery began.
#[derive(Debug, Default)]
pub struct Announcements {
    /// Announcements of this node.
    pub sent: AtomicU64,
    /// Announcements that were believed.
    pub believed: AtomicU64,
    /// Messages that are no announcement.
    pub malformed: AtomicU64,
    /// Announcements of endpoints that nobody has named.
    pub unknown: AtomicU64,
    /// Announcements older or newer than clocks may differ.
    pub stale: AtomicU64,
    /// Announcements that are not newer than the last one.
    pub replayed: AtomicU64,
    /// Announcements that the endpoint has not signed, or not for this cluster.
    pub forged: AtomicU64,
    /// Announcements above the limits.
    pub too_many: AtomicU64,
}

/// Why an announcement was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    Malformed,
    Unknown,
    Stale,
    Replayed,
    Forged,
    TooMany,
}

/// What was heard of one endpoint.
#[derive(Default)]
struct Heard {
    stamp_ms: u64,
    bucket: Bucket,
}

/// The ears of one node.
pub(crate) struct Hearing {
    topic: Topic,
    all: Bucket,
    heard: BTreeMap<EndpointId, Heard>,
    counts: Arc<Announcements>,
}

/// The time as a node sees it.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    /// Of the wall clock, since 1970.
    pub(crate) wall_ms: u64,
}

impl Hearing {
    pub(crate) fn new(topic: Topic, counts: Arc<Announcements>) -> Self {
        Self { topic, all: Bucket::default(), heard: BTreeMap::new(), counts }
    }

    /// What the message says, if it is to be believed.
    pub(crate) fn hear(
        &mut self,
        message: &[u8],
        knows: impl Fn(EndpointId) -> bool,
        now: Now,
    ) -> Result<Announcement, Dropped> {
        let heard = self.judge(message, knows, now);
        let counts = &self.counts;
        let counter = match &heard {
            Ok(_) => &counts.believed,
            Err(Dropped::Malformed) => &counts.malformed,
            Err(Dropped::Unknown) => &counts.unknown,
            Err(Dropped::Stale) => &counts.stale,
            Err(Dropped::Replayed) => &counts.replayed,
            Err(Dropped::Forged) => &counts.forged,
            Err(Dropped::TooMany) => &counts.too_many,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        heard
    }

    fn judge(
        &mut self,
        message: &[u8],
        knows: impl Fn(EndpointId) -> bool,
        now: Now,
    ) -> Result<Announcement, Dropped> {
        if !self.all.take(RATE_OF_ALL, now.instant) {
            return Err(Dropped::TooMany);
        }
        let unverified = Unverified::read(message).ok_or(Dropped::Malformed)?;
        let (endpoint, stamp_ms) = (unverified.endpoint(), unverified.stamp_ms());
        if !knows(endpoint) {
            return Err(Dropped::Unknown);
        }
        if now.wall_ms.abs_diff(stamp_ms) > WINDOW.as_millis() as u64 {
            return Err(Dropped::Stale);
        }
        if self.heard.get(&endpoint).is_some_and(|heard| stamp_ms <= heard.stamp_ms) {
            return Err(Dropped::Replayed);
        }
        let announcement = unverified.verify(&self.topic).ok_or(Dropped::Forged)?;
        self.heard.retain(|endpoint, _| knows(*endpoint));
        let heard = self.heard.entry(endpoint).or_default();
        if !heard.bucket.take(RATE_OF_ONE, now.instant) {
            return Err(Dropped::TooMany);
        }
        heard.stamp_ms = stamp_ms;
        Ok(announcement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterKeys, PeerAddress, SecretKey};

    const NOON_MS: u64 = 1_800_000_000_000;

    struct Test {
        hearing: Hearing,
        start: Instant,
        counts: Arc<Announcements>,
    }

    fn topic() -> Topic {
        ClusterKeys::new(b"a cookie of the right length").topic().clone()
    }

    fn key(number: u8) -> SecretKey {
        SecretKey::from_bytes(&[number; 32])
    }

    /// What an endpoint says, signed by another.
    fn signed(who: u8, by: u8, stamp_ms: u64) -> bytes::Bytes {
        let PeerAddress(address) = format!("{}@127.0.0.1:7000", key(who).public()).parse().unwrap();
        Announcement { address, stamp_ms }.sign(&key(by), &topic())
    }

    fn said(who: u8, stamp_ms: u64) -> bytes::Bytes {
        signed(who, who, stamp_ms)
    }

    impl Test {
        fn new() -> Self {
            let counts = Arc::<Announcements>::default();
            let hearing = Hearing::new(topic(), counts.clone());
            Self { hearing, start: Instant::now(), counts }
        }

        /// Hears a message so long after noon; the endpoints of the first nine keys are known.
        fn hear(&mut self, message: &[u8], after: Duration) -> Result<u64, Dropped> {
            let instant = self.start + after;
            let now = Now { instant, wall_ms: NOON_MS + after.as_millis() as u64 };
            let knows = |endpoint| (1..10).any(|number| key(number).public() == endpoint);
            self.hearing.hear(message, knows, now).map(|announcement| announcement.stamp_ms)
        }
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_is_believed_once_and_only_what_is_newer() {
        let mut test = Test::new();
        assert_eq!(test.hear(&said(1, NOON_MS), s(0)), Ok(NOON_MS));
        assert_eq!(test.hear(&said(1, NOON_MS), s(1)), Err(Dropped::Replayed));
        assert_eq!(test.hear(&said(1, NOON_MS - 1), s(1)), Err(Dropped::Replayed));
        assert_eq!(test.hear(&said(1, NOON_MS + 1), s(1)), Ok(NOON_MS + 1));
        assert_eq!(test.hear(&said(2, NOON_MS), s(1)), Ok(NOON_MS), "of another");
        assert_eq!(test.counts.believed.load(Ordering::Relaxed), 3);
        assert_eq!(test.counts.replayed.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_is_older_or_newer_than_clocks_may_differ_is_dropped() {
        let mut test = Test::new();
        assert_eq!(test.hear(&said(1, NOON_MS - 60_001), s(0)), Err(Dropped::Stale));
        assert_eq!(test.hear(&said(1, NOON_MS - 60_000), s(0)), Ok(NOON_MS - 60_000));
        assert_eq!(test.hear(&said(1, NOON_MS + 60_001), s(0)), Err(Dropped::Stale));
        assert_eq!(test.hear(&said(1, NOON_MS + 60_000), s(0)), Ok(NOON_MS + 60_000));
        assert_eq!(test.hear(&said(2, 0), s(0)), Err(Dropped::Stale));
        assert_eq!(test.hear(&said(2, u64::MAX), s(0)), Err(Dropped::Stale));
        // A clock that was ahead and is put right is believed again, two windows later at most.
        assert_eq!(test.hear(&said(1, NOON_MS + 50_000), s(50)), Err(Dropped::Replayed));
        assert_eq!(test.hear(&said(1, NOON_MS + 61_000), s(61)), Ok(NOON_MS + 61_000));
    }

    #[test]
    fn a_forged_one_is_dropped_and_changes_nothing() {
        let mut test = Test::new();
        assert_eq!(test.hear(&signed(1, 2, NOON_MS + 9), s(0)), Err(Dropped::Forged));
        assert_eq!(test.hear(&said(1, NOON_MS), s(0)), Ok(NOON_MS), "the real one is still new");
    }

    #[test]
    fn strangers_take_no_memory() {
        let mut test = Test::new();
        for number in 10..110 {
            assert_eq!(test.hear(&said(number, NOON_MS), s(0)), Err(Dropped::Unknown));
        }
        assert!(test.hearing.heard.is_empty());
    }

    #[test]
    fn one_that_talks_too_much_is_not_listened_to_and_others_are() {
        let mut test = Test::new();
        for number in 0..5 {
            assert_eq!(test.hear(&said(1, NOON_MS + number), s(0)), Ok(NOON_MS + number));
        }
        assert_eq!(test.hear(&said(1, NOON_MS + 5), s(0)), Err(Dropped::TooMany));
        assert_eq!(test.hear(&said(2, NOON_MS), s(0)), Ok(NOON_MS));
        assert_eq!(test.hear(&said(1, NOON_MS + 6), s(1)), Ok(NOON_MS + 6), "a second later");
    }

    #[test]
    fn a_flood_is_not_even_read() {
        let mut test = Test::new();
        for _ in 0..RATE_OF_ALL.burst {
            assert_eq!(test.hear(b"nonsense", s(0)), Err(Dropped::Malformed));
        }
        assert_eq!(test.hear(b"nonsense", s(0)), Err(Dropped::TooMany));
        assert_eq!(test.hear(&said(1, NOON_MS), s(1)), Ok(NOON_MS), "a second later");
        assert_eq!(test.counts.malformed.load(Ordering::Relaxed), u64::from(RATE_OF_ALL.burst));
        assert_eq!(test.counts.too_many.load(Ordering::Relaxed), 1);
    }
}
