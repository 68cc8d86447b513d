//! What flow hashes are made of as it stands in packets, for plain loops over whole bursts that the compiler turns into
//! vector code. What packets have in several bytes is read as a little-endian number: addresses, and both ports together.

use super::hash::{BURST, FlowHash, HashKey, LENGTH_SHIFT, Sip13, sip13_two_blocks};

/// The 5-tuple of an IPv4 packet.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of a packet")]
pub struct V4Tuple {
    pub protocol: u32,
    pub source: u32,
    pub destination: u32,
    pub ports: u32,
}

/// The 5-tuples of a burst of IPv6 packets as a structure of arrays; of the two words of an address the first eight
/// bytes are the first. Lanes never set keep what they held; their hashes mean nothing.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of a packet")]
pub struct V6Flows {
    pub protocol: [u32; BURST],
    pub source: [[u64; BURST]; 2],
    pub destination: [[u64; BURST]; 2],
    pub ports: [u32; BURST],
}

impl V4Tuple {
    /// What [`flow_hash_v4`](super::hash::flow_hash_v4) answers.
    #[inline(always)]
    pub fn hash(self, key: &HashKey) -> FlowHash {
        let protocol = u64::from(self.protocol);
        let source = u64::from(self.source);
        let destination = u64::from(self.destination);
        let ports = u64::from(self.ports);
        // The shift pushes the destination's fourth byte out; it opens the second block.
        let first = protocol | source << 8 | destination << 40;
        let last = destination >> 24 | ports << 8 | 13 << LENGTH_SHIFT;
        FlowHash(sip13_two_blocks(key.k0(), key.k1(), first, last))
    }
}

impl V6Flows {
    /// The hash of one lane: what [`flow_hash_v6`](super::hash::flow_hash_v6) answers. Work is per burst, not per packet:
    /// half-empty bursts cost as much as full ones, and are cheap anyway.
    #[inline(always)]
    pub fn hash(&self, key: &HashKey, lane: usize) -> FlowHash {
        let ([s0, s1], [d0, d1]) = (&self.source, &self.destination);
        let ports = u64::from(self.ports[lane]);
        let (s0, s1, d0, d1) = (s0[lane], s1[lane], d0[lane], d1[lane]);
        let mut state = Sip13::new(key.k0(), key.k1());
        state.block(u64::from(self.protocol[lane]) | s0 << 8);
        state.block(s0 >> 56 | s1 << 8);
        state.block(s1 >> 56 | d0 << 8);
        state.block(d0 >> 56 | d1 << 8);
        state.block(d1 >> 56 | ports << 8 | 37 << LENGTH_SHIFT);
        FlowHash(state.finish())
    }
}
