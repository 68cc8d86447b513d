//! Packet buffers: how many, how large, and on which NUMA node.
//!
//! A frame is one buffer from reception to transmission, jumbo frames too, as the packet path takes frames in
//! one piece only: so the port with the largest `mtu` decides the size. Ports on one NUMA node share a pool,
//! and ports on different nodes have one each, in memory of that node.

use dpdk::{DEFAULT_CACHE, DEFAULT_DATA_ROOM, DEFAULT_DESCRIPTORS, Eal, Mempool, MempoolError};

use super::hold;
use super::host;

/// Bytes of a frame beside its IP packet: the Ethernet header, two tags, and the check sequence, which some
/// NICs write along.
const LINK_ROOM: u16 = 14 + 2 * 4 + 4;
/// NICs are told the size of a buffer in units of as many bytes, rounded down (Intel's 82599: SRRCTL.BSIZEPKT),
/// and spread a frame over two buffers that would have fitted the rest.
const DATA_UNIT: u16 = 1024;
/// Mbufs of one worker and port that are neither in descriptors nor held: a burst in each of the two stages,
/// one waiting to be sent, and for each as much again.
const IN_FLIGHT: u32 = 6 * dpdk::BURST as u32;
/// What the host has in flight: a queue each way for every worker.
const FOR_HOST: u32 = 2 * host::QUEUE_FRAMES as u32;
/// How far DPDK lets the cache of a thread grow, beyond its nominal size.
const CACHE: u32 = DEFAULT_CACHE * 3 / 2;

/// Buffer bytes per mbuf, headroom included, for frames of IP packets up to `mtu`.
pub fn data_room(mtu: u16) -> u16 {
    let frame = mtu.saturating_add(LINK_ROOM).min(u16::MAX / 2);
    let room = frame.next_multiple_of(DATA_UNIT) + dpdk::HEADROOM as u16;
    room.max(DEFAULT_DATA_ROOM)
}

/// Who takes mbufs out of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takers {
    /// Workers of the rail.
    pub workers: u32,
    /// Ports of the rail: what came in by one of them can be waiting to leave by any.
    pub ports: u32,
    /// Those of the ports that receive into this pool.
    pub near: u32,
    /// Fragments that a worker may hold.
    pub held: u32,
}

impl Takers {
    /// So many mbufs that the pool is never empty: every descriptor, every queue and every cache full at once.
    pub fn mbufs(&self) -> u32 {
        let descriptors = u32::from(DEFAULT_DESCRIPTORS);
        let worker = self.near * descriptors
            + self.ports * (descriptors + IN_FLIGHT)
            + hold::PER_WORKER as u32
            + self.held
            + FOR_HOST
            + CACHE;
        self.workers * worker
    }
}

/// What all pools of a rail have in common.
#[derive(Debug, Clone, Copy)]
pub struct BufferSetup {
    /// The largest IP packet of any port.
    pub mtu: u16,
    /// Mbufs of every pool, if the configuration says so.
    pub mbufs: Option<u32>,
    /// Workers.
    pub workers: u32,
    /// Fragments that a worker may hold.
    pub held: u32,
}

impl BufferSetup {
    /// The memory that one pool for so many ports takes, in MiB, with what drivers want beside it.
    pub fn memory_mb(&self, ports: u32) -> u32 {
        /// The mbuf's own header and the pool's, per mbuf.
        const HEADERS: u64 = 128 + 64;
        /// For rings and drivers; a mempool's own tables are small.
        const REST_MB: u64 = 16;
        let takers = Takers {
            workers: self.workers,
            ports,
            near: ports,
            held: self.held,
        };
        let count = u64::from(self.mbufs.unwrap_or(takers.mbufs()));
        let bytes = count * (u64::from(data_room(self.mtu)) + HEADERS);
        u32::try_from(bytes.div_ceil(1 << 20) + REST_MB).unwrap_or(u32::MAX)
    }
}

/// Makes the pools. `ports` are the NUMA nodes of the ports, by index, where known; the pools come back in the
/// same order, at least one, with what is not as it should be.
pub fn pools(
    eal: &Eal,
    ports: &[Option<u32>],
    setup: &BufferSetup,
) -> Result<(Vec<Mempool>, Vec<String>), MempoolError> {
    let (mut made, mut warnings) = (Vec::<(Option<u32>, Mempool)>::new(), Vec::new());
    let mut by_port = Vec::with_capacity(ports.len());
    // Without any port the buffers are for rings that somebody makes later.
    let nodes = if ports.is_empty() { &[None] } else { ports };
    for node in nodes {
        if let Some((_, pool)) = made.iter().find(|(of, _)| of == node) {
            by_port.push(pool.clone());
            continue;
        }
        let takers = Takers {
            workers: setup.workers,
            ports: nodes.len() as u32,
            near: nodes.iter().filter(|of| *of == node).count() as u32,
            held: setup.held,
        };
        let count = setup.mbufs.unwrap_or(takers.mbufs());
        let pool = on_node(eal, *node, count, data_room(setup.mtu), &mut warnings)?;
        made.push((*node, pool.clone()));
        by_port.push(pool);
    }
    Ok((by_port, warnings))
}

/// A pool in memory of a node; of any if that one has none left, which is slower but works.
fn on_node(
    eal: &Eal,
    node: Option<u32>,
    count: u32,
    room: u16,
    warnings: &mut Vec<String>,
) -> Result<Mempool, MempoolError> {
    let name = node.map_or("rail".to_owned(), |node| format!("rail-{node}"));
    let on = |node| Mempool::new(eal, &name, count, DEFAULT_CACHE, room, node);
    match (on(node), node) {
        (Err(MempoolError::Memory { .. }), Some(node)) => {
            let pool = on(None)?;
            warnings.push(format!(
                "NUMA node {node} has no memory for its ports' {count} packet buffers, which are elsewhere now: \
                 reserve huge pages on that node"
            ));
            Ok(pool)
        }
        (made, _) => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jumbo_frame_fits_one_buffer() {
        for (mtu, payload) in [
            (576, 2048),
            (1500, 2048),
            (2022, 2048),
            (2023, 3072),
            (9000, 9216),
            (9198, 10_240),
        ] {
            let room = usize::from(data_room(mtu));
            assert_eq!(room, payload + dpdk::HEADROOM, "mtu {mtu}");
        }
        assert!(data_room(u16::MAX) > u16::MAX / 2, "and nothing overflows");
    }

    #[test]
    fn no_pool_runs_dry() {
        let one = Takers {
            workers: 1,
            ports: 1,
            near: 1,
            held: 1024,
        };
        let descriptors = u32::from(DEFAULT_DESCRIPTORS);
        let all = 2 * descriptors + 6 * 32 + 64 + 1024 + 512 + 192;
        assert_eq!(one.mbufs(), all);
        // Two ports on a node each: what one pool gave may wait to leave by both.
        let two = Takers { ports: 2, ..one };
        assert_eq!(two.mbufs() - one.mbufs(), descriptors + 6 * 32);
        let same = Takers { near: 2, ..two };
        assert_eq!(same.mbufs() - two.mbufs(), descriptors);
        assert_eq!(Takers { workers: 4, ..same }.mbufs(), 4 * same.mbufs());
    }

    /// What `[dpdk].memory_mb` is by default has room for a usual rail with jumbo frames.
    #[test]
    fn jumbo_frames_fit_the_default_memory() {
        let usual = BufferSetup {
            mtu: 9198,
            mbufs: None,
            workers: 4,
            held: 1024,
        };
        let memory = usual.memory_mb(2);
        assert!((200..512).contains(&memory), "{memory}");
    }
}
