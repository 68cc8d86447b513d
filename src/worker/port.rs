//! One worker's share of a port: a queue pair, the burst in flight, and what waits to be sent.

use dpdk::{Burst, Mbuf, RxQueue, TxQueue};

use crate::pipeline::Stage;
use crate::pipeline::frame::Frame;
use crate::table::counters::{Counters, DropReason};

impl Frame for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        Mbuf::data_mut(self)
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> bool {
        Mbuf::prepend(self, n).is_some()
    }

    #[inline]
    fn trim_front(&mut self, n: usize) -> bool {
        Mbuf::trim_front(self, n)
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        Mbuf::truncate(self, len);
    }

    #[inline]
    fn prefetch_headroom(&self) {
        Mbuf::prefetch_headroom(self);
    }

    #[inline]
    fn rewrap(&mut self, from: usize, len: usize, head: usize) -> Option<&mut [u8]> {
        Mbuf::rewrap(self, from, len, head)
    }
}

/// Changes what a port receives before a worker sees it: how traffic is made up where no port brings
/// any, to measure.
pub trait Source: Send {
    /// Fills the received frames, or exchanges them for others.
    fn fill(&mut self, burst: &mut Burst);
}

/// A burst between its two stages.
#[derive(Default)]
pub struct InFlight {
    /// The frames.
    pub burst: Burst,
    /// What the front stage found out about them.
    pub stage: Stage,
}

/// Where a worker receives: its receive queue of a port, if it has one, with the burst being received
/// and the one before it, in turns.
pub struct Input {
    rx: Option<RxQueue>,
    source: Option<Box<dyn Source>>,
    flights: [InFlight; 2],
    turn: usize,
}

impl Input {
    /// The input over a receive queue. A port with fewer queues than there are workers gives some of
    /// them none.
    pub fn new(rx: Option<RxQueue>) -> Self {
        Input {
            rx,
            source: None,
            flights: Default::default(),
            turn: 0,
        }
    }

    /// Receives a burst and makes it the newest. Its flight is empty before, as every burst is finished
    /// one call after it came.
    #[inline]
    pub fn receive(&mut self) -> &mut InFlight {
        self.turn ^= 1;
        let flight = &mut self.flights[self.turn];
        flight.stage.clear();
        poll(&mut self.rx, &mut self.source, &mut flight.burst);
        flight
    }

    /// Receives into an empty burst of the caller's; no worker gets to see it.
    pub fn poll(&mut self, burst: &mut Burst) {
        poll(&mut self.rx, &mut self.source, burst);
    }

    /// Receives through `source` from now on; returns what was there before.
    pub fn set_source(&mut self, source: Option<Box<dyn Source>>) -> Option<Box<dyn Source>> {
        std::mem::replace(&mut self.source, source)
    }

    /// Receives nothing more: for a worker that ends. Returns the queue.
    pub fn close(&mut self) -> Option<RxQueue> {
        self.rx.take()
    }

    /// The burst received before the newest one, and the newest one.
    #[inline]
    pub fn flights(&mut self) -> (&mut InFlight, &mut InFlight) {
        let [even, odd] = &mut self.flights;
        if self.turn == 0 {
            (odd, even)
        } else {
            (even, odd)
        }
    }

    /// Nothing is between the stages.
    pub fn is_settled(&self) -> bool {
        self.flights.iter().all(|f| f.burst.is_empty())
    }
}

#[inline]
fn poll(rx: &mut Option<RxQueue>, source: &mut Option<Box<dyn Source>>, burst: &mut Burst) {
    if let Some(rx) = rx {
        rx.burst(burst);
        if let Some(source) = source {
            source.fill(burst);
        }
    }
}

/// Where a worker sends: its transmit queue of a port and what waits for it.
pub struct Output {
    tx: TxQueue,
    out: Burst,
    /// Bytes of the frames in `out`.
    bytes: usize,
}

impl Output {
    /// The output over a transmit queue.
    pub fn new(tx: TxQueue) -> Self {
        Output {
            tx,
            out: Burst::new(),
            bytes: 0,
        }
    }

    /// Queues a frame for sending; sends when a burst is full.
    #[inline]
    pub fn send(&mut self, mbuf: Mbuf, counters: &Counters) {
        let len = mbuf.len();
        if let Err(mbuf) = self.out.push(mbuf) {
            self.flush(counters);
            // After a flush there is room, so nothing is lost here.
            let _ = self.out.push(mbuf);
        }
        self.bytes += len;
    }

    /// Queues all frames of a burst, which have `bytes` bytes in all; a full burst is sent.
    #[inline]
    pub fn send_all(&mut self, burst: &mut Burst, bytes: usize, counters: &Counters) {
        if self.out.room() < burst.len() {
            self.flush(counters);
        }
        if self.out.is_empty() && burst.is_full() {
            return transmit(&mut self.tx, burst, bytes, counters);
        }
        self.out.append(burst);
        self.bytes += bytes;
    }

    /// Sends a burst and nothing else: no counter, no order kept with what is queued.
    pub fn pass(&mut self, burst: &mut Burst) {
        self.tx.send(burst);
        burst.clear();
    }

    /// Sends what is queued.
    #[inline]
    pub fn flush(&mut self, counters: &Counters) {
        if !self.out.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            transmit(&mut self.tx, &mut self.out, bytes, counters);
        }
    }
}

/// Sends a burst of so many bytes. What the port does not take is dropped and counted.
#[inline]
fn transmit(tx: &mut TxQueue, burst: &mut Burst, mut bytes: usize, counters: &Counters) {
    let sent = tx.send(burst);
    if !burst.is_empty() {
        bytes -= burst.iter().map(Mbuf::len).sum::<usize>();
        for _ in 0..burst.len() {
            counters.count_drop(DropReason::TxFull);
        }
        burst.clear();
    }
    counters.tx.packets.add(sent as u64);
    counters.tx.bytes.add(bytes as u64);
}
