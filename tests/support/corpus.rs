//! The seeds of the fuzz targets: files `seed-NN` under `tests/fuzz/corpus/TARGET/`, checked to be what the
//! tests make today. To write them anew, after a change of what they are made from:
//!
//! ```sh
//! RAIL_WRITE_SEEDS=1 cargo nextest run seeds
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Panics unless the seeds of `target` are stored as they should be; or stores them.
pub fn check(target: &str, seeds: &BTreeSet<Vec<u8>>) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let source = fuzz.join("src/bin").join(target).with_extension("rs");
    assert!(source.is_file(), "{target} is no target");
    let folder = fuzz.join("corpus").join(target);
    if env::var_os("RAIL_WRITE_SEEDS").is_some() {
        write_seeds(&folder, seeds).expect("the corpus can be written");
    }
    let stored: BTreeSet<_> = stored(&folder)
        .iter()
        .map(|file| fs::read(file).expect("a file to read"))
        .collect();
    assert!(
        stored == *seeds,
        "the seeds of {target} are out of date: RAIL_WRITE_SEEDS=1 cargo nextest run seeds"
    );
}

/// The seed files in `folder`; files of other names are inputs that once broke something.
fn stored(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let files = entries.map(|entry| entry.expect("a directory entry").path());
    let is_seed = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("seed-"))
    };
    files.filter(is_seed).collect()
}

/// Replaces the seed files in `folder`.
fn write_seeds(folder: &Path, seeds: &BTreeSet<Vec<u8>>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for file in stored(folder) {
        fs::remove_file(file)?;
    }
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{index:02}")), seed)?;
    }
    Ok(())
}
