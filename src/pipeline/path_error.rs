//! ICMP errors about the rail's own tunnels: a router on the way to a backend says that an outer packet
//! does not fit.

use std::net::IpAddr;

use crate::table::path::PathError;
use crate::table::service::Address;
use crate::table::snapshot::Snapshot;
use crate::wire::icmpv4::{Icmpv4, Icmpv4Kind};
use crate::wire::icmpv6::{Icmpv6, Icmpv6Kind};
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::wire::{IpProtocol, Ports};

use super::Pipeline;
use super::classify::Parsed;
use super::frame::Frame;
use super::verdict::{DropReason, Verdict};

impl Pipeline {
    /// Tells the control core of an error about a tunnel packet of this rail; any other error is left to
    /// `otherwise`. Believed is one that quotes a packet from the very address the error was sent to,
    /// which is one of the rail's; whether it went to a tunnel end of ours, the control core knows.
    #[cold]
    pub(super) fn path_error<F: Frame>(
        &mut self,
        frame: &F,
        parsed: &Parsed,
        otherwise: Verdict,
    ) -> Verdict {
        match about_a_tunnel(frame.data(), parsed) {
            Some(error) => {
                // A full queue loses it on purpose: see `PathNews`.
                let _ = self.shared.paths.push(error);
                Verdict::Drop(DropReason::PathMtu)
            }
            None => otherwise,
        }
    }
}

/// Whether outer sources may be taken from a prefix that holds the address.
pub(super) fn is_tunnel_source(snapshot: &Snapshot, address: Address) -> bool {
    let address = IpAddr::from(address);
    snapshot
        .entropy
        .iter()
        .any(|prefix| prefix.contains(address))
}

fn about_a_tunnel(frame: &[u8], parsed: &Parsed) -> Option<PathError> {
    let message = frame.get(usize::from(parsed.l4)..usize::from(parsed.end))?;
    let (mtu, source, destination, protocol, length, payload) =
        match (parsed.source, parsed.destination) {
            (Address::V6(from), Address::V6(to)) => {
                let icmp = Icmpv6::parse(message, from.into(), to.into()).ok()?;
                let Icmpv6Kind::PacketTooBig { mtu } = icmp.kind else {
                    return None;
                };
                let ip = Ipv6::parse_quoted(icmp.body).ok()?;
                let ends = (ip.header.source(), ip.header.destination());
                let length = ip.header.payload_length.get().saturating_add(40);
                (
                    mtu,
                    IpAddr::V6(ends.0),
                    IpAddr::V6(ends.1),
                    ip.protocol,
                    length,
                    ip.payload,
                )
            }
            _ => {
                let icmp = Icmpv4::parse(message).ok()?;
                let Icmpv4Kind::FragmentationNeeded { mtu } = icmp.kind else {
                    return None;
                };
                let ip = Ipv4::parse_quoted(icmp.body).ok()?;
                let ends = (ip.header.source(), ip.header.destination());
                let length = ip.header.total_length.get();
                let protocol = ip.header.protocol;
                (
                    mtu.into(),
                    IpAddr::V4(ends.0),
                    IpAddr::V4(ends.1),
                    protocol,
                    length,
                    ip.payload,
                )
            }
        };
    if source != IpAddr::from(parsed.destination) {
        return None;
    }
    let port = match protocol {
        IpProtocol::GRE | IpProtocol::IPIP | IpProtocol::IPV6 => 0,
        IpProtocol::UDP => Ports::parse(payload)?.destination.get(),
        _ => return None,
    };
    Some(PathError {
        destination,
        protocol: protocol.0,
        port,
        mtu,
        length,
    })
}
