//! A rail without ports, threads or a clock: a configuration compiled as the control core compiles it,
//! and one worker's packet path over it, driven frame by frame.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::control::compile::{LinkAddresses, TableCache, compile};
use crate::control::ids::{BackendIds, BackendName};
use crate::pipeline::shared::Shared;
use crate::pipeline::verdict::Verdict;
use crate::pipeline::{Pipeline, Stage};
use crate::pool::{Config, Environment, parse};
use crate::table::conn::{ConnOwner, ConnSettings, ConnTable};
use crate::table::counters::{Counters, DropReason};
use crate::table::hash::BURST;
use crate::table::news::{Heard, HeardProbes, News, Sighting};
use crate::table::path::{PathError, PathNews};
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::table::{BackendId, Nanos};
use crate::wire::MacAddr;

use super::{Frame, RAIL_MAC};

/// Link address of every next hop unless a test says otherwise.
pub const NEXT_HOP_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
/// Backend ids that are counted: more than any test gives out.
const COUNTED_IDS: usize = 4096;

/// One worker of a rail, at a time that a test sets.
pub struct Rail {
    config: Config,
    ids: BackendIds,
    /// Every id ever given out; none is given out twice here.
    names: BTreeMap<BackendId, String>,
    tables: TableCache,
    hops: Hops,
    snapshot: Arc<Snapshot>,
    pipeline: Pipeline,
    counters: Arc<Counters>,
    conns: Arc<ConnTable>,
    news: News,
    heard: HeardProbes,
    paths: PathNews,
    now: Nanos,
    shown: BTreeMap<String, u64>,
}

/// What is known of next hops: what tests told, and [`NEXT_HOP_MAC`] for the rest. Other rails are
/// alive unless a test says otherwise.
#[derive(Default)]
struct Hops {
    macs: HashMap<IpAddr, Option<MacAddr>>,
    dead: HashSet<IpAddr>,
    paths: HashMap<IpAddr, u16>,
}

impl LinkAddresses for Hops {
    fn mac(&self, address: IpAddr) -> Option<[u8; 6]> {
        let told = self.macs.get(&address).copied();
        told.unwrap_or(Some(NEXT_HOP_MAC)).map(MacAddr::octets)
    }

    fn path_mtu(&self, address: IpAddr) -> Option<u16> {
        self.paths.get(&address).copied()
    }

    fn rail_alive(&self, address: IpAddr) -> bool {
        !self.dead.contains(&address)
    }
}

/// Reads a configuration that a test is sure of.
#[track_caller]
pub fn read(config: &str) -> Config {
    match parse(config, "test.toml", &Environment::any()) {
        Ok((config, _)) => config,
        Err(found) => {
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            panic!("{}", found.join("\n"))
        }
    }
}

/// Our link address on a port: [`RAIL_MAC`] on the first one, then counting up.
pub fn port_mac(port: usize) -> MacAddr {
    let mut octets = RAIL_MAC.octets();
    octets[5] += port as u8;
    MacAddr(octets)
}

impl Rail {
    /// A rail with this configuration, the text of a whole file. Panics if `rail check` would object.
    #[track_caller]
    pub fn new(config: &str) -> Self {
        Rail::crew(config, 1).remove(0)
    }

    /// So many workers of one rail. Each is told of everything apart, in the same order as the others.
    #[track_caller]
    pub fn crew(config: &str, workers: usize) -> Vec<Self> {
        Rail::crew_of(read(config), workers)
    }

    /// The same of a configuration that was read before.
    pub fn crew_of(config: Config, workers: usize) -> Vec<Self> {
        let limits = &config.limits;
        let news: News = Arc::new(ArrayQueue::new(BURST));
        let fragments = limits.fragments as usize;
        let shared =
            Shared::new(fragments, limits.fragment_time, news).expect("memory for a small table");
        let crew: Vec<_> = (0..workers)
            .map(|_| Rail::worker(config.clone(), shared.clone()))
            .collect();
        let tables = crew.iter().map(|rail| Arc::clone(&rail.conns)).collect();
        let set = shared.tables.set(tables);
        set.expect("nobody set them before");
        crew
    }

    fn worker(config: Config, shared: Shared) -> Self {
        let (mut ids, mut tables, hops) = Default::default();
        let snapshot = compiled(&config, &mut ids, &hops, None, &mut tables);
        let conns = ConnOwner::new(&ConnSettings {
            flows: config.node.flows,
            timeouts: snapshot.timeouts,
            new_pins_per_second: snapshot.rates.new_pins_per_second,
        })
        .expect("memory for a small table");
        let counters = Arc::new(Counters::new(COUNTED_IDS));
        Rail {
            names: names(&ids),
            ids,
            tables,
            hops,
            snapshot,
            conns: Arc::clone(conns.table()),
            news: Arc::clone(&shared.news),
            heard: Arc::clone(&shared.heard),
            paths: Arc::clone(&shared.paths),
            pipeline: Pipeline::new(conns, Arc::clone(&counters), shared, config.pool.hash_key),
            config,
            counters,
            now: Nanos(0),
            shown: BTreeMap::new(),
        }
    }

    /// Publishes a snapshot of another configuration.
    #[track_caller]
    pub fn reload(&mut self, config: &str) {
        self.reload_with(read(config));
    }

    /// The same of a configuration that was read before.
    pub fn reload_with(&mut self, config: Config) {
        self.config = config;
        self.publish();
    }

    /// The next hop has this link address.
    pub fn resolve(&mut self, hop: &str, mac: MacAddr) {
        self.hops.macs.insert(address(hop), Some(mac));
        self.publish();
    }

    /// The next hop's link address is not known.
    pub fn unresolve(&mut self, hop: &str) {
        self.hops.macs.insert(address(hop), None);
        self.publish();
    }

    /// Another rail, by its address, is dead, or alive again.
    pub fn set_alive(&mut self, rail: &str, alive: bool) {
        if alive {
            self.hops.dead.remove(&address(rail));
        } else {
            self.hops.dead.insert(address(rail));
        }
        self.publish();
    }

    /// The path to the backend carries no more than this.
    pub fn path_mtu(&mut self, backend: &str, mtu: u16) {
        self.hops.paths.insert(address(backend), mtu);
        self.publish();
    }

    /// What the packet path has heard of its tunnels since the last call.
    pub fn path_errors(&self) -> Vec<PathError> {
        std::iter::from_fn(|| self.paths.pop()).collect()
    }

    /// Publishes a new snapshot of the same configuration.
    pub fn publish(&mut self) {
        self.snapshot = compiled(
            &self.config,
            &mut self.ids,
            &self.hops,
            Some(&self.snapshot),
            &mut self.tables,
        );
        self.names.extend(names(&self.ids));
    }

    /// Sets the time, in seconds since the start.
    pub fn at(&mut self, seconds: u64) {
        self.at_time(Nanos::from_secs(seconds));
    }

    /// Sets the time since the start.
    pub fn at_time(&mut self, now: Nanos) {
        self.now = now;
    }

    /// Receives one frame on the first port.
    pub fn receive(&mut self, frame: impl Into<Frame>) -> (Verdict, Frame) {
        self.receive_on(0, frame)
    }

    /// Receives one frame.
    pub fn receive_on(&mut self, port: u8, frame: impl Into<Frame>) -> (Verdict, Frame) {
        let mut frames = [frame.into()];
        let verdicts = self.receive_burst(port, &mut frames);
        let [frame] = frames;
        (verdicts[0], frame)
    }

    /// Receives a burst of at most 32 frames; one verdict for each.
    pub fn receive_burst(&mut self, port: u8, frames: &mut [Frame]) -> Vec<Verdict> {
        let mut stage = Stage::new();
        self.front(port, frames, &mut stage);
        self.finish(frames, &mut stage)
    }

    /// The first stage alone, under the snapshot of now.
    pub fn front(&mut self, port: u8, frames: &[Frame], stage: &mut Stage) {
        self.pipeline.advance(self.now);
        self.pipeline
            .front(&self.snapshot, PortIndex(port), frames, stage);
    }

    /// The second stage of a burst, under the snapshot of now.
    pub fn finish(&mut self, frames: &mut [Frame], stage: &mut Stage) -> Vec<Verdict> {
        let snapshot = &self.snapshot;
        let pipeline = &mut self.pipeline;
        let ways = pipeline.steer_burst(snapshot, frames, stage, None, self.now);
        let departed = self.pipeline.rewrite_burst(frames, stage, &ways);
        let mut verdicts = Vec::new();
        for (lane, frame) in frames.iter_mut().enumerate() {
            let place = (lane, &*stage, &ways);
            verdicts.push(self.pipeline.conclude(snapshot, frame, &departed, place));
        }
        let to_host = verdicts.iter().filter(|v| matches!(v, Verdict::Host(_)));
        // There is a host here that takes everything.
        self.counters.to_host.add(to_host.count() as u64);
        verdicts
    }

    /// The pieces that a packet with the verdict [`Verdict::Split`] leaves in.
    pub fn split(&mut self, frame: &Frame, verdict: Verdict) -> Vec<(Verdict, Frame)> {
        let Verdict::Split(id) = verdict else {
            panic!("{verdict:?} is not for a packet to be cut");
        };
        let mut pieces = Vec::new();
        let make = |bytes: &[u8]| Some(Frame::new(bytes));
        let sink = |piece, verdict| pieces.push((verdict, piece));
        self.pipeline
            .split(&self.snapshot, PortIndex(0), frame, id, make, sink);
        pieces
    }

    /// A frame that was held, once more.
    pub fn retry(&mut self, port: u8, frame: &mut Frame) -> Verdict {
        self.pipeline
            .once(&self.snapshot, PortIndex(port), frame, self.now)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The snapshot of now.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What the worker counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The id of a backend.
    pub fn id(&self, service: &str, backend: &str) -> Option<BackendId> {
        self.ids.get(&BackendName {
            service: service.parse().ok()?,
            backend: backend.parse().ok()?,
        })
    }

    /// Packets forwarded to all backends that ever were.
    pub fn forwarded(&self) -> u64 {
        let ids = self.names.keys();
        ids.filter_map(|id| Some(self.counters.backend(*id)?.packets.get()))
            .sum()
    }

    /// What was told to the control core since the last call.
    pub fn sightings(&mut self) -> Vec<Sighting> {
        std::iter::from_fn(|| self.news.pop()).collect()
    }

    /// The probes of other rails since the last call.
    pub fn probes(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.pop()).collect()
    }

    /// Every counter that moved since the last call, and by how much: drops by their label, packets
    /// forwarded by "SERVICE/BACKEND", the connection table's by their names.
    pub fn moved(&mut self) -> BTreeMap<String, u64> {
        let shown = self.count();
        let before = std::mem::replace(&mut self.shown, shown);
        let moved = self.shown.iter().map(|(name, value)| {
            let old = before.get(name).copied().unwrap_or(0);
            (name.clone(), value - old)
        });
        moved.filter(|(_, by)| *by != 0).collect()
    }

    fn count(&mut self) -> BTreeMap<String, u64> {
        // The table shows its counters when its clock moves on.
        self.pipeline.advance(self.now);
        let (counters, conns) = (&self.counters, self.conns.stats());
        let numbers = [
            ("to_host", counters.to_host.get()),
            ("replies", counters.replies.get()),
            ("generated", counters.generated.get()),
            ("held_total", counters.held_total.get()),
            ("to_peers", counters.to_peers.get()),
            ("from_peers", counters.from_peers.get()),
            ("kept", counters.kept.get()),
            ("to_remotes", counters.to_remotes.get()),
            ("unpinned", counters.unpinned.get()),
            ("hits", conns.hits),
            ("misses", conns.misses),
            ("inserts", conns.inserts),
            ("evictions", conns.evictions),
            ("expired", conns.expired),
            ("repins", conns.repins),
            ("full", conns.full),
            ("limited", conns.limited),
        ];
        let drops = DropReason::ALL
            .iter()
            .map(|reason| (reason.label().to_owned(), counters.drops(*reason)));
        let numbers = numbers.map(|(name, value)| (name.to_owned(), value));
        let mut all: BTreeMap<_, _> = numbers.into_iter().chain(drops).collect();
        for (id, name) in &self.names {
            let traffic = counters.backend(*id);
            let packets = traffic.map_or(0, |traffic| traffic.packets.get());
            *all.entry(name.clone()).or_default() += packets;
        }
        all
    }
}

/// Every backend as "SERVICE/BACKEND".
fn names(ids: &BackendIds) -> BTreeMap<BackendId, String> {
    ids.iter()
        .map(|(name, id)| (id, format!("{}/{}", name.service, name.backend)))
        .collect()
}

fn address(text: &str) -> IpAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no address"))
}

fn compiled(
    config: &Config,
    ids: &mut BackendIds,
    hops: &Hops,
    previous: Option<&Snapshot>,
    tables: &mut TableCache,
) -> Arc<Snapshot> {
    let macs: Vec<_> = (0..config.ports.len())
        .map(|port| port_mac(port).octets())
        .collect();
    let compiled = compile(config, &macs, ids, hops, previous, tables);
    Arc::new(compiled.expect("a checked configuration compiles"))
}
