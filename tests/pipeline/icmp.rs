//! ICMP: echo requests are answered, the rest concerns somebody else.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::rail::port_mac;
use rustyrail::testkit::{ROUTER_MAC, Rail, ether, ipv4};
use rustyrail::wire::Ecn;

use crate::support::*;

#[test]
fn echo_requests_are_answered() {
    for address in [RAIL, VIP] {
        for (options, payload) in [
            (&[][..], "ping"),
            (&[1, 1, 1, 1], "odd"),
            (&[0x94, 4, 0, 0], ""),
        ] {
            let ip = ether()
                .ipv4(CLIENT, address)
                .ttl(3)
                .id(9)
                .dscp(8)
                .ecn(Ecn::Ect0);
            let request = ip.options(options).echo_request(7, 42).payload(payload);
            let mut rail = web_rail();
            let (verdict, frame) = rail.receive(request.padded().frame());
            assert_eq!(verdict, REPLY);
            let ip = ether().ipv4(address, CLIENT).id(9).dscp(8).ecn(Ecn::Ect0);
            let reply = ip
                .source_mac(port_mac(0))
                .destination_mac(ROUTER_MAC)
                .options(options)
                .echo_reply(7, 42)
                .payload(payload);
            assert_eq!(frame.data(), reply.build());
            assert_moved!(rail, "replies" => 1);
        }
    }
}

#[test]
fn echo_is_answered_when_all_backends_are_down() {
    let dead = service(
        "web",
        "protocol = \"tcp\"\nport = 443",
        &["state = \"down\""],
    );
    let request = ether().ipv4(CLIENT, VIP).echo_request(1, 1);
    check(&one_port(&dead), request, REPLY);
}

#[test]
fn an_answer_leaves_as_its_ports_frames_do() {
    let vlan = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\n\
                gateway = [\"192.0.2.1\"]\nvlan = 100\n";
    let mut rail = Rail::new(&config(&[vlan, &web()].concat()));
    let request = ether().vlan(100).ipv4(CLIENT, VIP).echo_request(1, 1);
    let (verdict, frame) = rail.receive(request.frame());
    assert_eq!(verdict, REPLY);
    assert_eq!(frame.data()[12..18], [0x81, 0, 0, 100, 8, 0]);
}

/// RFC 1122, section 3.2.2.6.
#[test]
fn an_echo_from_nobody_is_not_answered() {
    for source in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1"] {
        check_dropped(ether().ipv4(source, VIP).echo_request(1, 1), IcmpIgnored);
    }
}

#[test]
fn answers_are_limited() {
    let limit = "[limits]\nicmp_per_second = 10\n";
    let mut rail = Rail::new(&one_port(&[limit, &web()].concat()));
    let request = ether().ipv4(CLIENT, VIP).echo_request(1, 1);
    for _ in 0..25 {
        rail.receive(request.frame());
    }
    assert_moved!(rail, "replies" => 10, "icmp_rate" => 15);
    rail.at(1);
    for _ in 0..25 {
        rail.receive(request.frame());
    }
    assert_moved!(rail, "replies" => 10, "icmp_rate" => 15);
    rail.reload(&one_port(
        &["[limits]\nicmp_per_second = 0\n", &web()].concat(),
    ));
    rail.at(100);
    check_on(&mut rail, request, Verdict::Drop(IcmpRate));
}

#[test]
fn broken_messages() {
    check_dropped(
        ether().ipv4(CLIENT, VIP).echo_request(1, 1).bad_checksum(),
        BadIcmp,
    );
    check_dropped(
        ether().ipv4(CLIENT, RAIL).echo_request(1, 1).bad_checksum(),
        BadIcmp,
    );
    let whole = ether().ipv4(CLIENT, VIP).echo_request(1, 1).payload_len(64);
    for fragment in whole.fragments(3, 32) {
        check_dropped(fragment, Fragment);
    }
}

#[test]
fn messages_to_the_rail_are_its_hosts() {
    let quoted = ipv4(RAIL, ROUTER).udp(1, 2).build();
    let error = ether().ipv4(ROUTER, RAIL).unreachable(3).payload(&quoted);
    check(&one_port(&web()), error, HOST);
    check(
        &one_port(&web()),
        ether().ipv4(ROUTER, RAIL).echo_reply(1, 1),
        HOST,
    );
}

#[test]
fn messages_to_others() {
    let to = |destination: &str| ether().ipv4(CLIENT, destination).echo_request(1, 1);
    check_dropped(to("203.0.113.99"), NotOurs);
    check(&one_port(&web()), to("224.0.0.1"), HOST);
    check_dropped(ether().ipv4(CLIENT, VIP).echo_reply(1, 1), IcmpIgnored);
}
