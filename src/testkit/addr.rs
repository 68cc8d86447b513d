//! Addresses in tests may be written as text.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::MacAddr;

/// What names an IPv4 address: the address, its octets, or text.
pub trait ToIpv4 {
    fn to_ipv4(self) -> Ipv4Addr;
}

/// What names an IPv6 address: the address or text.
pub trait ToIpv6 {
    fn to_ipv6(self) -> Ipv6Addr;
}

/// What names a MAC address: the address, its octets, or text.
pub trait ToMac {
    fn to_mac(self) -> MacAddr;
}

impl ToIpv4 for Ipv4Addr {
    fn to_ipv4(self) -> Ipv4Addr {
        self
    }
}

impl ToIpv4 for [u8; 4] {
    fn to_ipv4(self) -> Ipv4Addr {
        self.into()
    }
}

impl ToIpv4 for &str {
    fn to_ipv4(self) -> Ipv4Addr {
        self.parse()
            .unwrap_or_else(|_| panic!("{self:?} is no IPv4 address"))
    }
}

impl ToIpv6 for Ipv6Addr {
    fn to_ipv6(self) -> Ipv6Addr {
        self
    }
}

impl ToIpv6 for &str {
    fn to_ipv6(self) -> Ipv6Addr {
        self.parse()
            .unwrap_or_else(|_| panic!("{self:?} is no IPv6 address"))
    }
}

impl ToMac for MacAddr {
    fn to_mac(self) -> MacAddr {
        self
    }
}

impl ToMac for [u8; 6] {
    fn to_mac(self) -> MacAddr {
        self.into()
    }
}

impl ToMac for &str {
    fn to_mac(self) -> MacAddr {
        self.parse()
            .unwrap_or_else(|_| panic!("{self:?} is no MAC address"))
    }
}
