//! The front of the path: parse a frame once, take off at most one tunnel header, find the flow's hash.
//!
//! What comes out is offsets, the flow's key and its hash; which service and backend that means is
//! decided later, under the snapshot of that moment.

use crate::table::HashKey;
use crate::table::hash::{FlowBlocks, FlowHash, flow_hash_v6, tuple3_hash_v4, tuple3_hash_v6};
use crate::table::peers::Origin;
use crate::table::service::Address;
use crate::table::snapshot::{PortIndex, PortView, Snapshot};
use crate::wire::gre::Gre;
use crate::wire::ipv4::{Ipv4, Ipv4Error};
use crate::wire::ipv6::Ipv6;
use crate::wire::tcp::{Tcp, TcpFlags};
use crate::wire::udp::Udp;
use crate::wire::{Ecn, EtherType, Fragment, IpProtocol, L2, Ports, TrafficClass, VlanId, l2};

use super::verdict::DropReason;

/// What kind of frame it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IP packet; all fields of [`Parsed`] are valid.
    Ip,
    /// ARP; `l3` is where it starts.
    Arp,
    /// Neither IP nor ARP.
    Other,
    /// Not fit for anything.
    Bad(DropReason),
}

/// One parsed frame. For a tunnelled packet everything describes the inner one.
#[derive(Debug, Clone, Copy)]
pub struct Parsed {
    /// What it is.
    pub kind: Kind,
    /// Where the IP header starts, bytes from the start of the frame.
    pub l3: u16,
    /// Where the transport header starts.
    pub l4: u16,
    /// Where the IP packet ends; behind it is padding.
    pub end: u16,
    /// The tunnel header in front of it has been read and is to be taken off.
    pub decapsulated: bool,
    /// Who sent it here.
    pub origin: Origin,
    /// Transport protocol.
    pub protocol: IpProtocol,
    /// TCP flags; zero for everything else.
    pub flags: TcpFlags,
    /// DSCP and ECN for the outer header: the packet's own, ECN combined with that of the tunnel
    /// header it came in (RFC 6040).
    pub class: TrafficClass,
    /// IPv4 DF; true for IPv6.
    pub dont_fragment: bool,
    /// Set if the packet is a fragment.
    pub fragment: Option<Fragment>,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Ports, host order; zero where the protocol has none or the fragment does not show them.
    pub ports: (u16, u16),
    /// Hash of the 5-tuple.
    pub hash: FlowHash,
}

impl Parsed {
    /// A frame without content, to fill stages with.
    pub const EMPTY: Parsed = Parsed::of(Kind::Other, 0);

    const fn of(kind: Kind, l3: u16) -> Parsed {
        Parsed {
            kind,
            l3,
            l4: 0,
            end: 0,
            decapsulated: false,
            origin: Origin::Network,
            protocol: IpProtocol(0),
            flags: TcpFlags(0),
            class: TrafficClass(0),
            dont_fragment: false,
            fragment: None,
            source: Address::V4(0),
            destination: Address::V4(0),
            ports: (0, 0),
            hash: FlowHash(0),
        }
    }

    /// Bytes of the IP packet.
    #[inline]
    pub fn ip_len(&self) -> usize {
        usize::from(self.end.saturating_sub(self.l3))
    }

    /// Whether the packet is IPv6.
    #[inline]
    pub fn is_v6(&self) -> bool {
        matches!(self.destination, Address::V6(_))
    }

    /// The blocks to hash for an IPv4 packet, and nothing for any other.
    #[inline]
    pub fn blocks(&self) -> Option<FlowBlocks> {
        match (self.kind, self.source, self.destination) {
            (Kind::Ip, Address::V4(source), Address::V4(destination)) => Some(FlowBlocks::v4(
                self.protocol.0,
                source.to_be_bytes(),
                destination.to_be_bytes(),
                self.ports.0,
                self.ports.1,
            )),
            _ => None,
        }
    }

    /// Hash of protocol, source and destination alone.
    pub fn tuple3_hash(&self, key: &HashKey) -> FlowHash {
        match (self.source, self.destination) {
            (Address::V4(source), Address::V4(destination)) => tuple3_hash_v4(
                key,
                self.protocol.0,
                source.to_be_bytes(),
                destination.to_be_bytes(),
            ),
            (source, destination) => tuple3_hash_v6(
                key,
                self.protocol.0,
                source.to_v6_bytes(),
                destination.to_v6_bytes(),
            ),
        }
    }

    /// Hash of an IPv6 packet's 5-tuple.
    pub fn hash_v6(&self, snapshot: &Snapshot) -> Option<FlowHash> {
        match (self.kind, self.source, self.destination) {
            (Kind::Ip, Address::V6(source), Address::V6(destination)) => Some(flow_hash_v6(
                &snapshot.hash_key,
                self.protocol.0,
                source.to_be_bytes(),
                destination.to_be_bytes(),
                self.ports.0,
                self.ports.1,
            )),
            _ => None,
        }
    }
}

/// Reads one frame that came in through `ingress`.
#[inline]
pub fn classify(snapshot: &Snapshot, ingress: PortIndex, frame: &[u8]) -> Parsed {
    match try_classify(snapshot, ingress, frame) {
        Ok(parsed) => parsed,
        Err(reason) => Parsed::of(Kind::Bad(reason), 0),
    }
}

#[inline]
fn try_classify(
    snapshot: &Snapshot,
    ingress: PortIndex,
    frame: &[u8],
) -> Result<Parsed, DropReason> {
    // Offsets are 16 bits; no port delivers longer frames.
    if frame.len() > usize::from(u16::MAX) {
        return Err(DropReason::BadEthernet);
    }
    let link = l2(frame).map_err(|_| DropReason::BadEthernet)?;
    if let Some(port) = snapshot.ports.get(usize::from(ingress.0)) {
        check_tags(port, &link)?;
        if !port.filter.takes(frame) {
            return stray(snapshot, frame, &link);
        }
    }
    let outer = match link.ethertype {
        EtherType::IPV4 => ipv4(frame, link.l3_offset)?,
        EtherType::IPV6 => ipv6(frame, link.l3_offset)?,
        EtherType::ARP => return Ok(Parsed::of(Kind::Arp, link.l3_offset)),
        _ => return Ok(Parsed::of(Kind::Other, link.l3_offset)),
    };
    if is_tunnel(outer.protocol) && snapshot.local_port(outer.destination).is_some() {
        return decapsulate(snapshot, frame, &outer);
    }
    transport(frame, outer)
}

/// A frame that is not addressed to the port. One for another station is not ours, whatever it carries.
/// One for a group may be for the host, but a service's packet is for one rail alone (RFC 1122, section
/// 3.3.6: what came by link-layer broadcast is for a broadcast or multicast address).
#[cold]
fn stray(snapshot: &Snapshot, frame: &[u8], link: &L2) -> Result<Parsed, DropReason> {
    const GROUP: u8 = 1;
    if frame.first().is_none_or(|octet| octet & GROUP == 0) {
        return Err(DropReason::NotOurMac);
    }
    let outer = match link.ethertype {
        EtherType::IPV4 => ipv4(frame, link.l3_offset)?,
        EtherType::IPV6 => ipv6(frame, link.l3_offset)?,
        EtherType::ARP => return Ok(Parsed::of(Kind::Arp, link.l3_offset)),
        _ => return Ok(Parsed::of(Kind::Other, link.l3_offset)),
    };
    let tunnel = is_tunnel(outer.protocol) && snapshot.local_port(outer.destination).is_some();
    if tunnel || snapshot.map.is_vip(outer.destination) {
        return Err(DropReason::NotOurMac);
    }
    transport(frame, outer)
}

/// A port with a VLAN takes frames of that VLAN alone, inside the outer one if it has that too; a port
/// without one takes every frame.
#[inline]
fn check_tags(port: &PortView, link: &L2) -> Result<(), DropReason> {
    let Some(vlan) = port.vlan else {
        return Ok(());
    };
    let mut tags = link.tags().iter();
    if let Some(outer) = port.outer_vlan {
        let service = tags.next().filter(|tag| tag.tpid == EtherType::QINQ);
        if service.and_then(|tag| tag.vlan()).map(VlanId::get) != Some(outer) {
            return Err(DropReason::BadVlan);
        }
    }
    let tag = tags.next().and_then(|tag| tag.vlan());
    match tag {
        Some(tag) if tag.get() == vlan => Ok(()),
        _ => Err(DropReason::BadVlan),
    }
}

#[inline]
fn ipv4(frame: &[u8], l3: u16) -> Result<Parsed, DropReason> {
    let bytes = frame.get(usize::from(l3)..).ok_or(DropReason::BadIpv4)?;
    let ip = Ipv4::parse(bytes).map_err(|error| match error {
        Ipv4Error::BadChecksum => DropReason::BadIpv4Checksum,
        _ => DropReason::BadIpv4,
    })?;
    if ip.header.ttl == 0 {
        return Err(DropReason::TtlZero);
    }
    let l4 = l3 + ip.header_len() as u16;
    Ok(Parsed {
        l4,
        end: l4 + ip.payload.len() as u16,
        protocol: ip.header.protocol,
        class: ip.header.traffic_class,
        dont_fragment: ip.header.dont_fragment(),
        fragment: ip.header.fragment(),
        source: Address::V4(u32::from_be_bytes(ip.header.source)),
        destination: Address::V4(u32::from_be_bytes(ip.header.destination)),
        ..Parsed::of(Kind::Ip, l3)
    })
}

#[inline]
fn ipv6(frame: &[u8], l3: u16) -> Result<Parsed, DropReason> {
    let bytes = frame.get(usize::from(l3)..).ok_or(DropReason::BadIpv6)?;
    let ip = Ipv6::parse(bytes).map_err(|_| DropReason::BadIpv6)?;
    if ip.header.hop_limit == 0 {
        return Err(DropReason::TtlZero);
    }
    let l4 = l3 + ip.payload_offset as u16;
    Ok(Parsed {
        l4,
        end: l4 + ip.payload.len() as u16,
        protocol: ip.protocol,
        class: ip.header.traffic_class(),
        dont_fragment: true,
        fragment: ip.fragment,
        source: Address::V6(u128::from_be_bytes(ip.header.source)),
        destination: Address::V6(u128::from_be_bytes(ip.header.destination)),
        ..Parsed::of(Kind::Ip, l3)
    })
}

/// Takes one tunnel header off a packet addressed to the rail.
fn decapsulate(snapshot: &Snapshot, frame: &[u8], outer: &Parsed) -> Result<Parsed, DropReason> {
    if !snapshot.accepts(outer.source) {
        return Err(DropReason::TunnelSource);
    }
    // Reassembling somebody's tunnel is not a forwarder's work.
    if outer.fragment.is_some() {
        return Err(DropReason::Fragment);
    }
    let payload = frame
        .get(usize::from(outer.l4)..usize::from(outer.end))
        .ok_or(DropReason::BadGre)?;
    let mut origin = Origin::Network;
    let (ethertype, l3) = match outer.protocol {
        IpProtocol::GRE => {
            let gre = Gre::parse(payload).map_err(|_| DropReason::BadGre)?;
            origin = snapshot.peers.origin(outer.source, gre.key)?;
            (gre.protocol, outer.end - gre.payload.len() as u16)
        }
        IpProtocol::IPV6 => (EtherType::IPV6, outer.l4),
        _ => (EtherType::IPV4, outer.l4),
    };
    let inside = frame
        .get(..usize::from(outer.end))
        .ok_or(DropReason::BadGre)?;
    let mut inner = match ethertype {
        EtherType::IPV4 => ipv4(inside, l3)?,
        EtherType::IPV6 => ipv6(inside, l3)?,
        _ => return Err(DropReason::BadGre),
    };
    if is_tunnel(inner.protocol) && snapshot.local_port(inner.destination).is_some() {
        return Err(DropReason::TunnelDepth);
    }
    let ecn = Ecn::decapsulate(inner.class.ecn(), outer.class.ecn()).ok_or(DropReason::Ecn)?;
    inner.class = inner.class.with_ecn(ecn);
    inner.decapsulated = true;
    inner.origin = origin;
    transport(frame, inner)
}

/// Whether a packet of this protocol carries another IP packet.
#[inline]
fn is_tunnel(protocol: IpProtocol) -> bool {
    matches!(
        protocol,
        IpProtocol::GRE | IpProtocol::IPIP | IpProtocol::IPV6
    )
}

/// Reads ports and flags, and checks what the transport header says about its own length.
#[inline]
fn transport(frame: &[u8], mut parsed: Parsed) -> Result<Parsed, DropReason> {
    let payload = frame
        .get(usize::from(parsed.l4)..usize::from(parsed.end))
        .ok_or(DropReason::BadTransport)?;
    if let Some(fragment) = parsed.fragment {
        fragment
            .check(payload.len())
            .map_err(|_| DropReason::BadFragment)?;
        return first_fragment(payload, fragment, parsed);
    }
    match parsed.protocol {
        IpProtocol::TCP => {
            let tcp = Tcp::parse(payload).map_err(|_| DropReason::BadTransport)?;
            parsed.flags = tcp.header.flags;
            parsed.ports = host_order(tcp.header.ports);
        }
        IpProtocol::UDP => {
            let udp = Udp::parse(payload).map_err(|_| DropReason::BadTransport)?;
            parsed.ports = host_order(udp.header.ports);
        }
        protocol if protocol.has_ports() => {
            parsed.ports = ports(protocol, payload).ok_or(DropReason::BadTransport)?;
        }
        _ => {}
    }
    Ok(parsed)
}

/// RFC 1858 and RFC 7112: a first fragment shows the whole transport header, and no later one
/// overwrites it.
fn first_fragment(
    payload: &[u8],
    fragment: Fragment,
    mut parsed: Parsed,
) -> Result<Parsed, DropReason> {
    const FIRST_UNIT: u16 = 8;
    if !fragment.is_first() {
        if parsed.protocol == IpProtocol::TCP && fragment.offset == FIRST_UNIT {
            return Err(DropReason::BadFragment);
        }
        return Ok(parsed);
    }
    match parsed.protocol {
        IpProtocol::TCP => {
            let tcp = Tcp::parse(payload).map_err(|_| DropReason::BadFragment)?;
            parsed.flags = tcp.header.flags;
            parsed.ports = host_order(tcp.header.ports);
        }
        protocol if protocol.has_ports() => {
            parsed.ports = ports(protocol, payload).ok_or(DropReason::BadFragment)?;
        }
        _ => {}
    }
    Ok(parsed)
}

/// The ports of a packet that shows its whole transport header. Those of SCTP and DCCP have 12 bytes
/// at least (RFC 9260, section 3.1; RFC 4340, section 5.1), those of UDP and UDP-Lite 8.
#[inline]
fn ports(protocol: IpProtocol, payload: &[u8]) -> Option<(u16, u16)> {
    let header = match protocol {
        IpProtocol::SCTP | IpProtocol::DCCP => 12,
        _ => 8,
    };
    Some(host_order(Ports::parse(payload.get(..header)?)?))
}

#[inline]
fn host_order(ports: Ports) -> (u16, u16) {
    (ports.source.get(), ports.destination.get())
}
