//! The figures, for people and as JSON.

use comfy_table::CellAlignment;
use serde_json::{Value, json};

use super::measure::Plan;
use super::scenario::Scenario;
use crate::cli::output;
use crate::worker::Step;
use crate::worker::bench::{Cost, Footprint};
use crate::worker::ports::EalOptions;

/// What one scenario cost. All times are nanoseconds of CPU time per packet, medians over the
/// measurements, means over the workers.
#[derive(Debug)]
pub struct Figures {
    /// RX and TX of the port alone, per measurement.
    port: Vec<f64>,
    /// The generator alone.
    source: Vec<f64>,
    /// The worker without the generator, RX and TX included.
    net: Vec<f64>,
    /// The same without RX and TX.
    path: Vec<f64>,
    /// Packets per microsecond of all workers together.
    mpps: Vec<f64>,
    /// Ticks of the time-stamp counter per packet and step.
    steps: [f64; Step::ALL.len()],
    hits: u64,
    lookups: u64,
    packets: u64,
    sent: u64,
    table: usize,
    table_huge: Option<usize>,
}

/// All of them.
#[derive(Debug)]
pub struct Report {
    head: Value,
    tsc_ghz: f64,
    rows: Vec<(Scenario, Figures)>,
}

impl Figures {
    /// None yet.
    pub fn new(footprints: &[Footprint]) -> Self {
        let huge = footprints.iter().map(|f| f.table_huge);
        Figures {
            port: Vec::new(),
            source: Vec::new(),
            net: Vec::new(),
            path: Vec::new(),
            mpps: Vec::new(),
            steps: Default::default(),
            hits: 0,
            lookups: 0,
            packets: 0,
            sent: 0,
            table: footprints.iter().map(|f| f.table).sum(),
            table_huge: huge.sum(),
        }
    }

    /// Adds a measurement: port alone, port with generator, everything; the last also worker by worker.
    pub fn add(&mut self, port: f64, with_source: f64, all: f64, workers: &[Cost]) {
        let source = with_source - port;
        self.port.push(port);
        self.source.push(source);
        self.net.push(all - source);
        self.path.push(all - with_source);
        self.mpps
            .push(workers.iter().map(|c| 1e3 / (c.ns() - source)).sum());
        for cost in workers {
            self.hits += cost.conns.hits;
            self.lookups += cost.conns.hits + cost.conns.misses;
            self.packets += cost.packets;
            self.sent += cost.sent;
        }
    }

    /// Notes the shares of the steps.
    pub fn set_steps(&mut self, workers: &[Cost]) {
        for (index, share) in self.steps.iter_mut().enumerate() {
            let all: f64 = workers.iter().map(|cost| cost.steps[index]).sum();
            *share = all / workers.len().max(1) as f64;
        }
    }

    fn hit_rate(&self) -> f64 {
        self.hits as f64 / self.lookups.max(1) as f64
    }
}

impl Report {
    /// The head of a report.
    pub fn new(plan: &Plan, eal: &EalOptions, tsc_hz: u64) -> Self {
        let huge_pages = !eal.args().iter().any(|arg| arg == "--no-huge");
        Report {
            head: json!({
                "device": plan.device,
                "workers": plan.cores.len(),
                "services": plan.services,
                "backends_per_service": plan.backends,
                "packets": plan.packets,
                "repeat": plan.repeat,
                "packet_memory": if huge_pages { "huge pages" } else { "ordinary pages" },
                "tsc_hz": tsc_hz,
            }),
            tsc_ghz: tsc_hz as f64 / 1e9,
            rows: Vec::new(),
        }
    }

    /// Adds a scenario.
    pub fn add(&mut self, scenario: Scenario, figures: Figures) {
        self.rows.push((scenario, figures));
    }

    /// As JSON: what was measured on, and `results`.
    pub fn to_json(&self) -> Value {
        let mut value = self.head.clone();
        let results: Vec<_> = self.rows.iter().map(|(s, f)| self.row(s, f)).collect();
        value["results"] = results.into();
        value
    }

    fn row(&self, scenario: &Scenario, figures: &Figures) -> Value {
        let source = median(&figures.source);
        json!({
            "scenario": scenario.name,
            "flows": scenario.flows(),
            "ns": median(&figures.net),
            "ns_port": median(&figures.port),
            "ns_path": median(&figures.path),
            "ns_generator": source,
            "ns_each": figures.net,
            "cycles": median(&figures.net) * self.tsc_ghz,
            "mpps": median(&figures.mpps),
            "cycles_by_step": {
                "receive": figures.steps[Step::Receive as usize] - source * self.tsc_ghz,
                "front": figures.steps[Step::Front as usize],
                "steer": figures.steps[Step::Steer as usize],
                "finish": figures.steps[Step::Finish as usize],
                "send": figures.steps[Step::Send as usize],
            },
            "hit_rate": figures.hit_rate(),
            "forwarded": figures.sent as f64 / figures.packets.max(1) as f64,
            "table_bytes": figures.table,
            "table_huge_bytes": figures.table_huge,
        })
    }

    /// As a table.
    pub fn to_text(&self) -> String {
        let mut table = output::table(&[
            "traffic",
            "flows",
            "ns",
            "cycles",
            "Mpps",
            "port",
            "path",
            "generator",
            "receive",
            "front",
            "steer",
            "finish",
            "send",
            "hits",
        ]);
        for (scenario, figures) in &self.rows {
            let source = median(&figures.source);
            let [receive, front, steer, finish, send] = figures.steps;
            let number = |value: f64| format!("{value:.1}");
            table.add_row([
                scenario.name.to_owned(),
                scenario.senders.to_string(),
                number(median(&figures.net)),
                number(median(&figures.net) * self.tsc_ghz),
                number(median(&figures.mpps)),
                number(median(&figures.port)),
                number(median(&figures.path)),
                number(source),
                number(receive - source * self.tsc_ghz),
                number(front),
                number(steer),
                number(finish),
                number(send),
                format!("{:.0} %", figures.hit_rate() * 100.0),
            ]);
        }
        for index in 1..14 {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let head = format!(
            "{}, {} worker(s), {} services of {} backends, packet memory on {}",
            self.head["device"].as_str().unwrap_or_default(),
            self.head["workers"],
            self.head["services"],
            self.head["backends_per_service"],
            self.head["packet_memory"].as_str().unwrap_or_default(),
        );
        let foot = "ns, cycles: CPU time per packet of a worker, RX and TX on the port included, the \
                    generator taken off. port: RX and TX alone; path: the rest. Cycles are ticks of the time-stamp \
                    counter. Mpps: all workers.";
        [vec![head], output::lines(&mut table), vec![foot.to_owned()]]
            .concat()
            .join("\n")
    }
}

/// The middle of some values, or the mean of the two in the middle; 0 if there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        n => sorted[n / 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
