//! What is left of an IP packet once it has been read: what steering and rewriting go by.

use crate::table::conn::Segment;
use crate::table::hash::FlowHash;
use crate::wire::tcp::TcpFlags;
use crate::wire::{IpProtocol, TrafficClass};

use super::classify::Parsed;

/// An IP packet with its place in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    /// Hash of the 5-tuple.
    pub hash: FlowHash,
    /// Where the IP header starts, bytes from the start of the frame.
    pub l3: u16,
    /// Where the transport header starts.
    pub l4: u16,
    /// Where the IP packet ends.
    pub end: u16,
    /// Transport protocol.
    pub protocol: IpProtocol,
    /// DSCP and ECN for an outer header.
    pub class: TrafficClass,
    /// What it says about its connection.
    pub says: Segment,
    /// It came in a tunnel.
    pub decapsulated: bool,
    /// A fragment without a transport header.
    pub headless: bool,
}

impl Packet {
    /// Bytes of the IP packet.
    #[inline(always)]
    pub(super) fn ip_len(&self) -> usize {
        usize::from(self.end.saturating_sub(self.l3))
    }
}

impl From<&Parsed> for Packet {
    fn from(parsed: &Parsed) -> Self {
        Packet {
            hash: parsed.hash,
            l3: parsed.l3,
            l4: parsed.l4,
            end: parsed.end,
            protocol: parsed.protocol,
            class: parsed.class,
            says: segment(parsed.protocol, parsed.flags),
            decapsulated: parsed.decapsulated,
            headless: parsed.fragment.is_some_and(|f| !f.is_first()),
        }
    }
}

/// What a packet says about its connection.
#[inline(always)]
pub(super) fn segment(protocol: IpProtocol, flags: TcpFlags) -> Segment {
    let tcp = u32::from(protocol == IpProtocol::TCP) << 5;
    Segment::of(u32::from(flags.0) & 0x1f | tcp)
}
