//! Direct return: the packet itself goes to the backend, its checksums following the change.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::testkit::rail::{NEXT_HOP_MAC, port_mac};
use rustyrail::testkit::{PacketBuilder, Rail, ether};
use rustyrail::wire::{Ecn, IpProtocol};

use crate::support::*;

/// A rail with one service of this encapsulation for all that comes to [`VIP`].
fn rail(encap: &str) -> Rail {
    let backend = if encap.contains("l2dsr") {
        // On the link, as it has to be.
        format!(
            "\n[[service]]\nname = \"web\"\nvip = \"{VIP}\"\n{encap}\n[[service.backend]]\n\
                 name = \"web-1\"\naddress = \"192.0.2.21\"\n"
        )
    } else {
        service("web", encap, &[""])
    };
    Rail::new(&one_port(&backend))
}

/// Sends the packet and returns the IP packet that leaves.
#[track_caller]
fn sent(rail: &mut Rail, packet: &PacketBuilder) -> Vec<u8> {
    let (verdict, frame) = rail.receive(packet.frame());
    assert_eq!(verdict, FORWARD);
    let data = frame.data();
    assert_eq!(data[..6], NEXT_HOP_MAC.octets());
    assert_eq!(data[6..12], port_mac(0).octets());
    assert_eq!(data[12..14], [8, 0]);
    data[14..].to_vec()
}

#[test]
fn l3dsr_changes_destination_and_dscp() {
    let mut rail = rail("encap = \"l3dsr\"\ndscp = 10");
    let both = |what: &dyn Fn(PacketBuilder) -> PacketBuilder| {
        let from = ether()
            .ipv4(CLIENT, VIP)
            .dscp(46)
            .ecn(Ecn::Ect0)
            .ttl(9)
            .id(77);
        let to = ether()
            .ipv4(CLIENT, BACKEND)
            .dscp(10)
            .ecn(Ecn::Ect0)
            .ttl(9)
            .id(77);
        (what(from), what(to))
    };
    let cases: [&dyn Fn(PacketBuilder) -> PacketBuilder; 7] = [
        &|ip| ip.tcp(4242, 443).syn().options(&[2, 4, 5, 0xb4]),
        &|ip| ip.tcp(4242, 443).ack().payload("odd"),
        &|ip| ip.udp(4242, 443).payload_len(1000),
        &|ip| ip.udp(4242, 443).no_checksum().payload("none"),
        &|ip| ip.options(&[0x94, 4, 0, 0]).udp(4242, 443).payload("x"),
        &|ip| ip.dont_fragment().tcp(1, 2).ack().payload_len(77),
        &|ip| ip.protocol(IpProtocol::ESP).payload([7; 30]),
    ];
    for case in cases {
        let (from, to) = both(case);
        assert_eq!(sent(&mut rail, &from.padded()), ip_of(&to));
    }
}

/// RFC 768 and RFC 3828: a checksum that comes out as zero is sent as all ones.
#[test]
fn l3dsr_never_sends_a_zero_checksum() {
    let mut rail = rail("encap = \"l3dsr\"\ndscp = 10");
    for protocol in [IpProtocol::UDP, IpProtocol::UDPLITE] {
        let mut zeros = 0;
        for filler in 0..=u16::MAX {
            // UDP-Lite over the whole datagram is UDP with another protocol number.
            let datagram = |destination: &str| {
                let ip = ether().ipv4(CLIENT, destination).protocol(protocol);
                let words = [0x1092, 0x01bb, 10, 0, filler];
                let mut sum: u32 = words.iter().map(|word| u32::from(*word)).sum();
                let octets =
                    |text: &str| text.parse::<std::net::Ipv4Addr>().expect("IPv4").octets();
                for address in [octets(CLIENT), octets(destination)] {
                    sum += u32::from(u16::from_be_bytes([address[0], address[1]]));
                    sum += u32::from(u16::from_be_bytes([address[2], address[3]]));
                }
                sum += u32::from(protocol.0) + 10;
                while sum > 0xffff {
                    sum = (sum & 0xffff) + (sum >> 16);
                }
                let sum = match !(sum as u16) {
                    0 => 0xffff,
                    sum => sum,
                };
                let bytes: Vec<u8> = [0x1092, 0x01bb, 10, sum, filler]
                    .iter()
                    .flat_map(|word: &u16| word.to_be_bytes())
                    .collect();
                (sum, ip.dscp(10).payload(bytes))
            };
            let (_, from) = datagram(VIP);
            let (expected, to) = datagram(BACKEND);
            if expected == 0xffff {
                zeros += 1;
                assert_eq!(sent(&mut rail, &from), ip_of(&to), "{protocol}");
            } else if filler % 509 == 0 {
                assert_eq!(sent(&mut rail, &from), ip_of(&to), "{protocol}");
            }
        }
        assert_eq!(zeros, 1, "the case this is about");
    }
}

/// A first fragment has the datagram's checksum and it follows.
#[test]
fn l3dsr_of_a_first_fragment() {
    let mut rail = rail("encap = \"l3dsr\"\ndscp = 10");
    let whole = |destination| ether().ipv4(CLIENT, destination).dscp(10).udp(1, 443);
    let first = |destination| whole(destination).payload_len(64).fragments(9, 32)[0].clone();
    let (verdict, frame) = rail.receive(first(VIP));
    assert_eq!(verdict, FORWARD);
    assert_eq!(frame.data()[14..], first(BACKEND)[14..]);
}

#[test]
fn l2dsr_changes_the_link_header_alone() {
    let mut rail = rail("encap = \"l2dsr\"");
    let packet = https(4242).syn().payload("odd");
    assert_eq!(
        sent(&mut rail, &packet.clone().vlan(9).padded_to(90)),
        ip_of(&packet)
    );
}

/// RFC 6040: a packet that leaves the tunnel for good carries the congestion both headers met.
#[test]
fn a_congestion_mark_of_the_tunnel_survives_direct_return() {
    for encap in ["encap = \"l3dsr\"\ndscp = 10", "encap = \"l2dsr\""] {
        let mut rail = rail(encap);
        let l3dsr = encap.contains("l3dsr");
        let tunnel = ether().ipv4(ROUTER, RAIL).ecn(Ecn::Ce).gre();
        let packet = tunnel.ipv4(CLIENT, VIP).ecn(Ecn::Ect0).tcp(1, 443).ack();
        let to = if l3dsr { BACKEND } else { VIP };
        let marked = ether()
            .ipv4(CLIENT, to)
            .ecn(Ecn::Ce)
            .dscp(if l3dsr { 10 } else { 0 });
        let expected = ip_of(&marked.tcp(1, 443).ack());
        assert_eq!(sent(&mut rail, &packet), expected, "{encap}");
    }
}
