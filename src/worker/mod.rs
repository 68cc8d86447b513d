//! The run-to-completion loop: one pinned worker per core, one queue pair of every port each.

mod clock;
pub mod crew;
mod hold;
mod idle;
mod port;
pub mod ports;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use dpdk::{Burst, Mbuf, Mempool};

use crate::pipeline::Pipeline;
use crate::pipeline::verdict::{DropReason, Verdict};
use crate::table::Nanos;
use crate::table::counters::Counters;
use crate::table::hash::BURST;
use crate::table::publish::Reader;
use crate::table::snapshot::{PortIndex, Snapshot};

pub use clock::{Clock, TscClock};
pub use hold::Hold;
pub use idle::Idle;
pub use port::{Input, Output};

/// Longest frame the control core has a worker send: ND with options is far below.
pub const OUTGOING_MAX: usize = 126;

/// A frame the control core has a worker send, such as an ARP request. Of fixed size, so that the
/// worker frees no memory.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    port: PortIndex,
    len: u8,
    bytes: [u8; OUTGOING_MAX],
}

impl Outgoing {
    /// A frame for a port; `None` if it is longer than [`OUTGOING_MAX`].
    pub fn new(port: PortIndex, frame: &[u8]) -> Option<Self> {
        let mut bytes = [0; OUTGOING_MAX];
        bytes.get_mut(..frame.len())?.copy_from_slice(frame);
        Some(Outgoing {
            port,
            len: frame.len() as u8,
            bytes,
        })
    }
}

/// Frames on their way from the control core to a worker.
pub type Inbox = Arc<ArrayQueue<Outgoing>>;

/// Everything one worker owns.
pub struct Worker {
    /// Its share of every port's receiving side, by port index.
    pub inputs: Vec<Input>,
    /// Its share of every port's sending side, by port index.
    pub outputs: Vec<Output>,
    /// The packet path.
    pub pipeline: Pipeline,
    /// The tables.
    pub reader: Reader<Snapshot>,
    /// What the control core wants sent.
    pub inbox: Inbox,
    /// Where those frames get their buffers.
    pub pool: Mempool,
    /// Frames waiting for a next hop.
    pub hold: Hold<Mbuf>,
    /// What to do when nothing comes.
    pub idle: Idle,
    /// The time.
    pub clock: Clock,
    /// What it counts.
    pub counters: Arc<Counters>,
}

impl Worker {
    /// Works until `stop` is set, then finishes what has been received.
    pub fn run(&mut self, stop: &AtomicBool) {
        let mut last = dpdk::thread::tsc();
        while !stop.load(Ordering::Relaxed) {
            let received = self.round();
            let now = dpdk::thread::tsc();
            self.account(received, now.wrapping_sub(last));
            last = now;
            if let Some(sleep) = self.idle.after(received) {
                self.reader.park();
                std::thread::sleep(sleep);
            }
        }
        self.settle();
    }

    /// One round over all ports: receive a burst and run its front stage, finish the burst before it,
    /// send. Returns the number of packets received.
    #[inline]
    pub fn round(&mut self) -> usize {
        let snapshot = self.reader.current();
        let mut verdicts = [Verdict::Drop(DropReason::NotOurs); BURST];
        let mut received = 0;
        for (index, input) in self.inputs.iter_mut().enumerate() {
            let ingress = PortIndex(index as u8);
            let newest = input.receive();
            let now = self.clock.now(&newest.burst);
            self.pipeline.advance(now);
            if !newest.burst.is_empty() {
                received += newest.burst.len();
                count_received(&mut newest.burst, &self.counters);
                self.pipeline
                    .front(snapshot, ingress, &newest.burst, &mut newest.stage);
            }
            let before = input.previous();
            if !before.burst.is_empty() {
                let (burst, stage) = (&mut before.burst, &mut before.stage);
                self.pipeline
                    .finish(snapshot, burst, stage, now, &mut verdicts);
                let mut dispatch = Dispatch {
                    outputs: &mut self.outputs,
                    hold: &mut self.hold,
                    counters: &self.counters,
                };
                for (mbuf, verdict) in burst.drain().zip(verdicts) {
                    dispatch.deliver(mbuf, verdict, ingress, now);
                }
            }
        }
        if !self.inbox.is_empty() || !self.hold.is_empty() {
            self.attend();
        }
        for output in &mut self.outputs {
            output.flush(&self.counters);
        }
        received
    }

    /// Whether everything received has been dealt with, but for what is held.
    pub fn is_settled(&self) -> bool {
        self.inputs.iter().all(Input::is_settled)
    }

    /// Finishes what is between the stages, receiving nothing more, and drops what is still held.
    pub fn settle(&mut self) {
        let queues: Vec<_> = self.inputs.iter_mut().map(Input::close).collect();
        while !self.is_settled() {
            self.round();
        }
        while self.hold.pop().is_some() {
            self.counters.count_drop(DropReason::Neighbor);
        }
        self.counters.set_held(0);
        drop(queues);
    }

    /// The rare work of a round: frames the control core wants sent, and frames that are held.
    #[cold]
    fn attend(&mut self) {
        let now = self.pipeline.now();
        while let Some(frame) = self.inbox.pop() {
            self.generate(&frame);
        }
        while self.hold.expired(now).is_some() {
            self.counters.count_drop(DropReason::Neighbor);
        }
        let snapshot = self.reader.current();
        if self.hold.worth_retrying(snapshot.generation) {
            for _ in 0..self.hold.len() {
                let Some(mut held) = self.hold.pop() else {
                    break;
                };
                let verdict = self
                    .pipeline
                    .once(snapshot, held.ingress, &mut held.frame, now);
                if let Verdict::Hold(hop) = verdict {
                    if self.hold.push_again(held, hop).is_err() {
                        self.counters.count_drop(DropReason::Neighbor);
                    }
                    continue;
                }
                let mut dispatch = Dispatch {
                    outputs: &mut self.outputs,
                    hold: &mut self.hold,
                    counters: &self.counters,
                };
                dispatch.deliver(held.frame, verdict, held.ingress, now);
            }
        }
        self.counters.set_held(self.hold.len());
    }

    fn generate(&mut self, frame: &Outgoing) {
        let bytes = &frame.bytes[..usize::from(frame.len)];
        let Some(output) = self.outputs.get_mut(usize::from(frame.port.0)) else {
            return;
        };
        // Without a buffer the frame is not made; whoever wanted it asks again.
        if let Some(mut mbuf) = self.pool.alloc()
            && mbuf.set_data(bytes)
        {
            self.counters.generated.add(1);
            output.send(mbuf, &self.counters);
        }
    }

    #[inline]
    fn account(&self, received: usize, cycles: u64) {
        self.counters.rounds.add(1);
        self.counters.burst(received);
        self.counters.total_cycles.add(cycles);
        if received > 0 {
            self.counters.busy_cycles.add(cycles);
        }
    }
}

/// Where frames go by their verdict.
struct Dispatch<'a> {
    outputs: &'a mut [Output],
    hold: &'a mut Hold<Mbuf>,
    counters: &'a Counters,
}

impl Dispatch<'_> {
    #[inline]
    fn deliver(&mut self, mbuf: Mbuf, verdict: Verdict, ingress: PortIndex, now: Nanos) {
        match verdict {
            Verdict::Forward(port) | Verdict::Reply(port) => {
                if let Some(output) = self.outputs.get_mut(usize::from(port.0)) {
                    output.send(mbuf, self.counters);
                }
            }
            Verdict::Hold(hop) => {
                if self.hold.push(mbuf, ingress, hop, now).is_err() {
                    self.counters.count_drop(DropReason::Neighbor);
                } else {
                    self.counters.held_total.add(1);
                    self.counters.set_held(self.hold.len());
                }
            }
            // Counted by the pipeline; the buffer goes back to its pool.
            Verdict::Host(_) | Verdict::Drop(_) => drop(mbuf),
        }
    }
}

/// Counts a received burst, and takes out what is not in one piece.
#[inline]
fn count_received(burst: &mut Burst, counters: &Counters) {
    let bytes: usize = burst.iter().map(|m| m.packet_len()).sum();
    counters.rx.packets.add(burst.len() as u64);
    counters.rx.bytes.add(bytes as u64);
    if burst.iter().any(|m| !m.is_contiguous()) {
        drop_segmented(burst, counters);
    }
}

#[cold]
fn drop_segmented(burst: &mut Burst, counters: &Counters) {
    let mut whole = Burst::new();
    for mbuf in burst.drain() {
        if mbuf.is_contiguous() {
            // The new burst has room for all of the old one.
            let _ = whole.push(mbuf);
        } else {
            counters.count_drop(DropReason::MultiSegment);
        }
    }
    *burst = whole;
}
