//! Fragments that came before the first of their datagram.

use crate::table::Nanos;
use crate::table::snapshot::{EarlyLimits, PortIndex};
use std::collections::VecDeque;

/// Rounds of the worker's loop between two tries: the first fragment is usually in the same burst or
/// in one of the next.
const ROUNDS: u32 = 8;
/// Frames tried at a time, so that a full queue costs a round little.
const TRIES: usize = 32;

/// A fragment that waits.
#[derive(Debug)]
pub struct Early<F> {
    /// The frame, as it came in.
    pub frame: F,
    /// The port it came in through.
    pub ingress: PortIndex,
    /// Its length in bytes.
    len: usize,
    /// When waiting is over.
    pub until: Nanos,
}

/// The waiting fragments of one worker, bounded in number, bytes and time.
#[derive(Debug)]
pub struct EarlyFragments<F> {
    queue: VecDeque<Early<F>>,
    bytes: usize,
    rounds: u32,
}

impl<F> EarlyFragments<F> {
    /// Nothing waits; there is room for `count` without allocating.
    pub fn with_capacity(count: usize) -> Self {
        EarlyFragments {
            queue: VecDeque::with_capacity(count),
            bytes: 0,
            rounds: 0,
        }
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of waiting fragments.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Takes a fragment in, or gives it back if a bound is reached.
    pub fn push(
        &mut self,
        frame: F,
        len: usize,
        ingress: PortIndex,
        now: Nanos,
        limits: &EarlyLimits,
    ) -> Result<(), F> {
        let room = limits.count.min(self.queue.capacity());
        if self.queue.len() >= room || self.bytes + len > limits.bytes {
            return Err(frame);
        }
        self.bytes += len;
        self.queue.push_back(Early {
            frame,
            ingress,
            len,
            until: now + limits.time,
        });
        Ok(())
    }

    /// Puts back one that was taken out and has to wait on; its time does not start again.
    pub fn put_back(&mut self, early: Early<F>) {
        self.bytes += early.len;
        self.queue.push_back(early);
    }

    /// How many to take out and try in this round.
    pub fn due(&mut self) -> usize {
        self.rounds += 1;
        if self.rounds < ROUNDS {
            return 0;
        }
        self.rounds = 0;
        self.queue.len().min(TRIES)
    }

    /// Rounds in which every waiting fragment is tried at least once.
    pub fn rounds_to_try_all(&self) -> usize {
        self.queue.len().div_ceil(TRIES) * ROUNDS as usize
    }

    /// Takes out the one that waited longest since its last try.
    pub fn pop(&mut self) -> Option<Early<F>> {
        let early = self.queue.pop_front()?;
        self.bytes -= early.len;
        Some(early)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: EarlyLimits = EarlyLimits {
        count: 3,
        bytes: 3000,
        time: Duration::from_millis(500),
    };

    #[test]
    fn bounded_in_number_and_bytes() {
        let mut early = EarlyFragments::with_capacity(8);
        let mut push = |n, len| early.push(n, len, PortIndex(0), Nanos(0), &LIMITS).is_ok();
        assert!(push(1, 1400));
        assert!(push(2, 1400));
        assert!(!push(3, 1400), "bytes");
        assert!(push(4, 100));
        assert!(!push(5, 10), "number");
        let first = early.pop().expect("three wait");
        assert_eq!((first.frame, first.until), (1, Nanos(500_000_000)));
        early.put_back(first);
        assert_eq!(early.len(), 3);
    }

    #[test]
    fn tries_are_spaced() {
        let mut early = EarlyFragments::with_capacity(8);
        let pushed = early.push('a', 100, PortIndex(0), Nanos(7), &LIMITS);
        assert_eq!(pushed, Ok(()));
        let due: usize = (0..ROUNDS * 3).map(|_| early.due()).sum();
        assert_eq!(due, 3);
    }
}
