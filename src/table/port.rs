//! What a port says of itself, as the control core shows it.

/// A port's state and counters.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct PortReport {
    /// Its name in DPDK.
    pub device: String,
    /// Its link address.
    pub mac: String,
    /// The link carries a signal.
    pub up: bool,
    /// Mbit/s, if known.
    pub speed_mbps: Option<u32>,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets the port dropped because no worker fetched them.
    pub rx_missed: u64,
    /// Packets received with errors.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets dropped for want of a buffer.
    pub rx_no_mbuf: u64,
}
