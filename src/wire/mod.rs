//! Header views over bytes: one header per file, network-endian fields, no state, no I/O.
//!
//! Every file follows one shape:
//!
//! - `XxxHeader` is the fixed part of the header, a `zerocopy` view whose fields are in network
//!   order;
//! - `Xxx::parse(bytes)` checks everything that the header says about lengths against the bytes
//!   there are, and returns the header together with the slices it delimits;
//! - `XxxError` is the closed list of what can be wrong: small, `Copy`, one drop reason each;
//! - constructors (`XxxHeader::new`, `write`) fill a header to be sent.
//!
//! # When an accessor may panic
//!
//! Never. `parse` takes any bytes and does not panic; what it returns are references to headers of
//! a fixed size and slices that are already cut, so no accessor indexes by a value from the packet.
//! The accessors of a header obtained by [`view`] or [`view_mut`] read or write its own fixed bytes
//! only. Nothing here allocates or formats (errors format only when somebody prints them).
//!
//! `bytes` is always what the layer below delimits: the frame for Ethernet, the frame from the
//! layer-3 offset for IP (padding may follow), the IP payload for everything above.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod fragment;
pub mod gre;
pub mod gue;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod ports;
pub mod probe;
pub mod protocol;
pub mod tcp;
pub mod traffic_class;
pub mod udp;
pub mod vlan;

pub use ethernet::{EtherType, EthernetHeader, MacAddr};
pub use fragment::Fragment;
pub use ports::Ports;
pub use protocol::IpProtocol;
pub use traffic_class::{Ecn, TrafficClass};
pub use vlan::{L2, VlanId, VlanTag, l2};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The fixed header at the start of `bytes`, or `None` if they are too short. Checks nothing else.
#[inline]
pub fn view<T>(bytes: &[u8]) -> Option<&T>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(bytes).ok().map(|(header, _)| header)
}

/// As [`view`], to be changed in place: the way to rewrite a header that `parse` has accepted.
#[inline]
pub fn view_mut<T>(bytes: &mut [u8]) -> Option<&mut T>
where
    T: FromBytes + IntoBytes + KnownLayout + Unaligned,
{
    T::mut_from_prefix(bytes).ok().map(|(header, _)| header)
}

/// Writes `header` to the start of `bytes`; `None`, and nothing written, if it does not fit.
#[inline]
pub fn put<T>(bytes: &mut [u8], header: &T) -> Option<()>
where
    T: IntoBytes + Immutable,
{
    header.write_to_prefix(bytes).ok()
}

/// Splits off the fixed header, for the `parse` functions.
#[inline]
fn split<T>(bytes: &[u8]) -> Option<(&T, &[u8])>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(bytes).ok()
}
