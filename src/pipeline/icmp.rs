//! ICMP for a VIP or for the rail itself.

use std::net::IpAddr;

use crate::table::service::Address;
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::icmpv4::{Icmpv4, Icmpv4Kind};

use super::classify::Parsed;
use super::frame::Frame;
use super::verdict::{DropReason, Verdict};
use super::{Pipeline, no_service};

impl Pipeline {
    /// Echo requests to a VIP or to the rail are answered; other messages to the rail are its host's.
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
        if !vip && !own {
            return no_service(snapshot, parsed, ingress);
        }
        if parsed.fragment.is_some() {
            return Verdict::Drop(DropReason::Fragment);
        }
        if matches!(parsed.destination, Address::V6(_)) {
            return no_service(snapshot, parsed, ingress);
        }
        match kind_v4(frame.data(), parsed) {
            Err(reason) => Verdict::Drop(reason),
            // RFC 1122, section 3.2.2.6: an echo from nobody in particular has no one to answer.
            Ok(Icmpv4Kind::EchoRequest { .. }) if !is_station(parsed.source) => {
                Verdict::Drop(DropReason::IcmpIgnored)
            }
            Ok(Icmpv4Kind::EchoRequest { .. }) => self.echo_v4(snapshot, frame, parsed, ingress),
            Ok(_) if own => Verdict::Host(ingress),
            Ok(_) => Verdict::Drop(DropReason::IcmpIgnored),
        }
    }
}

fn kind_v4(frame: &[u8], parsed: &Parsed) -> Result<Icmpv4Kind, DropReason> {
    frame
        .get(usize::from(parsed.l4)..usize::from(parsed.end))
        .and_then(|bytes| Icmpv4::parse(bytes).ok())
        .map(|icmp| icmp.kind)
        .ok_or(DropReason::BadIcmp)
}

/// Whether an address can be that of one station.
fn is_station(address: Address) -> bool {
    match IpAddr::from(address) {
        IpAddr::V4(ip) => {
            !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && !ip.is_loopback()
        }
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback(),
    }
}
