//! What is known of a burst between its two stages, and the stage that finds it out.
//!
//! Every step is a loop of its own over the whole burst: short loops keep many packets in the core's window
//! at once, so that the memory one of them waits for is waited for by all.

use crate::hw;
use crate::table::adjacency::Adjacency;
use crate::table::conn::{Look, Segment, Wanted};
use crate::table::hash::{BURST, FlowHash, flow_hash_v6_burst};
use crate::table::service::{Claim, ServiceIndex, V6Key};
use crate::table::snapshot::{PortIndex, PortView, Snapshot};
use crate::table::{BackendId, HashKey, Nanos};
use crate::wire::{IpProtocol, TrafficClass};

use super::classify::{Parsed, classify};
use super::frame::Frame;
use super::packet::{Extent, Packet};
use super::plain::{self, Fields, Plain, Read};
use super::steer::Refusal;
use super::{FLOODED, Pipeline, flow_hash, rewrite};

/// What is known of a burst between its two stages.
#[derive(Debug)]
pub struct Stage {
    flows: Flows,
    plain: Plain,
    /// The lanes of plain packets, as bits.
    pub(super) lanes: Read,
    pub(super) parsed: [Parsed; BURST],
    pub(super) len: usize,
    pub(super) generation: u64,
    pub(super) ingress: PortIndex,
}

/// The flows of a burst, as arrays.
#[derive(Debug)]
struct Flows {
    hashes: [FlowHash; BURST],
    /// What packets show about their service.
    claims: [Claim; BURST],
    /// The entries that packets leave as they are.
    wanted: [Wanted; BURST],
}

/// A burst while it is being looked up.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    fields: Fields,
    v6_hashes: [FlowHash; BURST],
}

/// Where the plain packets of a burst go, found under the snapshot it borrows from.
#[derive(Debug)]
pub struct Ways<'s> {
    adjacencies: [Option<&'s Adjacency>; BURST],
    ids: [u32; BURST],
    /// Why a packet goes to none.
    refusals: [Option<Refusal>; BURST],
}

impl<'s> Ways<'s> {
    const NONE: Ways<'static> = Ways {
        adjacencies: [None; BURST],
        ids: [0; BURST],
        refusals: [None; BURST],
    };

    /// The way of a packet and the number of its backend.
    #[inline(always)]
    pub(super) fn get(&self, lane: usize) -> Option<(BackendId, &'s Adjacency)> {
        let adjacency = self.adjacencies[lane % BURST]?;
        let id = BackendId::new(self.ids[lane % BURST]).ok()?;
        Some((id, adjacency))
    }

    fn set(&mut self, lane: usize, id: u32, adjacency: &'s Adjacency) {
        (self.adjacencies[lane % BURST], self.ids[lane % BURST]) = (Some(adjacency), id);
    }

    pub(super) fn refusal(&self, lane: usize) -> Option<Refusal> {
        self.refusals[lane % BURST]
    }
}

impl Stage {
    /// An empty stage.
    pub fn new() -> Self {
        Stage {
            flows: Flows {
                hashes: [FlowHash(0); BURST],
                claims: [Claim::NONE; BURST],
                wanted: [Wanted::default(); BURST],
            },
            plain: Plain::default(),
            lanes: Read::default(),
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

    /// The port the burst came in through.
    #[inline]
    pub fn ingress(&self) -> PortIndex {
        self.ingress
    }

    /// Where the plain packet in this lane starts and ends, and its DSCP and ECN.
    #[inline(always)]
    pub(super) fn extent(&self, lane: usize) -> Extent {
        let shape = self.plain.shape[lane % BURST];
        Extent {
            start: self.plain.l3,
            end: (shape >> 16) as u16,
            class: (shape >> 8) as u8,
        }
    }

    /// The service of the plain packet in this lane.
    pub(super) fn service(&self, snapshot: &Snapshot, lane: usize) -> Option<ServiceIndex> {
        snapshot.service_of(self.flows.claims[lane % BURST])
    }

    /// The plain packet in this lane.
    #[inline(always)]
    pub(super) fn packet(&self, lane: usize) -> Packet {
        let lane = lane % BURST;
        let (l3, shape) = (self.plain.l3, self.plain.shape[lane]);
        let ip_header = if self.lanes.v6 >> lane & 1 != 0 {
            40
        } else {
            20
        };
        Packet {
            hash: self.flows.hashes[lane],
            l3,
            l4: l3 + ip_header,
            end: (shape >> 16) as u16,
            protocol: IpProtocol(shape as u8),
            class: TrafficClass((shape >> 8) as u8),
            says: Segment::of(self.plain.says[lane]),
            decapsulated: false,
            headless: false,
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        Stage::new()
    }
}

impl Lanes {
    /// Reads the plain frames of a burst, hashes their flows and finds out what they claim.
    pub(super) fn look_up<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        port: &PortView,
        frames: &[F],
        look: Look<'_>,
        stage: &mut Stage,
    ) {
        stage.lanes = plain::read(port, frames, &mut self.fields, &mut stage.plain);
        if stage.lanes.v4 != 0 {
            stage.flows.read_v4(&stage.plain, &snapshot.hash_key, look);
        }
        if !snapshot.claims_by_key {
            for lane in lanes_of(stage.lanes.v4) {
                let index = snapshot.map.lookup_v4(stage.plain.v4_key(lane));
                stage.claim(snapshot, lane, index);
            }
        }
        if stage.lanes.v6 != 0 {
            let flows = &self.fields.v6;
            flow_hash_v6_burst(&snapshot.hash_key, flows, &mut self.v6_hashes);
            for lane in lanes_of(stage.lanes.v6) {
                let hash = self.v6_hashes[lane];
                stage.flows.hashes[lane] = hash;
                stage.flows.wanted[lane] = look.wanted(hash, stage.plain.says[lane]);
                let index = snapshot.map.lookup_v6(self.v6_key(lane));
                stage.claim(snapshot, lane, index);
            }
        }
    }

    #[inline(always)]
    fn v6_key(&self, lane: usize) -> V6Key {
        let flows = &self.fields.v6;
        let port = (flows.ports[lane] >> 16) as u16;
        let destination = (flows.destination[0][lane], flows.destination[1][lane]);
        V6Key::from_wire(flows.protocol[lane] as u8, destination, port)
    }
}

impl Flows {
    /// The hashes of IPv4 packets, what they claim by themselves, and the entries they leave as they are.
    fn read_v4(&mut self, plain: &Plain, key: &HashKey, look: Look<'_>) {
        let key = *key;
        hw::vectorised(
            plain,
            self,
            #[inline(always)]
            |plain, flows| {
                for lane in 0..BURST {
                    let hash = plain.v4.hash(&key, lane);
                    flows.hashes[lane] = hash;
                    flows.claims[lane] = Claim::of_v4(plain.v4_key(lane));
                    flows.wanted[lane] = look.wanted(hash, plain.says[lane]);
                }
            },
        );
    }
}

impl Stage {
    /// Notes the service of a plain packet. Without one, or if its service steers by source, it is not plain.
    #[inline(always)]
    fn claim(&mut self, snapshot: &Snapshot, lane: usize, index: ServiceIndex) {
        let by_source = snapshot.source_affinity && steers_by_source(snapshot, index);
        if index == ServiceIndex::NONE || by_source {
            self.lanes = self.lanes.without(lane);
        }
        self.flows.claims[lane] = Claim::of_service(index);
    }
}

impl Pipeline {
    /// First stage: parse, hash, find the services. Changes no frame.
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
        stage.lanes = Read::default();
        // Where every packet is looked at closely anyway, none is plain.
        let port = snapshot.ports.get(usize::from(ingress.0));
        let closely = snapshot.peers.mirror || snapshot.keeps_tags;
        if let Some(port) = port.filter(|_| !closely) {
            let look = self.conns.look();
            self.lanes.look_up(snapshot, port, frames, look, stage);
        }
        let all = ((1u64 << stage.len) - 1) as u32;
        for lane in lanes_of(all & !stage.lanes.all()) {
            stage.parsed[lane] = read(snapshot, ingress, &frames[lane]);
            stage.flows.hashes[lane] = stage.parsed[lane].hash;
        }
        // Asked for once more later, packet by packet. Measured: known flows need no more than that, but under
        // a flood a fifth of all time goes without this.
        if self.flooded {
            self.prefetch(stage);
        }
        if snapshot.peers.mirror {
            Self::sift(snapshot, frames, &mut stage.parsed);
        }
    }

    /// Asks for the connection buckets of a burst that came behind none.
    pub fn prefetch(&self, stage: &Stage) {
        let hashes = stage.flows.hashes.iter().take(stage.len);
        hashes.for_each(|hash| self.conns.prefetch(*hash));
    }

    /// Finds the backends of a burst's plain packets, and asks for what forwarding to them takes. If the
    /// snapshot is another than that of the first stage, that one is run again.
    #[inline(never)]
    pub fn steer_burst<'s, F: Frame>(
        &mut self,
        snapshot: &'s Snapshot,
        frames: &[F],
        stage: &mut Stage,
        now: Nanos,
        behind: &Stage,
    ) -> Ways<'s> {
        self.advance(now);
        if stage.generation != snapshot.generation {
            self.front(snapshot, stage.ingress, frames, stage);
        }
        let mut ways = Ways::NONE;
        let all = stage.lanes.all();
        // Under a flood a look would be in vain.
        let rest = if self.flooded {
            all
        } else {
            self.steer_steady(snapshot, stage, all, &mut ways)
        };
        let misses = self.conns.stats().misses;
        for lane in lanes_of(rest) {
            self.steer_lane(snapshot, frames, stage, lane, &mut ways);
        }
        self.flooded = self.conns.stats().misses - misses > FLOODED;
        if self.flooded {
            prefetch_slots(snapshot, behind);
        }
        ways
    }

    /// Finds the backends of packets that change nothing about their connection; returns the lanes of the
    /// others.
    #[inline(always)]
    fn steer_steady<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        stage: &Stage,
        lanes: u32,
        ways: &mut Ways<'s>,
    ) -> u32 {
        let look = self.conns.look();
        let mut rest = 0u32;
        for lane in lanes_of(lanes) {
            if let Some(id) = look.steady(stage.flows.hashes[lane], stage.flows.wanted[lane])
                && let Some(adjacency) = snapshot.adjacencies.get(id as usize)
                && adjacency.claim == stage.flows.claims[lane]
            {
                ways.set(lane, id, adjacency);
            } else {
                rest |= 1 << lane;
            }
        }
        let steady = lanes.count_ones() - rest.count_ones();
        self.conns.count_hits(steady.into());
        rest
    }

    /// Finds the backend of one plain packet.
    #[inline(never)]
    fn steer_lane<'s, F: Frame>(
        &mut self,
        snapshot: &'s Snapshot,
        frames: &[F],
        stage: &mut Stage,
        lane: usize,
        ways: &mut Ways<'s>,
    ) {
        let Some(index) = stage.service(snapshot, lane) else {
            stage.lanes = stage.lanes.without(lane);
            stage.parsed[lane] = read(snapshot, stage.ingress, &frames[lane]);
            return;
        };
        let hash = stage.flows.hashes[lane];
        let says = Segment::of(stage.plain.says[lane]);
        match self.pin(snapshot, index, hash, says, says) {
            Ok((id, _)) => {
                if let Some(adjacency) = snapshot.adjacencies.get(id.index()) {
                    hw::prefetch_read(adjacency);
                    ways.set(lane, id.get(), adjacency);
                }
            }
            Err(refusal) => ways.refusals[lane] = Some(refusal),
        }
    }

    /// Rewrites those of a burst that go the common way, and asks for what the burst behind will need: one
    /// line with every packet, as all at once would be more than a core can wait for.
    #[inline(always)]
    pub fn rewrite_burst<F: Frame>(
        &mut self,
        frames: &mut [F],
        stage: &Stage,
        ways: &Ways<'_>,
        behind: &Stage,
    ) -> Departed {
        let look = self.conns.look();
        let backends = self.counters.of_backends();
        let (mut lanes, mut bytes, mut differ) = (0, 0, 0);
        let first = ways.adjacencies[0].map_or(PortIndex(0), Adjacency::port);
        for (frame, lane) in frames.iter_mut().zip(0..BURST) {
            look.prefetch(behind.flows.hashes[lane]);
            let Some(adjacency) = ways.adjacencies[lane] else {
                continue;
            };
            let len = frame.data().len();
            if let Some(total) = rewrite::forward_plain(frame, stage.extent(lane), adjacency) {
                if let Some(backend) = backends.get(ways.ids[lane] as usize) {
                    backend.count(len);
                }
                lanes |= 1u32 << lane;
                bytes += total;
                differ |= adjacency.port().0 ^ first.0;
            }
        }
        (frames.len()..behind.len)
            .for_each(|lane| look.prefetch(behind.flows.hashes[lane % BURST]));
        Departed {
            lanes,
            port: (differ == 0).then_some(first),
            bytes,
        }
    }
}

/// What has been rewritten of a burst, to leave by ports.
#[derive(Debug)]
pub struct Departed {
    /// The lanes, as bits.
    lanes: u32,
    /// The one port that they leave by, if it is one.
    port: Option<PortIndex>,
    /// Bytes of all those frames.
    pub bytes: usize,
}

impl Departed {
    /// The port of all `len` frames of the burst, if they leave by one.
    #[inline(always)]
    pub fn all_by(&self, len: usize) -> Option<PortIndex> {
        self.port
            .filter(|_| self.lanes.count_ones() as usize == len)
    }

    /// The port that one frame leaves by, if it does; `ways` are those of its burst.
    #[inline(always)]
    pub fn port(&self, lane: usize, ways: &Ways<'_>) -> Option<PortIndex> {
        let lane = lane % BURST;
        let departed = self.lanes >> lane & 1 != 0;
        ways.adjacencies[lane]
            .filter(|_| departed)
            .map(Adjacency::port)
    }
}

/// Asks for the Maglev slots of a burst's flows.
#[cold]
fn prefetch_slots(snapshot: &Snapshot, stage: &Stage) {
    for lane in lanes_of(stage.lanes.all()) {
        let index = stage.service(snapshot, lane);
        if let Some(service) = index.and_then(|index| snapshot.service(index)) {
            hw::prefetch_read(service.maglev.place(stage.flows.hashes[lane]));
        }
    }
}

/// Whether a service steers by source address.
#[cold]
fn steers_by_source(snapshot: &Snapshot, index: ServiceIndex) -> bool {
    let service = snapshot.service(index);
    service.is_some_and(|service| service.source_affinity)
}

/// Any frame, with its hash.
#[inline(never)]
pub(super) fn read<F: Frame>(snapshot: &Snapshot, ingress: PortIndex, frame: &F) -> Parsed {
    let mut parsed = classify(snapshot, ingress, frame.data());
    parsed.hash = flow_hash(snapshot, &parsed);
    parsed
}

/// The lanes whose bits are set.
#[inline(always)]
fn lanes_of(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let lane = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        Some(lane)
    })
}
