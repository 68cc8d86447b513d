//! A worker between two rings, and the far end of them: who sends packets, each with the time in its payload,
//! and meets them again when they come out.

use std::time::Duration;

use dpdk::thread::tsc;
use dpdk::{Burst, Mbuf, Mempool, Port, PortConfig, Wire};

use crate::table::snapshot::Snapshot;
use crate::worker::ports::{PortsSetup, open};
use crate::worker::{Input, Output, Source};

use super::traffic::{Order, SHORT_FRAME, Traffic};
use super::{Bench, BenchError, BenchSetup, Load};

/// Packets on their way at most: enough that a busy worker finds whole bursts, and few enough that they and
/// their buffers stay in the nearer caches.
const WINDOW: usize = 512;
/// Room of a ring: for all of them.
const RING: u32 = 1023;
/// Where the time is written: behind Ethernet, IPv4 and TCP headers, up to the end of the frame.
const STAMP: std::ops::Range<usize> = SHORT_FRAME - 8..SHORT_FRAME;
/// Empty looks in a row after which what is on its way is taken for lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What sends to a worker and receives from it, on the thread that measures.
pub struct FarEnd {
    wire: Wire,
    spare: Vec<Mbuf>,
    traffic: Traffic,
    hz: u64,
    // Last: buffers are given back before what they belong to.
    _pool: Mempool,
}

impl Bench {
    /// Starts one worker between two rings; the calling thread is bound to `core` and has the other end.
    pub fn between_rings(
        setup: &BenchSetup,
        core: usize,
        snapshot: Snapshot,
    ) -> Result<(Bench, FarEnd), BenchError> {
        let mut ports = open(&PortsSetup {
            eal: setup.eal.clone(),
            ports: Vec::new(),
            workers: 1,
            mbufs: Some(setup.mbufs.next_power_of_two() - 1),
        })?;
        let (port, wire) = Port::over_wire(&ports.eal, "bench", 1, RING).map_err(port_error)?;
        let started = port.configure(&PortConfig::with_queues(1, 1), &ports.pool);
        let started = started.map_err(port_error)?;
        let queues = started.rx.into_iter().zip(started.tx);
        let shares = queues.map(|(rx, tx)| (vec![Input::new(Some(rx))], vec![Output::new(tx)]));
        ports.shares = shares.collect();
        ports.ports.push(started.port);
        let pool = ports.pool.clone();
        let mut far = FarEnd {
            wire,
            spare: Vec::with_capacity(WINDOW),
            traffic: Traffic::new(Box::new([]), false, Order::InTurn, 0, 0),
            hz: dpdk::thread::tsc_hz(&ports.eal),
            _pool: pool.clone(),
        };
        for _ in 0..WINDOW {
            let mut mbuf = pool.alloc().ok_or(BenchError::Lost)?;
            mbuf.set_data(&[0; SHORT_FRAME]);
            far.spare.push(mbuf);
        }
        let bench = Bench::start_all(setup, ports, false, snapshot)?;
        // After the worker's thread was started, which would be bound to it too.
        pin_this_thread(core)?;
        Ok((bench, far))
    }
}

/// Binds the calling thread to a core, away from the workers.
pub fn pin_this_thread(core: usize) -> Result<(), BenchError> {
    Ok(dpdk::thread::pin(core)?)
}

fn port_error(error: dpdk::PortError) -> BenchError {
    BenchError::Open(error.into())
}

impl FarEnd {
    /// Sends traffic of this load from now on, which must be IPv4 of a limited number of flows; lets every
    /// flow send once. A worker serves meanwhile.
    pub fn introduce(&mut self, load: &Load) -> Result<(), BenchError> {
        let flows = load.flows.unwrap_or(1);
        let traffic = |order| {
            let templates = load.templates.clone().into_boxed_slice();
            Traffic::new(templates, load.v6, order, 0, 0)
        };
        self.traffic = traffic(Order::InTurn);
        let mut sent = 0;
        while sent < flows {
            sent += self.send(dpdk::BURST.min((flows - sent) as usize)) as u64;
            self.collect(|_, _| ());
        }
        self.traffic = traffic(Order::Random(flows));
        self.drain(|_, _| ())
    }

    /// Sends up to `n` packets at once, a burst at most; returns how many. There are fewer while all others
    /// are on their way.
    #[inline]
    pub(super) fn send(&mut self, n: usize) -> usize {
        let mut burst = Burst::new();
        let first = self.spare.len().saturating_sub(n.min(dpdk::BURST));
        for mbuf in self.spare.drain(first..) {
            // There is room for a burst's packets.
            let _ = burst.push(mbuf);
        }
        if burst.is_empty() {
            return 0;
        }
        self.traffic.fill(&mut burst);
        let now = tsc().to_ne_bytes();
        for mbuf in burst.iter_mut() {
            mbuf.data_mut()[STAMP].copy_from_slice(&now);
        }
        let sent = self.wire.inject(0, &mut burst);
        self.spare.extend(burst.drain());
        sent
    }

    /// Takes what has come out, a burst at most; tells for each packet the time now and when it was sent.
    #[inline]
    pub(super) fn collect(&mut self, mut seen: impl FnMut(u64, u64)) -> usize {
        let mut burst = Burst::new();
        let n = self.wire.collect(0, &mut burst);
        if n == 0 {
            return 0;
        }
        let now = tsc();
        for mbuf in burst.iter() {
            mbuf.prefetch_header();
        }
        for mut mbuf in burst.drain() {
            // What was put in front comes off, whatever it is; the packet behind it is as it was sent.
            mbuf.trim_front(mbuf.len().saturating_sub(SHORT_FRAME));
            if let Some(stamp) = mbuf.data().get(STAMP).and_then(|s| s.try_into().ok()) {
                seen(now, u64::from_ne_bytes(stamp));
                self.spare.push(mbuf);
            }
        }
        n
    }

    /// Takes all that is on its way.
    pub(super) fn drain(&mut self, mut seen: impl FnMut(u64, u64)) -> Result<(), BenchError> {
        let mut last = tsc();
        while self.spare.len() < WINDOW {
            if self.collect(&mut seen) > 0 {
                last = tsc();
            } else if tsc().wrapping_sub(last) > self.ticks(PATIENCE) {
                return Err(BenchError::Missing(WINDOW - self.spare.len()));
            }
        }
        Ok(())
    }

    /// A duration in ticks of the time-stamp counter.
    pub(super) fn ticks(&self, time: Duration) -> u64 {
        (time.as_nanos() * u128::from(self.hz) / 1_000_000_000) as u64
    }

    /// Ticks in nanoseconds.
    pub fn ns(&self, ticks: f64) -> f64 {
        ticks * 1e9 / self.hz as f64
    }
}
