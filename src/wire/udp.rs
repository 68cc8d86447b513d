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
    /// (RFC 9868 uses the surplus). The first fragment of a longer datagram does not pass: its length
    /// is that of the whole, so read its [`Ports`] instead.
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

    /// A header without checksum. A payload beyond 65,527 bytes has no valid header; its length is cut to the field.
    pub fn new(ports: Ports, payload_len: usize) -> Self {
        Self {
            ports,
            length: U16::new(u16::try_from(Self::LEN + payload_len).unwrap_or(u16::MAX)),
            checksum: U16::ZERO,
        }
    }
}
