//! Paths to backends that carry less than configured: who is believed about them, what follows, and
//! packets that are cut to fit.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{Frame, Rail, ether, ipv4};
use rustyrail::wire::icmpv4::{Icmpv4, Icmpv4Kind};
use rustyrail::wire::ipv4::Ipv4;

use crate::support::*;

const FAR_ROUTER: &str = "192.0.2.77";

/// A router tells `to` that a GRE packet from `from` to [`BACKEND`] did not fit.
fn error(to: &str, from: &str, mtu: u16) -> Frame {
    let outer = ipv4(from, BACKEND).gre().payload([0; 8]).build();
    let error = ether().ipv4(FAR_ROUTER, to).too_big(mtu);
    error.payload(&outer[..28]).frame()
}

#[test]
fn an_error_about_our_tunnel_is_told_to_the_control_core() {
    let mut rail = web_rail();
    let (verdict, _) = rail.receive(error(RAIL, RAIL, 1400));
    assert_eq!(verdict, Verdict::Drop(PathMtu));
    let heard = rail.path_errors();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].destination.to_string(), BACKEND);
    assert_eq!((heard[0].protocol, heard[0].port), (47, 0));
    assert_eq!((heard[0].mtu, heard[0].length), (1400, 32));
}

#[test]
fn errors_about_other_packets_are_the_hosts() {
    let mut rail = web_rail();
    // Quotes a packet of somebody else.
    assert_eq!(rail.receive(error(RAIL, ROUTER, 1400)).0, HOST);
    // A connection of the host's own.
    let own = ipv4(RAIL, BACKEND).tcp(1, 443).build();
    let other = ether().ipv4(FAR_ROUTER, RAIL).too_big(1400);
    assert_eq!(rail.receive(other.payload(&own[..28]).frame()).0, HOST);
    // Another error about our tunnel.
    let outer = ipv4(RAIL, BACKEND).gre().payload([0; 8]).build();
    let unreachable = ether().ipv4(FAR_ROUTER, RAIL).unreachable(1);
    assert_eq!(
        rail.receive(unreachable.payload(&outer[..28]).frame()).0,
        HOST
    );
    assert!(rail.path_errors().is_empty());
}

/// Errors about packets whose source carries entropy come to that source.
#[test]
fn sources_with_entropy_hear_of_their_packets() {
    let tunnel = "[tunnel]\nentropy_prefix = \"10.77.0.0/16\"\n";
    let mut rail = Rail::new(&one_port(&[tunnel, &web()].concat()));
    let (verdict, _) = rail.receive(error("10.77.3.4", "10.77.3.4", 1300));
    assert_eq!(verdict, Verdict::Drop(PathMtu));
    assert_eq!(rail.path_errors().len(), 1);
    let (verdict, _) = rail.receive(error("10.77.3.4", "10.77.3.5", 1300));
    assert_eq!(verdict, Verdict::Drop(IcmpIgnored));
    let stray = ether().ipv4(CLIENT, "10.77.3.4").tcp(1, 2).syn();
    assert_eq!(rail.receive(stray.frame()).0, Verdict::Drop(NotOurs));
    assert!(rail.path_errors().is_empty());
}

#[test]
fn a_small_path_is_told_to_clients() {
    let mut rail = web_rail();
    let packet = ether().ipv4(CLIENT, VIP).dont_fragment().tcp(1, 443).ack();
    let packet = packet.payload_len(1400);
    assert_eq!(rail.receive(packet.frame()).0, FORWARD);
    rail.path_mtu(BACKEND, 1300);
    let (verdict, frame) = rail.receive(packet.frame());
    assert_eq!(verdict, REPLY);
    let ip = Ipv4::parse(&frame.data()[14..]).expect("a valid header");
    let icmp = Icmpv4::parse(ip.payload).expect("a valid checksum");
    assert_eq!(icmp.kind, Icmpv4Kind::FragmentationNeeded { mtu: 1276 });
}

/// No sender of IPv6 can go below 1280, so packets of that size always go on their way.
#[test]
fn ipv6_packets_of_the_smallest_mtu_always_pass() {
    let service = "\n[[service]]\nname = \"six\"\nvip = \"2001:db8::10\"\n[[service.backend]]\n\
                   name = \"b\"\naddress = \"198.18.0.1\"\n";
    let mut rail = Rail::new(&one_port(service));
    rail.path_mtu(BACKEND, 600);
    let packet = |len: usize| {
        let ip = ether().ipv6("2001:db8:c::7", "2001:db8::10");
        ip.tcp(1, 443).ack().payload_len(len - 60).frame()
    };
    assert_eq!(rail.receive(packet(1280)).0, FORWARD);
    assert_eq!(rail.receive(packet(1281)).0, REPLY);
}

#[test]
fn a_packet_that_may_be_cut_arrives_in_pieces() {
    let mut rail = web_rail();
    rail.path_mtu(BACKEND, 1000);
    let packet = https(1).ack().payload_len(2000 - 40);
    let (verdict, frame) = rail.receive(packet.frame());
    assert_eq!(frame.data(), packet.build(), "the whole stays as it came");
    let pieces = rail.split(&frame, verdict);
    assert!(pieces.iter().all(|(verdict, _)| *verdict == FORWARD));
    let lengths: Vec<_> = pieces
        .iter()
        .map(|(_, frame)| frame.data().len() - 14)
        .collect();
    // 24 bytes of headers, 20 of IP, and a multiple of eight behind them; 1980 bytes in all.
    assert_eq!(lengths, [996, 996, 44 + 1980 - 2 * 952]);
    let again: Vec<u8> = pieces
        .iter()
        .flat_map(|(_, frame)| frame.data()[14 + 24 + 20..].to_vec())
        .collect();
    assert_eq!(again, packet.build()[34..]);
    assert_moved!(rail, "web/web-1" => 1, "misses" => 1, "inserts" => 1, "generated" => 2);
}
