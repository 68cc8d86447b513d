//! Parameters of hashing.

use std::str::FromStr;

/// The key of all hashes of a pool: 16 bytes, written as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashKey([u8; 16]);

/// A string is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash key is 32 hexadecimal digits")]
pub struct HashKeyError;

impl FromStr for HashKey {
    type Err = HashKeyError;

    fn from_str(text: &str) -> Result<Self, HashKeyError> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(HashKeyError);
        }
        u128::from_str_radix(text, 16)
            .map(|key| Self(key.to_be_bytes()))
            .map_err(|_| HashKeyError)
    }
}

impl std::fmt::Display for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The number of slots of a Maglev table: a prime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableSize(u32);

/// A number is not a prime in the allowed range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a table size is a prime")]
pub struct TableSizeError;

impl TableSize {
    /// Checks that `size` is a prime.
    pub fn new(size: u32) -> Result<Self, TableSizeError> {
        let prime = size > 1
            && (2..)
                .take_while(|d| d * d <= size)
                .all(|d| !size.is_multiple_of(d));
        if prime {
            Ok(Self(size))
        } else {
            Err(TableSizeError)
        }
    }

    /// The number of slots.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for TableSize {
    fn default() -> Self {
        Self(65_537)
    }
}
