//! Test support: a packet builder whose helpers read like the traffic, and packet memory to put it
//! in.
//!
//! ```
//! use rustyrail::testkit::ether;
//!
//! let frame = ether()
//!     .vlan(10)
//!     .ipv4("198.51.100.7", "203.0.113.10")
//!     .ttl(63)
//!     .tcp(4242, 443)
//!     .syn()
//!     .build();
//! assert_eq!(frame.len(), 14 + 4 + 20 + 20);
//! ```
//!
//! What is built is right by default, lengths and checksums included; every field that a parser
//! checks can be made to lie. A mistake in a test (a TTL for an ARP packet, text that is no
//! address) panics and says so.

mod addr;
pub mod frame;
mod ip;
mod layer;
pub mod packet;
pub mod rail;
pub mod traffic;
mod upper;

pub use addr::{ToIpv4, ToIpv6, ToMac};
pub use frame::Frame;
pub use packet::{PacketBuilder, arp_reply, arp_request, ether, ipv4, ipv6};
pub use rail::{NEXT_HOP_MAC, Rail};

use crate::wire::MacAddr;

/// Where frames come from unless a test says otherwise: the router in front of the rails.
pub const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);
/// Where frames go to unless a test says otherwise: the rail's port.
pub const RAIL_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x10]);

#[cfg(test)]
mod tests;
