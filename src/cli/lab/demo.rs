//! `rail lab demo`: what the rails do, shown with real requests, and checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table};
use miette::{IntoDiagnostic as _, Result, miette};

use super::client;
use super::files::{METRICS, PORT, SERVICE, States};
use super::interrupt;
use super::load::{Life, Load, LongLived, Outcome, Tally, connect, percent};
use super::netns::{Netns, run as run_command};
use super::probe::probe;
use super::running::{Lab, Options};
use super::topology::VIP;
use crate::cli::output;

/// Connections whose spread is compared with Maglev's shares.
const CONNECTIONS: u64 = 3_000;
/// How far a backend's share may be from its Maglev share, points of percent: more than four
/// standard deviations of a share of a third among [`CONNECTIONS`].
const TOLERANCE: f64 = 4.0;
/// Connections that stay open while a backend is taken out: with this many, each of three
/// backends has some.
const LONG_LIVED: usize = 24;
/// How long traffic runs before and after each change.
const SETTLE: Duration = Duration::from_millis(1500);
/// What is shown of each rail's metrics, where it is not zero.
const SHOWN_METRICS: [&str; 4] = [
    "rustyrail_backend_packets_total{",
    "rustyrail_connection_entries{",
    "rustyrail_drops_total{",
    "rustyrail_worker_rx_packets_total{",
];

/// Shows everything; fails when anything was not as it should be. The lab is removed in both cases,
/// unless it is to be kept.
pub fn run(options: Options, keep: bool) -> Result<ExitCode> {
    let begun = Instant::now();
    interrupt::install().into_diagnostic()?;
    let mut demo = Demo::start(options)?;
    demo.self_test()?;
    demo.spread()?;
    demo.take_one_out()?;
    demo.metrics()?;
    let Demo {
        mut lab, broken, ..
    } = demo;
    if keep {
        lab.keep().into_diagnostic()?;
        output::result(&format!(
            "\nThe lab stays up; `rail lab down --name {}` removes it.",
            lab.name()
        ));
    } else {
        lab.down().into_diagnostic()?;
    }
    output::result(&format!(
        "\nThe demo took {:.1} s.",
        begun.elapsed().as_secs_f64()
    ));
    if broken.is_empty() {
        output::result("Everything was as it should be.");
        return Ok(ExitCode::SUCCESS);
    }
    for what in &broken {
        output::message(&format!("NOT AS IT SHOULD BE: {what}"));
    }
    Ok(ExitCode::FAILURE)
}

struct Demo {
    lab: Lab,
    clients: Vec<Netns>,
    vip: SocketAddr,
    /// What was not as it should be.
    broken: Vec<String>,
}

impl Demo {
    fn start(options: Options) -> Result<Self> {
        output::result(&format!("{}\n", options.topology.drawing()));
        let begun = Instant::now();
        let mut lab = Lab::up(options).into_diagnostic()?;
        lab.write_configs(&States::new()).into_diagnostic()?;
        lab.start_rails().into_diagnostic()?;
        output::result(&format!(
            "Lab {} is up after {:.1} s. Backends receive by {}.",
            lab.name(),
            begun.elapsed().as_secs_f64(),
            lab.tunnel
        ));
        let clients = lab
            .topology
            .clients
            .iter()
            .map(|client| lab.netns(&client.name))
            .collect();
        Ok(Self {
            lab,
            clients,
            vip: SocketAddr::from((VIP, PORT)),
            broken: Vec::new(),
        })
    }

    /// One 5-tuple meets one rail, or nothing that follows means anything.
    fn self_test(&mut self) -> Result<()> {
        let seen = probe(&self.lab).into_diagnostic()?;
        let met: Vec<String> = self
            .lab
            .topology
            .rails
            .iter()
            .map(|rail| format!("{} {}", rail.name, seen.met(&rail.name)))
            .collect();
        output::result(&format!(
            "Self-test: of {} connection attempts with retransmissions, {} met more than one rail \
             ({}).",
            seen.repeated(),
            seen.split(),
            met.join(", ")
        ));
        self.expect(seen.is_sound(), || {
            format!("the lab's self-test failed: {seen:?}")
        });
        Ok(())
    }

    fn spread(&mut self) -> Result<()> {
        let shares = self.maglev_shares()?;
        let begun = Instant::now();
        let tally = Tally::of(&connect(&self.clients, self.vip, CONNECTIONS));
        output::result(&format!(
            "\n{CONNECTIONS} connections from {} clients in {:.1} s: {} answered, {} failed.",
            self.clients.len(),
            begun.elapsed().as_secs_f64(),
            tally.succeeded(),
            tally.failed.len()
        ));
        self.expect_no_failure(&tally);
        let mut table = new_table(&["backend", "connections", "share", "Maglev share", "apart"]);
        for (backend, share) in &shares {
            let count = tally.answered.get(backend).copied().unwrap_or(0);
            let apart = tally.share(backend) - share;
            table.add_row([
                backend.clone(),
                count.to_string(),
                format!("{:.2} %", tally.share(backend)),
                format!("{share:.2} %"),
                format!("{apart:+.2}"),
            ]);
            self.expect(apart.abs() <= TOLERANCE, || {
                format!("{backend} is {apart:+.2} points from its Maglev share")
            });
        }
        output::result(&table.to_string());
        Ok(())
    }

    /// Under load, one backend drains, then goes down: what is pinned to the others goes on.
    fn take_one_out(&mut self) -> Result<()> {
        let Some(leaving) = self
            .lab
            .topology
            .backends
            .last()
            .map(|host| host.name.clone())
        else {
            return Ok(());
        };
        output::result(&format!(
            "\nTaking {leaving} out, under load and with {LONG_LIVED} connections held open."
        ));
        let load = Load::start(&self.clients, self.vip);
        let held = LongLived::start(&self.clients, self.vip, LONG_LIVED);
        sleep(SETTLE);
        self.apply(&leaving, "drain")?;
        let drained = Instant::now();
        sleep(SETTLE);
        self.apply(&leaving, "down")?;
        sleep(SETTLE);
        let outcomes = load.stop();
        let lives = held.stop();
        self.judge_load(&leaving, &outcomes, drained);
        self.judge_held(&leaving, &lives);
        Ok(())
    }

    fn judge_load(&mut self, leaving: &str, outcomes: &[Outcome], drained: Instant) {
        let (before, after): (Vec<_>, Vec<_>) =
            outcomes.iter().partition(|outcome| outcome.begun < drained);
        let (before, after) = (Tally::of(before), Tally::of(after));
        let mut table = new_table(&["new connections", "before the drain", "after"]);
        for backend in &self.lab.topology.backends {
            let count = |tally: &Tally| {
                tally
                    .answered
                    .get(&backend.name)
                    .copied()
                    .unwrap_or(0)
                    .to_string()
            };
            table.add_row([backend.name.clone(), count(&before), count(&after)]);
        }
        let failed = |tally: &Tally| tally.failed.len().to_string();
        table.add_row(["failed".to_owned(), failed(&before), failed(&after)]);
        output::result(&table.to_string());
        self.expect_no_failure(&before);
        self.expect_no_failure(&after);
        self.expect(!after.answered.contains_key(leaving), || {
            format!("{leaving} was given new connections while draining")
        });
    }

    fn judge_held(&mut self, leaving: &str, lives: &[Life]) {
        let mut table = new_table(&["held connections", "opened", "requests", "still open"]);
        let mut by_backend: BTreeMap<&str, Vec<&Life>> = BTreeMap::new();
        for life in lives {
            by_backend.entry(&life.backend).or_default().push(life);
        }
        for (backend, lives) in by_backend {
            let open = lives.iter().filter(|life| life.error.is_none()).count();
            table.add_row([
                backend.to_owned(),
                lives.len().to_string(),
                lives
                    .iter()
                    .map(|life| life.answered)
                    .sum::<u64>()
                    .to_string(),
                open.to_string(),
            ]);
            self.expect(backend == leaving || open == lives.len(), || {
                let errors: Vec<_> = lives
                    .iter()
                    .filter_map(|life| life.error.as_ref())
                    .collect();
                format!("connections to {backend}, which stayed, were lost: {errors:?}")
            });
            self.expect(backend != leaving || open == 0, || {
                format!("connections to {leaving} went on although it was down")
            });
        }
        output::result(&table.to_string());
        output::result(&format!(
            "Draining let connections to {leaving} go on; `down` then ended them."
        ));
    }

    fn metrics(&mut self) -> Result<()> {
        for rail in &self.lab.topology.rails {
            let page = self
                .lab
                .netns(&rail.name)
                .enter(|| client::get(METRICS, "/metrics"))
                .into_diagnostic()?
                .into_diagnostic()?;
            output::result(&format!("\n{}, from its /metrics:", rail.name));
            let shown = page
                .lines()
                .filter(|line| SHOWN_METRICS.iter().any(|metric| line.starts_with(metric)));
            for line in shown.filter(|line| !line.ends_with(" 0")) {
                output::result(&format!("  {line}"));
            }
        }
        Ok(())
    }

    /// Each backend's share of the Maglev table in percent, as `rail table` has it.
    fn maglev_shares(&self) -> Result<BTreeMap<String, f64>> {
        let Some(rail) = self.lab.topology.rails.first() else {
            return Ok(BTreeMap::new());
        };
        let mut command = self.lab.rail();
        command.args(["table", "--json", "--service", SERVICE, "--config"]);
        let output =
            run_command(command.arg(self.lab.rail_config(&rail.name))).into_diagnostic()?;
        shares(&output.stdout).ok_or_else(|| miette!("`rail table --json` printed no table"))
    }

    /// Gives every rail the pool in which `backend` has this state.
    fn apply(&self, backend: &str, state: &'static str) -> Result<()> {
        self.lab
            .apply(&States::from([(backend.to_owned(), state)]))
            .into_diagnostic()?;
        output::result(&format!("  rail apply: {backend} is {state:?}"));
        Ok(())
    }

    fn expect_no_failure(&mut self, tally: &Tally) {
        self.expect(tally.failed.is_empty() && tally.succeeded() > 0, || {
            let some: Vec<&String> = tally.failed.iter().take(3).collect();
            format!("{} requests failed, such as {some:?}", tally.failed.len())
        });
    }

    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(otherwise());
        }
    }
}

/// Reads the shares in percent from the first table of `rail table --json`.
fn shares(json: &[u8]) -> Option<BTreeMap<String, f64>> {
    let tables: serde_json::Value = serde_json::from_slice(json).ok()?;
    let table = tables["services"].get(0)?;
    let slots = table["slots"].as_array()?;
    let share = |index: usize| {
        let own = slots
            .iter()
            .filter(|slot| slot.as_u64() == Some(index as u64))
            .count();
        percent(own as u64, slots.len() as u64)
    };
    let backends = table["backends"].as_array()?.iter().enumerate();
    backends
        .map(|(index, backend)| Some((backend.as_str()?.to_owned(), share(index))))
        .collect()
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
