//! Fragments: all of a datagram go where its first one goes.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{Frame, Rail, ether};

use crate::support::*;

fn three_backends() -> Rail {
    let dns = service("dns", "protocol = \"udp\"\nport = 53", &["", "", ""]);
    Rail::new(&one_port(&dns))
}

/// The outer destination of a forwarded IPv4 packet.
fn backend(frame: &Frame) -> [u8; 4] {
    let destination = frame.data().get(30..34).expect("an outer header");
    destination.try_into().expect("four bytes")
}

fn datagram(port: u16, id: u32) -> Vec<Vec<u8>> {
    let whole = ether().ipv4(CLIENT, VIP).udp(port, 53).payload_len(100);
    whole.fragments(id, 40)
}

#[test]
fn later_fragments_follow_the_first() {
    let mut rail = three_backends();
    for port in 1000..1100u16 {
        let pieces = datagram(port, port.into());
        assert!(pieces.len() > 2);
        let (first, frame) = rail.receive(pieces[0].as_slice());
        assert_eq!(first, FORWARD);
        let chosen = backend(&frame);
        for later in &pieces[1..] {
            let (verdict, frame) = rail.receive(later.as_slice());
            assert_eq!((verdict, backend(&frame)), (FORWARD, chosen));
        }
    }
}

#[test]
fn fragments_go_where_the_flow_is_pinned() {
    let mut rail = three_backends();
    let whole = ether().ipv4(CLIENT, VIP).udp(4242, 53).payload_len(20);
    let (_, frame) = rail.receive(whole.frame());
    let pinned = backend(&frame);
    let number = pinned[3];
    // The other two get all the slots; a draining backend keeps what it has.
    let states: Vec<_> = (1..=3)
        .map(|n| if n == number { "state = \"drain\"" } else { "" })
        .collect();
    let dns = service("dns", "protocol = \"udp\"\nport = 53", &states);
    rail.reload(&one_port(&dns));
    for piece in datagram(4242, 9) {
        let (verdict, frame) = rail.receive(piece.as_slice());
        assert_eq!((verdict, backend(&frame)), (FORWARD, pinned));
    }
}

#[test]
fn one_that_comes_early_waits_and_goes_on() {
    let mut rail = three_backends();
    let pieces = datagram(4242, 7);
    let mut early = Frame::new(&pieces[1]);
    assert_eq!(rail.retry(0, &mut early), Verdict::Await);
    assert_eq!(early.data(), pieces[1], "it waits unchanged");
    let (_, first) = rail.receive(pieces[0].as_slice());
    assert_eq!(rail.retry(0, &mut early), FORWARD);
    assert_eq!(backend(&early), backend(&first));
}

#[test]
fn the_memory_ends_with_its_time() {
    let mut rail = three_backends();
    let pieces = datagram(4242, 7);
    rail.receive(pieces[0].as_slice());
    rail.at(3600);
    let (verdict, _) = rail.receive(pieces[1].as_slice());
    assert_eq!(verdict, Verdict::Await);
}

#[test]
fn attacks_by_fragments_are_dropped() {
    let udp = |offset, more, len| {
        let ip = ether().ipv4(CLIENT, VIP).fragment(7, offset, more);
        ip.protocol(rustyrail::wire::IpProtocol::UDP)
            .payload_len(len)
    };
    let tcp = |offset, len| {
        let ip = ether().ipv4(CLIENT, VIP).fragment(7, offset, true);
        ip.protocol(rustyrail::wire::IpProtocol::TCP)
            .payload_len(len)
    };
    let cases = [
        ("a length that is no multiple of 8", udp(64, true, 33)),
        ("an end beyond 65,535", udp(65_528, false, 16)),
        ("a first fragment without its UDP header", udp(0, true, 0)),
        ("a first fragment without its TCP header", tcp(0, 16)),
        ("TCP at offset 1", tcp(8, 64)),
    ];
    for (what, packet) in cases {
        let mut rail = three_backends();
        let (verdict, _) = rail.receive(packet.frame());
        assert_eq!(verdict, Verdict::Drop(BadFragment), "{what}");
    }
}
