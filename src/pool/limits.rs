//! Timeouts and limits, each with its default and its bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::table::{BackendId, Tick};

/// The unit in which a connection entry stores its age: timeouts are rounded up to it.
pub const AGE_UNIT: Duration = Duration::from_secs(Tick::SECONDS);

/// The shortest and the longest timeout of a connection.
///
/// The age field has 12 bits of [`AGE_UNIT`] and wraps after 4096 * 8 s (9 h 6 min). Every bucket
/// is swept at least twice per wrap, so an entry idle for less than half a wrap is always told
/// apart from a fresh one; four hours keep clear of that half.
pub const TIMEOUT_BOUNDS: RangeInclusive<Duration> = AGE_UNIT..=Duration::from_secs(4 * 3600);

/// Bounds of `peer_probe`: a few ticks of the control core, to what nobody would wait for.
pub const PEER_PROBE: RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(10);

/// How long a connection table entry lives without a packet, all within [`TIMEOUT_BOUNDS`], and
/// a rail without a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// An established TCP connection. Default 1 h.
    pub tcp: Duration,
    /// A UDP flow of which a second packet was seen. Default 2 min.
    pub udp: Duration,
    /// A TCP connection that saw a FIN or RST. Default 32 s.
    pub closing: Duration,
    /// A flow of which one packet (a SYN, for TCP) was seen. Default 32 s.
    pub embryonic: Duration,
    /// How long a promoted entry is safe from eviction under pressure. Default 2 min.
    pub min_idle: Duration,
    /// How often other rails are probed, within [`PEER_PROBE`]; three missed, and one is dead. Default
    /// 500 ms.
    pub peer_probe: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(3600),
            udp: Duration::from_secs(120),
            closing: Duration::from_secs(32),
            embryonic: Duration::from_secs(32),
            min_idle: Duration::from_secs(120),
            peer_probe: Duration::from_millis(500),
        }
    }
}

/// Bounds on what traffic can make a rail do or keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New connection table entries per worker and second; beyond it packets are only hashed.
    pub new_pins_per_second: u32,
    /// ICMP errors and echo replies sent per worker and second.
    pub icmp_per_second: u32,
    /// Frames passed to the host per worker and second, and from it in all.
    pub host_per_second: u32,
    /// Fragments held per worker until the first of their datagram is seen; 0 holds none.
    pub held_fragments: u32,
    /// Bytes of held fragments per worker.
    pub held_fragment_bytes: u32,
    /// How long a fragment is held before it is dropped.
    pub held_fragment_time: Duration,
    /// Datagrams in the fragment memory that all workers of a rail share.
    pub fragments: u32,
    /// How long the fragment memory remembers a datagram.
    pub fragment_time: Duration,
    /// Backends of all services of a rail.
    pub backends: u32,
}

impl Limits {
    /// Bounds of `new_pins_per_second`: at least one so that a connection can be pinned at all, at
    /// most what a core can insert.
    pub const NEW_PINS_PER_SECOND: RangeInclusive<u32> = 1..=50_000_000;
    /// Bounds of `icmp_per_second`; zero answers nothing.
    pub const ICMP_PER_SECOND: RangeInclusive<u32> = 0..=1_000_000;
    /// Bounds of `host_per_second`: some for the host to work at all, to what it could not use.
    pub const HOST_PER_SECOND: RangeInclusive<u32> = 10..=1_000_000;
    /// Bounds of `held_fragments`; each holds an mbuf of the worker's pool.
    pub const HELD_FRAGMENTS: RangeInclusive<u32> = 0..=65_536;
    /// Bounds of `held_fragment_bytes`: one datagram of the largest size, to 256 MiB.
    pub const HELD_FRAGMENT_BYTES: RangeInclusive<u32> = 65_535..=256 << 20;
    /// Bounds of `held_fragment_time`: longer than the reordering of a network, shorter than a
    /// retransmission of the sender makes pointless.
    pub const HELD_FRAGMENT_TIME: RangeInclusive<Duration> =
        Duration::from_millis(1)..=Duration::from_secs(5);
    /// Bounds of `fragments`.
    pub const FRAGMENTS: RangeInclusive<u32> = 1_024..=16 << 20;
    /// Bounds of `fragment_time`: up to the reassembly time of RFC 1122, section 3.3.2.
    pub const FRAGMENT_TIME: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(120);
    /// Bounds of `backends`: ids have 17 bits and start at 1.
    pub const BACKENDS: RangeInclusive<u32> = 1..=BackendId::MAX.get();
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            new_pins_per_second: 1_000_000,
            icmp_per_second: 1_000,
            host_per_second: 10_000,
            held_fragments: 1_024,
            held_fragment_bytes: 2 << 20,
            held_fragment_time: Duration::from_millis(100),
            fragments: 65_536,
            fragment_time: Duration::from_secs(30),
            backends: *Self::BACKENDS.end(),
        }
    }
}
