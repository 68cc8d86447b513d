//! Maglev tables as the pool promises them: even, stable, weighted, equal on every rail; and a second
//! opinion by an independent implementation (`maglev_oracle.py`).

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use rustyrail::table::hash::flow_hash_v4;
use rustyrail::table::maglev::{Maglev, TableSize};
use rustyrail::table::{FlowHash, HashKey};
use serde_json::{Value, json};

const KEY: &str = "000102030405060708090a0b0c0d0e0f";

fn key() -> HashKey {
    KEY.parse().unwrap()
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
    let name = |&slot: &u16| backends[usize::from(slot)].0.as_str();
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

/// Runs the oracle.
fn oracle(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/maglev_oracle.py");
    Command::new("python3")
        .arg(script)
        .args(arguments)
        .output()
        .expect("python3 runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_oracle_knows_the_published_vectors() {
    let output = oracle(&["--self-test"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A service as the configuration writes it: name, then (backend, weight, state).
type Service = (&'static str, Vec<(String, u32, &'static str)>);

fn services() -> Vec<Service> {
    let backend = |index: usize, weight| (format!("web-{index}"), weight, "up");
    let mut mixed: Vec<_> = (0..40).map(|n| backend(n, [1, 2, 3, 10][n % 4])).collect();
    mixed[7].2 = "drain";
    mixed[8].2 = "down";
    mixed[9].1 = 0;
    mixed.reverse();
    vec![
        ("equal", (0..100).map(|n| backend(n, 100)).collect()),
        ("mixed", mixed),
        (
            "skewed",
            vec![backend(1, 1000), backend(2, 1), backend(3, 999)],
        ),
        ("alone", vec![backend(1, 5)]),
        ("empty", vec![backend(1, 0)]),
    ]
}

/// The configuration, and what `rail table --json` says about it.
fn config_and_tables(size: TableSize) -> (String, Value) {
    let mut toml = format!("[pool]\nhash_key = \"{KEY}\"\ntable_size = {size}\n");
    let mut tables = Vec::new();
    for (service, backends) in services() {
        write!(toml, "\n[[service]]\nname = \"{service}\"\n").unwrap();
        for (name, weight, state) in &backends {
            let lines = format!("name = \"{name}\"\nweight = {weight}\nstate = \"{state}\"\n");
            write!(toml, "[[service.backend]]\n{lines}").unwrap();
        }
        let mut weighted: Vec<(String, u32)> = backends
            .into_iter()
            .map(|(name, weight, state)| (name, if state == "up" { weight } else { 0 }))
            .collect();
        weighted.sort();
        let table = Maglev::build(size, &key(), &weighted).unwrap();
        let names: Vec<_> = weighted.iter().map(|backend| &backend.0).collect();
        let shares: serde_json::Map<_, _> = names
            .iter()
            .zip(table.shares())
            .map(|(name, share)| (name.to_string(), json!(share)))
            .collect();
        tables.push(json!({
            "name": service,
            "m": size.get(),
            "digest": table.digest().to_string(),
            "backends": names,
            "shares": shares,
            "slots": table.slots(),
        }));
    }
    (toml, json!({ "services": tables }))
}

#[test]
fn an_independent_implementation_agrees_slot_by_slot() {
    let dir = tempfile::tempdir().unwrap();
    let (config, table) = (dir.path().join("rail.toml"), dir.path().join("table.json"));
    let compare = || {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        oracle(&[&path(&config), "--table", &path(&table)])
    };
    for size in [251, 65_537] {
        let (toml, mut tables) = config_and_tables(TableSize::new(size).unwrap());
        std::fs::write(&config, toml).unwrap();
        std::fs::write(&table, tables.to_string()).unwrap();
        let output = compare();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(
            text(&output.stdout),
            format!("5 services, {} slots: all equal\n", 4 * size)
        );

        // It would notice a single wrong slot.
        tables["services"][1]["slots"][100] = json!(9999);
        std::fs::write(&table, tables.to_string()).unwrap();
        let output = compare();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).starts_with("mixed: 1 slots differ, the first is slot 100: 9999")
        );
    }
}

#[test]
fn an_independent_implementation_agrees_on_flows() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("rail.toml");
    let size = TableSize::new(251).unwrap();
    let (toml, _) = config_and_tables(size);
    std::fs::write(&config, toml).unwrap();
    let backends = equal(100);
    let table = Maglev::build(size, &key(), &backends).unwrap();
    let (source, vip) = ([198, 51, 100, 7], [203, 0, 113, 10]);
    // ICMP has no ports: whatever is given counts as zero.
    for (protocol, port, hashed) in [(6, 4242, (4242, 443)), (17, 1, (1, 443)), (1, 9, (0, 0))] {
        let hash = flow_hash_v4(&key(), protocol, source, vip, hashed.0, hashed.1);
        let (protocol, port) = (protocol.to_string(), port.to_string());
        let addresses = ["198.51.100.7", "203.0.113.10"];
        let config = config.to_str().unwrap();
        let output = oracle(&[
            config,
            "--flow",
            "equal",
            &protocol,
            addresses[0],
            &port,
            addresses[1],
            "443",
        ]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let backend = &backends[usize::from(table.lookup(hash).unwrap())].0;
        let expected = json!({ "tag": hash.tag(), "slot": hash.slot(251), "backend": backend });
        assert_eq!(answer, expected);
    }
}
