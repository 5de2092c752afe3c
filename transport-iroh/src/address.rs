//! Where a node is, as the cluster's membership writes it: `ID@HOST:PORT[,HOST:PORT…][,relay=URL]`.
//!
//! The id is the node's public key: whoever answers at these addresses must prove that it is his.

use std::fmt::{Display, Formatter};
use std::net::SocketAddr;
use std::str::FromStr;

use iroh::{EndpointAddr, EndpointId, RelayUrl};

/// An endpoint and the ways to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub EndpointAddr);

/// The text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}; expected ID@HOST:PORT[,HOST:PORT…][,relay=URL]")]
pub struct AddressError {
    text: String,
    problem: String,
}

impl PeerAddress {
    /// Addresses with commas between them, as there are between the ways of one: an id begins the
    /// next address.
    ///
    /// # Errors
    /// [`AddressError`] for the first that is none.
    pub fn list(text: &str) -> Result<Vec<Self>, AddressError> {
        let mut addresses: Vec<String> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match addresses.last_mut() {
                Some(address) if !part.contains('@') => {
                    address.push(',');
                    address.push_str(part);
                }
                _ => addresses.push(part.to_owned()),
            }
        }
        addresses.iter().map(|address| address.parse()).collect()
    }
}

impl Display for PeerAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let ips = self.0.ip_addrs().map(ToString::to_string);
        let relays = self.0.relay_urls().map(|url| format!("relay={url}"));
        let ways: Vec<String> = ips.chain(relays).collect();
        write!(f, "{}@{}", self.0.id, ways.join(","))
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |problem: String| AddressError { text: text.to_owned(), problem };
        let (id, ways) = text.split_once('@').ok_or_else(|| error("no `@`".to_owned()))?;
        let id: EndpointId = id.parse().map_err(|_| error(format!("`{id}` is no endpoint id")))?;
        let mut address = EndpointAddr::new(id);
        for way in ways.split(',').filter(|way| !way.is_empty()) {
            address = if let Some(url) = way.strip_prefix("relay=") {
                let url: RelayUrl =
                    url.parse().map_err(|_| error(format!("`{url}` is no relay's URL")))?;
                address.with_relay_url(url)
            } else {
                let ip: SocketAddr =
                    way.parse().map_err(|_| error(format!("`{way}` is no IP address and port")))?;
                address.with_ip_addr(ip)
            };
        }
        Ok(Self(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for ways in ["", "127.0.0.1:7000", "10.0.0.1:7000,[::1]:7001,relay=https://r.example/"] {
            let text = format!("{ID}@{ways}");
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_list_is_split_where_an_id_begins() {
        let one = format!("{ID}@10.0.0.1:7000,[::1]:7001,relay=https://r.example/");
        let two = format!("{ID}@10.0.0.2:7000");
        let read = |text: &str| {
            let addresses = PeerAddress::list(text)?;
            Ok::<_, AddressError>(addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(read(&format!("{one},{two}")), Ok(vec![one.clone(), two.clone()]));
        assert_eq!(read(&format!(" {two} , {one},")), Ok(vec![two.clone(), one]));
        assert_eq!(read(""), Ok(Vec::new()));
        let error = read(&format!("{two},localhost")).unwrap_err().to_string();
        assert!(error.contains("`localhost` is no IP address and port"), "{error}");
        let error = read("10.0.0.1:7000").unwrap_err().to_string();
        assert!(error.starts_with("`10.0.0.1:7000`: no `@`"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_named() {
        let cases = [
            ("127.0.0.1:7000".to_owned(), "no `@`"),
            ("zz@127.0.0.1:7000".to_owned(), "`zz` is no endpoint id"),
            (format!("{ID}@localhost"), "`localhost` is no IP address and port"),
            (format!("{ID}@relay=nonsense"), "`nonsense` is no relay's URL"),
        ];
        for (text, problem) in cases {
            let error = text.parse::<PeerAddress>().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("expected ID@HOST:PORT"), "{error}");
        }
    }
}
