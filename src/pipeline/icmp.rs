//! ICMP for a VIP or for the rail itself.

use std::net::IpAddr;

use crate::table::service::Address;
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::icmpv4::{Icmpv4, Icmpv4Kind};
use crate::wire::icmpv6::{Icmpv6, Icmpv6Kind};

use super::classify::Parsed;
use super::frame::Frame;
use super::path_error::is_tunnel_source;
use super::verdict::{DropReason, Verdict};
use super::{Pipeline, no_service};

/// What a message is to a load balancer, whatever its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    EchoRequest,
    /// It quotes the packet it is about.
    Error,
    NeighborDiscovery,
    Other,
}

impl Pipeline {
    /// Echo requests to a VIP or to the rail are answered, errors about a VIP's packets go to the
    /// backend of the quoted flow, other messages to the rail are its host's.
    #[cold]
    pub(super) fn icmp<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        let vip = snapshot.map.is_vip(parsed.destination);
        // What comes out of a tunnel is for services alone.
        let own = !parsed.decapsulated && snapshot.local_port(parsed.destination).is_some();
        // Solicitations go to a multicast group.
        let group = !parsed.decapsulated
            && parsed.is_v6()
            && IpAddr::from(parsed.destination).is_multicast();
        let tunnel = !parsed.decapsulated && is_tunnel_source(snapshot, parsed.destination);
        if !(vip || own || group || tunnel) {
            return no_service(snapshot, parsed, ingress);
        }
        if parsed.fragment.is_some() {
            return Verdict::Drop(DropReason::Fragment);
        }
        let Some(message) = message(frame.data(), parsed) else {
            return Verdict::Drop(DropReason::BadIcmp);
        };
        match message {
            Message::NeighborDiscovery if !parsed.decapsulated => {
                self.neighbor_discovery(snapshot, frame, parsed, ingress)
            }
            // RFC 1122, section 3.2.2.6: an echo from nobody in particular has no one to answer.
            Message::EchoRequest if (vip || own) && is_station(parsed.source) => {
                self.echo(snapshot, frame, parsed, ingress)
            }
            Message::Error if vip => self.quoted(snapshot, frame, parsed, ingress),
            Message::Error if own => self.path_error(frame, parsed, Verdict::Host(ingress)),
            Message::Error if tunnel => {
                let ignored = Verdict::Drop(DropReason::IcmpIgnored);
                self.path_error(frame, parsed, ignored)
            }
            _ if tunnel && !own => Verdict::Drop(DropReason::IcmpIgnored),
            _ if vip || parsed.decapsulated => Verdict::Drop(DropReason::IcmpIgnored),
            _ => Verdict::Host(ingress),
        }
    }
}

/// The kind of a message whose checksum is right.
fn message(frame: &[u8], parsed: &Parsed) -> Option<Message> {
    let bytes = frame.get(usize::from(parsed.l4)..usize::from(parsed.end))?;
    match (parsed.source, parsed.destination) {
        (Address::V6(source), Address::V6(destination)) => {
            let icmp = Icmpv6::parse(bytes, source.into(), destination.into()).ok()?;
            Some(match icmp.kind {
                Icmpv6Kind::EchoRequest { .. } => Message::EchoRequest,
                Icmpv6Kind::NeighborSolicitation | Icmpv6Kind::NeighborAdvertisement => {
                    Message::NeighborDiscovery
                }
                kind if kind.is_error() => Message::Error,
                _ => Message::Other,
            })
        }
        _ => Some(match Icmpv4::parse(bytes).ok()?.kind {
            Icmpv4Kind::EchoRequest { .. } => Message::EchoRequest,
            kind if kind.is_error() => Message::Error,
            _ => Message::Other,
        }),
    }
}

/// Whether an address can be that of one station.
pub(super) fn is_station(address: Address) -> bool {
    match IpAddr::from(address) {
        IpAddr::V4(ip) => {
            !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && !ip.is_loopback()
        }
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback(),
    }
}
