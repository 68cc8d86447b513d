//! Neighbour discovery: what the rail answers, and to whom, and what it hears.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::testkit::rail::port_mac;
use rustyrail::testkit::{Frame, ROUTER_MAC, Rail, ether};
use rustyrail::wire::nd::NdFlags;
use rustyrail::wire::{MacAddr, nd};

use crate::support::*;

const OWN: &str = "2001:db8:2::10";
const ASKER: &str = "2001:db8:2::1";

/// A rail with an IPv6 address on its port.
fn rail(vlan: &str) -> Rail {
    let port = format!(
        "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\", \"{OWN}/64\"]\n\
         gateway = [\"192.0.2.1\"]\n{vlan}\n"
    );
    Rail::new(&config(&[port.as_str(), &web()].concat()))
}

fn group() -> std::net::Ipv6Addr {
    nd::solicited_node(OWN.parse().expect("an address"))
}

/// Asserts that the frame is an advertisement of [`OWN`] to these addresses.
#[track_caller]
fn assert_advertises(frame: &Frame, mac: MacAddr, to: &str, solicited: bool) {
    let flags = NdFlags {
        router: false,
        solicited,
        override_cached: true,
    };
    let expected = ether()
        .source_mac(port_mac(0))
        .destination_mac(mac)
        .ipv6(OWN, to)
        .neighbor_advertisement(OWN, port_mac(0), flags)
        .build();
    assert_eq!(frame.data(), expected);
}

#[test]
fn with_and_without_the_askers_link_address() {
    for mac in [Some(ROUTER_MAC), None] {
        // As a first question, to the group, and as one whether the rail is still there.
        for to in [group(), OWN.parse().expect("an address")] {
            let mut rail = rail("");
            let question = ether().ipv6(ASKER, to).neighbor_solicitation(OWN, mac);
            let (verdict, frame) = rail.receive(question.frame());
            assert_eq!(verdict, REPLY, "{mac:?} {to}");
            assert_advertises(&frame, ROUTER_MAC, ASKER, true);
            assert_eq!(rail.sightings().len(), usize::from(mac.is_some()));
        }
    }
}

/// RFC 4862, section 5.4: who asks whether the address is free learns that it is not, with all others.
#[test]
fn the_address_is_defended_against_duplicates() {
    let mut rail = rail("");
    let probe = ether()
        .ipv6("::", group())
        .neighbor_solicitation(OWN, None::<MacAddr>);
    let (verdict, frame) = rail.receive(probe.frame());
    assert_eq!(verdict, REPLY);
    let all = "33:33:00:00:00:01".parse().expect("a group");
    assert_advertises(&frame, all, "ff02::1", false);
    assert!(rail.sightings().is_empty(), "it has no address yet");
}

/// A frame of the shortest kind leaves with a tag and an option more than it came with.
#[test]
fn a_probe_on_a_tagged_port() {
    let mut rail = rail("vlan = 100");
    let probe = ether()
        .vlan(100)
        .ipv6("::", group())
        .neighbor_solicitation(OWN, None::<MacAddr>);
    let (verdict, frame) = rail.receive(probe.frame());
    assert_eq!(verdict, REPLY);
    assert_eq!(frame.data().len(), 18 + 40 + 32);
    assert_eq!(frame.data()[12..18], [0x81, 0, 0, 100, 0x86, 0xdd]);
}

/// A host checks its addresses when its interface comes up. Its own question, brought back by a loop in
/// the network, must not tell it that somebody else has them.
#[test]
fn our_own_frames_are_not_answered() {
    let mut rail = rail("");
    let probe = ether()
        .source_mac(port_mac(0))
        .ipv6("::", group())
        .neighbor_solicitation(OWN, None::<MacAddr>);
    assert_eq!(rail.receive(probe.frame()).0, HOST);
    let arp = rustyrail::testkit::arp_request(port_mac(0), "0.0.0.0", RAIL);
    assert_eq!(rail.receive(arp.frame()).0, HOST);
}

/// The kernel beside the rail talks from a link-local address, which is the port's own.
#[test]
fn the_hosts_link_local_address_is_answered_for() {
    let mut rail = rail("");
    let own = port_mac(0).link_local();
    let question = ether()
        .ipv6(ASKER, own)
        .neighbor_solicitation(own, Some(ROUTER_MAC));
    assert_eq!(rail.receive(question.frame()).0, REPLY);
    let packet = ether().ipv6("fe80::1", own).tcp(179, 1024).ack();
    assert_eq!(rail.receive(packet.frame()).0, HOST);
}

/// RFC 4861, section 7.2.6: a station whose link address changed says so unasked.
#[test]
fn unasked_news_is_heard() {
    let mut rail = rail("");
    let flags = |override_cached| NdFlags {
        router: true,
        solicited: false,
        override_cached,
    };
    for override_cached in [true, false] {
        let news = ether().ipv6(ASKER, "ff02::1").neighbor_advertisement(
            ASKER,
            ROUTER_MAC,
            flags(override_cached),
        );
        assert_eq!(rail.receive(news.frame()).0, HOST);
        let heard = rail.sightings();
        assert_eq!(heard.len(), 1);
        assert_eq!(
            (heard[0].mac, heard[0].replaces),
            (ROUTER_MAC, override_cached)
        );
    }
}
