//! Path MTU: errors about a VIP's packets find their backend, and packets that do not fit are answered.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{Frame, Rail, ether, ipv4};
use rustyrail::wire::icmpv4::{Icmpv4, Icmpv4Kind};
use rustyrail::wire::ipv4::Ipv4;

use crate::support::*;

fn backend(frame: &Frame) -> &[u8] {
    &frame.data()[30..34]
}

/// A router on the way tells the VIP that what it sent to the client's `port` did not fit.
fn error_about(port: u16, quoted: usize) -> Frame {
    let sent = ipv4(VIP, CLIENT)
        .tcp(443, port)
        .ack()
        .payload_len(64)
        .build();
    let error = ether().ipv4("192.0.2.77", VIP).too_big(1400);
    error.payload(&sent[..quoted]).frame()
}

#[test]
fn an_error_goes_where_the_quoted_flow_goes() {
    let web = service("web", "protocol = \"tcp\"\nport = 443", &["", "", ""]);
    // With a connection, and by Maglev alone; with the least that a router may quote, and with more.
    for port in 2000..2050 {
        for (pinned, quoted) in [(true, 28), (true, 60), (false, 28)] {
            let mut rail = Rail::new(&one_port(&web));
            let syn = ether().ipv4(CLIENT, VIP).tcp(port, 443).syn();
            let mut other = Rail::new(&one_port(&web));
            let (_, sent) = if pinned { &mut rail } else { &mut other }.receive(syn.frame());
            let (verdict, frame) = rail.receive(error_about(port, quoted));
            assert_eq!(verdict, FORWARD);
            assert_eq!(backend(&frame), backend(&sent));
        }
    }
}

#[test]
fn errors_about_nothing_of_ours_are_dropped() {
    let foreign = ipv4("203.0.113.99", CLIENT).tcp(443, 1).build();
    let error = ether().ipv4("192.0.2.77", VIP).too_big(1400);
    check(
        &one_port(&web()),
        error.payload(&foreign[..28]),
        Verdict::Drop(IcmpIgnored),
    );
    let short = ether()
        .ipv4("192.0.2.77", VIP)
        .too_big(1400)
        .payload([0x45; 10]);
    check(&one_port(&web()), short, Verdict::Drop(IcmpIgnored));
}

#[test]
fn the_sender_of_what_does_not_fit_is_told_what_does() {
    let small = config(
        &[
            "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\n\
         gateway = [\"192.0.2.1\"]\nmtu = 1500\n",
            &web(),
        ]
        .concat(),
    );
    let mut rail = Rail::new(&small);
    let packet = ether().ipv4(CLIENT, VIP).dont_fragment().tcp(1, 443).ack();
    let packet = packet.payload_len(1460);
    let (verdict, frame) = rail.receive(packet.frame());
    assert_eq!(verdict, REPLY);
    let ip = Ipv4::parse(&frame.data()[14..]).expect("a valid header");
    assert_eq!(ip.header.source().to_string(), VIP);
    assert_eq!(ip.header.destination().to_string(), CLIENT);
    assert_eq!(ip.header.total_length.get(), 576);
    let icmp = Icmpv4::parse(ip.payload).expect("a valid checksum");
    assert_eq!(icmp.kind, Icmpv4Kind::FragmentationNeeded { mtu: 1476 });
    assert_eq!(icmp.body, &packet.build()[14..][..548]);
    // What fits goes through.
    let fits = ether().ipv4(CLIENT, VIP).dont_fragment().tcp(1, 443).ack();
    let (verdict, _) = rail.receive(fits.payload_len(1436).frame());
    assert_eq!(verdict, FORWARD);
}
