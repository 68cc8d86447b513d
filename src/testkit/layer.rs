//! The layers a packet is built from, and how each is written around what it carries.

use zerocopy::IntoBytes;
use zerocopy::network_endian::{U16, U32};

use crate::wire::arp::ArpPacket;
use crate::wire::checksum::{self, Sum};
use crate::wire::fragment::FragmentHeader;
use crate::wire::gre::GreHeader;
use crate::wire::gue::GueHeader;
use crate::wire::icmpv4::Icmpv4Header;
use crate::wire::icmpv6::Icmpv6Header;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::tcp::TcpHeader;
use crate::wire::udp::UdpHeader;
use crate::wire::vlan::VlanHeader;
use crate::wire::{EtherType, EthernetHeader, IpProtocol};

/// A layer: its header as far as a test has set it, and the lies. Lengths, the type of what is
/// carried and checksums are filled in by [`write`](Layer::write); `Some` in a lie replaces what
/// would be right.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Ether {
        header: EthernetHeader,
        ethertype: Option<EtherType>,
    },
    Vlan {
        tpid: EtherType,
        tci: u16,
    },
    Arp(ArpPacket),
    Ipv4 {
        header: Ipv4Header,
        options: Vec<u8>,
        protocol: Option<IpProtocol>,
        version_ihl: Option<u8>,
        total_length: Option<u16>,
    },
    Ipv6 {
        header: Ipv6Header,
        protocol: Option<IpProtocol>,
        payload_length: Option<u16>,
    },
    /// An extension header; its first byte becomes the next header.
    Extension {
        kind: IpProtocol,
        bytes: Vec<u8>,
        protocol: Option<IpProtocol>,
    },
    Tcp {
        header: TcpHeader,
        options: Vec<u8>,
        data_offset: Option<u8>,
    },
    Udp {
        header: UdpHeader,
        length: Option<u16>,
        has_checksum: bool,
    },
    Icmpv4(Icmpv4Header),
    Icmpv6(Icmpv6Header),
    Gre {
        key: Option<u32>,
        sequence: Option<u32>,
        has_checksum: bool,
        flags: Option<u16>,
        protocol: Option<EtherType>,
    },
    Gue(Option<[u8; 4]>),
}

/// What stands around a layer in the packet.
pub(super) struct Around<'a> {
    /// The layer it carries, if that is more than bytes.
    pub inside: Option<&'a Layer>,
    /// The nearest IP layer outside of it.
    pub ip: Option<&'a Layer>,
    /// Whether its checksum has to be wrong.
    pub bad_checksum: bool,
}

/// RFC 3692: for experiments; what carries bytes that are no layer says this.
const EXPERIMENTAL: IpProtocol = IpProtocol(253);
/// IEEE 802: local experimental type 1.
const LOCAL_EXPERIMENTAL: EtherType = EtherType(0x88b5);

impl Layer {
    pub fn is_ip(&self) -> bool {
        matches!(self, Self::Ipv4 { .. } | Self::Ipv6 { .. })
    }

    pub fn is_ipv6(&self) -> bool {
        matches!(self, Self::Ipv6 { .. })
    }

    pub fn has_checksum(&self) -> bool {
        match self {
            Self::Udp { has_checksum, .. } | Self::Gre { has_checksum, .. } => *has_checksum,
            Self::Ipv4 { .. } | Self::Tcp { .. } | Self::Icmpv4(_) | Self::Icmpv6(_) => true,
            Self::Ether { .. }
            | Self::Vlan { .. }
            | Self::Arp(_)
            | Self::Ipv6 { .. }
            | Self::Extension { .. }
            | Self::Gue(_) => false,
        }
    }

    /// Whether every fragment has this extension header (RFC 8200, section 4.5).
    pub fn is_per_fragment(&self) -> bool {
        let per_fragment = [IpProtocol::HOP_BY_HOP, IpProtocol::ROUTING];
        matches!(self, Self::Extension { kind, .. } if per_fragment.contains(kind))
    }

    pub fn is_l2(&self) -> bool {
        matches!(self, Self::Ether { .. } | Self::Vlan { .. })
    }

    /// The layer's type to a layer 2 or GRE header around it.
    fn ethertype(&self) -> EtherType {
        match self {
            Self::Vlan { tpid, .. } => *tpid,
            Self::Arp(_) => EtherType::ARP,
            Self::Ipv4 { .. } => EtherType::IPV4,
            Self::Ipv6 { .. } => EtherType::IPV6,
            _ => LOCAL_EXPERIMENTAL,
        }
    }

    /// The layer's type to an IP header around it.
    pub fn protocol(&self) -> IpProtocol {
        match self {
            Self::Ipv4 { .. } => IpProtocol::IPIP,
            Self::Ipv6 { .. } => IpProtocol::IPV6,
            Self::Extension { kind, .. } => *kind,
            Self::Tcp { .. } => IpProtocol::TCP,
            Self::Udp { .. } => IpProtocol::UDP,
            Self::Icmpv4(_) => IpProtocol::ICMP,
            Self::Icmpv6(_) => IpProtocol::ICMPV6,
            Self::Gre { .. } => IpProtocol::GRE,
            _ => EXPERIMENTAL,
        }
    }

    /// Writes the layer's header and, behind it, `body`.
    pub fn write(&self, around: &Around<'_>, body: &[u8]) -> Vec<u8> {
        let mut header = match self {
            Self::Ether { header, ethertype } => {
                let ethertype = ethertype.unwrap_or_else(|| around.ethertype());
                let header = EthernetHeader {
                    ethertype: U16::new(ethertype.0),
                    ..*header
                };
                header.as_bytes().to_vec()
            }
            Self::Vlan { tci, .. } => {
                let header = VlanHeader {
                    tci: U16::new(*tci),
                    ethertype: U16::new(around.ethertype().0),
                };
                header.as_bytes().to_vec()
            }
            Self::Arp(packet) => packet.as_bytes().to_vec(),
            Self::Ipv4 { .. } => self.write_ipv4(around, body),
            Self::Ipv6 {
                header,
                protocol,
                payload_length,
            } => {
                let length = payload_length.unwrap_or_else(|| length_field(body.len()));
                let header = Ipv6Header {
                    next_header: protocol.unwrap_or_else(|| around.protocol()),
                    payload_length: U16::new(length),
                    ..*header
                };
                header.as_bytes().to_vec()
            }
            Self::Extension {
                bytes, protocol, ..
            } => {
                let mut bytes = bytes.clone();
                bytes[0] = protocol.unwrap_or_else(|| around.protocol()).0;
                bytes
            }
            Self::Tcp { .. } => self.write_tcp(around, body),
            Self::Udp {
                header,
                length,
                has_checksum,
            } => {
                let mut header = UdpHeader {
                    length: U16::new(
                        length.unwrap_or_else(|| length_field(UdpHeader::LEN + body.len())),
                    ),
                    ..*header
                };
                if *has_checksum {
                    let sum = around.pseudo(self.protocol(), UdpHeader::LEN + body.len());
                    let sum = sum.bytes(header.as_bytes()).bytes(body);
                    header.checksum = around.checksum(sum.udp_checksum());
                }
                header.as_bytes().to_vec()
            }
            Self::Icmpv4(header) => {
                let mut header = *header;
                header.fill_checksum(body);
                header.checksum = around.checksum(header.checksum.get());
                header.as_bytes().to_vec()
            }
            Self::Icmpv6(header) => {
                let mut header = *header;
                let sum = around.pseudo(self.protocol(), Icmpv6Header::LEN + body.len());
                let sum = sum.bytes(header.as_bytes()).bytes(body);
                header.checksum = around.checksum(sum.checksum());
                header.as_bytes().to_vec()
            }
            Self::Gre { .. } => self.write_gre(around, body),
            Self::Gue(lie) => lie.map_or_else(
                || GueHeader::new(around.protocol()).as_bytes().to_vec(),
                |bytes| bytes.to_vec(),
            ),
        };
        header.extend_from_slice(body);
        header
    }

    fn write_ipv4(&self, around: &Around<'_>, body: &[u8]) -> Vec<u8> {
        let Self::Ipv4 {
            header,
            options,
            protocol,
            version_ihl,
            total_length,
        } = self
        else {
            unreachable!("called for IPv4 only")
        };
        let header_len = Ipv4Header::LEN + options.len();
        let mut header = Ipv4Header {
            version_ihl: version_ihl.unwrap_or((4 << 4) | (header_len / 4) as u8),
            total_length: U16::new(
                total_length.unwrap_or_else(|| length_field(header_len + body.len())),
            ),
            protocol: protocol.unwrap_or_else(|| around.protocol()),
            ..*header
        };
        header.fill_checksum(options);
        header.checksum = around.checksum(header.checksum.get());
        [header.as_bytes(), options].concat()
    }

    fn write_tcp(&self, around: &Around<'_>, body: &[u8]) -> Vec<u8> {
        let Self::Tcp {
            header,
            options,
            data_offset,
        } = self
        else {
            unreachable!("called for TCP only")
        };
        let header_len = TcpHeader::LEN + options.len();
        let mut header = TcpHeader {
            data_offset: data_offset.unwrap_or((header_len / 4) as u8) << 4,
            ..*header
        };
        let sum = around.pseudo(self.protocol(), header_len + body.len());
        let sum = sum.bytes(header.as_bytes()).bytes(options).bytes(body);
        header.checksum = around.checksum(sum.checksum());
        [header.as_bytes(), options].concat()
    }

    fn write_gre(&self, around: &Around<'_>, body: &[u8]) -> Vec<u8> {
        let Self::Gre {
            key,
            sequence,
            has_checksum,
            flags,
            protocol,
        } = self
        else {
            unreachable!("called for GRE only")
        };
        // RFC 2784 and RFC 2890: C, K and S are bits 0, 2 and 3.
        let honest = (u16::from(*has_checksum) << 15)
            | (u16::from(key.is_some()) << 13)
            | (u16::from(sequence.is_some()) << 12);
        let header = GreHeader {
            flags_version: U16::new(flags.unwrap_or(honest)),
            protocol: U16::new(protocol.unwrap_or_else(|| around.ethertype()).0),
        };
        let mut bytes = header.as_bytes().to_vec();
        if *has_checksum {
            bytes.extend_from_slice(&[0; 4]);
        }
        for field in [key, sequence].into_iter().flatten() {
            bytes.extend_from_slice(U32::new(*field).as_bytes());
        }
        if *has_checksum {
            let sum = Sum::ZERO.bytes(&bytes).bytes(body);
            let checksum = around.checksum(sum.checksum());
            bytes[4..6].copy_from_slice(checksum.as_bytes());
        }
        bytes
    }
}

impl Around<'_> {
    fn ethertype(&self) -> EtherType {
        self.inside.map_or(LOCAL_EXPERIMENTAL, Layer::ethertype)
    }

    fn protocol(&self) -> IpProtocol {
        self.inside.map_or(EXPERIMENTAL, Layer::protocol)
    }

    /// The pseudo-header of the IP layer around an upper-layer packet of `len` bytes.
    fn pseudo(&self, protocol: IpProtocol, len: usize) -> Sum {
        match self.ip {
            Some(Layer::Ipv4 { header, .. }) => checksum::pseudo_v4(
                header.source(),
                header.destination(),
                protocol,
                length_field(len),
            ),
            Some(Layer::Ipv6 { header, .. }) => checksum::pseudo_v6(
                header.source(),
                header.destination(),
                protocol,
                u32::from(length_field(len)),
            ),
            _ => Sum::ZERO,
        }
    }

    /// The checksum field: `right`, or a value that neither equals it nor means "none".
    fn checksum(&self, right: u16) -> U16 {
        let wrong = match right ^ 0x8000 {
            0 => 0x4000,
            wrong => wrong,
        };
        U16::new(if self.bad_checksum { wrong } else { right })
    }
}

/// The extension header an IPv6 fragment has.
pub(super) fn fragment_extension(fragment: crate::wire::Fragment) -> Layer {
    Layer::Extension {
        kind: IpProtocol::FRAGMENT,
        bytes: FragmentHeader::new(EXPERIMENTAL, fragment)
            .as_bytes()
            .to_vec(),
        protocol: None,
    }
}

/// A length as its 16-bit field holds it; no packet a test builds may be longer.
fn length_field(len: usize) -> u16 {
    u16::try_from(len).unwrap_or_else(|_| panic!("a packet of {len} bytes has no length field"))
}
