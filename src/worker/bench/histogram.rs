//! How long things took, in buckets that are 1.6 % wide: millions of durations in a few kilobytes, counted
//! without a branch that depends on them.

/// Linear steps within each power of two, as a power of two.
const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
/// Durations from here on count as this long: hours, in ticks.
const LIMIT: u64 = (1 << 44) - 1;
const BUCKETS: usize = (44 - STEP_BITS as usize + 1) * STEPS;

/// Durations in ticks of the time-stamp counter.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Box<[u32; BUCKETS]>,
    count: u64,
    sum: u64,
    longest: u64,
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, ticks: u64) {
        let ticks = ticks.min(LIMIT);
        self.buckets[bucket(ticks)] += 1;
        self.count += 1;
        self.sum += ticks;
        self.longest = self.longest.max(ticks);
    }

    /// Adds all durations of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, more) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += more;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.longest = self.longest.max(other.longest);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        (self.count, self.sum, self.longest) = (0, 0, 0);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest of them, exactly; 0 if there are none.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// Their mean; 0 if there are none.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }

    /// The duration that a `share` of all is not above, rounded up to the end of its bucket; 0 if there
    /// are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted {
                return upper(index).min(self.longest);
            }
        }
        self.longest
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: Box::new([0; BUCKETS]),
            count: 0,
            sum: 0,
            longest: 0,
        }
    }
}

/// Below [`STEPS`] every value has a bucket; from there on the bits below the highest [`STEP_BITS`] + 1 do not count.
#[inline]
fn bucket(ticks: u64) -> usize {
    let dropped = (u64::BITS - 1 - STEP_BITS).saturating_sub(ticks.leading_zeros());
    dropped as usize * STEPS + (ticks >> dropped) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let dropped = (bucket / STEPS).saturating_sub(1);
    let kept = (bucket - dropped * STEPS) as u64;
    ((kept + 1) << dropped) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        let mut last = 0;
        for ticks in (0..10_000).chain((14..44).map(|bits| (1 << bits) - 1)) {
            let at = bucket(ticks);
            assert!(at >= last && at < BUCKETS, "{ticks}");
            assert!(at == 0 || upper(at - 1) < ticks, "{ticks}");
            let end = upper(at);
            assert!(
                end >= ticks && end - ticks <= ticks / STEPS as u64,
                "{ticks}"
            );
            last = at;
        }
        assert_eq!(bucket(LIMIT), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut times = Histogram::default();
        assert_eq!((times.quantile(0.5), times.longest()), (0, 0));
        (1..=1000).for_each(|ticks| times.record(ticks));
        let near = |share, exact: u64| {
            let found = times.quantile(share);
            assert!(
                found >= exact && found <= exact + exact / 50,
                "{share}: {found}"
            );
        };
        near(0.5, 500);
        near(0.99, 990);
        near(0.001, 1);
        assert_eq!(times.quantile(1.0), 1000);
        assert_eq!((times.count(), times.mean()), (1000, 500.5));
        let mut more = Histogram::default();
        more.record(u64::MAX);
        more.merge(&times);
        assert_eq!((more.count(), more.longest()), (1001, LIMIT));
        more.clear();
        assert_eq!((more.count(), more.quantile(0.9)), (0, 0));
    }
}
