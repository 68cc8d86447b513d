//! How long a changed backend takes to reach the workers: from the parsed configuration to the published
//! snapshot, in a pool of 1,000 services of 10 backends each.
//!
//! `cargo bench --bench republish`. Every round changes one backend of one service and puts the change to a
//! rail, as `rail apply` does; figures are medians, by the clock and by the CPU time of the process. What we want
//! is at most 5 ms. Reading the file, which `rail apply` has to do before, and the first start, with all
//! tables to build, are shown beside it.

#[path = "support/cpu_time.rs"]
mod cpu_time;

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use nix::time::ClockId;
use rustyrail::control::rail::{Hardware, Rail};
use rustyrail::pool::{Config, Environment, parse};
use rustyrail::table::port::PortReport;
use rustyrail::table::snapshot::PortIndex;

use cpu_time::cpu_time;

const SERVICES: usize = 1000;
const BACKENDS: usize = 10;
const ROUNDS: usize = 101;

/// Ports that nobody has to look at.
struct NoHardware;

impl Hardware for NoHardware {
    fn send(&self, _: PortIndex, _: &[u8]) -> bool {
        false
    }

    fn ports(&self) -> Vec<PortReport> {
        Vec::new()
    }

    fn driver(&self) -> String {
        String::new()
    }
}

/// Where the backends are.
#[derive(Clone, Copy)]
enum Place {
    /// Behind one gateway.
    Routed,
    /// Every one of them on the rail's own link.
    OnLink,
}

/// What one round changes of one backend.
#[derive(Clone, Copy)]
enum Change {
    /// Its weight, and with that the table.
    Weight,
    /// It leaves, or comes back.
    Membership,
    /// Its address: the table stays.
    Address,
}

/// The pool, in round `round` of changes.
fn text(place: Place, change: Change, round: usize) -> String {
    let (network, address) = match place {
        Place::Routed => ("192.0.2.10/24", "198.18"),
        Place::OnLink => ("198.18.255.1/16", "198.18"),
    };
    let mut text = format!(
        "[node]\nname = \"a\"\nworkers = [1]\n[[port]]\ndevice = \"net_null0\"\naddress = [\"{network}\"]\n"
    );
    if let Place::Routed = place {
        text += "gateway = [\"192.0.2.1\"]\n";
    }
    text += "[[neighbor]]\naddress = \"192.0.2.1\"\nmac = \"02:00:00:00:00:01\"\n";
    text += "[pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n";
    // Another service in each round, changed in odd ones and as it was in even ones.
    let changed = round % 2 == 1;
    let touched = round * 7 % SERVICES;
    for service in 0..SERVICES {
        let _ = write!(
            text,
            "[[service]]\nname = \"service-{service}\"\nvip = \"203.0.{}.{}\"\nprotocol = \"tcp\"\nport = 443\n",
            service / 250,
            service % 250 + 1
        );
        for backend in 0..BACKENDS {
            let here = changed && service == touched && backend == 3;
            let number = service * BACKENDS + backend;
            let (mut third, last) = (number / 250, number % 250 + 1);
            let mut more = "";
            match change {
                Change::Weight if here => more = "weight = 50\n",
                Change::Membership if here => continue,
                Change::Address if here => third = 200,
                _ => {}
            }
            let _ = write!(
                text,
                "[[service.backend]]\nname = \"web-{backend}\"\naddress = \"{address}.{third}.{last}\"\n{more}"
            );
        }
    }
    text
}

fn read(text: &str) -> Config {
    let parsed = parse(text, "bench.toml", &Environment::any());
    let all = |found: Vec<_>| found.iter().map(ToString::to_string).collect::<Vec<_>>();
    parsed.map_err(all).expect("a valid file").0
}

/// Milliseconds by the clock, and of CPU time.
#[derive(Default)]
struct Figures([Vec<f64>; 2]);

impl Figures {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let used = || cpu_time(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        let (begin, begun) = (Instant::now(), used());
        let made = black_box(work());
        let spent = [begin.elapsed(), used() - begun];
        for (list, spent) in self.0.iter_mut().zip(spent) {
            list.push(Duration::as_secs_f64(&spent) * 1e3);
        }
        made
    }

    fn print(self, what: &str) {
        let [clock, cpu] = self.0.map(|mut figures| {
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        });
        println!("| {what:<44} | {clock:>9.2} | {cpu:>7.2} |");
    }
}

fn main() {
    println!(
        "| {SERVICES} services of {BACKENDS} backends, M=65537             | clock, ms | CPU, ms |"
    );
    println!("|----------------------------------------------|----------:|--------:|");
    for (place, backends) in [(Place::Routed, "routed"), (Place::OnLink, "on link")] {
        let config = read(&text(place, Change::Weight, 0));
        let news = Arc::new(ArrayQueue::new(16));
        let mut start = Figures::default();
        let rail =
            start.time(|| Rail::new(config, vec![[2, 0, 0, 0, 0, 2]], news, Box::new(NoHardware)));
        let mut rail = rail.expect("a snapshot");
        start.print(&format!("{backends}: first start, all tables"));
        for (change, what) in [
            (Change::Weight, "a weight"),
            (Change::Membership, "a backend leaves or comes"),
            (Change::Address, "an address"),
        ] {
            let (mut reading, mut republishing) = (Figures::default(), Figures::default());
            for round in 0..ROUNDS {
                let text = text(place, change, round);
                let config = reading.time(|| read(&text));
                let done = republishing.time(|| rail.apply(config));
                done.expect("a snapshot");
            }
            republishing.print(&format!("{backends}: {what}, republished"));
            if let Change::Weight = change {
                reading.print(&format!("{backends}: reading the file before that"));
            }
        }
    }
}
