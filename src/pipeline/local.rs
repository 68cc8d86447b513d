//! Link addresses: ARP and neighbour discovery for the rail's own addresses and next hops.

use std::net::{IpAddr, Ipv6Addr};

use crate::table::news::Sighting;
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::table::template::LinkHeader;
use crate::wire::arp::{Arp, ArpOperation, ArpPacket};
use crate::wire::icmpv6::Icmpv6;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::nd::{self, Nd, NdFlags, NdMessage, multicast_mac};
use crate::wire::{EtherType, EthernetHeader, IpProtocol, MacAddr, put, view, view_mut};

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
                replaces: true,
            });
        }
        let target = IpAddr::from(arp.target_ip).into();
        let ours = snapshot.local_port(target) == Some(ingress);
        match arp.operation {
            ArpOperation::Request if ours && !is_own(snapshot, frame.data(), ingress) => {}
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

    /// Neighbour discovery (RFC 4861): answers solicitations for the rail's addresses on this port,
    /// reports what others say of themselves, and leaves everything else to the host.
    #[cold]
    pub(super) fn neighbor_discovery<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        let Some((header, nd)) = read_nd(frame.data(), parsed) else {
            return Verdict::Drop(DropReason::BadIcmp);
        };
        if let Some(seen) = sighting(&header, nd) {
            self.report(seen);
        }
        let Nd::Solicitation { target, source_mac } = nd else {
            return Verdict::Host(ingress);
        };
        let ours = snapshot.local_port(IpAddr::V6(target).into()) == Some(ingress);
        if !ours || is_own(snapshot, frame.data(), ingress) {
            return Verdict::Host(ingress);
        }
        let Ok(mut link) = answer_link(snapshot, frame.data(), ingress) else {
            return Verdict::Drop(DropReason::NotOurs);
        };
        // RFC 4861, section 7.2.4: whoever checks for duplicates has no address yet, so all hear it.
        let probing = header.source().is_unspecified();
        let destination = if probing { ALL_NODES } else { header.source() };
        if probing {
            link.destination = multicast_mac(ALL_NODES).octets();
        } else if let Some(mac) = source_mac {
            link.destination = mac.octets();
        }
        let flags = NdFlags {
            router: false,
            solicited: !probing,
            override_cached: true,
        };
        let mac = MacAddr(link.source);
        let message = NdMessage::advertisement(target, destination, target, mac, flags);
        let head = link.len() + Ipv6Header::LEN;
        if !resize(frame, head + NdMessage::LEN) {
            return Verdict::Drop(DropReason::NoHeadroom);
        }
        let data = frame.data_mut();
        let at = link.write(EtherType::IPV6.0, data);
        let mut ip = Ipv6Header::new(target, destination, IpProtocol::ICMPV6, NdMessage::LEN);
        ip.hop_limit = nd::HOP_LIMIT;
        let written = data.get_mut(at..).and_then(|d| put(d, &ip)).is_some()
            && data
                .get_mut(head..)
                .and_then(|d| put(d, &message))
                .is_some();
        if !written {
            return Verdict::Drop(DropReason::BadIcmp);
        }
        Verdict::Reply(ingress)
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Makes the frame this long; every byte of it is to be written. A probe for duplicates (RFC 4862, section
/// 5.4.2) and a unicast solicitation (RFC 4861, section 4.3) carry no link address, so that the answer,
/// which does, is longer than the question.
fn resize<F: Frame>(frame: &mut F, len: usize) -> bool {
    frame.truncate(len);
    frame.prepend(len - frame.data().len())
}

/// The message and the header it came in; `None` if RFC 4861, section 7.1 has it ignored.
fn read_nd(frame: &[u8], parsed: &Parsed) -> Option<(Ipv6Header, Nd)> {
    let header = *view::<Ipv6Header>(frame.get(usize::from(parsed.l3)..)?)?;
    let bytes = frame.get(usize::from(parsed.l4)..usize::from(parsed.end))?;
    let message = Icmpv6::parse(bytes, header.source(), header.destination()).ok()?;
    Some((header, Nd::parse(&header, &message).ok()?))
}

/// What the sender said of itself.
fn sighting(header: &Ipv6Header, nd: Nd) -> Option<Sighting> {
    let (address, mac, replaces) = match nd {
        Nd::Solicitation { source_mac, .. } => (header.source(), source_mac?, true),
        Nd::Advertisement {
            target,
            target_mac,
            flags,
        } => (target, target_mac?, flags.override_cached),
    };
    Some(Sighting {
        address: address.into(),
        mac,
        replaces,
    })
}

/// Whether we sent the frame ourselves: a request of the host that came back by some loop. Answered, it
/// would look to the host as if somebody else had its address.
fn is_own(snapshot: &Snapshot, frame: &[u8], ingress: PortIndex) -> bool {
    let port = snapshot.ports.get(usize::from(ingress.0));
    let ethernet = view::<EthernetHeader>(frame);
    port.zip(ethernet)
        .is_some_and(|(port, ethernet)| ethernet.source == MacAddr(port.mac))
}

/// The link header of an answer: back to whoever sent the frame, from us, tagged as all frames of the port.
pub(super) fn answer_link(
    snapshot: &Snapshot,
    frame: &[u8],
    ingress: PortIndex,
) -> Result<LinkHeader, DropReason> {
    let port = snapshot.ports.get(usize::from(ingress.0));
    let port = port.ok_or(DropReason::NotOurs)?;
    let ethernet = view::<EthernetHeader>(frame).ok_or(DropReason::BadEthernet)?;
    Ok(LinkHeader {
        destination: ethernet.source.octets(),
        source: port.mac,
        vlan: port.vlan,
        outer_vlan: port.outer_vlan,
    })
}

/// Turns the link header around: back to whoever sent the frame, from us.
fn return_to_sender(data: &mut [u8], mac: [u8; 6]) {
    if let Some(ethernet) = view_mut::<EthernetHeader>(data) {
        ethernet.destination = ethernet.source;
        ethernet.source = MacAddr(mac);
    }
}
