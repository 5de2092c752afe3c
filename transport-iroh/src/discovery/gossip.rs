//! Gossip connections, which iroh-gossip dials by itself, under the same law as all others: nothing
//! is read from one before its dialer has proven the cookie.
//!
//! The dialer proves it in a hook of iroh's, which runs after the handshake and before iroh-gossip has
//! the connection. The other end is `serve`, as for every connection, which counts it among its own
//! and hands it over when it is admitted.
//!
//! iroh-gossip passes on addresses that members tell of others, unsigned, and would have iroh believe
//! them. It does not: the source of them is taken out ([`start`]).

use std::sync::{Mutex, PoisonError};

use iroh::endpoint::{AfterHandshakeOutcome, Connection, EndpointHooks, Side, VarInt};
use iroh_gossip::Gossip;

use aspen_core::limits::READ_TIMEOUT;

use crate::access::{self, Credentials, Purpose, closed};
use crate::transport::{Inner, lanes};

/// iroh-gossip opens one stream for each topic. Lanes have none of this kind.
const TOPICS_MAX: VarInt = VarInt::from_u32(4);

/// Proves the cookie on the gossip connections that this endpoint dials.
#[derive(Debug)]
pub(crate) struct ProveForGossip(pub(crate) Credentials);

impl EndpointHooks for ProveForGossip {
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        let is_ours = connection.side() == Side::Client
            && Purpose::of(connection.alpn()) == Some(Purpose::Gossip);
        if !is_ours {
            return AfterHandshakeOutcome::Accept;
        }
        connection.set_max_concurrent_uni_streams(TOPICS_MAX);
        if let Some(key) = self.0.key(Purpose::Gossip) {
            let proving = access::prove(connection, key);
            if let Ok(Ok(())) = tokio::time::timeout(READ_TIMEOUT, proving).await {
                return AfterHandshakeOutcome::Accept;
            }
        }
        let reason = b"not of this cluster".to_vec();
        AfterHandshakeOutcome::Reject { error_code: closed::UNPROVEN, reason }
    }
}

/// Where `serve` finds the gossip, if there is one.
#[derive(Default)]
pub(crate) struct GossipPlace(Mutex<Option<Gossip>>);

impl GossipPlace {
    fn set(&self, gossip: Option<Gossip>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = gossip;
    }

    /// Hands over a connection that was admitted, and waits for its end.
    pub(crate) async fn take_in(&self, connection: Connection) {
        let gossip = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(gossip) = gossip else { return };
        connection.set_max_concurrent_uni_streams(TOPICS_MAX);
        let closed = connection.weak_handle();
        if gossip.handle_connection(connection).await.is_ok() {
            closed.closed().await;
        }
    }
}

/// Starts the gossip of an endpoint.
pub(crate) fn start(inner: &Inner) -> Gossip {
    let alpn = Purpose::Gossip.protocol();
    let gossip = Gossip::builder().alpn(alpn).spawn(inner.endpoint.clone());
    if let Ok(lookups) = inner.endpoint.address_lookup() {
        lookups.clear();
    }
    inner.gossip.set(Some(gossip.clone()));
    let protocols = lanes().into_iter().chain([alpn.to_vec()]);
    inner.endpoint.set_alpns(protocols.collect());
    gossip
}

/// From now on the endpoint has no gossip.
pub(crate) fn end(inner: &Inner) {
    inner.endpoint.set_alpns(lanes());
    inner.gossip.set(None);
}
