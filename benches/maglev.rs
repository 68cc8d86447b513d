//! What building a Maglev table costs, beside the least it can cost by the book.
//!
//! `cargo bench --bench maglev`. Both are built in turn in one run, from the same names; figures are medians
//! of the thread's CPU time, and of the ratios of each turn. The minimal build knows neither weights nor shares
//! nor a digest. What we want is at most 1.2 times its time with a thousand backends.

#[path = "support/cpu_time.rs"]
mod cpu_time;

use std::hint::black_box;
use std::time::Duration;

use nix::time::ClockId;
use rustyrail::table::HashKey;
use rustyrail::table::maglev::{Maglev, TableSize, offset_and_skip};

use cpu_time::cpu_time;

/// Table sizes, and how often each is built.
const SIZES: [(u64, usize); 2] = [(65_537, 101), (655_373, 15)];

/// A backend's weight by its number.
type Weight = fn(usize) -> u32;

/// How many backends, and what is unequal about them. In the last case one outweighs all others, which then
/// rarely get a turn.
const CASES: [(usize, &str, Weight); 6] = [
    (10, "", |_| 100),
    (100, "", |_| 100),
    (1000, "", |_| 100),
    (10_000, "", |_| 100),
    (1000, ", mixed", |index| [1, 2, 3, 10][index % 4]),
    (
        1000,
        ", skewed",
        |index| if index == 500 { 1000 } else { 1 },
    ),
];

/// The paper's algorithm (Eisenbud et al., NSDI 2016, pseudocode 1) with what makes it fast: permutations
/// walked by addition, and one bit for a slot that is taken. The names have to come in byte order.
fn minimal(size: TableSize, key: &HashKey, names: &[String]) -> Vec<u16> {
    let m = size.get();
    let mut walks: Vec<(u32, u32)> = names
        .iter()
        .map(|name| offset_and_skip(size, key, name))
        .collect();
    let mut slots = vec![0; m as usize];
    let mut taken = vec![0u64; (m as usize).div_ceil(64)];
    let mut left = m;
    loop {
        for (index, (next, skip)) in walks.iter_mut().enumerate() {
            let slot = loop {
                let slot = *next;
                let after = slot + *skip;
                *next = if after >= m { after - m } else { after };
                let word = &mut taken[(slot / 64) as usize];
                if *word & 1 << (slot % 64) == 0 {
                    *word |= 1 << (slot % 64);
                    break slot;
                }
            };
            slots[slot as usize] = index as u16;
            left -= 1;
            if left == 0 {
                return slots;
            }
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begin = cpu_time(ClockId::CLOCK_THREAD_CPUTIME_ID);
    let made = black_box(work());
    (cpu_time(ClockId::CLOCK_THREAD_CPUTIME_ID) - begin, made)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Builds one table both ways in turn; milliseconds of ours and of the minimal build, and the ratio.
fn beside(size: TableSize, backends: &[(String, u32)], rounds: usize) -> [f64; 3] {
    let key = HashKey::from_bytes(*b"sixteen byte key");
    let mut names: Vec<String> = backends.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    let mut figures = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let (ours, table) = timed(|| Maglev::build(size, &key, black_box(backends)));
        let (least, slots) = timed(|| minimal(size, &key, black_box(&names)));
        let table = table.expect("few backends");
        let owners = table
            .slots()
            .iter()
            .map(|slot| &backends[usize::from(slot)].0);
        let equal = backends.iter().all(|backend| backend.1 == backends[0].1);
        let same = owners.eq(slots.iter().map(|slot| &names[usize::from(*slot)]));
        assert!(!equal || same, "not the same table");
        let (ours, least) = (ours.as_secs_f64() * 1e3, least.as_secs_f64() * 1e3);
        for (list, figure) in figures.iter_mut().zip([ours, least, ours / least]) {
            list.push(figure);
        }
    }
    figures.map(median)
}

fn main() {
    println!("| slots  | backends      | ours, ms | minimal, ms | ratio |");
    println!("|-------:|--------------:|---------:|------------:|------:|");
    for (m, rounds) in SIZES {
        let size = TableSize::new(m).expect("a prime");
        for (n, weights, weight) in CASES {
            let backends: Vec<_> = (0..n)
                .map(|index| (format!("web-{index}"), weight(index)))
                .collect();
            let [ours, least, ratio] = beside(size, &backends, rounds);
            let what = format!("{n}{weights}");
            println!("| {m:>6} | {what:>13} | {ours:>8.3} | {least:>11.3} | {ratio:>5.2} |");
        }
    }
}
