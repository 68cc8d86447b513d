//! What a snapshot says of the rail's own ports, and of services beside their tables.

use std::net::IpAddr;
use std::sync::Arc;

use crate::pool::{Config, IfAddr, Ingress, Name, Service as PoolService};
use crate::table::limiter::SharedBucket;
use crate::table::service::{Address, ServiceIndex};
use crate::table::snapshot::{HopIndex, MacFilter, PortIndex, PortView, Prefix, Snapshot};
use crate::wire::MacAddr;

/// Equal on all rails, and whatever other services there are: FNV-1a of the name. That two services have
/// the same bucket bits is as rare as a collision of two flows, and does no worse.
pub(super) fn salt(name: &Name) -> u32 {
    let bytes = name.as_str().bytes();
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The limit of new connections: what was spent under the snapshot before is spent.
pub(super) fn limit(
    service: &PoolService,
    index: ServiceIndex,
    previous: Option<&Snapshot>,
) -> Option<Arc<SharedBucket>> {
    let rate = service.new_connections_per_second?.get();
    let services = previous.map_or(&[][..], |previous| &previous.services);
    // Most services are where they were; only from there on is it worth looking for one.
    let (others, likely) = services.split_at(services.len().min(usize::from(index.0)));
    let before = likely
        .iter()
        .chain(others)
        .find(|before| *before.name == *service.name.as_str())
        .and_then(|before| before.limit.as_ref());
    Some(match before {
        Some(same) if same.rate() == rate => Arc::clone(same),
        Some(other) => Arc::new(other.at_rate(rate)),
        None => Arc::new(SharedBucket::per_second(rate)),
    })
}

/// The prefixes that outer sources come from.
pub(super) fn entropy(config: &Config) -> Box<[Prefix]> {
    let tunnel = &config.tunnel;
    let prefixes = [tunnel.entropy_prefix, tunnel.entropy_prefix6];
    prefixes.into_iter().flatten().map(prefix).collect()
}

pub(super) fn prefix(of: crate::pool::IpPrefix) -> Prefix {
    Prefix {
        network: of.address(),
        len: of.prefix_len(),
    }
}

pub(super) fn port_views(
    config: &Config,
    macs: &[[u8; 6]],
    gateways: &[Option<HopIndex>],
) -> Box<[PortView]> {
    config
        .ports
        .iter()
        .zip(macs)
        .zip(gateways)
        .map(|((port, &mac), &gateway)| PortView {
            mac,
            filter: mac_filter(config, port, mac),
            vlan: port.vlan.map(|v| v.get()),
            outer_vlan: port.outer_vlan.map(|v| v.get()),
            keep_tags: port.keep_tags,
            mtu: port.mtu.get(),
            gateway,
        })
        .collect()
}

/// On a link every station has its frames; a port without one takes whatever it is given, and where all
/// rails see all packets their frames are addressed to nobody in particular.
fn mac_filter(config: &Config, port: &crate::pool::Port, mac: [u8; 6]) -> MacFilter {
    if port.has_link() && config.pool.ingress == Ingress::Ecmp {
        MacFilter::only(mac)
    } else {
        MacFilter::ANY
    }
}

/// The addresses of all ports; where the host speaks IPv6, also the link-local one its kernel makes of
/// the port's link address.
pub(super) fn local_addresses(config: &Config, macs: &[[u8; 6]]) -> Box<[(Address, PortIndex)]> {
    let ports = config.ports.iter().zip(macs).enumerate();
    ports
        .flat_map(|(i, (port, &mac))| {
            let mut own: Vec<_> = port.addresses.iter().map(|a| a.address()).collect();
            let link_local = IpAddr::V6(MacAddr(mac).link_local());
            let v6 = port.host.is_some() && own.iter().any(IpAddr::is_ipv6);
            if v6 && !own.contains(&link_local) {
                own.push(link_local);
            }
            own.into_iter()
                .map(move |address| (address.into(), PortIndex(i as u8)))
        })
        .collect()
}

pub(super) fn broadcasts(config: &Config) -> Box<[(Address, PortIndex)]> {
    let ports = config.ports.iter().enumerate();
    ports
        .flat_map(|(i, port)| {
            let subnets = port.addresses.iter().filter_map(IfAddr::broadcast);
            subnets.map(move |b| (IpAddr::V4(b).into(), PortIndex(i as u8)))
        })
        .collect()
}
