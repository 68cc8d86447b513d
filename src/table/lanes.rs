//! The flow hashes of a whole burst at once, in plain loops that the compiler turns into vector code.

use super::hash::{BURST, FlowHash, HashKey, LENGTH_SHIFT, Sip13, sip13_two_blocks};

/// The 5-tuples of a burst of IPv4 packets as a structure of arrays. What stands in the packets in several
/// bytes is read as a little-endian number: addresses, and both ports together. Lanes never set keep
/// what they held; their hashes mean nothing.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of a packet")]
pub struct V4Flows {
    pub protocol: [u32; BURST],
    pub source: [u32; BURST],
    pub destination: [u32; BURST],
    pub ports: [u32; BURST],
}

/// As [`V4Flows`]; of the two words of an address the first eight bytes are the first.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of a packet")]
pub struct V6Flows {
    pub protocol: [u32; BURST],
    pub source: [[u64; BURST]; 2],
    pub destination: [[u64; BURST]; 2],
    pub ports: [u32; BURST],
}

impl V4Flows {
    /// The hash of one lane, for a loop over all of them: what [`flow_hash_v4`](super::hash::flow_hash_v4) answers.
    /// Work is per burst, not per packet: half-empty bursts cost as much as full ones, and are cheap anyway.
    #[inline(always)]
    pub fn hash(&self, key: &HashKey, lane: usize) -> FlowHash {
        let protocol = u64::from(self.protocol[lane]);
        let source = u64::from(self.source[lane]);
        let destination = u64::from(self.destination[lane]);
        let ports = u64::from(self.ports[lane]);
        // The shift pushes the destination's fourth byte out; it opens the second block.
        let first = protocol | source << 8 | destination << 40;
        let last = destination >> 24 | ports << 8 | 13 << LENGTH_SHIFT;
        FlowHash(sip13_two_blocks(key.k0(), key.k1(), first, last))
    }
}

impl V6Flows {
    /// As [`V4Flows::hash`].
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
