//! ARP: what the rail answers, what it hears, what it leaves to its host.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::testkit::rail::port_mac;
use rustyrail::testkit::{ROUTER_MAC, Rail, arp_reply, arp_request};
use rustyrail::wire::MacAddr;

use crate::support::*;

const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);

#[test]
fn a_request_for_our_address_is_answered() {
    let mut rail = web_rail();
    let request = arp_request(ROUTER_MAC, ROUTER, RAIL).padded();
    let (verdict, frame) = rail.receive(request.frame());
    assert_eq!(verdict, REPLY);
    let reply = arp_reply((port_mac(0), RAIL), (ROUTER_MAC, ROUTER));
    assert_eq!(frame.data(), reply.build());
    assert_moved!(rail, "replies" => 1);
    let heard = rail.sightings();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].address.to_string(), ROUTER);
    assert_eq!(heard[0].mac, ROUTER_MAC);
}

#[test]
fn an_answer_carries_the_tags_of_its_request() {
    let vlan = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\n\
                gateway = [\"192.0.2.1\"]\nvlan = 100\n";
    let mut rail = Rail::new(&config(&[vlan, &web()].concat()));
    let (verdict, frame) = rail.receive(arp_request(ROUTER_MAC, ROUTER, RAIL).vlan(100).frame());
    assert_eq!(verdict, REPLY);
    let reply = arp_reply((port_mac(0), RAIL), (ROUTER_MAC, ROUTER));
    assert_eq!(frame.data(), reply.vlan(100).build());
}

#[test]
fn a_probe_is_answered_but_teaches_nothing() {
    let mut rail = web_rail();
    let (verdict, frame) = rail.receive(arp_request(STRANGER, "0.0.0.0", RAIL).frame());
    assert_eq!(verdict, REPLY);
    assert_eq!(frame.data()[..6], STRANGER.octets());
    assert!(rail.sightings().is_empty());
}

#[test]
fn other_requests_are_the_hosts() {
    for target in [ROUTER, VIP, "192.0.2.77"] {
        check(
            &one_port(&web()),
            arp_request(ROUTER_MAC, ROUTER, target),
            HOST,
        );
    }
}

#[test]
fn replies_reach_the_control_core_and_the_host() {
    let mut rail = web_rail();
    let reply = arp_reply((STRANGER, "192.0.2.77"), (port_mac(0), RAIL));
    check_on(&mut rail, reply, HOST);
    let heard = rail.sightings();
    assert_eq!(
        (heard[0].mac, heard[0].address.to_string()),
        (STRANGER, "192.0.2.77".into())
    );
}

#[test]
fn news_that_nobody_fetches_is_lost_and_nothing_else() {
    let mut rail = web_rail();
    for host in 1..=200 {
        let sender = format!("192.0.2.{host}");
        rail.receive(arp_reply((STRANGER, sender.as_str()), (port_mac(0), RAIL)).frame());
    }
    assert_moved!(rail, "to_host" => 200);
    assert!(rail.sightings().len() < 200);
}

/// An address belongs to one port; the other port does not answer for it.
#[test]
fn each_port_answers_for_its_own_addresses() {
    let ports = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\n\
                 gateway = [\"192.0.2.1\"]\n[[port]]\ndevice = \"net_null1\"\n\
                 address = [\"198.51.100.10/24\"]\n";
    let mut rail = Rail::new(&config(&[ports, &web()].concat()));
    let mut ask = |port, target: &str| {
        let request = arp_request(ROUTER_MAC, ROUTER, target);
        rail.receive_on(port, request.frame())
    };
    assert_eq!(ask(0, RAIL).0, REPLY);
    let (verdict, frame) = ask(1, "198.51.100.10");
    assert_eq!(
        verdict,
        rustyrail::pipeline::verdict::Verdict::Reply(PORT_1)
    );
    assert_eq!(frame.data()[6..12], port_mac(1).octets());
    assert!(matches!(
        ask(1, RAIL).0,
        rustyrail::pipeline::verdict::Verdict::Host(PORT_1)
    ));
}

const PORT_1: rustyrail::table::snapshot::PortIndex = rustyrail::table::snapshot::PortIndex(1);
