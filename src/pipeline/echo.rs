//! Echo requests to VIPs and to the rail's own addresses, answered in place (RFC 792, RFC 4443).

use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::icmpv4::Icmpv4Header;
use crate::wire::icmpv6::Icmpv6Header;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{EtherType, view_mut};

use super::Pipeline;
use super::classify::Parsed;
use super::frame::Frame;
use super::local::answer_link;
use super::verdict::{DropReason, Verdict};

impl Pipeline {
    /// Answers an echo request, if the rate limit allows one more. The answer goes back to whoever
    /// sent the frame, without the tunnel header the request may have come in.
    #[cold]
    pub(super) fn echo<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        if !self.icmp_limit.take(self.now) {
            return Verdict::Drop(DropReason::IcmpRate);
        }
        let link = match answer_link(snapshot, frame.data(), ingress) {
            Ok(link) => link,
            Err(reason) => return Verdict::Drop(reason),
        };
        if frame
            .rewrap(parsed.l3.into(), parsed.ip_len(), link.len())
            .is_none()
        {
            return Verdict::Drop(DropReason::NoHeadroom);
        }
        let data = frame.data_mut();
        let packet = if parsed.is_v6() {
            let at = link.write(EtherType::IPV6.0, data);
            data.get_mut(at..)
        } else {
            let at = link.write(EtherType::IPV4.0, data);
            data.get_mut(at..)
        };
        let header_len = usize::from(parsed.l4 - parsed.l3);
        let Some((header, message)) = packet.and_then(|p| p.split_at_mut_checked(header_len))
        else {
            return Verdict::Drop(DropReason::BadIcmp);
        };
        if parsed.is_v6() {
            reply_v6(header, message);
        } else {
            reply_v4(header, message);
        }
        Verdict::Reply(ingress)
    }
}

fn reply_v4(header: &mut [u8], message: &mut [u8]) {
    if let Some(icmp) = view_mut::<Icmpv4Header>(message) {
        icmp.turn_into_echo_reply();
    }
    if let Some((fixed, options)) = header.split_at_mut_checked(Ipv4Header::LEN)
        && let Some(fixed) = view_mut::<Ipv4Header>(fixed)
    {
        std::mem::swap(&mut fixed.source, &mut fixed.destination);
        fixed.ttl = Ipv4Header::DEFAULT_TTL;
        fixed.fill_checksum(options);
    }
}

fn reply_v6(header: &mut [u8], message: &mut [u8]) {
    if let Some(icmp) = view_mut::<Icmpv6Header>(message) {
        icmp.turn_into_echo_reply();
    }
    if let Some(fixed) = view_mut::<Ipv6Header>(header) {
        std::mem::swap(&mut fixed.source, &mut fixed.destination);
        fixed.hop_limit = Ipv6Header::DEFAULT_HOP_LIMIT;
    }
}
