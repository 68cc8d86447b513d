//! `rail replay`: the worker's code over a capture file, from first packet to last.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::{ERROR, OK, diagnostics, output};
use crate::control::compile::{LinkAddresses, TableCache, compile};
use crate::control::ids::BackendIds;
use crate::pipeline::Pipeline;
use crate::pipeline::shared::Shared;
use crate::pool::{Config, Environment, Port, load_for};
use crate::table::Nanos;
use crate::table::conn::{ConnOwner, ConnSettings};
use crate::table::counters::{Counters, DropReason};
use crate::table::publish::Publisher;
use crate::worker::ports::{
    EalOptions, PortSetup, Ports, PortsSetup, Workers, buffers_for, open_for,
};
use crate::worker::{Clock, EarlyFragments, Hold, HostEnd, Idle, Worker};

/// The command line of `rail replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// The capture to read
    #[arg(long = "in", value_name = "PCAP")]
    pub input: PathBuf,

    /// The capture to write
    #[arg(long = "out", value_name = "PCAP")]
    pub output: PathBuf,

    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// Link address of every next hop that no `[[neighbor]]` names.
const ANY_NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Rounds without a packet after which the capture has been read to its end.
const EMPTY_ROUNDS: u32 = 4;

/// Replays the capture and prints the books.
pub fn run(args: &Args) -> ExitCode {
    let (config, warnings) = match load_for(&args.config, &Environment::any()) {
        Ok(loaded) => loaded,
        Err(found) => {
            diagnostics::show(&found);
            return ExitCode::from(ERROR);
        }
    };
    diagnostics::show(&warnings);
    match replay(&args.input, &args.output, config) {
        Ok(counters) => {
            let books = Books::of(&counters);
            let text = if args.json {
                format!("{:#}", books.to_json())
            } else {
                books.to_string()
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

/// Why a capture could not be replayed.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("cannot read the capture {}: {source}", path.display())]
    Input {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is both input and output: name another file with --out", .0.display())]
    SameFile(PathBuf),
    #[error("{}: a path with a comma cannot be given to DPDK's pcap port", .0.display())]
    Comma(PathBuf),
    #[error(transparent)]
    Compile(#[from] crate::control::compile::CompileError),
    #[error(transparent)]
    Open(#[from] crate::worker::ports::OpenError),
    #[error(transparent)]
    Conns(#[from] crate::table::conn::ConnError),
    #[error("no memory for the fragment table: {0}")]
    Memory(#[from] std::io::Error),
    #[error("the pcap port has no queue pair")]
    NoQueue,
}

fn replay(input: &Path, output: &Path, mut config: Config) -> Result<Arc<Counters>, ReplayError> {
    let device = device(input, output)?;
    config.ports = vec![one_port(&config, &device)];
    let mut setup = PortsSetup {
        eal: EalOptions {
            extra: config.dpdk.args.clone(),
            ..EalOptions::no_huge([] as [&str; 0])
        },
        ports: vec![PortSetup {
            device,
            mtu: config.ports[0].mtu.get(),
            queues: None,
        }],
        workers: 1,
        mbufs: config.dpdk.mbufs,
    };
    let holding = Workers {
        held: config.limits.held_fragments,
        ..Workers::default()
    };
    // No port but this one wants memory, and how much frames it may hold is the configuration's.
    let needed = buffers_for(&setup, &holding).memory_mb(1);
    setup.eal.memory_mb = setup.eal.memory_mb.max(needed);
    let mut ports = open_for(&setup, &holding)?;
    let mut worker = worker(&config, &mut ports)?;
    let mut empty = 0;
    while empty < EMPTY_ROUNDS {
        empty = if worker.round(&mut ()) == 0 {
            empty + 1
        } else {
            0
        };
    }
    let counters = Arc::clone(&worker.counters);
    worker.settle();
    Ok(counters)
}

fn worker(config: &Config, ports: &mut Ports) -> Result<Worker, ReplayError> {
    let hops = Static(config);
    let macs: Vec<_> = ports
        .ports
        .iter()
        .map(|p| p.mac().unwrap_or_default())
        .collect();
    let mut ids = BackendIds::default();
    let mut tables = TableCache::default();
    let snapshot = compile(config, &macs, &mut ids, &hops, None, &mut tables)?;
    let conns = ConnOwner::new(&ConnSettings {
        flows: config.node.flows,
        timeouts: snapshot.timeouts,
        new_pins_per_second: snapshot.rates.new_pins_per_second,
    })?;
    let counters = Arc::new(Counters::new(ids.places()));
    let limits = &config.limits;
    let news = Arc::new(ArrayQueue::new(1));
    let shared = Shared::new(limits.fragments as usize, limits.fragment_time, news)?;
    let publisher = Publisher::new(snapshot);
    let (inputs, outputs) = ports.shares.pop().ok_or(ReplayError::NoQueue)?;
    Ok(Worker {
        inputs,
        outputs,
        pipeline: Pipeline::new(conns, Arc::clone(&counters), shared, config.pool.hash_key),
        reader: publisher.reader(),
        inbox: Arc::new(ArrayQueue::new(1)),
        pool: ports.pool.clone(),
        host: HostEnd::Void,
        hold: Hold::new(),
        early: EarlyFragments::with_capacity(limits.held_fragments as usize),
        idle: Idle::new(false),
        clock: Clock::Capture(Nanos(0)),
        counters,
    })
}

/// DPDK's pcap port over the two files.
fn device(input: &Path, output: &Path) -> Result<String, ReplayError> {
    let input_error = |source| ReplayError::Input {
        path: input.to_owned(),
        source,
    };
    std::fs::File::open(input).map_err(input_error)?;
    let same =
        input.canonicalize().map_err(input_error)? == output.canonicalize().unwrap_or_default();
    if same {
        return Err(ReplayError::SameFile(output.to_owned()));
    }
    for path in [input, output] {
        if path.to_string_lossy().contains(',') {
            return Err(ReplayError::Comma(path.to_owned()));
        }
    }
    Ok(format!(
        "net_pcap0,rx_pcap={},tx_pcap={}",
        input.display(),
        output.display()
    ))
}

/// All ports of the configuration in one: the capture stands for every link.
fn one_port(config: &Config, device: &str) -> Port {
    let mut port = config.ports[0].clone();
    for other in &config.ports[1..] {
        port.addresses.extend(other.addresses.iter().copied());
        port.gateways.extend(other.gateways.iter().copied());
        port.mtu = port.mtu.max(other.mtu);
    }
    port.device = device.to_owned();
    port
}

/// Next hops as the configuration names them; every other one has [`ANY_NEXT_HOP`].
struct Static<'a>(&'a Config);

impl LinkAddresses for Static<'_> {
    fn mac(&self, address: IpAddr) -> Option<[u8; 6]> {
        let known = self.0.neighbors.iter().find(|n| n.address == address);
        Some(known.map_or(ANY_NEXT_HOP, |n| n.mac.octets()))
    }
}

/// What came in and where it went: `rx + generated = tx + to_host + dropped + held`.
#[derive(Debug, serde::Serialize)]
struct Books {
    rx: u64,
    generated: u64,
    tx: u64,
    to_host: u64,
    held: u64,
    dropped: u64,
    drops: HashMap<&'static str, u64>,
    balanced: bool,
}

impl Books {
    fn of(counters: &Counters) -> Self {
        let mut books = Books {
            rx: counters.rx.packets.get(),
            generated: counters.generated.get(),
            tx: counters.tx.packets.get(),
            to_host: counters.to_host.get(),
            held: counters.held.get(),
            dropped: counters.dropped(),
            drops: DropReason::ALL
                .iter()
                .map(|r| (r.label(), counters.drops(*r)))
                .filter(|(_, n)| *n > 0)
                .collect(),
            balanced: false,
        };
        books.balanced =
            books.rx + books.generated == books.tx + books.to_host + books.dropped + books.held;
        books
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl std::fmt::Display for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "received  {:>12}", self.rx)?;
        writeln!(f, "generated {:>12}", self.generated)?;
        writeln!(f, "sent      {:>12}", self.tx)?;
        writeln!(f, "to host   {:>12}", self.to_host)?;
        writeln!(f, "held      {:>12}", self.held)?;
        writeln!(f, "dropped   {:>12}", self.dropped)?;
        let mut drops: Vec<_> = self.drops.iter().collect();
        drops.sort();
        for (reason, n) in drops {
            writeln!(f, "  {reason:<20} {n:>12}")?;
        }
        let verdict = if self.balanced {
            "balanced"
        } else {
            "NOT balanced"
        };
        write!(f, "books     {verdict:>12}")
    }
}
