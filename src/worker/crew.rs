//! The workers' threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use crossbeam::queue::ArrayQueue;
use dpdk::thread::ThreadError;
use dpdk::{Eal, Mempool};

use crate::pipeline::Pipeline;
use crate::pipeline::shared::Shared;
use crate::table::HashKey;
use crate::table::conn::{ConnError, ConnOwner, ConnSettings, ConnTable};
use crate::table::counters::Counters;
use crate::table::publish::Reader;
use crate::table::snapshot::Snapshot;

use super::host::{self, HostQueue};
use super::{Clock, EarlyFragments, Hold, HostEnd, Idle, Inbox, Input, Output, TscClock, Worker};

/// Frames the control core may have waiting for one worker.
const INBOX_FRAMES: usize = 64;

/// What is common to all workers of a rail.
#[derive(Clone)]
pub struct CrewSetup {
    /// Connection table of each worker.
    pub conns: ConnSettings,
    /// Largest backend id that is counted.
    pub backends: usize,
    /// Sleep when there is nothing to do.
    pub idle: bool,
    /// The pool's key at start.
    pub hash_key: HashKey,
    /// Most fragments a worker holds.
    pub early: usize,
    /// Some port has a host.
    pub host: bool,
    /// What the workers share.
    pub shared: Shared,
}

/// What the control core keeps of a worker.
#[derive(Clone)]
pub struct WorkerHandle {
    /// The core it is pinned to.
    pub core: usize,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Its connection table, to read.
    pub conns: Arc<ConnTable>,
    /// Frames for it to send.
    pub inbox: Inbox,
    /// Frames it has for the host, and those of the host it sends; empty for ever if there is none.
    pub host: (HostQueue, HostQueue),
    /// Cycles per second of its time-stamp counter.
    pub tsc_hz: u64,
}

/// The running workers.
pub struct Crew {
    /// By worker index.
    pub handles: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// The thread itself.
    #[error("worker thread for core {core}: {source}")]
    Spawn {
        /// Its core.
        core: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Pinning or registering it.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Its table.
    #[error(transparent)]
    Conns(#[from] ConnError),
    /// It ended before it began.
    #[error("the worker on core {0} ended while it started")]
    Lost(usize),
}

/// Starts a worker on each core. The workers forward as soon as this returns.
pub fn start(
    eal: &Eal,
    pool: &Mempool,
    cores: &[usize],
    shares: Vec<(Vec<Input>, Vec<Output>)>,
    readers: impl FnMut() -> Reader<Snapshot>,
    setup: &CrewSetup,
) -> Result<Crew, CrewError> {
    let mut readers = readers;
    let hz = dpdk::thread::tsc_hz(eal);
    let clock = TscClock::new(dpdk::thread::tsc(), hz);
    let mut crew = Crew {
        handles: Vec::new(),
        threads: Vec::new(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    for (&core, (inputs, outputs)) in cores.iter().zip(shares) {
        let (ready, started) = mpsc::channel();
        let reader = readers();
        let (setup, eal, pool) = (setup.clone(), eal.clone(), pool.clone());
        let stop = Arc::clone(&crew.stop);
        let body = move || {
            let _abort = AbortOnPanic;
            let begin = || {
                dpdk::thread::pin(core)?;
                let registration = dpdk::thread::register(&eal)?;
                let conns = ConnOwner::new(&setup.conns)?;
                Ok::<_, CrewError>((registration, conns))
            };
            let (registration, conns) = match begin() {
                Ok(begun) => begun,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let handle = WorkerHandle {
                core,
                counters: Arc::new(Counters::new(setup.backends)),
                conns: Arc::clone(conns.table()),
                inbox: Arc::new(ArrayQueue::new(INBOX_FRAMES)),
                host: (host::queue(), host::queue()),
                tsc_hz: hz,
            };
            let counters = Arc::clone(&handle.counters);
            let mut worker = Worker {
                inputs,
                outputs,
                pipeline: Pipeline::new(conns, Arc::clone(&counters), setup.shared, setup.hash_key),
                reader,
                inbox: Arc::clone(&handle.inbox),
                pool,
                host: match &handle.host {
                    _ if !setup.host => HostEnd::Absent,
                    (to, from) => HostEnd::open(Arc::clone(to), Arc::clone(from)),
                },
                hold: Hold::new(),
                early: EarlyFragments::with_capacity(setup.early),
                idle: Idle::new(setup.idle),
                clock: Clock::Tsc(clock),
                counters,
            };
            if ready.send(Ok(handle)).is_ok() {
                worker.run(&stop);
            }
            // Buffers and queues go back while the thread is still DPDK's.
            drop(worker);
            drop(registration);
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{core}"))
            .spawn(body)
            .map_err(|source| CrewError::Spawn { core, source })?;
        crew.threads.push(thread);
        let handle = started.recv().map_err(|_| CrewError::Lost(core))??;
        crew.handles.push(handle);
    }
    let tables = crew.handles.iter().map(|h| Arc::clone(&h.conns)).collect();
    // Set once per rail: a second crew over the same state would be a bug, and keeps the first's.
    let _ = setup.shared.tables.set(tables);
    Ok(crew)
}

/// Stops the workers and waits until each has finished what it received.
impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A worker that panicked has aborted the process before.
            let _ = thread.join();
        }
    }
}

/// A dead worker would blackhole the flows of its queues; a dead process lets the router's ECMP take
/// over.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
