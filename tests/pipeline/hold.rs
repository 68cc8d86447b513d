//! Next hops whose link address is not known (yet).

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::rail::NEXT_HOP_MAC;
use rustyrail::testkit::{Frame, Rail};
use rustyrail::wire::MacAddr;

use crate::support::*;

const FOUND: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x55]);

#[test]
fn packets_wait_for_their_next_hop_as_they_came() {
    let mut rail = web_rail();
    rail.unresolve(ROUTER);
    let packet = https(1).vlan(3).syn().padded();
    let (verdict, mut frame) = rail.receive(packet.frame());
    assert!(matches!(verdict, Verdict::Hold(_)), "{verdict:?}");
    assert_eq!(frame.data(), packet.build());
    assert_moved!(rail, "misses" => 1, "inserts" => 1);

    // Still unknown: it stays what it was.
    rail.publish();
    assert!(matches!(rail.retry(0, &mut frame), Verdict::Hold(_)));
    assert_eq!(frame.data(), packet.build());
    rail.moved();

    rail.resolve(ROUTER, FOUND);
    assert_eq!(rail.retry(0, &mut frame), FORWARD);
    let outer = Outer::of(&frame);
    assert_eq!(outer.destination_mac, FOUND.octets());
    assert_eq!(outer.payload[4..], ip_of(&https(1).syn())[..]);
    assert_moved!(rail, "web/web-1" => 1, "hits" => 1);
}

#[test]
fn a_change_of_the_link_address_is_followed() {
    let mut rail = web_rail();
    let (_, frame) = rail.receive(https(1).frame());
    assert_eq!(Outer::of(&frame).destination_mac, NEXT_HOP_MAC.octets());
    rail.resolve(ROUTER, FOUND);
    let (_, frame) = rail.receive(https(1).frame());
    assert_eq!(Outer::of(&frame).destination_mac, FOUND.octets());
}

/// A second gateway takes over when the first one does not answer.
#[test]
fn the_first_live_gateway_is_used() {
    let port = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\n\
                gateway = [\"192.0.2.1\", \"192.0.2.2\"]\n";
    let mut rail = Rail::new(&config(&[port, &web()].concat()));
    rail.resolve("192.0.2.2", FOUND);
    let sent_to = |rail: &mut Rail| {
        let (verdict, frame): (_, Frame) = rail.receive(https(1).frame());
        (verdict == FORWARD).then(|| Outer::of(&frame).destination_mac)
    };
    assert_eq!(sent_to(&mut rail), Some(NEXT_HOP_MAC.octets()));
    rail.unresolve("192.0.2.1");
    assert_eq!(sent_to(&mut rail), Some(FOUND.octets()));
    rail.unresolve("192.0.2.2");
    assert_eq!(sent_to(&mut rail), None);
}

/// A backend on the link is its own next hop.
#[test]
fn a_backend_on_the_link_needs_no_gateway() {
    let local = format!(
        "\n[[service]]\nname = \"web\"\nvip = \"{VIP}\"\n[[service.backend]]\nname = \"b\"\n\
         address = \"192.0.2.21\"\n"
    );
    let mut rail = Rail::new(&one_port(&local));
    rail.unresolve(ROUTER);
    rail.resolve("192.0.2.21", FOUND);
    let (verdict, frame) = rail.receive(https(1).frame());
    assert_eq!(verdict, FORWARD);
    assert_eq!(Outer::of(&frame).destination_mac, FOUND.octets());
}
