//! The byte that IPv4 calls type of service and IPv6 traffic class: DSCP (RFC 2474) and ECN (RFC
//! 3168), and what a tunnel does with them (RFC 2983, RFC 6040).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Explicit congestion notification: the low two bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Ecn {
    NotEct = 0b00,
    Ect1 = 0b01,
    Ect0 = 0b10,
    Ce = 0b11,
}

impl Ecn {
    const fn from_low_bits(byte: u8) -> Self {
        match byte & ECN_MASK {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The ECN a decapsulated packet leaves with (RFC 6040, figure 4), given that of the tunnel's
    /// outer header. `None`: the packet has to be dropped, because its sender cannot be told of
    /// the congestion it met.
    pub const fn decapsulate(inner: Self, outer: Self) -> Option<Self> {
        match (inner, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (_, Self::Ce) => Some(Self::Ce),
            (Self::Ect0, Self::Ect1) => Some(Self::Ect1),
            (inner, _) => Some(inner),
        }
    }
}

/// DSCP and ECN in one byte.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct TrafficClass(pub u8);

const ECN_MASK: u8 = 0b11;
const DSCP_SHIFT: u32 = 2;

impl TrafficClass {
    /// The differentiated services code point, 0 to 63.
    #[inline]
    pub const fn dscp(self) -> u8 {
        self.0 >> DSCP_SHIFT
    }

    #[inline]
    pub const fn ecn(self) -> Ecn {
        Ecn::from_low_bits(self.0)
    }

    /// The same with another code point; bits of `dscp` beyond its six are ignored.
    #[inline]
    pub const fn with_dscp(self, dscp: u8) -> Self {
        Self((dscp << DSCP_SHIFT) | (self.0 & ECN_MASK))
    }

    #[inline]
    pub const fn with_ecn(self, ecn: Ecn) -> Self {
        Self((self.0 & !ECN_MASK) | ecn as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::Ecn::{Ce, Ect0, Ect1, NotEct};
    use super::*;

    #[test]
    fn decapsulation_is_the_table_of_rfc_6040() {
        // Rows: inner Not-ECT, ECT(0), ECT(1), CE. Columns: outer, in the same order.
        let outers = [NotEct, Ect0, Ect1, Ce];
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in outers.into_iter().zip(row) {
                assert_eq!(
                    Ecn::decapsulate(inner, outer),
                    expected,
                    "{inner:?} {outer:?}"
                );
            }
        }
    }

    #[test]
    fn parts_do_not_touch_each_other() {
        for byte in 0..=255 {
            let class = TrafficClass(byte);
            assert_eq!(class.with_dscp(class.dscp()), class);
            assert_eq!(class.with_ecn(class.ecn()), class);
            assert_eq!(class.with_dscp(46).ecn(), class.ecn());
            assert_eq!(class.with_ecn(Ce).dscp(), class.dscp());
        }
        assert_eq!(
            TrafficClass(0).with_dscp(46).with_ecn(Ect0),
            TrafficClass(0xba)
        );
    }
}
