//! Generic routing encapsulation (RFC 2784) with its key and sequence number extensions (RFC 2890).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::EtherType;
use super::checksum;

const FLAG_CHECKSUM: u16 = 0x8000;
const FLAG_KEY: u16 = 0x2000;
const FLAG_SEQUENCE: u16 = 0x1000;
/// RFC 2784, section 2.3: a packet with any of bits 1 to 5 set must be discarded; RFC 2890 gave bits 2 and
/// 3 a meaning. Bits 6 to 12 are ignored.
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

/// Writes the header we send to the start of `bytes` and returns its length, [`header_len`], or `None` if it does
/// not fit; nothing is written then.
#[inline]
pub fn write(bytes: &mut [u8], protocol: EtherType, key: Option<u32>) -> Option<usize> {
    let header = bytes.get_mut(..header_len(key))?;
    super::put(header, &GreHeader::new(protocol, key.is_some()))?;
    if let Some(key) = key {
        super::put(header.get_mut(GreHeader::LEN..)?, &U32::new(key))?;
    }
    Some(header_len(key))
}
