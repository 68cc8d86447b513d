//! Source and destination port: the first four bytes of TCP, UDP, UDP-Lite, SCTP and DCCP headers.
//!
//! A packet quoted in an ICMP error is only sure to carry eight bytes of its layer-4 header
//! (RFC 792), so ports have to be readable where the header that holds them is not complete.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The two ports, as on the wire.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ports {
    pub source: U16,
    pub destination: U16,
}

impl Ports {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();

    pub const fn new(source: u16, destination: u16) -> Self {
        Self {
            source: U16::new(source),
            destination: U16::new(destination),
        }
    }

    /// The ports at the start of a layer-4 header, or `None` if fewer than four bytes are there.
    /// The caller has asked [`IpProtocol::has_ports`](super::IpProtocol::has_ports).
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        super::view(bytes).copied()
    }

    /// The ports of the opposite direction.
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_four_bytes_and_no_fewer() {
        let bytes = [0x1f, 0x90, 0x01, 0xbb, 0xff];
        assert_eq!(Ports::parse(&bytes), Some(Ports::new(8080, 443)));
        assert_eq!(Ports::parse(&bytes[..3]), None);
        assert_eq!(Ports::new(1, 2).reversed(), Ports::new(2, 1));
    }
}
