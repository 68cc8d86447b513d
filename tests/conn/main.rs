//! The connection table: chosen scenarios here, random histories against a plain model in `model`.

mod model;

use std::time::Duration;

use rustyrail::table::conn::{
    ConnError, ConnOwner, ConnSettings, Entry, Inserted, Segment, TimeoutSettings, Timeouts,
};
use rustyrail::table::{BackendId, FlowHash, IdSet, Nanos};

/// Entries in a bucket.
const BUCKET: u32 = 8;

fn id(id: u32) -> BackendId {
    BackendId::new(id).unwrap()
}

fn timeouts(tcp: u64, udp: u64, closing: u64, embryonic: u64, min_idle: u64) -> Timeouts {
    Timeouts::new(&TimeoutSettings {
        tcp: Duration::from_secs(tcp),
        udp: Duration::from_secs(udp),
        closing: Duration::from_secs(closing),
        embryonic: Duration::from_secs(embryonic),
        min_idle: Duration::from_secs(min_idle),
    })
    .unwrap()
}

/// A table of one bucket, with no limit that a test would meet by accident.
fn one_bucket(timeouts: Timeouts) -> ConnOwner {
    let owner = ConnOwner::new(&ConnSettings {
        flows: 4,
        timeouts,
        new_pins_per_second: 1_000_000_000,
    })
    .unwrap();
    assert_eq!(owner.table().capacity(), BUCKET as usize);
    owner
}

/// A flow of the first bucket, named by its tag.
fn flow(tag: u32) -> FlowHash {
    FlowHash(u64::from(tag) << 32)
}

fn at(owner: &mut ConnOwner, seconds: u64) {
    owner.advance(Nanos::from_secs(seconds));
}

/// What an entry's packet sees: the backend, if there is an entry. Leaves the entry as it was.
fn pinned(owner: &mut ConnOwner, hash: FlowHash) -> Option<u32> {
    owner.find(hash).map(|found| found.backend().get())
}

fn packet(owner: &mut ConnOwner, tag: u32, segment: Segment) {
    owner.find(flow(tag)).expect("an entry").touch(segment);
}

fn established(owner: &mut ConnOwner, tag: u32) {
    assert_ne!(
        owner.insert(flow(tag), id(tag), Segment::Syn),
        Inserted::Full
    );
    packet(owner, tag, Segment::TcpData);
}

#[test]
fn sizes_are_powers_of_two_at_most_half_full() {
    let check = |flows: usize, buckets: usize| {
        let settings = ConnSettings {
            flows,
            ..ConnSettings::default()
        };
        let owner = ConnOwner::new(&settings).unwrap();
        assert_eq!(owner.table().buckets(), buckets);
        assert!(2 * flows <= owner.table().capacity());
    };
    check(1, 1);
    check(4, 1);
    check(5, 2);
    check(1000, 256);
    check(1024, 256);
    check(1025, 512);
    for flows in [0, ConnSettings::MAX_FLOWS + 1] {
        let settings = ConnSettings {
            flows,
            ..ConnSettings::default()
        };
        let refused = ConnOwner::new(&settings);
        assert!(matches!(refused, Err(ConnError::Flows(n)) if n == flows));
    }
}

#[test]
fn each_kind_of_entry_has_its_timeout() {
    // A timeout of T holds an entry at least T, and at most two ticks longer.
    let check = |segments: &[Segment], timeout: u64| {
        for start in [0, 3, 7, 32_760] {
            let mut owner = one_bucket(timeouts(1000, 800, 120, 40, 8));
            at(&mut owner, start);
            owner.insert(flow(1), id(1), segments[0]);
            for &segment in &segments[1..] {
                packet(&mut owner, 1, segment);
            }
            at(&mut owner, start + timeout);
            assert_eq!(pinned(&mut owner, flow(1)), Some(1), "{segments:?}");
            at(&mut owner, start + timeout + 16);
            assert_eq!(pinned(&mut owner, flow(1)), None, "{segments:?}");
        }
    };
    use Segment::*;
    check(&[Syn], 40);
    check(&[Syn, SynAck, Syn], 40);
    check(&[Datagram], 40);
    check(&[Syn, TcpData], 1000);
    check(&[TcpData], 1000);
    check(&[Datagram, Datagram], 800);
    check(&[Syn, TcpData, TcpClose], 120);
    check(&[Syn, TcpClose], 120);
    check(&[TcpClose], 120);
    check(&[Syn, TcpData, TcpClose, TcpData], 1000);
    check(&[Syn, TcpData, TcpClose, TcpClose, Syn], 1000);
}

#[test]
fn a_packet_renews_an_entry() {
    let mut owner = one_bucket(timeouts(80, 80, 8, 8, 8));
    established(&mut owner, 1);
    for step in 1..100 {
        at(&mut owner, 80 * step);
        packet(&mut owner, 1, Segment::TcpData);
    }
    at(&mut owner, 80 * 99 + 96);
    assert_eq!(pinned(&mut owner, flow(1)), None);
    assert_eq!(owner.stats().expired, 1);
    assert_eq!(owner.stats().occupancy, 0);
}

#[test]
fn a_syn_flood_evicts_no_established_connection() {
    let mut owner = one_bucket(timeouts(3600, 120, 32, 32, 120));
    for tag in 1..=4 {
        established(&mut owner, tag);
    }
    for tag in 1000..100_000 {
        assert_eq!(pinned(&mut owner, flow(tag)), None);
        let inserted = owner.insert(flow(tag), id(9), Segment::Syn);
        assert!(matches!(inserted, Inserted::New | Inserted::Evicted));
    }
    for tag in 1..=4 {
        assert_eq!(pinned(&mut owner, flow(tag)), Some(tag));
    }
    // Four more establish themselves: now there is no room for the flood.
    for tag in 5..=8 {
        established(&mut owner, tag);
    }
    let evictions = owner.stats().evictions;
    for tag in 1000..2000 {
        let inserted = owner.insert(flow(tag), id(9), Segment::Syn);
        assert_eq!(inserted, Inserted::Full);
    }
    assert_eq!(owner.stats().full, 1000);
    assert_eq!(owner.stats().evictions, evictions);
    assert_eq!(owner.stats().occupancy, 8);
}

#[test]
fn pressure_takes_the_cheapest_entry_first() {
    let mut owner = one_bucket(timeouts(3600, 3600, 3600, 3600, 120));
    // Tags tell the age: 1 and 2 established, 3 and 4 closing, 5 and 6 SYNs, 7 and 8 one datagram.
    for tag in 1..=8 {
        at(&mut owner, 16 * u64::from(tag));
        match tag {
            1..=2 => established(&mut owner, tag),
            3..=4 => {
                established(&mut owner, tag);
                packet(&mut owner, tag, Segment::TcpClose);
            }
            5..=6 => assert_eq!(
                owner.insert(flow(tag), id(tag), Segment::Syn),
                Inserted::New
            ),
            _ => {
                let inserted = owner.insert(flow(tag), id(tag), Segment::Datagram);
                assert_eq!(inserted, Inserted::New);
            }
        }
    }
    let gone = |owner: &mut ConnOwner| -> Vec<u32> {
        (1..=8)
            .filter(|&tag| pinned(owner, flow(tag)).is_none())
            .collect()
    };
    // Newcomers are promoted at once (their first packet seen has no SYN), so they stay.
    let mut expected = vec![];
    for (newcomer, victim) in [5, 6, 7, 8, 3, 4].into_iter().enumerate() {
        let tag = 100 + newcomer as u32;
        let inserted = owner.insert(flow(tag), id(9), Segment::TcpData);
        assert_eq!(inserted, Inserted::Evicted);
        expected.push(victim);
        expected.sort();
        assert_eq!(gone(&mut owner), expected);
    }
    // The established ones are idle for less than two minutes; then for more, the older one first.
    let full = owner.insert(flow(200), id(9), Segment::TcpData);
    assert_eq!(full, Inserted::Full);
    at(&mut owner, 16 + 120 + 16);
    let evicted = owner.insert(flow(200), id(9), Segment::TcpData);
    assert_eq!(evicted, Inserted::Evicted);
    assert_eq!(gone(&mut owner), [1, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn expired_entries_make_room_before_live_ones() {
    let mut owner = one_bucket(timeouts(3600, 3600, 8, 3600, 8));
    for tag in 1..=7 {
        owner.insert(flow(tag), id(tag), Segment::Syn);
    }
    owner.insert(flow(8), id(8), Segment::TcpClose);
    // The table is too young for its sweep: only the insertion can have noticed.
    at(&mut owner, 24);
    assert_eq!(owner.stats().expired, 0);
    let inserted = owner.insert(flow(9), id(9), Segment::Syn);
    assert_eq!(inserted, Inserted::New);
    let stats = *owner.stats();
    assert_eq!((stats.expired, stats.evictions, stats.occupancy), (1, 0, 8));
}

#[test]
fn new_pins_are_limited_per_second() {
    let mut owner = ConnOwner::new(&ConnSettings {
        flows: 1000,
        timeouts: Timeouts::default(),
        new_pins_per_second: 10,
    })
    .unwrap();
    let burst = |owner: &mut ConnOwner, base: u64| {
        let flows = (0..25).map(|flow| FlowHash((base + flow) << 32 | flow));
        let results = flows.map(|hash| owner.insert(hash, id(1), Segment::Syn));
        results.filter(|&result| result == Inserted::New).count()
    };
    at(&mut owner, 1);
    assert_eq!(burst(&mut owner, 100), 10);
    assert_eq!(owner.stats().limited, 15);
    owner.advance(Nanos(1_500_000_000));
    assert_eq!(burst(&mut owner, 200), 5);
    owner.configure(Timeouts::default(), 20);
    at(&mut owner, 10);
    assert_eq!(burst(&mut owner, 300), 20);
}

#[test]
fn a_repin_moves_the_flow_and_a_syn_makes_it_new() {
    let mut owner = one_bucket(Timeouts::default());
    established(&mut owner, 1);
    owner.find(flow(1)).unwrap().repin(id(7), Segment::TcpData);
    let entry = owner.find(flow(1)).unwrap().entry();
    assert_eq!(entry.backend(), id(7));
    assert!(entry.is_promoted());
    packet(&mut owner, 1, Segment::TcpClose);
    assert!(owner.find(flow(1)).unwrap().entry().is_closing());
    owner.find(flow(1)).unwrap().repin(id(8), Segment::Syn);
    let entry = owner.find(flow(1)).unwrap().entry();
    assert_eq!(entry.backend(), id(8));
    assert!(!entry.is_closing() && !entry.is_promoted());
    assert_eq!(owner.stats().repins, 2);
}

#[test]
fn removed_and_cleared_flows_are_gone() {
    let mut owner = one_bucket(Timeouts::default());
    established(&mut owner, 1);
    established(&mut owner, 2);
    owner.find(flow(1)).unwrap().remove();
    assert_eq!(pinned(&mut owner, flow(1)), None);
    assert_eq!(pinned(&mut owner, flow(2)), Some(2));
    assert_eq!(owner.stats().occupancy, 1);
    owner.clear();
    assert_eq!(pinned(&mut owner, flow(2)), None);
    assert_eq!(owner.table().entries().count(), 0);
}

#[test]
fn the_zero_tag_is_a_tag_like_any_other() {
    let mut owner = one_bucket(Timeouts::default());
    assert_eq!(pinned(&mut owner, flow(0)), None);
    for tag in 1..BUCKET {
        owner.insert(flow(tag), id(tag), Segment::Syn);
    }
    owner.insert(flow(0), id(77), Segment::Syn);
    assert_eq!(pinned(&mut owner, flow(0)), Some(77));
    assert_eq!(owner.insert(flow(0), id(78), Segment::Syn), Inserted::New);
    assert_eq!(pinned(&mut owner, flow(0)), Some(78));
    assert_eq!(owner.stats().occupancy, 8);
}

#[test]
fn other_threads_read_what_the_owner_wrote() {
    let mut owner = ConnOwner::new(&ConnSettings::default()).unwrap();
    at(&mut owner, 100);
    let hash = FlowHash(0x1234_5678_0000_4321);
    owner.insert(hash, id(5), Segment::Syn);
    let table = owner.table().clone();
    let timeouts = *owner.timeouts();
    let reader = std::thread::spawn(move || {
        let now = Nanos::from_secs(100).tick();
        let seen = table.peek(hash, now, &timeouts).map(Entry::backend);
        let other = table.peek(FlowHash(!hash.0), now, &timeouts);
        let late = table.peek(hash, Nanos::from_secs(1000).tick(), &timeouts);
        (seen, other, late)
    });
    assert_eq!(reader.join().unwrap(), (Some(id(5)), None, None));
    let mut ids = IdSet::new();
    owner.table().collect_ids(&mut ids);
    assert!(ids.contains(id(5)) && ids.len() == 1);
}

#[test]
fn counters_are_shown_at_each_burst_and_stay_after_the_owner() {
    let mut owner = one_bucket(Timeouts::default());
    let table = owner.table().clone();
    established(&mut owner, 1);
    assert_eq!(table.stats().inserts, 0);
    at(&mut owner, 1);
    assert_eq!(table.stats(), *owner.stats());
    assert_eq!((table.stats().inserts, table.stats().hits), (1, 1));
    pinned(&mut owner, flow(2));
    drop(owner);
    assert_eq!(table.stats().misses, 1);
}

#[test]
fn the_sweep_drops_what_nobody_asks_for() {
    const FLOWS: u64 = 4096;
    let mut owner = ConnOwner::new(&ConnSettings {
        flows: FLOWS as usize,
        timeouts: timeouts(1000, 100, 32, 32, 32),
        new_pins_per_second: u32::MAX,
    })
    .unwrap();
    for flow in 0..FLOWS {
        owner.insert(FlowHash(flow << 32 | flow), id(1), Segment::Syn);
    }
    let inserted = owner.stats().inserts;
    // A burst per 100 ms is plenty for the pace of one pass a minute.
    for tenth in 0..(32 + 16 + 65) * 10 {
        owner.advance(Nanos(tenth * 100_000_000));
    }
    assert_eq!(owner.stats().occupancy, 0);
    assert_eq!(owner.stats().expired, inserted);
    assert_eq!(owner.table().entries().count(), 0);
}

#[test]
fn no_jump_of_the_clock_makes_an_old_entry_young() {
    // 32,768 s is the wrap; without care an entry that old would look new.
    for jump in (1000..70_000).step_by(40) {
        let mut owner = ConnOwner::new(&ConnSettings {
            flows: 400,
            timeouts: timeouts(900, 900, 900, 900, 900),
            new_pins_per_second: 1_000_000,
        })
        .unwrap();
        at(&mut owner, 50_000);
        let hash = FlowHash(77 << 32 | 99);
        owner.insert(hash, id(1), Segment::TcpData);
        at(&mut owner, 50_000 + jump);
        assert_eq!(pinned(&mut owner, hash), None, "after {jump} s");
    }
}

#[test]
fn a_slow_owner_still_sweeps_twice_per_wrap() {
    // One call per half hour cannot keep the pace in small steps.
    let mut owner = ConnOwner::new(&ConnSettings {
        flows: 1 << 16,
        timeouts: timeouts(900, 900, 900, 900, 900),
        new_pins_per_second: 1_000_000_000,
    })
    .unwrap();
    for flow in 0..1u64 << 16 {
        owner.insert(FlowHash(flow << 32 | flow), id(1), Segment::TcpData);
    }
    for call in 1..=9 {
        at(&mut owner, 1800 * call);
    }
    assert_eq!(owner.table().entries().count(), 0);
}
