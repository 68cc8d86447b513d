//! The packet builder: IP, its options, fragments and extension headers.

use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{Ecn, Fragment, IpProtocol};

use super::layer::{Layer, fragment_extension};
use super::packet::{PacketBuilder, set};
use super::{ToIpv4, ToIpv6};

impl PacketBuilder {
    /// DF clear, ID 0, TTL 64.
    pub fn ipv4(self, source: impl ToIpv4, destination: impl ToIpv4) -> Self {
        let protocol = IpProtocol::NO_NEXT_HEADER;
        let mut header = Ipv4Header::new(source.to_ipv4(), destination.to_ipv4(), protocol, 0);
        header.set_fragment(false, false, 0);
        self.push(Layer::Ipv4 {
            header,
            options: Vec::new(),
            protocol: None,
            version_ihl: None,
            total_length: None,
        })
    }

    /// Hop limit 64, flow label 0.
    pub fn ipv6(self, source: impl ToIpv6, destination: impl ToIpv6) -> Self {
        let protocol = IpProtocol::NO_NEXT_HEADER;
        let header = Ipv6Header::new(source.to_ipv6(), destination.to_ipv6(), protocol, 0);
        self.push(Layer::Ipv6 {
            header,
            protocol: None,
            payload_length: None,
        })
    }

    /// TTL or hop limit.
    pub fn ttl(self, ttl: u8) -> Self {
        set!(
            self, "TTL",
            Layer::Ipv4 { header, .. } => header.ttl = ttl,
            Layer::Ipv6 { header, .. } => header.hop_limit = ttl,
        )
    }

    pub fn dscp(self, dscp: u8) -> Self {
        set!(
            self, "DSCP",
            Layer::Ipv4 { header, .. } => {
                header.traffic_class = header.traffic_class.with_dscp(dscp);
            },
            Layer::Ipv6 { header, .. } => {
                header.set_traffic_class(header.traffic_class().with_dscp(dscp));
            },
        )
    }

    pub fn ecn(self, ecn: Ecn) -> Self {
        set!(
            self, "ECN",
            Layer::Ipv4 { header, .. } => header.traffic_class = header.traffic_class.with_ecn(ecn),
            Layer::Ipv6 { header, .. } => {
                header.set_traffic_class(header.traffic_class().with_ecn(ecn));
            },
        )
    }

    pub fn dont_fragment(self) -> Self {
        set!(self, "DF", Layer::Ipv4 { header, .. } => {
            header.set_fragment(true, header.more_fragments(), header.fragment_offset());
        })
    }

    /// The identification of an IPv4 packet.
    pub fn id(self, id: u16) -> Self {
        set!(self, "identification", Layer::Ipv4 { header, .. } => header.identification = id.into())
    }

    pub fn flow_label(self, label: u32) -> Self {
        set!(self, "flow label", Layer::Ipv6 { header, .. } => header.set_flow_label(label))
    }

    /// Makes the packet a fragment: sets the fields of IPv4, or adds the extension header of IPv6.
    /// The offset is in bytes.
    pub fn fragment(self, id: u32, offset: u16, more: bool) -> Self {
        if self.ip().is_ipv6() {
            return self.push(fragment_extension(Fragment { offset, more, id }));
        }
        set!(self, "fragment offset", Layer::Ipv4 { header, .. } => {
            header.identification = (id as u16).into();
            header.set_fragment(header.dont_fragment(), more, offset);
        })
    }

    /// Options of TCP if that is the innermost layer, else of IPv4; padded with zeros (end of
    /// options) to a multiple of 4 bytes.
    pub fn options(self, bytes: &[u8]) -> Self {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(4), 0);
        set!(
            self, "options",
            Layer::Tcp { options, .. } => *options = padded.clone(),
            Layer::Ipv4 { options, .. } => *options = padded.clone(),
        )
    }

    /// IPv6 hop-by-hop options of eight bytes: padding.
    pub fn hop_by_hop(self) -> Self {
        self.extension(IpProtocol::HOP_BY_HOP, &[0, 0, 1, 4, 0, 0, 0, 0])
    }

    /// IPv6 destination options of sixteen bytes: padding.
    pub fn destination_options(self) -> Self {
        let options = [0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.extension(IpProtocol::DESTINATION_OPTIONS, &options)
    }

    /// An IPv6 routing header of an experimental type with nothing left to visit.
    pub fn routing(self) -> Self {
        self.extension(IpProtocol::ROUTING, &[0, 0, 253, 0, 0, 0, 0, 0])
    }

    /// An authentication header of 24 bytes.
    pub fn authentication(self) -> Self {
        let mut bytes = [0; 24];
        bytes[1] = 4;
        self.extension(IpProtocol::AH, &bytes)
    }

    /// An IPv6 extension header of type `kind`; its first byte is replaced by the next header.
    pub fn extension(self, kind: IpProtocol, bytes: &[u8]) -> Self {
        self.push(Layer::Extension {
            kind,
            bytes: bytes.to_vec(),
            protocol: None,
        })
    }

    /// The protocol or next-header field, whatever follows.
    pub fn protocol(self, value: IpProtocol) -> Self {
        set!(
            self, "protocol",
            Layer::Ipv4 { protocol, .. } => *protocol = Some(value),
            Layer::Ipv6 { protocol, .. } => *protocol = Some(value),
            Layer::Extension { protocol, .. } => *protocol = Some(value),
        )
    }

    /// The first byte of IPv4: version and header length in units of 4 bytes.
    pub fn version_ihl(self, value: u8) -> Self {
        set!(self, "header length", Layer::Ipv4 { version_ihl, .. } => *version_ihl = Some(value))
    }

    pub fn total_length(self, value: u16) -> Self {
        set!(self, "total length", Layer::Ipv4 { total_length, .. } => *total_length = Some(value))
    }

    pub fn payload_length(self, value: u16) -> Self {
        set!(self, "payload length", Layer::Ipv6 { payload_length, .. } => {
            *payload_length = Some(value);
        })
    }
}
