//! The sans-IO packet path: frames in, verdicts out.
//!
//! A burst goes through two stages. [`Pipeline::front`] parses every frame, hashes the flows and asks
//! the caches for the connection buckets; [`Pipeline::finish`] decides and rewrites. The worker runs
//! the front of one burst before it finishes the one before, so the memory has a burst's time to
//! arrive. Between the two only offsets, keys and hashes are kept: if the snapshot changed in
//! between, the front is run again, so no index outlives the snapshot it came from.

pub mod classify;
mod echo;
mod fragment;
pub mod frame;
mod icmp;
mod local;
mod path_error;
mod peer;
mod plain;
mod quoted;
pub mod rewrite;
pub mod shared;
mod split;
mod steer;
mod tags;
mod too_big;
pub mod verdict;

use std::net::IpAddr;
use std::sync::Arc;

use crate::table::conn::{ConnOwner, ConnStats};
use crate::table::counters::Counters;
use crate::table::hash::{
    BURST, FlowBurst, FlowHash, V6FlowBurst, flow_hash_v4_burst, flow_hash_v6_burst,
};
use crate::table::limiter::TokenBucket;
use crate::table::news::Sighting;
use crate::table::service::Address;
use crate::table::snapshot::{Backend, PortIndex, Snapshot};
use crate::table::{BackendId, HashKey, Nanos};
use crate::wire::IpProtocol;

use classify::{Kind, Parsed, classify};
use frame::Frame;
use plain::plain;
use shared::Shared;
use verdict::{DropReason, Verdict};

/// New flows in a burst from which on the next one's Maglev slots are asked for ahead.
const FLOODED: u64 = BURST as u64 / 4;

/// What is known of a burst between its two stages.
#[derive(Debug)]
pub struct Stage {
    parsed: [Parsed; BURST],
    len: usize,
    generation: u64,
    ingress: PortIndex,
}

impl Stage {
    /// An empty stage.
    pub fn new() -> Self {
        Stage {
            parsed: [Parsed::EMPTY; BURST],
            len: 0,
            generation: 0,
            ingress: PortIndex(0),
        }
    }

    /// Forgets the burst.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Default for Stage {
    fn default() -> Self {
        Stage::new()
    }
}

/// One worker's packet path and the state only that worker writes.
#[derive(Debug)]
pub struct Pipeline {
    conns: ConnOwner,
    counters: Arc<Counters>,
    shared: Shared,
    icmp_limit: TokenBucket,
    /// Most flows of the last burst were new.
    flooded: bool,
    lanes: FlowBurst,
    lanes_v6: V6FlowBurst,
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
            lanes: FlowBurst::new(),
            lanes_v6: V6FlowBurst::new(),
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

    /// First stage: parse and hash. Changes no frame.
    pub fn front<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        ingress: PortIndex,
        frames: &[F],
        stage: &mut Stage,
    ) {
        self.adopt(snapshot);
        stage.generation = snapshot.generation;
        stage.ingress = ingress;
        stage.len = frames.len().min(BURST);
        let port = snapshot.ports.get(usize::from(ingress.0));
        let (mut v6, mut rest) = (0u32, 0u32);
        for (lane, (frame, parsed)) in frames.iter().zip(&mut stage.parsed).enumerate() {
            frame.prefetch_headroom();
            let lanes = (lane, &mut self.lanes, &mut self.lanes_v6);
            let plain = port.is_some_and(|port| plain(port, frame.data(), parsed, lanes));
            rest |= u32::from(!plain) << lane;
            v6 |= u32::from(parsed.is_v6()) << lane;
        }
        let key = &snapshot.hash_key;
        let mut hashes = [FlowHash(0); BURST];
        flow_hash_v4_burst(key, &self.lanes, &mut hashes);
        for (parsed, hash) in stage.parsed.iter_mut().zip(hashes) {
            parsed.hash = hash;
        }
        if v6 != 0 {
            flow_hash_v6_burst(key, &self.lanes_v6, &mut hashes);
            for lane in lanes_of(v6) {
                stage.parsed[lane].hash = hashes[lane];
            }
        }
        for lane in lanes_of(rest) {
            let parsed = &mut stage.parsed[lane];
            *parsed = classify(snapshot, ingress, frames[lane].data());
            parsed.hash = flow_hash(snapshot, parsed);
        }
        if snapshot.peers.mirror {
            Self::sift(snapshot, frames, &mut stage.parsed);
        }
    }

    /// Second stage: a verdict for every frame, in order; frames are rewritten for it. Meanwhile the
    /// connection buckets of the burst behind this one are asked for, one with every step: all at once
    /// they would be more than a core can wait for.
    pub fn finish<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frames: &mut [F],
        stage: &mut Stage,
        now: Nanos,
        behind: &Stage,
        verdicts: &mut [Verdict; BURST],
    ) {
        self.advance(now);
        if stage.generation != snapshot.generation {
            self.front(snapshot, stage.ingress, frames, stage);
        }
        let misses = self.conns.stats().misses;
        let mut next = behind.parsed.iter().take(behind.len);
        for ((frame, parsed), verdict) in frames.iter_mut().zip(&stage.parsed).zip(verdicts) {
            if let Some(next) = next.next() {
                self.foresee(snapshot, next);
            }
            *verdict = if snapshot.keeps_tags {
                self.process_keeping(snapshot, frame, parsed, stage.ingress)
            } else {
                self.process(snapshot, frame, parsed, stage.ingress)
            };
            if !matches!(verdict, Verdict::Forward(_)) {
                self.count(*verdict);
            }
        }
        next.for_each(|next| self.foresee(snapshot, next));
        self.flooded = self.conns.stats().misses - misses > FLOODED;
    }

    /// Asks for the connection buckets of a burst that came behind none.
    pub fn prefetch(&self, snapshot: &Snapshot, stage: &Stage) {
        let burst = stage.parsed.iter().take(stage.len);
        burst.for_each(|parsed| self.foresee(snapshot, parsed));
    }

    /// Asks for what a packet of the next burst will need: its flow's bucket; and while most flows are
    /// new, its slot.
    #[inline(always)]
    fn foresee(&self, snapshot: &Snapshot, parsed: &Parsed) {
        self.conns.prefetch(parsed.hash);
        if self.flooded
            && let Some(index) =
                snapshot
                    .map
                    .lookup(parsed.destination, parsed.protocol.0, parsed.ports.1)
            && let Some(service) = snapshot.service(index)
        {
            service.maglev.prefetch(parsed.hash);
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
        let mut parsed = classify(snapshot, ingress, frame.data());
        parsed.hash = flow_hash(snapshot, &parsed);
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

    /// The whole way of one packet.
    ///
    /// 1. A frame that is broken or not IP is done with at once.
    /// 2. ICMP for a VIP or for the rail concerns the path itself, not a connection.
    /// 3. A fragment follows the first one of its datagram.
    /// 4. The destination names a service, or the packet is for the rail, its host, or nobody.
    /// 5. Connection table or Maglev slot choose the backend; without one, a rail elsewhere may help.
    /// 6. The packet is wrapped for that backend and its next hop.
    #[inline(always)]
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
            Ok(backend) => self.deliver(snapshot, frame, parsed, ingress, backend),
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

    /// Sends the packet on its way to a backend and counts it there; if it does not fit, its sender is
    /// told.
    #[inline(always)]
    fn deliver<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
        (id, backend): (BackendId, &Backend),
    ) -> Verdict {
        let len = frame.data().len();
        match rewrite::forward(snapshot, frame, parsed, ingress, backend) {
            forwarded @ Verdict::Forward(_) => {
                self.counters.forward(id, len);
                forwarded
            }
            // Later pieces are cut once more as well; RFC 791 has an offset for it.
            Verdict::Drop(DropReason::TooBig) if !parsed.dont_fragment => Verdict::Split(Some(id)),
            Verdict::Drop(DropReason::TooBig) => {
                self.too_big(snapshot, frame, parsed, ingress, backend)
            }
            other => other,
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

/// The lanes whose bits are set.
fn lanes_of(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (lane < BURST).then_some(lane)
    })
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
