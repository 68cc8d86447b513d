//! Times as the configuration file writes them: a number and a unit, `"30s"`, `"1h30m"`.

use std::fmt::Write;
use std::time::Duration;

/// The units, the longest first, in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", SECOND / 1_000),
    ("us", SECOND / 1_000_000),
    ("ns", 1),
];

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// A string is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number has no unit after it.
    #[error("a time needs a unit")]
    NoUnit,
    /// Something that is neither a number nor one of the units.
    #[error("not a time")]
    Malformed,
    /// More than 64 bits of nanoseconds (584 years).
    #[error("a time too long to be meant")]
    TooLong,
}

/// Reads a time: one or more of a whole number and a unit (`d`, `h`, `m`, `s`, `ms`, `us`, `ns`),
/// which add up.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut nanos: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(DurationError::Malformed);
        }
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return Err(DurationError::NoUnit);
        }
        let known = UNITS.iter().find(|(word, _)| *word == unit);
        let (_, scale) = known.ok_or(DurationError::Malformed)?;
        let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
        nanos = number
            .checked_mul(*scale)
            .and_then(|part| nanos.checked_add(part))
            .ok_or(DurationError::TooLong)?;
        rest = after;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Writes a time so that [`parse`] reads the same one: `"1h30m"`, and `"0s"` for none.
pub fn write(time: Duration) -> String {
    let mut rest = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, scale) in UNITS {
        let number = rest / scale;
        rest %= scale;
        if number > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{number}{unit}");
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        let cases: &[(&str, Result<u64, DurationError>)] = &[
            ("30s", Ok(30_000)),
            ("100ms", Ok(100)),
            ("2m", Ok(120_000)),
            ("1h30m", Ok(5_400_000)),
            ("1d", Ok(86_400_000)),
            ("0s", Ok(0)),
            ("30", Err(DurationError::NoUnit)),
            ("1h30", Err(DurationError::NoUnit)),
            ("", Err(DurationError::Malformed)),
            ("s", Err(DurationError::Malformed)),
            ("-1s", Err(DurationError::Malformed)),
            ("1.5s", Err(DurationError::Malformed)),
            ("30 s", Err(DurationError::Malformed)),
            ("30sec", Err(DurationError::Malformed)),
            ("99999999999999999999s", Err(DurationError::TooLong)),
            ("999999999999d", Err(DurationError::TooLong)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(nanos: u64) {
            let time = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&write(time)), Ok(time));
        }
    }
}
