//! A ticket: all that a client needs to talk to a cluster, as one word.
//!
//! It holds the addresses of some nodes and the secret of the cluster's clients. Whoever has it may
//! do what a client may: read and write every key, and change the cluster's membership. It does not
//! make a node: the cookie is not in it and cannot be had from it.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::str::FromStr;

use aspen_core::NodeId;
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use crate::access::ClientSecret;
use crate::address::PeerAddress;

/// What every ticket begins with.
const PREFIX: &str = "aspen";
/// The version of what is inside.
const VERSION: u8 = 1;
/// So many bytes of a hash at the end show a ticket that was not copied whole.
const CHECK_BYTES: usize = 4;

/// Where a cluster is, and the key to its clients' lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Some of the nodes.
    pub nodes: BTreeMap<NodeId, PeerAddress>,
    /// The secret of the cluster's clients.
    pub secret: ClientSecret,
}

/// The text is no ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket: {0}; expected the word that begins with `{PREFIX}`, as a node prints it")]
pub struct TicketError(&'static str);

#[derive(Serialize, Deserialize)]
struct Inside {
    nodes: BTreeMap<NodeId, String>,
    secret: [u8; 32],
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = blake3::hash(bytes);
    std::array::from_fn(|at| hash.as_bytes()[at])
}

impl Display for Ticket {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let nodes = self.nodes.iter().map(|(id, address)| (*id, address.to_string())).collect();
        let inside = Inside { nodes, secret: self.secret.0 };
        let bytes = postcard::to_extend(&inside, vec![VERSION]);
        let mut bytes = bytes.map_err(|_| std::fmt::Error)?;
        bytes.extend(check(&bytes));
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim().to_ascii_lowercase();
        let word = text.strip_prefix(PREFIX).ok_or(TicketError("it begins otherwise"))?;
        let bytes = BASE32_NOPAD.decode(word.to_ascii_uppercase().as_bytes());
        let bytes = bytes.map_err(|_| TicketError("it is cut off or holds a foreign character"))?;
        let (bytes, checked) =
            bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TicketError("it is cut off"))?;
        if check(bytes) != *checked {
            return Err(TicketError("it was not copied whole"));
        }
        let (version, bytes) = bytes.split_first().ok_or(TicketError("it is empty"))?;
        if *version != VERSION {
            return Err(TicketError("another version of Aspen wrote it"));
        }
        let inside: Inside =
            postcard::from_bytes(bytes).map_err(|_| TicketError("its inside is nonsense"))?;
        let nodes = inside.nodes.into_iter().map(|(id, address)| Ok((id, address.parse()?)));
        let nodes: Result<_, crate::AddressError> = nodes.collect();
        let nodes = nodes.map_err(|_| TicketError("an address in it is none"))?;
        Ok(Self { nodes, secret: ClientSecret(inside.secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let id = crate::SecretKey::from_bytes(&[1; 32]).public();
        let address: PeerAddress = format!("{id}@127.0.0.1:7000").parse().unwrap();
        Ticket { nodes: BTreeMap::from([(NodeId(1), address)]), secret: ClientSecret([7; 32]) }
    }

    #[test]
    fn a_ticket_is_read_as_it_is_written() {
        let text = ticket().to_string();
        assert!(text.starts_with(PREFIX) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(text.parse(), Ok(ticket()));
        assert_eq!(format!(" {}\n", text.to_uppercase()).parse(), Ok(ticket()));
    }

    #[test]
    fn every_slip_in_copying_is_noticed() {
        let text = ticket().to_string();
        for end in 0..text.len() {
            assert!(text[..end].parse::<Ticket>().is_err(), "cut off at {end}");
        }
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'a' { "b" } else { "a" };
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, other);
            assert!(wrong.parse::<Ticket>().is_err(), "another character at {at}");
        }
    }
}
