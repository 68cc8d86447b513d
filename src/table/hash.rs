//! The flow hash: SipHash-1-3 over the wire bytes of a packet's tuple, keyed by the pool.
//!
//! Every rail of a pool computes the same hash of the same packet, so the bytes are fixed: protocol,
//! source address, destination address, source port, destination port, all in wire order, nothing
//! between them. That makes 13 bytes for IPv4 and 37 for IPv6; without the ports (the 3-tuple) 9 and
//! 33. SipHash reads them as little-endian 64-bit blocks, the last one carrying the length in its
//! top byte, so an IPv4 tuple is exactly two blocks and the whole function unrolls.
//!
//! Source: J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF", 2012; the variant
//! with one compression and three finalisation rounds.

pub use super::key::{HashKey, HashKeyError};
pub use super::lanes::{V4Tuple, V6Flows};

/// Packets hashed together: the size of a receive burst.
pub const BURST: usize = 32;

/// The 64-bit hash of a packet's tuple. Its low bits choose the connection bucket, its high 32 bits
/// are the tag, and the tag chooses the Maglev slot: what a table entry keeps (the tag, and by its
/// place the low bits) is enough to find the slot again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowHash(pub u64);

impl FlowHash {
    /// Connection bucket: the low bits under `mask` (number of buckets, a power of two, minus 1).
    pub const fn bucket(self, mask: usize) -> usize {
        self.0 as usize & mask
    }

    /// The high 32 bits.
    pub const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Slot in a Maglev table of `m` slots.
    pub const fn slot(self, m: u32) -> u32 {
        slot_of_tag(self.tag(), m)
    }
}

/// `(tag * m) >> 32`: the slot a tag falls into, without a division and below `m` for every tag.
pub const fn slot_of_tag(tag: u32, m: u32) -> u32 {
    ((tag as u64 * m as u64) >> 32) as u32
}

/// Hash of an IPv4 5-tuple. Ports are zero where the protocol has none.
pub fn flow_hash_v4(
    key: &HashKey,
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
    source_port: u16,
    destination_port: u16,
) -> FlowHash {
    let blocks = FlowBlocks::v4(protocol, source, destination, source_port, destination_port);
    blocks.hash(key)
}

/// Hash of an IPv4 3-tuple: protocol, source, destination.
pub fn tuple3_hash_v4(
    key: &HashKey,
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
) -> FlowHash {
    FlowBlocks::v4_tuple3(protocol, source, destination).hash(key)
}

/// Hash of an IPv6 5-tuple. Ports are zero where the protocol has none.
pub fn flow_hash_v6(
    key: &HashKey,
    protocol: u8,
    source: [u8; 16],
    destination: [u8; 16],
    source_port: u16,
    destination_port: u16,
) -> FlowHash {
    let mut last = (u128::from_le_bytes(destination) >> 120) as u64;
    last |= port_bytes(source_port, destination_port) << 8;
    last |= 37 << LENGTH_SHIFT;
    hash_v6(key, protocol, source, destination, last)
}

/// Hash of an IPv6 3-tuple: protocol (44, the fragment header, for fragments), source, destination.
pub fn tuple3_hash_v6(
    key: &HashKey,
    protocol: u8,
    source: [u8; 16],
    destination: [u8; 16],
) -> FlowHash {
    let mut last = (u128::from_le_bytes(destination) >> 120) as u64;
    last |= 33 << LENGTH_SHIFT;
    hash_v6(key, protocol, source, destination, last)
}

/// Hash that names an IPv4 datagram among its fragments: the 3-tuple, then the identification.
pub fn fragment_hash_v4(
    key: &HashKey,
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
    identification: u16,
) -> FlowHash {
    let mut blocks = FlowBlocks::addresses(protocol, source, destination);
    blocks.last |= u64::from(identification.swap_bytes()) << 8;
    blocks.last |= 11 << LENGTH_SHIFT;
    blocks.hash(key)
}

/// Hash that names an IPv6 datagram among its fragments: 44 (the fragment header), source,
/// destination, identification. The protocol is not part of the name: RFC 8200, section 4.5.
pub fn fragment_hash_v6(
    key: &HashKey,
    source: [u8; 16],
    destination: [u8; 16],
    identification: u32,
) -> FlowHash {
    // The identification's four bytes stand where the ports stand in a flow.
    let (high, low) = ((identification >> 16) as u16, identification as u16);
    flow_hash_v6(key, IPV6_FRAGMENT, source, destination, high, low)
}

/// An IPv4 tuple as the two blocks SipHash reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowBlocks {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl FlowBlocks {
    /// The 13 bytes of a 5-tuple.
    pub fn v4(
        protocol: u8,
        source: [u8; 4],
        destination: [u8; 4],
        source_port: u16,
        destination_port: u16,
    ) -> Self {
        let mut blocks = Self::addresses(protocol, source, destination);
        blocks.last |= port_bytes(source_port, destination_port) << 8;
        blocks.last |= 13 << LENGTH_SHIFT;
        blocks
    }

    /// The 9 bytes of a 3-tuple.
    pub fn v4_tuple3(protocol: u8, source: [u8; 4], destination: [u8; 4]) -> Self {
        let mut blocks = Self::addresses(protocol, source, destination);
        blocks.last |= 9 << LENGTH_SHIFT;
        blocks
    }

    /// Blocks that are no tuple's: a tuple has a length.
    pub fn without_length(first: u64) -> Self {
        FlowBlocks { first, last: 0 }
    }

    /// SipHash-1-3 of the two blocks.
    pub fn hash(self, key: &HashKey) -> FlowHash {
        FlowHash(sip13_two_blocks(key.k0(), key.k1(), self.first, self.last))
    }

    fn addresses(protocol: u8, source: [u8; 4], destination: [u8; 4]) -> Self {
        let source = u64::from(u32::from_le_bytes(source));
        let destination = u64::from(u32::from_le_bytes(destination));
        FlowBlocks {
            // The shift pushes the destination's fourth byte out; it opens the second block.
            first: u64::from(protocol) | source << 8 | destination << 40,
            last: destination >> 24,
        }
    }
}

/// The protocol number of IPv6's fragment header, which all fragments share.
const IPV6_FRAGMENT: u8 = 44;

/// Where SipHash's last block carries the input's length in bytes, modulo 256.
pub(super) const LENGTH_SHIFT: u32 = 56;

/// The four bytes of both ports in wire order, as a little-endian number.
#[inline(always)]
fn port_bytes(source: u16, destination: u16) -> u64 {
    u64::from(source.swap_bytes()) | u64::from(destination.swap_bytes()) << 16
}

/// The hash of protocol and IPv6 addresses, then `last`, which begins with the destination's sixteenth
/// byte.
#[inline(always)]
fn hash_v6(
    key: &HashKey,
    protocol: u8,
    source: [u8; 16],
    destination: [u8; 16],
    last: u64,
) -> FlowHash {
    let source = u128::from_le_bytes(source);
    let destination = u128::from_le_bytes(destination);
    let mut state = Sip13::new(key.k0(), key.k1());
    for block in v6_blocks(protocol, source, destination, last) {
        state.block(block);
    }
    FlowHash(state.finish())
}

/// The full blocks of protocol and addresses, both as little-endian numbers, then `last`.
#[inline(always)]
pub(super) fn v6_blocks(protocol: u8, source: u128, destination: u128, last: u64) -> [u64; 5] {
    [
        u64::from(protocol) | (source as u64) << 8,
        (source >> 56) as u64,
        (source >> 120) as u64 | (destination as u64) << 8,
        (destination >> 56) as u64,
        last,
    ]
}

#[inline(always)]
pub(super) fn sip13_two_blocks(k0: u64, k1: u64, first: u64, last: u64) -> u64 {
    let mut state = Sip13::new(k0, k1);
    state.block(first);
    state.block(last);
    state.finish()
}

/// SipHash's four words.
pub(super) struct Sip13([u64; 4]);

impl Sip13 {
    #[inline(always)]
    pub(super) fn new(k0: u64, k1: u64) -> Self {
        // "somepseudorandomlygeneratedbytes", from the SipHash paper.
        Sip13([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline(always)]
    pub(super) fn block(&mut self, block: u64) {
        self.0[3] ^= block;
        self.round();
        self.0[0] ^= block;
    }

    #[inline(always)]
    pub(super) fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.0;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v1);
        v0 = v0.wrapping_add(v3);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        self.0 = [v0, v1, v2, v3];
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;
    use crate::hw;

    fn reference(key: [u8; 16], parts: &[&[u8]]) -> FlowHash {
        let mut hasher = SipHasher13::new_with_key(&key);
        hasher.write(&parts.concat());
        FlowHash(hasher.finish())
    }

    proptest! {
        #[test]
        fn equals_siphash_1_3_over_the_wire_bytes(
            key: [u8; 16],
            protocol: u8,
            source: [u8; 16],
            destination: [u8; 16],
            sport: u16,
            dport: u16,
        ) {
            let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
            let own = HashKey::from_bytes(key);
            let (s4, d4) = ([source[0], source[1], source[2], source[3]],
                            [destination[0], destination[1], destination[2], destination[3]]);
            prop_assert_eq!(flow_hash_v4(&own, protocol, s4, d4, sport, dport),
                reference(key, &[&[protocol], &s4, &d4, &ports]));
            prop_assert_eq!(tuple3_hash_v4(&own, protocol, s4, d4),
                reference(key, &[&[protocol], &s4, &d4]));
            prop_assert_eq!(flow_hash_v6(&own, protocol, source, destination, sport, dport),
                reference(key, &[&[protocol], &source, &destination, &ports]));
            prop_assert_eq!(tuple3_hash_v6(&own, protocol, source, destination),
                reference(key, &[&[protocol], &source, &destination]));
            let id = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
            prop_assert_eq!(fragment_hash_v4(&own, protocol, s4, d4, sport),
                reference(key, &[&[protocol], &s4, &d4, &id[..2]]));
            let id_v6 = u32::from(sport) << 16 | u32::from(dport);
            prop_assert_eq!(fragment_hash_v6(&own, source, destination, id_v6),
                reference(key, &[&[44], &source, &destination, &id]));
        }

        #[test]
        fn a_burst_from_the_wire_equals_its_lanes(
            key: [u8; 16],
            tuples in prop::collection::vec(
                any::<(u8, [u8; 16], [u8; 16], u16, u16)>(), 0..=BURST),
        ) {
            let key = HashKey::from_bytes(key);
            let (mut v4, mut v6) = ([V4Tuple::default(); BURST], V6Flows::default());
            let first4 = |a: [u8; 16]| [a[0], a[1], a[2], a[3]];
            for (lane, &(p, s, d, sp, dp)) in tuples.iter().enumerate() {
                let ports = port_bytes(sp, dp) as u32;
                v4[lane] = V4Tuple {
                    protocol: p.into(),
                    source: u32::from_le_bytes(first4(s)),
                    destination: u32::from_le_bytes(first4(d)),
                    ports,
                };
                (v6.protocol[lane], v6.ports[lane]) = (p.into(), ports);
                for (at, half) in [0, 64].into_iter().enumerate() {
                    v6.source[at][lane] = (u128::from_le_bytes(s) >> half) as u64;
                    v6.destination[at][lane] = (u128::from_le_bytes(d) >> half) as u64;
                }
            }
            let mut out = [[FlowHash::default(); BURST]; 2];
            hw::vectorised(&(v4, v6), &mut out, |(v4, v6), out| {
                let [first, second] = out;
                for (lane, (first, second)) in first.iter_mut().zip(second).enumerate() {
                    (*first, *second) = (v4[lane].hash(&key), v6.hash(&key, lane));
                }
            });
            for (lane, &(p, s, d, sp, dp)) in tuples.iter().enumerate() {
                prop_assert_eq!(out[0][lane], flow_hash_v4(&key, p, first4(s), first4(d), sp, dp));
                prop_assert_eq!(out[1][lane], flow_hash_v6(&key, p, s, d, sp, dp));
            }
        }

        #[test]
        fn slots_stay_below_the_table_size(hash: u64, m in 1..=u32::MAX) {
            prop_assert!(FlowHash(hash).slot(m) < m);
        }
    }

    #[test]
    fn the_parts_of_a_hash() {
        let hash = FlowHash(0x8000_0000_0000_0123);
        assert_eq!(hash.tag(), 0x8000_0000);
        assert_eq!(hash.bucket(0xff), 0x23);
        assert_eq!(hash.slot(65537), 32768);
        assert_eq!(FlowHash(u64::MAX).slot(7), 6);
    }
}
