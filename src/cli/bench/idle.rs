//! `rail bench --idle`: what a rail without traffic uses of its core, and how fast it is back at its full rate.

use std::time::Duration;

use serde_json::json;

use super::measure::{Plan, WARM_MBUFS, load};
use super::outcome::{Outcome, figures, us};
use super::report::median;
use super::scenario::HIT;
use super::tables::Tables;
use crate::worker::bench::Bench;
use crate::worker::bench::serve::Duty;
use crate::worker::bench::wake::Wake;

/// How long the worker is left alone to see what it uses, in each measurement.
const ALONE: Duration = Duration::from_secs(2);
/// How long it has been left alone when a load comes.
const BEFORE_LOAD: Duration = Duration::from_secs(1);
/// Loads in each measurement, and how often one is tried in which the worker or the far end loses its core.
const LOADS: usize = 4;
const TRIES: usize = 8;

/// Measures.
pub fn measure(plan: &Plan, progress: impl Fn(&str)) -> Result<Outcome, String> {
    let shape = HIT.shape(plan.services, plan.backends);
    let mut tables = Tables::new(&shape)?;
    let setup = plan.setup(WARM_MBUFS);
    let opened = Bench::between_rings(&setup, plan.other_core()?, tables.compile(None)?);
    let (mut bench, mut far) = opened.map_err(|e| e.to_string())?;
    let load = load(&HIT, &shape);
    let snapshot = tables.compile(Some(bench.snapshot()))?;
    bench.load(&load, snapshot).map_err(|e| e.to_string())?;
    let duty = Duty::Work { back_off: true };
    let served = bench.serve(duty, |_| far.introduce(&load));
    served
        .and_then(|(introduced, _)| introduced)
        .map_err(|e| e.to_string())?;

    let (mut shares, mut wakes) = (Vec::new(), Vec::new());
    for _ in 0..plan.repeat {
        progress("idle");
        let served = bench.serve(duty, |_| std::thread::sleep(ALONE));
        let (_, served) = served.map_err(|e| e.to_string())?;
        let alone = served
            .iter()
            .map(|s| s.cpu.as_secs_f64() * bench.tsc_hz() as f64 / s.ticks as f64);
        shares.extend(alone);
        for _ in 0..LOADS {
            progress("load after a second without");
            for _ in 0..TRIES {
                let served = bench.serve(duty, |_| far.wake(BEFORE_LOAD));
                let (wake, served) = served.map_err(|e| e.to_string())?;
                let undisturbed = served.iter().all(|worker| worker.preempted == 0);
                if let Some(wake) = wake.map_err(|e| e.to_string())?
                    && undisturbed
                {
                    wakes.push(wake);
                    break;
                }
            }
        }
    }
    if wakes.is_empty() {
        return Err(
            "no core was left to the worker and the far end for 5 ms: other work runs here"
                .to_owned(),
        );
    }
    Ok(outcome(&shares, &wakes, bench.tsc_hz()))
}

fn outcome(shares: &[f64], wakes: &[Wake], hz: u64) -> Outcome {
    let percent: Vec<_> = shares.iter().map(|share| share * 100.0).collect();
    let of = |get: fn(&Wake) -> u64| wakes.iter().map(|w| us(get(w), hz)).collect::<Vec<_>>();
    let (first, full) = (of(|w| w.first), of(|w| w.full));
    let rates: Vec<_> = wakes.iter().map(|w| w.rate * hz as f64 / 1e6).collect();
    let rows = [
        ("CPU of an idle worker, %", &percent),
        ("first packet out after, us", &first),
        ("full rate after, us", &full),
        ("full rate, Mpps", &rates),
    ];
    let summary = rows.map(|(name, values)| {
        let sorted = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap_or(0.0);
        let numbers = [median(values), sorted(f64::min), sorted(f64::max)];
        let mut cells = vec![name.to_owned()];
        cells.extend(numbers.map(|n| format!("{n:.1}")));
        cells
    });
    let foot = "Idle back-off on. A load of all that the worker takes comes after a second without any; \
                times count from its first packet, and the rate is full at the end of the first 100 us with nine \
                tenths of what follows.";
    let table = figures(&["", "median", "least", "most"], summary);
    Outcome {
        text: [table, vec![foot.to_owned()]].concat().join("\n"),
        json: json!({
            "cpu_percent": percent,
            "first_us": first,
            "full_us": full,
            "full_mpps": rates,
        }),
    }
}
