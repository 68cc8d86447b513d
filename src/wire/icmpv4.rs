//! ICMP for IPv4 (RFC 792, RFC 1191).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// Codes of destination unreachable.
pub mod unreachable {
    pub const NET: u8 = 0;
    pub const HOST: u8 = 1;
    pub const PROTOCOL: u8 = 2;
    pub const PORT: u8 = 3;
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// RFC 1812, section 5.2.7.1.
    pub const ADMINISTRATIVELY_PROHIBITED: u8 = 13;
}

/// The first eight bytes of every message we know; what the last four are depends on the type.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Icmpv4Header {
    pub kind: u8,
    pub code: u8,
    pub checksum: U16,
    /// Echo: the identifier.
    pub identifier: U16,
    /// Echo: the sequence number. Fragmentation needed: the MTU of the next hop.
    pub sequence_or_mtu: U16,
}

/// Why a message is not valid ICMP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Icmpv4Error {
    #[error("the packet ends within the ICMP header")]
    Truncated,
    #[error("the ICMP checksum is wrong")]
    BadChecksum,
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmpv4Kind {
    EchoRequest {
        identifier: u16,
        sequence: u16,
    },
    EchoReply {
        identifier: u16,
        sequence: u16,
    },
    /// Destination unreachable, other than fragmentation needed.
    Unreachable {
        code: u8,
    },
    /// `mtu` is the next hop's; zero if sent by a router older than RFC 1191.
    FragmentationNeeded {
        mtu: u16,
    },
    TimeExceeded {
        code: u8,
    },
    ParameterProblem {
        code: u8,
    },
    /// Anything else: nothing that a load balancer acts on.
    Other,
}

impl Icmpv4Kind {
    /// Whether the message is an error, and so quotes the packet that caused it.
    pub const fn is_error(self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::FragmentationNeeded { .. }
            | Self::TimeExceeded { .. }
            | Self::ParameterProblem { .. } => true,
            Self::EchoRequest { .. } | Self::EchoReply { .. } | Self::Other => false,
        }
    }
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv4<'a> {
    pub header: &'a Icmpv4Header,
    pub kind: Icmpv4Kind,
    /// What follows the header. For an error the quoted packet, to be read with
    /// [`Ipv4::parse_quoted`](super::ipv4::Ipv4::parse_quoted); it starts [`Icmpv4Header::LEN`]
    /// bytes into the message.
    pub body: &'a [u8],
}

impl<'a> Icmpv4<'a> {
    /// Reads the message that an IP payload is, and checks its checksum. The payload of a fragment
    /// is no message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Icmpv4Error> {
        let message = Self::parse_quoted(bytes)?;
        if !checksum::is_valid(bytes) {
            return Err(Icmpv4Error::BadChecksum);
        }
        Ok(message)
    }

    /// Reads a message quoted in another, or the start of a fragmented one: cut short, so without
    /// its checksum.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Icmpv4Error> {
        let (header, body) = super::split::<Icmpv4Header>(bytes).ok_or(Icmpv4Error::Truncated)?;
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

impl Icmpv4Header {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();

    pub const fn echo_request(identifier: u16, sequence: u16) -> Self {
        Self::new(ECHO_REQUEST, 0, identifier, sequence)
    }

    pub const fn echo_reply(identifier: u16, sequence: u16) -> Self {
        Self::new(ECHO_REPLY, 0, identifier, sequence)
    }

    /// Destination unreachable; see [`unreachable`] for codes.
    pub const fn unreachable(code: u8) -> Self {
        Self::new(UNREACHABLE, code, 0, 0)
    }

    /// Fragmentation needed and DF set (RFC 1191); `mtu` in bytes, IP header included.
    pub const fn fragmentation_needed(mtu: u16) -> Self {
        Self::new(UNREACHABLE, unreachable::FRAGMENTATION_NEEDED, 0, mtu)
    }

    pub const fn time_exceeded(code: u8) -> Self {
        Self::new(TIME_EXCEEDED, code, 0, 0)
    }

    const fn new(kind: u8, code: u8, identifier: u16, sequence_or_mtu: u16) -> Self {
        Self {
            kind,
            code,
            checksum: U16::ZERO,
            identifier: U16::new(identifier),
            sequence_or_mtu: U16::new(sequence_or_mtu),
        }
    }

    /// What the type and code fields mean.
    pub const fn kind(&self) -> Icmpv4Kind {
        let identifier = self.identifier.get();
        let sequence = self.sequence_or_mtu.get();
        let code = self.code;
        match (self.kind, code) {
            (ECHO_REQUEST, 0) => Icmpv4Kind::EchoRequest {
                identifier,
                sequence,
            },
            (ECHO_REPLY, 0) => Icmpv4Kind::EchoReply {
                identifier,
                sequence,
            },
            (UNREACHABLE, unreachable::FRAGMENTATION_NEEDED) => {
                Icmpv4Kind::FragmentationNeeded { mtu: sequence }
            }
            (UNREACHABLE, _) => Icmpv4Kind::Unreachable { code },
            (TIME_EXCEEDED, _) => Icmpv4Kind::TimeExceeded { code },
            (PARAMETER_PROBLEM, _) => Icmpv4Kind::ParameterProblem { code },
            _ => Icmpv4Kind::Other,
        }
    }

    /// Makes an echo request the reply to itself: the data stays, the checksum follows (RFC 1624).
    pub fn turn_into_echo_reply(&mut self) {
        let old = u16::from_be_bytes([self.kind, self.code]);
        self.kind = ECHO_REPLY;
        self.code = 0;
        let new = u16::from_be_bytes([self.kind, self.code]);
        self.checksum = match checksum::update_u16(self.checksum.get(), old, new) {
            // The reply to a request without identifier, number and data is all zeros, and then
            // only the other zero of one's complement adds up (RFC 1624, section 3). Where both do,
            // either may be sent.
            0 => U16::MAX_VALUE,
            checksum => U16::new(checksum),
        };
    }

    /// Computes the checksum anew over the header and the `body` behind it.
    pub fn fill_checksum(&mut self, body: &[u8]) {
        self.checksum = U16::ZERO;
        let sum = checksum::Sum::ZERO.bytes(self.as_bytes()).bytes(body);
        self.checksum = U16::new(sum.checksum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo request as scapy writes it.
    const PING: [u8; 13] = [
        0x08, 0x00, 0xe5, 0xf1, 0x12, 0x34, 0x00, 0x09, b'p', b'i', b'n', b'g', b'!',
    ];

    fn sealed(mut header: Icmpv4Header, body: &[u8]) -> Vec<u8> {
        header.fill_checksum(body);
        [header.as_bytes(), body].concat()
    }

    #[test]
    fn echo_request_becomes_the_reply() {
        let ping = Icmpv4::parse(&PING).expect("a valid message");
        let expected = Icmpv4Kind::EchoRequest {
            identifier: 0x1234,
            sequence: 9,
        };
        assert_eq!(
            (ping.kind, ping.body, ping.quoted()),
            (expected, &b"ping!"[..], None)
        );

        let mut bytes = PING;
        let header: &mut Icmpv4Header = crate::wire::view_mut(&mut bytes).expect("a header");
        header.turn_into_echo_reply();
        assert_eq!(
            bytes.to_vec(),
            sealed(Icmpv4Header::echo_reply(0x1234, 9), b"ping!")
        );
    }

    #[test]
    fn the_reply_of_zeros_has_a_valid_checksum() {
        let mut bytes = sealed(Icmpv4Header::echo_request(0, 0), &[0; 6]);
        let header: &mut Icmpv4Header = crate::wire::view_mut(&mut bytes).expect("a header");
        header.turn_into_echo_reply();
        assert_eq!(bytes, sealed(Icmpv4Header::echo_reply(0, 0), &[0; 6]));
        assert!(Icmpv4::parse(&bytes).is_ok());
    }

    #[test]
    fn errors_quote_what_caused_them() {
        use Icmpv4Kind as Kind;
        for (header, kind) in [
            (
                Icmpv4Header::unreachable(unreachable::PORT),
                Kind::Unreachable { code: 3 },
            ),
            (
                Icmpv4Header::fragmentation_needed(1400),
                Kind::FragmentationNeeded { mtu: 1400 },
            ),
            (
                Icmpv4Header::time_exceeded(1),
                Kind::TimeExceeded { code: 1 },
            ),
        ] {
            let bytes = sealed(header, b"quoted packet");
            let message = Icmpv4::parse(&bytes).expect("a valid message");
            assert_eq!(message.kind, kind);
            assert_eq!(message.quoted(), Some(&b"quoted packet"[..]), "{kind:?}");
        }
    }

    #[test]
    fn what_we_do_not_know_is_other() {
        for (kind, code) in [(5, 0), (8, 1), (0, 1), (13, 0), (255, 255)] {
            let header = Icmpv4Header {
                kind,
                code,
                ..Icmpv4Header::echo_request(1, 2)
            };
            assert_eq!(header.kind(), Icmpv4Kind::Other, "type {kind} code {code}");
        }
        let problem = Icmpv4Header {
            kind: PARAMETER_PROBLEM,
            ..Icmpv4Header::unreachable(0)
        };
        assert!(problem.kind().is_error());
    }

    #[test]
    fn damage_is_seen() {
        for at in 0..PING.len() {
            let mut bytes = PING;
            bytes[at] ^= 0x10;
            assert_eq!(
                Icmpv4::parse(&bytes).err(),
                Some(Icmpv4Error::BadChecksum),
                "byte {at}"
            );
            assert!(Icmpv4::parse_quoted(&bytes).is_ok());
        }
        for len in 0..Icmpv4Header::LEN {
            assert_eq!(
                Icmpv4::parse(&PING[..len]).err(),
                Some(Icmpv4Error::Truncated)
            );
        }
    }
}
