//! What a worker does when nothing comes in: spin for a while, then short sleeps that grow.

use std::time::Duration;

/// Empty rounds before the first sleep. A round takes well under a microsecond, so a gap between two
/// packets of a busy port is spun through.
const SPINS: u32 = 4_096;
/// The first sleep.
const SHORTEST: Duration = Duration::from_micros(20);
/// The longest sleep: with the timer's own delay a sleeping worker is back well within 1 ms, and an
/// idle one uses about 4 % of its core.
const LONGEST: Duration = Duration::from_micros(400);

/// Decides between spinning and sleeping.
#[derive(Debug)]
pub struct Idle {
    enabled: bool,
    empty: u32,
    sleep: Duration,
}

impl Idle {
    /// With `enabled` false the worker always spins.
    pub fn new(enabled: bool) -> Self {
        Idle {
            enabled,
            empty: 0,
            sleep: SHORTEST,
        }
    }

    /// Tells the outcome of a round; returns how long to sleep before the next one, if at all.
    #[inline]
    pub fn after(&mut self, received: usize) -> Option<Duration> {
        if received > 0 {
            self.empty = 0;
            self.sleep = SHORTEST;
            return None;
        }
        if !self.enabled {
            return None;
        }
        self.empty = self.empty.saturating_add(1);
        if self.empty < SPINS {
            return None;
        }
        let sleep = self.sleep;
        self.sleep = (sleep * 2).min(LONGEST);
        Some(sleep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spins_then_sleeps_longer_and_longer_until_a_packet_comes() {
        let mut idle = Idle::new(true);
        assert!((1..SPINS).all(|_| idle.after(0).is_none()));
        assert_eq!(idle.after(0), Some(SHORTEST));
        assert_eq!(idle.after(0), Some(SHORTEST * 2));
        let longest = (0..20).filter_map(|_| idle.after(0)).max();
        assert_eq!(longest, Some(LONGEST));
        assert_eq!(idle.after(1), None);
        assert_eq!(idle.after(0), None, "spinning again");
    }

    #[test]
    fn never_sleeps_when_switched_off() {
        let mut idle = Idle::new(false);
        assert!((0..SPINS * 2).all(|_| idle.after(0).is_none()));
    }
}
