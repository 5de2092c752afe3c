//! The connections that this endpoint dialed: one for each peer and lane, shared by all who ask.
//!
//! A connection is dialed in a task of its own, so that a caller who gives up takes nobody's
//! connection away, and no lock is held while it is dialed. One that was closed, by either side or
//! by silence (`watch`), is dialed anew when it is asked for next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aspen_core::NodeId;
use aspen_core::limits::CONNECT_TIMEOUT;
use aspen_core::transport::{Lane, TransportError};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use iroh::endpoint::Connection;
use iroh::{Endpoint, EndpointAddr};
use tokio::task::AbortHandle;

use crate::access::{self, Credentials, Purpose, closed};
use crate::calls::Caller;
use crate::discovery::AddressBook;

/// A connection that is being dialed.
#[derive(Clone)]
struct Dialing {
    number: u64,
    task: AbortHandle,
    dialed: Shared<BoxFuture<'static, Result<Connection, String>>>,
}

impl Dialing {
    /// What came of it, once it is over.
    fn result(&self) -> Option<Result<Connection, String>> {
        self.dialed.clone().now_or_never()
    }
}

/// The way to one peer on one lane.
#[derive(Clone)]
enum Way {
    Dialing(Dialing),
    Open(Connection, Option<Caller>),
}

/// All connections that were dialed.
pub(crate) struct Connections {
    endpoint: Endpoint,
    credentials: Credentials,
    book: Arc<AddressBook>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    ways: BTreeMap<(NodeId, Lane), Way>,
    /// How often was dialed.
    dialed: u64,
}

impl Connections {
    pub(crate) fn new(endpoint: Endpoint, credentials: Credentials) -> Self {
        Self { endpoint, credentials, book: Arc::default(), known: Mutex::default() }
    }

    /// Where everybody is.
    pub(crate) fn book(&self) -> &Arc<AddressBook> {
        &self.book
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer is here from now on.
    pub(crate) fn learn(&self, node: NodeId, address: EndpointAddr) {
        if self.book.learn(node, address) {
            // Connections to where it was end by themselves; the next call goes to where it is.
            self.known().ways.retain(|(peer, _), _| *peer != node);
        }
    }

    /// An endpoint has said that it is here. Whether that is new.
    pub(crate) fn announced(&self, address: EndpointAddr) -> bool {
        let endpoint = address.id;
        let is_new = self.book.announced(address);
        if is_new {
            // Whoever dials where it was may have to wait; the next call dials where it is.
            let nodes = self.book.nodes_of(endpoint);
            let in_vain =
                |peer: NodeId, way: &Way| nodes.contains(&peer) && matches!(way, Way::Dialing(_));
            self.known().ways.retain(|(peer, _), way| !in_vain(*peer, way));
        }
        is_new
    }

    /// The connections that are open, also those whose callers did not wait for them.
    pub(crate) fn open(&self) -> BTreeMap<(NodeId, Lane), Connection> {
        let open = |way: &Way| match way {
            Way::Open(connection, _) => Some(connection.clone()),
            Way::Dialing(dialing) => dialing.result()?.ok(),
        };
        let known = self.known();
        let found = known.ways.iter().filter_map(|(to, way)| Some((*to, open(way)?)));
        found.filter(|(_, connection)| connection.close_reason().is_none()).collect()
    }

    /// Closes what is open and gives up what is being dialed; whoever waits for it is told.
    pub(crate) fn hang_up(&self) {
        for connection in self.open().into_values() {
            connection.close(closed::STOOD_STILL, b"stood still");
        }
        for way in std::mem::take(&mut self.known().ways).into_values() {
            if let Way::Dialing(dialing) = way {
                dialing.task.abort();
            }
        }
    }

    /// An open connection to the peer, dialed if there is none.
    pub(crate) async fn to(
        self: &Arc<Self>,
        node: NodeId,
        lane: Lane,
    ) -> Result<Connection, TransportError> {
        let unreachable = |reason: String| TransportError::Unreachable { to: node, reason };
        let Dialing { number, dialed, .. } = match self.way(node, lane).map_err(unreachable)? {
            Way::Open(connection, _) => return Ok(connection),
            Way::Dialing(dialing) => dialing,
        };
        let dialed = dialed.await;
        let mut known = self.known();
        let ours = |way: &Way| matches!(way, Way::Dialing(other) if other.number == number);
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
        let id = connection.stable_id();
        let open = |way: &&mut Way| matches!(way, Way::Open(other, _) if other.stable_id() == id);
        // Another connection may have taken its place by now; then nobody else uses this one.
        let Some(Way::Open(_, kept)) = known.ways.get_mut(&(node, lane)).filter(open) else {
            return Ok(Caller::open(node, connection));
        };
        if let Some(caller) = kept.as_ref().filter(|caller| !caller.has_ended()) {
            return Ok(caller.clone());
        }
        Ok(kept.insert(Caller::open(node, connection)).clone())
    }

    fn way(self: &Arc<Self>, node: NodeId, lane: Lane) -> Result<Way, String> {
        let mut known = self.known();
        let is_of_use = |way: &&Way| match way {
            Way::Open(connection, _) => connection.close_reason().is_none(),
            // Its callers may have gone before it was over.
            Way::Dialing(dialing) => match dialing.result() {
                Some(Ok(connection)) => connection.close_reason().is_none(),
                Some(Err(_)) => false,
                None => true,
            },
        };
        if let Some(way) = known.ways.get(&(node, lane)).filter(is_of_use) {
            return Ok(way.clone());
        }
        let address = self.book.ways_to(node).ok_or("no address of it is known")?;
        known.dialed += 1;
        let way = Way::Dialing(self.dial(known.dialed, address, lane));
        known.ways.insert((node, lane), way.clone());
        Ok(way)
    }

    fn dial(self: &Arc<Self>, number: u64, address: EndpointAddr, lane: Lane) -> Dialing {
        let this = self.clone();
        let dialing = tokio::spawn(async move {
            let dialing = this.connect(address, lane);
            let late = |_| format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
            tokio::time::timeout(CONNECT_TIMEOUT, dialing).await.map_err(late)?
        });
        let task = dialing.abort_handle();
        let dialed = dialing.map(|ended| match ended {
            Ok(dialed) => dialed,
            Err(error) if error.is_cancelled() => Err("it was given up".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        Dialing { number, task, dialed: dialed.boxed().shared() }
    }

    async fn connect(&self, address: EndpointAddr, lane: Lane) -> Result<Connection, String> {
        let purpose = Purpose::Lane(lane);
        let key =
            self.credentials.key(purpose).ok_or("a client's secret opens no lane of nodes")?;
        let connecting = self.endpoint.connect(address, purpose.protocol());
        let connection = connecting.await.map_err(|error| format!("{error:#}"))?;
        access::prove(&connection, key).await.map_err(|error| error.to_string())?;
        Ok(connection)
    }
}
