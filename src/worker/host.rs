//! Frames between the wire and the machine the rail runs on.
//!
//! ```text
//!            worker --- to host, one queue each ---> bridge ---> TAP rail0 ---> the host's kernel
//!   wire <-- worker 0 <----- from host, one -------- bridge <--- TAP rail0 <---
//! ```
//!
//! Workers never wait for the host: what its queue or the limit does not take is dropped and counted.
//! The bridge is a thread of the control core. It looks into the queues a thousand times a second
//! rather than being woken, so that no worker makes a system call for the host's sake; what the host
//! sends wakes it at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dpdk::{Mbuf, Mempool};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::table::Nanos;
use crate::table::counters::{Counters, DropReason};
use crate::table::host::HostStats;
use crate::table::limiter::TokenBucket;
use crate::table::snapshot::{PortIndex, PortView};
use crate::wire::EtherType;

use super::tap::Tap;

/// Frames that may wait in one queue: a tick of the bridge at its full rate, several times over.
pub const QUEUE_FRAMES: usize = 256;
/// Frames moved each way before the other way has its turn.
const BUDGET: usize = 64;
/// How long the bridge sleeps when nothing waits. It bounds what a worker's frame takes to the host.
const PAUSE_MS: u16 = 1;
/// The Ethernet header up to its type, and one tag (IEEE 802.1Q).
const ADDRESSES: usize = 12;
const TAG: usize = 4;
const ETHERNET: usize = 14;

/// A frame and the port it came in or goes out by.
pub struct HostFrame {
    port: PortIndex,
    frame: Mbuf,
}

/// Frames on their way in one direction.
pub type HostQueue = Arc<ArrayQueue<HostFrame>>;

/// An empty queue.
pub fn queue() -> HostQueue {
    Arc::new(ArrayQueue::new(QUEUE_FRAMES))
}

/// A worker's end.
pub enum HostEnd {
    /// No port has a host: its frames are dropped.
    Absent,
    /// Takes everything and forgets it: for captures and measurements.
    Void,
    /// Queues to the bridge.
    Open {
        /// Frames for the host.
        to: HostQueue,
        /// Frames from it; other workers than the first have a queue that stays empty.
        from: HostQueue,
        /// How many a second.
        limit: TokenBucket,
    },
}

impl HostEnd {
    /// A worker's end of these queues.
    pub fn open(to: HostQueue, from: HostQueue) -> Self {
        HostEnd::Open {
            to,
            from,
            limit: TokenBucket::per_second(0),
        }
    }

    /// Passes a frame on, or drops it; counts which. The host takes `rate` of them a second.
    #[cold]
    pub fn take(
        &mut self,
        frame: Mbuf,
        port: PortIndex,
        now: Nanos,
        rate: u32,
        counters: &Counters,
    ) {
        let taken = match self {
            HostEnd::Absent => false,
            HostEnd::Void => true,
            HostEnd::Open { to, limit, .. } => {
                limit.set_rate(rate);
                limit.take(now) && to.push(HostFrame { port, frame }).is_ok()
            }
        };
        if taken {
            counters.to_host.add(1);
        } else {
            counters.count_drop(DropReason::HostUnavailable);
        }
    }

    /// Something of the host waits to be sent.
    #[inline]
    pub fn waits(&self) -> bool {
        matches!(self, HostEnd::Open { from, .. } if !from.is_empty())
    }

    /// The next frame of the host to be sent.
    pub fn outgoing(&mut self) -> Option<(PortIndex, Mbuf)> {
        match self {
            HostEnd::Open { from, .. } => from.pop().map(|f| (f.port, f.frame)),
            _ => None,
        }
    }
}

/// What the bridge is built of.
pub struct BridgeSetup {
    /// The hosts' interfaces by port index; `None` for a port without one.
    pub taps: Vec<Option<Tap>>,
    /// The ports, for their addresses and tags.
    pub ports: Vec<PortView>,
    /// The queues workers fill.
    pub to_host: Vec<HostQueue>,
    /// The queue that a worker empties.
    pub from_host: HostQueue,
    /// Frames a second from the host.
    pub rate: u32,
    /// Where frames from the host get their buffers.
    pub pool: Mempool,
    /// What the bridge counts.
    pub stats: Arc<HostStats>,
}

/// The running bridge; its drop ends it.
pub struct Bridge {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Starts the bridge on a thread with the cores of the calling one.
    pub fn start(setup: BridgeSetup) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let mut mover = Mover::new(setup);
        let thread = std::thread::Builder::new()
            .name("host".into())
            .spawn(move || mover.run(&told))?;
        Ok(Bridge {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

struct Mover {
    setup: BridgeSetup,
    limit: TokenBucket,
    started: Instant,
    /// Limit or queue kept the host's frames where they are.
    held_back: bool,
    buffer: Vec<u8>,
}

impl Mover {
    fn new(setup: BridgeSetup) -> Self {
        let longest = setup.ports.iter().map(|p| usize::from(p.mtu)).max();
        Mover {
            limit: TokenBucket::per_second(setup.rate),
            started: Instant::now(),
            held_back: false,
            // One byte more, to tell a frame that is too long from one that just fits.
            buffer: vec![0; longest.unwrap_or_default() + ETHERNET + 1],
            setup,
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let moved = self.give_to_host() + self.take_from_host();
            if moved == 0 {
                self.wait();
            }
        }
    }

    /// Frames the workers have for the host.
    fn give_to_host(&self) -> usize {
        let mut moved = 0;
        for queue in &self.setup.to_host {
            for _ in 0..BUDGET {
                let Some(HostFrame { port, mut frame }) = queue.pop() else {
                    break;
                };
                moved += 1;
                let index = usize::from(port.0);
                let view = self.setup.ports.get(index);
                let tap = self.setup.taps.get(index).and_then(Option::as_ref);
                let sent = tap.zip(view).is_some_and(|(tap, view)| {
                    untag(&mut frame, tags(view)) && tap.send(frame.data())
                });
                if !sent {
                    self.setup.stats.refused_by_host.add(1);
                }
            }
        }
        moved
    }

    /// Frames the host has for the wire. What exceeds the limit waits in the host's own queue.
    fn take_from_host(&mut self) -> usize {
        let mut moved = 0;
        self.held_back = false;
        let now = Nanos(self.started.elapsed().as_nanos() as u64);
        let BridgeSetup {
            taps,
            ports,
            from_host,
            pool,
            stats,
            ..
        } = &self.setup;
        for (index, (tap, port)) in taps.iter().zip(ports).enumerate() {
            let Some(tap) = tap else { continue };
            for _ in 0..BUDGET {
                if from_host.is_full() || !self.limit.take(now) {
                    self.held_back = true;
                    break;
                }
                let Some(len) = tap.receive(&mut self.buffer) else {
                    break;
                };
                moved += 1;
                let bytes = self.buffer.get(..len).unwrap_or_default();
                let frame = wire_frame(bytes, port, pool);
                let port = PortIndex(index as u8);
                let passed =
                    frame.is_some_and(|frame| from_host.push(HostFrame { port, frame }).is_ok());
                if !passed {
                    stats.refused_from_host.add(1);
                }
            }
        }
        moved
    }

    /// Until the host has something, or the pause is over.
    fn wait(&self) {
        let taps = self.setup.taps.iter().flatten();
        let mut fds: Vec<_> = taps
            .map(|tap| PollFd::new(tap_fd(tap), PollFlags::POLLIN))
            .collect();
        // What limit or queue hold back is readable, so that waiting for it would not wait at all.
        if self.held_back || poll(&mut fds, PollTimeout::from(PAUSE_MS)).is_err() {
            std::thread::sleep(Duration::from_millis(PAUSE_MS.into()));
        }
    }
}

fn tap_fd(tap: &Tap) -> BorrowedFd<'_> {
    tap.as_fd()
}

/// The tags that every frame of the port carries: their types and VLANs.
fn tags(port: &PortView) -> impl Iterator<Item = [u16; 2]> {
    let outer = port.outer_vlan.map(|vlan| [EtherType::QINQ.0, vlan]);
    let inner = port.vlan.map(|vlan| [EtherType::VLAN.0, vlan]);
    outer.into_iter().chain(inner)
}

/// Takes those tags off; the host's interface is untagged.
fn untag(frame: &mut Mbuf, tags: impl Iterator<Item = [u16; 2]>) -> bool {
    let len = TAG * tags.count();
    let data = frame.data_mut();
    if data.len() < ETHERNET + len {
        return false;
    }
    data.copy_within(..ADDRESSES, len);
    frame.trim_front(len)
}

/// What the host sent as it goes on the wire: from the port's own address, no longer than the port
/// carries, with the port's tag. `None` for anything else, or when there is no buffer.
fn wire_frame(bytes: &[u8], port: &PortView, pool: &Mempool) -> Option<Mbuf> {
    let longest = usize::from(port.mtu) + ETHERNET;
    if bytes.len() < ETHERNET || bytes.len() > longest || bytes[6..ADDRESSES] != port.mac {
        return None;
    }
    let mut frame = pool.alloc()?;
    if !frame.set_data(bytes) {
        return None;
    }
    let len = TAG * tags(port).count();
    frame.prepend(len)?;
    let data = frame.data_mut();
    data.copy_within(len..len + ADDRESSES, 0);
    for (place, words) in data[ADDRESSES..].chunks_exact_mut(TAG).zip(tags(port)) {
        place[..2].copy_from_slice(&words[0].to_be_bytes());
        place[2..].copy_from_slice(&words[1].to_be_bytes());
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use dpdk::{DEFAULT_DATA_ROOM, Eal, EalOptions};

    use super::*;
    use crate::table::snapshot::MacFilter;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn port(vlan: Option<u16>, outer_vlan: Option<u16>) -> PortView {
        PortView {
            mac: OWN,
            filter: MacFilter::only(OWN),
            vlan,
            outer_vlan,
            keep_tags: false,
            mtu: 1500,
            gateway: None,
        }
    }

    /// The host's interface is untagged, whatever the port is.
    #[test]
    fn tags_go_on_and_come_off() {
        let eal = Eal::init(EalOptions::no_huge([""; 0]).args()).expect("EAL starts");
        let pool = Mempool::new(&eal, "packets", 15, 0, DEFAULT_DATA_ROOM, None).expect("it fits");
        let mut sent = [0x5a; 60];
        sent[6..12].copy_from_slice(&OWN);
        let cases: [(_, _, &[u8]); 3] = [
            (None, None, &[]),
            (Some(7), None, &[0x81, 0, 0, 7]),
            (Some(7), Some(0x0234), &[0x88, 0xa8, 2, 0x34, 0x81, 0, 0, 7]),
        ];
        for (vlan, outer, expected) in cases {
            let port = port(vlan, outer);
            let mut frame = wire_frame(&sent, &port, &pool).expect("a frame of the port's own");
            let wire = [&sent[..12], expected, &sent[12..]].concat();
            assert_eq!(frame.data(), wire);
            assert!(untag(&mut frame, tags(&port)));
            assert_eq!(frame.data(), sent);
        }
        let two = port(Some(7), Some(8));
        let mut short = pool.alloc().expect("a frame");
        assert!(short.set_data(&sent[..20]));
        assert!(!untag(&mut short, tags(&two)), "no room for both");
        let foreign = [0x5a; 60];
        assert!(wire_frame(&foreign, &two, &pool).is_none());
    }
}
