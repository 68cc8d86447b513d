//! Which backend a flow goes to, by the configuration alone, and why. Asks the same tables in the
//! same order as the packet path.

use std::cell::OnceCell;
use std::net::IpAddr;

use super::compile::{CompileError, by_name, maglev, service_map};
use crate::pool::{Affinity, Backend, Config, Pool, Port, Service};
use crate::table::hash::{flow_hash_v4, flow_hash_v6, tuple3_hash_v4, tuple3_hash_v6};
use crate::table::maglev::{Maglev, TableSize};
use crate::table::service::ServiceMap;
use crate::table::{FlowHash, HashKey};
use crate::wire::IpProtocol;

/// One direction of a conversation, from client to service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    protocol: IpProtocol,
    addresses: Addresses,
    ports: (u16, u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addresses {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

/// Source and destination of a flow are not of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} and {1} are not both IPv4 or both IPv6")]
pub struct MixedFamilies(pub IpAddr, pub IpAddr);

impl Flow {
    /// A flow between two ends, each an address and a port. Ports count only for protocols that have
    /// them.
    pub fn new(
        protocol: IpProtocol,
        (source, source_port): (IpAddr, u16),
        (destination, destination_port): (IpAddr, u16),
    ) -> Result<Self, MixedFamilies> {
        let addresses = match (source, destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => Addresses::V4(s.octets(), d.octets()),
            (IpAddr::V6(s), IpAddr::V6(d)) => Addresses::V6(s.octets(), d.octets()),
            _ => return Err(MixedFamilies(source, destination)),
        };
        let ports = if protocol.has_ports() {
            (source_port, destination_port)
        } else {
            (0, 0)
        };
        Ok(Flow {
            protocol,
            addresses,
            ports,
        })
    }

    /// The protocol.
    pub fn protocol(&self) -> IpProtocol {
        self.protocol
    }

    /// Where its packets go to.
    pub fn destination(&self) -> IpAddr {
        match self.addresses {
            Addresses::V4(_, destination) => destination.into(),
            Addresses::V6(_, destination) => destination.into(),
        }
    }

    /// The hash that steers it.
    pub fn hash(&self, key: &HashKey, affinity: Affinity) -> FlowHash {
        let (protocol, (sport, dport)) = (self.protocol.0, self.ports);
        match (self.addresses, affinity) {
            (Addresses::V4(s, d), Affinity::Flow) => {
                flow_hash_v4(key, protocol, s, d, sport, dport)
            }
            (Addresses::V6(s, d), Affinity::Flow) => {
                flow_hash_v6(key, protocol, s, d, sport, dport)
            }
            (Addresses::V4(s, d), Affinity::Source) => tuple3_hash_v4(key, protocol, s, d),
            (Addresses::V6(s, d), Affinity::Source) => tuple3_hash_v6(key, protocol, s, d),
        }
    }
}

/// Where a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To a backend.
    Backend(Choice<'a>, &'a Backend),
    /// To a service without a backend that takes new flows.
    NoBackend(Choice<'a>),
    /// To a VIP that has no service for this protocol and port.
    NoService,
    /// To an address of the rail itself, or to everybody, so to its host.
    Host,
    /// To an address that is neither a VIP nor the rail's.
    NotOurs,
}

/// Multicast of both families, and IPv4's limited broadcast.
fn is_for_all(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}

/// How a service chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The service.
    pub service: &'a Service,
    /// The flow's hash: of the 5-tuple, or of the 3-tuple with source affinity.
    pub hash: FlowHash,
    /// Its slot in the Maglev table.
    pub slot: u32,
    /// The size of that table.
    pub size: TableSize,
}

/// Answers for one configuration. A service's table is built when the first flow asks for it.
#[derive(Debug)]
pub struct Tracer<'a> {
    pool: &'a Pool,
    ports: &'a [Port],
    map: ServiceMap,
    tables: Vec<OnceCell<Table<'a>>>,
}

#[derive(Debug)]
struct Table<'a> {
    maglev: Maglev,
    backends: Vec<&'a Backend>,
}

impl<'a> Tracer<'a> {
    /// A tracer for all services of `config`.
    pub fn new(config: &'a Config) -> Self {
        Self::of_pool(&config.pool, &config.ports)
    }

    /// A tracer for the services of a pool, on a rail with these ports; without any, which addresses are the
    /// rail's own is not known.
    pub fn of_pool(pool: &'a Pool, ports: &'a [Port]) -> Self {
        Tracer {
            pool,
            ports,
            map: service_map(pool),
            tables: pool.services.iter().map(|_| OnceCell::new()).collect(),
        }
    }

    /// Where the packets of `flow` go as long as nothing is pinned.
    pub fn trace(&self, flow: &Flow) -> Result<Answer<'a>, CompileError> {
        let (pool, destination) = (self.pool, flow.destination());
        let found = self
            .map
            .lookup(destination.into(), flow.protocol.0, flow.ports.1);
        let Some(index) = found.map(|index| usize::from(index.0)) else {
            let mut own = self.ports.iter().flat_map(|port| &port.addresses);
            return Ok(if self.map.is_vip(destination.into()) {
                Answer::NoService
            } else if is_for_all(destination)
                || own.any(|own| {
                    own.address() == destination
                        || own
                            .broadcast()
                            .is_some_and(|all| IpAddr::V4(all) == destination)
                })
            {
                Answer::Host
            } else {
                Answer::NotOurs
            });
        };
        let service = &pool.services[index];
        let table = self.table(index)?;
        let hash = flow.hash(&pool.hash_key, service.affinity);
        let size = table.maglev.size();
        let choice = Choice {
            service,
            hash,
            slot: hash.slot(size.get()),
            size,
        };
        let backend = table.maglev.slot(choice.slot);
        Ok(
            match backend.and_then(|b| table.backends.get(usize::from(b))) {
                Some(backend) => Answer::Backend(choice, backend),
                None => Answer::NoBackend(choice),
            },
        )
    }

    fn table(&self, index: usize) -> Result<&Table<'a>, CompileError> {
        let place = &self.tables[index];
        if let Some(table) = place.get() {
            return Ok(table);
        }
        let service = &self.pool.services[index];
        let table = Table {
            maglev: maglev(self.pool, service)?,
            backends: by_name(service),
        };
        Ok(place.get_or_init(|| table))
    }
}
