//! What a port is and can do.

use std::ffi::CStr;

use dpdk_sys as c;

use crate::errno::{Errno, check};
use crate::rss::{RssTypes, can_look_inside};

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

/// The offloads that check checksums on reception.
pub(crate) const RX_CHECKSUMS: u64 =
    c::SHIM_RX_OFFLOAD_IPV4_CKSUM | c::SHIM_RX_OFFLOAD_UDP_CKSUM | c::SHIM_RX_OFFLOAD_TCP_CKSUM;
/// The offloads that fill in checksums on transmission.
pub(crate) const TX_CHECKSUMS: u64 =
    c::SHIM_TX_OFFLOAD_IPV4_CKSUM | c::SHIM_TX_OFFLOAD_UDP_CKSUM | c::SHIM_TX_OFFLOAD_TCP_CKSUM;

/// DPDK's own record of the port's properties.
pub(crate) fn raw_info(id: u16) -> Result<c::rte_eth_dev_info, Errno> {
    let mut info = c::rte_eth_dev_info::default();
    // SAFETY: the pointer is to a struct to fill; DPDK checks the port's number.
    check(unsafe { c::rte_eth_dev_info_get(id, &mut info) })?;
    Ok(info)
}

/// The driver's name.
pub(crate) fn driver(info: &c::rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: not null, hence the driver's NUL-terminated name in static memory.
    unsafe { CStr::from_ptr(info.driver_name) }
        .to_string_lossy()
        .into_owned()
}

/// The port's properties.
pub(crate) fn info(id: u16) -> Result<PortInfo, Errno> {
    let raw = raw_info(id)?;
    // SAFETY: reads the port's record.
    let socket = unsafe { c::rte_eth_dev_socket_id(id) };
    Ok(PortInfo {
        driver: driver(&raw),
        socket: u32::try_from(socket).ok(),
        mac: mac(id)?,
        max_rx_queues: raw.max_rx_queues,
        max_tx_queues: raw.max_tx_queues,
        min_mtu: raw.min_mtu,
        max_mtu: raw.max_mtu,
        rss_types: RssTypes::of_port(raw.flow_type_rss_offloads),
        rss_innermost: can_look_inside(&raw),
        rss_key_len: usize::from(raw.hash_key_size),
        reta_size: raw.reta_size,
        rx_checksums: raw.rx_offload_capa & RX_CHECKSUMS == RX_CHECKSUMS,
        tx_checksums: raw.tx_offload_capa & TX_CHECKSUMS == TX_CHECKSUMS,
        vlan_strip: raw.rx_offload_capa & c::SHIM_RX_OFFLOAD_VLAN_STRIP != 0,
        vlan_insert: raw.tx_offload_capa & c::SHIM_TX_OFFLOAD_VLAN_INSERT != 0,
    })
}

/// The port's Ethernet address.
pub(crate) fn mac(id: u16) -> Result<[u8; 6], Errno> {
    let mut mac = c::rte_ether_addr::default();
    // SAFETY: the pointer is to an address to fill; DPDK checks the port's number.
    check(unsafe { c::rte_eth_macaddr_get(id, &mut mac) })?;
    Ok(mac.addr_bytes)
}

/// The MTU that DPDK believes the port has.
pub(crate) fn mtu(id: u16) -> Result<u16, Errno> {
    let mut mtu = 0;
    // SAFETY: the pointer is to a variable to fill; DPDK checks the port's number.
    check(unsafe { c::rte_eth_dev_get_mtu(id, &mut mtu) })?;
    Ok(mtu)
}
