//! A worker's clock: the time-stamp counter, or the timestamps of the capture it replays.

use std::time::Duration;

use dpdk::Burst;
use nix::time::{ClockId, clock_gettime};

use crate::table::Nanos;

/// Where a worker's time comes from.
#[derive(Debug)]
pub enum Clock {
    /// The processor's counter.
    Tsc(TscClock),
    /// The newest timestamp seen in received packets.
    Capture(Nanos),
}

impl Clock {
    /// The time of a round in which `burst` was received, and that began when the counter stood at `ticks`.
    #[inline]
    pub fn at(&mut self, ticks: u64, burst: &Burst) -> Nanos {
        match self {
            Clock::Tsc(tsc) => tsc.at(ticks),
            Clock::Capture(latest) => {
                let newest = burst.iter().filter_map(|m| m.rx_timestamp_ns()).max();
                *latest = (*latest).max(Nanos(newest.unwrap_or(0)));
                *latest
            }
        }
    }
}

/// Converts counter ticks to nanoseconds without a division.
#[derive(Debug, Clone, Copy)]
pub struct TscClock {
    start: u64,
    /// Nanoseconds per tick, in units of 2^-32.
    scale: u64,
}

impl TscClock {
    /// A clock that starts near zero. `hz` is the counter's rate; all workers are given one `start`,
    /// so that their clocks agree.
    pub fn new(start: u64, hz: u64) -> Self {
        let scale = (u128::from(Nanos::PER_SECOND) << 32) / u128::from(hz.max(1));
        TscClock {
            start,
            scale: scale as u64,
        }
    }

    #[inline]
    fn at(&self, ticks: u64) -> Nanos {
        let passed = ticks.saturating_sub(self.start);
        Nanos(((u128::from(passed) * u128::from(self.scale)) >> 32) as u64)
    }
}

/// CPU time of the calling thread. Linux has had this clock since 2.6; without it everything costs nothing.
pub(super) fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds() {
        let clock = TscClock::new(1000, 2_500_000_000);
        assert_eq!(clock.at(1000), Nanos(0));
        assert_eq!(clock.at(500), Nanos(0), "before the start");
        let hour = clock.at(1000 + 2_500_000_000 * 3600).0 as i64;
        assert!((hour - 3600 * 1_000_000_000).abs() < 2_000, "{hour}");
    }
}
