//! Frames that ask for a next hop's link address, and such that tell the rail's own.

use std::net::{IpAddr, Ipv6Addr};

use crate::pool::Port;
use crate::table::neighbor::Request;
use crate::table::template::LinkHeader;
use crate::wire::arp::ArpPacket;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::nd::{self, NdFlags, NdMessage, multicast_mac, solicited_node};
use crate::wire::{EtherType, IpProtocol, MacAddr};

use zerocopy::{Immutable, IntoBytes};

/// All nodes on a link (RFC 4291, section 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The frame for a request on a port, if the address asked for is on its link. IPv4 asks by ARP (RFC 826), IPv6 by
/// neighbour solicitation (RFC 4861).
pub fn request(port: &Port, mac: [u8; 6], request: Request) -> Option<Vec<u8>> {
    let address = request.address;
    let own = port.addresses.iter().find(|own| own.on_link(address))?;
    let link = |multicast: MacAddr| LinkHeader {
        destination: request.unicast.unwrap_or(multicast).octets(),
        source: mac,
        vlan: port.vlan.map(|v| v.get()),
        outer_vlan: port.outer_vlan.map(|v| v.get()),
    };
    let mac = MacAddr(mac);
    match (own.address(), address) {
        (IpAddr::V4(sender), IpAddr::V4(target)) => {
            let link = link(MacAddr::BROADCAST);
            frame(
                link,
                EtherType::ARP,
                &ArpPacket::request(mac, sender, target),
                &[],
            )
        }
        (IpAddr::V6(sender), IpAddr::V6(target)) => {
            let group = solicited_node(target);
            let destination = if request.unicast.is_some() {
                target
            } else {
                group
            };
            let mut ip = Ipv6Header::new(sender, destination, IpProtocol::ICMPV6, NdMessage::LEN);
            ip.hop_limit = nd::HOP_LIMIT;
            let message = NdMessage::solicitation(sender, destination, target, mac);
            let link = link(multicast_mac(group));
            frame(link, EtherType::IPV6, &ip, message.as_bytes())
        }
        _ => None,
    }
}

/// The frame that tells everybody on a port's link, unasked, that an address is the rail's: an ARP
/// announcement (RFC 5227, section 2.3) or an unsolicited advertisement (RFC 4861, section 7.2.6).
pub fn announcement(port: &Port, mac: [u8; 6], own: IpAddr) -> Option<Vec<u8>> {
    let link = |to: MacAddr| LinkHeader {
        destination: to.octets(),
        source: mac,
        vlan: port.vlan.map(|v| v.get()),
        outer_vlan: port.outer_vlan.map(|v| v.get()),
    };
    let mac = MacAddr(mac);
    match own {
        IpAddr::V4(own) => {
            let arp = ArpPacket::request(mac, own, own);
            frame(link(MacAddr::BROADCAST), EtherType::ARP, &arp, &[])
        }
        IpAddr::V6(own) => {
            let all = ALL_NODES;
            let mut ip = Ipv6Header::new(own, all, IpProtocol::ICMPV6, NdMessage::LEN);
            ip.hop_limit = nd::HOP_LIMIT;
            let flags = NdFlags {
                router: false,
                solicited: false,
                override_cached: true,
            };
            let message = NdMessage::advertisement(own, all, own, mac, flags);
            let link = link(multicast_mac(all));
            frame(link, EtherType::IPV6, &ip, message.as_bytes())
        }
    }
}

fn frame<H: IntoBytes + Immutable>(
    link: LinkHeader,
    ethertype: EtherType,
    header: &H,
    body: &[u8],
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; link.len()];
    link.write(ethertype.0, &mut bytes);
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::pool::{Environment, parse};
    use crate::wire::arp::{Arp, ArpOperation};
    use crate::wire::icmpv6::Icmpv6;
    use crate::wire::ipv6::Ipv6;
    use crate::wire::nd::Nd;

    fn port(vlan: &str) -> Port {
        let text = format!(
            "[node]\nname = \"a\"\nworkers = [1]\n[[port]]\ndevice = \"net_null0\"\n{vlan}\n\
             address = [\"192.0.2.10/24\", \"2001:db8::10/64\"]\n\
             [pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n"
        );
        let parsed = parse(&text, "test.toml", &Environment::any());
        parsed.expect("valid").0.ports.remove(0)
    }

    fn ask(port: &Port, address: &str, unicast: Option<MacAddr>) -> Option<Vec<u8>> {
        let address = address.parse().expect("test address");
        request(port, [2, 0, 0, 0, 0, 1], Request { address, unicast })
    }

    #[test]
    fn asks_by_arp_and_by_neighbour_discovery_on_the_link_only() {
        let plain = port("");
        let arp = ask(&plain, "192.0.2.1", None).expect("on link");
        assert_eq!(arp.len(), 14 + 28);
        assert_eq!(arp[..6], [0xff; 6]);
        assert_eq!(arp[12..14], [0x08, 0x06]);
        let nd = ask(&plain, "2001:db8::1", None).expect("on link");
        assert_eq!(nd.len(), 14 + 40 + 32);
        assert_eq!(nd[..6], [0x33, 0x33, 0xff, 0, 0, 1]);
        assert_eq!(ask(&plain, "198.51.100.1", None), None);
    }

    #[test]
    fn announcements_are_read_as_what_they_are() {
        let (port, mac) = (port("vlan = 7"), [2, 0, 0, 0, 0, 1]);
        let tell = |own: &str| announcement(&port, mac, own.parse().expect("test address"));
        let arp = tell("192.0.2.10").expect("a frame");
        assert_eq!(arp[..6], [0xff; 6]);
        assert_eq!(arp[12..18], [0x81, 0x00, 0, 7, 0x08, 0x06]);
        let said = Arp::parse(&arp[18..]).expect("ARP");
        assert!(said.is_announcement() && said.operation == ArpOperation::Request);
        assert_eq!(said.sender_mac, MacAddr(mac));
        assert_eq!(said.sender_ip, Ipv4Addr::new(192, 0, 2, 10));

        let nd = tell("2001:db8::10").expect("a frame");
        assert_eq!(nd[..6], [0x33, 0x33, 0, 0, 0, 1]);
        let ip = Ipv6::parse(&nd[18..]).expect("IPv6");
        let (from, to) = (ip.header.source(), ip.header.destination());
        let message = Icmpv6::parse(ip.payload, from, to).expect("a right checksum");
        let flags = NdFlags {
            router: false,
            solicited: false,
            override_cached: true,
        };
        let expected = Nd::Advertisement {
            target: "2001:db8::10".parse().expect("test address"),
            target_mac: Some(MacAddr(mac)),
            flags,
        };
        assert_eq!(Nd::parse(ip.header, &message), Ok(expected));
    }

    #[test]
    fn tags_and_unicast_requests() {
        let station = MacAddr([2, 0, 0, 0, 0, 9]);
        let arp = ask(&port("vlan = 7"), "192.0.2.1", Some(station)).expect("on link");
        assert_eq!(arp[..6], station.octets());
        assert_eq!(arp[12..18], [0x81, 0x00, 0, 7, 0x08, 0x06]);
        let two = port("vlan = 7\nouter_vlan = 8");
        let arp = ask(&two, "192.0.2.1", None).expect("on link");
        assert_eq!(
            arp[12..22],
            [0x88, 0xa8, 0, 8, 0x81, 0x00, 0, 7, 0x08, 0x06]
        );
    }
}
