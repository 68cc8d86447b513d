//! The Internet checksum (RFC 1071), its pseudo-headers, and its incremental update (RFC 1624).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::IpProtocol;

/// A one's complement sum in the making. Pieces may have any length, odd ones too: a piece that
/// starts at an odd offset is added with its bytes swapped (RFC 1071, section 2, part B).
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum {
    /// Sum of the 16-bit words as they lie in memory, so that no word needs swapping on the way. 64
    /// bits hold the carries of 2^32 32-bit words, more than any packet has.
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

    /// As [`checksum`](Self::checksum) for UDP, where zero means "none" and is sent as all ones
    /// (RFC 768).
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

/// The IPv4 pseudo-header (RFC 793, section 3.1; RFC 768). `len` is that of the layer-4 header and
/// data, bytes.
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

/// The checksum after a 16-bit field under it changed (RFC 1624, equation 3). Host order
/// throughout. Exact, zero included, unless everything under the checksum is zero.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, section 1, word by word.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| u32::from(b));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.bytes(&bytes).folded(), 0xddf2);
        assert_eq!(checksum(&bytes), 0x220d);
    }

    #[test]
    fn example_of_rfc_1624() {
        // Section 4: the case that the update of RFC 1141 gets wrong.
        assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn carries_of_the_longest_packet_are_folded() {
        let bytes = vec![0xff; 65_535];
        assert_eq!(Sum::ZERO.bytes(&bytes).folded(), by_the_book(&bytes));
    }

    #[test]
    fn udp_never_sends_zero() {
        assert_eq!(Sum::ZERO.u16(0xffff).checksum(), 0);
        assert_eq!(Sum::ZERO.u16(0xffff).udp_checksum(), 0xffff);
        assert_eq!(Sum::ZERO.u16(1).udp_checksum(), 0xfffe);
    }

    #[test]
    fn pseudo_headers_hold_every_field() {
        let (a, b) = (Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8));
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 17, 0x12, 0x34];
        let sum = pseudo_v4(a, b, IpProtocol::UDP, 0x1234);
        assert_eq!(sum.folded(), by_the_book(&v4));

        let (a, b) = (Ipv6Addr::from([0xab; 16]), Ipv6Addr::from([0xcd; 16]));
        let mut v6 = vec![0xab; 16];
        v6.extend([0xcd; 16]);
        v6.extend([0x00, 0x01, 0x00, 0x02, 0, 0, 0, 58]);
        let sum = pseudo_v6(a, b, IpProtocol::ICMPV6, 0x0001_0002);
        assert_eq!(sum.folded(), by_the_book(&v6));
    }

    proptest! {
        #[test]
        fn sum_is_that_of_the_book(bytes: Vec<u8>) {
            prop_assert_eq!(Sum::ZERO.bytes(&bytes).folded(), by_the_book(&bytes));
        }

        #[test]
        fn pieces_may_be_cut_anywhere(bytes: Vec<u8>, cuts: [prop::sample::Index; 2]) {
            let [a, b] = cuts.map(|cut| cut.index(bytes.len() + 1));
            let (a, b) = (a.min(b), a.max(b));
            let pieces = Sum::ZERO.bytes(&bytes[..a]).bytes(&bytes[a..b]).bytes(&bytes[b..]);
            prop_assert_eq!(pieces.folded(), by_the_book(&bytes));
        }

        #[test]
        fn what_was_sealed_is_valid_and_one_flipped_bit_is_seen(
            mut bytes in prop::collection::vec(any::<u8>(), 2..100),
            bit: prop::sample::Index,
        ) {
            bytes[..2].fill(0);
            let sealed = checksum(&bytes);
            bytes[..2].copy_from_slice(&sealed.to_be_bytes());
            prop_assert!(is_valid(&bytes));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_valid(&bytes));
        }

        #[test]
        fn updated_is_recomputed(
            mut bytes in prop::collection::vec(any::<u8>(), 20..60),
            place: prop::sample::Index,
            new: [u8; 16],
        ) {
            // A version and header length as in IPv4: never all zeros, for which two values mean
            // the same.
            bytes[0] |= 0x40;
            let before = checksum(&bytes);
            let place = 2 + place.index((bytes.len() - 18) / 2 + 1) * 2;
            let change = |len: usize| {
                let mut changed = bytes.clone();
                changed[place..place + len].copy_from_slice(&new[..len]);
                (checksum(&changed), bytes[place..place + len].to_vec())
            };

            let (after, old) = change(2);
            let old = u16::from_be_bytes([old[0], old[1]]);
            prop_assert_eq!(update_u16(before, old, u16::from_be_bytes([new[0], new[1]])), after);

            let (after, old) = change(4);
            let word = |b: &[u8]| u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
            prop_assert_eq!(update_u32(before, word(&old), word(&new)), after);

            let (after, old) = change(16);
            prop_assert_eq!(update_bytes(before, &old, &new), after);
        }
    }
}
