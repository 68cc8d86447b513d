//! What a fragment says about itself: the same for IPv4 (RFC 791), where it stands in the header,
//! and IPv6 (RFC 8200, section 4.5), where it is an extension header.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::IpProtocol;

/// Fragment fields, host order. A value of this type exists only for packets that are fragments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fragment {
    /// Where the payload goes in the datagram, bytes; a multiple of 8.
    pub offset: u16,
    /// Whether more fragments follow this one.
    pub more: bool,
    /// Identification; 16 bits in IPv4.
    pub id: u32,
}

/// Why a fragment cannot be part of any datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FragmentError {
    /// RFC 8200, section 4.5: only the last fragment's length may be other than a multiple of 8.
    #[error("the length of a fragment that is not the last is no multiple of 8")]
    BadLength,
    /// No datagram is longer than 65,535 bytes; a fragment that ends beyond is an attack.
    #[error("a fragment ends beyond 65,535 bytes")]
    TooLong,
}

/// The unit of fragment offsets, bytes.
pub const FRAGMENT_UNIT: usize = 8;
/// The largest payload a datagram can have, bytes: the length fields have 16 bits.
pub const MAX_DATAGRAM: usize = 65_535;

impl Fragment {
    /// Whether this fragment carries the layer-4 header.
    #[inline]
    pub const fn is_first(self) -> bool {
        self.offset == 0
    }

    /// Checks the fragment fields against the length of the fragment's own payload, in bytes.
    pub const fn check(self, payload_len: usize) -> Result<(), FragmentError> {
        if self.more && !payload_len.is_multiple_of(FRAGMENT_UNIT) {
            return Err(FragmentError::BadLength);
        }
        if self.offset as usize + payload_len > MAX_DATAGRAM {
            return Err(FragmentError::TooLong);
        }
        Ok(())
    }
}

/// The fragment extension header (RFC 8200, section 4.5).
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct FragmentHeader {
    pub next_header: IpProtocol,
    pub reserved: u8,
    /// Offset in units of 8 bytes (13 bits), reserved (2), more (1).
    pub offset_more: U16,
    pub identification: U32,
}

impl FragmentHeader {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();
    const MORE: u16 = 1;
    const OFFSET_MASK: u16 = 0xfff8;

    /// The offset is rounded down to a multiple of 8.
    pub fn new(next_header: IpProtocol, fragment: Fragment) -> Self {
        let more = if fragment.more { Self::MORE } else { 0 };
        Self {
            next_header,
            reserved: 0,
            offset_more: U16::new((fragment.offset & Self::OFFSET_MASK) | more),
            identification: U32::new(fragment.id),
        }
    }

    #[inline]
    pub const fn fragment(&self) -> Fragment {
        let offset_more = self.offset_more.get();
        Fragment {
            // In units of 8 bytes and shifted by 3 bits: the masked field is the offset in bytes.
            offset: offset_more & Self::OFFSET_MASK,
            more: offset_more & Self::MORE != 0,
            id: self.identification.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_that_fit_no_datagram_are_named() {
        let check = |offset, more, len| {
            Fragment {
                offset,
                more,
                id: 1,
            }
            .check(len)
        };
        assert_eq!(check(0, true, 1480), Ok(()));
        assert_eq!(check(0, true, 1479), Err(FragmentError::BadLength));
        assert_eq!(check(1480, false, 3), Ok(()));
        assert_eq!(check(65_528, false, 7), Ok(()));
        assert_eq!(check(65_528, false, 8), Err(FragmentError::TooLong));
    }

    #[test]
    fn extension_header_is_read_as_written() {
        let fields = Fragment {
            offset: 65_528,
            more: true,
            id: 0xcafe_f00d,
        };
        let header = FragmentHeader::new(IpProtocol::UDP, fields);
        let expected = [17, 0, 0xff, 0xf9, 0xca, 0xfe, 0xf0, 0x0d];
        assert_eq!(header.as_bytes(), expected);
        assert_eq!(header.fragment(), fields);
    }
}
