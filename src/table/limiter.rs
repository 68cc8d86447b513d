//! A token bucket in one word: so many events per second, and no more than a second's worth at once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Nanos;

/// Limits events to a rate. Holds up to one second's worth of tokens, so that a limit of ten per
/// second lets ten events pass in the same instant, then one every 100 ms.
///
/// The state is the time at which the bucket would be full (the "generic cell rate algorithm"): no
/// refilling between calls, whatever time has passed.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Nanoseconds one token takes to come back; 0 if there are no tokens at all.
    cost: u64,
    /// When all tokens spent so far will have come back.
    full_at: Nanos,
}

impl TokenBucket {
    /// A full bucket of `rate` tokens per second; a rate of 0 refuses everything. Above 10 million the
    /// nanosecond is too coarse for the exact rate, and the next higher one that it can tell holds;
    /// the highest is 10^9.
    pub fn per_second(rate: u32) -> Self {
        let cost = match u64::from(rate) {
            0 => 0,
            rate => (Nanos::PER_SECOND / rate).max(1),
        };
        let full_at = Nanos::default();
        TokenBucket { cost, full_at }
    }

    /// Changes the rate and keeps what was spent.
    pub fn set_rate(&mut self, rate: u32) {
        self.cost = Self::per_second(rate).cost;
    }

    /// Takes a token if there is one.
    #[inline]
    pub fn take(&mut self, now: Nanos) -> bool {
        let full_at = self.full_at.max(now).0.saturating_add(self.cost);
        let allowed = self.cost != 0 && full_at - now.0 <= Nanos::PER_SECOND;
        if allowed {
            self.full_at = Nanos(full_at);
        }
        allowed
    }
}

/// A [`TokenBucket`] that several workers take from.
#[derive(Debug)]
pub struct SharedBucket {
    rate: u32,
    cost: u64,
    full_at: AtomicU64,
}

impl SharedBucket {
    /// A full bucket of `rate` tokens per second.
    pub fn per_second(rate: u32) -> Self {
        SharedBucket {
            rate,
            cost: TokenBucket::per_second(rate).cost,
            full_at: AtomicU64::new(0),
        }
    }

    /// A bucket with another rate from which as much was spent.
    pub fn at_rate(&self, rate: u32) -> Self {
        let full_at = AtomicU64::new(self.full_at.load(Ordering::Relaxed));
        SharedBucket {
            full_at,
            ..Self::per_second(rate)
        }
    }

    /// Its rate.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Takes a token if there is one. Workers' clocks may differ by a burst; so may the answer.
    pub fn take(&self, now: Nanos) -> bool {
        let spend = |full_at: u64| {
            let full_at = full_at.max(now.0).saturating_add(self.cost);
            (self.cost != 0 && full_at - now.0 <= Nanos::PER_SECOND).then_some(full_at)
        };
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut TokenBucket, now: Nanos) -> u32 {
        (0..).take_while(|_| bucket.take(now)).count() as u32
    }

    #[test]
    fn a_seconds_worth_at_once_then_the_rate() {
        for rate in [1, 3, 10, 1000] {
            let mut bucket = TokenBucket::per_second(rate);
            assert_eq!(taken(&mut bucket, Nanos::from_secs(5)), rate);
            assert!(!bucket.take(Nanos(5_000_000_001)));
            assert_eq!(taken(&mut bucket, Nanos::from_secs(6)), rate);
            assert_eq!(taken(&mut bucket, Nanos::from_secs(1000)), rate);
        }
        let mut bucket = TokenBucket::per_second(10);
        assert_eq!(taken(&mut bucket, Nanos::from_secs(1)), 10);
        assert_eq!(taken(&mut bucket, Nanos(1_300_000_000)), 3);
    }

    #[test]
    fn workers_share_a_bucket() {
        let bucket = SharedBucket::per_second(100);
        let taken: u32 = std::thread::scope(|scope| {
            let take = || (0..80).filter(|_| bucket.take(Nanos::from_secs(3))).count() as u32;
            let workers = [scope.spawn(take), scope.spawn(take)];
            workers
                .map(|worker| worker.join().expect("it ends"))
                .iter()
                .sum()
        });
        assert_eq!(taken, 100);
        let faster = bucket.at_rate(200);
        assert!(!faster.take(Nanos::from_secs(3)), "what was spent is spent");
        assert!(faster.take(Nanos::from_secs(4)));
        assert_eq!(faster.rate(), 200);
    }

    #[test]
    fn a_rate_of_zero_refuses_and_can_be_changed() {
        let mut bucket = TokenBucket::per_second(0);
        assert!(!bucket.take(Nanos::from_secs(1)));
        bucket.set_rate(2);
        assert_eq!(taken(&mut bucket, Nanos::from_secs(1)), 2);
        bucket.set_rate(0);
        assert!(!bucket.take(Nanos::from_secs(100)));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_no_tokens() {
        let mut bucket = TokenBucket::per_second(4);
        assert_eq!(taken(&mut bucket, Nanos::from_secs(9)), 4);
        assert!(!bucket.take(Nanos::from_secs(9)));
        assert!(!bucket.take(Nanos::from_secs(2)));
    }
}
