//! A service: which packets to a VIP it takes, and how they reach its backends.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::{Backend, IpPrefix, Name};

/// A virtual address with a protocol and ports, and the backends that answer for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Unique in the pool.
    pub name: Name,
    /// The addresses clients send to; a single one is a prefix of full length.
    pub vip: IpPrefix,
    /// The transport protocol it takes.
    pub protocol: Protocol,
    /// The destination ports it takes.
    pub ports: Ports,
    /// How packets reach the backends.
    pub encap: Encap,
    /// What of a packet picks the backend.
    pub affinity: Affinity,
    /// Whether connections stay with their backend; if not, every packet goes where it hashes to now.
    pub track: bool,
    /// How many new connections one rail lets through per second; the rest is dropped.
    pub new_connections_per_second: Option<NonZeroU32>,
    /// After how long in state `drain` a backend's remaining flows are steered anew.
    pub drain_deadline: Option<Duration>,
    /// In the order of the file; the order means nothing, see [`Name`].
    pub backends: Vec<Backend>,
}

/// The transport protocols a service takes, by IP protocol number.
///
/// A protocol has one representation only, so `==` compares meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// Every protocol.
    #[default]
    Any,
    /// The protocol with this number (IANA "Assigned Internet Protocol Numbers").
    Number(u8),
}

impl Protocol {
    /// TCP.
    pub const TCP: Self = Self::Number(6);
    /// UDP.
    pub const UDP: Self = Self::Number(17);
    /// DCCP.
    pub const DCCP: Self = Self::Number(33);
    /// SCTP.
    pub const SCTP: Self = Self::Number(132);
    /// UDP-Lite.
    pub const UDP_LITE: Self = Self::Number(136);

    /// The protocols that have a word in the configuration file; others are written as numbers.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("tcp", Self::TCP),
        ("udp", Self::UDP),
        ("any", Self::Any),
        ("sctp", Self::SCTP),
        ("dccp", Self::DCCP),
        ("udplite", Self::UDP_LITE),
    ];

    /// The protocol number, or `None` for any.
    pub fn number(self) -> Option<u8> {
        match self {
            Self::Any => None,
            Self::Number(number) => Some(number),
        }
    }

    /// Whether packets of this protocol can have ports: the five with ports at the start of their
    /// header, and "any", which includes them.
    pub fn has_ports(self) -> bool {
        Self::WORDS.iter().any(|(_, protocol)| *protocol == self)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::WORDS.iter().find(|(_, protocol)| protocol == self) {
            Some((word, _)) => f.pad(word),
            None => write!(f, "{}", self.number().unwrap_or_default()),
        }
    }
}

/// The destination ports a service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Ports {
    /// Every port, and packets without ports.
    #[default]
    Any,
    /// One port.
    One(NonZeroU16),
    /// Several ports in a row.
    Range(PortRange),
}

impl Ports {
    /// One port, or `None` for port 0, which is no destination.
    pub fn one(port: u16) -> Option<Self> {
        NonZeroU16::new(port).map(Self::One)
    }

    /// The ports from `low` to `high`, both included; one port if they are equal. `None` when
    /// `low` is 0 or above `high`.
    pub fn range(low: u16, high: u16) -> Option<Self> {
        if low == high {
            return Self::one(low);
        }
        (low > 0 && low < high).then_some(Self::Range(PortRange { low, high }))
    }

    /// The first and the last port; for any port 0 and 65535.
    pub fn bounds(self) -> (u16, u16) {
        match self {
            Self::Any => (0, u16::MAX),
            Self::One(port) => (port.get(), port.get()),
            Self::Range(range) => (range.low, range.high),
        }
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        let (low, high) = self.bounds();
        (low..=high).contains(&port)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("any"),
            Self::One(port) => write!(f, "{port}"),
            Self::Range(range) => write!(f, "{}-{}", range.low, range.high),
        }
    }
}

/// At least two ports in a row, none of them 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    /// The first port.
    pub fn low(self) -> u16 {
        self.low
    }

    /// The last port, included.
    pub fn high(self) -> u16 {
        self.high
    }
}

/// How a packet reaches its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encap {
    /// GRE (RFC 2784), with a key (RFC 2890) if there is one.
    Gre {
        /// The key of the GRE header.
        key: Option<u32>,
    },
    /// IP in IP (RFC 2003, RFC 2473).
    Ipip,
    /// Generic UDP encapsulation, variant 0.
    Gue {
        /// The UDP destination port.
        port: NonZeroU16,
    },
    /// The destination address becomes the backend's, the DSCP names the service.
    L3dsr {
        /// The DSCP the backends know the service by.
        dscp: Dscp,
    },
    /// The destination MAC address becomes the backend's.
    L2dsr,
}

/// The UDP port of GUE when the service names none (IANA "gue").
pub const GUE_PORT: NonZeroU16 = NonZeroU16::new(6080).unwrap();

impl Encap {
    /// The words of the configuration file.
    pub const WORDS: [&'static str; 5] = ["gre", "ipip", "gue", "l3dsr", "l2dsr"];

    /// The word of the configuration file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Gre { .. } => "gre",
            Self::Ipip => "ipip",
            Self::Gue { .. } => "gue",
            Self::L3dsr { .. } => "l3dsr",
            Self::L2dsr => "l2dsr",
        }
    }

    /// Whether packets travel inside an outer IP header.
    pub fn is_tunnel(&self) -> bool {
        match self {
            Self::Gre { .. } | Self::Ipip | Self::Gue { .. } => true,
            Self::L3dsr { .. } | Self::L2dsr => false,
        }
    }

    /// The bytes this adds to a packet when the outer header is IPv4 (`outer_v4`) or IPv6.
    pub fn overhead(&self, outer_v4: bool) -> u16 {
        /// RFC 2784: flags and protocol type.
        const GRE: u16 = 4;
        /// RFC 2890: the key field.
        const GRE_KEY: u16 = 4;
        /// The UDP header and the GUE header of variant 0 without extensions.
        const GUE: u16 = 8 + 4;
        let outer = if outer_v4 { 20 } else { 40 };
        match self {
            Self::Gre { key: None } => outer + GRE,
            Self::Gre { key: Some(_) } => outer + GRE + GRE_KEY,
            Self::Ipip => outer,
            Self::Gue { .. } => outer + GUE,
            Self::L3dsr { .. } | Self::L2dsr => 0,
        }
    }
}

impl Default for Encap {
    fn default() -> Self {
        Self::Gre { key: None }
    }
}

/// A differentiated services code point that marks a service: 1 to 63, since 0 is what unmarked
/// packets carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dscp(NonZeroU8);

impl Dscp {
    /// The largest code point: the field has 6 bits (RFC 2474, section 3).
    pub const MAX: u8 = 63;

    /// The code point, or `None` outside 1 to [`Dscp::MAX`].
    pub fn new(dscp: u8) -> Option<Self> {
        NonZeroU8::new(dscp)
            .filter(|dscp| dscp.get() <= Self::MAX)
            .map(Self)
    }

    /// The code point as a number, not shifted into the traffic class byte.
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

/// What of a packet picks the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Affinity {
    /// The flow hash: protocol, addresses and ports.
    #[default]
    Flow,
    /// The 3-tuple hash: protocol and addresses, so that all connections of a client meet one
    /// backend.
    Source,
}

impl Affinity {
    /// All values with the words of the configuration file.
    pub const WORDS: [(&'static str, Self); 2] = [("flow", Self::Flow), ("source", Self::Source)];

    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Source => "source",
        }
    }
}
