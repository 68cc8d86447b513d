//! The pool's hash key: the secret that makes all rails of a pool compute the same hashes, and that
//! keeps anybody else from computing them.

use std::fmt;
use std::str::FromStr;

/// The 16-byte secret that all rails of a pool share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashKey([u8; HashKey::BYTES]);

/// Why a text is not a [`HashKey`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashKeyError {
    /// The text is too short or too long.
    #[error("a hash key is 32 hexadecimal digits (16 bytes), this has {0} characters")]
    Length(usize),
    /// A character is no hexadecimal digit; positions count from 1.
    #[error("a hash key is 32 hexadecimal digits: character {position} is {found:?}")]
    Digit {
        /// Where, counting characters from 1.
        position: usize,
        /// What stands there.
        found: char,
    },
}

impl HashKey {
    /// Length of a key in bytes.
    pub const BYTES: usize = 16;

    /// A key from its bytes, in the order in which the hexadecimal form writes them.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        HashKey(bytes)
    }

    /// `hash_key.0`: bytes 0 to 7 as a little-endian number.
    pub fn k0(&self) -> u64 {
        let [low, _] = self.halves();
        low
    }

    /// `hash_key.1`: bytes 8 to 15 as a little-endian number.
    pub fn k1(&self) -> u64 {
        let [_, high] = self.halves();
        high
    }

    fn halves(&self) -> [u64; 2] {
        let number = u128::from_le_bytes(self.0);
        [number as u64, (number >> 64) as u64]
    }
}

impl FromStr for HashKey {
    type Err = HashKeyError;

    fn from_str(text: &str) -> Result<Self, HashKeyError> {
        // A wrong character is the more helpful thing to name, also when the length is wrong too.
        for (index, found) in text.chars().enumerate() {
            if !found.is_ascii_hexdigit() {
                let position = index + 1;
                return Err(HashKeyError::Digit { position, found });
            }
        }
        if text.len() != 2 * Self::BYTES {
            return Err(HashKeyError::Length(text.len()));
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = hex_value(digits[0]) << 4 | hex_value(digits[1]);
        }
        Ok(HashKey(bytes))
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HashKey {
    /// Shows no digits: whoever knows the key can aim flows at one backend.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// Value of a character already known to be a hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_survives_its_text(key: [u8; 16]) {
            let key = HashKey::from_bytes(key);
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            prop_assert_eq!(key.to_string().to_uppercase().parse(), Ok(key));
        }
    }

    #[test]
    fn the_halves_are_little_endian() {
        let key: HashKey = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        assert_eq!(key.k0(), 0x0706_0504_0302_0100);
        assert_eq!(key.k1(), 0x0f0e_0d0c_0b0a_0908);
    }

    #[test]
    fn a_wrong_key_is_named_precisely() {
        let check = |text: &str, message: &str| {
            let error = text.parse::<HashKey>().unwrap_err();
            assert_eq!(error.to_string(), message);
        };
        check(
            "",
            "a hash key is 32 hexadecimal digits (16 bytes), this has 0 characters",
        );
        check(
            "000102030405060708090a0b0c0d0e0",
            "a hash key is 32 hexadecimal digits (16 bytes), this has 31 characters",
        );
        check(
            "000102030405060708090a0b0c0d0e0g",
            "a hash key is 32 hexadecimal digits: character 32 is 'g'",
        );
        check(
            "ü0",
            "a hash key is 32 hexadecimal digits: character 1 is 'ü'",
        );
    }
}
