//! Port counters and link state.

use std::ffi::CStr;

use dpdk_sys as c;

use crate::errno::{Errno, check};

/// A port's counters since it was started. Virtual ports count what they can and leave the rest 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets the port dropped because its RX queues were full.
    pub rx_missed: u64,
    /// Erroneous packets received.
    pub rx_errors: u64,
    /// Packets that failed to be sent.
    pub tx_errors: u64,
    /// Packets lost because the pool had no mbuf.
    pub rx_no_mbuf: u64,
}

/// A port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether there is a carrier.
    pub up: bool,
    /// Speed in Mbit/s; `None` when not known.
    pub speed_mbps: Option<u32>,
    /// Whether both sides may send at once.
    pub full_duplex: bool,
}

/// DPDK's values for "no link" and "unknown speed".
const SPEED_NONE: u32 = 0;
const SPEED_UNKNOWN: u32 = u32::MAX;

pub(crate) fn stats(port: u16) -> Result<PortStats, Errno> {
    let mut raw = c::rte_eth_stats::default();
    // SAFETY: the caller owns the port; the pointer is to a valid struct to fill.
    check(unsafe { c::rte_eth_stats_get(port, &mut raw) })?;
    Ok(PortStats {
        rx_packets: raw.ipackets,
        tx_packets: raw.opackets,
        rx_bytes: raw.ibytes,
        tx_bytes: raw.obytes,
        rx_missed: raw.imissed,
        rx_errors: raw.ierrors,
        tx_errors: raw.oerrors,
        rx_no_mbuf: raw.rx_nombuf,
    })
}

pub(crate) fn reset(port: u16) -> Result<(), Errno> {
    // SAFETY: the caller owns the port.
    check(unsafe { c::rte_eth_stats_reset(port) })
}

/// All counters the driver has, by the driver's names.
pub(crate) fn xstats(port: u16) -> Result<Vec<(String, u64)>, Errno> {
    // SAFETY: a null array of length zero asks for the number of counters.
    let count = unsafe { c::rte_eth_xstats_get_names(port, std::ptr::null_mut(), 0) };
    check(count)?;
    let mut names = vec![c::rte_eth_xstat_name::default(); count as usize];
    let mut values = vec![c::rte_eth_xstat::default(); count as usize];
    // SAFETY: both arrays hold `count` elements to fill. A larger return value means that the driver
    // has more by now and filled nothing in; the arrays hold defaults then.
    let (named, valued) = unsafe {
        (
            c::rte_eth_xstats_get_names(port, names.as_mut_ptr(), count as u32),
            c::rte_eth_xstats_get(port, values.as_mut_ptr(), count as u32),
        )
    };
    check(named)?;
    check(valued)?;
    if named > count || valued > count {
        return Ok(Vec::new());
    }
    let name_of = |value: &c::rte_eth_xstat| {
        let name = &names.get(usize::try_from(value.id).ok()?)?.name;
        let bytes: Vec<u8> = name.iter().map(|&byte| byte as u8).collect();
        Some(
            CStr::from_bytes_until_nul(&bytes)
                .ok()?
                .to_string_lossy()
                .into_owned(),
        )
    };
    let values = values.iter().take(valued as usize);
    Ok(values
        .filter_map(|value| Some((name_of(value)?, value.value)))
        .collect())
}

pub(crate) fn link(port: u16) -> Result<Link, Errno> {
    let mut raw = c::shim_link::default();
    // SAFETY: the caller owns the port; the pointer is to a valid struct to fill.
    check(unsafe { c::shim_link_get(port, &mut raw) })?;
    let known = ![SPEED_NONE, SPEED_UNKNOWN].contains(&raw.speed_mbps);
    Ok(Link {
        up: raw.up != 0,
        speed_mbps: known.then_some(raw.speed_mbps),
        full_duplex: raw.full_duplex != 0,
    })
}
