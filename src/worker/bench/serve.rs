//! A worker that serves until it is told to stop, while somebody else sends, swaps its tables or leaves it alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dpdk::thread::tsc;
use dpdk::{BURST, Burst};
use nix::sys::resource::{UsageWho, getrusage};

use crate::table::publish::Publisher;
use crate::table::snapshot::Snapshot;
use crate::worker::Idle;
use crate::worker::clock::cpu_time;

use super::histogram::Histogram;
use super::station::{INTERRUPTED, Order, Station};
use super::{Answer, Bench, BenchError};

/// What a worker does when it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// All of it; sleeps when there is nothing to do if `back_off` says so.
    Work {
        /// Sleep when idle.
        back_off: bool,
    },
    /// Nothing but handing on what it receives: the way there and back without a rail.
    Pass,
}

/// Rounds after one with a swap that are counted apart: what it leaves in caches shows in them.
const AFTER_SWAP: u32 = 32;

/// What a worker says of the time it served.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// Time that passed, in ticks of the time-stamp counter.
    pub ticks: u64,
    /// CPU time of its thread.
    pub cpu: Duration,
    /// Rounds in which the kernel gave its core to another thread; they are in none of the following.
    pub preempted: u64,
    /// Rounds in which other tables came into force.
    pub swaps: Histogram,
    /// The 32 rounds after each of them.
    pub after: Histogram,
    /// All other rounds.
    pub between: Histogram,
    /// Rounds that brought a whole burst and finished one, but for interrupted ones.
    pub full: Histogram,
    /// Rounds that brought one packet and finished one, but for interrupted ones.
    pub single: Histogram,
    /// Rounds with nothing to receive and nothing to finish, without a sleep.
    pub empty: Histogram,
}

/// Who has a worker serve, meanwhile.
pub struct Meanwhile<'a> {
    /// Where the worker gets its tables.
    pub publisher: &'a mut Publisher<Snapshot>,
    /// Rounds so far that took longer than any work: the kernel had the core.
    pub(super) interrupted: &'a AtomicU64,
}

impl Bench {
    /// Has all workers serve while `meanwhile` runs on this thread.
    pub fn serve<T>(
        &mut self,
        duty: Duty,
        meanwhile: impl FnOnce(Meanwhile<'_>) -> T,
    ) -> Result<(T, Vec<Served>), BenchError> {
        let (stop, interrupted) = (Arc::new(AtomicBool::new(false)), Arc::default());
        self.order(|| Order::Serve {
            duty,
            stop: Arc::clone(&stop),
            interrupted: Arc::clone(&interrupted),
        })?;
        let result = meanwhile(Meanwhile {
            publisher: &mut self.publisher,
            interrupted: &interrupted,
        });
        stop.store(true, Relaxed);
        let answers = self.answers()?.into_iter().map(|answer| match answer {
            Answer::Served(served) => Ok(*served),
            _ => Err(BenchError::Lost),
        });
        let served = answers.collect::<Result<_, _>>()?;
        self.publisher.reclaim();
        Ok((result, served))
    }
}

impl Station {
    pub(super) fn serve_until(
        &mut self,
        duty: Duty,
        stop: &AtomicBool,
        interrupted: &AtomicU64,
    ) -> Served {
        let mut served = Served::default();
        let (cpu, start) = (cpu_time(), tsc());
        match duty {
            Duty::Work { back_off } => {
                self.worker.idle = Idle::new(back_off);
                self.work(stop, interrupted, &mut served);
                self.worker.idle = Idle::new(false);
            }
            Duty::Pass => self.pass_until(stop, interrupted),
        }
        served.ticks = tsc().wrapping_sub(start);
        served.cpu = cpu_time().saturating_sub(cpu);
        served
    }

    /// The worker's own loop, with a look at the length of every round, which the worker takes anyway.
    fn work(&mut self, stop: &AtomicBool, interrupted: &AtomicU64, served: &mut Served) {
        let worker = &mut self.worker;
        let counters = Arc::clone(&worker.counters);
        let (mut version, mut since) = (worker.reader.version(), u32::MAX);
        let (mut packets, mut before) = (counters.rx.packets.get(), 0);
        let mut switches = preemptions();
        let mut last = tsc();
        while !stop.load(Relaxed) {
            let next = worker.turn(last, &mut ());
            let ticks = next.wrapping_sub(last);
            last = next;
            let now = counters.rx.packets.get();
            let received = now.wrapping_sub(packets);
            packets = now;
            let read = worker.reader.version();
            let swapped = read != version && read.is_some() && version.is_some();
            let long = ticks > INTERRUPTED;
            // Only a long round asks the kernel, so that asking lengthens none that counts.
            let lost = long && lost_the_core(&mut switches);
            if long {
                interrupted.fetch_add(1, Relaxed);
                last = tsc();
            }
            if lost {
                served.preempted += 1;
            } else if swapped {
                served.swaps.record(ticks);
            } else if since < AFTER_SWAP {
                served.after.record(ticks);
            } else {
                served.between.record(ticks);
            }
            since = if swapped { 0 } else { since.saturating_add(1) };
            version = read;
            let kind = match (before, received) {
                _ if long => None,
                (0, 0) => Some(&mut served.empty),
                (1, 1) => Some(&mut served.single),
                (before, received) if before == received && received == BURST as u64 => {
                    Some(&mut served.full)
                }
                _ => None,
            };
            if let Some(times) = kind {
                times.record(ticks);
            }
            before = received;
        }
    }

    fn pass_until(&mut self, stop: &AtomicBool, interrupted: &AtomicU64) {
        let (input, output) = (&mut self.worker.inputs[0], &mut self.worker.outputs[0]);
        let mut burst = Burst::new();
        let mut last = tsc();
        while !stop.load(Relaxed) {
            input.poll(&mut burst);
            output.pass(&mut burst);
            let now = tsc();
            if now.wrapping_sub(last) > INTERRUPTED {
                interrupted.fetch_add(1, Relaxed);
            }
            last = now;
        }
    }
}

/// Whether it has done so since `before`, and brings that up to date.
fn lost_the_core(before: &mut u64) -> bool {
    let now = preemptions();
    std::mem::replace(before, now) != now
}

/// How often the kernel gave the calling thread's core away. Zero where it does not say.
fn preemptions() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    usage.map_or(0, |usage| usage.involuntary_context_switches() as u64)
}
