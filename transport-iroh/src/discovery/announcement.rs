//! An announcement: where an endpoint says that it is, and when it said so.
//!
//! ```text
//! format      1 byte
//! inside      postcard: address as text, stamp in ms since 1970
//! signature   64 bytes of Ed25519, by the key that is the endpoint's id
//! ```
//!
//! The signature also covers the cluster's gossip topic, so that an announcement is worth nothing in
//! another cluster. There is no node's number in it: an endpoint's id is what the membership knows a
//! node by, and nobody can sign for another's.

use bytes::Bytes;
use iroh::{EndpointAddr, EndpointId, SecretKey, Signature, TransportAddr};
use serde::{Deserialize, Serialize};

use crate::PeerAddress;
use crate::access::Topic;

/// The format that is written, and the only one that is read.
const FORMAT: u8 = 1;
/// Longest announcement.
const BYTES_MAX: usize = 2048;
/// Most ways to an endpoint in one announcement.
const WAYS_MAX: usize = 16;
/// What sets these signatures apart from all others that the key may give.
const CONTEXT: &[u8] = b"aspen 2026-11 announcement of an address";

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) address: EndpointAddr,
    /// When it was said, by the wall clock of whoever said it.
    pub(crate) stamp_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Inside {
    address: String,
    stamp_ms: u64,
}

fn signed_text(topic: &Topic, signed: &[u8]) -> Vec<u8> {
    [CONTEXT, &topic.0, signed].concat()
}

impl Announcement {
    /// The announcement as it travels. Of very many ways some are left out, never the relay.
    pub(crate) fn sign(&self, key: &SecretKey, topic: &Topic) -> Bytes {
        let mut ways: Vec<TransportAddr> = self.address.addrs.iter().cloned().collect();
        ways.sort_by_key(|way| !matches!(way, TransportAddr::Relay(_)));
        ways.truncate(WAYS_MAX);
        let address = PeerAddress(EndpointAddr::from_parts(self.address.id, ways)).to_string();
        let inside = Inside { address, stamp_ms: self.stamp_ms };
        let mut bytes =
            postcard::to_extend(&inside, vec![FORMAT]).expect("memory takes all that is written");
        let signature = key.sign(&signed_text(topic, &bytes));
        bytes.extend(signature.to_bytes());
        bytes.into()
    }
}

/// What looks like an announcement. Anybody may have written it.
pub(crate) struct Unverified<'a> {
    announcement: Announcement,
    signed: &'a [u8],
    signature: Signature,
}

impl<'a> Unverified<'a> {
    /// None, if it is no announcement, or one of addresses that nobody can be at.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > BYTES_MAX {
            return None;
        }
        let (signed, signature) = bytes.split_last_chunk::<{ Signature::LENGTH }>()?;
        let (format, inside) = signed.split_first()?;
        if *format != FORMAT {
            return None;
        }
        let (inside, rest) = postcard::take_from_bytes::<Inside>(inside).ok()?;
        let PeerAddress(address) = inside.address.parse().ok()?;
        let ways = address.addrs.len();
        if !rest.is_empty() || ways == 0 || ways > WAYS_MAX || !address.ip_addrs().all(is_a_place) {
            return None;
        }
        let announcement = Announcement { address, stamp_ms: inside.stamp_ms };
        Some(Self { announcement, signed, signature: Signature::from_bytes(signature) })
    }

    /// Whose it says that it is.
    pub(crate) fn endpoint(&self) -> EndpointId {
        self.announcement.address.id
    }

    pub(crate) fn stamp_ms(&self) -> u64 {
        self.announcement.stamp_ms
    }

    /// None, if somebody else has signed it, or for another cluster.
    pub(crate) fn verify(self, topic: &Topic) -> Option<Announcement> {
        let text = signed_text(topic, self.signed);
        self.endpoint().verify(&text, &self.signature).ok()?;
        Some(self.announcement)
    }
}

/// Whether one endpoint can be there.
fn is_a_place(address: &std::net::SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterKeys;

    fn key(number: u8) -> SecretKey {
        SecretKey::from_bytes(&[number; 32])
    }

    fn topic() -> Topic {
        ClusterKeys::new(b"a cookie of the right length").topic().clone()
    }

    fn announcement(ways: &str) -> Announcement {
        let PeerAddress(address) = format!("{}@{ways}", key(1).public()).parse().unwrap();
        Announcement { address, stamp_ms: 1_700_000_000_000 }
    }

    fn heard(bytes: &[u8]) -> Option<Announcement> {
        Unverified::read(bytes)?.verify(&topic())
    }

    #[test]
    fn an_announcement_is_heard_as_it_was_said() {
        for ways in ["127.0.0.1:7000", "10.0.0.1:7000,[::1]:7001,relay=https://r.example/"] {
            let said = announcement(ways);
            assert_eq!(heard(&said.sign(&key(1), &topic())), Some(said));
        }
    }

    #[test]
    fn nobody_signs_for_another_or_for_another_cluster() {
        let said = announcement("127.0.0.1:7000");
        assert_eq!(heard(&said.sign(&key(2), &topic())), None);
        let elsewhere = ClusterKeys::new(b"some other cookie of the length").topic().clone();
        assert_eq!(heard(&said.sign(&key(1), &elsewhere)), None);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let bytes = announcement("127.0.0.1:7000").sign(&key(1), &topic());
        for at in 0..bytes.len() * 8 {
            let mut wrong = bytes.to_vec();
            wrong[at / 8] ^= 1 << (at % 8);
            assert_eq!(heard(&wrong), None, "bit {at}");
        }
        for end in 0..bytes.len() {
            assert_eq!(heard(&bytes[..end]), None, "cut off at {end}");
        }
    }

    #[test]
    fn what_is_no_place_is_no_announcement() {
        for ways in ["", "0.0.0.0:7000", "127.0.0.1:0", "224.0.0.251:5353", "[::]:7000"] {
            assert_eq!(heard(&announcement(ways).sign(&key(1), &topic())), None, "{ways}");
        }
        let long = vec![FORMAT; BYTES_MAX + 1];
        assert!(Unverified::read(&long).is_none());
    }

    #[test]
    fn of_very_many_ways_the_relay_stays() {
        let ways: Vec<String> = (1..=40).map(|port| format!("[fe80::1]:{port}")).collect();
        let ways = format!("{},relay=https://r.example/", ways.join(","));
        let said = heard(&announcement(&ways).sign(&key(1), &topic())).unwrap();
        assert_eq!(said.address.addrs.len(), WAYS_MAX);
        assert_eq!(said.address.relay_urls().count(), 1);
    }

    /// Bytes of a keyed hash, of every length up to 300: no panic, and nothing is heard.
    #[test]
    fn garbage_is_no_announcement() {
        for seed in 0..2000_u32 {
            let mut garbage = vec![0; seed as usize % 300];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut garbage);
            if let Some(first) = garbage.first_mut().filter(|_| seed % 2 == 0) {
                *first = FORMAT;
            }
            assert_eq!(heard(&garbage), None, "{seed}");
        }
    }
}
