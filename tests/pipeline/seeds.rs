//! The seeds of the fuzz targets `pipeline` and `config`.

use std::collections::BTreeSet;
use std::path::Path;

use rustyrail::testkit::traffic::{kinds, pools};

use crate::corpus;

/// One record of the target `pipeline`: what to do before it, its length, the frame.
fn record(control: u8, frame: &[u8]) -> Vec<u8> {
    let len = (frame.len() as u16).to_le_bytes();
    [&[control], &len[..], frame].concat()
}

#[test]
fn seeds_of_the_pipeline() {
    let mut seeds: BTreeSet<_> = kinds().iter().map(|kind| record(0, kind)).collect();
    // All in one burst; then in bursts of one with swaps between the stages and around them.
    seeds.insert(kinds().iter().flat_map(|kind| record(0, kind)).collect());
    for swap in 1..=3 {
        let each = kinds();
        let records = each.iter().flat_map(|kind| record(swap << 1 | 1, kind));
        seeds.insert(records.collect());
    }
    corpus::check("pipeline", &seeds);
}

#[test]
fn seeds_of_the_configuration() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        "deploy/rail.example.toml",
        "tests/config/base.toml",
        "tests/replay/rail.toml",
    ];
    let mut seeds: BTreeSet<Vec<u8>> = pools().map(String::into_bytes).into();
    for file in files {
        seeds.insert(std::fs::read(root.join(file)).expect("a configuration"));
    }
    corpus::check("config", &seeds);
}

/// The words that the fuzzer puts into configurations.
#[test]
fn seeds_of_the_dictionary() {
    let mut words: BTreeSet<String> = BTreeSet::new();
    for table in rustyrail::pool::keys::TABLES {
        words.insert(table.header());
        for key in table.keys {
            words.insert(format!("{} = {}", key.name, key.example));
        }
    }
    let entry = |word: &String| {
        let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"\n")
    };
    let text: String = words.iter().map(entry).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/dictionary/config");
    if std::env::var_os("RAIL_WRITE_SEEDS").is_some() {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, &text).expect("written");
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stored == text,
        "the dictionary is out of date: RAIL_WRITE_SEEDS=1 cargo nextest run seeds"
    );
}
