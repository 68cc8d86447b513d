//! Other rails: fragments go to the rail that owns them, what no backend here takes goes to a rail
//! elsewhere, and where all rails see all packets each keeps its own.
//!
//! Nothing may go round between rails. A packet that has come from a peer is never sent to a peer, and
//! one that has come from a rail elsewhere is sent to no rail at all: a packet takes two hops between
//! rails at most, one within the pool and one out of it.

use crate::table::hash::{FlowHash, tuple3_hash_v6};
use crate::table::news::Heard;
use crate::table::peers::{Origin, RailView};
use crate::table::service::Address;
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::IpProtocol;
use crate::wire::probe::{self, ProbeHeader};
use crate::wire::udp::Udp;

use super::classify::{Kind, Parsed};
use super::frame::Frame;
use super::quoted::quoted_flow;
use super::verdict::{DropReason, Verdict};
use super::{Pipeline, no_service, rewrite};

impl Pipeline {
    /// The peer that a fragment is to be sent to; `None` if it stays here.
    pub(super) fn owner_elsewhere<'s>(
        &self,
        snapshot: &'s Snapshot,
        parsed: &Parsed,
    ) -> Option<&'s RailView> {
        match parsed.origin {
            Origin::Network => snapshot.peers.owner(owner_hash(snapshot, parsed)),
            // Two rails may disagree for a moment about who is alive; whoever has it keeps it.
            Origin::Peer | Origin::Remote => None,
        }
    }

    /// Counts a fragment that a peer sent here, once it need not wait any more.
    pub(super) fn count_from_peer(&self, snapshot: &Snapshot, parsed: &Parsed, verdict: Verdict) {
        let waits = matches!(verdict, Verdict::Await | Verdict::Hold(_));
        if parsed.origin != Origin::Peer || waits {
            return;
        }
        self.counters.from_peers.add(1);
        if snapshot.peers.owner(owner_hash(snapshot, parsed)).is_some() {
            self.counters.kept.add(1);
        }
    }

    /// Sends a fragment to the peer that owns it.
    pub(super) fn hand_over<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
        owner: &RailView,
    ) -> Verdict {
        let verdict = self.tunnel_to(snapshot, frame, parsed, ingress, owner);
        if let Verdict::Forward(_) = verdict {
            self.counters.to_peers.add(1);
        }
        verdict
    }

    /// A packet of a service without a live backend: a rail elsewhere takes it, if one is configured.
    /// `flow` is the client's tuple: that of the packet, or that of the packet an ICMP error quotes.
    #[cold]
    pub(super) fn trombone<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        flow: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        // By 3-tuple, so that fragments meet the rest of their flow there.
        let hash = flow.tuple3_hash(&snapshot.hash_key);
        let Some(remote) = snapshot.peers.remote(hash) else {
            return Verdict::Drop(DropReason::NoBackend);
        };
        if parsed.origin == Origin::Remote {
            return Verdict::Drop(DropReason::TromboneLoop);
        }
        let verdict = self.tunnel_to(snapshot, frame, parsed, ingress, remote);
        if let Verdict::Forward(_) = verdict {
            self.counters.to_remotes.add(1);
        }
        verdict
    }

    fn tunnel_to<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
        rail: &RailView,
    ) -> Verdict {
        let Some(way) = rail.ways.of(parsed.is_v6()) else {
            return Verdict::Drop(DropReason::Neighbor);
        };
        match rewrite::forward(snapshot, frame, &parsed.into(), ingress, way) {
            Verdict::Drop(DropReason::TooBig) if !parsed.dont_fragment => Verdict::Split(None),
            Verdict::Drop(DropReason::TooBig) => {
                self.too_big(snapshot, frame, parsed, ingress, way)
            }
            other => other,
        }
    }

    /// The rail that a packet is cut for: the peer that owns a fragment, else the rail elsewhere that
    /// helps out.
    pub(super) fn rail_for<'s>(
        &self,
        snapshot: &'s Snapshot,
        frame: &[u8],
        parsed: &Parsed,
    ) -> Option<&'s RailView> {
        let owner = parsed
            .fragment
            .and_then(|_| self.owner_elsewhere(snapshot, parsed));
        owner.or_else(|| {
            let icmp = matches!(parsed.protocol, IpProtocol::ICMP | IpProtocol::ICMPV6);
            let quoted = icmp.then(|| quoted_flow(frame, parsed)).flatten();
            let flow = quoted.as_ref().unwrap_or(parsed);
            snapshot.peers.remote(flow.tuple3_hash(&snapshot.hash_key))
        })
    }

    /// Counts the pieces of a packet that went to that rail.
    pub(super) fn count_handed(&self, snapshot: &Snapshot, parsed: &Parsed, pieces: u64) {
        let owned = parsed.fragment.is_some() && self.owner_elsewhere(snapshot, parsed).is_some();
        let counter = if owned {
            &self.counters.to_peers
        } else {
            &self.counters.to_remotes
        };
        counter.add(pieces);
    }

    /// Where every rail sees every packet: leaves those of the burst that another rail owns.
    #[cold]
    pub(super) fn sift<F: Frame>(snapshot: &Snapshot, frames: &[F], burst: &mut [Parsed]) {
        for (frame, parsed) in frames.iter().zip(burst) {
            // What comes in a tunnel was sent to this rail alone.
            if parsed.kind != Kind::Ip
                || parsed.decapsulated
                || !snapshot.map.is_vip(parsed.destination)
            {
                continue;
            }
            let icmp = matches!(parsed.protocol, IpProtocol::ICMP | IpProtocol::ICMPV6);
            let quoted = icmp.then(|| quoted_flow(frame.data(), parsed)).flatten();
            let flow = quoted.as_ref().unwrap_or(parsed);
            if snapshot.peers.owner(owner_hash(snapshot, flow)).is_some() {
                parsed.kind = Kind::Bad(DropReason::NotOwner);
            }
        }
    }

    /// A packet that no service matches: perhaps another rail's probe.
    #[cold]
    pub(super) fn unclaimed<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        let probe = parsed.protocol == IpProtocol::UDP
            && parsed.ports.1 == probe::PORT
            && !parsed.decapsulated
            && snapshot.local_port(parsed.destination).is_some()
            && snapshot.peers.by_address(parsed.source).is_some();
        if !probe {
            return no_service(snapshot, parsed, ingress);
        }
        let key = &snapshot.peers.probe_key;
        match read_probe(frame.data(), parsed) {
            Some(probe) if key.proves(parsed.source, parsed.destination, probe) => {
                // A full queue loses the probe as the network might have.
                let _ = self.shared.heard.push(Heard {
                    from: parsed.source.into(),
                    probe: *probe,
                });
                Verdict::Heard
            }
            _ => Verdict::Drop(DropReason::BadProbe),
        }
    }
}

fn read_probe<'f>(frame: &'f [u8], parsed: &Parsed) -> Option<&'f ProbeHeader> {
    let datagram = frame.get(usize::from(parsed.l4)..usize::from(parsed.end))?;
    ProbeHeader::parse(Udp::parse(datagram).ok()?.payload)
}

/// The 3-tuple hash that picks a packet's owner. IPv6 fragments name the fragment header as their
/// protocol, because only the first of a datagram is sure to tell the real one (RFC 8200, section 4.5).
fn owner_hash(snapshot: &Snapshot, parsed: &Parsed) -> FlowHash {
    let key = &snapshot.hash_key;
    match (parsed.source, parsed.destination) {
        (Address::V6(source), Address::V6(destination)) if parsed.fragment.is_some() => {
            let protocol = IpProtocol::FRAGMENT.0;
            let (source, destination) = (source.to_be_bytes(), destination.to_be_bytes());
            tuple3_hash_v6(key, protocol, source, destination)
        }
        _ => parsed.tuple3_hash(key),
    }
}
