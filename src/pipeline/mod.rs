//! The sans-IO packet path: frames in, verdicts out.
//!
//! A burst goes through two stages. [`Pipeline::front`] parses every frame, hashes the flows and finds their
//! services; [`Pipeline::steer_burst`] finds the backends and [`Pipeline::rewrite_burst`] rewrites. The worker runs
//! the front of one burst before it finishes the one before, so the memory has a burst's time to
//! arrive. What is kept between the two holds for one snapshot: if it changed meanwhile, the front is run
//! again, so no index outlives the snapshot it came from.

pub mod classify;
mod echo;
mod flows;
mod fragment;
pub mod frame;
mod icmp;
mod local;
mod packet;
mod path_error;
mod peer;
mod plain;
mod quoted;
pub mod rewrite;
pub mod shared;
mod split;
pub mod stage;
mod steer;
mod tags;
mod too_big;
pub mod verdict;
mod ways;

use std::net::IpAddr;
use std::sync::Arc;

use crate::table::conn::{ConnOwner, ConnStats};
use crate::table::counters::Counters;
use crate::table::hash::{BURST, FlowHash};
use crate::table::limiter::TokenBucket;
use crate::table::news::Sighting;
use crate::table::service::Address;
use crate::table::snapshot::{Backend, PortIndex, Snapshot};
use crate::table::{BackendId, HashKey, Nanos};
use crate::wire::IpProtocol;

use classify::{Kind, Parsed};
use frame::Frame;
use packet::Packet;
use plain::Fields;
use shared::Shared;
use stage::read;
use steer::Refusal;
use verdict::{DropReason, Verdict};

pub use stage::Stage;
pub use ways::{Departed, Ways};

/// One worker's packet path and the state only that worker writes.
#[derive(Debug)]
pub struct Pipeline {
    conns: ConnOwner,
    counters: Arc<Counters>,
    shared: Shared,
    icmp_limit: TokenBucket,
    /// Most flows of the last burst were new.
    flooded: bool,
    fields: Fields,
    hash_key: HashKey,
    generation: u64,
    now: Nanos,
}

impl Pipeline {
    /// A path over an empty connection table.
    pub fn new(
        conns: ConnOwner,
        counters: Arc<Counters>,
        shared: Shared,
        hash_key: HashKey,
    ) -> Self {
        Pipeline {
            conns,
            counters,
            shared,
            icmp_limit: TokenBucket::per_second(0),
            flooded: false,
            fields: Fields::default(),
            hash_key,
            generation: 0,
            now: Nanos(0),
        }
    }

    /// What this worker has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What happened in this worker's connection table.
    pub fn conn_stats(&self) -> &ConnStats {
        self.conns.stats()
    }

    /// The time of the last [`Pipeline::advance`].
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// The verdict about one frame of a burst, after [`Pipeline::rewrite_burst`].
    #[inline(always)]
    pub fn conclude<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        departed: &Departed,
        (lane, stage, ways): (usize, &Stage, &Ways<'_>),
    ) -> Verdict {
        match departed.by(lane, ways) {
            Some(port) => Verdict::Forward(port),
            None => self.look_closer(snapshot, frame, (lane, stage, ways)),
        }
    }

    /// A frame of a burst that is not a packet on its way to a backend by the most common means.
    #[inline(never)]
    fn look_closer<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        (lane, stage, ways): (usize, &Stage, &Ways<'_>),
    ) -> Verdict {
        let ingress = stage.ingress;
        let way = ways.get(lane).map(|id| (id, snapshot.backend(id)));
        let verdict = if let Some((id, Some(backend))) = way {
            self.send_plain(snapshot, frame, &stage.packet(lane), ingress, (id, backend))
        } else if let Some(refusal) = way.map(|_| Refusal::NoBackend).or(ways.refusal(lane)) {
            let parsed = read(snapshot, ingress, frame);
            self.refuse(snapshot, frame, &parsed, ingress, refusal)
        } else {
            let parsed = &stage.parsed[lane % BURST];
            self.process_keeping(snapshot, frame, parsed, ingress)
        };
        self.count(verdict);
        verdict
    }

    /// As [`Pipeline::send`], of a plain packet.
    fn send_plain<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        packet: &Packet,
        ingress: PortIndex,
        to: (BackendId, &Backend),
    ) -> Verdict {
        match self.deliver(snapshot, frame, packet, ingress, to) {
            Verdict::Drop(DropReason::TooBig) => {
                let parsed = read(snapshot, ingress, frame);
                self.too_long(snapshot, frame, &parsed, ingress, to)
            }
            other => other,
        }
    }

    /// Both stages for one frame, outside of a burst: one that was held, or a test's.
    pub fn once<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        ingress: PortIndex,
        frame: &mut F,
        now: Nanos,
    ) -> Verdict {
        self.adopt(snapshot);
        self.advance(now);
        let mut parsed = read(snapshot, ingress, frame);
        if snapshot.peers.mirror {
            Self::sift(
                snapshot,
                std::slice::from_ref(frame),
                std::slice::from_mut(&mut parsed),
            );
        }
        let verdict = self.process_keeping(snapshot, frame, &parsed, ingress);
        self.count(verdict);
        verdict
    }

    /// The whole way of one packet. Those that [`plain`] reads come by steps 4 to 6 in
    /// [`Pipeline::front`], [`Pipeline::steer_burst`] and [`Pipeline::rewrite_burst`].
    ///
    /// 1. A frame that is broken or not IP is done with at once.
    /// 2. ICMP for a VIP or for the rail concerns the path itself, not a connection.
    /// 3. A fragment follows the first one of its datagram.
    /// 4. The destination names a service, or the packet is for the rail, its host, or nobody.
    /// 5. Connection table or Maglev slot choose the backend; without one, a rail elsewhere may help.
    /// 6. The packet is wrapped for that backend and its next hop.
    fn process<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        if parsed.kind != Kind::Ip {
            return self.no_packet(snapshot, frame, parsed, ingress);
        }
        if matches!(parsed.protocol, IpProtocol::ICMP | IpProtocol::ICMPV6) {
            return self.icmp(snapshot, frame, parsed, ingress);
        }
        if let Some(fragment) = parsed.fragment {
            return self.fragment(snapshot, frame, parsed, fragment, ingress);
        }
        let Some(index) =
            snapshot
                .map
                .lookup(parsed.destination, parsed.protocol.0, parsed.ports.1)
        else {
            return self.unclaimed(snapshot, frame, parsed, ingress);
        };
        match self.steer(snapshot, index, parsed) {
            Ok(to) => self.send(snapshot, frame, parsed, ingress, to),
            Err(refusal) => self.refuse(snapshot, frame, parsed, ingress, refusal),
        }
    }

    /// What is broken or not IP.
    #[cold]
    fn no_packet<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        match parsed.kind {
            Kind::Bad(reason) => Verdict::Drop(reason),
            Kind::Arp => self.arp(snapshot, frame, parsed, ingress),
            Kind::Ip | Kind::Other => Verdict::Host(ingress),
        }
    }

    /// Sends the packet on its way to a backend and counts it there.
    fn deliver<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        packet: &Packet,
        ingress: PortIndex,
        (id, backend): (BackendId, &Backend),
    ) -> Verdict {
        let len = frame.data().len();
        let verdict = rewrite::forward(snapshot, frame, packet, ingress, backend);
        if matches!(verdict, Verdict::Forward(_)) {
            self.counters.forward(id, len);
        }
        verdict
    }

    /// As [`Pipeline::deliver`]; if it does not fit, its sender is told.
    fn send<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
        to: (BackendId, &Backend),
    ) -> Verdict {
        match self.deliver(snapshot, frame, &parsed.into(), ingress, to) {
            Verdict::Drop(DropReason::TooBig) => {
                self.too_long(snapshot, frame, parsed, ingress, to)
            }
            other => other,
        }
    }

    /// What becomes of a packet that does not fit the way to its backend.
    #[cold]
    fn too_long<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
        (id, backend): (BackendId, &Backend),
    ) -> Verdict {
        if parsed.dont_fragment {
            self.too_big(snapshot, frame, parsed, ingress, backend)
        } else {
            // Later pieces are cut once more as well; RFC 791 has an offset for it.
            Verdict::Split(Some(id))
        }
    }

    /// Takes over what a new snapshot says about this worker's own state.
    #[inline]
    fn adopt(&mut self, snapshot: &Snapshot) {
        if snapshot.generation != self.generation {
            self.adopt_new(snapshot);
        }
    }

    #[cold]
    fn adopt_new(&mut self, snapshot: &Snapshot) {
        self.generation = snapshot.generation;
        let rates = snapshot.rates;
        self.conns
            .configure(snapshot.timeouts, rates.new_pins_per_second);
        self.icmp_limit.set_rate(rates.icmp_per_second);
        // A changed hash key makes every entry meaningless: tag and bucket are another flow's.
        if snapshot.hash_key != self.hash_key {
            self.hash_key = snapshot.hash_key;
            self.conns.clear();
        }
    }

    #[cold]
    fn count(&self, verdict: Verdict) {
        match verdict {
            // Whoever passes it on to the host counts it: there may be none.
            Verdict::Forward(_) | Verdict::Hold(_) | Verdict::Await | Verdict::Host(_) => {}
            // Counted piece by piece.
            Verdict::Split(_) => {}
            Verdict::Reply(_) => self.counters.replies.add(1),
            Verdict::Heard => self.counters.to_host.add(1),
            Verdict::Drop(reason) => self.counters.count_drop(reason),
        }
    }

    /// Moves the clock; belongs into every round of the loop, also an empty one.
    #[inline]
    pub fn advance(&mut self, now: Nanos) {
        self.now = now;
        self.conns.advance(now);
    }

    fn report(&self, sighting: Sighting) {
        // A full queue loses news on purpose: see `News`.
        let _ = self.shared.news.push(sighting);
    }
}

/// The hash of one packet's 5-tuple, outside of a burst.
fn flow_hash(snapshot: &Snapshot, parsed: &Parsed) -> FlowHash {
    let v4 = parsed.blocks().map(|b| b.hash(&snapshot.hash_key));
    v4.or_else(|| parsed.hash_v6(snapshot))
        .unwrap_or(FlowHash(0))
}

/// A packet no service matches: for the rail's own addresses or everybody, else refused.
#[cold]
fn no_service(snapshot: &Snapshot, parsed: &Parsed, ingress: PortIndex) -> Verdict {
    if snapshot.map.is_vip(parsed.destination) {
        return Verdict::Drop(DropReason::NoService);
    }
    if parsed.decapsulated {
        return Verdict::Drop(DropReason::NotOurs);
    }
    if snapshot.local_port(parsed.destination).is_some()
        || snapshot.is_broadcast(parsed.destination, ingress)
        || is_for_all(parsed.destination)
    {
        return Verdict::Host(ingress);
    }
    Verdict::Drop(DropReason::NotOurs)
}

/// Multicast of both families, and IPv4's limited broadcast.
fn is_for_all(destination: Address) -> bool {
    let ip = IpAddr::from(destination);
    ip.is_multicast() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}
