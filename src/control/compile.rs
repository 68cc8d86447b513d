//! From the configuration to the snapshot workers read.

use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use crate::pool::{Config, Draft, Encap, Mtu, Name, Pool, Service as PoolService, State};
use crate::table::conn::{TimeoutError, TimeoutSettings, Timeouts};
use crate::table::maglev::{Maglev, TooManyBackends};
use crate::table::service::{ServiceIndex, ServiceKey, ServiceMap};
use crate::table::shortcuts::Shortcuts;
use crate::table::snapshot::{
    Backend, BackendState, Delivery, EarlyLimits, Hop, HopIndex, PortIndex, Rates, Service,
    Snapshot,
};
use crate::table::template::{LinkHeader, Template, Tunnel};

use super::ids::{BackendIds, NoFreeId};
use super::own::{broadcasts, entropy, limit, local_addresses, port_views, prefix, salt};
pub use super::tables::{Builds, TableCache};
use super::ways;

/// Answers which link address a next hop has, if it is known.
pub trait LinkAddresses {
    /// The link address of `address`.
    fn mac(&self, address: IpAddr) -> Option<[u8; 6]>;

    /// The MTU of the path to a backend, if it is known to be smaller than configured.
    fn path_mtu(&self, _address: IpAddr) -> Option<u16> {
        None
    }

    /// Whether a draining backend keeps nothing any more, as its deadline has passed.
    fn drain_is_over(&self, _service: &Name, _backend: &Name) -> bool {
        false
    }

    /// Whether the rail at `address` is alive. Where nobody asks, every one is.
    fn rail_alive(&self, _address: IpAddr) -> bool {
        true
    }
}

/// Why a valid configuration cannot become a snapshot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompileError {
    /// All backend ids are taken.
    #[error(transparent)]
    NoFreeId(#[from] NoFreeId),
    /// One service has more backends than a slot can name.
    #[error("service \"{0}\" has {1}")]
    TooManyBackends(Name, TooManyBackends),
    /// More rails than a slot can name.
    #[error("too many rails to share fragments between: {0}")]
    TooManyRails(TooManyBackends),
    /// A timeout that the connection table cannot express.
    #[error(transparent)]
    Timeout(#[from] TimeoutError),
}

/// Builds the Maglev table of a service over all its backends in name order. Backends that take no
/// new connections have weight zero, so an index means the same backend whatever its state.
pub fn maglev(pool: &Draft, service: &PoolService) -> Result<Maglev, CompileError> {
    let weights: Vec<_> = by_name(service)
        .into_iter()
        .map(|backend| (backend.name.as_str(), weight(backend)))
        .collect();
    Maglev::build(pool.table_size, &pool.hash_key, &weights)
        .map_err(|e| CompileError::TooManyBackends(service.name.clone(), e))
}

/// A backend's weight in its service's table.
pub(super) fn weight(backend: &crate::pool::Backend) -> u32 {
    match backend.state {
        State::Up => backend.weight.get().into(),
        State::Drain | State::Down => 0,
    }
}

/// The backends of a service in byte order of their names: the order Maglev slots index.
pub fn by_name(service: &PoolService) -> Vec<&crate::pool::Backend> {
    let mut backends: Vec<_> = service.backends.iter().collect();
    backends.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    backends
}

/// The services of a pool, each with its backends [`by_name`].
pub fn in_order(pool: &Pool) -> Vec<(&PoolService, Vec<&crate::pool::Backend>)> {
    let services = pool.services.iter();
    services
        .map(|service| (service, by_name(service)))
        .collect()
}

/// Which service of the pool a packet is for; a service's index is its place in the pool.
pub fn service_map(pool: &Pool) -> ServiceMap {
    let keys: Vec<_> = pool.services.iter().map(service_key).collect();
    ServiceMap::new(&keys)
}

/// Compiles `config` into a snapshot. Services of `previous` whose table cannot have changed lend it
/// to the new one.
pub fn compile(
    config: &Config,
    macs: &[[u8; 6]],
    ids: &mut BackendIds,
    neighbors: &impl LinkAddresses,
    previous: Option<&Snapshot>,
    tables: &mut TableCache,
) -> Result<Snapshot, CompileError> {
    let ordered = in_order(&config.pool);
    ids.assign(&ordered)?;
    let maglevs = tables.update(&config.pool, &ordered)?;
    let as_many = previous.map_or(0, |previous| previous.hops.len());
    let mut hops = Hops::new(config, macs, neighbors, as_many);
    let mut backends = vec![None; ids.places()];
    let mut services = Vec::with_capacity(config.pool.services.len());
    for ((service, members), maglev) in ordered.into_iter().zip(maglevs) {
        let index = ServiceIndex(services.len() as u16);
        let ids = ids.of(&service.name).ok_or(NoFreeId)?.ids();
        for (backend, id) in members.into_iter().zip(ids.iter()) {
            backends[id.index()] = hops.backend(config, index, service, backend);
        }
        services.push(Service {
            name: service.name.as_str().into(),
            maglev,
            backends: Arc::clone(ids),
            source_affinity: service.affinity == crate::pool::Affinity::Source,
            tracked: service.track,
            salt: salt(&service.name),
            limit: limit(service, index, previous),
        });
    }
    let gateways = hops.live_gateways(config);
    let peers = ways::peers(config, &mut hops, &mut tables.rails)?;
    let map = service_map(&config.pool);
    Ok(Snapshot {
        keeps_tags: config.ports.iter().any(|port| port.keep_tags),
        entropy: entropy(config),
        generation: previous.map_or(1, |p| p.generation + 1),
        hash_key: config.pool.hash_key,
        ports: port_views(config, macs, &gateways),
        local: local_addresses(config, macs),
        broadcasts: broadcasts(config),
        accept: config.tunnel_accept().iter().map(|p| prefix(*p)).collect(),
        shortcuts: Shortcuts::new(&map, &config.pool.hash_key, &services, &backends),
        map,
        services: services.into(),
        backends: backends.into(),
        hops: hops.list.into(),
        timeouts: timeouts(config)?,
        rates: Rates {
            new_pins_per_second: config.limits.new_pins_per_second,
            icmp_per_second: config.limits.icmp_per_second,
            host_per_second: config.limits.host_per_second,
        },
        early: EarlyLimits {
            count: config.limits.held_fragments as usize,
            bytes: config.limits.held_fragment_bytes as usize,
            time: config.limits.held_fragment_time,
        },
        peers,
    })
}

fn service_key(service: &PoolService) -> ServiceKey {
    ServiceKey {
        vip: service.vip.address(),
        prefix: service.vip.prefix_len(),
        protocol: service.protocol.number(),
        ports: service.ports.bounds(),
    }
}

fn timeouts(config: &Config) -> Result<Timeouts, CompileError> {
    let t = &config.timeouts;
    Ok(Timeouts::new(&TimeoutSettings {
        tcp: t.tcp,
        udp: t.udp,
        closing: t.closing,
        embryonic: t.embryonic,
        min_idle: t.min_idle,
    })?)
}

/// The next hops of one snapshot, found while its backends are compiled.
pub(super) struct Hops<'a, L> {
    config: &'a Config,
    macs: &'a [[u8; 6]],
    neighbors: &'a L,
    list: Vec<Hop>,
    known: foldhash::HashMap<(IpAddr, usize), HopIndex>,
    /// The way to what is on no link, for IPv4 and IPv6, once one was asked for.
    away: [Option<Option<HopIndex>>; 2],
}

impl<'a, L: LinkAddresses> Hops<'a, L> {
    /// No hops yet, with room for as many as there were before.
    fn new(config: &'a Config, macs: &'a [[u8; 6]], neighbors: &'a L, room: usize) -> Self {
        Hops {
            config,
            macs,
            neighbors,
            list: Vec::with_capacity(room),
            known: foldhash::HashMap::with_capacity_and_hasher(room, Default::default()),
            away: [None; 2],
        }
    }

    /// What is known of stations and rails.
    pub(super) fn neighbors(&self) -> &'a L {
        self.neighbors
    }

    /// A next hop found before.
    pub(super) fn get(&self, hop: HopIndex) -> Option<&Hop> {
        self.list.get(hop.0 as usize)
    }

    fn hop(&mut self, address: IpAddr, port: usize) -> HopIndex {
        let index = PortIndex(port as u8);
        let hop = HopIndex(self.list.len() as u32);
        match self.known.entry((address, port)) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(place) => place.insert(hop),
        };
        let mac = self.neighbors.mac(address);
        self.list.push(Hop {
            address,
            port: index,
            link: LinkHeader {
                destination: mac.unwrap_or_default(),
                source: self.macs.get(port).copied().unwrap_or_default(),
                vlan: self
                    .config
                    .ports
                    .get(port)
                    .and_then(|p| p.vlan)
                    .map(|v| v.get()),
                outer_vlan: self
                    .config
                    .ports
                    .get(port)
                    .and_then(|p| p.outer_vlan)
                    .map(|v| v.get()),
            },
            resolved: mac.is_some(),
        });
        hop
    }

    /// The way to `address`: on the link of a port, else the first live gateway of its family, else
    /// the first gateway at all.
    pub(super) fn way(&mut self, address: IpAddr) -> Option<(HopIndex, bool)> {
        if let Some((port, _)) = self.config.port_on_link(address) {
            return Some((self.hop(address, port), false));
        }
        let family = usize::from(address.is_ipv6());
        let away = match self.away[family] {
            Some(away) => away,
            None => self.gateway(address.is_ipv6()),
        };
        self.away[family] = Some(away);
        away.map(|hop| (hop, true))
    }

    fn gateway(&mut self, v6: bool) -> Option<HopIndex> {
        let all: Vec<_> = gateways(self.config)
            .filter(|(_, g)| g.is_ipv6() == v6)
            .collect();
        let live = all.iter().find(|(_, g)| self.neighbors.mac(*g).is_some());
        let &(port, gateway) = live.or(all.first())?;
        Some(self.hop(gateway, port))
    }

    fn live_gateways(&mut self, config: &Config) -> Vec<Option<HopIndex>> {
        let all: Vec<_> = gateways(config).collect();
        (0..config.ports.len())
            .map(|port| {
                let live = all
                    .iter()
                    .find(|(p, g)| *p == port && self.neighbors.mac(*g).is_some());
                live.map(|&(port, gateway)| self.hop(gateway, port))
            })
            .collect()
    }

    fn backend(
        &mut self,
        config: &Config,
        index: ServiceIndex,
        service: &PoolService,
        backend: &crate::pool::Backend,
    ) -> Option<Backend> {
        let (hop, via_gateway) = self.way(backend.address)?;
        let way = &self.list[hop.0 as usize];
        let port = config.ports.get(usize::from(way.port.0))?;
        let v6_inside = !service.vip.is_ipv4();
        let source = tunnel_source(config, port, backend.address.is_ipv6());
        let tunnel = |tunnel| {
            let (source, host_bits) = source?;
            let template = Template::new(way.link, source, backend.address, tunnel, v6_inside)?;
            Some((Delivery::Tunnel, template.with_entropy(host_bits)))
        };
        let (delivery, template) = match service.encap {
            Encap::Gre { key } => tunnel(Tunnel::Gre { key })?,
            Encap::Ipip => tunnel(Tunnel::Ipip)?,
            Encap::Gue { port } => tunnel(Tunnel::Gue { port: port.get() })?,
            Encap::L3dsr { dscp } => (
                Delivery::L3dsr {
                    address: backend.address,
                    dscp: dscp.get(),
                },
                Template::link_only(way.link, v6_inside),
            ),
            Encap::L2dsr => (Delivery::L2dsr, Template::link_only(way.link, v6_inside)),
        };
        let configured = backend
            .mtu
            .map_or(port.mtu.get(), |m| m.get().min(port.mtu.get()));
        let over = || self.neighbors.drain_is_over(&service.name, &backend.name);
        let known = self.neighbors.path_mtu(backend.address);
        let mtu = known
            .filter(|_| delivery == Delivery::Tunnel)
            .map_or(configured, |known| {
                // RFC 8200, section 5: an IPv6 sender is never told less than 1280, so such a packet goes
                // on its way, whatever is said of that.
                let least = if v6_inside {
                    Mtu::MIN_IPV6 + template.overhead()
                } else {
                    0
                };
                configured.min(known.max(least))
            });
        let detours = via_gateway && config.ports.len() > 1;
        let state = match backend.state {
            State::Up => BackendState::Up,
            State::Drain if over() => BackendState::Down,
            State::Drain => BackendState::Drain,
            State::Down => BackendState::Down,
        };
        Some(Backend {
            service: index,
            state,
            hop,
            egress: way.resolved.then_some(way.port),
            detours,
            mtu,
            delivery,
            template,
        })
    }
}

/// Every gateway with the port it is behind, in configuration order.
pub fn gateways(config: &Config) -> impl Iterator<Item = (usize, IpAddr)> + '_ {
    let ports = config.ports.iter().enumerate();
    ports.flat_map(|(i, port)| port.gateways.iter().map(move |g| (i, *g)))
}

/// The outer source and how many of its last bits come from the flow hash: the configured prefix, else
/// the rail's own address.
fn tunnel_source(config: &Config, port: &crate::pool::Port, v6: bool) -> Option<(IpAddr, u8)> {
    let prefix = if v6 {
        config.tunnel.entropy_prefix6
    } else {
        config.tunnel.entropy_prefix
    };
    if let Some(prefix) = prefix {
        let bits = if v6 { 128 } else { 32 };
        return Some((prefix.address(), bits - prefix.prefix_len()));
    }
    own_source(config, port, v6).map(|source| (source, 0))
}

/// The rail's own address in outer headers: the configured one, else the leaving port's first address
/// of the family.
pub(super) fn own_source(config: &Config, port: &crate::pool::Port, v6: bool) -> Option<IpAddr> {
    let configured = if v6 {
        config.tunnel.source6.map(IpAddr::from)
    } else {
        config.tunnel.source.map(IpAddr::from)
    };
    configured.or_else(|| {
        let mut own = port.addresses.iter().map(|a| a.address());
        own.find(|a| a.is_ipv6() == v6)
    })
}
