//! What concerns one rail alone: its cores, its ports, its tunnel source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Environment, IfAddr, IpPrefix, Limits, Name, Pool, Severity, Timeouts, Violation, check,
};
use crate::wire::{MacAddr, VlanId};

/// A whole configuration file. Made by `parse` and `load` only,
/// which refuse a file that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name, cores and sockets of this rail.
    pub node: Node,
    /// How DPDK is started.
    pub dpdk: Dpdk,
    /// At least one port, in the order of the file.
    pub ports: Vec<Port>,
    /// Next hops that are not asked for.
    pub neighbors: Vec<StaticNeighbor>,
    /// The rail's own end of the tunnels.
    pub tunnel: Tunnel,
    /// Timeouts of the connection table.
    pub timeouts: Timeouts,
    /// Bounds on what traffic can make this rail do.
    pub limits: Limits,
    /// What all rails of the pool share.
    pub pool: Pool,
}

impl Config {
    /// Who may send tunnelled packets to this rail: the configured sources, or by default the
    /// gateways of all ports and the peers.
    pub fn tunnel_accept(&self) -> Vec<IpPrefix> {
        match &self.tunnel.accept {
            Accept::Only(sources) => sources.clone(),
            Accept::GatewaysAndPeers => {
                let gateways = self
                    .ports
                    .iter()
                    .flat_map(|port| port.gateways.iter().copied());
                let peers = self.other_peers().map(|peer| peer.address);
                let mut sources: Vec<_> = gateways.chain(peers).map(IpPrefix::host).collect();
                sources.sort();
                sources.dedup();
                sources
            }
        }
    }

    /// The same rail with another pool.
    ///
    /// # Errors
    /// What of the pool this rail cannot do, such as reaching a backend; warnings are not among it.
    pub fn with_pool(self, pool: Pool, environment: &Environment) -> Result<Self, Vec<Violation>> {
        let mut found = check::rail(&check::Rail {
            node: Some(&self.node),
            ports: &self.ports,
            ports_complete: true,
            neighbors: &self.neighbors,
            tunnel: &self.tunnel,
            timeouts: &self.timeouts,
            limits: &self.limits,
            pool: &pool,
            environment,
        });
        found.retain(|violation| violation.severity == Severity::Error);
        if found.is_empty() {
            Ok(Self { pool, ..self })
        } else {
            Err(found)
        }
    }

    /// The peers without the rail itself, which a shared pool lists too.
    pub fn other_peers(&self) -> impl Iterator<Item = &super::Peer> {
        self.pool
            .peers
            .iter()
            .filter(|peer| peer.name != self.node.name)
    }

    /// The port whose subnet holds `address`, and its index.
    pub fn port_on_link(&self, address: IpAddr) -> Option<(usize, &Port)> {
        self.ports
            .iter()
            .enumerate()
            .find(|(_, port)| port.on_link(address))
    }
}

/// Name, cores and sockets of a rail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The rail's name; peers know it by this name.
    pub name: Name,
    /// The cores of the packet workers, at least one, all different.
    pub workers: Vec<usize>,
    /// The core of everything else: exporter, API, store, health checks. Default 0.
    pub control_core: usize,
    /// Where `/metrics` and `/healthz` are served; nowhere if absent.
    pub metrics: Option<SocketAddr>,
    /// The Unix socket of `rail show` and its kin. Default `/run/rustyrail/<name>.sock`.
    pub control_socket: PathBuf,
    /// Whether an idle worker sleeps for short times. Default true.
    pub idle: bool,
    /// The directory of the store; without one the pool is the file's.
    pub store: Option<PathBuf>,
    /// How often other rails' stores are fetched, whether they say that they have something new or not.
    /// Default 2 s.
    pub sync_interval: Duration,
    /// Entries of one worker's connection table, 8 bytes each; the table rounds up.
    pub flows: usize,
}

impl Node {
    /// Where control sockets are when the file names none.
    pub const RUN_DIRECTORY: &str = "/run/rustyrail";

    /// Default of `sync_interval`.
    pub const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(2);
    /// Bounds of `sync_interval`.
    pub const SYNC_INTERVAL: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(500)..=Duration::from_secs(24 * 3600);

    /// Default of `flows`: one million connections in 8 MiB.
    pub const DEFAULT_FLOWS: usize = 1 << 20;
    /// Bounds of `flows`: 8 KiB to 4 GiB of table per worker.
    pub const FLOWS: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 29;
    /// The most workers: the connection tables of all are read on the path of fragments, and DPDK
    /// registers no more threads than its 128 logical cores.
    pub const MAX_WORKERS: usize = 126;
    /// The longest control socket path: `sun_path` has 108 bytes, the last of them zero (unix(7)).
    pub const MAX_SOCKET_PATH: usize = 107;

    /// The control socket of a rail whose file names none.
    pub fn default_socket(name: &str) -> PathBuf {
        format!("{}/{name}.sock", Self::RUN_DIRECTORY).into()
    }
}

/// How DPDK is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dpdk {
    /// Further arguments of the EAL. None of those that the rail itself gives.
    pub args: Vec<String>,
    /// Memory of the EAL in MiB. Default 512.
    pub memory_mb: u32,
    /// Whether that memory is huge pages. Default auto.
    pub hugepages: HugePages,
    /// Packet buffers; without a number the rail computes what queues and workers need.
    pub mbufs: Option<u32>,
}

impl Dpdk {
    /// Default of `memory_mb`.
    pub const DEFAULT_MEMORY_MB: u32 = 512;
    /// Bounds of `memory_mb`: what the EAL needs for itself, to 64 GiB.
    pub const MEMORY_MB: std::ops::RangeInclusive<u32> = 64..=65_536;
    /// Bounds of `mbufs`: a few bursts per queue, to what 64 GiB hold.
    pub const MBUFS: std::ops::RangeInclusive<u32> = 1_024..=1 << 24;
}

impl Default for Dpdk {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            memory_mb: Self::DEFAULT_MEMORY_MB,
            hugepages: HugePages::default(),
            mbufs: None,
        }
    }
}

/// Whether the EAL's memory is huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HugePages {
    /// When the machine has enough of them free.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always; without them the rail does not start.
    Require,
}

impl HugePages {
    /// All values with the words of the configuration file.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("auto", Self::Auto),
        ("never", Self::Never),
        ("require", Self::Require),
    ];
}

/// A port of the rail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// What it is called in tables and metrics; `port0`, `port1`, ... by default. Unique.
    pub name: Name,
    /// A PCI address such as `0000:3b:00.0`, or a virtual device with its arguments such as
    /// `net_af_packet0,iface=veth0`. Unique.
    pub device: String,
    /// The rail's own addresses on it, at least one.
    pub addresses: Vec<IfAddr>,
    /// Next hops for what is not on-link, each of them on-link, the preferred first.
    pub gateways: Vec<IpAddr>,
    /// The largest IP packet.
    pub mtu: Mtu,
    /// The VLAN whose tag the port's packets carry.
    pub vlan: Option<VlanId>,
    /// The provider's VLAN whose tag (802.1ad) stands in front of that one; only with `vlan`.
    pub outer_vlan: Option<VlanId>,
    /// What goes out again by this port keeps the tags it came with. Default false: it gets the port's.
    pub keep_tags: bool,
    /// RX and TX queue pairs; without a number one per worker. Fewer are dealt round-robin.
    pub queues: Option<NonZeroU16>,
    /// The kernel interface through which the host uses the port's addresses; `None` without one.
    /// Default `rail0` for the first port, `rail1` for the second, and so on.
    pub host: Option<IfName>,
}

impl Port {
    /// The most queue pairs of a port.
    pub const MAX_QUEUES: u16 = 1_024;

    /// Whether there are other stations behind it. Ports that invent packets, read them from capture
    /// files or are given them by the process itself have none, so whatever they bring is for us.
    pub fn has_link(&self) -> bool {
        const WITHOUT: [&str; 3] = ["net_null", "net_pcap", "net_ring"];
        !WITHOUT.iter().any(|driver| self.device.starts_with(driver))
    }

    /// Whether a packet to `address` needs no gateway here. IPv6 link-local addresses are on-link
    /// everywhere (RFC 4291, section 2.5.6).
    pub fn on_link(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.on_link(address))
            || matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
    }
}

/// The name of a kernel interface: 1 to 15 bytes without slash, colon or space (Linux, `dev_valid_name`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IfName(String);

impl IfName {
    /// The longest, in bytes (`IFNAMSIZ`, less the final zero).
    pub const MAX: usize = 15;

    /// The name, or `None` if no interface can have it.
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&name.len())
            && !matches!(name, "." | "..")
            && name
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'));
        fits.then(|| IfName(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A next hop whose MAC address is given instead of asked for; it wins over what is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StaticNeighbor {
    /// The address of the next hop; unique among static neighbours.
    pub address: IpAddr,
    /// Its MAC address, of one station: neither multicast nor zero.
    pub mac: MacAddr,
}

/// The rail's own end of the tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tunnel {
    /// Source of outer IPv4 headers. Default: the first IPv4 address of the ports; `None` only
    /// when they have none.
    pub source: Option<Ipv4Addr>,
    /// Source of outer IPv6 headers, likewise.
    pub source6: Option<Ipv6Addr>,
    /// If present, outer IPv4 sources are taken from this IPv4 prefix, their host bits from the
    /// flow hash, so that the backends' NICs can spread by outer addresses.
    pub entropy_prefix: Option<IpPrefix>,
    /// The same for IPv6.
    pub entropy_prefix6: Option<IpPrefix>,
    /// Who may send tunnelled packets to the rail.
    pub accept: Accept,
}

/// Who may send tunnelled packets to the rail; see [`Config::tunnel_accept`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Accept {
    /// The gateways of all ports and the peers.
    #[default]
    GatewaysAndPeers,
    /// These, and nobody else.
    Only(Vec<IpPrefix>),
}

/// The size of the largest IP packet on a path, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

impl Mtu {
    /// The smallest: what every IPv4 host takes (RFC 791, section 3.1, as the smallest tunnel MTU
    /// the rail believes).
    pub const MIN: u16 = 576;
    /// The smallest of a link that carries IPv6 (RFC 8200, section 5).
    pub const MIN_IPV6: u16 = 1280;
    /// The largest: a jumbo frame of 9216 bytes less Ethernet header and one VLAN tag.
    pub const MAX: u16 = 9198;

    /// The MTU, or `None` outside [`Mtu::MIN`] to [`Mtu::MAX`].
    pub const fn new(mtu: u16) -> Option<Self> {
        if mtu >= Self::MIN && mtu <= Self::MAX {
            Some(Self(mtu))
        } else {
            None
        }
    }

    /// The MTU in bytes.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Mtu {
    /// 1500, Ethernet's.
    fn default() -> Self {
        Self(1500)
    }
}
