//! The packet buffer's header, as the packet path reads it.

use core::ffi::c_void;
use core::mem::{offset_of, size_of};

use crate::bindings as c;

/// DPDK's packet buffer header: two cache lines, of which reception and parsing touch the first.
///
/// Fields that only drivers use are left as padding. Lengths and offsets are in bytes.
#[allow(non_camel_case_types)]
#[repr(C, align(64))]
pub struct rte_mbuf {
    pub buf_addr: *mut c_void,
    _iova_or_next: u64,
    /// Where the packet starts, counted from `buf_addr`.
    pub data_off: u16,
    pub refcnt: u16,
    pub nb_segs: u16,
    /// The port that received the packet.
    pub port: u16,
    pub ol_flags: u64,
    pub packet_type: u32,
    /// Length of the packet over all its segments.
    pub pkt_len: u32,
    /// Length of this segment.
    pub data_len: u16,
    pub vlan_tci: u16,
    /// The RSS hash, valid when `ol_flags` says so.
    pub rss_hash: u32,
    _hash_high: u32,
    _vlan_tci_outer: u16,
    /// Size of the segment's buffer, headroom included.
    pub buf_len: u16,
    _pool: *mut c_void,
    _next_or_dynfield2: u64,
    /// Header lengths for transmit offloads: `l2_len` in the low bits, then `l3_len`, `l4_len`.
    pub tx_offload: u64,
    _driver_and_dynamic_fields: [u8; 48],
}

// A DPDK that lays its mbuf out differently fails the build here instead of corrupting packets.
const _: () = {
    assert!(size_of::<rte_mbuf>() == c::SHIM_MBUF_SIZE as usize);
    assert!(offset_of!(rte_mbuf, buf_addr) == c::SHIM_MBUF_BUF_ADDR as usize);
    assert!(offset_of!(rte_mbuf, data_off) == c::SHIM_MBUF_DATA_OFF as usize);
    assert!(offset_of!(rte_mbuf, refcnt) == c::SHIM_MBUF_REFCNT as usize);
    assert!(offset_of!(rte_mbuf, nb_segs) == c::SHIM_MBUF_NB_SEGS as usize);
    assert!(offset_of!(rte_mbuf, port) == c::SHIM_MBUF_PORT as usize);
    assert!(offset_of!(rte_mbuf, ol_flags) == c::SHIM_MBUF_OL_FLAGS as usize);
    assert!(offset_of!(rte_mbuf, packet_type) == c::SHIM_MBUF_PACKET_TYPE as usize);
    assert!(offset_of!(rte_mbuf, pkt_len) == c::SHIM_MBUF_PKT_LEN as usize);
    assert!(offset_of!(rte_mbuf, data_len) == c::SHIM_MBUF_DATA_LEN as usize);
    assert!(offset_of!(rte_mbuf, vlan_tci) == c::SHIM_MBUF_VLAN_TCI as usize);
    assert!(offset_of!(rte_mbuf, rss_hash) == c::SHIM_MBUF_RSS_HASH as usize);
    assert!(offset_of!(rte_mbuf, buf_len) == c::SHIM_MBUF_BUF_LEN as usize);
    assert!(offset_of!(rte_mbuf, tx_offload) == c::SHIM_MBUF_TX_OFFLOAD as usize);
};
