//! What is wanted of a port, what it offers, and what it could not do.

use std::fmt;
use std::ops::BitOr;

use dpdk_sys as c;
use thiserror::Error;

use crate::errno::Errno;

/// Descriptors per queue that NICs of 10 to 40 Gbit/s need to ride out a scheduling hiccup.
pub const DEFAULT_DESCRIPTORS: u16 = 1024;

/// What is wanted of a port. What it cannot do comes back as a [`PortWarning`].
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// RX queues, one for each worker that shall receive; at least 1.
    pub rx_queues: u16,
    /// TX queues, one for each worker that may send; at least 1.
    pub tx_queues: u16,
    /// Descriptors per RX queue; each holds an mbuf. Adjusted to the driver's limits.
    pub rx_descriptors: u16,
    /// Descriptors per TX queue. Adjusted to the driver's limits.
    pub tx_descriptors: u16,
    /// Largest layer-3 packet in bytes; `None` leaves the port as it is.
    pub mtu: Option<u16>,
    /// How packets are spread over RX queues; `None` is the driver's way.
    pub rss: Option<RssConfig>,
    /// Have the port check IPv4, TCP and UDP checksums.
    pub rx_checksums: bool,
    /// Let the port fill in IPv4, TCP and UDP checksums where an mbuf asks for it.
    pub tx_checksums: bool,
    /// Have the port remove VLAN tags; see [`crate::Mbuf::stripped_vlan`].
    pub vlan_strip: bool,
    /// Let the port insert VLAN tags where an mbuf asks for it.
    pub vlan_insert: bool,
    /// Receive frames whatever their destination address.
    pub promiscuous: bool,
}

impl Default for PortConfig {
    /// One queue pair, no offloads, promiscuous.
    fn default() -> Self {
        PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: DEFAULT_DESCRIPTORS,
            tx_descriptors: DEFAULT_DESCRIPTORS,
            mtu: None,
            rss: None,
            rx_checksums: false,
            tx_checksums: false,
            vlan_strip: false,
            vlan_insert: false,
            promiscuous: true,
        }
    }
}

impl PortConfig {
    /// The defaults with this many RX and TX queues.
    pub fn with_queues(rx: u16, tx: u16) -> PortConfig {
        PortConfig {
            rx_queues: rx,
            tx_queues: tx,
            ..PortConfig::default()
        }
    }
}

/// Receive-side scaling: the port hashes addresses and ports, and a table maps the hash to a queue.
/// The table deals the queues round-robin.
#[derive(Clone, Debug)]
pub struct RssConfig {
    /// The Toeplitz key; repeated or cut to the length the port wants (40 bytes, or 52 on some NICs).
    /// The first 40 bytes decide for addresses and ports of IPv4 and IPv6. Empty is the driver's key.
    pub key: Vec<u8>,
    /// What to hash; reduced to what the port can.
    pub types: RssTypes,
    /// Hash the innermost header of tunnelled packets, where the port can.
    pub innermost: bool,
}

/// Kinds of packets that RSS hashes, as a set; combine with `|`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RssTypes(pub(crate) u64);

impl RssTypes {
    /// None.
    pub const NONE: RssTypes = RssTypes(0);
    /// Addresses of IPv4 and IPv6 packets of any kind, fragments included.
    pub const ADDRESSES: RssTypes = RssTypes(
        c::SHIM_RSS_IPV4
            | c::SHIM_RSS_FRAG_IPV4
            | c::SHIM_RSS_IPV4_OTHER
            | c::SHIM_RSS_IPV6
            | c::SHIM_RSS_FRAG_IPV6
            | c::SHIM_RSS_IPV6_OTHER,
    );
    /// Addresses and ports of TCP.
    pub const TCP: RssTypes = RssTypes(c::SHIM_RSS_IPV4_TCP | c::SHIM_RSS_IPV6_TCP);
    /// Addresses and ports of UDP.
    pub const UDP: RssTypes = RssTypes(c::SHIM_RSS_IPV4_UDP | c::SHIM_RSS_IPV6_UDP);
    /// Addresses and ports of SCTP.
    pub const SCTP: RssTypes = RssTypes(c::SHIM_RSS_IPV4_SCTP | c::SHIM_RSS_IPV6_SCTP);
    /// All of the above: 5-tuples where there are ports, addresses elsewhere.
    pub const FLOWS: RssTypes =
        RssTypes(Self::ADDRESSES.0 | Self::TCP.0 | Self::UDP.0 | Self::SCTP.0);

    /// Whether all of `other` are in this set.
    pub fn contains(self, other: RssTypes) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no kind is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for RssTypes {
    type Output = RssTypes;

    fn bitor(self, other: RssTypes) -> RssTypes {
        RssTypes(self.0 | other.0)
    }
}

impl fmt::Debug for RssTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RssTypes({:#x})", self.0)
    }
}

/// What a port is and can do.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// Driver, such as `net_ixgbe`.
    pub driver: String,
    /// NUMA node, where known.
    pub socket: Option<u32>,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// RX queues it can have.
    pub max_rx_queues: u16,
    /// TX queues it can have.
    pub max_tx_queues: u16,
    /// Smallest MTU in bytes.
    pub min_mtu: u16,
    /// Largest MTU in bytes.
    pub max_mtu: u16,
    /// What its RSS can hash.
    pub rss_types: RssTypes,
    /// Whether its RSS can look into tunnels.
    pub rss_innermost: bool,
    /// Length of its RSS key in bytes; 0 when not said.
    pub rss_key_len: usize,
    /// Entries of its RSS table; 0 when it has none to set.
    pub reta_size: u16,
    /// Whether it can check IPv4, TCP and UDP checksums.
    pub rx_checksums: bool,
    /// Whether it can fill in IPv4, TCP and UDP checksums.
    pub tx_checksums: bool,
    /// Whether it can remove VLAN tags.
    pub vlan_strip: bool,
    /// Whether it can insert VLAN tags.
    pub vlan_insert: bool,
}

/// Something wanted of a port that it does not do; it works without.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortWarning {
    /// Fewer queues than wanted.
    #[error("{port} has at most {most} {direction} queues, {wanted} were wanted")]
    Queues {
        /// The port.
        port: String,
        /// `RX` or `TX`.
        direction: &'static str,
        /// What was asked for.
        wanted: u16,
        /// What there is.
        most: u16,
    },
    /// The MTU stays as it is.
    #[error("{port} keeps an MTU of {kept}: its driver cannot set {wanted} ({errno})")]
    Mtu {
        /// The port.
        port: String,
        /// What was asked for.
        wanted: u16,
        /// What it is.
        kept: u16,
        /// What the driver said.
        errno: Errno,
    },
    /// A feature is missing.
    #[error("{port} does not offer {feature}")]
    Missing {
        /// The port.
        port: String,
        /// What is missing.
        feature: &'static str,
    },
    /// A setting failed.
    #[error("{port}: {what} failed: {errno}")]
    Failed {
        /// The port.
        port: String,
        /// What was tried.
        what: &'static str,
        /// What the driver said.
        errno: Errno,
    },
}

/// The key in the length that the port wants; empty means the driver's own.
pub(crate) fn fit_key(key: &[u8], wanted: usize) -> Vec<u8> {
    // Drivers that name no length take the customary one.
    const CUSTOMARY: usize = 40;
    let wanted = if wanted == 0 { CUSTOMARY } else { wanted };
    key.iter()
        .copied()
        .cycle()
        .take(if key.is_empty() { 0 } else { wanted })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_or_repeated() {
        assert_eq!(fit_key(&[1, 2, 3], 5), [1, 2, 3, 1, 2]);
        assert_eq!(fit_key(&[1, 2, 3], 2), [1, 2]);
        assert_eq!(fit_key(&[7; 52], 0).len(), 40);
        assert!(fit_key(&[], 40).is_empty());
    }

    #[test]
    fn flows_hold_every_kind() {
        assert!(RssTypes::FLOWS.contains(RssTypes::TCP | RssTypes::UDP | RssTypes::ADDRESSES));
        assert!(!RssTypes::TCP.contains(RssTypes::UDP));
        assert!(RssTypes::NONE.is_empty());
    }
}
