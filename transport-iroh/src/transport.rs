//! An endpoint: the [`Transport`] trait over iroh.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aspen_core::NodeId;
use aspen_core::limits::{OPEN_TIMEOUT, STREAMS_MAX};
use aspen_core::transport::{Handler, Lane, Transport, TransportError};
use bytes::Bytes;
use iroh::endpoint::{
    BindOpts, Connection, IdleTimeout, QuicTransportConfig, RecvStream, SendStream, VarInt, presets,
};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, RelayUrl, SecretKey};
use irpc::rpc::RemoteSender;

use crate::access::{AllowList, Credentials, Purpose};
use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::discovery::{GossipPlace, ProveForGossip};
use crate::messages::Messages;
use crate::protocol::{Protocol, Stream};
use crate::serve::{self, Refusals};
use crate::stream::{IrohReceiver, IrohSender, check_length};
use crate::ticket::Ticket;
use crate::watch::watch;

/// How much of a stream may be under way unread. noq 1.4 ends a connection when more than 2048
/// pieces of a stream, as they came in packets, wait to be read: it takes full packets, which it
/// does not join, for gaps. With twice as much a reader that stalls would lose its connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// How much of all streams of a connection may be under way unread.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// A connection on which nothing is said says this often in an idle timeout that it is there.
const KEEP_ALIVES_PER_IDLE_TIMEOUT: u32 = 4;

/// How an endpoint is bound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The endpoint's identity.
    pub secret_key: SecretKey,
    /// What it proves itself with.
    pub credentials: Credentials,
    /// Where it listens, at most one address of IPv4 and one of IPv6.
    pub bind: Vec<SocketAddr>,
    /// A relay to be reached through where no direct way is; `None`: none.
    pub relay: Option<RelayUrl>,
    /// After this long without a word from its peer a connection that was dialed is broken. QUIC
    /// waits for three of its probe timeouts if that is longer, and it alone watches those that were
    /// accepted.
    pub idle_timeout: Duration,
}

impl Settings {
    /// A restarted peer is noticed within 2 s.
    pub const IDLE_TIMEOUT: Duration = Duration::from_millis(1500);

    /// On one address, without a relay.
    pub fn new(secret_key: SecretKey, credentials: Credentials, bind: SocketAddr) -> Self {
        let idle_timeout = Self::IDLE_TIMEOUT;
        Self { secret_key, credentials, bind: vec![bind], relay: None, idle_timeout }
    }

    /// What a client with this ticket needs: a socket for each kind of address in it, and the
    /// relay, if one is named.
    pub fn of_client(ticket: &Ticket) -> Self {
        let credentials = Credentials::Client(ticket.secret.clone());
        let nodes = || ticket.nodes.values();
        let has = |v6| nodes().any(|node| node.0.ip_addrs().any(|ip| ip.is_ipv6() == v6));
        let v4: SocketAddr = (Ipv4Addr::UNSPECIFIED, 0).into();
        let mut settings = Self::new(SecretKey::generate(), credentials, v4);
        if has(true) {
            settings.bind.push((Ipv6Addr::UNSPECIFIED, 0).into());
        }
        settings.relay = nodes().find_map(|node| node.0.relay_urls().next().cloned());
        settings
    }

    fn quic(&self) -> Result<QuicTransportConfig, BindError> {
        let idle = IdleTimeout::try_from(self.idle_timeout);
        let idle = idle.map_err(|error| BindError(format!("the idle timeout: {error}")))?;
        let keep_alive = self.idle_timeout / KEEP_ALIVES_PER_IDLE_TIMEOUT;
        Ok(QuicTransportConfig::builder()
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(keep_alive)
            .default_path_max_idle_timeout(self.idle_timeout)
            .default_path_keep_alive_interval(keep_alive)
            .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
            .send_window(CONNECTION_WINDOW_BYTES.into())
            .build())
    }
}

/// The endpoint could not be bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BindError(String);

/// An endpoint. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct IrohTransport(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    relay: Option<RelayUrl>,
    pub(crate) credentials: Credentials,
    pub(crate) allowed: AllowList,
    pub(crate) refusals: Refusals,
    pub(crate) gossip: GossipPlace,
    pub(crate) connections: Arc<Connections>,
    observer: OnceLock<CallObserver>,
}

/// A call that was made or served, and how long that took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTook {
    /// Whether it was served here; otherwise it was made here.
    pub served: bool,
    /// The lane.
    pub lane: Lane,
    /// From the request to its response, or to the error.
    pub time: Duration,
}

type CallObserver = Box<dyn Fn(CallTook) + Send + Sync>;

impl IrohTransport {
    /// Binds the endpoint's sockets.
    ///
    /// # Errors
    /// [`BindError`] when an address cannot be had or a setting is out of its range.
    pub async fn bind(settings: Settings) -> Result<Self, BindError> {
        let error = |error: &dyn std::fmt::Display| BindError(format!("{error:#}"));
        let relay = settings.relay.clone();
        let relay = relay.map_or(RelayMode::Disabled, |url| RelayMode::custom([url]));
        let protocols = match settings.credentials {
            Credentials::Node(_) => lanes(),
            Credentials::Client(_) => Vec::new(),
        };
        // A client may be where there is one kind of address alone.
        let required = !protocols.is_empty() || settings.bind.len() == 1;
        let mut builder = Endpoint::builder(presets::Minimal)
            .secret_key(settings.secret_key.clone())
            .relay_mode(relay)
            .alpns(protocols)
            .transport_config(settings.quic()?)
            .hooks(ProveForGossip(settings.credentials.clone()))
            .clear_ip_transports();
        let bind = BindOpts::default().set_is_required(required);
        for address in &settings.bind {
            let bound = builder.bind_addr_with_opts(*address, bind.clone());
            builder = bound.map_err(|cause| error(&cause))?;
        }
        let endpoint = builder.bind().await.map_err(|cause| error(&cause))?;
        let credentials = settings.credentials;
        let connections = Arc::new(Connections::new(endpoint.clone(), credentials.clone()));
        tokio::spawn(watch(Arc::downgrade(&connections), settings.idle_timeout));
        Ok(Self(Arc::new(Inner {
            endpoint,
            relay: settings.relay,
            credentials,
            allowed: AllowList::default(),
            refusals: Refusals::default(),
            gossip: GossipPlace::default(),
            connections,
            observer: OnceLock::new(),
        })))
    }

    /// The endpoint's public key.
    pub fn id(&self) -> EndpointId {
        self.0.endpoint.id()
    }

    /// Where the endpoint can be reached: where it listens, or, if that is every address of the
    /// machine, those that the machine has; and its relay, whether that has answered yet or not.
    pub fn address(&self) -> PeerAddress {
        let bound = self.0.endpoint.bound_sockets();
        let address = if bound.iter().any(|socket| socket.ip().is_unspecified()) {
            self.0.endpoint.addr()
        } else {
            let address = EndpointAddr::new(self.id());
            bound.into_iter().fold(address, EndpointAddr::with_ip_addr)
        };
        PeerAddress(self.0.relay.iter().cloned().fold(address, EndpointAddr::with_relay_url))
    }

    /// Whoever runs this says that an endpoint is here; what the membership says counts beside it.
    pub fn add_peer(&self, peer: PeerAddress) {
        self.0.connections.book().add_peer(peer.0);
    }

    /// An endpoint has said in an earlier life of this process that it is here.
    pub fn remember(&self, peer: PeerAddress) {
        self.0.connections.book().remember(peer.0);
    }

    /// From now on nobody but these may come as nodes, and they must still prove to know the
    /// cookie; `None`: whoever proves it.
    pub fn allow(&self, nodes: Option<BTreeSet<EndpointId>>) {
        self.0.allowed.set(nodes);
    }

    /// Hands every call that is made or served from now on to `observer`; only the first one
    /// counts.
    pub fn observe_calls(&self, observer: impl Fn(CallTook) + Send + Sync + 'static) {
        let _ = self.0.observer.set(Box::new(observer));
    }

    /// What was turned away.
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// Closes every connection, and tells their peers.
    pub async fn close(&self) {
        self.0.endpoint.close().await;
    }
}

/// Opens a stream on a connection, and says what it is for.
pub(crate) async fn open(
    connection: Connection,
    purpose: impl Into<Protocol>,
) -> Result<(SendStream, RecvStream), String> {
    let opening = tokio::time::timeout(OPEN_TIMEOUT, connection.open_bi());
    let late = |_| format!("no stream within {} s", OPEN_TIMEOUT.as_secs());
    let opened = opening.await.map_err(late)?;
    let (send, receive) = opened.map_err(|error| format!("{error:#}"))?;
    let stream = RemoteSender::<Protocol>::new(send, receive);
    stream.write(purpose).await.map_err(|error| format!("{error:#}"))
}

impl Inner {
    /// Notes a call that ends now.
    pub(crate) fn took(&self, served: bool, lane: Lane, begun: Instant) {
        if let Some(observer) = self.observer.get() {
            observer(CallTook { served, lane, time: begun.elapsed() });
        }
    }
}

impl Transport for IrohTransport {
    type Sender = IrohSender;
    type Receiver = IrohReceiver;

    fn learn(&self, node: NodeId, address: &str) {
        match address.parse::<PeerAddress>() {
            Ok(PeerAddress(address)) => self.0.connections.learn(node, address),
            Err(error) => tracing::warn!(%node, %error, "a node's address cannot be used"),
        }
    }

    fn whereabouts(&self, said: &str) -> String {
        match said.parse::<PeerAddress>() {
            Ok(PeerAddress(said)) if said.id == self.id() => self.address().to_string(),
            Ok(PeerAddress(said)) => {
                PeerAddress(self.0.connections.book().whereabouts(said)).to_string()
            }
            Err(_) => said.to_owned(),
        }
    }

    async fn call(&self, to: NodeId, lane: Lane, request: Bytes) -> Result<Bytes, TransportError> {
        check_length(&request)?;
        let begun = Instant::now();
        let response = self.0.connections.caller(to, lane).await?.call(request).await;
        self.0.took(false, lane, begun);
        response
    }

    async fn open(
        &self,
        to: NodeId,
        lane: Lane,
    ) -> Result<(IrohSender, IrohReceiver), TransportError> {
        let connection = self.0.connections.to(to, lane).await?;
        let opened = open(connection, Stream).await;
        let (send, receive) =
            opened.map_err(|reason| TransportError::Unreachable { to, reason })?;
        Ok((IrohSender(send.into()), IrohReceiver::new(Messages::new(receive))))
    }

    async fn serve<H: Handler<Self>>(&self, handler: Arc<H>) {
        serve::serve(&self.0, handler).await;
    }
}

/// The names of the protocols that every node serves.
pub(crate) fn lanes() -> Vec<Vec<u8>> {
    Lane::ALL.map(|lane| Purpose::Lane(lane).protocol().to_vec()).to_vec()
}
