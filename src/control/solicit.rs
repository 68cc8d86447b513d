//! Frames that ask for a next hop's link address.

use std::net::IpAddr;

use crate::pool::Port;
use crate::table::neighbor::Request;
use crate::table::template::LinkHeader;
use crate::wire::arp::ArpPacket;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::nd::{self, NdMessage, multicast_mac, solicited_node};
use crate::wire::{EtherType, IpProtocol, MacAddr};

use zerocopy::{Immutable, IntoBytes};

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
    use super::*;
    use crate::pool::{Environment, parse};

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
