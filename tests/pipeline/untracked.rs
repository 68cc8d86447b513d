//! Services that are not tracked: every packet goes where it hashes to under the snapshot of now.

use std::collections::{BTreeMap, BTreeSet};

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{Frame, PacketBuilder, Rail, ether, ipv4};

use crate::support::*;

const PORTS: std::ops::Range<u16> = 1000..1200;
const UP: &str = "";

fn pool(more: &str, backends: &[&str]) -> String {
    let what = format!("protocol = \"udp\"\nport = 53\n{more}");
    one_port(&service("dns", &what, backends))
}

fn untracked(backends: &[&str]) -> String {
    pool("track = false", backends)
}

/// The last byte of the backend's address.
#[track_caller]
fn to(verdict: Verdict, frame: &Frame) -> u8 {
    assert_eq!(verdict, FORWARD);
    frame.data()[33]
}

#[track_caller]
fn backend(rail: &mut Rail, packet: &PacketBuilder) -> u8 {
    let (verdict, frame) = rail.receive(packet.frame());
    to(verdict, &frame)
}

/// Where the flows go, a burst of 32 at a time.
#[track_caller]
fn backends(rail: &mut Rail, packet: impl Fn(u16) -> PacketBuilder) -> Vec<u8> {
    let ports: Vec<_> = PORTS.collect();
    let mut found = Vec::new();
    for ports in ports.chunks(32) {
        let mut frames: Vec<_> = ports.iter().map(|port| packet(*port).frame()).collect();
        let verdicts = rail.receive_burst(0, &mut frames);
        found.extend(verdicts.iter().zip(&frames).map(|(v, frame)| to(*v, frame)));
    }
    found
}

#[test]
fn a_change_of_backends_moves_flows_at_once() {
    let mut rail = Rail::new(&untracked(&[UP, UP, UP]));
    let before = backends(&mut rail, query);
    assert_eq!(backends(&mut rail, query), before, "the same hash");
    for states in [
        ["state = \"down\"", UP, UP],
        // A draining backend has nothing to keep.
        [UP, "state = \"drain\"", UP],
        [UP, UP, "weight = 0"],
    ] {
        rail.reload(&untracked(&states));
        let gone = 1 + states.iter().position(|state| *state != UP).unwrap() as u8;
        let now = backends(&mut rail, query);
        let fresh = backends(&mut Rail::new(&untracked(&states)), query);
        assert_eq!(now, fresh, "as if nothing had been before");
        assert!(before.contains(&gone) && !now.contains(&gone));
    }
    rail.reload(&untracked(&[UP, UP, UP]));
    assert_eq!(backends(&mut rail, query), before);
    let moved = rail.moved();
    let forwarded: u64 = moved.values().sum();
    assert_eq!(forwarded, 6 * PORTS.len() as u64, "nothing else: {moved:?}");
    assert!(moved.keys().all(|key| key.starts_with("dns/")), "{moved:?}");
}

/// In both families, by the burst and one at a time, as a packet that was held.
#[test]
fn every_way_through_the_packet_path_hashes() {
    let v6 = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\", \"2001:db8::10/64\"]\n\
              gateway = [\"192.0.2.1\", \"2001:db8::1\"]\nmtu = 1600\n\
              [[service]]\nname = \"dns\"\nvip = \"2001:db8:1::53\"\nprotocol = \"udp\"\ntrack = false\n";
    let with = |numbers: &[u8]| {
        let backends = numbers.iter().map(|n| {
            format!("[[service.backend]]\nname = \"dns-{n}\"\naddress = \"198.18.0.{n}\"\n")
        });
        config(&[v6.to_owned(), backends.collect()].concat())
    };
    let mut rail = Rail::new(&with(&[1, 2]));
    let packet = |port| {
        let ip = ether().ipv6("2001:db8:9::1", "2001:db8:1::53");
        ip.udp(port, 53).payload("query")
    };
    let before = backends(&mut rail, packet);
    rail.reload(&with(&[1, 2, 3]));
    let now = backends(&mut rail, packet);
    assert!(now != before && now.contains(&3));
    for (port, backend) in PORTS.zip(&now) {
        let mut frame = packet(port).frame();
        let verdict = rail.retry(0, &mut frame);
        assert_eq!(to(verdict, &frame), *backend);
    }
    let moved = rail.moved();
    assert!(moved.keys().all(|key| key.starts_with("dns/")), "{moved:?}");
}

/// Services whose slots take one byte and two, which are found by their key, by a range of ports, and by an IPv6
/// address, and a tracked one: by the burst every packet leaves as it does by itself.
#[test]
fn services_of_all_kinds_share_a_burst() {
    let of = |name: &str, what: &str, backends: usize| {
        let (vip, what) = what.split_once(' ').expect("an address and more");
        let head = format!(
            "\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\n{what}\nprotocol = \"udp\"\n"
        );
        let backends = (0..backends).map(|n| {
            let address = format!("198.{}.{}.{}", 18 + name.len(), n / 250, 1 + n % 250);
            format!("[[service.backend]]\nname = \"{n}\"\naddress = \"{address}\"\n")
        });
        head + &backends.collect::<String>()
    };
    let port = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\", \"2001:db8::10/64\"]\n\
                gateway = [\"192.0.2.1\", \"2001:db8::1\"]\nmtu = 1600\n";
    let mut services = vec![
        of("w", &format!("{VIP} port = 100\ntrack = false"), 300),
        of("nn", &format!("{VIP} port = \"200-210\"\ntrack = false"), 7),
        of("sss", "2001:db8:1::53 port = 53\ntrack = false", 5),
        of("tttt", &format!("{VIP} port = 443"), 9),
    ];
    // So many that some keys share a place.
    let exact = 300..400;
    services.extend(exact.clone().map(|port| {
        let name = format!("x{port}");
        of(&name, &format!("{VIP} port = {port}\ntrack = false"), 3)
    }));
    let pool = config(&[port.to_owned(), services.concat()].concat());
    let mut rail = Rail::new(&pool.replace("table_size = 251", "table_size = 1009"));
    let kinds: Vec<u16> = [53, 100, 100, 205, 443].into_iter().chain(exact).collect();
    let packet = |n: usize| {
        let (from, to) = (1000 + n as u16, kinds[n % kinds.len()]);
        let head = match to {
            53 => ether().ipv6("2001:db8:9::1", "2001:db8:1::53"),
            _ => ether().ipv4(CLIENT, VIP),
        };
        head.udp(from, to).payload("query").frame()
    };
    for burst in 0..40 {
        let numbers = burst * 32..(burst + 1) * 32;
        let mut frames: Vec<_> = numbers.clone().map(packet).collect();
        let verdicts = rail.receive_burst(0, &mut frames);
        for ((n, verdict), frame) in numbers.zip(verdicts).zip(&frames) {
            let mut alone = packet(n);
            assert_eq!(rail.retry(0, &mut alone), verdict, "packet {n}");
            assert_eq!(verdict, FORWARD, "packet {n}");
            assert_eq!(alone.data(), frame.data(), "packet {n}");
        }
    }
    let moved = rail.moved();
    let wide = moved.keys().filter(|key| key.starts_with("w/")).count();
    assert!(wide > 20, "{wide} of 300 backends");
}

#[test]
fn a_flood_leaves_the_table_to_those_who_need_it() {
    let what = "protocol = \"tcp\"\nport = 80\ntrack = false";
    let pool = one_port(&[web(), service("plain", what, &[UP, UP])].concat());
    let mut rail = Rail::new(&pool);
    for port in PORTS {
        backend(&mut rail, &https(port).syn());
        backend(&mut rail, &https(port).ack());
    }
    let known = PORTS.len() as u64;
    assert_eq!(rail.moved()["inserts"], known);
    for source in 0..50u8 {
        for port in PORTS {
            let client = format!("198.51.100.{source}");
            let syn = ether().ipv4(client.as_str(), VIP).tcp(port, 80).syn();
            backend(&mut rail, &syn);
        }
    }
    for port in PORTS {
        backend(&mut rail, &https(port).ack());
    }
    let mut moved = rail.moved();
    moved.retain(|key, _| !key.starts_with("plain/"));
    let expected = [("hits", known), ("web/web-1", known)];
    let expected: BTreeMap<_, _> = expected.map(|(key, by)| (key.to_owned(), by)).into();
    assert_eq!(moved, expected);
}

/// What was pinned while a service was tracked says nothing when it no longer is: to packets, to fragments,
/// and to errors about what backends have sent.
#[test]
fn old_pins_mean_nothing() {
    let mut rail = Rail::new(&pool("", &[UP, UP, UP]));
    let pinned = backends(&mut rail, query);
    let drained = [UP, "state = \"drain\"", UP];
    rail.reload(&untracked(&drained));
    let hashed = backends(&mut rail, query);
    assert!(pinned.contains(&2) && !hashed.contains(&2));
    for (port, backend) in PORTS.zip(&hashed) {
        let whole = ether().ipv4(CLIENT, VIP).udp(port, 53).payload_len(100);
        for piece in whole.fragments(port.into(), 40) {
            let (verdict, frame) = rail.receive(piece.as_slice());
            assert_eq!(to(verdict, &frame), *backend);
        }
        let sent = ipv4(VIP, CLIENT).udp(53, port).payload_len(64).build();
        let error = ether().ipv4("192.0.2.77", VIP).too_big(1400);
        let (verdict, frame) = rail.receive(error.payload(&sent[..28]).frame());
        assert_eq!(to(verdict, &frame), *backend);
    }
}

#[test]
fn clients_stay_together_without_an_entry() {
    let sticky = |backends: &[&str]| pool("track = false\naffinity = \"source\"", backends);
    let mut rail = Rail::new(&sticky(&[UP, UP, UP]));
    let of_clients = |rail: &mut Rail| -> BTreeSet<u8> {
        let of_client = |client: u8| {
            let from = format!("198.51.100.{client}");
            let packet = |port| ether().ipv4(from.as_str(), VIP).udp(port, 53);
            let first = backend(rail, &packet(1));
            assert!((2..20).all(|port| backend(rail, &packet(port)) == first));
            first
        };
        (1..=50).map(of_client).collect()
    };
    assert_eq!(of_clients(&mut rail), [1, 2, 3].into());
    rail.reload(&sticky(&["state = \"drain\"", UP, UP]));
    assert_eq!(of_clients(&mut rail), [2, 3].into(), "all of a client move");
    assert_eq!(rail.moved().get("inserts"), None);
}

#[test]
fn without_a_backend_there_is_none() {
    let dead = untracked(&["state = \"down\"", "state = \"drain\""]);
    check(&dead, query(1), Verdict::Drop(NoBackend));
}
