//! Raw bindings to DPDK, generated at build time from the headers `pkg-config libdpdk` names.
//!
//! - Functions and types named `rte_*` are DPDK's own; see its API documentation.
//! - Functions named `shim_*` are DPDK's static inline functions compiled from `shim.c`, and
//!   `SHIM_*` are its macro constants.
//! - [`rte_mbuf`] is written by hand: the packet path reads its fields directly, and bindgen would
//!   nest them in anonymous unions that differ from version to version. The compiler checks every
//!   offset against the installed headers.
//! - [`rte_mempool`], [`rte_ring`] and [`rte_device`] are opaque.
//!
//! No code here is safe to call without knowing DPDK's rules; the crate `dpdk` is the safe layer.

mod mbuf;

pub use bindings::*;
pub use mbuf::rte_mbuf;

#[allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod bindings {
    use crate::{rte_device, rte_mbuf, rte_mempool, rte_ring};

    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

/// A pool of mbufs; only pointers to it exist.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rte_mempool {
    _opaque: [u8; 0],
}

/// A lockless FIFO of pointers; only pointers to it exist.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rte_ring {
    _opaque: [u8; 0],
}

/// The bus's side of a port; only pointers to it exist.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rte_device {
    _opaque: [u8; 0],
}
