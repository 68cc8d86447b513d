//! Generic routing encapsulation (RFC 2784) with its key and sequence number extensions (RFC 2890).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::EtherType;
use super::checksum;

const FLAG_CHECKSUM: u16 = 0x8000;
const FLAG_KEY: u16 = 0x2000;
const FLAG_SEQUENCE: u16 = 0x1000;
/// RFC 2784, section 2.3: a packet with any of bits 1 to 5 set must be discarded; RFC 2890 gave
/// bits 2 and 3 a meaning. Bits 6 to 12 are ignored.
const RESERVED: u16 = 0x4c00;
const VERSION_MASK: u16 = 0x0007;
/// Size of each optional field, bytes: checksum with reserved1, key, sequence number.
const FIELD: usize = 4;

/// The fixed four bytes of the header.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct GreHeader {
    pub flags_version: U16,
    /// An [`EtherType`].
    pub protocol: U16,
}

/// Why a packet is not valid GRE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GreError {
    #[error("the packet ends within the GRE header")]
    Truncated,
    #[error("the GRE version is not 0")]
    BadVersion,
    #[error("the GRE header has reserved flags set")]
    BadFlags,
    #[error("the GRE checksum is wrong")]
    BadChecksum,
}

/// A packet: the header's fields, host order, and what it carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gre<'a> {
    pub protocol: EtherType,
    pub key: Option<u32>,
    pub sequence: Option<u32>,
    /// The carried packet.
    pub payload: &'a [u8],
}

impl<'a> Gre<'a> {
    /// Reads the GRE packet that an IP payload is; if it has a checksum, checks it.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GreError> {
        let (header, mut rest) = super::split::<GreHeader>(bytes).ok_or(GreError::Truncated)?;
        let flags = header.flags_version.get();
        if flags & VERSION_MASK != 0 {
            return Err(GreError::BadVersion);
        }
        if flags & RESERVED != 0 {
            return Err(GreError::BadFlags);
        }
        // The order of the fields on the wire.
        let has_checksum = optional(flags, FLAG_CHECKSUM, &mut rest)?.is_some();
        let key = optional(flags, FLAG_KEY, &mut rest)?;
        let sequence = optional(flags, FLAG_SEQUENCE, &mut rest)?;
        if has_checksum && !checksum::is_valid(bytes) {
            return Err(GreError::BadChecksum);
        }
        Ok(Self {
            protocol: EtherType(header.protocol.get()),
            key,
            sequence,
            payload: rest,
        })
    }
}

/// Takes the next field off `rest` if its flag says that it is there.
#[inline]
fn optional(flags: u16, flag: u16, rest: &mut &[u8]) -> Result<Option<u32>, GreError> {
    if flags & flag == 0 {
        return Ok(None);
    }
    let (field, behind) = super::split::<U32>(rest).ok_or(GreError::Truncated)?;
    *rest = behind;
    Ok(Some(field.get()))
}

/// The size of the header we send, bytes.
#[inline]
pub const fn header_len(key: Option<u32>) -> usize {
    match key {
        None => GreHeader::LEN,
        Some(_) => GreHeader::LEN + FIELD,
    }
}

impl GreHeader {
    /// Size on the wire without optional fields, bytes.
    pub const LEN: usize = size_of::<Self>();

    /// The fixed part of the header we send: no checksum, no sequence number, a key if `has_key`.
    pub const fn new(protocol: EtherType, has_key: bool) -> Self {
        Self {
            flags_version: U16::new(if has_key { FLAG_KEY } else { 0 }),
            protocol: U16::new(protocol.0),
        }
    }
}

/// Writes the header we send to the start of `bytes` and returns its length, [`header_len`], or
/// `None` if it does not fit; nothing is written then.
#[inline]
pub fn write(bytes: &mut [u8], protocol: EtherType, key: Option<u32>) -> Option<usize> {
    let header = bytes.get_mut(..header_len(key))?;
    super::put(header, &GreHeader::new(protocol, key.is_some()))?;
    if let Some(key) = key {
        super::put(header.get_mut(GreHeader::LEN..)?, &U32::new(key))?;
    }
    Some(header_len(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checksum, key and sequence number around three bytes; as scapy writes it.
    const FULL: [u8; 19] = [
        0xb0, 0x00, 0x08, 0x00, 0xd6, 0xf7, 0, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 5, b'o', b'd',
        b'd',
    ];

    #[test]
    fn reads_every_optional_field() {
        let expected = Gre {
            protocol: EtherType::IPV4,
            key: Some(0xdead_beef),
            sequence: Some(5),
            payload: b"odd",
        };
        assert_eq!(Gre::parse(&FULL), Ok(expected));
        for len in 0..FULL.len() {
            let expected = if len < 16 {
                GreError::Truncated
            } else {
                GreError::BadChecksum
            };
            assert_eq!(Gre::parse(&FULL[..len]), Err(expected), "{len} bytes");
        }
    }

    #[test]
    fn flags_decide_what_is_there() {
        for (flags, key, sequence, payload_len) in [
            (0x0000, None, None, 12),
            (0x2000, Some(1), None, 8),
            (0x1000, None, Some(1), 8),
            (0x3000, Some(1), Some(2), 4),
            // RFC 2784, section 2.3: bits 6 to 12 are ignored.
            (0x03f8, None, None, 12),
        ] {
            let mut bytes = [0, 0, 0x86, 0xdd, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
            bytes[..2].copy_from_slice(&u16::to_be_bytes(flags));
            let gre = Gre::parse(&bytes).expect("a valid packet");
            assert_eq!(gre.protocol, EtherType::IPV6);
            assert_eq!((gre.key, gre.sequence), (key, sequence), "{flags:#06x}");
            assert_eq!(gre.payload.len(), payload_len, "{flags:#06x}");
        }
    }

    #[test]
    fn reserved_flags_and_versions_are_refused() {
        for (flags, error) in [
            (0x4000, GreError::BadFlags),
            (0x0800, GreError::BadFlags),
            (0x0400, GreError::BadFlags),
            (0x0001, GreError::BadVersion),
            (0x4007, GreError::BadVersion),
        ] {
            let bytes = [u16::to_be_bytes(flags), [0x08, 0x00]].concat();
            assert_eq!(Gre::parse(&bytes), Err(error), "{flags:#06x}");
        }
    }

    #[test]
    fn is_read_as_written() {
        for key in [None, Some(0x0102_0304)] {
            let mut bytes = [0xff; 12];
            let len = write(&mut bytes, EtherType::IPV6, key).expect("room enough");
            assert_eq!(len, header_len(key));
            let gre = Gre::parse(&bytes).expect("a valid packet");
            assert_eq!((gre.protocol, gre.key), (EtherType::IPV6, key));
            assert_eq!(gre.payload, &[0xff; 12][len..]);
            let mut short = [0xff; 7];
            assert_eq!(write(&mut short[..len - 1], EtherType::IPV6, key), None);
            assert_eq!(short, [0xff; 7], "nothing is written without room for all");
        }
    }
}
