//! Addresses as the configuration names them: prefixes and interface addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// A network: an address whose host bits are zero, and a length in bits.
///
/// Written `203.0.113.0/24`, or without a length for a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    len: u8,
}

/// An address of a port together with the length of its subnet, written `192.0.2.10/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfAddr {
    address: IpAddr,
    len: u8,
}

/// Why a string is not an address of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither an IPv4 nor an IPv6 address.
    #[error("not an IP address")]
    Address,
    /// What follows the slash is not a length that this family has.
    #[error("the prefix length is a number from 0 to {0}")]
    Length(u8),
    /// Bits beyond the prefix length are set; holds the prefix that was probably meant.
    #[error("bits beyond the prefix length are set; the network is {0}")]
    HostBits(IpPrefix),
    /// An interface address came without the length of its subnet.
    #[error("the length of the subnet is missing, as in \"192.0.2.10/24\"")]
    NoLength,
    /// The address is the subnet's network or broadcast address, which no host can have.
    #[error("the network and broadcast addresses of a subnet belong to no host")]
    NotAHost,
}

impl IpPrefix {
    /// Makes a prefix. Fails when `len` is too long for the family or host bits are set.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, AddressError> {
        if len > width(address) {
            return Err(AddressError::Length(width(address)));
        }
        let network = Self {
            address: mask(address, len),
            len,
        };
        if network.address != address {
            return Err(AddressError::HostBits(network));
        }
        Ok(network)
    }

    /// The prefix that holds just this address.
    pub fn host(address: IpAddr) -> Self {
        Self {
            address,
            len: width(address),
        }
    }

    /// The first address, whose host bits are zero.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length in bits, 0 to 32 or 0 to 128.
    pub fn prefix_len(&self) -> u8 {
        self.len
    }

    /// Whether the prefix holds exactly one address.
    pub fn is_host(&self) -> bool {
        self.len == width(self.address)
    }

    /// Whether the addresses are IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether `address` lies in the prefix; never true across families.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && mask(address, self.len) == self.address
    }
}

impl IfAddr {
    /// Makes an interface address. Fails when `len` is too long for the family, or when the
    /// address is the network or broadcast address of an IPv4 subnet shorter than /31 (RFC 3021
    /// gives /31 two hosts).
    pub fn new(address: IpAddr, len: u8) -> Result<Self, AddressError> {
        if len > width(address) {
            return Err(AddressError::Length(width(address)));
        }
        if let IpAddr::V4(v4) = address
            && len < 31
        {
            let host = v4.to_bits() & (u32::MAX >> len);
            if host == 0 || host == u32::MAX >> len {
                return Err(AddressError::NotAHost);
            }
        }
        Ok(Self { address, len })
    }

    /// The address itself.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length of the subnet in bits.
    pub fn prefix_len(&self) -> u8 {
        self.len
    }

    /// The subnet that is reached without a gateway.
    pub fn network(&self) -> IpPrefix {
        IpPrefix {
            address: mask(self.address, self.len),
            len: self.len,
        }
    }

    /// The address that means every host of an IPv4 subnet; a /31 and a /32 have none (RFC 3021).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(v4) if self.len < 31 => {
                Some(Ipv4Addr::from_bits(v4.to_bits() | u32::MAX >> self.len))
            }
            _ => None,
        }
    }

    /// Whether `address` is reached without a gateway.
    pub fn on_link(&self, address: IpAddr) -> bool {
        self.network().contains(address)
    }
}

impl FromStr for IpPrefix {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match split(text)? {
            (address, Some(len)) => Self::new(address, len),
            (address, None) => Ok(Self::host(address)),
        }
    }
}

impl FromStr for IfAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match split(text)? {
            (address, Some(len)) => Self::new(address, len),
            (_, None) => Err(AddressError::NoLength),
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.len)
        }
    }
}

impl fmt::Display for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// The number of bits of an address of this family.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with the bits beyond `len` cleared. `len` is at most [`width`].
fn mask(address: IpAddr, len: u8) -> IpAddr {
    // A shift by the whole width has no result in Rust; it means "no bit survives" here.
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & !host).into())
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & !host).into())
        }
    }
}

/// Splits `address[/len]`.
fn split(text: &str) -> Result<(IpAddr, Option<u8>), AddressError> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| AddressError::Address)?;
    let Some(len) = len else {
        return Ok((address, None));
    };
    let wrong = AddressError::Length(width(address));
    if len.is_empty() || !len.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong);
    }
    match len.parse() {
        Ok(len) if len <= width(address) => Ok((address, Some(len))),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let network: IpPrefix = "203.0.113.0/24".parse().unwrap();
        let v6: IpPrefix = "2001:db8::/32".parse().unwrap();
        let all: IpPrefix = "0.0.0.0/0".parse().unwrap();
        let cases: &[(&str, Result<&str, AddressError>)] = &[
            ("203.0.113.10", Ok("203.0.113.10")),
            ("203.0.113.10/32", Ok("203.0.113.10")),
            ("203.0.113.0/24", Ok("203.0.113.0/24")),
            ("2001:db8::1", Ok("2001:db8::1")),
            ("2001:db8::/32", Ok("2001:db8::/32")),
            ("::/0", Ok("::/0")),
            ("203.0.113.10/24", Err(AddressError::HostBits(network))),
            ("2001:db8::1/32", Err(AddressError::HostBits(v6))),
            ("1.0.0.0/0", Err(AddressError::HostBits(all))),
            ("203.0.113.0/33", Err(AddressError::Length(32))),
            ("2001:db8::/129", Err(AddressError::Length(128))),
            ("203.0.113.0/", Err(AddressError::Length(32))),
            ("203.0.113.0/+8", Err(AddressError::Length(32))),
            ("203.0.113.0/8/8", Err(AddressError::Length(32))),
            ("203.0.113", Err(AddressError::Address)),
            ("", Err(AddressError::Address)),
        ];
        for (text, expected) in cases {
            let found = text.parse::<IpPrefix>().map(|prefix| prefix.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn containment_stays_within_a_family() {
        let all: IpPrefix = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("192.0.2.1".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
        let link: IfAddr = "192.0.2.10/24".parse().unwrap();
        assert!(link.on_link("192.0.2.255".parse().unwrap()));
        assert!(!link.on_link("192.0.3.1".parse().unwrap()));
    }

    #[test]
    fn broadcast_addresses() {
        for (link, broadcast) in [
            ("192.0.2.10/24", Some("192.0.2.255")),
            ("192.0.2.10/30", Some("192.0.2.11")),
            ("10.0.0.1/8", Some("10.255.255.255")),
            ("192.0.2.10/31", None),
            ("192.0.2.10/32", None),
            ("2001:db8::1/64", None),
        ] {
            let link: IfAddr = link.parse().unwrap();
            let found = link.broadcast().map(|b| b.to_string());
            assert_eq!(found.as_deref(), broadcast, "{link}");
        }
    }

    #[test]
    fn interface_addresses() {
        let cases: &[(&str, Result<(), AddressError>)] = &[
            ("192.0.2.10/24", Ok(())),
            ("192.0.2.0/31", Ok(())),
            ("192.0.2.0/32", Ok(())),
            ("2001:db8::/64", Ok(())),
            ("192.0.2.0/24", Err(AddressError::NotAHost)),
            ("192.0.2.255/24", Err(AddressError::NotAHost)),
            ("192.0.2.10", Err(AddressError::NoLength)),
            ("0.0.0.0/0", Err(AddressError::NotAHost)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<IfAddr>().map(|_| ()), *expected, "{text:?}");
        }
    }
}
