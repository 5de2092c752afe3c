//! Where endpoints are said to be: by the membership, by the operator, and by themselves.
//!
//! All of it is tried when one is dialed. An endpoint proves its id to whoever dials it, so a wrong
//! address costs a few packets and never leads to somebody else. What an endpoint says of itself
//! replaces what it said before, and nothing else does: a membership that still names an old address
//! erases no newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aspen_core::NodeId;
use iroh::address_lookup::{AddressLookup, EndpointInfo, Error, Item};
use iroh::{EndpointAddr, EndpointId};
use n0_future::boxed::BoxStream;

/// What iroh calls the source of these addresses.
const NAME: &str = "aspen";

/// The addresses that an endpoint knows.
#[derive(Debug, Default)]
pub(crate) struct AddressBook(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// What core was told by the membership.
    members: BTreeMap<NodeId, EndpointAddr>,
    /// What the operator said.
    peers: BTreeMap<EndpointId, EndpointAddr>,
    /// What they said of themselves.
    announced: BTreeMap<EndpointId, EndpointAddr>,
}

impl AddressBook {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The membership says that a node is here. Whether that is new.
    pub(crate) fn learn(&self, node: NodeId, address: EndpointAddr) -> bool {
        let before = self.pages().members.insert(node, address.clone());
        before.is_some_and(|before| before != address)
    }

    /// The operator says that an endpoint is here.
    pub(crate) fn add_peer(&self, address: EndpointAddr) {
        let mut pages = self.pages();
        let known = pages.peers.entry(address.id).or_insert_with(|| EndpointAddr::new(address.id));
        known.addrs.extend(address.addrs);
    }

    /// An endpoint has said that it is here. Whether that is new; it is not when nobody has named
    /// the endpoint.
    pub(crate) fn announced(&self, address: EndpointAddr) -> bool {
        let mut pages = self.pages();
        if !pages.knows(address.id) {
            return false;
        }
        pages.announced.insert(address.id, address.clone()) != Some(address)
    }

    /// An endpoint said so in an earlier life of this process, which knew who is who.
    pub(crate) fn remember(&self, address: EndpointAddr) {
        self.pages().announced.insert(address.id, address);
    }

    /// Whether somebody has named the endpoint.
    pub(crate) fn knows(&self, endpoint: EndpointId) -> bool {
        self.pages().knows(endpoint)
    }

    /// All endpoints that somebody has named.
    pub(crate) fn endpoints(&self) -> BTreeSet<EndpointId> {
        let pages = self.pages();
        let members = pages.members.values().map(|address| address.id);
        members.chain(pages.peers.keys().copied()).collect()
    }

    /// Where the endpoints that somebody has named have said that they are.
    pub(crate) fn all_announced(&self) -> Vec<EndpointAddr> {
        let pages = self.pages();
        pages.announced.values().filter(|address| pages.knows(address.id)).cloned().collect()
    }

    /// The nodes that have this endpoint.
    pub(crate) fn nodes_of(&self, endpoint: EndpointId) -> BTreeSet<NodeId> {
        let pages = self.pages();
        let nodes = pages.members.iter().filter(|(_, address)| address.id == endpoint);
        nodes.map(|(node, _)| *node).collect()
    }

    /// All ways to a node that are known.
    pub(crate) fn ways_to(&self, node: NodeId) -> Option<EndpointAddr> {
        let pages = self.pages();
        let endpoint = pages.members.get(&node)?.id;
        Some(pages.ways(endpoint))
    }

    /// Where an endpoint has said that it is, or else where it is said to be.
    pub(crate) fn whereabouts(&self, said: EndpointAddr) -> EndpointAddr {
        self.pages().announced.get(&said.id).cloned().unwrap_or(said)
    }
}

impl Pages {
    fn knows(&self, endpoint: EndpointId) -> bool {
        self.peers.contains_key(&endpoint)
            || self.members.values().any(|address| address.id == endpoint)
    }

    fn ways(&self, endpoint: EndpointId) -> EndpointAddr {
        let members = self.members.values().filter(|address| address.id == endpoint);
        let others = [self.peers.get(&endpoint), self.announced.get(&endpoint)];
        let said = members.chain(others.into_iter().flatten());
        EndpointAddr::from_parts(endpoint, said.flat_map(|address| address.addrs.iter().cloned()))
    }
}

/// So that iroh finds an endpoint of which it has nothing but the id.
impl AddressLookup for AddressBook {
    fn resolve(&self, endpoint: EndpointId) -> Option<BoxStream<Result<Item, Error>>> {
        let ways = self.pages().ways(endpoint);
        if ways.is_empty() {
            return None;
        }
        let found = Ok(Item::new(EndpointInfo::from(ways), NAME, None));
        Some(Box::pin(n0_future::stream::once(found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PeerAddress, SecretKey};

    const NODE: NodeId = NodeId(1);

    /// The address of the endpoint with a number.
    fn at(number: u8, ways: &str) -> EndpointAddr {
        let id = SecretKey::from_bytes(&[number; 32]).public();
        format!("{id}@{ways}").parse::<PeerAddress>().unwrap().0
    }

    #[test]
    fn a_stale_membership_erases_no_newer_address() {
        let book = AddressBook::default();
        assert!(!book.learn(NODE, at(1, "127.0.0.1:1")), "nothing was known before");
        assert!(book.announced(at(1, "127.0.0.1:2")));
        assert!(!book.announced(at(1, "127.0.0.1:2")), "said again");
        assert!(!book.learn(NODE, at(1, "127.0.0.1:1")));
        assert_eq!(book.ways_to(NODE), Some(at(1, "127.0.0.1:1,127.0.0.1:2")));
        assert_eq!(book.whereabouts(at(1, "127.0.0.1:1")), at(1, "127.0.0.1:2"));
        assert_eq!(book.whereabouts(at(2, "127.0.0.1:1")), at(2, "127.0.0.1:1"));
        assert!(book.announced(at(1, "127.0.0.1:3")), "it moves on");
        assert_eq!(book.ways_to(NODE), Some(at(1, "127.0.0.1:1,127.0.0.1:3")));
    }

    #[test]
    fn nobody_gets_in_who_was_not_named() {
        let book = AddressBook::default();
        assert!(!book.announced(at(1, "127.0.0.1:1")));
        assert!(book.all_announced().is_empty() && book.endpoints().is_empty());
        book.add_peer(at(1, ""));
        assert!(book.announced(at(1, "127.0.0.1:1")));
        assert_eq!(book.all_announced(), [at(1, "127.0.0.1:1")]);
        assert_eq!(book.ways_to(NODE), None, "whose endpoint it is nobody said");
        book.learn(NODE, at(1, "127.0.0.1:9"));
        assert_eq!(book.ways_to(NODE), Some(at(1, "127.0.0.1:1,127.0.0.1:9")));
        assert_eq!(book.nodes_of(at(1, "").id), BTreeSet::from([NODE]));
    }

    #[test]
    fn what_is_remembered_makes_nobody_known() {
        let book = AddressBook::default();
        book.remember(at(1, "127.0.0.1:2"));
        assert!(book.all_announced().is_empty() && book.endpoints().is_empty());
        book.learn(NODE, at(1, "127.0.0.1:1"));
        assert_eq!(book.ways_to(NODE), Some(at(1, "127.0.0.1:1,127.0.0.1:2")));
        assert_eq!(book.all_announced(), [at(1, "127.0.0.1:2")]);
    }

    #[test]
    fn a_number_that_gets_another_endpoint_keeps_nothing_of_the_old_one() {
        let book = AddressBook::default();
        book.learn(NODE, at(1, "127.0.0.1:1"));
        book.announced(at(1, "127.0.0.1:2"));
        assert!(book.learn(NODE, at(2, "127.0.0.1:3")));
        assert_eq!(book.ways_to(NODE), Some(at(2, "127.0.0.1:3")));
        assert!(!book.knows(at(1, "").id));
    }
}
