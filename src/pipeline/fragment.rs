//! Fragments: all of a datagram go where its first one goes.
//!
//! The first fragment shows the transport header, is steered by its 5-tuple, and is remembered for the
//! others in a table that all workers share. No packet changes workers: a NIC that hashes fragments to
//! another queue than the rest of their flow makes a worker read the tables of the others, rarely.

use crate::table::BackendId;
use crate::table::hash::{FlowHash, flow_hash_v4, flow_hash_v6};
use crate::table::service::{Address, ServiceIndex};
use crate::table::snapshot::{BackendState, PortIndex, Snapshot};
use crate::wire::{Fragment, IpProtocol};

use super::classify::Parsed;
use super::frame::Frame;
use super::steer::Refusal;
use super::verdict::{DropReason, Verdict};
use super::{Pipeline, no_service};

/// What the memory of tromboned datagrams has in the place of a backend.
const ELSEWHERE: BackendId = BackendId::MAX;

impl Pipeline {
    /// Steers one fragment of a datagram to a VIP. One that comes before the first waits for it.
    #[cold]
    pub(super) fn fragment<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        fragment: Fragment,
        ingress: PortIndex,
    ) -> Verdict {
        let verdict = self.steer_fragment(snapshot, frame, parsed, fragment, ingress);
        self.count_from_peer(snapshot, parsed, verdict);
        verdict
    }

    fn steer_fragment<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        fragment: Fragment,
        ingress: PortIndex,
    ) -> Verdict {
        if !snapshot.map.is_vip(parsed.destination) {
            return no_service(snapshot, parsed, ingress);
        }
        if let Some(owner) = self.owner_elsewhere(snapshot, parsed) {
            return self.hand_over(snapshot, frame, parsed, ingress, owner);
        }
        let datagram = datagram(snapshot, parsed, fragment);
        let id = if fragment.is_first() {
            let port = parsed.ports.1;
            let lookup = snapshot
                .map
                .lookup(parsed.destination, parsed.protocol.0, port);
            let Some(index) = lookup else {
                return Verdict::Drop(DropReason::NoService);
            };
            let id = match self.steer_first(snapshot, index, parsed) {
                Ok(id) => id,
                Err(Refusal::Limit) => return Verdict::Drop(DropReason::ServiceLimit),
                Err(Refusal::NoBackend) => {
                    // The others of the datagram are to follow it.
                    let tromboned = &self.shared.tromboned;
                    tromboned.remember(datagram, ELSEWHERE, self.now);
                    return self.trombone(snapshot, frame, parsed, parsed, ingress);
                }
            };
            // A second first fragment is sent where the one before it was.
            self.shared.fragments.remember(datagram, id, self.now)
        } else {
            match self.shared.fragments.lookup(datagram, self.now) {
                Some(id) => id,
                None if self.went_elsewhere(datagram) => {
                    return self.trombone(snapshot, frame, parsed, parsed, ingress);
                }
                None => return Verdict::Await,
            }
        };
        let Some(backend) = snapshot.backend(id) else {
            return Verdict::Drop(DropReason::NoBackend);
        };
        self.send(snapshot, frame, parsed, ingress, (id, backend))
    }

    /// The first fragment of the datagram went to a rail elsewhere.
    fn went_elsewhere(&self, datagram: FlowHash) -> bool {
        let sent = self.shared.tromboned.lookup(datagram, self.now);
        sent.is_some()
    }

    /// As every packet of the flow, but a pin of another worker counts where this one has none.
    fn steer_first(
        &mut self,
        snapshot: &Snapshot,
        index: ServiceIndex,
        parsed: &Parsed,
    ) -> Result<BackendId, Refusal> {
        let service = snapshot.service(index).ok_or(Refusal::NoBackend)?;
        let hash = self.key_of(snapshot, service, parsed);
        if let Some(id) = self.pinned_anywhere(snapshot, index, hash) {
            return Ok(id);
        }
        self.steer(snapshot, index, parsed).map(|(id, _)| id)
    }

    /// The live backend of a service that a flow is pinned to, in this worker's table or another's. Entries from a
    /// time when the service was tracked mean nothing once it is not.
    pub(super) fn pinned_anywhere(
        &self,
        snapshot: &Snapshot,
        index: ServiceIndex,
        hash: FlowHash,
    ) -> Option<BackendId> {
        snapshot.service(index).filter(|service| service.tracked)?;
        let (tick, timeouts) = (self.now.tick(), self.conns.timeouts());
        let others = self.shared.tables.get().into_iter().flatten();
        std::iter::once(self.conns.table())
            .chain(others)
            .filter_map(|table| table.peek(hash, tick, timeouts))
            .map(|entry| entry.backend())
            .find(|id| {
                snapshot
                    .backend(*id)
                    .is_some_and(|b| b.service == index && b.state != BackendState::Down)
            })
    }
}

/// Names a datagram: its addresses, protocol and identification, hashed as a flow is, with the
/// identification in the place of the ports.
fn datagram(snapshot: &Snapshot, parsed: &Parsed, fragment: Fragment) -> FlowHash {
    let (high, low) = ((fragment.id >> 16) as u16, fragment.id as u16);
    let key = &snapshot.hash_key;
    match (parsed.source, parsed.destination) {
        (Address::V4(source), Address::V4(destination)) => flow_hash_v4(
            key,
            parsed.protocol.0,
            source.to_be_bytes(),
            destination.to_be_bytes(),
            high,
            low,
        ),
        // RFC 8200, section 4.5: the protocol is no part of what identifies an IPv6 datagram.
        (source, destination) => flow_hash_v6(
            key,
            IpProtocol::FRAGMENT.0,
            source.to_v6_bytes(),
            destination.to_v6_bytes(),
            high,
            low,
        ),
    }
}
