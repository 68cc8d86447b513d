//! Generic UDP encapsulation, variant 0 (draft-ietf-intarea-gue), with the plain four-byte header:
//! what Linux's FOU module in `gue` mode sends and receives.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::IpProtocol;

/// The UDP destination port assigned to GUE.
pub const PORT: u16 = 6080;

const VARIANT_SHIFT: u32 = 6;
const FLAG_CONTROL: u8 = 0x20;
const HLEN_MASK: u8 = 0x1f;

/// The header.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct GueHeader {
    /// Variant (2 bits), control (1), length of optional fields in units of 4 bytes (5).
    pub variant_control_hlen: u8,
    /// What is carried.
    pub protocol: IpProtocol,
    /// Which optional fields there are.
    pub flags: U16,
}

/// Why a packet is not GUE as we speak it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GueError {
    #[error("the packet ends within the GUE header")]
    Truncated,
    #[error("the GUE variant is not 0")]
    BadVariant,
    #[error("the GUE packet is a control message")]
    Control,
    /// The draft requires a packet with flags unknown to the receiver to be dropped; we know none.
    #[error("the GUE header has optional fields")]
    BadFlags,
}

/// A packet: what it says it carries, and that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gue<'a> {
    pub protocol: IpProtocol,
    pub payload: &'a [u8],
}

impl<'a> Gue<'a> {
    /// Reads the GUE packet that a UDP payload is.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GueError> {
        let (header, payload) = super::split::<GueHeader>(bytes).ok_or(GueError::Truncated)?;
        let first = header.variant_control_hlen;
        if first >> VARIANT_SHIFT != 0 {
            return Err(GueError::BadVariant);
        }
        if first & FLAG_CONTROL != 0 {
            return Err(GueError::Control);
        }
        if first & HLEN_MASK != 0 || header.flags.get() != 0 {
            return Err(GueError::BadFlags);
        }
        Ok(Self {
            protocol: header.protocol,
            payload,
        })
    }
}

impl GueHeader {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();

    pub const fn new(protocol: IpProtocol) -> Self {
        Self {
            variant_control_hlen: 0,
            protocol,
            flags: U16::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn is_read_as_written() {
        let mut bytes = GueHeader::new(IpProtocol::IPIP).as_bytes().to_vec();
        assert_eq!(bytes, [0, 4, 0, 0]);
        bytes.extend_from_slice(b"inner");
        let expected = Gue {
            protocol: IpProtocol::IPIP,
            payload: b"inner",
        };
        assert_eq!(Gue::parse(&bytes), Ok(expected));
    }

    #[test]
    fn every_lie_has_its_error() {
        for (bytes, error) in [
            (&[0x00, 4, 0][..], GueError::Truncated),
            // Variant 1 is IP right behind UDP: its first byte is that of the IP header.
            (&[0x45, 0, 0, 20], GueError::BadVariant),
            (&[0x20, 0, 0, 0], GueError::Control),
            (&[0x01, 4, 0, 0, 0, 0, 0, 0], GueError::BadFlags),
            (&[0x00, 4, 0x80, 0], GueError::BadFlags),
        ] {
            assert_eq!(Gue::parse(bytes), Err(error), "{bytes:02x?}");
        }
    }
}
