//! What a fragment says about itself: the same for IPv4 (RFC 791) and IPv6 (RFC 8200, section 4.5).

/// Fragment fields, host order. A value of this type exists only for packets that are fragments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fragment {
    /// Where the payload goes in the datagram, bytes; a multiple of 8.
    pub offset: u16,
    /// Whether more fragments follow this one.
    pub more: bool,
    /// Identification; 16 bits in IPv4.
    pub id: u32,
}

/// Why a fragment cannot be part of any datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FragmentError {
    /// RFC 8200, section 4.5: only the last fragment's length may be other than a multiple of 8.
    #[error("the length of a fragment that is not the last is no multiple of 8")]
    BadLength,
    /// No datagram is longer than 65,535 bytes; a fragment that ends beyond is an attack.
    #[error("a fragment ends beyond 65,535 bytes")]
    TooLong,
}

/// The unit of fragment offsets, bytes.
pub const FRAGMENT_UNIT: usize = 8;
/// The largest payload a datagram can have, bytes: the length fields have 16 bits.
pub const MAX_DATAGRAM: usize = 65_535;

impl Fragment {
    /// Whether this fragment carries the layer-4 header.
    #[inline]
    pub const fn is_first(self) -> bool {
        self.offset == 0
    }

    /// Checks the fragment fields against the length of the fragment's own payload, in bytes.
    pub const fn check(self, payload_len: usize) -> Result<(), FragmentError> {
        if self.more && !payload_len.is_multiple_of(FRAGMENT_UNIT) {
            return Err(FragmentError::BadLength);
        }
        if self.offset as usize + payload_len > MAX_DATAGRAM {
            return Err(FragmentError::TooLong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_that_fit_no_datagram_are_named() {
        let check = |offset, more, len| {
            Fragment {
                offset,
                more,
                id: 1,
            }
            .check(len)
        };
        assert_eq!(check(0, true, 1480), Ok(()));
        assert_eq!(check(0, true, 1479), Err(FragmentError::BadLength));
        assert_eq!(check(1480, false, 3), Ok(()));
        assert_eq!(check(65_528, false, 7), Ok(()));
        assert_eq!(check(65_528, false, 8), Err(FragmentError::TooLong));
    }
}
