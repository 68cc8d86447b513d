//! Frames that are broken or lie about themselves: each is dropped with the reason for just that, at
//! whatever length it is cut.

use rustyrail::pipeline::verdict::DropReason::{self, *};
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{PacketBuilder, Rail, arp_request, ether, ipv4};
use rustyrail::wire::{EtherType, IpProtocol};

use crate::support::*;

/// Cuts the frame at every length: up to each bound, the reason beside it.
#[track_caller]
fn check_cuts(packet: &PacketBuilder, reasons: &[(usize, DropReason)]) {
    let bytes = packet.build();
    let mut rail = web_rail();
    assert_eq!(
        reasons.last().map(|r| r.0),
        Some(bytes.len()),
        "the last bound"
    );
    for len in 0..bytes.len() {
        let (_, reason) = reasons
            .iter()
            .find(|(bound, _)| len < *bound)
            .expect("bounds");
        check_on(&mut rail, &bytes[..len], Verdict::Drop(*reason));
    }
}

#[test]
fn frames_cut_at_every_length() {
    check_cuts(
        &https(1).syn().payload("x"),
        &[(14, BadEthernet), (55, BadIpv4)],
    );
    check_cuts(
        &https(1).vlan(10).syn(),
        &[(18, BadEthernet), (58, BadIpv4)],
    );
    check_cuts(
        &https(1).vlan(10).service_vlan(100).syn(),
        &[(22, BadEthernet), (62, BadIpv4)],
    );
    check_cuts(
        &ether().ipv4(CLIENT, VIP).options(&[1; 8]).tcp(1, 443),
        &[(14, BadEthernet), (62, BadIpv4)],
    );
    check_cuts(&query(1), &[(14, BadEthernet), (47, BadIpv4)]);
    check_cuts(
        &ether().ipv4(CLIENT, VIP).echo_request(1, 1).payload("ping"),
        &[(14, BadEthernet), (46, BadIpv4)],
    );
    check_cuts(
        &arp_request(rustyrail::testkit::ROUTER_MAC, ROUTER, RAIL),
        &[(14, BadEthernet), (42, BadArp)],
    );
    let gre = ether().ipv4(ROUTER, RAIL).gre().gre_key(1).gre_checksum();
    check_cuts(
        &gre.ipv4(CLIENT, VIP).tcp(1, 443).syn(),
        &[(14, BadEthernet), (86, BadIpv4)],
    );
    check_cuts(
        &ether().ipv4(ROUTER, RAIL).ipv4(CLIENT, VIP).udp(1, 53),
        &[(14, BadEthernet), (62, BadIpv4)],
    );
    check_cuts(
        &ether().ipv6("2001:db8::7", "2001:db8::10").tcp(1, 443),
        &[(14, BadEthernet), (74, BadIpv6)],
    );
}

/// Cuts what an IP packet carries, with the length in its header telling the truth. The whole of it is
/// fit for something.
#[track_caller]
fn check_payload_cuts(
    protocol: IpProtocol,
    destination: &str,
    payload: &[u8],
    reasons: &[(usize, DropReason)],
) {
    let mut rail = Rail::new(&one_port(&service("web", "", &[""])));
    let cut = |len: usize| {
        let ip = ether().ipv4(ROUTER, destination).protocol(protocol);
        ip.payload(&payload[..len]).build()
    };
    for len in 0..payload.len() {
        let reason = reasons.iter().find(|(bound, _)| len < *bound);
        match reason {
            Some((_, reason)) => check_on(&mut rail, cut(len), Verdict::Drop(*reason)),
            None => assert!(!matches!(
                rail.receive(cut(len).as_slice()).0,
                Verdict::Drop(_)
            )),
        }
    }
    let whole = rail.receive(cut(payload.len()).as_slice()).0;
    assert!(!matches!(whole, Verdict::Drop(_)), "{whole:?}");
}

#[test]
fn transport_headers_cut_at_every_length() {
    let l4 = |packet: PacketBuilder| packet.build()[20..].to_vec();
    let (tcp, udp) = (IpProtocol::TCP, IpProtocol::UDP);
    let segment = l4(ipv4(CLIENT, VIP).tcp(1, 443).options(&[1; 12]).payload("x"));
    check_payload_cuts(tcp, VIP, &segment, &[(32, BadTransport)]);
    let datagram = l4(ipv4(CLIENT, VIP).udp(1, 443).payload("payload"));
    check_payload_cuts(udp, VIP, &datagram, &[(15, BadTransport)]);
    let ping = l4(ipv4(CLIENT, VIP).echo_request(1, 1).payload("abcd"));
    check_payload_cuts(IpProtocol::ICMP, VIP, &ping, &[(12, BadIcmp)]);
    // The common header of SCTP and the generic one of DCCP have 12 bytes, that of UDP-Lite 8.
    let chunk = [&[0, 1, 1, 187][..], &[0; 12]].concat();
    check_payload_cuts(IpProtocol::SCTP, VIP, &chunk, &[(12, BadTransport)]);
    check_payload_cuts(IpProtocol::DCCP, VIP, &chunk, &[(12, BadTransport)]);
    check_payload_cuts(IpProtocol::UDPLITE, VIP, &chunk, &[(8, BadTransport)]);
}

#[test]
fn tunnelled_packets_cut_at_every_length() {
    let inner = ipv4(CLIENT, VIP).tcp(1, 443).payload("x").build();
    check_payload_cuts(IpProtocol::IPIP, RAIL, &inner, &[(41, BadIpv4)]);

    let gre = |packet: PacketBuilder| packet.ipv4(CLIENT, VIP).tcp(1, 443).build()[20..].to_vec();
    let plain = gre(ipv4(ROUTER, RAIL).gre());
    let bounds = [(4, BadGre), (44, BadIpv4)];
    check_payload_cuts(IpProtocol::GRE, RAIL, &plain, &bounds);
    let keyed = gre(ipv4(ROUTER, RAIL).gre().gre_key(7).gre_sequence(1));
    let bounds = [(12, BadGre), (52, BadIpv4)];
    check_payload_cuts(IpProtocol::GRE, RAIL, &keyed, &bounds);
    // What is cut off is not zero, so the checksum tells.
    let summed = ipv4(ROUTER, RAIL).gre().gre_checksum().ipv4(CLIENT, VIP);
    let summed = summed.udp(1, 443).payload([0x11; 5]).build()[20..].to_vec();
    check_payload_cuts(IpProtocol::GRE, RAIL, &summed, &[(41, BadGre)]);
}

#[test]
fn ethernet_and_tags() {
    check_dropped(&[][..], BadEthernet);
    // Two tags are understood, not three.
    let tags = https(1).vlan(1).vlan(2).vlan(3);
    check_dropped(tags, BadEthernet);
}

#[test]
fn ipv4_headers_that_lie() {
    let ip = || ether().ipv4(CLIENT, VIP);
    for version_ihl in [0x05, 0x55, 0x65, 0x40, 0x41, 0x44] {
        check_dropped(ip().version_ihl(version_ihl).tcp(1, 443), BadIpv4);
    }
    // A header length beyond the packet, or beyond its own total length.
    check_dropped(ip().version_ihl(0x4f).udp(1, 443), BadIpv4);
    check_dropped(ip().version_ihl(0x46).total_length(20).tcp(1, 443), BadIpv4);
    for total_length in [0, 19, 41, 1500, 65_535] {
        check_dropped(ip().total_length(total_length).tcp(1, 443), BadIpv4);
    }
    check_dropped(ip().bad_checksum().tcp(1, 443), BadIpv4Checksum);
    check_dropped(ip().ttl(0).tcp(1, 443), TtlZero);
    check_dropped(ether().ipv6("::1", "::2").ttl(0).tcp(1, 443), TtlZero);
}

#[test]
fn what_a_short_total_length_leaves_out_does_not_count() {
    // 20 bytes of TCP header are there, the packet says that only 12 of them are its own.
    let short = ether().ipv4(CLIENT, VIP).total_length(32).tcp(1, 443);
    check_dropped(short, BadTransport);
}

#[test]
fn transport_headers_that_lie() {
    for data_offset in [0, 1, 4, 6, 15] {
        check_dropped(https(1).data_offset(data_offset), BadTransport);
    }
    let udp = || ether().ipv4(CLIENT, VIP).udp(1, 443).payload("data");
    for length in [0, 7, 13, 65_535] {
        check_dropped(udp().udp_length(length), BadTransport);
    }
}

#[test]
fn gre_headers_that_lie() {
    let gre = || ether().ipv4(ROUTER, RAIL).gre();
    let inside = |packet: PacketBuilder| packet.ipv4(CLIENT, VIP).tcp(1, 443);
    // Routing, the other reserved bits of RFC 2784, and the versions that are other protocols.
    for flags in [0x4000, 0x0800, 0x0400, 0x0001, 0x0007] {
        check_dropped(inside(gre().gre_flags(flags)), BadGre);
    }
    check_dropped(inside(gre().gre_checksum().bad_checksum()), BadGre);
    check_dropped(inside(gre().gre_protocol(EtherType(0x6558))), BadGre);
    // The flags take the first bytes of the inner packet for a key.
    check_dropped(inside(gre().gre_flags(0x2000)), BadIpv4);
    check_dropped(inside(gre().gre_protocol(EtherType::IPV6)), BadIpv6);
    check_dropped(gre().payload([0; 3]), BadGre);
}

#[test]
fn inner_packets_are_checked_like_outer_ones() {
    let inner = || ether().ipv4(ROUTER, RAIL).gre().ipv4(CLIENT, VIP);
    check_dropped(inner().bad_checksum().tcp(1, 443), BadIpv4Checksum);
    check_dropped(inner().ttl(0).tcp(1, 443), TtlZero);
    check_dropped(inner().total_length(41).tcp(1, 443), BadIpv4);
    check_dropped(inner().tcp(1, 443).data_offset(6), BadTransport);
}

#[test]
fn fragments_no_receiver_could_use() {
    let fragment = |offset, more| ether().ipv4(CLIENT, VIP).fragment(7, offset, more);
    let udp = |offset, more| fragment(offset, more).protocol(IpProtocol::UDP);
    let tcp = |offset, more| fragment(offset, more).protocol(IpProtocol::TCP);
    // RFC 791: all but the last are a multiple of 8 long; none ends beyond 65,535.
    check_dropped(udp(0, true).payload([0; 12]), BadFragment);
    check_dropped(udp(65_528, false).payload([0; 8]), BadFragment);
    // RFC 1858: a first fragment without the whole header, and one that overwrites its flags.
    check_dropped(tcp(0, true).payload([0; 16]), BadFragment);
    check_dropped(tcp(8, false).payload([0; 16]), BadFragment);
    check_dropped(udp(0, true).payload([0; 0]), BadFragment);
    let sctp = fragment(0, true).protocol(IpProtocol::SCTP);
    check_dropped(sctp.payload([0; 8]), BadFragment);
}

#[test]
fn arp_that_lies() {
    let good = arp_request(rustyrail::testkit::ROUTER_MAC, ROUTER, RAIL).build();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // Hardware type, protocol type, address lengths, operation, a sender that is a group.
    for (at, byte) in [(15, 2), (16, 0x86), (18, 8), (19, 16), (21, 3), (22, 1)] {
        check_dropped(with(at, byte), BadArp);
    }
}
