//! The packet builder: what IP carries.

use zerocopy::IntoBytes;

use crate::wire::icmpv4::Icmpv4Header;
use crate::wire::icmpv6::Icmpv6Header;
use crate::wire::nd::{self, NdFlags, NdMessage};
use crate::wire::tcp::{TcpFlags, TcpHeader};
use crate::wire::udp::UdpHeader;
use crate::wire::{EtherType, Ports};

use super::layer::Layer;
use super::packet::{PacketBuilder, set};
use super::{ToIpv6, ToMac};

/// TCP.
impl PacketBuilder {
    /// No flags set.
    pub fn tcp(self, source: u16, destination: u16) -> Self {
        let ports = Ports::new(source, destination);
        self.push(Layer::Tcp {
            header: TcpHeader::new(ports, TcpFlags::default()),
            options: Vec::new(),
            data_offset: None,
        })
    }

    pub fn syn(self) -> Self {
        self.flags(TcpFlags::SYN)
    }

    pub fn ack(self) -> Self {
        self.flags(TcpFlags::ACK)
    }

    pub fn psh(self) -> Self {
        self.flags(TcpFlags::PSH)
    }

    pub fn fin(self) -> Self {
        self.flags(TcpFlags::FIN)
    }

    pub fn rst(self) -> Self {
        self.flags(TcpFlags::RST)
    }

    /// Sets `flags` beside those already set.
    pub fn flags(self, flags: TcpFlags) -> Self {
        set!(self, "flags", Layer::Tcp { header, .. } => header.flags = header.flags | flags)
    }

    pub fn sequence(self, sequence: u32) -> Self {
        set!(self, "sequence number", Layer::Tcp { header, .. } => header.sequence = sequence.into())
    }

    pub fn acknowledgment(self, acknowledgment: u32) -> Self {
        set!(self, "acknowledgment", Layer::Tcp { header, .. } => {
            header.acknowledgment = acknowledgment.into();
        })
    }

    /// The data offset field, in units of 4 bytes.
    pub fn data_offset(self, value: u8) -> Self {
        set!(self, "data offset", Layer::Tcp { data_offset, .. } => *data_offset = Some(value))
    }
}

/// UDP and what rides on it.
impl PacketBuilder {
    pub fn udp(self, source: u16, destination: u16) -> Self {
        self.push(Layer::Udp {
            header: UdpHeader::new(Ports::new(source, destination), 0),
            length: None,
            has_checksum: true,
        })
    }

    /// The checksum field says "none".
    pub fn no_checksum(self) -> Self {
        set!(self, "UDP checksum", Layer::Udp { has_checksum, .. } => *has_checksum = false)
    }

    pub fn udp_length(self, value: u16) -> Self {
        set!(self, "UDP length", Layer::Udp { length, .. } => *length = Some(value))
    }

    /// A GUE header, to be put into [`udp`](Self::udp).
    pub fn gue(self) -> Self {
        self.push(Layer::Gue(None))
    }

    /// The four bytes of the GUE header.
    pub fn gue_header(self, bytes: [u8; 4]) -> Self {
        set!(self, "GUE header", Layer::Gue(lie) => *lie = Some(bytes))
    }
}

/// GRE.
impl PacketBuilder {
    /// No optional fields.
    pub fn gre(self) -> Self {
        self.push(Layer::Gre {
            key: None,
            sequence: None,
            has_checksum: false,
            flags: None,
            protocol: None,
        })
    }

    pub fn gre_key(self, value: u32) -> Self {
        set!(self, "GRE key", Layer::Gre { key, .. } => *key = Some(value))
    }

    pub fn gre_sequence(self, value: u32) -> Self {
        set!(self, "GRE sequence", Layer::Gre { sequence, .. } => *sequence = Some(value))
    }

    pub fn gre_checksum(self) -> Self {
        set!(self, "GRE checksum", Layer::Gre { has_checksum, .. } => *has_checksum = true)
    }

    /// The flags and version field, whatever fields follow.
    pub fn gre_flags(self, value: u16) -> Self {
        set!(self, "GRE flags", Layer::Gre { flags, .. } => *flags = Some(value))
    }

    /// The protocol field, whatever follows.
    pub fn gre_protocol(self, value: EtherType) -> Self {
        set!(self, "GRE protocol", Layer::Gre { protocol, .. } => *protocol = Some(value))
    }
}

/// ICMP, in the version of the IP layer around it. What an error quotes is its payload.
impl PacketBuilder {
    pub fn echo_request(self, identifier: u16, sequence: u16) -> Self {
        self.icmp(
            Icmpv4Header::echo_request(identifier, sequence),
            Icmpv6Header::echo_request(identifier, sequence),
        )
    }

    pub fn echo_reply(self, identifier: u16, sequence: u16) -> Self {
        self.icmp(
            Icmpv4Header::echo_reply(identifier, sequence),
            Icmpv6Header::echo_reply(identifier, sequence),
        )
    }

    /// Destination unreachable; the codes of the two versions differ.
    pub fn unreachable(self, code: u8) -> Self {
        self.icmp(
            Icmpv4Header::unreachable(code),
            Icmpv6Header::unreachable(code),
        )
    }

    /// Fragmentation needed, or packet too big.
    pub fn too_big(self, mtu: u16) -> Self {
        self.icmp(
            Icmpv4Header::fragmentation_needed(mtu),
            Icmpv6Header::packet_too_big(u32::from(mtu)),
        )
    }

    pub fn time_exceeded(self) -> Self {
        self.icmp(
            Icmpv4Header::time_exceeded(0),
            Icmpv6Header::time_exceeded(0),
        )
    }

    fn icmp(self, v4: Icmpv4Header, v6: Icmpv6Header) -> Self {
        let layer = if self.ip().is_ipv6() {
            Layer::Icmpv6(v6)
        } else {
            Layer::Icmpv4(v4)
        };
        self.push(layer)
    }
}

/// Neighbour discovery; sets the hop limit it requires.
impl PacketBuilder {
    /// Who has `target`? With the sender's MAC, or without, as one that checks whether the address
    /// is free.
    pub fn neighbor_solicitation<M: ToMac>(self, target: impl ToIpv6, mac: Option<M>) -> Self {
        let target = target.to_ipv6();
        match mac {
            Some(mac) => {
                let mac = mac.to_mac();
                self.nd(NdMessage::solicitation(target, target, target, mac), true)
            }
            None => {
                let mac = crate::wire::MacAddr::ZERO;
                self.nd(NdMessage::solicitation(target, target, target, mac), false)
            }
        }
    }

    /// `target` is at `mac`.
    pub fn neighbor_advertisement(
        self,
        target: impl ToIpv6,
        mac: impl ToMac,
        flags: NdFlags,
    ) -> Self {
        let (target, mac) = (target.to_ipv6(), mac.to_mac());
        self.nd(
            NdMessage::advertisement(target, target, target, mac, flags),
            true,
        )
    }

    /// The message as ICMPv6 layer and payload: its checksum is written when the addresses around
    /// it are known.
    fn nd(self, message: NdMessage, with_mac: bool) -> Self {
        let mut header = message.icmp;
        header.checksum = 0.into();
        let mut body = message.target.to_vec();
        if with_mac {
            body.extend_from_slice(message.option.as_bytes());
        }
        self.ttl(nd::HOP_LIMIT)
            .push(Layer::Icmpv6(header))
            .payload(body)
    }
}
