//! `rail bench`: what the packet path costs on this machine, without a NIC.
//!
//! A port that makes packets up (`net_null`) hands over real buffers, a generator writes headers of random
//! flows into them, and the worker does with them what it does with any packet. The generator is
//! measured alone right before, and its cost is taken off.

mod measure;
mod pool;
mod report;
mod scenario;

use std::process::ExitCode;

use super::{ERROR, OK, output};
use crate::worker::ports::EalOptions;
use measure::measure;
use pool::{MAX_BACKENDS, MAX_SERVICES};
use report::Report;
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
    match wanted(scenarios, &args.only).and_then(|wanted| measured(args, &wanted)) {
        Ok(report) => {
            let text = if args.json {
                format!("{:#}", report.to_json())
            } else {
                report.to_text()
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

fn measured(args: &Args, scenarios: &[Scenario]) -> Result<Report, String> {
    let cores: Vec<_> = core_affinity::get_core_ids().unwrap_or_default();
    if args.workers == 0 || args.workers > cores.len() {
        return Err(format!(
            "{} workers: between 1 and {} can be measured, one on each core",
            args.workers,
            cores.len()
        ));
    }
    // The last cores: the first one is where everything else of a small machine tends to be.
    let cores = cores[cores.len() - args.workers..].iter();
    let plan = measure::Plan {
        cores: cores.map(|core| core.id).collect(),
        services: args.services as usize,
        backends: args.backends as usize,
        packets: args.packets,
        repeat: args.repeat as usize,
        device: args.device.clone(),
        eal: EalOptions::default(),
    };
    let report = measure(&plan, scenarios, |scenario| {
        output::progress(&format!("{} {}", scenario.name, scenario.senders));
    });
    output::progress("");
    report
}
