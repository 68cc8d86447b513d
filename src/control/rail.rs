//! A running rail as the control core sees it: the desired state, the tables made of it, and what is
//! told to and heard from the workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::pool::{Config, Name, Service};
use crate::store::ObjectId;
use crate::table::conn::ConnTable;
use crate::table::counters::Counters;
use crate::table::fragment::FragmentTable;
use crate::table::host::HostStats;
use crate::table::maglev::Digest;
use crate::table::neighbor::NeighborTable;
use crate::table::news::{HeardProbes, News};
use crate::table::port::PortReport;
use crate::table::publish::{Publisher, Reader};
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::table::{BackendId, IdSet, Nanos};

use super::announce::Announcer;
use super::compile::{Builds, CompileError, TableCache, compile};
use super::desired::follow::Following;
use super::health::Heartbeats;
use super::hops::{self, Known};
use super::ids::{BackendIds, BackendName};
use super::observed::Observed;
use super::offer::{ApplyError, needs_restart};
use super::peering::{Peering, digest_of};
use super::traffic::{Forwarded, Ledger};

/// What the control core needs of ports and workers, without knowing DPDK.
pub trait Hardware: Send {
    /// Has a worker send a frame; `false` if it cannot take one now.
    fn send(&self, port: PortIndex, frame: &[u8]) -> bool;

    /// What the ports say of themselves, by index.
    fn ports(&self) -> Vec<PortReport>;

    /// Name and version of what drives the ports, such as `DPDK 22.11.11`.
    fn driver(&self) -> String;

    /// What passes between ports and host, where there can be one.
    fn host(&self) -> Option<&HostStats> {
        None
    }
}

/// One worker, to look at.
#[derive(Debug, Clone)]
pub struct WorkerView {
    /// The core it is pinned to.
    pub core: usize,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Its connection table.
    pub conns: Arc<ConnTable>,
    /// Cycles per second of its time-stamp counter.
    pub tsc_hz: u64,
}

/// The control core's state, for the tasks of its one thread.
pub type SharedRail = Arc<Mutex<Rail>>;

/// A running rail.
pub struct Rail {
    pub(super) config: Config,
    pub(super) macs: Vec<[u8; 6]>,
    ids: BackendIds,
    tables: TableCache,
    neighbors: NeighborTable,
    pub(super) publisher: Publisher<Snapshot>,
    news: News,
    pub(super) hardware: Box<dyn Hardware>,
    workers: Vec<WorkerView>,
    fragments: Option<Arc<FragmentTable>>,
    next_sweep: Nanos,
    desired: HashMap<Name, Digest>,
    pub(super) peering: Peering,
    pub(super) observed: Observed,
    pub(super) heard: Option<HeardProbes>,
    /// The datagrams that went to rails elsewhere, to be swept.
    tromboned: Option<Arc<FragmentTable>>,
    heartbeats: Heartbeats,
    ready: bool,
    started: Instant,
    started_at: SystemTime,
    /// When tables are next scanned for ids that may be reused.
    next_scan: Nanos,
    ledger: Ledger,
    applies: Applies,
    pub(super) following: Option<Following>,
    pub(super) announcer: Announcer,
}

/// How often a configuration was offered to the running rail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Applies {
    /// Taken over.
    pub done: u64,
    /// Refused.
    pub refused: u64,
}

impl Rail {
    /// Compiles the first snapshot. The next hops are unknown but for the static ones.
    pub fn new(
        config: Config,
        macs: Vec<[u8; 6]>,
        news: News,
        hardware: Box<dyn Hardware>,
    ) -> Result<Self, CompileError> {
        let neighbors = hops::of(&config, &NeighborTable::default(), Nanos(0));
        let mut ids = BackendIds::default();
        let mut tables = TableCache::default();
        let mut peering = Peering::new(&config);
        let mut observed = Observed::default();
        observed.configure(&config, Nanos(0));
        let first = compile(
            &config,
            &macs,
            &mut ids,
            &Known(&neighbors, &peering, &observed),
            None,
            &mut tables,
        )?;
        let desired = tables.digests();
        peering.set_digest(digest_of(&desired));
        Ok(Rail {
            config,
            macs,
            ids,
            neighbors,
            publisher: Publisher::new(first),
            news,
            hardware,
            workers: Vec::new(),
            fragments: None,
            next_sweep: Nanos(0),
            desired,
            peering,
            observed,
            heard: None,
            tromboned: None,
            heartbeats: Heartbeats::default(),
            ready: false,
            tables,
            started: Instant::now(),
            started_at: SystemTime::now(),
            next_scan: Nanos(0),
            ledger: Ledger::default(),
            applies: Applies::default(),
            following: None,
            announcer: Announcer::default(),
        })
    }

    /// A reader of the snapshots, for a worker.
    pub fn reader(&self) -> Reader<Snapshot> {
        self.publisher.reader()
    }

    /// Makes the running workers known.
    pub fn attach(
        &mut self,
        workers: Vec<WorkerView>,
        fragments: Arc<FragmentTable>,
        hardware: Box<dyn Hardware>,
    ) {
        self.workers = workers;
        self.fragments = Some(fragments);
        self.hardware = hardware;
    }

    /// Makes known what the workers share of other rails: their probes, and the datagrams sent to them.
    pub fn listen(&mut self, heard: HeardProbes, tromboned: Arc<FragmentTable>) {
        self.heard = Some(heard);
        self.tromboned = Some(tromboned);
    }

    /// Replaces the configuration: compiles all of it, then swaps. On an error nothing has changed.
    pub fn apply(&mut self, config: Config) -> Result<(), ApplyError> {
        let outcome = self.try_apply(config);
        match outcome {
            Ok(()) => self.applies.done += 1,
            Err(_) => self.applies.refused += 1,
        }
        outcome
    }

    fn try_apply(&mut self, config: Config) -> Result<(), ApplyError> {
        if let Some(what) = needs_restart(&self.config, &config) {
            return Err(ApplyError::NeedsRestart(what));
        }
        let neighbors = hops::of(&config, &self.neighbors, self.now());
        let mut ids = self.ids.clone();
        let mut peering = self.peering.clone();
        let mut observed = self.observed.clone();
        observed.configure(&config, self.now());
        peering.configure(&config);
        let snapshot = compile(
            &config,
            &self.macs,
            &mut ids,
            &Known(&neighbors, &peering, &observed),
            Some(self.publisher.current()),
            &mut self.tables,
        )?;
        let workers = &self.workers;
        self.ledger
            .hand_over(&self.ids, &ids, |id| counted(workers, id));
        self.neighbors = neighbors;
        self.ids = ids;
        self.config = config;
        self.desired = self.tables.digests();
        self.peering = peering;
        self.observed = observed;
        self.peering.set_digest(digest_of(&self.desired));
        self.publisher.publish(snapshot);
        Ok(())
    }

    /// Keeps to a store from now on.
    pub fn keep_to(&mut self, following: Following) {
        self.following = Some(following);
    }

    /// The store, if there is one, and how far the rail has come with it.
    pub fn following(&self) -> Option<&Following> {
        self.following.as_ref()
    }

    /// Takes over what the store's `main` says, if that is new.
    pub fn follow(&mut self) {
        let Some(mut following) = self.following.take() else {
            return;
        };
        following.undo_overdue();
        match following.news() {
            Ok(None) => {}
            Ok(Some(head)) => {
                let outcome = self.take_over(&following, &head);
                match &outcome {
                    Ok(()) => tracing::info!(commit = %head, "the store's pool runs"),
                    Err(why) => {
                        tracing::error!(commit = %head, running = %following.running(), "cannot run the store's pool: {why}");
                    }
                }
                following.taken(head, outcome);
            }
            Err(error) => tracing::error!(%error, "cannot read the store"),
        }
        self.following = Some(following);
    }

    fn take_over(&mut self, following: &Following, head: &ObjectId) -> Result<(), String> {
        let config = following
            .with_pool_of(&self.config, head)
            .map_err(|error| error.to_string())??;
        if config == self.config {
            return Ok(());
        }
        self.apply(config).map_err(|error| error.to_string())
    }

    /// Counts an offer that did not even become a configuration.
    pub fn count_refused(&mut self) {
        self.applies.refused += 1;
    }

    /// The regular work: watches the workers, hears their news, asks for next hops, frees what nobody
    /// uses.
    pub fn tick(&mut self) {
        let now = self.now();
        let rounds = self.workers.iter().map(|w| w.counters.rounds.get());
        self.heartbeats.sample(now, rounds);
        let before = self.neighbors.generation();
        while let Some(seen) = self.news.pop() {
            hops::learn(&mut self.neighbors, &seen, now);
        }
        let (config, macs, hardware) = (&self.config, &self.macs, &self.hardware);
        self.neighbors.poll(now, |request| {
            hops::solicit(config, macs, hardware.as_ref(), request)
        });
        self.announce(now);
        let moved = self.meet(now) | self.observed.tick(&self.config, now);
        if moved || self.neighbors.generation() != before {
            self.republish();
        }
        if let Some(fragments) = &self.fragments
            && now >= self.next_sweep
        {
            self.next_sweep = now + SWEEP_PAUSE;
            let all = self.tromboned.iter().chain([fragments]);
            all.for_each(|table| table.sweep(now));
        }
        self.ready |= self.neighbors.iter().all(|(_, n)| hops::is_settled(n));
        if self.following.as_mut().is_some_and(|f| f.is_due(now)) {
            self.follow();
        }
        self.note(now);
        let quiescent = self.publisher.reclaim() == 0;
        if quiescent && now >= self.next_scan && self.ids.retired().next().is_some() {
            self.next_scan = now + SCAN_PAUSE;
            let mut named = IdSet::new();
            for worker in &self.workers {
                worker.conns.collect_ids(&mut named);
            }
            if let Some(fragments) = &self.fragments {
                fragments.collect_ids(&mut named);
            }
            self.ids.reclaim(&named);
        }
    }

    fn republish(&mut self) {
        let compiled = compile(
            &self.config,
            &self.macs,
            &mut self.ids,
            &Known(&self.neighbors, &self.peering, &self.observed),
            Some(self.publisher.current()),
            &mut self.tables,
        );
        match compiled {
            Ok(snapshot) => {
                self.publisher.publish(snapshot);
            }
            // The configuration compiled before, so only a bug can lead here; keep what works.
            Err(error) => tracing::error!(%error, "cannot compile the running configuration"),
        }
    }

    /// The time since start, on the control core's clock.
    pub fn now(&self) -> Nanos {
        Nanos(self.started.elapsed().as_nanos() as u64)
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        self.publisher.current()
    }

    /// The workers.
    pub fn workers(&self) -> &[WorkerView] {
        &self.workers
    }

    /// The ports.
    pub fn ports(&self) -> Vec<PortReport> {
        self.hardware.ports()
    }

    /// Name and version of what drives the ports.
    pub fn driver(&self) -> String {
        self.hardware.driver()
    }

    /// What passes between ports and host.
    pub fn host(&self) -> Option<&HostStats> {
        self.hardware.host()
    }

    /// When the rail started, by the machine's clock.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// When the workers were last seen working.
    pub fn heartbeats(&self) -> &Heartbeats {
        &self.heartbeats
    }

    /// The next hops and what is known of them.
    pub fn neighbors(&self) -> &NeighborTable {
        &self.neighbors
    }

    /// The other rails and what is known of them.
    pub fn peering(&self) -> &Peering {
        &self.peering
    }

    /// The id of a backend.
    pub fn id(&self, name: &BackendName) -> Option<BackendId> {
        self.ids.get(name)
    }

    /// All backends and their ids.
    pub fn backend_names(&self) -> impl Iterator<Item = (BackendName, BackendId)> {
        self.ids.iter()
    }

    /// What all workers forwarded to a backend since it has its id.
    pub fn forwarded(&self, id: BackendId) -> Forwarded {
        self.ledger.own(id, counted(&self.workers, id))
    }

    /// What all workers forwarded to the backends of a service since the service is there; those that
    /// have left it count too, but for what was on its way while they left.
    pub fn forwarded_by(&self, service: &Service) -> Forwarded {
        let mut sum = self.ledger.left(&service.name);
        for backend in &service.backends {
            let name = BackendName {
                service: service.name.clone(),
                backend: backend.name.clone(),
            };
            sum.add(
                self.id(&name)
                    .map(|id| self.forwarded(id))
                    .unwrap_or_default(),
            );
        }
        sum
    }

    /// What building Maglev tables has cost so far.
    pub fn builds(&self) -> Builds {
        self.tables.builds()
    }

    /// Configurations offered so far.
    pub fn applies(&self) -> Applies {
        self.applies
    }

    /// Digest of the table of a service's desired state, whatever this rail knows of its backends'
    /// health: equal on all rails of a pool.
    pub fn desired_digest(&self, service: &Name) -> Option<Digest> {
        self.desired.get(service).copied()
    }

    /// Since some tick every next hop has been known, or asked for often enough to count as absent: what
    /// can be forwarded is forwarded.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

/// Time between two scans of the connection tables: a scan reads all of them.
const SCAN_PAUSE: Duration = Duration::from_secs(10);

/// Time between two sweeps of the fragment memory.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);

/// What the workers have counted for an id since they run.
fn counted(workers: &[WorkerView], id: BackendId) -> Forwarded {
    let mut sum = Forwarded::default();
    for traffic in workers.iter().filter_map(|w| w.counters.backend(id)) {
        sum.add(Forwarded {
            packets: traffic.packets.get(),
            bytes: traffic.bytes.get(),
        });
    }
    sum
}
