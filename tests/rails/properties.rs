//! Whatever happens to several rails at once: packets, fragments and errors in any order, rails that die
//! and come back in each other's eyes, backends that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use rustyrail::pipeline::verdict::DropReason;
use rustyrail::testkit::{ether, ipv4};

use crate::network::*;

const RAILS: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    /// A whole packet of a flow reaches a rail.
    Whole { rail: usize, client: u8 },
    /// One fragment of a datagram, each at most once in a history, reaches a rail.
    Piece {
        rail: usize,
        datagram: usize,
        piece: usize,
    },
    /// An ICMP error about a flow reaches a rail.
    Error { rail: usize, client: u8 },
    /// Waiting fragments are tried again.
    Retry,
    /// A rail changes its mind about another one.
    Alive {
        rail: usize,
        other: usize,
        alive: bool,
    },
    /// All rails get another pool.
    Pool(usize),
}

/// Datagrams of a history, and how many fragments each has.
const DATAGRAMS: usize = 8;
const PIECES: usize = 4;

fn client(number: u8) -> String {
    format!("198.51.100.{}", number + 1)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..RAILS, 0..8u8).prop_map(|(rail, client)| Op::Whole { rail, client }),
        8 => (0..RAILS, 0..DATAGRAMS, 0..PIECES)
            .prop_map(|(rail, datagram, piece)| Op::Piece { rail, datagram, piece }),
        1 => (0..RAILS, 0..8u8).prop_map(|(rail, client)| Op::Error { rail, client }),
        2 => Just(Op::Retry),
        1 => (0..RAILS, 0..RAILS, any::<bool>())
            .prop_map(|(rail, other, alive)| Op::Alive { rail, other, alive }),
        1 => (0..4usize).prop_map(Op::Pool),
    ]
}

/// Pools to change between: all backends up, one of them draining, fewer, and none.
fn pool(which: usize) -> Pool {
    let states: &[&str] = match which {
        0 => &["up", "up", "up", "up"],
        1 => &["up", "drain", "up", "up"],
        2 => &["down", "up"],
        _ => &["down"],
    };
    Pool::new(
        RAILS,
        &service("dns", VIP, "protocol = \"udp\"\nport = 53", states),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The books balance; no packet makes two hops between rails; nothing is lost for a reason that the
    /// history does not give; and while the rails agree and no backend dies, all fragments of a datagram
    /// that arrive have arrived at one backend.
    #[test]
    fn any_history(ops in prop::collection::vec(op(), 1..120)) {
        let mut network = Network::of(&pool(0));
        let mut seen = BTreeSet::new();
        let (mut agreed, mut stable) = (true, true);
        for op in ops {
            match op {
                Op::Whole { rail, client: number } => {
                    let from = client(number);
                    let packet = ether().ipv4(from.as_str(), VIP).udp(4000, 53).payload("query");
                    network.send(rail, &packet.build());
                }
                Op::Piece { rail, datagram, piece } if seen.insert((datagram, piece)) => {
                    let from = client(datagram as u8);
                    let whole = ether().ipv4(from.as_str(), VIP).udp(4000, 53);
                    let id = 100 + datagram as u32;
                    let pieces = whole.payload_len(PIECES * 40 - 20).fragments(id, 40);
                    prop_assert_eq!(pieces.len(), PIECES);
                    network.send(rail, &pieces[piece]);
                }
                Op::Piece { .. } => {}
                Op::Error { rail, client: number } => {
                    let quoted = ipv4(VIP, client(number).as_str()).udp(53, 4000).payload("answer");
                    let error = ether().ipv4("192.0.2.1", VIP).unreachable(1);
                    network.send(rail, &error.payload(quoted.build()).build());
                }
                Op::Retry => network.retry(),
                Op::Alive { rail, other, alive } => {
                    if rail != other {
                        agreed &= alive;
                        let other = rail_address(other);
                        network.each_worker(rail, |worker| worker.set_alive(&other, alive));
                    }
                }
                Op::Pool(which) => {
                    stable &= which < 2;
                    network.reload(&pool(which));
                }
            }
            network.check_books();
            prop_assert!(network.most_hops <= 1, "a packet from a peer went to a peer");
        }
        let over = |read: fn(&rustyrail::table::counters::Counters) -> u64| {
            (0..RAILS).map(|rail| network.counted(rail, read)).sum::<u64>()
        };
        let waiting = network.waiting() as u64;
        let (to, from) = (over(|c| c.to_peers.get()), over(|c| c.from_peers.get()));
        prop_assert!(from <= to && to <= from + waiting, "{to} sent, {from} heard");
        if agreed {
            prop_assert_eq!(over(|c| c.kept.get()), 0);
        }
        let reasons: Vec<_> = network.dropped.keys().collect();
        let explained = |reason: &DropReason| *reason == DropReason::NoBackend && !stable;
        prop_assert!(reasons.iter().all(|reason| explained(reason)), "{reasons:?}");
        prop_assert!(network.waiting() <= DATAGRAMS * (PIECES - 1));
        if agreed && stable {
            let mut ends: BTreeMap<u16, BTreeSet<(usize, IpAddr)>> = BTreeMap::new();
            for arrived in &network.arrived {
                let id = u16::from_be_bytes([arrived.packet[4], arrived.packet[5]]);
                if id >= 100 {
                    ends.entry(id).or_default().insert((arrived.by, arrived.backend));
                }
            }
            prop_assert!(ends.values().all(|ends| ends.len() == 1), "{ends:?}");
        }
    }
}
