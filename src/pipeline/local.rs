//! What the rail answers itself: ARP for its addresses, echo requests to them and to VIPs.

use crate::table::news::Sighting;
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::table::template::LinkHeader;
use crate::wire::arp::{Arp, ArpOperation, ArpPacket};
use crate::wire::icmpv4::Icmpv4Header;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::{EtherType, EthernetHeader, MacAddr, put, view, view_mut};

use super::Pipeline;
use super::classify::Parsed;
use super::frame::Frame;
use super::verdict::{DropReason, Verdict};

impl Pipeline {
    /// ARP (RFC 826): answers requests for the rail's addresses on this port, reports what others say
    /// of themselves, and leaves everything else to the host.
    #[cold]
    pub(super) fn arp<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        let l3 = usize::from(parsed.l3);
        let Some(Ok(arp)) = frame.data().get(l3..).map(Arp::parse) else {
            return Verdict::Drop(DropReason::BadArp);
        };
        if !arp.is_probe() {
            self.report(Sighting {
                address: arp.sender_ip.into(),
                mac: arp.sender_mac,
            });
        }
        let target = std::net::IpAddr::from(arp.target_ip).into();
        let ours = snapshot.local_port(target) == Some(ingress);
        match arp.operation {
            ArpOperation::Request if ours => {}
            ArpOperation::Reply | ArpOperation::Request => return Verdict::Host(ingress),
        }
        let Some(port) = snapshot.ports.get(usize::from(ingress.0)) else {
            return Verdict::Host(ingress);
        };
        let reply = arp.reply(MacAddr(port.mac));
        let end = l3 + ArpPacket::LEN;
        frame.truncate(end);
        let data = frame.data_mut();
        if data.get_mut(l3..).and_then(|d| put(d, &reply)).is_none() {
            return Verdict::Drop(DropReason::BadArp);
        }
        return_to_sender(data, port.mac);
        Verdict::Reply(ingress)
    }

    /// Answers an ICMPv4 echo request in place (RFC 792), if the rate limit allows one more.
    #[cold]
    pub(super) fn echo_v4<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        if !self.icmp_limit.take(self.now) {
            return Verdict::Drop(DropReason::IcmpRate);
        }
        let Some(port) = snapshot.ports.get(usize::from(ingress.0)) else {
            return Verdict::Drop(DropReason::NotOurs);
        };
        let Some(ethernet) = view::<EthernetHeader>(frame.data()).copied() else {
            return Verdict::Drop(DropReason::BadEthernet);
        };
        let link = LinkHeader {
            destination: ethernet.source.octets(),
            source: port.mac,
            vlan: port.vlan,
        };
        let ip_header = usize::from(parsed.l4 - parsed.l3);
        let ip = link.len();
        // The answer carries the request's own tags nowhere: it leaves as every frame of this port.
        if !frame.rewrap(parsed.l3.into(), parsed.end.into(), ip) {
            return Verdict::Drop(DropReason::NoHeadroom);
        }
        let data = frame.data_mut();
        link.write(EtherType::IPV4.0, data);
        let Some((header, icmp)) = data
            .get_mut(ip..)
            .and_then(|d| d.split_at_mut_checked(ip_header))
        else {
            return Verdict::Drop(DropReason::BadIpv4);
        };
        if let Some(icmp) = view_mut::<Icmpv4Header>(icmp) {
            icmp.turn_into_echo_reply();
        }
        if let Some((fixed, options)) = header.split_at_mut_checked(Ipv4Header::LEN)
            && let Some(fixed) = view_mut::<Ipv4Header>(fixed)
        {
            std::mem::swap(&mut fixed.source, &mut fixed.destination);
            fixed.ttl = Ipv4Header::DEFAULT_TTL;
            fixed.fill_checksum(options);
        }
        Verdict::Reply(ingress)
    }
}

/// Turns the link header around: back to whoever sent the frame, from us.
fn return_to_sender(data: &mut [u8], mac: [u8; 6]) {
    if let Some(ethernet) = view_mut::<EthernetHeader>(data) {
        ethernet.destination = ethernet.source;
        ethernet.source = MacAddr(mac);
    }
}
