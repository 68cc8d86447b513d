//! Rules about where packets go: tunnel sources and next hops.

use std::net::IpAddr;

use super::rail::Rail;
use crate::pool::{Backend, Encap, Item, Place, Service, Violation};

/// The sources of outer headers are addresses of a port, so that what backends answer to them
/// (ICMP errors) comes back, and there is one of every family that is needed.
pub fn sources(rail: &Rail<'_>, found: &mut Vec<Violation>) {
    let given = [
        ("source", rail.tunnel.source.map(IpAddr::from)),
        ("source6", rail.tunnel.source6.map(IpAddr::from)),
    ];
    for (key, source) in given {
        let Some(source) = source else { continue };
        let mut own = rail.ports.iter().flat_map(|port| &port.addresses);
        if !own.any(|own| own.address() == source) {
            let message = format!("the tunnel source {source} is not an address of any port");
            let own = rail.ports.iter().flat_map(|port| &port.addresses);
            let same_family = own
                .map(|own| own.address())
                .filter(|a| a.is_ipv4() == source.is_ipv4());
            let addresses: Vec<_> = same_family.map(|address| address.to_string()).collect();
            let help = match addresses.is_empty() {
                true => "give a port that address".to_owned(),
                false => format!("the ports have {}", addresses.join(", ")),
            };
            found.push(Violation::error(Place::new(Item::Tunnel, key), message).help(help));
        }
    }
    for (index, service) in rail.pool.services.iter().enumerate() {
        if !service.encap.is_tunnel() {
            continue;
        }
        for (number, backend) in service.backends.iter().enumerate() {
            let (source, family) = match backend.address {
                IpAddr::V4(_) => (
                    rail.tunnel.source.is_some() || rail.tunnel.entropy_prefix.is_some(),
                    "IPv4",
                ),
                IpAddr::V6(_) => (
                    rail.tunnel.source6.is_some() || rail.tunnel.entropy_prefix6.is_some(),
                    "IPv6",
                ),
            };
            if !source {
                let at = Place::new(Item::Backend(index, number), "address");
                let message = format!(
                    "no port has an {family} address to send the tunnel to {} from",
                    backend.address
                );
                let help = format!("give a port an {family} address");
                found.push(Violation::error(at, message).help(help));
            }
        }
    }
}

/// Every backend, peer and remote can be sent to: it is on-link, or there is a gateway.
pub fn next_hops(rail: &Rail<'_>, found: &mut Vec<Violation>) {
    for (index, service) in rail.pool.services.iter().enumerate() {
        for (number, backend) in service.backends.iter().enumerate() {
            let at = Place::new(Item::Backend(index, number), "address");
            if service.encap == Encap::L2dsr {
                on_link(rail, service, backend, at, found);
            } else {
                reachable(rail, "backend", backend.address, at, found);
            }
        }
    }
    for (index, peer) in rail.pool.peers.iter().enumerate() {
        let at = Place::new(Item::Peer(index), "address");
        reachable(rail, "peer", peer.address, at, found);
    }
    for (index, remote) in rail.pool.remotes.iter().enumerate() {
        let at = Place::new(Item::Remote(index), "address");
        reachable(rail, "remote", remote.address, at, found);
    }
}

/// `l2dsr` changes nothing but the MAC address, so no router can stand between.
fn on_link(
    rail: &Rail<'_>,
    service: &Service,
    backend: &Backend,
    at: Place,
    found: &mut Vec<Violation>,
) {
    if !rail.ports.iter().any(|port| port.on_link(backend.address)) {
        let message = format!(
            "the backend {} of the l2dsr service {:?} is on no port's subnet",
            backend.address, service.name
        );
        let help = "l2dsr reaches only backends on-link; use a tunnel such as encap = \"gre\"";
        found.push(Violation::error(at, message).help(help));
    }
}

fn reachable(rail: &Rail<'_>, what: &str, address: IpAddr, at: Place, found: &mut Vec<Violation>) {
    let by_gateway = || {
        let mut gateways = rail.ports.iter().flat_map(|port| &port.gateways);
        gateways.any(|gateway| gateway.is_ipv4() == address.is_ipv4())
    };
    if !rail.ports.iter().any(|port| port.on_link(address)) && !by_gateway() {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let message = format!(
            "the {what} {address} cannot be reached: it is on no port's subnet, and no port has an {family} gateway"
        );
        let help = "add a gateway to the port that leads there";
        found.push(Violation::warning(at, message).help(help));
    }
}
