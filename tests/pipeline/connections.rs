//! Which backend a connection goes to over its life, while backends come, drain and go.

use std::collections::BTreeMap;

use rustyrail::control::trace::{Answer, Flow, Tracer};
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{PacketBuilder, Rail, ether};
use rustyrail::wire::IpProtocol;

use crate::support::*;

const UP: &str = "";
const DRAIN: &str = "state = \"drain\"";
const DOWN: &str = "state = \"down\"";

fn web_of(backends: &[&str]) -> String {
    one_port(&service("web", "protocol = \"tcp\"\nport = 443", backends))
}

/// Sends the packet and tells the last octet of the backend it went to: the number in its name.
#[track_caller]
fn backend(rail: &mut Rail, packet: &PacketBuilder) -> u8 {
    let (verdict, frame) = rail.receive(packet.frame());
    assert_eq!(verdict, FORWARD);
    Outer::of(&frame).destination[3]
}

const PORTS: std::ops::Range<u16> = 1000..1200;

/// Opens 200 connections; the backend of each.
fn open(rail: &mut Rail) -> BTreeMap<u16, u8> {
    let flows = PORTS.map(|port| {
        let first = backend(rail, &https(port).syn());
        assert_eq!(backend(rail, &https(port).ack()), first);
        (port, first)
    });
    flows.collect()
}

#[test]
fn a_new_connection_goes_where_trace_says() {
    let mut rail = Rail::new(&web_of(&[UP, "weight = 50", UP, DRAIN]));
    let config = rail.config().clone();
    let tracer = Tracer::new(&config);
    for (port, backend) in open(&mut rail) {
        let end = |address: &str, port| (address.parse().expect("an address"), port);
        let flow = Flow::new(IpProtocol::TCP, end(CLIENT, port), end(VIP, 443)).expect("IPv4");
        let Ok(Answer::Backend(_, traced)) = tracer.trace(&flow) else {
            panic!("no backend for {flow:?}");
        };
        assert_eq!(traced.name.as_str(), format!("web-{backend}"));
    }
}

#[test]
fn connections_stay_while_the_table_changes_around_them() {
    let mut rail = Rail::new(&web_of(&[UP, UP, UP]));
    let flows = open(&mut rail);
    assert_eq!(
        flows
            .values()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3
    );
    rail.moved();
    // A fourth backend takes a quarter of the slots, but not of the connections.
    rail.reload(&web_of(&[UP, UP, UP, UP]));
    for (port, before) in &flows {
        assert_eq!(backend(&mut rail, &https(*port).ack()), *before);
    }
    assert_eq!(rail.moved().get("repins"), None);
    let fresh = (2000..2200).map(|port| backend(&mut rail, &https(port).syn()));
    assert!(fresh.filter(|backend| *backend == 4).count() > 20);
}

#[test]
fn a_draining_backend_keeps_what_it_has_and_gets_nothing_new() {
    let mut rail = Rail::new(&web_of(&[UP, UP, UP]));
    let flows = open(&mut rail);
    rail.reload(&web_of(&[UP, DRAIN, UP]));
    for (port, before) in &flows {
        assert_eq!(backend(&mut rail, &https(*port).ack()), *before);
    }
    for port in 2000..2200 {
        assert_ne!(backend(&mut rail, &https(port).syn()), 2);
    }
    rail.moved();
    // A SYN on such a connection starts another one, elsewhere, which stays there.
    let (port, _) = flows
        .iter()
        .find(|(_, backend)| **backend == 2)
        .expect("one of 200");
    let elsewhere = backend(&mut rail, &https(*port).syn());
    assert_ne!(elsewhere, 2);
    assert_eq!(backend(&mut rail, &https(*port).ack()), elsewhere);
    let name = format!("web/web-{elsewhere}");
    assert_moved!(rail, "hits" => 2, "repins" => 1, name => 2);
    // SYN and ACK together is no start.
    let (port, _) = flows
        .iter()
        .rfind(|(_, backend)| **backend == 2)
        .expect("one of 200");
    assert_eq!(backend(&mut rail, &https(*port).syn().ack()), 2);
}

#[test]
fn connections_of_a_dead_or_removed_backend_move_once() {
    for after in [web_of(&[UP, DOWN, UP]), web_of(&[UP])] {
        let mut rail = Rail::new(&web_of(&[UP, UP, UP]));
        let flows = open(&mut rail);
        rail.reload(&after);
        rail.moved();
        let moved: Vec<_> = flows
            .iter()
            .map(|(port, before)| (port, *before, backend(&mut rail, &https(*port).ack())))
            .collect();
        let dead = |backend: u8| {
            !rail.config().pool.services[0]
                .backends
                .iter()
                .any(|b| b.name.as_str() == format!("web-{backend}") && b.has_slots())
        };
        for (_, before, after) in &moved {
            assert!(!dead(*after));
            assert!(before == after || dead(*before));
        }
        let changed = moved
            .iter()
            .filter(|(_, before, after)| before != after)
            .count();
        assert!(changed > 20);
        assert_eq!(rail.moved()["repins"], changed as u64);
        for (port, _, after) in &moved {
            assert_eq!(backend(&mut rail, &https(**port).ack()), *after);
        }
        assert_eq!(rail.moved().get("repins"), None);
    }
}

#[test]
fn with_no_backend_left_connections_end_and_come_back() {
    let mut rail = Rail::new(&web_of(&[UP]));
    backend(&mut rail, &https(1).syn());
    rail.reload(&web_of(&[DOWN]));
    rail.moved();
    let (verdict, _) = rail.receive(https(1).ack().frame());
    assert_eq!(verdict, Verdict::Drop(NoBackend));
    assert_moved!(rail, "no_backend" => 1, "hits" => 1);
    rail.reload(&web_of(&[UP]));
    assert_eq!(backend(&mut rail, &https(1).ack()), 1);
    assert_moved!(rail, "web/web-1" => 1, "hits" => 1);
}

/// A client that reuses a port starts a new connection, where the table of today says.
#[test]
fn a_syn_on_a_closing_connection_is_steered_anew() {
    let mut rail = Rail::new(&web_of(&[UP]));
    for (port, close) in [(1u16, https(1).fin().ack()), (2, https(2).rst())] {
        backend(&mut rail, &https(port).syn());
        backend(&mut rail, &close);
    }
    backend(&mut rail, &https(3).syn());
    // From now on the slots belong to another backend, while the old one still lives.
    rail.reload(&web_of(&["weight = 0", UP]));
    rail.moved();
    assert_eq!(backend(&mut rail, &https(1).syn()), 2);
    assert_eq!(backend(&mut rail, &https(2).syn()), 2);
    assert_eq!(backend(&mut rail, &https(3).syn()), 1, "it was not closing");
    assert_moved!(
        rail, "hits" => 3, "repins" => 2, "web/web-1" => 1, "web/web-2" => 2
    );
}

#[test]
fn any_other_packet_on_a_closing_connection_follows_its_pin() {
    let mut rail = Rail::new(&web_of(&[UP]));
    backend(&mut rail, &https(1).syn());
    backend(&mut rail, &https(1).fin().ack());
    rail.reload(&web_of(&["weight = 0", UP]));
    for packet in [
        https(1).ack(),
        https(1).fin().ack(),
        https(1).rst(),
        https(1).ack(),
    ] {
        assert_eq!(backend(&mut rail, &packet), 1);
    }
    // The last ACK took the closing back, so this SYN is a retransmission.
    assert_eq!(backend(&mut rail, &https(1).syn()), 1);
}

#[test]
fn datagrams_are_pinned_too() {
    let udp =
        |backends: &[&str]| one_port(&service("dns", "protocol = \"udp\"\nport = 53", backends));
    let mut rail = Rail::new(&udp(&[UP]));
    assert_eq!(backend(&mut rail, &query(1)), 1);
    rail.reload(&udp(&["weight = 0", UP]));
    assert_eq!(backend(&mut rail, &query(1)), 1);
    assert_eq!(backend(&mut rail, &query(2)), 2);
    rail.reload(&udp(&[DOWN, UP]));
    assert_eq!(backend(&mut rail, &query(1)), 2);
}

#[test]
fn idle_connections_are_forgotten() {
    let timeouts = "[timeouts]\nembryonic = \"8s\"\ntcp = \"60s\"\n";
    let web = |backends| [timeouts, &service("web", "protocol = \"tcp\"", backends)].concat();
    let mut rail = Rail::new(&one_port(&web(&[UP])));
    backend(&mut rail, &https(1).syn());
    backend(&mut rail, &https(2).syn());
    backend(&mut rail, &https(2).ack());
    rail.reload(&one_port(&web(&["weight = 0", UP])));
    rail.at(40);
    assert_eq!(
        backend(&mut rail, &https(1).ack()),
        2,
        "a SYN alone is soon forgotten"
    );
    assert_eq!(backend(&mut rail, &https(2).ack()), 1);
    rail.at(40 + 80);
    assert_eq!(backend(&mut rail, &https(2).ack()), 2);
}

#[test]
fn beyond_the_limit_of_new_pins_packets_are_hashed() {
    let limit = "[limits]\nnew_pins_per_second = 5\n";
    let mut rail = Rail::new(&one_port(&[limit, &web()].concat()));
    for port in 1..=20 {
        backend(&mut rail, &https(port).syn());
    }
    assert_moved!(
        rail, "web/web-1" => 20, "misses" => 20, "inserts" => 5, "limited" => 15, "unpinned" => 15
    );
}

/// Under another hash key an entry is another flow's.
#[test]
fn a_changed_hash_key_empties_the_table() {
    let config = web_of(&[UP, UP, UP]);
    let mut rail = Rail::new(&config);
    open(&mut rail);
    rail.reload(&config.replace("000102", "ff0102"));
    rail.moved();
    for port in PORTS {
        backend(&mut rail, &https(port).ack());
    }
    let moved = rail.moved();
    assert_eq!((moved["misses"], moved.get("hits")), (200, None));
}

#[test]
fn source_affinity_keeps_a_client_on_one_backend() {
    let sticky = |backends: &[&str]| {
        one_port(&service(
            "web",
            "protocol = \"tcp\"\naffinity = \"source\"",
            backends,
        ))
    };
    let mut rail = Rail::new(&sticky(&[UP, UP, UP]));
    let mut clients = BTreeMap::new();
    for client in 1..=50 {
        for port in [1000, 2000, 3000] {
            let source = format!("198.51.100.{client}");
            let packet = ether()
                .ipv4(source.as_str(), VIP)
                .tcp(port, 80 + port)
                .syn();
            let first = *clients
                .entry(client)
                .or_insert_with(|| backend(&mut rail, &packet));
            assert_eq!(backend(&mut rail, &packet), first);
        }
    }
    assert_eq!(
        clients
            .values()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3
    );
    assert_eq!(rail.moved()["inserts"], 50);
}

/// A pin is one service's: with source affinity the services of a VIP share the hash of a client, and
/// yet each sends to its own backends.
#[test]
fn a_pin_never_leads_into_another_service() {
    let one = service(
        "one",
        "protocol = \"tcp\"\nport = 80\naffinity = \"source\"",
        &[UP],
    );
    let two = service(
        "two",
        "protocol = \"tcp\"\nport = 81\naffinity = \"source\"",
        &[UP],
    );
    let mut rail = Rail::new(&one_port(&[one, two].concat()));
    for _ in 0..3 {
        rail.receive(ether().ipv4(CLIENT, VIP).tcp(1, 80).ack().frame());
        rail.receive(ether().ipv4(CLIENT, VIP).tcp(1, 81).ack().frame());
    }
    let moved = rail.moved();
    assert_eq!((moved["one/one-1"], moved["two/two-1"]), (3, 3));
}
