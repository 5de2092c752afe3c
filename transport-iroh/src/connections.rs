//! The connections that this endpoint dialed: one for each peer and lane, shared by all who ask.
//!
//! A connection is dialed in a task of its own, so that a caller who gives up takes nobody's
//! connection away, and no lock is held while it is dialed. One that was closed, by either side or
//! by silence, is dialed anew when it is asked for next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aspen_core::NodeId;
use aspen_core::limits::CONNECT_TIMEOUT;
use aspen_core::transport::{Lane, TransportError};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use iroh::endpoint::Connection;
use iroh::{Endpoint, EndpointAddr};

use crate::access::{self, Credentials};
use crate::calls::Caller;
use crate::transport::client;

type Dialing = Shared<BoxFuture<'static, Result<Connection, String>>>;

/// The way to one peer on one lane.
#[derive(Clone)]
enum Way {
    Dialing(u64, Dialing),
    Open(Connection, Option<Caller>),
}

/// All connections that were dialed.
pub(crate) struct Connections {
    endpoint: Endpoint,
    credentials: Credentials,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    addresses: BTreeMap<NodeId, EndpointAddr>,
    ways: BTreeMap<(NodeId, Lane), Way>,
    /// How often was dialed.
    dialed: u64,
}

/// The protocol's name in TLS: one for each lane, so that a lane needs no message to be known.
pub(crate) fn protocol_name(lane: Lane) -> &'static [u8] {
    match lane {
        Lane::Control => b"aspen/1/control",
        Lane::Replication => b"aspen/1/replication",
        Lane::Snapshot => b"aspen/1/snapshot",
        Lane::Client => b"aspen/1/client",
    }
}

impl Connections {
    pub(crate) fn new(endpoint: Endpoint, credentials: Credentials) -> Self {
        Self { endpoint, credentials, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer is here from now on.
    pub(crate) fn learn(&self, node: NodeId, address: EndpointAddr) {
        let mut known = self.known();
        let before = known.addresses.insert(node, address.clone());
        if before.is_some_and(|before| before != address) {
            // Connections to where it was end by themselves; the next call goes to where it is.
            known.ways.retain(|(peer, _), _| *peer != node);
        }
    }

    /// An open connection to the peer, dialed if there is none.
    pub(crate) async fn to(
        self: &Arc<Self>,
        node: NodeId,
        lane: Lane,
    ) -> Result<Connection, TransportError> {
        let unreachable = |reason: String| TransportError::Unreachable { to: node, reason };
        let (number, dialing) = match self.way(node, lane).map_err(unreachable)? {
            Way::Open(connection, _) => return Ok(connection),
            Way::Dialing(number, dialing) => (number, dialing),
        };
        let dialed = dialing.await;
        let mut known = self.known();
        let ours = |way: &Way| matches!(way, Way::Dialing(other, _) if *other == number);
        if known.ways.get(&(node, lane)).is_some_and(ours) {
            match &dialed {
                Ok(connection) => {
                    known.ways.insert((node, lane), Way::Open(connection.clone(), None));
                }
                Err(_) => {
                    known.ways.remove(&(node, lane));
                }
            }
        }
        dialed.map_err(unreachable)
    }

    /// The calls to the peer, on an open connection.
    pub(crate) async fn caller(
        self: &Arc<Self>,
        node: NodeId,
        lane: Lane,
    ) -> Result<Caller, TransportError> {
        let connection = self.to(node, lane).await?;
        let mut known = self.known();
        let open = |way: &&mut Way| matches!(way, Way::Open(other, _) if other.stable_id() == connection.stable_id());
        // Another connection may have taken its place by now; then nobody else uses this one.
        let Some(Way::Open(_, kept)) = known.ways.get_mut(&(node, lane)).filter(open) else {
            return Ok(Caller::open(node, client(connection)));
        };
        if let Some(caller) = kept.as_ref().filter(|caller| !caller.has_ended()) {
            return Ok(caller.clone());
        }
        Ok(kept.insert(Caller::open(node, client(connection))).clone())
    }

    fn way(self: &Arc<Self>, node: NodeId, lane: Lane) -> Result<Way, String> {
        let mut known = self.known();
        match known.ways.get(&(node, lane)) {
            Some(Way::Open(connection, _)) if connection.close_reason().is_some() => {}
            Some(way) => return Ok(way.clone()),
            None => {}
        }
        let address = known.addresses.get(&node).ok_or("no address of it is known")?.clone();
        known.dialed += 1;
        let number = known.dialed;
        let way = Way::Dialing(number, self.dial(address, lane));
        known.ways.insert((node, lane), way.clone());
        Ok(way)
    }

    fn dial(self: &Arc<Self>, address: EndpointAddr, lane: Lane) -> Dialing {
        let this = self.clone();
        let task = tokio::spawn(async move {
            let dialing = this.connect(address, lane);
            let late = |_| format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
            tokio::time::timeout(CONNECT_TIMEOUT, dialing).await.map_err(late)?
        });
        let dialed = task.map(|ended| ended.unwrap_or_else(|error| Err(error.to_string())));
        dialed.boxed().shared()
    }

    async fn connect(&self, address: EndpointAddr, lane: Lane) -> Result<Connection, String> {
        let key = self.credentials.key(lane).ok_or("a client's secret opens no lane of nodes")?;
        let connecting = self.endpoint.connect(address, protocol_name(lane));
        let connection = connecting.await.map_err(|error| format!("{error:#}"))?;
        access::prove(&connection, key).await.map_err(|error| error.to_string())?;
        Ok(connection)
    }
}
