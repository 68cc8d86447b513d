//! How long an idle connection is kept, in the units of an entry's age.

use std::time::Duration;

use super::entry::{Age, Entry, Kind, Parts, pick};
use crate::table::Tick;

/// Timeouts as an operator writes them. Entries age in steps of 8 s, so they live up to two steps longer,
/// never shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutSettings {
    /// An established TCP connection. Default 1 h.
    pub tcp: Duration,
    /// A UDP flow (or one of any protocol but TCP) of which a second packet was seen. Default 2 min.
    pub udp: Duration,
    /// A TCP connection that saw FIN or RST. Default 32 s.
    pub closing: Duration,
    /// A flow of which nothing but its start was seen: a SYN, or one datagram. Default 32 s.
    pub embryonic: Duration,
    /// How long a promoted entry must have been idle before pressure may evict it. Default 2 min.
    pub min_idle: Duration,
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        TimeoutSettings {
            tcp: Duration::from_secs(3600),
            udp: Duration::from_secs(120),
            closing: Duration::from_secs(32),
            embryonic: Duration::from_secs(32),
            min_idle: Duration::from_secs(120),
        }
    }
}

/// A timeout that the age of an entry cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "timeout `{name}` is {value:?}: it must lie between {min:?} and {max:?}",
    min = Timeouts::MIN,
    max = Timeouts::MAX
)]
pub struct TimeoutError {
    /// Which of the [`TimeoutSettings`].
    pub name: &'static str,
    /// Its value.
    pub value: Duration,
}

/// Checked timeouts, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    min_idle: Age,
    /// The timeout that applies to an entry, by its flags.
    by_kind: [Age; 8],
}

impl Timeouts {
    /// The shortest timeout: one tick.
    pub const MIN: Duration = Duration::from_secs(Tick::SECONDS);
    /// The longest timeout. Ages wrap after 9.1 h and every bucket is swept at least twice in that
    /// time, so an entry that expired before half a wrap passed is always seen before it looks young.
    pub const MAX: Duration = Duration::from_secs(4 * 3600);

    /// Checks that every timeout is between [`Timeouts::MIN`] and [`Timeouts::MAX`].
    pub fn new(settings: &TimeoutSettings) -> Result<Self, TimeoutError> {
        let ticks = |name, value: Duration| {
            if !(Self::MIN..=Self::MAX).contains(&value) {
                return Err(TimeoutError { name, value });
            }
            // At most 1800, which fits an age.
            let ticks = value.as_nanos().div_ceil(u128::from(Tick::NANOS));
            Ok(Age(ticks as u16))
        };
        let tcp = ticks("tcp", settings.tcp)?;
        let udp = ticks("udp", settings.udp)?;
        let closing = ticks("closing", settings.closing)?;
        let embryonic = ticks("embryonic", settings.embryonic)?;
        let by_kind = std::array::from_fn(|kind| match Kind::of(kind) {
            Kind::Closing => closing,
            Kind::Embryonic => embryonic,
            Kind::Udp => udp,
            Kind::Tcp => tcp,
        });
        Ok(Timeouts {
            min_idle: ticks("min_idle", settings.min_idle)?,
            by_kind,
        })
    }

    /// Has the entry been idle longer than its kind may be?
    #[inline]
    pub fn expired(&self, entry: Entry, now: Tick) -> bool {
        entry.age(now) > self.of(entry)
    }

    /// The same timeouts, for a loop over a bucket.
    #[inline(always)]
    pub(super) fn limits(&self) -> Limits {
        let of = |kind: Kind| u32::from(self.by_kind[kind.example()].0);
        Limits {
            min_idle: u32::from(self.min_idle.0),
            closing: of(Kind::Closing),
            embryonic: of(Kind::Embryonic),
            udp: of(Kind::Udp),
            tcp: of(Kind::Tcp),
        }
    }

    /// The timeout that applies to an entry.
    #[inline]
    fn of(&self, entry: Entry) -> Age {
        self.by_kind[entry.kind() % 8]
    }
}

/// Timeouts by name, in ticks: what a loop over a bucket can hold in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// What a promoted entry must have been idle for to be evicted.
    pub(super) min_idle: u32,
    closing: u32,
    embryonic: u32,
    udp: u32,
    tcp: u32,
}

impl Limits {
    /// The timeout of an entry, as [`Timeouts::expired`] goes by.
    #[inline(always)]
    pub(super) fn of(&self, entry: Parts) -> u32 {
        let established = pick(entry.is_udp(), self.udp, self.tcp);
        let open = pick(entry.is_promoted(), established, self.embryonic);
        pick(entry.is_closing(), self.closing, open)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts::new(&TimeoutSettings::default()).expect("the defaults are within the bounds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_by_name() {
        let with_udp = |seconds| {
            let udp = Duration::from_secs(seconds);
            Timeouts::new(&TimeoutSettings {
                udp,
                ..TimeoutSettings::default()
            })
        };
        assert!(with_udp(8).is_ok());
        assert!(with_udp(14_400).is_ok());
        for seconds in [0, 7, 14_401, u64::MAX] {
            let error = with_udp(seconds).unwrap_err();
            assert_eq!((error.name, error.value.as_secs()), ("udp", seconds));
        }
        assert_eq!(
            with_udp(3).unwrap_err().to_string(),
            "timeout `udp` is 3s: it must lie between 8s and 14400s"
        );
    }

    #[test]
    fn timeouts_round_up_to_ticks() {
        let settings = TimeoutSettings {
            tcp: Duration::from_millis(16_001),
            udp: Duration::from_secs(16),
            ..TimeoutSettings::default()
        };
        let timeouts = Timeouts::new(&settings).unwrap();
        let of = |kind: Kind| (0..8).filter(move |flags| Kind::of(*flags) == kind);
        let all = |kind, age| of(kind).all(|flags| timeouts.by_kind[flags] == Age(age));
        assert!(all(Kind::Tcp, 3) && all(Kind::Udp, 2));
    }
}
