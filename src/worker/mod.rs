//! The run-to-completion loop: one pinned worker per core, one queue pair of every port each.

pub mod bench;
pub mod buffers;
mod clock;
pub mod crew;
mod early;
mod hold;
pub mod host;
mod idle;
pub mod numa;
mod observe;
mod port;
pub mod ports;
pub mod tap;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use dpdk::{Burst, Mbuf, Mempool};

use crate::pipeline::verdict::{DropReason, Verdict};
use crate::pipeline::{Pipeline, Stage, Ways};
use crate::table::counters::Counters;
use crate::table::hash::BURST;
use crate::table::publish::Reader;
use crate::table::snapshot::{HopIndex, PortIndex, Snapshot};
use crate::table::{BackendId, Nanos};

pub use clock::{Clock, TscClock};
pub use early::EarlyFragments;
pub use hold::{Held, Hold};
pub use host::HostEnd;
pub use idle::Idle;
pub use observe::{Observer, Step};
use port::InFlight;
pub use port::{Input, Output, Source};

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
    /// The host.
    pub host: HostEnd,
    /// Frames waiting for a next hop.
    pub hold: Hold<Mbuf>,
    /// Fragments waiting for the first of their datagram.
    pub early: EarlyFragments<Mbuf>,
    /// What to do when nothing comes.
    pub idle: Idle,
    /// The time.
    pub clock: Clock,
    /// What it counts.
    pub counters: Arc<Counters>,
}

/// The [`Dispatch`] of a worker: all of it but where it receives, which a round has borrowed.
macro_rules! dispatch {
    ($worker:expr, $snapshot:expr) => {
        Dispatch {
            outputs: &mut $worker.outputs,
            hold: &mut $worker.hold,
            early: &mut $worker.early,
            host: &mut $worker.host,
            pipeline: &mut $worker.pipeline,
            pool: &$worker.pool,
            snapshot: $snapshot,
            counters: &$worker.counters,
        }
    };
}

impl Worker {
    /// Works until `stop` is set, then finishes what has been received.
    pub fn run(&mut self, stop: &AtomicBool) {
        let mut last = dpdk::thread::tsc();
        while !stop.load(Ordering::Relaxed) {
            last = self.turn(last, &mut ());
        }
        self.settle();
    }

    /// One round with all that belongs to it: its time is counted from `last`, a reading of the
    /// time-stamp counter, and when nothing has come for long it sleeps. Returns the next `last`.
    #[inline]
    pub fn turn(&mut self, last: u64, observer: &mut impl Observer) -> u64 {
        let received = self.round_at(last, observer);
        let now = dpdk::thread::tsc();
        self.account(received, now.wrapping_sub(last));
        if let Some(sleep) = self.idle.after(received) {
            self.reader.park();
            self.idle.sleep(sleep);
            // Asleep is not busy, whatever the next round finds.
            let woken = dpdk::thread::tsc();
            self.counters.total_cycles.add(woken.wrapping_sub(now));
            return woken;
        }
        now
    }

    /// One round over all ports: receive a burst and run its front stage, finish the burst before it,
    /// send. A burst that is not full is finished at once: nothing more was waiting, so why should it. Returns
    /// the number of packets received.
    #[inline]
    pub fn round(&mut self, observer: &mut impl Observer) -> usize {
        self.round_at(dpdk::thread::tsc(), observer)
    }

    /// As [`Worker::round`], begun at this reading of the time-stamp counter.
    #[inline(always)]
    fn round_at(&mut self, ticks: u64, observer: &mut impl Observer) -> usize {
        let snapshot = self.reader.current();
        let mut received = 0;
        for (index, input) in self.inputs.iter_mut().enumerate() {
            let ingress = PortIndex(index as u8);
            let newest = input.receive();
            observer.done(Step::Receive);
            let now = self.clock.at(ticks, &newest.burst);
            self.pipeline.advance(now);
            if !newest.burst.is_empty() {
                received += newest.burst.len();
                count_received(&mut newest.burst, &self.counters);
                self.pipeline
                    .front(snapshot, ingress, &newest.burst, &mut newest.stage);
            }
            observer.done(Step::Front);
            let mut dispatch = dispatch!(self, snapshot);
            let (before, newest) = input.flights();
            if before.burst.is_empty() {
                dispatch.pipeline.expect(&newest.stage);
            } else {
                dispatch.finish(before, Some(&newest.stage), now, observer);
            }
            if !newest.burst.is_full() && !newest.burst.is_empty() {
                dispatch.finish(newest, None, now, observer);
            }
        }
        let waits = !self.inbox.is_empty() || self.host.waits();
        if waits || !self.hold.is_empty() || !self.early.is_empty() {
            self.attend();
        }
        for output in &mut self.outputs {
            output.flush(&self.counters);
        }
        observer.done(Step::Send);
        received
    }

    /// Whether everything received has been dealt with, but for what is held.
    pub fn is_settled(&self) -> bool {
        self.inputs.iter().all(Input::is_settled)
    }

    /// Finishes what is between the stages, receiving nothing more, and drops what is still held.
    pub fn settle(&mut self) {
        let queues: Vec<_> = self.inputs.iter_mut().map(Input::close).collect();
        // The control core may have last words.
        while !self.is_settled() || !self.inbox.is_empty() {
            self.round(&mut ());
        }
        // Once more for every fragment: its first one may have come last.
        for _ in 0..self.early.rounds_to_try_all() {
            self.round(&mut ());
        }
        while self.hold.pop().is_some() {
            self.counters.count_drop(DropReason::Neighbor);
        }
        while self.early.pop().is_some() {
            self.counters.count_drop(DropReason::Fragment);
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
        self.send_for_host();
        while self.hold.expired(now).is_some() {
            self.counters.count_drop(DropReason::Neighbor);
        }
        let snapshot = self.reader.current();
        let mut dispatch = dispatch!(self, snapshot);
        if dispatch.hold.worth_retrying(snapshot.generation) {
            for _ in 0..dispatch.hold.len() {
                let Some(mut held) = dispatch.hold.pop() else {
                    break;
                };
                let (frame, ingress) = (&mut held.frame, held.ingress);
                match dispatch.pipeline.once(snapshot, ingress, frame, now) {
                    Verdict::Hold(hop) => dispatch.hold_on(held, hop),
                    verdict => dispatch.deliver(held.frame, verdict, ingress, now),
                }
            }
        }
        for _ in 0..dispatch.early.due() {
            let Some(mut early) = dispatch.early.pop() else {
                break;
            };
            let (frame, ingress) = (&mut early.frame, early.ingress);
            match dispatch.pipeline.once(snapshot, ingress, frame, now) {
                Verdict::Await if early.until > now => dispatch.early.put_back(early),
                Verdict::Await => dispatch.counters.count_drop(DropReason::Fragment),
                verdict => dispatch.deliver(early.frame, verdict, ingress, now),
            }
        }
        dispatch.count_held();
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

    /// What the host has sent goes out as it is.
    fn send_for_host(&mut self) {
        for _ in 0..BURST {
            let Some((port, frame)) = self.host.outgoing() else {
                break;
            };
            if let Some(output) = self.outputs.get_mut(usize::from(port.0)) {
                self.counters.from_host.add(1);
                output.send(frame, &self.counters);
            }
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
    early: &'a mut EarlyFragments<Mbuf>,
    host: &'a mut HostEnd,
    pipeline: &'a mut Pipeline,
    pool: &'a Mempool,
    snapshot: &'a Snapshot,
    counters: &'a Counters,
}

impl Dispatch<'_> {
    /// The second stage of a burst; `behind` is the one whose second stage comes next.
    #[inline(always)]
    fn finish(
        &mut self,
        flight: &mut InFlight,
        behind: Option<&Stage>,
        now: Nanos,
        observer: &mut impl Observer,
    ) {
        let (burst, stage) = (&mut flight.burst, &mut flight.stage);
        let pipeline = &mut *self.pipeline;
        let ways = pipeline.steer_burst(self.snapshot, burst, stage, behind, now);
        observer.done(Step::Steer);
        let whole = self.deal(burst, stage, &ways, now);
        observer.done(Step::Finish);
        if let Some((port, bytes)) = whole
            && let Some(output) = self.outputs.get_mut(usize::from(port.0))
        {
            output.send_all(burst, bytes, self.counters);
        }
    }

    /// Rewrites a burst. Most often all of it leaves by one port: returns that, and how many bytes these are. Else deals
    /// it out.
    #[inline(never)]
    fn deal(
        &mut self,
        burst: &mut Burst,
        stage: &Stage,
        ways: &Ways<'_>,
        now: Nanos,
    ) -> Option<(PortIndex, usize)> {
        let departed = self.pipeline.rewrite_burst(burst, stage, ways);
        if let Some(port) = departed.port(ways)
            && usize::from(port.0) < self.outputs.len()
        {
            return Some((port, departed.bytes));
        }
        for (mut mbuf, lane) in burst.drain().zip(0..BURST) {
            let (pipeline, place) = (&mut *self.pipeline, (lane, stage, ways));
            let verdict = pipeline.conclude(self.snapshot, &mut mbuf, &departed, place);
            self.deliver(mbuf, verdict, stage.ingress(), now);
        }
        None
    }

    #[inline(always)]
    fn deliver(&mut self, mbuf: Mbuf, verdict: Verdict, ingress: PortIndex, now: Nanos) {
        match verdict {
            Verdict::Forward(port) | Verdict::Reply(port) => {
                if let Some(output) = self.outputs.get_mut(usize::from(port.0)) {
                    output.send(mbuf, self.counters);
                }
            }
            other => self.keep(mbuf, other, ingress, now),
        }
    }

    /// What is not sent: held, for the host, or dropped.
    #[cold]
    fn keep(&mut self, mbuf: Mbuf, verdict: Verdict, ingress: PortIndex, now: Nanos) {
        match verdict {
            Verdict::Hold(hop) => {
                if self.hold.push(mbuf, ingress, hop, now).is_err() {
                    self.counters.count_drop(DropReason::Neighbor);
                } else {
                    self.counters.held_total.add(1);
                    self.count_held();
                }
            }
            Verdict::Await => {
                let len = mbuf.len();
                if self
                    .early
                    .push(mbuf, len, ingress, now, &self.snapshot.early)
                    .is_err()
                {
                    self.counters.count_drop(DropReason::Fragment);
                } else {
                    self.counters.held_total.add(1);
                    self.count_held();
                }
            }
            Verdict::Split(id) => self.split(&mbuf, id, ingress),
            Verdict::Host(port) => {
                let rate = self.snapshot.rates.host_per_second;
                self.host.take(mbuf, port, now, rate, self.counters);
            }
            // Counted by the pipeline; the buffer goes back to its pool.
            Verdict::Forward(_) | Verdict::Reply(_) | Verdict::Heard | Verdict::Drop(_) => {
                drop(mbuf);
            }
        }
    }

    /// Sends a packet in pieces.
    #[cold]
    fn split(&mut self, whole: &Mbuf, id: Option<BackendId>, ingress: PortIndex) {
        let (outputs, pool, counters) = (&mut *self.outputs, self.pool, self.counters);
        let make = |bytes: &[u8]| {
            let mut piece = pool.alloc()?;
            piece.set_data(bytes).then_some(piece)
        };
        let send = |piece, verdict| {
            if let Verdict::Forward(port) = verdict
                && let Some(output) = outputs.get_mut(usize::from(port.0))
            {
                output.send(piece, counters);
            }
        };
        self.pipeline
            .split(self.snapshot, ingress, whole, id, make, send);
    }

    /// Keeps a frame that was held already; its time does not start again.
    fn hold_on(&mut self, held: Held<Mbuf>, hop: HopIndex) {
        if self.hold.push_again(held, hop).is_err() {
            self.counters.count_drop(DropReason::Neighbor);
        }
    }

    fn count_held(&self) {
        self.counters.set_held(self.hold.len() + self.early.len());
    }
}

/// Counts a received burst, and takes out what is not in one piece.
#[inline]
fn count_received(burst: &mut Burst, counters: &Counters) {
    let (mut bytes, mut whole) = (0, true);
    for mbuf in burst.iter() {
        bytes += mbuf.packet_len();
        whole &= mbuf.is_contiguous();
    }
    counters.rx.packets.add(burst.len() as u64);
    counters.rx.bytes.add(bytes as u64);
    if !whole {
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
