//! `rail bench --swaps`: what new tables do to the loop of a worker that forwards at its full rate.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::measure::{Plan, WARM_MBUFS, load};
use super::outcome::{Outcome, figures, quantiles, quantiles_json, us};
use super::report::median;
use super::scenario::HIT;
use super::tables::Tables;
use crate::pool::Weight;
use crate::worker::bench::histogram::Histogram;
use crate::worker::bench::serve::{Duty, Meanwhile};
use crate::worker::bench::{Bench, BenchError, pin_this_thread};

/// Swaps in each measurement.
const SWAPS: usize = 200;
/// Before a swap, and between it and the end of the tables it replaced: a thousand rounds.
const PAUSE: Duration = Duration::from_millis(2);
/// The weights a backend has in turns.
const WEIGHTS: [u16; 2] = [50, 100];

/// Rounds by what happened in them.
#[derive(Default)]
struct Rounds {
    /// While nothing was compiled or swapped.
    alone: Histogram,
    between: Histogram,
    swaps: Histogram,
    after: Histogram,
    /// The longest with a swap of every measurement: an interrupt may fall into one.
    longest: Vec<u64>,
    preempted: [u64; 2],
}

/// Measures.
pub fn measure(plan: &Plan, progress: impl Fn(&str)) -> Result<Outcome, String> {
    let shape = HIT.shape(plan.services, plan.backends);
    let mut tables = Tables::new(&shape)?;
    let core = plan.other_core()?;
    let opened = Bench::open(&plan.setup(WARM_MBUFS), tables.compile(None)?);
    let mut bench = opened.map_err(|e| e.to_string())?;
    pin_this_thread(core).map_err(|e| e.to_string())?;
    let snapshot = tables.compile(Some(bench.snapshot()))?;
    let loaded = bench.load(&load(&HIT, &shape), snapshot);
    loaded.map_err(|e| e.to_string())?;

    let duty = Duty::Work { back_off: false };
    let mut rounds = Rounds::default();
    let mut next = 0;
    for _ in 0..plan.repeat {
        progress("with swaps");
        let begun = Instant::now();
        let swapped = bench.serve(duty, |meanwhile| swap(&mut tables, meanwhile, &mut next));
        let (result, served) = swapped.map_err(|e| e.to_string())?;
        result?;
        let longest = served.iter().map(|worker| worker.swaps.longest());
        rounds.longest.extend(longest.max());
        for worker in &served {
            rounds.between.merge(&worker.between);
            rounds.swaps.merge(&worker.swaps);
            rounds.after.merge(&worker.after);
            rounds.preempted[1] += worker.preempted;
        }
        progress("without swaps");
        let took = begun.elapsed();
        let alone: Result<_, BenchError> = bench.serve(duty, |_| sleep(took));
        for worker in &alone.map_err(|e| e.to_string())?.1 {
            rounds.alone.merge(&worker.between);
            rounds.preempted[0] += worker.preempted;
        }
    }
    Ok(outcome(&rounds, bench.tsc_hz()))
}

/// Publishes tables in which one service differs, again and again.
fn swap(tables: &mut Tables, meanwhile: Meanwhile<'_>, next: &mut usize) -> Result<(), String> {
    for _ in 0..SWAPS {
        let weight = WEIGHTS[*next / tables.services() % WEIGHTS.len()];
        tables.reweigh(*next, Weight::new(weight).unwrap_or_default())?;
        *next += 1;
        let snapshot = tables.compile(Some(meanwhile.publisher.current()))?;
        sleep(PAUSE);
        meanwhile.publisher.publish(snapshot);
        sleep(PAUSE);
        // A rail too frees what nobody reads any more at its next tick, not with the swap.
        meanwhile.publisher.reclaim();
    }
    Ok(())
}

fn outcome(rounds: &Rounds, hz: u64) -> Outcome {
    let rows = [
        ("with a swap", &rounds.swaps),
        ("the 32 after it", &rounds.after),
        ("all others meanwhile", &rounds.between),
        ("while nothing is swapped", &rounds.alone),
    ];
    let cells = rows.map(|(name, times)| {
        let mut cells = vec![name.to_owned(), times.count().to_string()];
        cells.extend(quantiles(times, hz).map(|us| format!("{us:.2}")));
        cells
    });
    let json: Vec<Value> = rows
        .iter()
        .map(|(name, times)| json!({ "rounds": name, "times": quantiles_json(times, hz) }))
        .collect();
    let longest: Vec<_> = rounds.longest.iter().map(|ticks| us(*ticks, hz)).collect();
    let most = longest.iter().copied().fold(0.0, f64::max);
    let foot = format!(
        "Microseconds that a round of the worker's loop takes, at full rate with a burst of 32 in each. A swap \
         changes the table of one service. Of {SWAPS} rounds with one the longest took {:.2} (median of {} \
         measurements; at most {most:.2}). The kernel's interrupts are in all rows alike; rounds in which it \
         gave the worker's core to another thread are in none: {} with swaps, {} without.",
        median(&longest),
        longest.len(),
        rounds.preempted[1],
        rounds.preempted[0]
    );
    let table = figures(&["rounds", "number", "p50", "p99", "p99.9", "max"], cells);
    Outcome {
        text: [table, vec![foot]].concat().join("\n"),
        json: json!({
            "rows": json,
            "swaps_each": SWAPS,
            "longest_us": longest,
            "preempted_with_swaps": rounds.preempted[1],
            "preempted_without": rounds.preempted[0],
        }),
    }
}
