//! The Internet checksum (RFC 1071), its pseudo-headers, and its incremental update (RFC 1624).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::IpProtocol;

/// A one's complement sum in the making. Pieces may have any length, odd ones too: a piece that
/// starts at an odd offset is added with its bytes swapped (RFC 1071, section 2, part B).
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum {
    /// Sum of the 16-bit words as they lie in memory, so that no word needs swapping on the way. 64 bits
    /// hold the carries of 2^32 32-bit words, more than any packet has.
    words: u64,
    /// Whether an odd number of bytes has been added.
    odd: bool,
}

impl Sum {
    pub const ZERO: Self = Self {
        words: 0,
        odd: false,
    };

    /// Adds the bytes that follow those already added.
    #[must_use]
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let piece = memory_words(bytes);
        let piece = if self.odd {
            u64::from(fold(piece).swap_bytes())
        } else {
            piece
        };
        Self {
            words: self.words + piece,
            odd: self.odd ^ (bytes.len() % 2 == 1),
        }
    }

    /// Adds a 16-bit field.
    #[must_use]
    #[inline]
    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Adds a 32-bit field.
    #[must_use]
    #[inline]
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// The sum, carries folded in, not complemented; host order.
    #[inline]
    pub fn folded(self) -> u16 {
        u16::from_be(fold(self.words))
    }

    /// The value for a checksum field, host order, given that the field was zero in what was added.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.folded()
    }

    /// As [`checksum`](Self::checksum) for UDP, where zero means "none" and is sent as all ones (RFC 768).
    #[inline]
    pub fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// Whether what was added, its checksum field included, adds up.
    #[inline]
    pub fn is_valid(self) -> bool {
        fold(self.words) == 0xffff
    }
}

/// The checksum of `bytes`, host order, given that the checksum field among them is zero.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::ZERO.bytes(bytes).checksum()
}

/// Whether `bytes`, their checksum field included, add up.
#[inline]
pub fn is_valid(bytes: &[u8]) -> bool {
    Sum::ZERO.bytes(bytes).is_valid()
}

/// The IPv4 pseudo-header (RFC 793, section 3.1; RFC 768). `len` is that of the layer-4 header and data, bytes.
pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: IpProtocol, len: u16) -> Sum {
    Sum::ZERO
        .bytes(&source.octets())
        .bytes(&destination.octets())
        .u16(u16::from(protocol.0))
        .u16(len)
}

/// The IPv6 pseudo-header (RFC 8200, section 8.1). `len` is that of the upper-layer packet, bytes.
pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: IpProtocol, len: u32) -> Sum {
    Sum::ZERO
        .bytes(&source.octets())
        .bytes(&destination.octets())
        .u32(len)
        .u32(u32::from(protocol.0))
}

/// The checksum after a 16-bit field under it changed (RFC 1624, equation 3). Host order throughout.
/// Exact, zero included, unless everything under the checksum is zero.
#[must_use]
#[inline]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold_u32(!checksum as u32 + !old as u32 + new as u32)
}

/// As [`update_u16`] for a 32-bit field at an even offset.
#[must_use]
#[inline]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let removed = (!old >> 16) + (!old & 0xffff);
    let added = (new >> 16) + (new & 0xffff);
    !fold_u32(!checksum as u32 + removed + added)
}

/// As [`update_u16`] for a field of any length at an even offset, an address for instance. Both
/// slices are the field, before and after.
#[must_use]
pub fn update_bytes(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let removed = Sum::ZERO.bytes(old).folded();
    let added = Sum::ZERO.bytes(new).folded();
    update_u16(checksum, removed, added)
}

/// The sum of 16-bit words in memory order; an odd last byte is padded with zero.
#[inline]
fn memory_words(bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = chunks
        .iter()
        .map(|&chunk| u64::from(u32::from_ne_bytes(chunk)))
        .sum();
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(last));
    }
    sum
}

/// Folds the carries of a sum of 32-bit or 16-bit words into 16 bits.
#[inline]
const fn fold(sum: u64) -> u16 {
    // 64 bits to at most 33, to at most 32 with room for one more carry, then as usual.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    fold_u32(sum as u32)
}

#[inline]
const fn fold_u32(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}
