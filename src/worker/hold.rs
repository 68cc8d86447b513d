//! Frames that wait for their next hop's link address.

use crate::table::Nanos;
use crate::table::snapshot::{HopIndex, PortIndex};

/// Frames held for one next hop.
pub const PER_HOP: usize = 3;
/// Frames held by one worker in all.
pub const PER_WORKER: usize = 64;
/// How long a frame waits before it is dropped.
pub const LIFE: std::time::Duration = std::time::Duration::from_secs(1);

/// A frame that waits.
#[derive(Debug)]
pub struct Held<F> {
    /// The frame, as it came in.
    pub frame: F,
    /// The port it came in through.
    pub ingress: PortIndex,
    hop: HopIndex,
    until: Nanos,
}

/// The waiting frames of one worker, oldest first. Never grows beyond [`PER_WORKER`].
#[derive(Debug)]
pub struct Hold<F> {
    frames: Vec<Held<F>>,
    generation: u64,
}

impl<F> Hold<F> {
    /// An empty hold, with all the memory it will ever use.
    pub fn new() -> Self {
        Hold {
            frames: Vec::with_capacity(PER_WORKER),
            generation: 0,
        }
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Number of waiting frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Takes a frame in, or gives it back if the hop or the worker has its share already.
    pub fn push(
        &mut self,
        frame: F,
        ingress: PortIndex,
        hop: HopIndex,
        now: Nanos,
    ) -> Result<(), F> {
        self.admit(Held {
            frame,
            ingress,
            hop,
            until: now + LIFE,
        })
    }

    /// Takes a frame back that has waited already; its time goes on.
    pub fn push_again(&mut self, held: Held<F>, hop: HopIndex) -> Result<(), F> {
        self.admit(Held { hop, ..held })
    }

    fn admit(&mut self, held: Held<F>) -> Result<(), F> {
        let same = self.frames.iter().filter(|h| h.hop == held.hop).count();
        if same >= PER_HOP || self.frames.len() >= PER_WORKER {
            return Err(held.frame);
        }
        self.frames.push(held);
        Ok(())
    }

    /// Takes out the oldest frame whose time is up.
    pub fn expired(&mut self, now: Nanos) -> Option<F> {
        let at = self.frames.iter().position(|h| h.until <= now)?;
        Some(self.frames.remove(at).frame)
    }

    /// Whether the snapshot is another one than at the last call, so that a new try may succeed.
    pub fn worth_retrying(&mut self, generation: u64) -> bool {
        let changed = generation != self.generation;
        self.generation = generation;
        changed && !self.frames.is_empty()
    }

    /// Takes out the oldest frame.
    pub fn pop(&mut self) -> Option<Held<F>> {
        (!self.frames.is_empty()).then(|| self.frames.remove(0))
    }
}

impl<F> Default for Hold<F> {
    fn default() -> Self {
        Hold::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_three_per_hop_and_no_longer_than_their_life() {
        let mut hold = Hold::new();
        let push = |hold: &mut Hold<u32>, n, hop| {
            hold.push(n, PortIndex(0), HopIndex(hop), Nanos(0)).is_ok()
        };
        assert!((0..3).all(|n| push(&mut hold, n, 7)));
        assert!(!push(&mut hold, 3, 7));
        assert!(push(&mut hold, 4, 8));
        assert_eq!(hold.expired(Nanos(0)), None);
        let later = Nanos(0) + LIFE;
        let gone: Vec<_> = std::iter::from_fn(|| hold.expired(later)).collect();
        assert_eq!(gone, [0, 1, 2, 4]);
        assert!(hold.is_empty());
    }

    /// Snapshots may come faster than frames expire; a frame for a dead next hop must still go.
    #[test]
    fn waiting_again_does_not_prolong_the_wait() {
        let mut hold = Hold::new();
        hold.push('a', PortIndex(0), HopIndex(1), Nanos(0))
            .expect("room");
        for _ in 0..5 {
            let held = hold.pop().expect("it waits");
            hold.push_again(held, HopIndex(2)).expect("room");
        }
        assert_eq!(hold.expired(Nanos(0) + LIFE), Some('a'));
    }

    #[test]
    fn a_new_generation_is_worth_one_retry() {
        let mut hold = Hold::new();
        assert!(!hold.worth_retrying(1), "nothing waits");
        hold.push('a', PortIndex(0), HopIndex(0), Nanos(0))
            .expect("room");
        assert!(!hold.worth_retrying(1));
        assert!(hold.worth_retrying(2));
        assert!(!hold.worth_retrying(2));
        assert_eq!(hold.pop().map(|h| h.frame), Some('a'));
    }
}
