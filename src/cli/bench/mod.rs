//! `rail bench`: what the packet path costs on this machine, without a NIC.
//!
//! A port that makes packets up (`net_null`) hands over real buffers, a generator writes headers of random
//! flows into them, and the worker does with them what it does with any packet. The generator is
//! measured alone right before, and its cost is taken off.

mod idle;
mod latency;
mod measure;
mod outcome;
mod pool;
mod report;
mod scenario;
mod swaps;
mod tables;

use std::process::ExitCode;

use super::{ERROR, OK, output};
use crate::worker::ports::EalOptions;
use measure::Plan;
use outcome::Outcome;
use pool::{MAX_BACKENDS, MAX_SERVICES};
use scenario::{Scenario, parse_flows};

/// The command line of `rail bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Numbers of flows that known flows are measured with
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = parse_flows,
          default_values = ["1", "1k", "100k", "1M", "10M"])]
    pub flows: Vec<u64>,

    /// Measure these scenarios alone (`--list` names them)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Name the scenarios and leave
    #[arg(long)]
    pub list: bool,

    /// Measure how long packets take at 10, 50 and 90 % of the peak rate, between two rings
    #[arg(long, group = "subject", conflicts_with_all = ["only", "workers", "flows", "packets", "device"])]
    pub latency: bool,

    /// Measure what an idle worker uses of its core, and how fast it is back at its full rate
    #[arg(long, group = "subject", conflicts_with_all = ["only", "workers", "flows", "packets", "device"])]
    pub idle: bool,

    /// Measure how long a worker's rounds take in which its tables are swapped
    #[arg(long, group = "subject", conflicts_with_all = ["only", "workers", "flows", "packets"])]
    pub swaps: bool,

    /// Workers that measure at the same time, each on a core of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,

    /// Services of the pool
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=MAX_SERVICES as u64))]
    pub services: u64,

    /// Backends of each service
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=MAX_BACKENDS as u64))]
    pub backends: u64,

    /// The port: one that makes packets of 64 bytes up
    #[arg(long, value_name = "DEVICE", default_value = "net_null0,size=64")]
    pub device: String,

    /// Packets of one measurement and worker
    #[arg(long, value_name = "N", default_value = "2M", value_parser = parse_flows)]
    pub packets: u64,

    /// Measurements of everything; the median counts
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub repeat: u64,

    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// Measures and prints.
pub fn run(args: &Args) -> ExitCode {
    let scenarios = scenario::all(&args.flows);
    if args.list {
        let mut names: Vec<_> = scenarios.iter().map(|s| s.name).collect();
        names.dedup();
        output::result(&names.join("\n"));
        return ExitCode::from(OK);
    }
    let measured = plan(args).and_then(|plan| match args {
        Args { latency: true, .. } => latency::measure(&plan, output::progress),
        Args { idle: true, .. } => idle::measure(&plan, output::progress),
        Args { swaps: true, .. } => swaps::measure(&plan, output::progress),
        _ => costs(&plan, &wanted(scenarios, &args.only)?),
    });
    output::progress("");
    match measured {
        Ok(outcome) => {
            let text = if args.json {
                format!("{:#}", outcome.json)
            } else {
                outcome.text
            };
            output::result(&text);
            ExitCode::from(OK)
        }
        Err(error) => {
            output::message(&format!("error: {error}"));
            ExitCode::from(ERROR)
        }
    }
}

fn wanted(mut all: Vec<Scenario>, only: &[String]) -> Result<Vec<Scenario>, String> {
    for name in only {
        if !all.iter().any(|s| s.name == name) {
            return Err(format!(
                "no scenario is called \"{name}\"; `rail bench --list` names them all"
            ));
        }
    }
    all.retain(|s| only.is_empty() || only.iter().any(|name| name == s.name));
    Ok(all)
}

/// What the packet path costs in each scenario.
fn costs(plan: &Plan, scenarios: &[Scenario]) -> Result<Outcome, String> {
    let report = measure::measure(plan, scenarios, |scenario| {
        output::progress(&format!("{} {}", scenario.name, scenario.senders));
    })?;
    Ok(Outcome {
        text: report.to_text(),
        json: report.to_json(),
    })
}

fn plan(args: &Args) -> Result<Plan, String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let cores: Vec<_> = cores.iter().map(|core| core.id).collect();
    if args.workers == 0 || args.workers > cores.len() {
        return Err(format!(
            "{} workers: between 1 and {} can be measured, one on each core",
            args.workers,
            cores.len()
        ));
    }
    // The last cores: the first one is where everything else of a small machine tends to be.
    let (others, cores) = cores.split_at(cores.len() - args.workers);
    Ok(Plan {
        cores: cores.to_vec(),
        other_core: others.last().copied(),
        services: args.services as usize,
        backends: args.backends as usize,
        packets: args.packets,
        repeat: args.repeat as usize,
        device: args.device.clone(),
        eal: EalOptions::default(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::scenario::HIT;
    use super::tables::Tables;
    use super::*;
    use crate::pool::Weight;
    use crate::worker::bench::Bench;
    use crate::worker::bench::latency::Latency;
    use crate::worker::bench::serve::Duty;

    /// What the far end sends comes back whatever the worker does meanwhile, every packet once.
    #[test]
    fn the_far_end_gets_back_what_it_sends() {
        let plan = Plan {
            cores: vec![0],
            other_core: Some(0),
            services: 3,
            backends: 2,
            packets: 0,
            repeat: 1,
            device: String::new(),
            eal: EalOptions::no_huge([""; 0]),
        };
        let mut tables = Tables::new(&HIT.shape(3, 2)).expect("a valid pool");
        let snapshot = tables.compile(None).expect("tables");
        let setup = plan.setup(measure::WARM_MBUFS);
        let (mut bench, mut far) = Bench::between_rings(&setup, 0, snapshot).expect("rings");
        let known = scenario::Scenario {
            senders: scenario::Senders::Known(1000),
            ..HIT
        };
        let load = measure::load(&known, &HIT.shape(3, 2));
        let snapshot = tables.compile(Some(bench.snapshot())).expect("tables");
        bench.load(&load, snapshot).expect("memory");
        let work = Duty::Work { back_off: true };
        let (introduced, _) = bench
            .serve(work, |_| far.introduce(&load))
            .expect("a worker");
        introduced.expect("every flow comes back");

        for duty in [work, Duty::Pass] {
            let mut latency = Latency::default();
            let paced = bench.serve(duty, |meanwhile| {
                let weight = Weight::new(50).expect("a weight");
                tables.reweigh(1, weight).expect("a valid pool");
                let previous = meanwhile.publisher.current();
                let snapshot = tables.compile(Some(previous)).expect("tables");
                meanwhile.publisher.publish(snapshot);
                far.pace(Some(1e-4), 20, &meanwhile, &mut latency)
            });
            let (paced, served) = paced.expect("a worker");
            paced.expect("all packets come back");
            assert_eq!(latency.all.slices, 20);
            assert!(latency.all.times.count() > 0);
            assert!(latency.undisturbed.times.count() <= latency.all.times.count());
            let rounds = &served[0];
            let counted = rounds.swaps.count() + rounds.after.count() + rounds.between.count();
            assert_eq!(
                counted > 0,
                duty == work,
                "a worker that passes has no rounds"
            );
            assert!(rounds.swaps.count() <= 1);
        }
        let (wake, _) = bench
            .serve(work, |_| far.wake(Duration::from_millis(5)))
            .expect("a worker");
        let wake = wake.expect("all packets come back");
        assert!(wake.is_none_or(|wake| wake.first <= wake.full), "{wake:?}");
    }
}
