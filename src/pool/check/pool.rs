//! The rules a pool obeys as a whole, whether it comes from a file, the store or the API.

use std::collections::HashMap;
use std::net::IpAddr;

use super::claims;
use crate::pool::{
    Draft, Encap, Ingress, Item, Limits, Name, Peer, Place, Ports, Protocol, Service, Violation,
};
use crate::table::peers::TROMBONE_KEY;

/// The most backends of one service: their number, and so every index of one, fits 16 bits, which
/// is what a slot of a Maglev table holds.
pub const MAX_SERVICE_BACKENDS: usize = 65_535;

/// Slots per backend below which shares are visibly uneven (Maglev paper, section 3.4: "M > 100 N"
/// keeps the imbalance under 1 %).
const EVEN_SLOTS: usize = 100;

/// IPv6 extension headers (RFC 8200, section 4) and "no next header": a packet's transport protocol
/// is never one of these.
const NOT_TRANSPORT: [u8; 5] = [0, 43, 44, 59, 60];

/// Finds every rule that the pool breaks. Errors come before the warnings of the same service, and
/// the result is the same for the same pool.
pub fn pool(draft: &Draft) -> Vec<Violation> {
    let mut found = Vec::new();
    let peers = draft.peers.iter().map(|peer| (&peer.name, peer.address));
    rails(peers, "peer", Item::Peer, &mut found);
    let remotes = draft
        .remotes
        .iter()
        .map(|remote| (&remote.name, remote.address));
    rails(remotes, "remote", Item::Remote, &mut found);
    if draft.peer_key == Some(TROMBONE_KEY) {
        let at = Place::new(Item::Pool, "peer_key");
        let message = format!("{TROMBONE_KEY} is the key of packets between pools");
        found.push(Violation::error(at, message).help("take another number for peer_key"));
    }
    for (index, remote) in draft.remotes.iter().enumerate() {
        let same = |peer: &Peer| peer.address == remote.address;
        if let Some(peer) = draft.peers.iter().position(same) {
            let at = Place::new(Item::Remote(index), "address");
            let message = format!("the remote {:?} is a peer", remote.name);
            found.push(
                Violation::error(at, message)
                    .also(Place::new(Item::Peer(peer), "address"), "the peer")
                    .help("a rail of this pool has the same backends; name one of another pool"),
            );
        }
    }
    for (index, peer) in draft.peers.iter().enumerate() {
        if !peer.name.fits_git_reference() {
            found.push(no_branch(&peer.name, Place::new(Item::Peer(index), "name")));
        }
    }
    if draft.peers.is_empty() && draft.ingress == Ingress::Mirror {
        let at = Place::new(Item::Pool, "ingress");
        found.push(
            Violation::warning(
                at,
                "ingress \"mirror\" without peers is the same as \"ecmp\"",
            )
            .help("list the rails of the pool as [[peer]]"),
        );
    }

    let names = draft.services.iter().map(|service| &service.name);
    unique(names, "service", Item::Service, &mut found);
    for (index, service) in draft.services.iter().enumerate() {
        self::service(draft, index, service, &mut found);
    }
    claims::keys(&draft.services, &mut found);
    claims::code_points(&draft.services, &mut found);

    let backends: usize = draft
        .services
        .iter()
        .map(|service| service.backends.len())
        .sum();
    if backends > *Limits::BACKENDS.end() as usize {
        let at = Place::new(Item::Pool, "");
        let message = format!(
            "the pool has {backends} backends; a rail has ids for {}",
            Limits::BACKENDS.end()
        );
        found.push(Violation::error(at, message).help("split the pool"));
    }
    found
}

/// The finding that a rail's name cannot be part of its branch's name.
pub fn no_branch(name: &Name, at: Place) -> Violation {
    Violation::error(
        at,
        format!("{name:?} cannot name a rail: its branch is node/{name}"),
    )
    .help("Git allows no dot at the end of a branch name, and no two in a row")
}

/// The finding that no packet can be sent to `address`, if that is so; `subject` is whose address it
/// is, as in "the VIP".
pub fn unusable(subject: &str, address: IpAddr, at: Place) -> Option<Violation> {
    let mapped = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
    };
    let what = match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_loopback() => "a loopback address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(_) if mapped.is_some() => "an IPv4 address in the form of an IPv6 one",
        _ => return None,
    };
    let help = match mapped {
        Some(v4) => format!("write {v4}"),
        None => "give an address that one host has".to_owned(),
    };
    Some(Violation::error(at, format!("{subject} {address} is {what}")).help(help))
}

/// Reports names that occur twice.
pub fn unique<'a>(
    names: impl Iterator<Item = &'a Name>,
    what: &str,
    item: impl Fn(usize) -> Item,
    found: &mut Vec<Violation>,
) {
    let mut seen = HashMap::new();
    for (index, name) in names.enumerate() {
        if let Some(first) = seen.get(name) {
            let at = Place::new(item(index), "name");
            found.push(
                Violation::error(at, format!("the {what} name {name:?} is taken"))
                    .also(Place::new(item(*first), "name"), "taken here")
                    .help("give every one a name of its own"),
            );
        } else {
            seen.insert(name, index);
        }
    }
}

/// Rules of peers and of remotes: names and addresses once, addresses that can be sent to.
fn rails<'a>(
    rails: impl Iterator<Item = (&'a Name, IpAddr)> + Clone,
    what: &str,
    item: impl Fn(usize) -> Item,
    found: &mut Vec<Violation>,
) {
    unique(rails.clone().map(|(name, _)| name), what, &item, found);
    let mut seen: HashMap<IpAddr, usize> = HashMap::new();
    for (index, (name, address)) in rails.enumerate() {
        let at = Place::new(item(index), "address");
        found.extend(unusable(
            &format!("the address of the {what} {name:?},"),
            address,
            at,
        ));
        if let Some(first) = seen.get(&address) {
            found.push(
                Violation::error(at, format!("another {what} has the address {address}"))
                    .also(Place::new(item(*first), "address"), "the other one")
                    .help("give every one an address of its own"),
            );
        } else {
            seen.insert(address, index);
        }
    }
}

/// Rules of one service.
fn service(draft: &Draft, index: usize, service: &Service, found: &mut Vec<Violation>) {
    let item = Item::Service(index);
    let at = |key| Place::new(item, key);
    let Service {
        name,
        vip,
        protocol,
        ..
    } = service;

    found.extend(unusable("the VIP", vip.address(), at("vip")));
    if let Protocol::Number(number) = protocol {
        if NOT_TRANSPORT.contains(number) {
            let message = format!("protocol {number} is an IPv6 extension header");
            found.push(
                Violation::error(at("protocol"), message).help("name the protocol that follows it"),
            );
        } else if service.ports != Ports::Any && !protocol.has_ports() {
            let message = format!("packets of protocol {number} have no ports");
            found.push(Violation::error(at("port"), message).help("leave `port` out"));
        }
    }
    if matches!(service.encap, Encap::L3dsr { .. }) && !vip.is_host() {
        let message = format!("l3dsr cannot tell the addresses of {vip} apart at the backend");
        found.push(
            Violation::error(at("vip"), message)
                .help("use one address, or a tunnel such as encap = \"gre\""),
        );
    }
    let needs_tracking = [
        (
            "new_connections_per_second",
            service.new_connections_per_second.is_some(),
            "no packet of it is known to start a connection",
        ),
        (
            "drain_deadline",
            service.drain_deadline.is_some(),
            "a draining backend of it keeps nothing",
        ),
    ];
    for (key, set, why) in needs_tracking {
        if set && !service.track {
            let message = format!("the service {name:?} is not tracked: {why}");
            found.push(
                Violation::error(at(key), message)
                    .also(at("track"), "not tracked")
                    .help(format!("leave {key} out, or write track = true")),
            );
        }
    }
    backends(index, service, found);

    let live = service
        .backends
        .iter()
        .filter(|backend| backend.has_slots())
        .count();
    let slots = draft.table_size.get() as usize;
    if service.backends.is_empty() {
        let message = format!("the service {name:?} has no backend: its VIP answers nothing");
        found.push(Violation::warning(at("name"), message).help("add a [[service.backend]]"));
    } else if live == 0 {
        let message = format!(
            "no backend of the service {name:?} takes new flows: each is not up or has weight 0"
        );
        found.push(Violation::warning(at("name"), message).help("set state = \"up\" on one"));
    } else if live > slots {
        let message = format!("the service {name:?} has {live} live backends for {slots} slots");
        found.push(
            Violation::error(at("name"), message)
                .also(Place::new(Item::Pool, "table_size"), "slots")
                .help("raise pool.table_size"),
        );
    } else if live > 1 && live * EVEN_SLOTS > slots {
        let message = format!(
            "{slots} slots are few for the {live} live backends of the service {name:?}: shares are uneven"
        );
        found.push(Violation::warning(at("name"), message).help(format!(
            "a pool.table_size above {} is even",
            live * EVEN_SLOTS
        )));
    }
}

/// Rules of the backends of one service.
fn backends(index: usize, service: &Service, found: &mut Vec<Violation>) {
    let item = |backend| Item::Backend(index, backend);
    let Service { name, vip, .. } = service;
    unique(
        service.backends.iter().map(|backend| &backend.name),
        "backend",
        item,
        found,
    );
    if service.backends.len() > MAX_SERVICE_BACKENDS {
        let message = format!(
            "the service {name:?} has {} backends",
            service.backends.len()
        );
        found.push(
            Violation::error(Place::new(Item::Service(index), "name"), message)
                .help(format!("a service has at most {MAX_SERVICE_BACKENDS}")),
        );
    }
    let mut seen: HashMap<IpAddr, usize> = HashMap::new();
    for (number, backend) in service.backends.iter().enumerate() {
        let address = backend.address;
        let at = Place::new(item(number), "address");
        if let Some(violation) = unusable("the backend address", address, at) {
            found.push(violation);
        } else if vip.contains(address) {
            let message = format!("the backend address {address} is the service's own VIP");
            found.push(
                Violation::error(at, message)
                    .also(Place::new(Item::Service(index), "vip"), "the VIP")
                    .help("a packet would come back for ever; give the server's own address"),
            );
        } else if matches!(service.encap, Encap::L3dsr { .. }) && vip.is_ipv4() != address.is_ipv4()
        {
            let message = format!("l3dsr cannot send packets for {vip} to {address}");
            found.push(
                Violation::error(at, message)
                    .also(
                        Place::new(Item::Service(index), "vip"),
                        "of the other family",
                    )
                    .help("l3dsr rewrites the address in place; a tunnel carries either family"),
            );
        }
        if let Some(first) = seen.get(&address) {
            found.push(
                Violation::warning(at, format!("{address} is a backend of {name:?} twice"))
                    .also(Place::new(item(*first), "address"), "first here")
                    .help("to give a server a larger share, raise its weight"),
            );
        } else {
            seen.insert(address, number);
        }
    }
}
