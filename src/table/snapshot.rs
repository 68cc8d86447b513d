//! Everything a worker needs to decide about a packet, compiled by the control core and swapped as a
//! whole. Indices inside a snapshot mean nothing under another one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{
    BackendId, HashKey,
    conn::Timeouts,
    limiter::SharedBucket,
    maglev::Maglev,
    peers::Peers,
    service::{Address, ServiceIndex, ServiceMap},
    shortcuts::Shortcuts,
    template::{LinkHeader, Template},
};

/// Index of a port in the configuration; the same in every snapshot of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIndex(pub u8);

/// Index of a next hop in its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HopIndex(pub u32);

/// A port as packets see it.
#[derive(Debug, Clone)]
pub struct PortView {
    /// Our link address there.
    pub mac: [u8; 6],
    /// Which frames are for us.
    pub filter: MacFilter,
    /// The tag its frames carry.
    pub vlan: Option<u16>,
    /// The tag in front of that.
    pub outer_vlan: Option<u16>,
    /// What leaves by the port it came in through keeps the tags it came with.
    pub keep_tags: bool,
    /// Largest IP packet it carries, in bytes.
    pub mtu: u16,
    /// First live gateway on this port, if any.
    pub gateway: Option<HopIndex>,
}

/// Which destination a frame must have to be for us: one load and one comparison.
///
/// A bridge that does not know where a station is sends its frames out of every port; if all rails on
/// it forwarded such a frame, its receiver would see it several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacFilter {
    /// The address as the first six bytes of a little-endian word.
    word: u64,
    mask: u64,
}

impl MacFilter {
    /// Takes every frame.
    pub const ANY: MacFilter = MacFilter { word: 0, mask: 0 };

    /// Takes frames to this address alone.
    pub fn only([a, b, c, d, e, f]: [u8; 6]) -> Self {
        MacFilter {
            word: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            mask: (1 << 48) - 1,
        }
    }

    /// Not zero for a frame to another address; `start` is its first eight bytes as a little-endian word.
    #[inline(always)]
    pub fn differs(&self, start: u64) -> u64 {
        start & self.mask ^ self.word
    }

    /// Whether the frame is to this address. One too short to have a destination is not.
    #[inline]
    pub fn takes(&self, frame: &[u8]) -> bool {
        let start = frame.first_chunk().map(|first| u64::from_le_bytes(*first));
        start.is_some_and(|start| self.differs(start) == 0)
    }
}

/// Where a packet goes next on the link.
#[derive(Debug, Clone)]
pub struct Hop {
    /// The next hop's address.
    pub address: IpAddr,
    /// The port it is reached by.
    pub port: PortIndex,
    /// Link header; the destination means something only when `resolved`.
    pub link: LinkHeader,
    /// The link address is known.
    pub resolved: bool,
}

/// Desired state of a backend, with health already folded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendState {
    /// Takes new connections.
    Up,
    /// Keeps the connections it has, gets no new ones.
    Drain,
    /// Keeps nothing.
    Down,
}

/// How a packet reaches its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Inside the headers of the template.
    Tunnel,
    /// The destination address becomes the backend's and the DSCP names the service.
    L3dsr {
        /// The backend's address.
        address: IpAddr,
        /// The service's code point.
        dscp: u8,
    },
    /// Only the link header changes.
    L2dsr,
}

/// One backend of one service. What most packets need of it lies in its
/// [`Adjacency`](super::adjacency::Adjacency).
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Backend {
    /// The service it belongs to.
    pub service: ServiceIndex,
    /// Largest outer packet the way to it carries, in bytes.
    pub mtu: u16,
    /// Its next hop.
    pub hop: HopIndex,
    /// The port it is reached by, if the next hop's link address is known.
    pub egress: Option<PortIndex>,
    /// Whether pinned and new connections may go there.
    pub state: BackendState,
    /// Reached through a gateway where several ports may have one: the ingress port's own is preferred.
    pub detours: bool,
    /// Headers a packet to it leaves with.
    pub template: Template,
    /// How packets get there.
    pub delivery: Delivery,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, for people.
    pub name: Arc<str>,
    /// Slots over `backends`.
    pub maglev: Arc<Maglev>,
    /// Backend ids in byte order of the backends' names: what the Maglev slots index.
    pub backends: Arc<[BackendId]>,
    /// Hash by source, destination and protocol alone.
    pub source_affinity: bool,
    /// Whether connections are pinned; if not, every packet goes where it hashes to under this snapshot.
    pub tracked: bool,
    /// What tells the entries of one service with source affinity from those of another on the same VIP;
    /// in the bits that choose the bucket, so that tag and slot stay those of the hash.
    pub salt: u32,
    /// New connections this rail lets through, if not all.
    pub limit: Option<Arc<SharedBucket>>,
}

/// A prefix of addresses, for the accept list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Network address.
    pub network: IpAddr,
    /// Length in bits.
    pub len: u8,
}

impl Prefix {
    /// Whether the prefix covers the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(n), IpAddr::V4(a)) => {
                let shift = 32u32.saturating_sub(self.len.into());
                (n.to_bits() ^ a.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(n), IpAddr::V6(a)) => {
                let shift = 128u32.saturating_sub(self.len.into());
                (n.to_bits() ^ a.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Rates the packet path keeps to; per worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// New entries in the connection table per second.
    pub new_pins_per_second: u32,
    /// ICMP answers of the rail per second.
    pub icmp_per_second: u32,
    /// Frames for the host per second.
    pub host_per_second: u32,
}

/// Bounds on the fragments one worker holds until the first of their datagram comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlyLimits {
    /// Fragments.
    pub count: usize,
    /// Bytes of their frames.
    pub bytes: usize,
    /// How long each waits.
    pub time: Duration,
}

/// All tables at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Some port keeps tags.
    pub keeps_tags: bool,
    /// Prefixes that outer sources are taken from, beside the rail's own addresses.
    pub entropy: Box<[Prefix]>,
    /// Counts up by one with every published snapshot, from 1.
    pub generation: u64,
    /// Key of the flow hash. A changed key empties the connection tables.
    pub hash_key: HashKey,
    /// The ports, by index.
    pub ports: Box<[PortView]>,
    /// Addresses of the rail itself and the port each belongs to.
    pub local: Box<[(Address, PortIndex)]>,
    /// Broadcast addresses of the subnets of each port.
    pub broadcasts: Box<[(Address, PortIndex)]>,
    /// Who may send us tunnelled packets.
    pub accept: Box<[Prefix]>,
    /// Which service a packet is for.
    pub map: ServiceMap,
    /// The services, by index.
    pub services: Box<[Service]>,
    /// The backends by id; place 0 and the places of unused ids are `None`.
    pub backends: Box<[Option<Backend>]>,
    /// What plain packets look up of all that.
    pub shortcuts: Shortcuts,
    /// Next hops, by index.
    pub hops: Box<[Hop]>,
    /// Life times of connection table entries.
    pub timeouts: Timeouts,
    /// Rate limits.
    pub rates: Rates,
    /// Bounds on waiting fragments.
    pub early: EarlyLimits,
    /// The other rails.
    pub peers: Peers,
}

impl Snapshot {
    /// The backend an id names under this snapshot.
    #[inline]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(id.get() as usize)?.as_ref()
    }

    /// The service at an index.
    #[inline]
    pub fn service(&self, index: ServiceIndex) -> Option<&Service> {
        self.services.get(usize::from(index.0))
    }

    /// The port an address of the rail belongs to.
    #[inline]
    pub fn local_port(&self, address: Address) -> Option<PortIndex> {
        self.local
            .iter()
            .find(|(local, _)| *local == address)
            .map(|&(_, port)| port)
    }

    /// Whether the address means every station on the link of the port.
    pub fn is_broadcast(&self, address: Address, port: PortIndex) -> bool {
        self.broadcasts.contains(&(address, port))
    }

    /// Whether tunnelled packets from this source are taken.
    pub fn accepts(&self, source: Address) -> bool {
        let source = source.into();
        self.accept.iter().any(|prefix| prefix.contains(source))
    }
}
