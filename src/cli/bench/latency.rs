//! `rail bench --latency`: how long packets take through a rail at shares of its own peak rate, ring port to ring
//! port.

use serde_json::{Value, json};

use super::measure::{Plan, WARM_MBUFS, load};
use super::outcome::{Outcome, figures, quantiles, quantiles_json, us};
use super::scenario::HIT;
use super::tables::Tables;
use crate::worker::bench::far::FarEnd;
use crate::worker::bench::histogram::Histogram;
use crate::worker::bench::latency::Latency;
use crate::worker::bench::serve::{Duty, Served};
use crate::worker::bench::{Bench, BenchError};

/// Shares of the peak rate, in percent.
const SHARES: [u32; 3] = [10, 50, 90];
/// Slices of 1 ms for one rate in one measurement.
const SLICES: u32 = 500;
/// Packets of a whole burst.
const BURST: f64 = 32.0;

/// What a rate led to.
struct Row {
    share: u32,
    rail: Latency,
    wire: Latency,
}

/// What rounds cost, in ticks: with a whole burst when there are always packets, with a single one at the lowest
/// rate, with none.
#[derive(Default)]
struct Rounds {
    burst: f64,
    single: f64,
    empty: f64,
}

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
    let introduced = bench.serve(WORK, |_| far.introduce(&load));
    flat(introduced).map_err(|e| e.to_string())?;
    let mut rounds = rounds(&mut bench, &mut far, plan.repeat).map_err(|e| e.to_string())?;
    let peak = BURST / rounds.burst;
    let mut rows = SHARES.map(|share| Row {
        share,
        rail: Latency::default(),
        wire: Latency::default(),
    });
    let mut single = Histogram::default();
    for _ in 0..plan.repeat {
        for row in &mut rows {
            progress(&format!("latency at {} %", row.share));
            let rate = peak * f64::from(row.share) / 100.0;
            let both = [(Duty::Pass, &mut row.wire), (WORK, &mut row.rail)];
            for (duty, latency) in both {
                let paced = bench.serve(duty, |meanwhile| {
                    far.pace(Some(rate), SLICES, &meanwhile, latency)
                });
                let served = flat(paced).map_err(|e| e.to_string())?;
                if row.share == SHARES[0] {
                    served.iter().for_each(|s| single.merge(&s.single));
                }
            }
        }
    }
    rounds.single = single.mean();
    Ok(outcome(&rows, &rounds, bench.tsc_hz()))
}

/// As a rail does by default.
const WORK: Duty = Duty::Work { back_off: true };

/// A whole burst in a rail that always has one waiting, and a poll in one that has nothing to do.
fn rounds(bench: &mut Bench, far: &mut FarEnd, repeat: usize) -> Result<Rounds, BenchError> {
    let duty = Duty::Work { back_off: false };
    let mut saturated = Latency::default();
    let mut rounds = Rounds::default();
    for _ in 0..repeat {
        let loaded = flat(bench.serve(duty, |meanwhile| {
            far.pace(None, SLICES, &meanwhile, &mut saturated)
        }))?;
        let idle = bench.serve(duty, |_| {
            std::thread::sleep(std::time::Duration::from_millis(100))
        })?;
        let mean = |served: &[Served], of: fn(&Served) -> f64| served.first().map_or(0.0, of);
        rounds.burst += mean(&loaded, |s| s.full.mean()) / repeat as f64;
        rounds.empty += mean(&idle.1, |s| s.empty.mean()) / repeat as f64;
    }
    if rounds.burst == 0.0 {
        return Err(BenchError::Idle);
    }
    Ok(rounds)
}

/// A measurement whose two sides may have failed.
fn flat<T, S>(result: Result<(Result<T, BenchError>, S), BenchError>) -> Result<S, BenchError> {
    let (mine, served) = result?;
    mine?;
    Ok(served)
}

fn outcome(rows: &[Row], rounds: &Rounds, hz: u64) -> Outcome {
    let us_of = |ticks: f64| ticks * 1e6 / hz as f64;
    let mpps = |rate: f64| rate * hz as f64 / 1e6;
    let [burst, single, empty] = [rounds.burst, rounds.single, rounds.empty].map(us_of);
    let json = json!({
        "peak_mpps": mpps(BURST / rounds.burst),
        "burst_us": burst,
        "single_us": single,
        "empty_poll_us": empty,
        "rates": rows.iter().map(|row| json!({
            "share": row.share,
            "rail": side(&row.rail, hz),
            "wire": side(&row.wire, hz),
        })).collect::<Vec<_>>(),
    });
    let cells = rows.iter().flat_map(|row| {
        [("rail", &row.rail), ("wire alone", &row.wire)].map(|(name, latency)| {
            let mut cells = vec![
                format!("{} %, {name}", row.share),
                format!("{:.2}", mpps(latency.undisturbed.rate())),
            ];
            let undisturbed = quantiles(&latency.undisturbed.times, hz);
            let all = quantiles(&latency.all.times, hz);
            cells.extend(undisturbed.iter().chain(&all).map(|us| format!("{us:.2}")));
            let disturbed = latency.all.slices - latency.undisturbed.slices;
            cells.push(format!("{disturbed} of {}", latency.all.slices));
            cells
        })
    });
    let header = [
        "load",
        "Mpps",
        "p50",
        "p99",
        "p99.9",
        "max",
        "all: p50",
        "p99",
        "p99.9",
        "max",
        "disturbed",
    ];
    let tenth = |of: fn(&Row) -> &Latency| {
        let times = rows.first().map(|row| &of(row).undisturbed.times);
        times.map_or(0.0, |times| us(times.quantile(0.99), hz))
    };
    let head = format!(
        "peak {:.1} Mpps of one worker between rings: a burst of 32 takes {burst:.2} us, a packet alone \
         {single:.2} us, an empty poll {empty:.3} us",
        mpps(BURST / rounds.burst)
    );
    let foot = [
        format!(
            "At 10 % p99 is {:.2} us through the rail and {:.2} us on the wire alone; one burst's \
             processing time and a poll are {:.2} us.",
            tenth(|row| &row.rail),
            tenth(|row| &row.wire),
            burst + empty
        ),
        "Microseconds from the sender's ring to the receiver's, for slices of 1 ms in which both threads kept \
         their cores, then for all; disturbed: slices in which they did not. wire alone: the same with a \
         thread that only hands packets on."
            .to_owned(),
    ];
    let text = [vec![head], figures(&header, cells), foot.to_vec()].concat();
    Outcome {
        text: text.join("\n"),
        json,
    }
}

fn side(latency: &Latency, hz: u64) -> Value {
    json!({
        "mpps": latency.undisturbed.rate() * hz as f64 / 1e6,
        "undisturbed": quantiles_json(&latency.undisturbed.times, hz),
        "all": quantiles_json(&latency.all.times, hz),
        "slices": latency.all.slices,
        "undisturbed_slices": latency.undisturbed.slices,
    })
}
