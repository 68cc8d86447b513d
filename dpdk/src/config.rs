//! What is wanted of a port, and what it could not do.

use thiserror::Error;

use crate::errno::Errno;
use crate::rss::RssConfig;

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
    /// Receive frames whatever their destination address; otherwise those to the port's own, to
    /// broadcast and to any multicast address, for neighbour discovery uses many.
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
    /// More queues than used, and packets on all of them.
    #[error(
        "{port} has {most} RX queues, of which {used} are used: what arrives on the others is lost; give \
         the device as many as there are workers"
    )]
    UnusedQueues {
        /// The port.
        port: String,
        /// What is used.
        used: u16,
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
