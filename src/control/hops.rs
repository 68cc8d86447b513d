//! Next hops: which ones a rail has, how it asks for them, and what it learns of them.

use std::net::IpAddr;

use crate::pool::{Config, Name};
use crate::table::Nanos;
use crate::table::neighbor::{Learned, Neighbor, NeighborTable, Request};
use crate::table::news::Sighting;
use crate::table::snapshot::PortIndex;
use crate::wire::MacAddr;

use super::compile::{LinkAddresses, gateways};
use super::observed::Observed;
use super::peering::Peering;
use super::rail::Hardware;
use super::solicit;

/// What is known of stations, of other rails, and of what is between.
pub(super) struct Known<'a>(pub &'a NeighborTable, pub &'a Peering, pub &'a Observed);

impl LinkAddresses for Known<'_> {
    fn mac(&self, address: IpAddr) -> Option<[u8; 6]> {
        self.0.mac(address).map(MacAddr::octets)
    }

    fn path_mtu(&self, address: IpAddr) -> Option<u16> {
        self.2.paths.mtu(address)
    }

    fn drain_is_over(&self, service: &Name, backend: &Name) -> bool {
        self.2.drains.is_over(service, backend)
    }

    fn rail_alive(&self, address: IpAddr) -> bool {
        self.1.is_usable(address)
    }
}

/// Requests without an answer after which a next hop no longer keeps the rail from being ready.
const PATIENCE: u32 = 3;

/// Takes note of what a station said of itself.
pub(super) fn learn(neighbors: &mut NeighborTable, seen: &Sighting, now: Nanos) {
    let learned = if seen.replaces {
        neighbors.learn(seen.address, seen.mac, now)
    } else {
        neighbors.confirm(seen.address, seen.mac, now)
    };
    if learned == Learned::Changed {
        tracing::info!(address = %seen.address, mac = %seen.mac, "next hop");
    }
}

/// Known, or asked for in vain.
pub(super) fn is_settled(neighbor: Neighbor) -> bool {
    !matches!(neighbor, Neighbor::Incomplete { asked, .. } if asked <= PATIENCE)
}

/// Sends a request out of every port that has the address on its link.
pub(super) fn solicit(
    config: &Config,
    macs: &[[u8; 6]],
    hardware: &dyn Hardware,
    request: Request,
) {
    for (index, (port, mac)) in config.ports.iter().zip(macs).enumerate() {
        if let Some(frame) = solicit::request(port, *mac, request) {
            hardware.send(PortIndex(index as u8), &frame);
        }
    }
}

/// The next hops of a configuration, with what was known of them: everything the rail sends to directly,
/// gateways, and backends and rails on a link.
pub(super) fn of(config: &Config, known: &NeighborTable, now: Nanos) -> NeighborTable {
    let backends = config.pool.services.iter().flat_map(|s| &s.backends);
    let on_link = backends
        .map(|b| b.address)
        .chain(config.other_peers().map(|p| p.address))
        .chain(config.pool.remotes.iter().map(|r| r.address))
        .filter(|a| config.port_on_link(*a).is_some());
    let hops = gateways(config).map(|(_, gateway)| gateway).chain(on_link);
    let fixed = config.neighbors.iter().map(|n| (n.address, n.mac));
    known.configured(hops, fixed, now)
}
