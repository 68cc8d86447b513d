//! Which backend a packet goes to: the one its connection is pinned to, else the one its slot names. Of a service
//! that is not tracked, always the latter.

use crate::table::conn::{Inserted, Segment};
use crate::table::hash::FlowHash;
use crate::table::service::ServiceIndex;
use crate::table::snapshot::{Backend, BackendState, PortIndex, Service, Snapshot};
use crate::table::{BackendId, Nanos};

use super::Pipeline;
use super::classify::Parsed;
use super::frame::Frame;
use super::packet::segment;
use super::verdict::{DropReason, Verdict};

/// Why a packet of a service goes to no backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is none that takes it.
    NoBackend,
    /// It starts a connection beyond the service's limit.
    Limit,
}

impl Pipeline {
    /// The backend for a packet of a service, or why there is none.
    pub(super) fn steer<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        index: ServiceIndex,
        parsed: &Parsed,
    ) -> Result<(BackendId, &'s Backend), Refusal> {
        let service = snapshot.service(index).ok_or(Refusal::NoBackend)?;
        let says = segment(parsed.protocol, parsed.flags);
        let (hash, segment) = if service.source_affinity {
            (affinity_key(snapshot, service, parsed), lasting(says))
        } else {
            (parsed.hash, says)
        };
        if !service.tracked {
            return choose(snapshot, index, hash, says, self.now);
        }
        self.pin(snapshot, index, hash, segment, says)
    }

    /// The backend of the entry `hash`, which is made if there is none. `segment` is what the packet says
    /// to the entry, `says` what it says about its connection.
    #[inline(always)]
    pub(super) fn pin<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        index: ServiceIndex,
        hash: FlowHash,
        segment: Segment,
        says: Segment,
    ) -> Result<(BackendId, &'s Backend), Refusal> {
        let Some(found) = self.conns.find(hash) else {
            let (id, backend) = choose(snapshot, index, hash, says, self.now)?;
            let inserted = self.conns.insert(hash, id, segment);
            self.count_unpinned(inserted);
            return Ok((id, backend));
        };
        let pinned = found.backend();
        let starts = segment == Segment::Syn;
        if let Some(backend) = snapshot.backend(pinned)
            && backend.service == index
            && keeps(backend.state, starts, found.entry().is_closing())
        {
            found.touch(segment);
            return Ok((pinned, backend));
        }
        let (id, backend) = choose(snapshot, index, hash, says, self.now)?;
        found.repin(id, segment);
        Ok((id, backend))
    }

    /// Counts a packet that goes where its hash says without an entry that holds it there.
    #[inline(always)]
    pub(super) fn count_unpinned(&self, inserted: Inserted) {
        match inserted {
            Inserted::New | Inserted::Evicted => {}
            Inserted::Full | Inserted::Limited => self.counters.unpinned.add(1),
        }
    }
}

impl Pipeline {
    /// A packet that goes to no backend here.
    #[cold]
    pub(super) fn refuse<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
        refusal: Refusal,
    ) -> Verdict {
        match refusal {
            Refusal::NoBackend => self.trombone(snapshot, frame, parsed, parsed, ingress),
            Refusal::Limit => Verdict::Drop(DropReason::ServiceLimit),
        }
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

/// The backend that a flow without a pin hashes to, if the service takes it.
#[inline]
fn choose(
    snapshot: &Snapshot,
    index: ServiceIndex,
    hash: FlowHash,
    says: Segment,
    now: Nanos,
) -> Result<(BackendId, &Backend), Refusal> {
    let service = snapshot.service(index).ok_or(Refusal::NoBackend)?;
    if !admits(service, says, now) {
        return Err(Refusal::Limit);
    }
    let id = snapshot
        .shortcuts
        .choose(index, hash)
        .ok_or(Refusal::NoBackend)?;
    let backend = snapshot.backend(id).ok_or(Refusal::NoBackend)?;
    Ok((id, backend))
}

/// Whether the service's limit lets the packet through. What starts no connection always passes: after a
/// restart of the rail established connections have no entry either.
#[inline]
fn admits(service: &Service, segment: Segment, now: Nanos) -> bool {
    match &service.limit {
        Some(limit) if matches!(segment, Segment::Syn | Segment::Datagram) => limit.take(now),
        _ => true,
    }
}

/// The key of a client's entry where its source address picks the backend.
#[cold]
pub(super) fn affinity_key(snapshot: &Snapshot, service: &Service, flow: &Parsed) -> FlowHash {
    FlowHash(flow.tuple3_hash(&snapshot.hash_key).0 ^ u64::from(service.salt))
}

/// What a segment says about a client rather than about one of its connections: the end of one is not
/// the end of all, and another one is not a new client.
fn lasting(segment: Segment) -> Segment {
    match segment {
        Segment::TcpClose => Segment::TcpData,
        Segment::Syn => Segment::SynAck,
        other => other,
    }
}
