//! When to sweep which bucket for expired entries.

use std::time::Duration;

use super::Timeouts;
use super::entry::Age;
use crate::table::{Nanos, Tick};

/// Walks round the buckets at a steady pace, a few at a time.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The bucket to be swept next.
    cursor: usize,
    /// Number of buckets, a power of two.
    buckets: usize,
    /// Nanoseconds per bucket.
    pace: u64,
    /// How far sweeping has come: it should be where `now` is.
    done: Nanos,
}

impl Sweep {
    pub(super) fn new(buckets: usize) -> Self {
        Sweep {
            cursor: 0,
            buckets,
            pace: (SWEEP_PASS.as_nanos() as u64 / buckets as u64).max(1),
            done: Nanos::default(),
        }
    }

    /// How many buckets to sweep now.
    #[inline]
    pub(super) fn due(&mut self, now: Nanos) -> usize {
        let lag = now.since(self.done);
        let lag_nanos = lag.as_nanos() as u64;
        if lag_nanos < self.pace {
            return 0;
        }
        if lag > SWEEP_LAG {
            // So far behind that stamps could wrap: one whole pass at once.
            self.done = now;
            return self.buckets;
        }
        let due = (lag_nanos / self.pace).min(SWEEP_STEP);
        self.done = Nanos(self.done.0 + due * self.pace);
        due as usize
    }

    /// The next bucket.
    #[inline]
    pub(super) fn next_bucket(&mut self) -> usize {
        let bucket = self.cursor;
        self.cursor = (bucket + 1) & (self.buckets - 1);
        bucket
    }

    /// Nothing is left to sweep as of `now`: the table was cleared.
    pub(super) fn restart(&mut self, now: Nanos) {
        self.done = now;
    }
}

/// Time for a whole pass of the sweep when the owner keeps up: expired entries cost room only that long.
const SWEEP_PASS: Duration = Duration::from_secs(64);
/// Buckets swept at most per call, so that no burst waits long for it: half a page of memory.
const SWEEP_STEP: u64 = 32;
/// A quarter of the age's wrap: how far a sweep may fall behind. Pass, lag and the longest jump of
/// the clock that does not clear the table add up to 22,700 s, well below the wrap's 32,768 s.
const SWEEP_LAG: Duration = Duration::from_secs(Tick::SECONDS * 1024);
/// No entry lives longer, whatever its timeout: the longest one and the tick either end is rounded to.
pub(super) const LONGEST_LIFE: Duration =
    Duration::from_secs(Timeouts::MAX.as_secs() + 2 * Tick::SECONDS);

// The bound on timeouts: an entry that is swept twice per wrap is seen between its end and the wrap.
const _: () = assert!(LONGEST_LIFE.as_secs() / Tick::SECONDS < Age::WRAP as u64 / 2);
