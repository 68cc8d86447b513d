//! How long a worker that sleeps takes to be back at its full rate.

use std::thread::sleep;
use std::time::Duration;

use dpdk::BURST;
use dpdk::thread::tsc;

use super::BenchError;
use super::far::FarEnd;

/// A load after a time without any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wake {
    /// Ticks from the first packet in to the first packet out.
    pub first: u64,
    /// Ticks from the first packet in to the first window of 100 us with nine tenths of the rate that the load
    /// goes on with: to its end, when the rate has been seen.
    pub full: u64,
    /// Packets per tick that it goes on with.
    pub rate: f64,
}

/// The load lasts this long; the second half of it says what the full rate is. Hardly longer than the 4 ms in which
/// the kernel decides anew who has a core.
const LOAD: Duration = Duration::from_millis(5);
const WINDOW: Duration = Duration::from_micros(100);
/// Share of the rate later on that counts as full: windows differ by some bursts.
const FULL: f64 = 0.9;
/// Bursts that come out meanwhile, and more.
const MOST_BURSTS: usize = 1 << 15;
/// Sending and receiving in vain before the load, so that this thread is not what is slow at first.
const WARMING: Duration = Duration::from_millis(1);

impl FarEnd {
    /// Leaves the worker alone for so long, then loads it with all it takes. `None` if this thread lost its core
    /// meanwhile: what it saw says nothing then.
    pub fn wake(&mut self, idle: Duration) -> Result<Option<Wake>, BenchError> {
        // Written to once before, so that no page of it is missing when it counts.
        let mut bursts = vec![(0, 0); MOST_BURSTS];
        bursts.clear();
        sleep(idle.saturating_sub(WARMING));
        let warm = tsc();
        while tsc().wrapping_sub(warm) < self.ticks(WARMING) {
            self.collect(|_, _| ());
        }
        let (start, length) = (tsc(), self.ticks(LOAD));
        let (mut now, mut longest) = (start, 0);
        while now.wrapping_sub(start) < length {
            self.send(BURST);
            let n = self.collect(|_, _| ());
            let last = std::mem::replace(&mut now, tsc());
            longest = longest.max(now.wrapping_sub(last));
            if n > 0 {
                bursts.push((now.wrapping_sub(start), n as u64));
            }
        }
        self.drain(|_, _| ())?;
        let window = self.ticks(WINDOW);
        Ok((longest < window).then(|| evaluate(&bursts, window, length)))
    }
}

/// What bursts say that came out at such times after the start, with so many packets.
fn evaluate(bursts: &[(u64, u64)], window: u64, length: u64) -> Wake {
    let second = bursts.iter().filter(|(time, _)| *time >= length / 2);
    let rate = second.map(|(_, n)| n).sum::<u64>() as f64 / (length - length / 2) as f64;
    let (mut from, mut within) = (0, 0);
    let mut full = length;
    for &(time, n) in bursts {
        within += n;
        while bursts[from].0 + window < time {
            within -= bursts[from].1;
            from += 1;
        }
        if within as f64 >= FULL * rate * window as f64 {
            full = time;
            break;
        }
    }
    Wake {
        first: bursts.first().map_or(length, |(time, _)| *time),
        full,
        rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_rate_is_recognised_where_it_begins() {
        // Half the rate at first, from 2,000 on a burst of 32 every ten ticks.
        let slow = (100..200).map(|i| (i * 20, 32));
        let fast = (200..1000).map(|i| (i * 10 + 2000, 32));
        let bursts: Vec<_> = slow.chain(fast).collect();
        let wake = evaluate(&bursts, 500, 12_000);
        assert_eq!((wake.first, wake.rate), (2000, 3.2));
        assert!((4400..4500).contains(&wake.full), "{wake:?}");
        let silent = evaluate(&[], 500, 12_000);
        assert_eq!(
            (silent.first, silent.full, silent.rate),
            (12_000, 12_000, 0.0)
        );
    }
}
