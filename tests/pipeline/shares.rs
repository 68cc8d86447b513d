//! What services may ask for beside a table: clients that stay together, drains, limits.

use std::collections::{BTreeMap, BTreeSet};

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{PacketBuilder, Rail, ether};

use crate::support::*;

fn web_of(what: &str, backends: &[&str]) -> String {
    let what = format!("protocol = \"tcp\"\nport = 443\n{what}");
    one_port(&service("web", &what, backends))
}

/// The last byte of the backend's address.
#[track_caller]
fn backend(rail: &mut Rail, packet: &PacketBuilder) -> u8 {
    let (verdict, frame) = rail.receive(packet.frame());
    assert_eq!(verdict, FORWARD);
    frame.data()[33]
}

/// A backend is drained under 200 connections: they stay, none comes; taken down, it has none from the
/// next packet on, though not a single packet came between the two.
#[test]
fn a_drained_backend_keeps_what_it_has_and_one_that_is_down_nothing() {
    let state = |state: &str| web_of("", &["", &format!("state = \"{state}\""), ""]);
    let mut rail = Rail::new(&state("up"));
    let mut connections = BTreeMap::new();
    for port in (1000..).take_while(|_| true) {
        let to = backend(&mut rail, &https(port).syn());
        assert_eq!(backend(&mut rail, &https(port).ack()), to);
        connections.insert(port, to);
        if connections.values().filter(|to| **to == 2).count() == 200 {
            break;
        }
    }
    rail.reload(&state("drain"));
    for (&port, &to) in &connections {
        assert_eq!(backend(&mut rail, &https(port).ack().payload("more")), to);
    }
    for port in 20_000..20_400 {
        assert_ne!(backend(&mut rail, &https(port).syn()), 2);
    }
    for (&port, &to) in &connections {
        assert_eq!(backend(&mut rail, &https(port).ack()), to);
    }
    rail.reload(&state("down"));
    let mut moved = 0;
    for (&port, &to) in &connections {
        let now = backend(&mut rail, &https(port).ack());
        assert_ne!(now, 2);
        if to == 2 {
            moved += 1;
            assert_eq!(
                backend(&mut rail, &https(port).ack()),
                now,
                "and stays there"
            );
        } else {
            assert_eq!(now, to, "the others do not notice");
        }
    }
    assert_eq!(moved, 200);
}

/// Two services of one VIP whose clients stay together: neither moves the other's pins, also when the
/// tables have changed since, so that the pins alone say where clients belong.
#[test]
fn services_of_one_vip_keep_their_clients_apart() {
    let services = |more: &str| {
        let sticky = |name, port| {
            let what = format!("protocol = \"tcp\"\nport = {port}\naffinity = \"source\"");
            service(name, &what, &["", "", more])
        };
        one_port(&[sticky("one", 80), sticky("two", 81)].concat())
    };
    let mut rail = Rail::new(&services("state = \"down\""));
    let packet = |client: u8, port, source_port| {
        let from = format!("198.51.100.{client}");
        ether().ipv4(from.as_str(), VIP).tcp(source_port, port)
    };
    let mut first = BTreeMap::new();
    for client in 1..=100 {
        for port in [80, 81] {
            let to = backend(&mut rail, &packet(client, port, 1000).syn());
            first.insert((client, port), to);
        }
    }
    assert_eq!(rail.moved()["inserts"], 200);
    rail.reload(&services(""));
    for round in 1..4 {
        for (&(client, port), &to) in &first {
            assert_eq!(backend(&mut rail, &packet(client, port, 1000).ack()), to);
            let again = packet(client, port, 1000 + round).syn();
            assert_eq!(backend(&mut rail, &again), to, "another connection follows");
        }
    }
    let moved = rail.moved();
    assert_eq!(moved.get("repins"), None, "{moved:?}");
}

/// One of a client's connections ends, and the others go on where they are, as do new ones.
#[test]
fn the_end_of_one_connection_is_not_the_end_of_the_client() {
    let sticky = |backends: &[&str]| web_of("affinity = \"source\"", backends);
    let mut rail = Rail::new(&sticky(&["", ""]));
    let clients: Vec<_> = (1..=60).map(|n| format!("198.51.100.{n}")).collect();
    let packet = |client: &str, port| ether().ipv4(client, VIP).tcp(port, 443);
    let before: Vec<_> = clients
        .iter()
        .map(|client| backend(&mut rail, &packet(client, 1).syn()))
        .collect();
    rail.reload(&sticky(&["", "", "", ""]));
    for (client, to) in clients.iter().zip(&before) {
        backend(&mut rail, &packet(client, 1).fin().ack());
        assert_eq!(backend(&mut rail, &packet(client, 3).syn()), *to);
        assert_eq!(backend(&mut rail, &packet(client, 2).ack()), *to);
    }
}

#[test]
fn new_connections_beyond_the_limit_are_dropped() {
    let limited =
        |rate: u32, more: &[&str]| web_of(&format!("new_connections_per_second = {rate}"), more);
    let mut rail = Rail::new(&limited(100, &["", ""]));
    rail.at(10);
    let open = |rail: &mut Rail, ports: std::ops::Range<u16>| -> BTreeSet<u16> {
        let passes = |port: &u16| {
            let (verdict, _) = rail.receive(https(*port).syn().frame());
            assert!(
                matches!(verdict, FORWARD | Verdict::Drop(ServiceLimit)),
                "{verdict:?}"
            );
            verdict == FORWARD
        };
        ports.filter(passes).collect()
    };
    let through = open(&mut rail, 1000..1500);
    assert_eq!(through, (1000..1100).collect());
    assert_eq!(rail.moved()["service_limit"], 400);
    // What is there goes on, also what the rail does not know, and what SYNs repeat.
    for port in [1000, 1099, 1400] {
        backend(&mut rail, &https(port).ack());
    }
    backend(&mut rail, &https(1000).syn());
    // A new snapshot gives nothing back, a second does.
    rail.reload(&limited(100, &["", "", ""]));
    assert_eq!(open(&mut rail, 2000..2100).len(), 0);
    rail.at(11);
    assert_eq!(open(&mut rail, 3000..3500).len(), 100);
    rail.at(12);
    rail.reload(&limited(300, &["", "", ""]));
    assert_eq!(open(&mut rail, 4000..4999).len(), 300);
    rail.reload(&web_of("", &["", ""]));
    assert_eq!(open(&mut rail, 5000..5999).len(), 999);
}
