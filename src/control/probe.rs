//! The frame that carries a probe to another rail.

use std::net::IpAddr;

use zerocopy::IntoBytes as _;

use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::checksum::{pseudo_v4, pseudo_v6};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::probe::{PORT, ProbeHeader};
use crate::wire::udp::UdpHeader;
use crate::wire::{EtherType, IpProtocol, Ports, TrafficClass};

/// DSCP CS6, "internetwork control" (RFC 4594, section 3.1): a congested path must not look like a dead
/// rail.
const CLASS: TrafficClass = TrafficClass(0xc0);
const UDP_LEN: usize = UdpHeader::LEN + ProbeHeader::LEN;

/// Puts the tag on a probe and makes a frame of it: `None` while the next hop is not known.
pub fn frame(
    snapshot: &Snapshot,
    to: IpAddr,
    mut probe: ProbeHeader,
) -> Option<(PortIndex, Vec<u8>)> {
    let rail = snapshot.peers.by_address(to.into())?;
    let (from, way) = (rail.source?, rail.ways.of(false)?);
    let hop = snapshot.hops.get(way.hop.0 as usize)?;
    if !hop.resolved {
        return None;
    }
    let key = &snapshot.peers.probe_key;
    probe.tag = key.tag(from.into(), to.into(), &probe).into();
    let mut udp = UdpHeader::new(Ports::new(PORT, PORT), ProbeHeader::LEN);
    let mut frame = vec![0; hop.link.len()];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            hop.link.write(EtherType::IPV4.0, &mut frame);
            let mut ip = Ipv4Header::new(from, to, IpProtocol::UDP, UDP_LEN);
            ip.traffic_class = CLASS;
            ip.fill_checksum(&[]);
            frame.extend_from_slice(ip.as_bytes());
            let sum = pseudo_v4(from, to, IpProtocol::UDP, UDP_LEN as u16);
            let sum = sum.bytes(udp.as_bytes()).bytes(probe.as_bytes());
            udp.checksum = sum.udp_checksum().into();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            hop.link.write(EtherType::IPV6.0, &mut frame);
            let mut ip = Ipv6Header::new(from, to, IpProtocol::UDP, UDP_LEN);
            ip.set_traffic_class(CLASS);
            frame.extend_from_slice(ip.as_bytes());
            let sum = pseudo_v6(from, to, IpProtocol::UDP, UDP_LEN as u32);
            let sum = sum.bytes(udp.as_bytes()).bytes(probe.as_bytes());
            udp.checksum = sum.udp_checksum().into();
        }
        _ => return None,
    }
    frame.extend_from_slice(udp.as_bytes());
    frame.extend_from_slice(probe.as_bytes());
    Some((hop.port, frame))
}
