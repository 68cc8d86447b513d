//! Rules of the ports and of the static next hops behind them.

use std::collections::HashMap;
use std::net::IpAddr;

use super::pool::{unique, unusable};
use super::rail::Rail;
use crate::pool::{IfAddr, Item, Mtu, Node, Place, Port, Violation};

/// Ports: names, devices, addresses and subnets once, gateways on-link, room for IPv6. `complete`
/// tells that no address was bad and left out.
pub fn ports(ports: &[Port], complete: bool, found: &mut Vec<Violation>) {
    unique(
        ports.iter().map(|port| &port.name),
        "port",
        Item::Port,
        found,
    );
    let mut devices = HashMap::new();
    let mut hosts = HashMap::new();
    let mut addresses: HashMap<IpAddr, Place> = HashMap::new();
    for (index, port) in ports.iter().enumerate() {
        let at = |key| Place::new(Item::Port(index), key);
        // Arguments after the comma do not make it another device.
        let device = port.device.split(',').next().unwrap_or_default();
        if let Some(first) = devices.get(device) {
            found.push(
                Violation::error(at("device"), format!("the device {device} is taken"))
                    .also(Place::new(Item::Port(*first), "device"), "taken here")
                    .help("give every port a device of its own"),
            );
        } else {
            devices.insert(device, index);
        }
        if port.outer_vlan.is_some() && port.vlan.is_none() {
            let message = "outer_vlan without vlan: there is no tag for it to stand in front of";
            let help = "add vlan, or call the one VLAN there is vlan";
            found.push(Violation::error(at("outer_vlan"), message).help(help));
        }
        if let Some(host) = &port.host
            && let Some(first) = hosts.insert(host, index)
        {
            let message = format!("the host interface {} is taken", host.as_str());
            found.push(
                Violation::error(at("host"), message)
                    .also(Place::new(Item::Port(first), "host"), "taken here")
                    .help("give every port a host interface of its own, or host = \"off\""),
            );
        }
        for (number, own) in port.addresses.iter().enumerate() {
            let at = Place::element(Item::Port(index), "address", number);
            let address = own.address();
            found.extend(unusable("the port address", address, at));
            if let Some(first) = addresses.get(&address) {
                found.push(
                    Violation::error(at, format!("the address {address} is taken"))
                        .also(*first, "taken here")
                        .help("give every port addresses of its own"),
                );
            } else {
                addresses.insert(address, at);
            }
        }
        if port.mtu.get() < Mtu::MIN_IPV6 && port.addresses.iter().any(|a| a.address().is_ipv6()) {
            let message = format!("mtu {} is too small for IPv6", port.mtu.get());
            let help = format!("IPv6 needs at least {} (RFC 8200)", Mtu::MIN_IPV6);
            found.push(Violation::error(at("mtu"), message).help(help));
        }
        subnets(ports, index, found);
        if complete {
            gateways(index, port, found);
        }
    }
}

/// A next hop is sent to by the first port whose subnet holds it, so a second one is never used.
fn subnets(ports: &[Port], index: usize, found: &mut Vec<Violation>) {
    for (number, own) in ports[index].addresses.iter().enumerate() {
        let earlier = ports[..index].iter().enumerate().find_map(|(first, port)| {
            let overlaps = |other: &IfAddr| {
                other.on_link(own.network().address()) || own.on_link(other.network().address())
            };
            Some((first, port.addresses.iter().position(overlaps)?))
        });
        let Some((first, other)) = earlier else {
            continue;
        };
        if ports[first].addresses[other].address() == own.address() {
            continue;
        }
        let message = format!(
            "the subnet {} overlaps that of {}, which is used for next hops in both",
            own.network(),
            ports[first].name
        );
        found.push(
            Violation::warning(
                Place::element(Item::Port(index), "address", number),
                message,
            )
            .also(
                Place::element(Item::Port(first), "address", other),
                "the other subnet",
            )
            .help("give every port a subnet of its own"),
        );
    }
}

fn gateways(index: usize, port: &Port, found: &mut Vec<Violation>) {
    for (number, gateway) in port.gateways.iter().enumerate() {
        let at = Place::element(Item::Port(index), "gateway", number);
        if let Some(violation) = unusable("the gateway", *gateway, at) {
            found.push(violation);
        } else if port.addresses.iter().any(|own| own.address() == *gateway) {
            let message = format!("the gateway {gateway} is the port's own address");
            found.push(Violation::error(at, message).help("name the router"));
        } else if !port.on_link(*gateway) {
            let subnets: Vec<_> = port
                .addresses
                .iter()
                .map(|own| own.network().to_string())
                .collect();
            let message = format!("the gateway {gateway} is not on-link");
            let help = format!(
                "{} reaches {} without a gateway",
                port.name,
                subnets.join(", ")
            );
            found.push(
                Violation::error(at, message)
                    .also(
                        Place::new(Item::Port(index), "address"),
                        "the subnets of the port",
                    )
                    .help(help),
            );
        } else if port.gateways[..number].contains(gateway) {
            let message = format!("the gateway {gateway} is given twice");
            found.push(Violation::warning(at, message).help("leave one of them out"));
        }
    }
}

/// A worker that receives from one port must own a TX queue of every other. Queues are dealt in
/// order, so a port with fewer queues than workers leaves the last workers without one.
pub fn queues(ports: &[Port], node: &Node, found: &mut Vec<Violation>) {
    let workers = node.workers.len();
    let of = |port: &Port| {
        port.queues
            .map_or(workers, |queues| usize::from(queues.get()))
    };
    let most = ports.iter().map(of).max().unwrap_or_default().min(workers);
    for (index, port) in ports.iter().enumerate() {
        if of(port) < most {
            let message = format!(
                "{} has fewer queue pairs ({}) than workers that receive ({most})",
                port.name,
                of(port)
            );
            found.push(
                Violation::warning(Place::new(Item::Port(index), "queues"), message)
                    .help("workers without a TX queue here cannot send here; give all ports the same number"),
            );
        }
    }
}

/// Static neighbours: once, and where they can be next hops.
pub fn neighbors(rail: &Rail<'_>, found: &mut Vec<Violation>) {
    let mut seen: HashMap<IpAddr, usize> = HashMap::new();
    for (index, neighbor) in rail.neighbors.iter().enumerate() {
        let address = neighbor.address;
        let at = Place::new(Item::Neighbor(index), "address");
        if let Some(first) = seen.get(&address) {
            found.push(
                Violation::error(at, format!("the neighbour {address} is given twice"))
                    .also(Place::new(Item::Neighbor(*first), "address"), "first here")
                    .help("keep one of the two"),
            );
            continue;
        }
        seen.insert(address, index);
        if let Some(violation) = unusable("the neighbour", address, at) {
            found.push(violation);
        } else if let Some(own) = own_address(rail.ports, address) {
            let message = format!("the neighbour {address} is the rail's own address");
            found.push(
                Violation::error(at, message)
                    .also(own, "the port")
                    .help("name another host, or leave it out"),
            );
        } else if rail.ports_complete && !rail.ports.iter().any(|port| port.on_link(address)) {
            let message = format!("the neighbour {address} is on no port's subnet");
            let help = "it will never be a next hop; leave it out, or correct the address";
            found.push(Violation::warning(at, message).help(help));
        }
    }
}

/// Where the ports have `address`.
pub fn own_address(ports: &[Port], address: IpAddr) -> Option<Place> {
    ports.iter().enumerate().find_map(|(index, port)| {
        let number = port
            .addresses
            .iter()
            .position(|own| own.address() == address)?;
        Some(Place::element(Item::Port(index), "address", number))
    })
}
