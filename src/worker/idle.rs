//! What a worker does when nothing comes in: spin for a while, then short sleeps that grow.

use std::time::Duration;

use nix::sys::prctl::set_timerslack;

use super::clock::cpu_time;

/// Empty rounds before the first sleep. A round takes well under a microsecond, so a gap between two
/// packets of a busy port is spun through.
const SPINS: u32 = 4_096;
/// The first sleep.
const SHORTEST: Duration = Duration::from_micros(20);
/// What falling asleep and waking up may use of a core, in percent.
const SHARE: f64 = 4.2;
/// The longest sleep is as long as that takes. What waking up costs differs: 20 us of a core were measured on a
/// virtual machine, 25 us with neighbours, 8 us when something else kept the core from halting. But never longer than
/// this, so that a worker is back well within 1 ms, and never shorter.
const LONGEST: Duration = Duration::from_micros(540);
const LEAST: Duration = Duration::from_micros(100);
/// Sleeps over which their cost is measured.
const SAMPLE: u32 = 16;
/// How much later the kernel may wake the worker, in nanoseconds, to wake others with it; without being told it
/// takes 50 us.
const SLACK: u64 = 1;

/// Decides between spinning and sleeping.
#[derive(Debug)]
pub struct Idle {
    enabled: bool,
    empty: u32,
    sleep: Duration,
    longest: Duration,
    /// Sleeps without a packet since the CPU time that the thread had before the first of them.
    sample: (u32, Duration),
}

impl Idle {
    /// With `enabled` false the worker always spins.
    pub fn new(enabled: bool) -> Self {
        Idle {
            enabled,
            empty: 0,
            sleep: SHORTEST,
            longest: LONGEST,
            sample: (0, Duration::ZERO),
        }
    }

    /// Tells the outcome of a round; returns how long to sleep before the next one, if at all.
    #[inline]
    pub fn after(&mut self, received: usize) -> Option<Duration> {
        if received > 0 {
            self.empty = 0;
            return None;
        }
        if !self.enabled {
            return None;
        }
        self.empty = self.empty.saturating_add(1);
        if self.empty < SPINS {
            return None;
        }
        if self.empty == SPINS {
            self.sleep = SHORTEST;
            self.sample.0 = 0;
        }
        let sleep = self.sleep;
        self.sleep = (sleep * 2).min(self.longest);
        Some(sleep)
    }

    /// Sleeps so long; finds out now and then what that costs.
    pub fn sleep(&mut self, time: Duration) {
        if self.sample.0 == 0 {
            // Each thread has its own. A kernel that refuses wakes it a little later.
            let _ = set_timerslack(SLACK);
            self.sample.1 = cpu_time();
        }
        std::thread::sleep(time);
        self.sample.0 += 1;
        if self.sample.0 == SAMPLE {
            let spent = cpu_time().saturating_sub(self.sample.1);
            self.longest = affordable(spent / SAMPLE);
            self.sample.0 = 0;
        }
    }
}

/// The longest sleep that is worth its cost: that of one sleep.
fn affordable(cost: Duration) -> Duration {
    let sleep = cost.mul_f64(100.0 / SHARE - 1.0);
    sleep.clamp(LEAST, LONGEST)
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
        assert!((2..SPINS).all(|_| idle.after(0).is_none()));
        assert_eq!(idle.after(0), Some(SHORTEST), "short again");
    }

    #[test]
    fn never_sleeps_when_switched_off() {
        let mut idle = Idle::new(false);
        assert!((0..SPINS * 2).all(|_| idle.after(0).is_none()));
    }

    #[test]
    fn sleeps_are_as_long_as_they_are_dear() {
        let us = Duration::from_micros;
        assert_eq!(affordable(us(1)), LEAST);
        assert_eq!(affordable(us(50)), LONGEST);
        for cost in [us(5), us(9), us(18), us(20)] {
            let period = affordable(cost) + cost;
            let share = 100.0 * cost.as_secs_f64() / period.as_secs_f64();
            assert!((share - SHARE).abs() < 0.01, "{cost:?}: {share}");
        }
    }

    #[test]
    fn sleeping_finds_out_what_it_costs() {
        let mut idle = Idle::new(true);
        idle.longest = Duration::ZERO;
        (0..SAMPLE).for_each(|_| idle.sleep(Duration::from_micros(1)));
        assert!(idle.longest >= LEAST, "{idle:?}");
        assert_eq!(idle.sample.0, 0);
    }
}
