//! Hybrid-logical time: when something was written, by whom, and which of two writes came later.
//!
//! A [`Clock`] hands out [`Stamp`]s that are above every stamp it handed out or
//! [observed](Clock::observe) before, and as close to the wall clock as that allows (Kulkarni et
//! al., "Logical Physical Clocks", 2014). The part that counts events within one millisecond is the sequence number. A stamp is unique as long as
//! a node's name is, and its wall clock is not set back over a restart beyond what the node observes at start.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Milliseconds in a day.
const DAY: u64 = 86_400_000;

/// The longest node name, in bytes.
const MAX_NODE_LEN: usize = 63;

/// A point in time: milliseconds since 1970 in UTC, up to the end of the year 9999. Shown and parsed as
/// `20260526T100000.123Z`: ISO 8601 without colons, because it also stands in file names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u64);

impl Millis {
    /// The last millisecond of the year 9999: beyond it the text would get longer and no longer sort.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The time this many milliseconds after the start of 1970; `None` beyond [`MAX`](Self::MAX).
    pub fn new(since_1970: u64) -> Option<Self> {
        (since_1970 <= Self::MAX.0).then_some(Self(since_1970))
    }

    /// Milliseconds since the start of 1970.
    pub const fn get(self) -> u64 {
        self.0
    }

    fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0 / DAY);
        let (seconds, milli) = (self.0 % DAY / 1000, self.0 % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{milli:03}Z"
        )
    }
}

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_millis(text)
            .filter(|time| time.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no time such as 20260526T100000.123Z"))
    }
}

/// The name of a node: `[a-z0-9][a-z0-9._-]{0,62}`, not ending in `.lock`. All of these sort above
/// the comma that follows the name in a stamp.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(Arc<str>);

impl Node {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fine = text.starts_with(letter)
            && text.len() <= MAX_NODE_LEN
            && !text.ends_with(".lock")
            && text.chars().all(|c| letter(c) || ".-_".contains(c));
        if !fine {
            return Err(format!(
                "{text:?} is no node name: [a-z0-9][a-z0-9._-]{{0,62}}"
            ));
        }
        Ok(Self(text.into()))
    }
}

/// When and by whom: ordered by time, then node, then sequence number. Shown and parsed as
/// `20260526T100000.123Z,rail-a,000000`, whose order as text is the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    pub time: Millis,
    pub node: Node,
    /// Position among the node's events at this time; at most [`Stamp::MAX_SEQUENCE`].
    sequence: u32,
}

impl Stamp {
    /// The highest sequence number: what six digits hold.
    pub const MAX_SEQUENCE: u32 = 999_999;

    /// A stamp; `None` if the sequence number is too high.
    pub fn new(time: Millis, node: Node, sequence: u32) -> Option<Self> {
        (sequence <= Self::MAX_SEQUENCE).then_some(Self {
            time,
            node,
            sequence,
        })
    }

    /// Position among the node's events at this time.
    pub const fn sequence(&self) -> u32 {
        self.sequence
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{:06}", self.time, self.node, self.sequence)
    }
}

impl FromStr for Stamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no stamp such as 20260526T100000.123Z,rail-a,000000");
        let (time, rest) = text.split_once(',').ok_or_else(wrong)?;
        let (node, sequence) = rest.split_once(',').ok_or_else(wrong)?;
        let digits = sequence.len() == 6 && sequence.bytes().all(|byte| byte.is_ascii_digit());
        let sequence = sequence.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        Self::new(time.parse()?, node.parse()?, sequence).ok_or_else(wrong)
    }
}

/// The clock of one node.
#[derive(Clone, Debug)]
pub struct Clock {
    node: Node,
    /// The smallest stamp that may be handed out next, as time and sequence number.
    next: (Millis, u32),
}

/// A stamp at the end of the year 9999 was observed: nothing comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no stamp is later than the one in use, at the end of the year 9999")]
pub struct EndOfTime;

impl Clock {
    /// A clock that has seen nothing yet.
    pub fn new(node: Node) -> Self {
        Self {
            node,
            next: (Millis::default(), 0),
        }
    }

    /// Whose clock this is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Takes note of a stamp: all later ones of this clock are above it.
    pub fn observe(&mut self, seen: &Stamp) {
        // At the seen time, this node's stamps are above the seen one if its name is, or if it is its own
        // and the sequence number is higher. One beyond the limits is caught when it is handed out.
        let above = match self.node.cmp(&seen.node) {
            std::cmp::Ordering::Greater => (seen.time, 0),
            std::cmp::Ordering::Equal => (seen.time, seen.sequence + 1),
            std::cmp::Ordering::Less => (Millis(seen.time.0 + 1), 0),
        };
        self.next = self.next.max(above);
    }

    /// A stamp for an event at wall-clock time `now`.
    pub fn stamp(&mut self, now: Millis) -> Result<Stamp, EndOfTime> {
        let (mut time, mut sequence) = self.next.max((now, 0));
        if sequence > Stamp::MAX_SEQUENCE {
            (time, sequence) = (time.next().ok_or(EndOfTime)?, 0);
        }
        if time > Millis::MAX {
            return Err(EndOfTime);
        }
        self.next = (time, sequence + 1);
        Ok(Stamp {
            time,
            node: self.node.clone(),
            sequence,
        })
    }
}

/// Year, month and day of a day since 1970-01-01 (Gregorian; years of 400 begin in March).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse; the caller checks that month and day exist by printing the result.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// Reads digits by position; anything that is not the text of the result is refused by the caller.
fn parse_millis(text: &str) -> Option<Millis> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let days = days_from_civil(number(0, 4)?, number(4, 6)?, number(6, 8)?)?;
    let seconds = number(9, 11)? * 3600 + number(11, 13)? * 60 + number(13, 15)?;
    Millis::new(days * DAY + seconds * 1000 + number(16, 19)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Dates printed by `date -u -d @<seconds>`.
    #[test]
    fn times_read_and_show_as_dates() {
        let check = |millis, text: &str| {
            assert_eq!(Millis(millis).to_string(), text);
            assert_eq!(text.parse(), Ok(Millis(millis)));
        };
        check(0, "19700101T000000.000Z");
        check(951_782_400_000, "20000229T000000.000Z");
        check(1_779_789_600_123, "20260526T100000.123Z");
        check(Millis::MAX.0, "99991231T235959.999Z");
        for bad in [
            "",
            "20260526",
            "20260230T000000.000Z",
            "20260526T240000.000Z",
            "20260526T100000.1234",
            "2026+526T100000.123Z",
            "19691231T235959.999Z",
            "00000101T000000.000Z",
        ] {
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
        }
        assert_eq!(Millis::new(Millis::MAX.0 + 1), None);
    }

    #[test]
    fn names_and_stamps_are_checked() {
        for bad in ["", "-a", "A", "a,b", "a/b", "a.lock", &"a".repeat(64)] {
            assert!(bad.parse::<Node>().is_err(), "{bad}");
        }
        let text = "20260526T100000.123Z,rail-a,000017";
        let stamp: Stamp = text.parse().unwrap();
        assert_eq!((stamp.to_string().as_str(), stamp.sequence()), (text, 17));
        for bad in [
            "20260526T100000.123Z,rail-a",
            "20260526T100000.123Z,rail-a,17",
            "20260526T100000.123Z,rail-a,+00017",
            "20260526T100000.123Z,rail-a,1000000",
        ] {
            assert!(bad.parse::<Stamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_clock_counts_within_a_millisecond_and_past_the_last_number() {
        let mut clock = Clock::new("b".parse().unwrap());
        let now = Millis(1000);
        let mut last = clock.stamp(now).unwrap();
        for _ in 0..3 {
            let next = clock.stamp(now).unwrap();
            assert!(next > last && next.time == now);
            last = next;
        }
        clock.observe(&Stamp::new(now, "b".parse().unwrap(), Stamp::MAX_SEQUENCE).unwrap());
        assert_eq!(clock.stamp(now).unwrap().time, Millis(1001));
        clock.observe(&Stamp::new(Millis::MAX, "c".parse().unwrap(), 0).unwrap());
        assert_eq!(clock.stamp(now), Err(EndOfTime));
    }

    fn stamps() -> impl Strategy<Value = Stamp> {
        (0..5_u64, "[a-c][a-c.-]{0,2}", 0..3_u32)
            .prop_filter_map("a node", |(time, node, sequence)| {
                Stamp::new(Millis(time), node.parse().ok()?, sequence)
            })
    }

    proptest! {
        #[test]
        fn stamps_sort_as_their_text(a in stamps(), b in stamps()) {
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
        }

        #[test]
        fn a_clock_is_above_what_it_saw(
            node in "[a-c]",
            seen in prop::collection::vec(stamps(), 0..5),
            now in 0..5_u64,
        ) {
            let mut clock = Clock::new(node.parse().unwrap());
            let mut last = None;
            for stamp in seen {
                clock.observe(&stamp);
                let next = clock.stamp(Millis(now)).unwrap();
                prop_assert!(next > stamp && Some(&next) > last.as_ref() && next.time >= Millis(now));
                last = Some(next);
            }
        }

        #[test]
        fn every_time_reads_back(millis in 0..=Millis::MAX.0) {
            let time = Millis(millis);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
