//! The flow hashes of a whole burst at once, in plain loops that the compiler turns into vector code.

use super::hash::{
    BURST, FlowBlocks, FlowHash, HashKey, LENGTH_SHIFT, Sip13, sip13_two_blocks, v6_blocks,
};
use crate::hw;

/// The blocks of a burst as a structure of arrays, so that hashing them is one plain loop which the
/// compiler turns into vector code. 5-tuples and 3-tuples mix freely: both are two blocks long.
#[derive(Clone, Debug)]
pub struct FlowBurst {
    first: [u64; BURST],
    last: [u64; BURST],
}

impl FlowBurst {
    /// All lanes zero.
    pub const fn new() -> Self {
        FlowBurst {
            first: [0; BURST],
            last: [0; BURST],
        }
    }

    /// Sets one lane. Lanes never set keep what they held; their hashes are not to be used.
    #[inline(always)]
    pub fn set(&mut self, lane: usize, blocks: FlowBlocks) {
        self.first[lane] = blocks.first;
        self.last[lane] = blocks.last;
    }

    /// Sets one lane to the 5-tuple that stands in these bytes of a packet, read as little-endian
    /// numbers: addresses, and both ports.
    #[inline(always)]
    pub fn set_wire(
        &mut self,
        lane: usize,
        protocol: u8,
        source: u32,
        destination: u32,
        ports: u32,
    ) {
        let (source, destination) = (u64::from(source), u64::from(destination));
        self.first[lane] = u64::from(protocol) | source << 8 | destination << 40;
        self.last[lane] = destination >> 24 | u64::from(ports) << 8 | 13 << LENGTH_SHIFT;
    }
}

impl Default for FlowBurst {
    fn default() -> Self {
        FlowBurst::new()
    }
}

/// Hashes all [`BURST`] lanes: `out[lane]` is what [`FlowBlocks::hash`] answers for that lane. Work
/// is per burst, not per packet: half-empty bursts cost as much as full ones, and are cheap anyway.
pub fn flow_hash_v4_burst(key: &HashKey, burst: &FlowBurst, out: &mut [FlowHash; BURST]) {
    let (k0, k1) = (key.k0(), key.k1());
    hw::vectorised(
        #[inline(always)]
        || {
            let lanes = burst.first.iter().zip(&burst.last);
            for (out, (&first, &last)) in out.iter_mut().zip(lanes) {
                *out = FlowHash(sip13_two_blocks(k0, k1, first, last));
            }
        },
    );
}

/// As [`FlowBurst`], for the five blocks of an IPv6 5-tuple.
#[derive(Clone, Debug)]
pub struct V6FlowBurst([[u64; BURST]; 5]);

impl V6FlowBurst {
    /// All lanes zero.
    pub const fn new() -> Self {
        V6FlowBurst([[0; BURST]; 5])
    }

    /// As [`FlowBurst::set_wire`].
    #[inline(always)]
    pub fn set_wire(
        &mut self,
        lane: usize,
        protocol: u8,
        source: u128,
        destination: u128,
        ports: u32,
    ) {
        let last = (destination >> 120) as u64 | u64::from(ports) << 8 | 37 << LENGTH_SHIFT;
        let blocks = v6_blocks(protocol, source, destination, last);
        for (word, block) in self.0.iter_mut().zip(blocks) {
            word[lane] = block;
        }
    }
}

impl Default for V6FlowBurst {
    fn default() -> Self {
        V6FlowBurst::new()
    }
}

/// As [`flow_hash_v4_burst`].
pub fn flow_hash_v6_burst(key: &HashKey, burst: &V6FlowBurst, out: &mut [FlowHash; BURST]) {
    let (k0, k1) = (key.k0(), key.k1());
    let [a, b, c, d, e] = &burst.0;
    hw::vectorised(
        #[inline(always)]
        || {
            for (lane, out) in out.iter_mut().enumerate() {
                let mut state = Sip13::new(k0, k1);
                for block in [a[lane], b[lane], c[lane], d[lane], e[lane]] {
                    state.block(block);
                }
                *out = FlowHash(state.finish());
            }
        },
    );
}
