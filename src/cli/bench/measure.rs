//! Runs the scenarios, each with its own tables, and takes the generator's cost off.

use super::pool::Shape;
use super::report::{Figures, Report};
use super::scenario::Scenario;
use super::tables::Tables;
use crate::table::snapshot::Snapshot;
use crate::worker::bench::{Bench, BenchError, BenchSetup, Cost, Load, Subject};
use crate::worker::ports::EalOptions;

/// How to measure.
#[derive(Debug)]
pub struct Plan {
    /// The workers' cores.
    pub cores: Vec<usize>,
    /// A core for what sends to a worker, or swaps its tables.
    pub other_core: Option<usize>,
    /// Services of the pool.
    pub services: usize,
    /// Backends of each.
    pub backends: usize,
    /// Packets of one measurement.
    pub packets: u64,
    /// Measurements of everything.
    pub repeat: usize,
    /// The port.
    pub device: String,
    /// How EAL is started.
    pub eal: EalOptions,
}

impl Plan {
    /// The workers, with so many mbufs each.
    pub fn setup(&self, mbufs: u32) -> BenchSetup {
        let memory_mb = (self.cores.len() as u32 * mbufs).next_power_of_two() * KIB_PER_MBUF / 1024;
        BenchSetup {
            eal: EalOptions {
                memory_mb: memory_mb + EAL_MB,
                ..self.eal.clone()
            },
            device: self.device.clone(),
            cores: self.cores.clone(),
            mbufs,
        }
    }

    /// The core beside the worker's.
    pub fn other_core(&self) -> Result<usize, String> {
        self.other_core.ok_or_else(|| {
            "a second core is needed beside the worker's: for what sends to it, or changes its tables"
                .to_owned()
        })
    }
}

/// Flows that a connection table has room for at least: the default of a rail.
const TABLE_FLOWS: u64 = 1 << 20;
/// Bursts between the writing and the reading of cold headers: with 256 bytes used of each of their
/// 16,384 buffers, 4 MiB lie between, more than a second-level cache holds.
const COLD_BURSTS: usize = 512;
/// Mbufs of a worker: descriptors are none on a port that makes packets up, so caches and bursts.
pub const WARM_MBUFS: u32 = 4096;
const COLD_MBUFS: u32 = 4096 + 32 * COLD_BURSTS as u32;
/// KiB that EAL needs for one mbuf with all its headers, and for itself.
const KIB_PER_MBUF: u32 = 3;
const EAL_MB: u32 = 32;

/// Measures all scenarios in turn; `starting` is told of each.
pub fn measure(
    plan: &Plan,
    scenarios: &[Scenario],
    starting: impl Fn(&Scenario),
) -> Result<Report, String> {
    let Some(first) = scenarios.first() else {
        return Err("nothing to measure".to_owned());
    };
    let cold = scenarios.iter().any(|s| s.cold);
    let setup = plan.setup(if cold { COLD_MBUFS } else { WARM_MBUFS });
    let snapshot = Tables::new(&first.shape(plan.services, plan.backends))?.compile(None)?;
    let mut bench = Bench::open(&setup, snapshot).map_err(|e| e.to_string())?;
    let mut report = Report::new(plan, &setup.eal, bench.tsc_hz());
    for scenario in scenarios {
        starting(scenario);
        let shape = scenario.shape(plan.services, plan.backends);
        let snapshot = Tables::new(&shape)?.compile(Some(bench.snapshot()))?;
        let figures = one(&mut bench, plan, scenario, &shape, snapshot);
        report.add(*scenario, figures.map_err(|e| e.to_string())?);
    }
    Ok(report)
}

fn one(
    bench: &mut Bench,
    plan: &Plan,
    scenario: &Scenario,
    shape: &Shape,
    snapshot: Snapshot,
) -> Result<Figures, BenchError> {
    let footprint = bench.load(&load(scenario, shape), snapshot)?;
    let mut figures = Figures::new(&footprint);
    for _ in 0..plan.repeat {
        let port = bench.run(Subject::Port, plan.packets)?;
        let source = bench.run(Subject::Source, plan.packets)?;
        let worker = bench.run(Subject::Worker, plan.packets)?;
        figures.add(mean(&port), mean(&source), mean(&worker), &worker);
    }
    figures.set_steps(&bench.run(Subject::Steps, plan.packets)?);
    Ok(figures)
}

/// The traffic of a scenario.
pub fn load(scenario: &Scenario, shape: &Shape) -> Load {
    Load {
        templates: shape.templates(scenario.flows().is_none()),
        v6: shape.inner == super::scenario::Inner::V6,
        flows: scenario.flows(),
        table_flows: scenario.flows().unwrap_or(0).max(TABLE_FLOWS) as usize,
        delay: if scenario.cold { COLD_BURSTS } else { 0 },
    }
}

/// Nanoseconds per packet and worker.
fn mean(costs: &[Cost]) -> f64 {
    costs.iter().map(Cost::ns).sum::<f64>() / costs.len().max(1) as f64
}
