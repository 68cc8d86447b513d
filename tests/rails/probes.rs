//! Probes on the wire: what the control core of one rail makes, the workers of another read.

use std::sync::{Arc, Mutex};

use crossbeam::queue::ArrayQueue;

use rustyrail::control::rail::{Hardware, Rail as Control};
use rustyrail::pipeline::verdict::{DropReason, Verdict};
use rustyrail::pool::{Environment, parse};
use rustyrail::table::port::PortReport;
use rustyrail::table::snapshot::PortIndex;
use rustyrail::testkit::{RAIL_MAC, Rail, ether};

use crate::network::*;

/// Ports that keep what they are given to send.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<Vec<u8>>>>, Vec<PortReport>);

impl Hardware for Wire {
    fn send(&self, _: PortIndex, frame: &[u8]) -> bool {
        self.0.lock().unwrap().push(frame.to_vec());
        true
    }

    fn ports(&self) -> Vec<PortReport> {
        self.1.clone()
    }

    fn driver(&self) -> String {
        String::new()
    }
}

const UDP_PORT: [u8; 2] = 6079u16.to_be_bytes();

/// The pool of two rails, over IPv4 or IPv6 between them.
fn config(rail: usize, v6: bool, peer_key: u32) -> String {
    let mut pool = Pool::new(2, &service("web", VIP, "", &["up"]));
    pool.more = format!("peer_key = {peer_key}");
    let mut config = pool.config(rail);
    if v6 {
        for rail in 0..2 {
            let v4 = format!("address = \"{}\"", rail_address(rail));
            config = config.replace(&v4, &format!("address = \"2001:db8::{}\"", 10 + rail));
        }
    }
    // Both know where the other one is.
    let other = 11 - rail;
    for address in [format!("192.0.2.{other}"), format!("2001:db8::{other}")] {
        config += &format!("\n[[neighbor]]\naddress = \"{address}\"\nmac = \"{RAIL_MAC}\"\n");
    }
    config
}

/// The first probe that rail a sends.
fn probe(v6: bool, peer_key: u32) -> Vec<u8> {
    let text = config(0, v6, peer_key);
    let (config, _) = parse(&text, "test.toml", &Environment::any()).expect("valid");
    let wire = Wire::default();
    let news = Arc::new(ArrayQueue::new(1));
    let port = Box::new(wire.clone());
    let mut control = Control::new(config, vec![[2; 6]], news, port).expect("compiles");
    control.tick();
    let sent = wire.0.lock().unwrap();
    let udp = |frame: &&Vec<u8>| frame[frame.len() - 64..][..2] == UDP_PORT;
    let probes: Vec<_> = sent.iter().filter(|f| f.len() > 64).filter(udp).collect();
    assert_eq!(probes.len(), 1, "one peer, one probe");
    probes[0].clone()
}

/// One's complement sum over a pseudo header and what follows, as RFC 768 and RFC 8200 have it.
fn udp_sum(frame: &[u8], v6: bool) -> u16 {
    let (addresses, l4) = if v6 { (22..54, 54) } else { (26..34, 34) };
    let datagram = &frame[l4..];
    let pseudo = [0, 17, 0, datagram.len() as u8];
    let all = [&frame[addresses], &pseudo, datagram].concat();
    let words = all
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let sum: u32 = words.sum();
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn a_probe_is_heard_by_its_receiver_alone() {
    for v6 in [false, true] {
        let probe = probe(v6, 1);
        assert_eq!(probe.len(), 14 + if v6 { 40 } else { 20 } + 8 + 56);
        assert_eq!(udp_sum(&probe, v6), 0xffff);
        let mut receiver = Rail::new(&config(1, v6, 1));
        let (verdict, _) = receiver.receive(probe.as_slice());
        assert_eq!(verdict, Verdict::Heard);
        assert_eq!(receiver.counters().to_host.get(), 1);
        let heard = receiver.probes();
        assert_eq!(heard.len(), 1);
        let expected = if v6 { "2001:db8::10" } else { "192.0.2.10" };
        assert_eq!(heard[0].from.to_string(), expected);
        assert_eq!(heard[0].probe.sequence.get(), 1);
    }
}

#[test]
fn a_probe_with_one_bit_changed_is_bad() {
    let probe = probe(false, 1);
    let mut receiver = Rail::new(&config(1, false, 1));
    // From the magic on to the last byte of the tag; no worker looks at UDP's own checksum.
    for at in 42..probe.len() {
        let mut bent = probe.clone();
        bent[at] ^= 1;
        let (verdict, _) = receiver.receive(bent);
        assert_eq!(verdict, Verdict::Drop(DropReason::BadProbe), "byte {at}");
    }
    assert_eq!(receiver.probes(), []);
}

#[test]
fn a_probe_of_another_pool_is_bad_and_a_strangers_is_the_hosts() {
    let mut receiver = Rail::new(&config(1, false, 2));
    let (verdict, _) = receiver.receive(probe(false, 1));
    assert_eq!(verdict, Verdict::Drop(DropReason::BadProbe));
    let stranger = ether().ipv4("192.0.2.77", rail_address(1).as_str());
    let (verdict, _) = receiver.receive(stranger.udp(6079, 6079).payload("hello").build());
    assert!(matches!(verdict, Verdict::Host(_)), "{verdict:?}");
    // Not the port, or in a tunnel: no probe.
    let other = ether().ipv4(rail_address(0).as_str(), rail_address(1).as_str());
    let (verdict, _) = receiver.receive(other.udp(6079, 6078).build());
    assert!(matches!(verdict, Verdict::Host(_)), "{verdict:?}");
}

/// A rail that starts tells its links which addresses it has, once both it and the link are up.
#[test]
fn own_addresses_are_announced_unasked() {
    let news = || Arc::new(ArrayQueue::new(1));
    let (config, _) = parse(&config(0, false, 1), "test.toml", &Environment::any()).expect("valid");
    for (up, expected) in [(false, 0), (true, 2)] {
        let report = PortReport {
            up,
            ..PortReport::default()
        };
        let wire = Wire(Arc::default(), vec![report]);
        let port = Box::new(wire.clone());
        let mut control =
            Control::new(config.clone(), vec![[2; 6]], news(), port).expect("compiles");
        control.tick();
        control.tick();
        let sent = wire.0.lock().unwrap();
        // To everybody, and to all nodes; the rest is questions about neighbours and probes.
        let arp = |frame: &Vec<u8>| frame[12..14] == [8, 6] && frame[28..32] == frame[38..42];
        let nd = |frame: &Vec<u8>| frame[..6] == [0x33, 0x33, 0, 0, 0, 1] && frame[54] == 136;
        let told = sent.iter().filter(|frame| arp(frame) || nd(frame));
        assert_eq!(told.count(), expected);
    }
}
