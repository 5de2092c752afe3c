//! The real network: [`Transport`](aspen_core::Transport) over iroh's QUIC endpoints, and
//! openraft's runtime on tokio.
//!
//! irpc carries core's encoded frames as opaque bytes (`protocol`). Each lane to a peer is a
//! connection of its own (`connections`), so that a snapshot delays no heartbeat; the calls on it
//! share one stream (`calls`). Whoever comes in proves that it belongs to the cluster (`access`), and each stream is served by a task of its own
//! (`serve`). An endpoint talks to nobody whom its operator did not name: no relay, no port mapper,
//! and no `discovery` before one is started.

mod access;
mod address;
mod calls;
mod connections;
mod discovery;
mod messages;
mod protocol;
mod runtime;
mod serve;
mod stream;
mod ticket;
mod transport;
mod watch;

pub use access::{ClientSecret, ClusterKeys, Credentials};
pub use address::{AddressError, PeerAddress};
pub use discovery::{Announcements, Discovery, DiscoverySettings, Neighbourhood};
pub use runtime::TokioRuntime;
pub use serve::Refusals;
pub use stream::{IrohReceiver, IrohSender};
pub use ticket::{Ticket, TicketError};
pub use transport::{BindError, CallTook, IrohTransport, Settings};

pub use iroh::{EndpointId, RelayUrl, SecretKey};
