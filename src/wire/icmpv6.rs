//! ICMP for IPv6 (RFC 4443). Neighbour discovery, which rides on it, is in [`nd`](super::nd).

use std::net::Ipv6Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::IpProtocol;
use super::checksum::{self, Sum};

const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
pub(super) const NEIGHBOR_SOLICITATION: u8 = 135;
pub(super) const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// Codes of destination unreachable.
pub mod unreachable {
    pub const NO_ROUTE: u8 = 0;
    pub const ADMINISTRATIVELY_PROHIBITED: u8 = 1;
    pub const ADDRESS: u8 = 3;
    pub const PORT: u8 = 4;
}

/// The first eight bytes of every message we know; what the last four are depends on the type.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Icmpv6Header {
    pub kind: u8,
    pub code: u8,
    pub checksum: U16,
    /// Echo: identifier and sequence number. Packet too big: the MTU. Parameter problem: the
    /// pointer.
    pub rest: U32,
}

/// Why a message is not valid ICMPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Icmpv6Error {
    #[error("the packet ends within the ICMPv6 header")]
    Truncated,
    #[error("the ICMPv6 checksum is wrong")]
    BadChecksum,
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmpv6Kind {
    EchoRequest {
        identifier: u16,
        sequence: u16,
    },
    EchoReply {
        identifier: u16,
        sequence: u16,
    },
    Unreachable {
        code: u8,
    },
    /// `mtu` is that of the link that the packet did not fit, bytes.
    PacketTooBig {
        mtu: u32,
    },
    TimeExceeded {
        code: u8,
    },
    ParameterProblem {
        code: u8,
    },
    /// To be read with [`Nd::parse`](super::nd::Nd::parse).
    NeighborSolicitation,
    /// To be read with [`Nd::parse`](super::nd::Nd::parse).
    NeighborAdvertisement,
    /// Anything else: nothing that a load balancer acts on.
    Other,
}

impl Icmpv6Kind {
    /// Whether the message is an error, and so quotes the packet that caused it.
    pub const fn is_error(self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::PacketTooBig { .. }
            | Self::TimeExceeded { .. }
            | Self::ParameterProblem { .. } => true,
            Self::EchoRequest { .. }
            | Self::EchoReply { .. }
            | Self::NeighborSolicitation
            | Self::NeighborAdvertisement
            | Self::Other => false,
        }
    }
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6<'a> {
    pub header: &'a Icmpv6Header,
    pub kind: Icmpv6Kind,
    /// What follows the header. For an error the quoted packet, to be read with
    /// [`Ipv6::parse_quoted`](super::ipv6::Ipv6::parse_quoted); it starts [`Icmpv6Header::LEN`]
    /// bytes into the message.
    pub body: &'a [u8],
}

impl<'a> Icmpv6<'a> {
    /// Reads the message that an IPv6 upper-layer packet is, and checks its checksum, which covers
    /// the addresses too. The payload of a fragment is no message.
    pub fn parse(
        bytes: &'a [u8],
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<Self, Icmpv6Error> {
        let message = Self::parse_quoted(bytes)?;
        if !pseudo(source, destination, bytes.len())
            .bytes(bytes)
            .is_valid()
        {
            return Err(Icmpv6Error::BadChecksum);
        }
        Ok(message)
    }

    /// Reads a message quoted in another, or the start of a fragmented one: cut short, so without
    /// its checksum.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Icmpv6Error> {
        let (header, body) = super::split::<Icmpv6Header>(bytes).ok_or(Icmpv6Error::Truncated)?;
        Ok(Self {
            header,
            kind: header.kind(),
            body,
        })
    }

    /// The quoted packet of an error message.
    pub fn quoted(&self) -> Option<&'a [u8]> {
        self.kind.is_error().then_some(self.body)
    }
}

impl Icmpv6Header {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();

    pub const fn echo_request(identifier: u16, sequence: u16) -> Self {
        Self::new(ECHO_REQUEST, 0, (identifier as u32) << 16 | sequence as u32)
    }

    pub const fn echo_reply(identifier: u16, sequence: u16) -> Self {
        Self::new(ECHO_REPLY, 0, (identifier as u32) << 16 | sequence as u32)
    }

    /// Destination unreachable; see [`unreachable`] for codes.
    pub const fn unreachable(code: u8) -> Self {
        Self::new(UNREACHABLE, code, 0)
    }

    /// `mtu` in bytes, IPv6 header included.
    pub const fn packet_too_big(mtu: u32) -> Self {
        Self::new(PACKET_TOO_BIG, 0, mtu)
    }

    pub const fn time_exceeded(code: u8) -> Self {
        Self::new(TIME_EXCEEDED, code, 0)
    }

    pub(super) const fn new(kind: u8, code: u8, rest: u32) -> Self {
        Self {
            kind,
            code,
            checksum: U16::ZERO,
            rest: U32::new(rest),
        }
    }

    /// What the type and code fields mean.
    pub const fn kind(&self) -> Icmpv6Kind {
        let rest = self.rest.get();
        let (identifier, sequence) = ((rest >> 16) as u16, rest as u16);
        let code = self.code;
        match self.kind {
            ECHO_REQUEST if code == 0 => Icmpv6Kind::EchoRequest {
                identifier,
                sequence,
            },
            ECHO_REPLY if code == 0 => Icmpv6Kind::EchoReply {
                identifier,
                sequence,
            },
            UNREACHABLE => Icmpv6Kind::Unreachable { code },
            // RFC 4443, section 3.2: a receiver ignores the code.
            PACKET_TOO_BIG => Icmpv6Kind::PacketTooBig { mtu: rest },
            TIME_EXCEEDED => Icmpv6Kind::TimeExceeded { code },
            PARAMETER_PROBLEM => Icmpv6Kind::ParameterProblem { code },
            NEIGHBOR_SOLICITATION => Icmpv6Kind::NeighborSolicitation,
            NEIGHBOR_ADVERTISEMENT => Icmpv6Kind::NeighborAdvertisement,
            _ => Icmpv6Kind::Other,
        }
    }

    /// Makes an echo request the reply to itself: the data stays, the checksum follows (RFC 1624).
    /// It stays right when source and destination address trade places.
    pub fn turn_into_echo_reply(&mut self) {
        let old = u16::from_be_bytes([self.kind, self.code]);
        self.kind = ECHO_REPLY;
        self.code = 0;
        let new = u16::from_be_bytes([self.kind, self.code]);
        self.checksum = U16::new(checksum::update_u16(self.checksum.get(), old, new));
    }

    /// Computes the checksum anew over pseudo-header, header and the `body` behind it.
    pub fn fill_checksum(&mut self, source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) {
        self.checksum = U16::ZERO;
        let sum = pseudo(source, destination, Self::LEN + body.len())
            .bytes(self.as_bytes())
            .bytes(body);
        self.checksum = U16::new(sum.checksum());
    }
}

/// The pseudo-header of a message of `len` bytes.
fn pseudo(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> Sum {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    checksum::pseudo_v6(source, destination, IpProtocol::ICMPV6, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
    const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);

    /// An echo request from the client to the VIP as scapy writes it.
    const PING: [u8; 13] = [
        0x80, 0x00, 0x12, 0x21, 0x12, 0x34, 0x00, 0x09, b'p', b'i', b'n', b'g', b'!',
    ];

    #[test]
    fn echo_request_becomes_the_reply() {
        let ping = Icmpv6::parse(&PING, CLIENT, VIP).expect("a valid message");
        let expected = Icmpv6Kind::EchoRequest {
            identifier: 0x1234,
            sequence: 9,
        };
        assert_eq!(
            (ping.kind, ping.body, ping.quoted()),
            (expected, &b"ping!"[..], None)
        );

        let mut bytes = PING;
        let header: &mut Icmpv6Header = crate::wire::view_mut(&mut bytes).expect("a header");
        header.turn_into_echo_reply();
        let pong = Icmpv6::parse(&bytes, VIP, CLIENT).expect("a valid message");
        assert_eq!(
            pong.kind,
            Icmpv6Kind::EchoReply {
                identifier: 0x1234,
                sequence: 9
            }
        );
    }

    #[test]
    fn errors_quote_what_caused_them() {
        use Icmpv6Kind as Kind;
        for (mut header, kind) in [
            (
                Icmpv6Header::unreachable(unreachable::PORT),
                Kind::Unreachable { code: 4 },
            ),
            (
                Icmpv6Header::packet_too_big(70_000),
                Kind::PacketTooBig { mtu: 70_000 },
            ),
            (
                Icmpv6Header::time_exceeded(0),
                Kind::TimeExceeded { code: 0 },
            ),
        ] {
            header.fill_checksum(CLIENT, VIP, b"quoted packet");
            let bytes = [header.as_bytes(), b"quoted packet"].concat();
            let message = Icmpv6::parse(&bytes, CLIENT, VIP).expect("a valid message");
            assert_eq!(message.kind, kind);
            assert_eq!(message.quoted(), Some(&b"quoted packet"[..]), "{kind:?}");
        }
    }

    #[test]
    fn what_we_do_not_know_is_other() {
        for (kind, code) in [(128, 1), (129, 1), (133, 0), (137, 0), (0, 0)] {
            assert_eq!(
                Icmpv6Header::new(kind, code, 0).kind(),
                Icmpv6Kind::Other,
                "type {kind}"
            );
        }
        let problem = Icmpv6Header::new(PARAMETER_PROBLEM, 1, 40);
        assert!(problem.kind().is_error());
    }

    #[test]
    fn damage_is_seen_in_the_addresses_too() {
        let error = |bytes: &[u8], to| Icmpv6::parse(bytes, CLIENT, to).err();
        assert_eq!(
            error(&PING, Ipv6Addr::LOCALHOST),
            Some(Icmpv6Error::BadChecksum)
        );
        for at in 0..PING.len() {
            let mut bytes = PING;
            bytes[at] ^= 0x10;
            assert_eq!(
                error(&bytes, VIP),
                Some(Icmpv6Error::BadChecksum),
                "byte {at}"
            );
        }
        for len in 0..Icmpv6Header::LEN {
            assert_eq!(error(&PING[..len], VIP), Some(Icmpv6Error::Truncated));
        }
    }
}
