//! How long packets take through a worker at a given rate, ring to ring.
//!
//! Time is measured in slices with a pause after each. A slice in which the kernel gave the worker's core or
//! the far end's to somebody else is kept apart: its latencies are those of a machine with neighbours.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dpdk::BURST;
use dpdk::thread::tsc;

use super::BenchError;
use super::far::FarEnd;
use super::histogram::Histogram;
use super::serve::Meanwhile;

/// Long enough for a thousand packets at a tenth of any rate, shorter than the 4 ms in which the kernel decides
/// anew who has a core, so that most slices are undisturbed even on a machine with neighbours.
const SLICE: Duration = Duration::from_millis(1);
/// A worker has written down its last round by then.
const ROUND: Duration = Duration::from_micros(5);
/// Packets that are made up for if they could not be sent in time: as many as a burst. Others are not sent, for a
/// far end that was late would else be the cause of a queue.
const ARREARS: u64 = BURST as u64;
/// The far end looks several times in a microsecond; when it looked away for longer, its times say nothing.
const LATE: Duration = Duration::from_micros(3);

/// Latencies at one rate.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// Of all packets.
    pub all: Part,
    /// Of those in slices that nobody disturbed.
    pub undisturbed: Part,
}

/// Latencies of some of the slices.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// From ring to ring, in ticks of the time-stamp counter.
    pub times: Histogram,
    /// Slices.
    pub slices: u32,
    /// How long sending took in them.
    ticks: u64,
}

impl Part {
    /// Packets per tick.
    pub fn rate(&self) -> f64 {
        self.times.count() as f64 / self.ticks.max(1) as f64
    }

    fn add(&mut self, times: &Histogram, ticks: u64) {
        self.times.merge(times);
        self.slices += 1;
        self.ticks += ticks;
    }
}

impl FarEnd {
    /// Sends at `rate` packets per tick, or as fast as the worker takes them, for so many slices of 1 ms.
    pub fn pace(
        &mut self,
        rate: Option<f64>,
        slices: u32,
        meanwhile: &Meanwhile<'_>,
        latency: &mut Latency,
    ) -> Result<(), BenchError> {
        let mut times = Histogram::default();
        for _ in 0..slices {
            let before = meanwhile.interrupted.load(Relaxed);
            let (ticks, mut quiet) = self.slice(rate, &mut times);
            quiet &= self.until_empty(&mut times)? < self.ticks(LATE);
            let end = tsc();
            while tsc().wrapping_sub(end) < self.ticks(ROUND) {}
            quiet &= meanwhile.interrupted.load(Relaxed) == before;
            latency.all.add(&times, ticks);
            if quiet {
                latency.undisturbed.add(&times, ticks);
            }
            times.clear();
        }
        Ok(())
    }

    /// Returns how long it took, and whether this thread had its core all the time.
    fn slice(&mut self, rate: Option<f64>, times: &mut Histogram) -> (u64, bool) {
        let (length, late, start) = (self.ticks(SLICE), self.ticks(LATE), tsc());
        let (mut quiet, mut last, mut sent) = (true, start, 0);
        loop {
            let now = tsc();
            quiet &= now.wrapping_sub(last) < late;
            last = now;
            let passed = now.wrapping_sub(start);
            if passed > length {
                return (passed, quiet);
            }
            self.collect(|now, stamp| times.record(now.wrapping_sub(stamp)));
            let due = match rate {
                Some(rate) => ((passed as f64 * rate) as u64).saturating_sub(sent),
                None => BURST as u64,
            };
            if due > ARREARS {
                sent += due - ARREARS;
            }
            if due > 0 {
                sent += self.send(due.min(BURST as u64) as usize) as u64;
            }
        }
    }

    /// Takes what is still on its way; returns the longest time between two looks.
    fn until_empty(&mut self, times: &mut Histogram) -> Result<u64, BenchError> {
        let (mut last, mut longest) = (tsc(), 0);
        self.drain(|now, stamp| {
            longest = longest.max(now.wrapping_sub(last));
            last = now;
            times.record(now.wrapping_sub(stamp));
        })?;
        Ok(longest)
    }
}
