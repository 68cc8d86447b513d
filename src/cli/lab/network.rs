//! The lab's network: namespaces, veth pairs, bridges, addresses, routes and kernel settings.
//!
//! Every veth end is created inside its namespace, so the machine's own namespace never sees an
//! interface or an address of a lab.

use std::fmt::Write as _;
use std::process::Command;
use std::thread;

use super::instance::{Instance, admission};
use super::netns::{Netns, NetnsError, feed, run};
use super::topology::{Host, PREFIX_LEN, ROUTER, Role, Topology, VIP, VIP_PREFIX};

/// The interface every host but the router has.
pub const INTERFACE: &str = "eth0";
/// Family and name of the nftables table of every lab host that filters at the interface.
pub const NFT_TABLE: [&str; 2] = ["netdev", "lab"];
/// The set in which a rail's interface counts TCP packets to [`PROBE_PORT`] by source port.
pub const PROBE_SET: &str = "probes";
/// No service has this port (discard, RFC 863): the self-test's packets end at the rail.
pub const PROBE_PORT: u16 = 9;

/// What a TCP segment may carry so that it fits the path MTU of 1500 after an outer IPv4 header and
/// GRE with key (28 bytes): backends tell clients in their SYN-ACKs.
const ADVERTISED_MSS: u16 = 1500 - 28 - 20 - 20;

/// Builds the network of a lab. Rails do not run yet: the router finds their next hops when they
/// answer ARP.
pub fn build(instance: &Instance, topology: &Topology) -> Result<(), NetnsError> {
    let router = instance.netns(ROUTER);
    {
        let _admitted = admission();
        router.add()?;
        for host in topology.hosts() {
            instance.netns(&host.name).add()?;
        }
    }
    router_network(instance, topology, &router)?;
    thread::scope(|scope| {
        let hosts: Vec<_> = topology
            .hosts()
            .map(|host| scope.spawn(|| host_network(&instance.netns(&host.name), host)))
            .collect();
        hosts.into_iter().try_for_each(|host| match host.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// The router's bridges, one per segment, and all veth pairs.
fn router_network(
    instance: &Instance,
    topology: &Topology,
    router: &Netns,
) -> Result<(), NetnsError> {
    let mut pairs = String::new();
    let mut batch = String::from("link set lo up\n");
    for role in Role::ALL {
        let (bridge, gateway) = (role.bridge(), role.gateway());
        let _ = writeln!(
            batch,
            "link add {bridge} type bridge stp_state 0 mcast_snooping 0"
        );
        let _ = writeln!(batch, "link set {bridge} up");
        let _ = writeln!(batch, "address add {gateway}/{PREFIX_LEN} dev {bridge}");
        for host in topology.of(role) {
            let (port, netns) = (router_port(host), instance.netns(&host.name));
            let _ = writeln!(
                pairs,
                "link add {INTERFACE} address {} netns {} type veth peer name {port} netns {}",
                host.mac(),
                netns.name(),
                router.name(),
            );
            let _ = writeln!(batch, "link set {port} master {bridge} up");
        }
    }
    let _ = write!(batch, "route add {VIP_PREFIX}");
    for rail in &topology.rails {
        let _ = write!(batch, " nexthop via {}", rail.address);
    }
    batch.push('\n');
    feed(Command::new("ip").args(["-batch", "-"]), &pairs)?;
    router.ip(&batch)?;
    // What the router itself sends, as hosts do: whole, its checksums finished.
    for role in Role::ALL {
        router.enter(|| finished_frames(role.bridge()))??;
    }
    router.sysctl(&[
        ("net/ipv4/ip_forward", "1"),
        // Multipath by the layer-4 hash: all packets of a connection meet one rail.
        ("net/ipv4/fib_multipath_hash_policy", "1"),
        // Answers carry the VIP as source and come from the backends' segment.
        ("net/ipv4/conf/all/rp_filter", "0"),
    ])
}

/// One host's end of its veth pair.
fn host_network(netns: &Netns, host: &Host) -> Result<(), NetnsError> {
    // A frame sent on a veth keeps its checksum unfinished and may be far larger than the MTU, for
    // the receiving kernel to sort out. A rail is no kernel: it needs frames as on a wire.
    netns.enter(|| finished_frames(INTERFACE))??;
    let address = host.address;
    let gateway = host.role.gateway();
    let up = format!("link set lo up\nlink set {INTERFACE} up\n");
    let addressed = format!(
        "{up}address add {address}/{PREFIX_LEN} dev {INTERFACE}\nroute add default via {gateway}"
    );
    match host.role {
        Role::Client => {
            netns.ip(&format!("{addressed}\n"))?;
            // The router's layer-4 multipath uses the hash of the sending socket, which
            // otherwise changes with every retransmission.
            netns.sysctl(&[("net/core/txrehash", "0")])
        }
        Role::Backend => {
            netns.sysctl(&[
                ("net/ipv4/conf/all/rp_filter", "0"),
                ("net/ipv4/conf/default/rp_filter", "0"),
                // The VIP is on `lo` and is never answered for on the segment.
                ("net/ipv4/conf/all/arp_ignore", "1"),
            ])?;
            netns.ip(&format!(
                "{addressed} advmss {ADVERTISED_MSS}\naddress add {VIP}/32 dev lo\n"
            ))
        }
        Role::Rail => {
            // The interface belongs to the rail: the kernel has no address on it, and drops what
            // arrives there after the rail's packet socket has seen it. Otherwise it would answer
            // ARP for addresses it has elsewhere.
            netns.sysctl(&[("net/ipv6/conf/all/disable_ipv6", "1")])?;
            netns.enter(|| feed(Command::new("nft").args(["-f", "-"]), &rail_rules(host)))??;
            netns.ip(&up)
        }
    }
}

/// Has the kernel finish frames before they leave by this interface.
fn finished_frames(interface: &str) -> Result<(), NetnsError> {
    run(Command::new("ethtool")
        .args(["-K", interface])
        .args(OFFLOADS_OFF))
    .map(drop)
}

const OFFLOADS_OFF: [&str; 8] = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];

/// The router's end of a host's veth pair. Host names have at most eight bytes, interface names may
/// have 15.
fn router_port(host: &Host) -> String {
    format!("to-{}", host.name)
}

/// Counts the self-test's packets, and drops everything. Frames for others are not counted: a
/// bridge that does not know yet where a MAC address is sends its frames to every port.
fn rail_rules(rail: &Host) -> String {
    format!(
        "table {} {{
             set {PROBE_SET} {{ type inet_service; flags dynamic; size 65536; counter; }}
             chain ingress {{
                 type filter hook ingress device \"{INTERFACE}\" priority 0; policy drop;
                 ether daddr {} ip daddr {VIP} tcp dport {PROBE_PORT} add @{PROBE_SET} {{ tcp sport }}
             }}
         }}\n",
        NFT_TABLE.join(" "),
        rail.mac(),
    )
}
