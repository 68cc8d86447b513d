//! Ethernet II framing (IEEE 802.3).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 48-bit link-layer address.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    pub const BROADCAST: Self = Self([0xff; 6]);
    pub const ZERO: Self = Self([0; 6]);

    /// Whether the group bit is set; true for broadcast too.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The IPv6 link-local address a station makes of it (RFC 4291, appendix A; RFC 2464, section 5).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        octets.into()
    }

    /// Whether one station can have this address: neither a group nor all zeros.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }

    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

/// Lower-case hexadecimal octets with colons, as `ip link` prints them.
impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected six hexadecimal octets such as 02:00:00:00:00:fe")]
pub struct ParseMacAddrError;

/// Six octets of two hexadecimal digits each, separated by colons or, throughout, by hyphens.
impl FromStr for MacAddr {
    type Err = ParseMacAddrError;

    fn from_str(text: &str) -> Result<Self, ParseMacAddrError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseMacAddrError)?;
            // from_str_radix alone would let a sign pass.
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseMacAddrError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacAddrError)?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(ParseMacAddrError),
        }
    }
}

/// What follows the Ethernet header or a VLAN tag, and what GRE carries; host order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const IPV4: Self = Self(0x0800);
    pub const ARP: Self = Self(0x0806);
    pub const IPV6: Self = Self(0x86dd);
    /// IEEE 802.1Q customer tag.
    pub const VLAN: Self = Self(0x8100);
    /// IEEE 802.1ad service tag.
    pub const QINQ: Self = Self(0x88a8);

    /// Whether the value is the length field of an IEEE 802.3 LLC frame rather than a type.
    pub const fn is_length(self) -> bool {
        self.0 < 0x0600
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// The Ethernet header, without VLAN tags.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct EthernetHeader {
    pub destination: MacAddr,
    pub source: MacAddr,
    /// See [`EtherType`]; read it with [`ethertype`](Self::ethertype).
    pub ethertype: U16,
}

/// A frame too short for what its header announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EthernetError {
    #[error("the frame ends within the Ethernet header")]
    Truncated,
}

impl EthernetHeader {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();

    pub const fn new(destination: MacAddr, source: MacAddr, ethertype: EtherType) -> Self {
        Self {
            destination,
            source,
            ethertype: U16::new(ethertype.0),
        }
    }

    /// The header and what follows it. [`vlan::l2`](super::vlan::l2) sees through VLAN tags as
    /// well.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(&Self, &[u8]), EthernetError> {
        super::split(frame).ok_or(EthernetError::Truncated)
    }

    #[inline]
    pub const fn ethertype(&self) -> EtherType {
        EtherType(self.ethertype.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_read_as_printed() {
        let mac = MacAddr([0x02, 0, 0x5e, 0xab, 0, 0xfe]);
        assert_eq!(mac.to_string(), "02:00:5e:ab:00:fe");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("02-00-5E-AB-00-FE".parse(), Ok(mac));
    }

    #[test]
    fn what_is_no_mac_address_is_refused() {
        for text in [
            "",
            "02:00:5e:ab:00",
            "02:00:5e:ab:00:fe:01",
            "02:00:5e:ab:00:f",
            "02:00:5e:ab:00:+e",
            "02:00:5e:ab:00:gg",
            "02:00:5e-ab:00:fe",
            "02005eab00fe",
            "02:00:5e:ab:00:\u{e9}",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(ParseMacAddrError), "{text}");
        }
    }

    #[test]
    fn group_and_station_addresses() {
        let of = |text: &str| text.parse::<MacAddr>().expect("a MAC address");
        assert!(MacAddr::BROADCAST.is_multicast());
        assert!(of("33:33:00:00:00:01").is_multicast());
        assert!(of("02:00:00:00:00:01").is_unicast());
        assert!(!MacAddr::ZERO.is_unicast() && !MacAddr::ZERO.is_multicast());
    }

    #[test]
    fn header_needs_all_its_bytes() {
        let frame = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd, 0x60];
        let (header, payload) = EthernetHeader::parse(&frame).expect("a whole header");
        assert_eq!(header.destination, MacAddr([1, 2, 3, 4, 5, 6]));
        assert_eq!(header.source, MacAddr([7, 8, 9, 10, 11, 12]));
        assert_eq!(header.ethertype(), EtherType::IPV6);
        assert_eq!(payload, [0x60]);
        assert_eq!(
            EthernetHeader::parse(&frame[..13]),
            Err(EthernetError::Truncated)
        );
    }
}
