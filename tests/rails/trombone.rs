//! Without a live backend a rail elsewhere takes the packets, once.

use std::net::IpAddr;

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::{DropReason, Verdict};
use rustyrail::testkit::{PacketBuilder, Rail, ether, ipv4};

use crate::network::*;

/// One rail of a pool of its own, on a subnet with its router; remotes as given, which may send here.
fn site(index: usize, state: &str, remotes: &[usize]) -> String {
    let services = ["tcp", "udp"].map(|protocol| {
        let what = format!("protocol = \"{protocol}\"\nport = 53");
        service(protocol, VIP, &what, &[state])
            // Every site has backends of its own.
            .replace("198.18.0.", &format!("198.18.{}.", index + 1))
    });
    let accept: Vec<_> = remotes.iter().map(|remote| rail_address(*remote)).collect();
    let mut rest = format!("\n[tunnel]\naccept = {accept:?}\n") + &services.concat();
    for remote in remotes {
        let (name, address) = (rail_name(*remote), rail_address(*remote));
        rest += &format!("[[remote]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    }
    let mut pool = Pool::new(1, &rest);
    // Pools have keys of their own, and need not agree on them.
    pool.more = format!("peer_key = {}", index + 1);
    pool.config(index)
}

fn segment(port: u16) -> PacketBuilder {
    ether().ipv4(CLIENT, VIP).tcp(port, 53).ack()
}

fn backend(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_site_without_backends_is_helped_out() {
    let mut network = Network::new(&[site(0, "down", &[1]), site(1, "up", &[0])]);
    for port in 1..100 {
        network.send(0, &segment(port).build());
    }
    let whole = ether().ipv4(CLIENT, VIP).udp(7, 53).payload_len(100);
    let pieces = whole.fragments(9, 40);
    // The fragments too, in any order.
    for piece in pieces.iter().rev() {
        network.send(0, piece);
    }
    network.retry();
    assert_eq!(network.arrived.len(), 99 + pieces.len());
    for arrived in &network.arrived {
        assert_eq!((arrived.by, arrived.backend), (1, backend("198.18.2.1")));
    }
    assert_eq!(network.arrived[0].packet, segment(1).build()[14..]);
    assert_eq!(network.most_hops, 1);
    let tromboned = network.counted(0, |c| c.to_remotes.get());
    assert_eq!(tromboned, network.arrived.len() as u64);
    network.check_books();

    // Its own backends are back: it takes its packets itself.
    let config = site(0, "up", &[1]);
    network.each_worker(0, |worker| worker.reload(&config));
    network.arrived.clear();
    network.send(0, &segment(1000).build());
    assert_eq!(network.arrived[0].backend, backend("198.18.1.1"));
}

#[test]
fn two_sites_without_backends_do_not_loop() {
    let mut network = Network::new(&[site(0, "down", &[1]), site(1, "down", &[0])]);
    for port in 1..=20 {
        network.send(0, &segment(port).build());
        network.send(1, &segment(port).build());
    }
    assert_eq!(network.dropped, [(DropReason::TromboneLoop, 40)].into());
    assert_eq!(network.most_hops, 1);
    for rail in 0..2 {
        assert_eq!(network.counted(rail, |c| c.to_remotes.get()), 20);
        let guarded = network.counted(rail, |c| c.drops(DropReason::TromboneLoop));
        assert_eq!(guarded, 20);
    }
}

/// Three sites in a ring, each helped out by the next: whose packet it was, it takes one hop.
#[test]
fn a_ring_of_sites_does_not_loop() {
    let ring = |index: usize, state| {
        let (next, before) = ((index + 1) % 3, (index + 2) % 3);
        let accept = format!("accept = [\"{}\"]", rail_address(before));
        let own = format!("accept = [\"{}\"]", rail_address(next));
        site(index, state, &[next]).replace(&own, &accept)
    };
    let mut network = Network::new(&[ring(0, "down"), ring(1, "down"), ring(2, "up")]);
    network.send(0, &segment(1).build());
    network.send(1, &segment(1).build());
    assert_eq!(network.dropped, [(DropReason::TromboneLoop, 1)].into());
    assert_eq!(network.arrived.len(), 1);
    assert_eq!(network.arrived[0].by, 2);
    assert_eq!(network.most_hops, 1);
}

/// A fragment that its owner has no backend for makes two hops: to the owner, and out of the pool.
#[test]
fn the_owner_of_a_fragment_trombones_it() {
    let down = service("udp", VIP, "protocol = \"udp\"\nport = 53", &["down"]);
    let remote = "[[remote]]\nname = \"far\"\naddress = \"192.0.2.12\"\n";
    let pool = Pool::new(2, &(down + remote));
    let far =
        site(2, "up", &[]).replace("accept = []", "accept = [\"192.0.2.10\", \"192.0.2.11\"]");
    let mut network = Network::new(&[pool.config(0), pool.config(1), far]);
    for number in 0..40u16 {
        let client = format!("198.51.100.{}", number + 1);
        let whole = ether()
            .ipv4(client.as_str(), VIP)
            .udp(7, 53)
            .payload_len(60);
        let mut pieces = whole.fragments(u32::from(number), 40);
        network.shuffle(&mut pieces);
        for piece in pieces {
            let rail = network.random(2);
            network.send(rail, &piece);
        }
        network.retry();
    }
    assert_eq!(network.arrived.len(), 80);
    assert!(network.arrived.iter().all(|arrived| arrived.by == 2));
    assert_eq!(network.most_hops, 2);
    let out = |rail| network.counted(rail, |c| c.to_remotes.get());
    assert!(out(0) > 0 && out(1) > 0);
    network.check_books();
}

/// An ICMP error about a flow that went elsewhere follows it.
#[test]
fn errors_follow_their_flow() {
    let mut network = Network::new(&[site(0, "down", &[1]), site(1, "up", &[0])]);
    let quoted = ipv4(VIP, CLIENT).tcp(53, 4242).ack();
    let error = ether()
        .ipv4("192.0.2.1", VIP)
        .unreachable(1)
        .payload(quoted.build());
    network.send(0, &error.build());
    assert_eq!(network.arrived.len(), 1, "{:?}", network.dropped);
    assert_eq!(network.arrived[0].by, 1);
}

#[test]
fn without_a_remote_the_reason_is_the_backend() {
    let mut rail = Rail::new(&site(0, "down", &[]));
    let (verdict, frame) = rail.receive(segment(1).build());
    assert_eq!(verdict, Verdict::Drop(DropReason::NoBackend));
    assert_eq!(frame.data(), segment(1).build());
}
