//! Which frames a port takes. A bridge floods what it has no station for, so on a real link every rail
//! sees frames of the others, and a packet that two of them forward arrives twice.

use rustyrail::pipeline::verdict::DropReason::NotOurMac;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{PacketBuilder, ROUTER_MAC, arp_request, ether};
use rustyrail::wire::MacAddr;

use crate::support::*;

const OTHER_RAIL: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
const GROUP: MacAddr = MacAddr([0x01, 0, 0x5e, 0, 0, 5]);

fn on_device(device: &str) -> String {
    one_port(&web()).replace("net_null0", device)
}

fn on_a_link() -> String {
    on_device("net_af_packet0,iface=eth0")
}

#[track_caller]
fn check_on_a_link(packet: PacketBuilder, expected: Verdict) {
    check(&on_a_link(), packet, expected);
}

#[test]
fn frames_for_another_station_are_not_ours() {
    let dropped = Verdict::Drop(NotOurMac);
    let tunnel = || {
        ether()
            .ipv4(ROUTER, RAIL)
            .gre()
            .ipv4(CLIENT, VIP)
            .tcp(1, 443)
    };
    check_on_a_link(https(1), FORWARD);
    check_on_a_link(tunnel(), FORWARD);
    let to_host = ether().ipv4(CLIENT, RAIL).tcp(1, 22);
    for packet in [https(1), tunnel(), to_host] {
        check_on_a_link(packet.clone().destination_mac(OTHER_RAIL), dropped);
        let zero = packet.destination_mac(MacAddr::ZERO);
        check_on_a_link(zero, dropped);
    }
    let asked = arp_request(ROUTER_MAC, ROUTER, RAIL).destination_mac(OTHER_RAIL);
    check_on_a_link(asked, dropped);
}

#[test]
fn frames_for_everybody_reach_the_host_but_no_service() {
    for group in [MacAddr::BROADCAST, GROUP] {
        let dropped = Verdict::Drop(NotOurMac);
        check_on_a_link(https(1).destination_mac(group), dropped);
        let tunnel = ether().destination_mac(group).ipv4(ROUTER, RAIL).gre();
        check_on_a_link(tunnel.ipv4(CLIENT, VIP).tcp(1, 443), dropped);
        let ospf = ether().destination_mac(group).ipv4(ROUTER, "224.0.0.5");
        check_on_a_link(ospf.udp(1, 2), HOST);
    }
    check_on_a_link(arp_request(ROUTER_MAC, ROUTER, RAIL), REPLY);
}

#[test]
fn a_port_without_a_link_takes_what_it_is_given() {
    for device in ["net_null0", "net_pcap0,rx_pcap=in", "net_ring0"] {
        let packet = https(1).destination_mac(OTHER_RAIL);
        check(&on_device(device), packet, FORWARD);
    }
}
