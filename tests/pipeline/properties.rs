//! Whatever comes in: never a panic, a verdict for every frame, one counter for every verdict, and every
//! packet that leaves has lengths and checksums that are right.

use proptest::prelude::*;
use proptest::sample::Index;
use rustyrail::pipeline::Stage;
use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{Frame, PacketBuilder, ROUTER_MAC, Rail, arp_request, ether};
use rustyrail::wire::{Ecn, IpProtocol};

use crate::support::*;

/// One of each kind of packet the path has a branch for.
fn kinds() -> Vec<Vec<u8>> {
    let inside = |tunnel: PacketBuilder| tunnel.ipv4(CLIENT, VIP).tcp(7, 443).payload("inside");
    let v6 = || ether().ipv6("2001:db8::7", "2001:db8:1::10");
    let packets = [
        https(1).syn(),
        https(1).fin().ack().payload_len(200).padded(),
        https(2).vlan(10).service_vlan(20).ack(),
        ether()
            .ipv4(CLIENT, VIP)
            .options(&[7; 9])
            .ecn(Ecn::Ce)
            .udp(5, 53)
            .payload("query"),
        ether()
            .ipv4(CLIENT, VIP)
            .udp(5, 54)
            .no_checksum()
            .payload("l3dsr"),
        ether()
            .ipv4(CLIENT, VIP)
            .protocol(IpProtocol::SCTP)
            .payload([0; 20]),
        ether().ipv4(CLIENT, VIP).echo_request(1, 2).payload("ping"),
        ether().ipv4(CLIENT, RAIL).echo_request(1, 2),
        ether().ipv4(CLIENT, RAIL).tcp(1, 22),
        ether().ipv4(CLIENT, "203.0.113.99").tcp(1, 22),
        arp_request(ROUTER_MAC, ROUTER, RAIL).padded(),
        inside(
            ether()
                .ipv4(ROUTER, RAIL)
                .gre()
                .gre_key(5)
                .gre_checksum()
                .gre_sequence(1),
        ),
        inside(ether().ipv4(ROUTER, RAIL).ecn(Ecn::Ce).gre()),
        inside(ether().ipv4(ROUTER, RAIL)),
        inside(ether().ipv4(ROUTER, RAIL).gre().ipv4(ROUTER, RAIL)),
        v6().hop_by_hop().tcp(9, 443).ack().payload("six"),
        v6().fragment(7, 0, true).udp(5, 443).payload_len(32),
        v6().echo_request(1, 1),
        ether()
            .ipv4(ROUTER, RAIL)
            .gre()
            .ipv6("2001:db8::7", "2001:db8:1::10")
            .udp(1, 443)
            .payload("x"),
    ];
    let fragments = ether()
        .ipv4(CLIENT, VIP)
        .udp(5, 53)
        .payload_len(64)
        .fragments(9, 32);
    packets
        .iter()
        .map(PacketBuilder::build)
        .chain(fragments)
        .collect()
}

/// Pools to swap between: every encapsulation, IPv6 over both families, then less and less of it.
fn pools() -> Vec<String> {
    let port = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\", \"2001:db8:f::10/64\"]\n\
                gateway = [\"192.0.2.1\", \"2001:db8:f::1\"]\nmtu = 1600\n";
    let v6 = |name: &str, what: &str, backend: &str| {
        format!(
            "\n[[service]]\nname = \"{name}\"\nvip = \"2001:db8:1::10\"\n{what}\n\
             [[service.backend]]\nname = \"b\"\naddress = \"{backend}\"\n"
        )
    };
    let tcp = "protocol = \"tcp\"\nport = 443";
    let all = [
        service("web", tcp, &["", "", "state = \"drain\""]),
        service(
            "dns",
            "protocol = \"udp\"\nport = 53\nencap = \"gue\"",
            &["", ""],
        ),
        service(
            "direct",
            "protocol = \"udp\"\nport = 54\nencap = \"l3dsr\"\ndscp = 9",
            &[""],
        ),
        service(
            "sctp",
            "protocol = \"sctp\"\nencap = \"ipip\"\naffinity = \"source\"",
            &[""],
        ),
        v6("six", "protocol = \"tcp\"", "2001:db8:2::1"),
        v6(
            "gue6",
            "protocol = \"udp\"\nencap = \"gue\"",
            "2001:db8:2::2",
        ),
    ];
    let some = [
        service(
            "dns",
            "protocol = \"udp\"\nport = 53\ngre_key = 9",
            &["", "state = \"down\""],
        ),
        service("web", tcp, &["state = \"down\"", "weight = 1", "", ""]),
        v6("six", "", "198.18.0.9"),
    ];
    let dead = [service("web", tcp, &["state = \"down\""])];
    [all.concat(), some.concat(), dead.concat(), String::new()]
        .iter()
        .map(|services| config(&[port, services].concat()))
        .collect()
}

#[derive(Debug, Clone)]
enum Change {
    Byte(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Append(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any::<(Index, u8)>().prop_map(|(at, to)| Change::Byte(at, to)),
        4 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Change::Append),
    ]
}

/// A frame: one of the kinds with a few changes, its IPv4 checksum put right again or not, or noise.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let changed = (
        0..kinds().len(),
        prop::collection::vec(change(), 0..5),
        any::<bool>(),
    );
    let changed = changed.prop_map(|(kind, changes, repair)| {
        let mut bytes = kinds().swap_remove(kind);
        for change in changes {
            apply(&mut bytes, change);
        }
        if repair {
            repair_ipv4(&mut bytes);
        }
        bytes
    });
    prop_oneof![
        8 => changed,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Byte(at, to) => {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        Change::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::Append(more) => bytes.extend(more),
    }
}

/// Makes the checksum of an untagged IPv4 header right, so that a change behind it is looked at.
fn repair_ipv4(bytes: &mut [u8]) {
    if bytes.get(12..14) != Some(&[8, 0]) {
        return;
    }
    let len = bytes.get(14).map_or(0, |ihl| usize::from(ihl & 15) * 4);
    let Some(header) = bytes
        .get_mut(14..14 + len)
        .filter(|header| header.len() >= 20)
    else {
        return;
    };
    header[10..12].fill(0);
    let sum = !folded_sum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn folded_sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What holds for every frame the rail sends, to a backend or back.
fn check_sent(frame: &Frame) {
    let data = frame.data();
    let be = |at: usize| usize::from(u16::from_be_bytes([data[at], data[at + 1]]));
    match be(12) {
        0x0800 => {
            let ip = &data[14..];
            let header = usize::from(ip[0] & 15) * 4;
            assert_eq!(ip[0] >> 4, 4);
            assert_eq!(be(16), ip.len(), "total length");
            assert_eq!(folded_sum(&ip[..header]), 0xffff, "header checksum");
        }
        0x86dd => {
            let ip = &data[14..];
            assert_eq!(ip[0] >> 4, 6);
            assert_eq!(be(18), ip.len() - 40, "payload length");
            if ip[6] == 17 {
                let pseudo = [&ip[8..40], &ip[4..6], &[0, 17], &ip[40..]].concat();
                assert_eq!(folded_sum(&pseudo), 0xffff, "UDP checksum of GUE over IPv6");
            }
        }
        // An answered ARP request keeps its tags.
        0x0806 | 0x8100 | 0x88a8 | 0x9100 => {}
        other => panic!("sent EtherType {other:04x}"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Burst(Vec<Vec<u8>>),
    /// A burst with a swap between its stages.
    Across(Vec<Vec<u8>>, usize),
    Swap(usize),
    Wait(u64),
    Unresolve(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let burst = || prop::collection::vec(frame(), 1..=32);
    prop_oneof![
        6 => burst().prop_map(Step::Burst),
        3 => (burst(), 0..4usize).prop_map(|(burst, pool)| Step::Across(burst, pool)),
        1 => (0..4usize).prop_map(Step::Swap),
        1 => (0..100_000u64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Unresolve),
    ]
}

/// Counts verdicts the way the worker's books do.
#[derive(Default)]
struct Books {
    frames: u64,
    forwarded: u64,
    held: u64,
}

impl Books {
    fn note(&mut self, inputs: &[Vec<u8>], verdicts: &[Verdict], frames: &[Frame]) {
        assert_eq!(verdicts.len(), inputs.len());
        for ((input, verdict), frame) in inputs.iter().zip(verdicts).zip(frames) {
            self.frames += 1;
            match verdict {
                Verdict::Forward(_) => {
                    self.forwarded += 1;
                    check_sent(frame);
                }
                Verdict::Reply(_) => check_sent(frame),
                Verdict::Hold(_) | Verdict::Await => {
                    self.held += 1;
                    assert_eq!(frame.data(), input);
                }
                Verdict::Host(_) => assert_eq!(frame.data(), input),
                Verdict::Drop(_) => {}
            }
        }
    }

    fn check(&self, rail: &Rail) {
        let counters = rail.counters();
        let ends = counters.to_host.get() + counters.replies.get() + counters.dropped();
        assert_eq!(self.frames, ends + self.forwarded + self.held);
        assert_eq!(self.forwarded, rail.forwarded());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_traffic_over_any_history(steps in prop::collection::vec(step(), 1..25)) {
        let pools = pools();
        let mut rail = Rail::new(&pools[0]);
        let (mut books, mut now) = (Books::default(), 0);
        for step in steps {
            match step {
                Step::Burst(inputs) => {
                    let mut frames: Vec<Frame> = inputs.iter().map(|i| Frame::new(i)).collect();
                    let verdicts = rail.receive_burst(0, &mut frames);
                    books.note(&inputs, &verdicts, &frames);
                }
                Step::Across(inputs, pool) => {
                    let mut frames: Vec<Frame> = inputs.iter().map(|i| Frame::new(i)).collect();
                    let mut stage = Stage::new();
                    rail.front(0, &frames, &mut stage);
                    rail.reload(&pools[pool]);
                    let verdicts = rail.finish(&mut frames, &mut stage);
                    books.note(&inputs, &verdicts, &frames);
                }
                Step::Swap(pool) => rail.reload(&pools[pool]),
                Step::Wait(seconds) => {
                    now += seconds;
                    rail.at(now);
                }
                Step::Unresolve(four) => {
                    rail.unresolve(if four { ROUTER } else { "2001:db8:f::1" });
                }
            }
            books.check(&rail);
        }
    }
}

/// Every kind, cut at every length and with every byte changed in turn: no panic, always a verdict.
#[test]
fn every_kind_cut_and_bent_at_every_byte() {
    let mut rail = Rail::new(&pools()[0]);
    let mut books = Books::default();
    for kind in kinds() {
        for at in 0..kind.len() {
            let mut inputs = vec![kind[..at].to_vec()];
            for value in [0, 1, 0x0f, 0x40, 0x7f, 0x80, 0xff] {
                let mut bent = kind.clone();
                bent[at] = value;
                inputs.push(bent.clone());
                repair_ipv4(&mut bent);
                inputs.push(bent);
            }
            let mut frames: Vec<Frame> = inputs.iter().map(|i| Frame::new(i)).collect();
            let verdicts = rail.receive_burst(0, &mut frames);
            books.note(&inputs, &verdicts, &frames);
            books.check(&rail);
        }
    }
}
