//! The part of a snapshot that concerns other rails: names to slots, addresses to tunnels.

use std::net::IpAddr;
use std::sync::Arc;

use crate::pool::{Config, Ingress, Mtu, Name};
use crate::table::HashKey;
use crate::table::maglev::{Maglev, TableSize, TooManyBackends};
use crate::table::peers::{Peers, ProbeKey, RailView, Rails, TROMBONE_KEY, Ways};
use crate::table::service::ServiceIndex;
use crate::table::snapshot::{Backend, BackendState, Delivery};
use crate::table::template::{Template, Tunnel};

use super::compile::{CompileError, Hops, LinkAddresses, own_source};

/// The Maglev tables over rails, built anew only when they change.
#[derive(Debug, Default)]
pub struct RailTables {
    peers: Option<Cached>,
    remotes: Option<Cached>,
}

#[derive(Debug)]
struct Cached {
    hash_key: HashKey,
    size: TableSize,
    weights: Vec<(Name, u32)>,
    maglev: Arc<Maglev>,
}

/// A rail to be compiled; `None` for this one.
struct Member<'a> {
    name: &'a Name,
    address: Option<IpAddr>,
    alive: bool,
}

/// Compiles what packets need to know of other rails.
pub(super) fn peers<L: LinkAddresses>(
    config: &Config,
    hops: &mut Hops<'_, L>,
    tables: &mut RailTables,
) -> Result<Peers, CompileError> {
    let pool = &config.pool;
    let alive = hops.neighbors();
    let others = config.other_peers().map(|peer| Member {
        name: &peer.name,
        address: Some(peer.address),
        alive: alive.rail_alive(peer.address),
    });
    // This rail owns its share whether the list has it or not.
    let own = Member {
        name: &config.node.name,
        address: None,
        alive: true,
    };
    let mut members: Vec<_> = others.chain([own]).collect();
    let remotes = pool.remotes.iter().map(|remote| Member {
        name: &remote.name,
        address: Some(remote.address),
        alive: alive.rail_alive(remote.address),
    });
    let mut remotes: Vec<_> = remotes.collect();
    let mut compile = |members: &mut [Member<'_>], key, cached: &mut Option<Cached>| {
        members.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        let maglev = table(config, members, cached).map_err(CompileError::TooManyRails)?;
        let list = members.iter().map(|member| {
            let address = member.address?;
            Some(view(config, hops, member, address, key))
        });
        Ok::<_, CompileError>(Rails {
            list: list.collect(),
            maglev,
        })
    };
    Ok(Peers {
        key: pool.peer_key,
        peers: match members.len() {
            1 => None,
            _ => Some(compile(&mut members, pool.peer_key, &mut tables.peers)?),
        },
        remotes: match remotes.len() {
            0 => None,
            _ => {
                let key = Some(TROMBONE_KEY);
                Some(compile(&mut remotes, key, &mut tables.remotes)?)
            }
        },
        mirror: pool.ingress == Ingress::Mirror,
        probe_key: ProbeKey::of_pool(&pool.hash_key, pool.peer_key),
    })
}

/// Equal shares for the live ones, nothing for the others, so that an index means the same rail.
fn table(
    config: &Config,
    members: &[Member<'_>],
    cached: &mut Option<Cached>,
) -> Result<Arc<Maglev>, TooManyBackends> {
    let (hash_key, size) = (config.pool.hash_key, config.pool.table_size);
    let weights: Vec<_> = members
        .iter()
        .map(|member| (member.name.clone(), u32::from(member.alive)))
        .collect();
    if let Some(cached) = cached
        && cached.hash_key == hash_key
        && cached.size == size
        && cached.weights == weights
    {
        return Ok(Arc::clone(&cached.maglev));
    }
    let names: Vec<_> = weights
        .iter()
        .map(|(name, weight)| (name.as_str(), *weight))
        .collect();
    let maglev = Arc::new(Maglev::build(size, &hash_key, &names)?);
    *cached = Some(Cached {
        hash_key,
        size,
        weights,
        maglev: Arc::clone(&maglev),
    });
    Ok(maglev)
}

fn view<L: LinkAddresses>(
    config: &Config,
    hops: &mut Hops<'_, L>,
    member: &Member<'_>,
    address: IpAddr,
    key: Option<u32>,
) -> RailView {
    let mut source = None;
    let mut way = |v6_inside| {
        let (backend, from) = way(config, hops, address, key, v6_inside)?;
        source = Some(from);
        Some(backend)
    };
    let ways = Ways {
        v4: way(false),
        v6: way(true),
    };
    RailView {
        name: member.name.as_str().into(),
        address,
        source,
        alive: member.alive,
        ways,
    }
}

/// The tunnel to another rail, and its source: the address that rail knows us by.
fn way<L: LinkAddresses>(
    config: &Config,
    hops: &mut Hops<'_, L>,
    address: IpAddr,
    key: Option<u32>,
    v6_inside: bool,
) -> Option<(Backend, IpAddr)> {
    let (hop, via_gateway) = hops.way(address)?;
    let way = hops.get(hop)?.clone();
    let port = config.ports.get(usize::from(way.port.0))?;
    let peers = config.pool.peers.iter();
    let listed = peers
        .filter(|peer| peer.name == config.node.name)
        .map(|peer| peer.address)
        .find(|own| own.is_ipv6() == address.is_ipv6());
    let source = listed.or_else(|| own_source(config, port, address.is_ipv6()))?;
    let template = Template::new(way.link, source, address, Tunnel::Gre { key }, v6_inside)?;
    // RFC 8200, section 5: an IPv6 sender is never told less than 1280.
    let least = if v6_inside {
        Mtu::MIN_IPV6 + template.overhead()
    } else {
        0
    };
    let known = hops.neighbors().path_mtu(address);
    let mtu = port
        .mtu
        .get()
        .min(known.map_or(u16::MAX, |known| known.max(least)));
    let detours = via_gateway && config.ports.len() > 1;
    let backend = Backend {
        service: ServiceIndex::NONE,
        state: BackendState::Up,
        hop,
        egress: way.resolved.then_some(way.port),
        detours,
        mtu,
        delivery: Delivery::Tunnel,
        template,
    };
    Some((backend, source))
}
