//! Which backend a packet goes to: the one its connection is pinned to, else the one its slot names.

use crate::table::BackendId;
use crate::table::conn::{Inserted, Segment};
use crate::table::hash::FlowHash;
use crate::table::service::ServiceIndex;
use crate::table::snapshot::{Backend, BackendState, Service, Snapshot};
use crate::wire::IpProtocol;
use crate::wire::tcp::TcpFlags;

use super::Pipeline;
use super::classify::Parsed;

impl Pipeline {
    /// The backend for a packet of a service, and `None` if the service has none to offer.
    #[inline]
    pub(super) fn steer<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        index: ServiceIndex,
        parsed: &Parsed,
    ) -> Option<(BackendId, &'s Backend)> {
        let service = snapshot.service(index)?;
        let hash = if service.source_affinity {
            parsed.tuple3_hash(&snapshot.hash_key)
        } else {
            parsed.hash
        };
        let segment = segment(parsed);
        let Some(found) = self.conns.find(hash) else {
            let (id, backend) = choose(snapshot, service, hash)?;
            match self.conns.insert(hash, id, segment) {
                Inserted::New | Inserted::Evicted => {}
                Inserted::Full | Inserted::Limited => self.counters.unpinned.add(1),
            }
            return Some((id, backend));
        };
        let pinned = found.backend();
        let starts = segment == Segment::Syn;
        if let Some(backend) = snapshot.backend(pinned)
            && backend.service == index
            && keeps(backend.state, starts, found.entry().is_closing())
        {
            found.touch(segment);
            return Some((pinned, backend));
        }
        let (id, backend) = choose(snapshot, service, hash)?;
        found.repin(id, segment);
        Some((id, backend))
    }
}

/// Whether a pin holds: a live backend keeps what it has, a draining one takes nothing that starts,
/// and a SYN on a closing entry is a new connection with an old tuple.
#[inline]
fn keeps(state: BackendState, starts: bool, closing: bool) -> bool {
    match state {
        BackendState::Up => !(starts && closing),
        BackendState::Drain => !starts,
        BackendState::Down => false,
    }
}

#[inline]
fn choose<'s>(
    snapshot: &'s Snapshot,
    service: &Service,
    hash: FlowHash,
) -> Option<(BackendId, &'s Backend)> {
    let id = service.choose(hash)?;
    Some((id, snapshot.backend(id)?))
}

/// What the packet says about its connection.
#[inline]
fn segment(parsed: &Parsed) -> Segment {
    if parsed.protocol != IpProtocol::TCP {
        return Segment::Datagram;
    }
    let flags = parsed.flags;
    if flags.intersects(TcpFlags::FIN | TcpFlags::RST) {
        Segment::TcpClose
    } else if flags.contains(TcpFlags::SYN | TcpFlags::ACK) {
        Segment::SynAck
    } else if flags.contains(TcpFlags::SYN) {
        Segment::Syn
    } else {
        Segment::TcpData
    }
}
