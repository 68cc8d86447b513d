//! Puts the headers of a backend in front of a packet. The inner packet stays as it came, byte for byte.

use std::net::{IpAddr, Ipv6Addr};

use zerocopy::network_endian::U16;

use crate::table::adjacency::Adjacency;
use crate::table::hash::FlowHash;
use crate::table::snapshot::{Backend, Delivery, Hop, PortIndex, Snapshot};
use crate::table::template::{Template, entropy_host_v4, entropy_host_v6, gue_source_port};
use crate::wire::checksum::{self, pseudo_v6};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{IpProtocol, TrafficClass, view_mut};

use super::frame::Frame;
use super::packet::Packet;
use super::verdict::{DropReason, Verdict};

/// Puts the headers of an adjacency, short or long ones, in front of a plain packet, `len` bytes of the frame behind a
/// link header of `L3`; returns the bytes of the frame. What it has no such headers for, and what is too long, is for
/// [`forward`]; nothing has changed then. No plain packet is too short for the headers to be written.
#[inline(always)]
pub(super) fn forward_plain<F: Frame, const L3: usize, const LONG: bool>(
    frame: &mut F,
    (len, class): (u32, u8),
    hash: &FlowHash,
    adjacency: &Adjacency,
) -> Option<usize> {
    let head = adjacency.room_for::<LONG>(len)?;
    let packet = frame.rewrap(L3, len as usize, head)?;
    adjacency.write::<LONG>(packet, (head, class), hash)
}

/// Sends the packet to `backend`: wrapped, addressed to the next hop, or held until that is known.
pub(super) fn forward<F: Frame>(
    snapshot: &Snapshot,
    frame: &mut F,
    packet: &Packet,
    ingress: PortIndex,
    backend: &Backend,
) -> Verdict {
    if backend.detours
        && let Some(hop) = detour(snapshot, backend, ingress)
    {
        return forward_by(hop, snapshot, frame, packet, backend);
    }
    let Some(port) = backend.egress else {
        return Verdict::Hold(backend.hop);
    };
    let template = &backend.template;
    if packet.ip_len() + usize::from(template.overhead()) > usize::from(backend.mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    let from = usize::from(packet.l3);
    let Some(data) = frame.rewrap(from, packet.ip_len(), usize::from(template.len)) else {
        return Verdict::Drop(DropReason::NoHeadroom);
    };
    template.write(data);
    finish(&mut data[usize::from(template.link_len)..], packet, backend);
    Verdict::Forward(port)
}

/// The gateway to use instead of the one in the template: a packet for a gateway leaves by the port it
/// came in through, if that has a live gateway of its own.
fn detour<'a>(snapshot: &'a Snapshot, backend: &Backend, ingress: PortIndex) -> Option<&'a Hop> {
    let gateway = snapshot.ports.get(usize::from(ingress.0))?.gateway?;
    let hop = snapshot.hops.get(gateway.0 as usize)?;
    let better = gateway != backend.hop
        && hop.resolved
        && hop.address.is_ipv6() == backend.template.outer_v6;
    better.then_some(hop)
}

/// As [`forward`], by another hop than the template's.
#[inline(never)]
fn forward_by<F: Frame>(
    hop: &Hop,
    snapshot: &Snapshot,
    frame: &mut F,
    packet: &Packet,
    backend: &Backend,
) -> Verdict {
    let template = &backend.template;
    let mtu = backend.mtu.min(port_mtu(snapshot, hop.port));
    if packet.ip_len() + usize::from(template.overhead()) > usize::from(mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    let link_len = hop.link.len();
    let head = link_len + usize::from(template.overhead());
    let Some(data) = frame.rewrap(packet.l3.into(), packet.ip_len(), head) else {
        return Verdict::Drop(DropReason::NoHeadroom);
    };
    let ethertype = if template.outer_v6 { 0x86dd } else { 0x0800 };
    hop.link.write(ethertype, data);
    data[link_len..head].copy_from_slice(&template.bytes()[usize::from(template.link_len)..]);
    finish(&mut data[link_len..], packet, backend);
    Verdict::Forward(hop.port)
}

/// Fills in what depends on the packet. `bytes` start behind the link header.
fn finish(bytes: &mut [u8], packet: &Packet, backend: &Backend) {
    match backend.delivery {
        Delivery::Tunnel => patch(bytes, &backend.template, packet.class.0, packet.hash),
        Delivery::L3dsr { address, dscp } => l3dsr(bytes, packet, address, dscp),
        Delivery::L2dsr if packet.decapsulated => set_class(bytes, packet.class),
        Delivery::L2dsr => {}
    }
}

/// The largest packet of a client that fits the way to the backend.
#[cold]
pub(super) fn room(snapshot: &Snapshot, backend: &Backend, ingress: PortIndex) -> u16 {
    let hop = backend.detours.then(|| detour(snapshot, backend, ingress));
    let mtu = match hop.flatten() {
        Some(hop) => backend.mtu.min(port_mtu(snapshot, hop.port)),
        None => backend.mtu,
    };
    mtu.saturating_sub(backend.template.overhead())
}

#[cold]
fn port_mtu(snapshot: &Snapshot, port: PortIndex) -> u16 {
    let port = snapshot.ports.get(usize::from(port.0));
    port.map_or(0, |port| port.mtu)
}

/// Fills in what depends on the packet. `packet` starts at the outer IP header.
#[inline]
fn patch(packet: &mut [u8], template: &Template, class: u8, hash: FlowHash) {
    let total = packet.len() as u16;
    let entropy = if template.entropy_bits > 0 {
        set_source_host(packet, template, hash)
    } else {
        0
    };
    if template.outer_v6 {
        patch_ipv6(packet, class, hash, total - 40);
    } else {
        let sum = template.checksum_of(total - template.overhead(), class, entropy);
        packet[1] = class;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    if template.gue {
        patch_gue(packet, template.outer_v6, hash);
    }
}

/// Fills the host bits of the outer source from the flow hash; returns what that adds to the sum of an
/// IPv4 header.
#[inline(never)]
fn set_source_host(packet: &mut [u8], template: &Template, hash: FlowHash) -> u32 {
    if template.outer_v6 {
        let host = entropy_host_v6(hash.0, template.entropy_bits).to_be_bytes();
        for (octet, host) in packet[8..24].iter_mut().zip(host) {
            *octet |= host;
        }
        return 0;
    }
    let host = entropy_host_v4(hash.0, template.entropy_bits);
    for (octet, host) in packet[12..16].iter_mut().zip(host.to_be_bytes()) {
        *octet |= host;
    }
    (host >> 16) + (host & 0xffff)
}

#[inline]
fn patch_ipv6(packet: &mut [u8], class: u8, hash: FlowHash, payload: u16) {
    // RFC 6438: the flow label carries the entropy that routers spread tunnels by.
    let label = hash.tag() & 0x000f_ffff;
    let word = 6 << 28 | u32::from(class) << 20 | label;
    packet[..4].copy_from_slice(&word.to_be_bytes());
    packet[4..6].copy_from_slice(&payload.to_be_bytes());
}

/// Gives the packet itself the traffic class that it leaves a tunnel with (RFC 6040).
#[cold]
fn set_class(packet: &mut [u8], class: TrafficClass) {
    match packet.first().map(|version_ihl| version_ihl >> 4) {
        Some(4) => {
            if let Some(ip) = view_mut::<Ipv4Header>(packet) {
                ip.set_traffic_class(class);
            }
        }
        Some(6) => {
            if let Some(ip) = view_mut::<Ipv6Header>(packet) {
                ip.set_traffic_class(class);
            }
        }
        _ => {}
    }
}

/// Direct return on layer 3: the packet itself goes to the backend, which knows the service by the
/// DSCP. IP and transport checksums follow the change (RFC 1624). ECN stays, but for what a tunnel
/// that the packet came in adds to it.
fn l3dsr(bytes: &mut [u8], packet: &Packet, address: IpAddr, dscp: u8) {
    let l4 = usize::from(packet.l4 - packet.l3);
    let Some((header, transport)) = bytes.split_at_mut_checked(l4) else {
        return;
    };
    match address {
        IpAddr::V4(new) => {
            let Some(ip) = view_mut::<Ipv4Header>(header) else {
                return;
            };
            let new = new.octets();
            update_transport(transport, packet, &ip.destination, &new);
            ip.set_destination(new.into());
            ip.set_traffic_class(packet.class.with_dscp(dscp));
        }
        IpAddr::V6(new) => {
            let Some(ip) = view_mut::<Ipv6Header>(header) else {
                return;
            };
            let new = new.octets();
            update_transport(transport, packet, &ip.destination, &new);
            ip.destination = new;
            ip.set_traffic_class(packet.class.with_dscp(dscp));
        }
    }
}

/// Corrects the transport checksum for a changed destination address. Later fragments have none, and
/// SCTP's does not cover addresses.
fn update_transport(transport: &mut [u8], packet: &Packet, old: &[u8], new: &[u8]) {
    if packet.headless {
        return;
    }
    let at = match packet.protocol {
        IpProtocol::TCP => 16,
        IpProtocol::UDP | IpProtocol::UDPLITE | IpProtocol::DCCP => 6,
        _ => return,
    };
    let Some(field) = view_mut::<U16>(transport.get_mut(at..).unwrap_or_default()) else {
        return;
    };
    // RFC 768: zero says that the sender computed none, and stays.
    if packet.protocol == IpProtocol::UDP && field.get() == 0 {
        return;
    }
    let sum = checksum::update_bytes(field.get(), old, new);
    // So a sum that comes out as zero is sent as all ones, as in UDP-Lite (RFC 3828, section 3.1).
    let has_no_zero = matches!(packet.protocol, IpProtocol::UDP | IpProtocol::UDPLITE);
    field.set(if has_no_zero && sum == 0 { 0xffff } else { sum });
}

fn patch_gue(packet: &mut [u8], outer_v6: bool, hash: FlowHash) {
    let ip_len = if outer_v6 { 40 } else { 20 };
    let port = gue_source_port(hash);
    let (ip, udp) = packet.split_at_mut(ip_len);
    let len = udp.len() as u16;
    udp[..2].copy_from_slice(&port.to_be_bytes());
    udp[4..6].copy_from_slice(&len.to_be_bytes());
    udp[6..8].fill(0);
    if outer_v6 {
        let address = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&ip[at..at + 16]);
            Ipv6Addr::from(octets)
        };
        let sum = pseudo_v6(address(8), address(24), IpProtocol::UDP, len.into()).bytes(udp);
        udp[6..8].copy_from_slice(&sum.udp_checksum().to_be_bytes());
    }
}
