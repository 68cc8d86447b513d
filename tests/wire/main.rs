//! The parsers against everything: any bytes, every truncation of good packets, every lie the
//! builder can tell, and what the builder writes read back.

#[path = "../support/corpus.rs"]
mod corpus;
mod properties;
mod reader;
mod seeds;

use reader::{Wrong, every_parser, read};
use rustyrail::testkit::{PacketBuilder, arp_reply, arp_request, ether, ipv4, ipv6};
use rustyrail::wire::fragment::FragmentError;
use rustyrail::wire::gre::GreError;
use rustyrail::wire::gue::{self, GueError};
use rustyrail::wire::icmpv4::Icmpv4Error;
use rustyrail::wire::icmpv6::Icmpv6Error;
use rustyrail::wire::ipv4::Ipv4Error;
use rustyrail::wire::ipv6::Ipv6Error;
use rustyrail::wire::nd::{NdError, NdFlags};
use rustyrail::wire::tcp::TcpError;
use rustyrail::wire::udp::UdpError;
use rustyrail::wire::vlan::L2Error;
use rustyrail::wire::{IpProtocol, MacAddr};

const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
const CLIENT: &str = "198.51.100.7";
const VIP: &str = "203.0.113.10";
const CLIENT6: &str = "2001:db8::7";
const VIP6: &str = "2001:db8::10";

fn tcp4() -> PacketBuilder {
    ether().ipv4(CLIENT, VIP).tcp(4242, 443).syn()
}

fn udp6() -> PacketBuilder {
    ether().ipv6(CLIENT6, VIP6).udp(5353, 53).payload("hello")
}

fn gre() -> PacketBuilder {
    ether().ipv4("192.0.2.1", "192.0.2.10").gre()
}

fn in_gue() -> PacketBuilder {
    ether()
        .ipv4("192.0.2.1", "192.0.2.10")
        .udp(50_000, gue::PORT)
        .gue()
}

fn solicitation() -> PacketBuilder {
    ether()
        .ipv6(CLIENT6, VIP6)
        .neighbor_solicitation(VIP6, Some(ROUTER))
}

/// One good frame of every kind of traffic.
fn good_frames() -> Vec<PacketBuilder> {
    let flags = NdFlags {
        router: false,
        solicited: true,
        override_cached: true,
    };
    let lost4 = ipv4(VIP, CLIENT).tcp(443, 4242).ack().build();
    let lost6 = ipv6(VIP6, CLIENT6)
        .hop_by_hop()
        .tcp(443, 4242)
        .ack()
        .build();
    vec![
        tcp4(),
        tcp4().options(&[2, 4, 5, 0xb4]).payload("data").vlan(10),
        ether()
            .ipv4(CLIENT, VIP)
            .options(&[0x94, 4, 0, 0])
            .udp(1, 2)
            .no_checksum(),
        udp6().vlan(10).service_vlan(20),
        ether()
            .ipv6(CLIENT6, VIP6)
            .hop_by_hop()
            .routing()
            .destination_options()
            .tcp(1, 2),
        ether()
            .ipv6(CLIENT6, VIP6)
            .authentication()
            .udp(1, 2)
            .payload("data"),
        ether()
            .ipv6(CLIENT6, VIP6)
            .fragment(7, 1480, false)
            .protocol(IpProtocol::UDP)
            .payload("end"),
        ether()
            .ipv4(CLIENT, VIP)
            .fragment(7, 0, true)
            .udp(1, 2)
            .udp_length(3000)
            .payload_len(1472),
        arp_request(ROUTER, "192.0.2.1", "192.0.2.10"),
        arp_reply((ROUTER, "192.0.2.1"), ([2, 0, 0, 0, 0, 1], "192.0.2.10")),
        ether().ipv4(CLIENT, VIP).echo_request(1, 2).payload("ping"),
        ether()
            .ipv6(CLIENT6, VIP6)
            .echo_request(1, 2)
            .payload("ping"),
        ether()
            .ipv4("192.0.2.99", VIP)
            .too_big(1400)
            .payload(&lost4[..28]),
        ether()
            .ipv6("2001:db8::99", VIP6)
            .too_big(1400)
            .payload(lost6),
        ether()
            .ipv4("192.0.2.99", VIP)
            .time_exceeded()
            .payload(&lost4),
        solicitation(),
        ether()
            .ipv6(CLIENT6, VIP6)
            .neighbor_advertisement(CLIENT6, ROUTER, flags),
        gre().ipv4(CLIENT, VIP).tcp(4242, 443).ack(),
        gre()
            .gre_checksum()
            .gre_key(7)
            .gre_sequence(9)
            .ipv6(CLIENT6, VIP6)
            .udp(1, 2),
        ether()
            .ipv4("192.0.2.1", "192.0.2.10")
            .ipv4(CLIENT, VIP)
            .tcp(1, 2),
        ether()
            .ipv6("2001:db8::1", "2001:db8::2")
            .ipv4(CLIENT, VIP)
            .tcp(1, 2),
        in_gue().ipv4(CLIENT, VIP).udp(1, 2).payload("data"),
    ]
}

#[test]
fn good_frames_are_read_to_the_end() {
    for builder in good_frames() {
        assert_eq!(read(&builder.build()), Ok(()), "{builder:?}");
        assert_eq!(read(&builder.padded_to(1600).build()), Ok(()), "padded");
    }
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    for builder in good_frames() {
        let frame = builder.build();
        for len in 0..frame.len() {
            every_parser(&frame[..len]);
            assert!(read(&frame[..len]).is_err(), "{len} bytes of {builder:?}");
        }
    }
}

#[test]
fn every_lie_is_found_out() {
    let lies = [
        (
            tcp4().vlan(1).vlan(2).vlan(3),
            Wrong::L2(L2Error::TooManyTags),
        ),
        (tcp4().version_ihl(0x65), Wrong::Ipv4(Ipv4Error::BadVersion)),
        (tcp4().version_ihl(0x44), Wrong::Ipv4(Ipv4Error::BadIhl)),
        (tcp4().version_ihl(0x4f), Wrong::Ipv4(Ipv4Error::Truncated)),
        (tcp4().total_length(41), Wrong::Ipv4(Ipv4Error::BadLength)),
        (tcp4().total_length(19), Wrong::Ipv4(Ipv4Error::BadLength)),
        (tcp4().total_length(39), Wrong::Tcp(TcpError::Truncated)),
        (
            ether().ipv4(CLIENT, VIP).bad_checksum(),
            Wrong::Ipv4(Ipv4Error::BadChecksum),
        ),
        (tcp4().data_offset(4), Wrong::Tcp(TcpError::BadDataOffset)),
        (tcp4().data_offset(6), Wrong::Tcp(TcpError::BadDataOffset)),
        (udp6().payload_length(14), Wrong::Ipv6(Ipv6Error::BadLength)),
        (udp6().payload_length(12), Wrong::Udp(UdpError::BadLength)),
        (udp6().udp_length(7), Wrong::Udp(UdpError::BadLength)),
        (udp6().udp_length(14), Wrong::Udp(UdpError::BadLength)),
        (
            ether().ipv6(CLIENT6, VIP6).hop_by_hop().payload_length(0),
            Wrong::Ipv6(Ipv6Error::Jumbogram),
        ),
        (
            ether()
                .ipv6(CLIENT6, VIP6)
                .destination_options()
                .hop_by_hop(),
            Wrong::Ipv6(Ipv6Error::BadExtension),
        ),
        (
            ether()
                .ipv4(CLIENT, VIP)
                .fragment(7, 0, true)
                .payload("odd"),
            Wrong::Fragment(FragmentError::BadLength),
        ),
        (
            ether()
                .ipv4(CLIENT, VIP)
                .fragment(7, 65_528, false)
                .payload("too long"),
            Wrong::Fragment(FragmentError::TooLong),
        ),
        (gre().gre_flags(0x2000), Wrong::Gre(GreError::Truncated)),
        (gre().gre_flags(0x4000), Wrong::Gre(GreError::BadFlags)),
        (gre().gre_flags(0x0001), Wrong::Gre(GreError::BadVersion)),
        (
            gre().gre_checksum().bad_checksum(),
            Wrong::Gre(GreError::BadChecksum),
        ),
        (
            in_gue().gue_header([0x40, 4, 0, 0]),
            Wrong::Gue(GueError::BadVariant),
        ),
        (
            ether().ipv4(CLIENT, VIP).echo_request(1, 2).bad_checksum(),
            Wrong::Icmpv4(Icmpv4Error::BadChecksum),
        ),
        (
            ether()
                .ipv6(CLIENT6, VIP6)
                .echo_request(1, 2)
                .bad_checksum(),
            Wrong::Icmpv6(Icmpv6Error::BadChecksum),
        ),
        (solicitation().ttl(64), Wrong::Nd(NdError::BadHopLimit)),
    ];
    for (builder, wrong) in lies {
        assert_eq!(read(&builder.build()), Err(wrong), "{builder:?}");
    }
}
