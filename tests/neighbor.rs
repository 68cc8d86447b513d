//! The neighbour state machine: scenarios over time, then random histories.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use rustyrail::table::Nanos;
use rustyrail::table::neighbor::{Learned, Neighbor, NeighborTable, Request};
use rustyrail::wire::MacAddr;

fn hop(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn at(seconds: u64) -> Nanos {
    Nanos::from_secs(seconds)
}

fn table(hops: &[u8]) -> NeighborTable {
    let hops = hops.iter().map(|&last| hop(last));
    NeighborTable::default().configured(hops, [], at(0))
}

/// Polls once and collects what is to be sent.
fn requests(table: &mut NeighborTable, now: Nanos) -> Vec<Request> {
    let mut requests = Vec::new();
    table.poll(now, |request| requests.push(request));
    requests
}

/// The seconds in `range` at which a request goes out, polled ten times a second, and whether it goes
/// to one station.
fn asked(table: &mut NeighborTable, range: std::ops::Range<u64>) -> Vec<(u64, bool)> {
    let mut seconds = Vec::new();
    for tenth in range.start * 10..range.end * 10 {
        for request in requests(table, Nanos(tenth * 100_000_000)) {
            seconds.push((tenth / 10, request.unicast.is_some()));
        }
    }
    seconds
}

#[test]
fn a_silent_hop_is_asked_every_second_then_ever_more_rarely() {
    let mut table = table(&[1]);
    let mut expected: Vec<u64> = (0..10).collect();
    expected.extend([11, 15, 23, 39, 71, 103, 135]);
    let expected: Vec<_> = expected.into_iter().map(|second| (second, false)).collect();
    assert_eq!(asked(&mut table, 0..140), expected);
    assert!(!table.all_resolved());
    // It comes back by itself.
    assert_eq!(table.learn(hop(1), mac(1), at(140)), Learned::Changed);
    assert!(table.all_resolved());
}

#[test]
fn an_address_is_refreshed_before_it_expires() {
    let mut table = table(&[1]);
    assert_eq!(asked(&mut table, 0..1), [(0, false)]);
    table.learn(hop(1), mac(1), at(0));
    assert_eq!(asked(&mut table, 0..45), []);
    assert_eq!(asked(&mut table, 45..46), [(45, true)]);
    assert_eq!(table.learn(hop(1), mac(1), at(46)), Learned::Confirmed);
    assert_eq!(asked(&mut table, 46..91), []);
    assert_eq!(asked(&mut table, 91..93), [(91, true), (92, true)]);
}

#[test]
fn an_address_stays_in_use_until_its_life_is_over() {
    let mut table = table(&[1]);
    table.learn(hop(1), mac(1), at(0));
    let generation = table.generation();
    let silence = asked(&mut table, 0..60);
    let unicast = [(45, true), (46, true), (47, true)];
    let broadcast = (48..60).map(|second| (second, false));
    let expected: Vec<_> = unicast.into_iter().chain(broadcast).collect();
    assert_eq!(silence, expected);
    assert_eq!(table.mac(hop(1)), Some(mac(1)));
    assert_eq!(table.generation(), generation);
    // At 60 s it is gone, and asked for anew in the same second.
    assert_eq!(asked(&mut table, 60..62), [(60, false), (61, false)]);
    assert_eq!(table.mac(hop(1)), None);
    assert_eq!(table.generation(), generation + 1);
    assert_eq!(table.unresolved().collect::<Vec<_>>(), [hop(1)]);
}

#[test]
fn a_moved_address_is_news_a_known_one_is_not() {
    let mut table = table(&[1]);
    let start = table.generation();
    assert_eq!(table.learn(hop(1), mac(1), at(0)), Learned::Changed);
    assert_eq!(table.learn(hop(1), mac(1), at(1)), Learned::Confirmed);
    assert_eq!(table.generation(), start + 1);
    assert_eq!(table.learn(hop(1), mac(2), at(2)), Learned::Changed);
    assert_eq!(table.generation(), start + 2);
    assert_eq!(table.mac(hop(1)), Some(mac(2)));
}

#[test]
fn only_next_hops_and_only_stations_are_learnt() {
    let mut table = table(&[1]);
    assert_eq!(table.learn(hop(2), mac(2), at(0)), Learned::Ignored);
    assert_eq!(table.mac(hop(2)), None);
    assert_eq!(table.iter().count(), 1);
    for group in [
        MacAddr::BROADCAST,
        MacAddr::ZERO,
        MacAddr([1, 0, 0x5e, 0, 0, 1]),
    ] {
        assert_eq!(table.learn(hop(1), group, at(0)), Learned::Ignored);
        assert_eq!(table.mac(hop(1)), None);
    }
}

#[test]
fn static_entries_win_and_are_never_asked_for() {
    let mut table = NeighborTable::default().configured(
        [hop(1), hop(2)],
        [(hop(1), mac(9)), (hop(3), mac(8))],
        at(0),
    );
    assert_eq!(table.learn(hop(1), mac(1), at(0)), Learned::Ignored);
    assert_eq!(table.confirm(hop(1), mac(1), at(0)), Learned::Ignored);
    assert_eq!(table.mac(hop(1)), Some(mac(9)));
    assert_eq!(table.mac(hop(3)), Some(mac(8)));
    table.learn(hop(2), mac(2), at(0));
    assert!(table.all_resolved());
    let sent = requests(&mut table, at(50));
    assert_eq!(
        sent,
        [Request {
            address: hop(2),
            unicast: Some(mac(2))
        }]
    );
    assert_eq!(requests(&mut table, at(1_000_000))[0].address, hop(2));
    assert_eq!(table.mac(hop(1)), Some(mac(9)));
}

#[test]
fn a_new_configuration_keeps_what_it_can() {
    let mut table =
        NeighborTable::default().configured([hop(1), hop(2), hop(1)], [(hop(3), mac(3))], at(0));
    table.learn(hop(1), mac(1), at(0));
    table.learn(hop(2), mac(2), at(0));
    // 2 leaves, 3 is no longer static, 4 comes.
    table = table.configured([hop(1), hop(3), hop(4), hop(1)], [], at(10));
    let states: Vec<_> = table.iter().map(|(hop, n)| (hop, n.state())).collect();
    let expected = [(1, "reachable"), (3, "incomplete"), (4, "incomplete")];
    assert_eq!(states, expected.map(|(last, state)| (hop(last), state)));
    let sent: Vec<_> = requests(&mut table, at(10))
        .iter()
        .map(|r| r.address)
        .collect();
    assert_eq!(sent, [hop(3), hop(4)]);
    assert_eq!(asked(&mut table, 45..46).len(), 3);
}

#[test]
fn an_advertisement_without_override_is_checked_not_believed() {
    let mut table = NeighborTable::default();
    let router: IpAddr = "fe80::1".parse().unwrap();
    table = table.configured([router], [], at(0));
    assert_eq!(table.confirm(router, mac(1), at(0)), Learned::Changed);
    assert_eq!(table.confirm(router, mac(1), at(10)), Learned::Confirmed);
    assert_eq!(requests(&mut table, at(20)), []);
    assert_eq!(table.confirm(router, mac(2), at(20)), Learned::Ignored);
    assert_eq!(table.mac(router), Some(mac(1)));
    let ask = Request {
        address: router,
        unicast: Some(mac(1)),
    };
    assert_eq!(requests(&mut table, at(20)), [ask]);
    // Repeating it does not make more requests than one per second.
    assert_eq!(table.confirm(router, mac(2), at(20)), Learned::Ignored);
    assert_eq!(requests(&mut table, at(20)), []);
    assert_eq!(table.learn(router, mac(1), at(21)), Learned::Confirmed);
    assert_eq!(requests(&mut table, at(21)), []);
}

#[test]
fn a_life_shorter_than_refreshing_takes_is_lengthened() {
    let mut table = NeighborTable::new(Duration::from_secs(1)).configured([hop(1)], [], at(0));
    table.learn(hop(1), mac(1), at(0));
    let until = table
        .iter()
        .next()
        .and_then(|(_, neighbor)| neighbor.until());
    assert_eq!(until, Some(at(0) + NeighborTable::MIN_LIFE));
}

#[test]
fn a_short_life_is_refreshed_after_a_long_silence() {
    let mut table = NeighborTable::new(NeighborTable::MIN_LIFE).configured([hop(1)], [], at(0));
    // Silent for so long that half a minute passes between two requests.
    let last = asked(&mut table, 0..200).last().copied();
    assert_eq!(last, Some((199, false)));
    table.learn(hop(1), mac(1), at(200));
    assert_eq!(asked(&mut table, 200..216), [(215, true)]);
}

#[derive(Clone, Debug)]
enum Op {
    Learn(u8, u8),
    Confirm(u8, u8),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0u8..5, 1u8..4).prop_map(|(hop, mac)| Op::Learn(hop, mac)),
        1 => (0u8..5, 1u8..4).prop_map(|(hop, mac)| Op::Confirm(hop, mac)),
        3 => (0u64..30_000).prop_map(Op::Wait),
    ]
}

proptest! {
    /// Hops 0 to 2 are dynamic, 3 is static, 4 is none. An address is there exactly for a life after
    /// it was last heard; a hop is asked at most once a second, and always when it is needed.
    #[test]
    fn a_random_history_keeps_the_promises(ops in prop::collection::vec(op(), 1..100)) {
        let mut table = NeighborTable::default().configured([hop(0), hop(1), hop(2)], [(hop(3), mac(33))], at(0));
        let mut heard: HashMap<u8, (u8, Nanos)> = HashMap::new();
        let mut last_request: HashMap<IpAddr, Nanos> = HashMap::new();
        let mut now = at(0);
        for op in ops {
            let live = |n: u8, heard: &HashMap<u8, (u8, Nanos)>, now: Nanos| {
                heard.get(&n).filter(|h| now.since(h.1) < NeighborTable::LIFE).map(|h| h.0)
            };
            match op {
                Op::Learn(n, m) if n < 3 => {
                    let changed = live(n, &heard, now) != Some(m);
                    let expected = if changed { Learned::Changed } else { Learned::Confirmed };
                    prop_assert_eq!(table.learn(hop(n), mac(m), now), expected);
                    heard.insert(n, (m, now));
                }
                Op::Confirm(n, m) if n < 3 => {
                    let expected = match live(n, &heard, now) {
                        None => Learned::Changed,
                        Some(known) if known == m => Learned::Confirmed,
                        Some(_) => Learned::Ignored,
                    };
                    prop_assert_eq!(table.confirm(hop(n), mac(m), now), expected);
                    if expected != Learned::Ignored {
                        heard.insert(n, (m, now));
                    }
                }
                Op::Learn(n, m) => {
                    prop_assert_eq!(table.learn(hop(n), mac(m), now), Learned::Ignored);
                }
                Op::Confirm(n, m) => {
                    prop_assert_eq!(table.confirm(hop(n), mac(m), now), Learned::Ignored);
                }
                Op::Wait(millis) => now = now + Duration::from_millis(millis),
            }
            let generation = table.generation();
            let before: Vec<_> = table.iter().map(|(_, neighbor)| neighbor.mac()).collect();
            for request in requests(&mut table, now) {
                let earlier = last_request.insert(request.address, now);
                let pause = earlier.map_or(Duration::MAX, |earlier| now.since(earlier));
                let fresh = matches!(
                    table.iter().find(|(a, _)| *a == request.address),
                    Some((_, Neighbor::Incomplete { asked: 1, .. } | Neighbor::Refresh { asked: 1, .. }))
                );
                prop_assert!(pause >= Duration::from_secs(1) || fresh);
            }
            let after: Vec<_> = table.iter().map(|(_, neighbor)| neighbor.mac()).collect();
            prop_assert!(before == after || table.generation() > generation);
            for n in 0..3 {
                let expected = live(n, &heard, now).map(mac);
                prop_assert_eq!(table.mac(hop(n)), expected);
            }
            prop_assert_eq!(table.mac(hop(3)), Some(mac(33)));
            prop_assert_eq!(table.mac(hop(4)), None);
        }
    }
}
