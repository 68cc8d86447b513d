//! Maglev tables as the pool promises them: even, stable, weighted, equal on every rail. An independent
//! implementation (`maglev_oracle.py`) checks them slot by slot in `tests/trace.rs`; its own vectors
//! are checked here.

#[path = "support/python.rs"]
mod python;

use proptest::prelude::*;
use rustyrail::table::hash::flow_hash_v4;
use rustyrail::table::maglev::{Maglev, TableSize};
use rustyrail::table::{FlowHash, HashKey};

fn key() -> HashKey {
    "000102030405060708090a0b0c0d0e0f".parse().unwrap()
}

/// `n` backends of weight 100 and ordinary names.
fn equal(n: usize) -> Vec<(String, u32)> {
    (0..n).map(|index| (format!("web-{index}"), 100)).collect()
}

fn build(backends: &[(String, u32)]) -> Maglev {
    Maglev::build(TableSize::default(), &key(), backends).unwrap()
}

/// The name behind every slot.
fn owners<'a>(table: &Maglev, backends: &'a [(String, u32)]) -> Vec<&'a str> {
    let name = |slot: u16| backends[usize::from(slot)].0.as_str();
    table.slots().iter().map(name).collect()
}

#[test]
fn shares_are_even() {
    let check = |n: usize, bound: f64| {
        let table = build(&equal(n));
        let largest = *table.shares().iter().max().unwrap();
        let mean = f64::from(table.size().get()) / n as f64;
        let ratio = f64::from(largest) / mean;
        assert!(ratio < bound, "N={n}: busiest over mean {ratio}");
    };
    check(1, 1.0001);
    check(100, 1.002);
    check(1000, 1.01);
}

#[test]
fn one_of_a_hundred_takes_little_with_it() {
    let backends = equal(100);
    let table = build(&backends);
    let before = owners(&table, &backends);
    for gone in [0, 1, 50, 99] {
        let mut fewer = backends.clone();
        fewer[gone].1 = 0;
        let table = build(&fewer);
        let after = owners(&table, &fewer);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        let share = moved as f64 / before.len() as f64;
        assert!(share < 0.017, "{share} of the slots changed");
        assert!(moved >= before.len() / 100, "its own slots must change");
        assert!(!after.contains(&backends[gone].0.as_str()));
    }
}

#[test]
fn weights_are_kept() {
    let weights = [1, 2, 3, 10];
    let backends: Vec<_> = (0..40)
        .map(|index| (format!("web-{index}"), weights[index % 4]))
        .collect();
    let table = build(&backends);
    let total: u32 = backends.iter().map(|backend| backend.1).sum();
    for ((name, weight), &share) in backends.iter().zip(table.shares()) {
        let exact = 65_537.0 * f64::from(*weight) / f64::from(total);
        let error = (f64::from(share) - exact).abs() / exact;
        assert!(
            error < 0.002,
            "{name} of weight {weight}: {share}, exact {exact}"
        );
    }
}

#[test]
fn a_flow_finds_the_backend_of_its_slot() {
    let backends = equal(7);
    let table = build(&backends);
    let mut hits = [0u32; 7];
    for port in 0..u16::MAX {
        let hash = flow_hash_v4(&key(), 6, [198, 51, 100, 7], [203, 0, 113, 10], port, 443);
        let backend = table.lookup(hash).unwrap();
        assert_eq!(Some(backend), table.slot(hash.slot(65_537)));
        hits[usize::from(backend)] += 1;
    }
    let fair = f64::from(u16::MAX) / 7.0;
    let even = hits
        .iter()
        .all(|&hit| (f64::from(hit) / fair - 1.0).abs() < 0.05);
    assert!(even, "{hits:?}");
}

#[test]
fn every_tag_has_a_slot() {
    let table = build(&equal(3));
    for tag in [0, 1, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
        assert!(table.lookup(FlowHash(u64::from(tag) << 32)).is_some());
    }
    assert_eq!(table.slot(65_536).is_some(), table.slot(65_537).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two rails that learnt the pool in another order build the same table.
    #[test]
    fn order_does_not_matter(
        pool in prop::collection::btree_map("[a-z0-9][a-z0-9._-]{0,12}", 0u32..=1000, 0..20),
        key: [u8; 16],
        seed: [u8; 8],
    ) {
        let size = TableSize::new(1009).unwrap();
        let key = HashKey::from_bytes(key);
        let sorted: Vec<(String, u32)> = pool.into_iter().collect();
        let mut shuffled = sorted.clone();
        shuffled.sort_by_key(|(name, _)| {
            let bytes = name.bytes().zip(seed.iter().cycle());
            bytes.fold(0u64, |hash, (a, b)| hash.wrapping_mul(31) ^ u64::from(a ^ b))
        });
        let (one, two) = (
            Maglev::build(size, &key, &sorted).unwrap(),
            Maglev::build(size, &key, &shuffled).unwrap(),
        );
        prop_assert_eq!(owners(&one, &sorted), owners(&two, &shuffled));
        prop_assert_eq!(one.digest(), two.digest());
        let alive = sorted.iter().any(|backend| backend.1 > 0);
        prop_assert_eq!(one.slots().len(), if alive { 1009 } else { 0 });
        for (backend, &share) in sorted.iter().zip(one.shares()) {
            prop_assert!(backend.1 > 0 || share == 0);
        }
    }

    /// Any change of who owns what changes the digest.
    #[test]
    fn digests_differ_when_tables_do(weights in prop::collection::vec(0u32..4, 2..8), change: prop::sample::Index) {
        let size = TableSize::new(251).unwrap();
        let backends: Vec<_> = (0..).map(|n| format!("b{n}")).zip(weights).collect();
        let mut changed = backends.clone();
        let index = change.index(changed.len());
        changed[index].1 += 1;
        let (one, two) = (
            Maglev::build(size, &key(), &backends).unwrap(),
            Maglev::build(size, &key(), &changed).unwrap(),
        );
        prop_assert_eq!(one.slots() == two.slots(), one.digest() == two.digest());
    }
}

#[test]
fn the_oracle_knows_the_published_vectors() {
    let output = python::python("maglev_oracle.py", &["tomllib"])
        .arg("--self-test")
        .output()
        .expect("the oracle runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
