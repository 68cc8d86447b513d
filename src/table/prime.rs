//! The size of a Maglev table: a prime, so that every skip walks through all slots.

use std::fmt;

/// Number of slots of a Maglev table, always prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableSize(u32);

/// Why a number is not a [`TableSize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableSizeError {
    /// Not a prime; the nearest ones on both sides that would do.
    #[error("a table size is a prime and {size} is not: the nearest are {below} and {above}")]
    NotPrime {
        /// What was asked for.
        size: u64,
        /// The largest table size below it.
        below: TableSize,
        /// The smallest table size above it.
        above: TableSize,
    },
    /// Outside the range.
    #[error(
        "table size {0} is out of range: it is a prime from {min} to {max}",
        min = TableSize::MIN,
        max = TableSize::MAX
    )]
    OutOfRange(u64),
}

impl TableSize {
    /// The smallest table: 3 slots, for which there still is a choice of skips.
    pub const MIN: TableSize = TableSize(3);
    /// The largest table, 16,777,213 slots: the last prime below 2^24, 16 or 32 MiB per service.
    pub const MAX: TableSize = TableSize(16_777_213);

    /// Checks range and primality.
    pub fn new(size: u64) -> Result<Self, TableSizeError> {
        let (min, max) = (u64::from(Self::MIN.0), u64::from(Self::MAX.0));
        match u32::try_from(size) {
            Ok(number) if (min..=max).contains(&size) => {
                if is_prime(number) {
                    return Ok(TableSize(number));
                }
                // Both ends of the range are primes, so both searches end inside it.
                let below = (Self::MIN.0..number).rev().find(|&n| is_prime(n));
                let above = (number..=Self::MAX.0).find(|&n| is_prime(n));
                Err(TableSizeError::NotPrime {
                    size,
                    below: below.map_or(Self::MIN, TableSize),
                    above: above.map_or(Self::MAX, TableSize),
                })
            }
            _ => Err(TableSizeError::OutOfRange(size)),
        }
    }

    /// The number of slots.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for TableSize {
    /// 65,537: the paper's small table. Good for about 1000 backends within 1 % of even.
    fn default() -> Self {
        TableSize(65_537)
    }
}

impl fmt::Display for TableSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Trial division: at most 2048 divisions for the largest table.
fn is_prime(n: u32) -> bool {
    let mut odd_divisors = (3..).step_by(2).take_while(|d| d * d <= n);
    match n {
        0 | 1 => false,
        2 => true,
        _ => !n.is_multiple_of(2) && !odd_divisors.any(|d| n.is_multiple_of(d)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_primes_in_range() {
        for prime in [3, 5, 7, 251, 65_537, 655_373, 16_777_213] {
            assert_eq!(TableSize::new(prime).map(TableSize::get), Ok(prime as u32));
        }
        assert_eq!(TableSize::new(65_537), Ok(TableSize::default()));
    }

    #[test]
    fn names_the_nearest_primes() {
        let check = |size: u64, message: &str| {
            assert_eq!(TableSize::new(size).unwrap_err().to_string(), message);
        };
        check(
            65_536,
            "a table size is a prime and 65536 is not: the nearest are 65521 and 65537",
        );
        check(
            4,
            "a table size is a prime and 4 is not: the nearest are 3 and 5",
        );
        check(
            16_777_212,
            "a table size is a prime and 16777212 is not: the nearest are 16777199 and 16777213",
        );
        let range = "is out of range: it is a prime from 3 to 16777213";
        for size in [0, 1, 2, 16_777_214, u64::MAX] {
            check(size, &format!("table size {size} {range}"));
        }
    }

    #[test]
    fn agrees_with_a_sieve() {
        let mut composite = [false; 10_000];
        for n in 2..composite.len() {
            assert_eq!(is_prime(n as u32), !composite[n], "{n}");
            for multiple in (2 * n..composite.len()).step_by(n) {
                composite[multiple] = true;
            }
        }
        assert!(!is_prime(0) && !is_prime(1));
    }
}
