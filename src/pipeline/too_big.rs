//! A packet that does not fit the way to its backend: its sender is told what does (RFC 1191, RFC 8201).

use crate::table::service::Address;
use crate::table::snapshot::{Backend, PortIndex, Snapshot};
use crate::wire::icmpv4::Icmpv4Header;
use crate::wire::icmpv6::Icmpv6Header;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{EtherType, IpProtocol, TrafficClass, put};

use super::classify::Parsed;
use super::frame::Frame;
use super::icmp::is_station;
use super::local::answer_link;
use super::verdict::{DropReason, Verdict};
use super::{Pipeline, rewrite};

/// RFC 1812, section 4.3.2.3: an ICMPv4 error is at most this long, and quotes as much as fits.
const MAX_ERROR_V4: usize = 576;
/// RFC 4443, section 2.4 (c): an ICMPv6 error is at most this long, and quotes as much as fits.
const MAX_ERROR_V6: usize = 1280;
/// RFC 8200, section 5: no IPv6 link carries less.
const MIN_MTU_V6: u16 = 1280;
/// RFC 1812, section 4.3.2.5: errors are sent with precedence "internetwork control".
const ERROR_CLASS: TrafficClass = TrafficClass(0xc0);

impl Pipeline {
    /// Turns the packet into an error from the VIP to its sender that names the usable MTU.
    #[cold]
    pub(super) fn too_big<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
        backend: &Backend,
    ) -> Verdict {
        // RFC 1122, section 3.2.2: not about ICMP (what comes here of it are errors), not about a later
        // fragment, nor to what is no station.
        let icmp = matches!(parsed.protocol, IpProtocol::ICMP | IpProtocol::ICMPV6);
        let later = parsed.fragment.is_some_and(|f| !f.is_first());
        if !parsed.dont_fragment || icmp || later || !is_station(parsed.source) {
            return Verdict::Drop(DropReason::TooBig);
        }
        if !self.icmp_limit.take(self.now) {
            return Verdict::Drop(DropReason::IcmpRate);
        }
        let mtu = rewrite::room(snapshot, backend, ingress);
        match turn_into_error(snapshot, frame, parsed, ingress, mtu) {
            Ok(()) => Verdict::Reply(ingress),
            Err(reason) => Verdict::Drop(reason),
        }
    }
}

fn turn_into_error<F: Frame>(
    snapshot: &Snapshot,
    frame: &mut F,
    parsed: &Parsed,
    ingress: PortIndex,
    mtu: u16,
) -> Result<(), DropReason> {
    let link = answer_link(snapshot, frame.data(), ingress)?;
    let (headers, most) = if parsed.is_v6() {
        (Ipv6Header::LEN + Icmpv6Header::LEN, MAX_ERROR_V6)
    } else {
        (Ipv4Header::LEN + Icmpv4Header::LEN, MAX_ERROR_V4)
    };
    let quote = parsed.ip_len().min(most - headers);
    let from = usize::from(parsed.l3);
    if frame.rewrap(from, quote, link.len() + headers).is_none() {
        return Err(DropReason::NoHeadroom);
    }
    let data = frame.data_mut();
    match (parsed.source, parsed.destination) {
        (Address::V4(client), Address::V4(vip)) => {
            let at = link.write(EtherType::IPV4.0, data);
            let packet = data.get_mut(at..).ok_or(DropReason::NoHeadroom)?;
            let (head, quoted) = packet
                .split_at_mut_checked(headers)
                .ok_or(DropReason::NoHeadroom)?;
            let length = Icmpv4Header::LEN + quote;
            let mut ip = Ipv4Header::new(vip.into(), client.into(), IpProtocol::ICMP, length);
            ip.traffic_class = ERROR_CLASS;
            ip.fill_checksum(&[]);
            let mut icmp = Icmpv4Header::fragmentation_needed(mtu);
            icmp.fill_checksum(quoted);
            write(head, &ip, &icmp)
        }
        (source, destination) => {
            let at = link.write(EtherType::IPV6.0, data);
            let packet = data.get_mut(at..).ok_or(DropReason::NoHeadroom)?;
            let (head, quoted) = packet
                .split_at_mut_checked(headers)
                .ok_or(DropReason::NoHeadroom)?;
            let client = source.to_v6_bytes().into();
            let vip = destination.to_v6_bytes().into();
            let length = Icmpv6Header::LEN + quote;
            let ip = Ipv6Header::new(vip, client, IpProtocol::ICMPV6, length);
            let mut icmp = Icmpv6Header::packet_too_big(mtu.max(MIN_MTU_V6).into());
            icmp.fill_checksum(vip, client, quoted);
            write(head, &ip, &icmp)
        }
    }
}

fn write<I, M>(head: &mut [u8], ip: &I, message: &M) -> Result<(), DropReason>
where
    I: zerocopy::IntoBytes + zerocopy::Immutable,
    M: zerocopy::IntoBytes + zerocopy::Immutable,
{
    put(head, ip).ok_or(DropReason::NoHeadroom)?;
    let rest = head.get_mut(size_of::<I>()..);
    rest.and_then(|rest| put(rest, message))
        .ok_or(DropReason::NoHeadroom)
}
