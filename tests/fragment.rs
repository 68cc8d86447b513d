//! The fragment memory: scenarios, random histories against a model, and real threads.

use std::collections::HashMap;
use std::sync::Barrier;
use std::time::Duration;

use proptest::prelude::*;
use rustyrail::table::fragment::FragmentTable;
use rustyrail::table::{BackendId, FlowHash, IdSet, Nanos};

fn id(id: u32) -> BackendId {
    BackendId::new(id).unwrap()
}

fn table(datagrams: usize) -> FragmentTable {
    FragmentTable::new(datagrams, FragmentTable::LIFETIME).unwrap()
}

/// A datagram by its tag and its place.
fn datagram(tag: u32, place: u32) -> FlowHash {
    FlowHash(u64::from(tag) << 32 | u64::from(place))
}

#[test]
fn a_second_first_fragment_keeps_the_first_answer() {
    let table = table(100);
    let now = Nanos::from_secs(1000);
    assert_eq!(table.lookup(datagram(1, 1), now), None);
    assert_eq!(table.remember(datagram(1, 1), id(5), now), id(5));
    assert_eq!(table.remember(datagram(1, 1), id(6), now), id(5));
    assert_eq!(table.lookup(datagram(1, 1), now), Some(id(5)));
    assert_eq!(table.lookup(datagram(2, 1), now), None);
    assert_eq!(table.occupancy(), 1);
}

#[test]
fn the_zero_hash_is_no_empty_place() {
    let table = table(1);
    let now = Nanos::from_secs(0);
    assert_eq!(table.lookup(datagram(0, 0), now), None);
    table.remember(datagram(0, 0), BackendId::MAX, now);
    assert_eq!(table.lookup(datagram(0, 0), now), Some(BackendId::MAX));
}

#[test]
fn answers_expire_and_are_not_renewed_by_use() {
    for start in [0, 32_750, 1_000_000] {
        let table = table(100);
        let at = |seconds: u64| Nanos::from_secs(start + seconds);
        table.remember(datagram(1, 1), id(5), at(0));
        for second in 0..=30 {
            assert_eq!(table.lookup(datagram(1, 1), at(second)), Some(id(5)));
        }
        assert_eq!(table.lookup(datagram(1, 1), at(31)), None);
        assert_eq!(table.remember(datagram(1, 1), id(6), at(31)), id(6));
    }
}

#[test]
fn a_clock_a_little_behind_still_sees_the_answer() {
    let table = table(100);
    table.remember(datagram(1, 1), id(5), Nanos::from_secs(100));
    let behind = Nanos::from_secs(99);
    assert_eq!(table.lookup(datagram(1, 1), behind), Some(id(5)));
}

#[test]
fn a_newer_datagram_takes_the_place_of_an_older_one() {
    let table = table(2);
    let now = Nanos::from_secs(7);
    assert_eq!(table.capacity(), 8);
    table.remember(datagram(1, 3), id(1), now);
    assert_eq!(table.remember(datagram(2, 3 + 8), id(2), now), id(2));
    assert_eq!(table.lookup(datagram(1, 3), now), None);
    assert_eq!(table.lookup(datagram(2, 3), now), Some(id(2)));
}

#[test]
fn a_sweep_drops_what_expired_and_names_no_id_of_it() {
    let table = table(100);
    table.remember(datagram(1, 1), id(1), Nanos::from_secs(100));
    table.remember(datagram(2, 2), id(2), Nanos::from_secs(120));
    table.sweep(Nanos::from_secs(135));
    let mut ids = IdSet::new();
    table.collect_ids(&mut ids);
    assert!(!ids.contains(id(1)) && ids.contains(id(2)));
    assert_eq!(table.occupancy(), 1);
}

#[test]
fn no_leap_of_the_clock_revives_an_answer() {
    for leap in (60..140_000).step_by(7) {
        let table = table(1);
        table.sweep(Nanos::from_secs(5000));
        table.remember(datagram(1, 1), id(1), Nanos::from_secs(5000));
        let now = Nanos::from_secs(5000 + leap);
        table.sweep(now);
        assert_eq!(table.lookup(datagram(1, 1), now), None, "after {leap} s");
    }
}

#[test]
fn sizes_and_lifetimes_are_brought_into_bounds() {
    assert_eq!(table(0).capacity(), 8);
    assert_eq!(table(65_536).capacity(), 1 << 18);
    let table = FragmentTable::new(1, Duration::ZERO).unwrap();
    table.remember(datagram(1, 1), id(1), Nanos::from_secs(1));
    assert_eq!(
        table.lookup(datagram(1, 1), Nanos::from_secs(2)),
        Some(id(1))
    );
    assert_eq!(table.lookup(datagram(1, 1), Nanos::from_secs(3)), None);
}

/// Workers meet at the same datagrams with different answers: each datagram gets one.
#[test]
fn workers_agree_on_every_datagram() {
    const WORKERS: u32 = 4;
    const DATAGRAMS: u32 = 5_000;
    let table = table(2 * DATAGRAMS as usize);
    let now = Nanos::from_secs(1);
    let start = Barrier::new(WORKERS as usize);
    let answers: Vec<Vec<BackendId>> = std::thread::scope(|scope| {
        let run = |worker: u32| {
            let (table, start) = (&table, &start);
            scope.spawn(move || {
                start.wait();
                let of = |n| table.remember(datagram(n, n), id(worker), now);
                (0..DATAGRAMS).map(of).collect()
            })
        };
        let workers: Vec<_> = (1..=WORKERS).map(run).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    for other in &answers[1..] {
        assert_eq!(&answers[0], other);
    }
    for (n, &answer) in (0..).zip(&answers[0]) {
        assert_eq!(table.lookup(datagram(n, n), now), Some(answer));
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Remember(u8, u32),
    Lookup(u8),
    Wait(u64),
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..24, 1u32..100).prop_map(|(datagram, backend)| Op::Remember(datagram, backend)),
        4 => (0u8..24).prop_map(Op::Lookup),
        2 => (0u64..20).prop_map(Op::Wait),
        1 => Just(Op::Sweep),
    ]
}

proptest! {
    #[test]
    fn a_random_history_agrees_with_the_model(
        start in 0u64..200_000,
        ops in prop::collection::vec(op(), 1..200),
    ) {
        // 24 datagrams in 8 places. The model: place -> (datagram, backend, since).
        let table = table(2);
        let hash = |n: u8| datagram(u32::from(n), u32::from(n));
        let mut model: HashMap<u8, (u8, u32, u64)> = HashMap::new();
        let mut now = start;
        for op in ops {
            let known = |n: u8, model: &HashMap<u8, (u8, u32, u64)>| {
                model.get(&(n % 8)).filter(|entry| entry.0 == n && now - entry.2 <= 30).copied()
            };
            match op {
                Op::Remember(n, backend) => {
                    let answer = table.remember(hash(n), id(backend), Nanos::from_secs(now));
                    let (_, expected, _) = known(n, &model).unwrap_or((n, backend, now));
                    prop_assert_eq!(answer.get(), expected);
                    if known(n, &model).is_none() {
                        model.insert(n % 8, (n, backend, now));
                    }
                }
                Op::Lookup(n) => {
                    let answer = table.lookup(hash(n), Nanos::from_secs(now));
                    let expected = known(n, &model).map(|entry| entry.1);
                    prop_assert_eq!(answer.map(BackendId::get), expected);
                }
                Op::Wait(seconds) => now += seconds,
                Op::Sweep => table.sweep(Nanos::from_secs(now)),
            }
        }
    }
}
