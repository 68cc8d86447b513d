//! `ingress = "mirror"`: every rail sees every packet, and each packet is for one of them.

use std::collections::BTreeSet;

use rustyrail::pipeline::verdict::{DropReason, Verdict};
use rustyrail::testkit::{PacketBuilder, Rail, ether, ipv4};
use rustyrail::wire::MacAddr;

use crate::network::*;

const RAILS: usize = 3;

fn rails() -> Network {
    let services = ["tcp", "udp"].map(|protocol| {
        let what = format!("protocol = \"{protocol}\"\nport = 53");
        service(protocol, VIP, &what, &["up", "up"])
    });
    let mut pool = Pool::new(RAILS, &services.concat());
    pool.more += "\ningress = \"mirror\"";
    Network::of(&pool)
}

fn client(number: u8) -> String {
    format!("198.51.100.{number}")
}

/// All rails get it; returns who sent it on.
fn everywhere(network: &mut Network, packet: &PacketBuilder) -> usize {
    network.arrived.clear();
    for rail in 0..RAILS {
        network.send(rail, &packet.build());
    }
    assert_eq!(network.arrived.len(), 1, "one rail and no other");
    network.arrived[0].by
}

#[test]
fn every_packet_is_for_one_rail() {
    let mut network = rails();
    let mut owners = BTreeSet::new();
    for number in 1..=60 {
        let client = client(number);
        let of = |port| ether().ipv4(client.as_str(), VIP).tcp(port, 53).ack();
        let owner = everywhere(&mut network, &of(1000));
        // By addresses alone: another port, and an error about one of its packets.
        assert_eq!(everywhere(&mut network, &of(2000)), owner);
        let quoted = ipv4(VIP, client.as_str()).tcp(53, 1000).ack();
        let error = ether().ipv4("192.0.2.1", VIP);
        let error = error.unreachable(1).payload(quoted.build());
        assert_eq!(everywhere(&mut network, &error), owner);
        owners.insert(owner);
    }
    assert_eq!(owners.len(), RAILS);
    let dropped = network.dropped.clone();
    assert_eq!(dropped, [(DropReason::NotOwner, 60 * 3 * 2)].into());
}

/// Frames are addressed to all rails at once, or to nobody in particular.
#[test]
fn any_destination_address_will_do() {
    let mut network = rails();
    for mac in [
        MacAddr::BROADCAST,
        MacAddr([3, 0, 0, 0, 0, 1]),
        MacAddr([2; 6]),
    ] {
        let packet = ether().destination_mac(mac).ipv4(CLIENT, VIP).tcp(1, 53);
        everywhere(&mut network, &packet.ack());
    }
}

/// Fragments are everywhere already, so none is sent to a peer.
#[test]
fn fragments_are_not_handed_over() {
    let mut network = rails();
    for number in 1..=60 {
        let client = client(number);
        let whole = ether()
            .ipv4(client.as_str(), VIP)
            .udp(7, 53)
            .payload_len(100);
        network.arrived.clear();
        let pieces = whole.fragments(u32::from(number), 40);
        for piece in &pieces {
            (0..RAILS).for_each(|rail| network.send(rail, piece));
        }
        let ends: BTreeSet<_> = network.arrived.iter().map(|a| (a.by, a.backend)).collect();
        assert_eq!((network.arrived.len(), ends.len()), (pieces.len(), 1));
    }
    assert_eq!(network.most_hops, 0);
}

/// The share of a dead rail is taken over; echo requests are answered by the owner alone; what is for
/// the rail itself is not sifted.
#[test]
fn the_rest_of_the_traffic() {
    let mut network = rails();
    for rail in 0..2 {
        network.each_worker(rail, |worker| worker.set_alive(&rail_address(2), false));
    }
    for number in 1..=60 {
        let packet = ether().ipv4(client(number).as_str(), VIP).tcp(1, 53).ack();
        let sent: Vec<_> = (0..2)
            .map(|rail| network.rails[rail][0].receive(packet.build()).0)
            .collect();
        let forwarded = |v: &&Verdict| matches!(v, Verdict::Forward(_));
        assert_eq!(sent.iter().filter(forwarded).count(), 1, "{sent:?}");
    }
    let mut answers = 0;
    for crew in &mut network.rails[..2] {
        let rail: &mut Rail = &mut crew[0];
        let ping = ether().ipv4(CLIENT, VIP).echo_request(1, 1);
        answers += usize::from(matches!(rail.receive(ping.build()).0, Verdict::Reply(_)));
        let own = rail.config().ports[0].addresses[0].address().to_string();
        let ping = ether().ipv4(CLIENT, own.as_str()).echo_request(1, 1);
        assert!(matches!(rail.receive(ping.build()).0, Verdict::Reply(_)));
    }
    assert_eq!(answers, 1);
}
