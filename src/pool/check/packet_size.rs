//! Rules about packet sizes: what a tunnel leaves of the MTU of the port it goes out of.

use std::collections::HashSet;
use std::net::IpAddr;

use super::rail::Rail;
use crate::pool::{Backend, Item, Mtu, Name, Place, Port, Service, Violation};

/// What clients and servers send to each other unless told otherwise: Ethernet's MTU.
const USUAL: u16 = 1500;

/// IP and TCP headers without options, which an MSS does not count (RFC 9293, section 3.7.1).
const HEADERS_V4: u16 = 20 + 20;
/// The same for IPv6.
const HEADERS_V6: u16 = 40 + 20;

/// What a port leaves of a usual packet.
struct Tightest<'a> {
    /// The largest packet of a client that fits.
    usable: u16,
    overhead: u16,
    /// The largest TCP segment of a client that fits.
    mss: u16,
    service: &'a Name,
    /// Services that lose something here.
    services: usize,
}

/// Checks every way from a port to a backend. A packet of a client that does not fit is answered
/// with ICMP, which must not name less than 1280 bytes for IPv6; below the usual 1500 it works,
/// but is worth a warning, one for each port.
pub fn check(rail: &Rail<'_>, found: &mut Vec<Violation>) {
    let mut tightest: Vec<Option<Tightest<'_>>> = rail.ports.iter().map(|_| None).collect();
    for (index, service) in rail.pool.services.iter().enumerate() {
        let mut counted = vec![false; rail.ports.len()];
        let mut told = HashSet::new();
        for (number, backend) in service.backends.iter().enumerate() {
            for port in ways(rail.ports, backend.address) {
                let usable = usable(&rail.ports[port], service, backend);
                let at = match backend.mtu {
                    Some(mtu) if mtu < rail.ports[port].mtu => {
                        Place::new(Item::Backend(index, number), "mtu")
                    }
                    _ => Place::new(Item::Port(port), "mtu"),
                };
                if let Some(violation) = too_small(usable, service, backend, at) {
                    if told.insert(at) {
                        found.push(violation);
                    }
                } else if usable < USUAL && backend.mtu.is_none() {
                    tighten(
                        &mut tightest[port],
                        usable,
                        service,
                        backend,
                        &mut counted[port],
                    );
                }
            }
        }
    }
    for (index, tightest) in tightest.into_iter().enumerate() {
        if let Some(tightest) = tightest {
            found.push(below_usual(index, &rail.ports[index], &tightest));
        }
    }
}

/// The ports that packets to `address` may leave by: the one whose subnet holds it, else all that
/// have a gateway of its family.
fn ways(ports: &[Port], address: IpAddr) -> Vec<usize> {
    if let Some(on_link) = ports.iter().position(|port| port.on_link(address)) {
        return vec![on_link];
    }
    let leads = |port: &Port| {
        port.gateways
            .iter()
            .any(|to| to.is_ipv4() == address.is_ipv4())
    };
    (0..ports.len())
        .filter(|index| leads(&ports[*index]))
        .collect()
}

/// The largest packet of a client that reaches the backend through the port in one piece.
fn usable(port: &Port, service: &Service, backend: &Backend) -> u16 {
    let mtu = backend.mtu.map_or(port.mtu, |mtu| mtu.min(port.mtu));
    mtu.get() - service.encap.overhead(backend.address.is_ipv4())
}

/// The finding that not even the smallest MTU of the VIP's family is left. For IPv6 that cannot
/// work (RFC 8200, section 5), for IPv4 nearly nothing does.
fn too_small(usable: u16, service: &Service, backend: &Backend, at: Place) -> Option<Violation> {
    let minimum = if service.vip.is_ipv4() {
        Mtu::MIN
    } else {
        Mtu::MIN_IPV6
    };
    if usable >= minimum {
        return None;
    }
    let overhead = service.encap.overhead(backend.address.is_ipv4());
    let message = format!(
        "{} leaves {usable} bytes for packets of the service {:?}, which needs {minimum}",
        service.encap.as_str(),
        service.name
    );
    let violation = match service.vip.is_ipv4() {
        true => Violation::warning(at, message),
        false => Violation::error(at, message),
    };
    Some(violation.help(format!("set mtu to {} or more", minimum + overhead)))
}

fn tighten<'a>(
    tightest: &mut Option<Tightest<'a>>,
    usable: u16,
    service: &'a Service,
    backend: &Backend,
    counted: &mut bool,
) {
    let mut services = tightest.as_ref().map_or(0, |tightest| tightest.services);
    if !*counted {
        services += 1;
        *counted = true;
    }
    let headers = if service.vip.is_ipv4() {
        HEADERS_V4
    } else {
        HEADERS_V6
    };
    match tightest {
        Some(tightest) if tightest.usable <= usable => tightest.services = services,
        _ => {
            *tightest = Some(Tightest {
                usable,
                overhead: service.encap.overhead(backend.address.is_ipv4()),
                mss: usable - headers,
                service: &service.name,
                services,
            });
        }
    }
}

fn below_usual(index: usize, port: &Port, tightest: &Tightest<'_>) -> Violation {
    let Tightest {
        usable,
        overhead,
        mss,
        service,
        services,
    } = tightest;
    let whose = match services {
        1 => format!("the service {service:?}"),
        2 => format!("the service {service:?} and one more"),
        _ => format!("the service {service:?} and {} more", services - 1),
    };
    let message = format!(
        "{} with mtu {} carries packets of clients up to {usable} bytes for {whose}; larger ones \
         are refused by ICMP, or fragmented",
        port.name,
        port.mtu.get()
    );
    let wanted = USUAL + overhead;
    let help = format!(
        "set mtu = {wanted} if the network carries it, or let the backends announce a TCP MSS of {mss}"
    );
    Violation::warning(Place::new(Item::Port(index), "mtu"), message).help(help)
}
