//! `rail run`: the rail itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use tokio::signal::unix::{SignalKind, signal};

use super::{ERROR, OK, diagnostics, output};
use crate::api::{self, Listeners};
use crate::control::desired::follow::{BeginError, Following};
use crate::control::offer;
use crate::control::rail::{Hardware, Rail, SharedRail, WorkerView};
use crate::hw;
use crate::pipeline::shared::Shared;
use crate::pool::{Config, Diagnostic, HugePages, Port, load};
use crate::table::conn::ConnSettings;
use crate::table::host::HostStats;
use crate::table::news::NEWS_WAITING;
use crate::table::port::PortReport;
use crate::table::snapshot::PortIndex;
use crate::worker::Outgoing;
use crate::worker::crew::{self, Crew, CrewSetup, WorkerHandle};
use crate::worker::host::{Bridge, BridgeSetup};
use crate::worker::numa::Nodes;
use crate::worker::ports::{
    EalOptions, Huge, Mempool, PortSetup, Ports, PortsSetup, Workers, open_for,
};
use crate::worker::tap::{Tap, TapError, TapSetup};

/// The command line of `rail run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// How often the control core does its regular work: it bounds how long a next hop's answer takes to
/// reach the workers.
const TICK: Duration = Duration::from_millis(20);

/// Why a rail did not start, or ended.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the configuration is wrong")]
    Config(Vec<Diagnostic>),
    #[error(transparent)]
    Listen(#[from] api::ListenError),
    #[error(transparent)]
    Open(#[from] crate::worker::ports::OpenError),
    #[error(transparent)]
    Port(#[from] crate::worker::ports::PortError),
    #[error(transparent)]
    Compile(#[from] crate::control::compile::CompileError),
    #[error(transparent)]
    Crew(#[from] crew::CrewError),
    #[error(transparent)]
    Tap(#[from] TapError),
    #[error(transparent)]
    Begin(#[from] Box<BeginError>),
    #[error("the control core: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Runs until a signal ends it.
pub fn run(args: &Args) -> ExitCode {
    log_to_stderr();
    hw::map_large_blocks();
    match try_run(&args.config) {
        Ok(()) => ExitCode::from(OK),
        Err(RunError::Config(found)) => {
            diagnostics::show(&found);
            ExitCode::from(ERROR)
        }
        Err(error) => {
            output::message(&format!("error: {error}"));
            ExitCode::from(ERROR)
        }
    }
}

/// Messages of level info and above, or what `RUST_LOG` asks for.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

fn try_run(file: &Path) -> Result<(), RunError> {
    let (config, warnings) = load(file).map_err(RunError::Config)?;
    diagnostics::show(&warnings);
    let (config, following) = begin(config, file)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // What can be refused without touching a port is refused first.
    let listeners = runtime.block_on(async { Listeners::open(&config.node) })?;
    let workers = Workers {
        cores: config.node.workers.clone(),
        held: config.limits.held_fragments,
        nodes: Nodes::default(),
    };
    let mut ports = open_for(&ports_setup(&config), &workers)?;
    for warning in &ports.warnings {
        tracing::warn!("{warning}");
    }
    let macs = ports.macs()?;
    let taps = taps(&config, &macs)?;
    let news = Arc::new(ArrayQueue::new(NEWS_WAITING));
    let mut rail = Rail::new(config, macs, Arc::clone(&news), Box::new(NoHardware))?;
    if let Some(following) = following {
        rail.keep_to(following);
    }
    let limits = &rail.config().limits;
    let shared = Shared::new(limits.fragments as usize, limits.fragment_time, news)?;
    let fragments = Arc::clone(&shared.fragments);
    rail.listen(Arc::clone(&shared.heard), Arc::clone(&shared.tromboned));
    rail.hear_paths(Arc::clone(&shared.paths));
    let crew = start_crew(&rail, &mut ports, shared)?;
    let pool = ports.pool.clone();
    let views = crew.handles.iter().map(|handle| WorkerView {
        core: handle.core,
        counters: Arc::clone(&handle.counters),
        conns: Arc::clone(&handle.conns),
        tsc_hz: handle.tsc_hz,
    });
    let core = rail.config().node.control_core;
    let (views, handles) = (views.collect(), crew.handles.clone());
    let host = Arc::new(HostStats::default());
    let machine = Machine {
        handles,
        ports,
        host: Arc::clone(&host),
    };
    rail.attach(views, fragments, Box::new(machine));
    // Only now: threads inherit the cores of the one that starts them.
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        tracing::warn!(core, "cannot pin the control thread");
    }
    let bridge = bridge(&rail, &crew, taps, pool, host)?;
    let rail = Arc::new(Mutex::new(rail));
    let served = runtime.block_on(control(file, &rail, listeners));
    drop(bridge);
    // Workers first: they hold the queues of the ports that the rail's hardware closes.
    drop(crew);
    served
}

/// The configuration with the pool that is in force, and the store if the node has one.
fn begin(config: Config, file: &Path) -> Result<(Config, Option<Following>), RunError> {
    let Some(directory) = config.node.store.clone() else {
        return Ok((config, None));
    };
    let begun = Following::begin(config, &directory, file).map_err(Box::new)?;
    for warning in &begun.warnings {
        tracing::warn!("{warning}");
    }
    Ok((begun.config, Some(begun.following)))
}

/// The control core's loop.
async fn control(file: &Path, rail: &SharedRail, listeners: Listeners) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut server = tokio::spawn(api::serve(listeners, Arc::clone(rail)));
    let lock = || rail.lock().unwrap_or_else(PoisonError::into_inner);
    let name = lock().config().node.name.clone();
    tracing::info!(%name, "forwarding");
    let mut ready = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let mut rail = lock();
                rail.tick();
                if !ready && rail.is_ready() {
                    ready = true;
                    tracing::info!(%name, "ready: next hops are known");
                }
            }
            _ = hangup.recv() => {
                offer::reload(&mut lock(), file);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            ended = &mut server => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the API ended");
                }
                break;
            }
        }
    }
    server.abort();
    lock().leave();
    tracing::info!(%name, "stopping");
    Ok(())
}

fn ports_setup(config: &Config) -> PortsSetup {
    let dpdk = &config.dpdk;
    PortsSetup {
        eal: EalOptions {
            huge: match dpdk.hugepages {
                HugePages::Auto => Huge::Auto,
                HugePages::Never => Huge::No,
                HugePages::Require => Huge::Mb(dpdk.memory_mb),
            },
            memory_mb: dpdk.memory_mb,
            extra: dpdk.args.clone(),
            ..EalOptions::default()
        },
        ports: config
            .ports
            .iter()
            .map(|port| PortSetup {
                device: port.device.clone(),
                mtu: port.mtu.get(),
                queues: port.queues.map(|q| q.get()),
            })
            .collect(),
        workers: config.node.workers.len() as u16,
        mbufs: dpdk.mbufs,
    }
}

fn start_crew(rail: &Rail, ports: &mut Ports, shared: Shared) -> Result<Crew, crew::CrewError> {
    let config = rail.config();
    let snapshot = rail.snapshot();
    let setup = CrewSetup {
        conns: ConnSettings {
            flows: config.node.flows,
            timeouts: snapshot.timeouts,
            new_pins_per_second: snapshot.rates.new_pins_per_second,
        },
        backends: config.limits.backends as usize,
        idle: config.node.idle,
        hash_key: config.pool.hash_key,
        early: config.limits.held_fragments as usize,
        host: config.ports.iter().any(|port| port.host.is_some()),
        shared,
    };
    let shares = std::mem::take(&mut ports.shares);
    crew::start(
        &ports.eal,
        &ports.pool,
        &config.node.workers,
        shares,
        || rail.reader(),
        &setup,
    )
}

/// The host's interfaces, by port index.
fn taps(config: &Config, macs: &[[u8; 6]]) -> Result<Vec<Option<Tap>>, TapError> {
    let tap = |(port, mac): (&Port, &[u8; 6])| {
        let Some(host) = &port.host else {
            return Ok(None);
        };
        let addresses = port.addresses.iter();
        let setup = TapSetup {
            name: host.as_str().to_owned(),
            port: port.name.to_string(),
            mac: *mac,
            mtu: port.mtu.get(),
            addresses: addresses.map(|a| (a.address(), a.prefix_len())).collect(),
        };
        Tap::new(&setup).map(Some)
    };
    config.ports.iter().zip(macs).map(tap).collect()
}

/// What carries frames between workers and host, on the control core; `None` if no port has a host.
fn bridge(
    rail: &Rail,
    crew: &Crew,
    taps: Vec<Option<Tap>>,
    pool: Mempool,
    stats: Arc<HostStats>,
) -> Result<Option<Bridge>, RunError> {
    let Some(first) = crew.handles.first() else {
        return Ok(None);
    };
    if taps.iter().all(Option::is_none) {
        return Ok(None);
    }
    let to_host = crew.handles.iter().map(|handle| Arc::clone(&handle.host.0));
    let setup = BridgeSetup {
        taps,
        ports: rail.snapshot().ports.to_vec(),
        to_host: to_host.collect(),
        // One worker keeps the order of what the host sends.
        from_host: Arc::clone(&first.host.1),
        rate: rail.config().limits.host_per_second,
        pool,
        stats,
    };
    Ok(Some(Bridge::start(setup)?))
}

/// Before the workers run there is nothing to send with.
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

/// The open ports and the workers that serve them.
struct Machine {
    handles: Vec<WorkerHandle>,
    ports: Ports,
    host: Arc<HostStats>,
}

impl Hardware for Machine {
    fn send(&self, port: PortIndex, frame: &[u8]) -> bool {
        Outgoing::new(port, frame)
            .zip(self.handles.first())
            .is_some_and(|(frame, worker)| worker.inbox.push(frame).is_ok())
    }

    fn ports(&self) -> Vec<PortReport> {
        self.ports.reports()
    }

    fn driver(&self) -> String {
        self.ports.driver()
    }

    fn host(&self) -> Option<&HostStats> {
        Some(&self.host)
    }
}
