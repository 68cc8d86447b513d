//! UDP (RFC 768).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Ports;

/// The header.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct UdpHeader {
    pub ports: Ports,
    /// Header and data, bytes.
    pub length: U16,
    /// Zero: none (RFC 768; over IPv6 only in tunnels, RFC 6935).
    pub checksum: U16,
}

/// Why a datagram is not valid UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UdpError {
    #[error("the packet ends within the UDP header")]
    Truncated,
    #[error("the UDP length is below 8 bytes or beyond the packet")]
    BadLength,
}

/// A datagram cut at its length.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    pub header: &'a UdpHeader,
    pub payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Reads the datagram that an IP payload is; an IP payload longer than the datagram is no error
    /// (RFC 9868 uses the surplus). The first fragment of a longer datagram does not pass: its
    /// length is that of the whole, so read its [`Ports`] instead.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UdpError> {
        let (header, rest) = super::split::<UdpHeader>(bytes).ok_or(UdpError::Truncated)?;
        let payload = usize::from(header.length.get())
            .checked_sub(UdpHeader::LEN)
            .and_then(|len| rest.get(..len))
            .ok_or(UdpError::BadLength)?;
        Ok(Self { header, payload })
    }
}

impl UdpHeader {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header without checksum. A payload beyond 65,527 bytes has no valid header; its length is
    /// cut to the field.
    pub fn new(ports: Ports, payload_len: usize) -> Self {
        Self {
            ports,
            length: U16::new(u16::try_from(Self::LEN + payload_len).unwrap_or(u16::MAX)),
            checksum: U16::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    /// A datagram that says it is `length` long, with `data` behind its header.
    fn datagram(length: u16, data: &[u8]) -> Vec<u8> {
        let mut header = UdpHeader::new(Ports::new(5353, 53), data.len());
        header.length = length.into();
        [header.as_bytes(), data].concat()
    }

    #[test]
    fn is_cut_at_its_length() {
        let bytes = datagram(10, b"data");
        let udp = Udp::parse(&bytes).expect("a valid datagram");
        assert_eq!(udp.header.ports, Ports::new(5353, 53));
        assert_eq!(udp.payload, b"da");
    }

    #[test]
    fn lengths_that_lie() {
        for (length, expected) in [
            (8, None),
            (12, None),
            (13, Some(UdpError::BadLength)),
            (7, Some(UdpError::BadLength)),
            // RFC 2675 gives zero a meaning in jumbograms only.
            (0, Some(UdpError::BadLength)),
        ] {
            let bytes = datagram(length, b"data");
            assert_eq!(Udp::parse(&bytes).err(), expected, "length {length}");
        }
        for len in 0..UdpHeader::LEN {
            assert_eq!(
                Udp::parse(&datagram(8, &[])[..len]).err(),
                Some(UdpError::Truncated)
            );
        }
    }

    #[test]
    fn a_new_header_counts_itself() {
        let ports = Ports::new(1, 2);
        assert_eq!(UdpHeader::new(ports, 5).length.get(), 13);
        assert_eq!(UdpHeader::new(ports, 65_528).length.get(), u16::MAX);
    }
}
