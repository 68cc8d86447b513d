//! IP protocol numbers (IANA "Assigned Internet Protocol Numbers"), also IPv6 next-header values.

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The protocol field of IPv4 and the next-header field of IPv6.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: Self = Self(0);
    pub const ICMP: Self = Self(1);
    /// IPv4 in IP (RFC 2003).
    pub const IPIP: Self = Self(4);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
    pub const DCCP: Self = Self(33);
    /// IPv6 in IP (RFC 4213, RFC 2473).
    pub const IPV6: Self = Self(41);
    /// IPv6 routing header.
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    pub const GRE: Self = Self(47);
    pub const ESP: Self = Self(50);
    /// Authentication header (RFC 4302).
    pub const AH: Self = Self(51);
    pub const ICMPV6: Self = Self(58);
    /// IPv6 "nothing follows".
    pub const NO_NEXT_HEADER: Self = Self(59);
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: Self = Self(60);
    pub const SCTP: Self = Self(132);
    pub const UDPLITE: Self = Self(136);

    /// Whether the first four bytes of the protocol's header are source and destination port.
    #[inline]
    pub const fn has_ports(self) -> bool {
        matches!(
            self,
            Self::TCP | Self::UDP | Self::UDPLITE | Self::SCTP | Self::DCCP
        )
    }
}

/// The lower-case name where there is one, else the number.
impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::HOP_BY_HOP => "hop-by-hop",
            Self::ICMP => "icmp",
            Self::IPIP => "ipip",
            Self::TCP => "tcp",
            Self::UDP => "udp",
            Self::DCCP => "dccp",
            Self::IPV6 => "ipv6",
            Self::ROUTING => "ipv6-route",
            Self::FRAGMENT => "ipv6-frag",
            Self::GRE => "gre",
            Self::ESP => "esp",
            Self::AH => "ah",
            Self::ICMPV6 => "icmpv6",
            Self::NO_NEXT_HEADER => "ipv6-nonxt",
            Self::DESTINATION_OPTIONS => "ipv6-opts",
            Self::SCTP => "sctp",
            Self::UDPLITE => "udplite",
            Self(number) => return write!(f, "{number}"),
        };
        f.pad(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_where_the_flow_hash_expects_them() {
        for protocol in (0..=255).map(IpProtocol) {
            let expected = [6, 17, 33, 132, 136].contains(&protocol.0);
            assert_eq!(protocol.has_ports(), expected, "{protocol}");
        }
    }

    #[test]
    fn prints_names_and_numbers() {
        assert_eq!(IpProtocol::UDPLITE.to_string(), "udplite");
        assert_eq!(IpProtocol(89).to_string(), "89");
    }
}
