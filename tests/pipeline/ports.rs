//! Two ports and VLANs: what a port takes, and which one a packet leaves by.

use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::table::snapshot::PortIndex;
use rustyrail::testkit::rail::{NEXT_HOP_MAC, port_mac};
use rustyrail::testkit::{Rail, ether};
use rustyrail::wire::MacAddr;

use crate::support::*;

const LEFT: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const RIGHT: MacAddr = MacAddr([2, 0, 0, 0, 2, 1]);

/// Two ports with a gateway each; a tag on the second one. The backend is behind the gateways.
fn two_ports() -> Rail {
    two_ports_with("")
}

fn two_ports_with(right: &str) -> Rail {
    let ports = format!(
        "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\n\
         gateway = [\"192.0.2.1\"]\nmtu = 1600\n\
         [[port]]\ndevice = \"net_null1\"\naddress = [\"198.51.100.10/24\"]\n\
         gateway = [\"198.51.100.1\"]\nvlan = 200\n{right}\n"
    );
    let mut rail = Rail::new(&config(&[&ports, web().as_str()].concat()));
    rail.resolve("192.0.2.1", LEFT);
    rail.resolve("198.51.100.1", RIGHT);
    rail
}

#[test]
fn packets_leave_by_the_port_they_came_in_through() {
    let mut rail = two_ports();
    let (verdict, frame) = rail.receive_on(0, https(1).frame());
    assert_eq!(verdict, Verdict::Forward(PortIndex(0)));
    let outer = Outer::of(&frame);
    assert_eq!((outer.destination_mac, outer.vlan), (LEFT.octets(), None));
    assert_eq!(outer.source_mac, port_mac(0).octets());

    let (verdict, frame) = rail.receive_on(1, https(1).vlan(200).frame());
    assert_eq!(verdict, Verdict::Forward(PortIndex(1)));
    let outer = Outer::of(&frame);
    assert_eq!(
        (outer.destination_mac, outer.vlan),
        (RIGHT.octets(), Some(200))
    );
    assert_eq!(outer.source_mac, port_mac(1).octets());
    assert_eq!(outer.payload[4..], ip_of(&https(1))[..]);
    assert_moved!(rail, "web/web-1" => 2, "misses" => 1, "inserts" => 1, "hits" => 1);
}

#[test]
fn the_other_port_helps_when_a_gateway_is_dead() {
    let mut rail = two_ports();
    rail.unresolve("198.51.100.1");
    let (verdict, frame) = rail.receive_on(1, https(1).vlan(200).frame());
    assert_eq!(verdict, Verdict::Forward(PortIndex(0)));
    assert_eq!(Outer::of(&frame).destination_mac, LEFT.octets());

    rail.resolve("198.51.100.1", RIGHT);
    rail.unresolve("192.0.2.1");
    let (verdict, frame) = rail.receive_on(0, https(1).frame());
    assert_eq!(verdict, Verdict::Forward(PortIndex(1)));
    assert_eq!(Outer::of(&frame).vlan, Some(200));

    rail.unresolve("198.51.100.1");
    let (verdict, _) = rail.receive_on(0, https(1).frame());
    assert!(matches!(verdict, Verdict::Hold(_)));
}

/// The port a packet prefers may carry less than the one its backend was reckoned with.
#[test]
fn the_mtu_is_that_of_the_port_it_leaves_by() {
    let mut rail = two_ports_with("mtu = 1500");
    let big = https(1).ack().payload_len(1500);
    assert_eq!(rail.receive_on(0, big.frame()).0, FORWARD);
    let (verdict, _) = rail.receive_on(1, big.clone().vlan(200).frame());
    assert!(matches!(verdict, Verdict::Split(_)));
    let fits = https(1).ack().payload_len(1500 - 64).vlan(200);
    let (verdict, _) = rail.receive_on(1, fits.frame());
    assert_eq!(verdict, Verdict::Forward(PortIndex(1)));
}

#[test]
fn a_port_with_a_vlan_takes_no_other_frames() {
    let mut rail = two_ports();
    for frame in [
        https(1),
        https(1).vlan(201),
        https(1).vlan(0),
        https(1).vlan(201).vlan(200),
        rustyrail::testkit::arp_request(LEFT, "198.51.100.1", "198.51.100.10"),
    ] {
        let (verdict, _) = rail.receive_on(1, frame.frame());
        assert_eq!(verdict, Verdict::Drop(BadVlan));
        assert_moved!(rail, "bad_vlan" => 1);
    }
    // Priority and drop bits do not matter.
    let (verdict, _) = rail.receive_on(1, https(1).vlan(0xf000 | 200).frame());
    assert_eq!(verdict, Verdict::Forward(PortIndex(1)));
}

#[test]
fn an_echo_goes_back_where_it_came_from() {
    let mut rail = two_ports();
    let request = ether().ipv4(CLIENT, VIP).echo_request(1, 1);
    assert_eq!(
        rail.receive_on(0, request.frame()).0,
        Verdict::Reply(PortIndex(0))
    );
    let (verdict, frame) = rail.receive_on(1, request.vlan(200).frame());
    assert_eq!(verdict, Verdict::Reply(PortIndex(1)));
    use rustyrail::pipeline::frame::Frame as _;
    assert_eq!(frame.data()[6..12], port_mac(1).octets());
}

/// A backend on the link of one port is reached by that port, whatever port a packet came in through.
#[test]
fn a_backend_on_the_link_is_reached_by_its_port() {
    let text = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\n\
                gateway = [\"192.0.2.1\"]\n\
                [[port]]\ndevice = \"net_null1\"\naddress = [\"198.18.0.10/24\"]\n";
    let mut rail = Rail::new(&config(&[text, &web()].concat()));
    for port in [0, 1] {
        let (verdict, frame) = rail.receive_on(port, https(1).frame());
        assert_eq!(verdict, Verdict::Forward(PortIndex(1)));
        assert_eq!(Outer::of(&frame).destination_mac, NEXT_HOP_MAC.octets());
    }
}
