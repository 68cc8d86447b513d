//! ICMP errors about a VIP's packets: they find the backend that sent what they quote.
//!
//! Routers hash an error by its own addresses, so it arrives at any rail and any worker. The packet it
//! quotes names the flow: turned around, it is the tuple the client's packets have, and what is
//! pinned or hashed for that tuple is the backend.

use crate::table::hash::FlowHash;
use crate::table::service::Address;
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::icmpv4::Icmpv4Header;
use crate::wire::icmpv6::Icmpv6Header;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::wire::{IpProtocol, Ports};

use super::classify::{Kind, Parsed};
use super::frame::Frame;
use super::steer::affinity_key;
use super::verdict::{DropReason, Verdict};
use super::{Pipeline, flow_hash};

impl Pipeline {
    /// Forwards an error to the backend of the quoted flow: as pinned by this worker, else by another
    /// one, else as Maglev says.
    pub(super) fn quoted<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        let Some(flow) = quoted_flow(frame.data(), parsed) else {
            return Verdict::Drop(DropReason::IcmpIgnored);
        };
        // The quoted packet came from the VIP the error was sent to; anything else is made up.
        if flow.destination != parsed.destination {
            return Verdict::Drop(DropReason::IcmpIgnored);
        }
        let port = flow.ports.1;
        let Some(index) = snapshot.map.lookup(flow.destination, flow.protocol.0, port) else {
            return Verdict::Drop(DropReason::NoService);
        };
        let Some(service) = snapshot.service(index) else {
            return Verdict::Drop(DropReason::NoService);
        };
        let hash = self.key_of(snapshot, service, &flow);
        let pinned = self.pinned_anywhere(snapshot, index, hash);
        let Some(id) = pinned.or_else(|| snapshot.shortcuts.choose(index, hash)) else {
            return self.trombone(snapshot, frame, parsed, &flow, ingress);
        };
        let Some(backend) = snapshot.backend(id) else {
            return Verdict::Drop(DropReason::NoBackend);
        };
        self.send(snapshot, frame, parsed, ingress, (id, backend))
    }
}

/// The client's tuple of the flow that an error quotes. Eight bytes of the transport header are
/// enough (RFC 792); a quoted fragment other than the first has no ports and names no flow.
pub(super) fn quoted_flow(frame: &[u8], parsed: &Parsed) -> Option<Parsed> {
    let message = frame.get(usize::from(parsed.l4)..usize::from(parsed.end))?;
    let mut flow = Parsed::EMPTY;
    flow.kind = Kind::Ip;
    let payload = if parsed.is_v6() {
        let ip = Ipv6::parse_quoted(message.get(Icmpv6Header::LEN..)?).ok()?;
        if ip.fragment.is_some_and(|f| !f.is_first()) {
            return None;
        }
        flow.source = Address::V6(u128::from_be_bytes(ip.header.destination));
        flow.destination = Address::V6(u128::from_be_bytes(ip.header.source));
        flow.protocol = ip.protocol;
        ip.payload
    } else {
        let ip = Ipv4::parse_quoted(message.get(Icmpv4Header::LEN..)?).ok()?;
        if ip.header.fragment().is_some_and(|f| !f.is_first()) {
            return None;
        }
        flow.source = Address::V4(u32::from_be_bytes(ip.header.destination));
        flow.destination = Address::V4(u32::from_be_bytes(ip.header.source));
        flow.protocol = ip.header.protocol;
        ip.payload
    };
    if flow.protocol.has_ports() {
        let ports = Ports::parse(payload)?;
        flow.ports = (ports.destination.get(), ports.source.get());
    }
    // RFC 1122, section 3.2.2: an error is never about an error.
    let about_icmp = matches!(flow.protocol, IpProtocol::ICMP | IpProtocol::ICMPV6);
    (!about_icmp).then_some(flow)
}

impl Pipeline {
    /// The hash a service steers a flow by.
    pub(super) fn key_of(
        &self,
        snapshot: &Snapshot,
        service: &crate::table::snapshot::Service,
        flow: &Parsed,
    ) -> FlowHash {
        if service.source_affinity {
            affinity_key(snapshot, service, flow)
        } else {
            flow_hash(snapshot, flow)
        }
    }
}
