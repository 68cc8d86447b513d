//! Neighbour discovery: solicitations and advertisements with link-layer addresses (RFC 4861).

use std::net::Ipv6Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::MacAddr;
use super::icmpv6::{Icmpv6, Icmpv6Header, Icmpv6Kind};
use super::icmpv6::{NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION};
use super::ipv6::Ipv6Header;

/// RFC 4861, section 7.1: any other hop limit means that a router forwarded the message.
pub const HOP_LIMIT: u8 = 255;

const OPTION_SOURCE_LINK_ADDRESS: u8 = 1;
const OPTION_TARGET_LINK_ADDRESS: u8 = 2;
/// The unit of option lengths, bytes.
const OPTION_UNIT: usize = 8;

const FLAG_ROUTER: u32 = 1 << 31;
const FLAG_SOLICITED: u32 = 1 << 30;
const FLAG_OVERRIDE: u32 = 1 << 29;

/// What a message says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nd {
    /// Who has `target`?
    Solicitation {
        target: Ipv6Addr,
        /// The sender's, absent when it checks whether `target` is free (RFC 4862, section 5.4.2).
        source_mac: Option<MacAddr>,
    },
    /// `target` is at `target_mac`.
    Advertisement {
        target: Ipv6Addr,
        /// May be absent in the answer to a unicast solicitation.
        target_mac: Option<MacAddr>,
        flags: NdFlags,
    },
}

/// The flags of an advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdFlags {
    pub router: bool,
    /// In answer to a solicitation.
    pub solicited: bool,
    /// The address given is to replace one that the receiver has cached.
    pub override_cached: bool,
}

/// Why a message must be ignored (RFC 4861, sections 7.1.1 and 7.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NdError {
    #[error("the packet ends within the neighbour discovery message")]
    Truncated,
    #[error("the message is neither a neighbour solicitation nor an advertisement")]
    BadType,
    #[error("the hop limit of a neighbour discovery message is not 255")]
    BadHopLimit,
    #[error("the code of a neighbour discovery message is not 0")]
    BadCode,
    #[error("the target of a neighbour discovery message is multicast")]
    BadTarget,
    #[error("an option of a neighbour discovery message has no valid length or address")]
    BadOption,
    #[error("source, destination and options of a neighbour discovery message do not go together")]
    BadAddress,
}

impl Nd {
    /// Reads a message whose checksum [`Icmpv6::parse`] has checked, and applies all other checks
    /// of RFC 4861, sections 7.1.1 and 7.1.2. Where an option is given twice the first counts.
    pub fn parse(ip: &Ipv6Header, message: &Icmpv6<'_>) -> Result<Self, NdError> {
        let wanted = match message.kind {
            Icmpv6Kind::NeighborSolicitation => OPTION_SOURCE_LINK_ADDRESS,
            Icmpv6Kind::NeighborAdvertisement => OPTION_TARGET_LINK_ADDRESS,
            _ => return Err(NdError::BadType),
        };
        if ip.hop_limit != HOP_LIMIT {
            return Err(NdError::BadHopLimit);
        }
        if message.header.code != 0 {
            return Err(NdError::BadCode);
        }
        let (target, options) = super::split::<[u8; 16]>(message.body).ok_or(NdError::Truncated)?;
        let target = Ipv6Addr::from(*target);
        if target.is_multicast() {
            return Err(NdError::BadTarget);
        }
        let mac = link_address(options, wanted)?;
        if wanted == OPTION_SOURCE_LINK_ADDRESS {
            let probe = ip.source().is_unspecified();
            if probe && (mac.is_some() || ip.destination() != solicited_node(target)) {
                return Err(NdError::BadAddress);
            }
            return Ok(Self::Solicitation {
                target,
                source_mac: mac,
            });
        }
        let flags = NdFlags::from_bits(message.header.rest.get());
        if ip.destination().is_multicast() && flags.solicited {
            return Err(NdError::BadAddress);
        }
        Ok(Self::Advertisement {
            target,
            target_mac: mac,
            flags,
        })
    }
}

/// The link-layer address in the first option of type `wanted`; all options have to be well formed.
fn link_address(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, NdError> {
    let mut found = None;
    while let Some((&[kind, units], _)) = options.split_first_chunk() {
        if units == 0 {
            return Err(NdError::BadOption);
        }
        let (option, rest) = options
            .split_at_checked(usize::from(units) * OPTION_UNIT)
            .ok_or(NdError::BadOption)?;
        if kind == wanted && found.is_none() {
            // On Ethernet the option is exactly one unit (RFC 2464, section 6).
            let option =
                LinkAddressOption::ref_from_bytes(option).map_err(|_| NdError::BadOption)?;
            if !option.mac.is_unicast() {
                return Err(NdError::BadOption);
            }
            found = Some(option.mac);
        }
        options = rest;
    }
    if options.is_empty() {
        Ok(found)
    } else {
        Err(NdError::BadOption)
    }
}

impl NdFlags {
    const fn from_bits(bits: u32) -> Self {
        Self {
            router: bits & FLAG_ROUTER != 0,
            solicited: bits & FLAG_SOLICITED != 0,
            override_cached: bits & FLAG_OVERRIDE != 0,
        }
    }

    const fn bits(self) -> u32 {
        (if self.router { FLAG_ROUTER } else { 0 })
            | (if self.solicited { FLAG_SOLICITED } else { 0 })
            | (if self.override_cached {
                FLAG_OVERRIDE
            } else {
                0
            })
    }
}

/// A source or target link-layer address option for Ethernet.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LinkAddressOption {
    pub kind: u8,
    /// In units of 8 bytes: 1.
    pub length: u8,
    pub mac: MacAddr,
}

/// A message with a link-layer address, as it is sent: an upper-layer packet of 32 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct NdMessage {
    pub icmp: Icmpv6Header,
    pub target: [u8; 16],
    pub option: LinkAddressOption,
}

impl NdMessage {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();

    /// Who has `target`? Tell `source` at `source_mac`. `destination` is `target` or its
    /// [`solicited_node`].
    pub fn solicitation(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        target: Ipv6Addr,
        source_mac: MacAddr,
    ) -> Self {
        let icmp = Icmpv6Header::new(NEIGHBOR_SOLICITATION, 0, 0);
        let option = (OPTION_SOURCE_LINK_ADDRESS, source_mac);
        Self::new(icmp, (source, destination), target, option)
    }

    /// `target` is at `target_mac`.
    pub fn advertisement(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        target: Ipv6Addr,
        target_mac: MacAddr,
        flags: NdFlags,
    ) -> Self {
        let icmp = Icmpv6Header::new(NEIGHBOR_ADVERTISEMENT, 0, flags.bits());
        let option = (OPTION_TARGET_LINK_ADDRESS, target_mac);
        Self::new(icmp, (source, destination), target, option)
    }

    fn new(
        icmp: Icmpv6Header,
        (source, destination): (Ipv6Addr, Ipv6Addr),
        target: Ipv6Addr,
        (kind, mac): (u8, MacAddr),
    ) -> Self {
        let mut message = Self {
            icmp,
            target: target.octets(),
            option: LinkAddressOption {
                kind,
                length: 1,
                mac,
            },
        };
        let body = message;
        message
            .icmp
            .fill_checksum(source, destination, &body.as_bytes()[Icmpv6Header::LEN..]);
        message
    }
}

/// The solicited-node multicast address of `address` (RFC 4291, section 2.7.1): where its
/// solicitations go.
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(address) & 0x00ff_ffff;
    Ipv6Addr::from(u128::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0)) | low)
}

/// The MAC address of a multicast address (RFC 2464, section 7).
pub fn multicast_mac(address: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = address.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::IpProtocol;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
    const RAIL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
    const SOLICITED: NdFlags = NdFlags {
        router: false,
        solicited: true,
        override_cached: true,
    };

    /// What `message` from `source` to `destination` says, after `change` did something to header
    /// or bytes.
    fn parse(
        (source, destination): (Ipv6Addr, Ipv6Addr),
        message: &[u8],
        change: impl Fn(&mut Ipv6Header, &mut Vec<u8>),
    ) -> Result<Nd, NdError> {
        let mut ip = Ipv6Header::new(source, destination, IpProtocol::ICMPV6, message.len());
        ip.hop_limit = HOP_LIMIT;
        let mut bytes = message.to_vec();
        change(&mut ip, &mut bytes);
        let message = Icmpv6::parse_quoted(&bytes).expect("an ICMPv6 header");
        Nd::parse(&ip, &message)
    }

    fn solicitation() -> NdMessage {
        NdMessage::solicitation(ROUTER, solicited_node(RAIL), RAIL, MAC)
    }

    #[test]
    fn multicast_addresses_of_a_target() {
        let target = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xabcd, 0xef01);
        let group = solicited_node(target);
        assert_eq!(group.to_string(), "ff02::1:ffcd:ef01");
        assert_eq!(multicast_mac(group).to_string(), "33:33:ff:cd:ef:01");
    }

    #[test]
    fn solicitation_as_written_is_as_scapy_writes_it() {
        let expected = [
            0x87, 0x00, 0x1b, 0x08, 0, 0, 0, 0, // type, code, checksum, reserved
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, // target
            0x01, 0x01, 0x02, 0, 0, 0, 0, 0xfe, // source link-layer address
        ];
        let bytes = solicitation();
        assert_eq!(bytes.as_bytes(), expected);
        let expected = Nd::Solicitation {
            target: RAIL,
            source_mac: Some(MAC),
        };
        let addresses = (ROUTER, solicited_node(RAIL));
        assert_eq!(parse(addresses, bytes.as_bytes(), |_, _| ()), Ok(expected));
    }

    #[test]
    fn advertisement_is_read_as_written() {
        let bytes = NdMessage::advertisement(RAIL, ROUTER, RAIL, MAC, SOLICITED);
        let expected = Nd::Advertisement {
            target: RAIL,
            target_mac: Some(MAC),
            flags: SOLICITED,
        };
        assert_eq!(
            parse((RAIL, ROUTER), bytes.as_bytes(), |_, _| ()),
            Ok(expected)
        );
        assert!(Icmpv6::parse(bytes.as_bytes(), RAIL, ROUTER).is_ok());
    }

    #[test]
    fn a_probe_has_no_address_to_learn() {
        let probe = &solicitation().as_bytes()[..24].to_vec();
        let unspecified = Ipv6Addr::UNSPECIFIED;
        let expected = Nd::Solicitation {
            target: RAIL,
            source_mac: None,
        };
        assert_eq!(
            parse((unspecified, solicited_node(RAIL)), probe, |_, _| ()),
            Ok(expected)
        );
        let bad = Err(NdError::BadAddress);
        assert_eq!(parse((unspecified, RAIL), probe, |_, _| ()), bad);
        let with_mac = solicitation();
        let addresses = (unspecified, solicited_node(RAIL));
        assert_eq!(parse(addresses, with_mac.as_bytes(), |_, _| ()), bad);
    }

    #[test]
    fn what_rfc_4861_says_to_ignore() {
        let bytes = solicitation();
        let check = |change: &dyn Fn(&mut Ipv6Header, &mut Vec<u8>), error| {
            let found = parse((ROUTER, RAIL), bytes.as_bytes(), change);
            assert_eq!(found, Err(error));
        };
        check(&|ip, _| ip.hop_limit = 254, NdError::BadHopLimit);
        check(&|_, bytes| bytes[0] = 134, NdError::BadType);
        check(&|_, bytes| bytes[1] = 1, NdError::BadCode);
        check(&|_, bytes| bytes[8] = 0xff, NdError::BadTarget);
        check(&|_, bytes| bytes.truncate(23), NdError::Truncated);
        check(&|_, bytes| bytes[25] = 0, NdError::BadOption);
        check(&|_, bytes| bytes[25] = 2, NdError::BadOption);
        check(&|_, bytes| bytes.truncate(31), NdError::BadOption);
        check(&|_, bytes| bytes.truncate(25), NdError::BadOption);
        check(&|_, bytes| bytes[26] = 0x33, NdError::BadOption);

        let to_all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let bytes = NdMessage::advertisement(RAIL, to_all, RAIL, MAC, SOLICITED);
        let found = parse((RAIL, to_all), bytes.as_bytes(), |_, _| ());
        assert_eq!(found, Err(NdError::BadAddress));
    }

    #[test]
    fn unknown_options_are_skipped() {
        // A nonce of two units (RFC 3971) before the address.
        let found = parse((ROUTER, RAIL), solicitation().as_bytes(), |_, bytes| {
            let nonce = [14, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            bytes.splice(24..24, nonce);
        });
        assert_eq!(
            found,
            Ok(Nd::Solicitation {
                target: RAIL,
                source_mac: Some(MAC)
            })
        );
    }
}
