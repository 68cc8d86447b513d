//! What `rail show` and the REST interface tell of a running rail.

use std::net::IpAddr;

use serde::Serialize;

use crate::control::ids::BackendName;
use crate::control::peering::{Known, Relation};
use crate::control::rail::Rail;
use crate::control::traffic::Forwarded;
use crate::pool::Service;
use crate::table::counters::{Counter, DropReason};
use crate::table::port::PortReport;

/// One service.
#[derive(Debug, Serialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Address or prefix.
    pub vip: String,
    /// `tcp`, `udp`, ... or `any`.
    pub protocol: String,
    /// `any`, a port or a range.
    pub ports: String,
    /// How packets are wrapped.
    pub encap: &'static str,
    /// Backends in all.
    pub backends: usize,
    /// Backends that take new connections.
    pub live: usize,
    /// Digest of the Maglev table the pool wants: the same on all its rails.
    pub desired: String,
    /// Digest of the Maglev table in use.
    pub effective: String,
    /// What was forwarded.
    #[serde(flatten)]
    pub forwarded: Forwarded,
}

/// One backend of one service.
#[derive(Debug, Serialize)]
pub struct BackendView {
    /// The service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// `up`, `drain` or `down`.
    pub state: &'static str,
    /// Configured weight.
    pub weight: u16,
    /// Slots it has now.
    pub slots: u32,
    /// Slots of the table.
    pub table: usize,
    /// The number its connections are pinned by.
    pub id: Option<u32>,
    /// What was forwarded.
    #[serde(flatten)]
    pub forwarded: Forwarded,
}

/// One worker.
#[derive(Debug, Serialize)]
pub struct WorkerView {
    /// Its index.
    pub worker: usize,
    /// Its core.
    pub core: usize,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets dropped, for all reasons.
    pub dropped: u64,
    /// Drops by reason, without zeros.
    pub drops: std::collections::BTreeMap<&'static str, u64>,
    /// Frames held now.
    pub held: u64,
    /// Connections in its table.
    pub connections: u64,
    /// Room in its table.
    pub capacity: usize,
    /// Lookups that found their connection.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Share of its time spent on packets, 0 to 1, since it started.
    pub busy: f64,
}

/// One next hop.
#[derive(Debug, Serialize)]
pub struct NeighborView {
    /// Its address.
    pub address: String,
    /// Its link address, if known.
    pub mac: Option<String>,
    /// `incomplete`, `reachable`, `refresh` or `static`.
    pub state: &'static str,
    /// Seconds until the link address must be confirmed.
    pub expires_in: Option<u64>,
}

/// One port.
#[derive(Debug, Serialize)]
pub struct PortView {
    /// Its name in the configuration.
    pub name: String,
    /// What it says of itself.
    #[serde(flatten)]
    pub report: PortReport,
}

/// A rail: this one, a peer or a remote.
#[derive(Debug, Serialize)]
pub struct PeerView {
    /// Its name.
    pub name: String,
    /// `self`, `peer` or `remote`.
    pub relation: &'static str,
    /// Where its tunnel ends, if the configuration says so.
    pub address: Option<String>,
    /// `alive`, `dead`, or `presumed`: a remote that has never answered.
    pub state: &'static str,
    /// Slots of the table that deals fragments to the rails of the pool; none for a remote.
    pub slots: Option<u32>,
    /// Whether its pool wants the `same` Maglev tables or `other` ones; nothing if it was not heard.
    pub tables: Option<&'static str>,
    /// Seconds since its last probe that counted.
    pub heard_ago: Option<f64>,
    /// Probes sent to it.
    pub probes_sent: u64,
    /// Probes of it that counted.
    pub probes_heard: u64,
    /// Probes of it that did not.
    pub probes_stale: u64,
    /// How often it missed three.
    pub deaths: u64,
}

/// The services, in the order of the configuration.
pub fn services(rail: &Rail) -> Vec<ServiceView> {
    let config = rail.config();
    let compiled = rail.snapshot().services.iter();
    let services = config.pool.services.iter().zip(compiled);
    services
        .map(|(service, compiled)| {
            let effective = compiled.maglev.digest();
            let desired = rail.desired_digest(&service.name).unwrap_or(effective);
            let shares = compiled.maglev.shares().iter();
            ServiceView {
                name: service.name.to_string(),
                vip: service.vip.to_string(),
                protocol: service.protocol.to_string(),
                ports: service.ports.to_string(),
                encap: service.encap.as_str(),
                backends: service.backends.len(),
                live: shares.filter(|s| **s > 0).count(),
                desired: desired.to_string(),
                effective: effective.to_string(),
                forwarded: rail.forwarded_by(service),
            }
        })
        .collect()
}

/// The backends of all services, in the order of their names.
pub fn backends(rail: &Rail) -> Vec<BackendView> {
    let compiled = rail.snapshot().services.iter();
    let services = rail.config().pool.services.iter().zip(compiled);
    services
        .flat_map(|(service, compiled)| backends_of(rail, service, &compiled.maglev))
        .collect()
}

fn backends_of(
    rail: &Rail,
    service: &Service,
    maglev: &crate::table::maglev::Maglev,
) -> Vec<BackendView> {
    let named = crate::control::compile::by_name(service).into_iter();
    named
        .zip(maglev.shares())
        .map(|(backend, &slots)| {
            let id = rail.id(&BackendName {
                service: service.name.clone(),
                backend: backend.name.clone(),
            });
            BackendView {
                service: service.name.to_string(),
                name: backend.name.to_string(),
                address: backend.address.to_string(),
                state: backend.state.as_str(),
                weight: backend.weight.get(),
                slots,
                table: maglev.size().get() as usize,
                id: id.map(|id| id.get()),
                forwarded: id.map(|id| rail.forwarded(id)).unwrap_or_default(),
            }
        })
        .collect()
}

/// The workers, by index.
pub fn workers(rail: &Rail) -> Vec<WorkerView> {
    let workers = rail.workers().iter().enumerate();
    workers
        .map(|(index, worker)| {
            let counters = &worker.counters;
            let stats = worker.conns.stats();
            let total = counters.total_cycles.get().max(1);
            WorkerView {
                worker: index,
                core: worker.core,
                rx_packets: counters.rx.packets.get(),
                tx_packets: counters.tx.packets.get(),
                dropped: counters.dropped(),
                drops: DropReason::ALL
                    .iter()
                    .map(|reason| (reason.label(), counters.drops(*reason)))
                    .filter(|(_, n)| *n > 0)
                    .collect(),
                held: counters.held.get(),
                connections: stats.occupancy,
                capacity: worker.conns.capacity(),
                hits: stats.hits,
                misses: stats.misses,
                busy: ratio(&counters.busy_cycles, total),
            }
        })
        .collect()
}

/// The next hops, in the order of their addresses.
pub fn neighbors(rail: &Rail) -> Vec<NeighborView> {
    let now = rail.now();
    let neighbors = rail.neighbors().iter();
    neighbors
        .map(|(address, neighbor)| NeighborView {
            address: address.to_string(),
            mac: neighbor.mac().map(|mac| mac.to_string()),
            state: neighbor.state(),
            expires_in: neighbor.until().map(|until| until.since(now).as_secs()),
        })
        .collect()
}

/// The ports, in the order of the configuration.
pub fn ports(rail: &Rail) -> Vec<PortView> {
    let ports = rail.config().ports.iter().zip(rail.ports());
    ports
        .map(|(port, report)| PortView {
            name: port.name.to_string(),
            report,
        })
        .collect()
}

/// The store, and how far the rail has come with it.
#[derive(Debug, Serialize)]
pub struct StoreView {
    /// Where it is.
    pub directory: String,
    /// The newest commit of `main` that the rail has looked at.
    pub head: Option<String>,
    /// The commit whose pool runs.
    pub running: String,
    /// Changes that are undone unless somebody confirms them.
    pub unconfirmed: usize,
    /// Why what runs is not the head, or what keeps other rails' changes out.
    pub problem: Option<String>,
}

/// The store, if there is one.
pub fn store(rail: &Rail) -> Vec<StoreView> {
    let following = rail.following().into_iter();
    following
        .map(|following| StoreView {
            directory: following.directory().display().to_string(),
            head: following.seen().map(|id| id.to_string()),
            running: following.running().to_string(),
            unconfirmed: following.unconfirmed().len(),
            problem: following.problem(),
        })
        .collect()
}

fn ratio(part: &Counter, whole: u64) -> f64 {
    part.get() as f64 / whole as f64
}

/// The rails of the pool in the order of their names, this one among them, then those elsewhere.
pub fn peers(rail: &Rail) -> Vec<PeerView> {
    let (config, peers) = (rail.config(), &rail.snapshot().peers);
    let known = |address| rail.peering().known().find(|(a, _)| *a == address);
    let own_name = &config.node.name;
    let own_address = config.pool.peers.iter().find(|p| p.name == *own_name);
    let mut views = Vec::new();
    if let Some(rails) = &peers.peers {
        for (view, slots) in rails.list.iter().zip(rails.maglev.shares()) {
            let view = match view {
                Some(view) => known(view.address).map(|(a, k)| other(rail, a, k)),
                None => Some(this(own_name.to_string(), own_address.map(|p| p.address))),
            };
            let slots = Some(*slots);
            views.extend(view.map(|view| PeerView { slots, ..view }));
        }
    }
    for view in peers.remotes.iter().flat_map(|rails| rails.others()) {
        views.extend(known(view.address).map(|(a, k)| other(rail, a, k)));
    }
    views
}

fn this(name: String, address: Option<IpAddr>) -> PeerView {
    PeerView {
        name,
        relation: "self",
        address: address.map(|address| address.to_string()),
        state: "alive",
        slots: None,
        tables: None,
        heard_ago: None,
        probes_sent: 0,
        probes_heard: 0,
        probes_stale: 0,
        deaths: 0,
    }
}

fn other(rail: &Rail, address: IpAddr, known: &Known) -> PeerView {
    let peer = known.relation == Relation::Peer;
    PeerView {
        name: known.name.clone(),
        relation: if peer { "peer" } else { "remote" },
        address: Some(address.to_string()),
        state: match (known.alive, known.is_usable()) {
            (true, _) => "alive",
            (false, true) => "presumed",
            (false, false) => "dead",
        },
        slots: None,
        tables: match rail.peering().mismatch(known) {
            true => Some("other"),
            false => (peer && known.alive).then_some("same"),
        },
        heard_ago: known.heard_at.map(|at| rail.now().since(at).as_secs_f64()),
        probes_sent: known.sent,
        probes_heard: known.counted,
        probes_stale: known.stale,
        deaths: known.deaths,
    }
}
