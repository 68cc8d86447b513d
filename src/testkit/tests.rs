//! The builder against frames that scapy 2.5 wrote for the same traffic, byte for byte.

use super::*;
use crate::wire::nd::NdFlags;
use crate::wire::{Ecn, IpProtocol, ipv4::Ipv4, ipv6::Ipv6};

fn check(built: PacketBuilder, scapy: &str) {
    let hex: String = built.build().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, scapy);
}

#[test]
fn tcp() {
    check(
        ether()
            .vlan(10)
            .ipv4("198.51.100.7", "203.0.113.10")
            .ttl(63)
            .tcp(4242, 443)
            .syn()
            .sequence(1),
        "0200000000100200000000fe8100000a080045000028000000003f06158bc6336407cb00710a\
         109201bb00000001000000005002ffff374f0000",
    );
    check(
        ether()
            .ipv4("198.51.100.7", "203.0.113.10")
            .id(7)
            .dont_fragment()
            .dscp(46)
            .ecn(Ecn::Ect0)
            .options(&[0x94, 4, 0, 0])
            .tcp(4242, 443)
            .psh()
            .ack()
            .sequence(0x0102_0304)
            .acknowledgment(0x0a0b_0c0d)
            .options(&[2, 4, 0x05, 0xb4])
            .payload("odd"),
        "0200000000100200000000fe080046ba00330007400040063ebac6336407cb00710a94040000\
         109201bb010203040a0b0c0d6018ffff31f80000020405b46f6464",
    );
}

#[test]
fn udp_behind_two_tags() {
    check(
        ether()
            .service_vlan(100)
            .vlan(10)
            .ipv4("198.51.100.7", "203.0.113.10")
            .udp(5353, 53)
            .payload("hello"),
        "0200000000100200000000fe88a800648100000a080045000021000000004011\
         1487c6336407cb00710a14e90035000d409e68656c6c6f",
    );
}

#[test]
fn tunnels() {
    check(
        ether()
            .ipv4("192.0.2.1", "192.0.2.10")
            .gre()
            .gre_checksum()
            .gre_key(0xdead_beef)
            .gre_sequence(5)
            .ipv4("198.51.100.7", "203.0.113.10")
            .udp(1, 2)
            .payload("odd"),
        "0200000000100200000000fe08004500004300000000402ff680c0000201c000020a\
         b000080010bf0000deadbeef00000005\
         4500001f0000000040111489c6336407cb00710a00010002000bc62a6f6464",
    );
    check(
        ether()
            .ipv4("192.0.2.1", "192.0.2.10")
            .ipv6("2001:db8::7", "2001:db8::10")
            .udp(1, 2)
            .payload("x"),
        "0200000000100200000000fe080045000045000000004029f684c0000201c000020a\
         600000000009114020010db800000000000000000000000720010db8000000000000000000000010\
         0001000200092c5078",
    );
}

#[test]
fn ipv6_with_extension_headers() {
    check(
        ether()
            .ipv6("2001:db8::7", "2001:db8::10")
            .dscp(46)
            .flow_label(0x12345)
            .ttl(61)
            .hop_by_hop()
            .destination_options()
            .tcp(4242, 443)
            .ack()
            .payload("abc"),
        "0200000000100200000000fe86dd6b812345002f003d\
         20010db800000000000000000000000720010db8000000000000000000000010\
         3c000104000000000601010c000000000000000000000000\
         109201bb00000000000000005010ffff7d990000616263",
    );
    check(
        ether()
            .ipv6("2001:db8::7", "2001:db8::10")
            .fragment(0xcafe_f00d, 8, true)
            .protocol(IpProtocol::UDP)
            .payload([0x11; 16]),
        "0200000000100200000000fe86dd6000000000182c40\
         20010db800000000000000000000000720010db8000000000000000000000010\
         11000009cafef00d11111111111111111111111111111111",
    );
}

#[test]
fn icmp() {
    check(
        ether()
            .ipv4("198.51.100.7", "203.0.113.10")
            .echo_request(0x1234, 9)
            .payload("ping!"),
        "0200000000100200000000fe0800450000210000000040011497c6336407cb00710a\
         0800e5f11234000970696e6721",
    );
    check(
        ether()
            .ipv6("2001:db8::7", "2001:db8::10")
            .echo_request(0x1234, 9)
            .payload("ping!"),
        "0200000000100200000000fe86dd60000000000d3a40\
         20010db800000000000000000000000720010db8000000000000000000000010\
         800012211234000970696e6721",
    );
    let lost = ipv4("203.0.113.10", "198.51.100.7")
        .udp(53, 5353)
        .payload("hello");
    check(
        ether()
            .ipv4("192.0.2.99", "203.0.113.10")
            .too_big(1400)
            .payload(lost.build()),
        "0200000000100200000000fe08004500003d0000000040017c52c0000263cb00710a\
         03045de800000578450000210000000040111487cb00710ac6336407003514e9000d409e68656c6c6f",
    );
    let lost = ipv6("2001:db8::10", "2001:db8::7")
        .udp(53, 5353)
        .payload("hello");
    check(
        ether()
            .ipv6("2001:db8::99", "2001:db8::10")
            .too_big(1400)
            .payload(lost.build()),
        "0200000000100200000000fe86dd60000000003d3a40\
         20010db800000000000000000000009920010db8000000000000000000000010\
         02002ac60000057860000000000d1140\
         20010db800000000000000000000001020010db8000000000000000000000007\
         003514e9000d4b5b68656c6c6f",
    );
}

#[test]
fn neighbours() {
    check(
        arp_request(ROUTER_MAC, "192.0.2.1", "192.0.2.10"),
        "ffffffffffff0200000000fe080600010800060400010200000000fec0000201\
         000000000000c000020a",
    );
    check(
        ether()
            .destination_mac("33:33:ff:00:00:10")
            .ipv6("2001:db8::7", "ff02::1:ff00:10")
            .neighbor_solicitation("2001:db8::10", Some(ROUTER_MAC)),
        "3333ff0000100200000000fe86dd6000000000203aff\
         20010db8000000000000000000000007ff0200000000000000000001ff000010\
         87001b080000000020010db800000000000000000000001001010200000000fe",
    );
    let flags = NdFlags {
        router: false,
        solicited: true,
        override_cached: true,
    };
    check(
        ether()
            .ipv6("2001:db8::7", "2001:db8::10")
            .neighbor_advertisement("2001:db8::7", ROUTER_MAC, flags),
        "0200000000100200000000fe86dd6000000000203aff\
         20010db800000000000000000000000720010db8000000000000000000000010\
         8800895c6000000020010db800000000000000000000000702010200000000fe",
    );
}

#[test]
fn arp_answers_go_to_who_asked() {
    let reply = arp_reply((RAIL_MAC, "192.0.2.10"), (ROUTER_MAC, "192.0.2.1")).build();
    let request = arp_request(ROUTER_MAC, "192.0.2.1", "192.0.2.10").build();
    let asked = crate::wire::arp::Arp::parse(&request[14..]).expect("a request");
    let answered = crate::wire::arp::Arp::parse(&reply[14..]).expect("a reply");
    assert_eq!(reply[..6], ROUTER_MAC.octets());
    assert_eq!(answered.target_mac, asked.sender_mac);
    assert_eq!(answered.sender_ip, asked.target_ip);
}

#[test]
fn fragments_put_together_are_the_datagram() {
    let whole = ether()
        .ipv4("198.51.100.7", "203.0.113.10")
        .udp(1, 2)
        .payload_len(100);
    let datagram = whole.build();
    let mut joined = vec![];
    for (index, fragment) in whole.fragments(77, 40).iter().enumerate() {
        let ip = Ipv4::parse(&fragment[14..]).expect("a valid fragment");
        let fields = ip.header.fragment().expect("a fragment");
        assert_eq!((fields.id, usize::from(fields.offset)), (77, joined.len()));
        assert_eq!(fields.more, index < 2);
        assert_eq!(ip.header.protocol, IpProtocol::UDP);
        joined.extend_from_slice(ip.payload);
    }
    assert_eq!(joined, datagram[34..]);
}

#[test]
fn fragments_of_ipv6_repeat_the_headers_routers_read() {
    let whole = ether()
        .ipv6("2001:db8::7", "2001:db8::10")
        .hop_by_hop()
        .destination_options()
        .tcp(1, 2)
        .payload_len(100);
    let datagram = whole.build();
    let mut joined = vec![];
    for fragment in whole.fragments(77, 64) {
        let ip = Ipv6::parse(&fragment[14..]).expect("a valid fragment");
        let offset = ip.fragment.expect("a fragment").offset;
        assert_eq!(usize::from(offset), joined.len());
        // The fragment header stands behind the hop-by-hop options; the destination options are cut
        // with the rest.
        joined.extend_from_slice(&fragment[14 + 40 + 8 + 8..]);
    }
    assert_eq!(joined, datagram[14 + 40 + 8..]);
}

#[test]
fn a_checksum_made_wrong_is_the_only_change() {
    let right = ether()
        .ipv4("198.51.100.7", "203.0.113.10")
        .udp(1, 2)
        .payload("data");
    let (before, after) = (right.build(), right.bad_checksum().vlan(10).build());
    let (before, after) = (&before[14..], &after[18..]);
    assert_eq!(before[..26], after[..26]);
    assert_ne!(before[26..28], after[26..28]);
    assert_eq!(before[28..], after[28..]);
}

#[test]
fn padding_is_behind_the_packet() {
    let frame = ether()
        .ipv4("198.51.100.7", "203.0.113.10")
        .udp(1, 2)
        .padded()
        .build();
    assert_eq!(frame.len(), 60);
    let ip = Ipv4::parse(&frame[14..]).expect("a valid packet");
    assert_eq!(ip.payload.len(), 8);
}
