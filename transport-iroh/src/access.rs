//! Who is let in.
//!
//! The cluster's cookie never travels. Both ends of a connection prove that they know a key derived
//! from it, over material that TLS exports for this very connection: a proof is worth nothing on
//! any other, so it can be neither replayed nor relayed. What the cookie is good for is kept apart
//! by BLAKE3's key derivation, each under a context of its own: proving to be a node, proving to be
//! a client, and naming the gossip topic, which is public. A client's secret opens the client's
//! lane and nothing else, and the cookie cannot be had from it.
//!
//! Beside the proof a node may keep an allow list of the endpoints that may come as nodes.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use aspen_core::transport::Lane;
use iroh::EndpointId;
use iroh::endpoint::{Connection, VarInt};

/// Bytes of a proof, and of the keys.
const PROOF_BYTES: usize = 32;
/// The label under which TLS exports what a proof is made over.
const LABEL: &[u8] = b"EXPORTER-aspen-proof-v1";

/// The keys that a node has from its cluster's cookie.
#[derive(Clone)]
pub struct ClusterKeys {
    node: [u8; PROOF_BYTES],
    client: ClientSecret,
    topic: Topic,
}

/// What the members of a cluster gossip on. It may be known: it opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic(pub(crate) [u8; PROOF_BYTES]);

/// What a client proves itself with; a ticket carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(pub [u8; PROOF_BYTES]);

impl ClusterKeys {
    /// From the cookie, which every node of a cluster has and nobody else.
    pub fn new(cookie: &[u8]) -> Self {
        Self {
            node: blake3::derive_key("aspen 2026-11 proof of a node", cookie),
            client: ClientSecret(blake3::derive_key("aspen 2026-11 secret of clients", cookie)),
            topic: Topic(blake3::derive_key("aspen 2026-11 gossip topic", cookie)),
        }
    }

    /// The cluster's gossip topic.
    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The secret of the cluster's clients.
    pub fn client_secret(&self) -> &ClientSecret {
        &self.client
    }
}

impl std::fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKeys(…)")
    }
}

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// What an endpoint proves itself with.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// It is a node.
    Node(ClusterKeys),
    /// It is a client, and serves nobody.
    Client(ClientSecret),
}

impl Credentials {
    /// The key for a purpose; none, if this endpoint may not have it.
    pub(crate) fn key(&self, purpose: Purpose) -> Option<&[u8; PROOF_BYTES]> {
        match self {
            Self::Node(keys) if purpose.is_for_clients() => Some(&keys.client.0),
            Self::Node(keys) => Some(&keys.node),
            Self::Client(secret) => purpose.is_for_clients().then_some(&secret.0),
        }
    }
}

/// What a connection is for, which its protocol's name in TLS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Core's calls and streams.
    Lane(Lane),
    /// The members' announcements.
    Gossip,
}

impl Purpose {
    /// The purpose of a connection; none, if it has another program's.
    pub(crate) fn of(protocol: &[u8]) -> Option<Self> {
        let lanes = Lane::ALL.into_iter().map(Self::Lane);
        lanes.chain([Self::Gossip]).find(|purpose| purpose.protocol() == protocol)
    }

    /// The protocol's name in TLS: one for each purpose, so that it needs no message to be known.
    pub(crate) fn protocol(self) -> &'static [u8] {
        match self {
            Self::Lane(Lane::Control) => b"aspen/1/control",
            Self::Lane(Lane::Replication) => b"aspen/1/replication",
            Self::Lane(Lane::Snapshot) => b"aspen/1/snapshot",
            Self::Lane(Lane::Client) => b"aspen/1/client",
            Self::Gossip => b"aspen/1/gossip",
        }
    }

    /// Whether clients may come.
    fn is_for_clients(self) -> bool {
        self == Self::Lane(Lane::Client)
    }
}

/// The endpoints that may come as nodes.
#[derive(Debug, Default)]
pub(crate) struct AllowList(RwLock<Option<BTreeSet<EndpointId>>>);

impl AllowList {
    /// Nobody but these from now on; `None`: whoever proves to know the cookie.
    pub(crate) fn set(&self, allowed: Option<BTreeSet<EndpointId>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = allowed;
    }

    pub(crate) fn admits(&self, purpose: Purpose, endpoint: EndpointId) -> bool {
        let allowed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        purpose.is_for_clients() || allowed.as_ref().is_none_or(|list| list.contains(&endpoint))
    }
}

/// Why a connection was closed, as its other side sees it: the numbers of HTTP that people know.
pub(crate) mod closed {
    use super::VarInt;

    /// The proof was wrong.
    pub(crate) const UNPROVEN: VarInt = VarInt::from_u32(401);
    /// The endpoint is not on the allow list.
    pub(crate) const NOT_ALLOWED: VarInt = VarInt::from_u32(403);
    /// The proof did not come in time.
    pub(crate) const TOO_SLOW: VarInt = VarInt::from_u32(408);
    /// The dialer stood still so long that its peers may have given up.
    pub(crate) const STOOD_STILL: VarInt = VarInt::from_u32(503);
    /// The dialer has heard nothing for too long.
    pub(crate) const SILENT: VarInt = VarInt::from_u32(504);
}

/// Who proves.
#[derive(Clone, Copy)]
enum Role {
    Dialer,
    Acceptor,
}

/// The connection did not prove what it had to.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unproven(String);

fn unproven(reason: impl std::fmt::Display) -> Unproven {
    Unproven(reason.to_string())
}

fn proof(
    connection: &Connection,
    key: &[u8; PROOF_BYTES],
    role: Role,
) -> Result<blake3::Hash, Unproven> {
    let role: &[u8] = match role {
        Role::Dialer => b"dialer",
        Role::Acceptor => b"acceptor",
    };
    let mut exported = [0; PROOF_BYTES];
    connection
        .export_keying_material(&mut exported, LABEL, role)
        .map_err(|_| unproven("TLS exports no keying material"))?;
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(role);
    hasher.update(&exported);
    Ok(hasher.finalize())
}

/// The dialer's side: proves the key first and asks the same of the other end.
pub(crate) async fn prove(
    connection: &Connection,
    key: &[u8; PROOF_BYTES],
) -> Result<(), Unproven> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(unproven)?;
    let mine = proof(connection, key, Role::Dialer)?;
    send.write_all(mine.as_bytes()).await.map_err(unproven)?;
    let mut theirs = [0; PROOF_BYTES];
    receive.read_exact(&mut theirs).await.map_err(|_| {
        let reason = connection.close_reason();
        unproven(reason.map_or("it says nothing".to_owned(), |reason| reason.to_string()))
    })?;
    // The comparison of hashes takes the same time wherever they differ.
    if proof(connection, key, Role::Acceptor)? == blake3::Hash::from_bytes(theirs) {
        return Ok(());
    }
    connection.close(closed::UNPROVEN, b"not of this cluster");
    Err(unproven("it is not of this cluster"))
}

/// The acceptor's side: says nothing before the dialer has proven the key. Whoever calls closes the
/// connection of one who has not.
pub(crate) async fn verify(
    connection: &Connection,
    key: &[u8; PROOF_BYTES],
) -> Result<(), Unproven> {
    let (mut send, mut receive) = connection.accept_bi().await.map_err(unproven)?;
    let mut theirs = [0; PROOF_BYTES];
    receive.read_exact(&mut theirs).await.map_err(unproven)?;
    if proof(connection, key, Role::Dialer)? != blake3::Hash::from_bytes(theirs) {
        return Err(unproven("wrong cookie or ticket"));
    }
    let mine = proof(connection, key, Role::Acceptor)?;
    send.write_all(mine.as_bytes()).await.map_err(unproven)
}
