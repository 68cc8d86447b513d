//! The small types every table shares: backend ids and the two clocks' readings.

use std::num::NonZeroU32;
use std::ops::Add;
use std::time::Duration;

/// Names one backend of one service, uniquely in a rail. Ids start at 1 and fit [`BackendId::BITS`]
/// bits, so that an id never equals the "empty" of a table word and always fits beside a tag and an
/// age in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(NonZeroU32);

/// A number that cannot be a [`BackendId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a backend id: ids run from 1 to {max}", max = BackendId::MAX.get())]
pub struct BackendIdError(pub u32);

impl BackendId {
    /// Bits an id takes in a table word.
    pub const BITS: u32 = 17;
    /// The largest id, 131,071: the bound on backends alive or draining in one rail.
    pub const MAX: BackendId = match NonZeroU32::new((1 << Self::BITS) - 1) {
        Some(id) => BackendId(id),
        None => panic!("the largest id is not zero"),
    };

    /// Checks the range 1 to [`BackendId::MAX`].
    pub const fn new(id: u32) -> Result<Self, BackendIdError> {
        match NonZeroU32::new(id) {
            Some(id) if id.get() <= Self::MAX.0.get() => Ok(BackendId(id)),
            _ => Err(BackendIdError(id)),
        }
    }

    /// The id as a number, 1 to [`BackendId::MAX`].
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The id as an index into an array of `MAX + 1` places, whose place 0 stays unused.
    pub const fn index(self) -> usize {
        self.0.get() as usize
    }
}

/// A set of backend ids, one bit each: what a scan of the tables found still named. An id may be
/// handed out again only when such a scan, made after every worker left the last snapshot that
/// knew the id, does not contain it.
#[derive(Clone, Debug)]
pub struct IdSet {
    words: Box<[u64]>,
}

impl IdSet {
    /// The empty set: 16 KiB.
    pub fn new() -> Self {
        IdSet {
            words: vec![0; (1 << BackendId::BITS) / 64].into_boxed_slice(),
        }
    }

    /// Adds an id.
    pub fn insert(&mut self, id: BackendId) {
        self.words[id.index() / 64] |= 1 << (id.index() % 64);
    }

    /// Is the id in the set?
    pub fn contains(&self, id: BackendId) -> bool {
        self.words[id.index() / 64] >> (id.index() % 64) & 1 == 1
    }

    /// Number of ids in the set.
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Is no id in the set?
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }
}

impl Default for IdSet {
    fn default() -> Self {
        IdSet::new()
    }
}

/// A reading of a monotonic clock, in nanoseconds since an arbitrary start: the workers' TSC clock,
/// or a capture's timestamps in replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Nanoseconds per second.
    pub const PER_SECOND: u64 = 1_000_000_000;

    /// The reading `seconds` after the clock's start.
    pub const fn from_secs(seconds: u64) -> Self {
        Nanos(seconds * Self::PER_SECOND)
    }

    /// Whole seconds since the clock's start.
    pub const fn as_secs(self) -> u64 {
        self.0 / Self::PER_SECOND
    }

    /// The coarse reading that ages table entries.
    pub const fn tick(self) -> Tick {
        Tick((self.0 / Tick::NANOS) as u32)
    }

    /// Time passed since `earlier`; zero if `earlier` is in fact later.
    pub const fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Nanos {
    type Output = Nanos;

    /// Saturates at the end of the clock, 584 years after its start.
    fn add(self, after: Duration) -> Nanos {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Nanos(self.0.saturating_add(after))
    }
}

/// A coarse reading of the same clock, in units of [`Tick::SECONDS`]. Table entries keep its low
/// bits only; the full count is kept here so that the code that compares them sees the wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// Seconds per tick. With 12 bits of age an entry's stamp wraps after 4096 * 8 s = 9.1 hours,
    /// twice the longest timeout.
    pub const SECONDS: u64 = 8;
    /// Nanoseconds per tick.
    pub const NANOS: u64 = Self::SECONDS * Nanos::PER_SECOND;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_run_from_one_to_seventeen_bits() {
        assert_eq!(BackendId::new(0), Err(BackendIdError(0)));
        assert_eq!(BackendId::new(1).map(BackendId::get), Ok(1));
        assert_eq!(BackendId::new(131_071), Ok(BackendId::MAX));
        assert_eq!(BackendId::new(131_072), Err(BackendIdError(131_072)));
        assert_eq!(
            BackendIdError(0).to_string(),
            "0 is not a backend id: ids run from 1 to 131071"
        );
    }

    #[test]
    fn an_id_set_holds_both_ends_of_the_range() {
        let (first, last) = (BackendId::new(1).unwrap(), BackendId::MAX);
        let mut set = IdSet::new();
        assert!(set.is_empty());
        set.insert(first);
        set.insert(last);
        assert!(set.contains(first) && set.contains(last));
        assert!(!set.contains(BackendId::new(64).unwrap()));
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn ticks_are_eight_seconds() {
        assert_eq!(Nanos::from_secs(7).tick(), Tick(0));
        assert_eq!(Nanos::from_secs(8).tick(), Tick(1));
        assert_eq!(
            Nanos::from_secs(3).since(Nanos::from_secs(9)),
            Duration::ZERO
        );
        assert_eq!(Nanos(u64::MAX) + Duration::from_secs(1), Nanos(u64::MAX));
    }
}
