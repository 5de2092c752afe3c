//! Where iroh looks for an endpoint of which it has nothing but the id, or stale addresses.
//!
//! The book is one such place, and always there: gossip dials by id alone. mDNS asks the local
//! network, under a name of the cluster's own, so that no other program of iroh's answers. The DNS and
//! the pkarr server are n0's, and public.

use std::time::Duration;

use iroh::address_lookup::{
    AddrFilter, AddressLookupBuilder, AddressLookupBuilderError, AddressLookupServices,
    DnsAddressLookup, PkarrPublisher, PkarrResolver,
};
use iroh_mdns_address_lookup::MdnsAddressLookup;

use super::DiscoverySettings;
use crate::access::Topic;
use crate::transport::IrohTransport;

/// How often mDNS asks who is there.
const MDNS_CADENCE: Duration = Duration::from_secs(2);

/// Adds the places that are wanted. One that cannot be had is a warning.
pub(crate) fn add(transport: &IrohTransport, settings: &DiscoverySettings, topic: &Topic) {
    let endpoint = &transport.0.endpoint;
    // Only a closed endpoint has none.
    let Ok(services) = endpoint.address_lookup() else { return };
    services.add(transport.0.connections.book().clone());
    if settings.mdns && is_alone(transport) {
        tracing::info!("no mDNS: the node listens on loopback alone");
    } else if settings.mdns {
        let builder = MdnsAddressLookup::builder().service_name(service_name(topic));
        let mdns = builder.discovery_cadence(MDNS_CADENCE).build(endpoint.id());
        warn_if_failed("mDNS", mdns.map(|mdns| services.add(mdns)));
    }
    if settings.dns {
        warn_if_failed("DNS", add_built(services, transport, DnsAddressLookup::n0_dns()));
    }
    if settings.pkarr {
        let publisher = PkarrPublisher::n0_dns().addr_filter(AddrFilter::unfiltered());
        warn_if_failed("pkarr", add_built(services, transport, publisher));
        warn_if_failed("pkarr", add_built(services, transport, PkarrResolver::n0_dns()));
    }
}

fn add_built(
    services: &AddressLookupServices,
    transport: &IrohTransport,
    builder: impl AddressLookupBuilder,
) -> Result<(), AddressLookupBuilderError> {
    services.add(builder.into_address_lookup(&transport.0.endpoint)?);
    Ok(())
}

fn warn_if_failed(what: &str, added: Result<(), AddressLookupBuilderError>) {
    if let Err(error) = added {
        tracing::warn!("{what} does not work here, the node runs without it: {error:#}");
    }
}

/// Whether nobody in the network could reach this endpoint.
fn is_alone(transport: &IrohTransport) -> bool {
    transport.0.endpoint.bound_sockets().iter().all(|socket| socket.ip().is_loopback())
}

/// The cluster's name in mDNS, where it may have 15 characters. It tells nothing of the cookie.
fn service_name(topic: &Topic) -> String {
    let name = blake3::derive_key("aspen 2026-11 name in mDNS", &topic.0);
    format!("aspen-{}", data_encoding::HEXLOWER.encode(&name[..4]))
}
