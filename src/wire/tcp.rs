//! TCP (RFC 9293).

use std::fmt;
use std::ops::BitOr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Ports;

/// The control bits.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: Self = Self(0x01);
    pub const SYN: Self = Self(0x02);
    pub const RST: Self = Self(0x04);
    pub const PSH: Self = Self(0x08);
    pub const ACK: Self = Self(0x10);
    pub const URG: Self = Self(0x20);
    pub const ECE: Self = Self(0x40);
    pub const CWR: Self = Self(0x80);

    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[inline]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The names of the bits set, with bars between them; `0` if there are none.
impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (bit, name) in Self::NAMES.into_iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if self.0 == 0 {
            f.write_str("0")
        } else {
            Ok(())
        }
    }
}

/// The fixed 20 bytes of the header.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct TcpHeader {
    pub ports: Ports,
    pub sequence: U32,
    pub acknowledgment: U32,
    /// Header length in units of 4 bytes (high four bits), reserved.
    pub data_offset: u8,
    pub flags: TcpFlags,
    pub window: U16,
    pub checksum: U16,
    pub urgent: U16,
}

/// Why a segment is not valid TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TcpError {
    #[error("the packet ends within the TCP header")]
    Truncated,
    #[error("the TCP data offset is below 20 bytes or beyond the packet")]
    BadDataOffset,
}

/// A segment.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    pub header: &'a TcpHeader,
    /// At most 40 bytes.
    pub options: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// Reads the segment that an IP payload is. The checksum is the receiver's business.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TcpError> {
        let (header, rest) = super::split::<TcpHeader>(bytes).ok_or(TcpError::Truncated)?;
        let (options, payload) = header
            .header_len()
            .checked_sub(TcpHeader::LEN)
            .and_then(|len| rest.split_at_checked(len))
            .ok_or(TcpError::BadDataOffset)?;
        Ok(Self {
            header,
            options,
            payload,
        })
    }
}

impl TcpHeader {
    /// Size on the wire without options, bytes.
    pub const LEN: usize = size_of::<Self>();
    /// The unit of the data offset field, bytes.
    const OFFSET_UNIT: usize = 4;
    const OFFSET_SHIFT: u32 = 4;
    const DEFAULT_WINDOW: u16 = 65_535;

    /// A header without options; sequence numbers and checksum are zero, the window is the largest
    /// unscaled one.
    pub fn new(ports: Ports, flags: TcpFlags) -> Self {
        Self {
            ports,
            sequence: U32::ZERO,
            acknowledgment: U32::ZERO,
            data_offset: ((Self::LEN / Self::OFFSET_UNIT) as u8) << Self::OFFSET_SHIFT,
            flags,
            window: U16::new(Self::DEFAULT_WINDOW),
            checksum: U16::ZERO,
            urgent: U16::ZERO,
        }
    }

    /// What the data offset field says, bytes: 0 to 60.
    #[inline]
    pub const fn header_len(&self) -> usize {
        (self.data_offset >> Self::OFFSET_SHIFT) as usize * Self::OFFSET_UNIT
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    /// A SYN with the data offset field `words` and, behind its 20 bytes, `rest`.
    fn segment(words: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = TcpHeader::new(Ports::new(4242, 443), TcpFlags::SYN | TcpFlags::ECE);
        header.data_offset = words << 4 | 0x0f;
        [header.as_bytes(), rest].concat()
    }

    #[test]
    fn options_end_at_the_data_offset() {
        let bytes = segment(6, &[2, 4, 5, 0xb4, b'd', b'a']);
        let tcp = Tcp::parse(&bytes).expect("a valid segment");
        assert_eq!(tcp.header.ports, Ports::new(4242, 443));
        assert_eq!(tcp.options, [2, 4, 5, 0xb4]);
        assert_eq!(tcp.payload, b"da");
    }

    #[test]
    fn data_offsets_that_lie() {
        for (words, rest_len, expected) in [
            (5, 0, None),
            (4, 0, Some(TcpError::BadDataOffset)),
            (0, 40, Some(TcpError::BadDataOffset)),
            (6, 3, Some(TcpError::BadDataOffset)),
            (15, 40, None),
            (15, 39, Some(TcpError::BadDataOffset)),
        ] {
            let bytes = segment(words, &vec![0; rest_len]);
            assert_eq!(
                Tcp::parse(&bytes).err(),
                expected,
                "{words} words, {rest_len} bytes"
            );
        }
        for len in 0..TcpHeader::LEN {
            assert_eq!(
                Tcp::parse(&segment(5, &[])[..len]).err(),
                Some(TcpError::Truncated)
            );
        }
    }

    #[test]
    fn flags_are_sets() {
        let flags = TcpFlags::SYN | TcpFlags::ACK;
        assert!(flags.contains(TcpFlags::SYN) && flags.contains(flags));
        assert!(!TcpFlags::SYN.contains(flags) && TcpFlags::SYN.intersects(flags));
        assert_eq!(format!("{flags:?} {:?}", TcpFlags(0)), "SYN|ACK 0");
    }
}
