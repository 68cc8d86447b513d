//! Which packets belong to which service: no two may claim the same.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::pool::{Encap, Item, Place, Ports, Service, Violation};

/// No two services may claim the same packets: for one VIP and protocol, ports are either the same
/// (an equal key), or apart, or one range lies wholly inside the other (the narrower wins). Two
/// ranges that only overlap have no narrower one.
pub fn keys(services: &[Service], found: &mut Vec<Violation>) {
    let mut by_vip: BTreeMap<_, Vec<(usize, Ports)>> = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        by_vip
            .entry((service.vip, service.protocol))
            .or_default()
            .push((index, service.ports));
    }
    for mut claims in by_vip.into_values() {
        // Ordered by first port, and of those with the same first port the widest first, a range
        // can collide only with what is still open when it begins.
        claims.sort_by_key(|(index, ports)| {
            let (low, high) = ports.bounds();
            (low, std::cmp::Reverse(high), *index)
        });
        let mut open: Vec<(usize, Ports)> = Vec::new();
        for (index, ports) in claims {
            let (low, high) = ports.bounds();
            open.retain(|(_, other)| other.bounds().1 >= low);
            // One collision of a service is enough to tell.
            let collides = |theirs: &Ports| *theirs == ports || theirs.bounds().1 < high;
            let other = open.iter().find(|(_, theirs)| collides(theirs));
            if let Some((other, theirs)) = other {
                let pair = (index.min(*other), index.max(*other));
                found.push(collision(services, pair, *theirs == ports));
            }
            if other.is_none_or(|(_, theirs)| *theirs != ports) {
                open.push((index, ports));
            }
        }
    }
}

/// The finding that two services, by their indices, have an equal key or overlapping ranges.
fn collision(services: &[Service], (first, second): (usize, usize), equal: bool) -> Violation {
    let (one, two) = (&services[first], &services[second]);
    let Service {
        vip,
        protocol,
        ports,
        ..
    } = two;
    let (message, label, help) = if equal {
        let message = format!(
            "the services {:?} and {:?} have the same key: {vip}, protocol {protocol}, port {ports}",
            one.name, two.name
        );
        let help = "merge their backends, or change VIP, protocol or port of one";
        (message, "the same VIP, protocol and port", help)
    } else {
        let message = format!(
            "the port ranges of the services {:?} ({}) and {:?} ({ports}) overlap on {vip}",
            one.name, one.ports, two.name
        );
        (
            message,
            "overlaps",
            "a range must lie apart from the other or wholly inside it",
        )
    };
    Violation::error(Place::new(Item::Service(second), "name"), message)
        .also(Place::new(Item::Service(first), "name"), label)
        .help(help)
}

/// A backend knows an l3dsr service by its DSCP alone, so two VIPs with one DSCP cannot share it.
pub fn code_points(services: &[Service], found: &mut Vec<Violation>) {
    let mut seen: HashMap<(u8, IpAddr), usize> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        let Encap::L3dsr { dscp } = service.encap else {
            continue;
        };
        for backend in &service.backends {
            let first = *seen.entry((dscp.get(), backend.address)).or_insert(index);
            if services[first].vip != service.vip {
                let message = format!(
                    "the backend {} cannot tell the VIPs {} and {} apart: both have dscp {}",
                    backend.address,
                    services[first].vip,
                    service.vip,
                    dscp.get()
                );
                found.push(
                    Violation::error(Place::new(Item::Service(index), "dscp"), message)
                        .also(Place::new(Item::Service(first), "dscp"), "the same dscp")
                        .help("give every VIP a dscp of its own"),
                );
                break;
            }
        }
    }
}
