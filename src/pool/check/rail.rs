//! Rules of one rail: its cores, its limits, and how it fits the pool.

use std::collections::HashMap;

use super::pool::no_branch;
use super::{packet_size, paths, ports};
use crate::pool::{
    Draft, Environment, Item, Limits, Node, Place, Port, StaticNeighbor, Timeouts, Tunnel,
    Violation,
};

/// The parts of a configuration before they are one.
pub struct Rail<'a> {
    /// `None` when `[node]` was bad; then rules about it are left out.
    pub node: Option<&'a Node>,
    /// The ports that could be read.
    pub ports: &'a [Port],
    /// Whether those are all. If not, rules that complain of an address no port has are left out.
    pub ports_complete: bool,
    /// All static neighbours.
    pub neighbors: &'a [StaticNeighbor],
    /// The rail's end of tunnels, with defaults filled in.
    pub tunnel: &'a Tunnel,
    /// Timeouts of the connection table.
    pub timeouts: &'a Timeouts,
    /// Bounds on what traffic can do.
    pub limits: &'a Limits,
    /// The pool, not necessarily valid.
    pub pool: &'a Draft,
    /// The machine.
    pub environment: &'a Environment,
}

/// Finds every rule that the rail's own part breaks.
pub fn rail(rail: &Rail<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(node) = rail.node {
        self::node(node, rail.environment, &mut found);
        peers(rail, node, &mut found);
        ports::queues(rail.ports, node, &mut found);
    }
    ports::ports(rail.ports, rail.ports_complete, &mut found);
    ports::neighbors(rail, &mut found);
    vips(rail, &mut found);
    itself(rail, &mut found);
    if rail.ports_complete {
        paths::sources(rail, &mut found);
        paths::next_hops(rail, &mut found);
        packet_size::check(rail, &mut found);
    }
    limits(rail, &mut found);
    found
}

/// Cores that exist and are given once, and a name that can be a branch.
fn node(node: &Node, environment: &Environment, found: &mut Vec<Violation>) {
    if !node.name.fits_git_reference() {
        found.push(no_branch(&node.name, Place::new(Item::Node, "name")));
    }
    let at = Place::new(Item::Node, "workers");
    if node.workers.is_empty() {
        let violation = Violation::error(at, "there is no worker core");
        found.push(violation.help("give at least one, as in workers = [1]"));
    }
    if node.workers.len() > Node::MAX_WORKERS {
        let message = format!("{} workers are too many", node.workers.len());
        let help = format!("give at most {}", Node::MAX_WORKERS);
        found.push(Violation::error(at, message).help(help));
    }
    let mut seen = HashMap::new();
    for (index, core) in node.workers.iter().enumerate() {
        let at = Place::element(Item::Node, "workers", index);
        if let Some(first) = seen.insert(core, index) {
            found.push(
                Violation::error(at, format!("core {core} is given to two workers"))
                    .also(Place::element(Item::Node, "workers", first), "first here")
                    .help("give every worker a core of its own"),
            );
        } else {
            exists(*core, at, environment, found);
        }
    }
    let at = Place::new(Item::Node, "control_core");
    exists(node.control_core, at, environment, found);
    if let Some(worker) = seen.get(&node.control_core) {
        let message = format!(
            "the control core {} is a worker's core too",
            node.control_core
        );
        found.push(
            Violation::warning(at, message)
                .also(Place::element(Item::Node, "workers", *worker), "the worker")
                .help("exporter and API will delay packets; give them a core of their own"),
        );
    }
}

fn exists(core: usize, at: Place, environment: &Environment, found: &mut Vec<Violation>) {
    let Some(cpus) = &environment.cpus else {
        return;
    };
    if !cpus.contains(&core) {
        let message = format!("core {core} does not exist");
        let help = format!("the machine has {}", ranges(cpus));
        found.push(Violation::error(at, message).help(help));
    }
}

/// Cores in words: "cores 0-3, 6".
fn ranges(cpus: &[usize]) -> String {
    let mut cpus = cpus.to_vec();
    cpus.sort_unstable();
    cpus.dedup();
    let parts: Vec<_> = cpus
        .chunk_by(|one, next| one + 1 == *next)
        .filter_map(|run| Some((run.first()?, run.last()?)))
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    match cpus.len() {
        1 => format!("core {}", parts.join(", ")),
        _ => format!("cores {}", parts.join(", ")),
    }
}

/// A packet to a port's own address is for the host, so no service can have that address.
fn vips(rail: &Rail<'_>, found: &mut Vec<Violation>) {
    for (index, service) in rail.pool.services.iter().enumerate() {
        let own = rail.ports.iter().enumerate().find_map(|(port, own)| {
            let held = own
                .addresses
                .iter()
                .position(|own| service.vip.contains(own.address()))?;
            Some(Place::element(Item::Port(port), "address", held))
        });
        if let Some(own) = own {
            let message = format!("the VIP {} takes a port's own address", service.vip);
            found.push(
                Violation::error(Place::new(Item::Service(index), "vip"), message)
                    .also(own, "the port's address")
                    .help("give the service an address that no rail has"),
            );
        }
    }
}

/// A tunnel to the rail's own address would come back to it.
fn itself(rail: &Rail<'_>, found: &mut Vec<Violation>) {
    let services = rail.pool.services.iter().enumerate();
    let backends = services.flat_map(|(service, content)| {
        let backends = content.backends.iter().enumerate();
        backends.map(move |(number, backend)| {
            (Item::Backend(service, number), "backend", backend.address)
        })
    });
    let remotes = rail.pool.remotes.iter().enumerate();
    let remotes = remotes.map(|(index, remote)| (Item::Remote(index), "remote", remote.address));
    for (item, what, address) in backends.chain(remotes) {
        if let Some(own) = ports::own_address(rail.ports, address) {
            let message = format!("the {what} {address} is this rail itself");
            found.push(
                Violation::error(Place::new(item, "address"), message)
                    .also(own, "the port's address")
                    .help("give the address of another host"),
            );
        }
    }
}

/// Peers in the light of the rail itself, which a shared pool lists among them.
fn peers(rail: &Rail<'_>, node: &Node, found: &mut Vec<Violation>) {
    for (index, peer) in rail.pool.peers.iter().enumerate() {
        let at = Place::new(Item::Peer(index), "address");
        let own = ports::own_address(rail.ports, peer.address);
        let is_self = peer.name == node.name;
        match own {
            Some(own) if !is_self => {
                let message = format!(
                    "the peer {:?} has this rail's own address {}",
                    peer.name, peer.address
                );
                let help = format!("this rail is {:?}; give the other one's address", node.name);
                found.push(
                    Violation::error(at, message)
                        .also(own, "this rail")
                        .help(help),
                );
            }
            None if is_self && rail.ports_complete => {
                let message = format!(
                    "this rail is the peer {:?}, but no port has the address {}",
                    peer.name, peer.address
                );
                let help = "other rails send its fragments there; name an address of a port";
                found.push(Violation::warning(at, message).help(help));
            }
            _ => {}
        }
    }
    if rail.pool.peer_key.is_none() && rail.pool.peers.iter().any(|peer| peer.name != node.name) {
        let message = "there are peers, but no peer_key";
        let help = "without one, GRE from a peer's address that a host forged counts as a peer's; \
                    add peer_key = 0x7261696c or another number, the same on every rail";
        found.push(Violation::warning(Place::new(Item::Pool, ""), message).help(help));
    }
}

/// Limits and timeouts that contradict the pool or each other.
fn limits(rail: &Rail<'_>, found: &mut Vec<Violation>) {
    let backends: usize = rail
        .pool
        .services
        .iter()
        .map(|service| service.backends.len())
        .sum();
    if backends > rail.limits.backends as usize {
        let at = Place::new(Item::Limits, "backends");
        let message = format!(
            "the pool has {backends} backends, more than limits.backends = {}",
            rail.limits.backends
        );
        found.push(Violation::error(at, message).help("raise limits.backends, or split the pool"));
    }
    let Timeouts {
        tcp,
        udp,
        closing,
        embryonic,
        min_idle,
        peer_probe: _,
    } = *rail.timeouts;
    for (key, time) in [("closing", closing), ("embryonic", embryonic)] {
        if time > tcp {
            let message = format!("the timeout `{key}` is longer than that of established TCP");
            found.push(
                Violation::warning(Place::new(Item::Timeouts, key), message)
                    .also(Place::new(Item::Timeouts, "tcp"), "established TCP")
                    .help("flows that are over would outlive those that are not"),
            );
        }
    }
    if min_idle > tcp.max(udp) {
        let message = "no entry lives as long as min_idle: promoted ones are never evicted";
        found.push(
            Violation::warning(Place::new(Item::Timeouts, "min_idle"), message)
                .help("a full table then takes no new entries; make it shorter than tcp"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn cores_in_words() {
        assert_eq!(ranges(&[0]), "core 0");
        assert_eq!(ranges(&[1, 0]), "cores 0-1");
        assert_eq!(ranges(&[0, 1, 2, 6, 8, 9]), "cores 0-2, 6, 8-9");
        assert_eq!(ranges(&[]), "cores ");
    }
}
