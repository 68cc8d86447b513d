//! SYN floods: established connections stay on their backends while strangers fill the table and the
//! pool changes.
//!
//! Everything here is deterministic: one worker's packet path in memory, over a table for 100,000
//! connections, a clock set by the test, sources from a fixed generator. The flood comes at 20,000
//! packets a second. 1,000 connections, opened before it, speak now and then.

use std::time::Duration;

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{Frame, Rail, ether};

const CONNECTIONS: u16 = 1000;
/// Packets of the flood in a second.
const RATE: u64 = 20_000;
/// `timeouts.min_idle`, by default: how long an established connection is safe without a packet.
const MIN_IDLE: u64 = 120;

/// What a stranger sends for each tuple it makes up.
const SYN: u8 = 2;
const ACK: u8 = 16;

/// A pool of four backends that never change, and more that do.
fn config(more: usize) -> String {
    let mut text = String::from(
        "[node]\nname = \"rail-a\"\nworkers = [0]\ncontrol_core = 1\nflows = 100_000\n\
         [[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\ngateway = [\"192.0.2.1\"]\n\
         mtu = 1600\n[pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\ntable_size = 1021\n\
         [[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\nprotocol = \"tcp\"\nport = 443\n",
    );
    for number in 1..=4 + more {
        text += &format!(
            "[[service.backend]]\nname = \"web-{number}\"\naddress = \"198.18.0.{number}\"\n"
        );
    }
    text
}

/// A segment to the VIP as bytes, to be patched: making each anew would take longer than the flood.
struct Segment(Vec<u8>);

impl Segment {
    fn new() -> Self {
        Segment(ether().ipv4("0.0.0.0", "203.0.113.10").tcp(0, 443).build())
    }

    fn of(&mut self, source: u32, port: u16, flags: u8) -> Frame {
        let bytes = &mut self.0;
        bytes[26..30].copy_from_slice(&source.to_be_bytes());
        bytes[34..36].copy_from_slice(&port.to_be_bytes());
        bytes[47] = flags;
        bytes[24..26].fill(0);
        let sum: u32 = bytes[14..34]
            .chunks(2)
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        bytes[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        Frame::new(bytes)
    }
}

/// The backend a packet goes to.
fn backend(rail: &mut Rail, frame: Frame) -> u8 {
    let (verdict, frame) = rail.receive(frame);
    assert!(
        matches!(verdict, Verdict::Forward(_)),
        "{verdict:?}: a full table drops nothing"
    );
    frame.data()[33]
}

/// Sends a flood of so many packets, `pattern` for each tuple; connections speak every `pause` seconds
/// and once at the end. How many were on their backends with every packet.
fn survivors(packets: u64, pattern: &[u8], pause: u64) -> usize {
    let mut rail = Rail::new(&config(0));
    let mut segment = Segment::new();
    let source = u32::from_be_bytes([198, 51, 100, 7]);
    let mut connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let port = 1024 + number;
            let to = backend(&mut rail, segment.of(source, port, SYN));
            assert_eq!(backend(&mut rail, segment.of(source, port, ACK)), to);
            (port, to, true)
        })
        .collect();
    let mut speak = |rail: &mut Rail, segment: &mut Segment| {
        for (port, to, stays) in &mut connections {
            *stays &= backend(rail, segment.of(source, *port, ACK)) == *to;
        }
        connections.iter().filter(|(_, _, stays)| *stays).count()
    };
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let seconds = packets / RATE;
    let mut burst = Vec::with_capacity(32);
    for second in 1..=seconds {
        rail.at(second);
        // Other backends come and go, so that hashing alone would move connections.
        if second % 10 == 0 {
            rail.reload(&config(second as usize / 10 % 3));
        }
        if second % pause == 0 {
            speak(&mut rail, &mut segment);
        }
        for _ in 0..RATE / pattern.len() as u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (source, port) = ((random >> 32) as u32 | 1 << 24, (random >> 16) as u16);
            for &flags in pattern {
                burst.push(segment.of(source, port, flags));
                if burst.len() == 32 {
                    rail.receive_burst(0, &mut burst);
                    burst.clear();
                }
            }
        }
    }
    rail.at(seconds);
    rail.reload(&config(3));
    let stay = speak(&mut rail, &mut segment);
    let entries = rail.moved();
    println!(
        "{packets} packets in {:?}: {stay} of {CONNECTIONS} stay; {entries:?}",
        Duration::from_secs(seconds)
    );
    stay
}

#[test]
fn five_million_syns() {
    assert_eq!(survivors(5_000_000, &[SYN], 100), 1000);
}

/// A repeated SYN proves nothing either.
#[test]
fn two_syns_for_each_tuple() {
    assert_eq!(survivors(5_000_000, &[SYN, SYN], 100), 1000);
}

/// A stranger who sends an ACK after his SYN looks like a connection: the rail sees one direction
/// only, so it cannot know that no server ever answered. His entries are worth as much as any. Who speaks
/// more often than `min_idle` is still never pushed out.
#[test]
fn syn_and_ack_for_each_tuple() {
    assert_eq!(survivors(5_000_000, &[SYN, ACK], MIN_IDLE - 20), 1000);
}

/// The limit: under such a flood, connections that are silent for longer than `min_idle` lose their
/// entries to it. They are hashed then, and those for which the table still says what it said stay.
#[test]
fn syn_and_ack_against_connections_that_are_silent_for_long() {
    let stay = survivors(5_000_000, &[SYN, ACK], 10 * MIN_IDLE);
    assert!((200..1000).contains(&stay), "{stay}");
}
